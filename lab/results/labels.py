"""Names of runs, written so that those which stand together can be told apart: what differs comes first, before anything that a narrow place cuts off."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise

from lab.results.compare import varying
from lab.runs import Run

ROOM = 22  # characters that a list shows of a name at least
CUT = "… "
WORTH = 4  # characters that a cut saves, else it is none
LEAST = 6  # characters of the room that is left after a beginning
_PARTS = re.compile(r"[\s·,;|/_-]+|[^\s·,;|/_-]+")


def labels(names: Mapping[str, str], room: int = ROOM) -> dict[str, str]:
    """{id: name} as {id: label}, where names that begin with the same `room` characters leave out what they have in common and begin with what they
    differ in: the last words of a common beginning, where the next is a number (seed 1). Names that are equal have their id in front."""
    alike: dict[str, list[str]] = {}
    for run, name in names.items():
        alike.setdefault(name, []).append(run)
    twice = {run for runs in alike.values() if len(runs) > 1 for run in runs}
    whole = {run: f"{run} · {name}" if run in twice and name != run else name for run, name in names.items()}
    return dict(zip(whole, _apart([_PARTS.findall(name) for name in whole.values()], room), strict=True))


def labels_of(runs: Sequence[Run], room: int = ROOM) -> dict[str, str]:
    """The same of runs with their specs: those of one name have the settings in front in which they differ, rather than their ids."""
    names = {run.id: run.name or run.id for run in runs}
    for name in [name for name, often in Counter(names.values()).items() if often > 1]:
        alike = [run for run in runs if names[run.id] == name]
        settings = varying(alike)
        for index, run in enumerate(alike):
            differing = ", ".join(f"{path.rpartition('.')[2].replace('_', ' ')} {_written(values[index])}" for path, values in settings.items())
            names[run.id] = f"{differing} · {name}" if differing else name
    return labels(names, room)


def _written(value: object) -> str:
    return "–" if value is None else "+".join(map(str, value)) if isinstance(value, list) else str(value)


def _apart(names: list[list[str]], room: int) -> list[str]:
    """The labels of names in parts. Names that begin alike keep as much of the beginning as tells them from the others."""
    groups: dict[str, list[int]] = {}
    for index, parts in enumerate(names):
        groups.setdefault("".join(parts)[:room], []).append(index)
    found = ["".join(parts) for parts in names]
    telling = _telling([names[members[0]] for members in groups.values()])
    for members, head in zip(groups.values(), telling, strict=True):
        alike = [names[index] for index in members]
        same = _alike(alike) if len(members) > 1 else 0
        if len("".join(alike[0][head:same])) > WORTH:
            begin = "".join(alike[0][:head]).rstrip() + (" " if head else "") + CUT
            for index, label in zip(members, _apart([parts[same:] for parts in alike], max(LEAST, room - len(begin))), strict=True):
                found[index] = begin + label.removeprefix(CUT)
    return found


def _telling(names: list[list[str]]) -> list[int]:
    """How many parts of each name tell it from all others: from its neighbours in their order."""
    found = [0] * len(names)
    order = sorted(range(len(names)), key=names.__getitem__)
    for one, other in pairwise(order):
        same = next((index for index, (a, b) in enumerate(zip(names[one], names[other], strict=False)) if a != b), min(len(names[one]), len(names[other])))
        found[one], found[other] = max(found[one], same + 1), max(found[other], same + 1)
    return found


def _alike(names: list[list[str]]) -> int:
    """How many parts all of them begin with and can do without: not the word to which a number that differs belongs, nor the whole of a name."""
    same = next((index for index, column in enumerate(zip(*names, strict=False)) if len(set(column)) > 1), min(map(len, names)))
    if any(parts[same][:1].isdigit() for parts in names if len(parts) > same):
        same -= 2
    elif any(len(parts) == same for parts in names):  # one name is the beginning of another: its last word stays
        same -= 1
    while same > 0 and not any(map(str.isalnum, names[0][same])):
        same -= 1  # a label begins with a word
    return max(0, same)
