"""The verbs that notebooks, the terminal and pages share: each takes plain names or specs and answers with plain data.

Torch-free until something needs a model: `methods`, `count` of a preset, `check` and `runs` answer in milliseconds.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lab.design.body.anatomy import anatomy
from lab.design.method import named
from lab.design.method.count import count_on, widest_trained
from lab.design.method.delta import Method
from lab.design.method.lengths import require_readable, room_for_inputs
from lab.design.method.quantised import quantised_problem
from lab.design.method.rules import ratio_problem, require
from lab.design.plain.boundary import home_folder, located, portable
from lab.design.plain.message import Message, word
from lab.design.plain.options import override
from lab.design.plain.refusal import Refusal
from lab.design.presets import catalogue
from lab.design.spec.objectives import OBJECTIVES
from lab.design.spec.run import RunSpec, Training, spec_of
from lab.tasks import names as task_names

if TYPE_CHECKING:
    from lab.design.body.model import ModelSpec
    from lab.runs import Queue, Run

POLL_SECONDS = 0.5
PAST = 300  # newest runs that an estimate of time looks at


def methods() -> tuple[str, ...]:
    """The method presets, sorted by name."""
    return catalogue.names("methods")


def models() -> tuple[str, ...]:
    """The model presets, sorted by name."""
    return catalogue.names("models")


def tasks() -> tuple[str, ...]:
    """The task presets and the tasks made of the user's own data."""
    return task_names()


def remove_task(name: str) -> None:
    """Put an imported task into the bin. Raises Refusal where there is none, or where a run that is not over needs it."""
    from lab import bin

    bin.put("task", name)


def method_of(method: str | Method | Mapping[str, Any], overrides: Mapping[str, Any] | None = None) -> Method:
    """A Method from a preset's name, a document or a Method, with options changed by path. Raises Refusal."""
    if isinstance(method, str):
        return named.load_method(method, overrides)
    found = named.method_of(method)
    return named.method_of(override(found.document(), overrides)) if overrides else found


def count(model: str | ModelSpec, method: str | Method | Mapping[str, Any], overrides: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """What a method trains on a model, without a task head and without weights.

    {"trainable", "total", "percent", "by_delta", "biases"}, and "final" where a schedule or a reparameterisation ends elsewhere.
    Raises Refusal for what cannot be combined.
    """
    from lab.models import resolve

    spec, chosen = resolve(model), method_of(method, overrides)
    body = anatomy(spec.config)
    require(chosen, body, alone=True)
    return count_on(chosen, body, inventory_of(spec)).document()


def inventory_of(model: ModelSpec) -> Any:
    """A model's parameter counts: from its preset, else measured on the model built without weights (imports torch)."""
    if model.inventory is not None:
        return model.inventory
    from lab.models.inventory import measure

    return measure(model)


def check(spec: RunSpec | Mapping[str, Any], *, queued: bool = True) -> RunSpec:
    """The spec, validated as a whole before anything starts: options, rules on this model, a task and weights that are there.

    Relative paths in it become absolute (below LAB_HOME relative to that), since workers run elsewhere, and what it is made from is frozen with it (`Origins`); a spec that
    already says so must find the same here. `queued=False`: of a run that will not be queued, for which nothing needs to be here. Raises Refusal with one sentence and its field.
    """
    from lab import blocks, combining, continuing, fetches, origins, tracking
    from lab.models import checkpoint, locate, of_run, vocabulary
    from lab.tasks import FAMILIES, outside
    from lab.tasks import resolve as resolve_task
    from lab.tasks.together import at, fields_of, objectives_of

    spec = blocks.settled(spec if isinstance(spec, RunSpec) else spec_of(continuing.filled(blocks.filled(dict(spec))) if isinstance(spec, Mapping) else spec))
    spec = continuing.settled(combining.settled(spec))
    model, tasks = of_run(spec), [at(field, lambda: resolve_task(task)) for field, task in fields_of(spec)]  # noqa: B023
    body = anatomy(model.config)
    require(spec.method, body)
    require_readable(body, spec.training.max_length)
    for task in tasks:
        room_for_inputs(spec.method, body, spec.training.max_length, task.max_length)
    if problem := ratio_problem(spec.method, spec.lr_ratio):
        raise problem
    objectives = objectives_of(tasks, model)
    place = locate(model)
    if queued:
        fetches.require("model", fetches.of_model(model), waits=place.kind == "hub")
        for (field, _), task in zip(fields_of(spec), tasks, strict=True):
            if task.source.hub:  # of other rows what is wrong is said by those who read them
                fetches.require(field, fetches.of_task(task))
    checkpoint.check(model, place.folder)
    if checkpoint.quantised_by(model) and (problem := quantised_problem(spec.method)):
        raise problem
    now = origins.origins_of(spec) if spec.origins else None
    origins.require_same(spec, Message("this specification was frozen"), now=now)  # before rows are looked at that are others now
    for (field, _), task, objective in zip(fields_of(spec), tasks, objectives, strict=True):
        if place.folder is not None and (task.source.file or model.source.folder or FAMILIES[task.family].conversations):
            at(field, lambda: outside.require_suited(task, model, place.folder, objective))  # noqa: B023
        else:  # both are the lab's own, or not here yet
            vocabulary.check(model, place.folder)
    require_training(spec.method, model, objectives[0])
    require_read(spec, objectives)
    tracking.require(spec.training.track)
    if spec.training.devices > 1:
        queue().launcher.require(spec.training.devices, spec.training.device)
    own = model.source.folder and spec.model not in models()
    changes: dict[str, Any] = {"model": portable(Path(model.source.folder))} if own else {}
    first, *further = [_held(given, task) for (_, given), task in zip(fields_of(spec), tasks, strict=True)]
    changes |= {"task": first, "further": further}
    frozen = now or origins.origins_of(spec)
    if spec.built_on.names:
        blocks.require_fit(spec, frozen, objectives[0], tasks[0].labels)
    return spec.model_copy(update={**changes, "origins": frozen})


def _held(given: Any, task: Any) -> Any:
    """The task as a worker elsewhere finds it: the path of a file absolute. Refuses data that are not there, or not to be read by this process."""
    from lab.tasks import sources

    if isinstance(given, str):
        return given
    if not task.source.hub:
        sources.fingerprint(task.source)
    if not task.source.file:
        return given
    file = portable(Path(located(task.source.file)).expanduser().resolve())
    return task.model_copy(update={"source": task.source.model_copy(update={"file": file})})


def require_training(method: Method, model: ModelSpec, objective: str) -> None:
    """Raise Refusal for a selection that trains nothing on this model: biases where there are none, a head where there is none."""
    select = method.select
    if select is None or not select.nothing:
        return
    if not OBJECTIVES[objective].headed if select.head_alone else not method.deltas and not getattr(inventory_of(model), select.weights):
        raise Refusal(select.nothing, "select")


def require_read(spec: RunSpec, objectives: Sequence[str]) -> None:
    """Raise Refusal for an option of the run that its tasks or its method have no use for."""
    from lab.models import resolve

    if spec.training.temperature != 1 and not spec.further:
        raise Refusal("There is one task, so that none is drawn and a temperature would say nothing: leave it at 1.", "training.temperature")
    if spec.training.head_lr is not None and not OBJECTIVES[objectives[0]].headed:
        raise Refusal("There is no new task head on this model, so a learning rate of its own would say nothing: leave it empty.", "training.head_lr")
    if spec.training.label_smoothing and all(OBJECTIVES[objective].labels == "number" for objective in objectives):
        raise Refusal("A number has no labels to spread a share over: leave label smoothing at 0.", "training.label_smoothing")
    if spec.training.optimizer != "galore":
        for name in ("galore_rank", "galore_every", "galore_scale"):
            if getattr(spec.training, name) != Training.model_fields[name].default:
                raise Refusal("Only the optimizer galore reads {name}: choose it, or leave {name} as it is.", f"training.{name}", name=word(name))
    elif (widest := widest_trained(spec.method, anatomy(resolve(spec.model).config))) <= spec.training.galore_rank:
        raise Refusal(
            "GaLore projects matrices of the layers whose sides are both above its rank of {rank}; of those that train here, the shorter side is at most {widest}: choose a smaller galore_rank, or adamw.",
            "training.galore_rank",
            rank=spec.training.galore_rank,
            widest=widest,
        )


def resume(run_id: str) -> None:
    """Queue a failed, cancelled or interrupted run again. Refusal in any other state, or where what it is made from has changed."""
    from lab import origins
    from lab.runs import RESUMABLE

    lab = queue()
    run = lab.store.get(run_id)
    if run.state in RESUMABLE and run.spec:
        origins.held(spec_of(run.spec), lab.home.run_dir(run.id), write=False)
    lab.resume(run_id)


def duplicate(run_id: str, name: str | None = None) -> str:
    """Queue a new run with the same settings, tags and notes, made from what is here now; its id. What differs is said in its history."""
    from lab import origins

    lab = queue()
    run = lab.store.get(run_id)
    if not run.spec:
        return lab.duplicate(run_id, name)  # which says what is wrong
    before = spec_of(run.spec)
    checked = check(before.model_copy(update={"origins": None}))
    message = origins.since(Message("run {run} was launched", run=run.id), origins.changes(before, now=checked.origins))
    return lab.launch(checked.document(), run.name if name is None else name, run.tags, run.notes, parent=run_id, message=message)


def edit(run_id: str, *, name: str | None = None, tags: Sequence[str] | None = None, notes: str | None = None, place: int | None = None) -> Run:
    """Another name, other tags or notes, or another place in the queue (1: the first); the run as it is then. Everything is checked before anything changes."""
    from lab.runs.records import check_name, check_notes, check_tags

    if (name, tags, notes, place) == (None,) * 4:
        raise Refusal("Say what to change: --name, --tag, --notes or --place.", "run")
    lab = queue_there()
    tags = None if tags is None else check_tags(tags)
    name, notes = name if name is None else check_name(name, needed=True), notes if notes is None else check_notes(notes)
    if place is not None:
        if place < 1:
            raise Refusal("Place must be at least 1; it is {place}.", "place", place=place)
        lab.reorder(run_id, place - 1)  # first: it alone may be refused, where the run waits no more
    for change, value in ((lab.rename, name), (lab.tag, tags), (lab.annotate, notes)):
        if value is not None:
            change(run_id, value)
    return lab.store.get(run_id)


def changed(run: Run) -> str:
    """One sentence on what a run was made from and is not here any more as it was; "" where all is the same."""
    from lab import origins

    try:
        return origins.noted(spec_of(run.spec), Message("this run was launched"), origins.STARTING)
    except Refusal:
        return ""


def plan(spec: RunSpec | Mapping[str, Any] | None = None, **setting: Any) -> dict[str, Any]:
    """Peak memory by category, predicted without weights or an accelerator.

    {"peak_allocated_bytes", "peak_reserved_bytes", "categories", "phases", "trainable", "seconds", "not_modelled"}. Of a run: `plan(spec)`, with
    batch, tokens, target_tokens, targets, dtype, adapter_dtype or device given over it. Of a step of some shape in a script of one's own:
    `plan(model=..., method=..., batch=..., tokens=...)`, as lab.planning.plan_shape takes it, with transformers' keys and values kept (use_cache).
    """
    from lab import planning

    found = planning.plan_shape(**{"use_cache": True, **setting}) if spec is None else planning.plan(to_plan(spec), **setting)
    return found.summary()


def to_plan(spec: RunSpec | Mapping[str, Any]) -> RunSpec:
    """A spec as plans take it: with what it stands on in its method, as a frozen one has it. Raises Refusal."""
    from lab import blocks

    found = spec if isinstance(spec, RunSpec) else spec_of(dict(spec))
    return blocks.settled(found) if found.built_on.stand_on and not found.method.frozen else found


def estimate(spec: RunSpec | Mapping[str, Any]) -> dict[str, Any] | None:
    """How long a run will take by runs that are over, before it starts; None where none of them says anything.

    {"seconds", "low", "high", "runs", "alike"}: median and range over `runs` runs alike in method (and batch), kind of method, or task. Raises Refusal.
    """
    from lab.planning.devices import memory
    from lab.runs import default, is_there
    from lab.runs.estimates import estimate as of_runs
    from lab.runs.processes import identity

    checked = spec if isinstance(spec, RunSpec) else spec_of(dict(spec))
    if not is_there():
        return None
    here = memory()
    device = "cpu" if here["kind"] == "cpu" or checked.training.device == "cpu" else here["name"]
    found = of_runs(checked.document(), default().store.list(["succeeded"], limit=PAST), device, identity().host)
    return asdict(found) if found else None


def runs(where: str = "", **filters: Any) -> list[Run]:
    """The runs that a query means (`lab.runs.query`), newest first; `filters` as Store.list takes them (states=, tag=, words=, limit=). Raises Refusal."""
    from lab.results.table import listed
    from lab.runs import is_there

    return listed(queue().store, where, **filters) if is_there() else []


def queue() -> Queue:
    """The queue, with its store and home, of LAB_HOME and LAB_DATABASE_URL. Raises Refusal where they cannot be opened."""
    from lab.runs import default

    return default()


def queue_there() -> Queue:
    """The queue of a lab that has been used. Raises Refusal where there is none: for a look at runs none is made."""
    from lab.runs import is_there

    if not is_there():
        raise Refusal("There are no runs yet: {folder} is not there. LAB_HOME names another folder.", "LAB_HOME", folder=home_folder())
    return queue()


def queue_now() -> Queue:
    """`queue_there`, brought in line with what really runs. Where it cannot be written (a full disk) it is taken as it is, which is said."""
    from sqlalchemy.exc import SQLAlchemyError

    from lab.runs.database import reason_of

    found = queue_there()
    try:
        found.reconcile()
    except (SQLAlchemyError, OSError) as error:
        print(f"What is shown may be out of date: {reason_of(error, found.store.database.file)}.", file=sys.stderr, flush=True)
    return found


def run(spec: RunSpec | Mapping[str, Any], *, wait: bool = True, progress: Callable[[Run], None] | None = None, run_id: str | None = None) -> Run:
    """Start a run in a worker process and wait until it is over; the Run as the store has it.

    `wait=False` returns at once. `run_id`: the id that it gets (`lab.runs.home.new_id`). `progress` is called with the Run whenever something changed. An interrupt (Ctrl-C) while
    waiting stops the run. Raises Refusal before anything starts.
    """
    checked = check(spec)
    run_id = queue().launch(checked.document(), checked.name, checked.tags, run_id=run_id)
    return wait_for(run_id, progress) if wait else queue().store.get(run_id)


def combine(
    runs: Sequence[str], weights: Sequence[float] = (), how: str = "sum", *, wait: bool = True, progress: Callable[[Run], None] | None = None, **more: Any
) -> Run:
    """Put trained runs of one base together as a run of its own, evaluated on the tasks of all of them; the Run as the store has it.

    `weights`: one for each, equal shares of 1 if none. `how`: sum (of any methods), average, prune, ties, dare or dare-ties. `more`: `rank`, `density`, `sign`
    (lab.design.spec.combination), and name, tags or training of the run, which goes on training from there where it is given steps. Raises Refusal.
    """
    from lab import combining

    return run(combining.document(runs, weights, how, **more), wait=wait, progress=progress)


def wait_for(run_id: str, progress: Callable[[Run], None] | None = None) -> Run:
    """Block until a run is over, also while the store is out of reach, which is said. Ctrl-C stops it and waits for its end; a second one
    leaves it stopping."""
    from sqlalchemy.exc import SQLAlchemyError

    from lab.runs.database import reason_of

    lab, seen, stopping, trouble = queue(), None, False, ""
    while True:
        try:
            try:
                now, trouble = lab.watch(run_id, seconds=POLL_SECONDS, pause=POLL_SECONDS), ""
            except SQLAlchemyError as error:
                if not trouble:
                    trouble = reason_of(error, lab.store.database.file)
                    print(f"[lab] The store cannot be read just now ({trouble}); waiting for it.", file=sys.stderr, flush=True)
                time.sleep(POLL_SECONDS)
                continue
            if progress and now.version != seen:
                seen = now.version
                progress(now)
            if now.over:
                return now
        except KeyboardInterrupt:
            if stopping:
                raise
            stopping = True
            lab.stop(run_id, wait=False)


def export(run: Run | str, format: str = "peft", out: str | Path = "adapter", **options: Any) -> Path:
    """Write a run's best adapter in a format that other tools read; the folder. Raises Refusal."""
    from lab.export import export_run

    return export_run(run if isinstance(run, str) else run.id, format, out, **options)


def load(run: Run | str | Path, *, adapter: str = "best", task: str = "", model: str = "") -> tuple[Any, Any]:
    """(model, tokenizer): the base model with the run's adapter attached, in eval mode, on the CPU; also of a folder that --format lab wrote, anywhere.

    `adapter`: best (by the task's metric) or final. `task`: of a run of several, whose head; "": the first one's. `model`: of a folder, where its base is
    here, if not by the name that the run had it by. Raises Refusal where the run has none yet, or the base is not the one that it was trained on.
    """
    from lab.export.source import open_folder, open_run

    if isinstance(run, Path) or isinstance(run, str) and (Path(run) / "adapter.safetensors").is_file():
        opened = open_folder(run, task, model)
    elif model:
        raise Refusal("A run of this lab knows its base: leave the model out.", "model")
    else:
        opened = open_run(run if isinstance(run, str) else run.id, adapter, task=task)
    return opened.model, opened.tokenizer
