"""Planning: what is predicted on meta tensors equals what real tensors take, and what torch's own profiler logs."""

from __future__ import annotations

import functools
import gc

import pytest
import torch
from laws import OBJECTIVE, SMALL
from tiny import tiny, tiny_config

from lab.design import catalogue
from lab.design.anatomy import anatomy
from lab.design.model import ModelSpec
from lab.design.refusal import Refusal
from lab.design.rules import problems
from lab.planning import predict
from lab.planning.allocator import MIB, Allocator
from lab.planning.building import Subject, build, prepare
from lab.planning.log import Log
from lab.planning.predict import plan_shape
from lab.planning.trace import batch_of, step
from lab.planning.tracker import Tracker, model_tensors

METHODS = catalogue.names("methods")
SHAPE = {"rows": 3, "tokens": 24, "target_tokens": 10}
KIND = {"bert": "encoder", "bart": "encoder-decoder", "llama": "decoder", "t5": "encoder-decoder", "gemma3": "decoder", "gpt2": "decoder"}
DEEP = {"bert": {"num_hidden_layers": 8}, "bart": {"encoder_layers": 7, "decoder_layers": 9}, "llama": {"num_hidden_layers": 8},
        "t5": {"num_layers": 7, "num_decoder_layers": 8}, "gpt2": {"n_layer": 9}}  # fmt: skip


def model_spec(architecture: str, **overrides) -> ModelSpec:
    config = tiny_config(architecture, **overrides).to_dict()
    facts = {key: value for key, value in config.items() if key not in ("architectures", "transformers_version", "dtype")}
    return ModelSpec(name=f"tiny {architecture}", architecture=architecture, kind=KIND[architecture], source={}, config=facts)


def method_of(name: str, changes: dict | None = None):
    return catalogue.load_method(name, {**SMALL.get(name, {}), **(changes or {})})


def applies(method, architecture: str) -> bool:
    if method.select and method.select.what == "bias" and architecture == "llama":
        return False
    return not problems(method, anatomy(model_spec(architecture).config))


def predicted(architecture: str, method, **setting):
    return plan_shape(model=model_spec(architecture), method=method, batch=SHAPE["rows"], tokens=SHAPE["tokens"], target_tokens=SHAPE["target_tokens"],
                      objective=OBJECTIVE[architecture], num_labels=3, device="cpu", **setting)  # fmt: skip


def measured(architecture: str, method, *, checkpointing: bool = False, granule: int = 512, optimizer: bool = True, model=None) -> Tracker:
    """The tracker over a second step of a real model, the first having made the optimizer's state."""
    objective = OBJECTIVE[architecture]
    model = model or tiny(architecture, objective)
    subject = Subject(model_spec(architecture), method, objective, 3, torch.float32, torch.float32, checkpointing)
    built = prepare(model, subject)
    batch = batch_of(model, objective, **SHAPE, device="cpu")
    batch["attention_mask"][0, -1] = 0  # padding, which a plan assumes
    trained = built.trained()
    state = torch.optim.AdamW(trained, lr=0.0, fused=True)
    step(built, batch, objective)
    state.step()
    state.zero_grad(set_to_none=True)
    gc.collect()
    gc.disable()
    tracker = Tracker(granule=granule)
    tracker.hold(model_tensors(model), "weights")
    tracker.hold([v for s in state.state.values() for v in s.values()], "optimizer")
    tracker.hold(batch.values(), "activations")
    try:
        with tracker.watching(model):
            step(built, batch, objective)
            state.step()
    finally:
        gc.enable()
    return tracker


@pytest.mark.parametrize("architecture", ["bert", "bart", "llama"])
@pytest.mark.parametrize("name", METHODS)
def test_prediction_equals_the_tracker_on_real_tensors(name: str, architecture: str):
    method = method_of(name)
    if not applies(method, architecture):
        pytest.skip("refused on this architecture")
    real, plan = measured(architecture, method), predicted(architecture, method)
    for phase in ("forward", "backward"):
        assert plan.phases[phase]["total"] == pytest.approx(real.peaks[phase]["total"], rel=0.005), phase
    assert plan.peak_allocated_bytes == pytest.approx(real.peak()["total"], rel=0.005)
    for category in plan.categories:
        assert plan.categories[category] == pytest.approx(real.peak()[category], rel=0.01, abs=0.005 * plan.peak_allocated_bytes), category
