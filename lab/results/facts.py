"""What one run came to: which metric judges it and in which direction, its best and its final numbers, and whether they are a result at all."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from lab.design.plain import peaks
from lab.design.presets import catalogue, own
from lab.design.spec.families import LOSS, OF, Metric, judging, judging_together, metric_named
from lab.design.spec.run import named_tasks
from lab.design.spec.tasks import judged
from lab.runs import Run

NO_METRIC = ("step", "epoch")  # of an evaluation
FINAL, TEST = "final ", "test "  # before the name of a metric: of the last weights, and of the best ones on the test split


@dataclass(frozen=True)
class Result:
    """The number that a run is judged by. `kind`: of the best weights, or of the last ones where no best are noted."""

    kind: Literal["best", "final"]
    metric: Metric
    value: float
    step: int | None = None  # of the best weights, where it is known


def model_of(run: Run) -> str:
    """The model's short name."""
    return str(run.spec.get("model", "")).rstrip("/").rsplit("/", 1)[-1]


def task_of(run: Run) -> str:
    """The task's name, or the names of several."""
    tasks = (run.spec.get("task", ""), *(run.spec.get("further") or ()))
    return " + ".join(str(task.get("name") or task.get("title") or "own task") if isinstance(task, dict) else str(task) for task in tasks)


def judged_tasks(runs: Sequence[Run]) -> list[str]:
    """What each run is judged on, as text (`lab.design.spec.tasks.judged`); names alone are told apart as they are."""
    tasks = [[run.spec.get("task"), *(run.spec.get("further") or ())] for run in runs]
    named = all(isinstance(task, str) for each in tasks for task in each)
    return [json.dumps(each) if named else judged(each) for each in tasks]


def tasks_of(run: Run) -> list[str]:
    """The names that the tasks of a run of several have in it: of their heads, curves and numbers; none for a run of one."""
    further = run.spec.get("further")
    return list(named_tasks([run.spec.get("task", ""), *further])) if further else []


def method_of(run: Run) -> str:
    """The method's name."""
    method = run.spec.get("method") or {}
    return str(method.get("name") or method.get("preset") or "") if isinstance(method, dict) else str(method)


def judge(run: Run) -> Metric | None:
    """The metric that picked the run's best weights: as its result notes it, else that of its task; None for a task that is not known any more."""
    noted = run.result.get("judge") if isinstance(run.result, dict) else None
    if isinstance(noted, dict) and isinstance(noted.get("metric"), str):
        return metric_named(noted["metric"]) or Metric(noted["metric"], noted.get("greater_is_better") is not False)
    found = [judge_of(task) for task in (run.spec.get("task"), *(run.spec.get("further") or ()))]
    known = [metric for metric in found if metric]
    return None if len(known) < len(found) else judging_together(known) if len(known) > 1 else known[0]


def judge_of(task: Any) -> Metric | None:
    """The metric that judges a task of a run's document; None for one that is not known any more."""
    if isinstance(task, str):
        task = catalogue.read("tasks", task) if task in catalogue.names("tasks") or task in own.names("tasks") else None
    return judging(str(task.get("family") or ""), str(task.get("metric") or "")) if isinstance(task, Mapping) else None


def numbers_of(run: Run, part: str = "best") -> dict[str, float]:
    """{metric: value} of an evaluation of the run's result ("best", "metrics": of the last weights, "test"), without step counts."""
    found = run.result.get(part) if isinstance(run.result, dict) else None
    if not isinstance(found, dict):
        return {}
    return {name: float(value) for name, value in found.items() if _is_number(value) and name not in NO_METRIC}


def outcome(run: Run) -> dict[str, float]:
    """{metric: value} of a run's best evaluation, then those of the last one as `final metric`, and of the test split as `test metric`."""
    others = {before + name: value for before, part in ((FINAL, "metrics"), (TEST, "test")) for name, value in numbers_of(run, part).items()}
    return {**numbers_of(run), **others}


def measure_of(name: str) -> Metric | None:
    """The metric by the name that it has in `outcome`; None where no family declares it (`f1:spam`)."""
    return metric_named(name.removeprefix(FINAL).removeprefix(TEST))


def score(run: Run) -> Result | None:
    """The number that a run is judged by as far as it was measured, whatever became of the run: to show, not to compare by."""
    metric = judge(run)
    if metric is None:
        return None
    parts: tuple[tuple[Literal["best", "final"], str], ...] = (("best", "best"), ("final", "metrics"))
    for kind, part in parts:
        value = numbers_of(run, part).get(metric.name)
        if value is not None:
            return Result(kind, metric, value, _step(run) if kind == "best" else None)
    return None


def judged_on(run: Run) -> tuple[int, int] | None:
    """(rows, all there are) of the validation split that the run's best numbers are of; None where it is not known."""
    known = run.result if isinstance(run.result, dict) else {}
    every = known.get("validation_rows")
    rows = known.get("judged_rows", every if run.state == "succeeded" else known.get("evaluation_rows"))  # earlier labs judged by all at the end
    return (rows, every) if isinstance(rows, int) and isinstance(every, int) and 0 < rows <= every else None


def result(run: Run) -> Result | None:
    """What a run came to. None: it did not end by itself (cancelled, failed), its best weights are those before any training, or nothing judged it."""
    return score(run) if counts(run) else None


def counts(run: Run) -> bool:
    """Whether the run's numbers are a result: those of a training that came to its end and to something.

    The one predicate of tables, scatters, parallel coordinates, matrix, stars, tests, report, terminal and API: a run that was cancelled, failed or goes on
    is no result, nor is one that was judged at step 0 alone, unless it was asked for no steps to judge trained weights: those that it goes on from or puts together.
    """
    return run.state == "succeeded" and (_step(run) != 0 and run.result.get("steps") != 0 or _judges_trained(run))


def _judges_trained(run: Run) -> bool:
    built = run.spec.get("built_on")
    on = isinstance(built, Mapping) and (built.get("start_from") or built.get("stand_on"))
    return run.result.get("total_steps") == 0 and bool(on or run.spec.get("combination"))


def why_not(run: Run) -> str:
    """Why a run is no result: over (it ended otherwise), going (it has not ended) or untrained (step 0 alone was judged); "" where it is one."""
    return "" if counts(run) else "untrained" if run.state == "succeeded" else "over" if run.over else "going"


def peak_bytes(run: Run) -> float | None:
    """The peak of a run (bytes): step memory on an accelerator, process memory on a CPU (see `of_steps`)."""
    return _number(run, "peak_bytes")


def step_bytes(run: Run) -> float | None:
    """The step memory of a run (bytes) wherever it ran: what an accelerator's allocator gave, on a CPU the most of its metered steps; None where no step was metered
    (several processes, a compiled model, a lab before)."""
    return peak_bytes(run) if of_steps(run) else _number(run, "step_bytes")


def seconds(run: Run) -> float | None:
    """The time of a run (s): from its first line to its last, over all of its attempts; of one that has no result document, that of its process."""
    if (noted := _number(run, "seconds")) is not None:
        return noted
    end = run.ended or run.heartbeat
    return max(0.0, end - run.started) if run.started and end else None


def tokens_per_second(run: Run) -> float | None:
    """The speed of a run: tokens that its steps read over the seconds that the steps took, evaluations left out."""
    return _number(run, "tokens_per_second")


def joules(run: Run) -> float | None:
    """The energy of a run, measured or estimated; None where it was not asked for."""
    known = run.result.get("energy") if isinstance(run.result, dict) else None
    value = known.get("joules") if isinstance(known, dict) else None
    return float(value) if _is_number(value) else None


def _number(run: Run, name: str) -> float | None:
    value = run.result.get(name) if isinstance(run.result, dict) else None
    return value if _is_number(value) else None


COST: dict[str, Callable[[Run], float | None]] = {  # of a run: less is better, but for the speed
    "trainable": lambda run: _number(run, "trainable"), "percent": lambda run: _number(run, "percent"),
    "peak_bytes": peak_bytes, "seconds": seconds, "tokens_per_second": tokens_per_second, "joules": joules,
}  # fmt: skip


def of_steps(run: Run, curves: Collection[str] = ()) -> bool:
    """Whether a run's bytes are step memory: what an accelerator's allocator gave for weights, optimizer state and steps, as plans say it. Else they are process memory: all
    that its process holds on a CPU. `curves`: the names of those that it has, of a run without a result."""
    device = run.result.get("device") if isinstance(run.result, dict) else None
    return "reserved_peak_bytes" in curves or peaks.kind_on(device) == "step"


def peak_kind(runs: Iterable[Run]) -> peaks.Kind:
    """What the bytes of these runs are: step or process memory, or both where runs of both kinds stand side by side."""
    kinds = {of_steps(run) for run in runs if peak_bytes(run) is not None}
    return "both" if len(kinds) > 1 else "step" if kinds == {True} else "process"


def greater_is_better(name: str) -> bool:
    """The direction of a metric, also by the name that it has in `outcome`; what no family declares (`f1:spam`) is better when it is greater."""
    metric = measure_of(name)
    return metric is None or metric.greater


def _step(run: Run) -> int | None:
    best = run.result.get("best") if isinstance(run.result, dict) else None
    step = best.get("step") if isinstance(best, dict) else None
    return int(step) if _is_number(step) else None


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def evaluations(run: Run, names: list[str]) -> list[str]:
    """The names of a run's evaluation curves (eval_accuracy, ...), the one that judges it first; loss and counts are left out unless the loss judges.

    Of several tasks: what judges the run, then what judges each task."""
    metric = judge(run)
    first = f"eval_{metric.name}" if metric and metric.name != LOSS.name else ""
    if tasks := tasks_of(run):
        judges = [judge_of(task) for task in named_tasks([run.spec.get("task"), *run.spec["further"]]).values()]
        of_tasks = [f"eval_{one.name}{OF}{task}" for task, one in zip(tasks, judges, strict=True) if one]
        return [name for name in ([f"eval_{metric.name}"] if metric else []) + of_tasks if name in names]
    found = [name for name in names if name.startswith("eval_") and name.partition(OF)[0] not in ("eval_loss", "eval_seconds", "eval_rows")]
    return sorted(found, key=lambda name: name != first)
