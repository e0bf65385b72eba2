"""The live meter: a step under the tracker changes nothing, finds what the plan says, and happens when what trains changes."""

from __future__ import annotations

import json

import pytest
import torch
from training_support import save_model, save_task, spec

from lab.planning import plan
from lab.training import Record, train
from lab.training.metering import MOST, Metering

KINDS = {"bert": (None, "classification"), "bart": ("seq2seq", "summarization"), "llama": ("causal", "language_modelling")}


@pytest.fixture(scope="module", params=KINDS)
def subject(request, tmp_path_factory):
    """(model folder, task) whose forward draws random numbers where the architecture can."""
    objective, family = KINDS[request.param]
    folder = tmp_path_factory.mktemp(request.param)
    dropout = {"bert": {"hidden_dropout_prob": 0.1}, "bart": {"dropout": 0.1}, "llama": {"attention_dropout": 0.1}}[request.param]
    model = save_model(folder / "model", request.param, objective, **dropout)
    if family == "classification":
        return model, save_task(folder)
    rows = [
        {"text": f"the film was {'fine ' * (1 + i % 9)}", "source": f"the film was {'fine ' * (1 + i % 9)}", "target": "great " * (1 + i % 3)}
        for i in range(60)
    ]
    path = folder / "rows.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return model, {"name": "rows", "family": family, "max_length": 24, "generation": {"max_length": 6},
                   "source": {"file": str(path), "hash": {"validation": 0.2, "test": 0.1}}}  # fmt: skip


def measured_of(record: Record) -> dict[int, dict[str, float]]:
    found: dict[int, dict[str, float]] = {}
    for step, name, value in record.rows:
        if name.startswith("measured/"):
            found.setdefault(step, {})[name.removeprefix("measured/")] = value
    return found


@pytest.mark.parametrize("method", ["lora", "lisa", pytest.param("full", marks=pytest.mark.slow)])
def test_a_metered_run_trains_bit_for_bit_as_one_that_is_not(subject, method, tmp_path, monkeypatch: pytest.MonkeyPatch):
    model, task = subject
    asked = spec(model, task, method, steps=6, evaluate_every=6, accumulation=2)
    metered, plain = Record(), Record()
    train(asked, metered, tmp_path / "metered", say=lambda line: None)
    monkeypatch.setattr("lab.training.metering.MOST", 0)
    train(asked, plain, tmp_path / "plain", say=lambda line: None)
    assert measured_of(metered) and not measured_of(plain)
    for name in ("loss", "grad_norm", "eval_loss"):
        assert metered.curve(name) == plain.curve(name), name


@pytest.mark.parametrize("method", ["full", "prefix-tuning", *(pytest.param(name, marks=pytest.mark.slow) for name in ("lora", "adapter-houlsby"))])
def test_a_run_measures_what_its_plan_says(subject, method, tmp_path):
    """For the batch of the metered step: its rows, all as long as the longest, and of a language model as many targets as it had."""
    model, task = subject
    asked, record = spec(model, task, method, steps=3, batch_size=6, evaluate_every=3), Record()
    train(asked, record, tmp_path, say=lambda line: None)
    (step, found), *more = measured_of(record).items()
    assert step == 2 and not more, "the first step has no optimizer state yet"
    shape = {name: int(found[name]) for name in ("tokens", "target_tokens", "targets") if name in found}
    said = plan(asked, batch=int(found["rows"]), device="cpu", **shape)
    assert found["peak"] == pytest.approx(said.peak_allocated_bytes, rel=0.005)
    for name, size in said.categories.items():
        assert found[name] == pytest.approx(size, abs=0.005 * found["peak"]), name
    assert sum(found[name] for name in said.categories) == found["peak"]


def test_what_trains_changes_and_is_metered_again(tmp_path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("lab.training.metering.PER", 100)  # so that a short run has two
    model, task = save_model(tmp_path / "bert"), save_task(tmp_path)
    frozen = {"preset": "aflora", "set": {"deltas.0.schedule.start": 0.2, "deltas.0.schedule.finish": 0.5, "deltas.0.schedule.every": 10}}
    record = Record()
    train(spec(model, task, frozen, steps=100, evaluate_every=100, batch_size=2), record, tmp_path / "run", say=lambda line: None)
    found = measured_of(record)
    trains = record.curve("trainable")
    changes = [step for step in range(2, 101) if trains[step] != trains[step - 1]]
    assert list(found)[0] == 2 and list(found)[1] == changes[0] + 2
    assert len(found) == 2, "one, and one more for so many steps"
    assert found[list(found)[1]]["optimizer"] < found[2]["optimizer"]


def _steps(total: int, changes: list[int], wanted: bool = True, start: int = 0, state: bool = False) -> list[int]:
    """The metered steps of a run whose trained weights change in `changes`."""
    model = torch.nn.Linear(2, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    if state:
        optimizer.state[model.weight] = {"momentum_buffer": torch.zeros(2, 2)}
    metering, found = Metering(model, optimizer, total, wanted), []
    metering.begin(start)
    batch = {"input_ids": torch.zeros(2, 3, dtype=torch.long), "labels": torch.zeros(2)}
    for step in range(start + 1, total + 1):
        with metering.watching(step, [batch], "classification"):
            pass
        if metering.values():
            found.append(step)
        if step in changes:
            metering.changed(step)
    return found


def test_few_steps_are_metered_and_spread():
    assert _steps(1, []) == [1] and _steps(50, []) == [2] and _steps(50, [], wanted=False) == []
    assert _steps(50, [], start=30, state=True) == [31], "a resumed run has its optimizer's state at once"
    assert _steps(200, [100]) == [2, 102] and _steps(200, [1]) == [2] and _steps(200, [2]) == [2, 27] and _steps(200, [198]) == [2, 200]
    every = _steps(1000, list(range(1, 1001)))
    assert len(every) == MOST and min(b - a for a, b in zip(every, every[1:], strict=False)) >= 1000 // 8
    assert len(_steps(200, list(range(1, 201)))) == 2
