"""A conversation in a model's chat template, and which of its letters are the answers that a loss looks at. Torch-free.

An answer's letters are, of the first way that works: those that the template marks ({% generation %}); those that the turn adds to the conversation
before it with the template's opening of an answer; those between two marks put around the answer, where the text is otherwise the same (templates
that write earlier answers differently once more is said, as Qwen3's leave out their reasoning). All of them end with the template's end of a turn.
A model without a chat template gets Alpaca's wording.
"""

from __future__ import annotations

import functools
import json
import os.path
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lab.design.plain.message import Message, word
from lab.design.plain.refusal import Refusal

ALPACA = (
    "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'system' %}{{ m['content'] }}\n\n{% elif m['role'] == 'user' %}### Instruction:\n"
    "{{ m['content'] }}\n\n### Response:\n{% elif m['role'] == 'tool' %}### Tool:\n{{ m['content'] }}\n\n### Response:\n"
    "{% else %}{{ m['content'] }}{% for call in m['tool_calls'] or [] %}{{ '\n' if m['content'] or not loop.first }}{{ call['function'] | tojson }}{% endfor %}"
    "{{ eos_token }}{{ '\n\n' if not loop.last }}{% endif %}{% endfor %}"
)  # Taori et al. 2023, with the turns of a longer conversation one after the other
TOOLS = "Tools you may call, as JSON: {}"  # before Alpaca's wording
OPEN, SHUT = "\ue0fa", "\ue0fb"  # private-use characters around an answer
ALIKE = 3  # answers of a conversation from which those in the same surroundings are found alike
PROBES = ("labprobesystem", "labprobetool", "labprobevalue", "labproberesult", "labprobeoffer")
Turn = Mapping[str, Any]
Span = tuple[int, int]


class Refused(ValueError):
    """The template itself refuses a conversation; its message is the template's."""


class Template:
    """A chat template by its source, with the special tokens that it may write. `name`: the model's, for sentences."""

    def __init__(self, source: Any, special: Mapping[str, str], name: str):
        self._source, self._special, self.name = source, dict(special), name
        self.own = bool(source)

    @classmethod
    def of(cls, tokenizer: Any) -> Template:
        """The template of a tokenizer; Alpaca's wording where it has none, begun as the tokenizer begins every text."""
        special = {name: token for name, token in tokenizer.special_tokens_map.items() if isinstance(token, str)}
        if not tokenizer.chat_template:
            special["bos_token"] = tokenizer.bos_token if tokenizer.bos_token and tokenizer("a")["input_ids"][:1] == [tokenizer.bos_token_id] else ""
            special.setdefault("eos_token", "")
        return cls(tokenizer.chat_template, special, os.path.basename(str(tokenizer.name_or_path).rstrip("/")) or "this model")

    @classmethod
    def in_folder(cls, folder: Path, name: str) -> Template | None:
        """The template of a model's files, read without its tokenizer; None where it has none."""
        try:
            facts = dict(json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8")))
            alone = folder / "chat_template.jinja"
            source = alone.read_text(encoding="utf-8") if alone.is_file() else facts.get("chat_template")
        except (OSError, ValueError, TypeError):
            return None
        if isinstance(source, list):  # several by name
            source = {each.get("name"): each.get("template") for each in source if isinstance(each, dict)}
        special = {key: value.get("content") if isinstance(value, dict) else value for key, value in facts.items() if key.endswith("_token")}
        return cls(source, {key: value for key, value in special.items() if isinstance(value, str)}, name) if source else None

    def source(self, tools: Sequence[Any]) -> str:
        if isinstance(self._source, dict):
            return self._source.get("tool_use" if tools else "default") or self._source.get("default") or next(iter(self._source.values()))
        return self._source or ALPACA

    def render(self, turns: Sequence[Turn], tools: Sequence[Any] = (), prompt: bool = False) -> str:
        """The text of a conversation; `prompt`: with the opening of an answer. Raises `Refused`."""
        return self._rendered(turns, tools, prompt)[0]

    def _rendered(self, turns: Sequence[Turn], tools: Sequence[Any], prompt: bool = False, marked: bool = False) -> tuple[str, list[Span]]:
        from transformers.utils.chat_template_utils import render_jinja_template

        messages = [{key: value for key, value in turn.items() if key != "learn"} for turn in turns]
        if not self.own and tools:
            messages.insert(0, {"role": "system", "content": TOOLS.format(json.dumps(list(tools), ensure_ascii=False))})
        try:
            texts, marks = render_jinja_template(conversations=[messages], tools=list(tools) or None, chat_template=self.source(tools),
                                                 add_generation_prompt=prompt, return_assistant_tokens_mask=marked, **self._special)  # fmt: skip
        except Exception as error:  # a template is a program: it raises what it likes, jinja2's errors and Python's
            first = str(error).strip().splitlines()[0][:160].rstrip(".") if str(error).strip() else type(error).__name__
            raise Refused(first) from None
        return texts[0], [tuple(span) for span in marks[0]] if marked else []

    def answers(self, turns: Sequence[Turn], tools: Sequence[Any], which: Sequence[int]) -> tuple[str, list[Span]]:
        """(the text of a conversation, where in it the answers of the turns `which` are). The text ends with the last of them. Raises `Refused`."""
        text, marks = self._rendered(turns, tools, marked=self._marks(tools))
        written = [place for place, turn in enumerate(turns) if turn["role"] == "assistant"]
        ending = text.rstrip()
        if marks and len(marks) == len(written):
            spans = [marks[written.index(place)] for place in which]
        else:
            spans = self._spans(text, turns, tools, which)
        tail = ending[self._end_of_content(ending, turns[-1]) :]  # the end of a turn, as the last one has it
        spans = [(start, max(end, _with(text, end, tail))) for start, end in spans]
        return text[: spans[-1][1]], spans

    def _marks(self, tools: Sequence[Any]) -> bool:
        return re.search(r"\{%-?\s*generation\s*-?%\}", self.source(tools)) is not None

    @staticmethod
    def _end_of_content(ending: str, last: Turn) -> int:
        content = last["content"]
        return ending.rfind(content) + len(content) if content and content in ending and not last.get("tool_calls") else len(ending)

    def _spans(self, text: str, turns: Sequence[Turn], tools: Sequence[Any], which: Sequence[int]) -> list[Span]:
        """Where answers are. Of a long conversation, answers between the same letters of the template are found alike, so that its cost grows with its length."""
        contents = self._contents(text, turns, tools) if len(which) > ALIKE else {}
        known: dict[Any, Span] = {}
        spans = []
        for place in which:
            inner, around = contents.get(place), None
            if inner and place - 1 in contents and (place + 1 in contents or place + 1 == len(turns)):
                after = contents.get(place + 1, (len(text), 0))[0]
                around = text[contents[place - 1][1] : inner[0]], text[inner[1] : after], turns[place - 1]["role"], after == len(text)
            if inner and around in known:
                start, end = known[around]
                spans.append((inner[0] + start, inner[1] + end))
                continue
            spans.append(self._added(text, turns, tools, place) or self._between(text, turns, tools, place))
            if inner and around:
                known[around] = spans[-1][0] - inner[0], spans[-1][1] - inner[1]
        return spans

    def _contents(self, text: str, turns: Sequence[Turn], tools: Sequence[Any]) -> dict[int, Span]:
        """{turn: where what it says stands}, by marks around all of it at once; nothing where the template writes another text then."""
        marked = [place for place, turn in enumerate(turns) if turn["content"]]
        try:
            rendered = self.render([{**turn, "content": f"{OPEN}{turn['content']}{SHUT}"} if turn["content"] else turn for turn in turns], tools)
        except Refused:
            return {}
        places = [found.start() - count for count, found in enumerate(re.finditer(f"[{OPEN}{SHUT}]", rendered))]
        if re.sub(f"[^{OPEN}{SHUT}]", "", rendered) != (OPEN + SHUT) * len(marked) or rendered.replace(OPEN, "").replace(SHUT, "") != text:
            return {}
        return dict(zip(marked, zip(places[::2], places[1::2], strict=True), strict=True))

    def _added(self, text: str, turns: Sequence[Turn], tools: Sequence[Any], place: int) -> Span | None:
        """What a turn adds to the opening of an answer, where the whole goes on with it; None otherwise."""
        if not place:  # before it there is nothing that a template could render
            return None
        try:
            before = self.render(turns[:place], tools, prompt=True)
            after = text if place == len(turns) - 1 else self.render(turns[: place + 1], tools)
        except Refused:
            return None
        after = after.rstrip()
        return (len(before), len(after)) if text.startswith(after) and after.startswith(before) and len(before) < len(after) else None

    def _between(self, text: str, turns: Sequence[Turn], tools: Sequence[Any], place: int) -> Span:
        """Where an answer stands in the text, by marks around it. Raises `Refused` where the template writes something else then."""
        content = turns[place]["content"]
        wrapped = [{**turn, "content": f"{OPEN}{content}{SHUT}"} if at == place else turn for at, turn in enumerate(turns)]
        marked = self.render(wrapped, tools)
        if not content or marked.count(OPEN) != 1 or marked.count(SHUT) != 1 or marked.replace(OPEN, "").replace(SHUT, "") != text:
            raise Refused(Message("the answer of turn {turn} is written differently once more is said", turn=place + 1))
        return marked.index(OPEN), marked.index(SHUT) - 1

    @functools.cached_property
    def _lost(self) -> frozenset[str]:
        """The probes that the template leaves out without a word, or refuses."""
        system, tool, value, result, offer = PROBES
        asked, answered = {"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}
        call = {"type": "function", "id": "abcdefghi", "function": {"name": tool, "arguments": {"key": value}}}
        called = [
            asked,
            {"role": "assistant", "content": "", "tool_calls": [call]},
            {"role": "tool", "name": tool, "tool_call_id": "abcdefghi", "content": result},
            answered,
        ]
        schema = {
            "type": "function",
            "function": {"name": offer, "description": "c", "parameters": {"type": "object", "properties": {"key": {"type": "string", "description": "d"}}}},
        }
        found = ""
        for turns, tools in (([{"role": "system", "content": system}, asked, answered], ()), (called, ()), ([asked, answered], [schema])):
            try:
                found += self.render(turns, tools)
            except Refused:
                continue
        return frozenset(probe for probe in PROBES if probe not in found)

    def require(self, turns: Sequence[Turn], tools: Sequence[Any], number: int | None = None) -> None:
        """Raises `Refusal` with what to do where the template refuses these turns, or would leave a part of them out without a word."""
        where = Message("row {number}", number=number) if number is not None else Message("a conversation")
        try:
            self.render(turns, tools)
        except Refused as error:
            raise self.refusal(turns, tools, error, where) from None
        used = {PROBES[0]: any(turn["role"] == "system" for turn in turns), PROBES[1]: any(turn.get("tool_calls") for turn in turns),
                PROBES[3]: any(turn["role"] == "tool" for turn in turns), PROBES[4]: bool(tools)}  # fmt: skip
        words = {PROBES[0]: "turns of the system", PROBES[1]: "calls of tools", PROBES[3]: "results of tools", PROBES[4]: "tools on offer"}
        lost = next((words[probe] for probe, there in used.items() if there and probe in self._lost), None)
        if lost:
            raise Refusal(
                "The chat template of {model} leaves out {lost}, which {where} has: choose a model whose template writes them, or leave them out of the data.",
                "task",
                model=self.name,
                lost=word(lost),
                where=where,
            )

    def refusal(self, turns: Sequence[Turn], tools: Sequence[Any], error: Refused, where: str) -> Refusal:
        """What a person can do about a conversation that the template refuses."""
        others = [turn for turn in turns if turn["role"] != "system"]
        try:
            if len(others) == len(turns):
                raise error
            self.render(others, tools)
        except Refused:
            return Refusal(
                "The chat template of {model} refuses the turns of {where} ({reason}): change or leave out such rows, or choose a model whose template takes them.",
                "task",
                model=self.name,
                where=where,
                reason=error.args[0],
            )
        return Refusal("The chat template of {model} refuses the system's turn of {where} ({reason}): leave these turns out (role ignore, or no system column), or choose a model whose template takes them.", "task", model=self.name, where=where, reason=error.args[0])  # fmt: skip


def _with(text: str, end: int, tail: str) -> int:
    """Where an answer ends with as much of the template's end of a turn as follows it."""
    length = len(os.path.commonprefix([text[end:], tail]))
    return end + (len(tail) if length == len(tail) else 0)
