"""edit, duplicate: what changes the list of runs but nothing that a run did."""

from __future__ import annotations

from argparse import Namespace

from lab import verbs
from lab.cli.answer import Answer, facts


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
