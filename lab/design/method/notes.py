"""What may run as it is, and may not be what was meant: options that say nothing on a model, ranks beyond a width, residuals that are rounded."""

from __future__ import annotations

from collections.abc import Iterator

from lab.design.body.anatomy import Anatomy, Site
from lab.design.method.allocation import groups, rank_ladder, reachable
from lab.design.method.allocations import AllocationOptions
from lab.design.method.allocations.base import Ordered
from lab.design.method.delta import Delta, Method
from lab.design.method.forms import FORMS


def notes(method: Method, anatomy: Anatomy, quantisation: str = "none") -> list[tuple[str, str]]:
    """What may run as it is, and may not be what was meant on this model: (field, sentence)."""
    found = []
    for index, delta in enumerate(method.deltas):
        if quantisation != "none" and FORMS[delta.form].start(delta).residual:
            sentence = f"On a quantised base the residual of init {delta.init} is rounded to {quantisation} again: at step 0 the model differs from its base by that rounding."
            found.append((f"deltas.{index}.init", sentence))
        if anatomy.stacks[0].gated and "ffn.up" in delta.places and "ffn.gate" not in delta.places:
            found.append(
                (
                    f"deltas.{index}.at",
                    f"{anatomy.architecture.name} has a gated FFN, and delta {index + 1} leaves its gate as it is: ffn-linear or all-linear takes ffn.gate in.",
                )
            )
        found += [(f"deltas.{index}.{field}", sentence) for field, sentence in _read_otherwise(delta, anatomy)]
        if delta.allocation:
            found += [(f"deltas.{index}.allocation.{field}", sentence) for field, sentence in _shared_out(delta, delta.allocation, anatomy.sites(delta))]
    return found


def _read_otherwise(delta: Delta, anatomy: Anatomy) -> Iterator[tuple[str, str]]:
    """Options that another has left without an object, or for which this model has none."""
    form = FORMS[delta.form]
    widths = (
        [max(site.shape) for site in anatomy.sites(delta)] if form.has_rank and form.rank_is_width and not form.produced else []
    )  # slots and tokens are a number, not a width
    if widths and delta.rank > max(widths):
        yield "rank", f"Rank {delta.rank} is more than the width {max(widths)} of all that this delta changes."
    missing = [name for name in delta.stacks or () if name not in [there for there, _ in anatomy.sublayers()]]
    if missing:
        yield "stacks", f"{anatomy.architecture.name} has no {' or '.join(missing)} stack, so nothing is there."
    if delta.encoder != "mlp" and delta.encoder_width != 512:
        yield "encoder_width", f"Only an mlp has a hidden width, so encoder_width {delta.encoder_width} changes nothing here."
    if delta.through_dropout and not anatomy.sublayer_dropout:
        yield "through_dropout", f"{anatomy.architecture.name} has no dropout on a sublayer's output, so through_dropout changes nothing here."
    if delta.allocation and delta.alpha is not None:
        yield "alpha", f"alpha is divided by the mean rank, {delta.rank}, in every projection: s does not vary with the ranks that are shared out."
    if delta.schedule:
        yield from delta.schedule.notes(delta, {site.representation for site in anatomy.sites(delta)})


def _shared_out(delta: Delta, allocation: AllocationOptions, sites: list[Site]) -> Iterator[tuple[str, str]]:
    low, high = allocation.rank_min, allocation.rank_max
    for group in groups(sites, allocation.within):
        if isinstance(allocation, Ordered) and not reachable(len(group), delta.rank, low, high):
            given = rank_ladder(len(group), delta.rank, low, high)
            yield (
                "rank_min",
                f"{len(group)} ranks of mean {delta.rank} cannot have both {low} and {high} among them, so they run from {given[-1]} to {given[0]}: bounds as far below {delta.rank} as above it are used in full.",
            )
    if allocation.within == "all" and len({site.shape for site in sites}) > 1:
        yield "within", "Ranks are shared out among projections of unequal shape: the count is that of an even share until the weights are read."
