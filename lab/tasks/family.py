"""The one interface of a task family. A family is one file: what a row means, how it becomes tokens, how a model is judged.

    objective(spec, kind, model_type)  what the model is asked to be, or a Refusal that says why it cannot
    format(row, spec, number)          a row's clean values ("example"): {"text": ..., "label": 1}
    encode(examples, setting, train)   tokenised rows, each with "input_ids" and "length"
    evaluate(model, rows, setting, loop)  {"loss": ..., metric: ...}
    predict(model, rows, setting, loop)   what a page shows of each row
    reads(example, spec)               what a decoder reads and answers, as text
Nothing in a family imports torch at the top; `batches` and `scoring` do, and are imported on use.
"""

from __future__ import annotations

import abc
import string
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from lab.design.refusal import Note, Refusal
from lab.design.task import COLUMNS, TaskSpec
from lab.tasks import control, sources

if TYPE_CHECKING:
    from lab.tasks.rows import Rows

Example = dict[str, Any]


@dataclass(frozen=True)
class Setting:
    """What encoding and judging need to know beside the rows."""

    spec: TaskSpec
    tokenizer: Any
    config: Any
    objective: str
    max_length: int  # tokens of an input; on decoders of input and answer together
    labels: tuple[str, ...] = ()
    positions: int = 1_000_000  # that the model has for an input and, on decoders, its answer

    @property
    def decoder(self) -> bool:
        return self.objective == "causal"

    @property
    def plain(self) -> Any:
        """The tokenizer as it reads what people wrote: see `lab.tasks.control`."""
        return control.plain(self.tokenizer)

    @property
    def pad(self) -> int:
        """The id to pad with; where a model names none, the tokenizer's, else 0 (masked anyway)."""
        for owner in (self.tokenizer, self.config):
            if isinstance(getattr(owner, "pad_token_id", None), int):
                return owner.pad_token_id
        return 0


@dataclass(frozen=True)
class Loop:
    """How to run over rows when judging a model."""

    batch_size: int = 64
    device: Any = None
    progress: Callable[[int, int], None] = field(default=lambda done, total: None)  # rows done, rows in all
    stopping: Callable[[], bool] = field(default=lambda: False)  # True: give up soon (Stopped is raised)


class Stopped(Exception):
    """An evaluation was given up because `Loop.stopping()` said so."""


class Family(abc.ABC):
    """One kind of task."""

    name: str
    version = 3  # raised when encoding or splitting changes, so that no stale cache is read
    joins = False  # encodes all rows as one text
    several = False  # a text may have several right answers, so that rows of one text and different answers are no dispute
    prompt = ""  # what a decoder reads, where the task gives no wording

    @abc.abstractmethod
    def objective(self, spec: TaskSpec, kind: str, model_type: str) -> str:
        """classification, multi_label, regression, seq2seq or causal. Raises `Refusal` with the reason where the model cannot do the task."""

    @abc.abstractmethod
    def format(self, row: sources.Row, spec: TaskSpec, number: int | None = None) -> Example:
        """A row's clean values. Raises `Refusal` that names column and row (counted from 1)."""

    @abc.abstractmethod
    def encode(self, examples: Sequence[Example], setting: Setting, train: bool) -> list[dict[str, Any]]:
        """Tokenised rows; fewer or more than examples where a family joins or splits them."""

    @abc.abstractmethod
    def evaluate(self, model: Any, rows: Rows, setting: Setting, loop: Loop) -> dict[str, float]:
        """The mean loss and every metric of the spec."""

    def predict(self, model: Any, rows: Rows, setting: Setting, loop: Loop) -> list[dict[str, Any]]:
        """For each row {"input", "prediction", "reference"} and what else helps; rows come from a held-out split."""
        raise Refusal(f"A {self.name} task has no single predictions to show.", "task")

    def asked(self, row: sources.Row, spec: TaskSpec) -> dict[str, str]:
        """{"text", "pair" where the task compares two}: what a person would type to ask what a row asks, without the prompt around it."""
        roles = [role for role in self.inputs(spec) if role in COLUMNS[self.name][0] or role in spec.columns]
        return {name: sources.words(row, spec.column(role)) for name, role in zip(("text", "pair"), roles, strict=False)}

    def key(self, row: sources.Row, spec: TaskSpec) -> str:
        """The input text of a row, by which duplicates are found."""
        first, *others = [role for role in self.inputs(spec)]
        return "\x1f".join(sources.words(row, spec.column(role)) for role in (first, *(role for role in others if role in spec.columns)))

    def answer(self, row: sources.Row, spec: TaskSpec) -> Any:
        """What a row answers, by which disputed duplicates are found, or (`several`) duplicates."""
        role = next((role for role in ("label", "target", "answer") if role in COLUMNS[self.name][0]), "")
        return sources.value(row, spec.column(role)) if role else ""

    def inputs(self, spec: TaskSpec) -> tuple[str, ...]:
        """The roles that make up the input."""
        needed, allowed = COLUMNS[self.name]
        return tuple(role for role in needed + allowed if role not in ("label", "target", "answer", "options", "output"))

    def labels(self, spec: TaskSpec, examples: Sequence[Example]) -> tuple[str, ...]:
        """Names of the classes, for families that have them."""
        return ()

    def length_of(self, row: sources.Row, example: Example, spec: TaskSpec) -> str:
        """The text of a row that the longest input limits."""
        return " ".join(self.key(row, spec).split("\x1f"))

    def notes(self, rows: Sequence[sources.Row], examples: Sequence[Example], spec: TaskSpec) -> list[Note]:
        """Sentences on what of the data is not read."""
        return []

    def balance(self, examples: Sequence[Example], spec: TaskSpec) -> dict[str, int]:
        """{label: its rows}, for families that have labels."""
        return {}

    def reads(self, example: Example, spec: TaskSpec) -> tuple[str, str]:
        """(what a decoder reads, what it is to answer) as text; ("", text) where it learns all of it."""
        return "", " ".join(str(value) for value in example.values())

    def show(self, example: Example, spec: TaskSpec) -> dict[str, Any]:
        """An example as a page shows it."""
        return dict(example)


def fill(template: str, values: dict[str, Any]) -> str:
    """A template with {name} replaced by values; unlike str.format it reaches into nothing."""
    return frame(template, values)[0]


def frame(template: str, values: dict[str, Any], hole: str = "") -> tuple[str, ...]:
    """The wording before, between and after each {hole} of a template, its other names replaced: `source.join(frame)` is the whole."""
    pieces = [""]
    for literal, name, _, _ in string.Formatter().parse(template):
        pieces[-1] += literal
        if name is not None and name == hole:
            pieces.append("")
        elif name is not None:
            pieces[-1] += str(values.get(name) or "")
    return tuple(pieces)


def an(noun: str) -> str:
    """The noun with its article: an encoder, a decoder."""
    return f"{'an' if noun[:1] in 'aeiou' else 'a'} {noun}"
