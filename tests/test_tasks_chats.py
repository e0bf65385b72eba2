"""Conversations as people have them: every way to write one means the same, and each defect is one sentence with its row, whatever the way."""

from __future__ import annotations

import csv
import json

import pytest
from training_support import save_model

import lab
from lab.design.plain.refusal import Refusal
from lab.tasks import importing
from lab.verbs import check

ROWS = range(12)


@pytest.fixture(autouse=True)
def home(lab_home):
    return lab_home


def openai(number, answer="a {}", asked="q {}"):
    return [{"role": "user", "content": asked.format(number)}, {"role": "assistant", "content": answer.format(number)}]


def sharegpt(turns, speaker="from", text="value", names=(("user", "human"), ("assistant", "gpt"), ("system", "system"))):
    return [{speaker: dict(names).get(turn["role"], turn["role"]), text: turn["content"]} for turn in turns]


def parts(turns):
    return [{**turn, "content": [{"type": "text", "text": turn["content"]}]} for turn in turns]


# Each: how rows of [user, assistant] turns are written; the columns and the format that are recognised.
WAYS = {
    "openai": (lambda turns: {"messages": turns}, {"messages": "messages"}, "openai"),
    "openai parts": (lambda turns: {"messages": parts(turns)}, {"messages": "messages"}, "openai"),
    "openai as text": (lambda turns: {"messages": json.dumps(turns)}, {"messages": "messages"}, "openai"),
    "openai as python": (lambda turns: {"messages": str(turns)}, {"messages": "messages"}, "openai"),
    "openai by columns": (lambda turns: {"messages": {"role": [t["role"] for t in turns], "content": [t["content"] for t in turns]}}, {"messages": "messages"}, "openai"),
    "sharegpt": (lambda turns: {"conversations": sharegpt(turns)}, {"messages": "conversations"}, "sharegpt"),
    "sharegpt roles": (lambda turns: {"conversations": sharegpt(turns, "role", "value")}, {"messages": "conversations"}, "turns"),
    "other keys": (lambda turns: {"conversation": sharegpt(turns, "author", "content", (("user", "prompter"), ("assistant", "bot")))}, {"messages": "conversation"}, "turns"),
    "prompt and completion": (lambda turns: {"prompt": turns[0]["content"], "completion": " " + turns[1]["content"]}, {"instruction": "prompt", "output": "completion"}, "prompt_completion"),
    "conversational": (lambda turns: {"prompt": turns[:1], "completion": turns[1:]}, {"instruction": "prompt", "output": "completion"}, "conversational"),
    "alpaca": (lambda turns: {"instruction": turns[0]["content"], "input": "", "output": turns[1]["content"]}, {"instruction": "instruction", "output": "output", "input": "input"}, "alpaca"),
    "pairs": (lambda turns: {"instruction": turns[0]["content"], "response": turns[1]["content"]}, {"instruction": "instruction", "output": "response"}, "pairs"),
}  # fmt: skip


def written(folder, rows):
    path = folder / "x.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    return path


def told(look):
    """The notes, but for those on how many rows there are to judge by."""
    return [note for note in look.notes if "validat" not in note]


def turns_of(look, row=0):
    shown = look.examples[row]
    return [*((turn["role"], turn["content"]) for turn in shown["messages"]), ("assistant", shown["target"])]


@pytest.mark.parametrize("way", list(WAYS))
def test_every_way_to_write_a_conversation_means_the_same(way, tmp_path):
    write, columns, name = WAYS[way]
    look = importing.preview(written(tmp_path, [write(openai(i)) for i in ROWS]), examples=12)
    assert (look.spec.family, look.spec.columns, look.format, told(look)) == ("instruction", columns, name, [])
    assert [turns_of(look, i) for i in ROWS] == [[("user", f"q {i}"), ("assistant", f"a {i}")] for i in ROWS]
    assert sum(look.splits.values()) == 12 and "" not in look.spec.turns.speakers.values()
    again = importing.preview(written(tmp_path, [write(openai(i)) for i in ROWS]), family="instruction")
    assert (again.spec.columns, again.format) == (columns, name)


def test_a_csv_holds_conversations_as_text(tmp_path):
    path = tmp_path / "x.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([["id", "messages"], *([i, json.dumps(openai(i))] for i in ROWS)])
    look = importing.preview(path)
    assert look.format == "openai" and turns_of(look) == [("user", "q 0"), ("assistant", "a 0")]


CALL = {"id": "x1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}
RICH = {  # what a row has beside, and how its turns read then
    "system turn": ({"messages": [{"role": "system", "content": "be kind"}, *openai(0)]}, [("system", "be kind"), ("user", "q 0"), ("assistant", "a 0")]),
    "developer": ({"messages": [{"role": "developer", "content": "be kind"}, *openai(0)]}, [("system", "be kind"), ("user", "q 0"), ("assistant", "a 0")]),
    "empty system turn": ({"messages": [{"role": "system", "content": ""}, *openai(0)]}, [("user", "q 0"), ("assistant", "a 0")]),
    "system column": ({"conversations": sharegpt(openai(0)), "system": "be kind"}, [("system", "be kind"), ("user", "q 0"), ("assistant", "a 0")]),
    "alpaca": ({"instruction": "add", "input": "1 and 2", "output": "3", "system": "be kind", "history": [["q", "a"]]},
               [("system", "be kind"), ("user", "q"), ("assistant", "a"), ("user", "add\n\n1 and 2"), ("assistant", "3")]),
    "history as text": ({"instruction": "add", "output": "3", "history": '[["q", "a"]]'}, [("user", "q"), ("assistant", "a"), ("user", "add"), ("assistant", "3")]),
    "two parts": ({"messages": [{"role": "user", "content": ["a ", {"type": "text", "text": "b"}]}, {"role": "assistant", "content": "c"}]}, [("user", "a b"), ("assistant", "c")]),
    "tools": ({"messages": [*openai(0)[:1], {"role": "assistant", "content": None, "tool_calls": [CALL]}, {"role": "tool", "content": "42", "tool_call_id": "x1"}, *openai(0)[1:]]},
              [("user", "q 0"), ("assistant", '{"name": "add", "arguments": {"a": 1}}'), ("tool", "42"), ("assistant", "a 0")]),
    "an old call": ({"messages": [*openai(0)[:1], {"role": "assistant", "content": None, "function_call": CALL["function"]}, {"role": "function", "name": "add", "content": 42}, *openai(0)[1:]]},
                    [("user", "q 0"), ("assistant", '{"name": "add", "arguments": {"a": 1}}'), ("tool", "42"), ("assistant", "a 0")]),
    "sharegpt tools": ({"conversations": [{"from": "human", "value": "q 0"}, {"from": "function_call", "value": '{"name": "add", "arguments": {"a": 1}}'},
                                          {"from": "observation", "value": "42"}, {"from": "gpt", "value": "a 0"}], "tools": '[{"name": "add"}]'},
                       [("user", "q 0"), ("assistant", '{"name": "add", "arguments": {"a": 1}}'), ("tool", "42"), ("assistant", "a 0")]),
    "ends with a call": ({"messages": [*openai(0)[:1], {"role": "assistant", "content": "", "tool_calls": [CALL]}]}, [("user", "q 0"), ("assistant", '{"name": "add", "arguments": {"a": 1}}')]),
    "functions": ({"messages": openai(0), "functions": [{"name": "add"}], "system_prompt": "be kind"}, [("system", "be kind"), ("user", "q 0"), ("assistant", "a 0")]),
    "code": ({"messages": [{"role": "user", "content": " q 0\n"}, {"role": "assistant", "content": "\n    return 1\n"}]}, [("user", "q 0"), ("assistant", "    return 1")]),
    "weight": ({"messages": [*openai(0)[:1], {"role": "assistant", "content": "b", "weight": 0.0}, *openai(0)[:1], {"role": "assistant", "content": "c", "weight": 1}]},
               [("user", "q 0"), ("assistant", "b"), ("user", "q 0"), ("assistant", "c")]),
    "goes on after": ({"messages": [*openai(0), {"role": "user", "content": "bye"}]}, [("user", "q 0"), ("assistant", "a 0")]),
}  # fmt: skip


@pytest.mark.parametrize("name", list(RICH))
def test_what_else_conversations_have(name, tmp_path):
    row, turns = RICH[name]
    others = [
        json.loads(json.dumps(row).replace("q 0", f"q {i}").replace('"a "', f'"a{i} "').replace('"instruction": "add', f'"instruction": "add {i}'))
        for i in range(1, 12)
    ]
    look = importing.preview(written(tmp_path, [row, *others]))
    assert turns_of(look) == turns
    assert len(told(look)) == (name == "goes on after")


# How the answer's turn is spoiled → what the sentence says, by how the way names turns.
DEFECTS = {
    "no answer": (lambda turns: turns[:1], "has no answer to learn|where a conversation should be|has no text"),
    "empty answer": (lambda turns: [turns[0], {**turns[1], "content": ""}], "turn [12] .column '.*'. of the assistant is empty|has no text in column"),
    "blank answer": (lambda turns: [turns[0], {**turns[1], "content": " \n"}], "of the assistant is empty|has no text in column"),
    "null answer": (lambda turns: [turns[0], {**turns[1], "content": None}], "of the assistant is empty|has no text in column"),
    "empty question": (lambda turns: [{**turns[0], "content": ""}, turns[1]], "turn 1 .column '.*'. of the user is empty|has no text in column"),
    "half a letter": (lambda turns: [turns[0], {**turns[1], "content": "a \ud83d"}], "half a letter"),
    "an object": (lambda turns: [turns[0], {**turns[1], "content": {"a": 1}}], "has an object as its text|has an object in column|where a conversation"),
}  # fmt: skip


@pytest.mark.parametrize("defect", list(DEFECTS))
@pytest.mark.parametrize("way", [way for way in WAYS if way not in ("openai parts", "openai as python", "openai by columns")])
def test_a_defect_is_refused_with_its_row_in_every_way(way, defect, tmp_path):
    write, _, name = WAYS[way]
    spoil, words = DEFECTS[defect]
    bad = spoil(openai(3))
    if len(bad) < 2 and name in ("prompt_completion", "alpaca", "pairs"):
        bad = [*bad, {"role": "assistant", "content": None}]
    if name == "prompt_completion" and not isinstance(bad[1]["content"], str):
        row = {"prompt": bad[0]["content"], "completion": bad[1]["content"]}
    else:
        row = write(bad)
    with pytest.raises(Refusal, match=rf"[Rr]ow 4\b.*({words})"):
        importing.preview(written(tmp_path, [*(write(openai(i)) for i in range(3)), row, *(write(openai(i)) for i in ROWS)]))


TURNS = {
    "no turn": (["junk"], "Row 1, turn 3 .column 'messages'. is 'junk', which is no turn"),
    "an image": ([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}], "turn 3 .* has a part of type 'image_url'; the lab reads text alone"),
    "a sound": ([{"role": "user", "content": [{"type": "input_audio"}, {"type": "text", "text": "x"}]}], "part of type 'input_audio'"),
    "no speaker": ([{"content": "x"}], "turn 3 .* says under 'role' no speaker; its keys are content"),
    "a stranger": ([{"role": "narrator", "content": "x"}], "turn 3 .* has the speaker 'narrator', whose role is not known"),
    "a nameless call": ([{"role": "assistant", "content": None, "tool_calls": [{"id": "x"}]}], "turn 3 .* calls a tool without saying which"),
    "arguments": ([{"role": "assistant", "tool_calls": [{"function": {"name": "add", "arguments": "{a"}}]}], "calls add with arguments that are no JSON"),
    "a weight": ([{"role": "assistant", "content": "x", "weight": 0.5}], "turn 3 .* has the weight 0.5; an answer is learned .1. or not .0."),
    "half a letter in arguments": ([{"role": "assistant", "tool_calls": [{"function": {"name": "add", "arguments": '{"a": "\\ud83d"}'}}]}], "turn 3 .* has half a letter"),
    "an empty result": ([{"role": "tool", "content": ""}, {"role": "assistant", "content": "x"}], "turn 3 .* of the tool is empty"),
}  # fmt: skip


@pytest.mark.parametrize("name", list(TURNS))
def test_a_turn_that_cannot_be_read_is_refused_by_its_place(name, tmp_path):
    more, words = TURNS[name]
    with pytest.raises(Refusal, match=words) as refused:
        importing.preview(written(tmp_path, [{"messages": [*openai(i), *more]} for i in ROWS]))
    assert refused.value.field in ("columns.messages", "turns")


PREFERENCES = {
    "chosen and rejected": ({"prompt": "q", "chosen": "a", "rejected": "b"}, "'chosen' and 'rejected' are preferences, .* choose the kind instruction, with 'chosen' as the output"),
    "as turns": ({"chosen": openai(1), "rejected": openai(2)}, "'chosen' and 'rejected' are preferences, .* with 'chosen' as the messages"),
    "sharegpt": ({"conversations": sharegpt(openai(1)[:1]), "chosen": {"from": "gpt", "value": "a"}, "rejected": {"from": "gpt", "value": "b"}}, "are preferences"),
    "other names": ({"question": "q", "response_chosen": "a", "response_rejected": "b"}, "'response_chosen' and 'response_rejected' are preferences"),
    "a ranking": ({"instruction": "q", "input": "", "output": ["better", "worse"]}, "Row 1 has 2 answers in column 'output', as rankings of answers do"),
    "the API's": ({"input": "q", "preferred_output": "a", "non_preferred_output": "b"}, "'preferred_output' and 'non_preferred_output' are preferences"),
    "two answers": ({"question": "q", "response_j": "a", "response_k": "b"}, "'response_j' and 'response_k' are several answers to one prompt"),
    "a battle": ({"conversation_a": openai(1), "conversation_b": openai(2), "winner": "model_a"}, "'conversation_a' and 'conversation_b' are several answers"),
    "scored": ({"prompt": "q", "responses": ["a", "b"], "scores": [1, 2]}, "'responses' holds several answers to one prompt, as rankings do"),
    "unpaired": ({"prompt": "q", "completion": "a", "label": True}, "'completion' with a true or false 'label' is unpaired preferences"),
    "steps": ({"prompt": "q", "completions": ["a", "b"], "labels": [True, False]}, "judge every step of an answer"),
}  # fmt: skip


@pytest.mark.parametrize("name", list(PREFERENCES))
def test_preferences_are_refused_by_name(name, tmp_path):
    row, words = PREFERENCES[name]
    path = written(tmp_path, [row for _ in ROWS])
    with pytest.raises(Refusal, match=words):
        importing.preview(path)
    with pytest.raises(Refusal, match=words):
        importing.preview(path, family="instruction")


def test_the_chosen_answers_can_be_learned_alone(tmp_path):
    path = written(tmp_path, [{"chosen": openai(i), "rejected": openai(i, "no {}")} for i in ROWS])
    assert turns_of(importing.preview(path, family="instruction", columns={"messages": "chosen"})) == [("user", "q 0"), ("assistant", "a 0")]


def test_keys_and_roles_can_be_corrected_and_are_kept(tmp_path):
    rows = [{"log": [{"who": "Anna", "says": f"q {i}", "mood": "good"}, {"who": "Narrator", "says": "later"}, {"who": "Bob", "says": f"a {i}"}]} for i in ROWS]
    choices = {
        "family": "instruction",
        "columns": {"messages": "log"},
        "turns": {"role": "who", "content": "says", "speakers": {"Anna": "user", "Bob": "assistant", "Narrator": "ignore"}},
    }
    path = written(tmp_path, rows)
    with pytest.raises(Refusal, match="says under 'role' no speaker; its keys are who, says, mood"):
        importing.preview(path, family="instruction", columns={"messages": "log"})
    assert importing.outline(path, "instruction", {"messages": "log"}, turns={"role": "who"})[3]["turns"]["speakers"] == {"Anna": "", "Narrator": "", "Bob": ""}
    look = importing.preview(path, **choices)
    assert turns_of(look) == [("user", "q 0"), ("assistant", "a 0")]
    assert told(look) == ["Turns have keys that are not read: mood.", "Turns of Narrator are left out."]
    spec = importing.commit(path, "talks", **choices, loss_on="last")
    assert (spec.turns.role, spec.turns.speakers["Narrator"], spec.loss_on) == ("who", "ignore", "last") and lab.tasks.describe("talks")["available"]
    with pytest.raises(Refusal, match="one of"):
        importing.preview(path, **{**choices, "turns": {"speakers": {"Anna": "narrator"}}})


def test_one_prompt_with_many_answers_stays_in_one_split(tmp_path):
    rows = (
        [{"instruction": "tell a joke", "output": f"joke {i}"} for i in range(30)]
        + [{"instruction": f"say {i}", "output": "yes"} for i in range(30)]
        + [{"instruction": "say 1", "output": "yes"}]
    )
    look = importing.preview(written(tmp_path, rows))
    assert (look.dropped, look.disputed, sum(look.splits.values())) == (1, 0, 60)


def test_conversations_that_differ_in_anything_that_is_read_are_no_duplicates(tmp_path):
    """The tools on offer, who speaks, which answers are learned: only all of it together is the same row."""
    tool = lambda name: [{"type": "function", "function": {"name": name}}]  # noqa: E731
    makers = [lambda i: {"tools": tool("ab"[i % 2])}, lambda i: {"tools": tool("a") if i % 2 else []}, lambda i: {}]
    for make in makers:
        look = importing.preview(written(tmp_path, [{"messages": openai(i // 2), **make(i)} for i in range(40)]))
        assert (look.dropped, sum(look.splits.values())) == ((0, 40) if make(0) else (20, 20))
        assert not make(0) or all(count % 2 == 0 for count in look.splits.values())
    turns = lambda i: [*openai(i // 2), *openai(i // 2)]  # noqa: E731
    look = importing.preview(
        written(tmp_path, [{"messages": [{**turn, **({"weight": i % 2} if place == 1 else {})} for place, turn in enumerate(turns(i))]} for i in range(40)])
    )
    assert look.dropped == 0


def test_conversations_as_text_in_a_cell_hold_no_half_letters(tmp_path):
    """What is JSON inside a text is read after the file was looked through."""
    half = "\\ud83d"
    for row, words in (({"messages": json.dumps([{"role": "user", "content": "q"}, {"role": "assistant", "content": "HALF"}])}, "turn 2 .* half a letter"),
                       ({"messages": json.dumps(openai(1)), "tools": '[{"name": "HALF"}]'}, "half a letter .* in column 'tools'"),
                       ({"instruction": "q", "output": "a", "history": '[["HALF", "b"]]'}, "half a letter .* in column 'history'")):  # fmt: skip
        row = {key: value.replace("HALF", half) for key, value in row.items()}
        with pytest.raises(Refusal, match=f"[Rr]ow 1\\b.*{words}"):
            importing.preview(written(tmp_path, [row] * 12))


def test_a_template_that_refuses_a_role_is_told_before_the_run(tmp_path):
    """Before anything is queued: the sentence says which row, what the template says, and what to do."""
    from transformers import AutoTokenizer

    model = save_model(tmp_path / "model", "llama", "causal")
    tokenizer = AutoTokenizer.from_pretrained(model)
    tokenizer.chat_template = (
        "{% for m in messages %}{% if m['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}{{ m['content'] }}{% endfor %}"
    )
    tokenizer.save_pretrained(model)
    path = written(tmp_path, [{"messages": [{"role": "system", "content": "a film"}, *openai("film " * (i + 1), "the fine {}", "the dull {}")]} for i in ROWS])
    importing.commit(path, "talks")
    importing.commit(path, "plain", turns={"speakers": {"system": "ignore"}})
    with pytest.raises(Refusal, match=r"refuses the system's turn of row 1 .System role not supported.: leave these turns out .role ignore"):
        check({"model": model, "task": "talks", "method": "lora"})
    assert check({"model": model, "task": "plain", "method": "lora"}).task == "plain"
