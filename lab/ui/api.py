"""The named verbs of the app's API, for gradio_client and other programs. Everything else is private to the pages."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import gradio as gr

from lab.design.refusal import Refusal
from lab.runs import Run, default
from lab.runs.home import check_id
from lab.verbs import check

EXPORT_SECONDS = 600


def expose() -> None:
    """Name the verbs: /launch, /status, /compare, /export."""
    for verb in (launch, status, compare, export):
        gr.api(verb, api_name=verb.__name__, concurrency_limit=4)


def launch(spec: dict) -> dict:
    """Launch a run and return {"run", "state"} at once.

    spec: a RunSpec as plain JSON, as in {"model": "minilm-l6", "task": "sentiment-rt", "method": "lora", "training": {"steps": 150}}.
    `method` is a preset's name, {"preset": name, "set": {"deltas.0.rank": 16}}, or a whole method.
    """
    try:
        checked = check(spec)
        run = default().launch(checked.document())
        return {"run": run, "state": default().store.get(run).state}
    except Refusal as problem:
        raise gr.Error(problem.sentence, print_exception=False) from None


def status(run: str) -> dict:
    """State, step, latest metrics, result and error of a run by its id."""
    try:
        return summary(default().store.get(run))
    except Refusal as problem:
        raise gr.Error(problem.sentence, print_exception=False) from None


def summary(run: Run) -> dict:
    """What `status` and `compare` say about a run."""
    latest = {name: {"step": step, "value": value if value == value else None} for name, (step, value, _) in default().store.latest(run.id).items()}
    return {"run": run.id, "name": run.name, "state": run.state, "step": run.step, "total_steps": run.total_steps, "progress": run.progress,
            "latest": latest, "result": run.result, "error": run.error, "advice": run.advice, "spec": run.spec}  # fmt: skip


def compare(runs: list[str]) -> dict:
    """Runs side by side: {"runs": [as in status], "differences": {setting: [value per run]}}."""
    from lab.ui.reading import differences

    try:
        if not isinstance(runs, list):
            raise Refusal("Give a list of run ids to compare.", "runs")
        found = [default().store.get(check_id(run)) for run in runs[:50]]
    except Refusal as problem:
        raise gr.Error(problem.sentence, print_exception=False) from None
    return {"runs": [summary(run) for run in found], "differences": dict(differences(found))}


def export(run: str, format: str = "peft") -> str:
    """Export a finished run's adapter (format "peft") and return a zip file of it to download."""
    try:
        return str(export_zip(run, format))
    except Refusal as problem:
        raise gr.Error(problem.sentence, print_exception=False) from None


def export_zip(run: str, format: str) -> Path:
    """Export in a process of its own (it needs torch), and pack the folder. Raises `Refusal` with that process's sentence."""
    if not (isinstance(format, str) and format.replace("-", "").isalnum() and len(format) < 40):
        raise Refusal("A format is a short word such as peft.", "format")
    found = default().store.get(check_id(run))
    folder = Path(tempfile.mkdtemp(prefix="lab-export-"))
    out = folder / f"{found.id}-{format}"
    command = [sys.executable, "-m", "lab", "export", found.id, "--format", format, "--out", str(out), "--json"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", timeout=EXPORT_SECONDS, stdin=subprocess.DEVNULL)
    except subprocess.TimeoutExpired:
        raise Refusal("The export took too long and was ended.", "format") from None
    if done.returncode != 0:
        last = [line for line in done.stderr.strip().splitlines() if line.strip()][-1:] or ["The export failed without a word."]
        raise Refusal(last[0][:500], "format")
    archive = folder / f"{out.name}.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
        for path in sorted(out.rglob("*")):
            if path.is_file() and not path.is_symlink():
                packed.write(path, path.relative_to(out.parent))
    return archive


