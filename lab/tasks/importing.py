"""The user's own data: show what would be imported, import it at once or not at all. Torch-free.

    look = preview(path)                       # guessed family and columns, sizes, lengths, balance, examples
    look = preview(path, family="classification", columns={"text": "review", "label": "stars"})
    spec = commit(path, "my-reviews")          # copied into LAB_HOME/tasks/my-reviews/, with task.yaml; a TaskSpec
    lab.tasks.prepare("my-reviews", ...)

A page's upload is staged first: moved into LAB_HOME/cache/uploads under a random name that only who uploaded it knows.
"""

from __future__ import annotations

import functools
import hashlib
import os
import re
import secrets
import shutil
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from lab.design import catalogue, own
from lab.design.boundary import require_inside
from lab.design.options import validate
from lab.design.refusal import Refusal
from lab.design.task import COLUMNS, HEADED, TaskSpec
from lab.tasks import sources
from lab.tasks.guessing import guess, label_sets_of, labels_of
from lab.tasks.measuring import histogram, measure_of, sample, shares
from lab.tasks.tables import LARGEST, Table, kind_of, read_table

__all__ = ["LARGEST", "Preview", "commit", "guess", "load", "names", "outline", "preview", "read_table", "remove", "stage", "staged", "unstage"]
TOKEN = re.compile(r"[0-9a-f]{32}")
KEPT_SECONDS = 24 * 3600  # that an upload waits for its import
REMEMBERED = 32 * 1024 * 1024  # bytes of the largest file whose rows are kept in memory between two previews


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
    balance: dict[str, int]
    lengths: dict[str, Any]
    examples: list[dict[str, Any]]


def preview(path: str | Path, *, name: str = "", family: str = "", columns: Mapping[str, str] | None = None, labels: Sequence[str] = (),
            max_length: int = 256, prompt: str = "", separator: str = "", measure: str = "", limit: int = LARGEST, examples: int = 5, called: str = "") -> Preview:  # fmt: skip
    """Read the file, guess what is not given, check every row. Nothing is written. Raises `Refusal` that names row and column.

    `separator`: what stands between the labels of a row that has several in one text. `measure`: a model preset whose tokenizer counts the lengths; "": words. `called`: the file's name in sentences.
    """
    require_inside(path, "file")
    path = Path(path)
    table = _table(path, limit, called)
    family = family or ("multi_label" if separator else "")
    spec = _spec(path, table, name, family, columns, labels, max_length, prompt, separator)
    from lab.tasks import FAMILIES

    kind = FAMILIES[spec.family]()
    shown = _checked(kind, table, spec)
    rows, duplicates, disputed = sources.distinct(table.rows, lambda row: kind.key(row, spec), lambda row: kind.answer(row, spec), kind.several)
    splits = sources.split_by_hash(rows, spec.source.hash, lambda row: kind.key(row, spec))
    if not splits["train"]:
        raise Refusal(f"{called or path.name} has too few distinct rows ({len(table.rows)}) to train on.", "file")
    ruler = measure_of(measure)
    texts = [" ".join(kind.key(row, spec).split("\x1f")) for row in table.rows]
    places = sample(texts)
    lengths = ruler.lengths([texts[place] for place in places])
    return Preview(
        spec=spec, columns=table.columns, rows=len(table.rows), bytes=path.stat().st_size,
        splits={split: len(rows) for split, rows in splits.items()}, dropped=duplicates, disputed=disputed, notes=table.notes,
        balance=kind.balance(shown, spec),
        lengths={"unit": ruler.unit, "measured": len(places), **histogram(lengths, ruler.limit(spec.max_length))},
        examples=[_example(kind, example, spec, ruler) for example in shown[:examples]],
    )  # fmt: skip


def _table(path: Path, limit: int, called: str) -> Table:
    """The rows of a file; those of a small one are remembered, since every corrected column asks for them again."""
    try:
        facts = path.stat()
    except (OSError, ValueError):  # absent, too long, or with NUL: the reader says so
        return read_table(path, largest=limit, called=called)
    if facts.st_size > REMEMBERED:
        return read_table(path, largest=limit, called=called)
    return _remembered(path, limit, called, facts.st_size, facts.st_mtime_ns)


@functools.lru_cache(maxsize=2)
def _remembered(path: Path, limit: int, called: str, _size: int, _changed: int) -> Table:
    return read_table(path, largest=limit, called=called)


def _checked(kind: Any, table: Table, spec: TaskSpec) -> list[dict[str, Any]]:
    """Every row formatted. A refusal stands at the role whose column is at fault."""
    try:
        return [kind.format(row, spec, number) for number, row in enumerate(table.rows, 1)]
    except Refusal as problem:
        role = next((role for role, column in spec.columns.items() if f"column '{column}'" in problem.sentence), "")
        raise Refusal(problem.sentence, f"columns.{role}" if role else problem.field.removeprefix("task.")) from None


def outline(path: str | Path, family: str = "", columns: Mapping[str, str] | None = None, *, limit: int = LARGEST, called: str = "") -> tuple[list[str], str, dict[str, str]]:
    """(the file's columns, family, columns of its roles), guessed where they are not given; nothing but the file itself is checked. Raises `Refusal`."""
    require_inside(path, "file")
    table = _table(Path(path), limit, called)
    try:
        return table.columns, *_chosen(table, family, columns)
    except Refusal:  # no text was found
        return table.columns, family or "classification", dict(columns or {})


def _chosen(table: Table, family: str, columns: Mapping[str, str] | None) -> tuple[str, dict[str, str]]:
    if family and columns:
        return family, dict(columns)
    guessed, found = guess(table) if not family else _guessed_for(table, family)
    return family or guessed, dict(columns or found)


def _spec(path: Path, table: Table, name: str, family: str, columns: Mapping[str, str] | None, labels: Sequence[str], max_length: int, prompt: str, separator: str) -> TaskSpec:
    family, columns = _chosen(table, family, columns)
    for role, column in columns.items():
        for part in [column] if column in table.columns else column.split("|"):
            _require_column(table, part, f"columns.{role}")
    if family == "classification" and not labels and columns.get("label"):
        labels = labels_of(table, columns["label"])
    if family == "multi_label" and not labels and columns.get("label"):
        labels = label_sets_of(table, columns["label"], separator)
    document = {"name": name, "title": name or path.stem, "family": family, "columns": dict(columns), "labels": list(labels), "max_length": max_length,
                "prompt": prompt, "label_separator": separator if family == "multi_label" else "", "description": f"Imported from {path.name}.",
                "source": {"file": str(path), "reading": table.reading, "hash": {"validation": 0.1, "test": 0.1}}}  # fmt: skip
    spec = validate(TaskSpec, document)
    missing = [role for role in COLUMNS[spec.family][0] if role not in spec.columns]
    if spec.family == "instruction" and not ({"messages"} <= set(columns) or {"instruction", "output"} <= set(columns)):
        missing = [role for role in ("instruction", "output") if role not in columns]
    if missing:
        raise Refusal(f"Say which column is the {missing[0]}; there are {', '.join(table.columns)[:300]}.", f"columns.{missing[0]}")
    return spec


def _require_column(table: Table, column: str, field: str) -> None:
    """Refusal where a role's column, or one that its template or path names, is in no row."""
    if column in table.columns:
        return
    if "{" in column:
        for name in re.findall(r"\{([^{}]+)\}", column):
            _require_column(table, name, field)
    elif column.partition(".")[0] not in table.columns or all(sources.value(row, column) is None for row in table.rows):
        raise Refusal(f"There is no column '{column[:80]}'; there are {', '.join(table.columns)[:300]}.", field)


def _guessed_for(table: Table, family: str) -> tuple[str, dict[str, str]]:
    """Columns for a family that is given: as guessed where the guess is that family, else those of the roles' own names."""
    try:
        guessed, found = guess(table)
    except Refusal:
        guessed, found = "", {}
    needed = COLUMNS.get(family, ((), ()))
    same = guessed == family or {guessed, family} <= set(HEADED)  # of one text and what is said of it
    return family, found if same else {role: role for role in (*needed[0], *needed[1]) if role in table.columns}


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


def stage(path: str | Path) -> str:
    """Move an uploaded file to where only its token leads; the token. Raises `Refusal` for a format that cannot be imported, and removes the file."""
    path = Path(path)
    try:
        kind_of(path)
        _sweep()
        token = secrets.token_hex(16)
        folder = _uploads() / token
        folder.mkdir(parents=True)
        shutil.move(path, folder / path.name)
    except OSError as error:
        raise Refusal(f"The upload could not be kept in {_uploads()}: {error.strerror or error}.", "file") from None
    finally:
        path.unlink(missing_ok=True)
    return token


def staged(token: object) -> Path:
    """The file of a token. Raises `Refusal` where there is none any more."""
    folder = _uploads() / token if isinstance(token, str) and TOKEN.fullmatch(token) else None
    found = [path for path in folder.iterdir() if path.is_file()] if folder is not None and folder.is_dir() else []
    if len(found) != 1:
        raise Refusal("The upload is not here any more: choose the file again.", "file")
    return found[0]


def unstage(token: str) -> None:
    """Delete an upload; nothing where there is none."""
    if TOKEN.fullmatch(token):
        shutil.rmtree(_uploads() / token, ignore_errors=True)


def _uploads() -> Path:
    return home().parent / "cache" / "uploads"


def _sweep() -> None:
    """Delete uploads that nobody imported for a day."""
    for folder in _uploads().glob("*"):
        if folder.stat().st_mtime < time.time() - KEPT_SECONDS:
            shutil.rmtree(folder, ignore_errors=True)


def check_name(name: str) -> None:
    """Raises `Refusal` for a name that cannot be a task's, or that is taken."""
    if not own.TASK.fullmatch(name):
        raise Refusal("A task's name has 1 to 60 characters of a-z, 0-9 and -, and starts with a letter or digit.", "name")
    if name in catalogue.names("tasks") or name in names():
        raise Refusal(f"There is a task '{name}' already; choose another name.", "name")


def commit(path: str | Path, name: str, **choices: Any) -> TaskSpec:
    """Import a file as the task `name` (a-z, 0-9, -); `choices` are those of `preview`. Atomic: a bad file changes nothing."""
    check_name(name)
    require_inside(path, "file")
    path = Path(path)
    suffix = {"csv": ".csv", "tsv": ".tsv", "json": ".json", "jsonl": ".jsonl", "parquet": ".parquet"}[kind_of(path)]
    suffix += ".gz" if path.suffix.lower() == ".gz" else ""
    scratch = None
    try:
        home().mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=".import-", dir=home()))
        copy = scratch / f"data{suffix}"
        shutil.copyfile(path, copy)
        look = preview(copy, name=name, called=path.name, **choices)  # of the copy: the file may change meanwhile
        with copy.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        source = look.spec.source.model_copy(update={"file": copy.name, "sha256": digest})
        stored = look.spec.model_copy(update={"source": source, "rows": look.splits, "description": f"Imported from {path.name[:200]}."})
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
    return own.names("tasks")


def load(name: str) -> TaskSpec:
    """An imported task, with the full path of its data. Raises `Refusal`."""
    if name not in names():
        raise Refusal(f"There is no imported task '{name[:80]}'.", "task")
    return validate(TaskSpec, own.read("tasks", name), "task.")


def remove(name: str) -> None:
    """Delete an imported task and its copy of the data, at once or not at all. Raises `Refusal` where there is none."""
    load(name)
    aside = home() / f".deleted-{name}-{secrets.token_hex(4)}"
    os.rename(home() / name, aside)
    shutil.rmtree(aside, ignore_errors=True)
