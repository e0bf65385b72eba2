"""What a functional form is: the parts that it is made of and the formula that turns x into Δh.

A form is one file in this folder. It says which tensors it needs (`parts`), how they make Δh, and how it merges into a weight where
the maths allows (`matrix`). How they make Δh is a list of `steps` that the engine executes and the equation writes; a form that these
steps cannot say gives `change` (tensor operators and methods alone, so that no torch is imported here) and `latex` in their place.
The engine creates the tensors, finds x and h, composes, saves and counts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Callable, ClassVar, Mapping

from lab.design.method.step import Step

if TYPE_CHECKING:
    from lab.design.body.anatomy import Site
    from lab.design.method.delta import Delta


@dataclass(frozen=True)
class Part:
    """One tensor of a form at one site.

    `init` names an initialiser of lab/engine/initial.py, with its arguments after colons: `zeros`, `constant:0.1`,
    `normal:0.02`, `kaiming:2.2360679` (uniform, by its `a`), `truncated:0.01`, `svd` (set by the form's spectral start).
    """

    name: str
    shape: tuple[int, ...]
    init: str
    kind: str = "weight"  # weight, bias, norm or scalar: papers' formulas count only the first
    trains: bool = True

    @property
    def size(self) -> int:
        """Number of weights."""
        total = 1
        for side in self.shape:
            total *= side
        return total


class Form:
    """Base of all forms. Class attributes say what may be combined with it; rules.py reads them."""

    name: ClassVar[str]
    label: ClassVar[str]
    label_zh: ClassVar[str] = ""
    help: ClassVar[str]
    names: ClassVar[tuple[str, ...]] = ()  # of all parts that it may have
    rank_label: ClassVar[str] = "rank"
    rank_symbol: ClassVar[str] = "r"
    defaults: ClassVar[Mapping[str, Any]] = {}  # of Delta's fields, where a method leaves them out
    representations: ClassVar[tuple[str, ...]] = ()  # empty: all of them
    insertions: ClassVar[tuple[str, ...]] = ("parallel", "sequential")
    compositions: ClassVar[tuple[str, ...]] = ("add", "scaled", "learned-gate")
    nonlinearities: ClassVar[tuple[str, ...]] = ("none",)
    inits: ClassVar[tuple[str, ...]] = ()
    identity_inits: ClassVar[tuple[str, ...]] = ()  # those that leave the model unchanged at step 0
    shared: ClassVar[tuple[str, ...]] = ()  # parts that may live once for all sites (`shared: true`)
    options: ClassVar[tuple[str, ...]] = ()  # fields of Delta that only some forms understand
    refusals: ClassVar[Mapping[str, str]] = {}  # "composition.gated": the sentence for a combination without meaning
    has_rank: ClassVar[bool] = True

    def parts(self, delta: Delta, site: Site) -> list[Part]:
        """The tensors that a delta has at a site, with their shapes, starts, and whether they train."""
        raise NotImplementedError

    def steps(self, delta: Delta) -> list[Step]:
        """From x to Δh. Of a form with `change` and `latex`: one step that stands for them."""
        return [Step("form")]

    def change(self, p: Any, x: Any, sigma: Callable[[Any], Any]) -> Any:
        """Δh from x. `p` gives the parts by name (`p.A`), `sigma` is the nonlinearity."""
        raise NotImplementedError

    def matrix(self, p: Any) -> tuple[Any, Any] | None:
        """(ΔW (out, in), Δb (out,) or None) where Δh is linear in x; None where it is not."""
        return None

    def mergeable(self, delta: Delta) -> bool:
        """Whether Δh is linear in x with these options, so that a weight can take it up."""
        return False

    def latex(self, delta: Delta) -> str:
        """Δh as LaTeX, with the current numbers in it."""
        raise NotImplementedError
