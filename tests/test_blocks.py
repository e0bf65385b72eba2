"""Trained runs as building blocks: read back whole, refused for another base or other labels, trained further, stood on, fused."""

from __future__ import annotations

import pytest
import torch
from training_support import save_model, save_task, spec

from lab import blocks, verbs
from lab.design.plain.refusal import Refusal
from lab.design.spec.run import Origins
from lab.runs import Home, Queue, WorkerLink
from lab.training import train


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    return save_model(tmp_path_factory.mktemp("bert"))


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    return save_task(tmp_path_factory.mktemp("toy"), rows=60)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A LAB_HOME for the whole file, whose runs are only read."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LAB_HOME", str(tmp_path_factory.mktemp("home")))
        yield Home().path


def finished(chosen, **more):
    """Train in this process what `verbs.check` gives, as a worker would; the run's id."""
    checked = verbs.check(chosen)
    lab = Queue(Home(), count=0)
    run_id = lab.launch(checked.document(), checked.name)
    link = WorkerLink(run_id, lab.home, lab.store)
    result = train(checked, link, link.run_dir, run_id=run_id, say=lambda line: None)
    link.finish("succeeded", result)
    return run_id


@pytest.fixture(scope="module")
def lora(home, bert, toy):
    return finished(spec(bert, toy, "lora", steps=4, evaluate_every=2, lr=0.01))


def test_a_block_is_what_the_run_left(home, lora, bert):
    block = blocks.read(lora)
    assert block.name == f"{lora}/best" and block.labels == ("neg", "pos") and block.objective == "classification" and 0 <= block.metrics["accuracy"] <= 1
    assert blocks.read(f"{lora}/final").folder.name == "adapter" and blocks.read(lora[:5]).run == lora
    assert block.print and block.print == blocks.read(lora).print and set(block.head()) and all("deltas.0." in name for name in block.state())
    now = verbs.check(block.spec).origins
    blocks.require_base(block, now, bert)
    blocks.require_base(block, now, "/another/place/of/the/same/files")
    blocks.require_labels(block, ["neg", "pos"])
    torch.testing.assert_close(block.state(), blocks.read(f"{lora}/best").state(), rtol=0, atol=0)


@pytest.mark.parametrize(
    "change, words", [({"weights": "1"}, "the weights of"), ({"config": "1"}, "the config.json of"), ({"tokenizer": "1"}, "the tokenizer of")]
)
def test_another_base_is_refused(home, lora, bert, change, words):
    block = blocks.read(lora)
    now = block.base.model_copy(update=change)
    with pytest.raises(Refusal, match=words) as refused:
        blocks.require_base(block, now, bert, "built_on.start")
    assert refused.value.field == "built_on.start"
    with pytest.raises(Refusal, match="choose the same model"):
        blocks.require_base(block, Origins(), "bert-base")  # prints that are not known yet: then the name decides


def test_other_labels_and_runs_without_an_adapter_are_refused(home, lora, bert, toy):
    with pytest.raises(Refusal, match="labels neg, pos, and these are pos, neg"):
        blocks.require_labels(blocks.read(lora), ["pos", "neg"])
    waiting = Queue(Home(), count=0).launch(spec(bert, toy).document())
    with pytest.raises(Refusal, match="wait for its end") as refused:
        blocks.read(waiting, "built_on.frozen.0")
    assert refused.value.field == "built_on.frozen.0"
    for words in ("nosuchrun", f"{lora}/worst", "../../etc"):
        with pytest.raises(Refusal):
            blocks.read(words)
