"""What acts between two steps: the schedule of a delta, found by the name of its options, and those of selections."""

from __future__ import annotations

import importlib
from collections.abc import Callable

from lab.design.method.schedules import ScheduleOptions
from lab.engine.schedules.base import Schedule
from lab.engine.schedules.diff_pruning import DiffPruning
from lab.engine.schedules.lisa import LISA

__all__ = ["DiffPruning", "LISA", "Schedule", "of_delta"]


def of_delta(options: ScheduleOptions) -> Callable[..., Schedule]:
    """What makes the schedule of some deltas from its options: the class that a file of the options' name in this folder has under SCHEDULE."""
    return importlib.import_module(f"{__name__}.{options.name}").SCHEDULE
