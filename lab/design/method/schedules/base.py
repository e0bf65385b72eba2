"""What a schedule of a delta is: its options, the deltas that it takes, the parts that it freezes, and what stands of it on pages.

A schedule is one file in this folder with its options, and one of the same name in lab/engine/schedules that acts between two steps.
Times are fractions of the run, so one preset serves a run of 150 steps and one of 150,000; papers' step counts are in the presets.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, ClassVar

from lab.design.plain.message import listed
from lab.design.plain.options import Options
from lab.design.plain.refusal import Refusal

if TYPE_CHECKING:
    from lab.design.body.anatomy import Site
    from lab.design.method.delta import Delta


class ScheduleOptions(Options):
    """Base of all schedules; a subclass has a field `name` of one literal."""

    label: ClassVar[str]
    label_zh: ClassVar[str]
    forms: ClassVar[tuple[str, ...]] = ("lowrank",)
    shares_rank: ClassVar[bool] = False  # it decides by itself over the ranks of sites
    freezes: ClassVar[bool] = False  # less trains at the end, and the beginning needs the most memory
    peft_type: ClassVar[str] = ""  # the type of its own that PEFT has
    if TYPE_CHECKING:

        @property
        def name(self) -> str: ...

    def problems(self, delta: Delta) -> Iterator[Refusal]:
        """Why a delta cannot have this schedule; fields are the delta's."""
        if delta.form not in self.forms:
            yield Refusal(
                "A schedule {schedule} goes with form {forms}: choose it, or take the schedule away.",
                "schedule",
                schedule=self.label,
                forms=listed(self.forms, " or "),
            )

    def without_effect(self, delta: Delta) -> Iterator[Refusal]:
        """Why it, or an option of it, would do nothing to this delta; not asked of what has been trained."""
        return iter(())

    def notes(self, delta: Delta, places: set[str]) -> Iterator[tuple[str, str]]:
        """(field, sentence) of what changes nothing where the delta sits."""
        return iter(())

    def trains(self, delta: Delta, site: Site, part: str) -> bool:
        """Whether a part trains at the start."""
        return True

    def trains_at_the_end(self, part: str) -> bool:
        """Whether a part that trains at the start still does when the schedule is over."""
        return True

    def final(self, delta: Delta, count: int) -> int:
        """What is left of a count of weights that train at the end."""
        return count

    def over_time(self, language: str) -> str:
        """What stands under the rank in the figure."""
        return ""

    def look(self, part: str) -> str:
        """How the figure fills A or B: still (frozen), cooling (it freezes during the run) or as what trains."""
        return ""

    @classmethod
    def numbers(cls, rank: int) -> dict[str, Any]:
        """Options that fit a delta of this rank."""
        return {}


def window(schedule: Any) -> Iterator[Refusal]:
    """Of a schedule with a `start` and a `finish`: there must be time between them."""
    if schedule.start + schedule.finish >= 1:
        yield Refusal("start and finish together must leave time for the change: their sum must be below 1.", "schedule.start")
