"""Runs as a table, what is done to several at once, and how far runs are, without a browser."""

from __future__ import annotations

import dataclasses
import math
import time

import pytest

from lab.design.plain import numbers
from lab.design.spec.run import spec_of
from lab.runs import Home, Queue, processes
from lab.runs.estimates import time_left
from lab.runs.home import new_id
from lab.ui.compare import what_next
from lab.ui.runs import table
from lab.ui.runs import views as views_runs
from lab.ui.shell import bulk, run_facts
from lab.ui.shell.poll import Seen
from lab.ui.sweep import progress

FIRST = Seen(None, "", True)


@pytest.fixture
def lab(lab_home, monkeypatch):
    """A lab that starts nothing: three results of one setting, one of another, and one that waits."""
    queue = Queue(Home(lab_home), count=0)
    for module in (table, bulk, run_facts, progress):
        monkeypatch.setattr(module, "default", lambda: queue)
    runs = [made(queue, "lora", seed, 0.70 + seed / 100) for seed in range(3)] + [made(queue, "bitfit", 0, 0.9), made(queue, "bitfit", 1, None)]
    return queue, runs


def made(queue, method, seed, value, tags=("grid",)):
    document = spec_of(
        {"model": "minilm-l6", "task": "sentiment-rt", "method": method, "seed": seed, "name": f"{method} {seed}", "training": {"steps": 60}}
    ).document()
    run = queue.store.create(document, document["name"], tags)
    if value is not None:
        queue.store.claim(run, processes.identity())
        result = {"best": {"step": 5, "accuracy": value}, "trainable": 4000 if method == "lora" else 1000, "peak_bytes": 1e9, "seconds": 60.0}
        queue.store.finish(run, "succeeded", result=result)
    return run


def look(chosen, seen=FIRST, language="en"):
    news, mark = table.look(chosen, seen, language)
    return news["table"], mark


def test_the_table_is_whole_at_first_and_then_what_has_changed(lab):
    queue, runs = lab
    news, mark = look({})
    assert [column["title"] for column in news["columns"]] == [
        "state",
        "method",
        "task",
        "seed",
        "best accuracy",
        "trained weights",
        "peak process memory",
        "time",
    ]
    assert news["whole"] and news["order"] == [runs[4], *reversed(runs[:4])] and (news["n"], news["total"]) == (5, 5)
    assert news["rows"][1]["cells"] == [
        "",
        "BitFit",
        "sentiment-rt",
        "0",
        "0.9",
        "1,000",
        ["1.00 GB", "1000000000.0"],
        ["1 min 00 s", "60.0"],
    ]
    seen = Seen(queue.store.store_version(), mark, False)
    again, same = look({}, seen)
    assert same == mark and again["rows"] == [] and "order" not in again and "columns" not in again
    queue.rename(runs[0], "another name")
    again, same = look({}, seen)
    assert [row["name"] for row in again["rows"]] == ["another name"] and same == mark and "order" not in again
    queue.bin(runs[0])
    again, other = look({}, seen)
    assert runs[0] not in again["order"] and other != mark


def test_the_table_answers_a_query_and_says_what_is_none(lab):
    queue, runs = lab
    news, mark = look({"where": "accuracy > 0.705 and method = lora", "sort": "metric", "descending": True})
    assert news["order"] == [runs[2], runs[1]] and news["n"] == 2
    wrong, kept = look({"where": "acuracy > 0.7"}, Seen(queue.store.store_version(), mark, True), "zh")
    assert "acuracy" in wrong["wrong"] and "没有名为" in wrong["wrong"] and kept == mark and "rows" not in wrong
    chosen, _ = look({"columns": ["metric", "lr", "nothing"]}, language="zh")
    assert [column["title"] for column in chosen["columns"]][:2] == ["最佳准确率", "lr"] and all(len(row["cells"]) == 3 for row in chosen["rows"])
    assert look({"where": 5, "columns": "x", "sort": None})[0]["n"] == 5, "whatever a stranger sends is taken for nothing"


def test_differences_to_a_baseline(lab):
    queue, runs = lab
    news, mark = look({"baseline": runs[3], "columns": ["metric", "weights", "method"]})
    cells = {row["id"]: row["cells"] for row in news["rows"]}
    assert news["baseline"] == "bitfit 0" and cells[runs[0]] == [
        ["0.7", "0.7", "−0.2", "worse"],
        ["4,000", "4,000", "+3,000", "worse"],
        ["LoRA", "", "", "other"],
    ]
    assert cells[runs[3]][0] in ("0.9", ["0.9", "0.9"]) and cells[runs[4]][0] == ""
    queue.store.rename(runs[3], "base")
    assert look({"baseline": runs[3], "columns": ["metric"]}, Seen(queue.store.store_version() - 1, mark, False))[0]["whole"], (
        "all differences are another's now"
    )


def test_groups_over_seeds_have_means_of_results(lab):
    _, runs = lab
    news, _ = look({"group": "seeds", "sort": "metric", "descending": True, "columns": ["state", "metric", "seed", "method"]})
    (first, of_first), (second, of_second) = news["order"]
    assert of_first == [runs[3], runs[4]] and sorted(of_second) == sorted(runs[:3])
    assert news["groups"][second]["label"] == "lora"
    assert news["groups"][first]["states"] == ["succeeded", "queued"]
    assert news["groups"][second]["cells"] == ["", ["0.71 ± 0.01", "mean ± standard deviation over 3 seeds, of 3 runs"], "", "LoRA"]


def test_a_number_that_is_no_result_stands_in_brackets(lab):
    queue, _ = lab
    run = made(queue, "lora", 7, None)
    queue.store.claim(run, processes.identity())
    queue.store.ask_stop(run)
    queue.store.finish(run, "cancelled", result={"best": {"step": 0, "accuracy": 0.99}})
    news, _ = look({"sort": "metric", "descending": True, "columns": ["metric"]})
    assert news["order"][-1] != news["order"][0] != run and next(row for row in news["rows"] if row["id"] == run)["cells"][0][0] == "(0.99)"


def test_several_runs_are_tagged_stopped_and_binned_at_once(lab):
    queue, runs = lab
    assert bulk.act({"act": "tag", "runs": runs[:2], "tag": " draft "}) == {"words": "2 tagged draft.", "done": 2, "wrong": False}
    assert queue.store.get(runs[0]).tags == ["grid", "draft"]
    assert bulk.act({"act": "untag", "runs": runs, "tag": "draft"})["done"] == 2 and queue.store.get(runs[1]).tags == ["grid"]
    assert bulk.act({"act": "tag", "runs": runs[:2], "tag": "x" * 99, "language": "zh"})["wrong"]
    assert bulk.act({"act": "stop", "runs": runs})["done"] == 1 and queue.store.get(runs[4]).state == "cancelled"
    found = bulk.act({"act": "bin", "runs": [runs[0], "nobody00", 5]})
    assert found["done"] == 1 and found["wrong"] and "1 refused" in found["words"] and runs[0] not in queue.store.ids()
    for asked in (None, {}, {"act": "drop", "runs": runs}, {"act": "stop", "runs": "all"}):
        assert bulk.act(asked)["done"] == 0
    assert len(queue.store.ids()) == 4


def test_views_are_kept_in_the_store(lab):
    queue, _ = lab
    view = {"where": "method = lora*", "columns": ["lr"], "sort": "metric", "descending": True, "group": "", "baseline": "x", "more": 1}
    assert table.view({"name": "mine", "view": view})["views"]["mine"] == {key: value for key, value in view.items() if key not in ("baseline", "more")}
    assert (
        "wrong" in table.view({"name": "bad", "view": {"where": "a >"}}) and "wrong" in table.view({"name": "", "view": view}) and "wrong" in table.view(None)
    )
    assert look({})[0]["views"].keys() == {"mine"} and table.view({"name": "mine", "drop": True}) == {"views": {}}
    assert "wrong" in table.view({"name": "mine", "drop": True})


# -- how far runs are


def test_a_run_says_what_it_does_and_how_long_it_takes(lab):
    queue, _ = lab
    run = made(queue, "lora", 8, None)
    assert 'aria-current="step">starting</li>' in head(dataclasses.replace(queue.store.get(run), state="starting"))
    attempt = queue.store.claim(run, processes.identity()).attempt
    assert 'aria-current="step">starting</li>' in head(queue.store.get(run)), "before its first word"
    queue.store.log(run, [], attempt=attempt, phase=("tokenising", 0.25))
    assert 'aria-current="step">tokenising <b>25 %</b></li>' in head(queue.store.get(run)) and "measured after the first steps" in head(queue.store.get(run))
    queue.store.log(run, [(20, "eta_seconds", 192.4)], attempt=attempt, step=20, total_steps=60, phase=("training", None))
    drawn = head(queue.store.get(run))
    assert 'aria-current="step">training <b>33 %</b></li>' in drawn and "step 20 of 60 · about 3 min left" in drawn
    assert run_facts.tab([queue.store.get(run)], "en") == {"text": "33 % · lora 8", "going": True}
    assert run_facts.tab([queue.store.get(one) for one in (run, *lab[1][:2])], "zh") == {"text": "78 % · 3 个运行", "going": True}
    queue.store.finish(run, "failed", attempt=attempt)
    assert "lab-phases" not in head(queue.store.get(run)) and run_facts.tab([queue.store.get(run)], "en") == {"text": "failed · lora 8", "going": False}


def head(run):
    return views_runs.head(run, run.id, run_facts.eta(run), {}, "en")


def test_time_that_is_left_is_rounded_to_what_is_known():
    times = (0, 12, 44, 56, 100, 590, 700, 3500, 5000, 20_000, 200_000, math.nan, None)
    assert [numbers.about(one) for one in times] == ["10 s", "10 s", "40 s", "1 min", "2 min", "10 min", "10 min", "1 h", "1 h 20 min", "6 h", "2 d", "–", "–"]


def test_the_end_of_a_sweep_is_that_of_its_slots():
    assert time_left([10.0, 30.0], [20.0, 20.0], 2) == 50.0 and time_left([], [5.0, 5.0, 5.0], 2) == 10.0 and time_left([7.0], [], 4) == 7.0
    assert time_left([], [], 1) == 0.0


def test_a_sweep_says_how_long_it_takes_by_runs_that_were_measured(lab, monkeypatch):
    queue, _ = lab
    waiting = [made(queue, "lora", seed, None, ["sweep-x"]) for seed in (10, 11)]
    runs = lambda: queue.store.list(tag="sweep-x")  # noqa: E731
    assert "known once one like them was measured" in progress.news(runs(), "en")["progress"]
    whole = {"best": {"step": 60, "accuracy": 0.8}, "seconds": 600.0, "training_seconds": 540.0, "rows_per_second": 60 * 32 / 540, "train_rows": 8530, "steps": 60,
             "device": "cpu"}  # fmt: skip
    measured = made(queue, "lora", 9, None, ["sweep-x"])
    queue.store.claim(measured, processes.identity())
    queue.store.finish(measured, "succeeded", result=whole)
    monkeypatch.setattr(progress.devices, "memory", lambda: {"kind": "cpu", "name": "CPU", "total_bytes": 1})
    news = progress.news(runs(), "en")
    assert (
        "1 of 3 runs are over · about 20 min left" in news["progress"] and set(news["many"]["going"]) == set(waiting) and news["tab"]["text"] == "33 % · 3 runs"
    )
    for run in waiting:
        queue.store.ask_stop(run)
    assert progress.news(runs(), "en")["progress"] == "" and progress.news([], "en")["many"] == {"runs": [], "going": []}


def test_the_quick_start_ends_with_what_next(lab, monkeypatch):
    queue, _ = lab
    runs = [made(queue, "lora", seed, 0.7 + seed / 10, [what_next.TAG]) for seed in (0, 1)]
    found = [queue.store.get(run) for run in runs]
    assert what_next.steps(found, "en") == "", "there is no adapter to go on with"
    monkeypatch.setattr(run_facts, "has_adapter", lambda run: True)
    drawn = what_next.steps(found, "en")
    assert f'href="tryit?runs={runs[0]},{runs[1]}"' in drawn and f'href="export?run={runs[1]}"' in drawn and "lora 1 came out best" in drawn
    assert (
        what_next.steps([dataclasses.replace(found[0], state="running"), found[1]], "en") == ""
        and what_next.steps([dataclasses.replace(found[0], tags=[])], "en") == ""
    )


def test_a_thousand_runs_are_filtered_soon(lab):
    """Processor time of an answer, once the rows are known: not that of the clock, since others work here too."""
    queue, _ = lab
    document = queue.store.get(lab[1][0]).spec
    queue.store.create_all([{"spec": {**document, "seed": number, "lr": 1e-4 * (number % 7)}, "name": f"run {number}", "run_id": new_id()}
                            for number in range(990)])  # fmt: skip
    look({})
    began = time.process_time()
    for _ in range(4):
        assert look({"where": "lr > 4.5e-4 and name = run* and not tag = draft", "sort": "lr"})[0]["n"] > 200
    assert (time.process_time() - began) / 4 < 0.15


def test_what_is_judged_as_it_is_counts_in_the_table(lab):
    """A combination takes no steps and is a result all the same: the row knows what facts ask of its spec, also when it was read again."""
    queue, runs = lab
    document = {**queue.store.get(runs[0]).spec, "combination": {"runs": runs[:2], "weights": [0.5, 0.5]}}
    run = queue.store.create(document, "both")
    queue.store.claim(run, processes.identity())
    look({})
    queue.store.finish(run, "succeeded", result={"best": {"step": 0, "accuracy": 0.95}, "steps": 0, "total_steps": 0})
    assert look({"where": "accuracy > 0.94"})[0]["order"] == [run]
