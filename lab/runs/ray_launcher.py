"""Workers on a Ray cluster: LAB_LAUNCHER=ray. The same worker process, carried to a node by a small detached actor.

    queue --claims--> store          an actor 'run-<id>-<attempt>' waits in Ray for LAB_RAY_GPUS and LAB_RAY_CPUS, then starts
      |                              `python -m lab.training.worker RUN` on its node and ends when that ends
      +--- asks Ray for an actor     the worker claims the run, streams metrics and heartbeats into the store as everywhere

The actor is detached, so runs go on when the app or the terminal that started them is gone. Ray places and isolates (it sets
CUDA_VISIBLE_DEVICES). A run over several devices asks for as many times as much: what an actor asks for Ray gives whole and on one node, as a placement
group of one bundle would be, and its worker starts the other processes there. What a run's state is stays the store's matter, as do lost nodes: a worker that falls silent is
interrupted, and queued again up to LAB_RAY_RETRIES times, where it goes on from its last checkpoint. A worker that was only cut
off finds its attempt outdated. LAB_HOME must be a path that every node shares, and the store PostgreSQL or on that path.

    LAB_RAY_ADDRESS   the cluster (default RAY_ADDRESS, else 'auto': the one of this machine)
    LAB_RAY_GPUS      per run (default 1 where the cluster has any, else 0; fractions share one)
    LAB_RAY_CPUS      per run (default 1)
    LAB_RAY_RETRIES   how often a lost run is queued again by itself (default 1)
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from lab.design.plain import installed
from lab.design.plain.refusal import Refusal
from lab.runs import launcher, processes, slots
from lab.runs.home import Home
from lab.runs.records import Run
from lab.runs.store import Store

NAMESPACE = "delta-lab"
ENDED = "worker-exit.json"
PASSED = ("LAB_", "HF_", "TRANSFORMERS_", "TOKENIZERS_", "OMP_", "MKL_", "NCCL_", "GLOO_", "FAKE_")  # variables that go along
Default = TypeVar("Default", float, None)
_lock = threading.Lock()


class Cluster:
    """A Ray cluster that runs workers; see `launcher.Launcher`. Raises Refusal when Ray is not installed or no cluster answers."""

    everywhere = True
    patience = 3.0

    def __init__(self) -> None:
        self.cpus, self.gpus = _number("LAB_RAY_CPUS", 1.0), _number("LAB_RAY_GPUS", None)
        self.retries = int(_number("LAB_RAY_RETRIES", 1.0))
        self.ray = _connect()
        if self.gpus is None:
            self.gpus = 1.0 if self.ray.cluster_resources().get("GPU", 0) else 0.0

    @property
    def slots(self) -> int:
        """LAB_SLOTS, or how many runs of one device the cluster can hold now, at least 1."""
        if os.environ.get("LAB_SLOTS"):
            return slots.slots()
        there = self.ray.cluster_resources()
        fits = [int(there.get(kind, 0) // each) for kind, each in (("GPU", self.gpus), ("CPU", self.cpus)) if each]
        return max(1, min(fits, default=1))

    def slots_for(self, wanted: int, count: int) -> int:
        """One for each device."""
        return max(1, min(wanted, count))

    @property
    def accelerators(self) -> int:
        """How many accelerators a run may train on together: those of the largest node."""
        return self._most() if self.gpus else 0

    def require(self, wanted: int, where: str) -> None:
        """Refusal where no node has as many devices as a run asks for: it trains on one machine."""
        if wanted > 1 and (most := self._most()) < wanted:
            raise Refusal(
                "A run trains on one node, and no node of the cluster has room for {wanted} devices; the largest has it for {most}: set devices lower.",
                "training.devices",
                wanted=wanted,
                most=most,
            )

    def _most(self) -> int:
        """Over how many devices a run may train on the node that has most."""
        each = {kind: asked / 2 for kind, asked in self._resources(2).items() if asked}
        nodes = [node["Resources"] for node in self.ray.nodes() if node.get("Alive", True)]
        return max((int(min(there.get(kind, 0) // asked for kind, asked in each.items())) for there in nodes), default=0) if each else 64

    def _resources(self, devices: int) -> dict[str, float]:
        """What a run over so many devices takes of a node. Several processes cannot share an accelerator, so each has a whole one then."""
        gpus = devices * max(1.0, self.gpus) if devices > 1 and self.gpus else self.gpus or 0.0
        return {"CPU": devices * self.cpus, "GPU": gpus}

    def _place(self, run: Run) -> dict[str, Any]:
        """Options of the actor of a run: its resources, of one node."""
        asked = self._resources(slots.devices_of_spec(run.spec))
        return {"num_cpus": asked["CPU"], "num_gpus": asked["GPU"]}

    def start(self, home: Home, run: Run, store: Store, command: Sequence[str], count: int) -> None:
        """Ask Ray for an actor that starts the worker of a claimed run. It may wait there for room. Raises OSError."""
        folder = home.run_dir(run.id, create=True)
        environment = {name: value for name, value in os.environ.items() if name.startswith(PASSED) and name not in launcher.PRIVATE}
        environment |= launcher.worker_environment(home, run, store)
        given = ["" if part == sys.executable else part for part in command]  # a node has its own Python
        try:
            carrier = self.ray.remote(_carrier())
            carrier.options(name=_name(run), namespace=NAMESPACE, lifetime="detached", max_restarts=0, max_concurrency=4, **self._place(run)).remote(
                str(launcher.ROOT), str(folder), [*given, run.id], environment, run.attempt
            )
        except (self.ray.exceptions.RayError, ValueError, RuntimeError) as error:
            raise OSError(f"Ray did not take it: {str(error).splitlines()[0][:200]}") from error

    def warm(self, command: Sequence[str], after: float = 0.0, wait: float = 0.0) -> bool:
        """Never: a node starts what comes to it."""
        return False

    def reap(self) -> None:
        """Nothing: a worker is its actor's child."""

    def holds(self, run: Run) -> bool:
        """Whether Ray has an actor for this attempt (it may have ended, or be lost with its node). True while Ray cannot be asked."""
        try:
            self.ray.get_actor(_name(run), namespace=NAMESPACE)
        except ValueError:
            return False
        except Exception:  # a head node that restarts says so in many ways
            return True
        return True

    def has_ended(self, run: Run) -> bool:
        """Never: a worker on a cluster is judged by its heartbeat."""
        return False

    def end(self, run: Run, token: str, force: bool = False) -> None:
        """Signal a run's processes here and on its node; with `force` the actor ends too."""
        processes.kill(token) if force else processes.send(token, signal.SIGTERM)
        with suppress(Exception):  # it may end by itself meanwhile, or its node be lost
            actor = self.ray.get_actor(_name(run), namespace=NAMESPACE)
            if run.heartbeat is None:  # it may still wait for room
                self.ray.kill(actor)
                return
            asked = actor.signal.remote(force)
            if force:
                self.ray.wait([asked], timeout=3.0)
                self.ray.kill(actor)

    def exit_code(self, run: Run, folder: Path) -> int | None:
        """What the actor of that attempt wrote down when its worker ended; None where it did not live to."""
        if run.place == processes.place() and run.heartbeat is not None and (code := processes.exit_code_of_zombie(run.pid, run.mark)) is not None:
            return code
        try:
            document = json.loads((folder / ENDED).read_text(encoding="utf-8"))
            return int(document["exit_code"]) if document["attempt"] == run.attempt else None
        except (OSError, ValueError, KeyError, TypeError):
            return None


def _carrier() -> type:
    """The actor's class, made here so that Ray ships it by value: a node then needs nothing of the lab to unpack it."""

    class Carrier:
        """Starts one worker process, waits for it in a thread, writes its exit code down, and ends."""

        def __init__(self, root: str, folder: str, command: list[str], environment: dict[str, str], attempt: int):
            import subprocess

            import ray

            paths = [root, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
            self.root, self.folder, self.attempt, self.token = root, Path(folder), attempt, environment["LAB_RUN_TOKEN"]
            command = [part or sys.executable for part in command]
            self.me = ray.get_runtime_context().current_actor
            with open(self.folder / "log.txt", "ab") as log:
                log.write(f"[lab] Ray node {ray.get_runtime_context().get_node_id()}, start {attempt}\n".encode())
                log.flush()
                self.child = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    cwd=folder,
                    start_new_session=True,
                    env={**os.environ, **environment, "PYTHONPATH": os.pathsep.join(paths)},
                    preexec_fn=self.die_together,
                )
            threading.Thread(target=self.wait, daemon=True).start()

        @staticmethod
        def die_together() -> None:
            """Between fork and exec: have the system kill the worker when this actor's process dies (Linux)."""
            import ctypes

            if sys.platform == "linux":
                ctypes.CDLL(None).prctl(1, signal.SIGKILL)

        def wait(self) -> None:
            """Wait for the worker, note how it ended, clear up what it left, and end this actor."""
            code = self.child.wait()
            part = self.folder / f".exit-{self.attempt}"
            part.write_text(json.dumps({"attempt": self.attempt, "exit_code": code}), encoding="utf-8")
            part.replace(self.folder / "worker-exit.json")
            self.signal(True)
            self.me.leave.remote()  # a method may end its actor so that Ray takes it for an end and not for a crash
            time.sleep(10.0)
            os._exit(0)

        def leave(self) -> None:
            """End this actor."""
            import ray

            ray.actor.exit_actor()

        def signal(self, force: bool) -> None:
            """SIGTERM or SIGKILL to every process of this attempt on this node."""
            if self.root not in sys.path:
                sys.path.insert(0, self.root)
            from lab.runs import processes

            processes.kill(self.token) if force else processes.send(self.token, signal.SIGTERM)

    return Carrier


def _connect() -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError:
        raise Refusal("LAB_LAUNCHER=ray needs Ray: {command}.", "LAB_LAUNCHER", command=installed.command("ray")) from None
    address = os.environ.get("LAB_RAY_ADDRESS") or os.environ.get("RAY_ADDRESS") or "auto"
    with _lock:
        if not ray.is_initialized():
            try:
                ray.init(address=address, namespace=NAMESPACE, log_to_driver=False, configure_logging=False)
            except (ConnectionError, ValueError, RuntimeError, OSError) as error:
                reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:160]
                raise Refusal(
                    "There is no Ray cluster at {address} ({reason}); start one with `ray start --head`, or set LAB_RAY_ADDRESS.",
                    "LAB_RAY_ADDRESS",
                    address=address,
                    reason=reason,
                ) from None
    return ray


def _name(run: Run) -> str:
    return f"run-{run.id}-{run.attempt}"


def _number(name: str, default: Default) -> float | Default:
    given = os.environ.get(name, "").strip()
    if not given:
        return default
    try:
        value = float(given)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 10_000:
        raise Refusal("{name} must be a number from 0 to 10,000, not {given}.", name, name=name, given=repr(given[:20]))
    return value
