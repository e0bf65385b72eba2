"""The model of a plan: on the meta device, at full depth or cut to five layers per stack, with its method attached.

A cut model stands for the deep one only where all layers of a stack are alike and the method treats them alike; `alike` says whether.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from lab.design.body.anatomy import Anatomy, anatomy
from lab.design.body.model import ModelSpec, Source
from lab.design.method.delta import Method
from lab.design.method.forms import FORMS
from lab.design.spec.objectives import OBJECTIVES
from lab.engine import Attached, attach, galore, packed
from lab.engine.looking import nothing
from lab.engine.select import head_parameters
from lab.models import build_meta, config_of
from lab.models.loading import checkpoint_layers
from lab.planning.log import TRACED


@dataclass(frozen=True)
class Subject:
    """What is planned: everything that the shape of a model with its method depends on."""

    model: ModelSpec
    method: Method
    objective: str
    num_labels: int
    dtype: torch.dtype
    adapter_dtype: torch.dtype
    checkpointing: bool
    autocast: bool = False
    seed: int = 0
    others: tuple[tuple[str, int], ...] = ()  # (objective, labels) of the further tasks of a run, each with a head beside the one that is traced


@dataclass
class Built:
    """A model with its method, and whose layer each tensor belongs to."""

    model: nn.Module
    attached: Attached
    head: dict[str, nn.Parameter]
    stacks: dict[str, list[nn.Module]]
    place: dict[int, tuple[str, int]]  # id of a parameter or buffer → stack, layer
    others: list[nn.Parameter] = field(default_factory=list)  # heads of the run's other tasks: weights with optimizer state, without gradients in this step

    def trained(self) -> list[nn.Parameter]:
        """What has gradients now."""
        return [p for p in (*self.attached.trainable().values(), *self.head.values()) if p.requires_grad]


def facts_of(spec: ModelSpec) -> dict[str, Any]:
    """The configuration as a plain document: the spec's own facts, or the files' where it has none."""
    return dict(spec.config) if spec.config.get("model_type") else config_of(spec).to_dict()


def depths(body: Anatomy) -> dict[str, int]:
    """Layers per stack."""
    return {stack.name: stack.layers for stack in body.stacks}


def alike(subject: Subject, body: Anatomy) -> bool:
    """Whether every layer of a stack costs the same, so that five stand for all."""
    config = config_of(subject.model).to_dict()
    lists = [value for value in config.values() if isinstance(value, (list, tuple)) and len(value) in depths(body).values()]
    if any(len({str(item) for item in value}) > 1 for value in lists):
        return False  # sliding and global attention, layers without rotation
    method = subject.method
    if method.select and method.select.uneven:
        return False
    return not any(d.layers != "all" or d.allocation or (d.encoder != "none" and not FORMS[d.form].before_input) for d in method.deltas)


def cut(spec: ModelSpec, body: Anatomy, layers: Mapping[str, int]) -> ModelSpec:
    """The same model with other depths."""
    facts = facts_of(spec)
    for stack, part in body.architecture.stacks.items():
        key = (part.sizes.layers or body.architecture.sizes.layers).split("|")[0]
        facts = {name: value[: layers[stack]] if isinstance(value, list) and len(value) == depths(body)[stack] else value for name, value in facts.items()}
        facts[key] = layers[stack]
    return spec.model_copy(update={"config": facts, "source": Source(), "inventory": None})


def build(subject: Subject, layers: Mapping[str, int] | None = None) -> Built:
    """Build and attach on meta. `layers`: depths of a cut model; None: as the configuration has them."""
    spec = subject.model
    body = anatomy(facts_of(spec))
    if layers is not None:
        spec = cut(spec, body, layers)
    model = build_meta(spec, objective=subject.objective, num_labels=subject.num_labels, dtype=subject.dtype)
    built = prepare(model, subject)
    for objective, labels in subject.others if built.head else ():
        alone = head_parameters(build_meta(spec, objective=objective, num_labels=labels))
        built.others += [nn.Parameter(torch.empty_like(alone[name], dtype=parameter.dtype)) for name, parameter in built.head.items()]
    if built.others:
        model.lab_heads = nn.ParameterList(built.others)  # as lab.training.heads keeps them
    return built


def prepare(model: nn.Module, subject: Subject) -> Built:
    """Put the method on a model and set types, as a run does: frozen weights in `dtype`, what trains in `adapter_dtype`."""
    model.to(subject.dtype)
    model.train()
    attached = attach(model, subject.method, seed=subject.seed, keep_originals=False, frozen={}, look=nothing)
    mine = {id(p) for p in attached.may_train().values()}
    head = {n: p for n, p in head_parameters(model).items() if id(p) not in mine} if OBJECTIVES[subject.objective].headed else {}
    _set_types(model, attached, head, subject)
    for parameter in head.values():
        parameter.requires_grad_(True)
    if subject.checkpointing:
        checkpoint_layers(model)
    stacks = {s.name: list(model.base_model.get_submodule(s.map.path)) for s in attached.body.stacks}
    return Built(model, attached, head, stacks, _places(model, stacks))


def _set_types(model: nn.Module, attached: Attached, head: dict[str, nn.Parameter], subject: Subject) -> None:
    """The method's tensors in `adapter_dtype`; a new head too under autocast, else in the model's own type, which its input has.

    Norms in a finer type than the model give their output in the model's type, as peft's do. Biases keep their projection's type.
    """
    select = subject.method.select
    tensors = list(attached.tensors().values()) if select is None or select.in_own_type else []
    for tensor in (*tensors, *(head.values() if subject.autocast else ())):
        if tensor.is_floating_point() and tensor.dtype != subject.adapter_dtype:
            tensor.data = tensor.data.to(subject.adapter_dtype)
    if select is not None and select.weights == "norm" and subject.adapter_dtype != subject.dtype and not subject.autocast:
        mine = {id(p) for p in attached.selected.values()}
        for module in model.modules():
            if any(id(p) in mine for p in module.parameters(recurse=False)):
                module.register_forward_hook(lambda module, args, output: output.to(args[0].dtype))


def _places(model: nn.Module, stacks: Mapping[str, Iterable[nn.Module]]) -> dict[int, tuple[str, int]]:
    found: dict[int, tuple[str, int]] = {}
    for stack, layers in stacks.items():
        for index, layer in enumerate(layers):
            for tensor in packed.tensors(layer):
                found.setdefault(id(tensor), (stack, index))
    for layerless in (model.base_model, model):
        for tensor in packed.tensors(layerless):
            found.setdefault(id(tensor), ("", -1))
    return found


def traced_depths(body: Anatomy) -> dict[str, int]:
    """Depths of the model that is traced in place of a deep one."""
    return {stack: min(depth, TRACED) for stack, depth in depths(body).items()}


def optimizer_state(parameters: Iterable[Tensor], optimizer: str, rank: int, layers: set[int]) -> list[tuple[Tensor, list[Tensor]]]:
    """(parameter, its state) after a first step: AdamW two moments and a counter on the device, SGD its momentum, Adafactor as below.

    Of GaLore: `rank`, and the ids of what the layers hold.
    """
    found = []
    for parameter in parameters:
        if optimizer == "adafactor":
            state = list(adafactor_state(parameter).values())
        elif optimizer == "galore":
            state = list(galore.empty_state(parameter, rank if id(parameter) in layers else 0).values())
        elif optimizer == "sgd":
            state = [torch.empty_like(parameter)]
        else:
            state = [torch.empty((), dtype=torch.float32, device=parameter.device), torch.empty_like(parameter), torch.empty_like(parameter)]
        found.append((parameter, state))
    return found


def adafactor_state(parameter: Tensor) -> dict[str, Tensor]:
    """Squares by row and by column of a matrix, whole ones of a vector, in fp32; and the rms of the weight. (d, r): d + r + 1 numbers."""
    shapes = {"exp_avg_sq_row": parameter.shape[:-1], "exp_avg_sq_col": parameter.shape[:-2] + parameter.shape[-1:]}
    shapes = {**(shapes if parameter.dim() > 1 else {"exp_avg_sq": parameter.shape}), "RMS": ()}
    return {name: torch.empty(shape, dtype=torch.float32, device=parameter.device) for name, shape in shapes.items()}
