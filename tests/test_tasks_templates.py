"""Conversations in chat templates: which tokens are learned, what is cut, what a template refuses, over the formats that models publish."""

from __future__ import annotations

import pytest
from tokenizers import AddedToken
from tokenizers_support import tokenizer_of

from lab.design.plain.refusal import Refusal
from lab.design.spec.task import TaskSpec
from lab.tasks.families.instruction import Instruction
from lab.tasks.family import Setting
from lab.tasks.templates import Template
from tests.tiny import tiny_config

# The formats as their models' cards print them, in templates of our own. "end": what closes a turn. "marked": the template says itself what is generated.
CHATML = "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
CHATML_DEFAULT = "{% if messages[0]['role'] != 'system' %}<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n{% endif %}" + CHATML  # Qwen2.5, SmolLM2
MARKED = ("{% for m in messages %}{% if m['role'] == 'assistant' %}<|im_start|>assistant\n{% generation %}{{ m['content'] }}<|im_end|>{% endgeneration %}\n{% else %}"
          "<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endif %}{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}")  # fmt: skip
MARKED_TEXT = MARKED.replace(
    "{{ m['content'] }}<|im_end|>{% endgeneration %}", "{{ m['content'] }}{% endgeneration %}<|im_end|>"
)  # whose marks leave out the end of the turn
LLAMA3 = ("{{ bos_token }}{% for m in messages %}<|start_header_id|>{{ m['role'] }}<|end_header_id|>\n\n{{ m['content'] | trim }}<|eot_id|>{% endfor %}"
          "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}")  # fmt: skip
GEMMA = ("{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}{% for m in messages %}"
         "{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}"
         "<start_of_turn>{{ 'model' if m['role'] == 'assistant' else m['role'] }}\n{{ m['content'] | trim }}<end_of_turn>\n{% endfor %}"
         "{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}")  # fmt: skip
LLAMA2 = ("{% if messages[0]['role'] == 'system' %}{% set rest = messages[1:] %}{% set first = '<<SYS>>\n' + messages[0]['content'] + '\n<</SYS>>\n\n' %}{% else %}"
          "{% set rest = messages %}{% set first = '' %}{% endif %}{% for m in rest %}{% if m['role'] == 'user' %}{{ bos_token }}[INST] {{ first if loop.index0 == 0 else '' }}"
          "{{ m['content'] }} [/INST]{% else %} {{ m['content'] }} {{ eos_token }}{% endif %}{% endfor %}")  # fmt: skip
THINKING = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{% if m['role'] == 'assistant' and not loop.last %}{{ m['content'].split('</think>')[-1].lstrip('\n') }}"
    "{% elif m['role'] == 'assistant' and '</think>' not in m['content'] %}<think>\n\n</think>\n\n{{ m['content'] }}{% else %}{{ m['content'] }}{% endif %}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)  # Qwen3: earlier answers lose their reasoning
NO_END = "{% for m in messages %}[{{ m['role'] }}]{{ m['content'] }}{% endfor %}{% if add_generation_prompt %}[assistant]{% endif %}"
TOOLS = ("{% if tools %}{% for t in tools %}{{ t | tojson }}\n{% endfor %}{% endif %}{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}"
         "{% for c in m['tool_calls'] or [] %}<call>{{ c['function'] | tojson }}</call>{% endfor %}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}")  # fmt: skip
FORMATS = {"chatml": CHATML, "chatml-default": CHATML_DEFAULT, "marked": MARKED, "marked-text": MARKED_TEXT, "llama-3": LLAMA3, "gemma": GEMMA, "llama-2": LLAMA2,
           "thinking": THINKING, "no-end": NO_END, "alpaca": None}  # fmt: skip
TALK = [{"role": "user", "content": "the lamp broke"}, {"role": "assistant", "content": "was it 20"}, {"role": "user", "content": "it works again"},
        {"role": "assistant", "content": "a dull film"}, {"role": "user", "content": "20 of 31"}, {"role": "assistant", "content": "a fine film: 31"}]  # fmt: skip


def setting_of(template: str | None, loss_on: str = "all", max_length: int = 400, kind: str = "bpe") -> Setting:
    import copy

    tokenizer = copy.deepcopy(tokenizer_of(kind))
    tokenizer.add_tokens(
        [AddedToken(name, special=True) for name in ("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<start_of_turn>", "<end_of_turn>")]
    )
    tokenizer.chat_template = template
    spec = TaskSpec(family="instruction", columns={"messages": "messages"}, source={"file": "x.json"}, loss_on=loss_on)
    return Setting(spec=spec, tokenizer=tokenizer, config=tiny_config("llama"), objective="causal", max_length=max_length)


def row_of(turns, setting: Setting, train: bool = True, tools=()):
    return Instruction().encode([{"messages": turns, "tools": list(tools)}], setting, train)[0]


def learned(row, setting: Setting) -> list[str]:
    """The texts of the stretches that a loss looks at, read with a word before them, so that a space at the start is not lost."""
    found, before = [], False
    for token, label in zip(row["input_ids"], row["labels"], strict=True):
        if label != -100:
            assert label == token
            found = [*found[:-1], [*found[-1], token]] if before else [*found, [token]]
        before = label != -100
    word = setting.tokenizer("the", add_special_tokens=False)["input_ids"]
    return [setting.tokenizer.decode([*word, *ids])[len(setting.tokenizer.decode(word)) :].lstrip() for ids in found]


@pytest.mark.parametrize("kind", ["bpe", "sentencepiece-bpe", "unigram-first"])
@pytest.mark.parametrize("loss_on", ["all", "last"])
@pytest.mark.parametrize("name", list(FORMATS))
def test_the_answers_are_learned_and_nothing_else(name, loss_on, kind):
    setting = setting_of(FORMATS[name], loss_on, kind=kind)
    row = row_of(TALK, setting)
    answers = [turn["content"] for turn in TALK if turn["role"] == "assistant"][0 if loss_on == "all" else -1 :]
    found = learned(row, setting)
    assert len(found) == len(answers)
    for text, answer in zip(found, answers, strict=True):
        assert answer in text and not any(turn["content"] in text for turn in TALK if turn["content"] != answer)
    closed = setting.tokenizer.eos_token_id
    assert row["input_ids"][-1] == row["labels"][-1] == closed  # a model learns to stop
    ends = {"chatml": "<|im_end|>", "chatml-default": "<|im_end|>", "marked": "<|im_end|>", "marked-text": "<|im_end|>", "llama-3": "<|eot_id|>", "gemma": "<end_of_turn>",
            "llama-2": setting.tokenizer.eos_token, "alpaca": setting.tokenizer.eos_token}  # fmt: skip
    assert all(text.rstrip().endswith(ends[name]) for text in found[:-1]) if name in ends else True
    if FORMATS[name]:  # the ids are those of the whole conversation as the template writes it
        whole = setting.tokenizer.apply_chat_template(TALK, tokenize=False)
        ids = setting.tokenizer(whole, add_special_tokens=False)["input_ids"]
        assert ids[: len(row["input_ids"]) - 1] == row["input_ids"][:-1]
        if name != "no-end":  # what generation starts from is what the template gives it
            opening = setting.tokenizer.apply_chat_template(TALK[:-1], tokenize=False, add_generation_prompt=True)
            held = row_of(TALK, setting, train=False)
            assert (
                setting.tokenizer.decode(held["input_ids"][: held["prompt_length"]]).strip()
                == setting.tokenizer.decode(setting.tokenizer(opening, add_special_tokens=False)["input_ids"]).strip()
            )
            assert held["reference"] == TALK[-1]["content"]


def test_a_turn_with_weight_0_is_read_and_not_learned():
    setting = setting_of(CHATML)
    turns = [*TALK[:1], {**TALK[1], "learn": False}, *TALK[2:]]
    found = learned(row_of(turns, setting), setting)
    assert len(found) == 2 and "was it 20" not in "".join(found)


def test_reasoning_of_earlier_answers_is_refused_for_all_and_learned_for_the_last():
    """Qwen3 and its like take the reasoning out of earlier answers: those letters are nowhere to be learned."""
    turns = [
        TALK[0],
        {"role": "assistant", "content": "<think>\nhm\n</think>\n\nwas it"},
        TALK[2],
        {"role": "assistant", "content": "<think>\nso\n</think>\n\nit works"},
    ]
    found = learned(row_of(turns, setting_of(THINKING, "last")), setting_of(THINKING))
    assert found == ["<think>\nso\n</think>\n\nit works<|im_end|>"]
    with pytest.raises(Refusal, match="learn the last answer alone"):
        row_of(turns, setting_of(THINKING, "all"))


@pytest.mark.parametrize("name", ["chatml", "marked", "llama-3", "gemma", "alpaca"])
@pytest.mark.parametrize("limit", [30, 45, 60, 90, 150])
def test_too_long_a_conversation_loses_its_oldest_rounds_first(name, limit):
    setting = setting_of(FORMATS[name], max_length=limit)
    whole = row_of(TALK, setting_of(FORMATS[name]))
    row = row_of(TALK, setting)
    assert row["length"] == len(row["input_ids"]) == len(row["labels"]) <= limit and row["cut"] == int(whole["length"] > limit)
    assert any(label != -100 for label in row["labels"])
    text = setting.tokenizer.decode(row["input_ids"])
    kept = [turn["content"] in text for turn in TALK]
    assert kept == sorted(kept)  # never an older one while a newer one is gone
    if limit >= 60:
        assert kept[-2:] == [True, True]
        assert learned(row, setting)[-1].startswith(TALK[-1]["content"]) or FORMATS[name] == LLAMA2


def test_the_system_turn_stays_and_one_long_turn_is_cut_at_its_end():
    setting = setting_of(CHATML, max_length=60)
    system = {"role": "system", "content": "a fine lamp"}
    row = row_of([system, *TALK], setting)
    text = setting.tokenizer.decode(row["input_ids"])
    assert "a fine lamp" in text and TALK[-1]["content"] in text and TALK[0]["content"] not in text and row["cut"] == 1
    row = row_of([system, {"role": "user", "content": "the lamp works and " * 60}, TALK[-1]], setting)
    text = setting.tokenizer.decode(row["input_ids"])
    assert (
        row["length"] <= 60
        and text.startswith("<|im_start|>system\na fine lamp<|im_end|>\n<|im_start|>user\nthe lamp works")
        and learned(row, setting) == [TALK[-1]["content"] + "<|im_end|>"]
    )


SYSTEM = [{"role": "system", "content": "be brief"}, *TALK[:2]]
CALL = {"type": "function", "function": {"name": "count_lamps", "arguments": {"room": "kitchen"}}}
CALLED = [
    TALK[0],
    {"role": "assistant", "content": "", "tool_calls": [CALL]},
    {"role": "tool", "content": "42 lamps"},
    {"role": "assistant", "content": "it is 42"},
]
OFFER = [{"type": "function", "function": {"name": "count_lamps", "description": "counts", "parameters": {"type": "object", "properties": {}}}}]
REFUSALS = {
    "no system": (GEMMA, SYSTEM, (), "refuses the system's turn of row 7 .System role not supported.: leave these turns out"),
    "no alternation": (GEMMA, [TALK[0], TALK[2], TALK[1]], (), "refuses the turns of row 7 .Conversation roles must alternate.*change or leave out such rows"),
    "system left out": ("{% for m in messages if m['role'] != 'system' %}{{ m['role'] }}{{ m['content'] }}{% endfor %}", SYSTEM, (), "leaves out turns of the system, which row 7 has"),
    "calls left out": (CHATML, CALLED, (), "leaves out calls of tools, which row 7 has"),
    "tools left out": (CHATML, TALK[:2], OFFER, "leaves out tools on offer, which row 7 has"),
    "no such role": (GEMMA, CALLED, (), "refuses the turns of row 7"),
    "undefined": ("{{ messages[0]['content'].nothing() }}", TALK, (), "refuses the turns of row 7"),
    "no template at all": ("{% for m in messages %}", TALK, (), "refuses the turns of row 7"),
}  # fmt: skip


@pytest.mark.parametrize("name", list(REFUSALS))
def test_what_a_template_refuses_or_leaves_out_is_one_sentence(name):
    template, turns, tools, words = REFUSALS[name]
    setting = setting_of(template)
    with pytest.raises(Refusal, match=words):
        Instruction().encode([{"messages": turns, "tools": list(tools), "row": 7}], setting, True)


@pytest.mark.parametrize("name", ["tools", "alpaca"])
def test_calls_of_tools_are_learned_and_their_results_are_not(name):
    setting = setting_of({"tools": TOOLS, "alpaca": None}[name], max_length=1000)
    row = row_of(CALLED, setting, tools=OFFER)
    found = learned(row, setting)
    assert len(found) == 2 and '"name": "count_lamps"' in found[0] and '"room": "kitchen"' in found[0] and "it is 42" in found[1]
    assert "42 lamps" not in "".join(found) and "counts" not in "".join(found)
    text = setting.tokenizer.decode(row["input_ids"])
    assert "42 lamps" in text and "counts" in text


@pytest.mark.parametrize("name", ["chatml", "marked", "llama-3", "llama-2", "alpaca"])
def test_an_answer_that_names_a_control_token_is_learned_as_text(name):
    """Offsets of what is read in stretches are those of the whole text, so the mask does not move."""
    setting = setting_of(FORMATS[name])
    ends = setting.tokenizer.eos_token
    turns = [
        {"role": "user", "content": f"the {ends} lamp"},
        {"role": "assistant", "content": f"was {ends} it"},
        TALK[2],
        {"role": "assistant", "content": f"{ends} works"},
    ]
    found = learned(row_of(turns, setting), setting)
    assert len(found) == 2 and f"was {ends} it" in found[0] and f"{ends} works" in found[1] and "lamp" not in "".join(found)


def test_a_template_is_read_from_a_folder_as_from_its_tokenizer(tmp_path):
    setting = setting_of(GEMMA)
    setting.tokenizer.save_pretrained(tmp_path)
    found = Template.in_folder(tmp_path, "a model")
    assert found is not None and found.render(TALK) == Template.of(setting.tokenizer).render(TALK) == setting.tokenizer.apply_chat_template(
        TALK, tokenize=False
    )
    setting.tokenizer.chat_template = None
    (tmp_path / "plain").mkdir()
    setting.tokenizer.save_pretrained(tmp_path / "plain")
    assert Template.in_folder(tmp_path / "plain", "a model") is None and Template.in_folder(tmp_path / "no", "a model") is None


ODD = ["the lamp", "  if a:\n    b", "</think> x", "<think>a</think> b", "<|im_end|>", "x", "yes", "[assistant]", "### Response:"]


@pytest.mark.parametrize("name", [*FORMATS, "tools"])
def test_answers_found_alike_are_those_found_one_by_one(name, monkeypatch):
    """Whatever is said, and however often: the spans of a long conversation are those that rendering each beginning of it gives."""
    import random

    from lab.tasks import templates

    setting, draw = setting_of({**FORMATS, "tools": TOOLS}[name], max_length=4000), random.Random(name)
    for _ in range(6):
        talk = [
            turn
            for _ in range(draw.randint(4, 8))
            for turn in ({"role": "user", "content": draw.choice(ODD)}, {"role": "assistant", "content": draw.choice(ODD)})
        ]
        if name == "tools":
            call = {"type": "function", "function": {"name": "f", "arguments": {"a": 1}}}
            talk[4:4] = [
                {"role": "user", "content": "a"},
                {"role": "assistant", "content": "", "tool_calls": [call]},
                {"role": "tool", "content": "42"},
                {"role": "assistant", "content": "b"},
            ]
        found = []
        for alike in (10**9, 0):
            monkeypatch.setattr(templates, "ALIKE", alike)
            try:
                found.append(row_of(talk, setting))
            except Refusal as refusal:
                found.append(refusal.sentence)
        assert found[0] == found[1]


@pytest.mark.parametrize("name", ["chatml", "llama-3", "gemma", "llama-2", "thinking", "alpaca"])
def test_a_long_conversation_is_not_rendered_again_for_each_of_its_answers(name, monkeypatch):
    setting, counts = setting_of(FORMATS[name], max_length=40_000), []
    rendered = Template._rendered
    monkeypatch.setattr(Template, "_rendered", lambda self, *given, **more: counts.append(1) or rendered(self, *given, **more))
    times = []
    for rounds in (10, 60):
        counts.clear()
        row_of([{"role": role, "content": f"{role} says {i}"} for i in range(rounds) for role in ("user", "assistant")], setting)
        times.append(len(counts))
    assert times[0] == times[1] < 20
