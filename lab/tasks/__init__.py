"""Tasks: data, formatting, collation and metric, one file per family. Importing this room does not import torch.

ready = prepare("sentiment-rt", tokenizer, model.config, max_length=128, cache_dir=home.cache, seed=0)
batch = ready.collate([ready.train[i] for i in range(32)])
ready.evaluate(model, ready.validation, batch_size=128, device="cpu")     # {"loss": 0.69, "accuracy": 0.51, ...}
describe("sentiment-rt")                                                  # for pages
"""

from __future__ import annotations

import sys
import types
from pathlib import Path
from typing import Any

from lab.design.body.anatomy import anatomy_of
from lab.design.body.architecture import load_architecture
from lab.design.body.model import ModelSpec
from lab.design.method.lengths import room_beside
from lab.design.plain.message import Message
from lab.design.plain.refusal import Refusal
from lab.design.presets import catalogue, own
from lab.design.spec.task import TaskSpec
from lab.design.spec.tasks import resolve
from lab.tasks.families import FAMILIES
from lab.tasks.family import ENDLESS, Setting, Stopped
from lab.tasks.prepared import Prepared, examples, raw_rows

__all__ = ["FAMILIES", "Prepared", "Stopped", "TaskSpec", "describe", "names", "objective_of", "prepare", "resolve"]


def names() -> tuple[str, ...]:
    """The task presets and the user's own tasks, each sorted."""
    return (*catalogue.names("tasks"), *own.names("tasks"))


def objective_of(task: str | TaskSpec, model: ModelSpec) -> str:
    """What a model is asked to be for a task. Raises `Refusal` with the reason where it cannot do it. Torch-free."""
    spec = resolve(task)
    return FAMILIES[spec.family]().objective(spec, load_architecture(model.architecture))


def prepare(task: TaskSpec | str, tokenizer: Any, model_config: Any, *, max_length: int | None = None, cache_dir: str | Path | None = None,
            seed: int = 0, evaluation_rows: int | None = None, taken: int = 0) -> Prepared:  # fmt: skip
    """A task made ready for one model.

    `max_length`: tokens of an input, None: the task's own; never more than the model's positions, less those `taken` by the method
    (`Method.positions_taken`: l virtual tokens leave l fewer). `evaluation_rows` caps the
    validation split (a fixed draw). `seed` draws `train_rows`. Raises `Refusal` where the model cannot do the task or the data
    are not here.
    """
    spec = resolve(task)
    family = FAMILIES[spec.family]()
    body = anatomy_of(model_config)
    objective = family.objective(spec, body.architecture)
    room = room_beside(taken, body.positions)
    longest = max_length or spec.max_length
    if room is not None:  # a tokenizer of T5 names a length, which its model does not need
        longest = min(longest, room, tokenizer.model_max_length or room)
    if spec.languages and hasattr(tokenizer, "src_lang"):
        tokenizer.src_lang, tokenizer.tgt_lang = spec.languages
    setting = Setting(spec=spec, tokenizer=tokenizer, config=model_config, objective=objective, max_length=longest, positions=ENDLESS if room is None else room)
    setting = Setting(**{**vars(setting), "labels": family.labels(spec, ())})
    return Prepared(family, setting, cache_dir=Path(cache_dir) if cache_dir else None, seed=seed, evaluation_rows=evaluation_rows)


def describe(task: str | TaskSpec, n: int = 5) -> dict[str, Any]:
    """What a page shows of a task, without torch: facts, and where the data are here also sizes, label balance and examples.

    {"name", "title", "description", "family", "metric", "metrics", "greater_is_better", "labels", "max_length", "licence",
    "source", "available": bool, "unavailable": sentence, "splits": {"train": rows, ...}, "balance": {label: rows}, "examples": [...]}.
    Hub sets are not downloaded for this: they are described by their facts, unless the hub cache has them.
    """
    spec = resolve(task)
    family = FAMILIES[spec.family]()
    facts: dict[str, Any] = {
        "name": spec.name, "title": spec.title or spec.name, "description": spec.description, "family": spec.family,
        "metric": spec.main_metric, "metrics": list(spec.all_metrics), "greater_is_better": spec.greater_is_better,
        "labels": list(spec.labels), "max_length": spec.max_length, "licence": spec.licence, "paper": spec.paper,
        "source": spec.source.hub or spec.source.package or spec.source.bundled or spec.source.file,
        "available": False, "unavailable": "", "splits": dict(spec.rows), "balance": {}, "examples": [],
    }  # fmt: skip
    if spec.source.hub:
        return {**facts, "unavailable": Message("Comes from the hub ({name}); it is downloaded when a run needs it.", name=spec.source.hub)}
    try:
        rows = raw_rows(spec)
        facts["examples"] = examples(family, spec, n, "train")
        if spec.labels:
            facts["balance"] = family.balance([family.format(row, spec, number) for number, row in enumerate(rows["train"], 1)], spec)
    except Refusal as refusal:
        return {**facts, "unavailable": refusal.sentence}
    return {**facts, "available": True, "splits": {split: len(part) for split, part in rows.items()}}


class _Room(types.ModuleType):
    """`lab.tasks` is this module, and `lab.tasks()` lists the tasks."""

    def __call__(self) -> tuple[str, ...]:
        return names()


sys.modules[__name__].__class__ = _Room
