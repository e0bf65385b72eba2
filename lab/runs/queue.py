"""The queue of one lab: runs start in order as slots free up, and what really happens to workers is brought into the store.

Anybody may call `reconcile` (page, command line, a second app on the same home), at any time and at once with others: each
step is a compare-and-set that one of them wins. On the machine of a worker its pid, start mark and place decide whether it
lives, so a clock that jumps or a store that hangs kills nobody; a worker elsewhere is judged by its heartbeat, by changes seen on
this process's own monotonic clock and never by comparing two clocks.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import yaml

from lab.design.plain import numbers
from lab.design.plain.message import Message, Note, listed
from lab.design.plain.refusal import Refusal
from lab.runs import launcher as workers
from lab.runs import launchers, logs, processes, records, slots
from lab.runs.files import Fence
from lab.runs.home import Home, check_id, new_id
from lab.runs.interrupts import whole
from lab.runs.launcher import Launcher
from lab.runs.needs import Estimate, planned
from lab.runs.records import Run
from lab.runs.removing import Removing
from lab.runs.store import Store
from lab.runs.worker_link import read_receipt

AGAIN = "Lost by the cluster, queued again"
CLEARED = 60.0  # seconds between two looks for deletions that were cut short
GRACE = 6.0  # seconds between asking a worker to end and killing it
SILENCE = 8.0  # seconds without a new heartbeat after which a worker on another machine is given up
SILENCE_AT_START = 60.0  # the same before it has claimed its run


class Queue(Removing):
    """The verbs of one lab. `home`, `store`: the default ones if None; `count`: slots (the launcher's if None); `command`: what starts a
    worker, the run's id is added; `launcher`: where workers run (LAB_LAUNCHER's if None); `estimate`: how much memory a spec needs (its plan's if None)."""

    def __init__(
        self,
        home: Home | None = None,
        store: Store | None = None,
        *,
        count: int | None = None,
        command: Sequence[str] | None = None,
        launcher: Launcher | None = None,
        estimate: Estimate | None = None,
    ):
        self.home = home or Home()
        self.store = store or Store(self.home.database_url)
        self._count = count
        self._command = list(command or workers.COMMAND)
        self.launcher = launcher or launchers.chosen()
        self._estimate = estimate or planned(self.home)
        self._seen: dict[tuple, tuple[float | None, float]] = {}  # (run, attempt, pid) -> heartbeat, when it was new
        self._asked: dict[tuple, float] = {}  # (run, attempt) -> when it was first seen stopping
        self._cleared: float | None = None  # when deleted runs were last looked for
        self._lock = threading.RLock()
        self.home.put_back(lambda ids: self.store.known(ids, binned=True))
        self.home.keep_reserve()

    @property
    def count(self) -> int:
        """How many runs may train at once: on this machine, or with LAB_LAUNCHER=ray on the cluster."""
        return self.launcher.slots if self._count is None else self._count

    # -- verbs

    def launch(
        self,
        document: dict,
        name: str | None = None,
        tags: Sequence[str] | None = None,
        notes: str = "",
        parent: str | None = None,
        run_id: str | None = None,
        message: str = "",
    ) -> str:
        """Freeze `document` (a spec as plain JSON) as a new run, last in the queue, and start it if a slot is free; its id.

        `name`, `tags`: taken from the document if None; `message`: said in its history. Refusal: too large, no JSON, bad name or tag, queue full.
        """
        return self.launch_all([{"document": document, "name": name, "tags": tags, "notes": notes, "parent": parent, "run_id": run_id, "message": message}])[0]

    def launch_all(self, given: Sequence[Mapping[str, Any]]) -> list[str]:
        """Queue several runs at once, all or none, in their order; their ids. Each as the arguments of `launch`."""
        rows = [self._row(**one) for one in given]
        with whole():
            self.store.create_all(rows)
            for row in rows:
                with suppress(OSError):  # a copy for people; the store's own is what counts, and the launcher will say what is wrong with the disk
                    path = self.home.run_dir(row["run_id"], create=True) / "spec.yaml"
                    path.write_text(yaml.safe_dump(row["spec"], sort_keys=False, allow_unicode=True), encoding="utf-8")
            self.start_next()
        return [row["run_id"] for row in rows]

    def _row(
        self,
        document: dict,
        name: str | None = None,
        tags: Sequence[str] | None = None,
        notes: str = "",
        parent: str | None = None,
        run_id: str | None = None,
        message: str = "",
    ) -> dict[str, Any]:
        """What the store takes for one new run. Refusal."""
        records.spec_text(document)
        needs, waits = self._needs(document)
        return {
            "spec": document,
            "name": document.get("name") or "" if name is None else name,
            "tags": document.get("tags") or [] if tags is None else tags,
            "notes": notes,
            "run_id": run_id or new_id(),
            "parent": parent,
            "needs": needs,
            "devices": slots.devices_of_spec(document),
            "message": str(listed(filter(None, (message, waits)), " ")),
        }

    def _needs(self, document: dict) -> tuple[int | None, str]:
        """(bytes that the plan says, a sentence where they are not free now or not known), as LAB_MEMORY_POLICY wants. Refusal: more than there is."""
        policy = slots.policy()
        try:
            needs = self._estimate(document) if policy != "ignore" else None
        except Refusal as problem:  # a spec that cannot be planned may well run, and a busy machine's planner may be late
            return None, Note("Its memory could not be planned ({reason}), so it waits for none.", reason=problem.sentence.clause())
        if needs is None:
            return None, ""
        needs *= 1 if slots.devices() else slots.devices_of_spec(document)  # a plan is of one device; processes of a CPU share its memory
        total, _ = slots.memory()
        words = Message("The plan says that this run needs {memory} at its peak", memory=numbers.memory(needs))
        if needs > total and policy == "refuse":
            raise Refusal(
                "{needs}; there are {total} here, so lower batch_size or max_length, or choose a smaller model.",
                "training",
                needs=words,
                total=numbers.memory(total),
            )
        return needs, Note("{needs}; it waits until so much is free.", needs=words) if needs > (self._room() or needs) else ""

    def _room(self) -> int | None:
        """Bytes that a run may need to start now; None: any. What active runs on the processor will still take is set aside."""
        if slots.policy() == "ignore" or self.launcher.everywhere:
            return None
        total, free = slots.memory()
        if slots.devices():
            return free
        promised = sum(run.needs or 0 for run in self.store.active() if run.place == processes.place())
        return max(0, min(free, total - promised))

    def stop(self, run_id: str, wait: bool = True) -> str:
        """End a run, its whole process tree and nothing else; the state it is in then.

        The worker is asked first (it can save a checkpoint) and killed GRACE seconds later. `wait=False` returns once it has been
        asked: then whoever calls `reconcile` sees to the rest.
        """
        state = self.store.ask_stop(run_id)
        if state != records.STOPPING:
            return state
        self.reconcile()
        until = time.monotonic() + GRACE + 3.5
        while wait and self.store.get(run_id).active and time.monotonic() < until:
            time.sleep(0.1)
            self.reconcile()
        return self.store.get(run_id).state

    def resume(self, run_id: str) -> None:
        """Queue a failed, cancelled or interrupted run again; its worker goes on from the last checkpoint, or from the beginning.

        Refusal in any other state.
        """
        kept = self.home.has_checkpoint(run_id)
        where = "from its last checkpoint" if kept else "from the beginning: it had left no checkpoint"
        self.store.requeue(run_id, f"Resumed {where}.")
        self.start_next()

    def duplicate(self, run_id: str, name: str | None = None) -> str:
        """Queue a new run with the same spec, tags and notes; its id."""
        run = self.store.get(run_id)
        if not run.spec:
            raise Refusal("The specification of run {run} is damaged, so it cannot be duplicated.", "run", run=run_id)
        return self.launch(run.spec, (run.name if name is None else name), run.tags, run.notes, parent=run_id)

    def rename(self, run_id: str, name: str) -> None:
        """Give the run another name."""
        self.store.rename(run_id, name)

    def tag(self, run_id: str, tags: Sequence[str]) -> None:
        """Replace the run's tags."""
        self.store.tag(run_id, tags)

    def annotate(self, run_id: str, notes: str) -> None:
        """Replace the run's notes."""
        self.store.annotate(run_id, notes)

    def reorder(self, run_id: str, place: int) -> None:
        """Make a queued run the `place`-th to start (0: next)."""
        self.store.reorder(run_id, place)

    def log_tail(self, run_id: str, lines: int = 200) -> str:
        """The last lines of the run's log, '' before there is one."""
        return logs.tail(self.home.file(check_id(run_id), "log.txt"), lines)

    def watch(self, run_id: str, seconds: float | None = None, pause: float = 0.5) -> Run:
        """Wait until a run is over, reconciling meanwhile; the run as it is then, or after `seconds`."""
        until = None if seconds is None else time.monotonic() + seconds
        while True:
            self.reconcile()
            run = self.store.get(run_id)
            if run.over or (until is not None and time.monotonic() > until):
                return run
            time.sleep(pause)

    # -- starting

    def warm(self, after: float = 0.0, wait: float = 0.0) -> bool:
        """Have workers start warm while this process lives (see lab.runs.warm), from `after` seconds on; whether they do, within `wait` seconds."""
        return self.launcher.warm(self._command, after, wait)

    def start_next(self) -> list[str]:
        """Start queued runs while slots are free; the ids of those started."""
        with whole():
            return self._start_next()

    def _slots_for(self, devices: int) -> int:
        return self.launcher.slots_for(devices, self.count)

    def _start_next(self) -> list[str]:
        started = []
        while run := self.store.claim_next(processes.identity(), self.count, everywhere=self.launcher.everywhere, room=self._room(), slots_for=self._slots_for):
            started.append(run.id)
            if not run.spec:
                self._end(run, records.FAILED, "The stored specification is empty or damaged.", "Delete it and launch anew.")
                continue
            try:
                worker = self.launcher.start(self.home, run, self.store, self._command, self.count)
            except (OSError, Refusal) as error:
                self._end(run, records.FAILED, f"Its worker could not be started: {error}", logs.advise(str(error)))
                continue
            if worker:
                self.store.adopt(run, worker)
        return started

    # -- observing

    def reconcile(self) -> list[str]:
        """Bring the store in line with what really runs, end what was asked to end, start what may start; ids of changed runs."""
        with self._lock:
            self.launcher.reap()
            if self._cleared is None or time.monotonic() - self._cleared > CLEARED:
                self.clear()
            active = self.store.active()
            changed = [run.id for run in active if self._look(run)]
            known = {(run.id, run.attempt) for run in active}
            self._seen = {key: seen for key, seen in self._seen.items() if key[:2] in known}
            self._asked = {key: since for key, since in self._asked.items() if key in known}
            return changed + self.start_next()

    def _look(self, run: Run) -> bool:
        here = run.place == processes.place()
        if not self._lives(run, here) or self.launcher.has_ended(run):
            return self._lost(run, here)
        if run.state == records.STOPPING and (here or self.launcher.everywhere):
            self._press(run)
        return False

    def _lives(self, run: Run, here: bool) -> bool:
        """Whether a run has a worker, or may still come to one: then its process in the store is the launcher's."""
        if run.heartbeat is None and (held := self.launcher.holds(run)) is not None:
            since = self._seen.setdefault((run.id, run.attempt, None), (None, time.monotonic()))[1]
            return held or time.monotonic() - since < self.launcher.patience
        if not here:
            return self._heard(run)
        if not processes.is_alive(run.pid, run.mark, run.pid_create_time):
            return False
        return run.heartbeat is None or not processes.carries_another(run.pid, self.store.token(run))

    def _heard(self, run: Run) -> bool:
        """Whether a worker elsewhere may live: its heartbeat changed within SILENCE seconds of this process's clock."""
        key, now = (run.id, run.attempt, run.pid), time.monotonic()
        heartbeat, since = self._seen.get(key, (None, None))
        if since is None or heartbeat != run.heartbeat:
            self._seen[key] = (run.heartbeat, now)
            return True
        return now - since < (SILENCE_AT_START if run.state == records.STARTING else SILENCE)

    def _press(self, run: Run) -> None:
        """Ask a stopping worker to end, later kill it. Only processes that carry this attempt's token are touched."""
        key, now = (run.id, run.attempt), time.monotonic()
        token = self.store.token(run)
        if key not in self._asked:
            self._asked[key] = now
            self.launcher.end(run, token)
        elif now - self._asked[key] > GRACE:
            self.launcher.end(run, token, force=True)

    def _lost(self, run: Run, here: bool) -> bool:
        """Record the end of a worker that is gone; whether this call did."""
        if here:
            processes.kill(self.store.token(run))  # what it left running would hold the accelerator
            Fence.lift(self.home.run_dir(run.id), run.attempt)
        code = self.launcher.exit_code(run, self.home.run_dir(run.id))
        receipt = read_receipt(self.home.run_dir(run.id), run.attempt)
        if receipt is not None:
            if rows := receipt.pop("rows"):  # what the store could not take before the worker was gone
                self.store.log(run.id, rows, attempt=run.attempt)
            return self.store.finish(run.id, attempt=run.attempt, **receipt)
        if run.state == records.STOPPING:
            return self._end(run, records.CANCELLED, None, None, f"Stopped at step {run.step}.")
        if run.state == records.STARTING and run.heartbeat is None and code is None:
            return self.store.move(
                run.id,
                (records.STARTING,),
                records.QUEUED,
                "Its launcher was gone; queued again.",
                like=run,
                **dict.fromkeys(("pid", "pid_create_time", "mark", "place", "host", "slot")),
            )
        last = logs.tail(self.home.run_dir(run.id) / "log.txt")
        how = logs.exit_words(code) if here else Message("on {host} fell silent", host=run.host)
        if here and processes.is_alive(run.pid, run.mark, run.pid_create_time) and code is None and run.heartbeat is not None:
            how = Message("is another lab's, of which this one is a copy made")
        if run.state == records.STARTING:
            words = Message("The worker {how} before it began.", how=how)
        elif run.total_steps:
            words = Message("The worker {how} at step {step} of {steps}.", how=how, step=run.step, steps=run.total_steps)
        else:
            words = Message("The worker {how} at step {step}.", how=how, step=run.step)
        ended: dict[str, Any] = {"log_tail": last, "exit_code": code}
        if code is not None and code >= 0 or code is None and run.state == records.STARTING:
            return self._end(run, records.FAILED, words, logs.advise(last, code), **ended)
        again = Message("Resume goes on from its last checkpoint.")
        if not self.home.has_checkpoint(run.id):
            again = Message("It had left no checkpoint yet: resume begins again.")
        advice = listed(filter(None, (logs.advise(last[-2000:], code), again)), " ")
        return self._end(run, records.INTERRUPTED, words, advice, **ended) and self._again(run)

    def _again(self, run: Run) -> bool:
        """Queue a run that its launcher lost once more, unless that happened often enough. Always true: the run changed."""
        if retries := self.launcher.retries:
            before = sum(event.message.startswith(AGAIN) for event in self.store.events(run.id))
            if before < retries:
                with suppress(Refusal):  # somebody else was faster
                    self.store.requeue(run.id, f"{AGAIN} ({before + 1} of {retries}).")
        return True

    def _end(self, run: Run, state: str, error: str | None, advice: str | None, message: str = "", **fields: Any) -> bool:
        return self.store.move(
            run.id, records.ACTIVE, state, message or str(error or ""), like=run, error=error, advice=advice, ended=time.time(), slot=None, **fields
        )
