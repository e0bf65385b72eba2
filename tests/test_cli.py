"""The terminal: answers, exit statuses, refusals in one sentence, and one JSON document on standard output and nothing else."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from lab.cli import main
from lab.cli.answer import table
from lab.design.plain import numbers
from lab.design.plain.differences import differences
from lab.design.plain.refusal import Refusal

ROOT = Path(__file__).resolve().parents[1]
WORKER = (sys.executable, str(ROOT / "tests" / "cli_worker.py"))
RUN = ["run", "--model", "minilm-l6", "--task", "sentiment-rt", "--method", "lora", "--steps", "10"]


@pytest.fixture
def fake(lab_home, monkeypatch):
    """A fresh home whose runs are done by the test's own worker."""
    import lab.runs  # noqa: F401

    monkeypatch.setattr("lab.runs.launcher.COMMAND", WORKER)
    return lab_home


def answer(capsys, *arguments: str, status: int = 0):
    """The JSON that a command prints."""
    assert main([*arguments, "--json"]) == status
    out = capsys.readouterr().out
    assert out.count("\n") == 1, "one document, on one line"
    return json.loads(out)


def words(capsys, *arguments: str, status: int = 0) -> str:
    assert main(list(arguments)) == status
    return capsys.readouterr().out


REFUSALS = {
    "unknown model": (["count", "--model", "nope", "--method", "lora"], "no model 'nope'"),
    "unknown method": (["count", "--model", "minilm-l6", "--method", "lara"], "lora"),
    "unknown task": (["run", "--model", "minilm-l6", "--task", "sentiment", "--method", "lora"], "sentiment-rt"),
    "rank 0": (["count", "--model", "minilm-l6", "--method", "lora", "--set", "deltas.0.rank=0"], "at least 1"),
    "gated bottleneck": (["count", "--model", "minilm-l6", "--method", "adapter-houlsby", "--set", "deltas.0.at=[attn.q]", "--set",
                          "deltas.0.composition=gated"], "attention mass"),
    "gated bottleneck run": ([*RUN[:5], "--method", "adapter-houlsby", "--set", "deltas.0.at=[attn.q]", "--set", "deltas.0.composition=gated"],
                             "attention mass"),
    "no method": (["run", "--model", "minilm-l6", "--task", "sentiment-rt"], "'method' is missing"),
    "steps 0": ([*RUN[:7], "--steps", "0"], "or give steps"),
    "steps of letters": ([*RUN[:7], "--steps", "many"], "whole number"),
    "unknown schedule": ([*RUN, "--schedule", "zigzag"], "linear"),
    "unknown option": ([*RUN, "--set", "deltas.0.rnk=3"], "no option"),
    "training option of a method": ([*RUN, "--set", "lr=1"], "training.lr"),
    "no such delta": ([*RUN, "--set", "deltas.3.rank=3"], "does not exist"),
    "delta of bitfit": (["count", "--model", "minilm-l6", "--method", "bitfit", "--set", "deltas.0.rank=3"], "does not exist"),
    "not an assignment": ([*RUN, "--set", "rank"], "path=value"),
    "weights not here": (["run", "--model", "smollm2-135m", "--task", "sentiment-rt", "--method", "lora"], "lab fetch smollm2-135m"),
    "spec that is not there": (["run", "--spec", "nowhere.yaml"], "cannot be read"),
    "run that is not there": (["show", "zzzzzzzz"], "no run"),
    "compare one": (["compare", "abc"], "two runs"),
    "export nothing": (["export"], "Give a run"),
    "unknown verb": (["fly"], "invalid choice"),
    "no verb": ([], "required"),
    "unknown flag": (["runs", "--fast"], "Unrecognized"),
    "sweep over nothing": (["sweep", *RUN[1:]], "--over"),
    "sweep of uneven lists": (["sweep", *RUN[1:], "--over", "seed=1,2", "--over", "deltas.0.rank=4", "--list"], "same number"),
    "huge sweep": (["sweep", *RUN[1:], "--over", "seed=" + ",".join(map(str, range(1001)))], "1,001"),
    "no such table": (["sweep", "--table", "he-2022-table-9"], "he-2022-table-5"),
    "a table with a method": (["sweep", *RUN[1:], "--table", "he-2022-table-5"], "leave --method out"),
    "a table with methods over": (["sweep", "--table", "he-2022-table-5", "--over", "method=lora,mam"], "rows are the methods"),
    "a point of a sweep": (["sweep", *RUN[1:], "--over", "deltas.0.rank=4,0"], "at least 1"),
    "bad state": (["runs", "--state", "asleep"], "not a state"),
    "import without a name": (["import", __file__], "--name"),
    "import of what is not there": (["import", "nowhere.csv", "--name", "mine"], "There is no file nowhere.csv"),
    "import as a bundled task": (["import", "x.csv", "--name", "sst2"], "already"),
    "a column without its role": (["import", "x.csv", "--dry-run", "--column", "review"], "role=column"),
    "edit nothing": (["edit", "zzzzzzzz"], "no run"),
    "duplicate nothing": (["duplicate", "zzzzzzzz"], "no run"),
    "delete nothing": (["delete", "zzzzzzzz", "--yes"], "no run"),
    "bad port": (["serve", "--port", "70000"], "between 1 and 65535"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSALS)
def test_bad_input_gets_one_sentence_and_status_2(name, fake, capsys):
    arguments, expected = REFUSALS[name]
    for asked in (arguments, [*arguments, "--json"] if arguments else arguments):
        assert main(asked) == 2
        out, err = capsys.readouterr()
        assert out == "" and expected in err
        assert err.endswith(".\n") and err.count("\n") == 1 and "Traceback" not in err
    assert main(["runs", "--json"]) == 0 and capsys.readouterr().out == "[]\n", "nothing was queued"


def test_unwritable_home(capsys, monkeypatch):
    monkeypatch.setenv("LAB_HOME", "/dev/null/lab")
    assert main(["runs"]) == 2
    assert "set LAB_HOME" in capsys.readouterr().err


def test_port_in_use(fake, capsys):
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        assert main(["serve", "--port", str(taken.getsockname()[1])]) == 2
    assert "in use" in capsys.readouterr().err


def test_methods_models_tasks(capsys):
    methods = answer(capsys, "methods")
    assert {"full", "bitfit", "lora", "adapter-houlsby", "adapter-parallel-scaled", "prefix-tuning"} <= {row["preset"] for row in methods}
    assert all(row["name"] and row["family"] for row in methods)
    assert {row["family"] for row in answer(capsys, "methods", "--family", "selective")} == {"selective"}
    adapters, prompts, additive = ({row["preset"] for row in answer(capsys, "methods", "--family", name)} for name in ("adapters", "soft-prompts", "additive"))
    assert "adapter-houlsby" in adapters and "prefix-tuning" in prompts and not adapters & prompts and adapters | prompts < additive
    models = {row["preset"]: row for row in answer(capsys, "models")}
    assert models["minilm-l6"]["here"] and models["llama-2-7b"]["parameters"] == 6_738_415_616
    assert {"sentiment-rt", "sentiment-imdb"} <= {row["preset"] for row in answer(capsys, "tasks")}
    for verb in ("methods", "models", "tasks"):
        assert len(words(capsys, verb).splitlines()) > 2


def test_data_of_ones_own_become_a_task(fake, tmp_path, capsys):
    data = tmp_path / "films.csv"
    data.write_text("remark,mood\n" + "\n".join(f"a film number {i},{['dull', 'fine'][i % 2]}" for i in range(40)), encoding="utf-8")
    looked = answer(capsys, "import", str(data), "--dry-run", "--measure", "minilm-l6", "--max-length", "6")
    assert looked["task"] == "" and looked["columns"] == {"text": "remark", "label": "mood"} and looked["balance"] == {"dull": 20, "fine": 20}
    assert looked["lengths"]["unit"] == "tokens" and looked["lengths"]["median"] == looked["lengths"]["limit"] == 6 and looked["lengths"]["cut"] == 0
    assert looked["examples"][0]["reads"] == {"prompt": "a film number 0\nLabel:", "answer": " dull"}
    assert answer(capsys, "import", str(data), "--name", "films", "--label", "fine", "--label", "dull")["balance"] == {"fine": 20, "dull": 20}
    own = [row for row in answer(capsys, "tasks") if row["own"]]
    assert [row["preset"] for row in own] == ["films"] and sum(own[0]["rows"].values()) == 40
    found = answer(capsys, "run", "--model", "minilm-l6", "--task", "films", "--method", "lora", "--steps", "10", "--set", "task.max_length=16")
    shown = answer(capsys, "show", found["run"])["spec"]["task"]
    assert shown["labels"] == ["fine", "dull"] and shown["max_length"] == 16 and shown["source"]["file"] == "$LAB_HOME/tasks/films/data.csv"
    assert answer(capsys, "tasks", "--remove", "films") == {"removed": "films"} and not (fake / "tasks" / "films").exists()


def test_a_task_that_a_run_waits_for_stays(lab_home, tmp_path):
    from lab import verbs
    from lab.runs import Home, Queue
    from lab.tasks import importing

    data = tmp_path / "films.csv"
    data.write_text("text,label\n" + "\n".join(f"a film number {i},{i % 2}" for i in range(40)), encoding="utf-8")
    importing.commit(data, "films")
    run = Queue(Home(lab_home), count=0).launch(verbs.check({"model": "minilm-l6", "task": "films", "method": "lora"}).document())
    with pytest.raises(Refusal, match=f"needed by run {run}: stop it first"):
        verbs.remove_task("films")
    assert importing.names() == ("films",)


def test_count_prints_what_the_design_says(capsys):
    found = answer(capsys, "count", "--model", "deberta-v3-base", "--method", "lora", "--set",
                   "deltas.0.at=[attn.q,attn.k,attn.v,attn.out,ffn.up,ffn.down]")  # fmt: skip
    assert set(found) == {"trainable", "total", "percent", "by_delta", "biases"} and found["trainable"] == 1_327_104
    assert answer(capsys, "count", "--model", "deberta-v3-base", "--method", "lamda")["final"] == 73_728
    assert "1,327,104" in words(capsys, "count", "--model", "deberta-v3-base", "--method", "lora", "--set",
                                "deltas.0.at=[attn.q,attn.k,attn.v,attn.out,ffn.up,ffn.down]")  # fmt: skip


def test_a_method_and_a_spec_from_files(tmp_path, fake, capsys):
    (tmp_path / "mine.yaml").write_text("deltas:\n- {at: [attn.v], form: lowrank, rank: 2}\n", encoding="utf-8")
    assert answer(capsys, "count", "--model", "minilm-l6", "--method", str(tmp_path / "mine.yaml"))["trainable"] == 6 * 2 * 2 * 384
    (tmp_path / "bad.yaml").write_text("!!python/object/apply:os.system [ls]", encoding="utf-8")
    assert main(["count", "--model", "minilm-l6", "--method", str(tmp_path / "bad.yaml")]) == 2
    first = answer(capsys, *RUN, "--set", "deltas.0.rank=4")
    again = answer(capsys, "run", "--spec", str(fake / "runs" / first["run"] / "spec.yaml"), "--seed", "7")
    assert answer(capsys, "compare", first["run"], again["run"])["differing"] == {"seed": [0, 7]}


def test_run_waits_and_ends_with_the_result(fake, capsys):
    found = answer(capsys, *RUN, "--lr", "1e-3", "--name", "mine", "--tag", "first")
    assert set(found) == {"run", "state", "trainable", "metrics", "best", "peak_bytes", "seconds"}
    assert found["state"] == "succeeded" and found["metrics"]["accuracy"] == pytest.approx(0.708)
    shown = answer(capsys, "show", found["run"][:4])
    assert shown["step"] == 10 and shown["progress"] == 1 and shown["name"] == "mine" and shown["tags"] == ["first"]
    assert shown["spec"]["training"]["lr"] == 1e-3 and "pid" in shown
    assert "hello from the worker" in answer(capsys, "show", found["run"], "--log", "20")["log"]
    assert yaml.safe_load((fake / "runs" / found["run"] / "spec.yaml").read_text(encoding="utf-8"))["model"] == "minilm-l6"
    text = words(capsys, "show", found["run"])
    assert "73.7" not in text and "73,728" in text and "1 min 12 s" in text and "rank: 8" in text


def test_a_failed_run_ends_with_status_1_and_says_why(fake, capsys):
    found = answer(capsys, *RUN, "--batch-size", "13", status=1)
    assert found["state"] == "failed" and "out of memory" in found["error"] and "batch_size" in found["advice"]


def test_detach_stop_resume(fake, capsys, monkeypatch):
    monkeypatch.setenv("LAB_TEST_PAUSE", "0.1")
    found = answer(capsys, *RUN[:-1], "600", "--detach")
    assert set(found) == {"run", "state"} and found["state"] in ("queued", "starting", "running")
    until = time.monotonic() + 30
    while answer(capsys, "show", found["run"])["step"] < 2:
        assert time.monotonic() < until
        time.sleep(0.2)
    assert answer(capsys, "stop", found["run"]) == {"run": found["run"], "state": "cancelled"}
    monkeypatch.setenv("LAB_TEST_PAUSE", "0")
    assert answer(capsys, "resume", found["run"])["state"] == "succeeded"


def test_ctrl_c_stops_the_run(lab_home):
    code = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "  # a shell's background job ignores it, and so would its children
    code += f"import sys, lab.runs; sys.modules['lab.runs.launcher'].COMMAND = {WORKER!r}; from lab.cli import main; sys.exit(main({[*RUN[:-1], '600', '--json']!r}))"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT,
                               env={**os.environ, "LAB_TEST_PAUSE": "0.1"})  # fmt: skip
    line = process.stderr.readline()
    assert line.startswith("run ")
    while "running" not in line:
        line = process.stderr.readline()
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert json.loads(out)["state"] == "cancelled" and process.returncode == 1 and "Traceback" not in err


def test_json_keeps_standard_output_clean(lab_home):
    """Also from what C libraries and child processes print there."""
    code = ("import os, sys, lab.cli.describing as d, lab.cli; old = d.verbs.count\n"
            "def loud(*a):\n    print('python says'); os.write(1, b'C says\\n'); os.system('echo a child says'); return old(*a)\n"
            "d.verbs.count = loud; sys.exit(lab.cli.main(['count', '--model', 'minilm-l6', '--method', 'lora', '--json']))")  # fmt: skip
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=60, check=True)
    assert json.loads(done.stdout)["trainable"] == 73_728
    assert all(line in done.stderr for line in ("python says", "C says", "a child says"))


def test_sweep_and_compare(fake, capsys):
    found = answer(capsys, "sweep", *RUN[1:], "--over", "deltas.0.rank=4,16", "--over", "training.lr=1e-3,1e-2", "--wait")
    assert found["count"] == 4 and [row["set"] for row in found["runs"]][1] == {"deltas.0.rank": 4, "training.lr": 0.01}
    assert {row["state"] for row in found["runs"]} == {"succeeded"}
    tagged = answer(capsys, "runs", "--tag", found["tag"])
    assert len(tagged) == 4 and {row["method"] for row in tagged} == {"lora"}
    ids = [row["run"] for row in found["runs"]]
    compared = answer(capsys, "compare", ids[0], ids[3])
    assert compared["differing"] == {"method.deltas.0.rank": [4, 16], "training.lr": [0.001, 0.01]}
    text = words(capsys, "compare", *ids)
    assert "0.716" in text and "with so few seeds nothing can be said" in text and "No *" in text and "method.deltas.0.rank" in text and "812 MB" in text
    assert "succeeded" in words(capsys, "runs") and "147 k" in words(capsys, "runs")


def test_edit_duplicate_delete(fake, capsys, monkeypatch):
    first = answer(capsys, *RUN, "--tag", "old")["run"]
    assert answer(capsys, "edit", first, "--name", "mine", "--tag", "a", "--tag", "b", "--notes", "of note") == {
        "run": first, "name": "mine", "tags": ["a", "b"], "notes": "of note", "state": "succeeded"}  # fmt: skip
    for bad, said in (
        (["--name", "x" * 200, "--notes", "lost"], "letters"),
        (["--place", "1"], "succeeded"),
        (["--place", "0"], "at least 1"),
        ([], "Say what"),
    ):
        assert main(["edit", first, *bad]) == 2 and said in capsys.readouterr().err
    assert answer(capsys, "edit", first, "--tag", "")["tags"] == [] and answer(capsys, "show", first)["notes"] == "of note"
    monkeypatch.setenv("LAB_SLOTS", "0")  # copies wait
    copies = [answer(capsys, "duplicate", "mine", "--name", f"copy {number}")["run"] for number in (1, 2)]
    assert answer(capsys, "show", copies[0])["spec"] == answer(capsys, "show", first)["spec"]
    answer(capsys, "edit", copies[1], "--place", "1")
    assert [row["run"] for row in answer(capsys, "runs", "--state", "queued")] == copies[::-1]
    assert main(["delete", first]) == 2 and "--yes" in capsys.readouterr().err and (fake / "runs" / first).is_dir()
    assert answer(capsys, "delete", first, copies[0], first, "--yes") == [{"run": first, "deleted": True}, {"run": copies[0], "deleted": True}]
    assert [row["run"] for row in answer(capsys, "runs")] == [copies[1]] and (fake / "runs" / first).is_dir()
    for verb in (["show", first], ["compare", first, copies[1]], ["resume", copies[0]], ["edit", first, "--name", "x"]):
        assert main(verb) == 2 and "in the bin" in capsys.readouterr().err, verb
    found = answer(capsys, "bin")
    assert {entry["id"] for entry in found["entries"]} == {first, copies[0]} and found["bytes"] == sum(entry["bytes"] for entry in found["entries"]) > 0
    assert "mine" in words(capsys, "bin")
    assert answer(capsys, "restore", first) == [{"kind": "run", "restored": first}] and answer(capsys, "show", first)["state"] == "succeeded"
    assert answer(capsys, "bin", "--empty", "--yes")["emptied"] and answer(capsys, "bin")["entries"] == [] and not (fake / "runs" / copies[0]).exists()
    assert answer(capsys, "delete", first, "--for-good", "--yes") == [{"run": first, "deleted": True}] and not (fake / "runs" / first).exists()


def test_a_papers_table_is_a_sweep(fake, capsys):
    here = answer(
        capsys, "sweep", "--table", "he-2022-table-5", "--model", "minilm-l6", "--task", "sentiment-rt", "--over", "seed=0,1", "--steps", "5", "--dry-run"
    )
    assert here["count"] == 10 and here["runs"][0]["name"] == "LoRA (ffn), s=4 · minilm-l6 · seed 0" and here["runs"][9]["name"].endswith("seed 1")
    paper = answer(capsys, "sweep", "--table", "he-2022-table-5", "--dry-run")
    assert [row["name"].partition(" · ")[2] for row in paper["runs"]] == ["bart-large"] * 5, "where the paper ran it"
    assert main(["sweep", "--table", "he-2022-table-5"]) == 2 and "HF_HUB_OFFLINE is set" in capsys.readouterr().err and answer(capsys, "runs") == []


def test_dry_sweep_queues_nothing(fake, capsys):
    found = answer(capsys, "sweep", *RUN[1:3], "--task", "sentiment-rt", "--over", "method=lora,bitfit", "--over", "seed=0,1", "--dry-run")
    assert found["count"] == 4 and found["runs"][0]["trainable"] == 73_728
    assert answer(capsys, "runs") == []


def test_every_training_option_is_a_flag(capsys):
    from lab.design.plain.options import fields
    from lab.design.spec.run import Training

    with pytest.raises(SystemExit) as stopped:
        main(["run", "--help"])
    assert stopped.value.code == 0
    text = capsys.readouterr().out
    for field in fields(Training):
        assert f"--{field.path.replace('_', '-')}" in text


def test_numbers():
    assert [numbers.weights(n) for n in (0, 9_999, 73_728, 1_327_104, 6_738_415_616, None)] == ["0", "9,999", "73.7 k", "1.33 M", "6.74 G", "–"]
    assert [numbers.percent(n) for n in (0, 0.24, 100, 0.0012345, float("nan"))] == ["0 %", "0.24 %", "100 %", "0.0012 %", "–"]
    assert [numbers.memory(n) for n in (812, 999, 22.3e9, 99.96e6)] == ["812 B", "999 B", "22.3 GB", "100 MB"]
    assert [numbers.duration(n) for n in (0.8, 42, 252, 3780, 190_000)] == ["0.8 s", "42 s", "4 min 12 s", "1 h 03 min", "2 d 4 h"]
    assert [numbers.number(n) for n in (0.78731, 1e-3, 2e-5, 12345.6, 1.0)] == ["0.7873", "0.001", "2e-05", "12,346", "1"]


def test_tables_align_wide_letters():
    lines = table(("name", "n"), [("方法", "1"), ("a", "22")], right=("n",)).splitlines()
    assert lines == ["name   n", "方法   1", "a     22"]


def test_differences_flatten_and_ignore():
    one, two = {"a": [{"r": 1}], "n": "x", "p": {"q": 1}}, {"a": [{"r": 2}, {"r": 3}], "n": "y", "p": {"q": 2}}
    assert differences([one, two], ignore=("n", "p")) == {"a.0.r": [1, 2], "a.1.r": [None, 3]}


def test_the_reference_page_is_the_parser(monkeypatch):
    from lab.cli.reference import page

    monkeypatch.setenv("COLUMNS", "118")
    there, now = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8"), page()
    if sys.version_info >= (3, 13):  # argparse breaks the lines of a usage elsewhere there
        there, now = "".join(there.split()), "".join(now.split())
    assert there == now, "run: python -m lab.cli.reference > docs/cli.md"
