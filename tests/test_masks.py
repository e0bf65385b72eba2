"""Quickly drawn dropout masks: the right share, fixed by torch's generator, in every run on a processor that needs them, and nowhere else."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from training_support import save_model, save_task, spec

from lab.training import masks, train
from lab.training.reporting import Record

BIG = 1 << 18


@pytest.fixture
def slow(monkeypatch):
    """As on a processor for which torch draws one by one."""
    monkeypatch.setattr(masks, "slow_here", lambda: True)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.bool])
@pytest.mark.parametrize("p", [0.0, 0.001, 0.1, 1 / 3, 0.5, 0.9, 0.999, 1.0])
def test_the_share_is_kept_and_neighbours_know_nothing_of_each_other(slow, p, dtype):
    torch.manual_seed(7)
    with masks.quick():
        drawn = torch.empty(BIG, dtype=dtype).bernoulli_(p).double()
        turned = torch.empty(1 << 9, 1 << 9).t().bernoulli_(p)
    deviation = (p * (1 - p) / BIG) ** 0.5
    assert abs(float(drawn.mean()) - p) <= 5 * deviation and abs(float(turned.double().mean()) - p) <= 5 * deviation
    assert set(drawn.unique().tolist()) <= {0.0, 1.0}
    if 0 < p < 1:
        for step in (1, 4, 64):
            both = float(((drawn[:-step] - p) * (drawn[step:] - p)).mean())
            assert abs(both) <= 5 * p * (1 - p) / BIG**0.5, step


def test_the_share_is_p_on_average_though_bits_are_few(slow, monkeypatch):
    """Where 3 bits stand for the 16, a third lies far between two steps of them, and is met over many masks."""
    monkeypatch.setattr(masks, "BITS", 3)
    monkeypatch.setattr(masks, "HALF", 4)

    class Few:
        def __init__(self, seed):
            self.generator = np.random.default_rng(seed)

        def random_raw(self, words):
            return self.generator.integers(-4, 4, words * 64, dtype=np.int16)

    monkeypatch.setattr(masks.np.random, "SFC64", Few)
    with masks.quick():
        shares = [float(torch.empty(masks.FEWEST).bernoulli_(1 / 3).mean()) for _ in range(400)]
    assert {round(share * 8) for share in shares} == {2, 3}, "each mask has one of the two steps"
    assert np.mean(shares) == pytest.approx(1 / 3, abs=5 * 0.06 / 400**0.5)


def test_masks_follow_torchs_generator(slow):
    """The same from the same state, another from the next; a forward pass computed again has its own; a generator of one's own counts."""
    x = torch.ones(BIG)
    with masks.quick():
        torch.manual_seed(3)
        one = F.dropout(x, 0.1)
        state = torch.get_rng_state()
        two = F.dropout(x, 0.1)
        assert not torch.equal(one, two)
        torch.set_rng_state(state)
        assert torch.equal(F.dropout(x, 0.1), two)
        torch.manual_seed(3)
        assert torch.equal(F.dropout(x, 0.1), one)
        own = [torch.empty(BIG).bernoulli_(0.5, generator=torch.Generator().manual_seed(5)) for _ in range(2)]
        assert torch.equal(*own)
        weight = torch.full((BIG,), 2.0, requires_grad=True)
        again = torch.utils.checkpoint.checkpoint(lambda w: F.dropout(w * w, 0.5), weight, use_reentrant=False)
        again.sum().backward()
        torch.testing.assert_close(weight.grad, (again.detach() > 0) * 8.0)


def test_torch_is_as_it_was_outside(slow):
    def drawn():
        torch.manual_seed(0)
        return torch.empty(BIG).bernoulli_(0.3)

    own = drawn()
    with masks.quick():
        with masks.quick():
            inside = drawn()
        assert torch.equal(drawn(), inside) and not torch.equal(inside, own)
    assert torch.equal(drawn(), own)


def test_a_run_draws_them_where_torch_is_slow_and_gives_torch_back(tmp_path, monkeypatch):
    model, task = save_model(tmp_path / "bert", hidden_dropout_prob=0.3), save_task(tmp_path / "task")
    losses = {}
    for name, here in (("quick", True), ("again", True), ("torch", False)):
        monkeypatch.setattr(masks, "slow_here", lambda here=here: here)
        record = Record()
        train(spec(model, task, steps=4), record, tmp_path / name, say=lambda line: None)
        losses[name] = record.curve("loss")
    assert losses["quick"] == losses["again"] != losses["torch"]
    assert masks._library is None
