"""Pushes to the hub for the page and the API: looked at, then sent by a thread of the app when somebody has confirmed what was shown.

Whether there are any is settled at the start (`lab.ui.serve`): LAB_PUSHING is "page" where only who may use this machine's token reaches the page,
"all" where the API and language models may push, too, and "" elsewhere.
"""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
import threading
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.design.plain.message import Message
from lab.design.plain.refusal import Refusal
from lab.export import hub
from lab.runs import default
from lab.runs.home import check_id
from lab.ui.export import packer

VARIABLE, PAGE, ALL = "LAB_PUSHING", "page", "all"
KEPT = 8  # pushes at most, the last ones
OFF = "Pushing is off here, since others may reach this page and would send with this machine's token: start the lab with --auth, or use the terminal."


@dataclass
class Outgoing:
    """A push and how far it is. `state`: ready, sending, sent or wrong."""

    push: hub.Push
    scratch: tempfile.TemporaryDirectory
    state: str = "ready"
    done: int = 0
    file: str = ""
    sentence: str = ""

    def document(self, confirm: str) -> dict[str, Any]:
        """The push's document, and {"confirm", "state", "done", "file", "sentence"}."""
        return {**self.push.document(), "confirm": confirm, "state": self.state, "done": self.done, "file": self.file, "sentence": self.sentence}


class Pusher:
    """The pushes of this app, by the word that confirms each. Any thread may ask."""

    def __init__(self) -> None:
        self._jobs: OrderedDict[str, Outgoing] = OrderedDict()
        self._lock = threading.Lock()

    def look(self, run: str, repo: str, format: str = "peft", adapter: str = "best", task: str = "", public: bool = False) -> dict[str, Any]:
        """What would be sent where, and the word that confirms it; nothing is sent. Raises Refusal."""
        if not os.environ.get(VARIABLE):
            raise Refusal(OFF, "repo")
        found = default().store.get(check_id(run))
        target = hub.look(repo, format, public)
        packed = packer.PACKER.make(run, format, adapter, task)
        scratch = tempfile.TemporaryDirectory(prefix="lab-push-", ignore_cleanup_errors=True)
        folder = Path(shutil.copytree(packed.folder, Path(scratch.name) / "export", copy_function=_linked))  # what is shown is what goes
        job, confirm = Outgoing(hub.Push(target, folder, found.id, found.name, format), scratch), secrets.token_urlsafe(12)
        with self._lock:
            self._jobs[confirm] = job
            for old in [name for name, each in self._jobs.items() if each.state != "sending"][: max(0, len(self._jobs) - KEPT)]:
                self._jobs.pop(old).scratch.cleanup()
        return job.document(confirm)

    def send(self, confirm: str, replace: bool = False) -> dict[str, Any]:
        """Begin to send what was looked at; how it stands. A second call changes nothing. Raises Refusal."""
        if not os.environ.get(VARIABLE):
            raise Refusal(OFF, "repo")
        with self._lock:
            job = self._jobs.get(confirm)
            if job is None:
                raise Refusal("That push is not known any more: look at it again.", "confirm")
            begins = job.state == "ready"
            if begins:
                job.state = "sending"
        if begins:
            threading.Thread(target=self._work, args=(job, replace), daemon=True, name="push").start()
        return job.document(confirm)

    def standing(self, confirm: str) -> dict[str, Any]:
        """How a push stands. Raises Refusal."""
        job = self._jobs.get(confirm)
        if job is None:
            raise Refusal("That push is not known any more: look at it again.", "confirm")
        return job.document(confirm)

    def of_run(self, run: str) -> dict[str, Any] | None:
        """The last push of a run that was begun, None without."""
        with self._lock:
            found = [(confirm, job) for confirm, job in self._jobs.items() if job.push.run == run and job.state != "ready"]
        return found[-1][1].document(found[-1][0]) if found else None

    def _work(self, job: Outgoing, replace: bool) -> None:
        def progress(done: int, _total: int, file: str) -> None:
            job.done, job.file = done, file

        try:
            job.push.send(progress, replace=replace)
            job.state = "sent"
        except Refusal as refusal:
            job.sentence, job.state = refusal.sentence, "wrong"
        except Exception:  # whatever it is, the page must hear of it, and of nothing that it quotes
            job.sentence, job.state = Message("The push failed at an error of the lab; nothing is known to have been sent."), "wrong"
        finally:
            job.scratch.cleanup()


def _linked(source: str, target: str) -> str:
    """A second name of a file, a copy where the disk has none: exports are not changed in place."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
    return target


PUSHER = Pusher()
