"""What a composition is: how Δh joins h, with all that follows from it.

A composition is one file in this folder. It says which of a delta's options are its own, which tensors it adds, how h and Δh become the
new h (`join`), how it merges into a weight, and how pages write and draw it and PEFT keeps it. Like a form it uses tensor operators and
methods alone, so that no torch is imported here. `module` is the engine's delta at a site (lab/engine/delta.py), which gives Δh
(`change`, or h with it: `added`), s (`strength`), g(x) (`gate_value`), its tensors by name, and W and b of the projection that it changes (`target_weight`, `target_bias`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from lab.design.method.part import Part
from lab.design.plain.refusal import Refusal

if TYPE_CHECKING:
    from lab.design.body.anatomy import Site
    from lab.design.method.delta import Delta
    from lab.design.method.forms import Form


class Mark(NamedTuple):
    """A diamond in the figure: the letter of what is learned, or read of the model, and what it says when it is pointed at."""

    letter: str
    english: str
    chinese: str


class Composition:
    """Base of all compositions."""

    name: ClassVar[str]
    label: ClassVar[str]
    label_zh: ClassVar[str]
    help: ClassVar[str]
    help_zh: ClassVar[str]
    latex: ClassVar[str]  # of what h becomes
    forms: ClassVar[tuple[str, ...]] = ()  # that it goes with besides those that name it
    misfit: ClassVar[str] = ""  # the sentence for a form that it does not go with
    options: ClassVar[tuple[str, ...]] = ()  # fields of Delta that it reads
    elsewhere: ClassVar[Mapping[str, str]] = {}  # an option of its own: the sentence where another composition is given it
    refusals: ClassVar[Mapping[str, str]] = {}  # another's option: a sentence of this one's for it
    adds: ClassVar[bool] = False  # Δh is added to h, whatever h is: `join` on zeros gives what is added
    keeps_h: ClassVar[bool] = True  # a Δh of zero leaves h as it is
    replaces: ClassVar[bool] = False  # the form makes the new h from h, without a Δh
    inside: ClassVar[bool] = False  # slots join inside the attention, by their share of its mass
    apart: ClassVar[bool] = False  # slots join inside the attention, under a softmax of their own; nothing is there at the start
    averages: ClassVar[bool] = False  # it reads x averaged over the whole sequence, which a cache hides
    alone: ClassVar[bool] = False  # no other delta may change the same representation
    made_learns: ClassVar[bool] = True  # what it makes of weights has a gradient
    unmerged: ClassVar[str] = ""  # why it cannot be merged; empty: it can where the form can
    merges_into_columns: ClassVar[bool] = False  # of the projection that reads h, where h is an activation
    low_rank: ClassVar[bool] = True  # a low-rank ΔW stays one
    peft_types: ClassVar[tuple[str, ...]] = ()  # PEFT types that hold it
    peft_type: ClassVar[str] = ""  # the type of its own that PEFT has, whatever the form's is
    peft_config: ClassVar[Mapping[str, Any]] = {}  # what it sets in their adapter_config.json
    node: ClassVar[str] = "+"  # where Δh joins h in the figure: + or ×

    def parts(self, delta: Delta, site: Site) -> list[Part]:
        """Its own tensors at a site."""
        return []

    def problems(self, delta: Delta, form: Form) -> Iterator[Refusal]:
        """What its options mean nothing for."""
        return iter(())

    def strength(self, delta: Delta) -> Any:
        """s: a number, or `learned`."""
        return 1.0

    def weight_problems(self, delta: Delta) -> Iterator[Refusal]:
        """Of a composition that reads the weight of a projection: where there is none, or something stands before it."""
        if not delta.reads_projection:
            yield Refusal("{name} changes the weight of a projection: choose parallel at projections such as attn.q.", "composition", name=self.name)
        if delta.norm != "none":
            yield Refusal("{name} changes the weight of a projection, before which no layer norm fits: leave it at none.", "norm", name=self.name)

    def products(self, delta: Delta, site: Site, own: list[tuple[int, str]]) -> list[tuple[int, str]]:
        """The products that its Δh takes where the form by itself takes `own` (`Form.products`)."""
        return own

    def making(self, delta: Delta, site: Site) -> int:
        """Multiply-adds of the products that it makes of weights alone, once a step; `made_learns`: with a gradient of both sides."""
        return 0

    # -- in the engine

    def start(self, module: Any) -> None:
        """Set parts that start from the model's own weights."""

    def join(self, module: Any, h: Any, x: Any) -> Any:
        """The new h (..., width_out) from h and x (..., width_in)."""
        raise NotImplementedError

    def penalty(self, module: Any) -> Any:
        """What the loss of a step takes for its tensors at a site (a scalar); None: nothing."""
        return None

    def merged(self, module: Any, insertion: Any, weight: Any, bias: Any) -> tuple[Any, Any]:
        """(W (out, in), b (out,)) of the projection with the delta in them; None: it stays as it is."""
        return insertion.merged(weight, bias, *module.form.matrix(module.parts()), module.strength)

    def peft_tensors(self, each: list[tuple[Any, Any]]) -> dict[str, Any]:
        """{suffix: tensor} that PEFT keeps for one projection beside the form's; `each`: (module, Located) of its deltas."""
        return {}

    # -- on pages

    def equation(self, delta: Delta, form: Form) -> str:
        """The right side of h ← ..., with the current numbers."""
        return self.latex

    def lines(self, delta: Delta) -> list[str]:
        """Equations of what it adds."""
        return []

    def mark(self, delta: Delta) -> Mark | None:
        """What stands on Δh's path in the figure; None: nothing that is learned."""
        return None
