"""The map of the space as SVG: named methods that one dimension separates stand beside each other, joined by that step."""

from __future__ import annotations

import functools
from collections import defaultdict
from dataclasses import dataclass, field

from lab.design.method.nearest import Change, neighbours
from lab.ui.shell.markup import esc
from lab.ui.words.table import say

BOX, TALL, COLUMN, LINE, GAP, BEND = 196, 30, 384, 54, 30, 52
BULGE, LANE = 14, 22  # of a step within a column that passes other boxes: how far to the right of them, and how much further each next one
DIMENSIONS = {"functional form": "form", "modified representation": "at", "insertion form": "insertion", "composition": "composition",
              "what trains": "trains", "schedule": "schedule", "rank allocation": "allocation", "reparameterisation": "reparameterised", "start": "start", "learning rates": "rates"}  # fmt: skip


@functools.cache
def _groups() -> list[dict[str, tuple[int, int]]]:
    """Connected methods with their places: {preset: (column, line)}, from the best connected one outwards; larger groups first."""
    near: dict[str, list[str]] = defaultdict(list)
    for one, other, _ in neighbours():
        near[one].append(other)
        near[other].append(one)
    groups, seen = [], set()
    for root in sorted(near, key=lambda name: (-len(near[name]), name)):
        if root in seen:
            continue
        places, layer, column = {}, [root], 0
        while layer:
            for line, name in enumerate(layer):
                places[name] = (column, line)
            layer = list(dict.fromkeys(name for one in layer for name in near[one] if name not in places))
            column += 1
        seen |= set(places)
        groups.append(places)
    return sorted(groups, key=len, reverse=True)


def _placed() -> tuple[dict[str, tuple[float, float]], float, float]:
    """({preset: (x, y)}, width, height): two groups side by side where both have two columns, else one below the other."""
    at: dict[str, tuple[float, float]] = {}
    x = y = row = wide = 0.0
    for places in _groups():
        columns, lines = (1 + max(place[k] for place in places.values()) for k in (0, 1))
        width, height = (columns - 1) * COLUMN + BOX, (lines - 1) * LINE + TALL
        if x and x + width > 2 * COLUMN + BOX + COLUMN:
            x, y, row = 0.0, y + row + GAP, 0.0
        deep = defaultdict(int)
        for column, _ in places.values():
            deep[column] += 1
        for name, (column, line) in places.items():
            at[name] = (x + column * COLUMN, y + line * LINE + (lines - deep[column]) * LINE / 2)
        row, wide = max(row, height), max(wide, x + width)
        x += width + COLUMN - BOX
    return at, wide, y + row


def svg(names: dict[str, str], language: str) -> str:
    """The map; `names`: {preset: name to show}. Every method is a link to its card."""
    at, width, height = _placed()
    drawn = _Drawn()
    lines = "".join(_step(at[one], at[other], step, language, drawn) for one, other, step in neighbours())
    boxes = "".join(
        f'<a href="#method-{esc(name)}"><rect class="spot" x="{x:.0f}" y="{y:.0f}" width="{BOX}" height="{TALL}" rx="6"/>'
        f'<text x="{x + BOX / 2:.0f}" y="{y + 19:.0f}" text-anchor="middle">{esc(_short(names.get(name, name)))}</text></a>'
        for name, (x, y) in at.items()
    )
    title = esc(say(language, "library.map"))
    return (
        f'<svg class="lab-map" viewBox="-4 -4 {width + 8:.0f} {height + 8:.0f}" width="{width + 8:.0f}" role="group" aria-label="{title}">{lines}{boxes}</svg>'
    )


@dataclass
class _Drawn:
    """Where lines and words are already."""

    words: set[tuple[str, float, float]] = field(default_factory=set)  # two steps that end at one box and say the same say it once
    lanes: dict[float, int] = field(default_factory=lambda: defaultdict(int))  # of a column: lines around its boxes
    gaps: set[tuple[float, float]] = field(default_factory=set)  # of a column: those between boxes beside which a lane has its words


def _step(one: tuple[float, float], other: tuple[float, float], step: Change, language: str, drawn: _Drawn) -> str:
    (left, ly), (right, ry) = sorted((one, other))
    forwards = one <= other
    before, after = (step.before, step.after) if forwards else (step.after, step.before)
    kind = DIMENSIONS.get(step.dimension, "form")
    anchor = "start"
    if left == right and ry - ly <= LINE:
        x, y1, y2 = left + BEND / 2, ly + TALL, ry
        path, x, y = f"M{x:.0f} {y1:.0f}V{y2:.0f}", x + 6, (y1 + y2) / 2 + 4
    elif left == right:  # around the boxes between
        x1, y1, y2 = left + BOX, ly + TALL / 2, ry + TALL / 2
        out = x1 + BULGE + LANE * drawn.lanes[left]
        drawn.lanes[left] += 1
        path = (f"M{x1:.0f} {y1 + 6:.0f}Q{out:.0f} {y1 + 6:.0f} {out:.0f} {y1 + TALL:.0f}"
                f"V{y2 - TALL:.0f}Q{out:.0f} {y2 - 6:.0f} {x1:.0f} {y2 - 6:.0f}")  # fmt: skip
        gaps = [y1 + LINE * (k + 0.5) + 4 for k in range(round((y2 - y1) / LINE))]
        x, y = out + 5, next((gap for gap in gaps if (left, gap) not in drawn.gaps), gaps[0])
        drawn.gaps.add((left, y))
    else:
        x1, x2, y1, y2 = left + BOX, right, ly + TALL / 2, ry + TALL / 2
        bend = x1 + BEND if x2 - x1 < COLUMN else x2 - COLUMN + BOX + BEND  # the label stands over the straight part
        middle = bend - BEND / 2
        path = f"M{x1:.0f} {y1:.0f}C{middle:.0f} {y1:.0f} {middle:.0f} {y2:.0f} {bend:.0f} {y2:.0f}H{x2:.0f}"
        x, y, anchor = x2 - 8, y2 - 6, "end"
    words, dimension = f"{before} → {after}", say(language, f"dimension.{kind}")
    label = f'<text class="step" x="{x:.0f}" y="{y:.0f}" text-anchor="{anchor}">{esc(_tight(words))}</text>'
    label = "" if (words, x, y) in drawn.words else label
    drawn.words.add((words, x, y))
    return f'<g class="way {kind}"><title>{esc(dimension)}: {esc(words)}</title><path d="{path}"/>{label}</g>'


def _tight(words: str) -> str:
    return words.replace("attn.q, attn.v", "attn.q,v").replace("ffn.up, ffn.down", "ffn.up,down")


def _short(name: str) -> str:
    return name if len(name) <= 32 else name[:31] + "…"
