"""The classes of a label column: their names, and which spellings of the data mean which of them. Torch-free.

A class is named by what the data hold, unless names are given: `good` for a label of that name, `1=good` for the data's 1. Names are never matched
to numbers by their place. Labels that differ only in how they are written (POS and pos, 1 and 1.0) are asked about: `merge` or `apart`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from lab.design.plain.message import Message
from lab.design.plain.refusal import Refusal
from lab.tasks import cells, sources
from lab.tasks.label_sets import labels_in

if TYPE_CHECKING:
    from lab.tasks.tables import Table

MANY = 200  # labels beyond which a column is no class
SEVERAL = 1000  # labels that a task may have where a row has several of them
MERGE, APART = "merge", "apart"


def labels_of(
    table: Table, column: str, given: Sequence[str] = (), spellings: str = "", *, several: bool = False, separator: str = ""
) -> tuple[list[str], dict[str, str]]:
    """(names in the order of their numbers, {what the data write: name} where the two differ). Raises `Refusal` where a row has no label,
    there are too few or too many, near-equal spellings are not decided on, or a label has none of the given names.

    `several`: a row has any number of labels, as `label_sets.labels_in` reads them; those of a column each (a|b) in the columns' order.
    """
    if several and column not in table.columns and "|" in column:
        return list(given) or column.split("|"), {}
    if spellings not in ("", MERGE, APART):
        raise Refusal(
            "Labels of near-equal spelling are either merged or kept apart: write merge or apart, not '{spellings}'.", "spellings", spellings=spellings[:40]
        )
    found = _counted(table, column, several, separator)
    named, names = _given(found, given)
    groups: dict[str, list[str]] = {}
    for value in [*named, *(value for value in found if value not in named)]:
        groups.setdefault(cells.near(value), []).append(value)
    spelled = dict(named)
    for group in groups.values():
        decided = {named[value] for value in group if value in named}
        if len(group) > 1 and not (decided and all(value in named for value in group)):
            if not spellings:
                raise Refusal(_asked(column, group, found), "spellings")
            if spellings == MERGE:
                if len(decided) > 1:
                    raise Refusal(
                        "The label '{label}' could be {names}: give it a name of its own.",
                        "labels",
                        label=next(v for v in group if v not in named)[:60],
                        names=" or ".join(sorted(decided))[:120],
                    )
                name = decided.pop() if decided else max(group, key=lambda value: found[value])
                spelled.update({value: spelled.get(value, name) for value in group})
    unnamed = [value for value in found if value not in spelled]
    for value in [value for value in unnamed if given and spellings != APART]:
        like = [name for name in names if cells.near(name) == cells.near(value)]
        if like and not spellings:
            raise Refusal(_asked(column, [value, *like], found), "spellings")
        if len(like) == 1:
            spelled[value] = like[0]
            unnamed.remove(value)
    if given and unnamed:
        raise _unnamed(column, names, unnamed)
    names = names or _ordered({spelled.get(value, value) for value in found})
    _require_choice(names, column, SEVERAL if several else MANY)
    return names, {value: name for value, name in spelled.items() if value != name and value in found}


def _unnamed(column: str, names: Sequence[str], unnamed: Sequence[str]) -> Refusal:
    """Labels that have none of the given names."""
    if all(map(cells.is_number, unnamed)) and not all(map(cells.is_number, names)):
        return Refusal(
            "The column '{column}' holds the numbers {numbers}, and names are not given to numbers by their place: write {wanted}.",
            "labels",
            column=column,
            numbers=", ".join(_ordered(unnamed))[:120],
            wanted=", ".join(f"{value}=NAME" for value in _ordered(unnamed)[:4]),
        )
    return Refusal(
        "The column '{column}' has the label '{label}'; the labels are {labels}.", "labels", column=column, label=unnamed[0][:60], labels=", ".join(names)[:300]
    )


def _counted(table: Table, column: str, several: bool, separator: str) -> Counter[str]:
    """How many rows have each label."""
    found: Counter[str] = Counter()
    for split, number, row in table.numbered():
        try:
            found.update(labels_in(row, column, separator, number) if several else [sources.label(row, column, number)])
        except Refusal as problem:
            raise Refusal(table.placed(split, problem.sentence), "columns.label") from None
    return found


def _require_choice(names: Sequence[str], column: str, most: int) -> None:
    if not names:
        raise Refusal("The column '{column}' has no label in any row; two or more are needed.", "columns.label", column=column)
    if len(names) < 2:
        raise Refusal("The column '{column}' has only one label ('{label}'); two or more are needed.", "columns.label", column=column, label=names[0][:60])
    if len(names) > most:
        raise Refusal(
            "The column '{column}' has {count} different values; a class column has at most {most}.",
            "columns.label",
            column=column,
            count=len(names),
            most=most,
        )


def _asked(column: str, group: Sequence[str], found: Counter[str]) -> Message:
    listed = " / ".join(f"{value[:40]} ({found[value]})" for value in group[:6])
    return Message(
        "Labels in column '{column}' differ only in how they are written: {spellings}; say whether they are one class or several.",
        column=column,
        spellings=listed,
    )


def _given(found: Counter[str], given: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """({label of the data: its name}, the names in their order) of what was given: names, or label=name."""
    named: dict[str, str] = {}
    names: list[str] = []
    for one in given:
        one = one.strip()
        places = [place for place, letter in enumerate(one) if letter == "=" and one[:place].strip() in found]
        value, name = (one[: places[-1]].strip(), one[places[-1] + 1 :].strip()) if places and one not in found else (one, one)
        if not name:
            raise Refusal("'{text}' names nothing: write a label, or label=name.", "labels", text=one[:60])
        if value in named:
            raise Refusal("The label '{label}' is given twice.", "labels", label=value[:60])
        if value in found:
            named[value] = name
        if name not in names:
            names.append(name)
    return named, names


def _ordered(labels: Sequence[str] | set[str]) -> list[str]:
    """Numbers by value, then names."""
    return sorted(labels, key=lambda label: (0, float(label), label) if label.isascii() and cells.is_number(label) else (1, 0.0, label))
