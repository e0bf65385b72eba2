"""Architecture maps against the models that they describe: a wrong one is refused before anything is changed, and the families that are
added by a map alone are held to the laws and to references written by hand."""

from __future__ import annotations

import ast
import copy
import re
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from laws import OBJECTIVES, SMALL, batch_of, check_laws, fresh, hooks, shake, snapshot
from tiny import ARCHITECTURES, VARIANTS, tiny, tiny_batch, tiny_config
from transformers import AutoModelForSequenceClassification

import lab
from lab.design.body import anatomy as anatomies
from lab.design.body.architecture import Architecture, _merged, _over, load_architecture, name_of
from lab.design.body.model import ModelSpec, Source
from lab.design.figure.figure import figure
from lab.design.method.delta import Method
from lab.design.method.named import load_method
from lab.design.plain.options import validate
from lab.design.plain.refusal import Refusal
from lab.design.presets import catalogue
from lab.engine import attach, body_of
from lab.engine.fit import require_fit
from lab.models import resolve
from lab.planning import plan_shape

FAMILIES = {*catalogue.names("architectures"), *(each for name in catalogue.names("architectures") for each in load_architecture(name).model_types)}
ADDED = ("gemma2", "granite", "olmo2", "stablelm", "falcon", *VARIANTS)  # by YAML alone


def method(*deltas: dict) -> Method:
    return validate(Method, {"deltas": list(deltas)})


# -- a map that does not fit ------------------------------------------------------------------------------------------------------------

WRONG = [  # architecture, what its map says instead, words of the refusal
    ("llama", {"sizes": {"kv_heads": "num_attention_heads"}}, "k_proj is 16 × 32 there, and 32 × 32"),
    ("llama", {"sizes": {"heads": "num_key_value_heads", "kv_heads": "1", "head_dim": "4*4"}}, "one head of its attention is 8 there, and 16"),
    ("llama", {"sizes": {"ffn": "hidden_size"}}, "up_proj is 48 × 32 there, and 32 × 32"),
    ("llama", {"sizes": {"embed": "intermediate_size"}}, "embed_tokens is 32 there, and 48"),
    ("llama", {"norm": {"rms": False}}, "an RMS norm there, and a layer norm"),
    ("llama", {"stacks": {"decoder": {"ffn": {"gate": "mlp.gate"}}}}, "no module 'mlp.gate'"),
    ("llama", {"stacks": {"decoder": {"path": "layer"}}}, "no 'layer'"),
    ("llama", {"stacks": {"decoder": {"sizes": {"layers": "num_key_value_heads"}}}}, "3 layers there, and 2 layers"),
    ("falcon", {"sizes": {"kv_heads": "num_attention_heads"}}, "query_key_value is 48 × 32 there, and 96 × 32"),
    ("phi3", {"stacks": {"decoder": {"ffn": {"up": "mlp.gate_up_proj", "gate": ""}}}}, "gate_up_proj is 96 × 32 there, and 48 × 32"),
    ("gpt2", {"positions": {"count": "4*n_positions"}}, "wpe is 64 there, and 256"),
    ("gpt2", {"positions": {"table": "positions"}}, "no 'positions'"),
    ("gpt2", {"embed": "tokens"}, "no 'tokens'"),
    ("opt", {"backbone": "model"}, "no 'model'"),
    ("bert", {"norm": {"rms": True}}, "a layer norm there, and an RMS norm"),
    ("bart", {"stacks": {"decoder": {"cross": {"q": "self_attn.q"}}}}, "no module 'self_attn.q'"),
    ("t5", {"sizes": {"head_dim": "d_model/num_heads"}}, "SelfAttention.q is 24 × 32 there, and 32 × 32"),
    ("olmo2", {"stacks": {"decoder": {"attention": {"norm": "input_layernorm", "after": ""}}}}, "no module 'input_layernorm'"),
]


@pytest.mark.parametrize(("architecture", "change", "words"), WRONG)
def test_a_map_that_does_not_fit_is_refused_before_anything_is_changed(architecture, change, words, monkeypatch) -> None:
    model = fresh(architecture)
    before, whole = snapshot(model), _merged(architecture)
    monkeypatch.setattr(anatomies, "architecture_of", lambda config: validate(Architecture, _over(whole, change)))
    for preset in ("bitfit" if architecture in ("gpt2", "bert", "bart", "opt") else "ln-tuning", "lora", "mam"):
        with pytest.raises(Refusal, match=words) as refused:
            attach(model, load_method(preset, SMALL.get(preset)))
        assert refused.value.field == "model" and refused.value.sentence.endswith(".")
    assert hooks(model) == 0 and all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def test_an_encoders_map_does_not_fit_a_decoder(monkeypatch) -> None:
    whole = _merged("llama")
    whole = {**whole, "stacks": {"encoder": whole["stacks"]["decoder"]}}
    monkeypatch.setattr(anatomies, "architecture_of", lambda config: validate(Architecture, whole))
    with pytest.raises(Refusal, match="its attention is a decoder's there, and an encoder's"):
        attach(fresh("llama"), load_method("lora"))


@pytest.mark.parametrize("architecture", [*ARCHITECTURES, *VARIANTS])
def test_every_map_fits_its_model(architecture) -> None:
    model = fresh(architecture)
    body = body_of(model)
    require_fit(model.base_model, body)
    assert body.architecture.kind == {"classification": "encoder", "seq2seq": "encoder-decoder", "causal": "decoder"}[OBJECTIVES[architecture]]
    assert body.encoder_decoder == model.config.is_encoder_decoder
    assert figure(load_method("lora"), body).startswith("<svg")


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_map_says_whether_transformers_classifies_with_it(architecture) -> None:
    known = type(tiny_config(architecture)) in AutoModelForSequenceClassification._model_mapping
    assert load_architecture(architecture).classifier == known


@pytest.mark.parametrize("name", catalogue.names("models"))
def test_a_models_preset_says_of_its_family_what_the_map_says(name) -> None:
    model = resolve(name)
    assert (model.architecture, model.kind) == (name_of(model.config), load_architecture(model.architecture).kind)


def test_no_code_asks_for_a_family_by_its_name() -> None:
    """What families differ in is a fact of their maps: no comparison of a model_type, or of a map's name, with words."""
    for path in Path(lab.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            words = isinstance(node, ast.Compare) and [each.value for each in ast.walk(node) if isinstance(each, ast.Constant) and isinstance(each.value, str)]
            assert not (words and set(words) & FAMILIES and re.search(r"model_type|architecture", ast.unparse(node))), f"{path}:{node.lineno}"


# -- families that a map alone adds -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("preset", ["lora", "mam", "adapter-houlsby", "prompt-tuning", "unipelt-apl"])
@pytest.mark.parametrize("architecture", ADDED)
def test_the_laws_hold_for_families_that_a_map_adds(architecture, preset) -> None:
    check_laws(architecture, load_method(preset, SMALL.get(preset)), steps=2)


@pytest.mark.parametrize("architecture", ["falcon", "falcon+groups", "falcon+alibi"])
def test_a_prefix_in_an_attention_that_calls_sdpa_itself_is_the_gated_form(architecture, monkeypatch) -> None:
    """(1 − λ)·Attn(q, K, V) + λ·softmax(q·Pkᵀ)·Pv (He et al., Eq. 7-10) in the place of the model's own call of sdpa."""
    model = fresh(architecture)
    attached = attach(model, load_method("prefix-tuning", {"deltas.0.rank": 4}), seed=1)
    shake(attached)
    by_hand, plain = fresh(architecture), fresh(architecture)
    prefixes = [
        tuple(part.detach().view(-1, delta.site.kv_heads, delta.site.head_dim).transpose(0, 1) for part in (delta.keys, delta.values))
        for delta in attached.deltas.values()
    ]
    sdpa, calls = F.scaled_dot_product_attention, []

    def mixed(query, key, value, attn_mask=None, **more):
        keys, values = (part.repeat_interleave(query.shape[1] // part.shape[0], 0) for part in prefixes[len(calls)])  # (heads, l, head_dim)
        calls.append(query.shape)
        key, value = (part.expand(-1, query.shape[1], -1, -1) for part in (key, value))
        scale = query.shape[-1] ** -0.5
        scores, slots = query @ key.transpose(-1, -2) * scale, query @ keys.transpose(-1, -2) * scale
        scores = scores.masked_fill(~attn_mask, -torch.inf) if attn_mask.dtype == torch.bool else scores + attn_mask
        gate = torch.sigmoid(slots.logsumexp(-1, keepdim=True) - scores.logsumexp(-1, keepdim=True))
        return (1 - gate) * (scores.softmax(-1) @ value) + gate * (slots.softmax(-1) @ values)

    batch = {**batch_of(architecture), "attention_mask": torch.ones_like(batch_of(architecture)["attention_mask"])}
    with torch.no_grad():
        ours, unchanged = model(**batch).logits, plain(**batch).logits
        monkeypatch.setattr(F, "scaled_dot_product_attention", mixed)
        theirs = by_hand(**batch).logits
        monkeypatch.setattr(F, "scaled_dot_product_attention", sdpa)
    assert len(calls) == 3 and (ours - unchanged).abs().max() > 1e-2
    assert (ours - theirs).abs().max() <= 1e-5 * max(1.0, float(ours.abs().max()))
    model.train()
    model.gradient_checkpointing_enable({"use_reentrant": False})
    gradients = []
    for _ in ("recomputed", "kept"):
        model.zero_grad()
        loss = model(**batch).loss
        loss.backward()
        gradients.append([part.grad.clone() for part in attached.trainable().values()])
        model.gradient_checkpointing_disable()
    assert all(torch.allclose(one, two, atol=1e-6) and one.any() for one, two in zip(*gradients, strict=True))
    model.eval()
    with pytest.raises(Refusal, match="leave output_attentions off"):
        model(**batch, output_attentions=True)
    with torch.no_grad():
        assert torch.equal(model(**batch).logits, ours), "an attention that was not reached leaves something behind"
        assert torch.equal(copy.deepcopy(model)(**batch).logits, ours)


def test_an_attention_that_slots_cannot_reach_is_refused() -> None:
    model = tiny("falcon", "causal", attn="eager")
    with pytest.raises(Refusal, match="through sdpa alone, and it uses eager"):
        attach(model, load_method("prefix-tuning"))
    assert hooks(model) == 0 and attach(model, load_method("lora")).deltas


@pytest.mark.parametrize("architecture", ["falcon", "falcon+groups", "falcon+alibi"])
def test_a_slice_of_a_fused_projection_is_what_the_attention_reads(architecture) -> None:
    """A change of attn.q, attn.k or attn.v moves the queries, keys or values that transformers splits off, and nothing else."""
    model = fresh(architecture)
    attention = model.base_model.h[0].self_attention
    fused = torch.randn(2, 5, attention.query_key_value.out_features)
    for place, name in enumerate("qkv"):
        attached = attach(model, method({"at": [f"attn.{name}"], "form": "bias", "layers": "0"}))
        located, _ = attached.binder.target(next(iter(attached.deltas.values())))
        parts = attention._split_heads(fused)
        heads, own = parts[place].shape[2], located.part.read(fused)  # a key may be given to several heads
        changed = attention._split_heads(located.part.write(fused, own + 1.0))
        kv = own.shape[-1] // attention.head_dim
        assert torch.equal(own.view(2, 5, kv, -1).repeat_interleave(heads // kv, 2), parts[place])
        assert all(torch.allclose(new, old + (where == place)) for where, (new, old) in enumerate(zip(changed, parts, strict=True)))
        attached.detach()


def test_a_norm_at_the_output_is_part_of_the_sublayer() -> None:
    """OLMo 2: x + norm(attn(x)) and x + norm(ffn(x)); an adapter at a sublayer's output stands behind the norm, and reads no norm before."""
    model = fresh("olmo2")
    attached = attach(model, method({"at": ["attn.out"], "form": "bottleneck", "insertion": "sequential", "rank": 3, "layers": "0"},
                                    {"at": ["ffn.out"], "form": "bottleneck", "insertion": "parallel", "x": "residual", "rank": 3, "layers": "0"}), seed=1)  # fmt: skip
    shake(attached)
    layer, seen = model.base_model.layers[0], {}
    layer.register_forward_pre_hook(lambda module, args, kwargs: seen.update(x=args[0], kwargs=kwargs), with_kwargs=True)
    layer.register_forward_hook(lambda module, args, output: seen.update(y=output))
    with torch.no_grad():
        model(**batch_of("olmo2"), use_cache=False)
        plain = fresh("olmo2").base_model.layers[0]
        one, two = attached.deltas.values()
        h = plain.post_attention_layernorm(plain.self_attn(seen["x"], **seen["kwargs"])[0])
        y = seen["x"] + h + one.change(h)
        y = y + plain.post_feedforward_layernorm(plain.mlp(y)) + two.change(y)
    assert torch.allclose(seen["y"], y, atol=1e-5)
    picture = figure(load_method("lora"), body_of(model))
    assert picture.count("RMS") == figure(load_method("lora"), body_of(fresh("llama"))).count("RMS")


def test_a_dropout_that_nothing_can_join_behind_is_named() -> None:
    model = tiny("falcon", "causal", hidden_dropout=0.1)
    for delta in ({"form": "bottleneck"}, {"form": "bias"}, {"form": "bottleneck", "insertion": "sequential"}):
        with pytest.raises(Refusal, match="whose hidden_dropout is 0") as refused:
            attach(model, method({"at": ["ffn.out"], **delta}))
        assert refused.value.field == "deltas.0.through_dropout"
        attach(model, method({"at": ["ffn.out"], **delta, "through_dropout": True})).detach()
    attach(model, load_method("lora"))


@pytest.mark.parametrize("architecture", ["gemma2", "olmo2", "stablelm+parallel", "falcon+groups"])
def test_a_family_that_a_map_adds_is_planned(architecture) -> None:
    body = body_of(fresh(architecture))
    spec = ModelSpec(name=architecture, architecture=architecture.partition("+")[0], kind="decoder", source=Source(), config=dict(body.config))
    found = {preset: plan_shape(model=spec, method=load_method(preset, SMALL.get(preset)), batch=2, tokens=16, device="cpu") for preset in ("lora", "mam")}
    for preset, plan in found.items():
        attached = attach(fresh(architecture), load_method(preset, SMALL.get(preset)))
        assert plan.trainable == attached.trainable_now and plan.peak_allocated_bytes > 0


def test_what_a_row_says_does_not_depend_on_its_padding() -> None:
    """With a prefix and with virtual tokens, on every family that a map adds."""
    for architecture in ADDED:
        for preset in ("prefix-tuning", "prompt-tuning"):
            model = fresh(architecture)
            shake(attach(model, load_method(preset, {"deltas.0.rank": 3}), seed=2))
            ids = torch.tensor([[7, 8, 9, 10, 11]])
            with torch.no_grad():
                alone = model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[0]
                padded = model(input_ids=F.pad(ids, (0, 3)), attention_mask=F.pad(torch.ones_like(ids), (0, 3))).logits[0, :5]
            assert torch.allclose(alone, padded, atol=1e-5), (architecture, preset)


def test_generation_with_a_cache_says_the_same_words() -> None:
    for architecture in ADDED:
        for preset in ("prefix-tuning", "prompt-tuning"):
            model = fresh(architecture)
            shake(attach(model, load_method(preset, {"deltas.0.rank": 3}), seed=2))
            given = {name: tensor for name, tensor in tiny_batch(model, side="left").items() if name != "labels"}
            said = [model.generate(**given, max_new_tokens=5, do_sample=False, use_cache=cache, eos_token_id=None) for cache in (True, False)]
            assert torch.equal(*said), (architecture, preset)
