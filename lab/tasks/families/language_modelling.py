"""Causal language modelling: WikiText-2, technical prose, or any text. Perplexity per token.

Texts are joined with an empty line between them, as is usual for WikiText-2, and cut into blocks of the longest input; the
first token of a block is context only, so b tokens give b - 1 predictions. The empty line is tokenised with the text after it, as it would be in one
long text (byte-level tokenizers read "\\n\\n" at an end differently; SmolLM2's perplexity is 24.3 that way and 20.6 this way).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lab.design.body.architecture import Architecture
from lab.design.plain.refusal import Refusal
from lab.design.spec.families import Column
from lab.design.spec.task import TaskSpec
from lab.tasks import sources
from lab.tasks.families.writing import PERPLEXITY
from lab.tasks.family import EvaluationLoop, Example, Family, Setting, an
from lab.tasks.metrics import perplexity
from lab.tasks.prompting import answers


class LanguageModelling(Family):
    """text → its own next token."""

    name = "language_modelling"
    title, zh = "Language modelling", "语言建模"
    columns = (Column("text", "text", "文本"),)
    metrics = (PERPLEXITY,)
    joins = True
    version = 4

    def objective(self, spec: TaskSpec, architecture: Architecture) -> str:
        if architecture.kind != "decoder":
            raise Refusal(
                "Language modelling needs a decoder such as smollm2-135m or gpt2; {name} is {kind}.", "task", name=architecture.name, kind=an(architecture.kind)
            )
        return "causal"

    def format(self, row: sources.Row, spec: TaskSpec, number: int | None = None) -> Example:
        found = sources.value(row, spec.column("text"), number)
        blank = isinstance(found, str) and not found.strip()  # empty lines are part of WikiText
        return {"text": "" if blank else sources.text(row, spec.column("text"), number)}

    def typed(self, text: str, pair: str, spec: TaskSpec) -> sources.Row | None:
        return None

    def encode(self, examples: Sequence[Example], setting: Setting, train: bool) -> list[dict[str, Any]]:
        texts = [example["text"] for example in examples if example["text"]]
        stream = [token for ids in answers(["\n\n" * bool(i) + text for i, text in enumerate(texts)], setting) for token in ids]
        blocks = [stream[start : start + setting.max_length] for start in range(0, len(stream), setting.max_length)]
        return [{"input_ids": block, "labels": block, "length": len(block)} for block in blocks if len(block) > 1]

    def evaluate(self, model: Any, rows: Any, setting: Setting, loop: EvaluationLoop) -> dict[str, float]:
        from lab.tasks import scoring

        loss, _ = scoring.token_loss(model, rows, setting, loop)
        return {"loss": loss, "perplexity": perplexity(loss)}

    def predict(self, model: Any, rows: Any, setting: Setting, loop: EvaluationLoop) -> list[dict[str, Any]]:
        """The second half of a block as the model continues its first half, greedily, 40 tokens at most."""
        from lab.tasks import scoring

        halves = [{**rows[i], "prompt_length": max(1, len(rows[i]["input_ids"]) // 2)} for i in range(len(rows))]
        short = setting.spec.generation.model_copy(update={"max_length": min(40, setting.spec.generation.max_length), "min_length": 0})
        brief = Setting(**{**vars(setting), "spec": setting.spec.model_copy(update={"generation": short})})
        texts = scoring.generate(model, halves, brief, loop)
        read = setting.tokenizer.decode
        return [
            {"input": read(row["input_ids"][: row["prompt_length"]]), "prediction": text,
             "reference": read(row["input_ids"][row["prompt_length"] : row["prompt_length"] + 40])}
            for row, text in zip(halves, texts, strict=True)
        ]  # fmt: skip
