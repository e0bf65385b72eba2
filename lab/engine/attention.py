"""Gated slots: l more keys and values in the attention, which is (1−λ)h + λΔh with λ their attention mass (He et al., Eq. 7-10).

Two ways lead there. Models that go through transformers' AttentionInterface get `lab_sdpa` or `lab_eager`, which concatenate the
slots of the module that calls them after the cache's update and left-pad its mask. DeBERTa v2 computes attention itself: hooks on
its key and value projections append the rows, and its position bias is computed without them and padded with zeros.

The mask functions never skip a causal mask: with more keys than queries sdpa would cut the keys silently.
"""

from __future__ import annotations

import math
import sys
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import eager_mask, sdpa_mask

from lab.design.plain.refusal import Refusal
from lab.engine.delta import DeltaModule
from lab.engine.gates import gated
from lab.engine.locate import Located

SLOTS = "lab_slots"  # attribute of an attention module: its slots, in order


class AttentionSlots(DeltaModule):
    """Slots read inside the attention. The gate of `learned-gate` multiplies keys and values (UniPELT's code)."""

    projections: dict[str, Located]  # of keys and values, by k and v
    by_heads: list[float] | None = None  # where λ of each head goes while it is asked for
    copies = False  # while starting from real tokens (activations.py): take over the model's own keys and values

    def copy(self, keys: Tensor | None, values: Tensor | None) -> None:
        """Start from keys and values (l, kv_heads·head_dim) of l real tokens."""
        for part, own in ((self.keys, keys), (self.values, values)):
            if own is not None:
                part.copy_(own)

    def rows(self, batch: int) -> tuple[Tensor, Tensor]:
        """Keys and values (batch, kv_heads, l, head_dim) for this forward pass."""
        parts, own = self.parts(), [step for step in self.steps if step.kind in ("keys", "values")]
        rows = [self._heads(self.dropped(step, self.form.rows(parts, step.part, self.project)), batch) for step in own]
        if any(step.gated for step in own):
            x, self.tapped = self.tapped, None
            gate = self.gate_value(x)[..., None]  # (batch, 1, 1, 1)
            rows = [gate * part if step.gated else part for step, part in zip(own, rows, strict=True)]
        return rows[0], rows[1]

    def project(self, name: str, rows: Tensor) -> Tensor:
        """Keys (k) or values (v) (l, kv_heads·head_dim) that the model's own projection gives for rows (l, width), without its hooks."""
        weight, bias = self.projections[name].weight(), self.projections[name].bias()
        return F.linear(rows, weight.to(rows.dtype), None if bias is None else bias.to(rows.dtype))

    def slot_change(self, query: Tensor, scaling: float) -> Tensor:
        """s·Δh (batch, heads, positions, head_dim) of slots under a softmax of their own, for queries of that shape."""
        keys, values = (each.repeat_interleave(query.shape[1] // each.shape[1], 1) for each in self.rows(query.shape[0]))
        scores = query.to(keys.dtype) @ keys.transpose(-1, -2)
        for step in self.steps:
            if step.kind == "queries" and step.scaled:
                scores = scores * scaling
            elif step.kind == "sigma":
                scores = self._sigma(step, None, scores)
        return self.delta.weight * self.strength * (scores @ values)

    def _heads(self, part: Tensor, batch: int) -> Tensor:
        each = part.view(-1, self.site.kv_heads, self.site.head_dim).transpose(0, 1)
        return each.expand(batch, *each.shape)

    @property
    def share(self) -> float:
        """What the delta's weight adds to the slots' scores: log w, so that their mass counts w times."""
        return math.log(self.delta.weight)

    def note(self, query: Tensor, key: Tensor, own: Tensor, mask: Tensor | None, scaling: float, softcap: float | None = None) -> None:
        """λ: the attention mass of the slots, averaged over heads and real positions; computed while measuring only."""
        assert self.reading is not None
        with torch.no_grad():
            groups = query.shape[1] // key.shape[1]
            key, own = (k.repeat_interleave(groups, 1) for k in (key, own))
            scores, slots = (query.float() @ each.float().transpose(-1, -2) * scaling for each in (key, own))
            if softcap is not None:  # as Gemma 2 bounds its scores
                scores, slots = (softcap * torch.tanh(each / softcap) for each in (scores, slots))
            if mask is not None:
                mask = mask[..., : scores.shape[-1]]
                scores = scores.masked_fill(~mask, -torch.inf) if mask.dtype == torch.bool else scores + mask
            rest = scores.logsumexp(-1)
            mass = torch.sigmoid(slots.logsumexp(-1) + self.share - rest)  # (batch, heads, positions)
            self.reading[f"lambda/{self.key}"] = float(mass.mean())
            if self.by_heads is not None:
                self.by_heads[:] = mass.mean((0, 2)).tolist()


def slots_of(module: nn.Module, apart: bool = False) -> list[AttentionSlots]:
    """The slots of an attention module that are switched on, in the method's order: those among its keys, or those `apart` from them."""
    return [slots for slots in getattr(module, SLOTS, ()) if slots.enabled and slots.composition.apart == apart]


def with_added(module: nn.Module, query: Tensor, heads: Tensor, scaling: float | None, along: int = 1) -> Tensor:
    """What an attention gives, with what slots apart from its keys add. query (batch, heads, positions, head_dim); `along`: where `heads` has its heads."""
    for slots in slots_of(module, apart=True):
        added = slots.slot_change(query, query.shape[-1] ** -0.5 if scaling is None else scaling)
        heads = heads + added.transpose(1, along).to(heads.dtype)
    return heads


def copying(module: nn.Module) -> list[AttentionSlots]:
    """The slots of an attention module that now start from real tokens."""
    return [slots for slots in getattr(module, SLOTS, ()) if slots.copies]


def with_slots(module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, extra: dict[str, Any]) -> tuple:
    """Key, value, mask and T5's position bias with the slots of this module before them."""
    key, value = gated(module, key, value)
    for slots in copying(module):
        alike = key.shape[1] // slots.site.kv_heads  # heads that the model has given the same key
        slots.copy(*(each[0, ::alike].transpose(0, 1).flatten(1) for each in (key, value)))
    for slots in slots_of(module):
        own_keys, own_values = (each.repeat_interleave(key.shape[1] // each.shape[1], 1) for each in slots.rows(key.shape[0]))
        if slots.reading is not None:
            scaling = extra.get("scaling")
            slots.note(query, key, own_keys, mask, query.shape[-1] ** -0.5 if scaling is None else scaling, extra.get("softcap"))
        key = torch.cat([own_keys.to(key.dtype), key], 2)  # (batch, kv_heads, l + positions, head_dim)
        value = torch.cat([own_values.to(value.dtype), value], 2)
        length = own_keys.shape[2]
        share = slots.share
        if extra.get("position_bias") is not None:
            extra["position_bias"], share = F.pad(extra["position_bias"], (length, 0), value=share), 0.0
        elif share:
            mask = _additive(mask, query, key.shape[2] - length)
        if mask is not None:
            mask = F.pad(mask, (length, 0), value=True if mask.dtype == torch.bool else share)
    return key, value, mask


def _additive(mask: Tensor | None, query: Tensor, length: int) -> Tensor:
    """The mask as what is added to scores (..., positions, length)."""
    if mask is None:
        return query.new_zeros(1, 1, query.shape[2], length)
    return torch.zeros_like(mask, dtype=query.dtype).masked_fill(~mask, torch.finfo(query.dtype).min) if mask.dtype == torch.bool else mask


def lab_sdpa(module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **extra: Any) -> tuple:
    """transformers' sdpa attention with slots. Shapes: query (batch, heads, positions, head_dim)."""
    key, value, attention_mask = with_slots(module, query, key, value, attention_mask, extra)
    heads, weights = sdpa_attention_forward(module, query, key, value, attention_mask, **extra)
    return with_added(module, query, heads, extra.get("scaling"), along=2), weights


def lab_eager(module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **extra: Any) -> tuple:
    """The model's own eager attention with slots."""
    key, value, attention_mask = with_slots(module, query, key, value, attention_mask, extra)
    heads, weights = sys.modules[type(module).__module__].eager_attention_forward(module, query, key, value, attention_mask, **extra)
    return with_added(module, query, heads, extra.get("scaling"), along=2), weights


def lab_sdpa_mask(*args: Any, **kwargs: Any) -> Tensor | None:
    """sdpa's mask, made also where it would be left out as purely causal: slots are more keys than queries."""
    return sdpa_mask(*args, **{**kwargs, "allow_is_causal_skip": False})


def lab_eager_mask(*args: Any, **kwargs: Any) -> Tensor:
    """Eager attention's mask, as it is."""
    return eager_mask(*args, **kwargs)


for name, function, mask_function in (("lab_sdpa", lab_sdpa, lab_sdpa_mask), ("lab_eager", lab_eager, lab_eager_mask)):
    AttentionInterface.register(name, function)
    AttentionMaskInterface.register(name, mask_function)


def use_interface(model: PreTrainedModel) -> str:
    """Route the model's attention through the lab's functions; returns the name to restore. Refuses flash and flex attention."""
    before = model.config._attn_implementation
    ours = {"sdpa": "lab_sdpa", "eager": "lab_eager", "lab_sdpa": "lab_sdpa", "lab_eager": "lab_eager"}.get(before)
    if ours is None:
        raise Refusal(
            "Slots need sdpa or eager attention, and this model uses {attention}: load it with attn_implementation='sdpa'.", "method", attention=before
        )
    if not model._can_set_attn_implementation():
        raise Refusal("{name} does not go through transformers' attention interface, so slots cannot reach it.", "method", name=type(model).__name__)
    model.set_attn_implementation(ours)
    return before


class DebertaSlots:
    """The route for DeBERTa v2: slots on one DisentangledSelfAttention, by hooks and an override of its position bias."""

    def __init__(self, attention: nn.Module):
        self.attention = attention
        self.rows: tuple[Tensor, Tensor] | None = None
        self.calls = 0
        self.handles = [
            attention.register_forward_pre_hook(self.enter, with_kwargs=True),
            attention.key_proj.register_forward_hook(self.append_keys),
            attention.value_proj.register_forward_hook(self.append_values),
        ]
        attention.disentangled_attention_bias = self.bias

    def remove(self) -> None:
        """Take the hooks and the override away."""
        for handle in self.handles:
            handle.remove()
        del self.attention.disentangled_attention_bias

    def enter(self, module: nn.Module, args: tuple, kwargs: dict) -> tuple | None:
        """Pre-hook of the attention: make the rows of this pass, and lengthen its mask by them."""
        self.rows, self.calls = None, 0
        slots = slots_of(module)
        if not slots:
            return None
        hidden, mask, *rest = args
        for each in slots:
            each.tapped = hidden if each.composition.averages else None
        pairs = [each.rows(hidden.shape[0]) for each in slots]
        flat = [[part.transpose(1, 2).flatten(2).to(hidden.dtype) for part in pair] for pair in pairs]  # (batch, l, width)
        self.rows = torch.cat([keys for keys, _ in reversed(flat)], 1), torch.cat([values for _, values in reversed(flat)], 1)
        return (hidden, F.pad(mask, (self.rows[0].shape[1], 0), value=1), *rest), kwargs

    def append_keys(self, module: nn.Module, args: tuple, output: Tensor) -> Tensor | None:
        """Hook of the key projection: slots before the keys (batch, l + positions, width)."""
        self.calls += 1  # the second call, under share_att_key, is with position embeddings
        for slots in copying(self.attention) if self.calls == 1 else ():
            slots.copy(output[0], None)
        return None if self.rows is None or self.calls > 1 else torch.cat([self.rows[0], output], 1)

    def append_values(self, module: nn.Module, args: tuple, output: Tensor) -> Tensor | None:
        """Hook of the value projection: slots before the values."""
        for slots in copying(self.attention):
            slots.copy(None, output[0])
        return None if self.rows is None else torch.cat([self.rows[1], output], 1)

    def bias(self, query: Tensor, key: Tensor, *rest: Any) -> Tensor:
        """The disentangled position bias (batch·heads, positions, l + positions), zero on slots."""
        inner = type(self.attention).disentangled_attention_bias
        if self.rows is None:
            return inner(self.attention, query, key, *rest)
        own = inner(self.attention, query, key[:, self.rows[0].shape[1] :], *rest)
        for slots in slots_of(self.attention):
            own = F.pad(own, (slots.delta.rank, 0), value=slots.share)
        return own
