"""The worker process: claimed from the queue, stopped, killed, resumed, failed. Of several processes: test_several_devices.py."""

from __future__ import annotations

import os
import signal
import time

import pytest
import torch
from runs_support import starting
from safetensors.torch import load_file
from training_support import save_model, save_task, spec

from lab.runs import Queue
from lab.runs.home import Home

WAIT = 150.0


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    return save_model(tmp_path_factory.mktemp("bert"), hidden_dropout_prob=0.1)


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    return save_task(tmp_path_factory.mktemp("toy"))


@pytest.fixture
def queue(lab_home, monkeypatch):
    """One whose workers start warm, with one fork server for all tests here."""
    monkeypatch.delenv("LAB_RUN_ID", raising=False)
    queue = Queue(Home(lab_home))
    starting(queue, "warm", monkeypatch)
    return queue


def until(queue, run_id, done):
    end = time.monotonic() + WAIT
    while time.monotonic() < end:
        queue.reconcile()
        run = queue.store.get(run_id)
        if done(run):
            return run
        time.sleep(0.1)
    raise AssertionError(f"{run_id} is {run.state} at step {run.step} after {WAIT} s\n{queue.log_tail(run_id)}")


def last_weights(folder):
    return {p.stem + k: v for p in sorted(folder.glob("*.safetensors")) for k, v in load_file(p).items()}


def test_a_worker_is_stopped_killed_and_resumed_and_ends_as_if_nothing_had_happened(queue, bert, toy, monkeypatch):
    """Begun cold and resumed warm, it has the very weights and result of another one, all warm, that nobody disturbed."""
    given = spec(bert, toy, steps=160, evaluate_every=80, checkpoint_every=10, lr=0.003)
    with monkeypatch.context() as for_now:
        starting(queue, "cold", for_now)
        run_id = queue.launch(given.document(), "a run")
    until(queue, run_id, lambda run: run.step >= 12)
    queue.stop(run_id)
    run = until(queue, run_id, lambda run: run.over)
    assert run.state == "cancelled" and 12 <= run.step < 160 and run.exit_code == 0
    stopped = run.step
    assert queue.home.has_checkpoint(run_id)

    queue.resume(run_id)
    run = until(queue, run_id, lambda run: run.step >= stopped + 15)
    os.kill(run.pid, signal.SIGKILL)
    run = until(queue, run_id, lambda run: run.over)
    assert run.state == "interrupted"

    queue.resume(run_id)
    run = until(queue, run_id, lambda run: run.over)
    assert run.state == "succeeded" and run.step == run.total_steps == 160, queue.log_tail(run_id)
    assert run.result["best"]["accuracy"] > 0.6 and run.result["run"] == run_id
    curves = queue.store.series(run_id)
    assert list(curves["loss"][0]) == list(range(1, 161)) and list(curves["eval_accuracy"][0]) == [0, 80, 160]
    folder = queue.home.run_dir(run_id)
    log = (folder / "log.txt").read_text()
    assert "Resumed at step" in log and "Traceback" not in log and log.count(", warm\n") == 2

    other = until(queue, queue.launch(given.document(), "the same"), lambda run: run.over)
    assert {key: other.result[key] for key in ("metrics", "best", "trainable", "steps")} == {
        key: run.result[key] for key in ("metrics", "best", "trainable", "steps")
    }

    assert other.attempt == 1 and list(queue.store.series(other.id)["loss"][1]) == list(curves["loss"][1])
    mine, wanted = (last_weights(queue.home.run_dir(each) / "adapter") for each in (run_id, other.id))
    assert mine and mine.keys() == wanted.keys() and all(torch.equal(mine[name], wanted[name]) for name in wanted)


def test_a_failure_is_told_with_advice(queue, bert, toy):
    damaged = {**toy, "columns": {"text": "review"}}
    run_id = queue.launch(spec(bert, damaged).document(), "wrong column")
    run = until(queue, run_id, lambda run: run.over)
    assert run.state == "failed" and run.exit_code == 1
    assert "review" in run.error and run.advice and "Traceback" not in run.advice
    assert "Traceback" in queue.log_tail(run_id)


def test_sigterm_from_the_system_leaves_a_checkpoint(queue, bert, toy):
    run_id = queue.launch(spec(bert, toy, steps=2000, evaluate_every=1000, checkpoint_every=1000).document(), "long")
    run = until(queue, run_id, lambda run: run.step >= 5)
    os.kill(run.pid, signal.SIGTERM)
    run = until(queue, run_id, lambda run: run.over)
    assert run.state == "interrupted", "nobody asked for the stop"
    assert queue.home.has_checkpoint(run_id)
