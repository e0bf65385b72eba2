"""The planning service and its client, advice, devices and the live meter."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import threading
import time

import pytest
import torch
from laws import OBJECTIVES
from test_planning import SHAPE, method_of, model_spec
from tiny import tiny

from lab import models
from lab.design.plain.refusal import Refusal
from lab.design.spec.run import spec_of
from lab.engine import attach
from lab.planning import advice, devices
from lab.planning.client import PlanClient, Superseded
from lab.planning.meter import measure_step
from lab.planning.predict import plan_shape
from lab.planning.request import key
from lab.planning.trace import batch_of
from lab.tasks.losses import batch_loss

ROBERTA = {"model": "roberta-base", "method": "lora", "batch": 8, "tokens": 128}


def test_pages_need_no_torch_to_ask():
    code = "import sys; from lab.planning.client import PlanClient; from lab.planning import devices; devices.memory(); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    found = PlanClient(tmp_path_factory.mktemp("home"))
    yield found
    found.close()


def test_client_asks_caches_and_survives(client: PlanClient):
    first = client.plan(ROBERTA)
    assert first["peak_allocated_bytes"] == plan_shape(**ROBERTA).peak_allocated_bytes
    child = client._child.process
    child.kill()
    child.wait()
    assert client.plan(ROBERTA) == first and client._child.process is child, "from the disk, nobody is asked"
    assert client.plan({**ROBERTA, "batch": 16})["peak_allocated_bytes"] > first["peak_allocated_bytes"]
    assert client._child.process is not child
    larger = client.plan({**ROBERTA, "overrides": {"deltas.0.rank": 256}})
    assert larger["trainable"] == 32 * first["trainable"]
    spec = {"model": "roberta-base", "method": {"preset": "lora"}, "task": "sentiment-rt", "training": {"batch_size": 4}, "name": "a"}
    assert client.plan({"spec": spec, "device": "cuda"})["setting"]["batch"] == 4
    assert key({"spec": spec}) == key({"spec": {**spec, "name": "b", "tags": ["c"]}}) != key({"spec": {**spec, "seed": 1}})


def test_client_refuses_in_one_sentence(client: PlanClient):
    for request in ({**ROBERTA, "method": "no-such"}, {**ROBERTA, "model": "no-such"}, {**ROBERTA, "batch": 0}, {**ROBERTA, "colour": 1}, {"model": "x"}):
        with pytest.raises(Refusal):
            client.plan(request)


def test_newer_questions_of_a_topic_come_first(client: PlanClient):
    """A slider that moves asks often: what waits behind a newer question is given up."""
    said: dict[int, str] = {}

    def ask(rank: int) -> None:
        try:
            client.plan({**ROBERTA, "overrides": {"deltas.0.rank": rank}}, topic="slider")
            said[rank] = "answered"
        except Superseded:
            said[rank] = "superseded"

    with client._lock:  # the service is busy
        threads = [threading.Thread(target=ask, args=(rank,)) for rank in (33, 34, 35)]
        for thread in threads:
            thread.start()
            time.sleep(0.2)
    for thread in threads:
        thread.join()
    assert said == {33: "superseded", 34: "superseded", 35: "answered"}


def test_the_steps_of_an_older_question_do_not_pass_for_newer_ones(client: PlanClient, monkeypatch):
    """Advice plans many shapes; those that come after a newer question must not supersede it."""
    said: list[str] = []
    step = client.plan

    def slow(request, **question):
        found = step(request, **question)
        if question.get("turn") == 1 and not said:  # after the first step of the advice a newer question comes in
            said.append(str(step({**ROBERTA, "overrides": {"deltas.0.rank": 41}}, topic="knob", turn=2)["trainable"]))
            with pytest.raises(Superseded):
                step({**ROBERTA, "overrides": {"deltas.0.rank": 42}}, topic="knob", turn=1)
        return found

    monkeypatch.setattr(client, "plan", slow)
    with pytest.raises(Superseded):
        client.advise({**ROBERTA, "overrides": {"deltas.0.rank": 40}}, device={"kind": "cuda", "total_bytes": 10**9, "name": "small"}, topic="knob", turn=1)
    assert len(said) == 1


CARD = {"kind": "cuda", "name": "a card", "total_bytes": 24 * 2**30}
RUNS = {  # a request, and GB of a device in which it does not fit
    "a shape": ({"model": "llama-3.2-3b", "method": "lora", "batch": 8, "tokens": 704, "dtype": "bfloat16", "adapter_dtype": "float32"}, 24),
    "a run": ({"spec": {"model": "roberta-base", "task": "sentiment-rt", "method": "adapter-pfeiffer", "training": {"batch_size": 12, "precision": "fp32"}}, "device": "cuda"}, 0.4),
}  # fmt: skip


@pytest.mark.parametrize("name", ["a run", pytest.param("a shape", marks=pytest.mark.slow)])
def test_what_would_make_it_fit(client: PlanClient, name: str):
    """Each offer is a plan of its own: it promises the bytes of the changed request; a combination has no change that it could do without."""
    request, size = RUNS[name]
    if "spec" in request:
        request = {**request, "spec": spec_of(request["spec"]).document()}
    said = client.advise(request, device={**CARD, "total_bytes": int(size * 2**30)})
    room = said["room_bytes"]
    assert not said["fits"] and said["over_bytes"] == said["plan"]["peak_reserved_bytes"] - room > 0 and said["missing"] == []
    needs = [client.plan(advice.applied(request, {advice.ROWS: rows}))["peak_reserved_bytes"] if rows else 0 for rows in (said["largest_batch"], said["largest_batch"] + 1)]  # fmt: skip
    assert needs[0] <= room < needs[1]
    offers = [*said["changes"], *([said["combination"]] if said["combination"] else [])]
    for offer in offers:
        plan = client.plan(advice.applied(request, offer["set"]))
        assert plan["peak_reserved_bytes"] == offer["peak_bytes"] == said["plan"]["peak_reserved_bytes"] - offer["saves_bytes"]
        assert offer["fits"] == (offer["peak_bytes"] <= room)
        before, after = said["plan"]["setting"], plan["setting"]
        assert after["batch"] * after["accumulation"] == before["batch"] * before["accumulation"], "the rows of an optimizer step stay"
        assert after != before or plan["trainable"] != said["plan"]["trainable"], "something is changed"
    assert {offer["change"] for offer in said["changes"]} >= {"accumulation", "nf4", "tokens"}
    alone = [offer for offer in said["changes"] if offer["fits"]]
    assert (said["combination"] is None) == bool(alone)
    if said["combination"]:
        settings, kinds = said["combination"]["set"], said["combination"]["changes"]
        assert said["combination"]["fits"] and len(kinds) > 1
        by_name = {"checkpointing": ["training.gradient_checkpointing"], "accumulation": [advice.ROWS, "training.accumulation"], "tokens": ["training.max_length"],
                   "bfloat16": ["training.precision"], "int8": ["quantisation"], "nf4": ["quantisation"]}  # fmt: skip
        for kind in kinds:
            paths = by_name.get(kind) or [path for path in settings if path.endswith(".trainable" if kind == "freeze_A" else (".rank", ".alpha"))]
            others = {path: value for path, value in settings.items() if path not in paths}
            assert client.plan(advice.applied(request, others))["peak_reserved_bytes"] > room, f"{kind} is not needed"


def fewer(request: dict) -> dict:
    """A planner of made-up bytes: 10 a row beside 1000, of which two options save 500 together and nothing alone."""
    setting = {"batch": 8, "accumulation": 1, "tokens": 8, "dtype": "float32", "device": "cuda", "quantisation": "none", "checkpointing": False, **{
        name: value for name, value in request.items() if name not in ("model", "method")}}  # fmt: skip
    saved = 500 if setting["checkpointing"] and setting["quantisation"] == "nf4" else 0
    return {"setting": setting, "peak_reserved_bytes": 1000 + 10 * setting["batch"] - saved}


def test_changes_that_save_only_together_are_found():
    request = {"model": "minilm-l6", "method": "lora", "batch": 8, "tokens": 8}
    said = advice.advise(request, fewer, 600 / (1 - advice.RESERVE))
    assert said["combination"]["changes"] == ["checkpointing", "nf4"] and said["combination"]["peak_bytes"] == 580
    assert [offer["change"] for offer in said["changes"]] == ["accumulation"] and not said["changes"][0]["fits"]
    nothing = advice.advise(request, fewer, 400 / (1 - advice.RESERVE))
    assert nothing["combination"] is None and nothing["largest_batch"] == 0


def test_without_the_extra_it_is_named(monkeypatch):
    def planner(request):
        if request.get("quantisation"):
            models.quantised(request["model"], request["quantisation"])
        return fewer(request)

    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *more: None)
    said = advice.advise({"model": "minilm-l6", "method": "lora", "batch": 8, "tokens": 8}, planner, 500)
    (sentence,) = said["missing"]
    assert sentence.startswith("A quantised base needs bitsandbytes: pip install")


def test_an_odd_batch_is_split_as_it_can_be():
    for batch, passes in ((1, []), (7, [7]), (12, [2, 3, 4, 6, 12])):
        setting = {**fewer({})["setting"], "batch": batch, "accumulation": 3}
        found = [change.settings for group in advice.groups(method_of("bitfit"), setting) for change in group if change.name == "accumulation"]
        assert found == [{advice.ROWS: batch // n, "training.accumulation": 3 * n} for n in passes]


def test_largest_batch_by_search():
    for slope, base, room in ((10, 100, 1_000), (7, 0, 7), (3, 50, 40), (1, 0, 100_000), (13, 5, 999)):
        found = advice.largest_batch({"batch": 8}, lambda r, base=base, slope=slope: {"peak_reserved_bytes": base + slope * r["batch"]}, room, 8)
        exact = max(0, (room - base) // slope)
        assert found == (None if exact >= advice.MOST else exact)


def test_device_memory():
    found = devices.memory()
    assert found["kind"] in ("cpu", "cuda") and found["total_bytes"] > 2**28


@pytest.mark.parametrize("architecture", ["bert", "llama"])
def test_meter_agrees_with_the_plan(architecture: str):
    objective, method = OBJECTIVES[architecture], method_of("lora")
    model = tiny(architecture, objective).train()
    attached = attach(model, method)
    head = [p for n, p in model.named_parameters() if p.requires_grad and n.startswith("classifier")]
    optimizer = torch.optim.AdamW([*attached.trainable().values(), *head], lr=0.0, fused=True)
    batch = batch_of(model, objective, **SHAPE, device="cpu")
    batch["attention_mask"][0, -1] = 0
    for _ in range(2):
        with measure_step(model, attached, optimizer) as measured:
            batch_loss(model, model, batch, objective).backward()
            optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    plan = plan_shape(
        model=model_spec(architecture), method=method, batch=SHAPE["rows"], tokens=SHAPE["tokens"], objective=objective, num_labels=3, device="cpu"
    )
    assert measured.peak_bytes == pytest.approx(plan.peak_allocated_bytes, rel=0.01)
    assert set(measured.categories) == set(plan.categories)
    assert not any(module._forward_pre_hooks for module in [model])
