"""Diff pruning (Guo et al. 2021): a sparse difference."""

from __future__ import annotations

from typing import Literal

from lab.design.method.selections.base import SelectionOptions
from lab.design.plain.options import option


class SelectMasked(SelectionOptions):
    """A sparse difference δ = z⊙w under an L0 penalty, projected to a density and finished with its mask fixed (Guo et al. 2021)."""

    what: Literal["masked"] = "masked"
    counted, words = "sparse difference", "a sparse difference"
    masks = True
    density: float = option(0.005, gt=0, le=1, label="density", help="Share of the weights that may differ at the end.")
    l0: float = option(1.25e-7, ge=0, label="L0 weight", symbol="λ", help="Weight of the expected number of open gates in the loss.")
    projection: float = option(0.5, gt=0, lt=1, label="projection", help="Fraction of the run after which the mask is fixed.")
    finish_ratio: float = option(5.0, gt=0, label="finish ratio", help="Learning rate after the projection over that before (the paper: 5e-5 over 1e-5).")
    gate_lr: float = option(0.1, gt=0, label="gate learning rate", help="Learning rate of the gates' log α; constant.")
    start: float = option(5.0, label="initial log α", help="log α of every gate at the start: open, mostly.")
    structured: bool = option(True, label="structured", help="Also one gate per tensor, multiplied with the element's own.")

    def count(self, inventory, body):
        """w and log α per weight, and one group gate per tensor, before the projection."""
        return 2 * inventory.total + inventory.tensors * self.structured, 0, round(self.density * inventory.total)

    def rate_of_gates(self, lr):
        return self.gate_lr

    def latex(self):
        return f"\\theta = \\theta_0 + z\\odot w,\\quad \\|z\\|_0 \\le {100 * self.density:g}\\%"

    def look(self, kind, place=""):
        return "sparse"
