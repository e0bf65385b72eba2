"""What of models and tasks is on this machine, what can be fetched, and the fetching in a process of its own.

    available("models", "smollm2-135m")                 # Availability(state="fetchable", bytes=..., words="Not fetched yet: ...")
    fetch("tasks", "sst2", progress)                    # here, until it is done
    FETCHES.start("models", "smollm2-135m")             # in a process of its own; then `standing`, or `cancel`

The one place that decides: the bench's pickers and its verdict, `lab models`, `lab tasks`, `lab fetch` and the API ask here. Torch-free; the process
(`python -m lab.fetches KIND NAME`) writes one JSON document a line: {"done", "total", "words"}, at last {"state", "sentence"}.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from lab.design.plain import installed
from lab.design.plain.message import Message, listed, packed, unpacked
from lab.design.plain.refusal import Refusal
from lab.design.presets import catalogue
from lab.models import ModelSpec, Progress, locate, resolve
from lab.models import fetch as fetch_model
from lab.models import fetching as downloads
from lab.models.places import in_hub_cache, offline
from lab.tasks import resolve as resolve_task
from lab.tasks import sources

KINDS = ("models", "tasks")
MOST = 3  # fetches at a time; the hub's client has threads of its own in each
ENDING = 5.0  # seconds that a cancelled fetch has to take away what it had begun
FRESH = 10.0  # seconds for which what is known of all presets is not looked up again


@dataclass(frozen=True)
class Availability:
    """`bytes`: of what would be fetched, None where only the hub knows; `words`: where it is, or what to do, in one sentence ("" where nothing needs to be said)."""

    state: Literal["here", "fetchable", "absent"]
    bytes: int | None = None
    words: str = ""


def available(kind: str, name: str) -> Availability:
    """Whether a model or task is here, can be fetched, or neither. Asks no network but for the configuration of a hub id. Raises Refusal for a name that is none."""
    _require_kind(kind)
    return of_model(resolve(name)) if kind == "models" else of_task(resolve_task(name))


def of_model(spec: ModelSpec) -> Availability:
    """The weights of a model."""
    place = locate(spec)
    if place.folder is not None or (place.kind == "hub" and in_hub_cache(spec.source.hub, spec.source.revision)):
        return Availability("here", None, place.words)
    if place.kind == "hub":
        return _on_hub(spec.source.hub, place.words)
    return Availability("fetchable", spec.source.wheel.bytes, place.words) if spec.source.wheel else Availability("absent", None, place.words)


def of_task(spec: Any) -> Availability:
    """The rows of a task."""
    source = spec.source
    if source.hub:
        return Availability("here") if sources.prepared_here(source) else _on_hub(source.hub, Message("On the Hugging Face hub as {name}.", name=source.hub))
    try:
        sources.require_here(source)
    except Refusal as problem:
        return Availability("absent", None, problem.sentence)
    return Availability("here")


def require(field: str, found: Availability, waits: bool = True) -> None:
    """Raises Refusal, at a field, for what is neither here nor can be fetched: nothing is queued that would wait in vain. `waits`: a run fetches it itself."""
    if found.state == "absent" or found.state == "fetchable" and not waits:
        raise Refusal(found.words, field)


def _on_hub(repository: str, words: str) -> Availability:
    if variable := offline():
        return Availability(
            "absent",
            None,
            Message("{name} is not on this machine, and {variable} is set, so it is not fetched: unset it to fetch.", name=repository, variable=variable),
        )
    return Availability("fetchable", None, words)


_known: dict[str, tuple[float, dict[str, str]]] = {}


def elsewhere(kind: str) -> dict[str, str]:
    """{name: fetchable or absent} of the presets of a kind that are not here, as it was within the last `FRESH` seconds."""
    when, found = _known.get(kind, (float("-inf"), {}))
    if time.monotonic() - when >= FRESH:
        found = {}
        for name in catalogue.names(kind):
            with contextlib.suppress(Refusal):  # what it is, who picks it is told
                if (state := available(kind, name).state) != "here":
                    found[name] = state
        _known[kind] = time.monotonic(), found
    return found


def size(kind: str, name: str) -> int | None:
    """The bytes that a fetch brings, asked of the hub where only it knows; None where it does not say. Raises Refusal."""
    found = available(kind, name)
    if found.state != "fetchable" or found.bytes is not None or kind == "tasks":
        return found.bytes
    return downloads.hub_bytes(resolve(name).source) or None


def fetch(kind: str, name: str, progress: Progress | None = None) -> Path | None:
    """Bring a model's weights or a task's rows onto this machine; the folder of a model that has one of the lab's own. Raises Refusal."""
    _require_kind(kind)
    if kind == "models":
        return fetch_model(name, progress=progress)
    source = resolve_task(name).source
    if not source.hub:
        sources.require_here(source)
    elif not sources.prepared_here(source):
        with downloads.watched(
            source.hub, "dataset", 0, Message("Downloading {name} from the hub", name=source.hub), progress or (lambda done, total, words: None)
        ):
            sources.prepare(source)
    return None


def _require_kind(kind: str) -> None:
    if kind not in KINDS:
        raise Refusal("There are {kinds} to fetch, and no {kind}.", "kind", kinds=listed(KINDS, " and "), kind=str(kind)[:40])


@dataclass
class Fetch:
    """A fetch by a process. `state`: going, done, wrong or cancelled; `done`, `total`: bytes, 0 where they are not known."""

    process: subprocess.Popen
    state: str = "going"
    done: int = 0
    total: int = 0
    words: str = ""
    sentence: str = ""

    def take(self, line: Mapping[str, Any]) -> None:
        """What the process says."""
        if self.state == "going":
            for name in ("state", "done", "total", "words", "sentence"):
                setattr(self, name, line.get(name, getattr(self, name)))

    def document(self) -> dict[str, Any]:
        """{"state", "done", "total", "words", "sentence"}."""
        return {name: getattr(self, name) for name in ("state", "done", "total", "words", "sentence")}


class Fetches:
    """The fetches of this process, one at a time of each thing. Any thread may ask."""

    def __init__(self) -> None:
        self._going: dict[tuple[str, str], Fetch] = {}
        self._lock = threading.Lock()

    def start(self, kind: str, name: str) -> dict[str, Any]:
        """Begin to fetch, unless that goes on already; how it stands. Raises Refusal: it is not to be had, or too much is fetched at once."""
        found = available(kind, name)
        if found.state == "absent":
            raise Refusal(found.words, "model" if kind == "models" else "task")
        with self._lock:
            known = self._going.get((kind, name))
            if known is None or known.state != "going":
                if found.state == "here":
                    return {"state": "done", "done": 0, "total": 0, "words": "", "sentence": ""}
                if sum(one.state == "going" for one in self._going.values()) >= MOST:
                    raise Refusal(
                        "{most} things are being fetched: wait until one is there, or cancel one.", "model" if kind == "models" else "task", most=MOST
                    )
                known = self._going[kind, name] = Fetch(self._begun(kind, name))
                threading.Thread(target=self._listen, args=(known, kind, name), daemon=True, name="fetch").start()
        return known.document()

    def standing(self, kind: str, name: str) -> dict[str, Any] | None:
        """How the last fetch of something stands; None where there was none."""
        found = self._going.get((kind, name))
        return found.document() if found else None

    def cancel(self, kind: str, name: str) -> None:
        """End a fetch; what it had begun is taken away, but for files of the hub's cache, with which the next one goes on."""
        found = self._going.get((kind, name))
        if found is None or found.state != "going":
            return
        found.state = "cancelled"
        end(found.process)

    def close(self) -> None:
        """End them all."""
        for kind, name in list(self._going):
            self.cancel(kind, name)

    def _begun(self, kind: str, name: str) -> subprocess.Popen:
        command = [sys.executable, "-m", "lab.fetches", kind, name]
        environment = {**os.environ, "PYTHONPATH": installed.python_path(), "CUDA_VISIBLE_DEVICES": "", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, encoding="utf-8", env=environment)

    def _listen(self, job: Fetch, kind: str, name: str) -> None:
        assert job.process.stdout is not None
        for line in job.process.stdout:
            with contextlib.suppress(ValueError):
                document = unpacked(json.loads(line))
                if "state" in document:
                    _known.pop(kind, None)
                job.take(document)
        job.process.wait()
        job.take({"state": "wrong", "sentence": Message("Fetching {name} ended before it was done: try again.", name=name)})


def end(process: subprocess.Popen) -> None:
    """Ask a fetch to end, which takes away what it had begun; kill one that does not."""
    process.terminate()
    try:
        process.wait(ENDING)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


FETCHES = Fetches()
atexit.register(FETCHES.close)


def main(kind: str, name: str) -> None:
    """The process of a fetch. It ends, tidily, when it is told to or when whoever started it has gone."""
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what libraries print is none of ours

    def say(**document: Any) -> None:
        out.write(json.dumps(packed(document)) + "\n")
        out.flush()

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that what is under way takes its files away
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    try:
        fetch(kind, name, lambda done, total, words: say(done=done, total=total, words=words))
        say(state="done")
    except Refusal as problem:
        say(state="wrong", sentence=problem.sentence)
    except Exception as error:  # the page must hear of it
        say(state="wrong", sentence=Message("Fetching {name} failed ({kind}): try again.", name=name, kind=type(error).__name__))


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1)
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    main(*sys.argv[1:3])
