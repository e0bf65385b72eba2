"""Queue, workers and recovery, with a fake worker that needs no torch: whatever dies, the store ends up saying what happened."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest
from runs_support import WORKER, alive, until
from sqlalchemy.exc import OperationalError

from lab.design.plain.refusal import Refusal
from lab.runs import processes, slots, worker_link
from lab.runs import queue as queue_module
from lab.runs.home import Home
from lab.runs.keeper import Keeper
from lab.runs.launcher import ROOT
from lab.runs.local import exit_code_of
from lab.runs.queue import GRACE, Queue
from lab.runs.store import Store
from lab.runs.worker_link import WorkerLink, read_receipt

pytest_plugins = ["runs_fixtures"]
LONG = {"steps": 100_000, "pause": 0.01}


def state(lab, run_id):
    lab.reconcile()
    return lab.store.get(run_id).state


def running(lab, run_id, steps=5):
    """The Run once its worker has done some steps."""
    assert until(lambda: state(lab, run_id) == "running" and lab.store.get(run_id).step >= steps), lab.log_tail(run_id)
    return lab.store.get(run_id)


def test_runs_train_one_after_another_and_keep_their_results(lab):
    first, second = lab.launch({"steps": 30, "name": "one", "tags": ["a"]}), lab.launch({"steps": 10})
    assert lab.store.get(second).state == "queued"
    end = lab.watch(second, seconds=30)
    done = lab.store.get(first)
    assert (done.state, end.state, done.step, done.total_steps) == ("succeeded", "succeeded", 30, 30)
    assert done.result == {"accuracy": 0.5, "odd": None} and done.name == "one" and done.progress == 1.0 and done.slot is None
    steps, values, _ = lab.store.series(first)["loss"]
    assert steps.tolist() == list(range(1, 31)) and values[-1] == 1 / 30
    assert end.started >= done.started and (lab.home.run_dir(first) / "spec.yaml").read_text(encoding="utf-8").startswith("steps: 30")
    copy = lab.duplicate(first)
    assert lab.store.get(copy).spec == done.spec and lab.store.get(copy).parent == first
    assert lab.watch(copy, seconds=30).state == "succeeded"
    lab.delete(first)
    assert not lab.home.run_dir(first).exists() and not list(lab.home.runs.glob(".deleted-*"))
    with pytest.raises(Refusal):
        lab.resume(second)


def test_kill_9_is_seen_and_resumed_from_the_checkpoint(lab):
    run_id = lab.launch({"steps": 60, "pause": 0.02, "checkpoint_every": 10})
    run = running(lab, run_id, 25)
    os.kill(run.pid, signal.SIGKILL)
    assert until(lambda: state(lab, run_id) == "interrupted", 30)
    run = lab.store.get(run_id)
    assert "SIGKILL" in run.error and "at step" in run.error and "Resume" in run.advice and run.exit_code == -9
    assert lab.home.has_checkpoint(run_id) and "begin at step 1" in run.log_tail
    before = len(lab.store.series(run_id)["loss"][0])
    assert before >= 20, "metrics already written stay"
    lab.resume(run_id)
    run = lab.watch(run_id, seconds=30)
    assert (run.state, run.attempt, run.error, run.step) == ("succeeded", 2, None, 60)
    assert lab.store.series(run_id)["loss"][0].tolist() == list(range(1, 61))
    assert "begin at step 21" in lab.log_tail(run_id) or "begin at step 31" in lab.log_tail(run_id)


def test_the_app_is_killed_and_another_one_takes_over(lab, tmp_path):
    script = (
        "import sys, time; from lab.runs import Home, Queue; lab = Queue(Home(), count=1, command=sys.argv[1:]);"
        f"print(lab.launch({LONG!r}), lab.launch({{'steps': 5}}), flush=True); time.sleep(300)"
    )
    app = subprocess.Popen([sys.executable, "-c", script, *WORKER], stdout=subprocess.PIPE, text=True, cwd=ROOT)
    first, second = app.stdout.readline().split()
    run = running(lab, first)
    app.kill()
    app.wait()
    step = lab.store.get(first).step
    assert until(lambda: lab.store.get(first).step > step + 10), "the run goes on without the app"
    os.kill(run.pid, signal.SIGKILL)
    assert until(lambda: state(lab, first) == "interrupted", 10)
    assert lab.watch(second, seconds=30).state == "succeeded", "and the queue goes on with another app"


def test_a_launcher_killed_before_its_worker_began_loses_nothing(lab):
    run_id = lab.store.create({"steps": 5})
    dead = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    ghost = processes.identity(dead.pid)
    assert lab.store.claim_next(ghost, 1).id == run_id and lab.reconcile() == [] and lab.store.get(run_id).state == "starting"
    dead.kill()  # not reaped: a zombie is as dead as a ghost
    assert until(lambda: psutil.Process(dead.pid).status() == psutil.STATUS_ZOMBIE)
    run = lab.watch(run_id, seconds=30)
    assert run.state == "succeeded" and run.attempt == 2
    with pytest.raises(Refusal):
        WorkerLink(run_id, lab.home, lab.store, attempt=1)
    dead.wait()


def test_a_zombie_and_a_reused_pid_are_not_taken_for_the_worker(lab):
    zombie = subprocess.Popen([sys.executable, "-c", "raise SystemExit(3)"])  # an app that hangs does not collect its worker
    assert until(lambda: psutil.Process(zombie.pid).status() == psutil.STATUS_ZOMBIE)
    first = lab.store.create({})
    lab.store.claim(first, processes.identity(zombie.pid))
    bystander = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True)
    second = lab.store.create({})
    reused = processes.identity(bystander.pid)
    lab.store.claim(second, processes.Identity(reused.pid, reused.pid_create_time - 99, str(int(reused.mark) - 9900), reused.place, reused.host))
    third = lab.store.create({})
    lab.store.claim(third, reused)
    assert sorted(lab.reconcile()) == sorted([first, second])
    assert [lab.store.get(i).state for i in (first, second, third)] == ["failed", "interrupted", "running"]
    assert lab.store.get(first).exit_code == 3 and lab.store.get(second).exit_code is None
    assert lab.stop(third, wait=False) == "stopping"
    lab._asked[third, 1] -= 100
    lab.reconcile()
    assert bystander.poll() is None, "a process without the run's token is never signalled"
    bystander.kill()
    bystander.wait()
    zombie.wait()
    assert state(lab, third) == "cancelled"


@pytest.mark.parametrize("mode", ["", "family"])
def test_stop_ends_the_whole_process_tree_within_ten_seconds(lab, mode):
    bystander = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    run_id = lab.launch({**LONG, "mode": mode})
    run = running(lab, run_id)
    children = [int(pid) for pid in (lab.home.run_dir(run_id) / "children").read_text().split()] if mode else []
    assert all(map(alive, children)) and len(processes.members(lab.store.token(lab.store.get(run_id)))) == 1 + len(children)
    began = time.monotonic()
    assert lab.stop(run_id) == "cancelled"
    assert time.monotonic() - began < (GRACE + 4 if mode else GRACE), "one that ends when it is asked is not waited for longer"
    assert not alive(run.pid) or until(lambda: not alive(run.pid), 2)
    assert not any(map(alive, children)) and bystander.poll() is None
    bystander.kill()
    bystander.wait()
    assert lab.store.get(run_id).slot is None and lab.store.get(run_id).step >= 5


def test_stop_of_a_queued_run_and_of_one_that_is_just_starting(lab):
    first = lab.launch(LONG)
    second = lab.launch(LONG)
    assert lab.stop(second) == "cancelled" and lab.stop(second) == "cancelled"
    assert lab.stop(first) == "cancelled"
    assert until(lambda: not processes.members(lab.store.token(lab.store.get(first))), 5)


def test_two_reconcile_at_once(lab):
    ids = [lab.launch({"steps": 3}) for _ in range(4)]
    others = [Queue(lab.home, Store(lab.store.url), count=1, command=WORKER) for _ in range(3)]
    most = []

    def push(queue):
        while any(not run.over for run in queue.store.list()):
            queue.reconcile()
            most.append(len(queue.store.active()))
            time.sleep(0.02)  # for the workers: none of them would get far beside four loops that never rest

    threads = [threading.Thread(target=push, args=(queue,)) for queue in [lab, *others]]
    [thread.start() for thread in threads]
    [thread.join(60) for thread in threads]
    runs = [lab.store.get(i) for i in ids]
    assert [run.state for run in runs] == ["succeeded"] * 4 and max(most) == 1 and {run.attempt for run in runs} == {1}
    for run in runs:
        assert [e.state for e in lab.store.events(run.id)] == ["queued", "starting", "running", "succeeded"]


@pytest.mark.parametrize(
    "mode, wanted, words, advice",
    [
        ("crash", "failed", "The training stopped at an error: CUDA out of memory", "accelerator ran out of memory"),
        ("die", "failed", "ended with exit code 7 at step", None),
    ],
)
def test_failures_say_what_happened(lab, mode, wanted, words, advice):
    run = lab.watch(lab.launch({"steps": 20, "mode": mode}), seconds=20)
    assert run.state == wanted and words in run.error and (advice is None or advice in run.advice)
    assert run.exit_code == (7 if mode == "die" else 1) and ("Traceback" in run.log_tail or "something odd" in run.log_tail or mode == "crash")


@pytest.mark.parametrize("before, wanted, words", [("import", "failed", "exit code 1 before it began"), ("silent", "interrupted", "SIGKILL")])
def test_a_worker_that_dies_before_it_begins(lab, monkeypatch, before, wanted, words):
    monkeypatch.setenv("FAKE_BEFORE", before)
    run = lab.watch(lab.launch({"steps": 5}), seconds=20)
    assert run.state == wanted and words in run.error and run.attempt == 1
    assert before == "silent" or "package is missing" in run.advice


def test_a_program_that_cannot_be_started_and_a_damaged_spec(lab):
    lab._command = [str(lab.home.path / "nothing")]
    run = lab.store.get(lab.launch({"steps": 1}))
    assert run.state == "failed" and "could not be started" in run.error
    from sqlalchemy import text

    run_id = lab.store.create({})
    lab.store.database.write(lambda c: c.execute(text("UPDATE runs SET spec = '{' WHERE id = :i"), {"i": run_id}))
    assert state(lab, run_id) == "failed" and "damaged" in lab.store.get(run_id).error
    with pytest.raises(Refusal, match="damaged"):
        lab.duplicate(run_id)


def test_a_clock_that_jumps_and_a_silent_heartbeat_kill_nobody_here(lab, monkeypatch):
    run_id = lab.launch(LONG)
    run = running(lab, run_id)
    os.kill(run.pid, signal.SIGSTOP)  # no heartbeat any more
    try:
        for jump in (3600.0, -7200.0, 1e9):
            monkeypatch.setattr(time, "time", lambda real=time.time, jump=jump: real() + jump)
            assert state(lab, run_id) == "running"
            monkeypatch.undo()
        monkeypatch.setattr(psutil, "boot_time", lambda: 0.0)  # what setting the clock does to create_time
        assert state(lab, run_id) == "running"
    finally:
        os.kill(run.pid, signal.SIGCONT)


def test_a_worker_elsewhere_is_judged_by_changes_of_its_heartbeat(lab, monkeypatch):
    run_id = lab.store.create({"steps": 5})
    me = processes.identity()
    link = WorkerLink(run_id, lab.home, lab.store, interval=0.1)
    from sqlalchemy import text

    lab.store.database.write(lambda c: c.execute(text("UPDATE runs SET place = 'far away', host = 'far'")))
    clock = [1000.0]
    monkeypatch.setattr(queue_module.time, "monotonic", lambda: clock[0])
    for _ in range(4):
        assert state(lab, run_id) == "running"
        clock[0] += queue_module.SILENCE + 1
        seen = lab.store.get(run_id).heartbeat
        monkeypatch.undo()
        assert until(lambda seen=seen: lab.store.get(run_id).heartbeat != seen, 10)
        monkeypatch.setattr(queue_module.time, "monotonic", lambda: clock[0])
    monkeypatch.undo()
    link._close_thread()
    monkeypatch.setattr(queue_module.time, "monotonic", lambda: clock[0])
    state(lab, run_id)
    clock[0] += queue_module.SILENCE + 1
    assert state(lab, run_id) == "interrupted" and "far fell silent" in lab.store.get(run_id).error
    link._deliver(1.0)  # it was only cut off: the worker is the truth about itself
    assert lab.store.get(run_id).state == "running" and lab.store.get(run_id).error is None
    assert lab.store.get(run_id).place == me.place and not link.stopping()
    assert link.finish("succeeded", {"x": 1}) and not link.finish("failed")


def test_an_end_that_the_store_missed_is_taken_from_the_receipt(lab, monkeypatch):
    run_id = lab.store.create({})
    script = (
        "import os, sys; from lab.runs import WorkerLink, Store, Home; import lab.runs.worker_link as w; w.END_PATIENCE = 0.0;"
        "link = WorkerLink(sys.argv[1]); from sqlalchemy.exc import OperationalError\n"
        "def full(*a, **k): raise OperationalError('x', None, Exception('database or disk is full'))\n"
        "link.store.finish = full\nlink.finish('succeeded', {'accuracy': 0.9})"
    )
    done = subprocess.run([sys.executable, "-c", script, run_id], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1 and "disk is full" in done.stderr
    assert lab.store.get(run_id).state == "running" and read_receipt(lab.home.run_dir(run_id), 1)["state"] == "succeeded"
    assert state(lab, run_id) == "succeeded" and lab.store.get(run_id).result == {"accuracy": 0.9}
    assert read_receipt(lab.home.run_dir(run_id), 2) is None


def test_training_goes_on_while_the_store_is_out_of_reach(tmp_path, monkeypatch, capsys):
    home = Home(tmp_path)
    store = Store(home.database_url)
    run_id = store.create({})
    monkeypatch.setattr(worker_link, "ROWS", 1000)
    link = WorkerLink(run_id, home, store, interval=0.05)
    real = store.log

    def full(*_args, **_options):
        raise OperationalError("INSERT", None, Exception("database or disk is full"))

    monkeypatch.setattr(store, "log", full)
    assert until(lambda: link.trouble)
    for step in range(5000):
        link.log(step, {"loss": 1.0 / (step + 1), "bad\nname": 1.0, "no number": "x", "": 2.0})
    assert len(link._rows) <= 1000 and not link.stopping() and "full" in link.trouble
    monkeypatch.setattr(store, "log", real)
    assert until(lambda: link.trouble is None)
    link.finish("succeeded")
    steps = store.series(run_id)["loss"][0]
    assert store.get(run_id).state == "succeeded" and store.get(run_id).step == 4999
    assert steps[0] == 0 and steps[-1] == 4999 and 200 < len(steps) <= 1000 and store.metric_names(run_id) == ["badname", "loss"]
    said = capsys.readouterr().err
    assert said.count("cannot be written") == 1 and "rows were let go" in said


def test_a_deleted_run_tells_its_worker_to_end(lab):
    run_id = lab.store.create({})
    link = WorkerLink(run_id, lab.home, lab.store, interval=0.05)
    lab.store.finish(run_id, "interrupted")
    assert until(lambda: lab.store.get(run_id).state == "running"), "a worker that lives takes its run back"
    lab.store.move(run_id, ["running"], "failed")
    lab.store.delete(run_id)
    assert until(link.stopping) and link.lost and not link.finish("succeeded")


def test_a_run_finished_before_teardown_stays_finished(lab):
    run_id = lab.launch({"steps": 3, "mode": "slow_teardown"})
    assert lab.watch(run_id, seconds=20).state == "succeeded"
    for process in processes.members(lab.store.token(lab.store.get(run_id))):
        process.kill()
    assert until(lambda: lab.reconcile() == [] and exit_code_of(lab.store.get(run_id)) == -9)
    assert lab.store.get(run_id).state == "succeeded"


def test_a_long_log_and_a_keeper(lab):
    keeper = Keeper(lab, seconds=0.1)
    first, second = lab.launch({"steps": 3}), lab.launch({"steps": 3})
    assert until(lambda: lab.store.get(first).over and lab.store.get(second).over), "nobody but the keeper looks after them"
    keeper.close()
    log = lab.home.run_dir(second) / "log.txt"
    log.write_bytes(b"x" * 100_000 + b"\n\x1b[31mred\x1b[0m\r\n 10%\r 20%\r100%\nbad \xff\xfe utf\n")
    assert lab.log_tail(second, 3) == "red\n100%\nbad \ufffd\ufffd utf"
    assert lab.log_tail("zzzzzzzz") == ""


def test_slots_and_devices(monkeypatch):
    monkeypatch.delenv("LAB_SLOTS", raising=False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert slots.slots() == 1 and slots.devices() == []
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,3,5")
    assert slots.slots() == 3 and slots.devices_of(1, 3, slots.devices()) == ["3"]
    assert slots.devices_of(0, 2, slots.devices()) == ["2", "5"] and slots.devices_of(4, 5, slots.devices()) == ["3"]
    for bad in ("x", "-1", "1.5", "9999", "²"):
        monkeypatch.setenv("LAB_SLOTS", bad)
        with pytest.raises(Refusal):
            slots.slots()


def test_the_verbs_of_the_default_lab(tmp_path, monkeypatch):
    import lab

    monkeypatch.setenv("LAB_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("LAB_SLOTS", "0")
    run_id = lab.runs.launch({"steps": 1}, name="by the verbs")
    assert lab.runs.launch.default() is lab.runs.default()
    assert [run.name for run in lab.runs()] == ["by the verbs"] and lab.runs(states=["failed"]) == []
    assert len(lab.runs(where="state = queued")) == 1 and lab.runs(where="state = running") == []
    for bad in ({"where": "state ="}, {"where": "created > 2025-13-45"}, {"limit": 0}):
        with pytest.raises(lab.Refusal):
            lab.runs(**bad)
    assert lab.runs.launch.stop(run_id) == "cancelled" and lab.runs.reconcile() == []
    lab.runs.resume(run_id)
    assert lab.runs.default().store.get(run_id).state == "queued"


def test_importing_runs_stays_light():
    script = "import sys, lab.runs; print([m for m in sys.modules if m.split('.')[0] in ('torch', 'gradio', 'transformers')])"
    script += "; print([m for m in sys.modules if m.startswith(('lab.training', 'lab.engine', 'lab.tasks', 'lab.ui'))])"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["[]", "[]"]


def test_the_receipt_is_plain_json(tmp_path):
    for damage in ("", "{", "[]", "null", '{"attempt": 1}', json.dumps({"attempt": 1, "state": "queued"})):
        Path(tmp_path / worker_link.RECEIPT).write_text(damage, encoding="utf-8")
        assert read_receipt(tmp_path, 1) is None


@pytest.mark.parametrize(
    ("lab", "policy"),
    [("sqlite-cold", "ignore"), ("sqlite-warm", "wait"), pytest.param("postgres-warm", "refuse", marks=pytest.mark.postgres)],
    indirect=["lab"],
)
def test_runs_that_do_not_fit_wait_or_are_refused_by_choice(lab, monkeypatch, policy):
    monkeypatch.setenv("LAB_MEMORY_POLICY", policy)
    memory = [(100 * 2**30, 50 * 2**30)]
    monkeypatch.setattr(slots, "memory", lambda: memory[0])
    lab._estimate, lab._count = lambda document: document.get("gib", 0) * 2**30, 2
    large = {"steps": 5, "gib": 200}
    if policy == "refuse":
        with pytest.raises(Refusal, match="needs 215 GB at its peak; there are 107 GB here"):
            lab.launch(large)
    else:
        assert lab.watch(lab.launch(large), seconds=1 if policy == "wait" else 30).state == ("queued" if policy == "wait" else "succeeded")
    if policy == "ignore":
        return
    first, second, small = lab.launch({**LONG, "gib": 40}), lab.launch({"steps": 5, "gib": 70}), lab.launch({"steps": 5, "gib": 10})
    assert lab.watch(small, seconds=30).state == "succeeded", "what fits passes by"
    assert state(lab, second) == "queued" and "75.2 GB" in lab.store.events(second)[0].message and lab.store.get(first).active
    memory[0] = (100 * 2**30, 90 * 2**30)
    assert state(lab, second) == "queued", "what the first was promised is set aside"
    lab.stop(first)
    assert lab.watch(second, seconds=30).state == "succeeded"


def test_an_unknown_memory_policy_is_refused(lab, monkeypatch):
    monkeypatch.setenv("LAB_MEMORY_POLICY", "hope")
    with pytest.raises(Refusal, match="ignore, wait or refuse"):
        lab.launch({"steps": 1})


@pytest.mark.parametrize("door", ["lab.runs.launch", "lab.run", "Queue", "verbs.queue"])
def test_the_memory_policy_holds_from_the_first_launch_through_every_door(tmp_path, monkeypatch, door):
    import lab as package
    from lab import verbs

    document = verbs.check({"model": "minilm-l6", "method": "lora", "task": "sentiment-rt"}).document()
    monkeypatch.setenv("LAB_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("LAB_SLOTS", "0")
    monkeypatch.setenv("LAB_MEMORY_POLICY", "refuse")
    monkeypatch.setattr("lab.planning.client.PlanClient.plan", lambda self, request: {"peak_reserved_bytes": 10**15})
    launch = {"lab.runs.launch": package.runs.launch, "lab.run": lambda spec: package.run(spec, wait=False), "Queue": lambda spec: Queue().launch(spec),
              "verbs.queue": lambda spec: verbs.queue().launch(spec)}[door]  # fmt: skip
    with pytest.raises(Refusal, match="needs 1000 TB at its peak"):
        launch(document)


@pytest.mark.parametrize(("lab", "policy"), [("sqlite-cold", "wait"), ("sqlite-cold", "refuse")], indirect=["lab"])
def test_a_plan_that_cannot_be_made_is_told(lab, monkeypatch, policy):
    def late(document):
        raise Refusal("The planner gave no answer in 120 s; try a smaller shape.")

    monkeypatch.setenv("LAB_MEMORY_POLICY", policy)
    lab._estimate, lab._count = late, 0
    run_id = lab.launch({"steps": 1})
    assert lab.store.get(run_id).needs is None
    assert "could not be planned (The planner gave no answer in 120 s; try a smaller shape)" in lab.store.events(run_id)[0].message


class Losing:
    """A cluster that takes runs and tells nothing but how their workers ended."""

    everywhere, patience, slots = True, 0.0, 1

    def __init__(self, code, retries):
        self.code, self.retries, self.taken, self.ended = code, retries, [], []

    def slots_for(self, wanted, count):
        return wanted

    def start(self, home, run, store, command, count):
        self.taken.append((run.id, run.attempt))

    def reap(self):
        pass

    def holds(self, run):
        return False

    def has_ended(self, run):
        return False

    def end(self, run, token, force=False):
        self.ended.append((run.id, force))

    def exit_code(self, run, folder):
        return self.code


@pytest.mark.parametrize(("code", "retries", "state_at_end", "attempts"), [(3, 2, "failed", 1), (-9, 0, "interrupted", 1), (-9, 2, "interrupted", 3)])
def test_a_queue_asks_its_launcher_alone(tmp_path, code, retries, state_at_end, attempts):
    launcher = Losing(code, retries)
    queue = Queue(Home(tmp_path / "home"), launcher=launcher)
    assert queue.count == 1
    run_id = queue.launch({"steps": 1})
    for _ in range(6):
        queue.reconcile()
    run = queue.store.get(run_id)
    assert (run.state, run.exit_code, launcher.taken) == (state_at_end, code, [(run_id, number + 1) for number in range(attempts)])
    assert sum("queued again" in event.message for event in queue.store.events(run_id)) == attempts - 1
