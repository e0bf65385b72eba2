"""Faults on real runs: workers, the app, PostgreSQL, deletes and exports killed with SIGKILL at random moments, a full disk, damaged
checkpoints, a locked store. Nothing is lost, nothing is half there, and no state is false; each test prints its figures.

    LAB_FAULTS=100,20,20,10,10 python -m pytest tests/test_faults.py -m slow -s    # kills of workers, app, PostgreSQL, deletes, exports (the default)
    LAB_FAULTS=20 LAB_FAULTS_SEED=3 LAB_FAULTS_SECONDS=240 ...                       # a piece of it: other moments, one method in turn
    python -m pytest tests/test_faults.py -s                                        # the same, small, with a worker without torch

The runs are real (`lab.training.worker` on a tiny BERT and a small CSV task, five methods), only small: most of a worker's life
is importing torch, which is when many kills hit, and the others are aimed at its steps, its checkpoints and its last moments.
"""

from __future__ import annotations

import os
import pwd
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest
from runs_support import WORKER, alive, starting, until
from sqlalchemy.exc import SQLAlchemyError
from ui_support import free_port

from lab.runs import Home, Keeper, Queue, Run, Store, files, processes
from lab.runs.launcher import COMMAND, ROOT

ASKED = [int(number) for number in os.environ.get("LAB_FAULTS", "").split(",") if number]
KILLS, APP_KILLS, SERVER_KILLS, DELETES, EXPORTS = [*ASKED, *[100, 20, 20, 10, 10][len(ASKED) :]]
SEED = int(os.environ.get("LAB_FAULTS_SEED", "0"))  # other moments
SECONDS = float(os.environ.get("LAB_FAULTS_SECONDS", "inf"))  # after which no more workers are killed; what was begun goes on to its end
SMALL = {"workers": 4, "server": 2, "deletes": 3}
FAKE = {"steps": 150, "pause": 0.01, "checkpoint_every": 10}
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
def lab(tmp_path, monkeypatch, request):
    """A Queue of two slots with the real worker, or with `fake` as the parameter's second word the one without torch; what it started is ended afterwards."""
    how, _, fake = getattr(request, "param", "warm").partition(" ")
    monkeypatch.setenv("LAB_HOME", str(tmp_path / "home"))
    queue = Queue(Home(), count=2, command=WORKER if fake else None)
    starting(queue, how, monkeypatch)
    yield queue
    for run in queue.store.active():
        processes.kill(queue.store.token(run))
    queue.store.close()


def document(toys, method: str, seed: int = 0, **training) -> dict:
    from training_support import spec

    given = {"steps": STEPS, "evaluate_every": 20, "checkpoint_every": 10, **training}
    return spec(toys[0], toys[1], method, seed, **given).document()


def numbers(run: Run) -> dict:
    """What two runs of one spec must have in common: final and best metrics, and the count of trained weights."""
    return {key: run.result.get(key) for key in ("metrics", "best", "trainable_final", "accuracy")}


def broken(lab: Queue, run: Run) -> str:
    """What of a run that ended is not whole: its curve, its files; '' where everything is."""
    total = run.total_steps or 0
    logged = [step for step in range(1, total + 1) if step % max(1, total // 400) == 0 or step % 20 == 0 or total <= 400]
    if run.state != "succeeded" or lab.store.series(run.id, ["loss"])["loss"][0].tolist() != logged:
        return f"{run.id} is {run.state} ({run.error}), its curve has {len(lab.store.series(run.id, ['loss']).get('loss', [()])[0])} of {len(logged)} points"
    if not run.result.get("best"):
        return ""
    from lab.training.artefacts import astray

    return astray(lab.home.run_dir(run.id), run.result)


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

    def __init__(self, lab: Queue, ids: list[str], budget: int, dice: random.Random, life: float, steps: int):
        self.lab, self.ids, self.budget, self.dice, self.life, self.steps = lab, ids, budget, dice, life, steps
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
            elif run.state == "succeeded" and key in self.began:  # a life on a machine that may be busier, or freer, than it was in peace
                self.life = min(self.life, time.monotonic() - self.began.pop(key))
            elif run.state in ("interrupted", "failed"):
                self.tally.wrong.append(f"{run.id} {run.state} without a kill: {run.error}")
                self.lab.resume(run.id)
        return all(run.over and (run.id, run.attempt) not in self.dead for run in map(self.lab.store.get, self.ids))  # read again: one may have been resumed

    def maybe_kill(self, run: Run, key: tuple[str, int]) -> None:
        now = time.monotonic()
        if key not in self.plans:
            if self.tally.kills >= self.budget or self.count[run.id] >= PER_RUN:
                return
            kind = self.dice.choice(["clock", "step", "step", "end"])
            self.plans[key] = (
                kind,
                self.dice.random()
                if kind == "clock"
                else self.dice.randint(min(run.step, self.steps - 1) + 1, self.steps)
                if kind == "step"
                else self.dice.uniform(0, 0.6),
            )
            self.began[key] = now
        kind, when = self.plans[key]
        if kind == "clock" and now - self.began[key] < when * self.life or kind == "step" and run.step < when or kind == "end" and run.step < self.steps:
            return
        time.sleep(when if kind == "end" else self.dice.uniform(0, 0.05))
        rows = len(self.lab.store.series(run.id, ["loss"]).get("loss", [()])[0])
        with suppress(ProcessLookupError):
            os.kill(run.pid, signal.SIGKILL)
        self.dead[key] = (time.monotonic(), rows)
        self.count[run.id] += 1
        self.tally.kills += 1
        where = "before its first step" if run.step == 0 else "while training" if run.step < self.steps else "at its end"
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


def hunt(lab: Queue, documents: dict[str, dict], kills: int, steps: int) -> None:
    """Run every document once in peace, then so often that `kills` workers are killed; each must end as it did in peace."""
    began = time.monotonic()
    calm = ended(lab, [lab.launch(each, name) for name, each in documents.items()], 600)
    assert [run.state for run in calm] == ["succeeded"] * len(documents), [run.error for run in calm]
    expected = {run.name: numbers(run) for run in calm}
    hunting = time.monotonic()
    killer = Killer(lab, [], kills, random.Random(7 + SEED), sum(run.ended - run.started for run in calm) / len(calm), steps)
    ids, names = killer.ids, list(documents)
    while not killer.turn() or killer.tally.kills < killer.budget:
        if time.monotonic() - hunting > SECONDS:
            killer.budget = killer.tally.kills
        if sum(not lab.store.get(i).over for i in ids) < 2 and killer.tally.kills < killer.budget:
            name = names[len(ids) % len(names)]
            ids.append(lab.launch(documents[name], name))
            killer.count[ids[-1]] = 0
        assert time.monotonic() - began < 3000, "this takes too long"
        time.sleep(0.15)  # the workers need the processor
    tally, runs = killer.tally, [lab.store.get(i) for i in ids]
    assert tally.seen, f"no time for a kill in {SECONDS:g} s"
    print(
        f"\n{tally.kills} workers killed ({', '.join(f'{n} {where}' for where, n in tally.moments.items())}) in {len(ids)} runs: {tally.resumed} resumed, "
        f"{tally.finished_anyway} had finished; a dead worker was seen after {sorted(tally.seen)[len(tally.seen) // 2]:.2f} s, at most {max(tally.seen):.2f} s; "
        f"{time.monotonic() - began:.0f} s in all, a worker's life {killer.life:.1f} s"
    )
    assert not tally.wrong, "\n".join(tally.wrong)
    for run in runs:
        assert not broken(lab, run) and numbers(run) == expected[run.name], (broken(lab, run), numbers(run), lab.log_tail(run.id))
    print(f"all {len(runs)} ended with exactly the metrics of an undisturbed run, whole curves, and the files that their results name")


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("lab", ["cold", "warm"], indirect=True)  # half of the kills each
def test_workers_killed_at_random_moments(lab, toys):
    """No lost finished run, no false 'running', every run ends with the metrics and files of an undisturbed one, and whole curves."""
    chosen = METHODS if KILLS > 20 else [METHODS[SEED % len(METHODS)]]  # a piece of the whole, one method each
    hunt(lab, {method: document(toys, method) for method in chosen}, (KILLS + 1) // 2, STEPS)


@pytest.mark.parametrize("lab", ["warm fake", pytest.param("cold fake", marks=pytest.mark.slow)], indirect=True)
def test_some_workers_killed_at_random_moments(lab):
    """The same with a worker that needs no torch."""
    hunt(lab, {"fake": FAKE}, SMALL["workers"], FAKE["steps"])


class Server:
    """A PostgreSQL of one's own that can be killed with all its processes, and started again on what it left."""

    def __init__(self, folder: Path, programs: Path):
        self.data, self.programs, self.port = folder / "data", programs, free_port()
        self.who = {"cwd": "/", "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        folder.chmod(0o755)
        if os.getuid() == 0:
            owner = pwd.getpwnam("postgres")
            os.chown(folder, owner.pw_uid, owner.pw_gid)
            self.who |= {"user": owner.pw_uid, "group": owner.pw_gid, "extra_groups": []}
        subprocess.run([programs / "initdb", "-U", "lab", "-A", "trust", "-E", "UTF8", "--no-sync", "-D", str(self.data)], check=True, **self.who)
        self.options = f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={folder} -c fsync=off"
        self.start()
        self.url = f"postgresql+psycopg://lab@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        command = [self.programs / "pg_ctl", "-w", "-D", str(self.data), "-o", self.options, "start"]
        assert until(lambda: subprocess.run(command, **self.who).returncode == 0, 60, 0.3), "PostgreSQL starts again"

    def kill(self) -> None:
        pid = int((self.data / "postmaster.pid").read_text().split()[0])
        children = psutil.Process(pid).children(recursive=True)
        for process in (psutil.Process(pid), *children):
            with suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(children, timeout=10)


@pytest.fixture
def server(tmp_path_factory):
    from runs_fixtures import _programs

    programs = _programs()
    if programs is None:
        pytest.skip("no PostgreSQL here: apt-get install postgresql")
    pytest.importorskip("psycopg", reason="no driver here: pip install -r requirements-postgres.txt")
    folder = Path(tempfile.mkdtemp(prefix="lab-pg-"))
    made = Server(folder, programs)
    yield made
    with suppress(FileNotFoundError, psutil.NoSuchProcess):
        made.kill()
    shutil.rmtree(folder, ignore_errors=True)


def storm(server: Server, home: Path, command: list[str], documents: list[dict], kills: int, pause: tuple[float, float]) -> None:
    """Kill the server again and again while runs train and an app's queue looks after them: all end whole, at their first attempt."""
    dice, began, lab = random.Random(13 + SEED), time.monotonic(), Queue(Home(home), Store(server.url), count=2, command=command)
    keeper = Keeper(lab, seconds=0.3)
    ids, done = lab.launch_all([{"document": each} for each in documents]), 0
    read: list[str] = []
    patient = threading.Thread(target=lambda: read.append(watched(lab, ids[-1]).state), daemon=True)  # as a terminal that waits does
    patient.start()
    try:
        while done < kills:
            time.sleep(dice.uniform(*pause))
            server.kill()
            time.sleep(dice.uniform(0.1, 4.0))
            server.start()
            done += 1
            if all(lab.store.get(i).over for i in ids) and done < kills:
                ids += lab.launch_all([{"document": each} for each in documents])
            assert time.monotonic() - began < 3000, "this takes too long"
        assert until(lambda: all(lab.store.get(i).over for i in ids), 900, 0.5), [(run.state, run.error) for run in map(lab.store.get, ids)]
        patient.join(60)
    finally:
        keeper.close()
    runs = [lab.store.get(i) for i in ids]
    wrong = [what for run in runs if (what := broken(lab, run))]
    assert not wrong, "\n".join(wrong)
    assert {run.attempt for run in runs} == {1} and read == ["succeeded"], [run.attempt for run in runs]
    for run in runs:
        assert numbers(run) == numbers(runs[ids.index(run.id) % len(documents)])
    print(f"\nPostgreSQL was killed {done} times under {len(runs)} runs: all succeeded at their first attempt, curves whole; {time.monotonic() - began:.0f} s")
    lab.store.close()


def watched(lab: Queue, run_id: str) -> Run:
    """The run once it is over, whatever the store does meanwhile."""
    while True:
        with suppress(SQLAlchemyError):
            if (run := lab.store.get(run_id)).over:
                return run
        time.sleep(0.3)


@pytest.mark.slow
@pytest.mark.postgres
@pytest.mark.timeout(3600)
def test_postgresql_killed_at_random_moments(server, toys, tmp_path):
    """Workers, the app and a terminal wait for it; no metric is lost and no run ends for it."""
    storm(server, tmp_path / "home", list(COMMAND), [document(toys, method, steps=2 * STEPS) for method in METHODS[:4]], SERVER_KILLS, (1.0, 10.0))


@pytest.mark.postgres
def test_postgresql_killed_now_and_then(server, tmp_path):
    """The same with a worker that needs no torch."""
    storm(server, tmp_path / "home", list(WORKER), [{**FAKE, "steps": 300}], SMALL["server"], (0.5, 1.0))


def shot(arguments: list[str], seconds: float, sign=lambda: False) -> int:
    """A command of the terminal, killed `seconds` after `sign()` turns true, or after it started; its exit code."""
    command = subprocess.Popen([sys.executable, "-m", "lab", *arguments], cwd=ROOT, env={**os.environ, "LAB_SLOTS": "0"}, stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL)  # fmt: skip
    if sign() is not False:
        until(lambda: sign() or command.poll() is not None, 120, 0.0005)
    with suppress(subprocess.TimeoutExpired):
        return command.wait(seconds)
    command.kill()
    return command.wait()


def kill_deletes(lab: Queue, ids: list[str], most: float) -> None:
    """Deletes killed at random moments: of each run everything is there, or nothing after the next look."""
    dice, before = random.Random(17 + SEED), {run_id: contents(lab.home.run_dir(run_id)) for run_id in ids}
    points = {run_id: len(lab.store.series(run_id)["loss"][0]) for run_id in ids}
    codes = []
    for number, run_id in enumerate(ids):  # every third at any moment, the others once it has begun
        begun = lambda run_id=run_id: None if lab.store.known([run_id]) else True  # noqa: E731
        command = ["delete", run_id, "--for-good", "--yes"]
        codes.append(shot(command, dice.uniform(0.3, 1.0) * most) if number % 3 == 2 else shot(command, dice.uniform(0, 0.02), begun))
    there = lab.store.known(ids)
    for run_id in there:
        assert contents(lab.home.run_dir(run_id)) == before[run_id] and len(lab.store.series(run_id)["loss"][0]) == points[run_id], "whole"
    Queue(lab.home, lab.store, count=0).clear()
    assert {path.name for path in lab.home.runs.iterdir()} == there and lab.store.doomed() == []
    rows = lab.store.database.read(lambda c: c.exec_driver_sql("SELECT count(DISTINCT run) FROM metrics").scalar())
    assert rows == len(there)
    print(f"\n{len(ids)} deletes, {codes.count(-9)} of them killed: {len(ids) - len(there)} runs are gone with everything, {len(there)} are whole")


def contents(folder: Path) -> dict:
    return {str(path.relative_to(folder)): files.fingerprint(path) for path in sorted(folder.rglob("*")) if path.is_file()}


def finished(lab: Queue, count: int) -> list[str]:
    """Runs of the fake worker that are over, with checkpoints of some weight and long curves."""
    ids = lab.launch_all([{"document": {"steps": 30, "checkpoint_every": 3, "pause": 0.0}} for _ in range(count)])
    for run in ended(lab, ids, 120):
        for folder in (lab.home.run_dir(run.id) / "checkpoints").iterdir():
            (folder / "weights").write_bytes(os.urandom(50_000))
        lab.store.log(run.id, [(step, "extra", 1.0) for step in range(3000)])
    return ids


@pytest.mark.parametrize("lab", ["warm fake"], indirect=True)
@pytest.mark.parametrize("count", [SMALL["deletes"], pytest.param(DELETES, marks=pytest.mark.slow)])
def test_deletes_killed_at_random_moments(lab, count):
    ids = finished(lab, count + 1)
    began = time.monotonic()
    assert shot(["delete", ids[-1], "--for-good", "--yes"], 60) == 0
    kill_deletes(lab, ids[:-1], time.monotonic() - began)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_exports_killed_at_random_moments(lab, toys, tmp_path):
    """An export is there as a whole or not at all, and its run is as it was."""
    run = ended(lab, [lab.launch(document(toys, "lora"))], 240)[0]
    before, dice, began = contents(lab.home.run_dir(run.id)), random.Random(19 + SEED), time.monotonic()
    assert shot(["export", run.id, "--format", "merged", "--out", str(tmp_path / "out" / "whole")], 120) == 0
    took, wanted = time.monotonic() - began, contents(tmp_path / "out" / "whole")
    codes = []
    for n in range(EXPORTS):  # every third at any moment, the others once something of theirs is there
        known = set(os.listdir(tmp_path / "out"))
        begun = lambda known=known: any(path.name not in known and any(path.iterdir()) for path in (tmp_path / "out").iterdir()) or None  # noqa: E731
        out = ["export", run.id, "--format", "merged", "--out", str(tmp_path / "out" / str(n))]
        codes.append(shot(out, dice.uniform(0.3, 1.0) * took) if n % 3 == 2 else shot(out, dice.uniform(0, 0.1), begun))
    made = [contents(tmp_path / "out" / str(n)) for n in range(EXPORTS) if (tmp_path / "out" / str(n)).exists()]
    assert all(each == wanted for each in made) and contents(lab.home.run_dir(run.id)) == before
    left = sum(path.name.startswith(".") for path in (tmp_path / "out").iterdir())
    assert shot(["export", run.id, "--format", "merged", "--out", str(tmp_path / "out" / "last")], 120) == 0
    assert not [path for path in (tmp_path / "out").iterdir() if path.name.startswith(".")], "what the killed ones left went with the next"
    print(
        f"\n{EXPORTS} exports, {codes.count(-9)} of them killed: {len(made)} folders are there, each whole; {left} hidden ones were left, and none after the next export"
    )


def start_app(home: Home) -> subprocess.Popen:
    environment = {**os.environ, "LAB_HOME": str(home.path), "LAB_SLOTS": "2", "LAB_WARM": "10", "PYTHONUNBUFFERED": "1"}
    log = (home.path.parent / "app.log").open("ab")
    return subprocess.Popen([sys.executable, "app.py", "--port", str(free_port())], cwd=ROOT, env=environment, stdout=log, stderr=log, stdin=subprocess.DEVNULL)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_the_app_killed_at_random_moments(lab, toys):
    """Runs go on without it, and the next app takes the queue over: nobody but the apps starts or looks after workers here."""
    dice, began = random.Random(11 + SEED), time.monotonic()
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
    for first, run in zip(runs[: len(METHODS)], runs[len(METHODS) :], strict=False):
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
    assert lab.home.has_checkpoint(run_id)
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
    assert not lab.home.has_checkpoint(other)
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
