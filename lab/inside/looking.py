"""A look inside one run, or at what two runs answer differently. Runs in the child process of `lab.inside.serve`; needs torch."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from lab.blocks import adapter_folder
from lab.design.plain.refusal import Refusal
from lab.design.spec.objectives import OBJECTIVES
from lab.design.spec.run import RunSpec, spec_of
from lab.design.spec.tasks import judged
from lab.export.source import Opened, open_run, task_named
from lab.inside import rows, states, weights
from lab.origins import ASKING
from lab.tasks import answered, prepare

VERSION = 1  # raised when a look tells something else
LOOKED, BATCH = 32, 8  # validation rows that representations are compared on
FILE = "inside.json"


def look(run_id: str, task: str = "") -> dict[str, Any]:
    """{"weights", "cka", "slots", "readings", "lens", "answers", "notes", "rows"} of a run's best adapter; see `weights`, `states` and `rows`.

    "task": of a run of several, whose head is looked at; "": the first. Kept in the run's folder until the adapter is another. Raises Refusal.
    """
    from lab.runs import default

    folder = adapter_folder(run_id)
    mark = f"{VERSION}:{folder.stat().st_mtime_ns}:{task}"
    file = default().home.file(run_id, FILE)
    if (kept := _kept(file, mark)) is not None:
        return kept
    opened = open_run(run_id, parts=ASKING, task=task)
    found = {"mark": mark, **inside(opened, folder)}
    part = file.with_suffix(".part")
    part.write_text(json.dumps(found, allow_nan=False), encoding="utf-8")
    os.replace(part, file)
    return found


def inside(opened: Opened, folder: Path | None) -> dict[str, Any]:
    """The look itself, of an open run whose adapter is in `folder` (None: it keeps no answers)."""
    prepared = _prepared(opened)
    some = prepared.validation[:LOOKED]
    keep = lambda name: name != "labels" or opened.attached.body.encoder_decoder  # noqa: E731
    batches = [{name: tensor for name, tensor in prepared.collate(some[at : at + BATCH]).items() if keep(name)} for at in range(0, len(some), BATCH)]
    changed, notes = weights.spectra(opened.attached)
    joined = getattr(prepared.family, "joins", False)
    words = not OBJECTIVES[prepared.objective].headed
    return _finite({
        "weights": changed, "notes": [*([opened.note] if opened.note else []), *notes], "rows": len(some),
        "cka": states.similarities(opened.attached, batches), "slots": states.slot_masses(opened.attached, batches[0]),
        "readings": states.readings(opened.attached, batches[0]), "lens": states.lens(opened.attached, opened.tokenizer, batches[0]) if words else None,
        "answers": None if folder is None or joined else _answers(opened, folder, prepared),
    })  # fmt: skip


def disagree(one: str, other: str, task: str = "") -> dict[str, Any]:
    """{"task", "rows", "one_right", "other_right", "differ": [{"text", "reference", "one", "other", ...}]}: what two runs answer differently.

    "task": as the first run names it; "": the first one that both have. Raises Refusal.
    """
    from lab.runs import default
    from lab.tasks import resolve

    runs = [default().store.get(each) for each in (one, other)]
    names, document = _shared(*(spec_of(run.spec) for run in runs), task)
    kept = []
    for run, name in zip(runs, names, strict=True):
        answers = _of_task(adapter_folder(run.id), name)
        if answers is None:
            raise Refusal("Run {run} kept no answers row by row: it was trained by an earlier lab, or its task has none.", "run", run=run.id)
        kept.append((run, answers))
    spec = resolve(document)
    labels, texts = tuple(spec.labels), _texts(spec)
    found = rows.disagreements(kept[0][1], kept[1][1])
    if found is None:
        raise Refusal("The answers of this task are texts, of which the lab keeps scores alone, so they cannot be told apart row by row.", "run")
    first = rows.shown([mine for mine, _ in found["places"]], kept[0][1], texts, labels)
    second = rows.shown([theirs for _, theirs in found["places"]], kept[1][1], texts, labels)
    differ = [{"text": a["text"], "reference": a["reference"], "one": a["prediction"], "other": b["prediction"], "one_chance": a.get("chance"), "other_chance": b.get("chance")}
              for a, b in zip(first, second, strict=True)]  # fmt: skip
    return {"task": names[0], "rows": found["rows"], "one_right": found["one_right"], "other_right": found["other_right"], "differ": differ}


def _shared(one: RunSpec, other: RunSpec, task: str) -> tuple[tuple[str, str], Any]:
    """(the name that a task has in each of two runs, the task): the one asked for, or the first of `one` that both were judged on."""
    wanted = [task_named(one, task)[0]] if task else list(one.tasks)
    for name in wanted:
        for theirs, document in other.tasks.items():
            if judged([document]) == judged([one.tasks[name]]):
                return (name, theirs), one.tasks[name]
    raise Refusal("The two runs have different tasks, so their answers cannot be laid side by side.", "run")


def _kept(file: Path, mark: str) -> dict[str, Any] | None:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) and found.get("mark") == mark else None


def _prepared(opened: Opened) -> Any:
    return prepare(task_named(opened.spec, opened.task)[1], opened.tokenizer, opened.model.config, max_length=opened.spec.training.max_length,
                   taken=opened.spec.method.positions_taken)  # fmt: skip


def _of_task(folder: Path, task: str) -> dict[str, Any] | None:
    """What a run kept of its judged rows; None where it kept nothing that can be read."""
    try:
        found = answered.unpack((folder / answered.FILE).read_bytes())
    except (OSError, ValueError, KeyError):
        return None
    return dict(found[task][0] if task in found else next(iter(found.values()))[0]) if found else None


def _answers(opened: Opened, folder: Path, prepared: Any) -> dict[str, Any] | None:
    found = _of_task(folder, opened.task)
    if found is None:
        return None
    texts = _texts(prepared.spec)
    lists = {name: rows.shown(places, found, texts, opened.labels) for name, places in rows.worth_reading(found).items()}
    return {"judged": len(found["row"]), "confusion": rows.confusion(found, opened.labels), **lists}


def _texts(spec: Any) -> list[dict[str, Any]]:
    """What a person would type to ask each validation row, in the split's order."""
    import random

    from lab.tasks import FAMILIES
    from lab.tasks.prepared import raw_rows

    family, raw, most = FAMILIES[spec.family](), raw_rows(spec)["validation"], spec.validation_rows
    if most is not None and most < len(raw):
        raw = [raw[i] for i in sorted(random.Random(0).sample(range(len(raw)), most))]
    asked: Callable[[Mapping[str, Any], Any], dict[str, str]] = family.asked
    return [asked(row, spec) for row in raw]


def _finite(value: Any) -> Any:
    """Numbers that are none (a layer that does not vary) as None, which JSON has."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    return [_finite(each) for each in value] if isinstance(value, list) else value
