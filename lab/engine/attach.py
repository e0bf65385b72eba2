"""attach(model, method): the one place where a method meets a model, and `Attached`, what one can then do with it.

Every delta becomes a submodule `lab_delta_<i>_...` of the module that it changes, so `model.to()`, DDP and FSDP see it; parts shared
by all sites and reparameterisations live once, at the base model. Example on a BERT of 12 layers with LoRA r=8 at q and v:
24 deltas, `attached.state_dict()` has 48 tensors such as `deltas.0.encoder.3.attn.q.A` (8, 768).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from lab.design.body.anatomy import Anatomy, Site, anatomy_of, with_ranks
from lab.design.method import named
from lab.design.method.allocation import allot
from lab.design.method.compositions import COMPOSITIONS
from lab.design.method.delta import Delta, Method
from lab.design.method.forms import FORMS
from lab.design.method.forms.slots import OF_TOKENS
from lab.design.method.fusing import joins
from lab.design.method.parts import all_parts, shared_sizes
from lab.design.method.quantised import quantised_problem
from lab.design.method.rules import require
from lab.design.method.selections import SelectionOptions
from lab.design.method.selections.layers import SelectLayers
from lab.design.method.selections.masked import SelectMasked
from lab.design.method.selections.sparse import SelectSparse
from lab.design.plain.refusal import Refusal
from lab.engine import initial, looking, packed, reparameterise, select, sparse, starting
from lab.engine.activations import start_slots
from lab.engine.attached import Attached
from lab.engine.attention import SLOTS, AttentionSlots, DebertaSlots, use_interface
from lab.engine.bind import Binder
from lab.engine.components import ROWS_AT_ONCE, components, covariances
from lab.engine.delta import DeltaModule, SlotsModule
from lab.engine.fit import require_fit
from lab.engine.gates import gate_tokens, share_gates
from lab.engine.locate import Located, embedding
from lab.engine.looking import Look
from lab.engine.own_attention import bind_attentions, require_sdpa
from lab.engine.positions import shift_positions
from lab.engine.schedules import LISA, DiffPruning, of_delta
from lab.engine.tokens import TokensModule, real_tokens, start_tokens, text_ids

KINDS: dict[str, type[DeltaModule]] = {"hooks": DeltaModule, "queries": SlotsModule, "attention": AttentionSlots, "input": TokensModule}


def body_of(model: PreTrainedModel) -> Anatomy:
    """The anatomy of a loaded model; a composite configuration gives its text part."""
    return anatomy_of(model.config)


def attach(
    model: PreTrainedModel,
    method: Method | str | Mapping[str, Any],
    *,
    seed: int = 0,
    tokenizer: Any = None,
    state: Mapping[str, Tensor] | None = None,
    frozen: Mapping[str, Tensor] | None = None,
    keep_originals: bool = True,
    look: Look | None = None,
) -> Attached:
    """Put a method on a model, in place. `method` may be a preset's name or a document, as `lab.count` takes it.

    `seed` fixes the start of every part. `tokenizer` is needed for `init: text` alone. `state` (from `Attached.state_dict()`)
    loads trained weights in place of a fresh start; `frozen` those of the deltas that stand frozen (`frozen_from`) alone, by the
    same names, where the others start afresh ({}: they start afresh too, for what asks only how they are attached). Without
    `keep_originals` no copy of changed weights is kept, which saves memory in training, and `detach` can then not give back the model
    that was. `look` (lab/engine/looking.py) shows rows of the training data to methods whose start or mask is made of them; saved
    weights need none. Raises `Refusal` before the model is touched.
    """
    method, body = named.method_of(method), body_of(model)
    require(method, body, trained=state is not None)
    if getattr(model, "lab_attached", None) is not None:
        raise Refusal("A method is attached to this model already: detach it first.", "method")
    require_fit(model.base_model, body)
    if method.frozen and state is None and frozen is None and next(model.parameters()).device.type != "meta":
        raise Refusal("This method stands on the adapter of run {run}, whose weights were not given.", "method", run=method.frozen[0].frozen_from)
    return _Attacher(model, method, body, seed, tokenizer, state, frozen or {}, keep_originals, look).run()


class _Attacher:
    def __init__(self, model: nn.Module, method: Method, body: Anatomy, seed: int, tokenizer: Any, state: Mapping[str, Tensor] | None,
                 frozen: Mapping[str, Tensor], keep_originals: bool, look: Look | None):  # fmt: skip
        self.model, self.base, self.method, self.body = model, model.base_model, method, body
        self.whole, self.state = state is not None, frozen if state is None else state
        self.seed, self.tokenizer, self.look = seed, tokenizer, look
        self.binder = Binder(self.base, body)
        self.attached = Attached(model, method, body, self.binder, keep_originals)
        self.device = next(model.parameters()).device
        self.looked: dict[int, dict[str, dict[str, Any]]] = {}  # by delta: what is seen, by site
        self.started_later: list[tuple[list[AttentionSlots], Tensor]] = []  # slots, and the real tokens that they start from

    def run(self) -> Attached:
        attached = self.attached
        chosen = select.selected(self.model, self.method.select, self.body) if self.method.select else {}  # may refuse: before anything is touched
        if self.method.select and self.method.select.looks and not self.whole:
            looking.required(self.look, "this mask")
        residual = any(FORMS[delta.form].start(delta).residual for delta in self.method.deltas)
        if residual and any(packed.is_packed(module) and not packed.rewritable(module) for module in self.base.modules()):
            raise Refusal("The residual of this start cannot be packed into the layers of this quantised base: choose another initialisation.", "method")
        for delta in self.method.deltas:
            if delta.init == "text" and not self._loaded(delta):
                text_ids(delta, self.tokenizer)  # may refuse, too
        self._look()  # and so may this
        if any(_reaches_into_attention(delta) for delta in self.method.deltas):
            if self.body.architecture.attention_route == "interface":
                attached.attention_before = use_interface(self.model)
            if self.body.architecture.attention_route == "sdpa":
                require_sdpa(self.model)
        attached.freeze_base()
        for index, delta in enumerate(self.method.deltas):
            self._delta(index, delta)
        if self.method.select:
            self._select(self.method.select, chosen)
        self._fuse()
        attached.move_dropouts()
        attached.handles += share_gates(self.binder, attached.deltas)
        handles, attached.gated = gate_tokens(self.binder, attached.deltas.values())
        attached.handles += handles
        if self.body.architecture.attention_route == "sdpa":
            attached.handles += bind_attentions(
                [
                    *attached.gated,
                    *(
                        self.binder.layer(each.site.stack, each.site.layer).owner_of_q()
                        for each in attached.deltas.values()
                        if isinstance(each, AttentionSlots)
                    ),
                ]
            )
        attached.bind_context()
        for modules, ids in self.started_later:
            start_slots(attached, modules, ids)
        attached.handles += shift_positions(self.base, self.body, attached.deltas)
        if self.whole:
            attached.load_state_dict(self.state)
        elif self.state:
            attached.load_state_dict(self.state, [f"deltas.{index}." for index, delta in enumerate(self.method.deltas) if delta.frozen_from])
        self.model.lab_attached = True
        return attached

    # -- deltas ------------------------------------------------------------------------------------------------------------

    def _loaded(self, delta: Delta) -> bool:
        """Whether its trained weights are given."""
        return self.whole or bool(self.state and delta.frozen_from)

    def _sites(self, index: int, delta: Delta) -> list[Site]:
        sites = self.body.sites(delta)
        if FORMS[delta.form].before_input:
            return sites[:1]
        if not delta.allocation:
            return sites
        if self._loaded(delta):  # the ranks that were allotted
            given = [{part: self.state.get(f"deltas.{index}.{site.key}.{part}") for part in FORMS[delta.form].names} for site in sites]
            return with_ranks(sites, [FORMS[delta.form].rank_of(parts.__getitem__) for parts in given])
        sights = [self._sight(index, delta, site, self._target(delta, site), delta.rank) for site in sites]
        allocation, measures = delta.allocation, [delta.allocation.measure(sight) for sight in sights if sight is not None]
        if len(measures) < len(sites):
            return with_ranks(sites, allot(delta, sites, None, self.seed))
        self.attached.scores |= {f"{allocation.reading}/{site.key}": allocation.score(measure) for site, measure in zip(sites, measures, strict=True)}
        for order in allocation.orders:
            ranks = allot(delta, sites, measures, self.seed, order)
            kept = self.attached.kept.setdefault(f"{allocation.reading}_kept/{order}", [])
            kept += [measure[min(rank, len(measure) - 1)] for measure, rank in zip(measures, ranks, strict=True)]
        return with_ranks(sites, allot(delta, sites, measures, self.seed))

    def _target(self, delta: Delta, site: Site) -> Located:
        return self.binder.target(DeltaModule(delta, site, {}, None, self.attached.context))[0]

    def _sight(self, index: int, delta: Delta, site: Site, target: Located, rank: int, generator: torch.Generator | None = None) -> starting.Sight | None:
        """What there is to see of a site; None on a model without values, and where no rows were looked at that are needed."""
        if self.device.type == "meta" or (delta.looks and index not in self.looked):
            return None
        scale = 1.0 if delta.strength == "learned" else float(delta.strength)
        return starting.Sight(target, rank, scale, generator, **{what: found[site.key] for what, found in self.looked.get(index, {}).items()})

    def _look(self) -> None:
        """Let deltas that are made of the training data look at rows of it, before anything is touched."""
        for index, delta in enumerate(self.method.deltas if self.device.type != "meta" else ()):
            if not delta.looks or self._loaded(delta):
                continue
            targets = {site.key: (self._target(delta, site), site) for site in self.body.sites(delta)}
            problem = quantised_problem(self.method) if any(located.packed for located, _ in targets.values()) else None
            if problem and "gradient" in delta.looks:
                raise problem
            look = looking.required(self.look, "this start or rank allocation")
            if look is looking.nothing:
                continue
            seen: dict[str, Any] = {}
            if "gradient" in delta.looks:
                weights = {str(id(located.module.weight)): located.module.weight for located, _ in targets.values()}
                found = looking.gradients(self.model, weights, look(delta.init_rows, ROWS_AT_ONCE))
                seen["gradient"] = {key: located.own(found[str(id(located.module.weight))]) for key, (located, _) in targets.items()}
            if "inputs" in delta.looks:
                count = delta.allocation.rank_max if delta.allocation else delta.rank
                seen["inputs"] = components(self.model, self.body, targets, partial(look, delta.init_rows, ROWS_AT_ONCE), count)
            if "covariance" in delta.looks:
                seen["covariance"] = covariances(self.model, self.body, targets, partial(look, delta.init_rows, 1))
            self.looked[index] = seen

    def _delta(self, index: int, delta: Delta) -> None:
        sites = self._sites(index, delta)
        generator = torch.Generator().manual_seed(self.seed * 1_000 + index)
        shared = self._shared(index, delta, sites, generator)
        modules = [self._module(index, delta, site, shared, generator) for site in sites]
        if delta.encoder != "none":
            for name, network in reparameterise.build(delta, modules, generator).items():
                network = network.to(self.device).requires_grad_(not delta.frozen_from)
                self.base.add_module(f"lab_encoder_{index}_{name}", network)
                self.attached.networks[f"deltas.{index}.{name}"] = network
                self.attached.context.reparameterisations.append(network)
        if delta.init in OF_TOKENS and not FORMS[delta.form].before_input and not self._loaded(delta):
            self.started_later.append((modules, real_tokens(delta, self.base, generator, self.tokenizer)))
        if delta.schedule:
            self.attached.schedules[f"deltas.{index}"] = of_delta(delta.schedule)(modules, delta.schedule)

    def _shared(self, index: int, delta: Delta, sites: list[Site], generator: torch.Generator) -> nn.Module | None:
        parts = shared_sizes(delta, sites)
        if not parts:
            return None
        holder = nn.ParameterDict()
        for name, part in parts.items():
            tensor = initial.start(part.shape, part.init, generator, self.device)
            holder[name] = nn.Parameter(tensor, requires_grad=part.trains)
        self.base.add_module(f"lab_shared_{index}", holder)
        self.attached.shared[f"deltas.{index}.shared"] = holder
        return holder

    def _module(self, index: int, delta: Delta, site: Site, shared: nn.Module | None, generator: torch.Generator) -> DeltaModule:
        parts = all_parts(delta, site)
        produced = FORMS[delta.form].produced if delta.encoder != "none" else ()
        own = [part for part in parts if part.name not in produced and not (shared is not None and part.name in shared)]
        tensors = {part.name: initial.start(part.shape, part.init, generator, self.device) for part in own}
        module = KINDS[FORMS[delta.form].kind(delta)](delta, site, tensors, shared, self.attached.context)
        for part in own:
            getattr(module, part.name).requires_grad_(part.trains)
        module.train(self.model.training)
        name = f"lab_delta_{index}_{site.representation.replace('.', '_')}"
        self._place(module, name)
        key = f"deltas.{index}.{site.key}"
        self.attached.deltas[key] = module
        if module.start.reads:
            self._start(index, key, module, generator)
        if not self._loaded(delta):
            with torch.no_grad():
                module.composition.start(module)
        if isinstance(module, TokensModule):
            start_tokens(module, self.base, generator, self.tokenizer)
        return module

    def _place(self, module: DeltaModule, name: str) -> None:
        """Give the delta its owner and its hooks."""
        handles, site = self.attached.handles, module.site
        if isinstance(module, TokensModule):
            self.attached.own(self.base, name, module)
            handles += module.bind(self.base, self.body)
        elif isinstance(module, AttentionSlots):
            owner = self.binder.layer(site.stack, site.layer).owner_of_q()
            self.attached.own(owner, name, module)
            self._place_slots(owner, module)
        elif site.representation == "embed":
            owner = embedding(self.base, self.body, site.stack)
            self.attached.own(owner, f"{name}_{site.stack}", module)
            handles.append(owner.register_forward_hook(module.change_output, with_kwargs=True))
        else:
            self.attached.own(self.binder.target(module)[0].module, name, module)
            handles += self.binder.bind(module)

    def _place_slots(self, owner: nn.Module, module: AttentionSlots) -> None:
        setattr(owner, SLOTS, [*getattr(owner, SLOTS, []), module])
        layer = self.binder.layer(module.site.stack, module.site.layer)
        module.projections = {"k": layer.find("attn", "k"), "v": layer.find("attn", "v")}
        if self.body.architecture.attention_route == "deberta":
            if owner not in self.attached.deberta:
                self.attached.deberta[owner] = DebertaSlots
        elif module.composition.averages:
            source = layer.find("attn", "x").module
            self.attached.handles.append(source.register_forward_pre_hook(module.tap_input, with_kwargs=True))

    def _start(self, index: int, key: str, module: DeltaModule, generator: torch.Generator) -> None:
        target, _ = self.binder.target(module)
        if module.start.residual:
            self.attached.originals.keep_weight(target)
        if not self._loaded(module.delta) or self.device.type == "meta":
            rank = module.form.rank_of(partial(getattr, module))
            starting.start(module, target, self._sight(index, module.delta, module.site, target, rank, generator))
        elif module.start.residual:  # the saved start takes the place of a new one; see Attached.load_state_dict
            starting.expect_start(module, {name.removeprefix(f"{key}.") for name in self.state})

    def _fuse(self) -> None:
        """A fusion takes what the frozen deltas at its place would add; their hooks, which come before its own, leave it there."""
        for fusion in self.attached.deltas.values():
            if fusion.form.over_frozen:
                place = joins(fusion.delta, fusion.site)
                found = [delta for delta in self.attached.deltas.values() if delta.delta.frozen_from and joins(delta.delta, delta.site) == place]
                fusion.members = tuple(found)
                for member in found:
                    member.fused = True

    # -- selections ----------------------------------------------------------------------------------------------------------

    def _select(self, choice: SelectionOptions, chosen: dict[str, nn.Parameter]) -> None:
        attached = self.attached
        if isinstance(choice, SelectMasked):
            attached.differences = select.parametrise(self.model, choice, chosen)
            attached.schedules["select"] = DiffPruning(attached.differences, choice, self.seed)
            return
        if isinstance(choice, SelectSparse):
            if not self.whole:
                indices = sparse.places(choice, self.model, self.body, chosen, self.seed, self.look)
            else:
                indices = sparse.stored(self.state, chosen)
            attached.entries = sparse.parametrise(self.model, chosen, indices)
            return
        attached.selected = chosen
        for parameter in chosen.values():
            attached.originals.keep(parameter)
            parameter.requires_grad_(True)
        if isinstance(choice, SelectLayers):
            groups = [[chosen[name] for name in names] for layers in select.layer_groups(self.model, self.body) for names in layers]
            attached.schedules["select"] = LISA(groups, choice, self.seed)


def _reaches_into_attention(delta: Delta) -> bool:
    """Whether keys and values of every attention are its own, or are gated by it."""
    form = FORMS[delta.form]
    return form.kind(delta) == "attention" or (form.mixed(delta) and COMPOSITIONS[delta.composition].averages)
