"""Several labels for one text: every label is judged by itself, by a sigmoid and its own cross-entropy, so a row may have many, or none.

A row gives its labels as a list (["billing", "login"], also as the text of one in a cell of CSV), as one text with a separator that the task names
(`label_separator`: "billing;login"), or as a column of 0 and 1 for each label (`label: billing|login`).
"""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping, Sequence
from typing import Any

from lab.design.refusal import Refusal
from lab.design.task import TaskSpec
from lab.tasks import cells, sources
from lab.tasks.classification import WITH_HEAD, Classification, readable
from lab.tasks.family import Example, Loop, Setting, an
from lab.tasks.metrics import label_set_metrics

THRESHOLD = 0.5  # of a label's probability, from which it is given
FLAGS = {"1": True, "1.0": True, "true": True, "0": False, "0.0": False, "false": False}


class MultiLabel(Classification):
    """Text or pair → each label by itself."""

    name = "multi_label"

    def objective(self, spec: TaskSpec, kind: str, model_type: str) -> str:
        if kind == "encoder-decoder" and model_type not in WITH_HEAD:
            raise Refusal(f"{model_type} has no head that gives labels; choose an encoder, a decoder, bart or t5.", "task")
        if spec.head == "likelihood":
            raise Refusal(f"Several labels at once cannot be chosen among words: {an(kind)} needs a head here; choose answer by auto.", "task.head")
        return "multi_label"

    def format(self, row: sources.Row, spec: TaskSpec, number: int | None = None) -> Example:
        """"label" is a list with 0 or 1 for every label of the task."""
        example = self._texts(row, spec, number)
        given = [spec.spellings.get(label, label) for label in labels_in(row, spec.column("label"), spec.label_separator, number)]
        unknown = next((label for label in given if label not in spec.labels), None)
        if unknown is not None:
            where = f"Row {number}" if number is not None else "A row"
            raise Refusal(f"{where} has the label '{unknown[:60]}' in column '{spec.column('label')}'; the labels are {', '.join(spec.labels)[:300]}.", "task.labels")
        return {**example, "label": [int(label in given) for label in spec.labels]}

    def answer(self, row: sources.Row, spec: TaskSpec) -> Any:
        return sorted({spec.spellings.get(label, label) for label in labels_in(row, spec.column("label"), spec.label_separator)})

    def balance(self, examples: Sequence[Example], spec: TaskSpec) -> dict[str, int]:
        return {label: sum(example["label"][place] for example in examples) for place, label in enumerate(spec.labels)}

    def reads(self, example: Example, spec: TaskSpec) -> tuple[str, str]:
        return " ".join(example[role] for role in ("text", "text_pair") if example.get(role)), words(spec.labels, example["label"])  # a head gives them

    def evaluate(self, model: Any, rows: Any, setting: Setting, loop: Loop) -> dict[str, float]:
        given, wanted, loss = self._sets(model, rows, setting, loop)
        return {"loss": loss, **label_set_metrics(setting.spec.all_metrics, given, wanted, setting.labels)}

    def _sets(self, model: Any, rows: Any, setting: Setting, loop: Loop) -> tuple[list[list[int]], list[list[int]], float]:
        """(what is given, what is right, each rows × labels of 0 and 1, the mean loss)."""
        from lab.tasks import scoring

        logits, loss = scoring.head_scores(model, rows, setting, loop)
        return (logits.sigmoid() >= THRESHOLD).int().tolist(), [rows[i]["labels"] for i in range(len(rows))], loss

    def predict(self, model: Any, rows: Any, setting: Setting, loop: Loop) -> list[dict[str, Any]]:
        given, wanted, _ = self._sets(model, rows, setting, loop)
        return [
            {"input": readable(rows[i], setting), "prediction": words(setting.labels, mine), "reference": words(setting.labels, right), "right": mine == right}
            for i, (mine, right) in enumerate(zip(given, wanted, strict=True))
        ]

    def show(self, example: Example, spec: TaskSpec) -> dict[str, Any]:
        return {**example, "label": words(spec.labels, example["label"])}


def words(labels: Sequence[str], flags: Sequence[int]) -> str:
    """The labels of a row as a person reads them; ∅ where it has none."""
    return ", ".join(label for label, flag in zip(labels, flags, strict=True) if flag) or "∅"


def labels_in(row: Mapping[str, Any], column: str, separator: str = "", number: int | None = None) -> list[str]:
    """The labels that a row has, each once. Raises `Refusal` that names row and column for what is no set of labels.

    A row without any says so: an empty list, zeros, or with a separator an empty cell.
    """
    if column not in row and "|" in column:
        return [part for part in column.split("|") if _flag(sources.value(row, part, number), part, number)]
    found = sources.value(row, column, number)
    where = f"Row {number}" if number is not None else "A row"
    if separator:
        if isinstance(found, (list, tuple, dict)):
            raise Refusal(f"{where} has a list in column '{column}', where a text with '{separator}' between its labels should be: leave the separator empty.", "task.columns")
        parts = [found] if not isinstance(found, str) else [] if cells.missing(found) else [part for part in found.split(separator) if part.strip()]
        return list(dict.fromkeys(sources.as_label(part, column, number) for part in parts if not cells.missing(part)))
    listed = as_list(found)
    if listed is None:
        shown = "nothing" if cells.missing(found) else f"'{str(found)[:60]}'"
        raise Refusal(f"{where} has {shown} in column '{column}', which is no list of labels: write [] for none, or name the separator between them.", "task.columns")
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
        where = f"Row {number}" if number is not None else "A row"
        shown = "nothing" if cells.missing(value) else f"'{str(value)[:60]}'"
        raise Refusal(f"{where} has {shown} in column '{column}'; a column that stands for one label holds 0 or 1.", "task.columns.label")
    return flag
