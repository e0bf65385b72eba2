"""Distances in the design space: the named method nearest to a free design, and which step in which dimension leads from one to another.

Example: LoRA moved to ffn.out, form bottleneck, nonlinearity relu, is a scaled parallel adapter; from LoRA that is a step in the
functional form and one in the modified representation.
"""

from __future__ import annotations

import functools
import itertools
from dataclasses import dataclass
from typing import Any

from lab.design.method.delta import Delta, Method
from lab.design.method.forms import FORMS
from lab.design.method.named import load_method
from lab.design.presets.catalogue import names

# field of a delta: (dimension that it belongs to, how far a change of it leads)
FIELDS: dict[str, tuple[str, float]] = {
    "form": ("functional form", 4.0),
    "nonlinearity": ("functional form", 1.0),
    "core": ("functional form", 2.0),
    "vectors": ("functional form", 2.0),
    "shared": ("functional form", 2.0),
    "norm": ("functional form", 0.5),
    "at": ("modified representation", 2.0),
    "tokens": ("modified representation", 1.0),
    "x": ("insertion form", 0.5),
    "insertion": ("insertion form", 2.0),
    "composition": ("composition", 2.0),
    "rank_scaling": ("composition", 0.5),
    "init": ("start", 1.0),
    "trainable": ("what trains", 1.5),
    "schedule": ("schedule", 1.5),
    "allocation": ("rank allocation", 1.0),
    "encoder": ("reparameterisation", 1.0),
}
MISSING = 6.0  # a whole delta more or less


@dataclass(frozen=True)
class Change:
    """One difference between two methods: of a dimension, from a value to another."""

    dimension: str
    field: str
    before: str
    after: str


@dataclass(frozen=True)
class Near:
    """A named method, how far it is, and the steps that lead from it to the method asked about."""

    preset: str
    name: str
    distance: float
    steps: tuple[Change, ...]


def nearest(method: Method, count: int = 1) -> list[Near]:
    """The named methods nearest to a method, nearest first. Distance 0: the same point of the space (whatever its rank)."""
    found = [_near(other, method) for other in _named()]
    return sorted(found, key=lambda near: (near.distance, near.preset))[:count]


@functools.cache
def neighbours() -> tuple[tuple[str, str, Change], ...]:
    """Pairs of named methods that one dimension separates: the map of the space."""
    pairs = []
    for one, other in itertools.combinations(_named(), 2):
        near = _near(one, other)
        if near.steps and len({step.dimension for step in near.steps}) == 1 and near.distance < MISSING:
            pairs.append((one.preset, other.preset, near.steps[0]))
    return tuple(pairs)


@functools.cache
def _named() -> tuple[Method, ...]:
    return tuple(load_method(name) for name in names("methods"))


def _near(named: Method, method: Method) -> Near:
    steps: list[Change] = []
    distance = 0.0
    before, after = named.select.what if named.select else "none", method.select.what if method.select else "none"
    if before != after:
        steps.append(Change("selection", "select", before, after))
        distance += MISSING
    if named.training.lr_ratio != method.training.lr_ratio:
        steps.append(Change("learning rates", "training.lr_ratio", f"{named.training.lr_ratio:g}", f"{method.training.lr_ratio:g}"))
        distance += 0.5
    cost, pairs = _matched(named.deltas, method.deltas)
    for one, other in pairs:
        steps += _steps(one, other)
    return Near(named.preset, named.name, distance + cost, tuple(steps))


def _matched(named: list[Delta], own: list[Delta]) -> tuple[float, list[tuple[Delta | None, Delta | None]]]:
    """The cheapest pairing of the deltas of two methods."""
    longer = max(len(named), len(own))
    left: list[Delta | None] = [*named, *[None] * (longer - len(named))]
    right: list[Delta | None] = [*own, *[None] * (longer - len(own))]
    if longer > 4:  # a design of many deltas is compared in its own order
        pairs = list(zip(left, right, strict=True))
        return sum(_cost(a, b) for a, b in pairs), pairs
    best = min(itertools.permutations(right), key=lambda order: sum(_cost(a, b) for a, b in zip(left, order, strict=True)))
    pairs = list(zip(left, best, strict=True))
    return sum(_cost(a, b) for a, b in pairs), pairs


def _cost(one: Delta | None, other: Delta | None) -> float:
    if one is None or other is None:
        return 0.0 if one is other else MISSING
    total = 0.0
    for field, (_, weight) in FIELDS.items():
        a, b = _value(one, field), _value(other, field)
        if field == "at":
            total += weight * len(set(one.places) ^ set(other.places)) / len(set(one.places) | set(other.places))
        elif a != b:
            total += weight
    return total


def _value(delta: Delta, field: str) -> Any:
    value: Any = delta.places if field == "at" else getattr(delta, field)
    if field in ("schedule", "allocation"):
        return value.name if value else "none"
    if field == "init" and not FORMS[delta.form].start(delta).reads:
        return "drawn"
    if field == "x" and value in ("normed", "projection"):
        return "auto"  # on most sites the same
    return tuple(value) if isinstance(value, list) else value


def _written(delta: Delta, field: str) -> Any:
    return tuple(delta.at) if field == "at" else _value(delta, field)


def _steps(one: Delta | None, other: Delta | None) -> list[Change]:
    if one is None or other is None:
        words = [f"{there.form} at {', '.join(there.at)}" if there else "" for there in (one, other)]
        return [Change("deltas", "deltas", *words)]
    return [
        Change(dimension, field, _words(_written(one, field)), _words(_written(other, field)))
        for field, (dimension, _) in FIELDS.items()
        if _value(one, field) != _value(other, field)
    ]


def _words(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, tuple) else "all" if value is None else str(value)
