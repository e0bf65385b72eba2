"""The store: states as compare-and-set, migrations from the oldest schema, curves, locks, hostile input; on both databases."""

from __future__ import annotations

import json
import math
import sqlite3
import threading
from dataclasses import replace

import numpy as np
import pytest
from sqlalchemy import inspect, text

from lab.design.plain.refusal import Refusal
from lab.runs import records
from lab.runs.database import Database
from lab.runs.home import Home
from lab.runs.migrations import LATEST, migrate
from lab.runs.processes import identity
from lab.runs.schema import metadata
from lab.runs.store import Store

pytest_plugins = ["runs_fixtures"]
ME = identity()


def test_states_change_only_from_where_they_are_believed_to_be(store):
    run_id = store.create({"model": "m"}, "first", ["a", "b", "a"])
    assert store.get(run_id).tags == ["a", "b"] and store.get(run_id).state == "queued"
    run = store.claim_next(ME, 1)
    assert (run.id, run.state, run.attempt, run.slot, run.pid) == (run_id, "starting", 1, 0, ME.pid)
    waiting, before = store.create({"model": "m"}), store.store_version()
    assert store.claim_next(ME, 1) is None and store.store_version() == before, "a look at a queue that must wait is no change"
    store.ask_stop(waiting)
    with pytest.raises(Refusal, match="not waiting for this worker"):
        store.claim(run_id, ME, attempt=7)
    assert store.claim(run_id, ME, attempt=1).state == "running"
    assert store.claim(run_id, ME, attempt=1).attempt == 1, "an answer that was lost is asked for again"
    with pytest.raises(Refusal):
        store.claim(run_id, replace(ME, pid=ME.pid + 1), attempt=1)
    assert store.log(run_id, [(1, "loss", 2.0)], attempt=1) == "running"
    assert store.ask_stop(run_id) == "stopping"
    assert store.finish(run_id, "failed", attempt=1, error="x") and store.get(run_id).state == "cancelled"
    assert not store.finish(run_id, "succeeded", attempt=1)
    assert store.requeue(run_id).state == "queued"
    with pytest.raises(Refusal):
        store.requeue(run_id)
    assert store.claim_next(ME, 1).attempt == 2
    assert store.log(run_id, [(2, "loss", 1.0)], attempt=1) is None, "an outdated attempt writes nothing more"
    assert store.claim(run_id, ME, attempt=2).error is None
    assert store.finish(run_id, "cancelled", attempt=2) and store.get(run_id).state == "interrupted", "nobody had asked"
    assert [e.state for e in store.events(run_id)] == ["queued", "starting", "running", "stopping", "cancelled", "queued", "starting", "running", "interrupted"]
    assert store.metric_names(run_id) == ["loss"] and store.latest(run_id)["loss"][:2] == (1, 2.0)


def test_one_of_many_claims_wins_and_slots_hold(store):
    for _ in range(12):
        store.create({})
    won = []

    def claim():
        for _ in range(4):
            if run := store.claim_next(ME, 5):
                won.append((run.id, run.slot))

    threads = [threading.Thread(target=claim) for _ in range(6)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert len({run for run, _ in won}) == len(won) == 5 and sorted(slot for _, slot in won) == [0, 1, 2, 3, 4]
    ended = []
    threads = [threading.Thread(target=lambda: ended.append(store.finish(won[0][0], "succeeded", attempt=1))) for _ in range(6)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert sorted(ended) == [False] * 5 + [True]


def test_the_queue_keeps_and_changes_its_order(store):
    first, second, third = (store.create({"n": n}, f"run {n}", ["sweep"] if n else []) for n in range(3))
    store.reorder(third, 0)
    assert [run.id for run in store.list(["queued"])] == [third, first, second]
    assert store.claim_next(ME, 9).id == third and store.claim_next(ME, 9).id == first
    with pytest.raises(Refusal, match="does not wait"):
        store.reorder(third, 0)
    assert {run.id for run in store.list(tag="sweep")} == {second, third} and store.list(words="RUN 1")[0].id == second
    assert store.counts()["starting"] == 2 and store.find("run 2").id == third and store.find(second[:5]).id == second
    with pytest.raises(Refusal, match="There is no run"):
        store.find("%")
    with pytest.raises(Refusal, match="stop it before"):
        store.delete(third)
    store.delete(second)
    with pytest.raises(Refusal):
        store.get(second)


def test_pollers_see_every_change_and_no_heartbeat(store):
    run_id = store.create({})
    store.claim(run_id, ME)
    changes = [
        lambda: store.log(run_id, [(1, "loss", 1.0)]),
        lambda: store.rename(run_id, "n"),
        lambda: store.tag(run_id, ["t"]),
        lambda: store.annotate(run_id, "ü 中文"),
        lambda: store.ask_stop(run_id),
        lambda: store.finish(run_id, "cancelled"),
    ]
    for change in changes:
        before = store.version(run_id), store.store_version()
        store.log(run_id, [])
        assert (store.version(run_id), store.store_version()) == before
        change()
        assert store.version(run_id) > before[0] and store.store_version() > before[1]
    before = store.store_version()
    store.delete(run_id)
    assert store.store_version() > before and store.version(run_id) == -1


def test_thinning_keeps_every_extreme_and_both_ends(store):
    run_id = store.create({})
    steps = np.arange(1, 20_001)
    values = np.sin(steps / 500) + np.random.default_rng(0).normal(0, 0.05, len(steps))
    values[7_776], values[15_001] = 9.0, -9.0
    store.log(run_id, list(zip(steps.tolist(), ["loss"] * len(steps), values.tolist(), strict=True)))
    store.log(run_id, [(step, "flat", 3.0) for step in steps.tolist()])
    store.log(run_id, [(step, "eval", step / 7) for step in range(1000, 20_001, 1000)])
    found = store.series(run_id, points=500)
    thin_steps, thin_values, thin_times = found["loss"]
    assert len(thin_steps) <= 502 and len(thin_times) == len(thin_steps) and (np.diff(thin_steps) > 0).all()
    assert thin_values.max() == 9.0 and thin_values.min() == -9.0 and 7_777 in thin_steps and 15_002 in thin_steps
    assert (values[thin_steps - 1] == thin_values).all(), "only points of the curve itself"
    assert thin_steps[0] == 1 and thin_steps[-1] == 20_000
    for low in range(0, 20_000, 80):  # each bucket's own extremes are there
        part = values[low : low + 80]
        assert {part.min(), part.max()} <= set(thin_values)
    assert len(found["flat"][0]) <= 252 and found["flat"][1].max() == 3.0
    assert found["eval"][0].tolist() == list(range(1000, 20_001, 1000))
    assert len(store.series(run_id, ["loss"], after=19_990)["loss"][0]) == 10
    assert list(store.series(run_id, after={"loss": 20_000, "flat": 19_999, "eval": 20_000})) == ["flat"]
    assert (store.series(run_id, ["loss"])["loss"][1] == values).all()


def test_odd_values_and_steps_passed_twice(store):
    run_id = store.create({})
    store.log(run_id, [(1, "loss", math.nan), (2, "loss", math.inf), (2, "loss", -math.inf), (3, "loss", 1.0)])
    store.log(run_id, [(3, "loss", 2.0), (4, "loss", 1e308)])
    values = store.series(run_id)["loss"][1]
    assert math.isnan(values[0]) and values[1:].tolist() == [-math.inf, 2.0, 1e308]
    for name in ("", "x" * 201, "a\nb", "nul\0"):
        with pytest.raises(ValueError):
            store.log(run_id, [(1, name, 1.0)])
    assert store.metric_names(run_id) == ["loss"]


def test_migration_from_the_oldest_schema(url):
    store = Store(url)
    empty = {table: [] for table in ("events", "schema_version", "ticket", "metrics", "runs", "lab", "deleted", "views")}
    store.database.write(lambda c: [c.execute(text(f"DROP TABLE {table}")) for table in empty])
    store.database.write(lambda c: migrate(c, upto=1))

    def old_rows(c):
        c.execute(
            text("""INSERT INTO runs (number, id, name, state, spec, tags, notes, position, version, attempt, created, ended,
            step, error) VALUES (5, 'aaaaaaaa', 'old', 'failed', '{"model": "m"}', '[]', '', 1, 1, 1, 10.0, 20.0, 3, 'broke')""")
        )
        c.execute(text("INSERT INTO metrics VALUES (5, 'loss', 1, 0.5, 11.0)"))

    store.database.write(old_rows)
    store.close()
    stores = []
    threads = [threading.Thread(target=lambda: stores.append(Store(url))) for _ in range(4)]  # several apps start at once
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert len(stores) == 4
    run = stores[0].get("aaaaaaaa")
    assert run.spec == {"model": "m"} and run.error == "broke" and stores[1].series("aaaaaaaa")["loss"][1].tolist() == [0.5]
    assert [(e.time, e.state, e.message) for e in stores[2].events("aaaaaaaa")] == [(10.0, "queued", ""), (20.0, "failed", "broke")]
    seen = inspect(stores[0].database.engine)
    for table in metadata.tables.values():
        assert {c["name"]: c["nullable"] for c in seen.get_columns(table.name) if c["name"] != "number"} == {
            c.name: c.nullable for c in table.columns if c.name != "number"
        }
    stores[0].database.write(lambda c: c.execute(text("INSERT INTO schema_version VALUES (:n)"), {"n": LATEST + 5}))
    with pytest.raises(Refusal, match="newer Delta Lab"):
        Store(url)
    [store.close() for store in stores]


def test_a_locked_database_is_waited_for(tmp_path):
    store = Store(f"sqlite:///{tmp_path / 'lab.db'}")
    run_id = store.create({})
    other = sqlite3.connect(tmp_path / "lab.db", isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    let_go = threading.Event()
    threading.Timer(6.5, lambda: (let_go.set(), other.execute("COMMIT"))).start()  # longer than SQLite's own patience
    assert store.get(run_id).state == "queued" and not let_go.is_set(), "readers do not wait"
    store.rename(run_id, "patient")
    assert store.get(run_id).name == "patient" and let_go.is_set()


def test_a_store_that_cannot_be_opened_says_so(tmp_path, monkeypatch):
    (tmp_path / "lab.db").write_bytes(b"this is no database" * 100)
    for bad in (
        f"sqlite:///{tmp_path / 'lab.db'}",
        f"sqlite:///{tmp_path / 'no' / 'lab.db'}",
        "sqlite://",
        "mysql://x/y",
        "nonsense",
        "sqlite:///:memory:",
        "postgresql+nodriver://x/y",
    ):
        with pytest.raises(Refusal):
            Store(bad)
    pytest.importorskip("psycopg")
    monkeypatch.setenv("LAB_DATABASE_WAIT", "1")
    with pytest.raises(Refusal) as refused:
        Store("postgresql://lab:geheim@127.0.0.1:1/lab")
    assert "geheim" not in str(refused.value) and "\n" not in str(refused.value)


def test_runs_of_a_model_are_found_below_newer_ones_of_others(store):
    """Before the limit counts; also where its path has letters that a pattern or JSON writes otherwise."""
    for model in ("minilm-l6", '/tmp/50%_"é"/model'):
        mine = [store.create({"task": "t", "model": model, "seed": seed}) for seed in (0, 1)]
        for other in ("minilm-l6-v2", "x" + model, "bart") * 3:
            store.create({"task": "t", "model": other})
        assert {run.id for run in store.list(model=model, limit=2)} == set(mine)


def test_damaged_rows_do_not_break_the_list(tmp_path):
    store = Store(f"sqlite:///{tmp_path / 'lab.db'}")
    run_id = store.create({"a": 1})
    for column, damage in (("spec", "{half"), ("spec", "[1]"), ("tags", "nope"), ("result", "\x00")):
        store.database.write(lambda c, column=column, damage=damage: c.execute(text(f"UPDATE runs SET {column} = :d"), {"d": damage}))
        assert [run.id for run in store.list()] == [run_id]
    assert store.get(run_id).spec == {} and store.get(run_id).tags == [] and store.get(run_id).result == {}


HOSTILE_IDS = [
    "",
    ".",
    "..",
    "../etc",
    "a/b",
    "aaaaaaa",
    "aaaaaaaaa",
    "AAAAAAAA",
    "aaaa aaa",
    "aaaaaaa\n",
    "aaaaaaa\0",
    "%aaaaaaa",
    "-rf aaaa",
    "1aaaaaaa",
    "aaaaaaé",
    "ａａａａａａａａ",
    None,
    5,
    ["a"],
    "'; DROP TABLE runs; --",
    "a" * 10_000,
    "con",
    "~root",
]


def test_hostile_ids_names_and_specs(tmp_path, monkeypatch):
    home = Home(tmp_path / "home")
    store = Store(home.database_url)
    good = store.create({})
    for bad in HOSTILE_IDS:
        for act in (
            home.run_dir,
            home.file,
            store.get,
            store.version,
            store.ask_stop,
            store.delete,
            store.events,
            lambda i: store.rename(i, "x"),
            lambda i: store.log(i, [(1, "a", 1.0)]),
            lambda i: store.reorder(i, 0),
        ):
            with pytest.raises(Refusal):
                act(bad)
    for bad in ("x" * 121, "a\nb", "nul\0", "\x1b[31m", "\u202eevil\u202c", "\ud800", 5, None, b"x"):
        with pytest.raises(Refusal):
            store.rename(good, bad)
        with pytest.raises(Refusal):
            store.tag(good, [bad])
    for bad in ("abc", [f"t{n}" for n in range(21)], 5, {"a": 1}):
        with pytest.raises(Refusal):
            store.tag(good, bad)
    loop = {}
    loop["self"] = loop
    deep: dict = {}
    for _ in range(100_000):
        deep = {"d": deep}
    for bad in (None, [], "x", {"a": math.nan}, {"a": object()}, {"a": {1, 2}}, loop, deep, {"a": "x" * records.SPEC_BYTES}, {"a": b"x"}):
        with pytest.raises(Refusal):
            store.create(bad)
    strange = {"text": "nul \0, lone \ud800, 中文, '; DROP TABLE runs; --", "n": 2**70}
    assert store.get(store.create(strange)).spec == json.loads(json.dumps(strange))
    monkeypatch.setattr("lab.runs.store.QUEUE_LENGTH", 2)
    with pytest.raises(Refusal, match="queue is full"):
        store.create({})


def test_files_stay_inside_the_run(tmp_path):
    home = Home(tmp_path / "home")
    run_id = "aaaaaaaa"
    folder = home.run_dir(run_id, create=True)
    (folder / "log.txt").write_text("x", encoding="utf-8")
    (tmp_path / "secret").write_text("s", encoding="utf-8")
    (folder / "out").symlink_to(tmp_path)
    (folder / "round").symlink_to(folder / "round")
    (folder / "log2.txt").symlink_to(folder / "log.txt")
    assert home.file(run_id, "log.txt") == folder / "log.txt" and home.file(run_id, "checkpoints/step-000001", "x").parent.name
    assert home.file(run_id, "log2.txt")
    for bad in (
        ["..", "x"],
        ["../secret"],
        ["a/../../secret"],
        ["/etc/passwd"],
        ["out", "secret"],
        ["out/secret"],
        ["round"],
        ["a\0b"],
        [""],
        [],
        ["."],
        ["a//b"],
        ["C:\\x"],
        ["..\\..\\x"],
        ["x\n"],
        ["~/../.."],
        ["a" * 300, ".."],
    ):
        with pytest.raises(Refusal):
            home.file(run_id, *bad)
    (home.runs / "bbbbbbbb").symlink_to(tmp_path)
    with pytest.raises(Refusal):
        home.run_dir("bbbbbbbb")
    assert home.remove("bbbbbbbb") and not (home.runs / "bbbbbbbb").is_symlink()
    assert (tmp_path / "secret").exists(), "the link is removed, not what it leads to"


@pytest.mark.parametrize("place", ["file", "file/below", "/proc/lab", "/dev/null", "nul\0", "x" * 5000])
def test_an_unwritable_home_is_one_sentence(tmp_path, place):
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(Refusal) as refused:
        Home(place if place[0] == "/" else str(tmp_path / place))
    assert "LAB_HOME" in str(refused.value) and str(refused.value).count("\n") == 0


def test_the_database_is_in_wal_with_full_sync_for_states_only(tmp_path):
    database = Database(f"sqlite:///{tmp_path / 'lab.db'}")
    mode = lambda c: (c.exec_driver_sql("PRAGMA journal_mode").scalar(), c.exec_driver_sql("PRAGMA synchronous").scalar())  # noqa: E731
    assert database.write(mode) == ("wal", 1) and database.write(mode, durable=True) == ("wal", 2) and database.write(mode) == ("wal", 1)
    plan = database.read(lambda c: c.exec_driver_sql("SELECT sql FROM sqlite_master WHERE name = 'metrics'").scalar())
    assert "WITHOUT ROWID" in plan


def test_a_worker_says_what_it_is_busy_with(store):
    """Its phase comes with the heartbeat, pollers see it change, and nothing of it is left once it is over or begins anew."""
    run_id = store.create({"model": "m"})
    attempt = store.claim(run_id, ME).attempt
    seen = store.version(run_id)
    store.log(run_id, [], attempt=attempt, phase=("tokenising", 0.25))
    assert (store.get(run_id).phase, store.get(run_id).phase_share) == ("tokenising", 0.25) and store.version(run_id) > seen
    store.log(run_id, [(1, "loss", 1.0)], attempt=attempt)
    assert store.get(run_id).phase == "tokenising"
    store.finish(run_id, "failed", attempt=attempt)
    assert store.get(run_id).phase is None and store.get(run_id).phase_share is None


def test_views_are_kept_and_dropped(store):
    assert store.views() == {}
    seen = store.store_version()
    assert store.keep_view("  best LoRA ", {"where": "method = lora*", "columns": ["lr"]}) == "best LoRA" and store.store_version() > seen
    store.keep_view("best LoRA", {"where": "method = lora", "columns": []})
    assert store.views() == {"best LoRA": {"where": "method = lora", "columns": []}}
    for name, document in (("", {}), ("x" * 81, {}), ("a\nb", {}), (5, {}), ("long", {"where": "x" * 9000})):
        with pytest.raises(Refusal):
            store.keep_view(name, document)
    for number in range(99):
        store.keep_view(f"v{number}", {})
    with pytest.raises(Refusal, match="100 views"):
        store.keep_view("one more", {})
    store.drop_view("best LoRA")
    assert "best LoRA" not in store.views()
    with pytest.raises(Refusal):
        store.drop_view("best LoRA")
