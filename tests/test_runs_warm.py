"""Workers that a fork server starts: what started cold and warm ones have in common, and what each death leaves."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from runs_support import WORKER, alive, starting, until

from lab.design.plain.refusal import Refusal
from lab.runs import local, processes, warm
from lab.runs.home import Home
from lab.runs.launcher import ROOT
from lab.runs.queue import Queue

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="workers are forked on Linux alone")
LONG = {"steps": 100_000, "pause": 0.01}
FACTS = """
import json, os, random, resource, signal, sys, threading
import numpy
from lab.runs import WorkerLink
with WorkerLink(sys.argv[1]) as link:
    files = {number: os.path.realpath(f"/proc/self/fd/{number}") for number in map(int, os.listdir("/proc/self/fd")) if number < 3}
    status = dict(line.split(":", 1) for line in open("/proc/self/status"))
    facts = {
        "leads": [os.getpid() == os.getsid(0) == os.getpgid(0)], "folder": os.getcwd(), "files": files, "arguments": sys.argv, "path": sys.path[:2],
        "environment": {name: value for name, value in os.environ.items() if name != "PYTEST_CURRENT_TEST"}, "shown": open("/proc/self/cmdline").read().rstrip(chr(0)).split(chr(0)),
        "signals": [status[name].strip() for name in ("SigBlk", "SigIgn", "SigCgt", "Umask")], "name": __name__, "threads": threading.active_count(),
        "limits": [resource.getrlimit(kind) for kind in (resource.RLIMIT_NOFILE, resource.RLIMIT_AS, resource.RLIMIT_CORE)], "nice": os.nice(0),
        "sockets": sum("socket" in os.readlink(f"/proc/self/fd/{number}") for number in os.listdir("/proc/self/fd") if os.path.lexists(f"/proc/self/fd/{number}")),
    }
    (link.run_dir / "facts.json").write_text(json.dumps(facts))
    (link.run_dir / "drawn.json").write_text(json.dumps([random.random(), float(numpy.random.rand())]))
    link.finish("succeeded", {})
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A Queue of two slots over SQLite with the fake worker, started warm; what it started is ended afterwards."""
    monkeypatch.setenv("LAB_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("LAB_AUTH", "a:secret")
    queue = Queue(Home(), count=2, command=WORKER)
    starting(queue, "warm", monkeypatch)
    yield queue
    for run in queue.store.active():
        processes.kill(queue.store.token(run))
    queue.store.close()


def begun(lab: Queue, document: dict = LONG, steps: int = 3):
    """A run once it has done some steps."""
    run_id = lab.launch(document)
    assert until(lambda: lab.reconcile() is not None and lab.store.get(run_id).step >= steps), lab.log_tail(run_id)
    return lab.store.get(run_id)


def is_warm(lab: Queue, run_id: str) -> bool:
    return ", warm\n" in (lab.home.run_dir(run_id) / "log.txt").read_text()


@pytest.fixture(params=[signal.SIG_IGN, signal.default_int_handler], ids=["ignored", "heard"])
def ctrl_c(request):
    """What this process does on SIGINT: nohup and a shell's background job ignore it, and so does what they start."""
    before = signal.signal(signal.SIGINT, request.param)
    yield request.param
    signal.signal(signal.SIGINT, before)


def test_a_warm_worker_is_what_a_cold_one_is(ctrl_c, here, tmp_path, monkeypatch):
    """Session, folder, open files, environment, arguments, signals, limits and name; but not the same random numbers."""
    script = tmp_path / "facts_worker.py"
    script.write_text(FACTS)
    here._command = [sys.executable, str(script)]
    found, drawn = [], []
    for how in ("cold", "warm", "warm"):
        starting(here, how, monkeypatch)
        run = here.watch(here.launch({"steps": 1}), seconds=30)
        folder = here.home.run_dir(run.id)
        assert run.state == "succeeded" and is_warm(here, run.id) is (how == "warm"), (run.error, here.log_tail(run.id))
        found.append(json.loads((folder / "facts.json").read_text().replace(run.id, "RUN")))
        drawn += json.loads((folder / "drawn.json").read_text())
        monkeypatch.undo()
        monkeypatch.setenv("LAB_HOME", str(here.home.path))
        monkeypatch.setenv("LAB_AUTH", "a:secret")
    cold = found[0]
    assert cold["leads"] == [True] and cold["sockets"] == 0 and "LAB_AUTH" not in cold["environment"] and cold["environment"]["LAB_RUN_ID"] == "RUN"
    assert bool(int(cold["signals"][1], 16) & 1 << signal.SIGINT - 1) is (ctrl_c is signal.SIG_IGN)
    for each in found[1:]:
        assert each == cold
    assert len(set(drawn)) == len(drawn)
    local._warmth.leave()  # no other test has this command


def test_two_at_once_go_on_when_their_fork_server_is_killed(here):
    """One is stopped as ever, the other's kill is seen; the next run starts cold, and after a while others warm again."""
    first, second = begun(here), begun(here)
    assert is_warm(here, first.id) and is_warm(here, second.id)
    server = local._warmth.server
    server._process.kill()
    server._process.wait()
    steps = here.store.get(second.id).step
    assert until(lambda: here.reconcile() == [] and here.store.get(second.id).step > steps + 5) and here.store.get(first.id).state == "running"
    assert here.stop(first.id) == "cancelled" and until(lambda: not alive(first.pid), 5)
    os.kill(second.pid, signal.SIGKILL)
    assert until(lambda: here.reconcile() is not None and here.store.get(second.id).state == "interrupted", 5), "that nobody knows its exit code delays nothing"
    third = begun(here, {"steps": 5})
    assert not is_warm(here, third.id) and here.watch(third.id, seconds=20).state == "succeeded"
    local._warmth._due = 0.0
    assert until(lambda: here.reconcile() is not None and local._warmth.wait(0)), "one is started again, some time after a cold start"
    assert is_warm(here, begun(here, {"steps": 5}).id)


def test_the_app_is_killed_and_its_warm_run_goes_on(here):
    script = ("import sys, time; from lab.runs import Home, Queue, local; lab = Queue(Home(), count=1, command=sys.argv[1:]); assert lab.warm(wait=60);"
              f"print(lab.launch({LONG!r}), local._warmth.server._process.pid, flush=True); time.sleep(300)")  # fmt: skip
    app = subprocess.Popen([sys.executable, "-c", script, *WORKER], stdout=subprocess.PIPE, text=True, cwd=ROOT)
    run_id, server = app.stdout.readline().split()
    assert until(lambda: here.store.get(run_id).step > 3), here.log_tail(run_id)
    app.kill()
    app.wait()
    assert until(lambda: not alive(int(server)), 5), "the fork server goes with the app"
    step = here.store.get(run_id).step
    assert until(lambda: here.store.get(run_id).step > step + 5) and is_warm(here, run_id)
    assert here.stop(run_id) == "cancelled"


def test_other_surroundings_start_cold(here, monkeypatch):
    """A variable that libraries read, the umask, an ignored signal, new code: then a server is started anew, and serves."""
    assert is_warm(here, begun(here, {"steps": 3}).id)
    before = os.umask(0o027)
    try:
        assert not is_warm(here, begun(here, {"steps": 3}).id)
    finally:
        os.umask(before)
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    assert here.warm(wait=60)
    run = begun(here, {"steps": 3})
    assert is_warm(here, run.id)
    before = signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    try:
        assert not is_warm(here, begun(here, {"steps": 3}).id)
    finally:
        signal.signal(signal.SIGUSR2, before)


def test_new_code_on_the_disk_starts_cold(here, tmp_path, monkeypatch):
    installed = tmp_path / "installed"
    installed.mkdir()
    monkeypatch.setenv("PYTHONPATH", f"{os.environ['PYTHONPATH']}{os.pathsep}{installed}")
    assert here.warm(wait=60)
    first = begun(here)
    assert is_warm(here, first.id)
    (installed / "package.py").touch()  # as an installer does
    second = begun(here, {"steps": 3})
    assert not is_warm(here, second.id) and here.watch(second.id, seconds=20).state == "succeeded"
    os.kill(first.pid, signal.SIGKILL)
    assert until(lambda: here.reconcile() is not None and here.store.get(first.id).over) and here.store.get(first.id).exit_code == -9, (
        "who is refused a fork still tells ends"
    )
    assert here.warm(wait=60) and is_warm(here, begun(here, {"steps": 3}).id)


@pytest.mark.parametrize(("imported", "words"), [("linger", "2 threads"), ("vanish", None)])
def test_what_cannot_fork_starts_cold(here, monkeypatch, imported, words):
    """A library that starts a thread when it is imported, or ends the process."""
    monkeypatch.setenv("PYTHONPATH", f"{os.environ['PYTHONPATH']}{os.pathsep}{Path(__file__).parent}")
    monkeypatch.setitem(warm.IMPORTS, tuple(WORKER[1:]), f"runs_imports:{imported}")
    assert not here.warm(wait=60) and (words is None or words in local._warmth.server.problem)
    run = here.watch(here.launch({"steps": 3}), seconds=30)
    assert run.state == "succeeded" and not is_warm(here, run.id)


def test_a_server_goes_when_nothing_has_run_for_a_while(here):
    server = warm.ForkServer(WORKER, local.environment(), idle=0.3)
    local._warmth.leave()
    local._warmth.server = server
    assert local._warmth.wait(60)
    run = begun(here, {"steps": 60, "pause": 0.02})
    assert is_warm(here, run.id) and here.watch(run.id, seconds=20).state == "succeeded" and until(lambda: here.reconcile() == [] and server.gone, 5)
    assert local.exit_code_of(run) == 0, "it outlives its workers"


def test_minutes_without_a_run(here, monkeypatch):
    for given, minutes in (("", warm.MINUTES), ("0", 0), ("2.5", 2.5)):
        monkeypatch.setenv("LAB_WARM", given)
        assert warm.minutes() == minutes
    for switch, value in (("LAB_WARM", "0"), ("LAB_PLUGINS", "1")):  # the code of LAB_HOME/plugins may start anything, and each run reads it anew
        with monkeypatch.context() as for_now:
            for_now.setenv(switch, value)
            assert not here.warm(wait=5) and local._warmth.server is None
    for wrong in ("soon", "-1", "nan", "1e9"):
        monkeypatch.setenv("LAB_WARM", wrong)
        with pytest.raises(Refusal, match="LAB_WARM must be a number of minutes"):
            here.warm()
