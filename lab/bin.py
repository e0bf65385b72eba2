"""The bin: runs, own tasks and own methods that were thrown away, each whole until it is restored, deleted for good, or has been there for `binned.days()`.

A run's id is its own for ever. The name of a task or a method in the bin is free for another one; what comes back then needs a new name.
"""

from __future__ import annotations

from dataclasses import dataclass

from lab.design.plain.message import some
from lab.design.plain.refusal import Refusal
from lab.design.presets import binned
from lab.runs import default, is_there
from lab.runs.home import ID
from lab.tasks import importing

KINDS = ("run", "task", "method")
_OWN = {"task": "tasks", "method": "methods"}


@dataclass(frozen=True)
class BinEntry:
    """`id`: a run's, or the place of a preset in the bin; times in seconds since 1970: when it was put there, and until when it stays; `bytes` on the disk."""

    kind: str
    id: str
    name: str
    binned: float
    until: float
    bytes: int


def entries(kind: str = "") -> list[BinEntry]:
    """What is in the bin, of one kind or of all, the last one thrown away first."""
    stay = 86_400 * binned.days()
    found = [
        BinEntry(one, preset.place, preset.name, preset.binned, preset.binned + stay, preset.bytes)
        for one, presets in _OWN.items()
        if kind in ("", one)
        for preset in binned.listing(presets)
    ]
    if kind in ("", "run") and is_there():
        lab = default()
        found += [
            BinEntry("run", run.id, run.name, run.binned, run.binned + stay, binned.size(lab.home.run_dir(run.id))) for run in lab.store.binned() if run.binned
        ]
    return sorted(found, key=lambda entry: -entry.binned)


def put(kind: str, name: str) -> str:
    """Put something into the bin: a run by its id, a task or a method of one's own by its name; its id there. Raises Refusal where it is in use, or is none."""
    if kind == "run":
        default().bin(name)
        return name
    if kind not in _OWN:
        raise Refusal("There are {kinds} in the bin, and no {kind}.", "kind", kinds=", ".join(KINDS), kind=kind[:40])
    if kind == "method":
        return binned.put("methods", name)
    if is_there():
        _require_unneeded(name)
    return importing.remove(name)


def _require_unneeded(task: str) -> None:
    importing.load(task)
    waiting = [run.id for run in default().store.list(["queued", "starting", "running", "stopping"])
               if task in (run.spec.get("task"), *(run.spec.get("further") or ()))]  # fmt: skip
    if waiting:
        raise Refusal("The task '{task}' is needed by run {run}: stop it first.", "task", task=task, run=some(waiting))


def find(words: str, kind: str = "") -> BinEntry:
    """What `words` names in the bin: an id, the beginning of a run's, or a name. Raises Refusal for none and for several."""
    there = entries(kind)
    found = [entry for entry in there if entry.id == words] or [
        entry for entry in there if entry.name == words or (entry.kind == "run" and len(words) > 2 and entry.id.startswith(words))
    ]
    if not found:
        raise Refusal("There is no {name} in the bin.", "name", name=repr(words[:120]))
    if len(found) > 1:
        raise Refusal(
            "{name} fits several things in the bin ({ids}): give the id.", "name", name=repr(words[:120]), ids=", ".join(entry.id for entry in found[:3])
        )
    return found[0]


def restore(kind: str, place: str, name: str = "") -> str:
    """Bring something back; its id (a run's) or the name that it has then. `name`: another one than it had, for a task or method. Raises Refusal."""
    if kind in _OWN:
        return binned.restore(_OWN[kind], place, name)
    if not ID.fullmatch(place):
        raise Refusal("There is no {name} in the bin.", "name", name=repr(place[:120]))
    default().restore(place)
    return place


def delete(kind: str, place: str) -> None:
    """Delete something in the bin for good. Raises Refusal where it is not there."""
    if kind in _OWN:
        binned.delete(_OWN[kind], place)
    elif place in {run.id for run in default().store.binned()}:
        default().delete(place)
    else:
        raise Refusal("There is no {name} in the bin.", "name", name=repr(place[:120]))


def empty(kind: str = "") -> list[BinEntry]:
    """Delete all that is in the bin, of one kind or of all, for good; what it was."""
    found = entries(kind)
    for entry in found:
        delete(entry.kind, entry.id)
    return found
