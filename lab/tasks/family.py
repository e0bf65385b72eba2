"""The one interface of a task family. A family is one file of lab/tasks/families: what a row means, how it becomes tokens, how a model is judged.

It declares its name and words, its columns, its metrics with their direction, and says
    objective(spec, architecture)      what the model is asked to be, or a Refusal that says why it cannot
    format(row, spec, number)          a row's clean values ("example"): {"text": ..., "label": 1}
    encode(examples, setting, train)   tokenised rows, each with "input_ids" and "length"
    evaluate(model, rows, setting, loop)  {"loss": ..., metric: ...}
    passes(rows, setting, device)      what that costs for a row, in forward passes
    predict(model, rows, setting, loop)   what a page shows of each row
    reads(example, spec)               what a decoder reads and answers, as text
Nothing in a family imports torch at the top; `batches` and `scoring` do, and are imported on use.
"""

from __future__ import annotations

import abc
import string
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lab.design.body.architecture import Architecture, architecture_of
from lab.design.plain.message import Message, word
from lab.design.plain.refusal import Note, Refusal
from lab.design.spec.families import Column, Metric
from lab.design.spec.objectives import OBJECTIVES
from lab.design.spec.task import TaskSpec
from lab.tasks import control, sources

if TYPE_CHECKING:
    from lab.tasks.rows import Rows
    from lab.tasks.tables import Table

Example = dict[str, Any]
ENDLESS = 1_000_000  # positions of a model that knows distances alone


@dataclass(frozen=True)
class Setting:
    """What encoding and judging need to know beside the rows."""

    spec: TaskSpec
    tokenizer: Any
    config: Any
    objective: str
    max_length: int  # tokens of an input; on decoders of input and answer together
    labels: tuple[str, ...] = ()
    positions: int = ENDLESS  # that the model has for an input and, on decoders, its answer

    @property
    def decoder(self) -> bool:
        return OBJECTIVES[self.objective].one_sequence

    @property
    def architecture(self) -> Architecture:
        """The facts of the model's family."""
        return architecture_of({"model_type": self.config.get_text_config().model_type})

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
class Choices:
    """What was said of a table that is imported, beside its columns; empty: as recognised."""

    labels: Sequence[str] = ()  # names, or label=name
    spellings: str = ""  # merge or apart
    separator: str = ""  # between the labels of a row
    turns: Mapping[str, Any] | None = None  # how those of a conversation are written
    loss_on: str = "all"


@dataclass(frozen=True)
class EvaluationLoop:
    """How to run over rows when judging a model."""

    batch_size: int = 64
    device: Any = None
    progress: Callable[[int, int], None] = field(default=lambda done, total: None)  # rows done, rows in all
    stopping: Callable[[], bool] = field(default=lambda: False)  # True: give up soon (Stopped is raised)
    keep: Callable[[Mapping[str, Any]], None] = field(default=lambda found: None)  # told what each row came to: see `lab.tasks.answered`


class Stopped(Exception):
    """An evaluation was given up because `EvaluationLoop.stopping()` said so."""


class Family(abc.ABC):
    """One kind of task."""

    name = ""  # "": a base of others
    title = ""  # the family's name as people write it, in English and Chinese
    zh = ""
    columns: tuple[Column, ...] = ()
    metrics: tuple[Metric, ...] = ()  # that an evaluation gives, the first one judging
    main = ""  # the metric that judges, where it is another one
    version = 3  # raised when encoding or splitting changes, so that no stale cache is read
    joins = False  # encodes all rows as one text
    several = False  # a text may have several right answers, so that rows of one text and different answers are no dispute
    prompt = ""  # what a decoder reads, where the task gives no wording; "": the text itself, or a head answers
    worded = True  # a decoder answers with words; a family that always has a head does not
    labelled = False  # a row is of one of the classes of the task, or of several
    conversations = False  # rows are conversations, whose turns are written in one of many ways
    separated = False  # the labels of a row may stand in one text with a separator

    @abc.abstractmethod
    def objective(self, spec: TaskSpec, architecture: Architecture) -> str:
        """classification, multi_label, regression, seq2seq or causal. Raises `Refusal` with the reason where the model cannot do the task."""

    @abc.abstractmethod
    def format(self, row: sources.Row, spec: TaskSpec, number: int | None = None) -> Example:
        """A row's clean values. Raises `Refusal` that names column and row (counted from 1)."""

    @abc.abstractmethod
    def encode(self, examples: Sequence[Example], setting: Setting, train: bool) -> list[dict[str, Any]]:
        """Tokenised rows; fewer or more than examples where a family joins or splits them."""

    @abc.abstractmethod
    def evaluate(self, model: Any, rows: Rows, setting: Setting, loop: EvaluationLoop) -> dict[str, float]:
        """The mean loss and every metric of the spec."""

    def passes(self, rows: Rows, setting: Setting, device: str) -> float:
        """What `evaluate` costs for a row in forward passes over a row of training, without measuring: 1 where it is read once. `device`: cpu, cuda, mps."""
        return 1.0

    def predict(self, model: Any, rows: Rows, setting: Setting, loop: EvaluationLoop) -> list[dict[str, Any]]:
        """For each row {"input", "prediction", "reference"} and what else helps; rows come from a held-out split."""
        raise Refusal("A {name} task has no single predictions to show.", "task", name=self.name)

    def asked(self, row: sources.Row, spec: TaskSpec) -> dict[str, str]:
        """{"text", "pair" where the task compares two}: what a person would type to ask what a row asks, without the prompt around it."""
        return {name: sources.words(row, spec.column(role)) for name, role in zip(("text", "pair"), self.asks(spec), strict=False)}

    def asks(self, spec: TaskSpec) -> list[str]:
        """The roles of the texts that a person would type; two where the task compares them."""
        return [column.name for column in self.columns if column.asks and (column.needed or column.name in spec.columns)]

    def key(self, row: sources.Row, spec: TaskSpec) -> str:
        """The input text of a row, by which duplicates are found."""
        first, *others = self.inputs(spec)
        return "\x1f".join(sources.words(row, spec.column(role)) for role in (first, *(role for role in others if role in spec.columns)))

    def answer(self, row: sources.Row, spec: TaskSpec) -> Any:
        """What a row answers, by which disputed duplicates are found, or (`several`) duplicates."""
        role = next((column.name for column in self.columns if column.answers and column.needed), "")
        return sources.value(row, spec.column(role)) if role else ""

    def inputs(self, spec: TaskSpec) -> tuple[str, ...]:
        """The roles that make up the input."""
        return tuple(column.name for column in self.columns if column.asks)

    def typed(self, text: str, pair: str, spec: TaskSpec) -> sources.Row | None:
        """What a person typed as a row of the task, with an answer that nobody reads; None: the model is to go on with the text.

        Raises `Refusal` where a text alone asks nothing.
        """
        asks = self.asks(spec)
        if len(asks) > 1 and not pair:
            raise Refusal("This run's task compares two texts: write the second one too.", "pair")
        given = dict(zip(asks, (text, pair), strict=False)) | {column.name: self.unread(spec) for column in self.columns if column.answers}
        return {spec.column(role): value for role, value in given.items()}

    def unread(self, spec: TaskSpec) -> Any:
        """An answer of the right kind."""
        return "-"

    def settled(self, table: Table, columns: Mapping[str, str], choices: Choices) -> dict[str, Any]:
        """What of a spec is read off a table whose columns are chosen. Raises `Refusal` where that cannot be."""
        return {"labels": list(choices.labels)}

    @classmethod
    def roles(cls, chosen: Mapping[str, str]) -> list[tuple[str, bool]]:
        """(role, whether it must have a column) of those to choose a column for, beside the columns that are chosen."""
        return [(column.name, column.needed) for column in cls.columns]

    def missing(self, columns: Mapping[str, str]) -> list[str]:
        """The roles that still need a column."""
        return [column.name for column in self.columns if column.needed and column.name not in columns]

    def outline(self, table: Table, columns: Mapping[str, str], choices: Choices) -> dict[str, Any]:
        """What a page asks besides about a table of this family, recognised or as given."""
        return {}

    def layout(self, table: Table, spec: TaskSpec) -> str:
        """What the data's way to write a row is called, where there are several."""
        return ""

    def refuse(self, table: Table) -> None:
        """Raises `Refusal` for a table that is made for something else than this family, and looks like it."""

    def labels(self, spec: TaskSpec, examples: Sequence[Example]) -> tuple[str, ...]:
        """Names of the classes, for families that have them."""
        return ()

    def length_of(self, row: sources.Row, example: Example, spec: TaskSpec) -> str:
        """The text of a row that the longest input limits."""
        return " ".join(self.key(row, spec).split("\x1f"))

    def notes(self, rows: Sequence[sources.Row], examples: Sequence[Example], spec: TaskSpec) -> list[Note]:
        """Sentences on what of the data is not read."""
        return []

    def require_rows(self, spec: TaskSpec, objective: str, folder: Path, name: str, rows: Callable[[], dict[str, list[sources.Row]]]) -> None:
        """Raises `Refusal` where the model in a folder (`name`: its own, for sentences) cannot take rows of the task; asked before a run is launched.

        `rows()`: the first of each split.
        """

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


def an(noun: str) -> Message:
    """The noun with its article: an encoder, a decoder."""
    return word(f"{'an' if noun[:1] in 'aeiou' else 'a'} {noun}")
