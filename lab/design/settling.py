"""Changing one dimension of a delta and keeping what still has a meaning, so that a bench never throws away more than it must."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lab.design.forms import FORMS
from lab.design.method import Delta
from lab.design.options import validate

KEPT = ("insertion", "composition", "nonlinearity", "init")
ALLOWED = {"insertion": "insertions", "composition": "compositions", "nonlinearity": "nonlinearities", "init": "inits"}


def with_form(delta: Mapping[str, Any], form: str) -> dict[str, Any]:
    """The delta with another functional form: choices that the new form has stay, the others take its defaults.

    `delta` is a plain document; raises `Refusal` for an unknown form or a document that is not a delta.
    """
    kind = FORMS.get(form)
    if kind is None:
        return validate(Delta, {**delta, "form": form}).model_dump(mode="json")
    kept = {name: delta[name] for name in ("rank", "layers", "stacks") if delta.get(name) is not None}
    for name in KEPT:
        if delta.get(name) in getattr(kind, ALLOWED[name]):
            kept[name] = delta[name]
        elif name not in kind.defaults and getattr(kind, ALLOWED[name]):
            kept[name] = getattr(kind, ALLOWED[name])[0]
    at = [name for name in delta.get("at", ()) if not kind.representations or name in kind.representations]
    kept["at"] = at or list(kind.representations) or ["ffn.out"]
    if kept.get("composition", kind.defaults.get("composition")) == "scaled" and delta.get("scale") is not None:
        kept["scale"] = delta["scale"]
    return validate(Delta, {**kept, "form": form}).model_dump(mode="json")


def with_composition(delta: Mapping[str, Any], composition: str) -> dict[str, Any]:
    """The delta with another composition; a scale that nothing would read goes back to 1, and alpha to none."""
    changed = {**delta, "composition": composition}
    if composition != "scaled":
        changed["scale"] = 1.0
    if composition not in ("scaled", "learned-gate"):
        changed["alpha"] = None
    return changed
