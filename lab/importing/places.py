"""From the modules of a model that an adapter changes to deltas of the space: which places they are, and how few deltas cover them."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from typing import Any, NamedTuple

from lab.design.body.anatomy import Anatomy, Projections
from lab.design.plain.refusal import Refusal
from lab.design.space import REPRESENTATIONS

MOST = 32  # deltas of a method


class ProjectionPlace(NamedTuple):
    """A projection of a layer. `slice`: the part that it is of a fused one (lab.engine.locate.Slice)."""

    stack: str
    layer: int
    representation: str
    slice: Any = None


def projections(model: Any, body: Anatomy) -> dict[str, list[ProjectionPlace]]:
    """{path of a module from the model: the projections that it is}; of a fused one with a name of its own, that one first."""
    from lab.engine.bind import PROJECTION, Binder

    binder, paths = Binder(model.base_model, body), {id(module): path for path, module in model.named_modules()}
    found: dict[str, list[ProjectionPlace]] = {}
    for stack, about in body.sublayers():
        for index in range(about.layers):
            for name in body.representations():
                if name not in PROJECTION and name != "attn.out" or stack == "cross" and not name.startswith("attn"):
                    continue
                located = binder.layer(stack, index).find(*PROJECTION.get(name, ("attn", "out")))
                found.setdefault(paths[id(located.module)], []).append(ProjectionPlace(stack, index, name, located.part))
    return {path: sorted(each, key=lambda place: place.slice is not None) for path, each in found.items()}


def of(path: str, known: Mapping[str, list[ProjectionPlace]]) -> list[ProjectionPlace]:
    """The places that a module is: one, or the slices of a fused projection that has no name of its own. Raises Refusal."""
    if path not in known:
        raise Refusal(
            "This adapter changes the module '{path}', which is no projection of the base's layers, so no delta of the space stands there.",
            "source",
            path=path[:160],
        )
    whole = [place for place in known[path] if place.slice is None]
    return whole[:1] or known[path]


def covered(wanted: Mapping[ProjectionPlace, Hashable], body: Anatomy, each_place: bool = False) -> list[tuple[Any, dict[str, Any]]]:
    """[(what is wanted, {"at", "layers", "stacks"} of a delta)]: few deltas that together are at every place, each where one thing is wanted.

    `each_place`: a delta for each representation."""
    groups: dict[Hashable, set[ProjectionPlace]] = {}
    for place, thing in wanted.items():
        groups.setdefault((thing, place.representation) if each_place else (thing, ""), set()).add(place._replace(slice=None))
    found = []
    for (thing, _), places in groups.items():  # type: ignore[misc]
        found += [(thing, fields) for fields in _products(places, body)]
    return found


def _products(places: set[ProjectionPlace], body: Anatomy) -> list[dict[str, Any]]:
    if (whole := _product(places, body)) is not None:
        return [whole]
    found: list[dict[str, Any]] = []
    for stack in dict.fromkeys(place.stack for place in sorted(places)):
        mine = {place for place in places if place.stack == stack}
        if (product := _product(mine, body)) is not None:
            found.append(product)
            continue
        layers: dict[tuple[int, ...], set[str]] = {}
        for name in {place.representation for place in mine}:
            layers.setdefault(tuple(sorted(place.layer for place in mine if place.representation == name)), set()).add(name)
        for numbers, names in sorted(layers.items()):
            product = _product({ProjectionPlace(stack, layer, name) for layer in numbers for name in names}, body)
            assert product is not None  # of one stack, the same layers for all of its representations
            found.append(product)
    return found


def _product(places: set[ProjectionPlace], body: Anatomy) -> dict[str, Any] | None:
    """The fields of one delta at exactly these places; None where there is none."""
    depth = {name: stack.layers for name, stack in body.sublayers()}
    at = sorted({place.representation for place in places}, key=list(REPRESENTATIONS).index)
    stacks = [name for name in depth if any(place.stack == name for place in places)]
    by_stack = [sorted({place.layer for place in places if place.stack == name}) for name in stacks]
    full = all(numbers == list(range(depth[name])) for name, numbers in zip(stacks, by_stack, strict=True))
    layers = "all" if full else expression(by_stack[0])
    for chosen in (None, stacks):
        try:
            sites = body.sites(Projections(at, chosen, layers))
        except Refusal:
            continue
        if {(site.stack, site.layer, site.representation) for site in sites} == {place[:3] for place in places}:
            return {"at": at, "layers": layers, **({"stacks": chosen} if chosen else {})}
    return None


def expression(layers: Iterable[int]) -> str:
    """Layers as a delta writes them: 0-5,8."""
    runs: list[list[int]] = []
    for layer in sorted(layers):
        if runs and layer == runs[-1][1] + 1:
            runs[-1][1] = layer
        else:
            runs.append([layer, layer])
    return ",".join(f"{first}-{last}" if last > first else f"{first}" for first, last in runs)
