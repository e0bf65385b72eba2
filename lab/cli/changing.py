"""edit, duplicate, delete: what changes the list of runs but nothing that a run did."""

from __future__ import annotations

import sys
from argparse import Namespace

from lab import verbs
from lab.cli.answer import Answer, facts
from lab.cli.interrupted import standing
from lab.design.plain.refusal import Refusal


def edit(arguments: Namespace) -> Answer:
    """{"run", "name", "tags", "notes", "state"}, as they are now. Everything is checked before anything changes."""
    run = verbs.queue_there().store.find(arguments.run)
    now = verbs.edit(run.id, name=arguments.name, tags=arguments.tag, notes=arguments.notes, place=arguments.place)
    document = {"run": now.id, "name": now.name, "tags": now.tags, "notes": now.notes, "state": now.state}
    return Answer(document, lambda: facts([("run", f"{now.id}  {now.name}"), ("tags", ", ".join(now.tags)), ("notes", now.notes), ("state", now.state)]))


def duplicate(arguments: Namespace) -> Answer:
    """{"run", "state"} of the copy, and "changed": what it is made from that is not as it was for the first."""
    lab = verbs.queue_there()
    copy = lab.store.get(verbs.duplicate(lab.store.find(arguments.run).id, arguments.name))
    note = verbs.changed(lab.store.find(arguments.run))
    return Answer({"run": copy.id, "state": copy.state, "changed": note}, lambda: "\n".join(filter(None, (f"{copy.id}  {copy.state}  {copy.name}", note))))


def delete(arguments: Namespace) -> Answer:
    """[{"run", "deleted": true}]. Asks first where somebody can answer; elsewhere `--yes` is needed."""
    lab = verbs.queue_now()
    found = list({run.id: run for run in (lab.store.find(words) for words in arguments.run)}.values())
    for run in found:
        if run.active:
            raise Refusal(f"Run {run.id} is {run.state}: stop it before you delete it.", "run")
    if not arguments.yes:
        _ask(", ".join(f"{run.id} ({run.name})" for run in found))
    with standing([run.id for run in found], absent="is deleted"):
        for run in found:
            lab.delete(run.id)
    return Answer([{"run": run.id, "deleted": True} for run in found], lambda: "\n".join(f"{run.id}  deleted" for run in found))


def _ask(what: str) -> None:
    """Refusal unless somebody at the terminal says yes."""
    if not sys.stdin or not sys.stdin.isatty():
        raise Refusal("Deleting is for good, metrics and files included: say --yes.", "yes")
    print(f"Delete {what}, with metrics and files, for good? [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise Refusal("Nothing was deleted.", "yes")
