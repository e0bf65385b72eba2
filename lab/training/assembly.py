"""A run put together: task, tokenizer, model, method, and which weights train."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lab import blocks, combining
from lab.design.plain.refusal import Refusal
from lab.design.spec.families import Metric, judging_together, metric_named
from lab.design.spec.objectives import OBJECTIVES
from lab.design.spec.run import RunSpec
from lab.engine import attach, galore, packed
from lab.engine.attached import Attached
from lab.engine.select import head_parameters, own_parameters
from lab.models import config_of, load, load_tokenizer, of_run
from lab.models.loading import checkpoint_layers
from lab.tasks import Prepared, prepare, resolve
from lab.training.heads import Heads, heads_of
from lab.training.looking import looking_at
from lab.training.probing import require_measurable

MATRIX_WORDS = 2  # dimensions from which weight decay applies


@dataclass
class Assembly:
    """What the loop trains. `task` is the first of `tasks`. `head` is a new task head, outside the base model, by parameter name (of several tasks
    task/name); empty for language models."""

    spec: RunSpec
    task: Prepared
    tokenizer: Any
    model: nn.Module
    attached: Attached
    head: dict[str, nn.Parameter]
    total: int  # weights of the pre-trained model
    probe: Prepared | None = None
    names: set[str] = field(default_factory=set)  # of the method's tensors, as they were last seen
    tasks: dict[str, Prepared] = field(default_factory=dict)
    heads: Heads | None = None  # of several tasks with heads

    @property
    def objective(self) -> str:
        """classification, multi_label, regression, seq2seq or causal; of the first task."""
        return self.task.objective

    @property
    def several(self) -> bool:
        """Whether the run has more than one task."""
        return len(self.tasks) > 1

    @property
    def judges(self) -> dict[str, Metric]:
        """What judges each task."""
        return {name: metric_named(task.metric) or Metric(task.metric, task.greater_is_better) for name, task in self.tasks.items()}

    @property
    def judge(self) -> Metric:
        """What picks the best checkpoint of the run."""
        found = list(self.judges.values())
        return judging_together(found) if self.several else found[0]

    def answers(self) -> dict[str, Any]:
        """What is kept beside weights of what their head says: objective and names of the labels, also of each of several tasks."""
        each = {name: {"objective": task.objective, "labels": list(task.label_names)} for name, task in self.tasks.items()}
        return next(iter(each.values())) | ({"tasks": each} if self.several else {})

    def turn(self, name: str) -> Prepared:
        """The task of that name, whose head the model has from here on."""
        if self.heads is not None:
            self.heads.turn(name, self.tasks[name])
        return self.tasks[name]

    @property
    def base(self) -> dict[str, Any]:
        """What the run's record keeps of the base: its padding token, and sentences on what was new or chosen."""
        chosen = getattr(self.tokenizer, "lab_padding", "")
        sentences = [*filter(None, [chosen]), *getattr(self.model, "lab_notes", ())]
        return {"padding": {"token": self.tokenizer.pad_token, "id": self.tokenizer.pad_token_id}, "told": sentences}

    @property
    def trainable_head(self) -> int:
        """Weights of the new task head."""
        return sum(p.numel() for p in self.head.values())

    def parameters(self) -> dict[str, nn.Parameter]:
        """Every parameter that an optimizer may hold, by a name that a resumed run finds again."""
        own = {f"adapter/{name}": t for name, t in self.attached.tensors().items() if isinstance(t, nn.Parameter)}
        return own | {f"head/{name}": p for name, p in self.head.items()}

    def training(self) -> list[nn.Parameter]:
        """What trains now."""
        return [*self.attached.trainable().values(), *self.head.values()]

    def groups(self) -> list[dict[str, Any]]:
        """Optimizer groups: the method's, then the head's (vectors without weight decay)."""
        spec = self.spec
        groups = self.attached.parameter_groups(spec.lr, spec.weight_decay, spec.lr_ratio)
        for decay, wanted in ((spec.weight_decay, True), (0.0, False)):
            found = [p for p in self.head.values() if (p.dim() >= MATRIX_WORDS) is wanted]
            groups.append({"params": found, "lr": spec.head_lr, "weight_decay": decay, "constant": False})
        return galore.split(groups, self.attached.in_layers()) if spec.training.optimizer == "galore" else groups

    def weights(self) -> dict[str, dict[str, Tensor]]:
        """What is saved: {"adapter": ..., "head": ...}, on the CPU."""
        adapter = {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in self.attached.tensors().items()}
        head = {name: p.detach().to("cpu", copy=True).contiguous() for name, p in self.head.items()}
        return {"adapter": adapter} | ({"head": head} if head else {})

    @torch.no_grad()
    def set_weights(self, weights: dict[str, dict[str, Tensor]]) -> None:
        """Put back what `weights` gave in this very run (a fresh run gets them through `assemble(state=...)`)."""
        mine = self.attached.tensors()
        for name, tensor in weights["adapter"].items():
            mine[name].copy_(tensor)
        for name, tensor in weights.get("head", {}).items():
            self.head[name].copy_(tensor)


def assemble(spec: RunSpec, *, cache: Path | None, device: Any = "cpu", precision: str = "fp32",
             state: dict[str, dict[str, Tensor]] | None = None, tokenised: Callable[[int, int], None] | None = None) -> Assembly:  # fmt: skip
    """Load and attach. `state` is what `Assembly.weights` gave, from a checkpoint; `tokenised`: `Prepared.tokenised`. Raises Refusal for what cannot be."""
    training = spec.training
    tokenizer, config = load_tokenizer(spec.model), config_of(spec.model)
    tasks = {name: prepare(each, tokenizer if number == 0 else _tokenizer_for(each, spec, tokenizer), config, max_length=training.max_length,
                           cache_dir=cache, seed=spec.seed, taken=spec.method.positions_taken)
             for number, (name, each) in enumerate(spec.tasks.items())}  # fmt: skip
    task = next(iter(tasks.values()))
    for each in tasks.values() if tokenised else ():
        each.tokenised = tokenised
    probe = _probe(spec, task, tokenizer, config, cache)
    if precision != "fp32" and spec.quantisation == "int8" and spec.method.select is not None and spec.method.select.weights == "bias":
        raise Refusal(
            "bitsandbytes casts the biases of int8 layers to the type of x, so they cannot train in half precision: choose fp32.", "training.precision"
        )
    half = precision != "fp32" and spec.method.frozen_base
    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}[precision] if half else torch.float32
    model = load(of_run(spec), objective=task.objective, num_labels=task.num_labels, dtype=dtype, seed=spec.seed, tokenizer=tokenizer)
    head = head_parameters(model) if OBJECTIVES[task.objective].headed else {}
    for parameter in head.values():
        parameter.data = parameter.data.float()
    model.to(device)
    packed.moved(model)
    total = sum(packed.elements(p) for p in own_parameters(model).values())
    frozen = None
    if state is None:  # a resumed run has all that it is built on in its own checkpoint
        state, frozen = blocks.weights_for(spec, task.label_names)
        if state and len(tasks) > 1:  # a head that goes on is the first task's
            state["head"] = {f"{next(iter(tasks))}/{name}": tensor for name, tensor in state["head"].items()}
    if state is None and spec.combination:
        state = combining.weights(spec, model)
    saved = state["adapter"] if state else None
    attached = attach(
        model, spec.method, seed=spec.seed, tokenizer=tokenizer, state=saved, frozen=frozen, keep_originals=False,
        look=looking_at(model, task, device, spec.seed),
    )  # fmt: skip
    taken = {id(p) for p in attached.may_train().values()}
    head = {name: p for name, p in head.items() if id(p) not in taken}
    heads = heads_of(spec, model, head, tasks, tokenizer, dtype) if head and len(tasks) > 1 else None
    head = heads.parameters() if heads else head
    for parameter in head.values():
        parameter.requires_grad_(True)
    assembly = Assembly(spec, task, tokenizer, model, attached, head, total, probe, set(attached.tensors()), tasks, heads)
    if state:
        assembly.set_weights({"adapter": {}, "head": state.get("head", {})})
    if training.gradient_checkpointing:
        checkpoint_layers(model)
    return assembly


def _tokenizer_for(task: Any, spec: RunSpec, tokenizer: Any) -> Any:
    """One of its own for a task between two languages: a tokenizer is set to a pair of them."""
    return load_tokenizer(spec.model) if resolve(task).languages else tokenizer


def _probe(spec: RunSpec, task: Prepared, tokenizer: Any, config: Any, cache: Path | None) -> Prepared | None:
    """The second task of a forgetting probe. Refusal where it cannot be measured on this model."""
    if not spec.training.probe:
        return None
    name = spec.training.probe
    try:
        probe = prepare(name, tokenizer, config, max_length=spec.training.max_length, cache_dir=cache, taken=spec.method.positions_taken)
    except Refusal as refusal:
        raise Refusal("The probe '{name}' cannot be measured here: {reason}", "training.probe", name=name, reason=refusal.sentence) from None
    require_measurable(spec, task, probe)
    return probe
