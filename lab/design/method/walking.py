"""Walking the design space: from a method, the values that each of the four dimensions of one of its deltas can take, all else staying as it can."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lab.design.body.anatomy import Anatomy
from lab.design.method.compositions import COMPOSITIONS
from lab.design.method.delta import Delta, Method
from lab.design.method.forms import FORMS
from lab.design.method.insertions import INSERTIONS
from lab.design.method.named import method_of
from lab.design.method.nearest import nearest
from lab.design.method.rules import problems
from lab.design.method.settling import with_composition, with_form
from lab.design.plain.refusal import Refusal
from lab.design.space import REPRESENTATIONS, SETS

DIMENSIONS = ("form", "at", "insertion", "composition")  # of He et al. 2022, Table 1


@dataclass(frozen=True)
class WalkStep:
    """A value of a dimension, and the method that it leads to."""

    value: str
    method: Method


def place(delta: Delta, dimension: str) -> str:
    """The value of a dimension, as steps name it."""
    return ", ".join(delta.at) if dimension == "at" else str(getattr(delta, dimension))


def steps(method: Method, index: int, dimension: str, body: Anatomy | None = None) -> list[WalkStep]:
    """The points along one dimension of the delta `index` that have a meaning (on a model, where one is given), the method's own among them, in the order of the space."""
    own = method.deltas[index]
    values: dict[str, Any] = {}
    if dimension == "at":
        values = {name: [name] for name in (*REPRESENTATIONS, *SETS)}
        values.setdefault(place(own, "at"), list(own.at))
    else:
        kinds: dict[str, Any] = {"form": FORMS, "insertion": INSERTIONS, "composition": COMPOSITIONS}
        values = {name: name for name in kinds[dimension]}
    found = []
    for value, option in values.items():
        point = _moved(method, index, dimension, option)
        if point is not None and (value == place(own, dimension) or not problems(point, body)):
            found.append(WalkStep(value, point))
    return found


def _moved(method: Method, index: int, dimension: str, value: Any) -> Method | None:
    own = method.deltas[index]
    if value == (list(own.at) if dimension == "at" else getattr(own, dimension)):
        return method
    document = own.model_dump(mode="json")
    try:
        if dimension == "form":
            changed = with_form(document, value)
        elif dimension == "composition":
            changed = with_composition(document, value)
        else:
            changed = {**document, dimension: value}
        deltas = [each.model_dump(mode="json") for each in method.deltas]
        deltas[index] = changed
        select = method.select.model_dump(mode="json") if method.select else None
        point = method_of({"deltas": deltas, "select": select, "training": method.training.model_dump(mode="json")})
    except Refusal:
        return None
    return None if place(point.deltas[index], dimension) != (", ".join(value) if dimension == "at" else value) else point


def named(method: Method) -> Method:
    """The preset that is this very point of the space, where there is one; else the method as it is."""
    near = nearest(method)[0]
    if near.steps:
        return method
    found = method_of(near.preset)
    return found.model_copy(update={"deltas": method.deltas, "select": method.select}) if len(found.deltas) == len(method.deltas) else method
