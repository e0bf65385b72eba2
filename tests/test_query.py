"""The query language over runs: what it means, what it refuses and where, and that hostile texts cost nothing; in memory and over a store."""

from __future__ import annotations

import json
import random
import re
import time

import pytest

from lab import verbs
from lab.design.plain.refusal import Refusal
from lab.design.spec.run import spec_of
from lab.results import table
from lab.runs import Home, Queue, processes
from lab.runs.query import DEPTH, LETTERS, like, parse
from lab.ui.words.refusals import refused

RUN = {
    "": ["LoRA on film reviews", "k7qm2x9b", "draft"], "name": ["LoRA on film reviews"], "state": ["running"], "tag": ["draft", "grid"], "method": ["LoRA"],
    "accuracy": [0.781], "percent": [0.24], "memory": [9.1e8], "weights": [1_327_104], "time": [93.0], "rank": [8, 16], "seed": [0], "created": [1.75e9],
    "energy": [True], "at": [["attn.q", "attn.v"]],
}  # fmt: skip


def means(text):
    return parse(text).holds(lambda name: RUN.get(name, []))


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("", True), ("accuracy > 0.78 and method = lora*", True), ("accuracy > 0.79 and method = lora*", False), ("state in (running, queued)", True),
        ("state not in (running, queued)", False), ("not tag = draft", False), ("tag = draft and not tag = old", True), ("tag != old", True), ("tag != grid", False),
        ("accuracy>=78.1 %", True), ("accuracy < 78%", False), ("percent < 0.3 %", True), ("percent < 0.2%", False), ("memory < 900 MB", False),
        ("memory < 900 MiB", True), ("memory <= 0.91GB", True), ("weights > 1.3M", True), ("weights < 1.3 M", False), ("time > 1.5 min", True), ("time < 90 s", False),
        ("rank = 16", True), ("rank in (4, 32)", False), ("rank > 8", True), ("name = 'LoRA on film reviews'", True), ('name = "lora*"', False), ("name = lora*views", True),
        ("film", True), ("film reviews", True), ('"film reviews"', True), ("film music", False), ("not film or seed = 0", True), ("nothing = none", True),
        ("nothing != none", False), ("nothing > 0", False), ("nothing != 5", True), ("not nothing > 0", True), ("method = LORA", True), ("state > 5", False),
        ("(seed = 1 or seed = 0) and (rank = 8)", True), ("seed = 1 or seed = 0 and rank = 4", False), ("NOT film OR seed = 0", True), ("seed == 0", True),
        ("accuracy ＞ 0.7 and （state = running）", True), ("energy = true", True), ("at = attn.q*", True), ("created > 2025-01-01", True),
        ("created <= 2025-01-01", False), ("created = 2025-06-15", True), ("created < 2025-06-15", False), ("created > 2025-06-15", False), ("seed = 0 rank = 8", True),
    ],
)  # fmt: skip
def test_what_a_query_means(text, meant):
    assert means(text) is meant


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("accuracy >", "At the end of the query a value is lacking."), ("(seed = 1", "The bracket at letter 1 is never closed."),
        ("seed = )", "At letter 8, before ')', a value is lacking."), ("seed in 5", "At letter 9, before '5', ( and a list is lacking."),
        ("seed in (1, 2", "The bracket at letter 9 is never closed."), ("and seed = 1", "At letter 1, before 'and', a condition is lacking."),
        ("seed = 1 or", "At the end of the query a condition is lacking."), ("accuracy > high", "'high' at letter 12 is no number, so nothing is more than it."),
        ('name = "x', "The quotation mark at letter 8 has no other one that ends it."), ("seed = 1)", "The ')' at letter 9 does not belong there."),
        ("memory < 3 parsec", "'parsec' at letter 12 does not belong to the value before it: write 'and' between them, or the words in quotation marks."),
        ("name = big model", "'model' at letter 12 does not belong to the value before it: write 'and' between them, or the words in quotation marks."),
        ("memory < 3parsec", "'parsec' at letter 11 is no unit; there are kB, MB, GB, GiB, k, M, G, ms, s, min, h, d and %."), ("seed ! 1", "The '!' at letter 6 says"),
        ("x" * 10_000, f"A query may have {LETTERS:,} letters; this one has 10,000."), ("(" * 900, f"are nested deeper than {DEPTH}."),
        ("not " * 400, f"are nested deeper than {DEPTH}."), ("a " * 900, "A query may have 100 conditions."), ("rank 4, seed 0", "At letter 7, before ',',"), (5, "must be a text"),
    ],
)  # fmt: skip
def test_what_is_no_query_says_where_it_ends_to_be_one(text, sentence):
    with pytest.raises(Refusal, match=re.escape(sentence)) as refusal:
        parse(text)
    assert refusal.value.field == "where" and re.search("[\u4e00-\u9fff]", refused("zh", refusal.value))


def test_no_text_costs_much_or_breaks_it():
    """Any letters give a query or a refusal, soon; patterns full of stars too."""
    drawn, began = random.Random(0), time.process_time()
    pieces = [
        "(",
        ")",
        "and",
        "or",
        "not",
        "in",
        "=",
        "!=",
        "<",
        ">=",
        ",",
        "a",
        "*",
        "'",
        '"',
        "0.3",
        "%",
        "MB",
        "\x00",
        "准",
        "\u2028",
        "1e999",
        "9" * 400,
        "-",
    ]
    for _ in range(2000):
        text = drawn.choice(["", " "]).join(drawn.choices(pieces, k=drawn.randrange(30)))
        try:
            parse(text).holds(lambda name: ["a" * 50, 1, None, float("nan")])
        except Refusal:
            continue
    assert not like("a" * 20_000, "*a" * 900 + "b") and like("a" * 20_000 + "b", "*a" * 900 + "*b")
    assert time.process_time() - began < 5


@pytest.fixture
def lab(lab_home):
    """Eight runs of two methods and two seeds, one of them cancelled with numbers and one waiting."""
    queue = Queue(Home(lab_home), count=0)
    runs = []
    for number, (method, rank, seed) in enumerate((method, rank, seed) for method in ("lora", "adapter-houlsby") for rank in (4, 8) for seed in (0, 1)):
        document = spec_of({"model": "minilm-l6", "task": "sentiment-rt", "method": {"preset": method, "set": {"deltas.0.rank": rank}}, "seed": seed,
                            "name": f"{method} {rank} seed {seed}"}).document()  # fmt: skip
        runs.append(queue.store.create(document, document["name"], ["grid"] if rank == 4 else []))
        if number == 7:
            continue
        queue.store.claim(runs[-1], processes.identity())
        if number == 6:
            queue.store.ask_stop(runs[-1])
        result = {"best": {"step": 5, "accuracy": 0.7 + number / 100}, "trainable": 1000 * rank, "peak_bytes": 1e9, "seconds": 60.0}
        queue.store.finish(runs[-1], "cancelled" if number == 6 else "succeeded", result=result)
    return queue, runs


def test_runs_are_found_by_what_they_are_and_came_to(lab):
    queue, runs = lab
    found = lambda where: [run.id for run in verbs.runs(where=where)]  # noqa: E731
    assert found("accuracy > 0.72") == [runs[5], runs[4], runs[3]], "what was cancelled is no result"
    assert found("method = lora* and rank = 4 and seed = 0") == [runs[0]] and found("deltas.0.rank = 8 state = queued") == [runs[7]]
    assert found("tag = grid and not method = lora") == [runs[5], runs[4]] and found("weights >= 8 k and state = succeeded and seed = 0") == [runs[2]]
    assert len(found("")) == 8 and [run.id for run in verbs.runs(where="seed = 1", limit=2, states=["succeeded"])] == [runs[5], runs[3]]
    queue.store.tag(runs[0], ["draft"])
    assert found("tag = draft") == [runs[0]]
    queue.delete(runs[0])
    assert found("tag = draft") == [] and len(found("model = minilm*")) == 7
    for where, sentence in (
        ("acuracy > 0.5", "near it are accuracy"),
        ("memory < 3 min", "is counted in bytes, as in 900 MB"),
        ("seed = 1 MB", "is counted in plain numbers"),
    ):
        with pytest.raises(Refusal, match=sentence) as refusal:
            found(where)
        assert re.search("[\u4e00-\u9fff]", refused("zh", refusal.value))


def test_the_table_shows_what_differs_sorts_and_groups(lab):
    queue, runs = lab
    rows = table.table_of(queue.store).rows()
    assert table.default_columns(rows) == ["state", "method", "task", "method.deltas.0.rank", "seed", "metric", "weights", "memory", "time"]
    best = table.ordered(rows, "metric", True)
    assert [row.run.id for row in best] == [runs[5], runs[4], runs[3], runs[2], runs[1], runs[0], runs[7], runs[6]], "without a result they stand last"
    assert [row.run.id for row in table.ordered(rows, "metric", False)][-2:] == [runs[7], runs[6]]
    groups = table.in_order(table.grouped(rows, table.SEEDS), "metric", True)
    assert [len(group.rows) for group in groups] == [2, 2, 2, 2]
    mean, deviation, n = groups[0].value("metric")
    assert (
        (mean, n) == (pytest.approx(0.745), 2) and deviation == pytest.approx(0.00707, abs=1e-5) and groups[0].value("method") == ("Houlsby adapter", None, 0)
    )
    assert groups[-1].value("metric") == (None, None, 0)
    assert [(group.label, len(group.rows)) for group in table.grouped(rows, "deltas.0.rank")] == [("8", 4), ("4", 4)]


def test_the_terminal_takes_queries(lab, capsys, monkeypatch):
    from lab.cli import main

    monkeypatch.setenv("LAB_SLOTS", "0")

    _, runs = lab
    assert main(["runs", "--where", "accuracy > 0.74 and method != lora*", "--json"]) == 0
    assert [row["run"] for row in json.loads(capsys.readouterr().out)] == [runs[5]]
    assert main(["runs", "--where", "acuracy > 1", "--json"]) != 0 and "near it are accuracy" in "".join(capsys.readouterr())
    assert main(["stop", "--where", "tag = grid or state = queued", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"run": runs[7], "state": "cancelled"}
    assert main(["stop", "--json"]) != 0 and "--where" in "".join(capsys.readouterr())
