"""The named verbs of the app's API, for gradio_client, plain HTTP and (serve --mcp) language models; docs/api.md describes them.

They answer with the documents that the terminal prints with --json. Everything else that the app's pages call is private to them. What a verb
refuses is one sentence; the door (password, hosts, limits) stands before all of them.
"""

from __future__ import annotations

import base64
import functools
import inspect
import os
from collections.abc import Callable
from typing import Any, get_type_hints

import gradio as gr
from pydantic import create_model

from lab import combining, searching, verbs
from lab.cli import describing, reading
from lab.design.plain.called import as_called
from lab.design.plain.options import Options, validate
from lab.design.plain.refusal import Refusal
from lab.design.spec.run import RunSpec
from lab.models import resolve
from lab.results import groups
from lab.results.compare import settings
from lab.results.facts import why_not
from lab.runs import Run, default
from lab.runs.home import check_id
from lab.ui.compare import appendix
from lab.ui.export import bringer, packer, pusher
from lab.ui.shell import planner, verdicts

MOST = 50  # runs side by side
LISTED = 1000  # runs in one answer
POINTS, MOST_POINTS = 1000, 100_000  # of a curve
LOG_LINES = 2000


def expose() -> None:
    """Name the verbs. A plan takes seconds of a process of its own, so fewer are asked at once."""
    for verb in (*VERBS, push) if os.environ.get(pusher.VARIABLE) == pusher.ALL else VERBS:
        gr.api(_told(verb), api_name=verb.__name__, concurrency_limit=2 if verb in (plan, import_adapter) else 4)
    with gr.Row(visible=False):  # a file travels only as a component's value
        asked = [gr.Textbox(label=name, value=usual) for name, usual in (("run", ""), ("format", "peft"), ("adapter", "best"), ("task", ""))]
        gr.Button().click(_told(export), asked, gr.File(label="archive"), api_name="export", concurrency_limit=2)


def _told(verb: Callable) -> Callable:
    """The verb, with arguments of its declared types, and with what it refuses as the error that clients get."""
    signature, kinds = inspect.signature(verb), get_type_hints(verb)
    fields: dict[str, Any] = {name: (kinds[name], ... if each.default is each.empty else each.default) for name, each in signature.parameters.items()}
    arguments = create_model(verb.__name__, __base__=Options, **fields)

    @functools.wraps(verb)
    def answered(*given: Any, **named: Any) -> Any:
        try:
            asked = validate(arguments, signature.bind_partial(*given, **named).arguments)
            return verb(**{name: getattr(asked, name) for name in fields})
        except Refusal as problem:
            raise gr.Error(as_called(problem.sentence), print_exception=False) from None

    return answered


# -- what there is, and what it would cost


def methods() -> list:
    """The method presets: [{"preset", "name", "family", "branch", "paper", "summary", "deltas", "lr"}]."""
    return describing.method_rows()


def models() -> list:
    """The model presets and where their weights are: [{"preset", "title", "kind", "architecture", "parameters", "where", "here", "licence"}]."""
    return describing.model_rows()


def tasks() -> list:
    """The task presets and the tasks that were imported: [{"preset", "title", "family", "metric", "description", "source", "rows", "licence", "own"}]."""
    return describing.task_rows()


def schema() -> dict:
    """The JSON schema of a run's specification, which `launch` and `plan` take."""
    return RunSpec.model_json_schema()


def count(model: str, method: Any) -> dict:
    """What a method trains on a model preset: {"trainable", "total", "percent", "by_delta", "biases"}, and "final" where that differs at the end.

    method: a preset's name, {"preset": name, "set": {"deltas.0.rank": 16}}, or a whole method.
    """
    if resolve(model).inventory is None:
        raise Refusal("The weights of {model} were not counted beforehand: ask plan, which says what trains.", "model", model=model[:80])
    return verbs.count(model, method)


def plan(spec: dict, setting: dict | None = None) -> dict:
    """The peak step memory of a run by category, predicted without weights: {"peak_allocated_bytes", "categories", "trainable", ...}.

    spec: as for launch; setting: batch, tokens, target_tokens, targets, dtype, adapter_dtype or device given over it.
    """
    return planner.client().plan({**(setting or {}), "spec": verbs.to_plan(spec).document()})


# -- starting and ending


def launch(spec: dict) -> dict:
    """Launch a run and return {"run", "state"} at once.

    spec: a RunSpec as plain JSON, as in {"model": "minilm-l6", "task": "sentiment-rt", "method": "lora", "training": {"steps": 150}}.
    `method` is a preset's name, {"preset": name, "set": {"deltas.0.rank": 16}}, or a whole method.
    """
    return _queued(default().launch(verbs.check(spec).document()))


def combine(runs: list, weights: list, how: str = "sum", options: dict | None = None) -> dict:
    """Put trained runs of one base together as a run of its own, evaluated on the tasks of all of them; {"run", "state"} at once.

    runs: ids, or id/final for the last weights in place of the best; weights: one for each, [] for equal shares of 1; how: sum, average, prune, ties, dare or
    dare-ties; options: rank, density, sign, seed, name, tags.
    """
    return _queued(default().launch(verbs.check(combining.document(runs, weights, how, **_known(options))).document()))


def _known(options: dict | None) -> dict[str, Any]:
    known = ("rank", "density", "sign", "seed", "name", "tags")
    unknown = next((name for name in options or {} if name not in known), None)
    if unknown is not None:
        raise Refusal("There is no option '{name}' of a combination; there are {known}.", "options", name=str(unknown)[:40], known=", ".join(known))
    return options or {}


def stop(run: str) -> dict:
    """Ask a run to stop; it keeps its last checkpoint. {"run", "state"} at once: a run that trains is `stopping` until it has."""
    return {"run": run, "state": default().stop(check_id(run), wait=False)}


def resume(run: str) -> dict:
    """Continue a failed, cancelled or interrupted run from its last checkpoint; {"run", "state"} at once."""
    verbs.resume(check_id(run))
    return _queued(run)


def duplicate(run: str, name: str | None = None) -> dict:
    """Queue a new run with the same specification; {"run", "state"} of it."""
    return _queued(verbs.duplicate(check_id(run), name or None))


def _queued(run: str) -> dict:
    return {"run": run, "state": default().store.get(run).state}


def edit(run: str, changes: dict) -> dict:
    """Another name, other tags or notes, or another place in the queue: {"run", "name", "tags", "notes", "state"} as they are then.

    changes: {"name": text, "tags": [texts], "notes": text, "place": number}, any of them.
    """
    known = {"name": str, "tags": list, "notes": str, "place": int}
    for name, value in changes.items():
        if not isinstance(value, known.get(name, ())) or isinstance(value, bool):
            raise Refusal("'{name}' cannot be changed to that; there are name, tags, notes and place.", "changes", name=str(name)[:40])
    now = verbs.edit(check_id(run), **changes)
    return {"run": now.id, "name": now.name, "tags": now.tags, "notes": now.notes, "state": now.state}


def delete(run: str) -> dict:
    """Put a run that is not active into the bin, which keeps it for 30 days: {"run", "deleted"}."""
    default().bin(check_id(run))
    return {"run": run, "deleted": True}


def restore(run: str) -> dict:
    """Bring a run back from the bin, in the state that it had: {"run", "state"}."""
    default().restore(check_id(run))
    return _queued(run)


# -- searching


def search(spec: dict) -> dict:
    """Begin a search for the best design under a budget and return {"name", "state"} at once; a process of its own drives it.

    spec: as in {"model": "minilm-l6", "task": "sentiment-rt", "training": {"steps": 150}, "budget": "0.3 % weights, 900 MB",
    "space": {"deltas.0.rank": "1..64 log"}, "anchors": ["lora"]}.
    """
    name = searching.begin(spec)
    searching.start(name)
    return {"name": name, "state": "running"}


def searches() -> list:
    """The names of all searches, the newest first."""
    return searching.names()


def search_status(name: str) -> dict:
    """A search as it is now: {"name", "state", "phase", "metric", "trials", "refused", "chosen", "importance", "verdict", "spec", ...}."""
    return searching.summary(searching.read(name))


def search_stop(name: str) -> dict:
    """Ask a search and its runs to stop; it can be resumed. As in search_status, at once."""
    return searching.summary(searching.stop(name))


def search_resume(name: str) -> dict:
    """Take a search that was stopped or killed up again, driven by a process of its own. As in search_status, at once."""
    searching.start(name)
    return search_status(name)


# -- looking


def runs(states: list[str] | None = None, tag: str = "", words: str = "", limit: int = 50, where: str = "") -> list:
    """Runs, newest first, with result, settings in short and progress. states: only these; tag: only with it; words: only with them in the name;
    where: only those that a query means, as in "accuracy > 0.78 and method = lora*"."""
    most = min(limit, LISTED) if limit > 0 else LISTED
    asked = {"states": states or None, "tag": tag or None, "words": words or "", "limit": most}
    return [reading.row_of(run) for run in verbs.runs(where=where, **asked)]


def status(run: str) -> dict:
    """State, step, latest metrics, result and error of a run by its id."""
    return summary(default().store.get(run))


def summary(run: Run) -> dict:
    """What `status` and `compare` say about a run."""
    latest = {name: {"step": step, "value": value if value == value else None} for name, (step, value, _) in default().store.latest(run.id).items()}
    return {"run": run.id, "name": run.name, "state": run.state, "step": run.step, "total_steps": run.total_steps, "progress": run.progress,
            "latest": latest, "result": run.result, "no_result": why_not(run), "error": run.error, "advice": run.advice, "spec": run.spec}  # fmt: skip


def metrics(run: str, names: list[str] | None = None, after: int = -1, points: int = POINTS) -> dict:
    """The curves of a run: {name: {"steps": [...], "values": [...], "times": [seconds since 1970]}}; a value that is no number is null.

    names: only these; after: only later steps; points: about so many of each at most, which keep every extreme.
    """
    store = default().store
    found = store.series(store.get(check_id(run)).id, names or None, after=after, points=max(2, min(points, MOST_POINTS)))
    return {name: {"steps": steps.tolist(), "values": [value if value - value == 0 else None for value in values.tolist()], "times": times.tolist()}
            for name, (steps, values, times) in found.items()}  # fmt: skip


def log(run: str, lines: int = 200) -> str:
    """The last lines of a run's log."""
    return default().log_tail(default().store.get(check_id(run)).id, max(1, min(lines, LOG_LINES)))


def compare(runs: list[str]) -> dict:
    """Up to 50 runs side by side: {"runs": [as in status], "differences": {setting: [value per run]}, "groups", "pairs", "sentences"}.

    groups: each setting over its seeds, {"name", "runs", "metric", "n", "mean", "deviation", "by_seed", "star"}; pairs: {"one", "other", "kind", "effect", "low", "high", "p",
    "adjusted", "n", "how"} of every two of them, by place, the better one first; sentences: the same in words, against the best one.
    """
    if len(runs) > MOST:
        raise Refusal("At most {most} runs can be compared; {count} are given.", "runs", most=MOST, count=len(runs))
    found = [default().store.get(check_id(run)) for run in runs]
    tested = groups.tested(groups.grouped(found))
    names = groups.names(tested.groups)
    answers = {**groups.document(tested, names), "sentences": verdicts.lines(tested, names, "en")}
    return {"runs": [summary(run) for run in found], "differences": settings(found), **answers}


def paper(runs: list[str], form: str = "latex") -> str:
    """A comparison as text for a paper. form: latex or markdown (the table over seeds), equations, bibtex (of the methods used), or
    appendix: the zip of all that, figures, specifications, versions and costs, in base64."""
    if len(runs) > MOST:
        raise Refusal("At most {most} runs can be compared; {count} are given.", "runs", most=MOST, count=len(runs))
    found = [default().store.get(check_id(run)) for run in runs]
    return base64.b64encode(appendix.appendix(found)).decode() if form == "appendix" else appendix.text_of(found, form)


def import_adapter(source: str, task: str = "", model: str = "", revision: str = "", name: str = "") -> dict:
    """Bring an adapter in that was trained elsewhere, as a run that is over: {"run", "name", "model", "task", "method", "trainable", "imported"}.

    source: a folder or zip on the app's machine that peft, AdapterHub's library or a lab wrote, or a hub id owner/name (revision: of it). task, model: where its folder
    does not say which task it answers and which model it stands on. name: of the run.
    """
    return bringer.bring(source, task, model, revision, name)


def export(run: Any, format: Any = "peft", adapter: Any = "best", task: Any = "") -> str:
    """Export a run's adapter in a format of the export room; a zip file of it, which clients download.

    format: peft, peft-lora, adapterhub, gguf, merged, lab, config, script; adapter: best or final; task: of a run of several with heads, whose head goes along.
    """
    return str(packer.PACKER.make(run, format or "peft", adapter or "best", task or "").zip())


def push(
    run: str, repo: str = "", format: str = "peft", adapter: str = "best", task: str = "", public: bool = False, confirm: str = "", replace: bool = False
) -> dict:
    """Send a run's export to a repository of the Hugging Face hub, in two calls; only where the app was started with --push.

    Without confirm nothing is sent: {"repo", "address", "visibility", "exists", "files", "bytes", "replaces", "notes", "confirm", "state": "ready"} says
    what would be. With that confirm (and replace=true where "foreign" says that files of others would be replaced) it is sent in the background; the
    same call again says how it stands: "state" sending, sent (with "sent", the commit's address) or wrong (with "sentence"). public: everybody may read it.
    """
    if confirm:
        if pusher.PUSHER.standing(confirm)["run"] != check_id(run):
            raise Refusal("That push is of another run.", "confirm")
        return pusher.PUSHER.send(confirm, replace)
    return pusher.PUSHER.look(run, repo, format, adapter, task, public)


VERBS = (methods, models, tasks, schema, count, plan, launch, combine, import_adapter, stop, resume, duplicate, edit, delete, restore, search, searches, search_status, search_stop, search_resume,
         runs, status, metrics, log, compare, paper)  # fmt: skip
