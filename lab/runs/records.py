"""A run as the store knows it, the states that it can be in, and the checks on what people write into it.

queued -> starting -> running -> succeeded | failed | interrupted
   |          |          |
   |          +----------+--> stopping -> cancelled
   +--> cancelled                failed | cancelled | interrupted -> queued   (resume)
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from lab.design.plain.message import Message, unpacked
from lab.design.plain.refusal import Refusal
from lab.runs import notebook

QUEUED, STARTING, RUNNING, STOPPING = "queued", "starting", "running", "stopping"
SUCCEEDED, FAILED, CANCELLED, INTERRUPTED = "succeeded", "failed", "cancelled", "interrupted"
ACTIVE = (STARTING, RUNNING, STOPPING)  # a worker has it, so it holds a slot
OVER = (SUCCEEDED, FAILED, CANCELLED, INTERRUPTED)
RESUMABLE = (FAILED, CANCELLED, INTERRUPTED)
STATES = (QUEUED, *ACTIVE, *OVER)
PHASES = ("loading", "tokenising", "training", "evaluating", "saving")  # of a run that has a worker; before the first one it starts

SPEC_BYTES = 256 * 1024
QUEUE_LENGTH = 1000
NAME_LETTERS, TAG_LETTERS, TAGS, NOTES_LETTERS, METRIC_LETTERS = 120, 40, 20, 20_000, 200


@dataclass(frozen=True)
class Run:
    """One row of the store. Times are seconds since 1970 (UTC); `spec` is {} when the stored text is damaged."""

    number: int
    id: str
    name: str
    state: str
    spec: dict[str, Any]
    tags: list[str]
    notes: str
    position: int
    version: int
    attempt: int
    parent: str | None
    created: float
    started: float | None
    ended: float | None
    step: int
    total_steps: int | None
    slot: int | None
    pid: int | None
    pid_create_time: float | None
    mark: str | None
    place: str | None
    host: str | None
    heartbeat: float | None
    error: str | None
    advice: str | None
    log_tail: str | None
    exit_code: int | None
    result: dict[str, Any]
    needs: int | None = None  # bytes at its peak, as its plan says
    devices: int | None = None  # that it trains on together; None: one
    held: str | None = None  # its slots, where they are several: 0,3
    binned: float | None = None  # when it was put into the bin; None: it is in no bin
    phase: str | None = None  # what its worker is busy with, one of PHASES
    phase_share: float | None = None  # of that, 0 to 1

    @property
    def slots(self) -> list[int]:
        """The slots that it holds; [] where it holds none."""
        return slots_held(self.slot, self.held)

    def _repr_html_(self) -> str:
        return notebook.one(self)

    @property
    def active(self) -> bool:
        """Whether a worker has it: starting, running or stopping."""
        return self.state in ACTIVE

    @property
    def over(self) -> bool:
        """Whether it has ended, well or not."""
        return self.state in OVER

    @property
    def progress(self) -> float | None:
        """Steps done as a fraction of all, None while unknown."""
        return min(1.0, self.step / self.total_steps) if self.total_steps else None


@dataclass(frozen=True)
class Event:
    """Something that happened to a run: when (seconds since 1970), the state it led to, and a sentence or ''."""

    time: float
    state: str
    message: str


def slots_held(slot: int | None, held: str | None) -> list[int]:
    """The slots of a run by its columns `slot` (the first one) and `held` (all of several)."""
    if slot is None:
        return []
    found = [int(number) for number in (held or "").split(",") if number.isascii() and number.isdigit()]
    return found if slot in found else [slot]


def run_of(row: Any) -> Run:
    """The Run of a database row (a mapping with the columns of `schema.runs`; `spec` may be absent)."""
    values = dict(row)
    values["spec"] = _json(values.get("spec"), dict)
    values["tags"] = [t for t in _json(values["tags"], list) if isinstance(t, str)]
    values["result"] = _json(values["result"], dict)
    values["error"], values["advice"] = unpacked(values.get("error")), unpacked(values.get("advice"))
    return Run(**values)


def _json(text: str | None, kind: type) -> Any:
    try:
        value = json.loads(text) if text else kind()
    except (ValueError, RecursionError):
        return kind()
    return value if isinstance(value, kind) else kind()


def spec_text(document: Any) -> str:
    """The JSON of a spec. Refusal: not a plain JSON object, or longer than SPEC_BYTES."""
    if not isinstance(document, dict):
        raise Refusal("The specification of a run must be a mapping of options.", "spec")
    try:
        text = json.dumps(document, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise Refusal("The specification must be plain JSON: texts, finite numbers, lists and mappings.", "spec") from error
    if len(text) > SPEC_BYTES:
        raise Refusal("A specification may have {most} KiB; this one has {size} KiB.", "spec", most=SPEC_BYTES // 1024, size=len(text) // 1024)
    return text


def result_text(result: Any) -> str:
    """The JSON of a result; values that JSON lacks become null (not-a-number) or text."""
    return json.dumps(_json_value(result or {}))


def _json_value(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _json_value(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_json_value(item) for item in value]
    if value is None or isinstance(value, (bool, int, str)):
        return value
    try:
        number = float(value)
    except (TypeError, ValueError):
        return str(value)
    return number if math.isfinite(number) else None


def check_name(name: Any, needed: bool = False) -> str:
    """A run's name: one line of at most NAME_LETTERS printable letters; "" only where it is not `needed`."""
    found = _line(name, "name", NAME_LETTERS)
    if needed and not found:
        raise Refusal("A run needs a name: leave it out to keep the one it has.", "name")
    return found


def check_tags(tags: Iterable[str] | None) -> list[str]:
    """Tags without doubles, in the order given."""
    if isinstance(tags, str) or not isinstance(tags, (list, tuple, set, frozenset, type(None))):
        raise Refusal("Tags must be a list of short texts.", "tags")
    found = list(dict.fromkeys(t for t in (_line(tag, "tags", TAG_LETTERS) for tag in tags or ()) if t))
    if len(found) > TAGS:
        raise Refusal("A run may have {most} tags, not {count}.", "tags", most=TAGS, count=len(found))
    return found


def check_notes(notes: Any) -> str:
    """Free text of at most NOTES_LETTERS letters."""
    if not isinstance(notes, str) or len(notes) > NOTES_LETTERS:
        raise Refusal("Notes must be a text of at most {most} letters.", "notes", most=NOTES_LETTERS)
    if any(not (c.isprintable() or c in "\n\t\r") for c in notes):
        raise Refusal("Notes must not contain control characters.", "notes")
    return notes


def _line(value: Any, field: str, letters: int) -> str:
    what = Message("A name" if field == "name" else "A tag")
    if not isinstance(value, str):
        raise Refusal("{what} must be a text.", field, what=what)
    value = value.strip()
    if len(value) > letters:
        raise Refusal("{what} may have {most} letters, not {count}.", field, what=what, most=letters, count=len(value))
    if not value.isprintable():
        raise Refusal("{what} must be one line without control characters.", field, what=what)
    return value
