"""Fixed sparse masks: SHiRA (Bhardwaj et al. 2024) on projections, FISH mask (Sung et al. 2021) on the whole model."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import field_validator

from lab.design.body.anatomy import Site
from lab.design.method.selections.base import SelectionOptions
from lab.design.plain.options import option
from lab.design.plain.refusal import Refusal
from lab.design.space import PROJECTIONS, SETS, PlaceName


class SelectSparse(SelectionOptions):
    """θ + M⊙δ with a mask M that is chosen before training; only the entries of δ within it have values, gradients and moments."""

    what: Literal["sparse"] = "sparse"
    counted, words = "fixed entries", "fixed entries of weights"
    entries = True
    score: Literal["random", "magnitude", "gradient", "fisher"] = option(
        "random",
        label="score",
        help="What chooses the entries: chance, the largest |θ|, the largest |Σ∇θ|, or the largest Σ(∇θ)² over rows of the training data.",
    )
    at: list[PlaceName] | None = option(
        None, min_length=1, label="projections", help="Whose weights have entries, each its share; empty: all of the model, which compete."
    )
    rank: int | None = option(
        None,
        ge=1,
        le=65536,
        label="budget as rank",
        symbol="r",
        help="r·(in + out) entries in each projection, as many weights as a LoRA has. Empty: by density.",
    )
    density: float = option(0.01, gt=0, le=1, label="density", help="Share of the entries that train, where no rank says how many.")
    rows: int = option(256, ge=1, le=100_000, label="rows", help="Rows of the training data that scores gradient and fisher look at.")

    @field_validator("at", mode="before")
    @classmethod
    def _one_by_itself(cls, at: Any) -> Any:
        """`at: all-linear` is written without brackets."""
        return [at] if isinstance(at, str) else at

    def problems(self, deltas):
        yield from super().problems(deltas)
        wrong = [name for name in self.at or () if name not in SETS and (name not in PROJECTIONS or name == "ffn.out")]
        if wrong:
            yield Refusal("A mask is on the weight of a projection, and {name} is none: choose attn.q or ffn.down, for one.", "select.at", name=wrong[0])
        if self.rank is not None and not self.at:
            yield Refusal("Over the whole model entries are counted by density: leave the rank empty, or name projections.", "select.rank")

    def problems_on(self, body):
        try:
            sites = self.sites(body)
        except Refusal as problem:
            yield Refusal(problem.sentence, "select.at")
            return
        for site in sites:
            if self.entries_of(site) > site.width_in * site.width_out:
                yield Refusal(
                    "Rank {rank} asks for more entries than {representation} has: choose a smaller one.",
                    "select.rank",
                    rank=self.rank,
                    representation=site.representation,
                )
                return

    def sites(self, body: Any) -> list[Site]:
        """The projections whose weights have entries; none where all weights of the model may."""
        return body.projections(self.at) if self.at else []

    def entries_of(self, site: Site) -> int:
        """How many entries of a projection's weight train."""
        return self.rank * (site.width_in + site.width_out) if self.rank else max(1, round(self.density * site.width_in * site.width_out))

    def count(self, inventory, body):
        total = sum(map(self.entries_of, self.sites(body))) if self.at else max(1, round(self.density * inventory.total))
        return total, 0, total

    @property
    def looks(self):
        return self.score in ("gradient", "fisher")

    @property
    def uneven(self):
        return not self.at

    @property
    def matrices(self):
        return False

    def in_peft(self, body):
        if not self.at or self.rank is None:
            raise Refusal("A SHiRA in PEFT has r·(in + out) entries in each of its projections: give at and rank", "format")
        if body.architecture.conv1d or any(body.is_slice(site.representation) for site in self.sites(body)):
            raise Refusal("A SHiRA in PEFT is at linear layers by themselves, and {name} has other ones there", "format", name=body.architecture.name)
        return "SHIRA"

    def latex(self):
        size = f"r(d_{{in}} + d_{{out}}),\\ r = {self.rank}" if self.rank else f"{100 * self.density:g}\\%"
        return f"\\theta = \\theta_0 + M\\odot\\delta,\\quad \\|M\\|_0 = {size}\\quad\\text{{({self.score})}}"

    def look(self, kind, place=""):
        if not self.at:
            return "sparse"
        return "sparse" if place in {name for chosen in self.at for name in SETS.get(chosen, (chosen,))} else "frozen"
