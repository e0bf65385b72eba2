"""What is thrown away is out of every list at once, whole in the bin, back as it was, and gone for good only when somebody or the days say so."""

from __future__ import annotations

import time

import pytest

from lab import bin as bins
from lab.design.plain.refusal import Refusal
from lab.design.presets import own
from lab.runs import Home, Queue
from lab.runs.processes import identity
from lab.tasks import importing
from lab.ui.shell import bin as page

pytest_plugins = ["runs_fixtures"]


def write_task(name):
    folder = own.folder("tasks") / name
    folder.mkdir(parents=True)
    (folder / "data.csv").write_text("text,label\n" + "".join(f"text {n},{'ab'[n % 2]}\n" for n in range(40)), encoding="utf-8")
    (folder / "task.yaml").write_text(
        f"name: {name}\ntitle: {name}\nfamily: classification\ncolumns: {{text: text, label: label}}\nlabels: [a, b]\nsource: {{file: data.csv}}\n",
        encoding="utf-8",
    )


def write_method(name):
    own.save("methods", name, {"name": name, "deltas": []})


WRITE = {"task": write_task, "method": write_method}
KIND = {"task": "tasks", "method": "methods"}


def test_a_run_in_the_bin_is_nowhere_else_and_comes_back_as_it_was(store):
    done, waits, active = (store.create({"n": n}, f"run {n}") for n in range(3))
    store.claim(done, identity())
    store.log(done, [(1, "loss", 2.0)])
    store.finish(done, "succeeded", result={"best": {"accuracy": 0.5}})
    store.claim(active, identity())
    before = store.get(done)
    with pytest.raises(Refusal, match="stop it before"):
        store.bin(active)
    with pytest.raises(Refusal, match="no run"):
        store.bin("zzzzzzzz")
    version = store.store_version()
    for run_id in (done, waits):
        store.bin(run_id)
        store.bin(run_id)  # once more is no error: the answer may have been lost
    assert store.store_version() > version, "open pages hear of it"
    assert store.ids() == [active] == [run.id for run in store.list()] and store.known([done, waits]) == set()
    assert sum(store.counts().values()) == 1 and [run.id for run in store.binned()] == [waits, done]
    reads = [store.get, store.find, store.requeue, lambda run: store.rename(run, "x"), lambda run: store.annotate(run, "x"), store.ask_stop]
    for read in reads:
        for run_id in (done, waits):
            with pytest.raises(Refusal, match="in the bin|There is no run"):
                read(run_id)
    assert store.claim_next(identity(), 9) is None, "what waited starts no more"
    assert [store.restore(run_id) for run_id in (done, waits)] == [None, None] and store.binned() == []
    after = store.get(done)
    assert (after.state, after.result, after.ended, store.latest(done)["loss"][1]) == (before.state, before.result, before.ended, 2.0)
    assert store.get(waits).state == "cancelled" and store.requeue(waits).state == "queued"
    with pytest.raises(Refusal, match="no run .* in the bin"):
        store.restore(done)


def test_the_bin_empties_after_its_days_and_a_restored_run_stays(lab_home, monkeypatch):
    lab = Queue(Home(), count=0)
    kept, gone, back = (lab.launch({"n": n}) for n in range(3))
    for run_id in (gone, back):
        (lab.home.run_dir(run_id) / "weights").write_bytes(bytes(5000))
        lab.bin(run_id)
    lab.clear()
    assert {run.id for run in lab.store.binned()} == {gone, back}, "30 days are not over"
    lab.restore(back)
    monkeypatch.setattr(time, "time", lambda now=time.time: now() + 31 * 86_400)
    lab.clear()
    assert lab.store.binned() == [] and {path.name for path in lab.home.runs.iterdir()} == {kept, back} and lab.store.doomed() == []
    monkeypatch.setenv("LAB_BIN_DAYS", "soon")
    with pytest.raises(Refusal, match="LAB_BIN_DAYS"):
        bins.entries()


def test_a_run_that_others_are_built_on_stays(lab_home):
    lab = Queue(Home(), count=0)
    base = lab.store.create({})
    lab.store.claim(base, identity())
    lab.store.finish(base, "succeeded")
    lab.launch({"built_on": {"start_from": base}})
    with pytest.raises(Refusal, match="is built on"):
        lab.bin(base)


def test_many_runs_go_in_one_transaction(lab_home, monkeypatch):
    """What one refuses stops none of the others; what only runs that go too are built on goes with them, and what one that stays is built on stays."""
    lab = Queue(Home(), count=0)
    done, below, kept, active = (lab.store.create({}) for _ in range(4))
    for run_id in (done, below, kept):
        lab.store.claim(run_id, identity())
        lab.store.finish(run_id, "succeeded")
    waits = lab.store.create({"built_on": {"start_from": below}})
    lab.store.claim(active, identity())
    reads = lab.store.create({"built_on": {"stand_on": [kept]}})
    writes, write = [], lab.store.database.write
    monkeypatch.setattr(lab.store.database, "write", lambda *asked, **more: writes.append(1) or write(*asked, **more))
    stay = lab.bin_all([done, below, waits, kept, active, "nobody00", "no id", done])
    assert set(stay) == {kept, active, "nobody00", "no id"} and f"run {reads}" in stay[kept] and "stop it before" in stay[active] and len(writes) == 1
    assert {run.id for run in lab.store.binned()} == {done, below, waits} and lab.store.events(done)[-1].message == "Put into the bin."
    assert set(lab.bin_all([kept, reads])) == set() and {run.id for run in lab.store.list()} == {active}


@pytest.mark.parametrize("kind", WRITE)
def test_own_presets_go_and_come_back(kind, lab_home, monkeypatch):
    WRITE[kind]("mine")
    before = own.read(KIND[kind], "mine")
    bins.put(kind, "mine")
    assert own.names(KIND[kind]) == () and [(one.kind, one.name, one.bytes > 0) for one in bins.entries()] == [(kind, "mine", True)]
    with pytest.raises(Refusal, match="no .*mine"):
        bins.put(kind, "mine")
    entry = bins.find("mine")
    assert bins.restore(kind, entry.id) == "mine" and own.read(KIND[kind], "mine") == before and bins.entries() == []
    bins.put(kind, "mine")
    WRITE[kind]("mine")  # the name was free
    entry = bins.find("mine")
    with pytest.raises(Refusal, match="by now: restore this one under another name"):
        bins.restore(kind, entry.id)
    for bad in ("../x", "A b", "mine"):
        with pytest.raises(Refusal):
            bins.restore(kind, entry.id, bad)
    assert bins.restore(kind, entry.id, "other") == "other" and own.names(KIND[kind]) == ("mine", "other")
    assert own.read(KIND[kind], "other")["name"] == "other"
    if kind == "task":
        assert importing.load("other").source.file.endswith("other/data.csv")
    bins.put(kind, "other")
    monkeypatch.setattr(time, "time", lambda now=time.time: now() + 31 * 86_400)
    assert bins.entries() == [] and own.names(KIND[kind]) == ("mine",)


@pytest.mark.parametrize("kind", bins.KINDS)
def test_pages_throw_restore_and_purge(kind, lab_home):
    lab = Queue(Home(), count=0)
    name = lab.launch({"n": 1}, "a run") if kind == "run" else "mine"
    if kind in WRITE:
        WRITE[kind](name)
    for turn in ("back", "gone"):
        thrown = page.throw({"kind": kind, "id": name})
        shown = page.binned({"kind": kind})
        assert thrown["days"] == "30" and [(one["id"], one["left"]) for one in shown["entries"]] == [(thrown["place"], 30)], turn
        asked = {"kind": kind, "id": thrown["place"]}
        assert page.restored(asked) == {"back": name} if turn == "back" else page.purged(asked) == {"gone": 1}
        assert page.binned({"kind": kind})["entries"] == []
    assert "wrong" in page.restored(asked) and "wrong" in page.purged(asked) and "wrong" in page.throw({"kind": kind, "id": name})
    assert page.purged({"kind": kind, "id": ""}) == {"gone": 0}
