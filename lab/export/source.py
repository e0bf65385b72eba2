"""What is exported: a run's base model with its adapter attached, and what is known about it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lab import origins
from lab.design.refusal import Refusal
from lab.design.spec import RunSpec, spec_of


@dataclass
class Opened:
    """A model with a method attached. `base` is what a card and a configuration name the base model by."""

    spec: RunSpec
    model: Any
    attached: Any
    tokenizer: Any = None
    objective: str = "classification"
    base: str = ""
    run_id: str = ""
    adapter: str = "best"
    metrics: dict[str, Any] = field(default_factory=dict)
    trainable: int | None = None
    folder: Path | None = None  # where the lab keeps this adapter


def adapter_folder(run_id: str, adapter: str = "best") -> Path:
    """The folder with adapter.safetensors of a run: `best` (falls back to the last) or `final`. Refusal where there is none yet."""
    from lab.runs import default

    lab = default()
    run = lab.store.get(run_id)
    names = {"best": ("best", "adapter"), "final": ("adapter",)}.get(adapter)
    if names is None:
        raise Refusal(f"There is no adapter '{adapter}'; there are best and final.", "adapter")
    for name in names:
        folder = lab.home.file(run_id, name)
        if (folder / "adapter.safetensors").is_file():
            return folder
    how = "wait for its first evaluation" if run.active else "it ended before its first evaluation" if run.over else "it has not started"
    raise Refusal(f"Run {run_id} has no {adapter} adapter yet: {how}.", "run")


def open_run(run_id: str, adapter: str = "best", *, weights: bool = True, parts: tuple[str, ...] = origins.LOADING) -> Opened:
    """Load a run's base model and attach its adapter, in eval mode on the CPU. Raises Refusal, also where `parts` of its origins have changed.

    `weights=False`: the method as it starts, for what asks only how it is attached; then a run needs no adapter.
    """
    from safetensors.torch import load_file

    from lab.engine import attach
    from lab.models import load, load_tokenizer, resolve
    from lab.runs import default
    from lab.tasks import objective_of

    run = default().store.find(run_id)
    folder = adapter_folder(run.id, adapter) if weights else None
    spec = spec_of(run.spec)
    facts = _facts(folder) if folder else {}
    origins.require_same(spec, f"run {run.id} was launched", parts)
    model_spec = resolve(spec.model)
    objective = facts.get("objective") or objective_of(spec.task, model_spec)
    labels = len(facts.get("labels") or ()) or None if objective in ("classification", "multi_label") else None
    model = load(model_spec, objective=objective, num_labels=labels, seed=spec.seed)
    attached = attach(model, spec.method, seed=spec.seed, state=load_file(folder / "adapter.safetensors") if folder else None)
    if folder and (folder / "head.safetensors").is_file():
        load_head(model, load_file(folder / "head.safetensors"))
    model.eval()
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    if labels:
        names = [str(name) for name in facts["labels"]]
        model.config.id2label, model.config.label2id = dict(enumerate(names)), {name: place for place, name in enumerate(names)}
    metrics = {name: value for name, value in facts.items() if isinstance(value, (int, float)) and not name.startswith("trainable")}
    return Opened(spec, model, attached, load_tokenizer(model_spec), objective, model_spec.source.hub or model_spec.source.folder or spec.model,
                  run.id, "final" if folder and folder.name == "adapter" else "best", metrics, facts.get("trainable"), folder)  # fmt: skip


def _facts(folder: Path) -> dict[str, Any]:
    """method.json of an adapter's folder: objective, labels, the numbers of its evaluation; {} where it cannot be read."""
    try:
        document = json.loads((folder / "method.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return document if isinstance(document, dict) else {}


def load_head(model: Any, state: dict[str, Any]) -> None:
    """Set the task head's parameters by their names in the model. Raises Refusal where they do not fit."""
    mine = dict(model.named_parameters())
    for name, tensor in state.items():
        if name not in mine or mine[name].shape != tensor.shape:
            raise Refusal(f"The task head of this run does not fit the model: '{name}' is not there, or has another shape.", "run")
        mine[name].data.copy_(tensor)


def head_of(model: Any) -> dict[str, Any]:
    """The parameters outside the base model, by name: a new task head."""
    inside = {id(p) for p in model.base_model.parameters()}
    return {name: p for name, p in model.named_parameters() if id(p) not in inside}
