"""Plans for pages, without torch: one long-lived child process does the work, and answers are kept on disk.

    client = PlanClient(home)                       # starts nothing yet
    client.plan({"spec": document})                 # a plan's document; Refusal where it cannot be planned
    client.plan(request, topic="tab-3")             # a newer request of the same topic makes an older waiting one give up (Superseded)
    client.advise(request)                          # fits?, largest batch, what would make it fit
    client.close()

The child is started with the first question that the cache cannot answer, and again if it has died.
"""

from __future__ import annotations

import json
import os
import tempfile
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lab.child import GIB, Child, Exceeded, memory_limit
from lab.planning import advice, devices
from lab.planning.request import check, key

START_SECONDS, ANSWER_SECONDS = 240, 120
LARGEST = 6 * GIB  # of memory that a plan may take: what is planned weighs nothing, its layers' names do
REMEMBERED_SECONDS, REMEMBERED = 600, 64  # that a question which took too much is not asked again; such questions
TOPICS = 256  # pages whose newest question is remembered


class Superseded(Exception):
    """A newer request of the same topic came in before this one was begun."""


class PlanClient:
    """Asks the planning service. Threads may share one; requests are answered one after another.

    `home`: a lab.runs.home.Home or a folder, for the cache in its cache/plans.
    """

    def __init__(self, home: Any):
        folder = Path(getattr(home, "cache", None) or Path(home) / "cache")
        self.folder = folder / "plans"
        self._lock = threading.Lock()
        self._latest: dict[str | None, int] = {}  # the newest turn by topic
        self._latest_lock = threading.Lock()
        self._exceeded: dict[str, tuple[float, Exceeded]] = {}
        self._child = Child("lab.planning.serve", start=START_SECONDS, answer=ANSWER_SECONDS, memory=memory_limit(LARGEST),
                            large="The plan took more than {gb} GiB of memory and was ended; try a smaller shape.",
                            late="The planner gave no answer in {seconds} s; try a smaller shape.",
                            died="The planning process ended without an answer; the app's log says why.")  # fmt: skip

    def plan(self, request: Mapping[str, Any], *, topic: str | None = None, turn: int | None = None) -> dict[str, Any]:
        """The document of a Plan. Raises Refusal, or Superseded (only where a topic is given).

        `turn`: the question's number among those of its topic, so that several plans can belong to one question and a late arrival
        cannot pass for a newer one; None counts on.
        """
        asked = check(request)
        name = key(asked)
        found = self._read(name)
        if found is not None:
            return found
        mine = self._announce(topic, turn)
        with self._lock:
            if topic is not None and self._latest.get(topic, mine) > mine:
                raise Superseded
            found = self._read(name)  # another thread may have asked the same
            if found is not None:
                return found
            answer = self._asked(name, asked)
        self._write(name, answer["plan"])
        return answer["plan"]

    def advise(
        self, request: Mapping[str, Any], *, device: Mapping[str, Any] | None = None, topic: str | None = None, turn: int | None = None
    ) -> dict[str, Any]:
        """What `lab.planning.advice.advise` says for a device ({"kind", "total_bytes"}; None: this machine's), with the plan and device."""
        there = dict(device or devices.memory())
        turn = self._announce(topic, turn)  # once: the plans below are steps of this question, and none of them is newer than the next one
        document = self.plan(request, topic=topic, turn=turn)
        answer = advice.advise(check(request), lambda changed: self.plan(changed, topic=topic, turn=turn), there["total_bytes"], there["kind"])
        return {"plan": document, "device": there, **answer}

    def announce(self, topic: str, turn: int) -> None:
        """Say that a question of a topic will come, so that older ones which still wait are given up."""
        self._announce(topic, turn)

    def close(self) -> None:
        """End the child, if there is one."""
        self._child.close()

    def _asked(self, name: str, asked: Mapping[str, Any]) -> dict[str, Any]:
        """The child's answer. What took too much time or memory a short while ago is refused at once: it would keep others waiting again."""
        when, before = self._exceeded.pop(name, (0.0, None))
        if before is not None and time.monotonic() - when < REMEMBERED_SECONDS:
            self._exceeded[name] = when, before
            raise Exceeded(before.sentence, before.field)
        try:
            return self._child.ask({"request": asked})
        except Exceeded as problem:
            self._exceeded[name] = time.monotonic(), problem
            while len(self._exceeded) > REMEMBERED:
                del self._exceeded[next(iter(self._exceeded))]
            raise

    # -- the cache ---------------------------------------------------------------------------------------------------------------------

    def _read(self, name: str) -> dict[str, Any] | None:
        try:
            return json.loads((self.folder / f"{name}.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None

    def _write(self, name: str, document: Mapping[str, Any]) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile("w", dir=self.folder, delete=False, encoding="utf-8") as file:
                json.dump(document, file)
            os.replace(file.name, self.folder / f"{name}.json")
        except OSError:
            pass  # a full disk costs the cache, not the answer

    def _announce(self, topic: str | None, turn: int | None) -> int:
        with self._latest_lock:
            latest = self._latest.pop(topic, 0)
            turn = latest + 1 if turn is None else turn
            if topic is not None:
                self._latest[topic] = max(latest, turn)
                while len(self._latest) > TOPICS:
                    self._latest.pop(next(iter(self._latest)))
            return turn
