"""Identities that must hold whatever the weights: He et al.'s Eq. 7-10, LoRA as an adapter, and every way of running a model.

Prefix tuning by concatenation is compared with (1 − λ)h + λΔh computed on its own, without concatenating anything.
"""

from __future__ import annotations

import copy
import functools
import itertools

import pytest
import torch
from comparing import told
from laws import SMALL, shake
from spread import pairs
from tiny import TEXT, tiny, tiny_batch, tiny_tokenizer
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import eager_mask

from lab.design.method.named import load_method
from lab.design.plain.refusal import Refusal
from lab.engine import attach

OBJECTIVE = {"bert": "classification", "deberta_v2": "classification", "bart": "seq2seq", "t5": "seq2seq", "gpt2": "causal", "llama": "causal",
             **dict.fromkeys(("gemma2", "granite", "olmo2", "stablelm"), "causal")}  # fmt: skip


@functools.cache
def _pristine(architecture: str, attn: str | None = None):
    layers = {"num_decoder_layers": 2} if architecture == "t5" else {}  # transformers 5.23 sizes T5's cache by the encoder's layers
    return tiny(architecture, OBJECTIVE[architecture], attn=attn, **layers)


def fresh(architecture: str, attn: str | None = None):
    return copy.deepcopy(_pristine(architecture, attn))


def small(preset: str, **options):
    return load_method(preset, {**SMALL.get(preset, {}), **{f"deltas.0.{name}": value for name, value in options.items()}})


def attached_to(architecture: str, preset: str, attn: str | None = None, **options):
    model = fresh(architecture, attn)
    attached = attach(model, small(preset, **options), seed=1)
    shake(attached)
    return model, attached


def gradients(model, attached, batch) -> tuple[float, dict[str, torch.Tensor]]:
    model.zero_grad()
    torch.manual_seed(0)  # the same masks each time
    loss = model(**batch).loss
    loss.backward()
    return float(loss.detach()), {name: p.grad.clone() for name, p in attached.trainable().items()}


# -- Eq. 7-10 -----------------------------------------------------------------------------------------------------------------

PREFIXES: dict[torch.nn.Module, tuple[torch.Tensor, torch.Tensor]] = {}  # attention module: Pk, Pv (kv_heads, l, head_dim)


def gated_attention(module, query, key, value, attention_mask, scaling=None, dropout=0.0, position_bias=None, softcap=None, **_):
    """(1 − λ)·Attn(q, K, V) + λ·softmax(q·Pkᵀ)·Pv, with λ the share of the prefix in the softmax's denominator."""
    scaling = query.shape[-1] ** -0.5 if scaling is None else scaling
    groups = query.shape[1] // key.shape[1]
    key, value = (part.repeat_interleave(groups, 1) for part in (key, value))
    capped = (lambda scores: scores) if softcap is None else lambda scores: softcap * torch.tanh(scores / softcap)
    scores = capped(query @ key.transpose(-1, -2) * scaling)
    scores = scores if position_bias is None else scores + position_bias
    scores = scores if attention_mask is None else scores + attention_mask[..., : key.shape[2]]
    heads = scores.softmax(-1) @ value
    if module in PREFIXES:
        own_keys, own_values = (part.repeat_interleave(groups, 0) for part in PREFIXES[module])
        slots = capped(query @ own_keys.transpose(-1, -2) * scaling)  # (batch, heads, positions, l)
        mass, rest = slots.exp().sum(-1, keepdim=True), scores.exp().sum(-1, keepdim=True)
        gate = mass / (mass + rest)
        heads = (1 - gate) * heads + gate * (slots.softmax(-1) @ own_values)
    return heads.transpose(1, 2).contiguous(), None


AttentionInterface.register("gated_by_hand", gated_attention)
AttentionMaskInterface.register("gated_by_hand", lambda *args, **kwargs: eager_mask(*args, **kwargs))


@pytest.mark.parametrize("side", ["right", "left", "none"])
@pytest.mark.parametrize(("architecture", "attn"), [*itertools.product(("bert", "llama", "bart", "t5", "gpt2"), ("sdpa", "eager")),
                                                    ("gemma2", "eager"), ("granite", "sdpa"), ("olmo2", "sdpa"), ("stablelm", "sdpa")])  # fmt: skip
def test_a_prefix_by_concatenation_is_the_gated_form(architecture: str, attn: str, side: str) -> None:
    model, attached = attached_to(architecture, "prefix-tuning", attn, rank=4)
    batch = tiny_batch(model, side="right" if side == "none" else side)
    if side == "none":
        batch["attention_mask"] = torch.ones_like(batch["attention_mask"])
    by_hand = fresh(architecture)
    twins = dict(by_hand.named_modules())
    paths = {id(module): path for path, module in model.named_modules()}
    PREFIXES.clear()
    for delta in attached.deltas.values():
        owner = attached.binder.layer(delta.site.stack, delta.site.layer).owner_of_q()
        parts = (part.detach().view(-1, delta.site.kv_heads, delta.site.head_dim).transpose(0, 1) for part in (delta.keys, delta.values))
        PREFIXES[twins[paths[id(owner)]]] = tuple(parts)
    by_hand.set_attn_implementation("gated_by_hand")
    with torch.no_grad():
        ours, theirs, plain = model(**batch).logits, by_hand(**batch).logits, fresh(architecture, attn)(**batch).logits
    if ours.dim() == 3 and ours.shape[1] == batch["attention_mask"].shape[1]:  # padded queries may see nothing at all
        ours, theirs, plain = (logits[batch["attention_mask"].bool()] for logits in (ours, theirs, plain))
    assert (ours - plain).abs().max() > 1e-2
    error = float((ours - theirs).abs().max()) / max(1.0, float(ours.abs().max()))
    told("prefix-tuning", "Eq. 7-10 of He et al., (1 − λ)h + λΔh written out", "outputs", error, architecture)
    assert error <= 1e-5


def test_a_prefix_on_deberta_is_the_gated_form(monkeypatch: pytest.MonkeyPatch) -> None:
    """DeBERTa computes attention itself: its scores are read where it takes their softmax, and its output is mixed by hand."""
    model, attached = attached_to("deberta_v2", "prefix-tuning", rank=4)
    batch = tiny_batch(model)
    with torch.no_grad():
        ours, plain = model(**batch).logits, _pristine("deberta_v2")(**batch).logits
    by_hand = fresh("deberta_v2")
    seen: list[torch.Tensor] = []
    softmax = torch.nn.functional.softmax

    def recording(scores, dim):
        seen.append(scores)
        return softmax(scores, dim=dim)

    def mix(attention, args, output, delta):
        heads = attention.num_attention_heads
        query = attention.query_proj(args[0]).unflatten(-1, (heads, -1)).transpose(1, 2)
        keys, values = (part.view(len(part), heads, -1).transpose(0, 1) for part in (delta.keys, delta.values))
        slots = query @ keys.transpose(-1, -2) / (query.shape[-1] * (1 + len(attention.pos_att_type))) ** 0.5
        mass, rest = slots.exp().sum(-1, keepdim=True), seen.pop().exp().sum(-1, keepdim=True)
        gate = mass / (mass + rest)
        change = softmax(slots, dim=-1) @ values
        h = output[0].unflatten(-1, (heads, -1)).transpose(1, 2)
        return ((1 - gate) * h + gate * change).transpose(1, 2).flatten(2), *output[1:]

    for layer, delta in zip(by_hand.deberta.encoder.layer, attached.deltas.values(), strict=True):
        layer.attention.self.register_forward_hook(functools.partial(mix, delta=delta))
    monkeypatch.setattr(torch.nn.functional, "softmax", recording)
    with torch.no_grad():
        theirs = by_hand(**batch).logits
    assert not seen and (ours - plain).abs().max() > 1e-2
    assert (ours - theirs).abs().max() <= 1e-5


@pytest.mark.parametrize("architecture", ["gpt2", "llama", "qwen3", "gpt_neox", "phi3"])
def test_a_shifted_prefix_of_real_tokens_is_these_tokens_before_the_input(architecture: str) -> None:
    """Slots that start from a text are the keys and values which the model has for it (after rotation, norms, grouped heads)."""
    tokenizer, text = tiny_tokenizer(), "a prefix"
    plain = tiny(architecture, "causal", **TEXT)
    attached = attach(model := copy.deepcopy(plain), small("prefix-tuning", rank=8, init="text", text=text, positions="shift"), tokenizer=tokenizer)
    batch = tiny_batch(plain, labels=False)
    words = torch.tensor(tokenizer(text, add_special_tokens=False)["input_ids"]).expand(len(batch["input_ids"]), -1)
    before = {name: torch.cat([torch.ones_like(words) if name == "attention_mask" else words, rows], 1) for name, rows in batch.items()}
    real = batch["attention_mask"].bool()
    with torch.no_grad():
        mine, theirs = model(**batch).logits, plain(**before).logits[:, words.shape[1] :]
    assert (mine - theirs)[real].abs().max() <= 1e-5
    attached.detach()
    with torch.no_grad():
        assert torch.equal(model(**batch).logits, plain(**batch).logits)


@pytest.mark.parametrize("architecture", sorted(OBJECTIVE))
def test_slots_start_from_the_models_own_keys_and_values(architecture: str) -> None:
    attached = attach(fresh(architecture).train(), small("prefix-tuning", rank=5, init="vocabulary"), seed=2)
    again = attach(fresh(architecture), small("prefix-tuning", rank=5, init="vocabulary"), seed=2).state_dict()
    for name, tensor in attached.state_dict().items():
        assert tensor.abs().sum(1).gt(0).all() and torch.equal(tensor, again[name]), name
    assert all(module.training for module in attached.model.modules())


def test_a_text_without_a_tokenizer_is_refused_before_the_model_is_touched() -> None:
    model = fresh("llama")
    with pytest.raises(Refusal, match="tokenizer"):
        attach(model, small("prefix-tuning", init="text", text="words"))
    assert not hasattr(model, "lab_attached") and all(p.requires_grad for p in model.parameters())


@pytest.mark.parametrize("at", ["attn.q", "attn.v", "ffn.up", "ffn.down"])
@pytest.mark.parametrize("architecture", ["bert", "deberta_v2", "bart", "t5", "gpt2", "llama"])
def test_lora_is_a_linear_scaled_parallel_adapter_without_biases(architecture: str, at: str) -> None:
    lora, first = attached_to(architecture, "lora", at=[at], rank=4, alpha=10.0)
    adapter = fresh(architecture)
    options = {"at": [at], "rank": 4, "scale": 2.5, "nonlinearity": "none", "biases": False}
    second = attach(adapter, small("adapter-parallel-scaled", **options), seed=2)
    with torch.no_grad():
        for name, delta in first.deltas.items():
            second.deltas[name].down.copy_(delta.A)
            second.deltas[name].up.copy_(delta.B)
    batch = tiny_batch(lora)
    (loss, one), (other, two) = gradients(lora, first, batch), gradients(adapter, second, batch)
    assert abs(loss - other) <= 1e-6
    for name, gradient in one.items():
        twin = two[name.removesuffix(".A") + ".down" if name.endswith(".A") else name.removesuffix(".B") + ".up"]
        told(
            "lora",
            "a linear scaled parallel adapter without biases (He et al., section 3.2)",
            "gradients",
            float((gradient - twin).abs().max()) / max(1.0, float(twin.abs().max())),
            architecture,
        )
        assert torch.allclose(gradient, twin, atol=1e-6, rtol=1e-5), name


# -- generation ---------------------------------------------------------------------------------------------------------------

GENERATED = ["lora", "adapter-houlsby", "adapter-pfeiffer", "adapter-parallel-ffn", "ia3", "prefix-tuning", "prefix-tuning-mlp", "prompt-tuning", "mam"]


def generate(model, batch, cache: bool, beams: int = 1):
    options = {"max_new_tokens": 7, "min_new_tokens": 7, "do_sample": False, "num_beams": beams, "use_cache": cache}
    with torch.no_grad():
        return model.generate(**batch, **options, output_logits=True, return_dict_in_generate=True)


def generation_batch(model) -> dict[str, torch.Tensor]:
    batch = tiny_batch(model, side="right" if model.config.is_encoder_decoder else "left")
    return {name: batch[name] for name in ("input_ids", "attention_mask")}


def same_generation(model, beams: int = 1):
    batch = generation_batch(model)
    cached, whole = generate(model, batch, True, beams), generate(model, batch, False, beams)
    assert torch.equal(cached.sequences, whole.sequences)
    for one, two in zip(cached.logits, whole.logits, strict=True):
        assert (one - two).abs().max() <= 1e-4
    return cached


@pytest.mark.parametrize(("preset", "architecture"), pairs(GENERATED, ["gpt2", "llama", "bart", "t5"], 2))
def test_generation_with_a_cache_equals_generation_without(architecture: str, preset: str) -> None:
    model, attached = attached_to(architecture, preset)
    cached = same_generation(model)
    with attached.disabled():
        plain = generate(model, generation_batch(model), True)
    assert (plain.logits[0] - cached.logits[0]).abs().max() > 1e-3


@pytest.mark.parametrize(("architecture", "preset"), [("gpt2", "prefix-tuning"), ("llama", "prompt-tuning"), ("bart", "prefix-tuning-mlp"), ("t5", "mam")])
def test_generation_with_beams(architecture: str, preset: str) -> None:
    same_generation(attached_to(architecture, preset)[0], beams=3)


@pytest.mark.parametrize("architecture", ["gpt2", "llama", "bart"])
def test_generation_with_shifted_positions(architecture: str) -> None:
    same_generation(attached_to(architecture, "prefix-tuning", positions="shift")[0])


# -- ways of running ----------------------------------------------------------------------------------------------------------

CHECKPOINTED = [
    "lora",
    "adapter-houlsby",
    "adapter-pfeiffer",
    "adapter-parallel-ffn",
    "adapter-parallel-multihead",
    "ia3",
    "vera",
    "prefix-tuning",
    "prompt-tuning",
]
ONCE_PER_PASS = ["prefix-tuning-mlp", "unipelt-apl"]  # computed once, read by every layer: non-reentrant only


@pytest.mark.parametrize(("architecture", "reentrant"), [  # a reentrant one on a model of each kind
    pytest.param(architecture, reentrant, marks=[pytest.mark.slow] if reentrant and architecture not in ("bert", "bart", "llama") else [])
    for reentrant in (False, True) for architecture in ("bert", "deberta_v2", "bart", "t5", "gpt2", "llama")
])  # fmt: skip
def test_gradient_checkpointing_changes_nothing(architecture: str, reentrant: bool) -> None:
    for preset in CHECKPOINTED + ([] if reentrant else ONCE_PER_PASS):
        model, attached = attached_to(architecture, preset)
        model.train()
        batch = tiny_batch(model)
        loss, plain = gradients(model, attached, batch)
        model.gradient_checkpointing_enable({"use_reentrant": reentrant})
        if reentrant:
            model.enable_input_require_grads()
        again, recomputed = gradients(model, attached, batch)
        assert abs(loss - again) <= 1e-6 * max(1.0, loss), preset
        for name, gradient in plain.items():
            size = max(1.0, float(gradient.abs().max()))
            assert (gradient - recomputed[name]).abs().max() <= 1e-6 * size, f"{preset}: {name}"


COPIED = ["lora", "vera", "adapter-pfeiffer", "prefix-tuning", "prefix-tuning-mlp", "prompt-tuning", "p-tuning", "unipelt-apl"]


@pytest.mark.parametrize(("preset", "architecture"), pairs(COPIED, ["bert", "deberta_v2", "bart", "llama"], 2))
def test_a_deep_copy_is_independent(architecture: str, preset: str) -> None:
    model, attached = attached_to(architecture, preset)
    batch = tiny_batch(model)
    with torch.no_grad():
        before = model(**batch).logits
        twin = copy.deepcopy(model)
        assert torch.equal(twin(**batch).logits, before)
        for parameter in attached.trainable().values():
            parameter.mul_(-2).add_(0.1)
        assert (model(**batch).logits - before).abs().max() > 1e-3
        assert torch.equal(twin(**batch).logits, before), "the copy follows the original"
        attached.detach()
        assert torch.equal(twin(**batch).logits, before), "detaching the original reaches the copy"


HALVED = ["full", "lora", "adalora", "vera", "lamda", "adapter-houlsby", "prefix-tuning-mlp", "adapter-parallel-multihead", "p-tuning", "ia3", "unipelt-apl"]


@pytest.mark.parametrize(("preset", "architecture"), pairs(HALVED, ["bert", "t5", "llama"], 1))
def test_autocast_in_bf16_runs_and_stays_near(architecture: str, preset: str) -> None:
    model, attached = attached_to(architecture, preset)
    batch = tiny_batch(model)
    exact, _ = gradients(model, attached, batch)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough, found = gradients(model, attached, batch)
    assert abs(exact - rough) <= 0.05 * max(1.0, abs(exact))
    assert all(g.dtype == torch.float32 and g.isfinite().all() for g in found.values())


def _compiled_equals_eager(architecture: str, preset: str, **options) -> None:
    torch._dynamo.reset()
    model, attached = attached_to(architecture, preset)
    batch = tiny_batch(model)
    loss, plain = gradients(model, attached, batch)
    compiled = torch.compile(model, **options)
    again, found = gradients(compiled, attached, batch)
    assert abs(loss - again) <= 1e-5
    for name, gradient in plain.items():
        assert torch.allclose(gradient, found[name], atol=1e-5, rtol=1e-4), name


@pytest.mark.slow
@pytest.mark.parametrize(
    ("architecture", "preset"), [("bert", "lora"), ("llama", "prefix-tuning"), ("bert", "adapter-pfeiffer"), ("t5", "adapter-parallel-ffn")]
)
def test_the_traced_model_equals_eager_without_graph_breaks(architecture: str, preset: str) -> None:
    _compiled_equals_eager(architecture, preset, backend="aot_eager", fullgraph=True)


@pytest.mark.slow
def test_the_compiled_model_equals_eager() -> None:
    _compiled_equals_eager("bert", "lora")
