"""Text of a person is never a control token: a law over kinds of tokenizers, task families, training, judging and Try it."""

from __future__ import annotations

import pytest
from tokenizers_support import KINDS, tokenizer_of

from lab.tasks import control
from lab.tasks.control import chat_tokens, names, plain

ORDINARY = ["the lamp works", "", "  a dull film:  20 of 31\n\nof it ", "x|y <tag> é \U0001f642 lamp", "< / s > im_end"]


def spelled(kind: str) -> list[str]:
    """Texts that name every control token: alone, at the ends, inside words, twice in a row."""
    return [text for name in names(tokenizer_of(kind)) for text in (name, f"the {name} lamp", f"{name}the lamp{name}", f"lamp{name}{name} it", f"a{name}b")]


@pytest.mark.parametrize("kind", KINDS)
def test_where_no_control_token_is_named_nothing_changes(kind):
    tokenizer = tokenizer_of(kind)
    for options in ({}, {"add_special_tokens": False}, {"truncation": True, "max_length": 4}):
        assert plain(tokenizer)(ORDINARY, **options)["input_ids"] == tokenizer(ORDINARY, **options)["input_ids"]
        assert plain(tokenizer)(ORDINARY, ORDINARY[::-1], **options)["input_ids"] == tokenizer(ORDINARY, ORDINARY[::-1], **options)["input_ids"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_named_control_token_is_text(kind):
    tokenizer = tokenizer_of(kind)
    kept = {tokenizer.unk_token_id}  # of what the vocabulary has no letters for
    ids = {tokenizer.convert_tokens_to_ids(name) for name in names(tokenizer)} - kept
    frame = [number for number in tokenizer("").input_ids if number in ids]
    for text in spelled(kind):
        assert not ids & set(plain(tokenizer)(text, add_special_tokens=False)["input_ids"]), text
        assert [number for number in plain(tokenizer)(text)["input_ids"] if number in ids] == frame, text
        if not tokenizer.unk_token:
            assert tokenizer.decode(plain(tokenizer)(text, add_special_tokens=False)["input_ids"]) == text
    tokenizer(spelled(kind))  # the tokenizer itself is as it was
    assert ids & set(tokenizer(spelled(kind)[0], add_special_tokens=False)["input_ids"]) or tokenizer.convert_tokens_to_ids(names(tokenizer)[0]) in kept


def chat_ids(tokenizer, messages, **options) -> list[int]:
    """Token ids of a conversation in the tokenizer's chat template."""

    def render(mark):
        return tokenizer.apply_chat_template(mark(list(messages)), tokenize=False, **mark(options))

    return chat_tokens(tokenizer, render(lambda value: value), render, (list(messages), options))[0]


CHATS = [kind for kind in KINDS if tokenizer_of(kind).chat_template]


def chat(text: str, answer: str = "it works") -> list[dict[str, str]]:
    return [{"role": "user", "content": text}, {"role": "assistant", "content": answer}, {"role": "user", "content": "again?"}]


@pytest.mark.parametrize("kind", CHATS)
def test_a_chat_without_names_is_what_the_template_gives(kind, monkeypatch):
    tokenizer = tokenizer_of(kind)
    for text in filter(str.strip, ORDINARY):
        rendered = tokenizer.apply_chat_template(chat(text), tokenize=False, add_generation_prompt=True)
        expected = tokenizer(rendered, add_special_tokens=False)["input_ids"]
        assert chat_ids(tokenizer, chat(text), add_generation_prompt=True) == expected
        # the way by stretches gives the same, whichever of them is taken for one that somebody wrote a name into
        pattern = control.re.compile("|".join(map(control.re.escape, names(tokenizer))))
        left, right = "\ue000", "\ue001"
        parts = [piece for piece in pattern.split(rendered) if piece.strip()]
        for part in parts:
            middle = len(part) // 2
            marked = rendered.replace(part, f"{part[:middle]}{left}{part[middle:]}", 1)
            found: list[int] = []
            for piece, written, start in control._stretches(marked, pattern, left, right, tokenizer):
                reader = tokenizer if not written else plain(tokenizer) if not start else control._inside(tokenizer)
                found += reader(piece, add_special_tokens=False)["input_ids"]
            assert found == expected, part


@pytest.mark.parametrize("kind", CHATS)
def test_the_markers_of_a_chat_are_the_templates_alone(kind):
    tokenizer = tokenizer_of(kind)
    ids = {tokenizer.convert_tokens_to_ids(name) for name in names(tokenizer)} - {tokenizer.unk_token_id}
    markers = [number for number in chat_ids(tokenizer, chat("the lamp"), add_generation_prompt=True) if number in ids]
    assert markers
    for text in spelled(kind):
        for messages in (chat(text), chat("the lamp", text), chat(f"\ue000{text}\ue001")):
            found = chat_ids(tokenizer, messages, add_generation_prompt=True)
            assert [number for number in found if number in ids] == markers, text
        if not tokenizer.unk_token:
            assert text in tokenizer.decode(found)


def setting_of(objective: str, kind: str, **spec):
    from tiny import tiny_tokenizer

    from lab.design.spec.task import TaskSpec
    from lab.tasks.family import Setting

    tokenizer = tiny_tokenizer(kind)
    config = type("Config", (), {"model_type": "t5", "type_vocab_size": 0, "get_text_config": lambda self: self})()
    return Setting(TaskSpec(**{"source": {"file": "x.csv"}, **spec}), tokenizer, config, objective, 200, tuple(spec.get("labels") or ()))


ODD = ["a </s> b", "<s></s><pad>", "a\0b", "\0", "{text} {text_pair} {}", "</s>"]
FAMILY_CASES = [
    ("classification", "classification", "encoder", {"labels": ["x", "y"]}, lambda a, b: {"text": a, "text_pair": b, "label": 0}),
    ("classification", "causal", "decoder", {"labels": ["</s>", "y"]}, lambda a, b: {"text": a, "text_pair": b, "label": 0}),
    ("regression", "regression", "encoder", {}, lambda a, b: {"text": a, "text_pair": b, "label": 0.5}),
    ("summarization", "seq2seq", "encoder-decoder", {}, lambda a, b: {"source": a, "target": b}),
    ("summarization", "causal", "decoder", {}, lambda a, b: {"source": a, "target": b}),
    ("math_reasoning", "causal", "decoder", {}, lambda a, b: {"source": a, "target": b}),
    ("commonsense", "causal", "decoder", {}, lambda a, b: {"question": a, "options": [b, "no"], "answer": 0}),
    ("instruction", "causal", "decoder", {}, lambda a, b: {"messages": [{"role": "user", "content": a}, {"role": "assistant", "content": b}], "tools": []}),
    ("instruction", "seq2seq", "encoder-decoder", {}, lambda a, b: {"messages": [{"role": "user", "content": a}, {"role": "assistant", "content": b}], "tools": []}),
    ("language_modelling", "causal", "decoder", {}, lambda a, b: {"text": f"{a}{b}"}),
]  # fmt: skip


@pytest.mark.parametrize("case", FAMILY_CASES, ids=[f"{case[0]}-{case[1]}" for case in FAMILY_CASES])
def test_every_family_reads_text_as_text(case):
    """Control tokens stand where the row without names has them; every letter of both texts is there, in its place and once."""
    from lab.tasks import FAMILIES

    name, objective, kind, options, example = case
    columns = {"text": "text", "text_pair": "text_pair", "label": "label"} if name in ("classification", "regression") else {}
    setting = setting_of(objective, kind, family=name, columns=columns, **options)
    family = FAMILIES[name]()

    def encoded(a: str, b: str) -> list[int]:
        (row,) = family.encode([example(a, b)], setting, True)
        target = row["labels"] if objective == "seq2seq" else []
        return row["input_ids"] + list(target)

    control_ids = range(4)
    expected = [number for number in encoded("left", "right") if number in control_ids]
    for a, b in [(one, "right") for one in ODD] + [("left", one) for one in ODD] + [(one, one) for one in ODD]:
        found = encoded(a, b)
        assert [number for number in found if number in control_ids] == expected, (a, b)
        text = setting.tokenizer.decode([number for number in found if number not in control_ids])
        plainly = setting.tokenizer.decode([number for number in encoded("left", "right") if number not in control_ids])
        assert text == plainly.replace("left", a).replace("right", b), (a, b)
