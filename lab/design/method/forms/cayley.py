"""Cayley: h ← h·R with R = diag(R₁ … R_k), Rᵢ = (I − Qᵢ)(I + Qᵢ)⁻¹ of a skew-symmetric Qᵢ, orthogonal (OFT, Qiu et al. 2023).

For an input of 768 with blocks of 32: Q (24, 496), the entries above the diagonals of 24 blocks, 11,904 weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from lab.design.method.forms.base import Form, Part
from lab.design.plain.refusal import Refusal


class Turning:
    """What forms have in common whose `change` gives the new h, turned, in place of something to add."""

    insertions: ClassVar[tuple[str, ...]] = ("sequential", "input")
    compositions: ClassVar[tuple[str, ...]] = ("rotate",)
    inits: ClassVar[tuple[str, ...]] = ("identity",)
    identity_inits: ClassVar[tuple[str, ...]] = ("identity",)
    glyph: ClassVar[str] = "block"
    motif: ClassVar[str] = "M38 12a13 10 0 1 0 1 8M39 6v7h-7"
    peft_own: ClassVar[bool] = True
    peft_insertion: ClassVar[str] = "input"
    refusals: ClassVar[Mapping[str, str]] = {
        "insertion.parallel": "A rotation turns h itself: choose insertion sequential, or input.",
        "composition": "A rotation gives the new h: choose composition rotate.",
        "nonlinearity": "A rotation is linear: leave the nonlinearity at none, or choose form bottleneck.",
    }

    def mergeable(self, delta):
        return True

    def matrix(self: Any, p: Any) -> tuple[Any, Any] | None:
        """R − I (out, in), the change of a weight that stands before h or behind it."""
        eye = self.identity(p)
        return self.change(p, eye, None).T - eye, None


def cayley(skew: Any) -> Any:
    """(..., b, b) orthogonal from (..., b, b) skew-symmetric."""
    eye = skew.new_ones(skew.shape[-1]).diag()
    return (eye - skew) @ (eye + skew).inverse()


def blockwise(x: Any, blocks: Any) -> Any:
    """x (..., k·b), each of its k pieces times its own of the blocks (k, b, b)."""
    pieces = x.reshape(-1, *blocks.shape[:2]).transpose(0, 1)  # (k, rows, b), so that no block is copied for each row
    return (pieces @ blocks).transpose(0, 1).reshape(x.shape)


def blocks_fit(size: int, width: int) -> Any:
    """Refusal where blocks do not divide a width, with the size that does and is nearest."""
    if width % size:
        near = min((each for each in range(1, width + 1) if width % each == 0), key=lambda each: abs(each - size))
        yield Refusal("Blocks of {size} do not divide a width of {width}: choose a size that does, such as {near}.", "rank", size=size, width=width, near=near)


class Cayley(Turning, Form):
    name = "cayley"
    label, label_zh = "Cayley rotation", "Cayley 旋转"
    help = "Orthogonal blocks, each the Cayley transform of a skew-symmetric matrix, turn h."
    names = ("Q",)
    rank_label, rank_symbol = "block size", "b"
    defaults = {"insertion": "sequential", "composition": "rotate", "init": "identity", "rank": 32}
    peft_type = "OFT"
    peft_names = {"rank": "oft_block_size"}
    peft_fixed = {"r": 0, "module_dropout": 0.0, "use_cayley_neumann": False, "coft": False, "block_share": False, "bias": "none"}

    def parts(self, delta, site):
        return [Part("Q", (site.width_out // delta.rank, delta.rank * (delta.rank - 1) // 2), "zeros")]

    def problems(self, delta):
        if delta.rank < 2:
            yield Refusal("A block of 1 cannot turn: choose a block size of 2 or more.", "rank")

    def fits(self, delta, site):
        yield from blocks_fit(delta.rank, site.width_out)

    def size(self, p):
        """b, from the number of entries above a diagonal."""
        return round((1 + (1 + 8 * p.Q.shape[1]) ** 0.5) / 2)

    def identity(self, p):
        return p.Q.new_ones(len(p.Q) * self.size(p)).diag()

    def products(self, delta, site):
        return [(delta.rank * site.width_out, "Q")]

    def change(self, p, x, sigma):
        size = self.size(p)
        above = p.Q.new_ones(size, size).triu(1).bool().expand(len(p.Q), -1, -1)
        skew = p.Q.new_zeros(len(p.Q), size, size).masked_scatter(above, p.Q)
        return blockwise(x, cayley(skew - skew.mT))

    def latex(self, delta):
        return f"x\\,R_{{Q}}^{{b={delta.rank}}}"

    def lines(self, delta, x):
        return ["R_Q = (I-Q)(I+Q)^{-1}", "Q = \\mathrm{diag}(Q_i) = -Q^{\\top}"]

    def peft_tensors(self, p, s):
        return {"oft_R.weight": p.Q}
