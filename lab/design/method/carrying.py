"""Another method in place of one that somebody changed: which of the changes still make sense, and which are dropped."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from lab.design.body.anatomy import Anatomy
from lab.design.method.delta import Delta, Method
from lab.design.method.forms import FORMS
from lab.design.method.named import load_method
from lab.design.method.rules import problems
from lab.design.plain.refusal import Refusal

CARRIED = ("at", "layers", "stacks", "rank", "alpha", "rank_scaling", "dropout", "inner_dropout")  # in this order; the rest is what a method is
WIDTHS = ("rank", "bottleneck")  # two words for one number; a prefix length or a block size is another


@dataclass(frozen=True)
class Carried:
    """The new `method` with the changes that fit it, and the names of the options that were `kept` and `dropped`: of a delta, or deltas, select."""

    method: Method
    kept: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()


def carried(before: Method, after: Method, anatomy: Anatomy | None = None) -> Carried:
    """`after`, with what was changed in `before` wherever it has a meaning there (on a model, where one is given).

    Changes are what differs from the preset that `before` started from; in a free design, what differs from its forms' defaults, and where they stand.
    """
    method = after
    kept: list[str] = []
    dropped: list[str] = []
    for index, option, value in _changes(before):
        place = _place(before.own, index, method.deltas) if option in CARRIED else None
        tried = _with(method, place, option, value) if place is not None and _same(option, before.own[index], method.deltas[place]) else None
        fits = tried is not None and (tried == method or len(problems(tried, anatomy)) <= len(problems(method, anatomy)))
        (kept if fits else dropped).append(option)
        method = tried if tried is not None and fits else method
    return Carried(method, tuple(dict.fromkeys(kept)), tuple(one for one in dict.fromkeys(dropped) if one not in kept))


def _changes(before: Method) -> Iterator[tuple[int, str, Any]]:
    """(delta, option, value) of every change, those that come along in the order in which they are tried."""
    try:
        base = load_method(before.preset) if before.preset else None
    except Refusal:
        base = None
    usual = base.deltas if base else [Delta(at=delta.at, form=delta.form) for delta in before.own]
    for option in (*CARRIED, *(name for name in Delta.model_fields if name not in CARRIED)):
        for index, delta in enumerate(before.own[: len(usual)]):
            if getattr(delta, option) != getattr(usual[index], option) or (base is None and option == "at"):
                yield index, option, getattr(delta, option)
    if len(before.own) > len(usual):
        yield len(usual), "deltas", None
    if before.select != (base.select if base else None):
        yield 0, "select", None


def _place(before: list[Delta], index: int, after: list[Delta]) -> int | None:
    """The delta that stands for another one: of the same form first, else of the same place in the list."""
    alike = [place for place, delta in enumerate(after) if delta.form == before[index].form]
    if alike:
        return min(alike, key=lambda place: abs(place - index))
    return index if index < len(after) else None


def _same(option: str, before: Delta, after: Delta) -> bool:
    """Whether an option is the same thing in both forms."""
    old, new = FORMS[before.form], FORMS[after.form]
    if option != "rank":
        return True
    return old.has_rank and new.has_rank and (old.rank_label == new.rank_label or {old.rank_label, new.rank_label} <= set(WIDTHS))


def _with(method: Method, place: int, option: str, value: Any) -> Method | None:
    deltas = [delta.model_dump(mode="json") for delta in method.deltas]
    deltas[place][option] = value
    try:
        return method.model_copy(update={"deltas": [Delta.model_validate(delta) for delta in deltas]})
    except ValueError:
        return None
