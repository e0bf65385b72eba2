"""The pages without a browser: no torch, quick answers, words in both languages, safe HTML, refusals in one sentence."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
import time
import xml.etree.ElementTree

import pytest
from spread import pairs
from ui_support import ROOT, environment

from lab.design.figure.figure import figure
from lab.design.method.delta import Method
from lab.design.method.forms import FORMS
from lab.design.method.named import load_method
from lab.design.method.rules import problems
from lab.design.method.settling import with_composition, with_form
from lab.design.plain.refusal import Refusal
from lab.design.presets import catalogue
from lab.design.presets.catalogue import names
from lab.design.spec import writing
from lab.ui.bench import assessment, copies, knobs, schema
from lab.ui.bench import views as views_bench
from lab.ui.export.packer import PACKER
from lab.ui.shell.method_words import equations
from lab.ui.words import table as words

UI = ROOT / "lab" / "ui"
SCRIPTS, STYLES = sorted(UI.rglob("*.js")), sorted(UI.rglob("*.css"))
DRAFT = {"model": "minilm-l6", "task": "sentiment-rt", "method": "lora", "training": {"steps": 150}, "seed": 0, "name": "", "tags": []}


def test_the_page_process_never_imports_torch(tmp_path):
    script = "import sys; from lab.ui.app import build; build(); print([m for m in ('torch', 'transformers', 'peft', 'datasets', 'sklearn', 'plotly') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, env=environment(tmp_path), capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().splitlines()[-1] == "[]"


def refused(arguments, home):
    done = subprocess.run([sys.executable, "app.py", *arguments], cwd=ROOT, env=environment(home), capture_output=True, text=True, timeout=120)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr and len(done.stderr.strip().splitlines()) == 1
    return done.stderr


def test_a_port_in_use_is_one_sentence(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        assert "in use" in refused(["--port", str(taken.getsockname()[1])], tmp_path)


def test_a_home_that_cannot_be_written_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("not a folder", encoding="utf-8")
    assert "LAB_HOME" in refused(["--port", "7999", "--home", str(tmp_path / "file" / "home")], tmp_path)


@pytest.mark.parametrize("arguments, said", [(["--port", "0"], "1 and 65535"), (["--host", "no.such.host.invalid"], "no address")])
def test_an_address_that_there_is_not_is_one_sentence(tmp_path, arguments, said):
    assert said in refused(arguments, tmp_path)


@pytest.mark.parametrize(("method", "model"), pairs(names("methods"), ("minilm-l6", "bart-large", "llama-2-7b"), 1))
def test_every_preset_has_an_answer_and_a_figure(method, model):
    found = assessment.assess({**DRAFT, "model": model, "method": method})
    assert found.method and not found.modified
    drawn = figure(found.method, found.body)
    xml.etree.ElementTree.fromstring(drawn)  # well-formed
    for index, delta in enumerate(found.method.deltas):
        if FORMS[delta.form].has_rank:
            assert f"={delta.rank}</text>" in drawn, (index, delta.form)
    assert views_bench.costs(found, "en") and views_bench.table(found.method, "zh") and equations(found.method)


def test_answers_come_at_once():
    drafts = [{**DRAFT, "method": load_method(name, {}).document()} for name in names("methods")]
    assessment.assess(drafts[0])
    for draft in drafts:
        before = time.thread_time()  # what the machine does besides does not count
        found = assessment.assess(draft)
        figure(found.method, found.body)
        assert time.thread_time() - before < 0.15


@pytest.mark.parametrize(("method", "form"), pairs([name for name in names("methods") if load_method(name).deltas], tuple(FORMS), 4))
def test_another_form_always_gives_something_that_may_run(method, form):
    for delta in load_method(method).deltas:
        settled = with_form(delta.model_dump(mode="json"), form)
        assert settled["form"] == form
        wrong = [problem.sentence for problem in problems(Method(deltas=[settled]), alone=True)]
        assert wrong == [], wrong


def test_another_composition_leaves_no_scale_behind():
    delta = load_method("lora").deltas[0].model_dump(mode="json")
    changed = with_composition({**delta, "alpha": None, "scale": 4.0}, "add")
    assert changed["scale"] == 1.0 and problems(Method(deltas=[changed])) == []


def test_errors_name_their_field():
    document = load_method("lora").document()
    document["deltas"][0]["rank"] = 0
    found = assessment.assess({**DRAFT, "method": document})
    assert [path for path, _ in found.errors] == ["method.deltas.0.rank"]
    assert [path for path, _ in assessment.assess({**DRAFT, "training": {"lr": -1}}).errors] == ["training.lr"]
    assert [path for path, _ in assessment.assess({**DRAFT, "model": "nothing-like-it"}).errors] == ["model"]
    assert [path for path, _ in assessment.assess({**DRAFT, "task": "nothing-like-it"}).errors] == ["task"]
    with pytest.raises(Refusal):
        assessment.launch_document({**DRAFT, "method": document})


def test_choices_without_a_meaning_have_a_reason():
    found = assessment.assess({**DRAFT, "method": load_method("adapter-houlsby").document()})
    assert "slots" in found.reasons["method.deltas.0.composition"]["gated"]
    assert "add" not in found.reasons["method.deltas.0.composition"]


def test_words_are_there_in_both_languages():
    for key, pair in words.TABLE.items():
        assert len(pair) == 2 and all(isinstance(text, str) and text for text in pair), key
        assert re.findall(r"{\w+}", pair[0]) == re.findall(r"{\w+}", pair[1]) or set(re.findall(r"{\w+}", pair[0])) == set(re.findall(r"{\w+}", pair[1])), key


def test_every_word_that_is_asked_for_is_there():
    asked = set()
    for path in [*UI.rglob("*.py"), *SCRIPTS]:
        text = path.read_text(encoding="utf-8")
        asked |= set(re.findall(r'\bsay\((?:language, )?"([\w. -]+)"[,)]', text)) | set(re.findall(r'native\("([\w.]+)"\)', text))
    assert len(asked) > 60
    assert sorted(asked - set(words.TABLE) - set(words.declared())) == []


def test_text_from_people_is_escaped():
    nasty = "<img src=x onerror=alert(1)>"
    method = Method(**{**load_method("lora").document(), "name": nasty, "summary": nasty, "deviations": [nasty]})
    found = assessment.assess({**DRAFT, "method": method.document(), "model": nasty})
    for html in (views_bench.notes(method, "en"), views_bench.costs(found, "en"), figure(method, None)):
        assert "<img" not in html
    assert "<img" not in views_bench.table(method, "en").replace("\\<", "")
    assert "<" not in words.script_table()


def test_a_name_that_would_end_a_script_cannot():
    assert json.loads(words.script_table())["page.bench"] == words.TABLE["page.bench"]


@pytest.mark.parametrize("run, format", [("../../etc", "peft"), ("abcdefgh; rm", "peft"), ("k7qm2x9b", "../peft"), ("k7qm2x9b", "peft --out /")])
def test_export_takes_only_ids_and_words(run, format):
    with pytest.raises(Refusal):
        PACKER.make(run, format)


def test_every_option_is_a_knob():
    drawn = schema.schema("en")
    assert {"at", "form", "insertion", "composition", "rank", "scale"} <= {field["path"] for field in drawn["delta"]}
    assert {"steps", "lr", "batch_size"} <= {field["path"] for field in drawn["training"]}
    assert all(field["help"] for part in ("delta", "training", "identity") for field in drawn[part])


def test_scripts_write_text_and_never_markup():
    assert len(SCRIPTS) > 10
    for path in SCRIPTS:
        text = path.read_text(encoding="utf-8")
        assert "eval(" not in text and "document.write" not in text, path
        assert text.count("innerHTML") <= (1 if path.name == "dom.js" else 0), path


FRAME = 'framed="https://huggingface.co" if os.environ.get("SPACE_HOST")'  # who may show a Space in a frame; nothing is fetched from there


def test_static_files_fetch_nothing_from_outside():
    for path in [*SCRIPTS, *STYLES, *UI.rglob("*.py")]:
        addresses = set(re.findall(r"https?://[\w./-]+", path.read_text(encoding="utf-8").replace(FRAME, ""))) - {
            "http://www.w3.org/2000/svg",
            "https://arxiv.org/abs/",
            "http://",
        }
        assert addresses == set(), path


def test_every_knob_has_chinese_words():
    drawn = schema.schema("zh")
    groups = [part["fields"] for kinds in drawn["groups"].values() for part in kinds.values()] + [part["fields"] for part in drawn["selections"].values()]
    for field in (field for part in (drawn["delta"], drawn["training"], drawn["identity"], *groups) for field in part):
        assert field["zh"], field["path"]
        assert field["help_zh"] != field["help"], field["path"]


def test_titles_and_licences_that_are_words_have_chinese():
    """Of several words, one of which is written small, and no name of a model."""
    documents = [catalogue.read(kind, name) for kind in ("methods", "tasks", "models") for name in names(kind)]
    english = {document[key] for document in documents for key in ("name", "title", "licence") if document.get(key)}
    named = {"BERT base", "BART large", "T5 base", "RoBERTa base", "DeBERTa v3 base", "Llama 2 (7B)", "Llama 3.2 (3B)", "SmolLM2 135M Instruct", "Qwen2.5 (0.5B)", "Social IQa"}  # fmt: skip
    several = {title for title in english if len(title.split()) > 1 and re.search(r"(?<![\w.-])[A-Z]?[a-z]{3,}", title)}  # one word is a name: Compacter
    missing = {title for title in several - named if words.titled("zh", title) == title}
    assert not missing
    assert not set(words.PRESETS["titles"]) - english, "titles of nothing"


def test_settings_and_times_are_said_in_chinese():
    from lab.ui.sweep.page import paths
    from lab.ui.words.settings import setting_name

    assert [path for path in paths() if not re.search("[\u4e00-\u9fff]", setting_name("zh", path))] == []
    assert setting_name("zh", "method.deltas.1.rank") == "Δ2 秩" and setting_name("en", "method.deltas.1.rank") == "deltas.1.rank"
    assert [words.time_words("zh", seconds) for seconds in (0.42, 252, 3800, 100_000)] == ["0.4 秒", "4 分 12 秒", "1 小时 03 分", "1 天 3 小时"]
    assert words.say("zh", "fact.best", metric=words.metric_name("zh", "accuracy")) == "最佳准确率"


@pytest.mark.parametrize("kind", ["methods", "tasks", "models"])
def test_every_preset_says_what_it_is_in_chinese(kind):
    assert set(words.PRESETS[kind]) == set(names(kind))
    assert all(re.search("[\u4e00-\u9fff]", told) for told in words.PRESETS[kind].values())
    shown = {item["name"]: item["help"] for item in schema.schema("zh")[kind]}
    assert all(shown[name] == told for name, told in words.PRESETS[kind].items())


def test_deviations_of_the_presets_are_translated():
    assert set(words.PRESETS["deviations"]) == {text for name in names("methods") for text in load_method(name).deviations}


@pytest.mark.parametrize("method", names("methods"))
def test_a_design_is_written_so_that_it_gives_the_same_run(method):
    import shlex

    import yaml

    from lab.cli.parser import parser
    from lab.cli.request import document_of
    from lab.design.spec.run import spec_of

    turned = load_method(method).document()
    if turned["deltas"]:
        turned["deltas"][0]["rank"] = 7
        turned["deltas"].append(dict(turned["deltas"][0]))
    for document in (method, turned):
        spec = spec_of({**DRAFT, "method": document})
        assert spec_of(yaml.safe_load(writing.as_yaml(spec))) == spec
        given = parser().parse_args(shlex.split(writing.as_command(spec))[3:])
        assert spec_of(document_of(given)) == spec


def test_presets_of_ones_own(tmp_path, monkeypatch):
    monkeypatch.setenv("LAB_HOME", str(tmp_path))
    draft = {**DRAFT, "method": load_method("lamda-plus-plus", {"deltas.0.rank": 24}).document()}
    assert "built" not in copies.save({"draft": draft, "name": "../x"}).get("saved", "")
    assert "small letters" in copies.save({"draft": draft, "name": "../x"})["wrong"]
    assert "already" in copies.save({"draft": draft, "name": "lora"})["wrong"]
    assert copies.save({"draft": draft, "name": "mine"}) == {"saved": "mine"}
    assert load_method("mine").deltas == load_method("lamda-plus-plus", {"deltas.0.rank": 24}).deltas
    assert [item["name"] for item in schema.own_methods("en")] == ["mine"]
    assert "already" in copies.save({"draft": draft, "name": "mine"})["wrong"]
    assert copies.save({"draft": {**DRAFT, "method": load_method("mine", {"deltas.0.rank": 20}).document()}, "name": "mine"}) == {"saved": "mine"}
    (tmp_path / "presets" / "methods" / "bad.yaml").write_text("- 1\n", encoding="utf-8")
    assert [item["name"] for item in schema.own_methods("en")] == ["mine"]


def test_only_what_the_page_lacks_is_sent():
    first = knobs.turn({"draft": DRAFT, "seq": 1, "language": "en", "have": {}})
    have = {name: part[0] for name, part in first["parts"].items()}
    again = knobs.turn({"draft": {**DRAFT, "method": load_method("lora", {"deltas.0.rank": 16}).document()}, "seq": 2, "language": "en", "have": have})
    assert {"costs", "figure"} <= set(again["parts"]) and "notes" not in again["parts"]
    assert again["modified"] and "LoRA" in again["near"]
    assert knobs.turn(None)["errors"] and knobs.turn({"draft": [], "have": 3})["errors"]


def test_a_schedule_says_where_it_starts_and_ends():
    found = assessment.assess({**DRAFT, "method": "diff-pruning"})
    assert "lab-after" in views_bench.costs(found, "en") and found.count.final < found.count.trainable


def test_pages_name_the_command_as_it_is_called_here(monkeypatch):
    """delta-lab where it is installed: in every sentence, word and script of the pages."""
    import re as patterns

    from lab.ui.words.refusals import refused as said
    from lab.ui.words.table import script_table

    sentence = "Not fetched yet: run 'python -m lab fetch qwen' (1 GB, once)."
    for started, name in (("/usr/bin/delta-lab", "delta-lab"), ("/site/lab/__main__.py", "python -m lab"), ("app.py", "python -m lab")):
        monkeypatch.setattr("sys.argv", [started])
        assert all(f"{name} fetch qwen" in said(language, sentence) for language in ("en", "zh"))
        assert f'"lab.command":["{name}","{name}"]' in script_table()
    for path in (ROOT / "lab" / "ui").rglob("*.[jp][sy]"):
        text = path.read_text(encoding="utf-8")
        assert path.suffix == ".py" or "python -m lab" not in text, path
        assert not patterns.search(r"f\"[^\"]*python -m lab", text), path
