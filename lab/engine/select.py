"""Methods that train the model's own weights: all of them, its biases, its norms, a few layers at a time, a sparse difference."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from lab.design.body.anatomy import Anatomy
from lab.design.method.quantised import packed_weights
from lab.design.method.selections import SelectionOptions
from lab.design.method.selections.masked import SelectMasked
from lab.design.plain.refusal import Refusal

NORM_CLASS = re.compile(r"norm", re.IGNORECASE)


def own_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """The pre-trained parameters by a name that does not depend on the head: relative to the base model where they are in it.

    A language-model head that is not tied belongs to them; a head for classification and sinusoidal positions do not.
    """
    base = model.base_model
    inside = {id(p): name for name, p in base.named_parameters()}
    fixed = {id(p) for m in base.modules() if "Sinusoidal" in type(m).__name__ for p in m.parameters()}
    found = {name: p for name, p in base.named_parameters() if id(p) not in fixed and "lab_" not in name}
    output = model.get_output_embeddings() if hasattr(model, "get_output_embeddings") else None
    if output is not None:
        found |= {f"head.{name}": p for name, p in output.named_parameters() if id(p) not in inside}
    return found


def head_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters of a new task head, by name: what trains, is saved and is exported beside every method.

    What lies outside the base model, and what in it the checkpoint lacked (`lab_new` of lab.models: a pooler).
    """
    own = {id(p) for p in own_parameters(model).values()} | {id(p) for p in model.base_model.parameters()}
    new: frozenset[str] = getattr(model, "lab_new", frozenset())
    return {name: p for name, p in model.named_parameters() if (id(p) not in own or name in new) and "lab_" not in name}


def norm_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """Weights and biases of norm layers."""
    own = {id(p): name for name, p in own_parameters(model).items()}
    found: dict[str, nn.Parameter] = {}
    for module in model.modules():
        if NORM_CLASS.search(type(module).__name__):
            found |= {own[id(p)]: p for p in module.parameters(recurse=False) if id(p) in own}
    return found


def bias_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """Every existing bias, those of norms among them."""
    return {name: p for name, p in own_parameters(model).items() if name.rsplit(".", 1)[-1] == "bias"}


def selected(model: nn.Module, select: SelectionOptions, body: Anatomy) -> dict[str, nn.Parameter]:
    """The parameters that a selection may train at some time, by name."""
    if select.head_alone:
        if not head_parameters(model):
            raise Refusal(select.nothing, "select")
        return {}
    found = {"all": own_parameters, "bias": bias_parameters, "norm": norm_parameters}[select.weights](model)
    if select.layers_alone:
        groups = layer_groups(model, body)
        inside = {name for layers in groups for index in select.lit(len(layers)) for name in layers[index]}
        found = {name: parameter for name, parameter in found.items() if name in inside}
    if not found:
        raise Refusal(select.nothing, "select")
    if not all(parameter.is_floating_point() for parameter in found.values()):
        raise packed_weights(select)
    return found


def layer_groups(model: nn.Module, body: Anatomy) -> list[list[list[str]]]:
    """Names of the parameters of each layer of each stack."""
    own = {id(p): name for name, p in own_parameters(model).items()}
    return [[[own[id(p)] for p in layer.parameters() if id(p) in own] for layer in model.base_model.get_submodule(stack.map.path)] for stack in body.stacks]


class SparseDifference(nn.Module):
    """θ = θ0 + z∘w of one tensor, as a parametrisation (diff pruning, Guo et al. 2021).

    While the gates are open, z is drawn from a hard concrete distribution in training and is its expected gate otherwise, times the
    gate of the tensor's group; once `mask` is set, z is that mask. w has the tensor's shape, `gate` too, `group` is one number.
    Draws come from a generator seeded by (seed, step, index), so recomputation under checkpointing draws the same.
    """

    LOW, HIGH, SMALL = -1.5, 1.5, 1e-4

    def __init__(self, like: Tensor, start: float, structured: bool, index: int):
        super().__init__()
        self.w = nn.Parameter(torch.zeros_like(like, dtype=torch.float32))
        self.gate = nn.Parameter(torch.full_like(like, start, dtype=torch.float32))
        self.group = nn.Parameter(torch.tensor(start, device=like.device)) if structured else None
        self.register_buffer("mask", None)
        self.index, self.step, self.seed, self.enabled = index, 0, 0, True

    def forward(self, original: Tensor) -> Tensor:
        if not self.enabled:
            return original
        return original + self.difference().to(original.dtype)

    def difference(self, sampled: bool | None = None) -> Tensor:
        """z∘w, in fp32; z drawn while training, else its expected gate."""
        if self.mask is not None:
            return self.w * self.mask
        sampled = self.training if sampled is None else sampled
        z = self._gate(self.gate, 0, sampled)
        if self.group is not None:
            z = z * self._gate(self.group, 1, sampled)
        return self.w * z

    def _gate(self, log_alpha: Tensor, salt: int, sampled: bool) -> Tensor:
        if sampled:
            generator = None  # tensors without data (planning) draw nothing
            if log_alpha.device.type != "meta":
                generator = torch.Generator(device=log_alpha.device)
                generator.manual_seed(hash((self.seed, self.step, self.index, salt)) & 0x7FFFFFFF)
            u = torch.empty_like(log_alpha).uniform_(self.SMALL, 1 - self.SMALL, generator=generator)
            s = torch.sigmoid(torch.log(u) - torch.log1p(-u) + log_alpha)
        else:
            s = torch.sigmoid(log_alpha)
        return (s * (self.HIGH - self.LOW) + self.LOW).clamp(0, 1)

    @torch.no_grad()
    def magnitude(self) -> Tensor:
        """|θ − θ0| at the expected gate."""
        return self.difference(sampled=False).abs()

    def expected_open(self) -> Tensor:
        """Σ P(z > 0): the L0 term, the group's added once (as the official code)."""
        shift = torch.log(torch.tensor(-self.LOW / self.HIGH))
        open_gates = torch.sigmoid(self.gate - shift).sum()
        return open_gates if self.group is None else open_gates + torch.sigmoid(self.group - shift)

    @torch.no_grad()
    def fix(self, threshold: float) -> None:
        """Keep the differences above the threshold, at their expected gate, and train them densely from here on."""
        kept = self.difference(sampled=False)
        self.mask = (kept.abs() > threshold).float()
        self.w.copy_(kept * self.mask)
        self.gate, self.group = None, None


def parametrise(model: nn.Module, select: SelectMasked, names: dict[str, nn.Parameter]) -> dict[str, SparseDifference]:
    """Put a sparse difference on every parameter; a tensor that several modules share keeps one difference."""
    places: dict[int, list[tuple[nn.Module, str]]] = {}
    for module in model.modules():
        for name, parameter in module._parameters.items():
            if parameter is not None:
                places.setdefault(id(parameter), []).append((module, name))
    found = {}
    for index, (name, parameter) in enumerate(names.items()):
        difference = SparseDifference(parameter, select.start, select.structured, index)
        for module, attribute in places[id(parameter)]:
            parametrize.register_parametrization(module, attribute, difference, unsafe=True)
        found[name] = difference
    return found


def unparametrise(model: nn.Module, differences: Mapping[str, nn.Module]) -> None:
    """Take the differences away; the originals are as they were."""
    ours = {id(difference) for difference in differences.values()}
    for module in list(model.modules()):
        if not parametrize.is_parametrized(module):
            continue
        for name, chain in list(module.parametrizations.items()):
            if id(chain[0]) in ours:
                parametrize.remove_parametrizations(module, name, leave_parametrized=False)
