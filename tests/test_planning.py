"""Planning: what is predicted on meta tensors equals what real tensors take, and what torch's own profiler logs."""

from __future__ import annotations

import functools
import gc
import importlib.util
from pathlib import Path

import pytest
import torch
from laws import OBJECTIVES, SMALL
from spread import pairs
from tiny import tiny, tiny_config
from transformers.optimization import Adafactor

from lab.design.body.anatomy import anatomy
from lab.design.body.model import ModelSpec
from lab.design.method import named
from lab.design.method.rules import problems
from lab.design.method.standing import standing_on
from lab.design.plain.refusal import Refusal
from lab.design.presets import catalogue
from lab.engine import galore, packed
from lab.engine.galore import GaLore
from lab.planning import predict
from lab.planning.allocator import MIB, Allocator
from lab.planning.building import Subject, prepare
from lab.planning.predict import plan_shape
from lab.planning.trace import batch_of, step
from lab.planning.tracker import Tracker, state_tensors

METHODS = catalogue.names("methods")
SHAPE = {"rows": 3, "tokens": 24, "target_tokens": 10}
RANK = 4  # of GaLore
EVEN = {"fish-mask": {"select.score": "random", "select.density": 1.0}}  # each weight has its share of the entries, as a plan takes it
KIND = {"bert": "encoder", "bart": "encoder-decoder", "llama": "decoder", "t5": "encoder-decoder", "gemma3": "decoder", "gpt2": "decoder"}
DEEP = {"bert": {"num_hidden_layers": 8}, "bart": {"encoder_layers": 6, "decoder_layers": 7}, "llama": {"num_hidden_layers": 7},
        "t5": {"num_layers": 7, "num_decoder_layers": 8}, "gpt2": {"n_layer": 9}}  # fmt: skip


def model_spec(architecture: str, **overrides) -> ModelSpec:
    config = tiny_config(architecture, **overrides).to_dict()
    facts = {key: value for key, value in config.items() if key not in ("architectures", "transformers_version", "dtype")}
    return ModelSpec(name=f"tiny {architecture}", architecture=architecture, kind=KIND[architecture], source={}, config=facts)


def method_of(name: str, changes: dict | None = None):
    return named.load_method(name, {**SMALL.get(name, {}), **EVEN.get(name, {}), **(changes or {})})


def applies(method, architecture: str) -> bool:
    if method.select and method.select.what == "bias" and architecture in ("llama", "t5"):
        return False
    if method.preset == "head-only" and OBJECTIVES[architecture] != "classification":
        return False
    return not problems(method, anatomy(model_spec(architecture).config))


def predicted(architecture: str, method, objective: str = "", **setting):
    return plan_shape(model=model_spec(architecture), method=method, batch=SHAPE["rows"], tokens=SHAPE["tokens"], target_tokens=SHAPE["target_tokens"],
                      objective=objective or OBJECTIVES[architecture], num_labels=3, device="cpu", **setting)  # fmt: skip


def measured(
    architecture: str,
    method,
    *,
    checkpointing: bool = False,
    granule: int = 512,
    optimizer: str = "adamw",
    model=None,
    objective: str = "",
    padding: bool = True,
) -> Tracker:
    """The tracker over a second step of a real model, the first having made the optimizer's state."""
    objective = objective or OBJECTIVES[architecture]
    model = model or tiny(architecture, objective)
    subject = Subject(model_spec(architecture), method, objective, 3, torch.float32, torch.float32, checkpointing)
    built = prepare(model, subject)
    batch = batch_of(model, objective, **SHAPE, device="cpu")
    batch["attention_mask"][0, -1] = not padding  # which a plan assumes
    trained = built.trained()
    groups = galore.split([{"params": trained}], built.attached.in_layers())
    state = {
        "adamw": lambda: torch.optim.AdamW(trained, lr=0.0, fused=True),
        "adafactor": lambda: Adafactor(trained, lr=0.0, relative_step=False),
        "galore": lambda: GaLore(groups, lr=0.0, rank=RANK, every=1),
    }[optimizer]()
    step(built, batch, objective)
    state.step()
    state.zero_grad(set_to_none=True)
    gc.collect()
    gc.disable()
    tracker = Tracker(granule=granule)
    tracker.hold(packed.tensors(model), "weights")
    tracker.hold(state_tensors(state), "optimizer")
    tracker.hold(batch.values(), "activations")
    try:
        with tracker.watching(model):
            step(built, batch, objective)
            state.step()
    finally:
        gc.enable()
    return tracker


@pytest.fixture(autouse=True)
def plain_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    """oneDNN's LSTM keeps buffers of its own (p-tuning); torch's plain one keeps what is planned."""
    monkeypatch.setattr(torch.backends.mkldnn, "enabled", False)


@pytest.mark.parametrize(("name", "architecture"), pairs(METHODS, ["bert", "bart", "llama"], 1))
def test_prediction_equals_the_tracker_on_real_tensors(name: str, architecture: str):
    method = method_of(name)
    if not applies(method, architecture):
        pytest.skip("refused on this architecture")
    real, plan = measured(architecture, method), predicted(architecture, method)
    share = 0.01 if name == "lamda-plus-plus" else 0.005  # which site gets which rank is decided by weights, which a plan does not have
    for phase in ("forward", "backward"):
        assert plan.phases[phase]["total"] == pytest.approx(real.peaks[phase]["total"], rel=share), phase
    assert plan.peak_allocated_bytes == pytest.approx(real.peak()["total"], rel=0.005)
    for category, size in plan.categories.items():
        assert size == pytest.approx(real.peak()[category], abs=share * plan.peak_allocated_bytes), category


@pytest.mark.parametrize("name", ["lora", "adapterfusion"])
def test_prediction_with_frozen_adapters_below(name: str):
    theirs = method_of("adapter-pfeiffer")
    method = standing_on(method_of(name), {"aaaaaaa1/best": theirs, "aaaaaaa2/best": theirs})
    real, plan = measured("bert", method), predicted("bert", method)
    assert plan.peak_allocated_bytes == pytest.approx(real.peak()["total"], rel=0.005)
    for category, size in plan.categories.items():
        assert size == pytest.approx(real.peak()[category], rel=0.005, abs=2048), category


def test_rows_of_one_length_need_no_mask():
    method = method_of("lora")
    real, plan = measured("llama", method, padding=False), predicted("llama", method, padding=False)
    assert plan.peak_allocated_bytes == pytest.approx(real.peak()["total"], rel=0.005)
    assert plan.peak_allocated_bytes < predicted("llama", method).peak_allocated_bytes


@pytest.mark.parametrize("architecture", ["bert", "bart", "llama"])
def test_gradient_checkpointing_too(architecture: str):
    method = method_of("lora")
    real, plan = measured(architecture, method, checkpointing=True), predicted(architecture, method, checkpointing=True)
    assert plan.peak_allocated_bytes == pytest.approx(real.peak()["total"], rel=0.005)
    assert plan.peak_allocated_bytes < predicted(architecture, method).peak_allocated_bytes


@pytest.mark.parametrize("architecture", ["bert", "llama"])
def test_several_labels_too(architecture: str):
    method = method_of("lora")
    real, plan = measured(architecture, method, objective="multi_label"), predicted(architecture, method, "multi_label")
    assert plan.peak_allocated_bytes == pytest.approx(real.peak()["total"], rel=0.005) and plan.trainable_head > 0


@pytest.mark.parametrize(("architecture", "name"), [("bert", "lora"), ("llama", "full"), ("t5", "ia3"), ("bart", "adapter-houlsby")])
def test_adafactor_keeps_rows_and_columns(architecture: str, name: str):
    method = method_of(name)
    real, plan = measured(architecture, method, optimizer="adafactor"), predicted(architecture, method, optimizer="adafactor")
    for phase in ("forward", "backward", "optimizer"):
        assert plan.phases[phase]["total"] == pytest.approx(real.peaks[phase]["total"], rel=0.005), phase
    assert plan.peak_allocated_bytes == pytest.approx(real.peak()["total"], rel=0.005)


@pytest.mark.parametrize(("architecture", "name"), [("bert", "full"), ("llama", "full"), ("bart", "last-layers")])
def test_galore_keeps_moments_of_its_rank(architecture: str, name: str):
    """A step with new projections, the largest of a run; the gain is in the optimizer's state alone."""
    method = method_of(name)
    real, plan = measured(architecture, method, optimizer="galore"), predicted(architecture, method, optimizer="galore", galore_rank=RANK)
    for phase in ("forward", "backward", "optimizer"):
        assert plan.phases[phase]["total"] == pytest.approx(real.peaks[phase]["total"], rel=0.005), phase
    assert plan.categories["optimizer"] == real.peak()["optimizer"] < predicted(architecture, method).categories["optimizer"]


def test_keys_and_values_that_a_script_keeps(monkeypatch: pytest.MonkeyPatch):
    """A call with transformers' defaults: the cache lives as long as the output does."""
    method = method_of("lora")
    without = predicted("llama", method)
    monkeypatch.setitem(globals(), "step", functools.partial(step, use_cache=True))
    real, plan = measured("llama", method), predicted("llama", method, use_cache=True)
    assert plan.peak_allocated_bytes == pytest.approx(real.peak()["total"], rel=0.005)
    assert plan.peak_allocated_bytes > without.peak_allocated_bytes


LAYERED = [("lora", {}), ("mam", {}), ("prompt-tuning", {}), ("full", {}), ("lora", {"checkpointing": True}), ("adapter-houlsby", {"accumulation": 4}),
           ("vera", {}), ("bitfit", {"optimizer": "sgd"}), ("lora", {"optimizer": "adafactor"})]  # fmt: skip


@pytest.mark.parametrize(("architecture", "name", "setting"), [  # every setting on one of two families, every family with every setting among the slow
    pytest.param(architecture, *case, marks=[] if architecture == ("llama", "bart")[index % 2] else [pytest.mark.slow])
    for index, case in enumerate(LAYERED) for architecture in ("llama", "bart", "bert", "t5", "gpt2")
])  # fmt: skip
def test_five_layers_stand_for_all(architecture: str, name: str, setting: dict):
    method = method_of(name)
    if not applies(method, architecture):
        pytest.skip("refused on this architecture")
    spec = model_spec(architecture, **DEEP[architecture])
    shape = {"batch": 2, "tokens": 24, "target_tokens": 10, "objective": OBJECTIVES[architecture], **setting}
    short, whole = (plan_shape(model=spec, method=method, whole=whole, **shape) for whole in (False, True))
    assert short.trainable == whole.trainable
    for phase in ("forward", "backward"):
        assert short.phases[phase] == whole.phases[phase], phase
    assert short.peak_reserved_bytes == whole.peak_reserved_bytes


def test_what_layers_do_differently_is_traced_whole(monkeypatch: pytest.MonkeyPatch):
    depths = []
    build = predict.build
    monkeypatch.setattr(predict, "build", lambda subject, layers=None: depths.append(layers) or build(subject, layers))
    spec = model_spec("bert", **DEEP["bert"])
    for method in (method_of("lora", {"deltas.0.layers": "0-2"}), method_of("lisa"), method_of("prefix-tuning-mlp"), method_of("lamda-plus-plus")):
        plan_shape(model=spec, method=method, batch=2, tokens=16)
    plan_shape(model=model_spec("gemma3"), method="lora", batch=2, tokens=16)
    assert depths == [None] * 5
    plan_shape(model=spec, method="lora", batch=2, tokens=16)
    assert depths[-1] == {"encoder": 5}


@pytest.mark.parametrize(("architecture", "name"), [("bert", "lora"), ("bart", "mam"), ("llama", "full"), ("llama", "adapter-pfeiffer")])
def test_the_tracker_equals_the_profiler(architecture: str, name: str):
    """Bytes of torch's own allocation log over one step, against the tracker without rounding; what one kernel holds inside is not seen."""
    method = method_of(name)
    tracker = measured(architecture, method, granule=1)
    held = sum(tracker.peaks["forward"][c] for c in ("weights", "optimizer"))
    logged = _profiled(architecture, method)
    assert tracker.peak()["total"] - held == pytest.approx(logged, rel=0.005, abs=6144)


def _profiled(architecture: str, method) -> int:
    """The most bytes above those of the start that torch.profiler saw allocated during a second step."""
    objective = OBJECTIVES[architecture]
    model = tiny(architecture, objective)
    built = prepare(model, Subject(model_spec(architecture), method, objective, 3, torch.float32, torch.float32, False))
    batch = batch_of(model, objective, **SHAPE, device="cpu")
    batch["attention_mask"][0, -1] = 0
    optimizer = torch.optim.AdamW(built.trained(), lr=0.0, fused=True)
    step(built, batch, objective)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    gc.collect()
    gc.disable()
    try:
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
            step(built, batch, objective)
            optimizer.step()
    finally:
        gc.enable()
    now = most = 0
    for event in sorted((e for e in profile.profiler.kineto_results.events() if e.name() == "[memory]"), key=lambda e: e.start_ns()):
        now += event.nbytes()
        most = max(most, now)
    return most + sum(t.nbytes for t in batch.values())


def test_the_caching_allocator():
    allocator = Allocator()
    allocator.allocate("small", 512)
    assert allocator.reserved == 2 * MIB
    allocator.allocate("large", 3 * MIB)
    assert allocator.reserved == 22 * MIB
    allocator.allocate("second", 5 * MIB)  # cut from the same 20 MiB
    assert allocator.reserved == 22 * MIB
    allocator.allocate("own", 11 * MIB + 512)  # 12 MiB would fit in what is left: 20 - 3 - 5
    assert allocator.reserved == 22 * MIB
    allocator.allocate("huge", 31 * MIB)
    assert allocator.reserved == 22 * MIB + 32 * MIB
    for name in ("large", "second", "own"):
        allocator.release(name)
    allocator.allocate("joined", 20 * MIB)
    assert allocator.reserved == allocator.peak_reserved == 54 * MIB


def test_anchor_published_maximum_on_an_l40s():
    """Llama-3.2-3B, bf16, batch 4, LoRA r=32 on q and v in fp32: 22,292,725,760 bytes reserved at most, longest batch 704, by a script that keeps all logits.

    The lab's own step has no logits (4, 704, 128256) in bf16 (0.72 GB), nor their copy in fp32 with its gradient and its softmax (1.44 GB each).
    """
    script, plan = (plan_shape(model="llama-3.2-3b", method="lora", batch=4, tokens=704, dtype="bfloat16", adapter_dtype="float32",
                               overrides={"deltas.0.rank": 32, "deltas.0.alpha": 64}, use_cache=kept) for kept in (True, False))  # fmt: skip
    assert script.peak_reserved_bytes == pytest.approx(22_292_725_760, rel=0.02)
    assert plan.peak_allocated_bytes < script.peak_allocated_bytes - 3_000_000_000
    assert plan.trainable == 9_175_040
    assert sum(plan.categories.values()) == plan.peak_allocated_bytes


MAXIMA = [
    (22_292_725_760, "lora", {"deltas.0.rank": 32, "deltas.0.alpha": 64}), (22_552_772_608, "lora", {"deltas.0.rank": 64, "deltas.0.alpha": 128}),
    (24_698_159_104, "lora", {"deltas.0.rank": 10, "deltas.0.at": ["ffn.up", "ffn.gate", "ffn.down"]}), (21_621_637_120, "vera", {}),
    (23_234_347_008, "ia3", {}), (21_181_235_200, "ln-tuning", {}), (20_921_188_352, "p-tuning", {"deltas.0.encoder": "mlp", "deltas.0.encoder_width": 3072}),
    (24_532_484_096, "dora", {"deltas.0.at": ["attn.q", "attn.v"], "deltas.0.rank": 32}), (23_597_154_304, "hira", {"deltas.0.at": ["attn.q", "attn.v"], "deltas.0.rank": 32}),
    (22_296_920_064, "gralora", {"deltas.0.rank": 32}), (22_332_571_648, "oft", {"deltas.0.at": ["attn.q", "attn.v"], "deltas.0.rank": 96}), (20_271_071_232, "miss", {"deltas.0.rank": 64}),
]  # fmt: skip


@pytest.mark.parametrize(
    ("most", "method", "changes"), [pytest.param(*case, marks=[pytest.mark.slow] if index % 3 else []) for index, case in enumerate(MAXIMA)]
)
def test_published_maxima_of_the_same_model(most: int, method: str, changes: dict):
    """As peft's comparison ran them (benchmarks/memory.py has the source): a script that keeps the cache, nothing fitted to the method."""
    plan = plan_shape(model="llama-3.2-3b", method=method, batch=4, tokens=704, dtype="bfloat16", adapter_dtype="float32", overrides=changes, use_cache=True)
    assert plan.peak_reserved_bytes == pytest.approx(most, rel=0.0125)


def benchmark():
    """benchmarks/memory.py."""
    spec = importlib.util.spec_from_file_location("memory", Path(__file__).resolve().parents[1] / "benchmarks" / "memory.py")
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


@pytest.mark.slow
def test_every_published_maximum_is_met_or_explained():
    memory = benchmark()
    for name, most, method, script, _ in memory.found():
        assert name in memory.WHY or script == pytest.approx(most, rel=0.02), (name, method)
    assert set(memory.WHY) <= {name for name, *_ in memory.PUBLISHED}


@pytest.mark.parametrize(("batch", "ratio"), [(4, 1.23), pytest.param(32, 1.34, marks=pytest.mark.slow)])
def test_lamda_against_lora_on_bart_large(batch: int, ratio: float):
    """The ratios of docs/measured.md, with all logits as there; ours are up to 0.03 lower, since batches have padding, and B still trains at the start."""
    changes = {
        "deltas.0.rank": 16,
        "deltas.0.at": ["attn.q", "attn.k", "attn.v", "attn.out", "ffn.up", "ffn.down"],
        "deltas.0.dropout": 0.0,
    }  # as the ratios were measured
    peaks = [plan_shape(model="bart-large", method=method, batch=batch, tokens=512, target_tokens=128, overrides=changes, all_logits=True).peak_allocated_bytes
             for method in ("lora", "lamda")]  # fmt: skip
    assert ratio - 0.035 < peaks[0] / peaks[1] < ratio + 0.01


def test_unfit_shapes_are_refused():
    for field, setting in (("batch", {"batch": 0}), ("tokens", {"tokens": -1}), ("dtype", {"dtype": "int7"}), ("objective", {"objective": "nonsense"})):
        with pytest.raises(Refusal) as caught:
            plan_shape(**{"model": "roberta-base", "method": "lora", "batch": 2, "tokens": 8, **setting})
        assert caught.value.field == field
    with pytest.raises(Refusal):
        plan_shape(model="roberta-base", method="lora", batch=2, tokens=5000)  # more than the model has positions
