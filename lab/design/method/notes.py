"""What may run as it is, and may not be what was meant: options that say nothing on a model, ranks beyond a width, residuals that are rounded."""

from __future__ import annotations

from collections.abc import Iterator

from lab.design.body.anatomy import Anatomy, Site
from lab.design.method.allocation import groups, rank_ladder, reachable
from lab.design.method.allocations import AllocationOptions
from lab.design.method.allocations.base import Ordered
from lab.design.method.delta import Delta, Method
from lab.design.method.forms import FORMS
from lab.design.plain.message import Note, listed


def notes(method: Method, anatomy: Anatomy, quantisation: str = "none") -> list[tuple[str, str]]:
    """What may run as it is, and may not be what was meant on this model: (field, sentence)."""
    found: list[tuple[str, str]] = []
    for index, delta in enumerate(method.deltas):
        if quantisation != "none" and FORMS[delta.form].start(delta).residual:
            sentence = Note(
                "On a quantised base the residual of init {init} is rounded to {quantisation} again: at step 0 the model differs from its base by that rounding.",
                init=delta.init,
                quantisation=quantisation,
            )
            found.append((f"deltas.{index}.init", sentence))
        if anatomy.stacks[0].gated and "ffn.up" in delta.places and "ffn.gate" not in delta.places:
            found.append(
                (
                    f"deltas.{index}.at",
                    Note(
                        "{model} has a gated FFN, and delta {number} leaves its gate as it is: ffn-linear or all-linear takes ffn.gate in.",
                        model=anatomy.architecture.name,
                        number=index + 1,
                    ),
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
        yield "rank", Note("Rank {rank} is more than the width {width} of all that this delta changes.", rank=delta.rank, width=max(widths))
    missing = [name for name in delta.stacks or () if name not in [there for there, _ in anatomy.sublayers()]]
    if missing:
        yield "stacks", Note("{model} has no {stacks} stack, so nothing is there.", model=anatomy.architecture.name, stacks=listed(missing, " or "))
    if delta.encoder != "mlp" and delta.encoder_width != 512:
        yield "encoder_width", Note("Only an mlp has a hidden width, so encoder_width {width} changes nothing here.", width=delta.encoder_width)
    if delta.through_dropout and not anatomy.sublayer_dropout:
        yield (
            "through_dropout",
            Note("{model} has no dropout on a sublayer's output, so through_dropout changes nothing here.", model=anatomy.architecture.name),
        )
    if delta.allocation and delta.alpha is not None:
        yield (
            "alpha",
            Note("alpha is divided by the mean rank, {rank}, in every projection: s does not vary with the ranks that are shared out.", rank=delta.rank),
        )
    if delta.schedule:
        yield from delta.schedule.notes(delta, {site.representation for site in anatomy.sites(delta)})


def _shared_out(delta: Delta, allocation: AllocationOptions, sites: list[Site]) -> Iterator[tuple[str, str]]:
    low, high = allocation.rank_min, allocation.rank_max
    for group in groups(sites, allocation.within):
        if isinstance(allocation, Ordered) and not reachable(len(group), delta.rank, low, high):
            given = rank_ladder(len(group), delta.rank, low, high)
            yield (
                "rank_min",
                Note(
                    "{count} ranks of mean {mean} cannot have both {low} and {high} among them, so they run from {least} to {most}: bounds as far below {mean} as above it are used in full.",
                    count=len(group),
                    mean=delta.rank,
                    low=low,
                    high=high,
                    least=given[-1],
                    most=given[0],
                ),
            )
    if allocation.within == "all" and len({site.shape for site in sites}) > 1:
        yield "within", Note("Ranks are shared out among projections of unequal shape: the count is that of an even share until the weights are read.")
