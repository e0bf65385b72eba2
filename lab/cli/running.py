"""run, sweep, stop, resume: what starts and ends runs."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from lab import verbs
from lab.cli.answer import Answer, shorten, table
from lab.cli.interrupted import standing
from lab.cli.reading import result_of, result_text
from lab.cli.request import TRAINING, document_of
from lab.design.plain import numbers
from lab.design.plain.refusal import Refusal
from lab.design.presets import tables
from lab.design.spec import sweep as sweeping

if TYPE_CHECKING:
    from lab.runs import Run

WARM_SECONDS = 60.0  # that a sweep waits for its fork server


def run(arguments: Namespace) -> Answer:
    """Launch one run; wait for its end unless detached."""
    from lab.runs.home import new_id

    run_id = new_id()
    with standing([run_id]):
        started = verbs.run(document_of(arguments), wait=False, run_id=run_id)
        if arguments.detach:
            return _detached(started)
        return _ended(verbs.wait_for(started.id, _reporter(started)))


def combine(arguments: Namespace) -> Answer:
    """Put trained runs together; wait for the evaluation of what they become unless detached."""
    more = {name: value for name in ("rank", "density", "sign") if (value := getattr(arguments, name)) is not None}
    more |= {"name": arguments.name} if arguments.name else {}
    more |= {"training": {"steps": arguments.steps}} if arguments.steps else {}
    started = verbs.combine(arguments.run, arguments.weights, arguments.how or "sum", wait=False, tags=arguments.tag or [], seed=arguments.seed, **more)
    with standing([started.id]):
        return _detached(started) if arguments.detach else _ended(verbs.wait_for(started.id, _reporter(started)))


def resume(arguments: Namespace) -> Answer:
    """Queue a run that ended early again, from its last checkpoint."""
    lab = verbs.queue_now()
    found = lab.store.find(arguments.run)
    with standing([found.id]):
        verbs.resume(found.id)
        again = lab.store.get(found.id)
        return _detached(again) if arguments.detach else _ended(verbs.wait_for(found.id, _reporter(again)))


def stop(arguments: Namespace) -> Answer:
    """Stop runs, named or meant by a query, and wait until they have stopped."""
    lab = verbs.queue_there()
    if not arguments.run and not arguments.where.strip():
        raise Refusal("Name the runs to stop, or say with --where which.", "run")
    found = [lab.store.find(words) for words in arguments.run]
    found += [run for run in verbs.runs(where=arguments.where) if not run.over] if arguments.where.strip() else []
    ids = list(dict.fromkeys(run.id for run in found))
    with standing(ids):
        for run_id in ids:
            lab.store.ask_stop(run_id)  # all of them, before the first is waited for
        states = [{"run": run_id, "state": lab.stop(run_id)} for run_id in ids]
    return Answer(states[0] if len(states) == 1 else states, lambda: "\n".join(f"{row['run']}  {row['state']}" for row in states))


def sweep(arguments: Namespace) -> Answer:
    """Queue every point of a grid: all of them are checked before any is queued, and all are queued at once or none."""
    chosen, label = _points(arguments), sweeping.label()
    if len(chosen) > sweeping.LARGEST_SWEEP:
        raise Refusal("This sweep has {count:,} runs; the queue takes {most:,}, so take fewer values.", "over", count=len(chosen), most=sweeping.LARGEST_SWEEP)
    specs = [verbs.check(sweeping.spec_at(document_of(arguments, point), point, label), queued=not arguments.dry_run) for point in chosen]
    rows: list[dict[str, Any]] = [{"name": spec.name, "set": point, "trainable": verbs.count(spec.model, spec.method)["trainable"]}
                                  for spec, point in zip(specs, chosen, strict=True)]  # fmt: skip
    if not arguments.dry_run:
        from lab.runs.home import new_id

        lab, ids = verbs.queue(), [new_id() for _ in rows]
        print(f"tag {label}", file=sys.stderr, flush=True)
        with standing(ids, tag=label):
            if arguments.wait and len(ids) > 1:
                lab.warm(wait=WARM_SECONDS)  # no later than a cold start would begin, and every run gains
            lab.launch_all(
                [{"document": spec.document(), "name": spec.name, "tags": spec.tags, "run_id": run_id} for spec, run_id in zip(specs, ids, strict=True)]
            )
            for row, run_id in zip(rows, ids, strict=True):
                row["run"] = run_id
                row.update(result_of(verbs.wait_for(run_id, _reporter(lab.store.get(run_id)))) if arguments.wait else {"state": lab.store.get(run_id).state})
    document = {"tag": label, "count": len(rows), "runs": rows}
    return Answer(document, lambda: _sweep_text(document, arguments), ok=all(row.get("state") not in ("failed", "interrupted") for row in rows))


def _points(arguments: Namespace) -> list[dict[str, Any]]:
    """What varies. The rows of a table run where the paper ran them first, unless a model or a task is given, and have its name for a tag."""
    if not arguments.table:
        return sweeping.points(arguments.over, arguments.list)
    if arguments.method:
        raise Refusal("The table's rows are the methods: leave --method out.", "method")
    found = tables.load(arguments.table)
    arguments.tag = [*(arguments.tag or ()), arguments.table]
    if not (arguments.model or arguments.task or arguments.spec):
        where = found.bases[0]
        arguments.model, arguments.task = where.model, [where.task]
        for name, value in where.training.items():
            if getattr(arguments, TRAINING + name, None) is None:
                setattr(arguments, TRAINING + name, value)
    return sweeping.table_points(found.rows, arguments.over, arguments.list)


def _sweep_text(document: dict[str, Any], arguments: Namespace) -> str:
    rows = [[row.get("run", "–"), row.get("state", "not queued"), shorten(row["name"], 100), numbers.weights(row["trainable"])] for row in document["runs"]]
    listing = table(("run", "state", "name", "trainable"), rows, right=("trainable",))
    if arguments.dry_run:
        return f"{listing}\n{document['count']} runs; nothing was queued."
    waiting = "" if arguments.wait else " The web app starts them one after another, and so does --wait."
    return f"{listing}\n{document['count']} runs with the tag {document['tag']}.{waiting}"


def _detached(run: Run) -> Answer:
    return Answer({"run": run.id, "state": run.state}, lambda: f"{run.id}  {run.state}  (python -m lab show {run.id})")


def _ended(run: Run) -> Answer:
    return Answer(result_of(run), lambda: result_text(run), ok=run.state == "succeeded")


def _reporter(run: Run) -> Callable[[Run], None]:
    """Lines on standard error while a run goes on: where to look, then its state, what it does before its first step, and one line per tenth of the steps."""
    print(f"run {run.id} · {run.name}", file=sys.stderr, flush=True)
    seen: list[Any] = [None, -1, ""]

    def report(now: Run) -> None:
        tenth = int(10 * now.progress) if now.progress is not None else 0
        phase = f", {now.phase}" if now.state == "running" and now.phase and not now.step else ""  # loading, tokenising; then steps say it
        if (now.state, tenth, phase) != tuple(seen) and not now.over:
            seen[:] = now.state, tenth, phase
            steps = f"  step {now.step:,} of {now.total_steps:,}" if now.total_steps else ""
            print(f"  {now.state}{phase}{steps}", file=sys.stderr, flush=True)

    return report
