"""The trackers. Each imports its library when it begins, in the mirror's own process, and keeps to what that documents."""

from __future__ import annotations

import json
import math
import netrc
import os
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

from lab.tracking.base import PROJECT, About, CurveTracker, Row

# What the libraries would tell their makers, or anybody, besides the curves: off, unless somebody has set it.
QUIET = {"WANDB_SILENT": "true", "WANDB_ERROR_REPORTING": "false", "WANDB_CONSOLE": "off", "MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true",
         "GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_DISABLE_TELEMETRY": "1"}  # fmt: skip


class TensorBoard:
    """Event files of a run in its folder: `tensorboard --logdir LAB_HOME/runs` shows all of them."""

    name = "tensorboard"

    def begin(self, about: About) -> None:
        from tensorboard.compat.proto import event_pb2, summary_pb2, tensor_pb2, tensor_shape_pb2
        from tensorboard.plugins.text.metadata import create_summary_metadata
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        self._event, self._summary = event_pb2.Event, summary_pb2.Summary
        self._writer = EventFileWriter(str(about.folder / self.name))
        if not about.memory:
            lines = ["| option | value |", "|---|---|", *(f"| {path} | {str(value).replace('|', '&#124;')} |" for path, value in about.config.items())]
            shape = tensor_shape_pb2.TensorShapeProto(dim=[tensor_shape_pb2.TensorShapeProto.Dim(size=1)])
            text = tensor_pb2.TensorProto(dtype="DT_STRING", tensor_shape=shape, string_val=["\n".join(lines).encode()])
            value = self._summary.Value(tag="specification", metadata=create_summary_metadata("specification", ""), tensor=text)
            self._writer.add_event(self._event(step=0, summary=self._summary(value=[value])))
        about.memory["seen"] = "1"

    def rows(self, rows: Sequence[Row]) -> None:
        for step, values, time in rows:
            found = [self._summary.Value(tag=name, simple_value=value) for name, value in values.items()]
            self._writer.add_event(self._event(wall_time=time, step=step, summary=self._summary(value=found)))
        self._writer.flush()

    def end(self, state: str, summary: Mapping[str, float]) -> None:
        if summary:
            found = [self._summary.Value(tag=f"summary/{name}", simple_value=value) for name, value in summary.items()]
            self._writer.add_event(self._event(step=0, summary=self._summary(value=found)))
        self._writer.close()


class Trackio:
    """A local trackio project in LAB_HOME/trackio (or TRACKIO_DIR); TRACKIO_SPACE_ID or TRACKIO_SERVER_URL send it elsewhere."""

    name = "trackio"

    def begin(self, about: About) -> None:
        os.environ.setdefault("TRACKIO_DIR", str(about.home / self.name))
        import trackio

        name = f"{about.name} ({about.run})"  # by which trackio knows a run
        self._run = trackio.init(os.environ.get("TRACKIO_PROJECT", PROJECT), name=name, config={**about.config, "run": about.run}, resume="allow", private=True,
                                 embed=False, auto_log_gpu=False, auto_log_cpu=False)  # fmt: skip

    def rows(self, rows: Sequence[Row]) -> None:
        for step, values, _ in rows:
            if finite := {name: value for name, value in values.items() if math.isfinite(value)}:
                self._run.log(finite, step=step)

    def end(self, state: str, summary: Mapping[str, float]) -> None:
        if summary:
            self._run.log({f"summary/{name}": value for name, value in summary.items() if math.isfinite(value)})
        self._run.finish()


class Wandb:
    """Weights & Biases: offline in the run's folder (`wandb sync` sends it) unless there is a key or a login, or WANDB_MODE says otherwise."""

    name = "wandb"

    def begin(self, about: About) -> None:
        import wandb

        mode: Any = os.environ.get("WANDB_MODE") or ("online" if _known_to_wandb() else "offline")
        quiet = wandb.Settings(console="off", silent=True, disable_git=True, disable_code=True, x_disable_stats=True, x_disable_meta=True, x_disable_machine_info=True,
                               x_save_requirements=False)  # fmt: skip
        self._run = wandb.init(project=os.environ.get("WANDB_PROJECT", PROJECT), id=about.run, name=about.name, config=dict(about.config), dir=str(about.folder),
                               resume="allow", mode=mode, settings=quiet)  # fmt: skip
        self._run.define_metric("step")
        self._run.define_metric("*", step_metric="step")  # its own count of calls is no step of the run

    def rows(self, rows: Sequence[Row]) -> None:
        for step, values, time in rows:
            self._run.log({**values, "step": step, "time": time})

    def end(self, state: str, summary: Mapping[str, float]) -> None:
        self._run.summary.update({**summary, "state": state})
        self._run.finish(exit_code=1 if state in ("failed", "interrupted") else 0)


def _known_to_wandb() -> bool:
    """Whether there is a key, or what `wandb login` keeps for its server."""
    server = urlsplit(os.environ.get("WANDB_BASE_URL") or "https://api.wandb.ai").hostname or ""
    with suppress(OSError, netrc.NetrcParseError):
        return bool(os.environ.get("WANDB_API_KEY") or netrc.netrc(os.environ.get("NETRC")).authenticators(server))
    return bool(os.environ.get("WANDB_API_KEY"))


class MLflow:
    """An experiment in LAB_HOME/mlflow.db (`mlflow ui --backend-store-uri sqlite:///…`), or where MLFLOW_TRACKING_URI says."""

    name = "mlflow"
    most = {"metrics": 1000, "params": 100}  # of one call
    letters = 5000  # of a parameter
    states = {"succeeded": "FINISHED", "cancelled": "KILLED", "failed": "FAILED", "interrupted": "FAILED"}

    def begin(self, about: About) -> None:
        from mlflow import MlflowClient
        from mlflow.entities import Metric, Param

        self._metric = Metric
        address = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{about.home / 'mlflow.db'}"
        self._client = MlflowClient(address)
        if "run" not in about.memory:
            title = os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT)
            local = {} if os.environ.get("MLFLOW_TRACKING_URI") else {"artifact_location": (about.home / "mlflow-artifacts").as_uri()}
            found = self._client.get_experiment_by_name(title)
            experiment = found.experiment_id if found else self._client.create_experiment(title, **local)
            about.memory["run"] = self._client.create_run(experiment, run_name=about.name, tags={"delta_lab.run": about.run}).info.run_id
            params = [Param(_key(path), str(value)[: self.letters]) for path, value in about.config.items()]
            for start in range(0, len(params), self.most["params"]):
                self._client.log_batch(about.memory["run"], params=params[start : start + self.most["params"]])
        self._id = about.memory["run"]
        self._client.update_run(self._id, status="RUNNING")

    def rows(self, rows: Sequence[Row]) -> None:
        points = [self._metric(_key(name), value, int(1000 * time), step) for step, values, time in rows for name, value in values.items()]
        for start in range(0, len(points), self.most["metrics"]):
            self._client.log_batch(self._id, metrics=points[start : start + self.most["metrics"]])

    def end(self, state: str, summary: Mapping[str, float]) -> None:
        for name, value in summary.items():
            self._client.log_metric(self._id, _key(f"summary/{name}"), value)
        if state in self.states:
            self._client.set_terminated(self._id, self.states[state])


def _key(name: str) -> str:
    """A name of the letters that MLflow takes."""
    return re.sub(r"[^\w\-. :/]", "_", name)[:250]


TRACKERS: dict[str, type[CurveTracker]] = {kind.name: kind for kind in (TensorBoard, Trackio, Wandb, MLflow)}
PRIVATE = ("WANDB_API_KEY", "MLFLOW_TRACKING_TOKEN", "MLFLOW_TRACKING_PASSWORD", "HF_TOKEN", "TRACKIO_WRITE_TOKEN")


def reason(error: BaseException) -> str:
    """The first line of a library's error, without what lets somebody in."""
    text = (str(error).strip().splitlines() or [""])[0]
    for name in PRIVATE:
        if secret := os.environ.get(name):
            text = text.replace(secret, "…")
    text = re.sub(r"(?<=://)[^/@\s]+@", "", text)
    return json.dumps(f"{type(error).__name__}: {text}"[:240], ensure_ascii=False)[1:-1]
