"""Classification and regression of one text or a pair: sentiment, and GLUE's nine sets (Wang et al. 2019, arXiv 1804.07461).

An encoder (or bart, mbart, t5) gets a new head. A decoder answers with words: the label whose word ("verbaliser") is the
likeliest after the prompt is its prediction, and training raises the likelihood of the right word.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lab.design.body.architecture import Architecture
from lab.design.plain.refusal import Note, Refusal
from lab.design.spec.families import Column, Metric
from lab.design.spec.objectives import OBJECTIVES
from lab.design.spec.task import TaskSpec
from lab.tasks import answered, cells, choices, sources
from lab.tasks.family import Choices, EvaluationLoop, Example, Family, Setting, an, frame
from lab.tasks.labelling import labels_of
from lab.tasks.metrics import label_metrics, number_metrics

if TYPE_CHECKING:
    from lab.tasks.tables import Table


TEXTS = (
    Column("text", "text", "文本"),
    Column("label", "label", "标签", answers=True, asks=False, named=False),
    Column("text_pair", "second text", "第二段文本", needed=False),
)
ACCURACY = Metric("accuracy", fraction=True)


class Classification(Family):
    """Text or pair → label."""

    name = "classification"
    title, zh = "Classification", "分类"
    columns = TEXTS
    metrics = (ACCURACY, Metric("f1", fraction=True), Metric("matthews", fraction=True))
    labelled = True
    prompt = "{text}\nLabel:"
    pair_prompt = "{text}\n{text_pair}\nLabel:"

    def objective(self, spec: TaskSpec, architecture: Architecture) -> str:
        if spec.head == "classifier" and not architecture.classifier:
            raise Refusal("{name} has no head that classifies: choose answer by likelihood.", "task.head", name=architecture.name)
        if architecture.kind == "decoder":
            return "classification" if spec.head == "classifier" else "causal"
        if spec.head == "likelihood":
            if architecture.kind == "encoder-decoder":
                return "seq2seq"
            raise Refusal("An encoder cannot answer with words: choose answer by classifier, or a decoder.", "task.head")
        if architecture.kind == "encoder-decoder" and not architecture.classifier:
            return "seq2seq"
        return "classification"

    def format(self, row: sources.Row, spec: TaskSpec, number: int | None = None) -> Example:
        return {**self._texts(row, spec, number), "label": self._label(row, spec, number)}

    def _texts(self, row: sources.Row, spec: TaskSpec, number: int | None) -> Example:
        """The text, and what it is compared with: "" in a row that has none, where other rows have one."""
        pair = {"text_pair": sources.words(row, spec.column("text_pair"), number)} if "text_pair" in spec.columns else {}
        return {"text": sources.text(row, spec.column("text"), number), **pair}

    def notes(self, rows: Sequence[sources.Row], examples: Sequence[Example], spec: TaskSpec) -> list[Note]:
        alone = sum(example.get("text_pair") == "" for example in examples)
        return (
            [Note("{count:,} rows have nothing in column '{column}': their text is read alone.", count=alone, column=spec.column("text_pair"))] if alone else []
        )

    def _label(self, row: sources.Row, spec: TaskSpec, number: int | None) -> int:
        """The number of a label that is given by name, by a spelling of it, or, where names are no numbers, by its place."""
        label, names = sources.label(row, spec.column("label"), number), spec.labels
        name = spec.spellings.get(label, label)
        if name in names:
            return names.index(name)
        if label.isdecimal() and len(label) < 6 and int(label) < len(names) and not spec.spellings and not any(map(cells.is_number, names)):
            return int(label)
        where = sources.row_named(number)
        raise Refusal(
            "{where} has the label '{label}' in column '{column}'; the labels are {labels}.",
            "task.labels",
            where=where,
            label=label[:60],
            column=spec.column("label"),
            labels=", ".join(names)[:300],
        )

    def answer(self, row: sources.Row, spec: TaskSpec) -> Any:
        return self._label(row, spec, None)

    def unread(self, spec: TaskSpec) -> Any:
        return spec.labels[0] if spec.labels else 0.0

    def settled(self, table: Table, columns: Mapping[str, str], choices: Choices) -> dict[str, Any]:
        if not self.labelled or "label" not in columns:
            return super().settled(table, columns, choices)
        several, separator = self.separated, choices.separator if self.separated else ""
        labels, spelled = labels_of(table, columns["label"], choices.labels, choices.spellings, several=several, separator=separator)
        return {"labels": labels, "spellings": spelled, "label_separator": separator}

    def labels(self, spec: TaskSpec, examples: Sequence[Example]) -> tuple[str, ...]:
        return tuple(spec.labels)

    def balance(self, examples: Sequence[Example], spec: TaskSpec) -> dict[str, int]:
        found = Counter(example["label"] for example in examples)
        return {label: found[place] for place, label in enumerate(spec.labels)}

    def encode(self, examples: Sequence[Example], setting: Setting, train: bool) -> list[dict[str, Any]]:
        if not OBJECTIVES[setting.objective].headed:
            words = list(setting.spec.verbalisers or setting.labels)
            prompts = [self._asked(example, setting.spec) for example in examples]
            return choices.encode(prompts, [words] * len(examples), [example["label"] for example in examples], setting, train)
        typed = getattr(setting.config, "type_vocab_size", 0) > 1
        rows: list[dict[str, Any]] = [{}] * len(examples)
        for paired in (False, True):
            places = [place for place, example in enumerate(examples) if bool(example.get("text_pair")) == paired]
            if not places:
                continue
            pairs = [examples[place]["text_pair"] for place in places] if paired else None
            tokens = setting.plain([examples[place]["text"] for place in places], pairs, truncation=True, max_length=setting.max_length)
            kinds = tokens.get("token_type_ids") if typed else None
            for i, place in enumerate(places):
                ids = tokens["input_ids"][i]
                row = {"input_ids": ids, "labels": examples[place]["label"], "length": len(ids)}
                rows[place] = {**row, "token_type_ids": kinds[i]} if kinds is not None else row
        return rows

    def _asked(self, example: Example, spec: TaskSpec) -> tuple[str, tuple[str, ...]]:
        """(the text that may be cut, the wording around it)."""
        template = spec.prompt or (self.pair_prompt if example.get("text_pair") else self.prompt)
        return example["text"], frame(template, example, "text")

    def reads(self, example: Example, spec: TaskSpec) -> tuple[str, str]:
        text, wording = self._asked(example, spec)
        return text.join(wording), f" {(spec.verbalisers or spec.labels)[example['label']]}"

    def passes(self, rows: Any, setting: Setting, device: str) -> float:
        return 1.0 if OBJECTIVES[setting.objective].headed else choices.passes(rows, setting)

    def evaluate(self, model: Any, rows: Any, setting: Setting, loop: EvaluationLoop) -> dict[str, float]:
        predictions, references, loss, scores = self._judge(model, rows, setting, loop)
        loop.keep(answered.labels(predictions, references, scores))
        return {"loss": loss, **label_metrics(setting.spec.all_metrics, predictions, references, len(setting.labels))}

    def _judge(self, model: Any, rows: Any, setting: Setting, loop: EvaluationLoop) -> tuple[list[int], list[int], float, list[list[float]]]:
        if not OBJECTIVES[setting.objective].headed:
            return choices.judge(model, rows, setting, loop)
        from lab.tasks import scoring

        logits, loss = scoring.head_scores(model, rows, setting, loop)
        return logits.argmax(1).tolist(), [rows[i]["labels"] for i in range(len(rows))], loss, logits.log_softmax(1).tolist()

    def predict(self, model: Any, rows: Any, setting: Setting, loop: EvaluationLoop) -> list[dict[str, Any]]:
        predictions, references, _, scores = self._judge(model, rows, setting, loop)
        return [
            {"input": readable(rows[i], setting), "prediction": setting.labels[chosen], "reference": setting.labels[right], "right": chosen == right,
             "probability": _share(scores[i], chosen)}
            for i, (chosen, right) in enumerate(zip(predictions, references, strict=True))
        ]  # fmt: skip

    def show(self, example: Example, spec: TaskSpec) -> dict[str, Any]:
        return {**example, "label": spec.labels[example["label"]]}


class Regression(Classification):
    """Text or pair → a number, as in STS-B."""

    name = "regression"
    title, zh = "Regression", "回归"
    metrics = (Metric("pearson", fraction=True), Metric("spearman", fraction=True))
    prompt, worded, labelled = "", False, False

    def objective(self, spec: TaskSpec, architecture: Architecture) -> str:
        if not architecture.classifier:
            raise Refusal("{name} has no head that gives a number; choose an encoder, a decoder, bart or t5.", "task", name=architecture.name)
        if spec.head == "likelihood":
            raise Refusal("A number cannot be chosen among words: {kind} needs a head here; choose answer by auto.", "task.head", kind=an(architecture.kind))
        return "regression"

    def _label(self, row: sources.Row, spec: TaskSpec, number: int | None) -> float:
        given = sources.value(row, spec.column("label"), number)
        try:
            found = float(given)
        except (TypeError, ValueError, OverflowError):
            found = float("nan")
        if found != found or abs(found) == float("inf"):
            where = sources.row_named(number)
            raise Refusal(
                "{where} has '{given}' in column '{column}', which is no finite number.",
                "task.columns",
                where=where,
                given=str(given)[:60],
                column=spec.column("label"),
            )
        return found

    def labels(self, spec: TaskSpec, examples: Sequence[Example]) -> tuple[str, ...]:
        return ()

    def balance(self, examples: Sequence[Example], spec: TaskSpec) -> dict[str, int]:
        return {}

    def reads(self, example: Example, spec: TaskSpec) -> tuple[str, str]:
        return " ".join(example[role] for role in ("text", "text_pair") if example.get(role)), str(example["label"])  # a head gives the number

    def evaluate(self, model: Any, rows: Any, setting: Setting, loop: EvaluationLoop) -> dict[str, float]:
        predictions, references, loss = self._numbers(model, rows, setting, loop)
        loop.keep({"prediction": predictions, "reference": references})
        return {"loss": loss, **number_metrics(setting.spec.all_metrics, predictions, references)}

    def _numbers(self, model: Any, rows: Any, setting: Setting, loop: EvaluationLoop) -> tuple[list[float], list[float], float]:
        from lab.tasks import scoring

        logits, loss = scoring.head_scores(model, rows, setting, loop)
        return logits[:, 0].tolist(), [float(rows[i]["labels"]) for i in range(len(rows))], loss

    def predict(self, model: Any, rows: Any, setting: Setting, loop: EvaluationLoop) -> list[dict[str, Any]]:
        predictions, references, _ = self._numbers(model, rows, setting, loop)
        return [
            {"input": readable(rows[i], setting), "prediction": round(given, 3), "reference": right}
            for i, (given, right) in enumerate(zip(predictions, references, strict=True))
        ]

    def show(self, example: Example, spec: TaskSpec) -> dict[str, Any]:
        return dict(example)


def readable(row: dict[str, Any], setting: Setting) -> str:
    """What a model read, as text."""
    ids = row["input_ids"][: row["prompt_length"]] if "prompt_length" in row else row["input_ids"]
    return setting.tokenizer.decode(ids, skip_special_tokens=True).strip()


def _share(scores: list[float], chosen: int) -> float:
    import math

    return 1 / sum(math.exp(min(50.0, score - scores[chosen])) for score in scores)
