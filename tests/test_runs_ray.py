"""Workers on a real Ray cluster of two nodes on this machine, made with Ray's own cluster utility; the worker is the fake one."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time

import pytest
from runs_support import WORKER, alive, until
from training_support import save_model, save_task, spec

from lab.design.plain.refusal import Refusal
from lab.runs import processes
from lab.runs.home import Home
from lab.runs.launcher import ROOT
from lab.runs.queue import Queue

PATIENCE = 180.0  # seconds: each worker of Ray is a Python that starts anew, which a busy machine takes a minute for
LONG = {"steps": 100_000, "pause": 0.01}


def test_an_unknown_launcher_and_bad_numbers_are_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("LAB_LAUNCHER", "slurm")
    with pytest.raises(Refusal, match="process or ray"):
        Queue(Home(tmp_path))
    monkeypatch.setenv("LAB_LAUNCHER", "ray")
    monkeypatch.setenv("LAB_RAY_GPUS", "-1")
    with pytest.raises(Refusal, match="LAB_RAY_GPUS"):
        Queue(Home(tmp_path))


@pytest.fixture(scope="module")
def cluster():
    """Ray's head without room for runs, and two nodes with room for one each."""
    pytest.importorskip("ray", reason="no Ray here: pip install -r requirements-ray.txt")
    before = dict(os.environ)
    os.environ |= {
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        "RAY_health_check_period_ms": "500",
        "RAY_health_check_failure_threshold": "3",
        "RAY_DEDUP_LOGS": "0",
    }
    import ray
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False, "object_store_memory": 80 * 2**20})
    nodes = [made.add_node(num_cpus=1, object_store_memory=80 * 2**20) for _ in range(2)]
    os.environ["LAB_RAY_ADDRESS"] = made.address
    yield made, nodes
    ray.shutdown()
    made.shutdown()
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture
def lab(cluster, tmp_path, monkeypatch):
    """A Queue whose workers run on the cluster."""
    monkeypatch.setenv("LAB_LAUNCHER", "ray")
    monkeypatch.setenv("LAB_HOME", str(tmp_path / "home"))
    queue = Queue(Home(), command=WORKER)
    yield queue
    for run in queue.store.active():
        queue.launcher.end(run, queue.store.token(run), force=True)
    queue.store.close()


def step_of(lab, run_id):
    lab.reconcile()
    return lab.store.get(run_id).step


def node_of(lab, run_id):
    """The Ray node that the newest start of a run is on."""
    return re.findall(r"Ray node (\w+)", lab.log_tail(run_id))[-1]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_local_cluster_of_two_nodes(lab, cluster):
    made, nodes = cluster
    assert lab.count == 2
    ids = [lab.launch({**LONG, "checkpoint_every": 10}), lab.launch({"steps": 400, "pause": 0.01}), lab.launch({"steps": 20})]
    assert until(lambda: all(step_of(lab, i) > 5 for i in ids[:2]), PATIENCE), [lab.log_tail(i) for i in ids]
    assert node_of(lab, ids[0]) != node_of(lab, ids[1]) and lab.store.get(ids[2]).state == "queued"
    assert [lab.watch(i, seconds=PATIENCE).state for i in ids[1:]] == ["succeeded", "succeeded"]
    assert lab.store.series(ids[1])["loss"][0].tolist() == list(range(1, 401)), "every metric is in the store"
    worker = lab.store.get(ids[0]).pid
    began = time.monotonic()
    assert lab.stop(ids[0]) == "cancelled" and time.monotonic() - began < 10
    assert until(lambda: not alive(worker), 3)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_failures_before_the_beginning_and_stubborn_workers(lab, monkeypatch):
    monkeypatch.setenv("FAKE_BEFORE", "import")
    run = lab.watch(lab.launch({"steps": 5}), seconds=PATIENCE)
    assert run.state == "failed" and run.exit_code == 1 and "exit code 1 before it began" in run.error and "package is missing" in run.advice
    monkeypatch.delenv("FAKE_BEFORE")
    run_id = lab.launch({**LONG, "mode": "family"})
    assert until(lambda: step_of(lab, run_id) > 5, PATIENCE), lab.log_tail(run_id)
    began = time.monotonic()
    assert lab.stop(run_id) == "cancelled" and time.monotonic() - began < 10.5
    assert until(lambda: not processes.members(lab.store.token(lab.store.get(run_id))), 3), "its children are gone too"
    lab._count = 3
    ids = [lab.launch(LONG) for _ in range(3)]  # the third waits inside Ray
    assert until(lambda: sum(step_of(lab, i) > 5 for i in ids) == 2, PATIENCE)
    waiting = next(i for i in ids if lab.store.get(i).state == "starting")
    for i in (waiting, *ids):
        assert lab.stop(i) == "cancelled", lab.store.get(i)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_runs_go_on_without_the_app_that_started_them(lab):
    script = (
        "import sys, time; from lab.runs import Home, Queue; lab = Queue(Home(), command=sys.argv[1:]);"
        "print(lab.launch({'steps': 600, 'pause': 0.01}), flush=True); time.sleep(300)"
    )
    app = subprocess.Popen([sys.executable, "-c", script, *WORKER], stdout=subprocess.PIPE, text=True, cwd=ROOT)
    run_id = app.stdout.readline().strip()
    assert until(lambda: lab.store.get(run_id).step > 5, PATIENCE)
    app.kill()
    app.wait()
    run = lab.watch(run_id, seconds=PATIENCE)
    assert (run.state, run.step, run.attempt) == ("succeeded", 600, 1)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_lost_node_and_a_lost_worker(lab, cluster):
    made, nodes = cluster
    run_id = lab.launch({"steps": 1500, "pause": 0.01, "checkpoint_every": 20})
    assert until(lambda: step_of(lab, run_id) > 100, PATIENCE), lab.log_tail(run_id)
    first = node_of(lab, run_id)
    lost = next(node for node in nodes if node.node_id == first)
    began = time.monotonic()
    made.remove_node(lost, allow_graceful=False)
    nodes.remove(lost)
    assert until(lambda: lab.reconcile() and lab.store.get(run_id).attempt == 2, 20)
    seen = time.monotonic() - began
    assert until(lambda: step_of(lab, run_id) > 150 and lab.store.get(run_id).state == "running", PATIENCE), lab.log_tail(run_id)
    assert node_of(lab, run_id) != first and re.search(r"begin at step \d{2,}1", lab.log_tail(run_id)), "from its checkpoint, elsewhere"
    print(f"a lost node was seen after {seen:.1f} s, and the run went on elsewhere {time.monotonic() - began:.1f} s after it")
    os.kill(lab.store.get(run_id).pid, signal.SIGKILL)  # the second loss is one too many
    assert until(lambda: lab.reconcile() is not None and lab.store.get(run_id).state == "interrupted", 10)
    run = lab.store.get(run_id)
    assert "Resume" in run.advice and [e.message for e in lab.store.events(run_id) if "queued again" in e.message] == [
        "Lost by the cluster, queued again (1 of 1)."
    ]
    lab.resume(run_id)
    run = lab.watch(run_id, seconds=PATIENCE)
    assert run.state == "succeeded" and lab.store.series(run_id)["loss"][0].tolist() == list(range(1, 1501)), "no gap in its curve"


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_run_over_two_devices_is_on_one_node(cluster, tmp_path, monkeypatch):
    """The real worker: Ray gives it room for two on the one node that has it, and both of its processes train there."""
    made, nodes = cluster
    monkeypatch.setenv("LAB_LAUNCHER", "ray")
    monkeypatch.setenv("LAB_HOME", str(tmp_path / "home"))
    lab = Queue(Home())
    given = spec(save_model(tmp_path / "model"), save_task(tmp_path / "toy"), steps=6, evaluate_every=6, devices=2)
    with pytest.raises(Refusal, match="the largest has it for 1") as refused:
        lab.launcher.require(2, "cpu")
    assert refused.value.field == "training.devices"
    before = lab.launcher.slots  # a test before this one takes a node away
    wide = made.add_node(num_cpus=2, object_store_memory=80 * 2**20)
    try:
        assert until(lambda: lab.launcher.slots >= before + 2, 30)
        lab.launcher.require(2, "cpu")
        run_id = lab.launch(given.document())
        assert until(lambda: lab.store.get(run_id).slots == [0, 1], 10) and lab.store.get(run_id).devices == 2
        run = lab.watch(run_id, seconds=PATIENCE)
        assert run.state == "succeeded" and "2 processes" in lab.log_tail(run_id), lab.log_tail(run_id)
        assert node_of(lab, run_id) == wide.node_id
    finally:
        made.remove_node(wide)
        lab.store.close()
