"""What an allocation of rank is: its options, what it reads of each site, and what ranks are worth there.

An allocation is one file in this folder. `measure` says what a site's first 0, 1, 2 ... ranks are worth, from what the engine has seen of
it (`lab.design.method.starts.SiteView`); lab/design/method/allocation.py shares the ranks out by that, in one of two ways: an `Ordered`
allocation fixes the ladder of ranks beforehand and lets scores decide which site gets which; one without an order gives each rank to
the site where it is worth most.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import field_validator

from lab.design.method.forms import FORMS
from lab.design.plain.message import listed
from lab.design.plain.options import Options, option
from lab.design.plain.refusal import Refusal

if TYPE_CHECKING:
    from lab.design.method.delta import Delta
    from lab.design.method.starts import SiteView

MORE, LESS = "larger-where-more-is-lost", "larger-where-less-is-lost"


class AllocationOptions(Options):
    """Base of all allocations; a subclass has a field `name` of one literal."""

    label: ClassVar[str]
    label_zh: ClassVar[str]
    forms: ClassVar[tuple[str, ...]] = tuple(name for name, form in FORMS.items() if form.ranked)
    reads: ClassVar[str]  # weight, gradient or inputs
    reading: ClassVar[str]  # how its scores are named among a run's readings
    cumulative: ClassVar[bool] = True  # its measure is the share of a whole that ranks keep
    rank_min: int = option(16, ge=1, label="smallest rank", symbol="r_min", help="The smallest of the ranks that are shared out.")
    rank_max: int = option(48, ge=1, label="largest rank", symbol="r_max", help="The largest of the ranks that are shared out.")
    within: Literal["shape", "all"] = option(
        "shape",
        label="shared out among",
        help="shape: among projections of equal shape, so that the count of weights is known before they are read; all: among all, and the count is known once they are read.",
    )
    if TYPE_CHECKING:

        @property
        def name(self) -> str: ...

    @property
    def orders(self) -> tuple[str, ...]:
        """The orders that a run's readings compare, its own among them."""
        return ()

    def measure(self, seen: SiteView) -> list[float]:
        """What a site's first 0, 1, 2 ... ranks are worth."""
        raise NotImplementedError

    def score(self, measure: Sequence[float]) -> float:
        """One number of it: what a cut from rank_max to rank_min loses."""
        low, high = (measure[min(rank, len(measure) - 1)] for rank in (self.rank_min, self.rank_max))
        return high - low

    def problems(self, delta: Delta) -> Iterator[Refusal]:
        """Why a delta cannot have it; fields are the delta's."""
        if delta.form not in self.forms or not (delta.beside_weights if self.reads == "weight" else delta.reads_projection):
            yield Refusal(
                "Rank is shared out over projections by what each reads: choose form {forms}, parallel, at projections such as attn.q.",
                "allocation",
                forms=listed(self.forms, " or "),
            )
        elif self.rank_min > delta.rank or self.rank_max < delta.rank:
            yield Refusal("Rank {rank} is the mean: it must lie between rank_min and rank_max.", "allocation.rank_min", rank=delta.rank)
        if delta.schedule and delta.schedule.shares_rank:
            yield Refusal("AdaLoRA shares out rank by itself: leave the allocation empty.", "allocation")

    def without_effect(self, delta: Delta) -> Iterator[Refusal]:
        """Why it would change nothing; fields are the delta's."""
        if self.rank_min == self.rank_max:
            yield Refusal(
                "Between ranks of {rank_min} and {rank_max} there is nothing to share out: set rank_min and rank_max apart, or leave the allocation empty.",
                "allocation.rank_max",
                rank_min=self.rank_min,
                rank_max=self.rank_max,
            )

    @classmethod
    def numbers(cls, rank: int) -> dict[str, Any]:
        """Options that fit a delta of this rank."""
        return {"rank_min": rank - rank // 2, "rank_max": rank + rank // 2}


class Ordered(AllocationOptions):
    """Ranks in even steps from rank_max to rank_min, in the order of a score."""

    order: Literal["larger-where-more-is-lost", "larger-where-less-is-lost", "random"] = option(
        "larger-where-more-is-lost", label="order",
        help="Which projections get the larger ranks: those of the larger score, those of the smaller one, or any, by the seed.",
    )  # fmt: skip

    @field_validator("order", mode="before")
    @classmethod
    def _earlier_names(cls, order: Any) -> Any:
        """What runs frozen by earlier versions say."""
        return {"descending": MORE, "ascending": LESS}.get(order, order) if isinstance(order, str) else order
