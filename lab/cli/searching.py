"""search: the best design under a budget."""

from __future__ import annotations

import os
import signal
import sys
from argparse import ArgumentParser, Namespace
from typing import Any

from lab import searching
from lab.cli.answer import Answer, facts, shorten, table
from lab.cli.request import is_document, method_document, read_document
from lab.design.plain import numbers
from lab.design.plain.options import fields, override
from lab.design.plain.refusal import Refusal
from lab.design.spec import search as spec
from lab.design.spec.sweep import assignments, written_out


def add_flags(added: ArgumentParser) -> None:
    """The flags of `search`."""
    added.add_argument("file", metavar="FILE", nargs="?", help="a YAML file with a search, or a preset such as minilm-small-budget; flags change it")
    added.add_argument(
        "--space", action="append", metavar="PATH=VALUES", help="an axis: deltas.0.rank='1..64 log', method=lora,dora, deltas.0.insertion=any; several times"
    )
    added.add_argument("--budget", help="what a design may cost, as in '0.3 %% weights, 900 MB'")
    added.add_argument("--model", help="a preset, a local folder or a hub id")
    added.add_argument("--task", help="a preset, see `tasks`")
    added.add_argument("--method", help="where the space begins: a preset, or a YAML file with a method (default lora)")
    added.add_argument("--anchor", action="append", metavar="METHOD", help="a method preset that is tried first; several times")
    added.add_argument(
        "--objective", action="append", choices=("metric", "weights", "memory", "seconds"), help="several times: the metric and what is to be small"
    )
    added.add_argument("--steps", type=int, help="of a whole run; the rungs are a ninth, a third and all of them")
    for field in fields(spec.SearchSpec):
        if field.path in ("trials", "minutes", "seeds", "together"):
            added.add_argument(f"--{field.path}", type=float if field.kind == "number" else int, metavar="N", help=field.help.replace("%", "%%"))
        elif field.path in ("sampler", "pruner"):
            added.add_argument(f"--{field.path}", choices=field.choices, help=field.help.replace("%", "%%"))
    added.add_argument("--set", action="append", metavar="PATH=VALUE", help="change the search by path: training.batch_size=16, finalists=3")
    added.add_argument("--name", help="its name, and the tag of its runs (default: one is made)")
    added.add_argument("--dry-run", action="store_true", help="check the search and begin nothing")
    added.add_argument("--detach", action="store_true", help="return at once; a process of its own drives it")
    added.add_argument("--resume", metavar="NAME", help="take a search up again that was stopped or killed")
    added.add_argument("--stop", metavar="NAME", help="end a search and its runs; it can be resumed")
    added.add_argument("--show", metavar="NAME", help="show a search as it is now")


def search(arguments: Namespace) -> Answer:
    """Begin a search and wait for its end, take one up again, stop one, or show one; what `lab.searching.summary` tells."""
    named = [value for value in (arguments.resume, arguments.stop, arguments.show) if value]
    if len(named) > 1 or named and (arguments.file or arguments.space):
        raise Refusal("Give one of a search to begin, --resume, --stop and --show.", "search")
    if arguments.stop:
        return _answer(searching.stop(arguments.stop))
    if arguments.show:
        return _answer(searching.read(arguments.show))
    if arguments.resume:
        name = searching.read(arguments.resume).name
        if arguments.trials is not None or arguments.minutes is not None:
            searching.extend(name, arguments.trials, arguments.minutes)
    else:
        wanted = spec.search_of(_document(arguments))
        if arguments.dry_run:
            return _dry(wanted)
        name = searching.begin(wanted)
    if arguments.detach:
        searching.start(name)
        return Answer({"name": name, "state": "running"}, lambda: f"{name}  running  (python -m lab search --show {name})")
    print(f"search {name}; python -m lab search --stop {name} ends it, --resume {name} takes it up again", file=sys.stderr, flush=True)
    before = signal.signal(signal.SIGINT, lambda number, frame: searching.ask_stop(name))
    try:
        record = searching.drive(name, lambda line: print(line, file=sys.stderr, flush=True))
    finally:
        signal.signal(signal.SIGINT, before)
    return _answer(record, ends=True)


def _document(arguments: Namespace) -> dict[str, Any]:
    """The plain search that a file or preset and the flags describe; flags win."""
    document: dict[str, Any] = {}
    if arguments.file:
        named = arguments.file in spec.names() or not is_document(arguments.file) and not os.path.isfile(arguments.file)
        document = spec.load(arguments.file).document() | {"name": ""} if named else read_document(arguments.file)
    for key in ("model", "task", "name", "budget", "sampler", "pruner", "trials", "minutes", "seeds", "together"):
        if getattr(arguments, key) is not None:
            document[key] = getattr(arguments, key)
    if arguments.method is not None:
        document["method"] = method_document(arguments.method)
    if arguments.space:
        document["space"] = {**(document.get("space") or {}), **spec.space_of(arguments.space)}
    if arguments.anchor:
        document["anchors"] = [*(document.get("anchors") or ()), *arguments.anchor]
    if arguments.objective:
        document["objectives"] = arguments.objective
    if arguments.steps is not None:
        document["training"] = {**(document.get("training") or {}), "steps": arguments.steps}
        document["rungs"] = []
    changes = assignments(arguments.set)
    if any(path.startswith("task.") for path in changes):
        document["task"] = written_out(document.get("task"))
    return override(document, changes)


def _dry(wanted: spec.SearchSpec) -> Answer:
    searching.check(wanted)
    return Answer(
        wanted.document(),
        lambda: facts([
            ("model", f"{wanted.model}, {wanted.task if isinstance(wanted.task, str) else wanted.task.name}"),
            ("space", ", ".join(wanted.space)),
            ("budget", _budget(wanted)),
            ("rungs", ", ".join(map(str, wanted.rungs)) + " steps"),
            ("trials", f"{wanted.trials}, then {wanted.finalists} and {wanted.baselines} presets over {wanted.seeds} seeds"),
        ])
        + "\nNothing was begun.",
    )  # fmt: skip


def _budget(wanted: spec.SearchSpec) -> str:
    bounds = wanted.budget
    return ", ".join(filter(None, [
        f"{numbers.percent(bounds.percent)} of the weights" if bounds.percent is not None else "",
        f"{numbers.weights(bounds.weights)} weights" if bounds.weights is not None else "",
        numbers.memory(bounds.memory) if bounds.memory is not None else "",
    ])) or "none"  # fmt: skip


def _answer(record: searching.SearchRecord, ends: bool = False) -> Answer:
    """`ends`: of a search that was to come to its end, which being stopped is not."""
    document = searching.summary(record)
    return Answer(document, lambda: text(document), ok=document["state"] not in ("interrupted", *["stopped"] * ends))


def text(document: dict[str, Any]) -> str:
    """A search for people: its trials, which options mattered, and the verdict."""
    rows = [[str(row["trial"]), row["from"], shorten(row["design"], 70), row["state"], numbers.percent(row["percent"]), numbers.memory(row["memory"]),
             str(row["step"] or ""), numbers.number(row["value"]) if row["value"] is not None else shorten(row["reason"], 60)] for row in document["trials"]]  # fmt: skip
    listing = table(("trial", "from", "design", "state", "weights", "memory", "step", document["metric"]), rows, right=("trial", "weights", "memory", "step"))
    refused = sum(document["refused"].values())
    more = [f"{refused} points were refused or known before and cost nothing."] if refused else []
    more += [document["note"]] if document["note"] else []
    if document["importance"]:
        shares = sorted(document["importance"].items(), key=lambda one: -one[1])
        more.append("What mattered (fANOVA, first rung): " + ", ".join(f"{path} {100 * share:.0f} %" for path, share in shares))
    head = f"{document['name']}  {document['state']}, {document['phase']}, {numbers.duration(document['seconds'])}"
    return "\n".join([head, listing, *more, *(document["verdict"].get("sentences") or ())])
