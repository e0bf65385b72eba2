"""runs, show: what happened, read from the store."""

from __future__ import annotations

import datetime
import time
from argparse import Namespace
from typing import TYPE_CHECKING, Any

from lab import verbs
from lab.cli.answer import Answer, facts, shorten, table
from lab.design.plain import numbers, peaks
from lab.results.facts import judged_on, peak_kind, score, task_of

if TYPE_CHECKING:
    from lab.runs import Run

WORTH = 5  # rows of each list that a terminal shows


def result_of(run: Run) -> dict[str, Any]:
    """How a run ended: {"run", "state", "trainable", "metrics", "best", "peak_bytes", "seconds"}, and "judged_rows", "validation_rows", "test", "error", "advice" where there is such."""
    result = run.result
    document = {
        "run": run.id, "state": run.state, "trainable": result.get("trainable"), "metrics": result.get("metrics") or {},
        "best": result.get("best") or {}, "peak_bytes": result.get("peak_bytes"), "seconds": result.get("seconds"),
    }  # fmt: skip
    rows = dict(zip(("judged_rows", "validation_rows"), judged_on(run) or (), strict=False))
    return {**document, **rows, **{key: value for key, value in (("test", result.get("test")), ("error", run.error), ("advice", run.advice)) if value}}


def result_text(run: Run) -> str:
    """The same for people."""
    result = result_of(run)
    best = {name: value for name, value in result["best"].items() if name != "step" and isinstance(value, (int, float))}
    where = f" at step {result['best']['step']}" if "step" in result["best"] else ""
    return facts([
        ("run", f"{run.id}  {run.name}"),
        ("state", run.state),
        ("error", run.error or ""),
        ("advice", run.advice or ""),
        ("best", _metrics(best) + where if best else ""),
        ("final", _metrics(result["metrics"])),
        ("judged on", f"{rows[0]:,} of {rows[1]:,} validation rows" if (rows := judged_on(run)) and rows[0] < rows[1] else ""),
        ("test", _metrics(result.get("test", {}))),
        ("trainable", f"{result['trainable']:,}" if result["trainable"] else ""),
        (peaks.WORDS[peak_kind([run])], numbers.memory(result["peak_bytes"]) if result["peak_bytes"] else ""),
        ("time", numbers.duration(result["seconds"]) if result["seconds"] else ""),
    ])  # fmt: skip


def _metrics(values: dict[str, Any]) -> str:
    return ", ".join(f"{name} {numbers.number(value)}" for name, value in values.items() if isinstance(value, (int, float)))


def runs(arguments: Namespace) -> Answer:
    """[{"run", "name", "state", "model", "task", "method", "step", "total_steps", "created", "tags", ...result}]."""
    from lab.runs import is_there

    asked = {"states": arguments.state, "tag": arguments.tag, "words": arguments.words, "limit": arguments.limit}
    if is_there():
        verbs.queue_now()
    found = verbs.runs(where=arguments.where, **asked)
    documents = [row_of(run) for run in found]

    def text() -> str:
        if not found:
            if is_there() and verbs.runs(limit=1):
                return "No run is meant by that."
            return "There are no runs; start one with: python -m lab run --model minilm-l6 --task sentiment-rt --method lora --steps 150"
        return table(("run", "state", "name", "task", "step", "best", "trainable", "created"), [_row(run) for run in found],
                     right=("step", "trainable"))  # fmt: skip

    return Answer(documents, text)


def row_of(run: Run) -> dict[str, Any]:
    """A run in a list of them: its result, settings in short, and how far it is."""
    return {**result_of(run), "name": run.name, **settings_of(run), "step": run.step, "total_steps": run.total_steps,
            "progress": run.progress, "created": run.created, "tags": run.tags}  # fmt: skip


def settings_of(run: Run) -> dict[str, Any]:
    method, tasks = run.spec.get("method") or {}, [run.spec.get("task"), *(run.spec.get("further") or ())]
    task, *further = [task.get("name") if isinstance(task, dict) else task for task in tasks]
    return {"model": run.spec.get("model"), "task": task, **({"further": further} if further else {}),
            "method": method.get("preset") or method.get("name")}  # fmt: skip


def _row(run: Run) -> tuple[str, ...]:
    judged = score(run)
    steps = f"{run.step:,}/{run.total_steps:,}" if run.total_steps else str(run.step)
    return (run.id, run.state, shorten(run.name, 40), shorten(task_of(run), 40), steps, f"{judged.metric.name} {numbers.number(judged.value)}" if judged else "",
            numbers.weights(run.result.get("trainable")), _when(run.created))  # fmt: skip


def _when(stamp: float | None) -> str:
    if not stamp:
        return ""
    ago = time.time() - stamp
    return f"{numbers.duration(ago)} ago" if 0 <= ago < 3600 else datetime.datetime.fromtimestamp(stamp).strftime("%Y-%m-%d %H:%M")


def show(arguments: Namespace) -> Answer:
    """The result, and "name", "step", "total_steps", "pid", "progress", "spec", "tags", "notes", "events", "folder"."""
    lab = verbs.queue_now()
    run = lab.store.find(arguments.run)
    events = [{"time": event.time, "state": event.state, "message": event.message} for event in lab.store.events(run.id)]
    document = {
        **result_of(run), "name": run.name, "step": run.step, "total_steps": run.total_steps, "progress": run.progress, "pid": run.pid,
        "created": run.created, "started": run.started, "ended": run.ended, "attempt": run.attempt, "exit_code": run.exit_code,
        "tags": run.tags, "notes": run.notes, "folder": str(lab.home.run_dir(run.id)), "events": events, "spec": run.spec, "changed": verbs.changed(run),
    }  # fmt: skip
    tail = lab.log_tail(run.id, arguments.log) if arguments.log > 0 else ""
    if arguments.log > 0:
        document["log"] = tail

    def text() -> str:
        import yaml

        progress = f"{numbers.percent(100 * run.progress)}, step {run.step:,} of {run.total_steps:,}" if run.progress is not None else ""
        more = facts([("progress", progress), ("process", str(run.pid or "")), ("created", _when(run.created)), ("tags", ", ".join(run.tags)),
                      ("notes", run.notes), ("folder", document["folder"]), ("changed", document["changed"])])  # fmt: skip
        spec = yaml.safe_dump(_sparse(run.spec), sort_keys=False, allow_unicode=True).rstrip()
        return "\n\n".join(filter(None, (result_text(run) + "\n" + more, spec, tail)))

    return Answer(document, text)


def _sparse(value: Any) -> Any:
    """A spec without what is empty, for reading; the whole one is in --json and in the run's spec.yaml."""
    if isinstance(value, dict):
        return {key: kept for key, item in value.items() if (kept := _sparse(item)) not in (None, "", [], {})}
    return [_sparse(item) for item in value] if isinstance(value, list) else value


def inside(arguments: Namespace) -> Answer:
    """What `lab.inside.looking` tells of a run, or of what two runs answer differently."""
    from lab.inside import look_inside

    found = look_inside(arguments.run, arguments.beside, arguments.task)
    return Answer(found, lambda: _differing(found) if arguments.beside else _inside(found))


def _inside(found: dict[str, Any]) -> str:
    share = lambda value: "–" if value is None else f"{100 * value:.2g} %"  # noqa: E731
    spectra = table(("projection", "size", "effective rank", "alignment", "by chance", "intruders"), [
        [f"{one['stack']}.{one['layer']}.{one['representation']}", share(one["relative"]), f"{one['effective_rank']:.3g}", share(one["alignment"]), share(one["by_chance"]), f"{one['intruders']} of {one['of']}"]
        for one in found["weights"]], right=("size", "effective rank", "alignment", "by chance"))  # fmt: skip
    layers = table(
        ("states", "CKA"), [[f"{one['stack']} {one['layer'] or '0 (embeddings)'}", "–" if one["cka"] is None else f"{one['cka']:.3f}"] for one in found["cka"]]
    )
    masses = table(
        ("slots", "λ", "by head"),
        [[f"{one['stack']} {one['layer']}", f"{one['mean']:.3f}", " ".join(f"{value:.2f}" for value in one["heads"])] for one in found["slots"]],
    )
    answers = found["answers"] or {}
    classes = (answers.get("confusion") or {}).get("classes", [])
    scores = table(
        ("class", "precision", "recall", "F1", "rows"),
        [[one["label"], *("–" if one[key] is None else f"{one[key]:.3f}" for key in ("precision", "recall", "f1")), str(one["rows"])] for one in classes],
    )
    worth = "\n\n".join(
        f"{title}\n"
        + table(("right", "answer", "text"), [[str(row["reference"]), str(row["prediction"]), shorten(row["text"], 100)] for row in answers[key][:WORTH]])
        for key, title in (("worst", "Least likely to be right:"), ("least_certain", "Least certain:"))
        if answers.get(key)
    )
    parts = [
        *found["notes"],
        spectra if found["weights"] else "No projection's weight changes.",
        layers,
        masses if found["slots"] else "",
        scores if classes else "",
        worth,
    ]
    return "\n\n".join(part for part in parts if part)


def _differing(found: dict[str, Any]) -> str:
    listed = table(
        ("right", "first", "second", "text"),
        [[str(row["reference"]), str(row["one"]), str(row["other"]), shorten(row["text"], 100)] for row in found["differ"]],
    )
    return f"Of {found['rows']:,} rows the first alone is right on {found['one_right']:,}, the second alone on {found['other_right']:,}.\n{listed}"
