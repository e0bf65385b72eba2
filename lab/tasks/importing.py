"""The user's own data: show what would be imported, import it at once or not at all. Torch-free.

    look = preview(path)                       # guessed family and columns, sizes, lengths, balance, examples
    look = preview(path, family="classification", columns={"text": "review", "label": "stars"})
    spec = commit(path, "my-reviews")          # copied into LAB_HOME/tasks/my-reviews/, with task.yaml; a TaskSpec
    lab.tasks.prepare("my-reviews", ...)

`path` is a file or a folder (`lab.tasks.gathering`); a page's upload is staged first (`lab.tasks.uploads`).
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

from lab.design.plain.boundary import require_inside
from lab.design.plain.message import word
from lab.design.plain.options import validate
from lab.design.plain.refusal import Note, Refusal, shown
from lab.design.presets import binned, catalogue, own
from lab.design.spec.task import Reading, TaskSpec
from lab.tasks import cells, gathering, sources
from lab.tasks.families import FAMILIES
from lab.tasks.family import Choices
from lab.tasks.guessing import guess
from lab.tasks.measuring import histogram, measure_of, sample, shares
from lab.tasks.tables import LARGEST, Table, kind_of, read_table
from lab.tasks.uploads import stage, staged, unstage

__all__ = ["LARGEST", "Preview", "commit", "guess", "load", "names", "outline", "preview", "read_table", "remove", "stage", "staged", "unstage"]
SHARES = {"validation": 0.1, "test": 0.1}
FEW = 20  # validation rows below which one row more or less moves a share by 5 points


@dataclass(frozen=True)
class Preview:
    """What would be imported.

    `lengths`: {"unit": tokens or words, "measured": rows, "median", "longest", "edges", "counts", "limit", "cut"}, of all rows or of a fixed sample.
    `examples`: each the roles of its family, its input cut as it would be, with "cut" (bool), "lost" {role: what is cut off} and "reads":
    {"prompt", "answer"}, what a decoder gets.
    """

    spec: TaskSpec
    columns: list[str]
    rows: int
    bytes: int
    splits: dict[str, int]
    dropped: int  # rows of exactly the same text and answer as an earlier one
    disputed: int  # rows of one text with different answers
    notes: list[str]  # sentences about what was decided or left out
    format: str  # of conversations, see `chats.format_of`; "" for other tasks
    balance: dict[str, int]
    lengths: dict[str, Any]
    examples: list[dict[str, Any]]


def preview(path: str | Path, *, name: str = "", family: str = "", columns: Mapping[str, str] | None = None, labels: Sequence[str] = (),
            max_length: int = 256, prompt: str = "", separator: str = "", turns: Mapping[str, Any] | None = None, loss_on: str = "all", measure: str = "", limit: int = LARGEST, examples: int = 5, called: str = "",
            spellings: str = "", validation: str = "", test: str = "", reading: Mapping[str, Any] | Reading | None = None) -> Preview:  # fmt: skip
    """Read the data, guess what is not given, check every row. Nothing is written. Raises `Refusal` that names row and column.

    `measure`: a model preset whose tokenizer counts the lengths; "": words. `called`: the file's name in sentences. `labels`: names, or label=name.
    `separator`: what stands between the labels of a row that has several in one text. `spellings`: merge or apart, for labels that differ only
    in how they are written. `turns`: {"role", "content", "speakers"} of conversations, where it is not as recognised; `loss_on`: which of their
    answers are learned. `validation`, `test`: files of their own. `reading`: what is to be so when the file is read (encoding, delimiter, header).
    """
    table = gathering.gather(path, validation=validation, test=test, limit=limit, called=called, reading=_reading(reading))
    given = Choices(labels, spellings, separator, turns, loss_on)
    return _previewed(Path(path), table, _spec(Path(path), table, name, family, columns, given, max_length, prompt), measure, examples, called)


def _reading(given: Mapping[str, Any] | Reading | None) -> Reading | None:
    return given if given is None or isinstance(given, Reading) else validate(Reading, {key: value for key, value in given.items() if value})


def _previewed(path: Path, table: Table, spec: TaskSpec, measure: str, examples: int, called: str) -> Preview:
    kind = FAMILIES[spec.family]()
    formatted = _checked(kind, table, spec)
    splits, duplicates, disputed = _splits(kind, table, spec)
    if table.parts and "train" not in table.parts:
        raise Refusal("{name} has no split train to learn from; it has {splits}.", "file", name=called or path.name, splits=", ".join(table.parts))
    if not splits["train"]:
        raise Refusal("Of {count:,} rows of {name} none is left to train on: {duplicates:,} are duplicates, and {disputed:,} have the text of another one with a different answer.", "file", count=len(table.rows), name=called or path.name, duplicates=duplicates, disputed=disputed)  # fmt: skip
    ruler = measure_of(measure)
    texts = [kind.length_of(row, example, spec) for row, example in zip(table.rows, formatted, strict=True)]
    places = sample(texts)
    lengths = ruler.lengths([texts[place] for place in places])
    return Preview(
        spec=spec, columns=table.columns, rows=len(table.rows), bytes=size_of(path),
        splits={split: len(rows) for split, rows in splits.items()}, dropped=duplicates, disputed=disputed,
        notes=[*table.notes, *kind.notes(table.rows, formatted, spec), *_notes(kind, splits, duplicates, disputed, table, spec)],
        format=kind.layout(table, spec),
        balance=kind.balance(formatted, spec),
        lengths={"unit": ruler.unit, "measured": len(places), **histogram(lengths, ruler.limit(spec.max_length))},
        examples=[_example(kind, example, spec, ruler) for example in formatted[:examples]],
    )  # fmt: skip


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files in a folder."""
    path = path.expanduser()
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file()) if path.is_dir() else path.stat().st_size


def _splits(kind: Any, table: Table, spec: TaskSpec) -> tuple[dict[str, list[Any]], int, int]:
    """(the rows of each split as training will have them, duplicates, disputed rows)."""
    own_ones = table.splits()
    duplicates = disputed = 0
    splits = {split or "train": rows for split, rows in own_ones.items()}
    if spec.source.hash is not None:
        key = lambda row: kind.key(row, spec)  # noqa: E731
        rows, duplicates, disputed = sources.distinct(splits.pop("train", []), key, lambda row: kind.answer(row, spec), kind.several)
        splits = {**sources.split_by_hash(rows, spec.source.hash, key), **splits}
    return {split: splits.get(split, []) for split in sources.SPLITS}, duplicates, disputed


def _notes(kind: Any, splits: Mapping[str, list[Any]], duplicates: int, disputed: int, table: Table, spec: TaskSpec) -> list[str]:
    """What is right and may still surprise: rows left out, splits that are too small to judge by, texts in two splits, classes that no row trains."""
    notes = []
    if duplicates:
        notes.append(Note("{count:,} rows have exactly the same text and answer as an earlier one and are left out.", count=duplicates))
    if disputed:
        notes.append(Note("{count:,} rows have the same text as another one with a different answer, and none of them is used.", count=disputed))
    judged = len(splits["validation"])
    if not judged:
        notes.append(
            Note(
                "Of {count:,} rows none falls into validation: a run trains, but nothing judges it. Give more rows, or a validation file.",
                count=len(table.rows),
            )
        )
    elif judged < FEW:
        notes.append(Note("Only {count} rows are there to validate by: scores will be coarse, and the best step uncertain.", count=judged))
    if table.parts:
        trained = {kind.key(row, spec) for row in splits["train"]}
        for split in ("validation", "test"):
            if split in table.parts and (shared := sum(kind.key(row, spec) in trained for row in splits[split])):
                notes.append(
                    Note(
                        "{shared:,} of {count:,} rows of {split} have a text that is also in train: scores on them say little.",
                        shared=shared,
                        count=len(splits[split]),
                        split=split,
                    )
                )
        judging = {kind.key(row, spec) for row in splits["validation"]}
        if "test" in table.parts and (shared := sum(kind.key(row, spec) in judging for row in splits["test"])):
            notes.append(
                Note(
                    "{shared:,} of {count:,} rows of test have a text that is also in validation, by which the best step is chosen.",
                    shared=shared,
                    count=len(splits["test"]),
                )
            )
    if spec.labels and kind.labelled:
        trained_on = kind.balance([kind.format(row, spec) for row in splits["train"]], spec)
        if lost := [label for label in spec.labels if not trained_on.get(label)]:
            notes.append(Note("No row to train on has the label {labels}.", labels=", ".join(lost)[:200]))
    for column in sorted({part for wanted in spec.columns.values() for part in _parts(wanted, table)}):
        words = Counter(text.strip() for row in table.rows for text in cells.texts(row[column]) if len(text) < 20 and text.strip() in cells.MAYBE_NOTHING)
        if words:
            notes.append(
                Note(
                    "{count:,} cells of column '{column}' hold {words}: they are read as that word, not as missing.",
                    count=words.total(),
                    column=column,
                    words=", ".join(sorted(words)),
                )
            )
    if spec.spellings:
        notes.append(Note("Labels by other spellings or names: {names}.", names=", ".join(f"{value} → {name}" for value, name in spec.spellings.items())[:300]))
    return notes


def _parts(column: str, table: Table) -> list[str]:
    """The columns of a table that a role's column reads: itself, those of its template, those that it joins, the one that it reaches into."""
    named = [column] if column in table.columns else re.findall(r"\{([^{}]+)\}", column) or column.split("|")
    return [part if part in table.columns else part.partition(".")[0] for part in named if part in table.columns or part.partition(".")[0] in table.columns]


def _checked(kind: Any, table: Table, spec: TaskSpec) -> list[dict[str, Any]]:
    """Every row formatted. A refusal stands at the role whose column is at fault."""
    split, formatted = "", []
    try:
        for split, number, row in table.numbered():  # noqa: B007 (a refusal is of this split)
            formatted.append(kind.format(row, spec, number))
        return formatted
    except Refusal as problem:
        role = next((role for role, column in spec.columns.items() if f"column '{column}'" in problem.sentence), "")
        raise Refusal(table.placed(split, problem.sentence), f"columns.{role}" if role else problem.field.removeprefix("task.")) from None


def outline(path: str | Path, family: str = "", columns: Mapping[str, str] | None = None, *, limit: int = LARGEST, called: str = "",
            reading: Mapping[str, Any] | None = None, turns: Mapping[str, Any] | None = None) -> tuple[list[str], str, dict[str, str], dict[str, Any]]:  # fmt: skip
    """(the file's columns, family, columns of its roles, of conversations {"format", "keys": those of the turns, "turns": as recognised or given}),
    guessed where they are not given; nothing but the file itself is checked. Raises `Refusal`."""
    table = gathering.gather(path, limit=limit, called=called, reading=_reading(reading))
    try:
        family, chosen = _chosen(table, family, columns)
    except Refusal:  # no text was found
        return table.columns, family or "classification", dict(columns or {}), {}
    kind = FAMILIES.get(family)
    return table.columns, family, chosen, kind().outline(table, chosen, Choices(turns=turns)) if kind else {}


def _chosen(table: Table, family: str, columns: Mapping[str, str] | None, separator: str = "") -> tuple[str, dict[str, str]]:
    if separator and not family:
        family = next(kind.name for kind in FAMILIES.values() if kind.separated)
    if family and columns:
        return family, dict(columns)
    guessed, found = guess(table) if not family else _guessed_for(table, family)
    return family or guessed, dict(columns or found)


def _spec(path: Path, table: Table, name: str, family: str, columns: Mapping[str, str] | None, given: Choices, max_length: int, prompt: str) -> TaskSpec:
    family, columns = _chosen(table, family, columns, given.separator)
    for role, column in columns.items():
        for part in [column] if column in table.columns else column.split("|"):
            _require_column(table, part, f"columns.{role}")
    kind = FAMILIES.get(family)  # None: refused below
    hashed = None if "validation" in table.parts else {"validation": SHARES["validation"], "test": 0.0} if "test" in table.parts else SHARES
    document = {"name": name, "title": name or shown(path.stem, 200), "family": family, "columns": dict(columns), "max_length": max_length,
                "prompt": prompt, **(kind().settled(table, columns, given) if kind else {}), "description": f"Imported from {shown(path.name, 200)}.",
                "source": {"file": shown(path, 5000) if cells.broken(str(path)) else str(path), "reading": table.reading, "hash": hashed}}  # fmt: skip
    spec = validate(TaskSpec, document)
    if missing := kind().missing(columns):
        raise Refusal("Say which column is the {role}; there are {columns}.", f"columns.{missing[0]}", role=missing[0], columns=", ".join(table.columns)[:300])
    return spec


def _require_column(table: Table, column: str, field: str) -> None:
    """Refusal where a role's column, or one that its template or path names, is in no row."""
    if column in table.columns:
        return
    if "{" in column:
        for name in re.findall(r"\{([^{}]+)\}", column):
            _require_column(table, name, field)
    elif column.partition(".")[0] not in table.columns or all(sources.value(row, column) is None for row in table.rows):
        raise Refusal("There is no column '{column}'; there are {columns}.", field, column=column[:80], columns=", ".join(table.columns)[:300])


def _guessed_for(table: Table, family: str) -> tuple[str, dict[str, str]]:
    """Columns for a family that is given: as guessed where the guess is that family, else those of the roles' own names."""
    kind = FAMILIES.get(family)
    if kind is not None:
        kind().refuse(table)
    try:
        guessed, found = guess(table)
    except Refusal:
        guessed, found = "", {}
    columns = kind.columns if kind is not None else ()
    same = guessed and columns == FAMILIES[guessed].columns  # of one text, and what is said of it
    return family, found if same else {column.name: column.name for column in columns if column.name in table.columns}


def _example(kind: Any, example: dict[str, Any], spec: TaskSpec, ruler: Any) -> dict[str, Any]:
    roles = [role for role in kind.inputs(spec) if isinstance(example.get(role), str)]
    kept = shares([len(ruler.ends(example[role])) for role in roles], ruler.room(spec.max_length))
    pieces = {role: ruler.cut(example[role], units) for role, units in zip(roles, kept, strict=True)}
    short = {**example, **{role: piece for role, (piece, _) in pieces.items()}}
    prompt, answer = kind.reads(short, spec)
    lost = {role: rest for role, (_, rest) in pieces.items() if rest}
    return {**kind.show(short, spec), "cut": bool(lost), "lost": lost, "reads": {"prompt": prompt, "answer": answer}}


def home() -> Path:
    """LAB_HOME/tasks, where imported tasks are kept."""
    return own.folder("tasks")


def check_name(name: str) -> None:
    """Raises `Refusal` for a name that cannot be a task's, or that is taken."""
    if not own.TASK.fullmatch(name):
        raise Refusal("A task's name has 1 to 60 characters of a-z, 0-9 and -, and starts with a letter or digit.", "name")
    if name in catalogue.names("tasks") or name in names():
        raise Refusal("There is a task '{name}' already; choose another name.", "name", name=name)


def commit(path: str | Path, name: str, **choices: Any) -> TaskSpec:
    """Import a file or folder as the task `name` (a-z, 0-9, -); `choices` are those of `preview`. Atomic: bad data change nothing."""
    check_name(name)
    require_inside(path, "file")
    path = Path(path).expanduser()
    scratch = None
    try:
        home().mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=".import-", dir=home()))
        copy, choices = _copied(path, scratch, choices)  # the file may change meanwhile: what is checked is the copy
        look = preview(copy, name=name, called=path.name, **choices)
        with copy.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        source = look.spec.source.model_copy(update={"file": copy.name, "sha256": digest})
        stored = look.spec.model_copy(update={"source": source, "rows": look.splits, "description": f"Imported from {shown(path.name, 200)}."})
        text = yaml.safe_dump(stored.model_dump(mode="json", exclude_defaults=True), sort_keys=False, allow_unicode=True)
        (scratch / "task.yaml").write_text(text, encoding="utf-8")
        os.rename(scratch, home() / name)
    except OSError as error:
        raise Refusal("The task could not be imported into {folder}: {reason}.", "file", folder=home(), reason=word(error.strerror or error)) from None
    finally:
        if scratch is not None:
            shutil.rmtree(scratch, ignore_errors=True)
    return load(name)


def _copied(path: Path, scratch: Path, choices: Mapping[str, Any]) -> tuple[Path, dict[str, Any]]:
    """(the lab's copy, the choices that are left): a plain file as it is, anything else as one JSON document with its splits."""
    rest = {key: value for key, value in choices.items() if key not in ("validation", "test")}
    if not os.path.isdir(path) and not choices.get("validation") and not choices.get("test"):
        kind = kind_of(path)
        copy = scratch / f"data.{kind}{'.gz' if path.suffix.lower() == '.gz' else ''}"
        shutil.copyfile(path, copy)
        return copy, rest
    given = {key: choices[key] for key in ("validation", "test", "limit") if choices.get(key)}
    table = gathering.gather(path, **given, reading=_reading(choices.get("reading")))
    copy = scratch / "data.json.gz"
    return copy, {**rest, "reading": gathering.written(table, copy)}


def names() -> tuple[str, ...]:
    """The imported tasks, sorted."""
    return own.names("tasks")


def load(name: str) -> TaskSpec:
    """An imported task, with the full path of its data. Raises `Refusal`."""
    if name not in names():
        raise Refusal("There is no imported task '{name}'.", "task", name=name[:80])
    return validate(TaskSpec, own.read("tasks", name), "task.")


def remove(name: str) -> str:
    """Put an imported task with its copy of the data into the bin, at once or not at all; its place there. Raises `Refusal` where there is none."""
    load(name)
    return binned.put("tasks", name)
