"""How each functional form is drawn: what is trained is orange and filled, and its width is to scale on a log axis."""

from __future__ import annotations

from lab.design.drawing import Canvas, esc, waist
from lab.design.forms import FORMS
from lab.design.method import Delta

WIDTH = 52  # px that a glyph takes on its path
TALL = 34
SIGMA = {"relu": "ReLU", "gelu": "GELU", "silu": "SiLU", "tanh": "tanh", "sigmoid": "sigm", "softmax": "soft", "none": ""}


def glyph(canvas: Canvas, delta: Delta, x: float, y: float, index: int, small: bool = False) -> None:
    """Draw the form of a delta with its left end at (x, y)."""
    draw = {"bottleneck": _bottleneck, "lowrank": _bottleneck, "slots": _slots, "tokens": _slots, "scale": _vector, "bias": _vector}.get(delta.form, _bottleneck)
    tip = f"Δ{index + 1}: {FORMS[delta.form].label} at {', '.join(delta.at)}, {delta.insertion}, {delta.composition}"
    tall = 20 if small else TALL
    canvas.add(f'<g class="trained"><title>{esc(tip)}</title>{draw(delta, x, y, tall)}</g>')
    canvas.reach(x, y - tall / 2)
    canvas.reach(x + WIDTH, y + tall / 2)
    form = FORMS[delta.form]
    if form.has_rank:
        below = y + tall / 2 + 11
        canvas.text(x + WIDTH / 2, below, f"<tspan font-style='italic'>{form.rank_symbol}</tspan>={delta.rank}", "rank")


def _bottleneck(delta: Delta, x: float, y: float, tall: float) -> str:
    narrow = min(waist(delta.rank), tall - 4) / 2
    side, middle, high = 21, x + WIDTH / 2, tall / 2
    left = f"M{x} {y - high}L{x + side} {y - narrow}V{y + narrow}L{x} {y + high}Z"
    right = f"M{x + WIDTH} {y - high}L{x + WIDTH - side} {y - narrow}V{y + narrow}L{x + WIDTH} {y + high}Z"
    frozen = delta.trainable is not None and delta.form == "lowrank" and "A" not in delta.trainable or bool(delta.schedule and delta.schedule.name == "lamda")
    shapes = f'<path class="{"still" if frozen else ""}" d="{left}"/><path d="{right}"/>'
    shapes += f'<path class="thin" d="M{x + side} {y}H{x + WIDTH - side}"/>'
    if delta.nonlinearity != "none":
        shapes += f'<text class="sigma" x="{middle}" y="{y - high - 3}" text-anchor="middle">{SIGMA[delta.nonlinearity]}</text>'
    if delta.core != "none":
        shapes += f'<rect x="{middle - 3.5}" y="{y - 3.5}" width="7" height="7"/>'
    return shapes


def _slots(delta: Delta, x: float, y: float, tall: float) -> str:
    rows = max(2, min(7, round(waist(delta.rank) / 3)))
    step = tall / rows
    bars = []
    for row in range(rows):
        top = y - tall / 2 + row * step
        bars += [f'<rect x="{x + 2}" y="{top:.1f}" width="22" height="{step - 1.6:.1f}" rx="1"/>',
                 f'<rect x="{x + 28}" y="{top:.1f}" width="22" height="{step - 1.6:.1f}" rx="1"/>']  # fmt: skip
    if delta.form == "tokens":
        bars = bars[::2]
        return "".join(bars)
    names = '<text class="sigma" x="{}" y="{}" text-anchor="middle">P<tspan baseline-shift="sub" font-size="7">{}</tspan></text>'
    return "".join(bars) + names.format(x + 13, y - tall / 2 - 3, "k") + names.format(x + 39, y - tall / 2 - 3, "v")


def _vector(delta: Delta, x: float, y: float, tall: float) -> str:
    name = "l" if delta.form == "scale" else "b"
    return (f'<rect x="{x + WIDTH / 2 - 4}" y="{y - tall / 2}" width="8" height="{tall}" rx="2"/>'
            f'<text class="sigma" x="{x + WIDTH / 2}" y="{y - tall / 2 - 3}" text-anchor="middle" font-style="italic">{name}</text>')  # fmt: skip
