"""Curves of several runs on one x axis, and the mean curve of runs over seeds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

AXES = ("step", "epoch", "tokens", "time")
AXIS_CURVES = ("epoch", "tokens_per_second")  # what the axes are made of
Curve = tuple[np.ndarray, np.ndarray]  # x, values


def axis(series: Mapping[str, Any], kind: str) -> Callable[[Any], np.ndarray]:
    """From one curve (steps, values, times) to its x values: steps, epochs, estimated tokens, or seconds since the first step."""
    if kind == "epoch" and "epoch" in series:
        steps, epochs, _ = series["epoch"]
        return lambda curve: np.interp(curve[0], steps, epochs)
    if kind == "tokens" and "tokens_per_second" in series:
        steps, speed, times = series["tokens_per_second"]
        gone = np.diff(times, prepend=times[0])
        gone = np.minimum(gone, 3 * np.median(gone[1:])) if len(gone) > 1 else gone  # an evaluation between two steps is no training
        read = np.cumsum(np.nan_to_num(speed) * gone)
        return lambda curve: np.interp(curve[0], steps, read)
    if kind == "time":
        start = min((curve[2][0] for curve in series.values()), default=0.0)
        return lambda curve: curve[2] - start
    return lambda curve: curve[0].astype(float)


def mean_curve(curves: Sequence[Curve]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(x, mean, standard deviation of a sample) on the x values that all of two or more curves reach."""
    first, last = max(x[0] for x, _ in curves), min(x[-1] for x, _ in curves)
    longest = max((x for x, _ in curves), key=len)
    grid = longest[(longest >= first) & (longest <= last)]
    values = np.array([np.interp(grid, x, y) for x, y in curves])
    return grid, values.mean(0), values.std(0, ddof=1)
