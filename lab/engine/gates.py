"""Gates that are read in more than one place: of virtual tokens in every attention, and one that the deltas of a layer share.

A shared gate (`gate: shared`; `add_central_gate` in UniPELT's code) weighs the n deltas of an attention sublayer and what follows it in
its layer against each other: softmax over n of the mean over the sequence of ReLU(x·wᵢ + bᵢ), x being the sublayer's input.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from lab.engine.bind import Binder
from lab.engine.delta import DeltaModule
from lab.engine.tokens import TokensModule

TOKENS = "lab_gated_tokens"  # attribute of an attention module: the virtual tokens whose keys and values are gated there


def gated(module: nn.Module, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
    """Keys and values (batch, kv_heads, positions, head_dim) of an attention, those of virtual tokens times their gate."""
    for tokens in getattr(module, TOKENS, ()):
        key, value = tokens.gated(key, 2), tokens.gated(value, 2)
    return key, value


class DebertaGates:
    """The route for DeBERTa v2, whose attention is its own: hooks on the projections of one attention."""

    def __init__(self, tokens: TokensModule):
        self.tokens, self.calls = tokens, 0

    def bind(self, attention: nn.Module) -> list[Any]:
        """Register the hooks; their handles."""
        return [attention.register_forward_pre_hook(self.enter), attention.key_proj.register_forward_hook(self.keys),
                attention.value_proj.register_forward_hook(self.values)]  # fmt: skip

    def enter(self, module: nn.Module, args: tuple) -> None:
        self.calls = 0

    def keys(self, module: nn.Module, args: tuple, output: Tensor) -> Tensor | None:
        """Hook of the key projection: its second call, under share_att_key, is with position embeddings."""
        self.calls += 1
        return self.tokens.gated(output, 1) if self.calls == 1 else None

    def values(self, module: nn.Module, args: tuple, output: Tensor) -> Tensor:
        return self.tokens.gated(output, 1)


def gate_tokens(binder: Binder, modules: Iterable[DeltaModule]) -> tuple[list[Any], list[nn.Module]]:
    """Let the gate of virtual tokens reach every attention that has their keys: (handles, modules with the attribute TOKENS)."""
    handles: list[Any] = []
    marked: list[nn.Module] = []
    body = binder.body
    for tokens in modules:
        if not isinstance(tokens, TokensModule) or not tokens.composition.averages:
            continue
        first = body.stacks[0]
        places = [(first.name, first.layers)] + [("cross", stack.layers) for stack in body.stacks if stack.cross]
        for attention in (binder.layer(stack, index).owner_of_q() for stack, layers in places for index in range(layers)):
            if body.architecture.attention_route == "deberta":
                handles += DebertaGates(tokens).bind(attention)
            else:
                setattr(attention, TOKENS, [*getattr(attention, TOKENS, []), tokens])
                marked.append(attention)
    return handles, marked


class SharedGate:
    """The gate of one layer. `members`: of each delta that shares it, the module that has its row w (d,) and b ()."""

    def __init__(self, stack: str):
        self.stack = stack
        self.members: list[DeltaModule] = []
        self.values: Tensor | None = None  # (members, batch), of the forward pass that goes on now

    def read(self, module: nn.Module, args: tuple, kwargs: dict) -> None:
        """Pre-hook on the module whose input is the sublayer's x (batch, positions, d)."""
        x = args[0] if args else kwargs["hidden_states"]
        means = [member.average(torch.relu(x.to(member.dtype) @ member.gate + member.gate_bias), self.stack) for member in self.members]
        self.values = torch.stack(means).softmax(0)


def share_gates(binder: Binder, deltas: dict[str, DeltaModule]) -> list[Any]:
    """Put the shared gates of a method on its layers; their handles. `deltas` by `deltas.<i>.<site>`, in the method's order."""
    gates: dict[tuple[str, int, str], SharedGate] = {}  # by stack, layer and the run that it is frozen from
    for module in deltas.values():
        if module.delta.gate != "shared":
            continue
        gate = gates.setdefault((module.site.stack, module.site.layer, module.delta.frozen_from), SharedGate(module.site.stack))
        if module.site.first:
            gate.members.append(module)
        module.shares = (gate, len(gate.members) - 1)
    return [
        binder.layer(stack, layer).find("attn", "x").module.register_forward_pre_hook(gate.read, with_kwargs=True, prepend=True)
        for (stack, layer, _), gate in gates.items()
    ]  # fmt: skip
