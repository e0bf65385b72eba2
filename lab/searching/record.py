"""What a search has done so far, as one JSON document that is written whole or not at all: LAB_HOME/searches/NAME/search.json.

It holds everything that the next step depends on. Optuna's study is made anew from it whenever a design is proposed (lab.searching.sampling), so
that a search which was killed goes on as if it had not been: no random state and no lock of another library survives it, and nothing is pickled.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from sqlalchemy.exc import SQLAlchemyError

from lab.design.plain.message import packed, unpacked, word
from lab.design.plain.refusal import Refusal
from lab.design.spec.search import NAME, SearchSpec, search_of
from lab.runs import default, is_there
from lab.runs.files import write_json

FORMAT = 1
OPEN, COMPLETE, PRUNED, OVER, FAILED = "open", "complete", "pruned", "over", "failed"  # of a trial
PRESET, SPACE = "preset", "space"  # where a trial comes from
TRIALS, FINALS, TEST, DONE = "trials", "finals", "test", "done"  # phases
RUNNING, STOPPED, ENDED = "running", "stopped", "ended"


@dataclass
class Judged:
    """A run of a trial up to `step` and what it came to; `value` None: not yet, or it failed."""

    step: int
    run: str
    value: float | None = None
    seconds: float | None = None


@dataclass
class Trial:
    """One design. `point`: the options that it has, by path; `params`: what the sampler learns from, {} where it is no point of the space."""

    number: int
    origin: str
    label: str
    point: dict[str, Any]
    params: dict[str, Any]
    weights: int
    percent: float
    memory: int | None = None
    state: str = OPEN
    reason: str = ""
    over: dict[str, float] = field(default_factory=dict)  # by how much it breaks which bound, as a share of that
    rungs: list[Judged] = field(default_factory=list)
    marks: dict[str, Any] = field(default_factory=dict)  # what Optuna's pruner notes of it
    finals: dict[str, Judged] = field(default_factory=dict)  # by seed
    tests: dict[str, Judged] = field(default_factory=dict)

    @property
    def value(self) -> float | None:
        """At the highest rung that it was judged at."""
        return next((rung.value for rung in reversed(self.rungs) if rung.value is not None), None)

    @property
    def step(self) -> int:
        """That rung."""
        return next((rung.step for rung in reversed(self.rungs) if rung.value is not None), 0)

    @property
    def seconds(self) -> float | None:
        """Of its training up to there."""
        return next((rung.seconds for rung in reversed(self.rungs) if rung.value is not None), None)

    @property
    def final(self) -> float | None:
        """The mean over the seeds of the last rung, None before all of them are there."""
        values = [each.value for each in self.finals.values()]
        return sum(values) / len(values) if values and None not in values else None  # type: ignore[arg-type]

    @property
    def standing(self) -> tuple[float | None, int, float | None]:
        """(value on validation rows, steps, seconds of its training): the mean of the last rung once all its seeds are there, before that of the highest rung."""
        if self.final is None:
            return self.value, self.step, self.seconds
        found = list(self.finals.values())
        times = [each.seconds for each in found if each.seconds is not None]
        return self.final, found[0].step, sum(times) / len(times) if times else None


@dataclass
class SearchRecord:
    """A search. `asked`: how often the sampler was asked, also for points that were refused; `refused`: those by reason."""

    name: str
    spec: dict[str, Any]
    metric: str
    greater: bool
    created: float
    format: int = FORMAT
    state: str = RUNNING
    phase: str = TRIALS
    trials: list[Trial] = field(default_factory=list)
    asked: int = 0
    refused: dict[str, int] = field(default_factory=dict)
    meaningless: list[dict[str, Any]] = field(default_factory=list)  # params of points that the design's rules refused, the newest ones
    seconds: float = 0.0
    note: str = ""  # why no more designs were begun, or what went wrong
    chosen: list[int] = field(default_factory=list)  # trials of the last rung
    importance: dict[str, float] = field(default_factory=dict)
    verdict: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)

    def search(self) -> SearchSpec:
        """Its spec."""
        return search_of(self.spec)

    @property
    def trained(self) -> list[Trial]:
        """The trials that keep the budget."""
        return [trial for trial in self.trials if trial.state != OVER]

    def document(self) -> dict[str, Any]:
        """The plain form that is kept."""
        return asdict(self)


def record_of(document: dict[str, Any]) -> SearchRecord:
    """The record of a kept document. Raises Refusal for one that this lab does not read."""
    try:
        if document["format"] != FORMAT:
            raise Refusal("This search was kept in format {format}, and this lab reads {known}.", "search", format=document["format"], known=FORMAT)
        trials = []
        for each in document["trials"]:
            kept = {**each, "rungs": [Judged(**rung) for rung in each["rungs"]]}
            for part in ("finals", "tests"):
                kept[part] = {seed: Judged(**one) for seed, one in each[part].items()}
            trials.append(Trial(**kept))
        return SearchRecord(**{**document, "trials": trials})
    except (KeyError, TypeError, AttributeError):
        raise Refusal("The record of this search is damaged.", "search") from None


# -- where they lie


def check_name(name: object) -> str:
    """The name itself where it can be one. Raises Refusal."""
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise Refusal("A search's name has small letters, digits and dashes, begins with a letter or digit, and is at most 40 long.", "search")
    return name


def folder(name: str) -> Path:
    """The folder of a search; it need not exist."""
    return default().home.path / "searches" / check_name(name)


def names() -> list[str]:
    """The searches of this lab, the newest first."""
    if not is_there():
        return []
    found = [path.parent for path in (default().home.path / "searches").glob("*/search.json") if NAME.fullmatch(path.parent.name)]
    return [path.name for path in sorted(found, key=lambda path: (path / "search.json").stat().st_mtime, reverse=True)]


def read(name: str) -> SearchRecord:
    """A search by its name. Raises Refusal."""
    try:
        document = unpacked(json.loads((folder(name) / "search.json").read_text(encoding="utf-8")))
    except FileNotFoundError:
        known = ", ".join(names()[:5])
        raise Refusal(
            "There is no search '{name}'; there are {known}." if known else "There is no search '{name}', nor any other.", "search", name=name, known=known
        ) from None
    except (OSError, ValueError):
        raise Refusal("The record of this search is damaged.", "search") from None
    return record_of(document)


def keep(record: SearchRecord) -> None:
    """Write a record, whole or not at all, and have pages look."""
    write_json(folder(record.name) / "search.json", packed(record.document()))
    with suppress(SQLAlchemyError):  # what counts is written
        default().store.touch()


def create(record: SearchRecord) -> None:
    """Make the folder of a new search and its record. Raises Refusal where there is one of that name."""
    place = folder(record.name)
    try:
        place.mkdir(parents=True)
    except FileExistsError:
        raise Refusal("There is a search '{name}' already: resume it, or give another name.", "name", name=record.name) from None
    except OSError as error:
        raise Refusal("{place} cannot be made ({reason}).", "name", place=place, reason=word(error.strerror)) from None
    keep(record)


@contextmanager
def driving(name: str) -> Iterator[None]:
    """Within, this process alone drives the search; the lock goes with the process, however it ends. Raises Refusal where another one drives it."""
    lock = FileLock(folder(name) / "lock", timeout=3)
    try:
        lock.acquire()
    except Timeout:
        raise Refusal("The search '{name}' is being driven already.", "search", name=name) from None
    try:
        yield
    finally:
        lock.release()


def driven(name: str) -> bool:
    """Whether a process drives the search now."""
    lock = FileLock(folder(name) / "lock", timeout=0)
    try:
        lock.acquire()
    except Timeout:
        return True
    lock.release()
    return False


def ask_stop(name: str) -> None:
    """Have whoever drives the search end it."""
    read(name)
    (folder(name) / "stop").write_text(str(time.time()), encoding="utf-8")


def stop_asked(name: str) -> bool:
    """Whether its end was asked for."""
    return (folder(name) / "stop").exists()


def clear_stop(name: str) -> None:
    """Forget that it was."""
    with suppress(FileNotFoundError):
        (folder(name) / "stop").unlink()
