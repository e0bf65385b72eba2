"""What a fusion of frozen adapters can stand on: which deltas it weighs at its places, and why some cannot be weighed."""

from __future__ import annotations

from collections.abc import Iterator

from lab.design.body.anatomy import Anatomy, Site
from lab.design.method.compositions import COMPOSITIONS
from lab.design.method.delta import Delta, Method
from lab.design.method.forms import FORMS
from lab.design.plain.message import word
from lab.design.plain.refusal import Refusal

RUNS = "built_on.stand_on"  # the field of the runs, which is not the method's


def fusions(method: Method) -> dict[int, Delta]:
    """The deltas that weigh frozen ones, by index."""
    return {index: delta for index, delta in enumerate(method.deltas) if FORMS[delta.form].over_frozen}


def joins(delta: Delta, site: Site) -> tuple:
    """Where its change meets h: deltas that are alike in it meet it at one module, on one side."""
    sublayer = site.representation in ("attn.out", "ffn.out")
    return site.stack, site.layer, site.representation, delta.changes_input, sublayer and (site.reads == "projection" or delta.through_dropout)


def without_members(method: Method, anatomy: Anatomy | None) -> Iterator[Refusal]:
    """Why the fusions of a method have nothing to weigh, or frozen deltas no fusion. Without an anatomy: whether there are adapters at all."""
    found = fusions(method)
    if not found:
        return
    if len({delta.frozen_from for delta in method.frozen}) < 2:
        yield Refusal("A fusion weighs the adapters of several runs against each other: choose two or more to stand on.", RUNS)
        return
    for delta in method.frozen:
        run = delta.frozen_from.partition("/")[0]
        form, composition = FORMS[delta.form], COMPOSITIONS[delta.composition]
        if form.over_frozen:
            yield Refusal("Run {run} is a fusion itself: stand on the runs that it fuses.", RUNS, run=run)
        elif form.before_input or form.mixed(delta) or not composition.adds:
            yield Refusal(
                "Run {run} has {form} with composition {composition}, which adds no Δh that a fusion could weigh.",
                RUNS,
                run=run,
                form=word(form.label),
                composition=delta.composition,
            )
    if anatomy is None:
        return
    below = [(delta, joins(delta, site)) for delta in method.frozen for site in anatomy.sites(delta)]
    covered: set[tuple] = set()
    for index, delta in found.items():
        here = [joins(delta, site) for site in anatomy.sites(delta)]
        if set(here) & covered:
            yield Refusal("Two fusions cannot weigh the same adapters at {at}: leave one of them.", f"deltas.{index}.at", at=delta.at[0])
        covered |= set(here)
        alone = next((place for place in here if sum(place == other for _, other in below) < 2), None)
        if alone:
            count, place = sum(alone == other for _, other in below), f"{alone[2]} in layer {alone[1]}"
            yield Refusal(
                "{count} frozen adapters change {place}, and a fusion needs two or more: choose places that the runs' methods change.",
                f"deltas.{index}.at",
                count=count,
                place=place,
            )
    missed = next(((delta, place) for delta, place in below if place not in covered), None)
    if missed:
        run, index = missed[0].frozen_from.partition("/")[0], next(iter(found))
        yield Refusal(
            "Run {run} changes {place} in layer {layer}, where no fusion is: add it to where the fusion acts.",
            f"deltas.{index}.at",
            run=run,
            place=missed[1][2],
            layer=missed[1][1],
        )
