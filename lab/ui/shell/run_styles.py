"""How the runs of one chart look: colour, dash and marker, a triple of its own for each, so that none is told by its colour alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

COLOURS = 8  # --run-0 … --run-7 of lab.css, apart for eyes without green or red too, in a light and a dark version (tests/test_access.py)
DASHES = ("solid", "9px,3px", "2px,3px", "9px,3px,2px,3px")  # as plotly.js and SVG write them
MARKERS = {  # plotly.js's names, and each as a path around 0, 0
    "circle": "M-3.4 0a3.4 3.4 0 1 0 6.8 0a3.4 3.4 0 1 0-6.8 0Z",
    "square": "M-3-3h6v6h-6Z",
    "diamond": "M0-4L4 0L0 4L-4 0Z",
    "triangle-up": "M0-4L4 3h-8Z",
    "cross": "M-1.2-4h2.4v2.8h2.8v2.4h-2.8v2.8h-2.4v-2.8h-2.8v-2.4h2.8Z",
    "triangle-down": "M0 4L4-3h-8Z",
    "star": "M0-4.4L1.2-1.4L4.3-1.3L1.9.7L2.7 3.8L0 2L-2.7 3.8L-1.9.7L-4.3-1.3L-1.2-1.4Z",
}


@dataclass(frozen=True)
class RunStyle:
    """A run's or a group's look. `level`: how many before it have its colour."""

    index: int
    level: int = 0

    @property
    def colour(self) -> str:
        """As the style sheets name it."""
        return f"var(--run-{self.index})"

    @property
    def dash(self) -> str:
        """Of its lines."""
        return DASHES[(self.index + self.level) % len(DASHES)]

    @property
    def marker(self) -> str:
        """Of its points."""
        return list(MARKERS)[(self.index + self.level // len(DASHES)) % len(MARKERS)]

    @property
    def drawn(self) -> dict[str, str]:
        """For shell/charts.js: a trace or a point with it."""
        return {"colour": self.colour, "dash": self.dash, "marker": self.marker, "shape": MARKERS[self.marker]}


def run_styles(numbers: Sequence[int]) -> list[RunStyle]:
    """A style for each run, from its number: its own colour where that is free, else the next that is used least."""
    used = [0] * COLOURS
    found = []
    for number in numbers:
        own = sorted(range(COLOURS), key=lambda index: (used[index], (index - number) % COLOURS))[0]
        found.append(RunStyle(own, used[own]))
        used[own] += 1
    return found


def dash_attribute(dash: str) -> str:
    """A dash as SVG writes it."""
    return "" if dash == "solid" else f' stroke-dasharray="{dash.replace("px", "")}"'


def style_mark(style: RunStyle) -> str:
    """A piece of its line with its marker, as beside its name in tables."""
    return (f'<svg class="lab-run-mark" viewBox="-13 -5 26 10" width="26" height="10" style="color:{style.colour}" aria-hidden="true">'
            f'<path d="M-13 0H13" stroke="currentColor" stroke-width="2"{dash_attribute(style.dash)}/><path d="{MARKERS[style.marker]}" fill="currentColor"/></svg>')  # fmt: skip
