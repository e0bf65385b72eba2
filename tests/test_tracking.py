"""A run's curves in trackers: every point arrives once, whatever ends or fails; and the numbers that one takes away as files and frames."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lab import tracking, verbs
from lab.design.plain.refusal import Refusal
from lab.design.spec.run import Training
from lab.runs import Queue, WorkerLink, default
from lab.tracking import mirror, trackers

ROOT = Path(__file__).resolve().parents[1]
SPEC = {"model": "minilm-l6", "task": "sentiment-rt", "method": {"preset": "lora", "deltas": [{"rank": 8, "at": ["attn.q"]}]}, "training": {"steps": 4}}
ODD = "f1:=a|<b>"  # a label of somebody's data


class Told:
    """A tracker that remembers; `fails` names a method that raises."""

    name, fails = "told", ""
    opened: list = []

    def begin(self, about):
        self.about, self.points, self.ended = about, [], []
        Told.opened.append(self)
        self._may("begin")

    def rows(self, rows):
        self._may("rows")
        self.points += [(step, name, value) for step, values, _ in rows for name, value in values.items()]

    def end(self, state, summary):
        self._may("end")
        self.ended.append((state, dict(summary)))

    def _may(self, what):
        if self.fails == what:
            raise OSError("https://me:pass@host refuses hf_secret\nand more")


@pytest.fixture
def told(monkeypatch):
    monkeypatch.setattr(Told, "opened", [])
    monkeypatch.setitem(trackers.TRACKERS, "told", Told)
    monkeypatch.setitem(trackers.TRACKERS, "broken", type("Broken", (Told,), {"name": "broken", "fails": "rows"}))
    monkeypatch.setattr(mirror, "SECONDS", 0.05)
    return Told.opened


def trained(lab: Queue, steps: int = 4, names=("told",), state: str = "succeeded", spec=SPEC) -> str:
    """A run of the store with curves, as a worker leaves it."""
    spec = {**spec, "training": {**spec["training"], "track": list(names)}}
    run_id = lab.store.create(spec, name="=my run")
    with WorkerLink(run_id, lab.home, lab.store) as link:
        for step in range(1, steps + 1):
            link.log(step, {"loss": 1 / step, ODD: 0.5, "bad": math.nan}, total_steps=steps)
        link.log(steps, {"eval_accuracy": 0.75})
        link.finish(state, {"best": {"accuracy": 0.75, "step": steps}, "test": {"accuracy": 0.7}, "seconds": 3.0, "trainable": 9})
    return run_id


def stored(lab: Queue, run_id: str) -> list:
    found = lab.store.series(run_id)
    return sorted((step, name, value) for name, (steps, values, _) in found.items() for step, value in zip(steps.tolist(), values.tolist(), strict=True))


def as_text(points) -> list[str]:
    return sorted(map(repr, points))  # not-a-number is equal to nothing


def test_every_point_arrives_once_and_a_tracker_that_fails_says_so_once(lab_home, told):
    lab, said = default(), []
    run_id = trained(lab)
    for _ in range(2):  # again, as after a resume: nothing is new
        mirror.follow(lab.store.get(run_id), ["told", "broken"], lab.home, lab.store, said.append)
    first, broken, second, _ = told
    assert as_text(first.points) == as_text(stored(lab, run_id)) and second.points == [] and broken.points == []
    assert first.ended == [("succeeded", {"best/accuracy": 0.75, "best/step": 4.0, "test/accuracy": 0.7, "seconds": 3.0, "trainable": 9.0})]
    assert second.ended == [("succeeded", {})] and first.about.config["method.deltas.0.rank"] == 8 and "origins" not in first.about.config
    assert len(said) == 2 and said[0].startswith("The tracker broken shows no more of this run (OSError: https://host refuses")
    assert "pass" not in said[0] and "and more" not in said[0]


def test_a_mirror_follows_a_run_that_goes_on_and_ends_with_it(lab_home, told):
    """Points of a run in progress come as they are noted; a mirror that was cut off goes on where it was."""
    lab = default()
    run_id = lab.store.create(SPEC, name="on")
    with WorkerLink(run_id, lab.home, lab.store, interval=0.05) as link:
        for half in (0, 1):
            link.log(2 * half + 1, {"loss": 1.0})
            link.log(2 * half + 2, {"loss": 0.5})
            link.flush()
            one = mirror.Mirror(lab.store, lab.home, lab.store.get(run_id), ["told"], print)
            assert one.turn() is False and [point[0] for point in told[-1].points] == [2 * half + 1, 2 * half + 2]
            one.close()
            assert told[-1].ended == [("running", {})]
        link.finish("cancelled", {})
    one = mirror.Mirror(lab.store, lab.home, lab.store.get(run_id), ["told"], print)
    assert one.turn() is True and told[-1].points == []
    lab.store.delete(run_id)
    with pytest.raises(Refusal, match="There is no run"):
        one.turn()


def test_a_package_that_is_absent_is_refused_at_the_field(monkeypatch):
    found = tracking.importlib.util.find_spec
    monkeypatch.setattr(tracking.importlib.util, "find_spec", lambda name, *more: None if name == "wandb" else found(name, *more))
    with pytest.raises(Refusal, match=r"The package wandb is not installed here.*requirements-tracking") as caught:
        verbs.check({"model": "minilm-l6", "task": "sentiment-rt", "method": "lora", "training": {"track": "wandb"}})
    assert caught.value.field == "training.track"
    assert Training(track="wandb, tensorboard wandb").track == ["wandb", "tensorboard"]


def test_the_mirror_is_a_process_of_its_own_that_reads_the_option(lab_home):
    """Started as a worker starts it, with TensorBoard's own files and reader."""
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

    lab = default()
    run_id = trained(lab, names=("tensorboard",))
    mirror.beside(lab.store.get(run_id), lab.home, lab.store, print)
    folder, until = lab.home.run_dir(run_id) / tracking.FOLDER, time.monotonic() + 60
    while not ((folder / mirror.STATE).is_file() and "ended" in (folder / mirror.STATE).read_text()) and time.monotonic() < until:
        time.sleep(0.1)
    events = [event for file in sorted((folder / "tensorboard").iterdir()) for event in EventFileLoader(str(file)).Load()]
    values = [(event.step, value.tag, value.tensor.float_val[0]) for event in events for value in event.summary.value if value.tensor.float_val]
    points = [(step, name, pytest.approx(value, nan_ok=True)) for step, name, value in stored(lab, run_id)]
    curves = sorted(value for value in values if not value[1].startswith("summary/"))
    assert curves == points and ("summary/best/accuracy", 0.75) in [value[1:] for value in values]
    assert any(value.tag.startswith("specification") for event in events for value in event.summary.value)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["trackio", "wandb", "mlflow"])
def test_the_trackers_own_libraries_take_a_run_offline(name: str, lab_home, monkeypatch):
    """In a process without keys, as a mirror is: nothing leaves the machine, and what is kept is what the run noted."""
    pytest.importorskip(name)
    lab = default()
    run_id = trained(lab, names=(name,))
    given = {key: value for key, value in os.environ.items() if not key.startswith(("WANDB", "MLFLOW", "TRACKIO"))}
    given |= {"LAB_HOME": str(lab_home), "HOME": str(lab_home), "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])}
    done = subprocess.run([sys.executable, "-m", "lab.tracking.mirror", run_id], env=given, capture_output=True, text=True, timeout=500, cwd=lab_home)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads((lab_home / "runs" / run_id / tracking.FOLDER / mirror.STATE).read_text())[name]["ended"] == 1
    finite = sorted((step, metric, value) for step, metric, value in stored(lab, run_id) if math.isfinite(value))
    if name == "mlflow":
        from mlflow import MlflowClient

        client = MlflowClient(f"sqlite:///{lab_home / 'mlflow.db'}")
        found = client.search_runs([client.get_experiment_by_name("delta-lab").experiment_id])[0]
        assert found.info.status == "FINISHED" and found.data.params["training.steps"] == "4"
        assert [(point.step, point.value) for point in client.get_metric_history(found.info.run_id, "loss")] == [row[::2] for row in finite if row[1] == "loss"]
    elif name == "trackio":
        import sqlite3

        with sqlite3.connect(lab_home / "trackio" / "delta-lab.db") as database:
            kept = [(step, json.loads(text)) for step, text in database.execute("select step, metrics from metrics order by step")]
        assert sorted((step, metric, value) for step, values in kept for metric, value in values.items() if not metric.startswith("summary/")) == finite
    else:
        assert list((lab_home / "runs" / run_id / tracking.FOLDER / "wandb").glob(f"offline-run-*-{run_id}/run-{run_id}.wandb"))


def test_numbers_are_taken_away_as_files_and_frames(lab_home, capsys):
    import lab as public
    from lab.cli import main

    lab = default()
    run_id, other = trained(lab, names=()), trained(lab, steps=2, names=(), spec={**SPEC, "seed": 1})
    out = lab_home / "all.csv"
    assert main(["metrics", run_id, other, "--csv", str(out)]) == 0
    rows = list(csv.DictReader(io.StringIO(out.read_text(encoding="utf-8"))))
    assert len(rows) == len(stored(lab, run_id)) + len(stored(lab, other)) + 2 and {row["run"] for row in rows} == {run_id, other}
    assert {(row["split"], row["metric"]) for row in rows} == {("train", "loss"), ("", "bad"), ("", ODD), ("validation", "accuracy"), ("test", "accuracy")}
    assert (
        {row["name"] for row in rows} == {"'=my run"}
        and all(row["value"] == "" for row in rows if row["metric"] == "bad")
        and rows[0]["time"].endswith("+00:00")
    )
    capsys.readouterr()
    assert main(["metrics", run_id, "--jsonl", "--name", "bad", "--name", "loss"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(line["step"], line["value"]) for line in lines if line["metric"] == "loss"] == [(step, 1 / step) for step in range(1, 5)]
    assert all(line["value"] is None for line in lines if line["metric"] == "bad") and len(lines) == 8
    assert main(["metrics", run_id, "--name", "nope"]) == 2 and main(["metrics", run_id, "--csv", str(lab_home / "no" / "x.csv")]) == 2
    frame = public.metrics(run_id, other, names=["eval_accuracy"])
    assert list(frame[frame.split == "validation"].value) == [0.75, 0.75] and str(frame.time.dtype).startswith("datetime64[ns, UTC")
    compared = public.compare([run_id, other])
    assert list(compared.frame.index) == [run_id, other] and compared.differing == {"seed": [None, 1]}
    lab.store.rename(run_id, "<script>alert(1)</script>")
    for shown in (public.runs()._repr_html_(), lab.store.get(run_id)._repr_html_(), public.compare([run_id, other])._repr_html_()):
        assert "&lt;script&gt;" in shown and "<script" not in shown and shown.startswith("<table>") and "0.75" in shown
    with pytest.raises(Refusal, match="two different runs"):
        public.compare([run_id, run_id])
