"""Faults on real runs: workers and the app killed with SIGKILL at random moments, a full disk, damaged checkpoints, a locked store.

    LAB_FAULTS=100,20 python -m pytest tests/test_faults.py -m slow -s       # kills of workers, kills of the app (the default)

The runs are real (`lab.training.worker` on a tiny BERT and a small CSV task, five methods), only small: most of a worker's life
is importing torch, which is when many kills hit, and the others are aimed at its steps, its checkpoints and its last moments.
"""
from __future__ import annotations

import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field

import pytest
from runs_support import alive, until

from lab.runs import Home, Queue, Run, Store, processes
from lab.runs.launch import ROOT

KILLS, APP_KILLS = (int(number) for number in os.environ.get("LAB_FAULTS", "100,20").split(","))
METHODS = ["lora", "bitfit", "adapter-pfeiffer", "prefix-tuning", "adalora"]
STEPS = 200
PER_RUN = 10
FALSE_SECONDS = 10.0  # most that a dead run may be shown as running


@pytest.fixture(scope="module")
def toys(tmp_path_factory) -> tuple[str, dict]:
    """A tiny model's folder and a task."""
    from training_support import save_model, save_task

    folder = tmp_path_factory.mktemp("toys")
    return save_model(folder / "model"), save_task(folder / "task", rows=240)


@pytest.fixture
def lab(tmp_path, monkeypatch):
    """A Queue of two slots with the real worker; what it started is ended afterwards."""
    monkeypatch.setenv("LAB_HOME", str(tmp_path / "home"))
    queue = Queue(Home(), count=2)
    yield queue
    for run in queue.store.active():
        processes.kill(processes.token(run.id, run.attempt))
    queue.store.close()


def document(toys, method: str, seed: int = 0, **training) -> dict:
    from training_support import spec

    given = {"steps": STEPS, "evaluate_every": 20, "checkpoint_every": 10, **training}
    return spec(toys[0], toys[1], method, seed, **given).document()


def numbers(run: Run) -> dict:
    """What two runs of one spec must have in common: final and best metrics, and the count of trained weights."""
    return {"metrics": run.result["metrics"], "best": run.result["best"], "trainable": run.result["trainable_final"]}


def ended(lab: Queue, ids: list[str], seconds: float) -> list[Run]:
    """Keep the queue going until these runs are over."""
    assert until(lambda: lab.reconcile() is not None and all(lab.store.get(i).over for i in ids), seconds, 0.2), [lab.log_tail(i) for i in ids]
    return [lab.store.get(i) for i in ids]


@dataclass
class Tally:
    """What the kills did."""

    kills: int = 0
    moments: dict[str, int] = field(default_factory=dict)  # where in a worker's life
    seen: list[float] = field(default_factory=list)  # seconds until the store no longer said running
    resumed: int = 0
    finished_anyway: int = 0  # killed after the end was told
    wrong: list[str] = field(default_factory=list)


class Killer:
    """Kills the workers of some runs at random moments and resumes what was interrupted, until the budget is spent."""

    def __init__(self, lab: Queue, ids: list[str], budget: int, dice: random.Random, life: float):
        self.lab, self.ids, self.budget, self.dice, self.life = lab, ids, budget, dice, life
        self.tally = Tally()
        self.plans: dict[tuple[str, int], tuple[str, float]] = {}
        self.began: dict[tuple[str, int], float] = {}
        self.dead: dict[tuple[str, int], tuple[float, int]] = {}
        self.count: dict[str, int] = dict.fromkeys(ids, 0)

    def turn(self) -> bool:
        """Look at every run once; whether all are over for good."""
        self.lab.reconcile()
        runs = [self.lab.store.get(i) for i in self.ids]
        for run in runs:
            key = (run.id, run.attempt)
            if key in self.dead:
                self.after(run, key)
            elif run.active and run.heartbeat is not None and run.pid != os.getpid():
                self.maybe_kill(run, key)
            elif run.state in ("interrupted", "failed"):
                self.tally.wrong.append(f"{run.id} {run.state} without a kill: {run.error}")
                self.lab.resume(run.id)
        return all(run.over and (run.id, run.attempt) not in self.dead for run in runs)

    def maybe_kill(self, run: Run, key: tuple[str, int]) -> None:
        now = time.monotonic()
        if key not in self.plans:
            if self.tally.kills >= self.budget or self.count[run.id] >= PER_RUN:
                return
            kind = self.dice.choice(["clock", "step", "step", "end"])
            self.plans[key] = (kind, self.dice.uniform(0, self.life) if kind == "clock" else self.dice.randint(min(run.step, STEPS - 1) + 1, STEPS) if kind == "step"
                               else self.dice.uniform(0, 0.6))
            self.began[key] = now
        kind, when = self.plans[key]
        if kind == "clock" and now - self.began[key] < when or kind == "step" and run.step < when or kind == "end" and run.step < STEPS:
            return
        time.sleep(when if kind == "end" else self.dice.uniform(0, 0.05))
        rows = len(self.lab.store.series(run.id, ["loss"]).get("loss", [()])[0])
        with suppress(ProcessLookupError):
            os.kill(run.pid, signal.SIGKILL)
        self.dead[key] = (time.monotonic(), rows)
        self.count[run.id] += 1
        self.tally.kills += 1
        where = "before its first step" if run.step == 0 else "while training" if run.step < STEPS else "at its end"
        self.tally.moments[where] = self.tally.moments.get(where, 0) + 1

    def after(self, run: Run, key: tuple[str, int]) -> None:
        """See how long the store says that a killed run runs, and resume it."""
        since, rows = self.dead[key]
        took = time.monotonic() - since
        if run.active:
            if took > FALSE_SECONDS:
                self.tally.wrong.append(f"{run.id} is {run.state} {took:.1f} s after its worker was killed")
                del self.dead[key]
            return
        del self.dead[key]
        self.tally.seen.append(took)
        if len(self.lab.store.series(run.id, ["loss"]).get("loss", [()])[0]) < rows:
            self.tally.wrong.append(f"{run.id} lost metrics that were written")
        if run.state == "succeeded":
            self.tally.finished_anyway += 1
        elif run.state == "interrupted":
            self.lab.resume(run.id)
            self.tally.resumed += 1
        else:
            self.tally.wrong.append(f"{run.id} was killed and is {run.state}: {run.error}")


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_workers_killed_at_random_moments(lab, toys):
    """No lost finished run, no false 'running', every run ends with the metrics of an undisturbed one, and whole curves."""
    began = time.monotonic()
    documents = {method: document(toys, method) for method in METHODS}
    calm = ended(lab, [lab.launch(documents[method]) for method in METHODS], 600)
    assert [run.state for run in calm] == ["succeeded"] * len(METHODS), [run.error for run in calm]
    expected = {run.spec["method"]["preset"]: numbers(run) for run in calm}
    life = sum(run.ended - run.started for run in calm) / len(calm)
    killer = Killer(lab, [], KILLS, random.Random(7), life)
    ids = killer.ids
    while not killer.turn() or killer.tally.kills < KILLS:
        if sum(not lab.store.get(i).over for i in ids) < 2 and killer.tally.kills < KILLS:
            ids.append(lab.launch(documents[METHODS[len(ids) % len(METHODS)]]))
            killer.count[ids[-1]] = 0
        assert time.monotonic() - began < 3000, "this takes too long"
        time.sleep(0.05)
    tally, runs = killer.tally, [lab.store.get(i) for i in ids]
    print(f"\n{tally.kills} workers killed ({', '.join(f'{n} {where}' for where, n in tally.moments.items())}) in {len(ids)} runs: {tally.resumed} resumed, "
          f"{tally.finished_anyway} had finished; a dead worker was seen after {sorted(tally.seen)[len(tally.seen) // 2]:.2f} s, at most {max(tally.seen):.2f} s; "
          f"{time.monotonic() - began:.0f} s in all, a worker's life {life:.1f} s")
    assert not tally.wrong, "\n".join(tally.wrong)
    for run in runs:
        assert run.state == "succeeded" and numbers(run) == expected[run.spec["method"]["preset"]], (run.id, numbers(run), lab.log_tail(run.id))
        assert lab.store.series(run.id, ["loss"])["loss"][0].tolist() == list(range(1, STEPS + 1)), "a curve without gaps"
    print(f"all {len(runs)} ended with exactly the metrics of an undisturbed run")


def start_app(home: Home) -> subprocess.Popen:
    from ui_support import free_port

    environment = {**os.environ, "LAB_HOME": str(home.path), "LAB_SLOTS": "2", "PYTHONUNBUFFERED": "1"}
    log = (home.path.parent / "app.log").open("ab")
    return subprocess.Popen([sys.executable, "app.py", "--port", str(free_port())], cwd=ROOT, env=environment, stdout=log, stderr=log, stdin=subprocess.DEVNULL)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_the_app_killed_at_random_moments(lab, toys):
    """Runs go on without it, and the next app takes the queue over: nobody but the apps starts or looks after workers here."""
    dice, began = random.Random(11), time.monotonic()
    only_look = Queue(lab.home, Store(lab.store.url), count=0)
    ids = [only_look.launch(document(toys, METHODS[n % len(METHODS)], steps=2 * STEPS)) for n in range(2 + APP_KILLS // 2)]
    app, kills, worst = start_app(lab.home), 0, 0.0
    orphan: dict[str, float] = {}
    try:
        while kills < APP_KILLS or any(not only_look.store.get(i).over for i in ids):
            due = time.monotonic() + dice.uniform(0.5, 14.0)
            while time.monotonic() < due:
                for run in only_look.store.active():
                    dead = run.heartbeat is not None and not alive(run.pid)
                    orphan.setdefault(run.id, time.monotonic()) if dead else orphan.pop(run.id, None)
                time.sleep(0.1)
            if kills < APP_KILLS:
                app.kill()
                app.wait()
                app, kills = start_app(lab.home), kills + 1
            worst = max([worst, *(time.monotonic() - since for since in orphan.values())])
            assert time.monotonic() - began < 1800, [run.state for run in only_look.store.list()]
    finally:
        app.kill()
        app.wait()
    runs = [only_look.store.get(i) for i in ids]
    assert [run.state for run in runs] == ["succeeded"] * len(runs), [(run.state, run.error) for run in runs]
    for first, run in zip(runs[: len(METHODS)], runs[len(METHODS):]):
        assert numbers(first) == numbers(run)
    starts = sum(run.attempt for run in runs)
    print(f"\nthe app was killed {kills} times over {len(runs)} runs: all succeeded, {starts} starts of workers, {time.monotonic() - began:.0f} s")


@pytest.fixture
def small_disk(tmp_path):
    """A folder on a disk of 6 MB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(folder)], capture_output=True, text=True)
    if mounted.returncode != 0:
        pytest.skip(f"no small disk can be mounted here: {mounted.stderr.strip()[:120]}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_full_disk(small_disk, toys, monkeypatch):
    """A run on a disk that fills up ends with a sentence and advice, and resumes to the end once there is room."""
    monkeypatch.setenv("LAB_HOME", str(small_disk / "home"))
    lab = Queue(Home(), count=1)
    run_id = lab.launch(document(toys, "lora"))
    assert until(lambda: lab.reconcile() is not None and lab.store.get(run_id).step > 20, 120), lab.log_tail(run_id)
    ballast = small_disk / "ballast"
    with suppress(OSError), ballast.open("wb") as file:
        while True:
            file.write(bytes(4096))
            file.flush()
    over = until(lambda: not alive(lab.store.get(run_id).pid), 120)
    assert over, "the worker ends"
    ballast.unlink()
    run = ended(lab, [run_id], 30)[0]
    print(f"\nfull disk: {run.state}: {run.error} | {run.advice}")
    assert run.state in ("failed", "interrupted", "succeeded")
    if run.state != "succeeded":
        assert "disk" in (run.error + run.advice).lower() and "Traceback" not in run.error
        lab.resume(run_id)
        run = ended(lab, [run_id], 120)[0]
    assert run.state == "succeeded", run.error
    lab.store.close()


def interrupted_run(lab: Queue, toys) -> str:
    """A run that was killed after some checkpoints, killed again and again until it is caught between two of them."""
    run_id = lab.launch(document(toys, "lora", steps=2000))
    folder = lab.home.run_dir(run_id) / "checkpoints"
    assert until(lambda: lab.reconcile() is not None and len(list(folder.glob("step-*"))) == 2, 120), lab.log_tail(run_id)
    os.kill(lab.store.get(run_id).pid, signal.SIGKILL)
    assert until(lambda: lab.reconcile() is not None and lab.store.get(run_id).state == "interrupted", 10)
    assert lab.resumable(lab.store.get(run_id))
    return run_id


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_corrupted_and_a_vanished_checkpoint(lab, toys):
    """The newest is damaged: the one before is used. All are gone: the run begins again and says so."""
    run_id, other = interrupted_run(lab, toys), interrupted_run(lab, toys)
    folder = lab.home.run_dir(run_id) / "checkpoints"
    before, newest = sorted(int(path.name[5:]) for path in folder.glob("step-*"))
    damaged = folder / f"step-{newest:06d}" / "adapter.safetensors"
    damaged.write_bytes(damaged.read_bytes()[:-7] + b"garbage")
    shutil.rmtree(lab.home.run_dir(other) / "checkpoints")
    assert not lab.resumable(lab.store.get(other))
    for each in (run_id, other):
        lab.resume(each)
    assert "from the beginning" in lab.store.events(other)[-2].message + lab.store.events(other)[-1].message
    first, second = ended(lab, [run_id, other], 240)
    log = (lab.home.run_dir(run_id) / "log.txt").read_text(encoding="utf-8")
    assert f"The checkpoint of step {newest} is damaged" in log and f"Resumed at step {before} of 2000." in log
    assert "Resumed at" not in (lab.home.run_dir(other) / "log.txt").read_text(encoding="utf-8")
    assert first.state == second.state == "succeeded" and numbers(first) == numbers(second)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_store_locked_for_ten_seconds_delays_no_step(lab, toys):
    """Training goes on while the store is locked; every row arrives after."""
    run_id = lab.launch(document(toys, "lora", steps=1500, checkpoint_every=1500))
    assert until(lambda: lab.reconcile() is not None and lab.store.get(run_id).step > 20, 120), lab.log_tail(run_id)
    other = sqlite3.connect(lab.home.path / "lab.db", isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    threading.Timer(10.0, lambda: other.execute("COMMIT")).start()
    time.sleep(10.5)
    run = ended(lab, [run_id], 120)[0]
    assert run.state == "succeeded" and run.attempt == 1, (run.error, lab.log_tail(run_id))
    steps, _, times = lab.store.series(run_id, ["loss"])["loss"]
    assert steps.tolist() == [step for step in range(1, 1501) if step % 3 == 0 or step % 20 == 0], "every row arrived"
    assert max(times[1:] - times[:-1]) < 8.0, "its steps went on meanwhile"


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_what_the_system_kills_for_memory_says_so(lab, toys):
    """A worker that the kernel ends (SIGKILL from nobody of ours, as the out-of-memory killer does) gets advice on memory."""
    run_id = interrupted_run(lab, toys)
    run = lab.store.get(run_id)
    assert run.exit_code == -9 and "SIGKILL" in run.error and "batch_size" in run.advice and "Resume" in run.advice
