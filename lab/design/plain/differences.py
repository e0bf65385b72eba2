"""What differs between plain documents: flattened to paths, only those whose values are not all the same."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any


def flatten(document: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(path, value) for every plain value: {"deltas": [{"rank": 8}]} gives deltas.0.rank, 8. Lists of plain values stay whole."""
    if isinstance(document, Mapping) and document:
        for key, value in document.items():
            yield from flatten(value, f"{prefix}{key}.")
    elif isinstance(document, (list, tuple)) and any(isinstance(item, (Mapping, list)) for item in document):
        for index, value in enumerate(document):
            yield from flatten(value, f"{prefix}{index}.")
    else:
        yield prefix.rstrip("."), document


def differences(documents: Sequence[Mapping[str, Any]], ignore: Sequence[str] = (), everything: bool = False) -> dict[str, list[Any]]:
    """{path: value in each document (None where it is absent)} for the paths that differ, in order of first appearance.

    `ignore`: paths that are left out, with what is below them. `everything`: also the paths that do not differ.
    """
    flat = [dict(flatten(document)) for document in documents]
    paths = dict.fromkeys(path for document in flat for path in document)
    found: dict[str, list[Any]] = {}
    for path in paths:
        if any(path == name or path.startswith(f"{name}.") for name in ignore):
            continue
        values = [document.get(path) for document in flat]
        if everything or any(value != values[0] for value in values):
            found[path] = values
    return found
