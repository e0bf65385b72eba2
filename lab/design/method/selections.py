"""Which of the model's own weights train, and how: options of a method's selection (the engine's select.py and schedules/ do the work)."""

from __future__ import annotations

from typing import Annotated, Literal, Union

from pydantic import Field

from lab.design.plain.options import Options, option


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
