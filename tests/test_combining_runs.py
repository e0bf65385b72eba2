"""Runs put together: launched, judged on the tasks of their parts, opened, exported, asked, and refused where they do not go together."""

from __future__ import annotations

import json

import pytest
import torch
from training_support import save_model, save_task, spec

from lab import blocks, combining, verbs
from lab.design.plain.refusal import Refusal
from lab.design.spec.run import spec_of
from lab.design.spec.writing import as_command, run_document
from lab.export import export_run
from lab.export.source import open_run
from lab.runs import Home, Queue, WorkerLink
from lab.training import train
from lab.trying import combining as live


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    return save_model(tmp_path_factory.mktemp("bert"))


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LAB_HOME", str(tmp_path_factory.mktemp("home")))
        yield Home().path


def finished(chosen):
    """Train in this process what `verbs.check` gives, as a worker would; the run's id and its result."""
    checked = verbs.check(chosen)
    lab = Queue(Home(), count=0)
    run_id = lab.launch(checked.document(), checked.name)
    link = WorkerLink(run_id, lab.home, lab.store)
    result = train(spec_of(lab.store.get(run_id).spec), link, link.run_dir, run_id=run_id, say=lambda line: None)
    link.finish("succeeded", result)
    return run_id, result


@pytest.fixture(scope="module")
def two(home, bert, tmp_path_factory):
    """A LoRA on one task, a scaled parallel adapter on another."""
    tasks = [{**save_task(tmp_path_factory.mktemp(f"toy{seed}"), rows=80, seed=seed), "name": f"toy{seed}"} for seed in (0, 1)]
    tasks[1]["labels"] = ["pos", "neg"]
    methods = ("lora", {"deltas": [{"at": ["ffn.out"], "form": "bottleneck", "composition": "scaled", "scale": 4.0, "rank": 5}]})
    return [finished(spec(bert, task, method, steps=8, evaluate_every=4, lr=0.02)) for task, method in zip(tasks, methods, strict=True)]


@pytest.fixture(scope="module")
def both(two):
    return finished(combining.document([run for run, _ in two], [0.5, 0.5]))


def test_a_combination_is_judged_on_every_task_by_its_own_head(two, both):
    run, result = both
    assert result["steps"] == 0 and result["state"] == "succeeded" and {"accuracy/toy0", "accuracy/toy1", "average", "loss/toy0"} <= set(result["best"])
    assert "before training" not in blocks.read(run).note
    for index, weights in enumerate(([1.0, 0.0], [0.0, 1.0])):
        _, alone = finished(combining.document([run for run, _ in two], weights))
        for name in ("accuracy", "loss"):
            assert alone["metrics"][f"{name}/toy{index}"] == pytest.approx(two[index][1]["best"][name], abs=1e-6)


def test_what_was_put_together_is_frozen_and_written(two, both):
    spec = spec_of(Queue(Home(), count=0).store.get(both[0]).spec)
    assert spec.combination.runs == [f"{run}/best" for run, _ in two] and spec.combination.prints == [blocks.read(run).print for run, _ in two]
    assert [delta.weight for delta in spec.method.deltas] == [0.5, 0.5] and list(spec.tasks) == ["toy0", "toy1"]
    assert as_command(spec).startswith(f"python -m lab combine {two[0][0]}/best {two[1][0]}/best --how sum --weights 0.5 0.5")
    again = verbs.check(run_document(spec))
    assert again.method.deltas == spec.method.deltas and again.combination == spec.combination


def test_it_opens_and_is_exported_with_either_head(both, bert, tmp_path):
    for task in ("toy0", "toy1"):
        opened = open_run(both[0], task=task)
        assert opened.labels == (("neg", "pos") if task == "toy0" else ("pos", "neg"))
        out = export_run(both[0], "lab", tmp_path / f"lab-{task}")
        ids = {"input_ids": torch.tensor([[2, 6, 8, 3]]), "attention_mask": torch.ones(1, 4, dtype=torch.long)}
        with torch.no_grad():
            torch.testing.assert_close(opened.model(**ids).logits, verbs.load(out, model=str(bert))[0](**ids).logits) if task == "toy0" else None
    with pytest.raises(Refusal, match="PEFT"):  # a bottleneck with its nonlinearity
        export_run(both[0], "peft", tmp_path / "peft", task="toy0")


def test_two_loras_at_a_rank_are_a_lora_of_peft(two, bert, tmp_path):
    other, _ = finished(spec(bert, blocks.read(two[0][0]).spec.task, "lora", steps=4, evaluate_every=2, lr=0.02, seed=1))
    run, result = finished(combining.document([two[0][0], other], [0.5, 0.5], "ties", rank=4, density=0.5))
    assert "accuracy" in result["best"], "one task, whose head is the mean of two"
    heads = [blocks.read(one).head() for one in (two[0][0], other)]
    for name, tensor in blocks.read(run).head().items():
        torch.testing.assert_close(tensor, (heads[0][name] + heads[1][name]) / 2)
    config = json.loads((export_run(run, "peft", tmp_path / "out") / "adapter_config.json").read_text())
    assert config["peft_type"] == "LORA" and config["r"] == 4


def test_live_is_what_the_run_is(two, both):
    asked = {"runs": [run for run, _ in two], "weights": [0.5, 0.5]}
    measured = live.answer({"combination": asked})["tasks"]
    assert [(row["task"], row["metric"]) for row in measured] == [("toy0", "accuracy"), ("toy1", "accuracy")]
    for row in measured:
        assert row["value"] == pytest.approx(both[1]["metrics"][f"accuracy/{row['task']}"], abs=1e-6)
    answered = live.answer({"combination": asked, "text": "a warm film"})["tasks"]
    assert all(row["kind"] == "labels" and row["on"] != row["off"] and {"neg", "pos"} == {name for name, _ in row["on"]} for row in answered)


def test_it_may_train_on_from_there(two):
    document = combining.document(
        [run for run, _ in two], [1.0, 1.0], training={"steps": 2, "evaluate_every": 1, "batch_size": 8, "energy": False, "device": "cpu"}
    )
    _, result = finished(document)
    assert result["steps"] == 2 and result["trainable"] > 0


def test_what_does_not_go_together_says_why(two, both, bert, tmp_path, tmp_path_factory):
    first, second = (run for run, _ in two)
    other = save_model(tmp_path / "other", hidden_size=48)
    toy = save_task(tmp_path_factory.mktemp("elsewhere"), rows=60)
    stranger, _ = finished(spec(other, toy, "lora", steps=2))
    turned, _ = finished(spec(bert, {**spec_of(Queue(Home(), count=0).store.get(first).spec).task.model_dump(mode="json")}, "lora", steps=2))
    for runs, more, sentence in (
        ([first, stranger], {}, "another base"), ([first, first], {}, "is there twice"), ([first, "nobody"], {}, "no run"), ([first], {}, "at least 2"),
        ([first, second], {"how": "ties"}, "same method"), ([first, second], {"rank": 4}, "more than weights"), ([first, second], {"weights": [1.0]}, "give one for each"),
    ):  # fmt: skip
        with pytest.raises(Refusal, match=sentence) as refused:
            combining.document(runs, **more)
        assert refused.value.field.startswith("combination")
    assert combining.document([first, turned])["further"] == []
    with pytest.raises(Refusal, match="leave task"):
        verbs.check({**combining.document([first, second]), "further": []})
