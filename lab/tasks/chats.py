"""Conversations as people have them, in one form: a list of turns {"role": system | user | assistant | tool, "content": text, ...}. Torch-free.

Read are messages of OpenAI (role, content; tool_calls, list content, developer), ShareGPT (from, value; human, gpt, function_call, observation), prompt
and completion as texts or as turns (TRL), Alpaca (instruction, input, output, system, history). Lists may be text in a cell, as JSON or as Python
writes it. Which keys of a turn are the speaker and the text, and which role each speaker has, is a task's `turns`; what is not given is recognised.

A turn may also have "tool_calls" [{"type": "function", "function": {"name", "arguments": object}}], "tool_call_id" and "name" (of a tool's result), and
"learn": False (OpenAI's weight 0) on an answer that no loss looks at.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from lab.design.plain.message import Message, word
from lab.design.plain.refusal import Refusal
from lab.design.spec.task import TaskSpec, Turns
from lab.tasks import cells, sources
from lab.tasks.label_sets import as_list

Turn = dict[str, Any]
KEYS = (("role", "content"), ("from", "value"), ("role", "value"), ("from", "content"), ("speaker", "text"), ("role", "text"), ("author", "content"))
SPEAKERS = {  # as data call them → the role; `call` is an assistant's turn that is a call of a tool as JSON
    "system": "system", "developer": "system", "user": "user", "human": "user", "prompter": "user", "assistant": "assistant", "gpt": "assistant",
    "chatgpt": "assistant", "model": "assistant", "bot": "assistant", "bing": "assistant", "bard": "assistant", "tool": "tool", "function": "tool",
    "observation": "tool", "function_response": "tool", "tool_response": "tool", "ipython": "tool", "function_call": "call", "tool_call": "call",
}  # fmt: skip
TEXT_PARTS = frozenset({"text", "input_text", "output_text"})
READ = frozenset({"role", "content", "from", "value", "tool_calls", "function_call", "tool_call_id", "name", "weight"})
UNREAD_SAMPLE = 200  # rows that are looked through for keys that nobody reads


def conversation(row: sources.Row, spec: TaskSpec, number: int | None = None) -> list[Turn]:
    """The turns of a row, up to the last answer to learn. Raises `Refusal` that names row and turn."""
    return whole(row, spec, number)[0]


def whole(row: sources.Row, spec: TaskSpec, number: int | None = None) -> tuple[list[Turn], list[dict[str, Any]], int]:
    """(the turns up to the last answer to learn, the tools on offer, how many turns come after) of a row. Raises `Refusal` that names row and turn."""
    where = sources.row_named(number)
    if "messages" in spec.columns:
        turns = _turns(sources.value(row, spec.column("messages"), number), spec, spec.column("messages"), where)
    else:
        turns = _asked_and_answered(row, spec, number, where)
    if "system" in spec.columns and (system := sources.words(row, spec.column("system"), number)):
        turns = [{"role": "system", "content": system}, *turns]
    last = max((place for place, turn in enumerate(turns) if turn["role"] == "assistant" and turn.get("learn", True)), default=None)
    if last is None:
        raise Refusal("{where} has no answer to learn: no turn of the assistant in {columns}.", "task.columns", where=where, columns=_words(spec))
    return turns[: last + 1], _tools(row, spec, number, where), len(turns) - last - 1


def _words(spec: TaskSpec) -> Message:
    if "messages" in spec.columns:
        return Message("column '{name}'", name=spec.column("messages"))
    return Message("columns '{name}' and '{other}'", name=spec.column("instruction"), other=spec.column("output"))


def _asked_and_answered(row: sources.Row, spec: TaskSpec, number: int | None, where: str) -> list[Turn]:
    """instruction (+ input) → output with an earlier history; either may be turns itself, as in TRL's conversational prompt and completion."""
    turns: list[Turn] = []
    if "history" in spec.columns:
        turns += _history(sources.value(row, spec.column("history"), number), spec.column("history"), where)
    asked, answered = (sources.value(row, spec.column(role), number) for role in ("instruction", "output"))
    if isinstance(asked, list) or _is_turns(asked):
        turns += _turns(asked, spec, spec.column("instruction"), where)
    else:
        turns.append({"role": "user", "content": instruction(row, spec, number)})
    if (listed := as_list(answered)) is not None and all(isinstance(item, str) for item in listed) and len(listed) > 1:
        raise Refusal("{where} has {count} answers in column '{column}', as rankings of answers do; the lab learns one answer a row: keep the best one.", "task.columns", where=where, count=len(listed), column=spec.column('output'))  # fmt: skip
    if isinstance(answered, list) or _is_turns(answered):
        return turns + _turns(answered, spec, spec.column("output"), where)
    return [*turns, {"role": "assistant", "content": sources.text(row, spec.column("output"), number)}]


def instruction(row: sources.Row, spec: TaskSpec, number: int | None = None) -> str:
    """What is asked: the instruction, its input below it, in the task's wording."""
    from lab.tasks.family import fill

    given = {"instruction": sources.text(row, spec.column("instruction"), number), "input": ""}
    if "input" in spec.columns:
        given["input"] = sources.words(row, spec.column("input"), number)
    asked = fill(spec.prompt or "{instruction}", given)
    return f"{asked}\n\n{given['input']}" if given["input"] and "{input}" not in spec.prompt else asked


def _history(value: Any, column: str, where: str) -> list[Turn]:
    """Earlier rounds, each a list of what was asked and what was answered."""
    rounds = [] if cells.missing(value) else as_list(value)
    turns: list[Turn] = []
    for place, pair in enumerate(rounds if rounds is not None else [None], 1):
        if not isinstance(pair, (list, tuple)) or len(pair) != 2 or not all(isinstance(part, str) and part.strip() for part in pair):
            raise Refusal(
                "{where} has no two texts in round {round} of its history in column '{column}': a round is what was asked and what was answered.",
                "task.columns",
                where=where,
                round=place,
                column=column,
            )
        if cells.broken(pair):
            raise Refusal("{where} has half a letter (a lone surrogate) in column '{column}'.", "task.columns", where=where, column=column)
        turns += [{"role": "user", "content": cells.unspaced(pair[0])}, {"role": "assistant", "content": cells.unspaced(pair[1])}]
    return turns


def _listed(value: Any) -> list[Any] | None:
    """A list of turns: a list, one as text, or an object of equally long lists, as `datasets` stores them."""
    if isinstance(value, dict) and value and all(isinstance(part, list) for part in value.values()) and len({len(part) for part in value.values()}) == 1:
        return [dict(zip(value, parts, strict=True)) for parts in zip(*value.values(), strict=True)]
    return as_list(value)


def _is_turns(value: Any) -> bool:
    found = _listed(value) if isinstance(value, (str, dict)) else value
    return isinstance(found, list) and bool(found) and all(isinstance(turn, dict) for turn in found)


def _turns(value: Any, spec: TaskSpec, column: str, where: str) -> list[Turn]:
    listed = _listed(value)
    if listed is None:
        content = Message("nothing") if cells.missing(value) else f"'{str(value)[:40]}'"
        raise Refusal(
            "{where} has {kind} in column '{column}', where a conversation should be: a list of turns.",
            "task.columns",
            where=where,
            kind=content,
            column=column,
        )
    turns: list[Turn] = []
    keys = keys_of(spec.turns, listed)
    for place, turn in enumerate(listed, 1):
        at = Message("{where}, turn {turn} (column '{column}')", where=where, turn=place, column=column)
        if not isinstance(turn, dict):
            raise Refusal("{where} is {turn}, which is no turn with a speaker and a text.", "task.columns", where=at, turn=repr(str(turn)[:40]))
        if cells.broken(turn):
            raise Refusal("{where} has half a letter (a lone surrogate).", "task.columns", where=at)
        read = _turn(turn, keys, spec.turns, at)
        if read is not None:
            turns.append(read)
    return turns


def _turn(turn: Mapping[str, Any], keys: tuple[str, str], given: Turns, at: str) -> Turn | None:
    """A turn in the one form; None for one that is left out. Raises `Refusal`."""
    speaker = turn.get(keys[0])
    if not isinstance(speaker, str):
        raise Refusal("{where} says under '{key}' no speaker; its keys are {keys}.", "task.turns", where=at, key=keys[0], keys=", ".join(map(str, turn))[:120])
    role = given.speakers.get(speaker) or SPEAKERS.get(speaker.strip().casefold(), "")
    if not role:
        raise Refusal(
            "{where} has the speaker '{speaker}', whose role is not known: say whether it is user, assistant, system, tool or left out.",
            "task.turns",
            where=at,
            speaker=speaker[:60],
        )
    if role == "ignore":
        return None
    text = _content(turn.get(keys[1]), at)
    if role == "call":
        return {"role": "assistant", "content": "", "tool_calls": _calls(text, at)}
    read: Turn = {"role": role, "content": text}
    if role == "assistant":
        calls = turn.get("tool_calls") or ([turn["function_call"]] if turn.get("function_call") else None)
        if calls:
            read["tool_calls"] = _calls(calls, at)
        if not cells.missing(weight := turn.get("weight")):
            if cells.near(str(weight)) not in ("0", "1"):
                raise Refusal("{where} has the weight {weight}; an answer is learned (1) or not (0).", "task.columns", where=at, weight=str(weight)[:40])
            read["learn"] = cells.near(str(weight)) == "1"
    if role == "tool":
        read |= {name: str(turn[name]) for name in ("tool_call_id", "name") if turn.get(name)}
    if not text and not read.get("tool_calls"):
        if role == "system":
            return None  # as if there were none
        raise Refusal("{where} of the {role} is empty: leave the row out, or write what it says.", "task.columns", where=at, role=role)
    return read


def _content(value: Any, at: str) -> str:
    """The text of a turn; of a list of parts their texts, one after the other as chat templates write them. Raises `Refusal` for images and the like."""
    if isinstance(value, list):
        texts = []
        for part in value:
            kind = part.get("type", "text") if isinstance(part, dict) else "text"
            text = part.get("text") if isinstance(part, dict) else part
            if kind not in TEXT_PARTS or not isinstance(text, str):
                raise Refusal(
                    "{where} has a part of type '{kind}'; the lab reads text alone: leave such rows or parts out.",
                    "task.columns",
                    where=at,
                    kind=str(kind)[:40],
                )
            texts.append(text)
        value = "".join(texts)
    if cells.missing(value):
        return ""
    if not isinstance(value, (str, int, float)) or isinstance(value, bool):
        raise Refusal("{where} has {kind} as its text.", "task.columns", where=at, kind=_kind(value))
    return cells.unspaced(str(value))


def _kind(value: Any) -> str:
    return word("an object") if isinstance(value, dict) else f"'{str(value)[:40]}'"


def _calls(given: Any, at: str) -> list[dict[str, Any]]:
    """Calls of tools in OpenAI's form, arguments as an object; also from one call as JSON, as ShareGPT writes it."""
    try:
        found = json.loads(given) if isinstance(given, str) else given
    except (ValueError, RecursionError):
        raise Refusal(
            "{where} should call a tool, and '{given}' is no JSON with its name and arguments.", "task.columns", where=at, given=str(given)[:40]
        ) from None
    calls = []
    for call in found if isinstance(found, list) else [found]:
        function = call.get("function", call) if isinstance(call, dict) else None
        name = function.get("name") if isinstance(function, dict) else None
        if not isinstance(name, str) or not name.strip():
            raise Refusal("{where} calls a tool without saying which: a call has a function with a name and arguments.", "task.columns", where=at)
        arguments = function.get("arguments", function.get("parameters")) or {}
        if isinstance(arguments, str):
            try:
                arguments = json.loads(arguments)
            except (ValueError, RecursionError):
                raise Refusal("{where} calls {name} with arguments that are no JSON.", "task.columns", where=at, name=name[:40]) from None
        if cells.broken((name, arguments)):
            raise Refusal("{where} has half a letter (a lone surrogate).", "task.columns", where=at)
        calls.append({"type": "function", **({"id": str(call["id"])} if call.get("id") else {}), "function": {"name": name.strip(), "arguments": arguments}})
    return calls


def _tools(row: sources.Row, spec: TaskSpec, number: int | None, where: str) -> list[dict[str, Any]]:
    """The tools on offer, as JSON schemas of functions."""
    value = sources.value(row, spec.column("tools"), number) if "tools" in spec.columns else None
    listed = [] if cells.missing(value) else as_list(value)
    if listed is None or not all(isinstance(tool, dict) for tool in listed):
        raise Refusal(
            "{where} has no list of tools in column '{column}', each an object that describes a function.",
            "task.columns",
            where=where,
            column=spec.column("tools"),
        )
    if cells.broken(listed):
        raise Refusal("{where} has half a letter (a lone surrogate) in column '{column}'.", "task.columns", where=where, column=spec.column("tools"))
    return [tool if "function" in tool else {"type": "function", "function": tool} for tool in listed]


def keys_of(given: Turns, turns: Sequence[Any]) -> tuple[str, str]:
    """The keys of a turn that hold speaker and text: those given, else the first known pair that is there."""
    there = {key for turn in turns if isinstance(turn, dict) for key in turn}
    speaker, text = next(((speaker, text) for speaker, text in KEYS if speaker in there and text in there), KEYS[0])
    return given.role or speaker, given.content or text


def plain(turn: Mapping[str, Any]) -> str:
    """A turn as text: what it says, and the tools it calls as JSON."""
    calls = [json.dumps(call["function"], ensure_ascii=False) for call in turn.get("tool_calls", ())]
    return "\n".join(filter(None, (turn["content"], *calls)))


def typed(text: str, spec: TaskSpec) -> list[Turn]:
    """A person's text and an answer that nobody reads, as the task's data would write them."""
    speaker, content = keys_of(spec.turns, ())
    names = {role: speaker for speaker, role in reversed(spec.turns.speakers.items())}
    return [{speaker: names.get("user", "user"), content: text}, {speaker: names.get("assistant", "assistant"), content: "-"}]


def recognised(values: Iterable[Any], given: Turns) -> Turns:
    """`given` with keys and roles filled in from the turns that a column holds; a speaker whose role is not known has ""."""
    listed = [turns for value in values if (turns := _listed(value))]
    keys = keys_of(given, [turn for turns in listed for turn in turns])
    found = dict.fromkeys(str(turn.get(keys[0])) for turns in listed for turn in turns if isinstance(turn, dict) and isinstance(turn.get(keys[0]), str))
    speakers = {name: given.speakers.get(name) or SPEAKERS.get(name.strip().casefold(), "") for name in found}
    return Turns(role=keys[0], content=keys[1], speakers=speakers)


def keys_in(values: Iterable[Any]) -> list[str]:
    """The keys of the turns that a column holds."""
    return [str(key) for key in dict.fromkeys(key for value in values for turn in _listed(value) or () if isinstance(turn, dict) for key in turn)]


def columns_of_turns(spec_columns: Mapping[str, str], rows: Sequence[sources.Row]) -> list[str]:
    """The columns that hold turns: messages, or instruction and output where they are lists."""
    if "messages" in spec_columns:
        return [spec_columns["messages"]]
    return [
        spec_columns[role] for role in ("instruction", "output") if role in spec_columns and any(_is_turns(row.get(spec_columns[role])) for row in rows[:20])
    ]


def format_of(columns: Mapping[str, str], turns: Turns, rows: Sequence[sources.Row]) -> str:
    """What the data's way to write a conversation is called: openai, sharegpt, turns, conversational, alpaca, prompt_completion or pairs."""
    if "messages" in columns:
        return {("role", "content"): "openai", ("from", "value"): "sharegpt"}.get((turns.role, turns.content), "turns")
    if columns_of_turns(columns, rows):
        return "conversational"
    if {"input", "history", "system"} & set(columns):
        return "alpaca"
    return "prompt_completion" if columns.get("output") == "completion" else "pairs"


def unread(rows: Sequence[sources.Row], columns: Sequence[str], turns: Turns) -> list[str]:
    """Keys of turns that hold something and are not read, of the first rows."""
    known = READ | {turns.role, turns.content}
    found: dict[str, None] = {}
    for row in rows[:UNREAD_SAMPLE]:
        for column in columns:
            for turn in _listed(row.get(column)) or ():
                found |= (
                    dict.fromkeys(key for key, value in turn.items() if key not in known and value not in (None, "", [], {})) if isinstance(turn, dict) else {}
                )
    return list(found)
