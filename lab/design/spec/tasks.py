"""The task that a run's document means: a preset's or an own task's name, or the task itself; and which tasks are one, whatever they are written as."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from typing import Any

from lab.design.plain.options import validate
from lab.design.plain.refusal import Refusal
from lab.design.presets import catalogue
from lab.design.spec.task import TaskSpec

TOLD = ("title", "description", "rows", "licence", "paper", "language")  # what a task says of itself
UNJUDGED = {"name": "", "train_rows": None}  # what may differ between tasks that are judged alike


def resolve(task: str | Mapping[str, Any] | TaskSpec) -> TaskSpec:
    """A task by preset, by the name of an imported one, or from a document. Raises `Refusal`."""
    if isinstance(task, TaskSpec):
        return task
    if isinstance(task, Mapping):
        return validate(TaskSpec, task, "task.")
    return validate(TaskSpec, {**catalogue.read("tasks", task), "name": task}, "task.")


def whole(task: Any) -> Any:
    """All options of a task, without what it says of itself; as it stands where it is not known any more. Not to be changed: a document's are kept."""
    try:
        return _written(json.dumps(task, sort_keys=True)) if isinstance(task, Mapping) else _options(resolve(task))
    except (Refusal, TypeError):
        return task


@functools.lru_cache(256)
def _written(document: str) -> dict[str, Any]:
    """Of a document (JSON), as pages ask for at every poll; what a name stands for may change meanwhile, and is read anew."""
    return _options(resolve(json.loads(document)))


def _options(task: TaskSpec) -> dict[str, Any]:
    return {name: value for name, value in task.model_dump(mode="json").items() if name not in TOLD}


def judged(tasks: Any) -> str:
    """What is judged by some tasks, as text: the same for those that differ in nothing but words about themselves and the rows that are trained on."""
    found = [whole(task) for task in tasks]
    return json.dumps([{**task, **UNJUDGED} if isinstance(task, dict) else task for task in found], sort_keys=True, default=str)
