"""What is exported: a run's base model with its adapter attached, and what is known about it."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from lab import origins
from lab.blocks import NAMED, before_training, facts_in, head_of, tensors_in, weights_of
from lab.design.plain.message import Message, listed
from lab.design.plain.refusal import Refusal
from lab.design.spec.objectives import OBJECTIVES
from lab.design.spec.run import RunSpec, spec_of
from lab.export.bases import Origin, base_of
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
    task: str = ""  # of a run of several: which one's head the model has
    tasks: dict[str, Any] = field(default_factory=dict)  # of a run of several: {name: {"objective", "labels"}}
    judged_on: dict[str, int] = field(default_factory=dict)  # {"rows", "of"}: the validation rows that `metrics` are of
    costs: dict[str, Any] = field(default_factory=dict)  # of the run: seconds, peak_bytes, device, joules, total_steps, as far as they are known
    notes: str = ""  # what somebody wrote about the run, in Markdown
    origin: Origin | None = None  # what a card says of the base; None: what `base` says alone

    def __post_init__(self) -> None:
        self.origin = self.origin or Origin(self.base)


def open_run(run_id: str, adapter: str = "best", *, weights: bool = True, parts: tuple[str, ...] = origins.LOADING, task: str = "") -> Opened:
    """Load a run's base model and attach its adapter, in eval mode on the CPU. Raises Refusal, also where `parts` of its origins have changed.

    `task`: of a run of several, whose head the model gets; "": the first one's.

    `weights=False`: the method as it starts, for what asks only how it is attached; then a run needs no adapter, and tells its numbers where it has one.
    """
    from lab.runs import default

    run = default().store.find(run_id)
    folder, note = weights_of(run.id, adapter) if weights else (None, "")
    spec = spec_of(run.spec)
    facts = facts_in(folder) if folder else _told(run.id, adapter)
    if folder and not facts:  # a checkpoint of a lab before: what is told beside the best weights, but for their numbers
        facts = {key: value for key, value in facts_in(default().home.file(run.id, "best")).items() if key in ("objective", "labels")}
    origins.require_same(spec, Message("run {run} was launched", run=run.id), parts)
    named = NAMED.get(folder.name, folder.name) if folder else "best"
    note = listed(filter(None, [note, before_training(named, facts) if folder else ""]), " ")
    if note:
        print(note, file=sys.stderr, flush=True)
    metrics = {name: value for name, value in facts.items() if isinstance(value, (int, float)) and not name.startswith("trainable")}
    return _open(
        spec,
        folder,
        {**facts, "metrics": metrics, "run": run.id, "adapter": named, "note": note, "notes": run.notes, "costs": costs_of(run.result or {})},
        task,
    )


def _told(run_id: str, adapter: str) -> dict[str, Any]:
    """What is told beside an adapter's weights; {} where there is none."""
    try:
        return facts_in(weights_of(run_id, adapter)[0])
    except Refusal:
        return {}


def costs_of(result: dict[str, Any]) -> dict[str, Any]:
    """What a run took, of its result."""
    found = {name: result[name] for name in ("seconds", "peak_bytes", "device", "total_steps") if result.get(name) is not None}
    joules = (result.get("energy") or {}).get("joules")
    return found | ({"joules": joules} if joules else {})


def open_folder(folder: str | Path, task: str = "", model: str = "") -> Opened:
    """Load what the format `lab` wrote: the base model with the adapter and the head (of several tasks that of `task`) of that folder.

    `model`: where the base is on this machine; "": by the name that the run had it by. Raises Refusal, also where its weights, configuration or tokenizer are others.
    """
    folder = Path(folder).expanduser()
    if not ((folder / "spec.yaml").is_file() and (folder / "adapter.safetensors").is_file()):
        raise Refusal(
            "The folder {folder} holds no adapter of the lab: give a run, or a folder of an export with --format lab.", "run", folder=str(folder)[:200]
        )
    try:
        spec = spec_of(yaml.safe_load((folder / "spec.yaml").read_text(encoding="utf-8")))
    except (OSError, ValueError, yaml.YAMLError) as error:
        if isinstance(error, Refusal):
            raise
        raise Refusal("The spec.yaml in {folder} cannot be read: export the run again.", "run", folder=str(folder)[:200]) from None
    facts = facts_in(folder)
    if model:
        spec = spec.model_copy(update={"model": model})
    elif facts.get("base", {}).get("folder"):
        raise Refusal("The base of this adapter was a folder called '{model}': say where it is here with model=.", "model", model=spec.model[:100])
    origins.require_same(spec, Message("this adapter was trained"), origins.LOADING)
    return _open(spec, folder, facts, task)


def _open(spec: RunSpec, folder: Path | None, facts: dict[str, Any], task: str = "") -> Opened:
    """`facts`: objective, labels, metrics, run, adapter, trainable and tasks, as far as they are known."""
    from lab.engine import attach
    from lab.engine.looking import nothing
    from lab.models import load, load_tokenizer, of_run

    model_spec = of_run(spec)
    tokenizer = load_tokenizer(model_spec)
    task, asked = task_named(spec, task)
    answers = facts.get("tasks", {}).get(task, {}) if spec.further else facts
    objective = answers.get("objective") or objective_of(asked, model_spec)
    labels = tuple(map(str, answers.get("labels") or ())) or _labels(asked) if OBJECTIVES[objective].named else ()
    model = load(model_spec, objective=objective, num_labels=len(labels) or None, seed=spec.seed, tokenizer=tokenizer)
    if folder and (folder / "head.safetensors").is_file():  # before the method, whose parametrisations rename weights
        load_head(model, head_of(tensors_in(folder / "head.safetensors"), task if spec.further else ""))
    state = tensors_in(folder / "adapter.safetensors") if folder else None
    attached = attach(model, spec.method, seed=spec.seed, state=state, frozen={}, look=nothing)
    model.eval()
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    if labels:
        model.config.id2label, model.config.label2id = dict(enumerate(labels)), {name: place for place, name in enumerate(labels)}
    origin = base_of(model_spec)
    return Opened(spec, model, attached, tokenizer, objective, origin.name, facts.get("run") or "", facts.get("adapter") or "best", facts.get("metrics") or {},
                  facts.get("trainable"), folder, facts.get("note") or "", labels, task if spec.further else "", facts.get("tasks") or {},
                  facts.get("judged_on") or {}, facts.get("costs") or {}, str(facts.get("notes") or ""), origin)  # fmt: skip


def task_named(spec: RunSpec, name: str) -> tuple[str, Any]:
    """A task of a run by the name that it has there, the first for ""; also where a run has one. Raises Refusal."""
    found = spec.tasks
    if name and name not in found:
        raise Refusal("This run has no task '{task}'; it has {known}.", "task", task=name[:60], known=", ".join(found))
    name = name or next(iter(found))
    return name, found[name]


def _labels(task: Any) -> tuple[str, ...]:
    """The class names of the task, where it is still there."""
    try:
        return tuple(resolve_task(task).labels)
    except Refusal:
        return ()


def load_head(model: Any, state: dict[str, Any]) -> None:
    """Set the task head's parameters by their names in the model. Raises Refusal where they do not fit."""
    mine = dict(model.named_parameters())
    for name, tensor in state.items():
        if name not in mine or mine[name].shape != tensor.shape:
            raise Refusal("The task head of this run does not fit the model: '{name}' is not there, or has another shape.", "run", name=name)
        mine[name].data.copy_(tensor)
