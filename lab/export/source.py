"""What is exported: a run's base model with its adapter attached, and what is known about it."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from lab import origins
from lab.blocks import NAMED, before_training, facts_in, tensors_in, weights_of
from lab.design.plain.refusal import Refusal
from lab.design.spec.objectives import OBJECTIVES
from lab.design.spec.run import RunSpec, spec_of
from lab.tasks import objective_of
from lab.tasks import resolve as resolve_task


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
    note: str = ""  # where other weights stand in for those that were asked for
    labels: tuple[str, ...] = ()  # names of the classes, in the order of the head's outputs


def open_run(run_id: str, adapter: str = "best", *, weights: bool = True, parts: tuple[str, ...] = origins.LOADING) -> Opened:
    """Load a run's base model and attach its adapter, in eval mode on the CPU. Raises Refusal, also where `parts` of its origins have changed.

    `weights=False`: the method as it starts, for what asks only how it is attached; then a run needs no adapter.
    """
    from lab.runs import default

    run = default().store.find(run_id)
    folder, note = weights_of(run.id, adapter) if weights else (None, "")
    spec = spec_of(run.spec)
    facts = facts_in(folder) if folder else {}
    if folder and not facts:  # a checkpoint of a lab before: what is told beside the best weights, but for their numbers
        facts = {key: value for key, value in facts_in(default().home.file(run.id, "best")).items() if key in ("objective", "labels")}
    origins.require_same(spec, f"run {run.id} was launched", parts)
    named = NAMED.get(folder.name, folder.name) if folder else "best"
    note = " ".join(filter(None, [note, before_training(named, facts)]))
    if note:
        print(note, file=sys.stderr, flush=True)
    metrics = {name: value for name, value in facts.items() if isinstance(value, (int, float)) and not name.startswith("trainable")}
    return _open(spec, folder, {**facts, "metrics": metrics, "run": run.id, "adapter": named, "note": note})


def open_folder(folder: str | Path) -> Opened:
    """Load what the format `lab` wrote: the base model with the adapter and the head of that folder. Raises Refusal."""
    folder = Path(folder).expanduser()
    if not ((folder / "spec.yaml").is_file() and (folder / "adapter.safetensors").is_file()):
        raise Refusal(f"The folder {str(folder)[:200]} holds no adapter of the lab: give a run, or a folder of an export with --format lab.", "run")
    try:
        spec = spec_of(yaml.safe_load((folder / "spec.yaml").read_text(encoding="utf-8")))
    except (OSError, ValueError, yaml.YAMLError) as error:
        if isinstance(error, Refusal):
            raise
        raise Refusal(f"The spec.yaml in {str(folder)[:200]} cannot be read: export the run again.", "run") from None
    origins.require_same(spec, "this adapter was exported", origins.LOADING)
    return _open(spec, folder, facts_in(folder))


def _open(spec: RunSpec, folder: Path | None, facts: dict[str, Any]) -> Opened:
    """`facts`: objective, labels, metrics, run, adapter and trainable, as far as they are known."""
    from lab.engine import attach
    from lab.engine.looking import nothing
    from lab.models import load, load_tokenizer, of_run

    model_spec = of_run(spec)
    tokenizer = load_tokenizer(model_spec)
    objective = facts.get("objective") or objective_of(spec.task, model_spec)
    labels = tuple(map(str, facts.get("labels") or ())) or _labels(spec) if OBJECTIVES[objective].named else ()
    model = load(model_spec, objective=objective, num_labels=len(labels) or None, seed=spec.seed, tokenizer=tokenizer)
    if folder and (folder / "head.safetensors").is_file():  # before the method, whose parametrisations rename weights
        load_head(model, tensors_in(folder / "head.safetensors"))
    state = tensors_in(folder / "adapter.safetensors") if folder else None
    attached = attach(model, spec.method, seed=spec.seed, state=state, frozen={}, look=nothing)
    model.eval()
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    if labels:
        model.config.id2label, model.config.label2id = dict(enumerate(labels)), {name: place for place, name in enumerate(labels)}
    return Opened(spec, model, attached, tokenizer, objective, model_spec.source.hub or model_spec.source.folder or spec.model, facts.get("run") or "",
                  facts.get("adapter") or "best", facts.get("metrics") or {}, facts.get("trainable"), folder, facts.get("note") or "", labels)  # fmt: skip


def _labels(spec: RunSpec) -> tuple[str, ...]:
    """The class names of the task, where it is still there."""
    try:
        return tuple(resolve_task(spec.task).labels)
    except Refusal:
        return ()


def load_head(model: Any, state: dict[str, Any]) -> None:
    """Set the task head's parameters by their names in the model. Raises Refusal where they do not fit."""
    mine = dict(model.named_parameters())
    for name, tensor in state.items():
        if name not in mine or mine[name].shape != tensor.shape:
            raise Refusal(f"The task head of this run does not fit the model: '{name}' is not there, or has another shape.", "run")
        mine[name].data.copy_(tensor)
