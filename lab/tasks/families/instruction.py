"""Instruction following: a conversation in the model's chat format (or Alpaca's, where it has none), loss on the answers only."""

from __future__ import annotations

import bisect
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lab.design.plain.message import Message
from lab.design.plain.options import validate
from lab.design.plain.refusal import Note, Refusal
from lab.design.spec.families import Column
from lab.design.spec.objectives import IGNORED, OBJECTIVES
from lab.design.spec.task import TaskSpec, Turns
from lab.tasks import chats, sources
from lab.tasks.control import chat_tokens
from lab.tasks.families.writing import PERPLEXITY, ROUGES, Writing
from lab.tasks.family import Choices, Example, Setting
from lab.tasks.guessing import refuse_preferences
from lab.tasks.prompting import clip
from lab.tasks.templates import Refused, Template

if TYPE_CHECKING:
    from lab.tasks.tables import Table

PAIRED = ("instruction", "input", "output", "history")  # columns that make a conversation together
CLIPS = 8  # times that the longest turn of a too long conversation is cut


class Instruction(Writing):
    """messages, or instruction (+ input, history, system) → output; see `lab.tasks.chats`. `loss_on`: every answer is learned, or the last alone."""

    name = "instruction"
    title, zh = "Instruction following", "指令跟随"
    columns = (
        Column("messages", "messages", "对话", needed=False, named=False), Column("instruction", "instruction", "指令", needed=False),
        Column("input", "input", "输入", needed=False), Column("output", "output", "输出", needed=False, answers=True, asks=False, named=False),
        Column("system", "system", "系统提示", needed=False, named=False), Column("history", "earlier rounds", "历史轮次", needed=False, named=False),
        Column("tools", "tools", "工具", needed=False, named=False),
    )  # fmt: skip
    metrics = (PERPLEXITY, ROUGES[2])
    version = 3
    prompt = "{instruction}"
    verb = "answer an instruction"
    conversations = True

    def format(self, row: sources.Row, spec: TaskSpec, number: int | None = None) -> Example:
        """{"messages": turns, the last of them an answer, "tools", "row": its number, "after": how many turns after it are left out}."""
        turns, tools, after = chats.whole(row, spec, number)
        return {"messages": turns, "tools": tools, "row": number, "after": after}

    def reads(self, example: Example, spec: TaskSpec) -> tuple[str, str]:
        *turns, last = example["messages"]
        return "\n".join(f"{turn['role']}: {chats.plain(turn)}" for turn in turns), chats.plain(last)

    def show(self, example: Example, spec: TaskSpec) -> dict[str, Any]:
        *turns, last = example["messages"]
        messages = [{"role": turn["role"], "content": chats.plain(turn)} for turn in turns]
        return {"messages": messages, "target": chats.plain(last), **({"tools": json.dumps(example["tools"], ensure_ascii=False)} if example["tools"] else {})}

    def asked(self, row: sources.Row, spec: TaskSpec) -> dict[str, str]:
        """The instruction, its input below it; of a conversation the last turn of the user."""
        if "messages" not in spec.columns and not isinstance(sources.value(row, spec.column("instruction")), list):
            return {
                "text": "\n\n".join(
                    filter(None, (sources.words(row, spec.column(role)) for role in ("instruction", "input") if role == "instruction" or role in spec.columns))
                )
            }
        turns = chats.conversation(row, spec)
        return {"text": next((turn["content"] for turn in reversed(turns) if turn["role"] == "user"), "")}

    def asks(self, spec: TaskSpec) -> list[str]:
        return ["messages" if "messages" in spec.columns else "instruction"]

    def typed(self, text: str, pair: str, spec: TaskSpec) -> sources.Row | None:
        values: dict[str, Any] = {
            "messages": chats.typed(text, spec),
            "instruction": text,
            "input": "",
            "output": "-",
            "system": "",
            "history": None,
            "tools": None,
        }
        return {spec.column(role): value for role, value in values.items() if role in spec.columns}

    def settled(self, table: Table, columns: Mapping[str, str], choices: Choices) -> dict[str, Any]:
        return {**super().settled(table, columns, choices), "turns": _turns(table, columns, choices).model_dump(), "loss_on": choices.loss_on}

    @classmethod
    def roles(cls, chosen: Mapping[str, str]) -> list[tuple[str, bool]]:
        """Where a column holds whole conversations, not those that make one of several columns."""
        whole = "messages" in chosen
        return [(role, needed) for role, needed in super().roles(chosen) if not whole or role in chosen or role not in PAIRED]

    def missing(self, columns: Mapping[str, str]) -> list[str]:
        return [] if "messages" in columns else [role for role in ("instruction", "output") if role not in columns]

    def outline(self, table: Table, columns: Mapping[str, str], choices: Choices) -> dict[str, Any]:
        """{"format", "keys": those of the turns, "turns": as recognised or given}."""
        try:
            found = _turns(table, columns, choices)
        except Refusal:  # of what was given: the preview says it
            return {}
        keys = chats.keys_in(row.get(column) for column in chats.columns_of_turns(columns, table.rows) for row in table.rows)
        return {"format": chats.format_of(columns, found, table.rows), "keys": keys, "turns": found.model_dump()}

    def layout(self, table: Table, spec: TaskSpec) -> str:
        return chats.format_of(spec.columns, spec.turns, table.rows)

    def refuse(self, table: Table) -> None:
        refuse_preferences(table)

    def key(self, row: sources.Row, spec: TaskSpec) -> str:
        return "\x1f".join(chats.plain(turn) for turn in chats.conversation(row, spec)[:-1])

    def answer(self, row: sources.Row, spec: TaskSpec) -> Any:
        """All that tells conversations of one text apart: who speaks, what is learned, the tools on offer."""
        turns, tools, _ = chats.whole(row, spec)
        return json.dumps(
            [[(turn["role"], turn.get("learn", True)) for turn in turns], chats.plain(turns[-1]), tools], ensure_ascii=False, sort_keys=True, default=str
        )

    def length_of(self, row: sources.Row, example: Example, spec: TaskSpec) -> str:
        return "\n".join(chats.plain(turn) for turn in example["messages"])

    def notes(self, rows: Sequence[sources.Row], examples: Sequence[Example], spec: TaskSpec) -> list[Note]:
        columns = chats.columns_of_turns(spec.columns, rows)
        unread = chats.unread(rows, columns, spec.turns)
        found = [Note("Turns have keys that are not read: {keys}.", keys=", ".join(unread)[:200])] if unread else []
        after = sum(example["after"] > 0 for example in examples)
        if after:
            found.append(Note("{count:,} conversations go on after their last answer; what follows it is left out, since no loss looks at it.", count=after))
        left_out = [name for name, role in spec.turns.speakers.items() if role == "ignore"]
        if left_out:
            found.append(Note("Turns of {roles} are left out.", roles=", ".join(left_out)[:200]))
        return found

    def learned(self, turns: Sequence[chats.Turn], spec: TaskSpec) -> list[int]:
        """Places of the answers that a loss looks at."""
        places = [place for place, turn in enumerate(turns) if turn["role"] == "assistant" and turn.get("learn", True)]
        return places if spec.loss_on == "all" else places[-1:]

    def require_rows(self, spec: TaskSpec, objective: str, folder: Path, name: str, rows: Callable[[], dict[str, list[sources.Row]]]) -> None:
        """One row of each order of roles is tried in the chat template of a decoder."""
        template = Template.in_folder(folder, name) if OBJECTIVES[objective].one_sequence else None
        if template is None:
            return
        seen, found = set(), rows()
        for split in ("train", "validation"):
            for number, row in enumerate(found.get(split, ()), 1):
                example = self.format(row, spec, number)
                turns, tools = example["messages"], example["tools"]
                order = (*((turn["role"], bool(turn.get("tool_calls"))) for turn in turns), bool(tools))
                if order not in seen:
                    seen.add(order)
                    template.require(turns, tools, number if split == "train" else None)

    def encode(self, examples: Sequence[Example], setting: Setting, train: bool) -> list[dict[str, Any]]:
        if setting.decoder:
            template = Template.of(setting.tokenizer)
            return [self._row(example, template, setting, train) for example in examples]
        pairs = []
        for example in examples:  # an encoder-decoder has a row for each answer that it learns, and is judged by the last
            turns = example["messages"]
            for place in self.learned(turns, setting.spec) if train else [len(turns) - 1]:
                pairs.append({"source": "\n\n".join(chats.plain(turn) for turn in turns[:place]), "target": chats.plain(turns[place])})
        return super().encode(pairs, setting, train)

    def _row(self, example: Example, template: Template, setting: Setting, train: bool) -> dict[str, Any]:
        """A decoder's row: the conversation with labels on its answers alone, cut to the longest input; "cut": whether anything was left out."""
        turns, tools, number = example["messages"], example["tools"], example.get("row")
        template.require(turns, tools, number)
        ids, labels, start = self._tokens(turns, tools, template, setting, number)
        cut = len(ids) > setting.max_length
        while len(ids) > setting.max_length and (shorter := _without_oldest(turns, len(ids) - setting.max_length, setting)):
            turns = shorter
            ids, labels, start = self._tokens(turns, tools, template, setting, number)
        for _ in range(CLIPS):
            room = setting.max_length - min(len(ids) - start, max(1, setting.max_length // 2))
            clipped = _clipped(turns, start - room, setting) if start > room else None
            if clipped is None:
                break
            turns = clipped
            ids, labels, start = self._tokens(turns, tools, template, setting, number)
        if len(ids) > setting.max_length:
            begin = max(0, start - (setting.max_length - min(len(ids) - start, max(1, setting.max_length // 2))))
            ids, labels, start = ids[begin:][: setting.max_length], labels[begin:][: setting.max_length], start - begin
        row = {"input_ids": ids, "labels": labels, "length": len(ids), "prompt_length": start, "cut": int(cut)}
        return row if train else {**row, "reference": chats.plain(turns[-1])}

    def _tokens(
        self, turns: Sequence[chats.Turn], tools: Sequence[Any], template: Template, setting: Setting, number: int | None
    ) -> tuple[list[int], list[int], int]:
        """(token ids, labels, where the last answer starts), closed by the end of text."""
        try:
            text, spans = template.answers(turns, tools, self.learned(turns, setting.spec))
        except Refused as error:
            where = Message("row {number}", number=number) if number is not None else Message("a conversation")
            raise Refusal("In {where} the chat template of {model} does not show which letters are the answers ({reason}): learn the last answer alone (loss_on last), or choose another model.", "task.loss_on", where=where, model=template.name, reason=error.args[0]) from None  # fmt: skip
        ids, offsets = chat_tokens(setting.tokenizer, text, lambda mark: template.render(mark(turns), mark(tools)), (turns, tools))
        labels = [token if _learned(place, spans, text) else IGNORED for token, place in zip(ids, offsets, strict=True)]
        start = next(at for at, place in enumerate(offsets) if _within(place, spans[-1], text))
        end = setting.tokenizer.eos_token_id
        if end is not None and end not in ids[start:]:
            ids, labels = [*ids, end], [*labels, end]
        return ids, labels, start


def _turns(table: Table, columns: Mapping[str, str], choices: Choices) -> Turns:
    """How the turns of a table's conversations are written, recognised where it is not given."""
    asked = validate(Turns, choices.turns or {}, "turns.")
    found = chats.columns_of_turns(columns, table.rows)
    return chats.recognised((row.get(column) for column in found for row in table.rows), asked) if found else Turns()


def _learned(place: tuple[int, int], spans: Sequence[tuple[int, int]], text: str) -> bool:
    """Whether a token is of one of the answers, which lie one after the other."""
    last = bisect.bisect_left(spans, place[1], key=lambda span: span[0]) - 1  # of those that begin before the token ends
    return any(_within(place, spans[at], text) for at in range(last, max(-1, last - 2), -1))


def _within(place: tuple[int, int], span: tuple[int, int], text: str) -> bool:
    """Whether a token is of an answer: one that joins the end of the opening with no more than the space after it is not."""
    begin, end = max(place[0], span[0]), min(place[1], span[1])
    return begin < end and (place[0] >= span[0] or not text[begin:end].isspace())


def _without_oldest(turns: Sequence[chats.Turn], excess: int, setting: Setting) -> list[chats.Turn] | None:
    """The turns without the oldest rounds of what was asked and answered that have so many tokens; the system's stay. None where one round is left."""
    opening = [turn for turn in turns if turn["role"] == "system"]
    rest = [turn for turn in turns if turn["role"] != "system"]
    starts = [place for place, turn in enumerate(rest) if turn["role"] == "user" and place]
    if not starts:
        return None
    sizes = setting.plain([chats.plain(turn) for turn in rest], add_special_tokens=False, verbose=False)["input_ids"]
    gone = next((place for place in starts if sum(map(len, sizes[:place])) >= excess), starts[-1])
    return [*opening, *rest[gone:]]


def _clipped(turns: Sequence[chats.Turn], excess: int, setting: Setting) -> list[chats.Turn] | None:
    """The turns with the longest but the last cut at its end by so many tokens; None where there is nothing to cut."""
    sizes = (
        [len(ids) for ids in setting.plain([turn["content"] for turn in turns[:-1]], add_special_tokens=False, verbose=False)["input_ids"]]
        if len(turns) > 1
        else []
    )
    place = max(range(len(sizes)), key=sizes.__getitem__, default=None)
    if place is None or sizes[place] < 2:
        return None
    shorter = clip(turns[place]["content"], max(1, sizes[place] - excess), setting.plain).strip()
    return [{**turn, "content": shorter} if at == place else turn for at, turn in enumerate(turns)] if shorter and shorter != turns[place]["content"] else None
