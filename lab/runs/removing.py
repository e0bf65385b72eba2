"""Taking runs away: into the bin, and for good. Part of `Queue`."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress

from sqlalchemy.exc import SQLAlchemyError

from lab.design.plain.message import Message, some, word
from lab.design.plain.refusal import Refusal
from lab.design.presets import binned
from lab.runs import records
from lab.runs.home import Home, check_id
from lab.runs.interrupts import whole
from lab.runs.store import Store


class Removing:
    """What a queue does with runs that somebody wants away."""

    home: Home
    store: Store
    _cleared: float | None

    def bin(self, run_id: str) -> None:
        """Put a run into the bin, out of every list; a queued one is cancelled with that. Refusal while a worker has it, or where a run that may begin is built on it."""
        if problem := self.bin_all([run_id]).get(run_id):
            raise Refusal(problem, "run")

    def bin_all(self, run_ids: Sequence[str]) -> dict[str, str]:
        """Put runs into the bin in one transaction; {id: why} of those that stay, which stop none of the others. What only runs that go with it are built on may go."""
        refused = self._kept(run_ids)
        going = [run_id for run_id in dict.fromkeys(run_ids) if run_id not in refused]
        with whole(), self.home.room():
            return refused | (self.store.bin_all(going) if going else {})

    def restore(self, run_id: str) -> None:
        """Take a run out of the bin. Refusal where it is not in it."""
        with whole(), self.home.room():
            self.store.restore(run_id)

    def delete(self, run_id: str) -> None:
        """Remove a run with its files, metrics and history, from the bin or from where it is. Refusal while a worker has it (stop it first)."""
        if check_id(run_id) not in {run.id for run in self.store.binned()}:
            self._require_free(run_id)
        with whole(), self.home.room():
            self.store.delete(run_id)
            self.clear()

    def _require_free(self, run_id: str) -> None:
        if problem := self._kept([run_id]).get(run_id):
            raise Refusal(problem, "run")

    def _kept(self, run_ids: Sequence[str]) -> dict[str, str]:
        """{id: why} of the runs that cannot go: there is none, a worker has it, or one that stays and has no weights yet is built on it."""
        refused: dict[str, str] = {}
        found = {run.id: run for run in self.store.list(ids=list(run_ids), specs=False)}
        for run_id in run_ids:
            if run_id not in found:
                try:
                    self.store.get(run_id)
                except Refusal as problem:  # malformed, unknown, or in the bin
                    refused[run_id] = problem.sentence
            elif found[run_id].active:
                refused[run_id] = Message("Run {run} is {state}: stop it before you delete it.", run=run_id, state=word(found[run_id].state))
        readers = self._readers()
        while True:  # who is kept keeps what it is built on
            going = set(run_ids) - set(refused)
            waiting = {run_id: stays for run_id in going if (stays := [one for one in readers.get(run_id, ()) if one not in going])}
            if not waiting:
                return refused
            for run_id, stays in waiting.items():
                refused[run_id] = Message(
                    "Run {run} is what run {other} is built on, which has no weights of its own yet: delete that one first, or let it begin.",
                    run=run_id,
                    other=some(stays),
                )

    def _readers(self) -> dict[str, list[str]]:
        """{run: the runs that would still read its adapter}: those that are built on it and may begin, or begin again. The others have a copy."""
        found: dict[str, list[str]] = {}
        for run in self.store.list((records.QUEUED, *records.ACTIVE, *records.RESUMABLE)):
            built, combined = run.spec.get("built_on") or {}, run.spec.get("combination") or {}
            names = [built.get("start_from"), built.get("continues"), *(built.get("stand_on") or ()), *(combined.get("runs") or ())]
            below = {str(name).partition("/")[0] for name in names if name}
            if below and not self.home.has_checkpoint(run.id):
                for one in below:
                    found.setdefault(one, []).append(run.id)
        return found

    def clear(self) -> None:
        """Remove the files and metrics of runs that were deleted, also of those whose deletion was cut short, and of those that have been in the bin for its days."""
        self._cleared = time.monotonic()
        before = binned.oldest()
        for run in self.store.binned(before):
            with suppress(Refusal):  # somebody restored or deleted it just now
                self.store.delete(run.id, binned_before=before)
        for number, run_id in self.store.doomed():
            if self.home.remove(run_id):
                with suppress(SQLAlchemyError):  # no room even now: the next one sees to it
                    self.store.forget(number)
