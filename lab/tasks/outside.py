"""Files of strangers, read in a child process: `outline`, `preview` and `commit` of lab.tasks.importing within limits on time and memory.

A few kilobytes of Parquet, gzip or JSON can stand for gigabytes. What takes too much costs its own question, not the app or the terminal;
others are answered meanwhile. Notebooks may call lab.tasks.importing itself.
"""

from __future__ import annotations

import functools
import os
import shutil
import time
from pathlib import Path
from queue import LifoQueue
from typing import Any

from lab.child import GIB, Child, Exceeded, memory_limit
from lab.design.body.model import ModelSpec
from lab.design.plain.boundary import located
from lab.design.plain.refusal import Refusal
from lab.design.spec.task import TaskSpec
from lab.tasks import importing, sources
from lab.tasks.importing import Preview

CHILDREN = 2  # files that are read at once
START_SECONDS, IDLE_SECONDS = 60, 300
SECONDS, BYTES_A_SECOND = 60, 1_000_000  # that a file may take, and one more for every so many bytes of it
BRING_SECONDS, BRING_MEMORY = 1800, 4 * GIB  # that rows of the hub may take: they come through the network
MEMORY, TIMES = 1.5 * GIB, 40  # bytes that it may take, and so many more for each of its own
HEAVY = GIB  # bytes of a child that is let go after its answer
LOOKED_AT = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja")  # what of a model says whether it can read a task
TOLD = ("LAB_HOME", "LAB_DATA", "LAB_PATHS")  # as they are when it is asked
LEFT_SECONDS = 3600  # after which what an ended import left is somebody's no more


def outline(path: str | Path, family: str = "", columns: dict[str, str] | None = None, **more: Any) -> tuple[list[str], str, dict[str, str], dict[str, Any]]:
    """As importing.outline."""
    columns_there, guessed, chosen, chat = _ask("outline", path, family=family, columns=columns, **more)["outline"]
    return columns_there, guessed, chosen, chat


def preview(path: str | Path, **choices: Any) -> Preview:
    """As importing.preview."""
    answer = _ask("preview", path, **choices)["preview"]
    return Preview(**{**answer, "spec": TaskSpec.model_validate(answer["spec"])})


def commit(path: str | Path, name: str, **choices: Any) -> TaskSpec:
    """As importing.commit."""
    importing.check_name(name)
    for left in importing.home().glob(".import-*"):  # of an import whose process was ended
        if left.stat().st_mtime < time.time() - LEFT_SECONDS:
            shutil.rmtree(left, ignore_errors=True)
    return importing.load(_ask("commit", path, name=name, **choices)["kept"])


def bring(address: str, **choices: Any) -> tuple[str, list[str]]:
    """As gathering.bring: rows of the hub, streamed."""
    token, notes = _ask("bring", address, **choices)["brought"]
    return token, notes


def require_suited(task: TaskSpec, model: ModelSpec, folder: Path, objective: str) -> None:
    """As suitability.require_suited. A task and a model that were found to suit are not looked at again until their files change."""
    stamps = tuple((name, *_stamp(folder / name)) for name in LOOKED_AT)
    seen = str(time.monotonic_ns()) if task.source.hub else sources.fingerprint(task.source)  # a set of the hub may have come here since
    _suits(task.model_dump_json(), seen, model.model_dump_json(), str(folder), stamps, objective)


@functools.lru_cache(maxsize=64)
def _suits(task: str, _print: str, model: str, folder: str, _stamps: tuple, objective: str) -> None:
    spec, base = TaskSpec.model_validate_json(task), ModelSpec.model_validate_json(model)
    try:
        _ask(
            "suit",
            located(spec.source.file) if spec.source.file else os.path.join(folder, LOOKED_AT[0]),
            task=spec.model_dump(mode="json"),
            model=base.model_dump(mode="json"),
            folder=folder,
            objective=objective,
        )
    except Exceeded:
        raise Refusal(
            "{model} did not read the rows of this task within the limits on time and memory: its tokenizer or chat template, or the data, are too large.",
            "model",
            model=base.title or base.name,
        ) from None


def _stamp(file: Path) -> tuple[int, int]:
    try:
        return file.stat().st_size, file.stat().st_mtime_ns
    except OSError:
        return 0, 0


@functools.cache
def _children() -> LifoQueue[Child]:
    """The one that answered last is asked first: it remembers the rows."""
    found: LifoQueue[Child] = LifoQueue()
    for _ in range(CHILDREN):
        found.put(Child("lab.tasks.serve", start=START_SECONDS, answer=SECONDS, memory=int(MEMORY), field="file", idle=IDLE_SECONDS, environment={"CUDA_VISIBLE_DEVICES": ""},
                        late="The file could not be read in {seconds} s; give a smaller or simpler one.",
                        large="The file takes more than {gb} GiB of memory when it is unpacked; give a smaller or simpler one.",
                        died="The process that reads the file ended without an answer, twice."))  # fmt: skip
    return found


def _ask(verb: str, path: str | Path, **choices: Any) -> dict[str, Any]:
    if verb != "bring":
        path = _whole(path)
        choices |= {name: _whole(choices[name]) for name in ("validation", "test") if choices.get(name)}
    size = sum(map(_size, [path, *(choices.get(name) or "" for name in ("validation", "test"))]))
    child = _children().get()
    try:
        seconds, memory = (BRING_SECONDS, BRING_MEMORY) if verb == "bring" else (SECONDS + size // BYTES_A_SECOND, min(8 * GIB, MEMORY + TIMES * size))
        answer = child.ask({"verb": verb, "path": path, "choices": choices, "environment": {name: os.environ.get(name) for name in TOLD}},
                         seconds=seconds, memory=memory_limit(memory))  # fmt: skip
        if child.taken() > HEAVY:
            child.close()
    finally:
        _children().put(child)
    if "gone" in answer:
        raise OSError(answer["gone"])
    return answer


def _whole(path: str | Path) -> str:
    return os.path.abspath(os.path.expanduser(path)) if "\0" not in str(path) else str(path)


def _size(path: str | Path) -> int:
    """Bytes of a file, or of what lies in a folder; 0 for what cannot be looked at."""
    try:
        return sum(file.stat().st_size for file in Path(path).rglob("*")) if path and os.path.isdir(path) else os.stat(path).st_size
    except (OSError, ValueError):
        return 0
