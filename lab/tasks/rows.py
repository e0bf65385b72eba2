"""Tokenised rows in flat arrays, with a cache on disk.

`Rows` behaves as a sequence of dicts. Lists of token ids lie end to end in one int32 array (20,000 reviews of 256 tokens are
20 MB, as Python lists they would be 200), so a cached split opens in milliseconds.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np


class Rows(Sequence):
    """Rows as columns. `rows[i]` is a dict; `rows.lengths` are the token counts by which batches are made of like lengths."""

    def __init__(self, columns: dict[str, tuple[str, np.ndarray, np.ndarray | None]], count: int):
        self._columns = columns
        self._count = count

    @classmethod
    def of(cls, rows: Sequence[dict[str, Any]]) -> Rows:
        """Rows that all have the same keys; values are ints, floats, lists of ints, or anything JSON can hold."""
        columns = {name: _column([row[name] for row in rows]) for name in (rows[0] if rows else ())}
        return cls(columns, len(rows))

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return self.subset(range(*index.indices(self._count)))
        index = index.__index__()
        if not -self._count <= index < self._count:
            raise IndexError(index)
        index %= self._count
        return {name: _cell(*column, index) for name, column in self._columns.items()}

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of each row, (rows,)."""
        return self._columns["length"][1] if self._count else np.zeros(0, np.int64)

    def __contains__(self, name: object) -> bool:
        return name in self._columns

    def column(self, name: str) -> np.ndarray:
        """The values of a column of numbers, (rows,)."""
        return self._columns[name][1]

    def subset(self, indices: Iterable[int]) -> Rows:
        """The rows at these indices, in this order."""
        return Rows.of([self[i] for i in indices])

    def save(self, path: Path) -> None:
        """Write atomically; a cache that cannot be written is no error."""
        arrays = {}
        for name, (kind, values, ends) in self._columns.items():
            arrays[f"{kind}:{name}"] = values
            if ends is not None:
                arrays[f"ends:{name}"] = ends
        with contextlib.suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            handle, scratch = tempfile.mkstemp(prefix=".rows-", suffix=".npz", dir=path.parent)
            try:
                with os.fdopen(handle, "wb") as file:
                    np.savez(file, count=np.array(self._count), **arrays)
                os.replace(scratch, path)
            except OSError:
                os.unlink(scratch)
                raise

    @classmethod
    def load(cls, path: Path) -> Rows | None:
        """The rows of a cache file, or None where there is none or it is damaged."""
        try:
            with np.load(path, allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
        except (OSError, ValueError, EOFError, KeyError):
            return None
        except Exception as error:  # zipfile.BadZipFile and zlib.error
            if type(error).__name__ in ("BadZipFile", "error"):
                return None
            raise
        columns = {}
        for key, values in arrays.items():
            kind, _, name = key.partition(":")
            if name and kind != "ends":
                columns[name] = (kind, values, arrays.get(f"ends:{name}"))
        return cls(columns, int(arrays["count"]))


def _column(values: list[Any]) -> tuple[str, np.ndarray, np.ndarray | None]:
    if all(isinstance(value, (int, np.integer)) and not isinstance(value, bool) for value in values):
        return "int", np.array(values, np.int64), None
    if all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values):
        return "float", np.array(values, np.float64), None
    if all(isinstance(value, (list, tuple)) and all(type(item) is int for item in value) for value in values):
        ends = np.cumsum([len(value) for value in values], dtype=np.int64)
        flat = np.fromiter((item for value in values for item in value), np.int32, count=int(ends[-1]))
        return "list", flat, ends
    texts = [json.dumps(value, ensure_ascii=False).encode("utf-8") for value in values]
    ends = np.cumsum([len(each) for each in texts], dtype=np.int64)
    return "json", np.frombuffer(b"".join(texts), np.uint8), ends


def _cell(kind: str, values: np.ndarray, ends: np.ndarray | None, index: int) -> Any:
    if ends is None:
        return values[index].item()
    piece = values[(ends[index - 1] if index else 0) : ends[index]]
    return piece.tolist() if kind == "list" else json.loads(piece.tobytes())


def batches(lengths: Sequence[int] | np.ndarray, size: int) -> Iterator[list[int]]:
    """Indices in batches of like lengths, the longest first, so that what does not fit in memory fails at once."""
    order = np.argsort(-np.asarray(lengths), kind="stable")
    for start in range(0, len(order), size):
        yield order[start : start + size].tolist()
