"""Read a table from CSV, TSV, JSON, JSON Lines or Parquet, gzip allowed; errors name the row and the column. Torch-free."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.design.refusal import Refusal

KINDS = {".csv": "csv", ".tsv": "tsv", ".json": "json", ".jsonl": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet"}
LARGEST = 512 * 1024 * 1024  # bytes of text, unpacked
csv.field_size_limit(16 * 1024 * 1024)


@dataclass(frozen=True)
class Table:
    """Rows as dicts that all have the same columns."""

    columns: list[str]
    rows: list[dict[str, Any]]


def read_table(path: Path, *, largest: int = LARGEST, called: str = "") -> Table:
    """The whole table. Raises `Refusal` with the row (and column) at fault; rows count from 1 and leave the header out.

    `called` is the file's name in those sentences, where it is not the path's own.
    """
    kind, called = kind_of(path), called or path.name
    try:
        there = path.is_file()
    except (OSError, ValueError):  # too long, or with NUL
        there = False
    if not there:
        raise Refusal(f"There is no file {called[:200]}.", "file")
    if path.stat().st_size == 0:
        raise Refusal(f"{called} is empty.", "file")
    if path.stat().st_size > largest:
        raise Refusal(f"{called} has {path.stat().st_size / 1e6:.0f} MB; at most {largest / 1e6:.0f} MB can be imported.", "file")
    if kind == "parquet":
        rows = _parquet(path, largest, called)
    else:
        text = _text(path, largest, called)
        rows = list({"csv": _csv, "tsv": _csv, "json": _json, "jsonl": _jsonl}[kind](text, called))
    if not rows:
        raise Refusal(f"{called} has no rows.", "file")
    columns = list(rows[0])
    for number, row in enumerate(rows, 1):
        missing = next((name for name in columns if name not in row), None)
        if missing is not None:
            raise Refusal(f"Row {number} of {called} has no column '{missing}', which row 1 has.", "file")
    return Table(columns, rows)


def kind_of(path: Path) -> str:
    """The format by the file's ending. Raises `Refusal` for others."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] == ".gz":
        suffixes.pop()
    kind = KINDS.get(suffixes[-1]) if suffixes else None
    if kind is None:
        raise Refusal(f"{path.name[:80]} is of no known format: give .csv, .tsv, .json, .jsonl or .parquet.", "file")
    return kind


def _text(path: Path, largest: int, name: str) -> str:
    try:
        with (gzip.open(path) if path.suffix.lower() == ".gz" else path.open("rb")) as file:
            data = file.read(largest + 1)
    except (OSError, EOFError) as error:
        raise Refusal(f"{name} cannot be read: {error}.", "file") from None
    if len(data) > largest:
        raise Refusal(f"{name} unpacks to more than {largest / 1e6:.0f} MB, the most that can be imported.", "file")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise Refusal(f"{name} is not UTF-8 (line {line}); save it as UTF-8.", "file") from None


def _csv(text: str, name: str) -> Iterator[dict[str, Any]]:
    delimiter = "\t" if ".tsv" in name.lower() else _delimiter(text)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        header = [column.strip() for column in next(reader)]
        _check_header(header, name)
        number = 0
        for cells in reader:
            if not cells:
                continue
            number += 1
            if len(cells) != len(header):
                raise Refusal(f"Row {number} of {name} (line {reader.line_num}) has {len(cells)} cells; the header has {len(header)}.", "file")
            yield dict(zip(header, cells, strict=True))
    except csv.Error as error:
        raise Refusal(f"Line {reader.line_num} of {name} cannot be read as CSV: {error}.", "file") from None
    except StopIteration:
        raise Refusal(f"{name} has no header row.", "file") from None


def _delimiter(text: str) -> str:
    first = text.split("\n", 1)[0]
    return max(",;\t", key=first.count)


def _check_header(header: list[str], name: str) -> None:
    for place, column in enumerate(header, 1):
        if not column:
            raise Refusal(f"Column {place} of {name} has no name.", "file")
        if header.index(column) != place - 1:
            raise Refusal(f"{name} has the column '{column}' twice.", "file")


def _json(text: str, name: str) -> Iterator[dict[str, Any]]:
    try:
        document = json.loads(text)
    except RecursionError:
        raise Refusal(f"{name} is nested too deeply to be a table.", "file") from None
    except ValueError as error:
        if text.lstrip().startswith("{") and "Extra data" in str(error):  # JSON Lines under another name
            yield from _jsonl(text, name)
            return
        raise Refusal(f"{name} is no JSON: {error}.", "file") from None
    if isinstance(document, dict):
        lists = [value for value in document.values() if isinstance(value, list) and value and isinstance(value[0], dict)]
        document = lists[0] if len(lists) == 1 else document
    if not isinstance(document, list):
        raise Refusal(f"{name} must be a list of rows, each an object with columns.", "file")
    for number, row in enumerate(document, 1):
        yield _object(row, number, name)


def _jsonl(text: str, name: str) -> Iterator[dict[str, Any]]:
    number = 0
    for line_number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        number += 1
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise Refusal(f"Row {number} of {name} (line {line_number}) is no JSON: {error}.", "file") from None
        yield _object(row, number, name)


def _object(row: Any, number: int, name: str) -> dict[str, Any]:
    if not isinstance(row, dict):
        raise Refusal(f"Row {number} of {name} is no object with columns.", "file")
    return row


def _parquet(path: Path, largest: int, name: str) -> list[dict[str, Any]]:
    import pyarrow
    from pyarrow import parquet

    try:
        file = parquet.ParquetFile(path)
        size = sum(file.metadata.row_group(i).total_byte_size for i in range(file.num_row_groups))
        if size > largest:
            raise Refusal(f"{name} unpacks to more than {largest / 1e6:.0f} MB, the most that can be imported.", "file")
        return file.read().to_pylist()
    except (pyarrow.ArrowException, OSError) as error:
        raise Refusal(f"{name} cannot be read as Parquet: {str(error).splitlines()[0][:160]}", "file") from None
