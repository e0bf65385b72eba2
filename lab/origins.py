"""What a run is made from, by checksum: its rows, what its task reads of them, the base's weights, its tokenizer and chat template.

    now = origins_of(spec)             # torch-free; of files that are read once, then known by size, time and inode
    changed = changes(spec, now)       # [(field, sentence)]: what is not as it was when the run was launched
    require_same(spec, RESUMING)       # Refusal

`lab.verbs.check` freezes them into the spec. What cannot be known at launch (a hub repository that is not on this machine yet) is "" there, and
the worker writes it beside the run when it first starts, so that a resumed run is held to it.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from lab import blocks
from lab.design.plain.checksums import content
from lab.design.plain.message import Message, Note, listed
from lab.design.plain.options import validate
from lab.design.plain.refusal import Refusal
from lab.design.spec.run import Origins, RunSpec
from lab.design.spec.task import TaskSpec
from lab.models import locate
from lab.models import resolve as resolve_model
from lab.tasks import resolve as resolve_task
from lab.tasks import sources

DIGITS = 32  # of a sha256, in hexadecimal: 128 bits
WEIGHTS = ("*.safetensors", "*.safetensors.index.json")
TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.*", "merges.txt", "*.model", "*.spm")
TEMPLATES = ("chat_template.jinja", "chat_template.json", "additional_chat_templates/*.jinja")
NO_MATTER = {"_name_or_path", "name_or_path", "transformers_version", "chat_template"}  # of a configuration: where it was read, by what
PARTS = {  # of a task: what each print covers. The rest of a TaskSpec describes it to people.
    "columns": ("family", "columns", "turns"),
    "labels": ("labels", "spellings", "label_separator", "verbalisers", "head"),
    "splits": ("train_rows", "validation_rows"),
    "wording": ("loss_on", "prompt", "prefix", "languages", "max_length", "target_length", "generation", "metric", "metrics"),
}
PLACES = {"package", "bundled", "hub", "file", "config", "revision", "sha256"}  # of a source: where its rows are, which their own print covers
TOLD_APART = {"name", "title", "description", "licence", "paper", "language", "rows", "source"}

STARTING = ("rows", "columns", "labels", "splits", "wording", "probe", "weights", "config", "generation", "tokenizer", "template", "adapters")
LOADING = ("weights", "config", "tokenizer")  # an adapter is worth nothing on another base
ASKING = (*LOADING, "columns", "labels", "wording", "generation", "template")  # what a question to a trained model goes through
CHANGED = {  # of what stands in a sentence
    "rows": "rows of task {task}", "columns": "columns of task {task}", "labels": "labels of task {task}", "splits": "splits of task {task}",
    "wording": "wording or limits of task {task}", "probe": "rows of the probe {probe}", "weights": "weights of {model}",
    "config": "config.json of {model}", "generation": "generation_config.json of {model}", "tokenizer": "tokenizer of {model}", "template": "chat template of {model}",
    "adapters": "weights of {runs}",
}  # fmt: skip
FIELD = {
    "weights": "model",
    "config": "model",
    "generation": "model",
    "tokenizer": "model",
    "template": "model",
    "probe": "training.probe",
    "adapters": "built_on",
}


def origins_of(spec: RunSpec) -> Origins:
    """The prints of what the spec names, as it is on this machine now. Raises Refusal where data or a model cannot be found or read."""
    tasks = [_task(resolve_task(task)) for task in spec.tasks.values()]
    probe = _rows(resolve_task(spec.training.probe)) if spec.training.probe else ""
    return Origins(**{**_together(tasks), **_base(spec), "probe": probe, "adapters": _adapters(spec)})


def _base(spec: RunSpec) -> dict[str, str]:
    """The prints of the model; of its weights as they are packed: an adapter trained on a quantised base belongs to that one."""
    found = _model(spec.model)
    if spec.quantisation != "none" and found.get("weights"):
        found = {**found, "weights": f"{found['weights']}+{spec.quantisation}"}
    return found


def changes(spec: RunSpec, parts: Iterable[str] = STARTING, frozen: Origins | None = None, now: Origins | None = None) -> list[tuple[str, str]]:
    """(field of the spec, what differs in words) for the parts that are known both then and now, and differ.

    `frozen`: the spec's own if None. `now`: as on this machine, read only if there is something to compare with."""
    frozen, parts = frozen or spec.origins, tuple(parts)
    if frozen is None:
        return []
    now = now or (Origins(**_base(spec)) if set(parts) <= set(LOADING) else origins_of(spec))  # an adapter taken elsewhere has no task's data there
    names = [task if isinstance(task, str) else task.name or "of its own" for task in spec.tasks.values()]
    words = {"task": " and ".join(names), "probe": spec.training.probe, "model": spec.model, "runs": ", ".join(spec.built_on.names)}
    found = []
    for part in parts:
        then, here = getattr(frozen, part), getattr(now, part)
        if then and here and then != here:
            found.append((FIELD.get(part, "task"), Message(CHANGED[part], **words)))
    return found


def require_same(spec: RunSpec, what: Message, parts: Iterable[str] = STARTING, frozen: Origins | None = None, now: Origins | None = None) -> None:
    """Raise a Refusal where something differs. `what`: whose origins these are, as in 'run k7qm2x9b was launched'."""
    found = changes(spec, parts, frozen, now)
    if found:
        raise Refusal(
            "Since {since}, this has changed: {changed}. Put back what was there, or launch a new run.", found[0][0], since=what, changed=in_words(found)
        )


def noted(spec: RunSpec, what: Message, parts: Iterable[str]) -> str:
    """One sentence on what differs where that does no harm, "" where nothing does or it cannot be looked at."""
    try:
        found = changes(spec, parts)
    except Refusal:  # the data may be gone; whoever needs them says so
        return ""
    return since(what, found)


def since(what: Message, found: Iterable[tuple[str, str]]) -> str:
    """One sentence on what `changes` found since something, "" where it found nothing."""
    return Note("Since {since}, this has changed: {changed}.", since=what, changed=in_words(found)) if found else ""


def unlike(documents: Iterable[Mapping[str, Any]]) -> list[str]:
    """The parts in which runs differ although they name the same task or the same model: what makes their results hard to compare."""
    found = [document for document in documents if isinstance(document.get("origins"), Mapping)]
    differing = []
    for part in (part for part in STARTING if part != "adapters"):  # what a run is built on is a setting, told as one
        of = "model" if FIELD.get(part) == "model" else "task"
        prints: dict[str, set[str]] = {}
        for document in found:
            named = [document.get(of), document.get("quantisation") if of == "model" else document.get("further") or []]
            prints.setdefault(json.dumps(named, sort_keys=True), set()).add(document["origins"].get(part) or "")
        if any(len(values - {""}) > 1 for values in prints.values()):
            differing.append(part)
    return differing


def held(spec: RunSpec, run_dir: Path, *, write: bool = True) -> None:
    """Refusal unless everything is as it was: at launch by the spec, and by what the worker found when it first started."""
    now = origins_of(spec)
    require_same(spec, Message("this run was launched"), now=now)
    path = run_dir / "origins.json"
    first = _read(path)
    if first is not None:
        require_same(spec, Message("this run first started"), frozen=first, now=now)
    elif write:
        _write(path, now.model_dump())


def _read(path: Path) -> Origins | None:
    try:
        return validate(Origins, json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError):  # absent, or damaged: then the spec's own prints are what there is
        return None


def _write(path: Path, document: Mapping[str, Any]) -> None:
    """Whole or not at all."""
    with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False, encoding="utf-8", suffix=".part") as file:
        json.dump(document, file, indent=1)
    os.replace(file.name, path)


def in_words(found: Iterable[tuple[str, str]]) -> Message:
    """What `changes` found, in words."""
    return listed((words for _, words in found), " and ")


# -- tasks


def _together(tasks: list[dict[str, str]]) -> dict[str, str]:
    """The prints of several tasks as those of one; "" where one of them is not known."""
    if len(tasks) == 1:
        return tasks[0]
    return {part: _print([task[part] for task in tasks]) if all(task[part] for task in tasks) else "" for part in tasks[0]}


def _task(task: TaskSpec) -> dict[str, str]:
    document = task.model_dump(mode="json")
    covered = {name for names in PARTS.values() for name in names}
    rest = {name: value for name, value in document.items() if name not in covered | TOLD_APART and value != TaskSpec.model_fields[name].default}
    source = {name: value for name, value in document["source"].items() if name not in PLACES}
    found = {part: _print({name: document[name] for name in names}) for part, names in PARTS.items()}
    found["splits"] = _print([found["splits"], source])
    found["wording"] = _print([found["wording"], rest])  # an option of a task that is not sorted into a part counts as wording
    return {**found, "rows": _rows(task)}


def _rows(task: TaskSpec) -> str:
    """Of the files that the rows are read from, in whichever folder they lie; on the hub, of name and commit; "" where that is not known yet."""
    source = task.source
    if source.hub:
        commit = sources.commit_of(source)
        return _print([source.hub, source.config, commit]) if commit else ""
    return _print([sources.fingerprint(source)])


# -- adapters of other runs


def _adapters(spec: RunSpec) -> str:
    """Of the weights that the run goes on from or stands on; "" where there are none, or one cannot be read any more (a run that has begun has its own copy)."""
    try:
        found = [blocks.read(name).print for name in spec.built_on.names]
    except Refusal:
        return ""
    return _print(found) if found else ""


# -- models


def _model(name: str) -> dict[str, str]:
    model = resolve_model(name)
    place = locate(model)
    if place.folder is None:
        return _on_hub(model.source.hub, model.source.revision) if place.kind == "hub" else {}
    folder = place.folder
    return {
        "weights": _files(folder, WEIGHTS),
        "config": _print(_plain_json(folder / "config.json")),
        "generation": _print(_plain_json(folder / "generation_config.json")),
        "tokenizer": _files(folder, TOKENIZER),
        "template": _print([_files(folder, TEMPLATES), (_plain_json(folder / "tokenizer_config.json", ()) or {}).get("chat_template")]),
    }


def _on_hub(repository: str, revision: str) -> dict[str, str]:
    """A commit says all of them at once."""
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(repository, "config.json", revision=revision or None)
    return {"weights": _print([repository, Path(found).parent.name])} if isinstance(found, str) else {}


def _plain_json(path: Path, without: Iterable[str] = NO_MATTER) -> Any:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return {name: value for name, value in document.items() if name not in without} if isinstance(document, dict) else document


def _files(folder: Path, patterns: Iterable[str]) -> str:
    """Of the files of a folder by name and content; configurations without what no run depends on. "" where there are none."""
    paths = sorted({path for pattern in patterns for path in folder.glob(pattern) if path.is_file()})
    found = [(path.relative_to(folder).as_posix(),
              _print(_plain_json(path)) if path.name == "tokenizer_config.json" else content(path)) for path in paths]  # fmt: skip
    return _print(found) if found else ""


def _print(document: Any) -> str:
    return hashlib.sha256(json.dumps(document, sort_keys=True, default=str).encode("utf-8", "surrogatepass")).hexdigest()[:DIGITS]
