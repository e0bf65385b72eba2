"""LaMDA++ (Azizi et al. 2024): rank by the energy of the weight's singular values."""

from __future__ import annotations

from typing import Literal

from lab.design.method.allocations.base import LESS, MORE, Ordered
from lab.design.plain.options import option


class EnergyAllocation(Ordered):
    """LaMDA++ (Azizi et al. 2024): ranks by the energy that a cut from rank_max to rank_min loses, under the same total."""

    name: Literal["energy"] = "energy"
    label, label_zh = "by energy score", "按能量得分"
    reads, reading = "weight", "energy"
    order: Literal["larger-where-more-is-lost", "larger-where-less-is-lost", "random"] = option(
        "larger-where-more-is-lost", label="order",
        help="Which projections get the larger ranks, by the energy that a cut from rank_max to rank_min loses. Sources disagree: the text this lab follows "
        "gives more rank where a cut matters less, its default the opposite, and the paper's own rule could not be read; random is the paper's ablation.",
    )  # fmt: skip

    @property
    def orders(self):
        return tuple(dict.fromkeys((MORE, LESS, self.order)))

    def measure(self, seen):
        """E(0), E(1), ... E(min(out, in)) with E(r) = Σ_{i≤r} σᵢ² / Σ σᵢ²: the share of the weight's energy in its r largest singular values."""
        energy = seen.singular_values(seen.weight).square().double().cumsum(0)
        return [0.0, *(energy / energy[-1]).tolist()]
