"""What a method changes in the representations of a model: layer by layer with it and without it, on the same rows.

cka     linear CKA, ‖YᵀX‖_F² / (‖XᵀX‖_F ‖YᵀY‖_F) of centred states X, Y (tokens, width): 1 where one is the other turned and stretched alike (Kornblith et al. 2019)
lens    the likeliest next words of a decoder at its last position, read from each layer through the model's own last norm and head (nostalgebraist 2020)
slots   λ: the attention mass of a prefix's slots, by layer and head (He et al. 2022, Eq. 7)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from lab.engine.attached import Attached
from lab.engine.attention import AttentionSlots

TOKENS = 4096  # at most, of all rows together
WORDS = 5
NORMS = ("norm", "ln_f", "final_layernorm", "final_layer_norm", "layer_norm")  # the last norm of a decoder, by architecture


def cka(one: Tensor, other: Tensor) -> float:
    """Linear CKA of two (n, d) tables of states of the same n tokens; NaN where one of them does not vary."""
    one, other = (each.double() - each.double().mean(0) for each in (one, other))
    cross, own, theirs = (float((a.T @ b).norm()) for a, b in ((other, one), (one, one), (other, other)))
    return cross**2 / (own * theirs) if own and theirs else float("nan")


@torch.no_grad()
def states(model: nn.Module, batch: Mapping[str, Tensor]) -> dict[str, list[Tensor]]:
    """{stack: the states (tokens, width) of real tokens before the first layer and after each}. Positions that a method puts before the text are left out."""
    found = model(**batch, output_hidden_states=True)
    named = {"encoder": getattr(found, "encoder_hidden_states", None), "decoder": getattr(found, "decoder_hidden_states", None)}
    if not any(named.values()):
        named = {"layers": found.hidden_states}
    masks = {"encoder": batch.get("attention_mask"), "layers": batch.get("attention_mask"), "decoder": None}
    return {stack: [_real(layer, masks[stack]) for layer in each] for stack, each in named.items() if each}


def _real(state: Tensor, mask: Tensor | None) -> Tensor:
    if mask is None:
        return state.flatten(0, 1)
    return state[:, -mask.shape[1] :][mask.bool()]


@torch.no_grad()
def similarities(attached: Attached, batches: list[Mapping[str, Tensor]]) -> list[dict[str, Any]]:
    """[{"stack", "layer", "cka"}]: layer 0 is what enters the first one."""
    model = attached.model
    joined: dict[str, list[tuple[list[Tensor], list[Tensor]]]] = {}
    tokens = 0
    for batch in batches:
        on = states(model, batch)
        with attached.disabled():
            off = states(model, batch)
        for stack, each in on.items():
            rows = joined.setdefault(stack, [([], []) for _ in each])
            for (mine, theirs), with_, without in zip(rows, each, off[stack], strict=True):
                mine.append(with_)
                theirs.append(without)
        tokens += int(batch["attention_mask"].sum()) if "attention_mask" in batch else 0
        if tokens >= TOKENS:
            break
    return [
        {"stack": stack, "layer": number, "cka": cka(torch.cat(mine)[:TOKENS], torch.cat(theirs)[:TOKENS])}
        for stack, rows in joined.items()
        for number, (mine, theirs) in enumerate(rows)
    ]


@torch.no_grad()
def slot_masses(attached: Attached, batch: Mapping[str, Tensor]) -> list[dict[str, Any]]:
    """[{"stack", "layer", "heads": [λ, ...], "mean"}] of the slots of a prefix, on one batch."""
    slots = [delta for delta in attached.deltas.values() if isinstance(delta, AttentionSlots) and not delta.composition.apart]
    if not slots:
        return []
    for delta in slots:
        delta.by_heads = []
    try:
        with attached.measuring():
            attached.model(**batch)
        return [
            {"stack": delta.site.stack, "layer": delta.site.layer, "heads": delta.by_heads, "mean": sum(delta.by_heads) / len(delta.by_heads)}
            for delta in slots
            if delta.by_heads
        ]
    finally:
        for delta in slots:
            delta.by_heads = None


@torch.no_grad()
def readings(attached: Attached, batch: Mapping[str, Tensor]) -> dict[str, float]:
    """‖Δh‖/‖h‖, gates and λ by site, ranks and where freezing stands, as the run's own curves have them at their last step."""
    with attached.measuring() as table:
        attached.model(**batch)
        found = dict(table)
    return found | attached.measurements()


@torch.no_grad()
def lens(attached: Attached, tokenizer: Any, batch: Mapping[str, Tensor]) -> dict[str, Any] | None:
    """{"text", "on": [[[word, probability], ...] by layer], "off": the same}; None where the model is no decoder that writes words, or its last norm is not known."""
    model = attached.model
    head, base = model.get_output_embeddings(), model.base_model
    norm = next((getattr(base, name) for name in NORMS if isinstance(getattr(base, name, None), nn.Module)), None)
    if head is None or norm is None or attached.body.encoder_decoder:
        return None
    last = int(batch["attention_mask"][0].nonzero()[-1]) if "attention_mask" in batch else batch["input_ids"].shape[1] - 1
    one = {name: tensor[:1, : last + 1] for name, tensor in batch.items() if name in ("input_ids", "attention_mask")}

    def by_layer() -> list[list[list[Any]]]:
        layers = model(**one, output_hidden_states=True).hidden_states
        words = []
        for number, layer in enumerate(layers):
            state = layer[0, -1]
            logits = head(state if number == len(layers) - 1 else norm(state))  # the last of them is behind the norm already
            chances, tokens = logits.float().softmax(-1).topk(WORDS)
            words.append([[tokenizer.decode([int(token)]), float(chance)] for token, chance in zip(tokens, chances, strict=True)])
        return words

    on = by_layer()
    with attached.disabled():
        off = by_layer()
    return {"text": tokenizer.decode(one["input_ids"][0])[-400:], "on": on, "off": off}
