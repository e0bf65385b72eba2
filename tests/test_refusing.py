"""Refusals on Chinese pages: every sentence that the code can write has a translation, and what varies in it stays."""

from __future__ import annotations

import ast
import itertools
import re

import pytest
from ui_support import ROOT

from lab.design.method.named import load_method
from lab.design.method.rules import FORM_OPTIONS
from lab.design.plain.options import fields
from lab.design.presets.catalogue import names
from lab.design.spec.run import Training
from lab.runs import logs
from lab.ui.bench import knobs
from lab.ui.words.refusals import CHINESE, refused

# What only a terminal says: the command line, and the settings that are read when the app starts.
TERMINAL = ("lab/cli/", "lab/ui/serve.py", "lab/ui/door/", "lab/ui/api.py", "lab/runs/slots.py", "lab/runs/database.py", "lab/runs/launchers.py", "lab/runs/ray_launcher.py",
            "lab/runs/migrations/")  # fmt: skip
UNSAID = {"Write {} path": [0, 1], "{} is {} {} a": [1]}  # a flag of the command line; an English article
HAN = re.compile("[\u4e00-\u9fff]")


def templates(node):
    """The texts that an expression can give, with {} for what is not written there."""
    if isinstance(node, ast.Constant):
        return [node.value] if isinstance(node.value, str) else []
    if isinstance(node, ast.IfExp):
        return templates(node.body) + templates(node.orelse)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return ["".join(pair) for pair in itertools.product(templates(node.left) or ["{}"], templates(node.right) or ["{}"])]
    if isinstance(node, ast.JoinedStr):
        pieces = [
            [part.value] if isinstance(part, ast.Constant) else (isinstance(part.value, ast.IfExp) and templates(part.value)) or ["{}"] for part in node.values
        ]
        return ["".join(chosen) for chosen in itertools.product(*pieces)]
    return []


def written():
    """{template: file} of every refusal in the code that a page can show."""
    found = {}
    for path in sorted((ROOT / "lab").rglob("*.py")):
        shown = path.relative_to(ROOT).as_posix()
        if shown.startswith(TERMINAL):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            said = node.args[:1] if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("Refusal", "Note")) else []
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) in ("refusals", "elsewhere") and isinstance(node.value, ast.Dict):
                said = node.value.values
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) in ("misfit", "nothing"):
                said = [node.value]
            if isinstance(node, ast.FunctionDef) and node.name == "_why":
                said = [part.value for part in ast.walk(node) if isinstance(part, ast.Return)]
            found |= {text: shown for one in said for text in templates(one) if re.search("[a-z]{2}", text.replace("{}", ""))}
    return found


def test_every_refusal_of_the_code_has_a_translation():
    found = written()
    assert len(found) > 250
    samples = {text: "".join(piece + (f"Q{index}" if index < text.count("{}") else "") for index, piece in enumerate(text.split("{}"))) for text in found}
    assert {found[text]: text for text, sample in samples.items() if not HAN.search(refused("zh", sample))} == {}


def test_all_advice_has_a_translation():
    said = [sentence for _, sentence in logs.ADVICE] + [logs.advise("", -9)]
    assert [sentence for sentence in said if not HAN.search(refused("zh", sentence))] == []


def test_advice_names_options_that_exist():
    """What it tells to change is an option of training, a setting of the lab, or a package's own name."""
    known = {field.path for field in fields(Training)}
    for sentence in [sentence for _, sentence in logs.ADVICE] + [logs.advise("", -9)]:
        named = set(re.findall(r"\b[a-z]+_[a-z_]+\b", sentence)) | set(re.findall(r"\((?:and )?raise ([a-z_]+)\)", sentence))
        assert named <= known, sentence


@pytest.mark.parametrize("kind", ["sentences", "parts"])
def test_translations_keep_what_varies(kind):
    for english, chinese in CHINESE[kind].items():
        places = english.count("{}")
        shown = chinese.format(*(f"‹{place}›" for place in range(places)))
        assert HAN.search(shown), english
        lost = [place for place in range(places) if f"‹{place}›" not in shown]
        assert lost == UNSAID.get(english[:13], []), english


@pytest.mark.parametrize("words", [*(words for _, words in FORM_OPTIONS.values() if " " in words), "all weights", "whole layers", "a sparse difference"])
def test_words_that_rules_fill_in_are_translated(words):
    for sentence in (
        f"Low rank has no use for {words}: leave x as it is.",
        f"A delta stands in for training {words}: take the deltas away, or select only bias or norm.",
    ):
        assert words not in refused("zh", sentence)


@pytest.mark.parametrize("sentence, chinese", [
    ("Rank must be at least 1; it is 0.", "秩必须至少为 1；现在是 0。"),
    ("Low rank has no use for scaling vectors: leave vectors as it is.", "低秩用不到缩放向量：请让 vectors 保持原样。"),
    ("The worker was killed by SIGKILL at step 5 of 10.", "工作进程在第 5 步（共 10 步）被 SIGKILL 结束。"),
    ("There is no column 'text'; there are text.", "没有列“text”；可选 text。"),
    ("'task' is missing.", "缺少“task”。"),
    ("Seed must be text; it is 3.", "随机种子必须是文本；现在是 3。"),
    ("Something broke. It is elsewhere.", "Something broke. It is elsewhere."),
    ("A name with {0} and {} in it", "A name with {0} and {} in it"),
])  # fmt: skip
def test_sentences_read_well(sentence, chinese):
    assert refused("zh", sentence) == chinese
    assert refused("en", sentence) == sentence


@pytest.mark.parametrize("preset", names("methods"))
def test_a_chinese_bench_gives_every_reason_in_chinese(preset):
    draft = {"model": "minilm-l6", "task": "sentiment-rt", "training": {"steps": 150}, "seed": 0, "name": "", "tags": []}
    for model in ("minilm-l6", "smollm2-135m", "bart-large"):
        told = knobs.turn({"draft": {**draft, "model": model, "method": load_method(preset).document()}, "language": "zh", "seq": 1})
        sentences = [why for choices in told["reasons"].values() for why in choices.values()] + [sentence for _, sentence in told["errors"]]
        assert [sentence for sentence in sentences if not HAN.search(sentence)] == []
        assert not re.search("Not fetched|On the Hugging", told["parts"]["costs"][1])
