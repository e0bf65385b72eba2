"""Boards: every one of them can run, what is due follows from what is kept, verdicts are those of the numbers, and runs are taken up again."""

from __future__ import annotations

import math
import random
from pathlib import Path
from types import SimpleNamespace

import pytest

from lab import boards as work_of
from lab.design.plain.refusal import Refusal
from lab.design.spec import board as boards
from lab.results import findings

SEEDS = {"he-2022-table-5": 5, "he-2022-table-6": 5}  # of the papers' tables that the issue asks more of


def result(one: boards.BoardRun, value: float, validation: float | None = None) -> dict:
    return {"spec": one.print, "metric": "accuracy", "greater": True, "validation": value if validation is None else validation, "value": value}


def filled(name: str, value) -> dict[str, dict]:
    """Results of a whole board as it asks for them, step by step; `value(cell key, rate, seed)`."""
    kept: dict[str, dict] = {}
    while todo := boards.due(name, kept):
        for one in todo[:3]:
            kept[one.key] = result(one, value(one.cell.key, one.rate, one.seed))
    return kept


@pytest.mark.parametrize("name", boards.names())
def test_a_board_can_run_and_ends(name):
    board = boards.load(name)
    jobs = [boards.job(name, cell, rate, seed) for cell in board.cells for rate in board.rates for seed in (0, 1)]
    assert len({one.print for one in jobs}) == len(jobs)  # no two of them are one run
    assert board.measure == "memory" or board.seeds >= SEEDS.get(name, 3)
    assert board.measure != "test" or all(one.spec.training.test for one in jobs)
    kept = filled(name, lambda key, rate, seed: 0.5)
    assert len(kept) == boards.size(name) and not boards.due(name, kept)
    assert not any(one.verdict == "open" for one in findings.findings(name, kept))


def test_the_rate_is_that_of_the_validation_split():
    name = "he-2022-table-3"
    kept: dict[str, dict] = {}
    for one in boards.due(name, kept):  # the better a rate is by validation, the worse it is by the test split
        kept[one.key] = result(one, value=1 - one.rate / 10, validation=one.rate / 10)
    later = boards.due(name, kept)
    assert {one.rate for one in later} == {3.0} and {one.seed for one in later} == {1, 2}
    assert len({one.cell.key for one in later[:5]}) == 5  # a seed over all cells, then the next


def test_results_of_another_spec_do_not_count():
    name = "he-2022-table-3"
    kept = filled(name, lambda *_: 0.5)
    key = next(iter(kept))
    kept[key] = {**kept[key], "spec": "of another"}
    assert [one.key for one in boards.due(name, kept)] == [key]


VERDICTS = [  # of seeds that scatter by `spread`, the first claim's cell ahead by `ahead`; and of a claim of no difference within 1.5 points
    (0.05, 0.001, "agrees", "does not agree"), (-0.05, 0.001, "does not agree", "does not agree"), (0.0, 0.05, "cannot be decided", "cannot be decided"),
    (0.0, 0.0005, "cannot be decided", "agrees"),
]  # fmt: skip


@pytest.mark.parametrize(("ahead", "spread", "difference", "alike"), VERDICTS)
def test_verdicts(ahead, spread, difference, alike):
    name = "he-2022-table-5"
    board = boards.load(name)
    better = {claim.better for claim in board.claims}

    def value(key: str, rate: float, seed: int) -> float:
        return 0.7 + (ahead if key in better else 0.0) + spread * random.Random(f"{key}{seed}").uniform(-1, 1)

    found = findings.findings(name, filled(name, value))
    wanted = [claim for claim in found if claim.claim.than not in better]
    assert {one.verdict for one in wanted if one.claim.within is None} == {difference}
    assert {one.verdict for one in wanted if one.claim.within is not None} == {alike}
    assert all(one.low <= one.effect <= one.high for one in found)


def test_one_seed_decides_nothing():
    name = "he-2022-table-3"
    kept = {key: row for key, row in filled(name, lambda key, rate, seed: 0.9 if key.startswith("PA") else 0.5).items() if key.endswith("| 0")}
    found = findings.findings(name, kept)
    assert {one.verdict for one in found} == {"open"} and all(math.isnan(one.effect) for one in found)
    text = findings.page({name: kept})
    assert "10 of 15 results are missing" in text and f"board {name}" in text


@pytest.mark.parametrize("change", [
    {"claims": [{"says": "x", "says_zh": "x", "better": "nothing", "than": "PA (ffn)"}]}, {"rows": [{"label": "a", "method": "lora"}, {"label": "a", "method": "mam"}]},
    {"rows": [{"label": "a", "of": "no such row"}, {"label": "b", "method": "mam"}]}, {"rows": [{"label": "a"}, {"label": "b", "method": "mam"}]},
])  # fmt: skip
def test_a_board_that_is_none_is_refused(change):
    from lab.design.plain.options import validate
    from lab.design.presets import catalogue

    with pytest.raises(Refusal):
        validate(boards.Board, {**catalogue.read("boards", "he-2022-table-3"), **change})


class Lab:
    """A queue whose runs end at once with a result, or, where told, break."""

    def __init__(self, breaks=()):
        self.runs, self.breaks, self.count, self.store, self.launched = {}, set(breaks), 2, self, 0

    def launch(self, document, name, tags):
        self.launched += 1
        run_id = f"run{self.launched}"
        state = "failed" if any(words in name for words in self.breaks) else "succeeded"
        numbers = {"accuracy": 0.5 + document["seed"] / 100, "step": 120}
        self.runs[run_id] = SimpleNamespace(
            id=run_id, name=name, state=state, spec=document, error="It broke." if state == "failed" else "", over=True,
            result={"best": numbers, "test": numbers, "judge": {"metric": "accuracy", "greater_is_better": True}, "trainable": 5, "percent": 0.1},
        )  # fmt: skip
        return run_id

    def get(self, run_id):
        return self.runs[run_id]

    def list(self, tag):
        return list(self.runs.values())

    def reconcile(self):
        return []


@pytest.fixture
def lab(monkeypatch):
    def use(**options):
        made = Lab(**options)
        monkeypatch.setattr(work_of.verbs, "queue", lambda: made)
        monkeypatch.setattr(work_of.verbs, "check", lambda spec: spec)
        monkeypatch.setattr(work_of, "POLL", 0)
        return made

    return use


def test_a_board_goes_on_over_sittings(lab, tmp_path):
    name, first = "azizi-2024-start", lab()
    found = work_of.work(name, tmp_path, minutes=0)
    assert found["done"] == 0 and not first.launched  # no time, nothing begins
    whole = work_of.work(name, tmp_path)
    assert whole["done"] == whole["runs"] == first.launched == boards.size(name)
    again = lab()
    assert work_of.work(name, tmp_path)["done"] == whole["done"] and not again.launched  # what is kept does not run again
    rows = work_of.kept(name, tmp_path)
    assert all(row["value"] == pytest.approx(0.5 + int(key.rpartition("| ")[2]) / 100) and row["versions"]["torch"] for key, row in rows.items())


def test_runs_of_an_earlier_sitting_are_taken_up(lab, tmp_path):
    name, there = "azizi-2024-start", lab()
    work_of.work(name, tmp_path)
    (tmp_path / f"{name}.json").unlink()  # as if it had been killed before it kept anything
    launched = there.launched
    work_of.work(name, tmp_path)
    assert there.launched == launched and len(work_of.kept(name, tmp_path)) == boards.size(name)


def test_a_failed_run_is_said_and_holds_nothing_up(lab, tmp_path):
    name = "azizi-2024-start"
    lab(breaks=["core at zero"])
    found = work_of.work(name, tmp_path)
    assert len(found["failed"]) == 3 and set(found["failed"].values()) == {"It broke."}
    assert found["done"] == boards.size(name) - 5  # three rates, and the two seeds that wait for them


def test_a_run_that_learned_nothing_counts_as_such(lab, tmp_path):
    """At one rate, or with one seed: neither holds the row up, and no mean is of the lucky seeds alone."""
    name, there = "azizi-2024-start", lab()
    launch = there.launch

    def stays(document, title, tags):
        run_id = launch(document, title, tags)
        if document["seed"] == 1:
            there.runs[run_id].result["best"] = {"accuracy": 0.1, "step": 0}
            there.runs[run_id].result["test"] = {"accuracy": 0.1, "step": 0}
        return run_id

    there.launch = stays
    found = work_of.work(name, tmp_path)
    assert not found["failed"] and found["done"] == boards.size(name)
    rows = findings.measured(name, work_of.kept(name, tmp_path))
    assert all(row.stalled == 1 and len(row.known) == 3 and min(row.known) == 0.1 for row in rows)
    assert "3 of 3, 1 learned nothing" in findings.page({name: work_of.kept(name, tmp_path)})


@pytest.mark.parametrize(
    "given", [["--minutes", "nan"], ["--minutes", "-1"], ["--results", "file"], ["--write", "none/w.md"], ["--write", "folder"], ["--write", ""]], ids=" ".join
)
def test_what_cannot_be_is_said_before_anything_begins(given, lab, tmp_path, monkeypatch, capsys):
    from lab.cli import main

    monkeypatch.chdir(tmp_path)
    Path("file").write_text("")
    Path("folder").mkdir()
    monkeypatch.setattr(work_of, "_launched", lambda one: pytest.fail("a run began"))
    monkeypatch.setattr(work_of, "_plan", lambda *given: pytest.fail("a plan began"))
    for name in ("forgetting", "azizi-2024-memory"):
        assert main(["board", name, *given]) == 2
        assert "Errno" not in capsys.readouterr().err


def test_the_findings_name_where_they_are_from(lab, tmp_path, monkeypatch, capsys):
    from lab.cli import main

    monkeypatch.chdir(tmp_path)
    assert main(["board", "few-weights", "--dry-run", "--results", "mine", "--write", "w.md"]) == 0
    assert "w.md has the findings" in capsys.readouterr().out
    text = Path("w.md").read_text(encoding="utf-8")
    assert "--results mine --write w.md" in text and "python -m lab board few-weights --results mine`" in text and "benchmarks/boards" not in text
    assert main(["board", ""]) == 2


def test_a_damaged_file_is_refused(tmp_path):
    (tmp_path / "he-2022-table-3.json").write_text("[1", encoding="utf-8")
    with pytest.raises(Refusal, match="not a file of a board's results"):
        work_of.kept("he-2022-table-3", tmp_path)


def test_the_page_is_that_of_the_results():
    """docs/findings.md says what benchmarks/boards holds: python -m lab board --results benchmarks/boards --write docs/findings.md"""
    root = Path(__file__).resolve().parents[1]
    kept = {name: work_of.kept(name, root / "benchmarks" / "boards") for name in boards.names()}
    assert (root / "docs" / "findings.md").read_text(encoding="utf-8") == findings.page(kept)
