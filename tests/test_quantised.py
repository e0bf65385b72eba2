"""Quantised bases: every method trains on one or says why not, as peft does on the same layers; count, plan, merge, export and detach know them."""

from __future__ import annotations

import copy
import functools
import importlib.util

import pytest
import test_oracle_peft as oracle
import test_planning as planning
import torch
from comparing import told
from laws import SMALL
from oracles import peft_side
from tiny import tiny, tiny_batch
from torch import nn

from lab.design.method.named import load_method
from lab.design.method.parts import leaves_unchanged
from lab.design.method.quantised import quantised_problem
from lab.design.plain.refusal import Refusal
from lab.design.presets import catalogue
from lab.design.spec.run import spec_of
from lab.engine import attach, packed
from lab.engine.select import head_parameters
from lab.models.quantising import as_transformers, quantise, settle

pytest.importorskip("bitsandbytes")
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")
OBJECTIVE = {"bert": "classification", "llama": "causal", "gpt2": "causal", "t5": "seq2seq", "bart": "seq2seq"}


@functools.cache
def _pristine(architecture: str, kind: str) -> nn.Module:
    model = tiny(architecture, OBJECTIVE[architecture])
    quantise(model, kind, torch.float32)
    return model


def base(architecture: str, kind: str = "nf4") -> nn.Module:
    return copy.deepcopy(_pristine(architecture, kind)).eval()


def bits(model: nn.Module) -> list[torch.Tensor]:
    return [tensor.detach().clone() for tensor in packed.tensors(model)]


def of(preset: str):
    return load_method(preset, SMALL.get(preset))


def logits(model, batch) -> torch.Tensor:
    with torch.no_grad():
        return model(**batch).logits


# -- peft on the same layers


@pytest.mark.oracle
@pytest.mark.parametrize("preset", ["lora", "dora"])
@pytest.mark.parametrize(("architecture", "kind"), [("llama", "nf4"), ("gpt2", "nf4"), ("t5", "nf4"), ("bert", "int8")])
def test_outputs_and_gradients_are_those_of_peft(architecture: str, kind: str, preset: str) -> None:
    """In training mode, where int8 on a CPU does not round x."""
    changes = {
        "deltas.0.at": ["attn.qkv" if architecture == "gpt2" else "attn.q", "ffn.down"],
        "deltas.0.rank": 5,
        "deltas.0.alpha": 12.0,
        "deltas.0.dropout": 0.0,
    }
    method = load_method(preset, changes)
    ours, theirs = base(architecture, kind), base(architecture, kind)
    setattr(theirs, "is_loaded_in_4bit" if kind == "nf4" else "is_loaded_in_8bit", True)
    attached = attach(ours, method, seed=1)
    theirs, pairs = getattr(peft_side, preset)(theirs, attached)
    assert any(type(module).__module__ == "peft.tuners.lora.bnb" for module in theirs.modules())
    with torch.no_grad():
        for pair in pairs:
            pair.mine.copy_(pair.ours(pair.theirs))
    batch = tiny_batch(ours, labels=OBJECTIVE[architecture] == "seq2seq")
    tables = [model.get_input_embeddings().weight.requires_grad_(True) for model in (ours, theirs.get_base_model())]
    mine, other = oracle.outputs(ours.train(), batch), oracle.outputs(theirs.train(), batch)
    assert (mine - oracle.outputs(base(architecture, kind).train(), batch)).abs().max() > 1e-3
    on = f"{architecture} in {kind}"
    told(preset, oracle.PEFT, "outputs on a quantised base", oracle.close("logits", mine, other), on)
    oracle.projected(mine, batch).backward()
    oracle.projected(other, batch).backward()
    errors = [oracle.close("embeddings", tables[0].grad, tables[1].grad)]
    errors += [oracle.close(pair.name, pair.mine.grad, pair.ours(pair.theirs.grad)) for pair in pairs]
    told(preset, oracle.PEFT, "gradients on a quantised base", max(errors), on)


# -- every preset


@pytest.mark.parametrize("preset", catalogue.names("methods"))
def test_a_preset_trains_on_a_quantised_base_and_leaves_it_as_it_was_or_says_why_not(preset: str) -> None:
    method = of(preset)
    architecture = "bert" if len(preset) % 2 or preset == "bitfit" or preset.startswith(("head", "p-tuning")) else "llama"
    model = base(architecture)
    before, batch = bits(model), tiny_batch(model)
    if quantised_problem(method):
        with pytest.raises(Refusal, match="packed") as refusal:
            attach(model, method)
        assert refusal.value.field in ("select", "deltas.0.init")
        with pytest.raises(Refusal, match="packed") as refusal:
            spec_of({"model": "minilm-l6", "quantisation": "nf4", "task": "sentiment-rt", "method": preset})
        assert refusal.value.field == "quantisation"
        return
    try:
        plain = attach(other := tiny(architecture, OBJECTIVE[architecture]), method, seed=3, look=lambda rows, size: iter([other(**batch).loss]))
    except Refusal as refusal:  # by itself, on this architecture
        pytest.skip(str(refusal))
    untouched = logits(model, batch)
    attached = attach(model, method, seed=3, look=lambda rows, size: iter([model(**batch).loss]))
    assert attached.count() == plain.count()
    residual = any(delta.start.residual for delta in attached.deltas.values())
    started = logits(model, batch)
    if method.deltas and all(map(leaves_unchanged, method.deltas)):
        assert (started - untouched).abs().max() < (0.3 if residual else 1e-4) * untouched.abs().max()
    attached.begin(10)
    head = head_parameters(model)
    for parameter in head.values():
        parameter.requires_grad_(True)
    model.train()
    model(**batch).loss.backward()
    model.eval()
    trained = [p for p in (*attached.trainable().values(), *head.values()) if p.requires_grad]
    assert trained and all(p.grad is None or bool(p.grad.isfinite().all()) for p in trained) and any(p.grad is not None and bool(p.grad.any()) for p in trained)
    with torch.no_grad():
        for parameter in attached.trainable().values():
            parameter.add_(0.02 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(5)))
    on = logits(model, batch)
    if not method.select:  # what a selection trains is the model's own
        with attached.disabled():
            assert torch.equal(logits(model, batch), untouched)
        assert torch.equal(logits(model, batch), on)
    again = base(architecture)
    attach(again, method, seed=8, state=attached.state_dict())
    for name, parameter in head_parameters(again).items():
        parameter.data.copy_(head[name])
    assert torch.equal(logits(again, batch), on), "a run that goes on has another base"
    try:
        attached.merge()
    except Refusal:
        pass
    else:
        assert (logits(model, batch) - on).abs().max() < 1e-4 * on.abs().max().clamp(min=1)
        attached.unmerge()
        assert torch.equal(logits(model, batch), on)
    attached.detach()
    assert all(map(torch.equal, bits(model), before)) and torch.equal(logits(model, batch), untouched)


# -- what is packed


@pytest.mark.parametrize("kind", ["nf4", "int8"])
def test_the_linear_layers_of_the_blocks_are_packed_and_nothing_else(kind: str) -> None:
    for architecture in ("bert", "gpt2", "t5"):
        model, plain = base(architecture, kind), tiny(architecture, OBJECTIVE[architecture])
        for path, module in model.named_modules():
            own = dict(plain.named_modules()).get(path)
            in_a_block = type(own).__name__ in ("Linear", "Conv1D") and any(part.isdigit() for part in path.split("."))
            assert packed.is_packed(module) == (in_a_block and not path.endswith(".wo")), path  # which transformers keeps in fp32
            if packed.is_packed(module):
                weight = own.weight.T if type(own).__name__ == "Conv1D" else own.weight
                assert packed.shape(module) == tuple(weight.shape) and packed.elements(module.weight) == weight.numel()
                error = (packed.dequantised(module) - weight).abs().max() / weight.abs().max()
                assert error < (0.17 if kind == "nf4" else 0.006)  # half the widest step of the codes
                x = torch.randn(3, weight.shape[1])
                assert torch.allclose(module.train()(x), nn.functional.linear(x, packed.dequantised(module), module.bias), atol=1e-5)


def test_a_slice_of_a_packed_projection_is_read_and_written() -> None:
    model = base("gpt2")
    attached = attach(model, load_method("lora", {"deltas.0.at": ["attn.k"]}))
    located = attached.binder.target(next(iter(attached.deltas.values())))[0]
    whole = packed.dequantised(located.module)
    rows = located.rows(whole)
    assert torch.equal(located.weight(), whole[rows])
    located.set_weight(torch.zeros_like(located.weight()))
    assert not located.weight().any() and torch.allclose(packed.dequantised(located.module)[: rows[0]], whole[: rows[0]], atol=2e-2)


# -- the plan


@pytest.mark.parametrize(("preset", "kind"), [("lora", "nf4"), ("mam", "nf4"), ("dora", "nf4"), ("mam", "int8")])
def test_the_plan_is_what_the_meter_finds(preset: str, kind: str) -> None:
    method = of(preset)
    real = planning.measured("bert", method, model=base("bert", kind))
    plan, plain = (planning.predicted("bert", method, quantisation=packing) for packing in (kind, "none"))
    for phase in ("forward", "backward"):
        assert plan.phases[phase]["total"] == pytest.approx(real.peaks[phase]["total"], rel=0.005), phase
    assert plan.peak_allocated_bytes == pytest.approx(real.peak()["total"], rel=0.005)
    assert plan.categories["weights"] == pytest.approx(real.peak()["weights"], rel=0.005) and plan.categories["weights"] < plain.categories["weights"]
    assert plan.trainable == plain.trainable and plan.setting["quantisation"] == kind


@pytest.mark.parametrize(("preset", "kind"), [("mam", "nf4"), ("lora", "int8")])
def test_on_an_accelerator_too_and_five_layers_stand_for_many(preset: str, kind: str) -> None:
    deep = planning.model_spec("llama", num_hidden_layers=8)
    few, all_of_them = (
        planning.plan_shape(model=deep, method=of(preset), batch=3, tokens=24, quantisation=kind, device="cuda", dtype="bfloat16", adapter_dtype="float32",
                            autocast="bfloat16", whole=whole)
        for whole in (False, True)
    )  # fmt: skip
    assert few.peak_allocated_bytes == pytest.approx(all_of_them.peak_allocated_bytes, rel=0.001) and few.trainable == all_of_them.trainable


def test_a_plan_refuses_what_cannot_train() -> None:
    with pytest.raises(Refusal, match="packed"):
        planning.predicted("bert", of("full"), quantisation="nf4")
    with pytest.raises(Refusal, match="no quantisation"):
        planning.predicted("bert", of("lora"), quantisation="int3")


# -- a run


@pytest.mark.parametrize(("preset", "kind"), [("lamda", "nf4"), ("lora", "int8")])
def test_a_run_that_goes_on_ends_with_the_same_weights(preset: str, kind: str, tmp_path) -> None:
    from safetensors.torch import load_file
    from training_support import save_model, save_task, spec

    from lab.training import Record, train

    given = spec(save_model(tmp_path / "model"), save_task(tmp_path / "data"), {"preset": preset, "set": SMALL.get(preset, {})}, steps=8, evaluate_every=4)
    given = given.model_copy(update={"quantisation": kind})
    record = Record()
    result = train(given, record, tmp_path / "whole", say=lambda line: None)
    assert any(f"packed as {kind}" in sentence for sentence in result["base"]["told"]) and record.curve("measured/weights")
    plain = train(given.model_copy(update={"quantisation": "none"}), Record(), tmp_path / "plain", say=lambda line: None)
    assert (result["total"], result["trainable"]) == (plain["total"], plain["trainable"])
    train(given, Record(stop_when=lambda step: step >= 3), tmp_path / "cut", say=lambda line: None)
    train(given, Record(), tmp_path / "cut", say=lambda line: None)
    whole, cut = (load_file(tmp_path / name / "adapter" / "adapter.safetensors") for name in ("whole", "cut"))
    assert whole.keys() == cut.keys() and all(torch.equal(whole[name], cut[name]) for name in whole)


def test_biases_of_int8_layers_do_not_train_in_half_precision(tmp_path) -> None:
    from training_support import save_model, save_task, spec

    from lab.training.assembly import assemble

    given = spec(save_model(tmp_path / "model"), save_task(tmp_path / "data"), "bitfit").model_copy(update={"quantisation": "int8"})
    assert assemble(given, cache=None).attached.selected
    with pytest.raises(Refusal, match="half precision") as refusal:
        assemble(given, cache=None, precision="bf16")
    assert refusal.value.field == "training.precision"


# -- taken home


@pytest.mark.parametrize("architecture", ["gpt2", "bert"])
def test_merged_it_is_a_plain_model_of_the_dequantised_weights(architecture: str) -> None:
    from lab.export.merged import bake

    model = base(architecture)
    attached = attach(model, load_method("lora", {"deltas.0.rank": 3}), seed=1)
    for delta in attached.deltas.values():
        nn.init.normal_(delta.B, std=0.1)
    batch = tiny_batch(model)
    expected = logits(model, batch)
    state = bake(attached)
    plain = tiny(architecture, OBJECTIVE[architecture])
    plain.load_state_dict(state)
    assert torch.allclose(logits(plain.eval(), batch), expected, atol=1e-5)


def test_the_card_packs_the_same_layers_in_transformers(tmp_path) -> None:
    """And a checkpoint that transformers quantised loads and trains as a frozen base."""
    from transformers import AutoModelForSequenceClassification, BitsAndBytesConfig

    plain, model = tiny("bert", "classification"), base("bert")
    plain.save_pretrained(tmp_path / "plain")
    config = eval(as_transformers(model, "nf4"), {"BitsAndBytesConfig": BitsAndBytesConfig})
    theirs = AutoModelForSequenceClassification.from_pretrained(tmp_path / "plain", quantization_config=config)
    settle(theirs)  # on processors with bf16 instructions an evaluation packs weights in another way, of 32 outputs at once
    batch = tiny_batch(model)
    assert torch.equal(logits(theirs.eval(), batch), logits(model, batch))
    theirs.save_pretrained(tmp_path / "packed")
    from lab import models

    loaded = models.load(str(tmp_path / "packed"), objective="classification", num_labels=3)
    assert torch.equal(logits(loaded, batch), logits(model, batch))
    attached = attach(loaded, "lora")
    loaded(**batch).loss.backward()
    assert all(p.grad is not None for p in attached.trainable().values())
    import lab

    assert lab.count(str(tmp_path / "packed"), "lora") == lab.count(str(tmp_path / "plain"), "lora")
    with pytest.raises(Refusal, match="is not predicted"):
        lab.plan(model=str(tmp_path / "packed"), method="lora", batch=2, tokens=8)
    with pytest.raises(Refusal, match="already"):
        models.load(models.quantised(str(tmp_path / "packed"), "int8"), objective="classification", num_labels=3)


class Foreign(nn.Module):
    """A layer as GPTQ's and AWQ's are: integers, scales, no `weight`."""

    def __init__(self, linear: nn.Linear):
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.register_buffer("scales", linear.weight.detach().abs().amax(1) / 7)
        self.register_buffer("qweight", (linear.weight.detach() / self.scales[:, None]).round().to(torch.int8))
        self.register_buffer("bias", None if linear.bias is None else linear.bias.detach())

    @classmethod
    def of(cls, model):
        for path, module in list(model.base_model.encoder.named_modules()):
            if isinstance(module, nn.Linear):
                model.base_model.encoder.set_submodule(path, cls(module))
        return model

    def forward(self, x):
        return nn.functional.linear(x, self.qweight * self.scales[:, None], self.bias)


@pytest.mark.parametrize("preset", ["lora", "dora", "mam"])
def test_layers_of_another_library_are_a_frozen_base(preset: str) -> None:
    model, plain = tiny("bert", "classification").eval(), tiny("bert", "classification").eval()
    for path, module in Foreign.of(model).named_modules():
        if isinstance(module, Foreign):
            plain.get_submodule(path).weight.data.copy_(module.qweight * module.scales[:, None])
    batch = tiny_batch(model)
    attached, same = attach(model, of(preset), seed=2), attach(plain, of(preset), seed=2)
    for one in (attached, same):
        for index, parameter in enumerate(one.trainable().values()):
            parameter.data.add_(0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(index)))
    assert torch.allclose(logits(model, batch), logits(plain, batch), atol=1e-5)
    if preset == "lora":
        with pytest.raises(Refusal, match="residual of this start"):
            attach(Foreign.of(tiny("bert", "classification")), of("lamda"))
    if preset != "mam":
        attached.merge()
        assert torch.allclose(logits(model, batch), logits(plain, batch), atol=1e-4)


# -- how it is asked for


def test_it_is_asked_for_beside_the_model_or_within(monkeypatch) -> None:
    from lab.design.spec.sweep import apply

    document = {"model": {"name": "minilm-l6", "quantisation": "int8"}, "task": "sentiment-rt", "method": "lora"}
    spec = spec_of(document)
    assert (spec.model, spec.quantisation) == ("minilm-l6", "int8")
    assert spec_of(apply(spec.document(), {"model.quantisation": "nf4"})).quantisation == "nf4"
    with pytest.raises(Refusal, match="one of 'none', 'int8' or 'nf4'") as refusal:
        spec_of({**document, "model": {"name": "minilm-l6", "quantisation": "int3"}})
    assert refusal.value.field == "quantisation"
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "bitsandbytes" else find(name, *rest))
    from lab import verbs

    with pytest.raises(Refusal, match="requirements-quantised.txt") as refusal:
        verbs.check(spec)
    assert refusal.value.field == "quantisation"


@pytest.mark.parametrize("preset", ["lora", "lamda"])
def test_a_peft_checkpoint_has_no_place_for_a_residual_that_was_rounded(preset: str) -> None:
    from lab.export import formats

    reasons = {row["format"]: row["refusal"] for row in formats({"model": "minilm-l6", "quantisation": "nf4", "task": "sentiment-rt", "method": preset})}
    assert bool(reasons["peft"]) == ("rounded to nf4" in reasons["peft"]) == (preset == "lamda")
    assert not reasons["lab"] and not reasons["merged"]


def test_an_adapter_of_a_quantised_base_is_of_another_base() -> None:
    from pathlib import Path

    from lab.blocks import TrainedBlock, require_base
    from lab.origins import origins_of

    spec = spec_of({"model": "minilm-l6", "task": "sentiment-rt", "method": "lora"})
    plain, four = origins_of(spec), origins_of(spec.model_copy(update={"quantisation": "nf4"}))
    assert plain.weights and four.weights != plain.weights and four.config == plain.config
    block = TrainedBlock("k7qm2x9b", "best", Path(), spec, "classification", (), {}, four)
    require_base(block, four, "minilm-l6")
    with pytest.raises(Refusal, match="with quantisation nf4, and here it is none"):
        require_base(block, plain, "minilm-l6")
