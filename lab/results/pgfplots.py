"""Charts as pgfplots code, with their data in it: \\usepackage{pgfplots}, \\usepgfplotslibrary{fillbetween}, \\pgfplotsset{compat=1.18}."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from typing import Any

from lab.results.paper import escape

MOST = 200  # points of a curve
COLOURS = ("0072B2", "D55E00", "009E73", "B5509C", "B88600", "3A9BDC", "7A5195", "8C564B", "5B7F0A", "50606F")
MARKS = ("*", "square*", "triangle*", "diamond*", "pentagon*", "o", "square", "triangle", "diamond", "pentagon")


def picture(chart: dict[str, Any], title: str, x: str, y: str, tint: Callable[[str], int]) -> str:
    """A chart (see lab.ui.shell.charts and lab.ui.compare.overlay) as a tikzpicture. `tint`: the place of a trace's colour among the colours."""
    used = sorted({tint(one["colour"]) for one in (*chart["traces"], *chart.get("points", ()))})
    colours = [rf"\definecolor{{run{number}}}{{HTML}}{{{COLOURS[number % len(COLOURS)]}}}" for number in used]
    options = [f"title={{{escape(title)}}}", f"xlabel={{{escape(x)}}}", f"ylabel={{{escape(y)}}}", "width=0.9\\linewidth", "height=0.5\\linewidth", "legend pos=outer north east",
               "legend style={font=\\footnotesize}", "grid=major"] + (["xmode=log"] if chart.get("scatter") else [])  # fmt: skip
    body = _points(chart, tint) if chart.get("scatter") else [line for number, trace in enumerate(chart["traces"]) for line in _curve(trace, number, tint)]
    return "\n".join([*colours, r"\begin{tikzpicture}", rf"\begin{{axis}}[{', '.join(options)}]", *body, r"\end{axis}", r"\end{tikzpicture}", ""])


def _curve(trace: dict[str, Any], number: int, tint: Callable[[str], int]) -> list[str]:
    colour, dash = f"run{tint(trace['colour'])}", ", dashed" if trace["kind"] == "eval" else ""
    lines = []
    if "low" in trace:
        for side in ("low", "high"):
            lines.append(rf"\addplot[draw=none, forget plot, name path={side}{number}] coordinates {{{_coordinates(trace['x'], trace[side])}}};")
        lines.append(rf"\addplot[{colour}, fill opacity=0.16, forget plot] fill between[of=low{number} and high{number}];")
    mark = f"mark={MARKS[number % len(MARKS)]}, mark repeat={max(1, min(len(trace['x']), MOST) // 8)}"
    lines.append(rf"\addplot[{colour}{dash}, thick, {mark}] coordinates {{{_coordinates(trace['x'], trace['y'])}}};")
    return [*lines, rf"\addlegendentry{{{escape(trace['label'])}}}"]


def _points(chart: dict[str, Any], tint: Callable[[str], int]) -> list[str]:
    lines = []
    if papers := chart.get("papers"):
        lines += [
            rf"\addplot[only marks, mark=diamond, gray] coordinates {{{_coordinates([one['x'] for one in papers], [one['y'] for one in papers])}}};",
            r"\addlegendentry{published}",
        ]
    if len(chart.get("front", ())) > 1:
        lines.append(rf"\addplot[gray, dotted, const plot, forget plot] coordinates {{{_coordinates(*zip(*chart['front'], strict=True))}}};")
    for number, point in enumerate(chart["points"]):
        spread = float(point.get("spread") or 0)
        bars = ", error bars/.cd, y dir=both, y explicit" if spread else ""
        bar = f" +- (0,{_number(spread)})" if spread else ""
        mark = f"mark={MARKS[number % len(MARKS)]}"
        lines += [rf"\addplot[only marks, {mark}, run{tint(point['colour'])}{bars}] coordinates {{({_number(point['x'])},{_number(point['y'])}){bar}}};",
                  rf"\addlegendentry{{{escape(point['label'])}}}"]  # fmt: skip
    return lines


def _coordinates(x: Sequence[Any], y: Sequence[Any]) -> str:
    """(x,y) of the points that have both, at most MOST of them, first and last among them."""
    known = [(a, b) for a, b in zip(x, y, strict=True) if a is not None and b is not None and math.isfinite(a) and math.isfinite(b)]
    if len(known) > MOST:
        known = [known[round(place * (len(known) - 1) / (MOST - 1))] for place in range(MOST)]
    return " ".join(f"({_number(a)},{_number(b)})" for a, b in known)


def _number(value: float) -> str:
    return re.sub(r"e\+?(-?)0*(\d)", r"e\1\2", f"{value:.6g}")
