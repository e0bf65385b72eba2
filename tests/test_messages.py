"""What the lab says: by the words of its pages, never by the names and patterns of its code; and something, where there is nothing to show."""

from __future__ import annotations

import json
import re
from types import SimpleNamespace

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import HTMLResponse, JSONResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from lab import fetches, verbs
from lab.design.body.model import Wheel
from lab.design.method.delta import Delta
from lab.design.plain.options import OptionField, Options, fields, validate
from lab.design.plain.refusal import Refusal, packed_refusal, unpacked_refusal
from lab.design.spec.run import RunSpec, Training, spec_of
from lab.design.spec.task import Reading, TaskSpec
from lab.results import compare, facts
from lab.runs import Home, Queue
from lab.runs.processes import identity
from lab.ui.bench import knobs
from lab.ui.compare import page as compare_page
from lab.ui.export import page as export_page
from lab.ui.runs import page as runs_page
from lab.ui.runs import views
from lab.ui.shell import run_facts
from lab.ui.shell.first_paint import FirstPaint
from lab.ui.shell.poll import Seen
from lab.ui.words.refusals import refused

HAN = re.compile("[\u4e00-\u9fff]")
CODE = re.compile(r"\^|\$$|\\\\|\[[a-z0-9A-Z]-|\{\d|(?<![\w'/.])[a-z]+_[a-z_]+(?![\w'/.])|\b[Ll]r\b|\d\.0\b")  # a pattern, an option as a file has it, 0.0
BAD = ["x y", -1, 10**12, [], 1.5]
SPEC = {"model": "minilm-l6", "task": "sentiment-rt", "method": "lora"}


def of(group: type[Options]) -> list[OptionField]:
    return list(fields(group))


@pytest.mark.parametrize("field", of(Training), ids=lambda field: field.path)
def test_what_is_wrong_is_said_by_the_fields_own_label(field):
    for bad in BAD:
        try:
            spec_of({**SPEC, "training": {field.path: bad}})
        except Refusal as problem:
            assert problem.field.removesuffix(".0") == f"training.{field.path}"  # of a list the place in it
            assert problem.sentence.lower().startswith(field.label.lower()), problem.sentence
            assert not CODE.search(problem.sentence.partition("; it is")[0]), problem.sentence
            shown = refused("zh", problem)
            assert HAN.search(shown) and (not field.zh or field.zh in shown)


PATTERNS = [(group, name) for group in (Delta, Training, RunSpec, Reading, TaskSpec, Wheel, *Options.__subclasses__())
            for name, info in group.model_fields.items() if any(getattr(each, "pattern", None) for each in info.metadata)]  # fmt: skip


@pytest.mark.parametrize("group, name", dict.fromkeys(PATTERNS), ids=lambda one: one if isinstance(one, str) else one.__name__)
def test_a_pattern_is_told_in_words(group, name):
    document = {name: "?!"} if group is not Delta else {"form": "low-rank", "at": ["attn.q"], "rank": 4, name: "?!"}
    with pytest.raises(Refusal) as problem:
        validate(group, document)
    if problem.value.field == name:  # else another option is missing, and is said first
        shape = group.model_fields[name].json_schema_extra["shape"]
        assert f"must be {shape}" in problem.value.sentence and not CODE.search(problem.value.sentence.partition("; it is")[0])
        assert shape not in refused("zh", problem.value) and HAN.search(refused("zh", problem.value))


@pytest.mark.parametrize(
    "sentence", ["Lower batch_size or max_length.", "Set by built_on and stand_on; raise lr.", "Only galore reads galore_rank, so leave galore_rank as it is."]
)
def test_pages_call_options_by_their_labels(sentence):
    for language in ("en", "zh"):
        shown = refused(language, sentence)
        assert not re.search(r"[a-z]_[a-z]|\blr\b", shown), shown
    for kept in ("There is no option 'training.batch_siz'; write training.batch_size=4.", "--set training.max_length=4", "see docs/batch_size"):
        assert refused("en", kept) == kept, "what is written in a file or a terminal stays"


@pytest.mark.parametrize("length", [513, 100_000])
def test_an_input_longer_than_the_model_reads_is_refused_and_not_cut_in_silence(length):
    for verb in (verbs.check, verbs.plan):
        with pytest.raises(Refusal, match="at most 512") as problem:
            verb({**SPEC, "training": {"max_length": length}})
        assert problem.value.field == "training.max_length"
    assert verbs.check({**SPEC, "training": {"max_length": 512}}).training.max_length == 512


@pytest.mark.parametrize("field, change", [("model", {"model": "gpt2"}), ("task", {"task": "sst2"}), ("further.0", {"further": ["sst2"]})])
def test_what_can_neither_be_read_nor_fetched_is_not_queued(field, change, monkeypatch):
    with pytest.raises(Refusal, match="HF_HUB_OFFLINE is set, so it is not fetched: unset it to fetch") as problem:
        verbs.check({**SPEC, **change})
    assert problem.value.field == field and "openai-community/gpt2 is not" in problem.value.sentence or field != "model"
    assert verbs.check({**SPEC, **change}, queued=False), "a run that is over needs neither"
    monkeypatch.setattr(fetches, "offline", lambda: "")
    assert verbs.check({**SPEC, **change}), "the worker fetches it"


def test_an_address_that_is_none_is_a_page_for_people_and_what_it_was_for_programs():
    def nothing(request):
        return JSONResponse({"detail": "Not Found"}, 404)

    def page(request):
        return HTMLResponse("<html><head></head></html>")

    app = Starlette(
        routes=[Route("/", page), Route("/{path:path}", nothing)], middleware=[Middleware(FirstPaint, head="", pages=[("bench", "/"), ("runs", "/runs")])]
    )
    client = TestClient(app)
    for language, words in (("en", "There is no such page"), ("zh", "没有这个页面")):
        shown = client.get("/nowhere/at/all", headers={"accept": "text/html,*/*", "cookie": f"lab_language={language}"})
        assert shown.status_code == 404 and words in shown.text and 'href="/runs"' in shown.text and "Not Found" not in shown.text
    assert "没有这个页面" in client.get("/x", headers={"accept": "text/html", "accept-language": "zh-CN,zh"}).text
    assert client.get("/nowhere", headers={"accept": "application/json"}).json() == {"detail": "Not Found"}
    assert client.get("/gradio_api/nowhere", headers={"accept": "text/html"}).json() == {"detail": "Not Found"}
    assert client.get("/", headers={"accept": "text/html"}).status_code == 200


@pytest.mark.parametrize(
    "asked, words", [("zzzzzzzz", "There is no run zzzzzzzz"), ("<b>", "is not a run id"), ("x" * 400, "is not a run id"), ("", "in the bin")]
)
def test_a_run_that_is_not_there_is_said_on_every_page_that_an_address_opens(lab_home, asked, words):
    lab = Queue(Home(), count=0)
    if not asked:
        asked = lab.store.create({})
        lab.bin(asked)
    seen = Seen(None, "", False)
    shown = {
        "runs": views.head(None, asked, None, {}, "en"),
        "export": export_page.look({"run": asked}, seen, "en")[0]["form"]["missing"],
        "head": runs_page.look({"run": asked}, seen, "en")[0]["head"],
        "compare": compare_page.look({"runs": [asked]}, seen, "en")[0]["results"],
    }
    for name, html in shown.items():
        assert (words if name != "compare" else "Not here") in html.replace("&#x27;", "'") and "<b>" not in html and len(html) < 3000, name
    assert HAN.search(run_facts.missing(asked, "zh"))


def test_stop_says_what_came_of_it(lab_home):
    lab = Queue(Home(), count=0)
    run = lab.launch({"n": 1})
    event, request = SimpleNamespace(_data={"run": run}), None
    for _ in range(2):  # it waited, so it has ended with that; then it had ended already
        words, _ = runs_page.stop(event, request)
        assert "cancelled" in words.lower() and "Asked it to stop" not in words
    going = lab.store.create({})
    lab.store.claim(going, identity())
    words, _ = runs_page.stop(SimpleNamespace(_data={"run": going}), None)
    assert "Asked it to stop" in words and 'data-until="over"' in words, "which goes when it has ended"
    json.dumps(words)


def test_the_bench_has_one_verdict():
    """Weights that are not here, or what is wrong, stand in the place of the verdict; whether it fits is filled in there by the memory plan."""
    for draft, verdict in (({**SPEC, "model": "llama-2-7b"}, False), ({**SPEC, "training": {"steps": 0}}, False), (SPEC, True)):
        html = knobs.turn({"draft": draft, "language": "en"})["parts"]["costs"][1]
        assert "can run" not in html and ("data-verdict" in html) == verdict, draft
        assert verdict or 'class="lab-problems"' in html or 'class="lab-note"' in html


def over(lab, name, result, began, ended):
    run = lab.store.create({**SPEC}, name)
    lab.store.claim(run, identity())
    lab.store.log(run, [(1, "tokens_per_second", 123.0)])
    lab.store.finish(run, "succeeded", result=result)
    lab.store.database.write(lambda c: c.exec_driver_sql(f"UPDATE runs SET started = {began}, ended = {ended} WHERE id = '{run}'"))
    return run


def test_time_and_speed_of_a_run_are_the_same_everywhere(lab_home):
    """As the run measured them; one that was paused for hours was not slow."""
    lab = Queue(Home(), count=0)
    run = lab.store.get(
        over(lab, "a", {"best": {"step": 3, "accuracy": 0.5}, "seconds": 61.5, "tokens_per_second": 987.0, "device": "cpu", "peak_bytes": 2e9}, 1000, 90_000)
    )
    assert run_facts.row(run)["seconds"] == facts.seconds(run) == 61.5 and facts.tokens_per_second(run) == 987.0
    shown = views.head(run, run.id, None, {"tokens_per_second": (1, 123.0)}, "en")
    assert "987 tok/s" in shown and "123" not in shown and "peak process memory" in shown
    assert "61.5" in compare.as_csv([run])
    for result in ({}, {"device": "cuda:0"}):
        assert ("peak step memory" in views.head(lab.store.get(over(lab, "b", {**result, "peak_bytes": 1e9}, 1, 5)), "", None, {}, "en")) == bool(result)


def test_runs_opens_what_goes_on(lab_home):
    lab = Queue(Home(), count=0)
    assert run_facts.chosen("") is None
    waits = lab.launch({"n": 1})
    assert run_facts.chosen("").id == waits
    done = over(lab, "done", {}, 1, 2)
    assert run_facts.chosen("").id == done, "rather than one that waits"
    going = lab.store.create({})
    lab.store.claim(going, identity())
    lab.launch({"n": 2})
    assert run_facts.chosen("").id == going


@pytest.mark.parametrize("line", ["Killed", '{"a": 1}', "[1, 2]", "3", '{"lab_refusal": "x"}', "{" * 9000])
def test_a_refusal_crosses_processes_whole_and_any_other_line_is_a_sentence(line):
    """Its template, its values and its field; one without a field stands where it was asked."""
    for field, there in (("model", "model"), ("", "source")):
        found = unpacked_refusal(packed_refusal(Refusal("There are {count:,} of {name}.", field, count=2000, name="{x}")), "source")
        assert (str(found), found.sentence.key, found.field) == ("There are 2,000 of {x}.", "There are {count:,} of {name}.", there)
        assert "2,000" in refused("en", found)
    other = unpacked_refusal(line, "source")
    assert other.field == "source" and str(other)[:1] == line[:1]
