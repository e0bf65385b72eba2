"""What a kind of task declares of itself: its columns, its words, and the numbers that judge it. `lab.tasks.families` registers the kinds.

A spec is checked against the declaration of its family, and whoever shows or compares results asks here what a metric means.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Metric:
    """A number that an evaluation gives. `fraction`: in [0, 1] or [-1, 1] here, where papers print it times 100."""

    name: str
    greater: bool = True  # is better
    fraction: bool = False


LOSS = Metric("loss", greater=False)  # every family can be judged by it
AVERAGE = Metric("average", fraction=True)  # of a run of several tasks: see `together`
OF = "/"  # between a metric and the task that it is of, where a run has several: accuracy/cola


@dataclass(frozen=True)
class Column:
    """What a family calls a column of its data.

    `needed`: it must be there. `answers`: it holds what is to be learned. `asks`: it is part of the input text. `named`: a prompt may name it.
    """

    name: str
    label: str
    zh: str
    needed: bool = True
    answers: bool = False
    asks: bool = True
    named: bool = True


class Declared(Protocol):
    """A family of tasks, as far as specs and pages need to know it."""

    name: str
    title: str
    zh: str
    columns: tuple[Column, ...]
    metrics: tuple[Metric, ...]  # the first one judges, unless `main` says otherwise
    main: str


FAMILIES: dict[str, type[Declared]] = {}
REGISTERING = "lab.tasks.families"  # registers what stands in its folder when it is imported; found by name, as a plugin is, since this room knows no other


def register(family: type[Declared]) -> None:
    """Let specs be of this family. Raises ValueError for a name that is taken, or a metric that means the other direction elsewhere."""
    if FAMILIES.get(family.name, family) is not family:
        raise ValueError(f"There is a family {family.name} already.")
    metrics = {metric.name: metric for metric in (LOSS, *family.metrics)}
    if not family.columns or not family.metrics or (family.main and family.main not in metrics):
        raise ValueError(f"The family {family.name} needs columns and metrics, its main one among them.")
    for metric in metrics.values():
        if (known := metric_named(metric.name)) not in (None, metric):
            raise ValueError(f"The metric {metric.name} of {family.name} is not {known} of another family: one name has one meaning.")
    FAMILIES[family.name] = family


def _registered() -> dict[str, type[Declared]]:
    if not FAMILIES:
        importlib.import_module(REGISTERING)
    return FAMILIES


def family_named(name: str) -> type[Declared] | None:
    """The family of that name, None where there is none."""
    return _registered().get(name)


def metric_named(name: str) -> Metric | None:
    """The metric of that name, also as that of one of several tasks; None where no family declares it."""
    declared = {metric.name: metric for family in _registered().values() for metric in family.metrics}
    return {**declared, LOSS.name: LOSS, AVERAGE.name: AVERAGE}.get(name.partition(OF)[0])


def judging(name: str, metric: str = "") -> Metric | None:
    """What picks the best checkpoint of a task of this family whose spec says `metric` ("": the family's own); None where there is no such."""
    family = family_named(name)
    return metric_named(metric or family.main or family.metrics[0].name) if family else None


def judging_together(metrics: Sequence[Metric]) -> Metric:
    """What picks the best checkpoint of a run whose tasks are judged by these: their average, or, where one of them falls as a model gets better, the mean loss."""
    return AVERAGE if all(metric.greater for metric in metrics) else LOSS


def together(values: Mapping[str, Mapping[str, float]], metrics: Mapping[str, Metric]) -> dict[str, float]:
    """The numbers of a run of several tasks from those of each task, by its name: {"average", "loss", "accuracy/cola", "loss/cola", ...}.

    average: the mean of what judges each task, as fractions of 1 (BLEU and ROUGE, which are × 100, divided by it), where all of them rise as a model gets
    better; loss: the mean of the tasks' losses. A task without rows to judge it by counts in neither.
    """
    found: dict[str, float] = {}
    judged = [(values[task][metric.name] / (1 if metric.fraction else 100)) for task, metric in metrics.items() if metric.name in values.get(task, {})]
    if judged and judging_together(list(metrics.values())) is AVERAGE:
        found[AVERAGE.name] = math.fsum(judged) / len(judged)
    losses = [numbers[LOSS.name] for numbers in values.values() if LOSS.name in numbers]
    if losses:
        found[LOSS.name] = math.fsum(losses) / len(losses)
    return found | {f"{name}{OF}{task}": value for task, numbers in values.items() for name, value in numbers.items()}
