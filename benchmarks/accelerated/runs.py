"""Whole runs on the device: each precision learns, a stopped and a killed run go on bit for bit."""

from __future__ import annotations

import contextlib
import os
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from training_support import save_model, save_task

from lab.design.spec.run import spec_of
from lab.training import Record, artefacts, train

WIDE = {"hidden_size": 384, "num_attention_heads": 12, "num_hidden_layers": 6, "intermediate_size": 1536}  # MiniLM's shape


def rows(device: str) -> Iterator[dict[str, Any]]:
    """One row per precision, then the resumed and the killed run."""
    with tempfile.TemporaryDirectory(prefix="lab-accelerator-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        wide = WIDE if device != "cpu" else {}
        model, task = save_model(folder / "model", "bert", **wide), save_task(folder / "task", rows=2000)
        for precision in ("fp32", "bf16", "fp16") if device != "cpu" else ("fp32",):
            yield _learns(folder / precision, model, task, device, precision)
        yield _resumes(folder, model, task, device)
        yield _killed(folder, model, task, device)


def _spec(model: str, task: Any, device: str, **training: Any) -> dict[str, Any]:
    given = {"steps": 60, "batch_size": 32, "evaluate_every": 30, "evaluation_rows": 200, "energy": False, "device": device, "lr": 3e-3, **training}
    return {"model": model, "task": task, "method": {"preset": "lora", "set": {"deltas.0.at": ["all-linear"]}}, "seed": 0, "training": given}


def _learns(folder: Path, model: str, task: Any, device: str, precision: str) -> dict[str, Any]:
    """Accuracy far above chance, finite losses, fp32 adapters, and what the device was doing meanwhile."""
    record, lines = Record(), []
    began = time.perf_counter()
    result = train(spec_of(_spec(model, task, device, precision=precision)), record, folder, say=lines.append)
    losses = list(record.curve("loss").values())
    kinds = {str(tensor.dtype) for tensor in _weights(folder).values()}
    problems = [] if result["metrics"]["accuracy"] > 0.8 else [f"accuracy {result['metrics']['accuracy']:.3f} after {result['steps']} steps"]
    problems += [] if all(map(torch.isfinite, map(torch.tensor, losses))) else ["a loss is no number"]
    problems += [] if kinds == {"torch.float32"} else [f"adapters are kept in {', '.join(sorted(kinds))}"]
    return {
        "run": precision, "accuracy": result["metrics"]["accuracy"], "first_loss": losses[0], "last_loss": losses[-1], "problems": problems,
        "tokens_per_second": result["tokens_per_second"], "training_share": result["training_seconds"] / (time.perf_counter() - began),
        "peak_bytes": result["peak_bytes"], "trained_on": result["device"], "said": [line for line in lines if "precision" in line or "peak lr" in line],
    }  # fmt: skip


@contextlib.contextmanager
def _deterministic() -> Iterator[None]:
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)


def _resumes(folder: Path, model: str, task: Any, device: str) -> dict[str, Any]:
    given = spec_of(_spec(model, task, device, steps=20, evaluate_every=10))
    with _deterministic():
        train(given, Record(), folder / "whole", say=lambda line: None)
        train(given, Record(stop_when=lambda step: step >= 7), folder / "cut", say=lambda line: None)
        train(given, Record(), folder / "cut", say=lambda line: None)
    return {"run": "stopped at step 7 and resumed", "problems": _differences(folder / "whole", folder / "cut")}


def _weights(folder: Path) -> dict[str, torch.Tensor]:
    """Adapter and head at the end of a run."""
    return {f"{file}/{name}": tensor for file, tensors in artefacts.read_adapter(folder / "adapter").items() for name, tensor in tensors.items()}


def _differences(whole: Path, other: Path) -> list[str]:
    mine, theirs = _weights(whole), _weights(other)
    unlike = [name for name in mine if not torch.equal(mine[name], theirs[name])]
    return [f"{len(unlike)} of {len(mine)} tensors differ from the undisturbed run, {unlike[0]} first"] if unlike else []


def _killed(folder: Path, model: str, task: Any, device: str) -> dict[str, Any]:
    """A worker of the queue is killed in the midst; resumed, it ends as an undisturbed one."""
    from lab.runs import Home, Queue

    queue = Queue(Home(folder / "home"), count=1)
    document = _spec(model, task, device, steps=150, checkpoint_every=10)
    ids = [queue.launch(document), queue.launch(document)]
    cut, killed = ids[0], 0
    until = time.monotonic() + 240
    while time.monotonic() < until and any(queue.store.get(run).state not in ("succeeded", "failed", "cancelled") for run in ids):
        queue.reconcile()
        run = queue.store.get(cut)
        if not killed and run.state == "running" and (run.step or 0) >= 12 and run.pid:
            os.kill(run.pid, signal.SIGKILL)
            killed = run.step
        if run.state == "interrupted":
            queue.resume(cut)
        time.sleep(0.05)
    states = [queue.store.get(run).state for run in ids]
    problems = [] if killed else ["it was over before it could be killed"]
    problems += [] if states == ["succeeded"] * 2 else [f"the runs ended {' and '.join(states)}"]
    places = [queue.home.run_dir(run) for run in ids] if not problems else []
    return {"run": f"killed at step {killed} and resumed", "problems": problems + (_differences(*reversed(places)) if places else [])}
