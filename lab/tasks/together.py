"""Several tasks of one run: where each stands in the spec, and whether one model can be all of them. Torch-free."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from lab.design.body.model import ModelSpec
from lab.design.plain.refusal import Refusal
from lab.design.spec.objectives import OBJECTIVES
from lab.design.spec.run import RunSpec
from lab.design.spec.task import TaskSpec
from lab.tasks import objective_of

Found = TypeVar("Found")


def fields_of(spec: RunSpec) -> list[tuple[str, str | TaskSpec]]:
    """The tasks of a run with their fields in the spec."""
    return [("task", spec.task), *((f"further.{number}", task) for number, task in enumerate(spec.further))]


def at(field: str, work: Callable[[], Found]) -> Found:
    """What `work` gives; what it refuses of a task is said at that task's field."""
    try:
        return work()
    except Refusal as refusal:
        if refusal.field.partition(".")[0] != "task":
            raise
        raise Refusal(refusal.sentence, field + refusal.field[len("task") :]) from None


def objectives_of(tasks: Sequence[TaskSpec], model: ModelSpec) -> list[str]:
    """What a model is asked to be for each task of a run. Refusal where that is not one class of transformers: heads go together, and so does what is answered in words."""
    found: list[str] = []
    for number, task in enumerate(tasks):
        field = f"further.{number - 1}" if number else "task"
        found.append(at(field, lambda task=task: objective_of(task, model)))  # type: ignore[misc]
        if OBJECTIVES[found[0]].auto != OBJECTIVES[found[-1]].auto:
            names = {OBJECTIVES[one].headed: task.name or task.family for one, task in ((found[0], tasks[0]), (found[-1], task))}
            raise Refusal(
                "One model cannot be both: '{words}' is answered in words here and '{head}' by a new head. Choose answer by likelihood for '{head}' where this model can, or train them apart.", field, words=names[False], head=names[True]
            )  # fmt: skip
    return found
