"""Commonsense questions with options: the eight sets of Commonsense170K (arXiv 2304.01933), scored by option likelihood.

An option's score is its mean log-likelihood per token after the question. `options` is a column with a list, several columns
joined by '|' (sol1|sol2), a list as text, or absent where the spec's verbalisers are the options of every row (yes, no). `answer`
is the right option: one of the spec's `labels` (in order), one of a `label` list beside the options, its text, or its place as a
number from 0 or a capital letter. An answer that may mean two options is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lab.design.body.architecture import Architecture
from lab.design.plain.refusal import Refusal
from lab.design.spec.families import Column
from lab.design.spec.task import TaskSpec
from lab.tasks import answered, cells, choices, sources
from lab.tasks.families.classification import ACCURACY, readable
from lab.tasks.family import EvaluationLoop, Example, Family, Setting, fill, frame
from lab.tasks.label_sets import as_list
from lab.tasks.metrics import label_metrics


class Commonsense(Family):
    """question, options → the right option."""

    name = "commonsense"
    title, zh = "Commonsense", "常识推理"
    columns = (Column("question", "question", "问题"), Column("answer", "answer", "答案", answers=True, asks=False, named=False),
               Column("options", "options", "选项", needed=False, asks=False))  # fmt: skip
    metrics = (ACCURACY,)
    prompt = "{question}\nAnswer:"

    def objective(self, spec: TaskSpec, architecture: Architecture) -> str:
        if architecture.kind == "encoder":
            raise Refusal("Options are compared by their likelihood, which an encoder does not give: choose a decoder or an encoder-decoder.", "task")
        return "seq2seq" if architecture.kind == "encoder-decoder" else "causal"

    def format(self, row: sources.Row, spec: TaskSpec, number: int | None = None) -> Example:
        options = self._options(row, spec, number)
        return {
            "question": sources.text(row, spec.column("question"), number),
            "options": options,
            "answer": self._place(row, spec, options, number),
        }

    def _options(self, row: sources.Row, spec: TaskSpec, number: int | None) -> list[str]:
        column = spec.column("options")
        if "options" not in spec.columns and spec.verbalisers:
            found: Any = spec.verbalisers
        elif "|" in column and column not in row:
            found = [sources.value(row, part, number) for part in column.split("|")]
        else:
            found = sources.value(row, column, number)
        found = as_list(found)
        if found is None or len(found) < 2:
            where = sources.row_named(number)
            raise Refusal("{where} has no two options in column '{column}'.", "task.columns", where=where, column=column)
        options = [sources.as_words(option, column, number) for option in found]
        if not all(options):
            raise Refusal("{where} has an empty option in column '{column}'.", "task.columns", where=sources.row_named(number), column=column)
        return options

    def _place(self, row: sources.Row, spec: TaskSpec, options: Sequence[str], number: int | None) -> int:
        """Which option the answer is: by a label of the spec or the row, else by its text, else by its place, a number from 0 or a capital letter."""
        found = sources.value(row, spec.column("answer"), number)
        given = (
            sources.words(row, spec.column("answer"), number).strip()
            if isinstance(found, str) and not cells.missing(found)
            else sources.label(row, spec.column("answer"), number)
        )
        labels = list(spec.labels)
        column = spec.column("options")
        if not labels and column.endswith(".text"):  # ARC and OpenBookQA: choices.text beside choices.label
            beside = column.removesuffix(".text") + ".label"
            labels = [sources.as_words(label, beside, number) for label in sources.value(row, beside, number) or ()]
        if given in labels[: len(options)]:
            return labels.index(given)
        where = sources.row_named(number)
        meant = {place for place, option in enumerate(options) if option.strip() == given}
        if len(meant) > 1:
            raise Refusal(
                "{where} has the option '{given}' twice, and it is the answer: say which is meant by its place, or leave the row out.",
                "task.columns",
                where=where,
                given=given[:60],
            )
        if not labels:
            meant |= {place for place in (_number(given), _letter(given)) if place is not None and place < len(options)}
        if not meant:
            raise Refusal(
                "{where} has '{given}' in column '{column}', which names none of its {count} options.",
                "task.columns",
                where=where,
                given=given[:60],
                column=spec.column("answer"),
                count=len(options),
            )
        if len(meant) > 1:
            raise Refusal("{where} has '{given}' in column '{column}', which is the text of one option and the place of another: write the text of the right option, or places that no option is written like.", "task.columns", where=where, given=given[:60], column=spec.column('answer'))  # fmt: skip
        return meant.pop()

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

    def passes(self, rows: Any, setting: Setting, device: str) -> float:
        return choices.passes(rows, setting)

    def evaluate(self, model: Any, rows: Any, setting: Setting, loop: EvaluationLoop) -> dict[str, float]:
        chosen, right, loss, scores = choices.judge(model, rows, setting, loop)
        loop.keep(answered.labels(chosen, right, scores))
        return {"loss": loss, **label_metrics(("accuracy",), chosen, right)}

    def predict(self, model: Any, rows: Any, setting: Setting, loop: EvaluationLoop) -> list[dict[str, Any]]:
        chosen, right, _, scores = choices.judge(model, rows, setting, loop)
        read = setting.tokenizer.decode
        return [
            {"input": readable(row, setting), "prediction": read(row["options"][mine]).strip(), "reference": read(row["options"][theirs]).strip(),
             "right": mine == theirs, "scores": [round(score, 3) for score in each]}
            for row, mine, theirs, each in zip((rows[i] for i in range(len(rows))), chosen, right, scores, strict=True)
        ]  # fmt: skip

    def show(self, example: Example, spec: TaskSpec) -> dict[str, Any]:
        return {**example, "answer": example["options"][example["answer"]]}


def _number(given: str) -> int | None:
    return int(given) if given.isdecimal() and len(given) < 9 else None


def _letter(given: str) -> int | None:
    return ord(given) - ord("A") if len(given) == 1 and "A" <= given <= "Z" else None
