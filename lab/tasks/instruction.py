"""Instruction following: a conversation in the model's chat format (or Alpaca's, where it has none), loss on the answer only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lab.design.refusal import Refusal
from lab.design.task import TaskSpec
from lab.tasks import sources
from lab.tasks.control import chat_ids
from lab.tasks.family import Example, Setting, fill
from lab.tasks.prompting import answers, encode_prompts
from lab.tasks.writing import Writing, answer_row

ALPACA = "### Instruction:\n{instruction}\n\n### Response:\n"


class Instruction(Writing):
    """messages [{"role", "content"}, ...] or instruction (+ input) → output. The last assistant turn is what is learned."""

    name = "instruction"
    prompt = "{instruction}"
    verb = "answer an instruction"

    def format(self, row: sources.Row, spec: TaskSpec, number: int | None = None) -> Example:
        if "messages" in spec.columns:
            return self._conversation(sources.value(row, spec.column("messages"), number), spec, number)
        example = {"instruction": sources.text(row, spec.column("instruction"), number), "input": ""}
        if "input" in spec.columns:
            example["input"] = sources.words(row, spec.column("input"), number)
        asked = fill(spec.prompt or self.prompt, example)
        if example["input"] and "{input}" not in spec.prompt:
            asked = f"{asked}\n\n{example['input']}"
        return {"messages": [{"role": "user", "content": asked}], "target": sources.text(row, spec.column("output"), number)}

    def _conversation(self, messages: Any, spec: TaskSpec, number: int | None) -> Example:
        where = f"Row {number}" if number is not None else "A row"
        turns = [(turn.get("role"), turn.get("content")) for turn in messages if isinstance(turn, dict)] if isinstance(messages, list) else []
        good = all(role in ("system", "user", "assistant") and isinstance(content, str) for role, content in turns)
        if len(turns) < 2 or not good or turns[-1][0] != "assistant":
            raise Refusal(f"{where} of '{spec.column('messages')}' is no conversation: give a list of role and content that ends with the assistant.", "task.columns")
        return {"messages": [{"role": role, "content": content} for role, content in turns[:-1]], "target": turns[-1][1]}

    def reads(self, example: Example, spec: TaskSpec) -> tuple[str, str]:
        return "\n".join(f"{turn['role']}: {turn['content']}" for turn in example["messages"]), example["target"]

    def asked(self, row: sources.Row, spec: TaskSpec) -> dict[str, str]:
        """The instruction, its input below it; of a conversation the last turn of the user."""
        if "messages" in spec.columns:
            turns = self.format(row, spec)["messages"]
            return {"text": next((turn["content"] for turn in reversed(turns) if turn["role"] == "user"), "")}
        parts = [sources.words(row, spec.column(role)) for role in ("instruction", "input") if role == "instruction" or role in spec.columns]
        return {"text": "\n\n".join(filter(None, parts))}

    def key(self, row: sources.Row, spec: TaskSpec) -> str:
        if "messages" in spec.columns:
            return str(sources.value(row, spec.column("messages")))
        return "\x1f".join(sources.words(row, spec.column(role)) for role in ("instruction", "input") if role in spec.columns or role == "instruction")

    def answer(self, row: sources.Row, spec: TaskSpec) -> Any:
        return "" if "messages" in spec.columns else sources.words(row, spec.column("output"))

    def encode(self, examples: Sequence[Example], setting: Setting, train: bool) -> list[dict[str, Any]]:
        if not setting.decoder:
            plain = [{"source": "\n\n".join(turn["content"] for turn in e["messages"]), "target": e["target"]} for e in examples]
            return super().encode(plain, setting, train)
        targets = answers([example["target"] for example in examples], setting, end=True)
        if setting.tokenizer.chat_template:
            prompts = [chat_ids(setting.tokenizer, e["messages"], add_generation_prompt=True) for e in examples]
        else:
            texts = [fill(ALPACA, {"instruction": "\n\n".join(turn["content"] for turn in e["messages"])}) for e in examples]
            prompts = encode_prompts(texts, setting)
        return [answer_row(*each, setting, train) for each in zip(prompts, targets, [e["target"] for e in examples], strict=True)]
