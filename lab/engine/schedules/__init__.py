"""Schedules by the name of their options."""

from __future__ import annotations

from lab.engine.schedules.adalora import AdaLoRA
from lab.engine.schedules.aflora import AFLoRA
from lab.engine.schedules.base import Schedule
from lab.engine.schedules.diff_pruning import DiffPruning
from lab.engine.schedules.lamda import LaMDA
from lab.engine.schedules.lisa import LISA

OF_DELTAS = {"adalora": AdaLoRA, "aflora": AFLoRA, "lamda": LaMDA}

__all__ = ["OF_DELTAS", "DiffPruning", "LISA", "Schedule"]
