"""Searches under a budget: what breaks it never trains, a killed search ends as an undisturbed one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from search_support import DOCUMENT, Made, peak

from lab import searching, verbs
from lab.cli import main
from lab.design.plain.refusal import Refusal
from lab.design.spec.search import budget_of, search_of, space_of
from lab.runs import default
from lab.searching import driver, verdict
from lab.searching.costs import Meter
from lab.searching.driver import Driver
from lab.searching.record import DONE, OVER, PRESET, PRUNED, SPACE, Judged, SearchRecord, Trial, record_of

ROOT = Path(__file__).resolve().parents[1]
WORKER = (sys.executable, str(ROOT / "tests" / "search_worker.py"))


def fresh(document=None, **changes):
    found = search_of({**DOCUMENT, "name": "one", **(document or {}), **changes})
    return found, SearchRecord("one", found.document(), "accuracy", True, 0.0)


@pytest.fixture(autouse=True)
def fewer_tries(monkeypatch):
    """A space with nothing left in it costs a test less."""
    monkeypatch.setattr(driver, "TRIES", 25)


def made(document=None, dies=0, **changes):
    found, record = fresh(document, **changes)
    bench = Made(Meter(found, peak), dies)
    return Driver(record, bench, lambda kept: None, lambda line: None).run(), bench


def timeless(record):
    """A record without what chance and the clock have in it."""
    document = record.document() | {"seconds": 0}
    ids = {}
    return json.loads(json.dumps(document), object_hook=lambda one: {**one, "run": ids.setdefault(one["run"], len(ids))} if "run" in one else one)


def test_a_search_keeps_its_budget_and_ends_with_a_test_over_seeds():
    record, bench = made(sampler="random")
    assert record.phase == DONE and len(record.trained) == 9
    over = [trial for trial in record.trials if trial.state == OVER]
    assert over and all(trial.reason and trial.over and not trial.rungs for trial in over)
    for job in bench.jobs:
        assert verbs.count("minilm-l6", job.spec.method)["percent"] <= 0.3 and peak(job.spec.document()) <= 900_000_000
        assert job.spec.tags == ["one"] and job.spec.training.steps == 90
    presets = [trial for trial in record.trials if trial.origin == PRESET]
    assert [trial.label.split(" ")[0] for trial in presets] == ["lora", "bitfit", "adapter-pfeiffer"] and presets[0].point["deltas.0.rank"] == 7
    assert presets[0].params == {"deltas.0.rank": 7, "training.lr": 0.001, "deltas.0.dropout": 0} and not presets[1].params, "bitfit is no point of the space"
    assert any(trial.state == PRUNED for trial in record.trials), "successive halving ends some"
    for trial in record.trained:  # each rung continues the one before it, and no step is trained twice
        runs = [rung.run for rung in trial.rungs]
        by_id = {job.run: job.spec for job in bench.jobs}
        assert [by_id[run].built_on.continues for run in runs] == ["", *runs[:-1]] and [by_id[run].training.until for run in runs] == [10, 30][: len(runs)]
    winner, preset = (record.trials[record.verdict[who]] for who in ("winner", "preset"))
    for trial in (record.trials[number] for number in record.chosen):
        assert list(trial.finals) == ["0", "1", "2"] and all(by_id[one.run].seed == int(seed) for seed, one in trial.finals.items())
        assert by_id[trial.finals["0"].run].built_on.continues == trial.rungs[-1].run and not by_id[trial.finals["1"].run].built_on.continues
    tests = [job for job in bench.jobs if job.test]
    assert {job.run for job in tests} == {one.run for trial in (winner, preset) for one in trial.tests.values()} and len(tests) == 6
    assert all(job.spec.built_on.continues for job in tests) and not any(job.spec.training.test for job in bench.jobs if not job.test)
    assert record.verdict["on"] == "test" and record.verdict["values"][str(winner.number)] == [one.value for one in winner.tests.values()]
    assert winner.final == max(record.trials[n].final for n in record.chosen if record.trials[n].origin == SPACE), "chosen by validation rows"


@pytest.mark.parametrize("changes", [{}, {"sampler": "qmc"}, {"sampler": "nsga2", "objectives": ["metric", "weights"], "trials": 7}, {"together": 3, "pruner": "median"}, {"pruner": "hyperband"}],
                         ids=["tpe", "qmc", "nsga2", "together", "hyperband"])  # fmt: skip
def test_a_killed_search_ends_as_an_undisturbed_one(changes):
    whole, bench = made(**changes)
    done, kept = {}, {}
    found, record = fresh(**changes)
    for dies in range(1, 200):
        try:
            end = Driver(record, Made(Meter(found, peak), 1 + dies % 2, done), lambda one: kept.update(one.document()), lambda line: None).run()
            break
        except KeyboardInterrupt:
            record = record_of(json.loads(json.dumps(kept)))
    assert dies > 3 and end.phase == DONE and timeless(end) == timeless(whole)
    assert len(done) == len({job.run for job in bench.jobs}), "no run was trained anew"


AXES = st.dictionaries(
    st.sampled_from(["deltas.0.rank", "training.lr", "deltas.0.at", "deltas.0.composition", "deltas.0.form", "deltas.0.insertion", "method"]),
    st.just(None), min_size=1, max_size=4)  # fmt: skip
VALUES = {
    "deltas.0.rank": "1..200 log", "training.lr": "1e-4..1e-2 log", "deltas.0.at": [["attn.q"], ["attn.q", "attn.v"], ["ffn.out"], "all-linear"],
    "deltas.0.composition": "any", "deltas.0.form": ["lowrank", "bottleneck", "vectors", "prompt"], "deltas.0.insertion": "any", "method": ["lora", "dora", "adapter-pfeiffer", "ia3"],
}  # fmt: skip


@settings(max_examples=8, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(AXES, st.floats(0.02, 1.0), st.sampled_from(["tpe", "random", "qmc"]), st.integers(0, 9))
def test_no_trained_design_breaks_the_budget(axes, percent, sampler, seed):
    record, bench = made(
        space={path: VALUES[path] for path in axes}, budget={"percent": percent, "memory": "1.2 GB"}, sampler=sampler, seed=seed, trials=4, anchors=["lora"]
    )
    for job in bench.jobs:
        assert verbs.count("minilm-l6", job.spec.method)["percent"] <= percent and peak(job.spec.document()) <= 1_200_000_000
    assert all(not trial.rungs for trial in record.trials if trial.state == OVER) and record.phase == DONE
    designs = [json.dumps(trial.point, sort_keys=True) for trial in record.trained]
    assert len(set(designs)) == len(designs)


BAD = {
    "unknown option": ({"space": {"deltas.0.rnk": [1]}}, "space.deltas.0.rnk", "There is no option"),
    "a range backwards": ({"space": {"training.lr": "5..1"}}, "space.training.lr.low", "smaller number"),
    "a seed as an axis": ({"space": {"seed": [1, 2]}}, "space.seed", "does not vary"),
    "no axis": ({"space": {}}, "space", "at least one axis"),
    "out of an option's bounds": ({"space": {"deltas.0.rank": "0..5"}}, "space.deltas.0.rank", "goes from 1"),
    "a budget of other words": ({"budget": "little"}, "budget", "is written as in"),
    "memory of other words": ({"budget": {"memory": "9 XB"}}, "budget.memory", "900 MB"),
    "rungs that fall": ({"rungs": [50, 20]}, "rungs", "Rungs rise"),
    "no steps": ({"training": {}}, "training.steps", "give training.steps"),
    "a preset that there is not": ({"anchors": ["lara"]}, "anchors.0.method", "lora"),
    "no metric": ({"objectives": ["memory"]}, "objectives", "among the objectives"),
    "a pruner for several": ({"objectives": ["metric", "memory"], "pruner": "halving"}, "pruner", "one objective"),
    "when of nothing": ({"space": {"deltas.0.rank": {"low": 1, "high": 3, "when": {"x": [1]}}}}, "space.deltas.0.rank.when", "always there"),
    "a name of a path": ({"name": "../x"}, "name", "small letters"),
}


@pytest.mark.parametrize("changes,field,words", BAD.values(), ids=BAD)
def test_refusals_at_fields(changes, field, words):
    with pytest.raises(Refusal) as refused:
        search_of({**DOCUMENT, **changes})
    assert refused.value.field == field and words in refused.value.sentence


def test_words_of_budgets_and_spaces():
    assert budget_of("0.3 % weights, 900 MB") == {"percent": 0.3, "memory": 900_000_000}
    assert budget_of("60k weights and 1.5 GiB") == {"weights": 60_000, "memory": 1_610_612_736}
    assert space_of(["deltas.0.rank=1..64 log", "method=lora,dora", "deltas.0.at=[attn.q],[ffn.out]"]) == {
        "deltas.0.rank": "1..64 log", "method": ["lora", "dora"], "deltas.0.at": [["attn.q"], ["ffn.out"]]}  # fmt: skip


def test_a_sampler_that_learns_leaves_what_is_refused():
    """TPE would come back for ever to choices whose outcome it has never seen, were it not told that they have no meaning."""
    record, _ = made(space={**DOCUMENT["space"], "deltas.0.composition": ["scaled", "learned-gate", "gated", "rescale"]})
    assert len(record.trained) == 9 and record.meaningless and not record.note


def test_axes_that_only_some_designs_have():
    record, _ = made(space={"method": ["lora", "bitfit"], "deltas.0.rank": {"low": 1, "high": 7, "when": {"method": ["lora"]}}}, anchors=["bitfit"], trials=6)
    assert record.trials[0].params == {"method": "bitfit"}, "an anchor that is a point of the space teaches the sampler"
    assert {trial.params["method"] for trial in record.trials} >= {"lora"} and all(
        ("deltas.0.rank" in t.params) == (t.params["method"] == "lora") for t in record.trials
    )


@pytest.mark.parametrize("one, other, noise, words", [
    ([0.80, 0.81, 0.79], [0.79, 0.80, 0.80], True, "holds zero"), ([0.90, 0.91, 0.905], [0.80, 0.80, 0.81], False, "design that was found is better"),
    ([0.80, 0.80, 0.81], [0.90, 0.91, 0.905], False, "preset is better"), ([0.9], [0.8], True, "One seed"), ([0.9, 0.8, 0.7], [0.8, 0.7, 0.6], True, "same difference"),
], ids=["open", "better", "worse", "one seed", "same"])  # fmt: skip
def test_a_difference_that_may_be_chance_is_called_so(one, other, noise, words):
    found, record = fresh(seeds=len(one))
    for number, (origin, values) in enumerate(((SPACE, one), (PRESET, other))):
        judged = {str(seed): Judged(90, f"run{seed}", value) for seed, value in enumerate(values)}
        record.trials.append(Trial(number, origin, "x", {}, {}, 1, 0.1, finals=judged, tests=judged))
    record.chosen = [0, 1]
    answer = verdict.reached(found, record)
    assert answer["noise"] is noise and words in answer["sentences"][-1]
    lost = {seed: Judged(90, each.run) for seed, each in record.trials[0].tests.items()}
    record.trials[0].tests = lost
    assert "flatter" in verdict.reached(found, record)["sentences"][-1] and verdict.reached(found, record)["on"] == "validation"


DRIVE = """
import sys
from lab.runs import Queue, default, launch
command = sys.argv[1:3]
launch._queue_at = lambda home, database, one=Queue(default().home, command=command, estimate=lambda document: None): one
from lab.searching import costs, drive
costs.planned = lambda home: lambda document: 700_000_000 + 20_000_000 * document["method"]["deltas"][0]["rank"]
drive(sys.argv[3], lambda line: print(line, flush=True))
"""


def test_a_search_over_the_queue_that_is_killed_goes_on(lab_home, monkeypatch):
    """The driver is killed with -9 while a run of it trains; another process takes the search up; a stop stops it and its run."""
    monkeypatch.setenv("LAB_WARM", "0")
    monkeypatch.setenv("LAB_TEST_PAUSE", "0.2")
    document = {**DOCUMENT, "name": "kill", "trials": 2, "rungs": [10, 90], "finalists": 1, "seeds": 1, "anchors": ["lora"]}
    assert searching.begin(document) == "kill"
    with pytest.raises(Refusal, match="already"):
        searching.begin(document)

    def process():
        return subprocess.Popen([sys.executable, "-c", DRIVE, *WORKER, "kill"], cwd=ROOT, stdout=subprocess.DEVNULL)

    first = process()
    end = time.monotonic() + 60
    while not default().store.list() and first.poll() is None and time.monotonic() < end:
        time.sleep(0.05)
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    assert searching.read("kill").phase != DONE and not searching.driven("kill")
    assert searching.summary(searching.read("kill"))["state"] == "interrupted"
    assert main(["search", "--show", "kill"]) == 1, "what a script waits for has not come"
    second = process()
    assert second.wait(120) == 0
    record = searching.read("kill")
    runs = default().store.list(limit=100)
    expected = [one.run for trial in record.trials for part in (trial.rungs, trial.finals.values(), trial.tests.values()) for one in part]
    assert record.phase == DONE and {run.id for run in runs} == set(expected) and all(run.tags == ["kill"] and run.state == "succeeded" for run in runs)
    assert record.verdict["on"] == "test" and len(record.verdict["sentences"]) >= 2
    with pytest.raises(Refusal, match="at its end"):
        searching.start("kill")


def test_a_search_is_driven_from_any_folder(lab_home, monkeypatch, tmp_path):
    """What the page starts finds the lab where the app was started by a path from elsewhere."""
    started = []
    searching.begin({**DOCUMENT, "name": "elsewhere"})
    monkeypatch.delenv("PYTHONPATH")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(searching.subprocess, "Popen", lambda command, **given: started.append((command, given["env"])))
    searching.start("elsewhere")
    monkeypatch.undo()
    ((command, environment),) = started
    assert command[1:] == ["-m", "lab", "search", "--resume", "elsewhere"]
    assert subprocess.run([sys.executable, "-c", "import lab"], cwd=tmp_path, env=environment).returncode == 0


@pytest.mark.parametrize("line, said", [
    (["search", "nosuch"], "There is no search preset 'nosuch'"), (["search", "../../etc/passwd"], "There is no search preset"),
    (["search", "none.yaml"], "none.yaml cannot be read"), (["import", "none"], "There is no file none."), (["import", "none.csv"], "There is no file none.csv."), (["import", "n" * 5000], "There is no file nnn"),
    (["search", "kept"], "'space' is missing"),
])  # fmt: skip
def test_what_is_not_there_is_what_the_terminal_names(line, said, tmp_path, monkeypatch, capsys):
    """Not the next thing that is missing, nor a file of which nobody spoke."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "kept").write_text("model: minilm-l6\ntask: sentiment-rt\n")  # a file is one whatever its name
    assert main(line) == 2 and said in capsys.readouterr().err


def test_a_task_is_changed_by_path(capsys):
    """A preset's task is written out first; what it does not have is said at its place."""
    line = ["search", "minilm-small-budget", "--dry-run", "--json", "--set"]
    assert main([*line, "task.train_rows=64"]) == 0
    assert json.loads(capsys.readouterr().out)["task"]["train_rows"] == 64
    assert main([*line, "task.no_such=1"]) == 2
    assert "task.no_such" in capsys.readouterr().err
