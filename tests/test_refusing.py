"""Refusals on Chinese pages: every template of the code has its Chinese, which takes the same values, wherever the message went meanwhile."""

from __future__ import annotations

import ast
import copy
import functools
import json
import pickle
import re
import string

import pytest
from ui_support import ROOT

from lab.design.method.named import load_method
from lab.design.method.rules import FORM_OPTIONS
from lab.design.plain.message import JOINED, LETTERS, Message, listed, packed, some, unpacked, word
from lab.design.plain.options import fields
from lab.design.plain.refusal import Refusal
from lab.design.presets.catalogue import names
from lab.design.spec.run import Training
from lab.runs import Home, Queue, logs
from lab.runs.processes import identity
from lab.ui.bench import knobs
from lab.ui.words.refusals import CHINESE, refused

# What only a terminal says: the command line, and the settings that are read when the app starts.
TERMINAL = ("lab/cli/", "lab/ui/serve.py", "lab/ui/door/", "lab/ui/api.py", "lab/runs/slots.py", "lab/runs/database.py", "lab/runs/launchers.py", "lab/runs/ray_launcher.py",
            "lab/runs/migrations/")  # fmt: skip
HAN = re.compile("[\u4e00-\u9fff]")
SAYING = {"Refusal", "Note", "Message", "Exceeded", "Overtaken", "StoreGone"}  # what takes a template first, its values by name
HOLDING = {
    "refusals",
    "elsewhere",
    "misfit",
    "nothing",
    "unmerged",
    "words",
    "STATUSES",
    "CHANGED",
    "OFF",
    "DIED",
    "NARROWED",
    "ROUNDED",
    "NO_GATE",
}  # what templates and words are kept in
ASKED = {"late", "large", "died"}  # of a child process
MAKING = ("format", "join", "replace", "strip", "rstrip", "capitalize")
PLACE = re.compile(r"\{[a-z_]+[:}]")
FILES = [path for path in sorted((ROOT / "lab").rglob("*.py")) if path.name not in ("message.py", "refusal.py")]


def literals(node):
    """The texts that an expression chooses among; None where one of them is made."""
    if isinstance(node, ast.Constant):
        return [node.value] if isinstance(node.value, str) else []
    if isinstance(node, (ast.JoinedStr, ast.BinOp)) or isinstance(node, ast.Call) and getattr(node.func, "attr", "") in MAKING:
        return None
    parts = [node.body, node.orelse] if isinstance(node, ast.IfExp) else node.values if isinstance(node, (ast.BoolOp, ast.Dict)) else []
    found = [literals(part) for part in parts if part is not None]
    return None if None in found else [text for each in found for text in each]


@functools.cache
def said():
    """[(file, line, templates or None, names of values or None for **)] of every call that says something."""
    found = []
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            place = (path.relative_to(ROOT).as_posix(), getattr(node, "lineno", 0))
            if isinstance(node, ast.Call):
                if ast.unparse(node.func).rpartition(".")[2] in SAYING and node.args:
                    names = {keyword.arg for keyword in node.keywords}
                    found.append((*place, literals(node.args[0]), None if None in names else names))
                elif ast.unparse(node.func) in ("serve", "refused") and len(node.args) > 1:
                    found.append((*place, literals(node.args[1]), None))
                found += [(*place, literals(keyword.value), None) for keyword in node.keywords if keyword.arg in ASKED]
            elif isinstance(node, (ast.Assign, ast.AnnAssign)) and node.value is not None:
                target = node.targets[0] if isinstance(node, ast.Assign) else node.target
                if ast.unparse(target) in HOLDING and isinstance(node.value, (ast.Constant, ast.Dict)):
                    found.append((*place, literals(node.value) or [], None))
    return found


def names_in(template):
    return {name for _, name, _, _ in string.Formatter().parse(template) if name is not None}


def test_a_template_is_written_as_it_stands():
    """No f-string, no sum and no .format: the template is the key, and what varies is beside it."""
    assert len(said()) > 900
    assert [(file, line) for file, line, texts, _ in said() if texts is None] == []
    for file, line, texts, given in said():
        for text in texts:
            assert not given or names_in(text) <= given, (file, line, text)
            assert given is None or given or not PLACE.search(text), (file, line, "names what it does not give")
        assert not given or not texts or set().union(*map(names_in, texts)) == given, (file, line, "gives what it does not name")


def test_no_sentence_is_made_before_it_is_said():
    """Nor by way of a variable: what a call takes first is a template, or a message that another call made."""
    made = []
    for path in FILES:
        for function in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(function, ast.FunctionDef):
                nodes = list(ast.walk(function))
                names = {
                    target.id
                    for node in nodes
                    if isinstance(node, ast.Assign) and literals(node.value) is None
                    for target in node.targets
                    if isinstance(target, ast.Name)
                }
                made += [
                    f"{path.relative_to(ROOT)}:{node.lineno}"
                    for node in nodes
                    if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] in SAYING and node.args and ast.unparse(node.args[0]) in names
                ]
    assert made == []


def test_every_template_of_the_code_has_its_chinese():
    wanted = {
        text: file for file, _, texts, _ in said() for text in texts if not file.startswith(TERMINAL) and re.search("[a-z]{2}", re.sub(r"\{[^}]*\}", "", text))
    }
    assert len(wanted) > 800
    assert {file: text for text, file in wanted.items() if not {text, f"{text}."} & CHINESE.keys() and text not in ("LoRA",)} == {}


def test_translations_take_what_their_templates_give():
    written = (ROOT / "lab/ui/words/refusals.zh.yaml").read_text(encoding="utf-8")
    assert len(CHINESE) == len(re.findall(r'^"', written, re.MULTILINE)), "a template stands twice"
    for english, chinese in CHINESE.items():
        given = names_in(english) if PLACE.search(english) else set()
        assert not given or names_in(chinese) == given, english
        assert HAN.search(chinese) or english in JOINED.values() or not re.search("[a-z]", re.sub(r"\{[^}]*\}", "", english)), english


def test_all_advice_has_a_translation():
    found = [sentence for _, sentence in logs.ADVICE] + [logs.advise("", -9)]
    assert [sentence for sentence in found if not HAN.search(refused("zh", sentence))] == []


def test_advice_names_options_that_exist():
    """What it tells to change is an option of training, a setting of the lab, or a package's own name."""
    known = {field.path for field in fields(Training)}
    for sentence in [sentence for _, sentence in logs.ADVICE] + [logs.advise("", -9)]:
        named = set(re.findall(r"\b[a-z]+_[a-z_]+\b", sentence)) | set(re.findall(r"\((?:and )?raise ([a-z_]+)\)", sentence))
        assert named <= known, sentence


@pytest.mark.parametrize("words", [*(words for _, words in FORM_OPTIONS.values() if " " in words), "all weights", "whole layers", "a sparse difference"])
def test_words_that_rules_fill_in_are_translated(words):
    assert HAN.search(refused("zh", word(words)))


RUN = Message("There is no run {run}.", run="k7qm2x9b")


@pytest.mark.parametrize("message, english, chinese", [
    (Message("{option} must be {wanted}; it is {given}.", option=word("Rank"), wanted=Message("at least {ge}", ge="1"), given=0),
     "Rank must be at least 1; it is 0.", "秩必须至少为 1；现在是 0。"),
    (Message("{form} has no use for {words}: leave {option} as it is.", form=word("Low rank"), words=word("scaling vectors"), option=word("vectors")),
     "Low rank has no use for scaling vectors: leave vectors as it is.", "低秩用不到缩放向量：请让 缩放向量 保持原样。"),
    (Message("The worker {how} at step {step} of {steps}.", how=Message("was killed by {signal}", signal="SIGKILL"), step=5, steps=10),
     "The worker was killed by SIGKILL at step 5 of 10.", "工作进程在第 5 步（共 10 步）被 SIGKILL 结束。"),
    (Message("There is no column '{column}'; there are {columns}.", column="missing", columns="missing"),
     "There is no column 'missing'; there are missing.", "没有列“missing”；可选 missing。"),
    (Message("A query may have {most:,} letters; this one has {count:,}.", most=2000, count=24130),
     "A query may have 2,000 letters; this one has 24,130.", "查询至多 2,000 个字符，此查询有 24,130 个。"),
    (listed([RUN, Message("There is no checkpoint yet.")], " "), "There is no run k7qm2x9b. There is no checkpoint yet.", "没有运行 k7qm2x9b。还没有检查点。"),
    (Message("Its memory could not be planned ({reason}), so it waits for none.", reason=RUN.clause()),
     "Its memory could not be planned (There is no run k7qm2x9b), so it waits for none.", "无法规划它的内存（没有运行 k7qm2x9b），因此它不等待内存。"),
    (some(["a", "b", "c"]), "a and 2 more", "a 和另外 2 个"), (some(["a"]), "a", "a"), (listed(["q", "v"], " or "), "q or v", "q 或 v"),
    (Message("In {split}: {sentence}", split="test", sentence="{0} of {split}"), "In test: {0} of {split}", "在 test 中：{0} of {split}"),
    ("A query must be a text.", "A query must be a text.", "查询须为文本。"),  # as an earlier lab kept it
    ("There is no run k7qm2x9b.", "There is no run k7qm2x9b.", "There is no run k7qm2x9b."),
    ("A name with {0} and {} in it", "A name with {0} and {} in it", "A name with {0} and {} in it"),
])  # fmt: skip
def test_a_message_in_both_languages_wherever_it_went(message, english, chinese):
    """Through JSON as children, the store and files have it, through pickles, and as a refusal."""
    for one in (message, unpacked(json.loads(json.dumps(packed([message]))))[0], pickle.loads(pickle.dumps(message)), copy.deepcopy(message), Refusal(message)):
        assert str(one) == refused("en", one) == english
        assert refused("zh", one) == chinese
    kept = pickle.loads(pickle.dumps(Refusal(message, "training.lr")))
    assert kept.field == "training.lr" and kept.sentence == message and refused("zh", kept) == chinese
    assert json.loads(json.dumps({"error": message})) == {"error": english}, "for programs it is its English"


def test_what_strangers_write_stays_one_line_of_a_message():
    message = Message("There is no run {run}.", run="\x1b[31m\n" + "x" * 5000)
    assert len(message) <= LETTERS + 10 and message.isprintable() and len(message.values["run"]) <= LETTERS + 10
    assert refused("zh", message).isprintable() and len(refused("zh", message)) <= LETTERS + 10
    deep: list = [message]
    for _ in range(2000):
        deep = [deep, message]
    kept = unpacked(packed(deep))
    assert kept[1].values == message.values, "and what is nested without end is left as it is"
    for strange in ("{x:999999999}", "{x:{x}}", "{x.real}", "{x!r:>9999}"):  # what somebody's row may hold, where an answer is unpacked
        text = json.dumps({"lab_message": strange, "values": {"x": 1}})
        assert unpacked(text) == text
    assert unpacked('{"lab_message": 1}') == '{"lab_message": 1}' and unpacked('{"lab_message": "{x}", "values": {}}') == "{x}"


def test_a_run_keeps_why_it_failed(lab_home):
    """Key and values cross the store; a history, and an older home's finished sentence, are English."""
    store = Queue(Home(), count=0).store
    run = store.create({})
    store.claim(run, identity())
    store.finish(run, "failed", error=RUN, advice=Message("There is no checkpoint yet."))
    found = store.get(run)
    assert found.error == RUN and refused("zh", found.error) == "没有运行 k7qm2x9b。" and refused("zh", found.advice) == "还没有检查点。"
    assert store.events(run)[-1].message == str(RUN)
    store.database.write(lambda c: c.exec_driver_sql(f"UPDATE runs SET error = 'There is no run abc.' WHERE id = '{run}'"))
    assert refused("zh", store.get(run).error) == "There is no run abc."


@pytest.mark.parametrize("preset", names("methods"))
def test_a_chinese_bench_gives_every_reason_in_chinese(preset):
    draft = {"model": "minilm-l6", "task": "sentiment-rt", "training": {"steps": 150}, "seed": 0, "name": "", "tags": []}
    for model in ("minilm-l6", "smollm2-135m", "bart-large"):
        told = knobs.turn({"draft": {**draft, "model": model, "method": load_method(preset).document()}, "language": "zh", "seq": 1})
        sentences = [why for choices in told["reasons"].values() for why in choices.values()] + [sentence for _, sentence in told["errors"]]
        assert [sentence for sentence in sentences if not HAN.search(sentence)] == []
        assert not re.search("Not fetched|On the Hugging", told["parts"]["costs"][1])
