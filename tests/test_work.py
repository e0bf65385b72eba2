"""How many multiplications a step needs (lab/design/method/work.py), beside those that torch counts in a real one: nothing is done that the maths does not ask for."""

from __future__ import annotations

import functools

import pytest
import torch
from laws import SMALL
from spread import pairs
from tiny import tiny
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from lab.design.body.anatomy import anatomy
from lab.design.method.named import load_method
from lab.design.method.rules import problems
from lab.design.method.work import frozen_work, step_work
from lab.design.plain.refusal import Refusal
from lab.design.presets import catalogue
from lab.engine import attach
from lab.engine.attach import body_of
from lab.engine.looking import nothing
from lab.models import resolve
from lab.models.loading import checkpoint_layers

BODIES = ("bert", "llama", "t5", "bart", "gpt2", "deberta_v2", "modernbert", "gemma2", "falcon", "phi3", "opt")
COUNTED = tuple(name for name in BODIES if name not in ("deberta_v2", "falcon"))  # products with positions besides; sublayers beside each other
SHAPE = {"tokens": 9, "target_tokens": 6}
MORE = {"fish-mask": {"select.score": "random"}}
UNCOUNTED = {"hra", "c3a", "unipelt-ap", "unipelt-apl"}  # torch counts no products with a vector (reflections, gates), nor complex ones as four
AGAIN = {"randlora": 1.15}  # what is between its maps is made again in the backward pass, to save its memory
LATER = {"lamda-plus-plus", "lisa"}  # the weights' own values decide which site has which rank; layers are drawn


def model_of(body: str) -> nn.Module:
    """Without a pooler, whose products a loss on hidden states does not need."""
    model = tiny(body, None, attn=None if body == "deberta_v2" else "eager")
    if hasattr(model, "pooler"):
        model.pooler = None
    return model.train()


def inputs_of(model: nn.Module, rows: int) -> dict[str, torch.Tensor]:
    ids = torch.randint(5, 100, (rows, SHAPE["tokens"]), generator=torch.Generator().manual_seed(0))
    mask = torch.ones_like(ids)
    mask[-1, -3:] = 0
    inputs = {"input_ids": ids, "attention_mask": mask}
    if model.config.is_encoder_decoder:
        return {**inputs, "decoder_input_ids": ids[:, : SHAPE["target_tokens"]]}
    return {**inputs, **({"use_cache": False} if hasattr(model.config, "use_cache") else {})}


class Counter(TorchDispatchMode):
    """The sum of torch's own counts of operations; its FlopCounterMode, which also keeps them by module, takes twice as long."""

    flops = 0

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        result = operation(*args, **(kwargs or {}))
        if count := flop_registry.get(operation.overloadpacket):
            self.flops += count(*args, **(kwargs or {}), out_val=result)
        return result


def counted(model: nn.Module, rows: int) -> int:
    """Multiply-adds that torch counts in a forward and a backward pass."""
    inputs = inputs_of(model, rows)
    with Counter() as counter:
        model(**inputs).last_hidden_state.square().sum().backward()
    return counter.flops // 2


@functools.cache
def small(preset: str):
    return load_method(preset, {**SMALL.get(preset, {}), **MORE.get(preset, {})})


def attached(preset: str, body: str):
    """(model, its anatomy, attached); skips what the rules refuse there."""
    model = model_of(body)
    known = body_of(model)
    if problems(small(preset), known):
        pytest.skip("refused on this architecture")
    try:
        return model, known, attach(model, small(preset), seed=0, look=nothing)
    except Refusal as refusal:
        pytest.skip(refusal.sentence)


@pytest.mark.parametrize(("preset", "body"), pairs([name for name in catalogue.names("methods") if name not in LATER], COUNTED, 1))
def test_a_step_multiplies_what_the_maths_asks_for(preset: str, body: str):
    """By the rows that are added, so that what is made once a step (inverses, norms, networks of prefixes) does not count."""
    model, known, _ = attached(preset, body)
    found = counted(model, 6) - counted(model, 3)
    bound = step_work(small(preset), known, 6, **SHAPE).total - step_work(small(preset), known, 3, **SHAPE).total
    assert found <= AGAIN.get(preset, 1) * bound
    assert found == bound or preset in UNCOUNTED or preset in AGAIN


@pytest.mark.parametrize("body", [name for name in COUNTED if name not in ("t5", "bart")])
def test_the_frozen_step(body: str):
    model = model_of(body).requires_grad_(False)
    model.get_input_embeddings().register_forward_hook(lambda module, args, output: output.requires_grad_(True))
    assert counted(model, 3) == frozen_work(body_of(model), 3, **SHAPE).total


def test_the_bound_of_mam_on_minilm():
    """By hand: per token and layer 12·384² frozen, twice; 2·384·512 of the adapter, three times; attention to 128 and 30 more."""
    body = anatomy(resolve("minilm-l6").config)
    ratio = step_work(load_method("mam"), body, 32, 128).total / frozen_work(body, 32, 128).total
    frozen, adapter, attention = 12 * 384**2 * 2, 2 * 384 * 512 * 3, 2 * 128 * 384 * 3
    assert ratio == pytest.approx((frozen + adapter + attention * 158 / 128) / (frozen + attention), rel=0.02)


# -- nothing goes back below the lowest delta --------------------------------------------------------------------------------------

WHOLE = (
    "full",
    "bitfit",
    "ln-tuning",
    "diff-pruning",
    "fish-mask",
    "prompt-tuning",
    "p-tuning",
    "head-only",
    "adapterfusion",
    "shira",
)  # train below every layer


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize(("preset", "body"), pairs([name for name in catalogue.names("methods") if name not in (*WHOLE, *LATER)], BODIES, 1))
def test_autograd_stops_at_the_lowest_delta(preset: str, body: str, checkpointing: bool):
    """With deltas in the last layer alone no other layer is part of the backward pass, nor made again for it under checkpointing."""
    only = {f"deltas.{index}.layers": "-1" for index, _ in enumerate(small(preset).deltas)} or {"select.depth": 1}
    model = model_of(body)
    known = body_of(model)
    method = load_method(preset, {**SMALL.get(preset, {}), **only})
    if problems(method, known):
        pytest.skip("refused on this architecture")
    attach(model, method, seed=0, look=nothing)
    if checkpointing:
        checkpoint_layers(model)
    stacks = {stack.name: list(model.get_submodule(stack.map.path)) for stack in known.stacks}
    calls: dict[str, list[int]] = {name: [0] * len(layers) for name, layers in stacks.items()}
    reached: set[tuple[str, int]] = set()

    def watch(name: str, index: int):
        def before(module: nn.Module, args: tuple, kwargs: dict) -> None:
            calls[name][index] += 1
            hidden = args[0] if args else kwargs["hidden_states"]
            if hidden.requires_grad:
                reached.add((name, index))

        return before

    for name, layers in stacks.items():
        for index, layer in enumerate(layers):
            layer.register_forward_pre_hook(watch(name, index), with_kwargs=True)
    model(**inputs_of(model, 3)).last_hidden_state.square().sum().backward()
    lowest = stacks[known.stacks[0].name]
    assert not [index for name, index in reached if name == known.stacks[0].name], "a gradient enters a layer below"
    assert calls[known.stacks[0].name][:-1] == [1] * (len(lowest) - 1), "a layer below is made again"
    assert (known.stacks[-1].name, 0) not in reached
    assert all(parameter.grad is None for parameter in model.get_input_embeddings().parameters())
