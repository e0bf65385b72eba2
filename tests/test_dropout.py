"""Where Δh stands to the model's dropout, in training mode with p > 0: behind that of the sublayer, as in adapter-BERT and in He et al.'s FFN.

One layer of five families is written by hand and draws the same masks from the same random numbers; all are held to the property.
"""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from comparing import told
from laws import OBJECTIVES, shake
from tiny import ARCHITECTURES, DROPOUTS, tiny, tiny_batch

from lab.design.method.delta import Method
from lab.design.method.rules import require
from lab.design.plain.options import validate
from lab.design.plain.refusal import Refusal
from lab.engine import attach

NONE = ("llama", "mistral", "qwen2", "qwen3", "gemma2", "gemma3", "smollm3", "granite", "olmo2", "falcon")  # families without a dropout at sublayers' outputs
WITHOUT = {("distilbert", "attn.out"), ("stablelm", "attn.out"), ("modernbert", "ffn.out"), *((name, rep) for name in NONE for rep in ("attn.out", "ffn.out"))}


def dropping(architecture: str, p: float = 0.5, **options):
    """A tiny model in training mode with every dropout of its configuration at p."""
    return tiny(architecture, OBJECTIVES[architecture], **dict.fromkeys(DROPOUTS.get(architecture, ()), p), **options).train()


def method(*deltas: dict) -> Method:
    return validate(Method, {"deltas": list(deltas)})


# -- the property, on all families --------------------------------------------------------------------------------------------


def stream(attached, layer, representation: str) -> torch.nn.Module:
    """The module whose input is the residual stream behind a sublayer; the layer itself where its output is."""
    post = attached.body.post_norm
    if representation == "ffn.out":
        return layer.find("ffn", "norm").module if post else layer.module
    if attached.body.config["model_type"] in ("gpt_neox", "falcon"):
        return layer.module  # both sublayers read the layer's input
    if attached.body.norm == "output":
        return layer.find("ffn", "up").module
    if post:
        return layer.find("attn", "norm").module
    crossed = layer.stack.map.cross and not layer.cross
    return layer._resolve(layer.stack.map.cross.norm).module if crossed else layer.find("ffn", "norm").module


def behind(architecture: str, representation: str, stack: str, delta: dict, value: float) -> torch.Tensor:
    """What the delta, its trained part set to a value, adds to the residual stream (batch, positions, width), the masks being the same."""
    model = dropping(architecture)
    stacks = {"stacks": [stack]} if model.config.is_encoder_decoder else {}
    attached = attach(model, method({"at": [representation], "layers": "0", **stacks, **delta}))
    layer, found = attached.binder.layer(stack, 0), []
    where = stream(attached, layer, representation)
    if where is layer.module:
        handle = where.register_forward_hook(lambda module, args, output: found.append(output[0] if isinstance(output, tuple) else output))
    else:
        handle = where.register_forward_pre_hook(lambda module, args: found.append(args[0]))
    batch = tiny_batch(model)
    for size in (0.0, value):
        with torch.no_grad():
            next(iter(attached.deltas.values())).get_parameter("bias" if delta["form"] == "bias" else "B").fill_(size)
            torch.manual_seed(3)
            model(**batch)
    handle.remove()
    return found[1] - found[0]


def stacks_of(architecture: str) -> tuple[str, ...]:
    config = tiny(architecture).config
    return ("encoder", "decoder", "cross") if config.is_encoder_decoder else ("encoder" if OBJECTIVES[architecture] == "classification" else "decoder",)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_change_joins_behind_the_sublayers_dropout_in_every_family(architecture: str) -> None:
    """Δh = 4 is 4 at every position and width; through_dropout makes it 0 or 8 where the family has a dropout there."""
    for stack in stacks_of(architecture):
        for representation in ("attn.out", "ffn.out") if stack != "cross" else ("attn.out",):
            kept = 1 / dropping(architecture).config.residual_multiplier if architecture == "granite" else 1.0  # of what joins the stream
            behind_it = behind(architecture, representation, stack, {"form": "bias"}, 4.0 * kept)
            assert torch.allclose(behind_it, torch.full_like(behind_it, 4.0), atol=1e-4), (stack, representation)
            through = behind(architecture, representation, stack, {"form": "bias", "through_dropout": True}, 4.0 * kept)
            if (architecture, representation) in WITHOUT:
                assert torch.allclose(through, behind_it, atol=1e-4)
            else:
                dropped = torch.isclose(through, torch.zeros(()), atol=1e-4)
                assert 0.3 < dropped.float().mean() < 0.7 and torch.allclose(through[~dropped], torch.tensor(8.0), atol=1e-4), (stack, representation)


@pytest.mark.parametrize("architecture", ["bert", "bart", "t5", "gpt2"])
def test_a_change_of_the_output_projection_is_dropped_with_it(architecture: str) -> None:
    """LoRA at attn.out is part of the projection, as in peft."""
    stack = stacks_of(architecture)[0]
    changed = behind(architecture, "attn.out", stack, {"form": "lowrank", "rank": 2, "alpha": 200.0}, 0.5)
    assert 0.3 < (changed.abs() < 1e-6).float().mean() < 0.7


# -- one layer by hand --------------------------------------------------------------------------------------------------------

DELTAS = [
    {"at": ["attn.out"], "form": "bottleneck", "insertion": "sequential", "rank": 5, "nonlinearity": "gelu"},
    {"at": ["ffn.out"], "form": "bottleneck", "composition": "scaled", "scale": 3.0, "rank": 6, "inner_dropout": 0.3, "dropout": 0.2},
]
P = 0.4


def adapter(part, x, sigma, before: float = 0.0, inside: float = 0.0):
    hidden = sigma(F.dropout(x, before) @ part.down.T + part.down_bias)
    return F.dropout(hidden, inside) @ part.up.T + part.up_bias


def attend(q, k, v, heads: int, scale: float, bias=None):
    q, k, v = (each.unflatten(-1, (heads, -1)).transpose(1, 2) for each in (q, k, v))
    scores = q @ k.transpose(-1, -2) * scale
    probabilities = F.dropout((scores if bias is None else scores + bias).softmax(-1), P)
    return (probabilities @ v).transpose(1, 2).flatten(2)


def by_hand(family: str, layer, x, bias, one, two, through: bool):
    """The layer's output, every dropout at P. `one`: sequential at the attention's output; `two`: parallel at the FFN's, reading its input."""

    def joined(h):
        if through:
            return F.dropout(h + adapter(one, h, F.gelu), P)
        h = F.dropout(h, P)
        return h + adapter(one, h, F.gelu)

    def ffn(h, read):
        return F.dropout(h, P) + 3.0 * adapter(two, read, F.relu, 0.2, 0.3)

    if family in ("bert", "roberta"):
        own = layer.attention.self
        heads = attend(own.query(x), own.key(x), own.value(x), 4, 8**-0.5)
        y = layer.attention.output.LayerNorm(joined(layer.attention.output.dense(heads)) + x)
        return layer.output.LayerNorm(ffn(layer.output.dense(F.gelu(layer.intermediate.dense(y))), y) + y)
    if family == "bart":
        own = layer.self_attn
        heads = attend(own.q_proj(x), own.k_proj(x), own.v_proj(x), 4, 8**-0.5)
        y = layer.self_attn_layer_norm(joined(own.out_proj(heads)) + x)
        return layer.final_layer_norm(ffn(layer.fc2(F.dropout(F.gelu(layer.fc1(y)), P)), y) + y)
    if family == "t5":
        own, last = layer.layer[0].SelfAttention, layer.layer[1]
        read = layer.layer[0].layer_norm(x)
        y = x + joined(own.o(attend(own.q(read), own.k(read), own.v(read), 4, 1.0, bias)))
        read = last.layer_norm(y)
        return y + ffn(last.DenseReluDense.wo(F.dropout(F.relu(last.DenseReluDense.wi(read)), P)), read)
    q, k, v = layer.attn.c_attn(layer.ln_1(x)).chunk(3, -1)
    causal = torch.full((x.shape[1],) * 2, -torch.inf).triu(1)
    y = x + joined(layer.attn.c_proj(attend(q, k, v, 4, 8**-0.5, causal)))
    read = layer.ln_2(y)
    return y + ffn(layer.mlp.c_proj(layer.mlp.act(layer.mlp.c_fc(read))), read)


@pytest.mark.parametrize("through", [False, True])
@pytest.mark.parametrize("family", ["bert", "bart", "roberta", "t5", "gpt2"])
def test_a_layer_in_training_equals_the_layer_by_hand_with_the_same_masks(family: str, through: bool) -> None:
    model = dropping(family, P, attn="eager")
    body = "decoder" if family == "gpt2" else "encoder"
    attached = attach(model, method({**DELTAS[0], "through_dropout": through, "stacks": [body]}, {**DELTAS[1], "stacks": [body]}))
    shake(attached)
    layer, seen = attached.binder.layer(body, 0), {}

    def enter(module, args, kwargs):
        bias = kwargs.get("position_bias")
        seen.update(x=args[0], random=torch.get_rng_state(), bias=bias if bias is not None else (args[2] if len(args) > 2 else None))

    def leave(module, args, output):
        seen["y"] = output[0] if isinstance(output, tuple) else output

    if family == "t5":  # the first layer makes the position bias that the second is given
        layer = attached.binder.layer(body, 1)
    layer.module.register_forward_pre_hook(enter, with_kwargs=True)
    layer.module.register_forward_hook(leave)
    batch = tiny_batch(model)
    batch["attention_mask"] = torch.ones_like(batch["attention_mask"])
    torch.manual_seed(5)
    with torch.no_grad():
        model(**batch)
        before = {"y": seen["y"].clone(), "x": seen["x"].clone(), "random": seen["random"]}
        one, two = (attached.deltas[f"deltas.{i}.{body}.{1 if family == 't5' else 0}.{rep}"] for i, rep in enumerate(("attn.out", "ffn.out")))
        plain = copy.deepcopy(layer.module)  # without hooks, its own dropouts not called
        for module in plain.modules():
            module._forward_hooks.clear()
            module._forward_pre_hooks.clear()
        torch.set_rng_state(before["random"])
        expected = by_hand(family, plain, before["x"], seen["bias"], one, two, through)
    error = float((before["y"] - expected).abs().max()) / max(1.0, float(expected.abs().max()))
    for preset in ("adapter-houlsby", "adapter-parallel-scaled"):
        told(preset, "a layer written by hand, with the same dropout masks", "outputs in training", error, family)
    assert error <= 1e-5


# -- what it must not disturb --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("architecture", ["bart", "opt", "bert"])
def test_gradient_checkpointing_and_copies_draw_the_same_masks(architecture: str) -> None:
    model = dropping(architecture)
    attached = attach(model, method(*DELTAS))
    shake(attached)
    batch = tiny_batch(model)

    def step(of) -> tuple[torch.Tensor, list[torch.Tensor]]:
        torch.manual_seed(7)
        of.zero_grad()
        loss = of(**batch).loss
        loss.backward()
        return loss.detach(), [p.grad.clone() for p in of.parameters() if p.grad is not None]

    loss, gradients = step(model)
    for twin in (copy.deepcopy(model), model):
        if twin is model:
            twin.gradient_checkpointing_enable({"use_reentrant": False})
        again, recomputed = step(twin)
        assert (loss - again).abs() <= 1e-6 * loss
        assert all(torch.allclose(one, two, atol=1e-6) for one, two in zip(gradients, recomputed, strict=True))


def test_what_has_no_meaning_is_refused() -> None:
    for delta, field in [
        ({"at": ["attn.q"], "form": "lowrank", "through_dropout": True}, "deltas.0.through_dropout"),
        ({"at": ["attn.q"], "form": "lowrank", "inner_dropout": 0.1}, "deltas.0.inner_dropout"),
        ({"at": ["attn.heads"], "form": "slots", "inner_dropout": 0.1}, "deltas.0.inner_dropout"),
    ]:
        with pytest.raises(Refusal) as refused:
            require(method(delta))
        assert refused.value.field == field
