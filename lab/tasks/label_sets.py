"""The labels of a row that may have several: as a list, as one text with a separator, or as a column of 0 and 1 for each. Torch-free."""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping, Sequence
from typing import Any

from lab.design.plain.message import Message
from lab.design.plain.refusal import Refusal
from lab.tasks import cells, sources

FLAGS = {"1": True, "1.0": True, "true": True, "0": False, "0.0": False, "false": False}


def labels_in(row: Mapping[str, Any], column: str, separator: str = "", number: int | None = None) -> list[str]:
    """The labels that a row has, each once. Raises `Refusal` that names row and column for what is no set of labels.

    A row without any says so: an empty list, zeros, or with a separator an empty cell.
    """
    if column not in row and "|" in column:
        return [part for part in column.split("|") if _flag(sources.value(row, part, number), part, number)]
    found = sources.value(row, column, number)
    where = sources.row_named(number)
    if separator:
        if isinstance(found, (list, tuple, dict)):
            raise Refusal(
                "{where} has a list in column '{column}', where a text with '{separator}' between its labels should be: leave the separator empty.",
                "task.columns",
                where=where,
                column=column,
                separator=separator,
            )
        parts = [found] if not isinstance(found, str) else [] if cells.missing(found) else [part for part in found.split(separator) if part.strip()]
        return list(dict.fromkeys(sources.as_label(part, column, number) for part in parts if not cells.missing(part)))
    listed = as_list(found)
    if listed is None:
        content = Message("nothing") if cells.missing(found) else f"'{str(found)[:60]}'"
        raise Refusal(
            "{where} has {kind} in column '{column}', which is no list of labels: write [] for none, or name the separator between them.",
            "task.columns",
            where=where,
            kind=content,
            column=column,
        )
    return list(dict.fromkeys(sources.as_label(item, column, number) for item in listed))


def as_list(value: Any) -> list[Any] | None:
    """A list, also where a cell holds one as text (as JSON, or as Python writes it, which is what pandas leaves in a CSV); None for anything else."""
    if isinstance(value, (list, tuple)):
        return list(value)
    if not isinstance(value, str) or not (value.lstrip()[:1] == "[" and value.rstrip()[-1:] == "]"):
        return None
    for reader in (json.loads, ast.literal_eval):
        try:
            found = reader(value.strip())
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
        return found if isinstance(found, list) else None
    return None


def flags_of(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> list[str]:
    """The columns that hold nothing but 0 and 1, and both of them somewhere."""
    found = []
    for column in columns:
        values = {FLAGS.get(str(row.get(column)).strip().casefold()) for row in rows}
        if values == {True, False}:
            found.append(column)
    return found


def _flag(value: Any, column: str, number: int | None) -> bool:
    flag = FLAGS.get(str(value).strip().casefold())
    if flag is None:
        where = sources.row_named(number)
        content = Message("nothing") if cells.missing(value) else f"'{str(value)[:60]}'"
        raise Refusal(
            "{where} has {given} in column '{column}'; a column that stands for one label holds 0 or 1.",
            "task.columns.label",
            where=where,
            given=content,
            column=column,
        )
    return flag
