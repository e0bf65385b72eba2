"""A run that ends early and another one that continues it leave what one run leaves."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file
from training_support import save_model, save_task, spec

from lab import continuing, verbs
from lab.design.plain.refusal import Refusal
from lab.runs import default
from lab.runs.processes import identity
from lab.training import Record as Reporter
from lab.training import train


def weights(folder):
    return {f"{path.stem}/{name}": value for path in sorted(folder.glob("*.safetensors")) for name, value in load_file(path).items()}


@pytest.mark.parametrize("method", ["lora", "adalora"])
def test_rungs_continue_a_run_exactly(lab_home, tmp_path, method):
    """Ten steps in three runs leave what one run of ten steps leaves: moments, order of rows, dropout, learning rate, schedules."""
    model = save_model(tmp_path / "model", hidden_dropout_prob=0.1)
    asked = {"steps": 10, "evaluate_every": 5, "checkpoint_every": 100}
    changes = {"deltas.0.schedule.every": 2} if method == "adalora" else {}
    whole = spec(model, save_task(tmp_path / "task", rows=90), {"preset": method, "set": changes}, **asked)
    train(whole, Reporter(), tmp_path / "whole", say=lambda line: None)
    lab, before, result = default(), "", {}
    for until in (3, 7, None):
        document = whole.document()
        document["training"]["until"], document["built_on"]["continues"] = until, before
        checked = verbs.check(document)
        run_id = lab.store.create(checked.document(), name="rung")
        lab.store.claim(run_id, identity())
        result = train(checked, Reporter(), lab.home.run_dir(run_id, create=True), say=lambda line: None)
        assert result["state"] == "succeeded" and result["steps"] == (until or 10)
        lab.store.finish(run_id, "succeeded", result=result)
        before = run_id
    one, other = weights(tmp_path / "whole" / "adapter"), weights(lab.home.file(before, "adapter"))
    assert one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
    tested = verbs.check(continuing.filled({"built_on": {"continues": before}, "training": {"test": True}}))
    last = train(tested, Reporter(), tmp_path / "tested", say=lambda line: None)
    assert last["test"] and last["metrics"] == result["metrics"] and last["best"] == result["best"], "the test split costs no step more"
    for change, words in (({"seed": 7}, "differs from this one in seed"), ({"training": {**document["training"], "lr": 0.5}}, "training.lr")):
        with pytest.raises(Refusal, match=words):
            verbs.check({**document, **change, "built_on": {"continues": before}})
    with pytest.raises(Refusal, match="later one"):
        verbs.check({**document, "training": {**document["training"], "until": 4}, "built_on": {"continues": before}})
