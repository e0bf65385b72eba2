"""What a model leaves no room for: a part of rules.py, one delta at a time."""

from __future__ import annotations

from collections.abc import Iterator

from lab.design.body.anatomy import Anatomy, Site
from lab.design.method.compositions import COMPOSITIONS
from lab.design.method.delta import Delta
from lab.design.method.forms import FORMS
from lab.design.plain.refusal import Refusal


def architecture_fits(delta: Delta, anatomy: Anatomy, sites: list[Site]) -> Iterator[Refusal]:
    """What an architecture's own way to compute leaves no room for."""
    averages = COMPOSITIONS[delta.composition].averages
    if anatomy.stacks[0].map.ffn.flattens and averages and any(a.startswith("ffn") for a in delta.places):
        yield Refusal(
            "{name} flattens the sequence before its FFN, so no gate can average over it there: choose an attention representation.",
            "composition",
            name=anatomy.architecture.name,
        )
    outside = {"attn.out", "ffn.out"} & set(delta.at) and not delta.through_dropout and any(site.reads != "projection" for site in sites)
    inside = [key for key in anatomy.stacks[0].map.dropout_inside if anatomy.config.get(key)]
    if outside and inside:
        yield Refusal(
            "{model} drops a sublayer's output inside its layer, where nothing can join behind: choose through_dropout, or a model whose {option} is 0.",
            "through_dropout",
            model=anatomy.architecture.name,
            option=inside[0],
        )
    if delta.gate == "shared" and anatomy.config.get("share_att_key") and {"attn.q", "attn.k"} & set(delta.places):
        yield Refusal(
            "This model projects its relative positions too by attn.q and attn.k, once for all sequences, so no gate of a sequence fits there: choose attn.v, or gate own.",
            "gate",
        )
    if delta.ends and anatomy.config.get("share_att_key") and {"attn.q", "attn.k"} & set(delta.places):
        yield Refusal(
            "This model projects its relative positions too by attn.q and attn.k, where tokens cannot be told apart: choose attn.v, or tokens all.", "tokens"
        )
    if (
        delta.ends
        and any(place.startswith("ffn") for place in delta.places)
        and (anatomy.stacks[0].map.ffn.flattens or anatomy.config.get("chunk_size_feed_forward"))
    ):
        yield Refusal("This model flattens or splits the sequence in its FFN, where tokens cannot be told apart: choose layer.out, or tokens all.", "tokens")
    if anatomy.config.get("chunk_size_feed_forward") and averages:
        yield Refusal("This model splits the sequence in its FFN (chunk_size_feed_forward), so no gate can average over it.", "composition")
    fused = [name for name in anatomy.places(delta) if delta.changes_input and anatomy.is_slice(name)]
    if fused:
        yield Refusal(
            "In this model {name} is part of a larger projection, whose input the other parts read too: choose whole projections, or another insertion.",
            "insertion",
            name=fused[0],
        )
    if COMPOSITIONS[delta.composition].apart and anatomy.architecture.attention_route == "deberta":
        yield Refusal(
            "{name} computes its attention by itself, where nothing can be added to it: choose composition gated.",
            "composition",
            name=anatomy.architecture.name,
        )


def ranks_fit(delta: Delta, sites: list[Site]) -> Iterator[Refusal]:
    """Ranks that the weights of these sites can have."""
    form = FORMS[delta.form]
    start = form.start(delta)
    smallest, largest = (choose(min(site.shape) for site in sites) for choose in (min, max))
    top = delta.allocation.rank_max if delta.allocation else 0
    for rank, field in ((delta.rank, "rank"), (top, "allocation.rank_max")):
        if (
            form.low_rank(delta) and not delta.vectors and rank > largest and not start.singular
        ):  # VeRA's frozen pair may be wider than the model, as its paper has it
            yield Refusal(
                "Rank {rank} is above {largest}, the most that a change of these weights can have: choose at most that.", field, rank=rank, largest=largest
            )
        elif rank * start.singular > smallest:
            yield Refusal(
                "Initialisation {name} takes {rank} singular values, and a weight here has {smallest}: choose a smaller rank.",
                field,
                name=start.name,
                rank=rank * start.singular,
                smallest=smallest,
            )


def positions_fit(delta: Delta, anatomy: Anatomy, sites: list[Site]) -> Iterator[Refusal]:
    """Shifted positions and virtual tokens on this model."""
    form = FORMS[delta.form]
    if delta.positions == "shift" and not anatomy.counts_positions:
        yield Refusal(
            "{name} knows the distances between tokens alone, which a shift of all leaves as they are: choose positions keep or auto.",
            "positions",
            name=anatomy.architecture.name,
        )
    if delta.positions == "shift" and all(site.stack == "cross" for site in sites):
        yield Refusal(
            "Cross-attention reads the encoder's output, where positions are in already: include the encoder or the decoder, or choose positions keep.",
            "positions",
        )
    if delta.token_positions == "none" and not anatomy.position_table:
        yield Refusal(
            "{name} adds no position embeddings to its input that virtual tokens could do without: choose own.",
            "token_positions",
            name=anatomy.architecture.name,
        )
    if form.before_input and delta.token_positions == "own" and anatomy.positions and delta.rank >= anatomy.positions:
        yield Refusal("{rank} virtual tokens leave no room: the model has {positions} positions.", "rank", rank=delta.rank, positions=anatomy.positions)
    if anatomy.shifts(delta) and anatomy.positions and delta.rank >= anatomy.positions:
        yield Refusal("Positions shifted by {rank} leave no room: the model has {positions} positions.", "rank", rank=delta.rank, positions=anatomy.positions)
    if form.before_input and anatomy.embed != anatomy.stacks[0].width and not anatomy.architecture.project:
        yield Refusal("The input embeddings are not as wide as the model, so virtual tokens cannot be placed.", "at")
    if form.before_input and delta.stacks == ["cross"]:
        yield Refusal("Cross-attention has no input embeddings: choose the encoder or the decoder.", "stacks")
    if form.before_input and anatomy.encoder_decoder and delta.stacks and "encoder" not in delta.stacks:
        yield Refusal("On an encoder-decoder, virtual tokens stand before the encoder's input: include the encoder.", "stacks")
