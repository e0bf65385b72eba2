"""Positions of real tokens behind a prefix, and of virtual tokens.

`positions: shift`: real tokens count from l on, as under a cache that was filled before. P-tuning v2's code does so (BERT's
`past_key_values_length`), Li & Liang's on GPT-2, and peft; He et al. and AdapterHub leave positions as they are. The difference
matters: 0.37 in the logits of a tiny gpt2. What moves depends on how a model knows positions:

| positions | models | shifted at |
|---|---|---|
| embeddings added to the input | bert, roberta, electra, distilbert, deberta_v2 with `position_biased_input`, bart and its kin, gpt2, opt | the table's ids, of each stack by its own prefixes; ids of padding stay |
| rotation of queries and keys | llama and its kin, gpt_neox, falcon, modernbert | `position_ids`; slots are not rotated, so q·Pk changes |
| distances | t5, deberta_v2 otherwise, falcon with ALiBi | nothing: a shift of all leaves distances as they are, so rules.py refuses it |

`token_positions: none`: virtual tokens join after the position embeddings and have none (He et al.'s code).
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lab.design.body.anatomy import Anatomy
from lab.engine import calls
from lab.engine.delta import DeltaModule


def table(base: nn.Module, body: Anatomy, stack: str) -> nn.Module:
    """The position embedding of a stack."""
    return base.get_submodule(body.position_table.replace("{stack}", stack))


class ShiftedPositions:
    """Pre-hooks that count real tokens from the prefix length on. `slots`: one module of each delta that asks for it."""

    def __init__(self, slots: list[DeltaModule]):
        self.slots = slots

    @property
    def length(self) -> int:
        """Slots that are switched on now."""
        return sum(each.delta.rank for each in self.slots if each.enabled)

    def shift_rotary(self, module: nn.Module, args: tuple, kwargs: dict) -> tuple[tuple, dict] | None:
        """Pre-hook on the base model: `position_ids`, made where they are not given."""
        if not self.length:
            return None
        given = calls.arguments(module, args, kwargs)
        positions = given.get("position_ids")
        if positions is None:
            rows: Any = given.get("input_ids") if given.get("inputs_embeds") is None else given["inputs_embeds"]
            seen = calls.seen(given)
            positions = torch.arange(seen, seen + rows.shape[1], device=rows.device)[None]
        return (), {**given, "position_ids": positions + self.length}

    def shift_table(self, module: nn.Module, args: tuple, kwargs: dict) -> tuple[tuple, dict] | None:
        """Pre-hook on a table of position embeddings."""
        if not self.length:
            return None
        given, name = calls.arguments(module, args, kwargs), ids_name(module)
        ids = counted(module, given) if given.get(name) is None else given[name]
        padding = ids < 0 if module.padding_idx is None else ids == module.padding_idx
        return (), {**given, name: torch.where(padding, ids, ids + self.length)}


def ids_name(module: nn.Module) -> str:
    """The argument of a table's call that holds the ids: encoder-decoders and OPT also count by themselves, from a shape or a mask."""
    names = list(inspect.signature(module.forward).parameters)
    return "position_ids" if "position_ids" in names else names[0]


def counted(module: nn.Module, given: Mapping[str, Any]) -> Tensor:
    """The ids (positions,) that an encoder-decoder's table would count by itself."""
    first, before, *_ = given.values() if len(given) > 1 else (*given.values(), 0)
    length = (first.shape if isinstance(first, Tensor) else first)[1]
    start = before if isinstance(before, int) else 0
    return torch.arange(start, start + length, device=module.weight.device)


def shift_positions(base: nn.Module, body: Anatomy, deltas: Mapping[str, DeltaModule]) -> list[Any]:
    """Register the hooks where deltas (by `deltas.<i>.<site>`) ask for it; their handles. One site per stack stands for all of its delta's."""
    first: dict[tuple[str, str], DeltaModule] = {}
    for name, module in deltas.items():
        if module.site.stack != "cross" and body.shifts(module.delta):
            first.setdefault((module.site.stack, name.split(".")[1]), module)
    handles = []
    for stack in dict.fromkeys(stack for stack, _ in first):
        shifted = ShiftedPositions([module for (where, _), module in first.items() if where == stack])
        if body.position_table:
            handles.append(table(base, body, stack).register_forward_pre_hook(shifted.shift_table, with_kwargs=True))
        else:
            handles.append(base.register_forward_pre_hook(shifted.shift_rotary, with_kwargs=True))
    return handles


class NoPositions:
    """Virtual tokens without positions of their own: real tokens keep theirs, and the first l rows of the position embeddings are zeros.

    `tokens` has `length`, and `inserted` while the rows are in this forward pass.
    """

    def __init__(self, tokens: Any):
        self.tokens = tokens

    def count(self, module: nn.Module, args: tuple, kwargs: dict) -> tuple[tuple, dict] | None:
        """Pre-hook on an encoder-decoder's table, which counts by itself: real tokens from 0 on."""
        given, name = calls.arguments(module, args, kwargs), ids_name(module)
        if not self.tokens.inserted or name != "position_ids":
            return None
        ids = counted(module, given) if given.get(name) is None else given[name]
        if ids.dim() > 1:  # the backbone was given them: `insert` made them right
            return None
        return (), {**given, name: F.pad(ids[: len(ids) - self.tokens.length], (self.tokens.length, 0))}

    def blank(self, module: nn.Module, args: tuple, output: Tensor) -> Tensor | None:
        """Hook on the table: (..., l + positions, width) with zeros for virtual tokens."""
        length = self.tokens.length
        return F.pad(output[..., length:, :], (0, 0, length, 0)) if self.tokens.inserted else None


def own_count(position_table: nn.Module, given: Mapping[str, Any], seen: int) -> Tensor:
    """Positions (rows, positions) of the real tokens of a call of the backbone, as the model itself counts them.

    RoBERTa counts the words that are no padding from its padding id on, OPT those that its mask names, others from the `seen` ones on.
    `given` holds `input_ids` or `inputs_embeds`, without virtual tokens, and the mask of real tokens.
    """
    ids, mask, padding = given.get("input_ids"), given.get("attention_mask"), position_table.padding_idx
    rows: Any = ids if given.get("inputs_embeds") is None else given["inputs_embeds"]
    if padding is not None and ids is not None:
        real = (ids != padding).long()
        return real.cumsum(1) * real + padding
    if "attention_mask" in inspect.signature(position_table.forward).parameters and mask is not None:
        return (mask.long().cumsum(1) * mask - 1)[:, -rows.shape[1] :]
    start = seen + (0 if padding is None else padding + 1)
    return torch.arange(start, start + rows.shape[1], device=rows.device)[None]
