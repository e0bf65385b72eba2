"""Slots and gated virtual tokens in attentions that call torch's sdpa themselves, outside transformers' AttentionInterface.

While such an attention runs, its one call of `scaled_dot_product_attention` is given the keys and values with the slots, and a mask that
is longer by them. Nothing is copied from the model, so whatever it does to its queries and keys before the call holds for ours too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from lab.design.plain.refusal import Refusal
from lab.engine.attention import with_added, with_slots


class _Reading(TorchFunctionMode):
    """The forward pass of one attention that goes on now."""

    def __init__(self, attention: nn.Module):
        super().__init__()
        self.attention, self.reached = attention, False

    def __torch_function__(self, function: Callable, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        if function is not F.scaled_dot_product_attention:
            return function(*args, **(kwargs or {}))
        self.reached = True
        return self._attend(*args, **(kwargs or {}))

    def _attend(
        self, query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None, dropout_p: float = 0.0, is_causal: bool = False, **more: Any
    ) -> Tensor:
        """Shapes: query (batch, heads, positions, head_dim), key and value (batch, kv_heads, positions, head_dim)."""
        if is_causal:  # torch would count its triangle from the first slot
            attn_mask = torch.ones(query.shape[2], key.shape[2], dtype=torch.bool, device=query.device).tril()[None, None]
        key, value, attn_mask = with_slots(self.attention, query, key, value, attn_mask, {"scaling": more.get("scale")})
        heads = F.scaled_dot_product_attention(query, key, value, attn_mask=attn_mask, dropout_p=dropout_p, **more)
        return with_added(self.attention, query, heads, more.get("scale"))


class OwnAttention:
    """The hooks of one attention module."""

    def __init__(self, attention: nn.Module):
        self.attention = attention
        self.reading: _Reading | None = None

    def bind(self) -> list[Any]:
        """Register the hooks; their handles."""
        return [self.attention.register_forward_pre_hook(self.enter), self.attention.register_forward_hook(self.leave, always_call=True)]

    def enter(self, module: nn.Module, args: tuple) -> None:
        self.reading = _Reading(self.attention)
        self.reading.__enter__()

    def leave(self, module: nn.Module, args: tuple, output: Any) -> None:
        """Hook, called after an exception too."""
        reading, self.reading = self.reading, None
        if reading is None:
            return
        reading.__exit__(None, None, None)
        if output is not None and not reading.reached:
            raise Refusal("Slots reach this model's attention through sdpa alone, which it did not call: leave output_attentions off.", "method")


def require_sdpa(model: nn.Module) -> None:
    """Raise Refusal where the model was loaded with another attention."""
    chosen = model.config._attn_implementation
    if chosen != "sdpa":
        raise Refusal(
            "Slots reach this model's attention through sdpa alone, and it uses {attention}: load it with attn_implementation='sdpa'.",
            "method",
            attention=chosen,
        )


def bind_attentions(attentions: Iterable[nn.Module]) -> list[Any]:
    """Hooks on every attention, each once; their handles."""
    return [handle for attention in dict.fromkeys(attentions) for handle in OwnAttention(attention).bind()]
