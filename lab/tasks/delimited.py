"""Text files as people have them: their encoding, and the dialect of a table with delimiters. Torch-free.

What is decided by content here is written into the task's `Reading` at import, so that training reads the same file the same way.
"""

from __future__ import annotations

import codecs
import csv
import io
import itertools
import re
from collections.abc import Iterator
from typing import Any

from lab.design.plain.refusal import Note, Refusal
from lab.design.spec.task import Reading
from lab.tasks import cells

csv.field_size_limit(16 * 1024 * 1024)
MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
DELIMITERS = (",", "\t", ";", "|")
DIALECTS: dict[str, dict[str, Any]] = {
    "double": {"strict": True},
    "spaced": {"strict": True, "skipinitialspace": True},
    "backslash": {"strict": True, "doublequote": False, "escapechar": "\\"},
    "none": {"quoting": csv.QUOTE_NONE},
}
SAMPLE = 200  # records by which a dialect is chosen
SENTENCE = re.compile(r"[.!?;。！？，；…](\s|$)|[。！？，；]")
USUAL = frozenset("id idx index text label labels class category sentence target source title body name comment review content score rating question answer "
                  "instruction input output prompt response completion messages context summary document article stars sentiment".split())  # fmt: skip


def decoded(data: bytes, name: str, encoding: str = "") -> tuple[str, str]:
    """(text, encoding) of a file: as it was asked for, else by its mark, else UTF-16 without one, UTF-8, or GB18030. Raises `Refusal`."""
    if encoding:
        try:
            return data.decode(encoding).removeprefix("\ufeff"), encoding
        except (UnicodeError, LookupError):  # also of codecs that are no encodings of text
            raise Refusal("{name} cannot be read as {encoding}: give its encoding, or save it as UTF-8.", "encoding", name=name, encoding=encoding) from None
    mark = next((each for each in MARKS if data.startswith(each)), b"")
    found = MARKS.get(mark) or _wide(data) or "utf-8"
    try:
        return data.decode(found).removeprefix("\ufeff"), found
    except UnicodeDecodeError as error:
        if found == "utf-8" and (text := _chinese(data)) is not None:
            return text, "gb18030"
        line = data.count(b"\n", 0, error.start) + 1
        raise Refusal("{name} is not UTF-8 (line {line}): save it as UTF-8, or give its encoding.", "encoding", name=name, line=line) from None


def _wide(data: bytes) -> str:
    """UTF-16 without a mark, by where the zeros of its delimiters and line ends are; "" for anything else."""
    start = data[:20_000]
    zeros = start[0::2].count(0), start[1::2].count(0)
    pairs = len(start) // 2
    if len(data) % 2 or pairs < 4 or not any(zeros):
        return ""
    found = "utf-16-be" if zeros[0] > zeros[1] else "utf-16-le"
    newline = "\n".encode(found)
    aligned = any(start[place : place + 2] == newline for place in range(0, len(start), 2))
    return found if aligned and max(zeros) > 0.02 * pairs and min(zeros) < 0.01 * pairs else ""


def _chinese(data: bytes) -> str | None:
    """The text where it is GB18030 by the letters' frequency; other legacy encodings of the same bytes are not guessed."""
    from charset_normalizer import from_bytes

    try:
        text = data.decode("gb18030")
    except UnicodeDecodeError:
        return None
    best = from_bytes(data[: data.rfind(b"\n", 0, 50_000) + 1] or data).best()
    return text if best is not None and best.encoding in ("gb18030", "gbk", "gb2312") else None


def rows(text: str, name: str, reading: Reading) -> tuple[list[dict[str, Any]], Reading, list[str]]:
    """(rows, how they were read, what to say about it). What `reading` leaves open is decided by content. Raises `Refusal`."""
    marked = re.match(r"sep=(.)\r?\n", text)  # Excel's own line
    if marked:
        text = text[marked.end() :]
    delimiter = reading.delimiter or (marked[1] if marked else _delimiter(text, "\t" if name.lower().removesuffix(".gz").endswith(".tsv") else ","))
    wrong = []
    for quotes in [reading.quotes] if reading.quotes else _quotes(text, delimiter):
        chosen = reading.model_copy(update={"delimiter": delimiter, "quotes": quotes})
        try:
            return _read(text, name, chosen)
        except Refusal as problem:
            if problem.field == "header":
                raise
            wrong.append(problem)
    raise wrong[0]


def _records(text: str, delimiter: str, quotes: str) -> Iterator[tuple[int, list[str]]]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, **DIALECTS[quotes])
    for cells_ in reader:
        yield reader.line_num, cells_


def _delimiter(text: str, usual: str) -> str:
    """The one by which most records have as many cells as the first; of several, the one that makes most cells, then the usual one."""
    start = text[:2_000_000]

    def fits(delimiter: str) -> tuple[float, int, bool]:
        widths = []
        try:
            widths = [len(record) for _, record in itertools.islice(_records(start, delimiter, "double"), SAMPLE) if record]
        except csv.Error:
            unquoted = itertools.islice(_records(start, delimiter, "none"), SAMPLE)
            widths = [len(record) for _, record in unquoted if record]
        if not widths:
            return 0.0, 0, False
        alike = sum(width == widths[0] for width in widths) / len(widths)
        return alike if widths[0] > 1 else 0.01 * alike, widths[0], delimiter == usual

    return max(DELIMITERS, key=fits)


def _quotes(text: str, delimiter: str) -> list[str]:
    """Ways to read quotes, the likeliest first. A quote after a delimiter and a space opens a cell too. In tables with tabs a quote may be a mere letter (GLUE's): told by cells that open one and do not close it."""
    if delimiter != "\t":
        return ["spaced", "double", "backslash"] if re.search(re.escape(delimiter) + ' +"', text) else ["double", "backslash"]
    widths, loose = set(), False
    for _, record in _records(text, delimiter, "none"):
        if record:
            widths.add(len(record))
            loose = loose or any(cell.startswith('"') and (len(cell) < 2 or not cell.endswith('"')) for cell in record)
    return ["none", "double"] if loose and len(widths) == 1 else ["double", "backslash", "none"]


def _read(text: str, name: str, reading: Reading) -> tuple[list[dict[str, Any]], Reading, list[str]]:
    records, line = _records(text, reading.delimiter, reading.quotes), 1
    try:
        kept = []
        for line, record in records:  # noqa: B007 (the line is named where reading stops)
            if record:
                kept.append((line, record))
    except csv.Error as error:
        raise Refusal("Line {line} of {name} cannot be read as CSV: {reason}.", "file", line=line + bool(kept), name=name, reason=error) from None
    if not kept:
        raise Refusal("{name} has no header row.", "file", name=name)
    blank = [place for place, (_, record) in enumerate(kept[1:], 1) if not any(map(str.strip, record))]
    notes = [Note("{count} rows of {name} have only empty cells and are left out.", count=len(blank), name=name)] if blank else []
    cells.require_narrow(len(kept[0][1]), name)
    gone = set(blank)
    kept = [pair for place, pair in enumerate(kept) if place not in gone]
    first = [cell.strip() for cell in kept[0][1]]
    header = reading.header or ("names" if not _data_like(first, [record for _, record in kept[1 : SAMPLE + 1]]) else "")
    if not header:
        raise Refusal(
            "The first row of {name} looks like data ({cells}): say whether it holds the columns' names.", "header", name=name, cells=", ".join(first)[:80]
        )
    body = kept[1:] if header == "names" else kept
    columns = first if header == "names" else [f"column_{place}" for place in range(1, len(first) + 1)]
    for number, (at, record) in enumerate(body, 1):
        if len(record) != len(columns):
            raise Refusal(
                "Row {row} of {name} (line {line}) has {count} cells; the header has {columns}.",
                "file",
                row=number,
                name=name,
                line=at,
                count=len(record),
                columns=len(columns),
            )
    columns, used, unnamed = _named(columns, [record for _, record in body], name)
    made = [dict(zip(columns, (record[place] for place in used), strict=True)) for _, record in body]
    return made, reading.model_copy(update={"header": header}), notes + unnamed


def _data_like(first: list[str], others: list[list[str]]) -> bool:
    """Whether the first record is likely a row of data: a value of its own column again, a number above numbers, or a sentence."""
    if any(cell.casefold() in USUAL for cell in first) or not others:
        return False
    for place, cell in enumerate(first):
        below = [record[place].strip() for record in others if place < len(record)]
        if not cell:
            continue
        if cell in below or cells.is_number(cell) and sum(map(cells.is_number, below)) > 0.9 * len(below):
            return True
        if SENTENCE.search(cell) or len(cell.split()) > 3:
            return True
    return False


def _named(columns: list[str], records: list[list[str]], name: str) -> tuple[list[str], list[int], list[str]]:
    """(columns, their places, what to say): without pandas' index and columns that are empty throughout. Raises `Refusal` for a column without a name or of a name twice."""
    left, found = set(), []
    for place, column in enumerate(columns):
        if column:
            continue
        values = [record[place].strip() for record in records]
        if not any(values):
            left.add(place)
            found.append(Note("Column {number} of {name} has no name and no values, and is left out.", number=place + 1, name=name))
        elif place == 0 and len(set(values)) == len(values) and all(value.isdecimal() for value in values):
            left.add(place)
            found.append(Note("Column 1 of {name} has no name and numbers the rows, as pandas writes its index: it is left out.", name=name))
        else:
            raise Refusal("Column {number} of {name} has no name.", "file", number=place + 1, name=name)
    used = [place for place in range(len(columns)) if place not in left]
    for place in used:
        if columns.index(columns[place]) != place:
            raise Refusal("{name} has the column '{column}' twice.", "file", name=name, column=columns[place][:80])
    return [columns[place] for place in used], used, found
