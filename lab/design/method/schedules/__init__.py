"""The schedules of deltas by name. A new one is one file in this folder and one in lab/engine/schedules; nothing else lists it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Union

from pydantic import Field

from lab.design.method.schedules.base import ScheduleOptions
from lab.design.plain.folder import classes

__all__ = ["SCHEDULES", "Schedule", "ScheduleOptions"]

ORDER = ("adalora", "aflora", "lamda")  # of display
SCHEDULES: dict[str, type[ScheduleOptions]] = classes(__name__, __path__, ScheduleOptions, ORDER, lambda one: one.model_fields["name"].default)
if TYPE_CHECKING:
    Schedule = ScheduleOptions
else:
    Schedule = Annotated[Union[tuple(SCHEDULES.values())], Field(discriminator="name")]
