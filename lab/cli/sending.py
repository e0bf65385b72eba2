"""push, metrics, track: what goes from a run to the hub, into a file, or to a tracker."""

from __future__ import annotations

import io
import os
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, get_args

from lab import verbs
from lab.cli.answer import Answer, table
from lab.design.plain import numbers
from lab.design.plain.message import word
from lab.design.plain.refusal import Refusal
from lab.design.spec.run import TrackerName
from lab.export import FORMATS


def push(arguments: Namespace) -> Answer:
    """A push's document (lab.export.hub.Push.document), with "sent": the address of the commit, "" where nothing was sent."""
    from lab.export import hub

    run = verbs.queue_there().store.find(arguments.run)
    found = hub.prepare(run, arguments.repo, arguments.format, adapter=arguments.adapter, task=arguments.task or "", public=arguments.public)
    if not arguments.dry_run:
        print(hub.text_of(found.document()), file=sys.stderr, flush=True)
        if not arguments.yes:
            _ask(found)
        found.send(replace=arguments.replace)
    return Answer(found.document(), lambda: found.sent or hub.text_of(found.document()))


def _ask(found: Any) -> None:
    """Refusal unless somebody at the terminal says yes."""
    if not sys.stdin or not sys.stdin.isatty():
        raise Refusal("Nothing was sent. What would be is listed above: say --yes to send it.", "yes")
    readers = "EVERYBODY can read it" if found.target.public else "private"
    print(f"Push {len(found.files)} files, {numbers.memory(found.bytes)}, to {found.target.repo} ({readers})? [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise Refusal("Nothing was sent.", "yes")


def metrics(arguments: Namespace) -> Answer:
    """Every point of the curves: rows as lab.results.points has them, with --json as a list, --csv and --jsonl into a file ("-": standard output)."""
    from lab.results import points as room

    if arguments.csv and arguments.jsonl:
        raise Refusal("Give --csv or --jsonl, not both.", "csv")
    store = verbs.queue_there().store
    runs = list({run.id: run for run in (store.find(words) for words in arguments.run)}.values())
    rows = room.points(store, runs, arguments.name or ())
    if file := arguments.csv or arguments.jsonl:
        write = room.write_csv if arguments.csv else room.write_json_lines
        if file == "-":
            out = io.StringIO()
            count = write(rows, out)
            return Answer({"file": "", "rows": count}, lambda: out.getvalue().removesuffix("\n"))
        count = _written(lambda out: write(rows, out), file)
        return Answer({"file": str(Path(file).expanduser().absolute()), "rows": count}, lambda: f"{file}  {count:,} rows")
    found = list(rows)
    documents = [{**row, "value": row["value"] if row["value"] - row["value"] == 0 else None} for row in found] if arguments.json else []
    return Answer(documents, lambda: _latest(found))


def _written(write: Callable[[IO[str]], int], file: str) -> int:
    """Write into a file, whole or not at all; what `write` answers."""
    path = Path(file).expanduser()
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("w", encoding="utf-8", newline="") as out:
            count = write(out)
        part.replace(path)
        return count
    except OSError as error:
        raise Refusal("{path} cannot be written ({reason}).", "csv", path=file, reason=word(error.strerror)) from None
    finally:
        part.unlink(missing_ok=True)


def _latest(rows: list[dict[str, Any]]) -> str:
    """The last point of each curve, and how many there are."""
    curves: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for row in rows:
        curves.setdefault((row["run"], row["split"], row["metric"], row["task"]), []).append(row)
    if not curves:
        return "No points yet."
    cells = [[run, split, metric, task, str(len(found)), f"{found[-1]['step']:,}", numbers.number(found[-1]["value"])]
             for (run, split, metric, task), found in curves.items()]  # fmt: skip
    return table(("run", "split", "metric", "task", "points", "last step", "last"), cells, right=("points", "last step", "last"))


def track(arguments: Namespace) -> Answer:
    """[{"run", "trackers"}]: the curves were handed to these trackers, or the sentence of one that failed is on standard error."""
    from lab import tracking
    from lab.tracking import mirror, trackers

    chosen = list(dict.fromkeys(arguments.to))
    tracking.require(chosen, "to")
    os.environ |= {name: value for name, value in trackers.QUIET.items() if name not in os.environ}
    lab, failed = verbs.queue_there(), []

    def tell(sentence: str) -> None:
        failed.append(sentence)
        print(sentence, file=sys.stderr, flush=True)

    found = list({run.id: run for run in (lab.store.find(words) for words in arguments.run)}.values())
    for run in found:
        mirror.follow(run, chosen, lab.home, lab.store, tell, wait=1.0)
    document = [{"run": run.id, "trackers": chosen} for run in found]
    return Answer(document, lambda: "\n".join(f"{run.id}  {', '.join(chosen)}" for run in found), ok=not failed)


def push_flags(added: ArgumentParser) -> None:
    added.add_argument("run", metavar="RUN", help="a run with a trained adapter")
    added.add_argument("repo", metavar="REPO", help="a repository of models, new or there: me/my-adapter, or my-adapter for one of your own")
    added.add_argument("--format", default="peft", help=f"{', '.join(FORMATS)} (default peft)")
    added.add_argument("--adapter", choices=("best", "final"), default="best", help="the best one by the task's metric, or the last (default best)")
    added.add_argument("--task", help="of a run of several tasks, whose head goes with the adapter")
    added.add_argument("--public", action="store_true", help="let everybody read it (default: private)")
    added.add_argument("--replace", action="store_true", help="also where files would be replaced that no export of a lab wrote")
    added.add_argument("--yes", action="store_true", help="do not ask")
    added.add_argument("--dry-run", action="store_true", help="show what would be sent, and send nothing")


def metrics_flags(added: ArgumentParser) -> None:
    added.add_argument("run", metavar="RUN", nargs="+", help="runs")
    added.add_argument("--name", action="append", metavar="METRIC", help="only this metric, as in accuracy or eval_accuracy; may be given several times")
    for flag, kind in (("csv", "CSV"), ("jsonl", "JSON Lines")):
        added.add_argument(f"--{flag}", nargs="?", const="-", metavar="FILE", help=f"write all of them as {kind} into a file (default: standard output)")


def track_flags(added: ArgumentParser) -> None:
    added.add_argument("run", metavar="RUN", nargs="+", help="runs; of one that goes on, until it is over")
    added.add_argument("--to", action="append", required=True, choices=get_args(TrackerName), help="may be given several times")
