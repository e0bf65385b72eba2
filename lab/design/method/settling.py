"""Changing one dimension of a delta and keeping what still has a meaning, so that a bench never throws away more than it must."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from lab.design.method.allocations import ALLOCATIONS
from lab.design.method.compositions import COMPOSITIONS, options, taken
from lab.design.method.delta import Delta, Method
from lab.design.method.forms import FORMS, Form
from lab.design.method.insertions import taken as insertions_of
from lab.design.method.rules import problems
from lab.design.method.schedules import SCHEDULES
from lab.design.plain.options import validate

ALLOWED: dict[str, Callable[[Form], tuple[str, ...]]] = {
    "insertion": insertions_of, "composition": taken, "nonlinearity": lambda form: form.nonlinearities, "init": lambda form: form.inits,
}  # fmt: skip
GROUPS: dict[str, Mapping[str, Any]] = {"schedule": SCHEDULES, "allocation": ALLOCATIONS}
GIVEN_UP = ((), ("rank",), ("layers",), ("init",), ("insertion",), ("init", "nonlinearity"), ("init", "nonlinearity", "composition", "scale"),
            ("init", "nonlinearity", "composition", "scale", "insertion"), ("rank", "init", "nonlinearity", "composition", "scale", "insertion"))  # in this order, until the delta has a meaning  # fmt: skip


def with_form(delta: Mapping[str, Any], form: str) -> dict[str, Any]:
    """The delta with another functional form: as many of its other choices stay as still have a meaning.

    `delta` is a plain document; raises `Refusal` for an unknown form or a document that is not a delta.
    """
    kind = FORMS.get(form)
    if kind is None:
        return validate(Delta, {**delta, "form": form}).model_dump(mode="json")
    at = [name for name in delta.get("at", ()) if not kind.representations or name in kind.representations]
    places = [place for place in (at, list(kind.representations), ["ffn.out"], ["attn.q"]) if place]
    settled = {}
    for given_up in GIVEN_UP:
        for place in places:
            settled = _settled(delta, kind, place, given_up)
            if not problems(Method(deltas=[settled]), alone=True):
                return settled
    return settled


def _settled(delta: Mapping[str, Any], kind: Any, at: list[str], given_up: tuple[str, ...]) -> dict[str, Any]:
    names = ("rank", "layers", "stacks") if kind.has_rank else ("layers", "stacks")
    kept = {name: delta[name] for name in names if name not in given_up and delta.get(name) is not None}
    for name, values in ALLOWED.items():
        allowed = values(kind)
        if name not in given_up and delta.get(name) in allowed:
            kept[name] = delta[name]
        elif name not in kind.defaults and allowed:
            kept[name] = allowed[0]
    composition = COMPOSITIONS.get(kept.get("composition") or kind.defaults.get("composition", ""))
    if composition and "scale" in composition.options and delta.get("scale") is not None and "scale" not in given_up:
        kept["scale"] = delta["scale"]
    return validate(Delta, {**kept, "at": at, "form": kind.name}).model_dump(mode="json")


def with_composition(delta: Mapping[str, Any], composition: str) -> dict[str, Any]:
    """The delta with another composition; options that nothing would read go back to their defaults: a scale to 1, alpha to none."""
    kept = COMPOSITIONS[composition].options if composition in COMPOSITIONS else ()
    unread = {name: Delta.model_fields[name].default for name in options() if name not in kept}
    return {**delta, "composition": composition, **unread}


def with_group(delta: Mapping[str, Any], field: str, name: str) -> dict[str, Any]:
    """The delta with another schedule or allocation ("" takes it away), its numbers such that they fit the delta's rank."""
    if not name:
        return {**delta, field: None}
    kind = GROUPS[field].get(name)
    return {**delta, field: {"name": name, **(kind.numbers(int(delta.get("rank") or 8)) if kind else {})}}
