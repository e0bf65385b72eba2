"""One table from what people have: a file, several with splits of their own, a folder of files, a folder of `save_to_disk`, a set of the hub. Torch-free.

    gather("films.csv")                                        # one file, read as it is
    gather("train.csv", validation="dev.csv", test="test.csv")
    gather("reviews/")                                         # train-00000.parquet, train-00001.parquet, test-00000.parquet
    fetch("hub:acme/reviews", into=folder, splits={"train": "train"})

What is not one file is written as one JSON document with a list of rows for each split (`written`), which is what training reads.
"""

from __future__ import annotations

import datetime
import decimal
import functools
import gzip
import itertools
import json
import os
import re
import urllib.parse
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lab.design.plain.boundary import require_inside
from lab.design.plain.message import word
from lab.design.plain.refusal import Note, Refusal
from lab.design.spec.task import DataSource, Reading
from lab.tasks import cells, sources, uploads
from lab.tasks.tables import KINDS, LARGEST, SPLITS, Table, read_table, union

REMEMBERED = 32 * 1024 * 1024  # bytes of the largest data whose rows are kept in memory between two previews
FILES = 2000  # of a folder, at most
HUB = "hub:"
HUB_ROWS = 100_000  # rows of a split that are taken from the hub, where nothing else is said
TOKENS = re.compile(r"[^A-Za-z]+")


def gather(
    path: str | Path, *, validation: str | Path = "", test: str | Path = "", limit: int = LARGEST, called: str = "", reading: Reading | None = None
) -> Table:
    """The table of a file or folder, with a part for each split that it has of its own. Raises `Refusal`."""
    given = {"": path, **{split: file for split, file in (("validation", validation), ("test", test)) if file}}
    for split, file in given.items():
        require_inside(file, split or "file")
    files = {split: Path(file).expanduser() for split, file in given.items()}
    facts = tuple(_facts(file) for file in files.values())
    if all(facts) and sum(size for each in facts for size, _ in each or ()) <= REMEMBERED:
        return _remembered(tuple(files.items()), facts, limit, called, reading)
    return _gathered(files, limit, called, reading)


def _facts(path: Path) -> tuple[tuple[int, int], ...]:
    """Size and time of each file, by which a table that was read is known again; nothing where it cannot be looked at: the reader says why."""
    try:
        found = [path] if path.is_file() else sorted(itertools.islice(path.rglob("*"), FILES)) if path.is_dir() else []
        return tuple((each.stat().st_size, each.stat().st_mtime_ns) for each in found)
    except (OSError, ValueError):
        return ()


@functools.lru_cache(maxsize=2)
def _remembered(files: tuple[tuple[str, Path], ...], _facts: Any, limit: int, called: str, reading: Reading | None) -> Table:
    return _gathered(dict(files), limit, called, reading)


def _gathered(files: Mapping[str, Path], limit: int, called: str, reading: Reading | None) -> Table:
    path = files[""]
    folder = os.path.isdir(path)
    if not folder and len(files) == 1:
        return read_table(path, largest=limit, called=called, reading=reading)
    main = _folder(path, limit, reading) if folder else read_table(path, largest=limit, called=called, reading=reading)
    if len(files) == 1:
        return main
    tables = {split: (rows, main) for split, rows in main.splits().items()}
    if set(tables) - {"", "train"}:
        raise Refusal("{name} has splits of its own ({splits}): give no other files for them.", "validation", name=path.name, splits=", ".join(tables))
    tables = {"train": next(iter(tables.values()))}
    for split in list(files)[1:]:
        table = read_table(files[split], largest=limit, reading=reading and Reading(encoding=reading.encoding, header=reading.header))
        tables[split] = (table.rows, table)
    return joined({split: rows for split, (rows, _) in tables.items()}, [note for _, table in tables.values() for note in table.notes], path.name)


def joined(splits: Mapping[str, list[dict[str, Any]]], notes: list[str], name: str) -> Table:
    """Splits as one table with a part for each, its columns the union of theirs."""
    rows = [row for part in splits.values() for row in part]
    if not rows:
        raise Refusal("{name} has no rows.", "file", name=name)
    order = ("train", "validation", "test")
    parts = {split: len(splits[split]) for split in order if splits.get(split)}
    if parts:
        rows = [row for split in parts for row in splits[split]]
    return Table(union(rows, [], name), rows, Reading(format="json", encoding="utf-8"), parts, list(dict.fromkeys(notes)))


def _folder(path: Path, limit: int, reading: Reading | None) -> Table:
    if (path / "dataset_dict.json").is_file() or (path / "state.json").is_file():
        return _saved(path, limit)
    try:
        found = sorted(
            itertools.islice(
                (file for file in path.rglob("*") if file.is_file() and not any(part.startswith(".") for part in file.relative_to(path).parts)), FILES + 1
            )
        )
    except OSError as error:
        raise Refusal("The folder {name} cannot be read: {reason}.", "file", name=path.name, reason=word(error.strerror or error)) from None
    files = {file: kind for file in found if (kind := KINDS.get(Path(file.name.lower().removesuffix(".gz")).suffix))}
    kinds = sorted(set(files.values()))
    if "parquet" in kinds:
        kinds, files = ["parquet"], {file: kind for file, kind in files.items() if kind == "parquet"}
    if not files or len(files) > FILES:
        raise Refusal(
            "The folder {name} has more than {most} files of data: give one with .csv, .tsv, .json, .jsonl or .parquet."
            if files
            else "The folder {name} has no files of data: give one with .csv, .tsv, .json, .jsonl or .parquet.",
            "file",
            name=path.name,
            most=FILES,
        )
    if len(kinds) > 1:
        raise Refusal(
            "The folder {name} has files of several formats ({kinds}): give one file, or a folder with one format.",
            "file",
            name=path.name,
            kinds=", ".join(kinds),
        )
    sizes = sum(file.stat().st_size for file in files)
    if sizes > limit:
        raise Refusal("{name} has {size:.0f} MB; at most {most:.0f} MB can be imported.", "file", name=path.name, size=sizes / 1e6, most=limit / 1e6)
    splits: dict[str, list[dict[str, Any]]] = {}
    notes: list[str] = []
    named = {file: _split_of(file.relative_to(path)) for file in files}
    if any(named.values()) and not all(named.values()):
        stray = next(file for file, split in named.items() if not split)
        raise Refusal(
            "{file} in {folder} is of no split, while other files are: name it train, validation or test, or take it away.",
            "file",
            file=stray.name,
            folder=path.name,
        )
    for file, split in named.items():
        require_inside(file, "file")  # a link may lead out
        table = read_table(file, largest=limit, reading=reading and Reading(encoding=reading.encoding, delimiter=reading.delimiter, header=reading.header))
        keys = dict(part.split("=", 1) for part in file.relative_to(path).parts[:-1] if "=" in part)  # label=pos/part.parquet: a column of all its rows
        for part, rows in table.splits().items():
            for row in rows if keys else ():
                row.update({key: urllib.parse.unquote(value) for key, value in keys.items() if key not in row})
            splits.setdefault(split or part, []).extend(rows)
        notes += table.notes
    return joined(splits, notes, path.name)


def _split_of(path: Path) -> str:
    """The split that a file's name, else its folder's, says: train-00000-of-00002.parquet, test/part.csv."""
    for part in reversed(path.parts):
        found = {SPLITS[token] for token in TOKENS.split(part.lower()) if token in SPLITS}
        if len(found) == 1:
            return found.pop()
    return ""


def _saved(path: Path, limit: int) -> Table:
    """What `datasets` wrote with save_to_disk: memory-mapped Arrow files, no code."""
    import datasets

    size = sum(file.stat().st_size for file in path.rglob("*.arrow"))
    if size > limit:
        raise Refusal("{name} has {size:.0f} MB; at most {most:.0f} MB can be imported.", "file", name=path.name, size=size / 1e6, most=limit / 1e6)
    for file in path.rglob("*"):
        require_inside(file, "file")
    try:
        found = datasets.load_from_disk(str(path))
        parts = dict(found) if isinstance(found, datasets.DatasetDict) else {"": found}
        named = {name: SPLITS.get(name.casefold(), name) for name in parts}
        splits = {named[name]: _plain(part) for name, part in parts.items()}
    except IndexError:  # datasets' own, of a split that was saved empty
        raise Refusal("{name} has no rows, or a split without any: save it again without that split.", "file", name=path.name) from None
    except Exception as error:  # datasets, pyarrow and fsspec each raise their own kinds
        raise Refusal(
            "{name} cannot be read as a data set of save_to_disk: {reason}",
            "file",
            name=path.name,
            reason=(str(error).splitlines() or [type(error).__name__])[0][:160],
        ) from None
    if len(splits) < len(parts):
        raise Refusal("{name} has two lists for one split: {lists}.", "file", name=path.name, lists=", ".join(parts))
    strange = [name for name in splits if name not in ("", *sources.SPLITS)]
    if len(strange) == len(splits):
        raise Refusal("{name} has no split train to learn from; it has {splits}.", "file", name=path.name, splits=", ".join(strange)[:200])
    notes = [Note("The split '{split}' of {name} is none of train, validation and test, and is left out.", split=name, name=path.name) for name in strange]
    return joined({name: rows for name, rows in splits.items() if name not in strange}, notes, path.name)


def _plain(dataset: Any) -> list[dict[str, Any]]:
    """The rows as Arrow holds them: nothing is decoded; numbers of classes are their names."""
    rows = dataset.with_format("arrow")[:].to_pylist()
    return [_classes(row, dataset.features) for row in rows]


def _classes(row: dict[str, Any], features: Mapping[str, Any]) -> dict[str, Any]:
    """A row with the names of classes for their numbers, in lists, too; keys inside a cell that hold nothing are none."""
    for column, feature in features.items():
        names = getattr(feature, "names", None) or getattr(getattr(feature, "feature", None), "names", None)  # ClassLabel, or a list of it
        if names and isinstance(row[column], list):
            row[column] = [_class(names, number) for number in row[column]]
        elif names:
            row[column] = _class(names, row[column])
        elif isinstance(row[column], (dict, list)):
            row[column] = cells.without_nothing(row[column])
    return row


def _class(names: Sequence[str], number: Any) -> str | None:
    return names[number] if isinstance(number, int) and 0 <= number < len(names) else None


def written(table: Table, path: Path) -> Reading:
    """Write a table as gzipped JSON with its splits; how it is read again."""
    document = {split or "train": rows for split, rows in table.splits().items()}
    with path.open("wb") as file, gzip.GzipFile(fileobj=file, mode="wb", mtime=0) as packed:  # no time in it: the same rows are the same file
        packed.write(json.dumps(document, ensure_ascii=False, default=_as_json).encode("utf-8"))
    return Reading(format="json", encoding="utf-8")


def _as_json(value: Any) -> Any:
    if cells.missing(value):
        return None
    if isinstance(value, (decimal.Decimal, datetime.date, datetime.time, datetime.timedelta)):
        return cells.words(value)
    return f"<{type(value).__name__}>"  # bytes of an image: no role can be such a column


# -- the hub


def source_of(address: str, config: str = "", revision: str = "", splits: Mapping[str, str] | None = None) -> DataSource:
    """hub:owner/name as a source. Raises `Refusal`."""
    name = address.removeprefix(HUB).strip()
    if not re.fullmatch(r"[A-Za-z0-9][\w.-]{0,95}(/[A-Za-z0-9][\w.-]{0,95})?", name) or ".." in name:
        raise Refusal("'{name}' is no data set of the hub: write hub:owner/name.", "file", name=name[:80])
    return DataSource(hub=name, config=config.strip(), revision=revision.strip(), splits=dict(splits or {}))


def bring(address: str, *, config: str = "", revision: str = "", splits: Mapping[str, str] | None = None, rows: int = HUB_ROWS) -> tuple[str, list[str]]:
    """(token of an upload, notes): rows of hub:owner/name, staged as if they had been uploaded. Raises `Refusal`."""
    source = source_of(address, config, revision, splits)
    token, folder = uploads.room()
    try:
        return token, fetch(source, folder, rows)[1]
    except Refusal:
        uploads.unstage(token)
        raise


def fetch(source: DataSource, folder: Path, rows: int = HUB_ROWS, limit: int = LARGEST) -> tuple[Path, list[str]]:
    """(file, notes): the first `rows` rows of each split of a hub data set, streamed: the rest of a large set is not downloaded. Raises `Refusal`."""
    if not 1 <= rows <= 10_000_000:
        raise Refusal("Take between 1 and 10 million rows of a split, not {rows}.", "rows", rows=rows)
    notes = []
    try:
        found = _streams(source)
        kept = {}
        for split, name in (source.splits or _usual(found, source)).items():
            taken = list(itertools.islice(_rows(found, name, source), rows + 1))
            if len(taken) > rows:
                notes.append(Note("The first {rows:,} rows of {name} are taken; there are more.", rows=rows, name=name))
            kept[split] = taken[:rows]
    except Refusal:
        raise
    except Exception as error:  # datasets, the hub's client and fsspec each raise their own kinds
        raise sources.hub_refusal(source, error) from None
    table = joined(kept, notes, source.hub)
    commit = sources.commit_of(source)
    name = "--".join(filter(None, (source.hub.replace("/", "-"), source.config))) + (f"@{commit[:8]}" if commit else "")
    path = folder / f"{re.sub(r'[^A-Za-z0-9@._-]', '-', name)[:150]}.json.gz"
    try:
        written(table, path)
    except OSError as error:
        raise Refusal("{name} could not be kept in {folder}: {reason}.", "file", name=source.hub, folder=folder, reason=word(error.strerror or error)) from None
    if os.path.getsize(path) > limit:
        path.unlink()
        raise Refusal("{name} has more than {most:.0f} MB: take fewer rows.", "rows", name=source.hub, most=limit / 1e6)
    return path, notes


def _streams(source: DataSource) -> Mapping[str, Any]:
    """The splits of a data set, each to be read row by row; what is on this machine already is read from there."""
    from datasets.packaged_modules.cache.cache import Cache

    builder = sources.builder_of(source)
    return builder.as_dataset() if isinstance(builder, Cache) else builder.as_streaming_dataset()


def _usual(found: Mapping[str, Any], source: DataSource) -> dict[str, str]:
    """train, validation and test by the names that the data set gives them."""
    chosen: dict[str, str] = {}
    for name in map(str, found):
        if split := SPLITS.get(name.casefold()):
            chosen.setdefault(split, name)
    if "train" not in chosen:
        raise Refusal(
            "{name} has no split train: say which one is, as in train={split}; there are {known}.",
            "splits",
            name=source.hub,
            split=next(iter(found), "all"),
            known=", ".join(map(str, found)),
        )
    return chosen


def _rows(found: Mapping[str, Any], name: str, source: DataSource) -> Iterable[dict[str, Any]]:
    """The rows of one split, numbers of classes as their names; a part of one (train[:10%]) cannot be streamed and is downloaded whole."""
    import datasets

    if name in found:
        rows = found[name]
    else:
        builder = sources.builder_of(source)
        datasets.disable_progress_bars()
        builder.download_and_prepare()
        rows = builder.as_dataset(split=name)
    return (_classes(dict(row), rows.features or {}) for row in rows)
