"""The user's own data: guess what the columns mean, show what would be imported, import it at once or not at all. Torch-free.

    look = preview(path)                       # guessed family and columns, sizes, lengths, balance, examples
    look = preview(path, family="classification", columns={"text": "review", "label": "stars"})
    spec = commit(path, "my-reviews")          # copied into LAB_HOME/tasks/my-reviews/, with task.yaml; a TaskSpec
    lab.tasks.prepare("my-reviews", ...)
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from lab.design import catalogue
from lab.design.documents import read
from lab.design.options import validate
from lab.design.refusal import Refusal
from lab.design.task import COLUMNS, TaskSpec
from lab.tasks.tables import LARGEST, Table, kind_of, read_table

__all__ = ["LARGEST", "Preview", "commit", "guess", "load", "names", "preview", "read_table", "remove"]
NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,59}")
HINTS = {
    "text_pair": ("text_pair", "sentence2", "text2", "hypothesis", "question2"),
    "text": ("text", "sentence", "sentence1", "text1", "review", "content", "body", "comment", "tweet", "premise", "question1"),
    "label": ("label", "labels", "class", "category", "sentiment", "target", "score", "rating", "stars", "y"),
    "source": ("source", "document", "article", "src", "input", "question", "english", "en", "text", "description"),
    "target": ("target", "summary", "highlights", "translation", "tgt", "answer", "output", "title", "ro", "de", "fr", "es", "zh"),
    "question": ("question", "query", "prompt"), "options": ("options", "choices", "endings"), "answer": ("answer", "label", "answerkey"),
    "instruction": ("instruction", "prompt"), "input": ("input", "context"), "output": ("output", "response", "completion", "answer"),
    "messages": ("messages", "conversations", "conversation"),
}  # fmt: skip
MANY = 200  # labels beyond which a column is no class


@dataclass(frozen=True)
class Preview:
    """What would be imported. Lengths are in words, since the model is not known yet (a token is about 3/4 of a word)."""

    spec: TaskSpec
    columns: list[str]
    rows: int
    bytes: int
    splits: dict[str, int]
    dropped: int  # duplicates, and texts whose duplicates disagree
    balance: dict[str, int]
    lengths: dict[str, Any]  # {"median", "longest", "edges": [...], "counts": [...], "cut": rows longer than max_length}
    examples: list[dict[str, Any]]  # inputs cut as they would be; "cut": True where words are lost


def guess(table: Table) -> tuple[str, dict[str, str]]:
    """The family and columns that a table most likely means."""
    names = {column.casefold(): column for column in table.columns}

    def find(role: str, taken: Sequence[str] = ()) -> str | None:
        return next((names[hint] for hint in HINTS[role] if hint in names and names[hint] not in taken), None)

    if found := find("messages"):
        return "instruction", {"messages": found}
    if "instruction" in names and (output := find("output")):
        given = {"instruction": names["instruction"], "output": output}
        return "instruction", {**given, "input": names["input"]} if "input" in names else given
    options, answer = find("options"), find("answer")
    if options and answer and isinstance(table.rows[0][options], list) and (question := find("question", (options, answer))):
        return "commonsense", {"question": question, "options": options, "answer": answer}
    label = find("label")
    if label and _is_class(table, label):
        text = find("text", (label,)) or _longest(table, (label,))
        columns = {"text": text, "label": label} if text else {}
        pair = find("text_pair", (label, text or ""))
        columns = {**columns, "text_pair": pair} if pair and columns else columns
        if columns:
            return ("regression" if _is_measure(table, label) else "classification"), columns
    return _guess_writing(table, find)


def _guess_writing(table: Table, find: Any) -> tuple[str, dict[str, str]]:
    target = find("target")
    source = find("source", (target,)) if target else None
    if source and target:
        family = "math_reasoning" if all("####" in str(row[target]) for row in table.rows[:20]) else "summarization"
        ratio = sum(len(str(row[target])) for row in table.rows[:200]) / max(1, sum(len(str(row[source])) for row in table.rows[:200]))
        return ("translation" if family == "summarization" and ratio > 0.6 else family), {"source": source, "target": target}
    texts = [column for column in table.columns if isinstance(table.rows[0][column], str)]
    rest = [column for column in texts if _is_class(table, column)]
    if len(texts) >= 2 and rest and (text := _longest(table, (rest[0],))):
        return "classification", {"text": text, "label": rest[0]}
    text = find("text") or _longest(table, ())
    if text is None:
        raise Refusal(f"No column of text was found among {', '.join(table.columns)[:200]}; say which column is what.", "columns")
    return "language_modelling", {"text": text}


def _is_class(table: Table, column: str) -> bool:
    values = {str(row[column]) for row in table.rows if row[column] not in (None, "")}
    return _is_measure(table, column) or (2 <= len(values) <= min(MANY, max(2, len(table.rows) // 2)))


def _is_measure(table: Table, column: str) -> bool:
    """Whether a column holds measured numbers: all numbers, some with a fraction."""
    try:
        numbers = [float(row[column]) for row in table.rows]
    except (TypeError, ValueError):
        return False
    return any(number != int(number) for number in numbers if abs(number) < 1e15)


def _longest(table: Table, taken: Sequence[str]) -> str | None:
    texts = [column for column in table.columns if column not in taken and isinstance(table.rows[0][column], str)]
    return max(texts, key=lambda column: sum(len(str(row[column])) for row in table.rows[:200]), default=None)


def preview(path: str | Path, *, name: str = "", family: str = "", columns: Mapping[str, str] | None = None, labels: Sequence[str] = (),
            max_length: int = 256, limit: int = LARGEST, examples: int = 5, called: str = "") -> Preview:  # fmt: skip
    """Read the file, guess what is not given, check every row. Nothing is written. Raises `Refusal` that names row and column."""
    path = Path(path)
    table = read_table(path, largest=limit, called=called)
    spec = _spec(path, table, name, family, columns, labels, max_length)
    from lab.tasks import FAMILIES, sources

    kind = FAMILIES[spec.family]()
    for column in spec.columns.values():
        for part in column.split("|"):
            sources.value(table.rows[0], part, 1)
    shown = [kind.format(row, spec, number) for number, row in enumerate(table.rows, 1)]
    splits = sources.split_by_hash(table.rows, spec.source.hash, lambda row: kind.key(row, spec), lambda row: kind.answer(row, spec))
    if not splits["train"]:
        raise Refusal(f"{called or path.name} has too few distinct rows ({len(table.rows)}) to train on.", "file")
    lengths = [len(kind.key(row, spec).split()) for row in table.rows]
    cut = [length > max_length * 0.75 for length in lengths]
    balance = Counter(spec.labels[example["label"]] for example in shown) if spec.family == "classification" else {}
    return Preview(
        spec=spec, columns=table.columns, rows=len(table.rows), bytes=path.stat().st_size,
        splits={split: len(rows) for split, rows in splits.items()}, dropped=len(table.rows) - sum(map(len, splits.values())),
        balance={label: balance.get(label, 0) for label in spec.labels} if balance else {}, lengths=_histogram(lengths, cut),
        examples=[{**_shortened(kind.show(example, spec), max_length), "cut": lost} for example, lost in zip(shown[:examples], cut, strict=False)],
    )  # fmt: skip


def _spec(path: Path, table: Table, name: str, family: str, columns: Mapping[str, str] | None, labels: Sequence[str], max_length: int) -> TaskSpec:
    if not family or not columns:
        guessed, found = guess(table)
        family = family or guessed
        if not columns:
            columns = found if guessed == family else {role: role for role in COLUMNS[family][0]} if family in COLUMNS else {}
    for role, column in columns.items():
        if column not in table.columns and "{" not in column and "|" not in column and "." not in column:
            raise Refusal(f"There is no column '{column[:80]}'; there are {', '.join(table.columns)[:300]}.", f"columns.{role}")
    if family == "classification" and not labels and columns.get("label"):
        labels = _labels(table, columns["label"])
    document = {"name": name, "title": name or path.stem, "family": family, "columns": dict(columns), "labels": list(labels), "max_length": max_length,
                "description": f"Imported from {path.name}.", "source": {"file": str(path), "hash": {"validation": 0.1, "test": 0.1}}}  # fmt: skip
    spec = validate(TaskSpec, document)
    missing = [role for role in COLUMNS[spec.family][0] if role not in spec.columns]
    if missing or (spec.family == "instruction" and not spec.columns):
        raise Refusal(f"Say which column is the {missing[0] if missing else 'instruction'}; there are {', '.join(table.columns)[:300]}.", "columns")
    return spec


def _labels(table: Table, column: str) -> list[str]:
    for number, row in enumerate(table.rows, 1):
        if row[column] is None or not str(row[column]).strip():
            raise Refusal(f"Row {number} has no label in column '{column}'.", "columns.label")
    found = {str(row[column]).strip() for row in table.rows}
    if len(found) < 2:
        raise Refusal(f"The column '{column}' has only one label ('{found.pop()[:60]}'); two or more are needed.", "columns.label")
    if len(found) > MANY:
        raise Refusal(f"The column '{column}' has {len(found)} different values; a class column has at most {MANY}.", "columns.label")
    return sorted(found, key=lambda label: (0, float(label), label) if re.fullmatch(r"-?\d+(\.\d+)?", label) else (1, 0.0, label))


def _histogram(lengths: list[int], cut: list[bool], bins: int = 20) -> dict[str, Any]:
    ordered = sorted(lengths)
    top = max(1, ordered[-1])
    width = max(1, -(-top // bins))
    counts = [0] * bins
    for length in lengths:
        counts[min(bins - 1, max(0, length - 1) // width)] += 1
    return {"median": ordered[len(ordered) // 2], "longest": top, "edges": [width * i for i in range(bins + 1)], "counts": counts, "cut": sum(cut)}


def _shortened(example: dict[str, Any], max_length: int) -> dict[str, Any]:
    words = int(max_length * 0.75)
    return {role: " ".join(text.split()[:words]) + " …" if isinstance(text, str) and len(text.split()) > words else text for role, text in example.items()}


def home() -> Path:
    """LAB_HOME/tasks, where imported tasks are kept."""
    return Path(os.environ.get("LAB_HOME") or "lab-home").expanduser().resolve() / "tasks"


def commit(path: str | Path, name: str, **choices: Any) -> TaskSpec:
    """Import a file as the task `name` (a-z, 0-9, -); `choices` are those of `preview`. Atomic: a bad file changes nothing."""
    if not NAME.fullmatch(name):
        raise Refusal("A task's name has 1 to 60 characters of a-z, 0-9 and -, and starts with a letter or digit.", "name")
    if name in catalogue.names("tasks") or name in names():
        raise Refusal(f"There is a task '{name}' already; choose another name.", "name")
    path = Path(path)
    suffix = {"csv": ".csv", "tsv": ".tsv", "json": ".json", "jsonl": ".jsonl", "parquet": ".parquet"}[kind_of(path)]
    suffix += ".gz" if path.suffix.lower() == ".gz" else ""
    scratch = None
    try:
        home().mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=".import-", dir=home()))
        copy = scratch / f"data{suffix}"
        shutil.copyfile(path, copy)
        spec = preview(copy, name=name, called=path.name, **choices).spec  # of the copy: the file may change meanwhile
        with copy.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        source = spec.source.model_copy(update={"file": copy.name, "sha256": digest})
        stored = spec.model_copy(update={"source": source, "description": f"Imported from {path.name[:200]}."})
        text = yaml.safe_dump(stored.model_dump(mode="json", exclude_defaults=True), sort_keys=False, allow_unicode=True)
        (scratch / "task.yaml").write_text(text, encoding="utf-8")
        os.rename(scratch, home() / name)
    except OSError as error:
        raise Refusal(f"The task could not be imported into {home()}: {error.strerror or error}.", "file") from None
    finally:
        if scratch is not None:
            shutil.rmtree(scratch, ignore_errors=True)
    return load(name)


def names() -> tuple[str, ...]:
    """The imported tasks, sorted."""
    return tuple(sorted(found.parent.name for found in home().glob("*/task.yaml") if NAME.fullmatch(found.parent.name)))


def load(name: str) -> TaskSpec:
    """An imported task, with the full path of its data. Raises `Refusal`."""
    if not NAME.fullmatch(name) or not (home() / name / "task.yaml").is_file():
        raise Refusal(f"There is no imported task '{name[:80]}'.", "task")
    try:
        document = read((home() / name / "task.yaml").read_text(encoding="utf-8"), f"The task.yaml of '{name}'", "task")
    except (OSError, UnicodeDecodeError):
        raise Refusal(f"The task.yaml of '{name}' cannot be read; import the task again.", "task") from None
    spec = validate(TaskSpec, document, "task.")
    return spec.model_copy(update={"source": spec.source.model_copy(update={"file": str(home() / name / Path(spec.source.file).name)})})


def remove(name: str) -> None:
    """Delete an imported task and its copy of the data. Raises `Refusal` where there is none."""
    load(name)
    shutil.rmtree(home() / name)
