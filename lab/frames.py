"""Runs in a notebook: their numbers as pandas frames, and comparisons that show themselves.

lab.metrics(run)                        # every point of the curves: a DataFrame with run, step, time, split, metric, task, value
found = lab.compare([first, second])    # shows itself as tables; found.frame is the first of them, found.differing the settings
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from lab import verbs
from lab.design.plain.refusal import Refusal
from lab.results import compare as comparing
from lab.results import points
from lab.results.groups import Group, grouped
from lab.runs import Run, notebook


def metrics(*runs: Run | str, names: Iterable[str] = ()) -> Any:
    """A pandas DataFrame of every point of the curves of these runs (lab.results.points). `names`: only these metrics. Raises Refusal."""
    if not runs:
        raise Refusal("Name a run, or several: lab.metrics(run).", "run")
    store = verbs.queue_there().store
    return points.frame(points.points(store, _found(runs), names))


@dataclass(frozen=True)
class Comparison:
    """Runs side by side. `differing`: {setting: value of each run}; `groups`: runs of one setting over their seeds (lab.results.groups.Group)."""

    runs: list[Run]
    differing: dict[str, list[Any]]
    groups: list[Group]

    @property
    def frame(self) -> Any:
        """A pandas DataFrame, a run in each row: results, costs and the settings that differ."""
        import pandas

        heads, *rows = comparing.table(self.runs)
        return pandas.DataFrame(rows, columns=heads).set_index("run")

    def _repr_html_(self) -> str:
        heads, *rows = comparing.table(self.runs)
        kept = [index for index, name in enumerate(heads) if index < 3 or name not in self.differing and any(row[index] is not None for row in rows)]
        parts = [notebook.table([heads[index].replace("_", " ") for index in kept], [[row[index] for index in kept] for row in rows])]
        if self.differing:
            parts.append(notebook.table(["setting", *(run.id for run in self.runs)], [[path, *values] for path, values in self.differing.items()]))
        several = [group for group in self.groups if len(group.values) > 1 and group.metric]
        if several:
            rows = [[group.title, group.metric.name, group.mean, group.deviation, len(group.values)] for group in several]
            parts.append(notebook.table(["over seeds", "metric", "mean", "deviation", "n"], rows))
        return "".join(parts)


def compare(runs: Sequence[Run | str]) -> Comparison:
    """Runs side by side. Raises Refusal for fewer than two."""
    found = list({run.id: run for run in _found(runs)}.values())
    if len(found) < 2:
        raise Refusal("Give two different runs or more to compare.", "run")
    return Comparison(found, comparing.settings(found), grouped(found))


def _found(runs: Sequence[Run | str]) -> list[Run]:
    store = verbs.queue_there().store
    return [store.find(run) if isinstance(run, str) else store.get(run.id) for run in runs]
