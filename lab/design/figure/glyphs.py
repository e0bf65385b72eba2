"""How each functional form is drawn: what is trained is orange and filled, and its width is to scale on a log axis."""

from __future__ import annotations

from lab.design.figure.drawing import Canvas, esc, waist
from lab.design.method.delta import Delta
from lab.design.method.forms import FORMS
from lab.design.method.steps import steps

WIDTH = 52  # px that a glyph takes on its path
TALL = 34
SIGMA = {"relu": "ReLU", "gelu": "GELU", "silu": "SiLU", "tanh": "tanh", "sigmoid": "sigm", "softmax": "softmax"}


def glyph(canvas: Canvas, delta: Delta, x: float, y: float, index: int, small: bool = False, language: str = "en") -> None:
    """Draw the form of a delta with its left end at (x, y)."""
    form = FORMS[delta.form]
    draw = {"waist": _bottleneck, "pairs": _slots, "rows": _slots, "vector": _vector, "block": _block}[form.glyph]
    pairs, beside = form.glyph == "pairs", form.glyph == "rows"
    where = ", ".join(delta.at)
    tip = f"Δ{index + 1}：{form.label_zh}（{where}）" if language == "zh" else f"Δ{index + 1}: {form.label} at {where}, {delta.insertion}, {delta.composition}"
    tall = 20 if small else TALL
    if delta.frozen_from:
        tip += f"，冻结自运行 {delta.frozen_from}" if language == "zh" else f", frozen from run {delta.frozen_from}"
    still = " standing" if delta.frozen_from or form.over_frozen else ""
    canvas.add(f'<g class="trained{still}"><title>{esc(tip)}</title>{draw(delta, x, y, tall)}</g>')
    canvas.reach(x, y - tall / 2 - (14 if pairs else 12 if above(delta) else 0))
    canvas.reach(x + WIDTH, y + tall / 2)
    if form.has_rank:
        words = f"<tspan font-style='italic'>{form.rank_symbol}</tspan>={delta.rank}"
        canvas.text(x + 28 if beside else x + WIDTH / 2, y + 4 if beside else y + tall / 2 + 11, words, "rank", "start" if beside else "middle")
        if under := (above(delta) if pairs else over_time(delta, language)):
            canvas.text(x + WIDTH / 2, y + tall / 2 + 22, under, "rank over")
            canvas.reach(x, y + tall / 2 + 22)
    if delta.encoder != "none":
        _encoder(canvas, delta, x, y - tall / 2 - (16 if pairs else 4), language)


def _encoder(canvas: Canvas, delta: Delta, x: float, bottom: float, language: str) -> None:
    """The network that makes the slots while training: dashed, since it is dropped when the slots are folded."""
    wide, left = (46.0, x + 3) if FORMS[delta.form].glyph == "pairs" else (40.0, x - 7)
    title = {"en": "{} of width {}, dropped after training", "zh": "宽度为 {1} 的 {0}，训练后丢弃"}[language].format(delta.encoder.upper(), delta.encoder_width)
    canvas.add(f'<g class="encoder"><title>{esc(title)}</title><rect x="{left:.1f}" y="{bottom - 15:.1f}" width="{wide:.1f}" height="14" rx="3"/>'
               f'<text class="sigma" x="{left + wide / 2:.1f}" y="{bottom - 4.5:.1f}" text-anchor="middle">{esc(delta.encoder.upper())}</text></g>')  # fmt: skip
    canvas.reach(left, bottom - 17)


def above(delta: Delta) -> str:
    """What stands over a bottleneck and under slots: the steps beside its maps, in order; `drop` where there is a dropout."""
    found = []
    for place, step in enumerate(own := steps(delta)):
        if step.kind == "norm":
            found.append("LN Δh" if place and place == len(own) - 1 else "LN")
        elif step.kind == "sigma":
            found.append(SIGMA[step.name])
        elif step.value and found[-1:] != ["drop"]:
            found.append("drop")
    return " · ".join(found)


def over_time(delta: Delta, language: str = "en") -> str:
    """What stands under the rank: what the schedule or the allocation makes of it, that all sites share the maps, or which tokens are changed."""
    if delta.ends:
        return delta.tokens
    if delta.shared:
        return {"en": "shared", "zh": "共用"}[language]
    if delta.allocation:
        return f"{delta.allocation.rank_min} … {delta.allocation.rank_max}"
    return delta.schedule.over_time(language) if delta.schedule else ""


def _part(delta: Delta, part: str) -> str:
    """The class of A or B: trained, still (frozen), or cooling (it freezes during the run)."""
    names = FORMS[delta.form].names
    own = part if part in names else names["AB".index(part)]  # of other forms: their first and second map
    if delta.trainable is not None and own not in delta.trainable:
        return "still"
    return delta.schedule.look(part) if delta.schedule else ""


def _bottleneck(delta: Delta, x: float, y: float, tall: float) -> str:
    narrow = min(waist(delta.rank), tall - 4) / 2
    side, middle, high = 21, x + WIDTH / 2, tall / 2
    left = f"M{x} {y - high}L{x + side} {y - narrow}V{y + narrow}L{x} {y + high}Z"
    right = f"M{x + WIDTH} {y - high}L{x + WIDTH - side} {y - narrow}V{y + narrow}L{x + WIDTH} {y + high}Z"
    shapes = f'<path class="{_part(delta, "A")}" d="{left}"/><path class="{_part(delta, "B")}" d="{right}"/>'
    shapes += f'<path class="thin" d="M{x + side} {y}H{x + WIDTH - side}"/>'
    if over := above(delta):
        shapes += f'<text class="sigma" x="{middle}" y="{y - high - 3}" text-anchor="middle">{over}</text>'
    if delta.core == "square":
        shapes += f'<rect x="{middle - 3.5}" y="{y - 3.5}" width="7" height="7"/>'
    if delta.core == "diagonal":
        shapes += f'<path class="thin" d="M{middle - 4} {y - 4}L{middle + 4} {y + 4}"/>'
    if delta.vectors:
        shapes += (f'<rect x="{x + side + 1}" y="{y - max(narrow, 5)}" width="3" height="{2 * max(narrow, 5)}"/>'
                   f'<rect x="{x + WIDTH + 2}" y="{y - high}" width="3" height="{2 * high}"/>')  # fmt: skip
    return shapes


def _block(delta: Delta, x: float, y: float, tall: float) -> str:
    """A change of the whole matrix, with what the form draws into it."""
    shapes = (f'<rect x="{x}" y="{y - tall / 2}" width="{WIDTH}" height="{tall}" rx="2"/>'
              f'<path class="cut" transform="translate({x} {y - tall / 2}) scale(1 {tall / TALL:g})" d="{FORMS[delta.form].motif}"/>')  # fmt: skip
    if over := above(delta):
        shapes += f'<text class="sigma" x="{x + WIDTH / 2}" y="{y - tall / 2 - 3}" text-anchor="middle">{over}</text>'
    return shapes


def _slots(delta: Delta, x: float, y: float, tall: float) -> str:
    rows = max(2, min(7, round(waist(delta.rank) / 3)))
    step = tall / rows
    bars = []
    for row in range(rows):
        top = y - tall / 2 + row * step
        bars += [f'<rect x="{x + 2}" y="{top:.1f}" width="22" height="{step - 1.6:.1f}" rx="1"/>',
                 f'<rect x="{x + 28}" y="{top:.1f}" width="22" height="{step - 1.6:.1f}" rx="1"/>']  # fmt: skip
    if FORMS[delta.form].glyph == "rows":
        return "".join(bars[::2])
    names = '<text class="sigma" x="{}" y="{}" text-anchor="middle">P<tspan baseline-shift="sub" font-size="7">{}</tspan></text>'
    return "".join(bars) + names.format(x + 13, y - tall / 2 - 3, "k") + names.format(x + 39, y - tall / 2 - 3, "v")


def _vector(delta: Delta, x: float, y: float, tall: float) -> str:
    name = FORMS[delta.form].vector
    return (f'<rect x="{x + WIDTH / 2 - 4}" y="{y - tall / 2}" width="8" height="{tall}" rx="2"/>'
            f'<text class="sigma" x="{x + WIDTH / 2 + 8}" y="{y + 4}" font-style="italic">{name}</text>')  # fmt: skip
