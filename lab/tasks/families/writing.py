"""Tasks whose answer is written: summarization, translation, math, instructions share how text becomes tokens and is judged."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lab.design.body.architecture import Architecture
from lab.design.plain.refusal import Refusal
from lab.design.spec.families import Column, Metric
from lab.design.spec.objectives import IGNORED
from lab.design.spec.task import TaskSpec
from lab.tasks import sources
from lab.tasks.families.classification import readable
from lab.tasks.family import EvaluationLoop, Example, Family, Setting, fill, frame
from lab.tasks.metrics import perplexity, text_metrics
from lab.tasks.prompting import answers, cut, encode_prompts

ROUGES = (Metric("rouge1"), Metric("rouge2"), Metric("rougeL"))
WRITING = {"cpu": 4.0}  # a token that is written against one that is read: a step goes through all weights for one token of each row,
ACCELERATED = 16.0  # which leaves an accelerator waiting; of a CPU measured (3 to 6), of these reckoned
CHRF, PERPLEXITY = Metric("chrf"), Metric("perplexity", greater=False)


class Writing(Family):
    """source → target. Encoder-decoders read the source; decoders read a prompt, with the loss on the answer only."""

    columns = (Column("source", "source", "源文本"), Column("target", "target", "目标文本", answers=True, asks=False, named=False))
    several = True
    one_line = False  # a decoder's answer ends with its first line
    verb = "write"

    def objective(self, spec: TaskSpec, architecture: Architecture) -> str:
        if architecture.kind == "encoder":
            raise Refusal("An encoder cannot {verb}: choose an encoder-decoder such as bart-large, or a decoder such as smollm2-135m.", "task", verb=self.verb)
        return "seq2seq" if architecture.kind == "encoder-decoder" else "causal"

    def format(self, row: sources.Row, spec: TaskSpec, number: int | None = None) -> Example:
        return {role: sources.text(row, spec.column(role), number) for role in ("source", "target")}

    def encode(self, examples: Sequence[Example], setting: Setting, train: bool) -> list[dict[str, Any]]:
        if not examples:
            return []
        return self._decoder_rows(examples, setting, train) if setting.decoder else self._seq2seq_rows(examples, setting, train)

    def _seq2seq_rows(self, examples: Sequence[Example], setting: Setting, train: bool) -> list[dict[str, Any]]:
        spec, tokenizer = setting.spec, setting.plain
        prefix = spec.prefix if setting.architecture.task_prefix else ""
        inputs = tokenizer([prefix + example["source"] for example in examples], truncation=True, max_length=setting.max_length)["input_ids"]
        limit = min(spec.target_length, setting.positions)
        targets = tokenizer(text_target=[example["target"] for example in examples], truncation=True, max_length=limit)["input_ids"]
        rows = [
            {"input_ids": ids, "labels": labels, "length": len(ids), "target_length": len(labels)}
            for ids, labels in zip(inputs, targets, strict=True)
        ]  # fmt: skip
        return rows if train else [{**row, "reference": example["target"]} for row, example in zip(rows, examples, strict=True)]

    def _decoder_rows(self, examples: Sequence[Example], setting: Setting, train: bool) -> list[dict[str, Any]]:
        spec = setting.spec
        room = min(spec.target_length, max(1, setting.max_length // 2))
        template = spec.prompt or self.prompt
        wording = frame(template, {}, "source")
        prompts = encode_prompts([cut(example["source"], wording, setting, room) for example in examples], setting)
        targets = answers([" " + example["target"] for example in examples], setting, end=True)
        return [answer_row(*each, setting, train) for each in zip(prompts, targets, [e["target"] for e in examples], strict=True)]

    def reads(self, example: Example, spec: TaskSpec) -> tuple[str, str]:
        return fill(spec.prompt or self.prompt, {"source": example["source"]}), f" {example['target']}"

    def passes(self, rows: Any, setting: Setting, device: str) -> float:
        """One for the loss; where metrics read what is written, also the source and, for every beam, as many tokens as an answer may have, each a step of its own."""
        if not _written(setting.spec):
            return 1.0
        options, several = setting.spec.generation, [rows[index] for index in range(len(rows))]
        read = sum(row.get("prompt_length", row["length"]) for row in several)
        whole = sum(row["length"] + row.get("target_length", 0) for row in several)
        return 1.0 + (read + WRITING.get(device, ACCELERATED) * options.beams * min(options.max_length, setting.positions) * len(several)) / max(1, whole)

    def evaluate(self, model: Any, rows: Any, setting: Setting, loop: EvaluationLoop) -> dict[str, float]:
        from lab.tasks import scoring

        loss, _ = scoring.token_loss(model, rows, setting, loop)
        names, written = setting.spec.all_metrics, _written(setting.spec)
        result = {"loss": loss}
        if written:
            references = [rows[i]["reference"] for i in range(len(rows))]
            result |= text_metrics(written, self.answers(model, rows, setting, loop), references, loop.keep)
        return {**result, "perplexity": perplexity(loss)} if "perplexity" in names else result

    def answers(self, model: Any, rows: Any, setting: Setting, loop: EvaluationLoop) -> list[str]:
        """The generated text of each row."""
        from lab.tasks import scoring

        texts = scoring.generate(model, rows, setting, loop)
        return [text.split("\n", 1)[0].strip() for text in texts] if self.one_line and setting.decoder else texts

    def predict(self, model: Any, rows: Any, setting: Setting, loop: EvaluationLoop) -> list[dict[str, Any]]:
        texts = self.answers(model, rows, setting, loop)
        return [{"input": readable(rows[i], setting), "prediction": text, "reference": rows[i]["reference"]} for i, text in enumerate(texts)]


def _written(spec: TaskSpec) -> list[str]:
    """The metrics that need an answer written."""
    return [name for name in spec.all_metrics if name not in ("perplexity", "loss")]


def answer_row(prompt: list[int], target: list[int], reference: str, setting: Setting, train: bool) -> dict[str, Any]:
    """A decoder's row: prompt and answer in one, labels on the answer alone, cut to the longest input."""
    prompt = prompt[-max(1, setting.max_length - 1) :]
    target = target[: max(1, setting.max_length - len(prompt))]
    ids = prompt + target
    row = {"input_ids": ids, "labels": [IGNORED] * len(prompt) + target, "length": len(ids), "prompt_length": len(prompt)}
    return row if train else {**row, "reference": reference}
