"""A trained run's adapter as a building block: its weights, what they are of, and the base that they were trained on.

    block = read("k7qm2x9b")            # or "k7qm2x9b/final", the beginning of an id, a run's name
    block.spec.method, block.labels     # as data; torch is imported by `state()` and `head()` alone
    require_base(block, origins, model) # Refusal: it was trained on another base

It answers for a run of this lab whose every file is as it was written; `export.source` opens one with its model.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.design.method.delta import Method
from lab.design.method.standing import require_same_design, standing_on
from lab.design.plain.checksums import content
from lab.design.plain.message import Message, Note, listed, word
from lab.design.plain.options import validate
from lab.design.plain.refusal import Refusal
from lab.design.spec.run import BuiltOn, Origins, RunSpec, spec_of
from lab.runs import OVER, default
from lab.runs.files import MANIFEST, verify

NAMED = {"best": "best", "adapter": "final"}  # folders of weights by the names that people know
BASE = {"weights": "weights", "config": "config.json", "tokenizer": "tokenizer"}  # what an adapter is worth nothing without: part of Origins, in words
DIGITS = 32  # of a sha256, in hexadecimal: 128 bits


@dataclass(frozen=True)
class TrainedBlock:
    """The adapter of one run. `name` is how specs write it: run/best or run/final, by the weights that were asked for."""

    run: str
    adapter: str
    folder: Path
    spec: RunSpec
    objective: str
    labels: tuple[str, ...]  # names of the classes, in the order of the head's outputs
    metrics: dict[str, float]  # of its evaluation
    base: Origins  # prints of what it was trained on; "" is what was not known
    note: str = ""  # where other weights stand in for those that were asked for, or they are those from before training

    @property
    def name(self) -> str:
        return f"{self.run}/{self.adapter}"

    @property
    def print(self) -> str:
        """Changes when a weight does: of the adapter's and the head's file."""
        files = [(path.name, content(path)) for path in sorted(self.folder.glob("*.safetensors")) if path.stem in ("adapter", "head")]
        return hashlib.sha256(json.dumps(files).encode()).hexdigest()[:DIGITS]

    def state(self) -> dict[str, Any]:
        """Its tensors, as `Attached.load_state_dict` of its method takes them."""
        return tensors_in(self.folder / "adapter.safetensors")

    def head(self, task: str = "") -> dict[str, Any]:
        """The task head by parameter name, {} where it has none; of a run of several tasks that of `task`, or of the first, as `objective` and `labels` are."""
        path = self.folder / "head.safetensors"
        return head_of(tensors_in(path), (task or next(iter(self.spec.tasks))) if self.spec.further else "") if path.is_file() else {}


def read(words: str, field: str = "run") -> TrainedBlock:
    """The block that `words` names: a run (id, its beginning, or name), its best adapter or with /final its last. Raises Refusal at `field`."""
    named, _, adapter = str(words).strip().rpartition("/")
    if adapter not in NAMED.values():
        named, adapter = str(words).strip(), "best"
    lab = default()
    try:
        run = lab.store.find(named)
        if run.active or run.state == "queued":
            raise Refusal("Run {run} is {state}: wait for its end, so that its adapter stays as it is.", run=run.id, state=word(run.state))
        folder, note = weights_of(run.id, adapter)
        spec = spec_of(run.spec)
    except Refusal as refusal:
        raise Refusal(refusal.sentence, field) from None
    facts = facts_in(folder)
    about = facts if "labels" in facts else facts_in(lab.home.file(run.id, "best"))
    metrics = {name: value for name, value in facts.items() if isinstance(value, (int, float)) and not name.startswith("trainable")}
    note = listed(filter(None, [note, before_training(NAMED.get(folder.name, folder.name), facts)]), " ")
    return TrainedBlock(run.id, adapter, folder, spec, str(about.get("objective") or ""), tuple(map(str, about.get("labels") or ())), metrics,
                 _base(spec, lab.home.file(run.id, "origins.json")), note)  # fmt: skip


def _base(spec: RunSpec, first: Path) -> Origins:
    """What a run was made from, as far as its spec or its worker, when it first started, knew it."""
    frozen = spec.origins.model_dump() if spec.origins else {}
    found: dict[str, Any] = {}
    with contextlib.suppress(OSError, ValueError):
        found = validate(Origins, json.loads(first.read_text(encoding="utf-8"))).model_dump()
    return Origins(**{part: frozen.get(part) or found.get(part) or "" for part in BASE})


def require_base(block: TrainedBlock, origins: Origins, model: str, field: str = "run") -> None:
    """Raise a Refusal unless a block was trained on this very base: `origins` and name of the model that it is to stand on now.

    Where a print is not known on one side (a model of the hub that is not on this machine), the names must be the same."""
    for part, words in BASE.items():
        then, now = getattr(block.base, part), getattr(origins, part)
        if then and now and then != now:
            packed = [print_.partition("+")[2] or "none" for print_ in (then, now)]  # the print of packed weights ends with how they are packed
            if then.partition("+")[0] == now.partition("+")[0]:
                raise Refusal(
                    "Run {run} was trained on {model} with quantisation {theirs}, and here it is {mine}.",
                    field,
                    run=block.run,
                    model=model,
                    theirs=packed[0],
                    mine=packed[1],
                )
            raise Refusal(
                "Run {run} was trained on another base: the {words} of {then} then and of {now} now differ.",
                field,
                run=block.run,
                words=word(words),
                then=block.spec.model,
                now=model,
            )
    if not (block.base.weights and origins.weights) and block.spec.model != model:
        raise Refusal(
            "Run {run} was trained on {theirs}, and this is {model}: choose the same model.", field, run=block.run, theirs=block.spec.model, model=model
        )


def require_labels(block: TrainedBlock, labels: tuple[str, ...] | list[str], field: str = "run") -> None:
    """Raise a Refusal unless a block's head has these classes in this order."""
    if block.labels != tuple(labels):
        theirs, mine = (", ".join(each[:8]) + (", ..." if len(each) > 8 else "") or "none" for each in (block.labels, tuple(labels)))
        raise Refusal(
            "Run {run} has the labels {theirs}, and these are {mine}: its head fits the same labels alone.", field, run=block.run, theirs=theirs, mine=mine
        )


def filled(document: dict[str, Any], start: str = "") -> dict[str, Any]:
    """A plain spec with the model, task and method of the run that it trains further from (or `start`), where it does not say others. Raises Refusal."""
    built_on = document.get("built_on")
    start = start or (str(built_on.get("start_from") or "") if isinstance(built_on, dict) else "")
    if not start or all(document.get(name) for name in ("model", "task", "method")):
        return document
    spec = read(start, "built_on.start_from").spec.document()
    return {**{name: spec[name] for name in ("model", "quantisation", "task", "method")}, **{name: value for name, value in document.items() if value}}


def settled(spec: RunSpec) -> RunSpec:
    """The spec with the runs that it is built on by their names, and with their frozen deltas in its method. Raises Refusal at `built_on`."""
    method, built_on = below(spec.method, spec.built_on)
    return spec.model_copy(update={"built_on": built_on, "method": method})


def below(method: Method, built_on: BuiltOn) -> tuple[Method, BuiltOn]:
    """A method with the frozen deltas of what it is built on, and that by run/best or run/final. Raises Refusal at `built_on`."""
    if built_on.start_from:
        block = read(built_on.start_from, "built_on.start_from")
        theirs, stands = block.spec.method, block.spec.built_on.stand_on
        if built_on.stand_on and built_on.stand_on != stands:
            raise Refusal(
                "Run {run} goes on with the adapters that it stands on itself: leave stand on as that run has it, or empty.", "built_on.stand_on", run=block.run
            )
        method = method.model_copy(update={"deltas": [*theirs.frozen, *method.own]})
        require_same_design(method, theirs, block.run)
        return method, built_on.model_copy(update={"start_from": block.name, "stand_on": stands})
    if not built_on.stand_on:
        if method.frozen:
            raise Refusal(
                "This method stands on the adapter of run {run}: name it in built_on.stand_on.", "built_on.stand_on", run=method.frozen[0].frozen_from
            )
        return method, built_on
    found: dict[str, Method] = {}
    for index, name in enumerate(built_on.stand_on):
        block = read(name, f"built_on.stand_on.{index}")
        if block.name in found:
            raise Refusal("'{name}' is there twice: an adapter stands below once.", f"built_on.stand_on.{index}", name=block.name)
        found[block.name] = block.spec.method
    return standing_on(method, found), built_on.model_copy(update={"stand_on": list(found)})


def choices(model: str, limit: int = 60) -> list[dict[str, str]]:
    """The newest runs that a run on this model may be built on: {"name": run/best, "title", "task", "method"}."""
    lab = default()
    found = [
        run
        for run in lab.store.list(OVER, limit=limit, model=model)
        if run.spec.get("model") == model and (lab.home.file(run.id, "best") / "adapter.safetensors").is_file()
    ]
    about = [(run, run.spec.get("task"), run.spec.get("method") or {}) for run in found]
    return [
        {
            "name": f"{run.id}/best",
            "title": f"{run.name} ({run.id})",
            "task": task if isinstance(task, str) else str((task or {}).get("name", "")),
            "method": str(method.get("name", "")),
        }
        for run, task, method in about
    ]


def require_fit(spec: RunSpec, origins: Origins, objective: str, labels: list[str] | tuple[str, ...]) -> None:
    """Raise a Refusal unless what a settled spec is built on was trained on its base, and a head that goes on has its labels."""
    field = "built_on.start_from" if spec.built_on.start_from else "built_on.stand_on"
    for block in (read(name, field) for name in spec.built_on.names):
        if block.spec.quantisation != spec.quantisation:
            raise Refusal(
                "Run {run} was trained with quantisation {theirs}, and this is {quantisation}: choose the same.",
                field,
                run=block.run,
                theirs=block.spec.quantisation,
                quantisation=spec.quantisation,
            )
        require_base(block, origins, spec.model, field)
        if spec.built_on.start_from and spec.built_on.start_head == "keep":
            if len(block.spec.tasks) > 1:
                raise Refusal(
                    "Run {run} has a head for each of its tasks, and none goes on alone: give this run a new head.", "built_on.start_head", run=block.run
                )
            if block.objective != objective:
                raise Refusal(
                    "Run {run} was trained for {theirs}, and this task is {objective}: give it a new head.",
                    "built_on.start_head",
                    run=block.run,
                    theirs=block.objective,
                    objective=objective,
                )
            if labels:  # a set of the hub says its own once it is here; then the worker asks
                require_labels(block, labels, "built_on.start_head")


def weights_for(spec: RunSpec, labels: tuple[str, ...]) -> tuple[dict[str, dict[str, Any]] | None, dict[str, Any] | None]:
    """(what a settled spec starts from, as `Assembly.weights` gives it; the tensors of its frozen deltas), None where it has none.

    `labels`: of the task, which a head that goes on must have. Raises Refusal."""
    built_on = spec.built_on
    if built_on.start_from:
        block = read(built_on.start_from, "built_on.start_from")
        head = block.head() if built_on.start_head == "keep" else {}
        if head:
            require_labels(block, labels, "built_on.start_head")
        return {"adapter": block.state(), "head": head}, None
    if not built_on.stand_on:
        return None, None
    found: dict[str, Any] = {}
    for name in built_on.stand_on:
        places = [index for index, delta in enumerate(spec.method.deltas) if delta.frozen_from == name]
        for tensor, value in read(name, "built_on.stand_on").state().items():
            first, number, rest = tensor.split(".", 2)
            if first == "deltas":
                found[f"deltas.{places[int(number)]}.{rest}"] = value
    return None, found


def adapter_folder(run_id: str, adapter: str = "best") -> Path:
    """The folder with a run's weights whose every file is as it was written: `best`, or `final`. Refusal where there is none.

    Where the best ones are missing or damaged, these are the last ones, or those of the last whole checkpoint; `note_of` says so.
    """
    return weights_of(run_id, adapter)[0]


def note_of(run_id: str, adapter: str = "best") -> str:
    """What to know of the weights that are given: whether they stand in for those that were asked for, missing or damaged, and whether they are those from before training."""
    folder, note = weights_of(run_id, adapter)
    return listed(filter(None, [note, before_training(NAMED.get(folder.name, folder.name), facts_in(folder))]), " ")


def weights_of(run_id: str, adapter: str) -> tuple[Path, str]:
    """(folder, a sentence where other weights stand in for those that were asked for). Raises Refusal."""
    lab = default()
    run = lab.store.get(run_id)
    wanted = next((folder for folder, name in NAMED.items() if name == adapter), None)
    if wanted is None:
        raise Refusal("There is no adapter '{adapter}'; there are best and final.", "adapter", adapter=adapter)
    checkpoints = sorted((path for path in lab.home.file(run_id, "checkpoints").glob("step-*") if path.name[5:].isdigit()), reverse=True)
    reasons: list[Message] = []
    others = [*([lab.home.file(run_id, "adapter")] if wanted == "best" else []), *checkpoints]
    for folder in (lab.home.file(run_id, wanted), *others):
        reason = _harm(folder)
        if reason is None or folder.name != wanted and not (run.over or reasons):
            continue  # what is still to come is no loss
        if reason:
            reasons.append(Message("{name} is damaged: {reason}", name=folder.name, reason=reason))
        elif folder.name == wanted:
            return folder, ""
        else:
            step = int(folder.name[5:]) if folder.name.startswith("step-") else None
            which = Message("the last weights are") if step is None else Message("the checkpoint of step {step} is", step=step)
            why = listed(reasons, "; ") or Message("they are not there")
            return folder, Note(
                "The {adapter} weights of run {run} cannot be used ({reason}); {others} taken instead.", adapter=adapter, run=run_id, reason=why, others=which
            )
    how = Message("wait for its first evaluation" if run.active else "it ended before its first evaluation" if run.over else "it has not started")
    if reasons:
        how = Message("{reason}, and there is no other", reason=reasons[0])
    raise Refusal("Run {run} has no {adapter} adapter yet: {how}.", "run", run=run_id, adapter=adapter, how=how)


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
        return Message("{name} is missing", name=Path(error.filename or folder).name) if error.errno == errno.ENOENT else word(error.strerror)
    except ValueError as error:
        return str(error)
    return ""


def before_training(adapter: str, facts: dict[str, Any]) -> str:
    """A sentence where the best weights are those of step 0, from before any training; "" otherwise."""
    spec = facts.get("spec") or {}
    if adapter != "best" or facts.get("step") != 0 or spec.get("combination") or (spec.get("training") or {}).get("steps") == 0:
        return ""
    return listed(
        [
            Note("The best weights of this run are those of step 0: no evaluation beat the model as it was before training."),
            Note("The final ones are the last."),
        ],
        " ",
    )


def tensors_in(path: Path) -> dict[str, Any]:
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except Exception as error:  # safetensors raises its own kind
        raise Refusal("The file {name} of this adapter is damaged ({reason}).", "run", name=path.name, reason=str(error)[:120]) from None


def head_of(tensors: dict[str, Any], task: str) -> dict[str, Any]:
    """The head of one task by parameter name, of the heads of several as task/name; all there is for ""."""
    return {name.removeprefix(f"{task}/"): tensor for name, tensor in tensors.items() if name.startswith(f"{task}/")} if task else tensors


def facts_in(folder: Path) -> dict[str, Any]:
    """What is told beside an adapter's weights: objective, labels, the numbers of its evaluation; {} where it cannot be read.

    In method.json, of a checkpoint in trainer.json, of an export in delta_lab.json."""
    for name in ("method.json", "trainer.json", "delta_lab.json"):
        with contextlib.suppress(OSError, ValueError):
            document = json.loads((folder / name).read_text(encoding="utf-8"))
            if isinstance(document, dict):
                return document if name != "trainer.json" else {**document.get("about", {}), "step": int(folder.name[5:])} if "about" in document else {}
    return {}
