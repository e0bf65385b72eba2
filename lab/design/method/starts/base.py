"""What a start is: how the parts of a low-rank form begin, before the first step.

A start is one file in this folder. One that is drawn at random says the initialisers of its parts (`draws`). One that reads something
says what (`reads`) and makes its parts of it (`parts`), with the helpers of `seen`, so that no torch is imported here. Where `residual`
is set, the frozen weight keeps W − s·B·S·A, and the model is unchanged at step 0.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from lab.design.method.compositions import COMPOSITIONS
from lab.design.plain.message import listed
from lab.design.plain.refusal import Refusal

if TYPE_CHECKING:
    from lab.design.method.delta import Delta

KAIMING = "kaiming:2.23606797749979"
LOOKS = ("gradient", "inputs", "covariance")  # what is seen of rows of the training data
LATER = "later"  # set from what the start reads
DRAWN = {"A": KAIMING, "B": "zeros", "core": "identity", "d": "constant:1", "b": "constant:1"}


class SiteView(Protocol):
    """What the engine knows of one site (lab/engine/starting.py): tensors in fp32."""

    rank: int
    scale: float  # s
    gradient: Any  # ∂loss/∂W (out, in), summed over rows of the training data
    covariance: Any  # of what the projection reads there (in, in), uncentred
    inputs: Any  # `directions` (k, in) and `shares` of variance of what the projection reads there (lab/engine/components.py)

    @property
    def weight(self) -> Any:
        """W (out, in)."""

    def singular_values(self, matrix: Any) -> Any:
        """σ (k,) alone, falling."""

    def svd(self, matrix: Any) -> tuple[Any, Any, Any]:
        """(U (out, k), σ (k,) falling, Vᵀ (k, in)), k the smaller side."""

    def inverse(self, matrix: Any) -> Any:
        """Of a square matrix."""

    def qr(self, matrix: Any) -> tuple[Any, Any]:
        """(Q (out, k), R (k, in)), k the smaller side."""

    def orthonormal(self, length: int) -> Any:
        """(length, rank): random columns of length 1, at right angles."""


class Start:
    """Base of all starts."""

    name: ClassVar[str] = ""
    help: ClassVar[str] = ""
    help_zh: ClassVar[str] = ""
    forms: ClassVar[tuple[str, ...]] = ("lowrank",)
    draws: ClassVar[Mapping[str, str]] = DRAWN  # an initialiser of lab/engine/initial.py for each part
    cores: ClassVar[tuple[str, ...]] = ("none", "diagonal", "square")  # that it goes with
    reads: ClassVar[str] = ""  # weight; one of LOOKS, by a look at rows of the training data; or nothing
    residual: ClassVar[bool] = False  # it is taken out of the weight
    at_zero: ClassVar[bool] = True  # Δh, or what is left of it beside the residual, is zero
    singular: ClassVar[int] = 0  # how many singular values it takes, in ranks

    def problems(self, delta: Delta) -> Iterator[Refusal]:
        """What a delta with this start cannot be; fields are the delta's."""
        if delta.core not in self.cores:
            yield Refusal("Initialisation {name} needs core {cores}: choose it.", "core", name=self.name, cores=listed(self.cores, " or "))
        if self.reads and not delta.reads_projection:
            yield Refusal("Initialisation {name} is of a projection's own weight: choose parallel at projections such as attn.q.", "init", name=self.name)
        if self.residual and (delta.scale == "learned" or COMPOSITIONS[delta.composition].averages):
            yield Refusal(
                "Initialisation {name} leaves the residual in the weight, so its scale must be fixed: choose composition scaled.", "composition", name=self.name
            )
        if self.residual and (delta.norm != "none" or delta.vectors):
            yield Refusal("Initialisation {name} replaces part of the weight: leave the layer norm at none and the vectors off.", "init", name=self.name)

    def parts(self, seen: SiteView) -> dict[str, Any]:
        """The parts that it sets: B (out, r), core (r, r), A (r, in)."""
        return {}


UNKNOWN = Start()  # of a form without starts of this kind
