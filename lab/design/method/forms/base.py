"""What a functional form is: the parts that it is made of and the formula that turns x into Δh.

A form is one file in this folder. It says which tensors it needs (`parts`), how they make Δh, and how it merges into a weight where
the maths allows (`matrix`). How they make Δh is a list of `steps` that the engine executes and the equation writes; a form that these
steps cannot say gives `change` (tensor operators and methods alone, so that no torch is imported here; `p.fourier` has transforms) and
`latex` in their place.
The engine creates the tensors, finds x and h, composes, saves and counts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from lab.design.method.part import Part
from lab.design.method.starts import UNKNOWN, Start
from lab.design.method.step import Step
from lab.design.plain.refusal import Refusal

if TYPE_CHECKING:
    from lab.design.body.anatomy import Site
    from lab.design.method.delta import Delta


__all__ = ["Form", "Part"]


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
    ranked: ClassVar[tuple[str, int] | None] = None  # (part, axis) as long as the rank of a site, where each may have its own (`site.rank`)
    rank_is_width: ClassVar[bool] = True  # it is a number of dimensions, of which a model has so many
    alone: ClassVar[bool] = False  # it reads W, so no other delta may change the same representation
    remade: ClassVar[bool] = (
        False  # what `change` makes on its way (a matrix as large as the weight, spectra of x) is made again for the gradient instead of kept
    )
    own_input: ClassVar[bool] = False  # at attn.out it reads the projection's own input, not the sublayer's
    reads_x: ClassVar[bool] = True  # whether there is an x that a layer norm could stand on
    vector: ClassVar[str] = ""  # the letter of a form that is one vector, which meets h without a path of its own
    over_frozen: ClassVar[bool] = False  # its Δh are those of the frozen deltas at its place
    before_input: ClassVar[bool] = False  # one set of rows before the input of the first stack, in place of a change at sites
    produced: ClassVar[tuple[str, ...]] = ()  # parts that a reparameterisation makes
    glyph: ClassVar[str] = "waist"  # how the figure draws it: waist, rows, pairs, vector, block
    motif: ClassVar[str] = ""  # of a block: what is drawn into its 52 × 34 px, as SVG path data
    peft_type: ClassVar[str] = "LORA"  # that holds it, where its options and composition allow it
    peft_own: ClassVar[bool] = False  # that type holds this form alone, by `peft_config` and `peft_tensors`
    peft_conv1d: ClassVar[bool] = False  # and on transformers' Conv1D too
    peft_scales: ClassVar[bool] = False  # and has an s of its own
    peft_insertion: ClassVar[str] = "parallel"  # of that type
    peft_names: ClassVar[Mapping[str, str]] = {"rank": "r"}  # options of a delta by the keys that adapter_config.json of that type has for them
    peft_strength: ClassVar[tuple[str, bool]] = ("", False)  # the key of s there, and whether it is multiplied by the rank; "": s is in the tensors
    peft_fixed: ClassVar[Mapping[str, Any]] = {}  # what else it says
    peft_each_place: ClassVar[bool] = False  # several deltas of it that differ in their places alone are one adapter of that type
    joined: ClassVar[str] = ""  # of what h becomes, where the form decides it

    by_tensor: ClassVar[bool] = False  # whether two of them are combined tensor by tensor (combining.py)

    def product(self, delta: Delta) -> tuple[str, ...]:
        """The two parts whose product ΔW is, if it is nothing else: a weight goes to each of them by its root."""
        return ()

    def parts(self, delta: Delta, site: Site) -> list[Part]:
        """The tensors that a delta has at a site, with their shapes, starts, and whether they train."""
        raise NotImplementedError

    def steps(self, delta: Delta) -> list[Step]:
        """From x to Δh. Of a form with `change` and `latex`: one step that stands for them."""
        return [Step("form")]

    def change(self, p: Any, x: Any, sigma: Callable[[Any], Any]) -> Any:
        """Δh from x. `p` gives the parts by name (`p.A`), `p.site` and `p.target_weight()`; `sigma` is the nonlinearity."""
        raise NotImplementedError

    def products(self, delta: Delta, site: Site) -> list[tuple[int, str]]:
        """(multiply-adds at one position, a part that its matrix is made of; "": the model's own) of each product from x to Δh, in order.

        A vector, by which entries are multiplied one by one, counts none, but has its place: what stands before it has a gradient if it trains.
        """
        sizes = {part.name: part.size for part in self.parts(delta, site)}
        return [(sizes[step.part] * (step.kind == "map"), step.part) for step in self.steps(delta) if step.kind in ("map", "times")]

    def making(self, delta: Delta, site: Site) -> int:
        """Multiply-adds of the products that its matrices are made by, once a step whatever x is."""
        return 0

    def weight(self, p: Any, name: str) -> Any:
        """The matrix (out, in) of a step `map`: the part of that name, or what the form makes of others."""
        return getattr(p, name)

    def rows(self, p: Any, name: str, project: Callable[[str, Any], Any]) -> Any:
        """Keys or values (l, kv) of a step of slots: the part of that name, or what `project("k" or "v", rows)`, the model's own projection, makes."""
        return getattr(p, name)

    def matrix(self, p: Any) -> tuple[Any, Any] | None:
        """(ΔW (out, in) or None, Δb (out,) or None) where Δh is linear in x; None where it is not."""
        return None

    def factors(self, p: Any) -> tuple[Any, Any, Any]:
        """(left (out, r), right (r, in), Δb (out,) or None) of a low-rank ΔW = left·right."""
        raise NotImplementedError

    def mergeable(self, delta: Delta) -> bool:
        """Whether Δh is linear in x with these options, so that a weight can take it up."""
        return False

    def low_rank(self, delta: Delta) -> bool:
        """Whether Δh is linear in x by a matrix of rank `rank`."""
        return False

    def mixed(self, delta: Delta) -> bool:
        """Whether it joins inside the attention: h and Δh by their shares of its mass, dropout on the parts themselves."""
        return False

    def kind(self, delta: Delta) -> str:
        """The engine's class: hooks, queries (slots that compute them again), attention (slots inside it) or input (virtual tokens)."""
        return "hooks"

    def rank_of(self, part: Callable[[str], Any]) -> int:
        """The rank that a site was given, from its tensors by name."""
        assert self.ranked is not None  # of a form that takes an allocation, or whose starts are objects
        name, axis = self.ranked
        return part(name).shape[axis]

    def start(self, delta: Delta) -> Start:
        """How its parts start, of a form whose starts are objects (lab/design/method/starts)."""
        return UNKNOWN

    def starts_at_zero(self, delta: Delta) -> bool:
        """Whether the start promises a Δh of zero."""
        return delta.init in self.identity_inits

    def problems(self, delta: Delta) -> Iterator[Refusal]:
        """Options that mean nothing together for this form."""
        return iter(())

    def fits(self, delta: Delta, site: Site) -> Iterator[Refusal]:
        """What the widths of a site do not allow."""
        return iter(())

    def peft_unfit(self, delta: Delta) -> str:
        """Why its own PEFT type does not hold it with these options, without a full stop."""
        return ""

    def peft_config(self, delta: Delta, s: float) -> dict[str, Any]:
        """What an adapter_config.json of its own PEFT type says, with the scale s (1 where the tensors have it)."""
        key, times_rank = self.peft_strength
        strength = {key: s * delta.rank if times_rank else s} if key else {}
        return {there: getattr(delta, ours) for ours, there in self.peft_names.items()} | strength | dict(self.peft_fixed)

    def peft_options(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """The options of a delta that such an adapter_config.json describes, s among them: `peft_config` backwards. KeyError where one is missing."""
        key, times_rank = self.peft_strength
        found = {ours: config[there] for ours, there in self.peft_names.items()}
        if key:
            found |= {"composition": "scaled", "scale": float(config[key]) / (found["rank"] if times_rank else 1)}
        return found

    def peft_tensors(self, p: Any, s: Any) -> dict[str, Any]:
        """{suffix: tensor} of its own PEFT type for one projection, for s·Δh."""
        raise NotImplementedError

    def peft_shared(self, shared: Mapping[str, Any], sites: Sequence[Site]) -> dict[str, Any]:
        """{name: tensor} that its own PEFT type keeps once for all projections, from the parts that these sites share."""
        raise NotImplementedError

    def lines(self, delta: Delta, x: str) -> list[str]:
        """Equations besides that of Δh; `x`: what enters the form, as LaTeX."""
        return []

    def latex(self, delta: Delta) -> str:
        """Δh as LaTeX, with the current numbers in it and x first, in whose place its norm and dropout are written."""
        raise NotImplementedError
