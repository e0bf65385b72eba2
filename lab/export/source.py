"""What is exported: a run's base model with its adapter attached, and what is known about it."""

from __future__ import annotations

import contextlib
import errno
import functools
import json
import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from lab import origins
from lab.design.plain.refusal import Refusal
from lab.design.spec.objectives import OBJECTIVES
from lab.design.spec.run import RunSpec, spec_of
from lab.runs.files import MANIFEST, verify
from lab.tasks import objective_of
from lab.tasks import resolve as resolve_task

NAMED = {"best": "best", "adapter": "final"}  # folders of weights by the names that people know


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


def adapter_folder(run_id: str, adapter: str = "best") -> Path:
    """The folder with a run's weights whose every file is as it was written: `best`, or `final`. Refusal where there is none.

    Where the best ones are missing or damaged, these are the last ones, or those of the last whole checkpoint; `Opened.note` says so.
    """
    return _weights_of(run_id, adapter)[0]


def note_of(run_id: str, adapter: str = "best") -> str:
    """What to know of the weights that are given: whether they stand in for those that were asked for, missing or damaged, and whether they are those from before training."""
    folder, note = _weights_of(run_id, adapter)
    return " ".join(filter(None, [note, _before_training(NAMED.get(folder.name, folder.name), _facts(folder))]))


def _weights_of(run_id: str, adapter: str) -> tuple[Path, str]:
    from lab.runs import default

    lab = default()
    run = lab.store.get(run_id)
    wanted = {"best": "best", "final": "adapter"}.get(adapter)
    if wanted is None:
        raise Refusal(f"There is no adapter '{adapter}'; there are best and final.", "adapter")
    checkpoints = sorted((path for path in lab.home.file(run_id, "checkpoints").glob("step-*") if path.name[5:].isdigit()), reverse=True)
    reasons: list[str] = []
    others = [*([lab.home.file(run_id, "adapter")] if wanted == "best" else []), *checkpoints]
    for folder in (lab.home.file(run_id, wanted), *others):
        reason = _harm(folder)
        if reason is None or folder.name != wanted and not (run.over or reasons):
            continue  # what is still to come is no loss
        if reason:
            reasons.append(f"{folder.name} is damaged: {reason}")
        elif folder.name == wanted:
            return folder, ""
        else:
            which = f"the checkpoint of step {int(folder.name[5:])} is" if folder.name.startswith("step-") else "the last weights are"
            return folder, f"The {adapter} weights of run {run_id} cannot be used ({'; '.join(reasons) or 'they are not there'}); {which} taken instead."
    how = "wait for its first evaluation" if run.active else "it ended before its first evaluation" if run.over else "it has not started"
    if reasons:
        how = f"{reasons[0]}, and there is no other"
    raise Refusal(f"Run {run_id} has no {adapter} adapter yet: {how}.", "run")


def _harm(folder: Path) -> str | None:
    """What is wrong with the weights in a folder; '' for nothing, None where there are none."""
    try:
        stamp = tuple(sorted((entry.name, entry.stat().st_size, entry.stat().st_mtime_ns) for entry in os.scandir(folder)))
    except OSError:
        return None
    return _harm_of(folder, stamp)


@functools.lru_cache(64)
def _harm_of(folder: Path, stamp: tuple) -> str | None:
    names = {name for name, *_ in stamp}
    if MANIFEST not in names:  # a run of a lab before manifests
        return "" if "adapter.safetensors" in names else None
    try:
        verify(folder)
    except OSError as error:
        return f"{Path(error.filename or folder).name} is missing" if error.errno == errno.ENOENT else str(error.strerror)
    except ValueError as error:
        return str(error)
    return ""


def open_run(run_id: str, adapter: str = "best", *, weights: bool = True, parts: tuple[str, ...] = origins.LOADING) -> Opened:
    """Load a run's base model and attach its adapter, in eval mode on the CPU. Raises Refusal, also where `parts` of its origins have changed.

    `weights=False`: the method as it starts, for what asks only how it is attached; then a run needs no adapter.
    """
    from lab.runs import default

    run = default().store.find(run_id)
    folder, note = _weights_of(run.id, adapter) if weights else (None, "")
    spec = spec_of(run.spec)
    facts = _facts(folder) if folder else {}
    if folder and not facts:  # a checkpoint of a lab before: what is told beside the best weights, but for their numbers
        facts = {key: value for key, value in _facts(default().home.file(run.id, "best")).items() if key in ("objective", "labels")}
    origins.require_same(spec, f"run {run.id} was launched", parts)
    named = NAMED.get(folder.name, folder.name) if folder else "best"
    note = " ".join(filter(None, [note, _before_training(named, facts)]))
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
    return _open(spec, folder, _facts(folder))


def _open(spec: RunSpec, folder: Path | None, facts: dict[str, Any]) -> Opened:
    """`facts`: objective, labels, metrics, run, adapter and trainable, as far as they are known."""
    from lab.engine import attach
    from lab.models import load, load_tokenizer, resolve

    model_spec = resolve(spec.model)
    tokenizer = load_tokenizer(model_spec)
    objective = facts.get("objective") or objective_of(spec.task, model_spec)
    labels = tuple(map(str, facts.get("labels") or ())) or _labels(spec) if OBJECTIVES[objective].named else ()
    model = load(model_spec, objective=objective, num_labels=len(labels) or None, seed=spec.seed, tokenizer=tokenizer)
    if folder and (folder / "head.safetensors").is_file():  # before the method, whose parametrisations rename weights
        load_head(model, _tensors(folder / "head.safetensors"))
    attached = attach(model, spec.method, seed=spec.seed, state=_tensors(folder / "adapter.safetensors") if folder else None)
    model.eval()
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    if labels:
        model.config.id2label, model.config.label2id = dict(enumerate(labels)), {name: place for place, name in enumerate(labels)}
    return Opened(spec, model, attached, tokenizer, objective, model_spec.source.hub or model_spec.source.folder or spec.model, facts.get("run") or "",
                  facts.get("adapter") or "best", facts.get("metrics") or {}, facts.get("trainable"), folder, facts.get("note") or "", labels)  # fmt: skip


def _before_training(adapter: str, facts: dict[str, Any]) -> str:
    """A sentence where the best weights are those of step 0, from before any training; "" otherwise."""
    if adapter != "best" or facts.get("step") != 0:
        return ""
    return "The best weights of this run are those of step 0: no evaluation beat the model as it was before training. The final ones are the last."


def _labels(spec: RunSpec) -> tuple[str, ...]:
    """The class names of the task, where it is still there."""
    try:
        return tuple(resolve_task(spec.task).labels)
    except Refusal:
        return ()


def _tensors(path: Path) -> dict[str, Any]:
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except Exception as error:  # safetensors raises its own kind
        raise Refusal(f"The file {path.name} of this adapter is damaged ({str(error)[:120]}).", "run") from None


def _facts(folder: Path) -> dict[str, Any]:
    """What is told beside an adapter's weights: objective, labels, the numbers of its evaluation; {} where it cannot be read.

    In method.json, of a checkpoint in trainer.json, of an export in delta_lab.json."""
    for name in ("method.json", "trainer.json", "delta_lab.json"):
        with contextlib.suppress(OSError, ValueError):
            document = json.loads((folder / name).read_text(encoding="utf-8"))
            if isinstance(document, dict):
                return document if name != "trainer.json" else {**document.get("about", {}), "step": int(folder.name[5:])} if "about" in document else {}
    return {}


def load_head(model: Any, state: dict[str, Any]) -> None:
    """Set the task head's parameters by their names in the model. Raises Refusal where they do not fit."""
    mine = dict(model.named_parameters())
    for name, tensor in state.items():
        if name not in mine or mine[name].shape != tensor.shape:
            raise Refusal(f"The task head of this run does not fit the model: '{name}' is not there, or has another shape.", "run")
        mine[name].data.copy_(tensor)
