"""The time of a run before it starts: arithmetic on finished runs, and which of them count."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lab.design.spec.run import spec_of
from lab.runs import Store
from lab.runs.estimates import estimate

HOST = "here"


def document(method="lora", task="sentiment-rt", **training) -> dict:
    return spec_of({"model": "minilm-l6", "task": task, "method": method, "training": {"steps": 100, "batch_size": 8, **training}}).document()


@pytest.fixture
def finished(tmp_path):
    store = Store(f"sqlite:///{tmp_path / 'lab.db'}")

    def make(spec: dict, rows_per_second: float, *, seconds: float = 150.0, steps: int = 100, state: str = "succeeded", host: str = HOST, device: str = "cpu"):
        """A run of `steps` steps of its batch: what is left of `seconds` beside them went into 10 evaluations and one more."""
        training = steps * spec["training"]["batch_size"] / rows_per_second
        result = {"seconds": seconds, "training_seconds": training, "rows_per_second": rows_per_second, "train_rows": 6896, "steps": steps, "device": device}
        return replace(store.get(store.create(spec)), state=state, host=host, result=result)

    return make


def test_time_from_runs_of_the_same_kind(finished):
    runs = [finished(document(), 8.0), finished(document(), 10.0), finished(document({"preset": "lora", "set": {"deltas.0.rank": 64}}), 16.0)]
    found = estimate(document(), runs, "cpu", HOST)
    # 800 rows at 10 rows/s and 150 - 80 seconds beside them; the ends of the range are the other two
    assert (found.runs, found.alike) == (3, "method") and found.seconds == pytest.approx(150) and found.low == found.high == pytest.approx(150)
    longer = estimate(document(steps=400, evaluate_every=40), runs, "cpu", HOST)
    assert longer.low == pytest.approx(400 * 8 / 16 + 100) and longer.high == pytest.approx(400 * 8 / 8 + 50)
    epochs = estimate(document(steps=None, epochs=2.0), runs[:1], "cpu", HOST)
    assert epochs.seconds == pytest.approx(2 * 862 * 8 / 8 + 50 / 11 * (1 + 11), rel=1e-6), "862 steps an epoch; 1724 // 10 = 172 between evaluations"


def test_evaluations_count_as_they_are_planned(finished):
    """A run that tells what judging took: 800 rows at 8 a second, 831 validation rows at 20 a second, and 30 s to begin and end."""
    ended = finished(document(evaluate_every=50), 8.0, seconds=100 + 30 + 100)
    made = {"times": 5, "rows": 2000, "cost": 1000.0, "seconds": 100.0, "splits": [[831, 0.5]]}
    ended = replace(ended, result={**ended.result, "evaluations": made})
    assert estimate(document(), [ended], "cpu", HOST).seconds == pytest.approx(100 + 30 + (80 - 20 * 0.5) * 0.1), (
        "a tenth of 800 trained rows less the 20 that pages show, at 10 a second"
    )
    told = estimate(document(evaluate_every=100, evaluation_rows=100), [ended], "cpu", HOST).seconds
    assert told == pytest.approx(100 + 30 + (2 * 100 + 2 * 831) / 20), "as told: before, at the end, and of both the last and the best weights by all rows"


def test_nearer_runs_count_alone(finished):
    other, batch, same = finished(document("full"), 2.0), finished(document(batch_size=32), 20.0, seconds=300), finished(document(), 8.0)
    assert estimate(document(), [other], "cpu", HOST).alike == "task"
    assert estimate(document(), [other, batch], "cpu", HOST).alike == "kind"
    assert (estimate(document(), [other, batch, same], "cpu", HOST).alike, estimate(document(), [other, batch, same], "cpu", HOST).runs) == ("method", 1)


def test_what_says_nothing(finished):
    assert estimate(document(), [], "cpu", HOST) is None
    for run in (finished(document(steps=2), 8.0, steps=2), finished(document(), 8.0, host="elsewhere"), finished(document(), 8.0, device="NVIDIA L40S"), finished(document(), 8.0, state="failed"),
                finished(document(task="sentiment-imdb"), 8.0), finished(document(max_length=32), 8.0), finished(document(gradient_checkpointing=True), 8.0),
                replace(finished(document(), 8.0), result={"seconds": 3.0})):  # fmt: skip
        assert estimate(document(), [run], "cpu", HOST) is None
    on_card = finished(document(), 80.0, host="elsewhere", device="NVIDIA L40S")
    assert estimate(document(), [on_card], "NVIDIA L40S", HOST).runs == 1, "an accelerator is the same on any machine"
