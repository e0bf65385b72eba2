"""Colours that people can tell apart and words that they can read, from the style sheet alone; looks and labels of runs."""

from __future__ import annotations

import re
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from lab.ui.shell.run_styles import COLOURS, DASHES, MARKERS, run_styles, style_mark

STYLES = (Path(__file__).resolve().parents[1] / "lab" / "ui" / "shell" / "lab.css").read_text(encoding="utf-8")
THEMES = {theme: dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", rule)) for theme, rule in zip(("light", "dark"), re.findall(r"\{([^{}]*--paper:[^{}]*)\}", STYLES), strict=True)}  # fmt: skip
WRITTEN = ("ink", "muted", "faint", "trained-ink", "blue", "green", "red", "amber")  # colours of words
GROUNDS = ("paper", "card", "sunk")
SOFT = {"blue": "blue-soft", "green": "green-soft", "red": "red-soft", "amber": "amber-soft", "muted": "slate-soft", "trained-ink": "trained-soft"}
# Machado, Oliveira and Fernandes 2009, "A Physiologically-based Model for Simulation of Color Vision Deficiency", severity 1.0, for linear RGB
SIGHT = {
    "all cones": np.eye(3),
    "deuteranopia": np.array([[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]),
    "protanopia": np.array([[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]),
}


def linear(colour: str) -> np.ndarray:
    """Linear RGB of #rrggbb."""
    shares = np.array([int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)])
    return np.where(shares <= 0.04045, shares / 12.92, ((shares + 0.055) / 1.055) ** 2.4)


def contrast(one: str, other: str) -> float:
    """WCAG 2's ratio."""
    low, high = sorted(float(linear(colour) @ [0.2126, 0.7152, 0.0722]) for colour in (one, other))
    return (high + 0.05) / (low + 0.05)


def perceived(colour: str, sight: str) -> np.ndarray:
    """CIE L*a*b* (D65) of what an eye sees."""
    seen = np.clip(SIGHT[sight] @ linear(colour), 0, 1)
    xyz = np.array([[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]) @ seen
    x, y, z = (np.cbrt(share) if share > 0.008856 else 7.787 * share + 16 / 116 for share in xyz / [0.95047, 1, 1.08883])
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("theme", THEMES)
def test_words_can_be_read_on_every_ground(theme: str) -> None:
    colours = THEMES[theme]
    pairs = [(word, ground) for word in WRITTEN for ground in GROUNDS] + list(SOFT.items()) + [("paper", "ink"), ("card", "head"), ("paper", "red")]
    low = {f"{word} on {ground}": round(contrast(colours[word], colours[ground]), 2) for word, ground in pairs}
    assert min(low.values()) >= 4.5, {pair: ratio for pair, ratio in low.items() if ratio < 4.5}


@pytest.mark.parametrize("sight", SIGHT)
@pytest.mark.parametrize("theme", THEMES)
def test_the_colours_of_runs_are_apart(theme: str, sight: str) -> None:
    """No two nearer than ΔE*ab 20, also without green or red cones, and all of them to be seen on a card (3:1)."""
    colours = [THEMES[theme][f"run-{index}"] for index in range(COLOURS)]
    assert f"run-{COLOURS}" not in THEMES[theme]
    near = {pair: float(np.linalg.norm(perceived(pair[0], sight) - perceived(pair[1], sight))) for pair in combinations(colours, 2)}
    assert min(near.values()) > 20, {pair: far for pair, far in near.items() if far <= 20}
    assert min(contrast(colour, THEMES[theme]["card"]) for colour in colours) >= 3


def test_a_report_has_the_colours_of_the_light_theme() -> None:
    from lab.ui.compare import report

    assert list(report.COLOURS) == [THEMES["light"][f"run-{index}"] for index in range(COLOURS)]


def test_every_run_of_a_chart_has_a_look_of_its_own() -> None:
    most = COLOURS * len(DASHES) * len(MARKERS)
    for numbers in (range(50), [3] * 50, [8 * n for n in range(50)], range(most), [5] * most):
        looks = [(style.colour, style.dash, style.marker) for style in run_styles(list(numbers))]
        assert len(set(looks)) == len(looks)
    few = run_styles([3, 11, 4])
    assert few[0].index == 3 and len({style.index for style in few}) == 3, "a colour comes again when there is no other"
    assert len({style.dash for style in run_styles([0, 1, 2, 3])}) == 4, "neighbours differ in more than their colours"
    assert all(MARKERS[style.marker] in style_mark(style) for style in few)
