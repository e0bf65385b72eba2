"""How rank is shared out over the sites of a delta: options (allocation.py does the sharing, the engine reads the weights)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import field_validator

from lab.design.plain.options import Options, option
from lab.design.plain.refusal import Refusal

if TYPE_CHECKING:
    from lab.design.method.delta import Delta


class EnergyAllocation(Options):
    """LaMDA++ (Azizi et al. 2024): ranks by the energy that a cut from rank_max to rank_min loses, under the same total."""

    name: Literal["energy"] = "energy"
    label: ClassVar[str] = "by energy score"
    label_zh: ClassVar[str] = "按能量得分"
    forms: ClassVar[tuple[str, ...]] = ("lowrank",)
    rank_min: int = option(16, ge=1, label="smallest rank", symbol="r_min", help="The smallest of the ranks that are shared out.")
    rank_max: int = option(48, ge=1, label="largest rank", symbol="r_max", help="The largest of the ranks that are shared out.")
    order: Literal["larger-where-more-is-lost", "larger-where-less-is-lost", "random"] = option(
        "larger-where-more-is-lost", label="order",
        help="Which projections get the larger ranks, by the energy that a cut from rank_max to rank_min loses. Sources disagree: the text this lab follows "
        "gives more rank where a cut matters less, its default the opposite, and the paper's own rule could not be read; random is the paper's ablation.",
    )  # fmt: skip
    within: Literal["shape", "all"] = option(
        "shape",
        label="shared out among",
        help="shape: among projections of equal shape, so that the count of weights is known before they are read; all: among all, and the count is known once they are read.",
    )

    @field_validator("order", mode="before")
    @classmethod
    def _earlier_names(cls, order: Any) -> Any:
        """What runs frozen by earlier versions say."""
        return {"descending": "larger-where-more-is-lost", "ascending": "larger-where-less-is-lost"}.get(order, order) if isinstance(order, str) else order

    def problems(self, delta: Delta) -> Iterator[Refusal]:
        """Why a delta cannot have it; fields are the delta's."""
        if delta.form not in self.forms or not delta.beside_weights:
            yield Refusal("The energy score is of a projection's weight: choose form lowrank, parallel, at projections such as attn.q.", "allocation")
        elif self.rank_min > delta.rank or self.rank_max < delta.rank:
            yield Refusal(f"Rank {delta.rank} is the mean: it must lie between rank_min and rank_max.", "allocation.rank_min")
        if delta.schedule and delta.schedule.shares_rank:
            yield Refusal("AdaLoRA shares out rank by itself: leave the allocation empty.", "allocation")

    def without_effect(self, delta: Delta) -> Iterator[Refusal]:
        """Why it would change nothing; fields are the delta's."""
        if self.rank_min == self.rank_max:
            yield Refusal(
                f"Between ranks of {self.rank_min} and {self.rank_max} there is nothing to share out: set rank_min and rank_max apart, or leave the allocation empty.",
                "allocation.rank_max",
            )

    @classmethod
    def numbers(cls, rank: int) -> dict[str, Any]:
        """Options that fit a delta of this rank."""
        return {"rank_min": rank - rank // 2, "rank_max": rank + rank // 2}


ALLOCATIONS = {"energy": EnergyAllocation}
