"""What acts between two steps: the schedule of a delta, found by the name of its options, and those of selections."""

from __future__ import annotations

import importlib
from collections.abc import Callable

from lab.design.method.schedules import ScheduleOptions
from lab.design.plain import plugins
from lab.engine.schedules.base import Schedule
from lab.engine.schedules.diff_pruning import DiffPruning
from lab.engine.schedules.lisa import LISA

__all__ = ["DiffPruning", "LISA", "Schedule", "of_delta"]


def of_delta(options: ScheduleOptions) -> Callable[..., Schedule]:
    """What makes the schedule of some deltas from its options: the class that a file of the options' name has under SCHEDULE, in this folder or of a plug-in."""
    own = {one.name: one.module for one in plugins.of_group("engine_schedules") if one.module is not None}
    return (own.get(options.name) or importlib.import_module(f"{__name__}.{options.name}")).SCHEDULE
