"""What changes during training, and how rank is shared out: options only (the engine's schedules/ does the work).

Times are fractions of the run, so one preset serves a run of 150 steps and one of 150,000; papers' step counts are in the presets.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Union

from pydantic import Field, field_validator

from lab.design.plain.options import Options, option


class AdaLoRABudget(Options):
    """AdaLoRA (Zhang et al. 2023): triplets are masked by importance while the budget falls on a cubic."""

    name: Literal["adalora"] = "adalora"
    target_rank: float = option(4, gt=0, label="target rank", symbol="r_T", help="Mean rank per projection when the budget has fallen.")
    start: float = option(0.1, ge=0, lt=1, label="start", symbol="t_i", help="Fraction of the run before the budget begins to fall.")
    finish: float = option(0.4, ge=0, lt=1, label="finish", symbol="t_f", help="Fraction of the run, at its end, with the final budget.")
    every: int = option(10, ge=1, unit="steps", label="every", symbol="ΔT", help="Steps between two reallocations while the budget falls.")
    orthogonality: float = option(0.1, ge=0, label="orthogonality", symbol="γ", help="Weight of the penalty that keeps P and Q orthogonal.")
    beta1: float = option(0.85, ge=0, lt=1, label="β₁", help="Smoothing of the sensitivity.")
    beta2: float = option(0.85, ge=0, lt=1, label="β₂", help="Smoothing of its uncertainty.")


class AFLoRAFreezing(Options):
    """AFLoRA (Liu et al. 2024): A and B are frozen tensor by tensor, by a smoothed score, on a cubic."""

    name: Literal["aflora"] = "aflora"
    start: float = option(0.1, ge=0, lt=1, label="start", symbol="t_i", help="Fraction of the run in which all of A and B train.")
    finish: float = option(0.6, ge=0, lt=1, label="finish", symbol="t_f", help="Fraction of the run, at its end, in which none of them train.")
    every: int = option(10, ge=1, unit="steps", label="every", help="Steps over which |gradient| is averaged, and between two decisions.")
    rule: Literal["code", "paper"] = option(
        "code", label="rule", help="code: of what still trains, freeze tensors whose mean score is under the elements' 1 − r(t) quantile, as released (it compounds); paper: keep the share r(t) of all tensors."
    )
    frozen_from_start: list[Literal["attn.q", "attn.k", "attn.v", "attn.qkv", "attn.out"]] = option(
        default_factory=list, label="frozen from the start", help="Representations whose A and B never train."
    )
    beta1: float = option(0.85, ge=0, lt=1, label="β₁", help="Smoothing of the score.")
    beta2: float = option(0.95, ge=0, lt=1, label="β₂", help="Smoothing of its uncertainty.")


class LaMDAFreezing(Options):
    """LaMDA (Azizi et al. 2024): B's columns freeze in order of falling singular value during the first η of the run."""

    name: Literal["lamda"] = "lamda"
    mode: Literal["gradual", "early", "never"] = option(
        "gradual", label="freezing of B", help="gradual: column by column; early: frozen from the start; never: trains throughout."
    )
    fraction: float = option(0.3, gt=0, le=1, label="fraction", symbol="η", help="Fraction of the run after which all of B is frozen.")


Schedule = Annotated[Union[AdaLoRABudget, AFLoRAFreezing, LaMDAFreezing], Field(discriminator="name")]


class EnergyAllocation(Options):
    """LaMDA++ (Azizi et al. 2024): ranks by the energy that a cut from rank_max to rank_min loses, under the same total."""

    name: Literal["energy"] = "energy"
    rank_min: int = option(16, ge=1, label="smallest rank", symbol="r_min", help="The smallest of the ranks that are shared out.")
    rank_max: int = option(48, ge=1, label="largest rank", symbol="r_max", help="The largest of the ranks that are shared out.")
    order: Literal["larger-where-more-is-lost", "larger-where-less-is-lost", "random"] = option(
        "larger-where-more-is-lost", label="order",
        help="Which projections get the larger ranks, by the energy that a cut from rank_max to rank_min loses. Sources disagree: the text this lab follows "
        "gives more rank where a cut matters less, its default the opposite, and the paper's own rule could not be read; random is the paper's ablation.",
    )  # fmt: skip
    within: Literal["shape", "all"] = option(
        "shape", label="shared out among", help="shape: among projections of equal shape, so that the count of weights is known before they are read; all: among all, and the count is known once they are read."
    )

    @field_validator("order", mode="before")
    @classmethod
    def _earlier_names(cls, order: Any) -> Any:
        """What runs frozen by earlier versions say."""
        return {"descending": "larger-where-more-is-lost", "ascending": "larger-where-less-is-lost"}.get(order, order) if isinstance(order, str) else order


class SelectAll(Options):
    """Every weight of the model trains."""

    what: Literal["all"] = "all"


class SelectHead(Options):
    """Nothing of the model trains, only the new task head: the baseline that every method must beat."""

    what: Literal["head"] = "head"


class SelectBias(Options):
    """The biases that the model has (BitFit, Ben Zaken et al. 2022)."""

    what: Literal["bias"] = "bias"


class SelectNorm(Options):
    """Weights and biases of the norm layers (Zhao et al. 2024)."""

    what: Literal["norm"] = "norm"


class SelectLayers(Options):
    """Embeddings, final norm and head always, and `active` random layers, drawn again every `every` steps (LISA, Pan et al. 2024)."""

    what: Literal["layers"] = "layers"
    active: int = option(2, ge=1, label="active layers", symbol="γ", help="Layers that train at any one step.")
    every: int = option(20, ge=1, unit="steps", label="period", symbol="K", help="Steps between two draws; the optimizer's state is dropped at each.")


class SelectMasked(Options):
    """A sparse difference δ = z⊙w under an L0 penalty, projected to a density and finished with its mask fixed (Guo et al. 2021)."""

    what: Literal["masked"] = "masked"
    density: float = option(0.005, gt=0, le=1, label="density", help="Share of the weights that may differ at the end.")
    l0: float = option(1.25e-7, ge=0, label="L0 weight", symbol="λ", help="Weight of the expected number of open gates in the loss.")
    projection: float = option(0.5, gt=0, lt=1, label="projection", help="Fraction of the run after which the mask is fixed.")
    finish_ratio: float = option(5.0, gt=0, label="finish ratio", help="Learning rate after the projection over that before (the paper: 5e-5 over 1e-5).")
    gate_lr: float = option(0.1, gt=0, label="gate learning rate", help="Learning rate of the gates' log α; constant.")
    start: float = option(5.0, label="initial log α", help="log α of every gate at the start: open, mostly.")
    structured: bool = option(True, label="structured", help="Also one gate per tensor, multiplied with the element's own.")


Selection = Annotated[Union[SelectAll, SelectHead, SelectBias, SelectNorm, SelectLayers, SelectMasked], Field(discriminator="what")]
