"""Several labels for one text: every label is judged by itself, by a sigmoid and its own cross-entropy, so a row may have many, or none.

A row gives its labels as a list (["billing", "login"], also as the text of one in a cell of CSV), as one text with a separator that the task names
(`label_separator`: "billing;login"), or as a column of 0 and 1 for each label (`label: billing|login`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lab.design.body.architecture import Architecture
from lab.design.plain.refusal import Refusal
from lab.design.spec.families import Metric
from lab.design.spec.task import TaskSpec
from lab.tasks import sources
from lab.tasks.families.classification import Classification, readable
from lab.tasks.family import EvaluationLoop, Example, Setting, an
from lab.tasks.label_sets import labels_in
from lab.tasks.metrics import label_set_metrics

THRESHOLD = 0.5  # of a label's probability, from which it is given


class MultiLabel(Classification):
    """Text or pair → each label by itself."""

    name = "multi_label"
    title, zh = "Classification, several labels", "多标签分类"
    metrics = (Metric("f1_micro", fraction=True), Metric("f1_macro", fraction=True), Metric("subset_accuracy", fraction=True))
    prompt, worded, separated = "", False, True

    def objective(self, spec: TaskSpec, architecture: Architecture) -> str:
        if not architecture.classifier:
            raise Refusal("{name} has no head that gives labels; choose an encoder, a decoder, bart or t5.", "task", name=architecture.name)
        if spec.head == "likelihood":
            raise Refusal(
                "Several labels at once cannot be chosen among words: {kind} needs a head here; choose answer by auto.", "task.head", kind=an(architecture.kind)
            )
        return "multi_label"

    def format(self, row: sources.Row, spec: TaskSpec, number: int | None = None) -> Example:
        """ "label" is a list with 0 or 1 for every label of the task."""
        example = self._texts(row, spec, number)
        given = [spec.spellings.get(label, label) for label in labels_in(row, spec.column("label"), spec.label_separator, number)]
        unknown = next((label for label in given if label not in spec.labels), None)
        if unknown is not None:
            where = sources.row_named(number)
            raise Refusal(
                "{where} has the label '{label}' in column '{column}'; the labels are {labels}.",
                "task.labels",
                where=where,
                label=unknown[:60],
                column=spec.column("label"),
                labels=", ".join(spec.labels)[:300],
            )
        return {**example, "label": [int(label in given) for label in spec.labels]}

    def unread(self, spec: TaskSpec) -> Any:
        return spec.labels[0] if spec.label_separator else spec.labels[:1]

    def answer(self, row: sources.Row, spec: TaskSpec) -> Any:
        return sorted({spec.spellings.get(label, label) for label in labels_in(row, spec.column("label"), spec.label_separator)})

    def balance(self, examples: Sequence[Example], spec: TaskSpec) -> dict[str, int]:
        return {label: sum(example["label"][place] for example in examples) for place, label in enumerate(spec.labels)}

    def reads(self, example: Example, spec: TaskSpec) -> tuple[str, str]:
        return " ".join(example[role] for role in ("text", "text_pair") if example.get(role)), words(spec.labels, example["label"])  # a head gives them

    def evaluate(self, model: Any, rows: Any, setting: Setting, loop: EvaluationLoop) -> dict[str, float]:
        given, wanted, loss = self._sets(model, rows, setting, loop)
        loop.keep({"prediction": given, "reference": wanted})
        return {"loss": loss, **label_set_metrics(setting.spec.all_metrics, given, wanted, setting.labels)}

    def _sets(self, model: Any, rows: Any, setting: Setting, loop: EvaluationLoop) -> tuple[list[list[int]], list[list[int]], float]:
        """(what is given, what is right, each rows × labels of 0 and 1, the mean loss)."""
        from lab.tasks import scoring

        logits, loss = scoring.head_scores(model, rows, setting, loop)
        return (logits.sigmoid() >= THRESHOLD).int().tolist(), [rows[i]["labels"] for i in range(len(rows))], loss

    def predict(self, model: Any, rows: Any, setting: Setting, loop: EvaluationLoop) -> list[dict[str, Any]]:
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
