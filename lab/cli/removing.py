"""delete, restore, bin: what is thrown away, and comes back."""

from __future__ import annotations

import sys
import time
from argparse import Namespace
from typing import Any

from lab import bin as bins
from lab import verbs
from lab.cli.answer import Answer, table
from lab.cli.interrupted import standing
from lab.design.plain import numbers
from lab.design.plain.message import word
from lab.design.plain.refusal import Refusal


def delete(arguments: Namespace) -> Answer:
    """[{"run", "deleted": true}], of other kinds [{"task" or "method", "deleted"}]. Asks first where somebody can answer; elsewhere `--yes` is needed."""
    names = list(dict.fromkeys(arguments.run))
    if arguments.kind != "run":
        return _delete_own(arguments.kind, names, arguments)
    lab = verbs.queue_now()
    found = dict(_named(lab, words, arguments.for_good) for words in names)
    _ask(", ".join(f"{run_id} ({name})" for run_id, name in found.items()), arguments)
    with standing(list(found), absent="is deleted"):
        for run_id in found:
            lab.delete(run_id) if arguments.for_good else lab.bin(run_id)
    return _deleted("run", list(found), arguments.for_good)


def _named(lab: Any, words: str, for_good: bool) -> tuple[str, str]:
    """(id, name) of a run that no worker has; for good also of one in the bin."""
    for entry in bins.entries("run") if for_good else ():
        if words in (entry.id, entry.name):
            return entry.id, entry.name
    run = lab.store.find(words)
    if run.active:
        raise Refusal("Run {run} is {state}: stop it before you delete it.", "run", run=run.id, state=word(run.state))
    return run.id, run.name


def _delete_own(kind: str, names: list[str], arguments: Namespace) -> Answer:
    _ask(", ".join(names), arguments)
    for name in names:
        there = [entry.id for entry in bins.entries(kind) if arguments.for_good and name in (entry.id, entry.name)]
        place = there[0] if there else bins.put(kind, name)
        if arguments.for_good:
            bins.delete(kind, place)
    return _deleted(kind, names, arguments.for_good)


def _deleted(kind: str, names: list[str], for_good: bool) -> Answer:
    def text() -> str:
        which = "" if kind == "run" else f" --kind {kind}"
        return "\n".join(f"{name}  deleted" if for_good else f"{name}  in the bin; lab restore{which} {name} brings it back" for name in names)

    return Answer([{kind: name, "deleted": True} for name in names], text)


def restore(arguments: Namespace) -> Answer:
    """[{"kind", "restored": id of a run, or name}]."""
    if arguments.name and len(arguments.entry) > 1:
        raise Refusal("Another name is for one: restore them one by one.", "name")
    found = [bins.find(words, arguments.kind) for words in dict.fromkeys(arguments.entry)]
    if arguments.name and found[0].kind == "run":
        raise Refusal("A run keeps its name in the bin: restore it, then rename it with edit.", "name")
    back = [{"kind": entry.kind, "restored": bins.restore(entry.kind, entry.id, arguments.name)} for entry in found]
    return Answer(back, lambda: "\n".join(f"{one['restored']}  restored ({one['kind']})" for one in back))


def bin(arguments: Namespace) -> Answer:
    """{"entries": [{"kind", "id", "name", "binned", "until", "bytes"}], "bytes", "emptied"}; times in seconds since 1970."""
    if arguments.empty:
        if not (there := bins.entries(arguments.kind)):
            return _listing([], emptied=True)
        _ask(f"all {len(there)} in the bin ({numbers.memory(sum(entry.bytes for entry in there))})", Namespace(yes=arguments.yes, for_good=True))
        return _listing(bins.empty(arguments.kind), emptied=True)
    return _listing(bins.entries(arguments.kind), emptied=False)


def _listing(found: list[bins.BinEntry], emptied: bool) -> Answer:
    total = sum(entry.bytes for entry in found)
    document = {"entries": [vars(entry) for entry in found], "bytes": total, "emptied": emptied}

    def text() -> str:
        if not found:
            return "The bin is empty."
        rows = [[entry.kind, entry.id, entry.name, numbers.memory(entry.bytes), _day(entry.binned), _day(entry.until)] for entry in found]
        end = f"{numbers.memory(total)} {'deleted for good' if emptied else 'on the disk; bin --empty frees them'}."
        return "\n".join((table(["kind", "id", "name", "size", "deleted", "until"], rows), end))

    return Answer(document, text)


def _day(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))


def _ask(what: str, arguments: Namespace) -> None:
    """Refusal unless somebody at the terminal says yes, or said so before."""
    if arguments.yes:
        return
    if not sys.stdin or not sys.stdin.isatty():
        raise Refusal(
            "Deleting is for good, metrics and files included: say --yes." if arguments.for_good else "Nobody can be asked whether to delete it: say --yes.",
            "yes",
        )
    question = f"Delete {what}, with metrics and files, for good?" if arguments.for_good else f"Put {what} into the bin?"
    print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise Refusal("Nothing was deleted.", "yes")
