"""Commonsense questions with options: the eight sets of Commonsense170K (arXiv 2304.01933), scored by option likelihood.

An option's score is its mean log-likelihood per token after the question. `options` is a column with a list, several columns
joined by '|' (sol1|sol2), or absent where the spec's verbalisers are the options of every row (yes, no). `answer` is the
option's place, given as one of the spec's `labels` (in order), as one of a `label` list beside the options, or as a number.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lab.design.plain.refusal import Refusal
from lab.design.spec.families import Column
from lab.design.spec.task import TaskSpec
from lab.tasks import choices, sources
from lab.tasks.families.classification import ACCURACY, readable
from lab.tasks.family import Example, Family, Loop, Setting, fill, frame
from lab.tasks.metrics import label_metrics


class Commonsense(Family):
    """question, options → the right option."""

    name = "commonsense"
    title, zh = "Commonsense", "常识推理"
    columns = (Column("question", "question", "问题"), Column("answer", "answer", "答案", answers=True, asks=False, named=False),
               Column("options", "options", "选项", needed=False, asks=False))  # fmt: skip
    metrics = (ACCURACY,)
    prompt = "{question}\nAnswer:"

    def objective(self, spec: TaskSpec, kind: str, model_type: str) -> str:
        if kind == "encoder":
            raise Refusal("Options are compared by their likelihood, which an encoder does not give: choose a decoder or an encoder-decoder.", "task")
        return "seq2seq" if kind == "encoder-decoder" else "causal"

    def format(self, row: sources.Row, spec: TaskSpec, number: int | None = None) -> Example:
        options = self._options(row, spec, number)
        return {
            "question": sources.text(row, spec.column("question"), number),
            "options": options,
            "answer": self._place(row, spec, len(options), number),
        }

    def _options(self, row: sources.Row, spec: TaskSpec, number: int | None) -> list[str]:
        column = spec.column("options")
        if "options" not in spec.columns and spec.verbalisers:
            found: Any = spec.verbalisers
        elif "|" in column and column not in row:
            found = [sources.value(row, part, number) for part in column.split("|")]
        else:
            found = sources.value(row, column, number)
        if not isinstance(found, (list, tuple)) or len(found) < 2:
            where = f"Row {number}" if number is not None else "A row"
            raise Refusal(f"{where} has no two options in column '{column}'.", "task.columns")
        options = [sources.as_words(option, column, number) for option in found]
        if not all(options):
            raise Refusal(f"{f'Row {number}' if number is not None else 'A row'} has an empty option in column '{column}'.", "task.columns")
        return options

    def _place(self, row: sources.Row, spec: TaskSpec, count: int, number: int | None) -> int:
        given = sources.label(row, spec.column("answer"), number)
        labels = list(spec.labels)
        column = spec.column("options")
        if not labels and column.endswith(".text"):  # ARC and OpenBookQA: choices.text beside choices.label
            beside = column.removesuffix(".text") + ".label"
            labels = [sources.as_words(label, beside, number) for label in sources.value(row, beside, number) or ()]
        place = labels.index(given) if given in labels else int(given) if not labels and given.isdecimal() and len(given) < 9 else -1
        if not 0 <= place < count:
            where = f"Row {number}" if number is not None else "A row"
            raise Refusal(f"{where} has '{given[:60]}' in column '{spec.column('answer')}', which names none of its {count} options.", "task.columns")
        return place

    def typed(self, text: str, pair: str, spec: TaskSpec) -> sources.Row | None:
        raise Refusal("A task that chooses among options cannot be tried with a text alone.", "run")

    def key(self, row: sources.Row, spec: TaskSpec) -> str:
        """The question and its options: the same question with other options is another one."""
        return "\x1f".join((super().key(row, spec), *self._options(row, spec, None)))

    def encode(self, examples: Sequence[Example], setting: Setting, train: bool) -> list[dict[str, Any]]:
        wording = frame(setting.spec.prompt or self.prompt, {}, "question")
        prompts = [(example["question"], wording) for example in examples]
        return choices.encode(prompts, [e["options"] for e in examples], [e["answer"] for e in examples], setting, train)

    def reads(self, example: Example, spec: TaskSpec) -> tuple[str, str]:
        return fill(spec.prompt or self.prompt, {"question": example["question"]}), f" {example['options'][example['answer']]}"

    def evaluate(self, model: Any, rows: Any, setting: Setting, loop: Loop) -> dict[str, float]:
        chosen, right, loss, _ = choices.judge(model, rows, setting, loop)
        return {"loss": loss, **label_metrics(("accuracy",), chosen, right)}

    def predict(self, model: Any, rows: Any, setting: Setting, loop: Loop) -> list[dict[str, Any]]:
        chosen, right, _, scores = choices.judge(model, rows, setting, loop)
        read = setting.tokenizer.decode
        return [
            {"input": readable(row, setting), "prediction": read(row["options"][mine]).strip(), "reference": read(row["options"][theirs]).strip(),
             "right": mine == theirs, "scores": [round(score, 3) for score in each]}
            for row, mine, theirs, each in zip((rows[i] for i in range(len(rows))), chosen, right, scores, strict=True)
        ]  # fmt: skip

    def show(self, example: Example, spec: TaskSpec) -> dict[str, Any]:
        return {**example, "answer": example["options"][example["answer"]]}
