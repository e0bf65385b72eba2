"""SVG by string building: the few shapes that the figure of a method is made of. Colours are classes, so a page's theme decides them."""

from __future__ import annotations

import contextlib
import html
import math
from collections.abc import Iterator
from dataclasses import dataclass, field


def waist(rank: int) -> float:
    """Height in px of a bottleneck's waist on a log axis: r=1 gives 3, r=8 gives 9, r=512 gives 21."""
    return min(26.0, 3 + 2 * math.log2(max(1, rank)))


@dataclass
class Span:
    """The y extent of a part of a picture, the path's own y = 0 in it."""

    top: float = 0
    bottom: float = 0


@dataclass
class Canvas:
    """SVG parts in the order in which they are drawn. Coordinates are px of the viewBox."""

    under: list[str] = field(default_factory=list)
    parts: list[str] = field(default_factory=list)
    left: float = 0
    right: float = 0
    top: float = 0
    bottom: float = 0
    spans: list[Span] = field(default_factory=list)

    def reach(self, x: float, y: float) -> None:
        """Grow the picture so that the point is inside."""
        self.left, self.right = min(self.left, x), max(self.right, x)
        self.top, self.bottom = min(self.top, y), max(self.bottom, y)
        for span in self.spans:
            span.top, span.bottom = min(span.top, y), max(span.bottom, y)

    @contextlib.contextmanager
    def span(self) -> Iterator[Span]:
        """How high and low goes what is drawn in the block of this `with`."""
        span = Span()
        self.spans.append(span)
        yield span
        self.spans.remove(span)

    def place(self, other: Canvas, down: float) -> None:
        """Put another canvas into this one, so many px lower."""
        self.parts.append(f'<g transform="translate(0 {down:.1f})">{"".join(other.under)}{"".join(other.parts)}</g>')
        self.reach(other.left, other.top + down)
        self.reach(other.right, other.bottom + down)

    def line(self, points: list[tuple[float, float]], css: str = "path", arrow: bool = False) -> None:
        """A path with rounded corners through the points."""
        for point in points:
            self.reach(*point)
        marker = f' marker-end="url(#{"tip-delta" if "delta" in css else "tip"})"' if arrow else ""
        self.under.append(f'<path class="{css}" d="{rounded(points)}"{marker}/>')

    def box(self, x: float, y: float, w: float, h: float, label: str, css: str = "frozen", title: str = "") -> None:
        """A box with its label, x and y at its centre on the left: (x, y - h/2) is the corner."""
        self.reach(x, y - h / 2)
        self.reach(x + w, y + h / 2)
        tip = f"<title>{esc(title)}</title>" if title else ""
        self.parts.append(f'<g class="box {css}">{tip}<rect x="{x:.1f}" y="{y - h / 2:.1f}" width="{w:.1f}" height="{h:.1f}" rx="4"/>'
                          f'<text x="{x + w / 2:.1f}" y="{y + 4:.1f}" text-anchor="middle">{label}</text></g>')  # fmt: skip

    def text(self, x: float, y: float, words: str, css: str = "small", anchor: str = "middle") -> None:
        """A line of text; `words` is already safe SVG."""
        self.reach(x, y)
        self.parts.append(f'<text class="{css}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{words}</text>')

    def add(self, svg: str) -> None:
        self.parts.append(svg)

    def node(self, x: float, y: float, sign: str = "+", css: str = "node") -> None:
        """A composition node: ⊕ or ⊗."""
        self.reach(x - 8, y - 8)
        self.reach(x + 8, y + 8)
        cross = f"M{x - 4.5} {y}H{x + 4.5}M{x} {y - 4.5}V{y + 4.5}"
        if sign == "×":
            cross = f"M{x - 3.4} {y - 3.4}L{x + 3.4} {y + 3.4}M{x - 3.4} {y + 3.4}L{x + 3.4} {y - 3.4}"
        self.parts.append(f'<g class="{css}"><circle cx="{x}" cy="{y}" r="8"/><path d="{cross}"/></g>')

    def diamond(self, x: float, y: float, words: str, title: str = "") -> None:
        """A gate or learned scalar."""
        self.parts.append(f'<g class="gate"><title>{esc(title)}</title><path d="M{x} {y - 10}L{x + 10} {y}L{x} {y + 10}L{x - 10} {y}Z"/>'
                          f'<text x="{x}" y="{y + 3.5}" text-anchor="middle">{words}</text></g>')  # fmt: skip

    def slider(self, x: float, y: float) -> None:
        """The glyph of a gated composition: λ slides between h and Δh."""
        self.parts.append(f'<g class="gate"><title>(1−λ)h + λΔh</title><circle cx="{x}" cy="{y}" r="9"/><path class="track" d="M{x - 5} {y + 4}H{x + 5}"/>'
                          f'<circle class="knob" cx="{x + 1}" cy="{y + 4}" r="2"/><text x="{x}" y="{y + 1}" text-anchor="middle">λ</text></g>')  # fmt: skip

    def svg(self, title: str, margin: float = 10, css: str = "") -> str:
        """The whole picture; `css`: a class beside lab-block."""
        x, y = self.left - margin, self.top - margin
        w, h = self.right - x + margin, self.bottom - y + margin
        tips = "".join(f'<marker id="{name}" class="{name}" viewBox="0 0 6 6" refX="5.2" refY="3" markerWidth="6" markerHeight="6" orient="auto">'
                       '<path d="M0 0L6 3L0 6Z"/></marker>' for name in ("tip", "tip-delta"))  # fmt: skip
        speckle = ('<pattern id="speckle" width="9" height="9" patternUnits="userSpaceOnUse"><rect class="ground" width="9" height="9"/>'
                   '<circle cx="2" cy="3" r="1.1"/><circle cx="7" cy="7" r="1.1"/></pattern>'
                   '<pattern id="cooling" width="6" height="6" patternUnits="userSpaceOnUse"><rect width="6" height="6"/><path d="M4 0H6V6H4Z"/></pattern>')  # fmt: skip
        return (f'<svg class="lab-block{css and " " + css}" viewBox="{x:.0f} {y:.0f} {w:.0f} {h:.0f}" width="{w:.0f}" role="img" aria-label="{esc(title)}" '
                f'xmlns="http://www.w3.org/2000/svg"><title>{esc(title)}</title><defs>{tips}{speckle}</defs>{"".join(self.under)}{"".join(self.parts)}</svg>')  # fmt: skip


def esc(text: str) -> str:
    """Text for SVG and its attributes."""
    return html.escape(str(text), quote=True)


def rounded(points: list[tuple[float, float]], radius: float = 7) -> str:
    """The path data of a polyline with rounded corners."""
    data = [f"M{points[0][0]:.1f} {points[0][1]:.1f}"]
    for before, corner, after in zip(points, points[1:], points[2:], strict=False):
        near, far = _toward(corner, before, radius), _toward(corner, after, radius)
        data.append(f"L{near[0]:.1f} {near[1]:.1f}Q{corner[0]:.1f} {corner[1]:.1f} {far[0]:.1f} {far[1]:.1f}")
    data.append(f"L{points[-1][0]:.1f} {points[-1][1]:.1f}")
    return "".join(data)


def _toward(start: tuple[float, float], end: tuple[float, float], radius: float) -> tuple[float, float]:
    length = math.dist(start, end) or 1.0
    part = min(radius, length / 2) / length
    return start[0] + (end[0] - start[0]) * part, start[1] + (end[1] - start[1]) * part
