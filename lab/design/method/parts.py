"""All tensors of a delta at a site: the form's parts, and those of its composition, its layer norm and its gate."""

from __future__ import annotations

from dataclasses import replace

from lab.design.body.anatomy import Site
from lab.design.method.compositions import COMPOSITIONS
from lab.design.method.delta import Delta
from lab.design.method.forms import FORMS, Part

SECOND_MAPS = ("B", "up", "values")  # LoRA+ (Hayou et al. 2024) gives these a larger learning rate


def all_parts(delta: Delta, site: Site) -> list[Part]:
    """Parts with `trains` decided; those of a `shared` delta are given at this site's own size.

    Besides those of the form they are `norm` and `norm_bias` of a layer norm, and what the composition adds.
    """
    parts, own = list(FORMS[delta.form].parts(delta, site)), COMPOSITIONS[delta.composition].parts(delta, site)
    parts += [part for part in own if part.kind == "scalar"]  # before the norm: saved optimizers know tensors by their order
    if delta.norm != "none":
        width = site.width_in if delta.norm == "in" else site.width_out
        parts += [Part("norm", (width,), "constant:1", "norm"), Part("norm_bias", (width,), "zeros", "norm")]
    parts += [part for part in own if part.kind != "scalar"]
    return [replace(part, trains=part.trains and _trains(delta, site, part)) for part in parts]


def _trains(delta: Delta, site: Site, part: Part) -> bool:
    if delta.frozen_from:
        return False
    if delta.trainable is not None and part.name not in delta.trainable:
        return False
    return delta.schedule is None or delta.schedule.trains(delta, site, part.name)


def shared_sizes(delta: Delta, sites: list[Site]) -> dict[str, Part]:
    """The parts that live once for all sites of a `shared` delta, each as large as the largest site needs."""
    if not delta.shared:
        return {}
    sizes: dict[str, Part] = {}
    for site in sites:
        for part in all_parts(delta, site):
            if part.name in FORMS[delta.form].shared:
                known = sizes.get(part.name, part)
                sizes[part.name] = replace(part, shape=tuple(map(max, known.shape, part.shape)))
    return sizes


def trains_second_map(delta: Delta) -> bool:
    """Whether a map trains that LoRA+'s ratio is of; a network that produces the slots has none."""
    names = set(SECOND_MAPS) & set(FORMS[delta.form].names)
    return delta.encoder == "none" and not delta.frozen_from and bool(names if delta.trainable is None else names & set(delta.trainable))


def leaves_unchanged(delta: Delta) -> bool:
    """Whether the start promises that attaching changes no output."""
    if delta.frozen_from:
        return False
    if COMPOSITIONS[delta.composition].apart or (delta.strength == "learned" and delta.scale_start == 0):
        return True
    return COMPOSITIONS[delta.composition].keeps_h and FORMS[delta.form].starts_at_zero(delta)
