"""The named verbs of the app's API, for gradio_client and other programs; docs/api.md describes them. Everything else is private to the pages."""

from __future__ import annotations

from typing import Any

import gradio as gr

from lab import combining
from lab.design.plain.refusal import Refusal
from lab.results.compare import settings
from lab.runs import Run, default
from lab.runs.home import check_id
from lab.ui.export import packer
from lab.verbs import check

MOST = 50  # runs side by side


def expose() -> None:
    """Name the verbs: /launch, /combine, /status, /compare, /export."""
    for verb in (launch, combine, status, compare):
        gr.api(verb, api_name=verb.__name__, concurrency_limit=4)
    with gr.Row(visible=False):  # a file travels only as a component's value
        asked = [gr.Textbox(label=name, value=usual) for name, usual in (("run", ""), ("format", "peft"), ("adapter", "best"), ("task", ""))]
        gr.Button().click(export, asked, gr.File(label="archive"), api_name="export", concurrency_limit=2)


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


def combine(runs: list, weights: list, how: str = "sum", options: dict | None = None) -> dict:
    """Put trained runs of one base together as a run of its own, evaluated on the tasks of all of them; {"run", "state"} at once.

    runs: ids, or id/final for the last weights in place of the best; weights: one for each, [] for equal shares of 1; how: sum, average, prune, ties, dare or
    dare-ties; options: rank, density, sign, seed, name, tags.
    """
    try:
        checked = check(combining.document(runs, weights, how, **_known(options)))
        run = default().launch(checked.document())
        return {"run": run, "state": default().store.get(run).state}
    except Refusal as problem:
        raise gr.Error(problem.sentence, print_exception=False) from None


def _known(options: dict | None) -> dict[str, Any]:
    known = ("rank", "density", "sign", "seed", "name", "tags")
    unknown = next((name for name in options or {} if name not in known), None)
    if unknown is not None:
        raise Refusal(f"There is no option '{str(unknown)[:40]}' of a combination; there are {', '.join(known)}.", "options")
    return options or {}


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
    """Up to 50 runs side by side: {"runs": [as in status], "differences": {setting: [value per run]}}."""
    try:
        if not isinstance(runs, list):
            raise Refusal("Give a list of run ids to compare.", "runs")
        if len(runs) > MOST:
            raise Refusal(f"At most {MOST} runs can be compared; {len(runs)} are given.", "runs")
        found = [default().store.get(check_id(run)) for run in runs]
    except Refusal as problem:
        raise gr.Error(problem.sentence, print_exception=False) from None
    return {"runs": [summary(run) for run in found], "differences": settings(found)}


def export(run: Any, format: Any = "peft", adapter: Any = "best", task: Any = "") -> str:
    """Export a run's adapter in a format of the export room; a zip file of it, which clients download.

    format: peft, peft-lora, merged, lab, config, ...; adapter: best or final; task: of a run of several with heads, whose head goes along.
    """
    try:
        return str(packer.PACKER.make(run, format or "peft", adapter or "best", task or "").zip())
    except Refusal as problem:
        raise gr.Error(problem.sentence, print_exception=False) from None
