"""Virtual tokens: a pair of hooks on the backbone, not on the embedding.

The first puts l rows before the embedded input, pads the mask and token types, and shifts given positions; with a filled cache it
only pads the mask and shifts. The second strips the first l rows, so labels and pooled positions stay the user's own (for BERT it
stands on the encoder, before the pooler). On an encoder-decoder the encoder gets the rows and the decoder a longer encoder mask.
"""

from __future__ import annotations

import inspect
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from lab.design.body.anatomy import Anatomy
from lab.design.method.delta import Delta
from lab.design.plain.refusal import Refusal
from lab.engine import calls
from lab.engine.delta import DeltaModule
from lab.engine.locate import backbone
from lab.engine.positions import NoPositions, own_count, table


class TokensModule(DeltaModule):
    """The tokens of one model: P (l, width)."""

    gate_now: Tensor | None = None  # g(x) (batch, 1, 1) of the last input, which every attention reads (gates.py)
    inserted = False  # whether the rows are in the forward pass that goes on now
    position_table: tuple[nn.Module, ...] = ()  # where virtual tokens have no positions; a tuple, so that it is not a child here

    def bind(self, base: nn.Module, body: Anatomy) -> list[RemovableHandle]:
        """Hooks that put the tokens before the embedded input, and take their positions off again where a head reads them."""
        return [*self._without_positions(base, body), *self._bind(base, body)]

    def _without_positions(self, base: nn.Module, body: Anatomy) -> list[RemovableHandle]:
        if self.delta.token_positions == "own":
            return []
        positions, none = table(base, body, body.stacks[0].name), NoPositions(self)
        self.position_table = (positions,)
        return [positions.register_forward_pre_hook(none.count, with_kwargs=True), positions.register_forward_hook(none.blank)]

    def _bind(self, base: nn.Module, body: Anatomy) -> list[RemovableHandle]:
        if body.encoder_decoder:
            encoder, decoder = base.get_submodule("encoder"), base.get_submodule("decoder")
            return [
                encoder.register_forward_pre_hook(self.insert, with_kwargs=True),
                decoder.register_forward_pre_hook(self.lengthen_encoder_mask, with_kwargs=True),
            ]
        entry, inner = backbone(base, body), getattr(base, "encoder", None)
        stripped = inner if getattr(base, "pooler", None) is not None and inner is not None else entry
        return [
            entry.register_forward_pre_hook(self.insert, with_kwargs=True),
            stripped.register_forward_hook(self.strip),
        ]

    @property
    def length(self) -> int:
        """Number of virtual tokens l."""
        return self.delta.rank

    def rows(self, like: Tensor) -> Tensor:
        """(batch, l, width) beside embedded input (batch, positions, width)."""
        tokens = self.dropped(self.steps[0], self.parts().tokens)
        return tokens.to(like.dtype).expand(like.shape[0], -1, -1)

    def insert(self, module: nn.Module, args: tuple, kwargs: dict) -> tuple[tuple, dict] | None:
        """Pre-hook: put the tokens before the embedded input of a first pass; lengthen the mask and positions of every pass."""
        self.inserted, self.gate_now = False, None
        if not self.enabled:
            return None
        given = calls.arguments(module, args, kwargs)
        if getattr(calls.cache(given), "is_compileable", False):
            raise Refusal("Virtual tokens lengthen the input, which a static cache has no room for: generate with a dynamic cache.", "method")
        first = calls.seen(given) == 0
        own = self._real_positions(module, given) if self.position_table else None
        if first:
            ids = given.pop("input_ids", None)
            embedded = given.get("inputs_embeds")
            if embedded is None:
                embedded = module.get_input_embeddings()(ids)
            if self.composition.averages:
                self.gate_now = self.gate_value(embedded)
            given["inputs_embeds"] = torch.cat([self.rows(embedded), embedded], 1)
            self.inserted = True
        self._lengthen(given, first)
        if own is not None:
            given["position_ids"] = F.pad(own, (self.length if first else 0, 0))
        return (), given

    def _real_positions(self, module: nn.Module, given: dict[str, Any]) -> Tensor | None:
        """Positions (rows, positions) of the real tokens, where the backbone takes them; its mask is made where it was not given.

        Without a mask transformers would take positions that begin anew for several texts in one row.
        """
        if "position_ids" not in inspect.signature(module.forward).parameters:
            return None
        seen = max(0, calls.seen(given) - self.length)  # the cache has virtual tokens too
        positions = given.get("position_ids")
        if positions is None:
            positions = own_count(self.position_table[0], given, seen)
        if calls.seen(given) == 0 and given.get("attention_mask") is None:
            rows = given["input_ids"] if given.get("inputs_embeds") is None else given["inputs_embeds"]
            given["attention_mask"] = torch.ones(rows.shape[:2], dtype=torch.long, device=rows.device)
        return positions

    def gated(self, rows: Tensor, dim: int) -> Tensor:
        """Keys or values of an attention, with those of virtual tokens, which stand first along `dim`, times the gate.

        Beams come after the encoder: its gate is repeated for them.
        """
        if self.gate_now is None:
            return rows
        gate = self.gate_now.to(rows.dtype).flatten().repeat_interleave(rows.shape[0] // len(self.gate_now))
        own, rest = rows.split([self.length, rows.shape[dim] - self.length], dim)
        return torch.cat([gate.view(-1, *[1] * (rows.dim() - 1)) * own, rest], dim)

    def _lengthen(self, given: dict[str, Any], first: bool) -> None:
        length = self.length
        mask = given.get("attention_mask")
        if mask is not None:
            if mask.dim() != 2:
                raise Refusal("Virtual tokens lengthen the input, so they need a two-dimensional attention mask.", "method")
            given["attention_mask"] = F.pad(mask, (length, 0), value=1)
        positions = given.get("position_ids")
        if positions is not None:
            positions = positions + length
            if first:
                own = torch.arange(length, device=positions.device).expand(positions.shape[0], -1)
                positions = torch.cat([own, positions], 1)
            given["position_ids"] = positions
        if first and given.get("token_type_ids") is not None:
            given["token_type_ids"] = F.pad(given["token_type_ids"], (length, 0), value=0)
        given.pop("cache_position", None)

    def strip(self, module: nn.Module, args: tuple, output: Any) -> Any:
        """Hook: outputs (batch, positions, width) without those of virtual tokens."""
        if not getattr(self, "inserted", False):
            return None
        self.inserted = False
        if isinstance(output, tuple):
            return (output[0][:, self.length :], *output[1:])
        if isinstance(output, Tensor):
            return output[:, self.length :]
        output["last_hidden_state"] = output["last_hidden_state"][:, self.length :]
        return output

    def lengthen_encoder_mask(self, module: nn.Module, args: tuple, kwargs: dict) -> tuple[tuple, dict] | None:
        """Pre-hook of the decoder: the encoder's output is l longer than its mask."""
        if not self.enabled:
            return None
        given = calls.arguments(module, args, kwargs)
        mask, hidden = given.get("encoder_attention_mask"), given.get("encoder_hidden_states")
        if mask is not None and hidden is not None and mask.shape[-1] < hidden.shape[1]:
            given["encoder_attention_mask"] = F.pad(mask, (hidden.shape[1] - mask.shape[-1], 0), value=1)
        return (), given


@torch.no_grad()
def start_tokens(module: TokensModule, base: nn.Module, generator: torch.Generator, tokenizer: Any = None) -> None:
    """Start virtual tokens from the embeddings of real ones (Lester et al.)."""
    if module.delta.init not in ("vocabulary", "text") or module._parameters.get("tokens") is None or module.tokens.device.type == "meta":
        return
    ids = real_tokens(module.delta, base, generator, tokenizer)
    module.tokens.copy_(base.get_input_embeddings()(ids))


def real_tokens(delta: Delta, base: nn.Module, generator: torch.Generator, tokenizer: Any = None) -> Tensor:
    """l token ids on the model's device: samples of the vocabulary (init vocabulary), or a text's, repeated to the length (init text)."""
    table = base.get_input_embeddings().weight
    if delta.init == "text":
        ids = text_ids(delta, tokenizer)
        ids = ids.repeat(-(-delta.rank // len(ids)))[: delta.rank]
    else:
        ids = torch.randint(0, min(len(table), 5000), (delta.rank,), generator=generator)  # the commoner words, as in the paper
    return ids.to(table.device)


def text_ids(delta: Delta, tokenizer: Any) -> Tensor:
    """The tokens of a delta's initial text. Raises `Refusal` where there are none, or no tokenizer."""
    if tokenizer is None:
        raise Refusal("Initialisation text needs the model's tokenizer: choose vocabulary where there is none.", "init")
    ids = torch.tensor(tokenizer(delta.text, add_special_tokens=False, split_special_tokens=True)["input_ids"])
    if not len(ids):
        raise Refusal("The initial text has no tokens: write a longer one, or choose vocabulary.", "text")
    return ids
