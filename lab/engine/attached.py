"""What is attached to a model, and everything that can be done with it: train, count, save, load, merge, disable, detach."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized
from torch.optim import Optimizer

from lab.design.body.anatomy import Anatomy
from lab.design.method.compositions import COMPOSITIONS
from lab.design.method.delta import Method
from lab.design.method.parts import SECOND_MAPS
from lab.design.plain.message import Message
from lab.design.plain.refusal import Refusal
from lab.engine import calls, merge, packed, select, starting
from lab.engine.attention import SLOTS
from lab.engine.bind import Binder
from lab.engine.delta import Context, DeltaModule
from lab.engine.gates import TOKENS
from lab.engine.locate import backbone
from lab.engine.originals import Originals
from lab.engine.prompt import Prompts
from lab.engine.schedules import Schedule
from lab.engine.select import SparseDifference
from lab.engine.sparse import SparseValues


class Attached:
    """A method on a model. Made by `attach`; names of tensors do not depend on the architecture or the task head."""

    def __init__(self, model: nn.Module, method: Method, body: Anatomy, binder: Binder, keep_originals: bool):
        self.model, self.method, self.body, self.binder, self.originals = model, method, body, binder, Originals(keep_originals)
        self.context = Context(body.post_norm)
        self.deltas: dict[str, DeltaModule] = {}
        self.shared: dict[str, nn.Module] = {}
        self.networks: dict[str, nn.Module] = {}
        self.selected: dict[str, nn.Parameter] = {}
        self.differences: dict[str, SparseDifference] = {}
        self.entries: dict[str, SparseValues] = {}
        self.schedules: dict[str, Schedule] = {}
        self.scores: dict[str, float] = {}  # of sites that rank is shared out over: `energy/encoder.3.attn.q`
        self.kept: dict[str, list[float]] = {}  # what the ranks of each site keep, by the order in which they are shared out: `energy_kept/random`
        self.handles: list[Any] = []
        self.gated: list[nn.Module] = []  # attention modules that read the gate of virtual tokens
        self.deberta: dict[nn.Module, Any] = {}
        self.attention_before: str | None = None
        self._owners: list[tuple[nn.Module, str]] = []
        self._merged: list[tuple[nn.Parameter, Tensor]] | None = None
        self._unpacked: list[packed.Plain] = []  # layers of a quantised base while they are merged
        self._required = {name: p.requires_grad for name, p in model.named_parameters()}

    # -- what attach does, and detach undoes -----------------------------------------------------------------------------------

    def own(self, owner: nn.Module, name: str, module: nn.Module) -> None:
        """Make `module` a submodule of `owner`, until `detach`."""
        owner.add_module(name, module)
        self._owners.append((owner, name))

    def freeze_base(self) -> None:
        """Everything but a new task head stops training."""
        for parameter in select.own_parameters(self.model).values():
            parameter.requires_grad_(False)

    def move_dropouts(self) -> None:
        """Dropouts that deltas join behind and that layers apply themselves become modules; their hooks come after those of projections."""
        for moved in self.binder.moved.values():
            for sublayer, module in moved.modules.items():
                self.own(moved.layer, f"lab_dropout_{sublayer}", module)
            self.handles += moved.move()

    def bind_context(self) -> None:
        """The hooks that every forward pass begins with, and those of DeBERTa's slots, which must come after all others."""
        gated = not self.caches
        if any(delta.ends for delta in self.method.deltas):
            self.context.prompts = self.model.lab_prompts = Prompts(self.body.encoder_decoder)
            self.handles.append(self.model.register_forward_pre_hook(self.context.prompts.note_labels, with_kwargs=True))
        if gated or self.context.reparameterisations or self.context.prompts:
            entry = backbone(self.model.base_model, self.body)
            self.handles.append(entry.register_forward_pre_hook(self._begin, with_kwargs=True, prepend=True))
        self._bind_encoder_of_generate()
        generation = getattr(self.model, "generation_config", None)
        if gated and generation is not None:  # a gate averages over the whole sequence, which a cache hides
            self._use_cache, generation.use_cache = generation.use_cache, False
        self.deberta = {owner: route(owner) for owner, route in self.deberta.items()}

    def _bind_encoder_of_generate(self) -> None:
        """generate() calls the encoder by itself, before the base model: produce its slots and note its mask there too."""
        if self.body.encoder_decoder and (self.context.reparameterisations or self.context.prompts or not self.caches):
            encoder = self.model.base_model.get_submodule("encoder")
            self.handles.append(encoder.register_forward_pre_hook(self._begin_encoder, with_kwargs=True, prepend=True))

    def _begin(self, module: nn.Module, args: tuple, kwargs: dict) -> None:
        given = calls.arguments(module, args, kwargs)
        self._refuse_gates_under_cache(given)
        if self.context.prompts:
            self.context.prompts.begin(calls.seen(given))
        own = given.get("attention_mask")
        mask = own if isinstance(own, Tensor) and own.dim() == 2 else None
        stacks = [stack.name for stack in self.body.stacks]
        if self.body.encoder_decoder:
            self.context.masks = {"encoder": mask, "decoder": given.get("decoder_attention_mask")}
        else:
            self.context.masks = dict.fromkeys(stacks, mask)
        self._produce()

    def _begin_encoder(self, module: nn.Module, args: tuple, kwargs: dict) -> None:
        own = calls.arguments(module, args, kwargs).get("attention_mask")
        self.context.masks["encoder"] = own if isinstance(own, Tensor) and own.dim() == 2 else None
        if self.context.prompts:
            self.context.prompts.begin(0)
        if any(not consumer.produced for network in self.networks.values() for consumer in network._consumers[0]):
            self._produce()

    def _produce(self) -> None:
        for network in self.context.reparameterisations:
            network.produce()

    def _refuse_gates_under_cache(self, given: Mapping[str, Any]) -> None:
        if calls.seen(given) and not self.caches:
            raise Refusal("A learned gate averages over the whole sequence, which a cache hides: generate with use_cache=False.", "method")

    def detach(self) -> nn.Module:
        """Give back the model as it was before `attach`, bit for bit, with no hooks left."""
        if self._merged is not None:
            self.unmerge()
        changed = bool(self.selected) or any(delta.start.residual for delta in self.deltas.values())
        if changed and not self.originals.wanted:
            raise Refusal("The original weights were not kept (keep_originals=False): load the model again.", "method")
        for handle in self.handles:
            handle.remove()
        for route in self.deberta.values():
            route.remove()
        for moved in self.binder.moved.values():
            moved.restore()
        self.binder.moved.clear()
        for owner, name in self._owners:
            delattr(owner, name)
            if hasattr(owner, SLOTS):
                delattr(owner, SLOTS)
        for module in self.gated:
            delattr(module, TOKENS)
        for name in [name for name, _ in self.model.base_model.named_children() if name.startswith(("lab_shared_", "lab_encoder_"))]:
            delattr(self.model.base_model, name)
        for name, weight in self.written().items():
            self.entries[name].put_back(weight)
        select.unparametrise(self.model, {**self.differences, **self.entries})
        self.originals.put_back()
        if hasattr(self, "_use_cache"):
            self.model.generation_config.use_cache = self._use_cache
        if self.attention_before:
            self.model.set_attn_implementation(self.attention_before)
        for name, parameter in self.model.named_parameters():
            parameter.requires_grad_(self._required[name])
            parameter.grad = None
        del self.model.lab_attached
        if self.context.prompts:
            del self.model.lab_prompts
        return self.model

    @property
    def caches(self) -> bool:
        """Whether generation may keep keys and values: a learned gate averages over the whole sequence, which a cache hides."""
        return not any(COMPOSITIONS[delta.composition].averages for delta in self.method.deltas)

    # -- parameters --------------------------------------------------------------------------------------------------------------

    def tensors(self) -> dict[str, Tensor]:
        """Every tensor of the method by its stable name, frozen parts and remembered starts included."""
        found: dict[str, Tensor] = {}
        for prefix, module in (*self.deltas.items(), *self.shared.items(), *self.networks.items()):
            found |= {f"{prefix}.{name}": tensor for name, tensor in (*module.named_parameters(), *module.named_buffers())}
        found |= {f"select.{name}": parameter for name, parameter in self.selected.items()}
        for name, difference in self.differences.items():
            found |= {f"select.{name}.{part}": t for part, t in (*difference.named_parameters(), *difference.named_buffers())}
        for name, entries in self.entries.items():
            found |= {f"select.{name}.values": entries.values, f"select.{name}.index": entries.index}
        return found

    def may_train(self) -> dict[str, nn.Parameter]:
        """The parameters that train at some time of the run: those an optimizer must hold."""
        always = {name: t for name, t in self.tensors().items() if isinstance(t, nn.Parameter) and t.requires_grad}
        return always | {f"select.{name}": parameter for name, parameter in self.selected.items()}

    def trainable(self) -> dict[str, nn.Parameter]:
        """The parameters that train now, by name."""
        return {name: t for name, t in self.tensors().items() if isinstance(t, nn.Parameter) and t.requires_grad}

    def written(self) -> dict[str, nn.Parameter]:
        """The weights into which trained entries are written, by name."""
        ours = {id(entries): name for name, entries in self.entries.items()}
        chains = [chain for module in self.model.modules() if is_parametrized(module) for chain in module.parametrizations.values()]
        return {ours[id(chain[0])]: chain.original for chain in chains if id(chain[0]) in ours}

    def whole(self) -> set[nn.Parameter]:
        """What no process of a run may lack, also where the frozen base is shared out over them: the method's own tensors, what may train, and weights that
        a difference or entries are written into."""
        kept = {id(tensor) for tensor in (*self.tensors().values(), *self.may_train().values())}
        return {p for name, p in self.model.named_parameters() if p.requires_grad or id(p) in kept or ".parametrizations." in f".{name}"}

    def in_layers(self) -> set[int]:
        """Ids of the parameters that the layers hold, the method's own among them."""
        stacks = [self.model.base_model.get_submodule(stack.map.path) for stack in self.body.stacks]
        return {id(parameter) for stack in stacks for parameter in stack.parameters()}

    @property
    def trainable_now(self) -> int:
        """Weights that train now: what a schedule holds inside a tensor does not count."""
        return sum(p.numel() for p in self.trainable().values()) - sum(schedule.held() for schedule in self.schedules.values())

    def count(self) -> dict[str, Any]:
        """{"trainable", "by_delta", "biases"} of what is attached now; equals `lab.design.method.count` at step 0."""
        trains = self.trainable()
        by_delta = {f"deltas.{i}": sum(p.numel() for n, p in trains.items() if n.startswith(f"deltas.{i}.")) for i in range(len(self.method.deltas))}
        if self.method.select:
            by_delta["select"] = sum(p.numel() for n, p in trains.items() if n.startswith("select."))
        biases = sum(p.numel() for n, p in trains.items() if n.rsplit(".", 1)[-1].endswith("bias") and not n.endswith("norm_bias"))
        return {"trainable": self.trainable_now, "by_delta": by_delta, "biases": biases}

    def parameter_groups(self, lr: float, weight_decay: float = 0.0, lr_ratio: float = 1.0) -> list[dict[str, Any]]:
        """Groups for an optimizer. Second maps (B, up, values) get lr·lr_ratio; a group with `constant` keeps its learning rate.

        Vectors and scalars (biases, norms, scales, gates) have no weight decay.
        """
        groups: dict[tuple[float, float, bool], list[nn.Parameter]] = {}
        select = self.method.select
        gate_lr = select.rate_of_gates(lr) if select is not None else lr
        gates = {id(p) for d in self.differences.values() for p in (d.gate, d.group) if p is not None}
        for name, parameter in self.may_train().items():
            if id(parameter) in gates:
                key = (gate_lr, 0.0, True)
            else:
                rate = lr * lr_ratio if name.rsplit(".", 1)[-1] in SECOND_MAPS else lr
                key = (rate, weight_decay if parameter.dim() > 1 else 0.0, False)
            groups.setdefault(key, []).append(parameter)
        return [{"params": params, "lr": rate, "weight_decay": decay, "constant": fixed} for (rate, decay, fixed), params in groups.items()]

    # -- training ----------------------------------------------------------------------------------------------------------------

    def begin(self, total_steps: int, optimizer: Optimizer | None = None) -> None:
        """Start the schedules of a run of so many optimizer steps; they drop the state in `optimizer` of what they freeze."""
        for schedule in self.schedules.values():
            schedule.begin(total_steps, optimizer)

    def penalty(self) -> Tensor | None:
        """What schedules and compositions add to the loss of a step (a scalar), None where none does."""
        terms = [term for schedule in self.schedules.values() if (term := schedule.penalty()) is not None]
        terms += [term for delta in self.deltas.values() if not delta.delta.frozen_from and (term := delta.composition.penalty(delta)) is not None]
        return torch.stack(terms).sum() if terms else None

    def after_backward(self, step: int) -> None:
        """Let schedules read the gradients of step `step` (from 1), before they are clipped."""
        for schedule in self.schedules.values():
            schedule.after_backward(step)

    def after_step(self, step: int) -> bool:
        """Let schedules act after optimizer step `step` (from 1). True: the set of parameters that train has changed."""
        return any([schedule.after_step(step) for schedule in self.schedules.values()])  # noqa: C419 (every one acts, also behind one that changed something)

    def measurements(self) -> dict[str, float]:
        """Learned quantities of now: scales, ranks, frozen columns, density; what depends on inputs comes with `measuring`."""
        found = {f"scale/{delta.key}": float(delta.scale.detach()) for delta in self.deltas.values() if delta.delta.strength == "learned"}
        for delta in self.deltas.values():  # the ranks that were allotted, and why
            if delta.delta.allocation:
                found[f"rank/{delta.key}"] = float(delta.form.rank_of(partial(getattr, delta)))
        found |= self.scores | {name: sum(each) / len(each) for name, each in self.kept.items()}
        for schedule in self.schedules.values():
            found |= schedule.measurements()
        return found

    @contextlib.contextmanager
    def measuring(self) -> Iterator[dict[str, float]]:
        """While open, forward passes fill the yielded table: ‖Δh‖/‖h‖, gates and prefix λ by site (of the last pass)."""
        readings: dict[str, float] = {}
        for delta in self.deltas.values():
            delta.reading = readings
        try:
            yield readings
        finally:
            for delta in self.deltas.values():
                delta.reading = None

    def schedule_state(self) -> dict[str, Any]:
        """What a checkpoint keeps of the schedules: tensors and plain values by name."""
        return {f"{name}|{key}": value for name, schedule in self.schedules.items() for key, value in schedule.state().items()}

    def load_schedule_state(self, state: Mapping[str, Any]) -> None:
        """Go on from `schedule_state`, once the weights are loaded."""
        for name, schedule in self.schedules.items():
            schedule.load({key.partition("|")[2]: value for key, value in state.items() if key.startswith(f"{name}|")})

    # -- saving ------------------------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Tensor]:
        """Copies of everything that `load_state_dict` needs on a fresh model with the same method, for safetensors."""
        return {name: tensor.detach().clone().contiguous() for name, tensor in self.tensors().items()}

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, Tensor], only: Sequence[str] = ("",)) -> None:
        """Set every tensor whose name begins with one of `only` from `state`. Raises `Refusal` where names or shapes do not fit this method and model."""
        for name, difference in self.differences.items():
            if f"select.{name}.mask" in state:
                difference.gate, difference.group = None, None
                difference.mask = torch.zeros_like(difference.w)
        mine = {name: tensor for name, tensor in self.tensors().items() if name.startswith(tuple(only))}
        missing, unknown = sorted(set(mine) - set(state)), sorted(set(state) - set(mine))
        wrong = [name for name in mine if name in state and mine[name].shape != state[name].shape]
        if missing or unknown or wrong:
            what = missing or unknown or wrong
            raise Refusal(
                "These weights belong to another method or model: '{name}' is {wrong}.",
                name=what[0],
                wrong=Message("missing" if missing else "unknown" if unknown else "of another shape"),
            )
        split = [delta for name, delta in self.deltas.items() if delta.start.residual and name.startswith(tuple(only))]
        for delta in split:
            if delta.B0.any():  # else it was attached with `state`, and the weight is still whole
                self.originals.put_back_weight(self.binder.target(delta)[0])
        for name, weight in self.written().items() if "" in only else ():
            self.entries[name].move(weight, state[f"select.{name}.index"])
        for name, tensor in mine.items():
            tensor.copy_(state[name])
        for delta in split:
            starting.leave_residual(delta, self.binder.target(delta)[0])

    def fold(self) -> dict[str, dict[str, Tensor]]:
        """The parts of each delta as they act, with reparameterisations evaluated: {delta name: {part: tensor}}."""
        with torch.no_grad():
            self._produce()
            folded = {}
            for name, delta in self.deltas.items():
                own = {part: tensor.detach().clone() for part, tensor in delta.named_parameters()}
                folded[name] = own | {part: tensor.detach().clone() for part, tensor in delta.produced.items()}
        return folded

    # -- merging and switching -----------------------------------------------------------------------------------------------------

    def merge(self) -> None:
        """Fold every delta into the model's weights and switch the deltas off. Raises `Refusal` where one cannot be.

        Layers of a quantised base that take one become plain ones of their dequantised weight, so that nothing is rounded.
        """
        if self._merged is not None:
            return
        for delta in self.deltas.values():
            reason = merge.why_not(delta, self.binder)
            if reason:
                raise Refusal(reason, "method")
        kept: dict[int, tuple[nn.Parameter, Tensor]] = {}
        for delta in self.deltas.values():
            module = self.binder.target(delta)[0].module
            self._unpacked += [packed.Plain(module)] if packed.is_packed(module) else []
            for parameter in merge.touched(delta, self.binder):
                kept.setdefault(id(parameter), (parameter, parameter.detach().clone()))
        for delta in sorted(
            self.deltas.values(), key=lambda delta: delta.delta.changes_input or delta.of_activation
        ):  # a projection and what is beside it read the changed input
            merge.merge(delta, self.binder)
            delta.enabled = False
        self._merged = list(kept.values())

    @torch.no_grad()
    def unmerge(self) -> None:
        """Restore the weights exactly and switch the deltas on again."""
        for parameter, before in self._merged or ():
            parameter.copy_(before)
        for layer in self._unpacked:
            layer.swap()
        self._unpacked.clear()
        self._merged = None
        for delta in self.deltas.values():
            delta.enabled = True

    @contextlib.contextmanager
    def disabled(self) -> Iterator[None]:
        """The model without its method: deltas off, changed weights as they were."""
        switches: list[DeltaModule | SparseDifference | SparseValues] = [*self.deltas.values(), *self.differences.values(), *self.entries.values()]
        for layer in self._unpacked:
            layer.swap()
        for switch in switches:
            switch.enabled = False
        try:
            with self.originals.swapped():
                yield
        finally:
            for switch in switches:
                switch.enabled = True
            for layer in self._unpacked:
                layer.swap()
