"""Files of strangers cost their own question, not the app: a child process with limits on time and memory reads them and plans their models."""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import sys
import threading
import time
from pathlib import Path

import pytest

from lab.child import Child, Exceeded
from lab.design.body.model import ModelSpec
from lab.design.plain.refusal import Refusal
from lab.design.spec.task import TaskSpec
from lab.models import resolve
from lab.planning.client import PlanClient
from lab.tasks import importing, outside
from lab.tasks.tables import read_table
from lab.ui.data import own_data
from lab.ui.shell.lanes import Lane

MIB = 1024 * 1024
GREEDY = """
from lab.child import serve
import os, time
def answer(asked):
    if asked["do"] == "take":
        kept = []
        while True: kept.append(bytearray(os.urandom(1) * 8_000_000)); time.sleep(0.005)
    if asked["do"] == "wait": time.sleep(60)
    if asked["do"] == "fail": raise KeyError("x")
    return {"env": {name: os.environ.get(name) for name in ("LAB_AUTH", "LAB_DATABASE_URL", "TMPDIR")}, "pid": os.getpid()}
serve(answer, "It went wrong")
"""


def greedy(**more) -> Child:
    return Child(
        [sys.executable, "-c", GREEDY], start=60, answer=20, late="late {seconds}", died="died", large="large {gb}", memory=200 * MIB, field="file", **more
    )


def test_a_child_has_limits_and_no_secrets(monkeypatch):
    monkeypatch.setenv("LAB_AUTH", "me:secret-password")
    monkeypatch.setenv("LAB_DATABASE_URL", "postgresql://me:secret@host/lab")
    child, storing = greedy(), greedy(store=True)
    try:
        first = child.ask({"do": "tell"})
        assert first["env"]["LAB_AUTH"] is first["env"]["LAB_DATABASE_URL"] is None and first["env"]["TMPDIR"]
        assert storing.ask({"do": "tell"})["env"]["LAB_DATABASE_URL"] and storing.ask({"do": "tell"})["env"]["LAB_AUTH"] is None
        with pytest.raises(Exceeded, match="large 0.2"):
            child.ask({"do": "take"})
        assert not child.running
        with pytest.raises(Exceeded, match="late 0.3"):
            child.ask({"do": "wait"}, seconds=0.3)
        with pytest.raises(Refusal, match="It went wrong"):
            child.ask({"do": "fail"})
        assert child.ask({"do": "tell"})["pid"] != first["pid"], "the next question has a fresh one"
    finally:
        child.close()
        storing.close()


def parquet_bomb(path: Path) -> None:
    """A few kilobytes that say one long text a hundred thousand times."""
    import pyarrow
    from pyarrow import parquet

    long = pyarrow.array(["x" * 200_000])
    text = pyarrow.DictionaryArray.from_arrays(pyarrow.array([0] * 100_000, pyarrow.int32()), long)
    parquet.write_table(pyarrow.table({"text": text, "label": pyarrow.array(["a", "b"] * 50_000)}), path, compression="zstd")


def json_bomb(path: Path) -> None:
    """A gigabyte of empty lists in some kilobytes."""
    with gzip.open(path, "wb") as file:
        file.write(b'[{"text": "a", "label": [')
        for _ in range(20):
            file.write(b"[],{}," * 700_000)
        file.write(b"[]]}]")


@pytest.mark.parametrize("name, make", [("bomb.parquet", parquet_bomb), ("bomb.json.gz", json_bomb)])
def test_bombs_are_one_sentence(name, make, lab_home, monkeypatch):
    """On the page and in the terminal, in bounded memory, and the app goes on."""
    monkeypatch.setattr(outside, "MEMORY", 400 * MIB)
    lab_home.mkdir()
    path = lab_home / name
    make(path)
    assert path.stat().st_size < 2 * MIB
    most, stop = [0], threading.Event()

    def watch():
        import psutil

        me = psutil.Process()
        while not stop.wait(0.02):
            for child in me.children(recursive=True):
                with contextlib.suppress(psutil.Error):
                    most[0] = max(most[0], child.memory_info().rss)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        told = own_data.look({"path": str(path)})
        kept = own_data.keep({"path": str(path), "name": "bomb"})
    finally:
        stop.set()
        watcher.join()
    for said in (told, kept):
        assert [field for field, _ in said["errors"]] == ["file"] and (
            "takes more than" in said["errors"][0][1] or "unpacks to more" in said["errors"][0][1]
        ), said
    assert most[0] < 1400 * MIB
    assert not importing.names()
    good = lab_home / "good.csv"
    good.write_text("text,label\n" + "".join(f"row {n},{'ab'[n % 2]}\n" for n in range(40)), encoding="utf-8")
    assert own_data.look({"path": str(good)})["html"] and own_data.keep({"path": str(good), "name": "good"})["kept"] == "good"


@pytest.mark.parametrize("name, text", [("a.csv", ",".join(f"c{n}" for n in range(30_000)) + "\n" + "x," * 29_999 + "x\n"),
                                        ("a.json", json.dumps([{f"c{n}": 1 for n in range(30_000)}])),
                                        ("a.jsonl", "".join(json.dumps({"text": "a", f"c{n}": 1}) + "\n" for n in range(5_000)))])  # fmt: skip
def test_tables_of_too_many_columns_are_refused_at_once(name, text, tmp_path):
    (tmp_path / name).write_text(text)
    began = time.process_time()
    with pytest.raises(Refusal, match="columns; at most 2,000 are read"):
        read_table(tmp_path / name)
    assert time.process_time() - began < 3


@pytest.mark.parametrize("greedy", ["rows", "template"])
def test_a_launch_opens_nothing_of_strangers_in_the_app(greedy, lab_home, monkeypatch):
    """Whether a model can read a task is found outside too: rows that unpack to gigabytes, a chat template that counts to ten thousand million."""
    lab_home.mkdir()
    for name, value in {"MEMORY": 400 * MIB, "TIMES": 0, "SECONDS": 5}.items():
        monkeypatch.setattr(outside, name, value)
    path, turns = lab_home / "rows.json.gz", [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    json_bomb(path) if greedy == "rows" else path.write_bytes(gzip.compress(json.dumps([{"messages": turns}] * 40).encode()))
    loops = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}" if greedy == "template" else ""
    (lab_home / "tokenizer_config.json").write_text(json.dumps({"chat_template": loops + "{{ messages[0].content }}"}))
    task = TaskSpec(family="instruction", source={"file": str(path)}, columns={"messages": "messages"})
    with pytest.raises(Refusal, match="Toy did not read the rows of this task within the limits|takes more than|unpacks to more") as refused:
        outside.require_suited(
            task, ModelSpec(name="toy", title="Toy", architecture="gpt2", kind="decoder", source={"folder": str(lab_home)}), lab_home, "causal"
        )
    assert refused.value.field in ("model", "file", "task")


def test_what_is_read_outside_is_what_is_read_inside(lab_home):
    lab_home.mkdir()
    path = lab_home / "reviews.csv"
    path.write_text("text,label\n" + "".join(f"row {n} ünï \t'\",{'ab'[n % 2]}\n".replace('"', "") for n in range(60)), encoding="utf-8")
    inside, there = importing.preview(path, max_length=16), outside.preview(path, max_length=16)
    assert there == inside
    assert outside.outline(path) == importing.outline(path)
    with pytest.raises(Refusal) as problem:
        outside.preview(path, columns={"text": "nope", "label": "label"})
    assert problem.value.field == "columns.text"
    with pytest.raises(OSError if os.path.exists(lab_home / "gone.csv") else Refusal):
        outside.preview(lab_home / "gone.csv")
    assert outside.commit(path, "mine").rows == importing.load("mine").rows


def test_what_an_ended_import_left_goes(lab_home):
    lab_home.mkdir()
    path = lab_home / "reviews.csv"
    path.write_text("text,label\n" + "".join(f"row {n},{'ab'[n % 2]}\n" for n in range(40)), encoding="utf-8")
    left = importing.home() / ".import-old"
    left.mkdir(parents=True)
    os.utime(left, (time.time() - 7200,) * 2)
    outside.commit(path, "mine")
    assert not left.exists()


def model(folder: Path, **facts) -> str:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(
        json.dumps(
            {"model_type": "bert", "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64, "vocab_size": 100, **facts}
        ),
        encoding="utf-8",
    )
    return str(folder)


@pytest.mark.parametrize(
    "facts, words",
    [
        ({"num_hidden_layers": 1_000_000}, "1,000,000 for num_hidden_layers"),
        ({"encoder_layers": 1e9}, "at most 1,000 layers"),
        ({"text_config": {"num_hidden_layers": 10**6}}, "at most 1,000 layers"),
        ({"num_labels": 10**9}, "num_labels, which must be a whole number of at most 100,000"),
        ({"hidden_size": float("nan")}, "nan for hidden_size"),
        ({"num_attention_heads": float("inf")}, "inf for"),
        ({"vocab_size": "100"}, "100 for vocab_size"),
        ({"vocab_size": -5}, "-5 for vocab_size"),
        ({"vocab_size": None}, "None for vocab_size"),
        ({"decoder": {"d_model": 1.5}}, "1.5 for d_model"),
        ({"junk": "x" * 3_000_000}, "2,048 KiB"),
    ],
)
def test_a_config_that_would_take_for_ever_is_refused_at_once(facts, words, tmp_path):
    began = time.process_time()
    with pytest.raises(Refusal, match=words):
        resolve(model(tmp_path / "big", **facts))
    assert time.process_time() - began < 2


def test_a_plan_that_took_too_much_is_not_tried_again(tmp_path):
    client = PlanClient(tmp_path)
    asked = []

    class Slow:
        def ask(self, question):
            asked.append(question)
            raise Exceeded("The planner gave no answer in 120 s; try a smaller shape.")

    client._child = Slow()
    for _ in range(3):
        with pytest.raises(Exceeded, match="no answer"):
            client.plan({"model": "roberta-base", "method": "lora", "batch": 8, "tokens": 128})
    assert len(asked) == 1


def test_lanes_are_fair_and_bounded():
    import anyio

    order, lane = [], Lane(1, 3)

    def slow(asked):
        time.sleep(0.02)
        order.append(asked)
        return asked

    async def all_at_once():
        told = {}
        waited = lane(slow, lambda words: words)

        async def one(number):
            told[number] = await waited(number)

        async with anyio.create_task_group() as group:
            for number in range(6):
                group.start_soon(one, number)
        return told

    told = anyio.run(all_at_once)
    assert order == [0, 1, 2, 3] and [told[number] for number in range(4)] == order and "Try again" in told[4] and lane.inside == 0
