"""Taking runs away: into the bin, and for good. Part of `Queue`."""

from __future__ import annotations

import time
from contextlib import suppress

from sqlalchemy.exc import SQLAlchemyError

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
        self._require_free(run_id)
        with whole(), self.home.room():
            self.store.bin(run_id)

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
        run = self.store.get(run_id)
        if run.active:
            raise Refusal(f"Run {run_id} is {run.state}: stop it before you delete it.", "run")
        if waiting := self._built_on(run_id):
            more = f" and {len(waiting) - 1} more" if len(waiting) > 1 else ""
            raise Refusal(
                f"Run {run_id} is what run {waiting[0]}{more} is built on, which has no weights of its own yet: delete that one first, or let it begin.", "run"
            )

    def _built_on(self, run_id: str) -> list[str]:
        """The runs that would still read the adapter of a run: those that are built on it and may begin, or begin again. The others have a copy."""
        found = [run for run in self.store.list((records.QUEUED, *records.ACTIVE, *records.RESUMABLE)) if not self.home.has_checkpoint(run.id)]
        named = [
            (
                run.id,
                [
                    (run.spec.get("built_on") or {}).get("start_from"),
                    (run.spec.get("built_on") or {}).get("continues"),
                    *((run.spec.get("built_on") or {}).get("stand_on") or ()),
                    *((run.spec.get("combination") or {}).get("runs") or ()),
                ],
            )
            for run in found
        ]
        return [other for other, names in named if any(str(name or "").partition("/")[0] == run_id for name in names)]

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
