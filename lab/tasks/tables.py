"""Read a table from CSV, TSV, JSON, JSON Lines or Parquet, gzip allowed; errors name the row and the column. Torch-free.

One reader for import and training: what it decides by content (format, encoding, delimiter, quotes, header) it gives back as a `Reading`, which the
task keeps and hands in again. Columns are the union over all rows; a cell that a row does not have is None.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lab.design.plain.message import Message
from lab.design.plain.refusal import Note, Refusal
from lab.design.spec.task import Reading
from lab.tasks import cells, delimited

KINDS = {".csv": "csv", ".tsv": "tsv", ".json": "json", ".jsonl": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet"}
LARGEST = 512 * 1024 * 1024  # bytes of text, unpacked
JSON_STARTS = re.compile(r'\s*(\[\s*\{\s*"|\{\s*"[^"\n]*"\s*:)')  # no table with delimiters begins so
FILLED = 10_000_000  # cells that rows lack of the union of columns, at most
DIGITS = 300  # of a whole number that is kept as a number; a longer one is its text
SPLITS = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "test": "test",
    "testing": "test",
}


@dataclass(frozen=True)
class Table:
    """Rows as dicts that all have the same columns.

    `reading`: how the file was read. `parts`: rows of each split in their order, where the file has splits of its own. `notes`: sentences to show.
    """

    columns: list[str]
    rows: list[dict[str, Any]]
    reading: Reading = field(default_factory=Reading)
    parts: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def splits(self) -> dict[str, list[dict[str, Any]]]:
        """The rows of each split that the file has of its own; {"": all rows} where it has none."""
        found, start = {}, 0
        for split, count in (self.parts or {"": len(self.rows)}).items():
            found[split] = self.rows[start : start + count]
            start += count
        return found

    def numbered(self) -> Iterator[tuple[str, int, dict[str, Any]]]:
        """(split or "", number of the row from 1 in it, row)."""
        for split, rows in self.splits().items():
            for number, row in enumerate(rows, 1):
                yield split, number, row

    def placed(self, split: str, sentence: Message) -> Message:
        """A sentence about a row, with the split in which it is counted."""
        return Message("In {split}: {sentence}", split=split, sentence=sentence) if split else sentence


def read_table(path: Path, *, largest: int = LARGEST, called: str = "", reading: Reading | None = None) -> Table:
    """The whole table. Raises `Refusal` with the row (and column) at fault; rows count from 1 and leave the header out.

    `called` is the file's name in those sentences, where it is not the path's own. `reading`: what was decided about the file before.
    """
    called, reading = called or path.name, reading or Reading()
    given = reading.format
    kind = given or kind_of(path, called)
    data = _bytes(path, largest, called)
    if data.startswith(b"PAR1"):
        kind = "parquet"
    elif data.startswith((b"PK\x03\x04", b"\xd0\xcf\x11\xe0")):
        raise Refusal("{name} is a packed file or a spreadsheet: save the table as CSV.", "file", name=called)
    notes: list[str] = []
    parts: dict[str, int] = {}
    if kind == "parquet":
        rows, columns = _parquet(data, largest, called)
        reading = reading.model_copy(update={"format": "parquet"})
    else:
        text, encoding = delimited.decoded(data, called, reading.encoding)
        notes += (
            [Note("{name} is read in the encoding {encoding}.", name=called, encoding=encoding.upper())]
            if encoding not in ("utf-8", "utf-8-sig") and not reading.encoding
            else []
        )
        reading = reading.model_copy(update={"encoding": encoding})
        if kind in ("csv", "tsv") and not given and JSON_STARTS.match(text):
            rows, form, parts = _objects(text, "json", called)
            notes.append(Note("{name} holds JSON, whatever its name says, and is read as that.", name=called))
            reading = reading.model_copy(update={"format": form})
        elif kind in ("csv", "tsv"):
            rows, reading, more = delimited.rows(text, called, reading.model_copy(update={"format": "csv"}))
            notes += more
        else:
            rows, form, parts = _objects(text, kind, called)
            reading = reading.model_copy(update={"format": form})
        columns = []
    if not rows:
        raise Refusal("{name} has no rows.", "file", name=called)
    return Table(union(rows, columns, called), rows, reading, parts, notes)


def union(rows: list[dict[str, Any]], columns: list[str], name: str) -> list[str]:
    """The columns of all rows, in the order in which they are first met; each row is given those that it lacks, as None. Raises `Refusal`."""
    found = dict.fromkeys(columns)
    for row in rows:
        if row.keys() - found.keys():
            found.update(dict.fromkeys(row))
            cells.require_narrow(len(found), name)
    lacking = sum(len(found) - len(row) for row in rows)
    if lacking > FILLED:
        raise Refusal(
            "{name} has {columns} different columns, and its rows lack {lacking:.0f} million cells of them: that is no table.",
            "file",
            name=name,
            columns=len(found),
            lacking=lacking / 1e6,
        )
    if lacking:
        for row in rows:
            if len(row) < len(found):
                row.update({column: None for column in found if column not in row})
    return list(found)


def kind_of(path: Path, called: str = "") -> str:
    """The format by the file's ending, `called` where the file has another name here. Raises `Refusal` for others."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] == ".gz":
        suffixes.pop()
    kind = KINDS.get(suffixes[-1]) if suffixes else None
    if kind is None and not os.path.isfile(path):
        raise Refusal("There is no file {name}.", "file", name=(called or path.name)[:200])
    if kind is None:
        raise Refusal("{name} is of no known format: give .csv, .tsv, .json, .jsonl or .parquet.", "file", name=(called or path.name)[:80])
    return kind


def _bytes(path: Path, largest: int, name: str) -> bytes:
    """A file's content, unpacked. Raises `Refusal`."""
    if not os.path.isfile(path):
        raise Refusal("There is no file {name}.", "file", name=name[:200])
    size = path.stat().st_size
    if size == 0:
        raise Refusal("{name} is empty.", "file", name=name)
    if size > largest:
        raise Refusal("{name} has {size:.0f} MB; at most {most:.0f} MB can be imported.", "file", name=name, size=size / 1e6, most=largest / 1e6)
    try:
        with path.open("rb") as file:
            packed = file.read(2) == b"\x1f\x8b" or path.suffix.lower() == ".gz"
        with gzip.open(path) if packed else path.open("rb") as file:
            data = file.read(largest + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise Refusal("{name} cannot be read: {reason}.", "file", name=name, reason=error) from None
    if len(data) > largest:
        raise Refusal("{name} unpacks to more than {most:.0f} MB, the most that can be imported.", "file", name=name, most=largest / 1e6)
    return data


class _Twice(ValueError):
    """A key that an object has twice."""


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        raise _Twice(next(key for key in keys if keys.count(key) > 1))
    return found


def _whole(digits: str) -> Any:
    return int(digits) if len(digits) <= DIGITS else digits


_read_json = json.JSONDecoder(object_pairs_hook=_pairs, parse_int=_whole).decode


def _objects(text: str, kind: str, name: str) -> tuple[list[dict[str, Any]], str, dict[str, int]]:
    """(rows, json or jsonl, rows of each split) of a JSON document or of JSON Lines; which of the two by content, whatever the ending is."""
    start = text.lstrip()[:1]
    if kind == "jsonl" and start == "{" or not start:
        return _lines(text, name), "jsonl", {}
    try:
        document = _read_json(text)
    except RecursionError:
        raise Refusal("{name} is nested too deeply to be a table.", "file", name=name) from None
    except _Twice as error:
        raise Refusal("{name} has an object with the key '{key}' twice.", "file", name=name, key=str(error)[:80]) from None
    except json.JSONDecodeError as error:
        if start == "{" and "Extra data" in str(error):  # JSON Lines under another name
            return _lines(text, name), "jsonl", {}
        if kind == "jsonl":
            return _lines(text, name), "jsonl", {}
        if text[: error.pos].rstrip().endswith(",") and text[error.pos : error.pos + 1] in ("]", "}"):
            raise Refusal(
                "{name} has a comma before a closing bracket (line {line}), which JSON does not allow.", "file", name=name, line=error.lineno
            ) from None
        raise Refusal("{name} is no JSON: {reason}.", "file", name=name, reason=error) from None
    tables = _tables(document, name)
    rows = [_object(row, number, name, text) for table in tables.values() for number, row in enumerate(table, 1)]
    return rows, "json", {split: len(table) for split, table in tables.items() if split}


def _tables(document: Any, name: str) -> dict[str, list[Any]]:
    """The list of rows in a document ({"": rows}), or the lists of its splits."""
    if isinstance(document, dict):
        lists = {key: value for key, value in document.items() if isinstance(value, list) and value and isinstance(value[0], dict)}
        if len(lists) > 1 and all(key.casefold() in SPLITS for key in lists):
            named = {SPLITS[key.casefold()]: rows for key, rows in lists.items()}
            if len(named) < len(lists):
                raise Refusal("{name} has two lists for one split: {lists}.", "file", name=name, lists=", ".join(lists))
            return named
        if {"columns", "data"} <= document.keys() or document and all(isinstance(value, dict) for value in document.values()):
            raise Refusal("{name} is a table by columns, as pandas writes one: save it with orient='records'.", "file", name=name)
        document = next(iter(lists.values())) if len(lists) == 1 else document
    if not isinstance(document, list):
        raise Refusal("{name} must be a list of rows, each an object with columns.", "file", name=name)
    return {"": document}


def _lines(text: str, name: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for line_number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = _read_json(line)
        except _Twice as error:
            raise Refusal(
                "Row {row} of {name} (line {line}) has the key '{key}' twice.", "file", row=len(rows) + 1, name=name, line=line_number, key=str(error)[:80]
            ) from None
        except (ValueError, RecursionError) as error:
            raise Refusal(
                "Row {row} of {name} (line {line}) is no JSON: {reason}.", "file", row=len(rows) + 1, name=name, line=line_number, reason=error
            ) from None
        rows.append(_object(row, len(rows) + 1, name, line))
    return rows


def _object(row: Any, number: int, name: str, text: str) -> dict[str, Any]:
    if not isinstance(row, dict):
        raise Refusal("Row {row} of {name} is no object with columns.", "file", row=number, name=name)
    if "\\u" in text:  # only an escape can hold half a letter
        for place, (column, value) in enumerate(row.items(), 1):
            if cells.broken(column):
                raise Refusal(
                    "Row {row} of {name} has half a letter (a lone surrogate) in the name of its column {column}.", "file", row=number, name=name, column=place
                )
            if cells.broken(value):
                raise Refusal(
                    "Row {row} of {name} has half a letter (a lone surrogate) in column '{column}'.", "file", row=number, name=name, column=column[:80]
                )
    return row


def _parquet(data: bytes, largest: int, name: str) -> tuple[list[dict[str, Any]], list[str]]:
    import pyarrow
    from pyarrow import parquet

    try:
        file = parquet.ParquetFile(pyarrow.BufferReader(data))
        size = sum(file.metadata.row_group(i).total_byte_size for i in range(file.num_row_groups))
        if size > largest:
            raise Refusal("{name} unpacks to more than {most:.0f} MB, the most that can be imported.", "file", name=name, most=largest / 1e6)
        columns = file.schema_arrow.names
        cells.require_narrow(len(columns), name)
        if twice := next((column for column in columns if columns.count(column) > 1), None):
            raise Refusal("{name} has the column '{column}' twice.", "file", name=name, column=twice[:80])
        return [_with_text(row) for row in file.read().to_pylist()], columns
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError, OverflowError, ValueError) as error:
        if isinstance(error, Refusal):
            raise
        raise Refusal(
            "{name} cannot be read as Parquet: {reason}", "file", name=name, reason=(str(error).splitlines() or [type(error).__name__])[0][:160]
        ) from None


def _with_text(row: dict[str, Any]) -> dict[str, Any]:
    """Bytes that are UTF-8 as text: older writers know no other. Keys inside a cell that hold nothing are none."""
    for column, value in row.items():
        if isinstance(value, (dict, list)):
            row[column] = cells.without_nothing(value)
        if isinstance(value, bytes):
            with contextlib.suppress(UnicodeDecodeError):
                row[column] = value.decode("utf-8")
    return row
