"""Data made ahead by a thread: the same steps, positions, resumptions and errors as without it. Forced on here; on a CPU it is off."""

from __future__ import annotations

import random
import threading

import pytest
import torch
from test_training_loop import Deadly, Impatient, Killed, same, silent, weights
from training_support import save_model, save_task, spec

from lab.design.spec.run import Training
from lab.tasks import Prepared
from lab.training import Record, feeding, train
from lab.training.batches import Mixture
from lab.training.feeding import Feed

CPU = torch.device("cpu")


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("collation")]


class Words:
    """What a feed asks of a task: rows, and a batch of them."""

    objective = "classification"

    def __init__(self, rows: int, bad: int = -1):
        self.train, self.bad, self.asked = [*range(rows)], bad, 0

    def collate(self, rows):
        self.asked += 1
        if self.bad in rows:
            raise ValueError(f"row {self.bad} is no row")
        return {"input_ids": torch.tensor(rows)[:, None], "labels": torch.tensor(rows)}


def feed_of(tasks: list[Words], monkeypatch, depth: int, processes: int = 1, rank: int = 0) -> Feed:
    monkeypatch.setattr(feeding, "depth_of", lambda device: depth)
    training = Training(batch_size=3, accumulation=2)
    steps = Mixture([[1 + row % 7 for row in task.train] for task in tasks], 6 * processes, seed=4)
    return Feed(steps, tasks, training, CPU, processes, rank)


def seen(step) -> tuple:
    return step.task, [(batch["labels"].tolist(), weight) for batch, weight in step.passes], step.targets, step.tokens, step.rows, step.after


def test_on_a_cpu_nothing_is_made_ahead():
    assert feeding.depth_of(CPU) == 0 and feeding.depth_of(torch.device("cuda", 1)) == feeding.depth_of(torch.device("mps")) == 2


@pytest.mark.parametrize(("processes", "rank"), [(1, 0), (2, 1)])
def test_steps_made_ahead_are_those_made_in_turn(monkeypatch, processes, rank):
    """Of two tasks over several epochs, with the position set back and forth in between, as a step taken back and a checkpoint do."""
    plain = feed_of([Words(40), Words(17)], monkeypatch, 0, processes, rank)
    wanted, places = [], [plain.steps.positions]
    for _ in range(30):
        wanted.append(seen(next(plain)))
        places.append(plain.steps.positions)
    tasks = [Words(40), Words(17)]
    ahead = feed_of(tasks, monkeypatch, 2, processes, rank)
    draw, at = random.Random(1), 0
    for _ in range(60):
        if at == 30 or draw.random() < 0.2:
            at = draw.randrange(30)
            ahead.steps.positions = places[at]
            if draw.random() < 0.3:
                ahead.close()
        assert seen(next(ahead)) == wanted[at]
        at += 1
        assert ahead.steps.positions == places[at] and ahead.steps.taken == [
            p.epoch * s.per_epoch + p.index for p, s in zip(places[at], ahead.steps.streams, strict=True)
        ]
    assert threads()
    ahead.close()
    assert not threads() and not plain._thread


def test_no_more_is_made_than_the_depth(monkeypatch):
    task = Words(600)
    ahead = feed_of([task], monkeypatch, 2)
    next(ahead)
    ahead._made[-1].result()
    assert task.asked == 2 * 3, "two passes of the step that was taken, and of the two after it"
    ahead.close()


@pytest.mark.parametrize("depth", [0, 2])
def test_an_error_of_collation_is_raised_when_its_step_is_due(monkeypatch, depth):
    whole = feed_of([Words(60)], monkeypatch, 0)
    order = [seen(next(whole))[1] for _ in range(10)]
    bad = order[5][1][0][0]
    feed = feed_of([Words(60, bad)], monkeypatch, depth)
    for number in range(5):
        assert seen(next(feed))[1] == order[number]
    with pytest.raises(ValueError, match=f"row {bad} is no row"):
        next(feed)
    feed.close()
    assert not threads()


# -- whole runs --------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A model that draws random numbers, two tasks, and a run of them as it is without a thread."""
    folder = tmp_path_factory.mktemp("fed")
    model = save_model(folder / "bert", hidden_dropout_prob=0.1, attention_probs_dropout_prob=0.1)
    other = {**save_task(folder / "other", rows=90, seed=5), "name": "other"}
    given = spec(model, save_task(folder / "toy"), steps=8, evaluate_every=4, checkpoint_every=3, accumulation=2)
    given = given.model_copy(update={"further": [spec(model, other).task]})
    train(given, Record(), folder / "plain", say=silent)
    return given, folder / "plain"


@pytest.fixture
def ahead(monkeypatch):
    monkeypatch.setattr(feeding, "depth_of", lambda device: 2)


def test_a_run_fed_ahead_is_the_same_run_and_leaves_no_thread(made, ahead, tmp_path):
    given, plain = made
    train(given, Record(), tmp_path, say=silent)
    assert not same(weights(plain), weights(tmp_path)) and not same(weights(plain, "best"), weights(tmp_path, "best")) and not threads()


def test_killed_and_stopped_in_the_midst_of_a_step_it_resumes_to_the_same_weights(made, ahead, tmp_path):
    given, plain = made
    for reporter in (Deadly(5), Impatient(7), Impatient(9), Impatient(8)):
        if isinstance(reporter, Deadly):
            with pytest.raises(Killed):
                train(given, reporter, tmp_path, say=silent)
        else:
            assert train(given, reporter, tmp_path, say=silent)["state"] == "cancelled"
        assert not threads()
    train(given, Record(), tmp_path, say=silent)
    assert not same(weights(plain), weights(tmp_path))


def test_an_error_of_collation_ends_the_run_at_its_step(made, ahead, tmp_path, monkeypatch):
    given, _ = made
    right, calls = Prepared.collate, []

    def wrong(self, rows):
        if threading.current_thread().name.startswith("collation"):
            calls.append(1)
            if len(calls) == 2 * 4:
                raise MemoryError("no room for this batch")
        return right(self, rows)

    monkeypatch.setattr(Prepared, "collate", wrong)
    record = Record()
    with pytest.raises(MemoryError, match="no room for this batch"):
        train(given, record, tmp_path, say=silent)
    assert list(record.curve("loss")) == [1, 2, 3] and not threads()
