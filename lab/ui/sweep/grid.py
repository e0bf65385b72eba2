"""What the sweep's form says, as specs: a grid or list over options, or the rows of a paper's table crossed with it. And what they would cost."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from lab.design.body.anatomy import anatomy
from lab.design.method import named
from lab.design.method.count import count_on
from lab.design.plain import numbers
from lab.design.plain.differences import differences
from lab.design.plain.refusal import Refusal
from lab.design.presets import tables
from lab.design.spec import sweep
from lab.design.spec.run import RunSpec
from lab.models import resolve
from lab.planning import devices
from lab.planning.advice import usable
from lab.planning.client import Superseded
from lab.results import published
from lab.runs import default
from lab.runs.estimates import estimate
from lab.runs.processes import identity
from lab.ui.shell.markup import esc, memory
from lab.ui.shell.planner import client, question_of
from lab.ui.words.refusals import refused
from lab.ui.words.table import language_asked, metric_name, say, time_words
from lab.verbs import check

MOST_PLANS = 8  # shapes of one sweep that are planned, the heaviest first
PAST, MOST_TIMES = 300, 64  # runs that are over, newest first; different runs of a sweep whose time is estimated
MATTERS = (
    "batch_size",
    "accumulation",
    "max_length",
    "precision",
    "gradient_checkpointing",
    "optimizer",
    "galore_rank",
    "label_smoothing",
    "device",
    "compile",
)


def specs_of(asked: Mapping[str, Any]) -> list[RunSpec]:
    """The specs of what the form says, each checked as a whole. Raises Refusal with the axis as its field."""
    base = asked.get("base")
    if not isinstance(base, Mapping):
        raise Refusal("A sweep starts from a model, a task and a method.", "base")
    document = {key: value for key, value in base.items() if key in RunSpec.model_fields and key != "name"}
    table = _table(asked)
    axes = [axis for axis in asked.get("axes") or () if isinstance(axis, Mapping) and str(axis.get("path", "")).strip()]
    texts = [f"{str(axis['path']).strip()}={axis.get('values', '')}" for axis in axes]
    doubled = [axis["path"] for index, axis in enumerate(axes) if axis["path"] in [one["path"] for one in axes[:index]]]
    if doubled:
        raise Refusal("{path} stands twice; write all its values in one line.", "over", path=doubled[0])
    if table is None:
        found = sweep.specs(document, sweep.points(texts, bool(asked.get("list"))), sweep.label())
    else:
        found = _of_table(str(asked["table"]), table, asked, document, texts)
    return [check(spec) for spec in found]


def dropped(asked: Mapping[str, Any]) -> list[str]:
    """What the bench changed of its method that the sweep's runs do not have, since an axis or a table brings methods of its own: `deltas.0.rank = 16`."""
    base = asked.get("base")
    method = base.get("method") if isinstance(base, Mapping) else None
    over = asked.get("table") or any(isinstance(axis, Mapping) and axis.get("path") == "method" for axis in asked.get("axes") or ())
    if not over or not isinstance(method, Mapping):
        return []
    try:
        mine = named.method_of(dict(method))
        preset = named.load_method(mine.preset)
    except (Refusal, TypeError, ValueError):
        return []
    found = differences([mine.document(), preset.document()], ("name", "summary", "family", "branch", "deviations", "paper"))
    return [f"{path} = {', '.join(map(str, mine_has)) if isinstance(mine_has, list) else mine_has}" for path, (mine_has, _) in found.items()]


def _table(asked: Mapping[str, Any]) -> tables.PaperTable | None:
    return tables.load(str(asked["table"])) if asked.get("table") else None


def _of_table(name: str, table: tables.PaperTable, asked: Mapping[str, Any], document: dict[str, Any], texts: list[str]) -> list[RunSpec]:
    """The chosen rows, each at every point of the other axes; on the bench's model and task, or on the paper's."""
    left = [place for place in asked.get("without") or () if isinstance(place, int)]
    rows = [row for place, row in enumerate(table.rows) if place not in left]
    where = asked.get("on")
    if isinstance(where, int) and 0 <= where < len(table.bases):
        document = {**document, **table.bases[where].model_dump(mode="json")}
    document = {**document, "tags": [*(document.get("tags") or ()), name]}
    return sweep.specs(document, sweep.table_points(rows, texts, bool(asked.get("list"))), sweep.label())


def choices(language: str) -> list[dict[str, Any]]:
    """The papers' tables as the form offers them: rows with what was published, and where the paper ran them."""
    found = []
    for name in tables.names():
        table = tables.load(name)
        rows = [{"label": row.label, "told": _published(published.of_row(table, row))} for row in table.rows]
        heads = " · ".join(
            [
                say(language, "library.share"),
                *(
                    f"{task} {metric_name(language, metric)}"
                    for task, metric in published.main([point for row in table.rows for point in published.of_row(table, row)])
                ),
            ]
        )
        bases = [f"{base.model} · {base.task}" for base in table.bases]
        title = table.title_zh if language == "zh" else table.title
        found.append(
            {
                "name": name,
                "title": f"{say(language, 'library.table', n=table.table)} · {title}",
                "notes": table.notes,
                "heads": heads,
                "rows": rows,
                "bases": bases,
            }
        )
    return found


def _published(points: list[published.Point]) -> str:
    share = next((numbers.percent(point.percent) for point in points if point.percent is not None), "")
    values = [" / ".join(f"{point.value:g}" for point in group) for group in published.main(points).values()]
    return " · ".join(filter(None, [share, *values]))


def weights(spec: RunSpec) -> int | None:
    """How many weights a run trains at its start, None where the model has no inventory."""
    model = resolve(spec.model)
    return count_on(spec.method, anatomy(model.config), model.inventory).trainable if model.inventory else None


def shapes(specs: list[RunSpec]) -> list[tuple[RunSpec, dict[str, Any]]]:
    """The runs that differ in what memory depends on (not in seed, steps or learning rate), the heaviest first, with the document to plan."""
    found: dict[str, tuple[RunSpec, dict[str, Any]]] = {}
    for spec in specs:
        document = spec.document()
        training = {name: document["training"][name] for name in MATTERS if name in document["training"]}
        shape = {**document, "training": training, "seed": 0, "name": "", "tags": []}
        named = [shape["model"], shape["quantisation"], shape["task"], shape["further"]]
        key = json.dumps([*named, {**shape["method"], "name": ""}, training], sort_keys=True, default=str)
        found.setdefault(key, (spec, shape))
    return sorted(found.values(), key=lambda one: _heaviness(one[0]), reverse=True)


def _heaviness(spec: RunSpec) -> tuple[int, int, int]:
    inventory = resolve(spec.model).inventory
    return (inventory.total if inventory else 0, spec.training.batch_size * (spec.training.max_length or 1), weights(spec) or 0)


def forecast(asked: Any) -> dict[str, Any]:
    """{"html", "more"} for {"form", "language", "topic", "turn", "done"}: peak step memory of the largest run, after planning one more shape than `done`.

    The page asks again while there is `more`, so a changed form never waits for the plans of an older one.
    {"html": ""} where the form is not right yet, {"superseded": True} where the same page has asked anew.
    """
    asked = asked if isinstance(asked, Mapping) else {}
    language = language_asked(asked)
    try:
        specs = specs_of(asked.get("form") if isinstance(asked.get("form"), Mapping) else {})
    except (Refusal, TypeError, ValueError, AttributeError):
        return {"html": "", "more": False}
    distinct = shapes(specs)
    done = asked.get("done") if isinstance(asked.get("done"), int) and asked["done"] >= 0 else 0
    planned: list[tuple[RunSpec, int]] = []
    wrong = ""
    for spec, document in distinct[: min(done + 1, MOST_PLANS)]:
        try:
            planned.append((spec, int(client().plan({"spec": document}, **question_of(asked))["peak_reserved_bytes"])))
        except Superseded:
            return {"superseded": True}
        except Refusal as problem:
            wrong = refused(language, problem)
    return {"html": _costs(specs, distinct, planned, wrong, language), "more": done + 1 < min(len(distinct), MOST_PLANS), "done": done + 1}


def _costs(specs: list[RunSpec], distinct: list, planned: list[tuple[RunSpec, int]], wrong: str, language: str) -> str:
    word = lambda key, **values: esc(say(language, key, **values))  # noqa: E731
    device = devices.memory()
    parts = [f"<h3>{word('plan.title.' + ('cuda' if device['kind'] == 'cuda' else 'cpu'))}</h3>"]
    if planned:
        spec, peak = max(planned, key=lambda one: one[1])
        room = usable(device["total_bytes"], device["kind"])
        name = str(device["name"]) if device["kind"] == "cuda" else say(language, "plan.main")
        fits = (
            f'<p class="lab-fine">{word("sweep.fits", device=name)}</p>'
            if peak <= room
            else f'<p class="lab-over">{word("plan.over", device=name, over=numbers.memory(peak - room))}</p>'
        )
        parts.append(f'<p class="lab-count" data-peak="{peak}">{memory(peak)} <span class="lab-muted">{word("plan.of", room=numbers.memory(room))}</span></p>'
                     f'<p class="lab-muted">{word("sweep.largest", name=spec.name, n=len(planned), all=len(distinct))}</p>{fits}')  # fmt: skip
    if wrong:
        parts.append(f'<p class="lab-muted">{esc(wrong)}</p>')
    return "".join([*parts, f"<h3>{word('sweep.time')}</h3>", _time(specs, device, language)])


def _time(specs: list[RunSpec], device: Mapping[str, Any], language: str) -> str:
    """What the runs take one after another by runs that are over, and how many of them have none to go by."""
    past, found, seconds = default().store.list(["succeeded"], limit=PAST), {}, []
    for spec in specs:
        document = spec.document()
        named = [document["model"], document["quantisation"], document["task"], document["further"]]
        key = json.dumps([*named, {**document["method"], "name": ""}, document["training"]], sort_keys=True, default=str)
        if key not in found and len(found) < MOST_TIMES:
            place = "cpu" if device["kind"] == "cpu" or spec.training.device == "cpu" else str(device["name"])
            found[key] = estimate(document, past, place, identity().host)
        seconds.append(found.get(key))
    known = [one.seconds for one in seconds if one is not None]
    if not known:
        return f'<p class="lab-muted" data-time="">{esc(say(language, "sweep.time.unknown"))}</p>'
    name = str(device["name"]) if device["kind"] == "cuda" else "CPU"
    words = say(language, "sweep.time.about", time=time_words(language, sum(known)), device=name)
    if len(known) < len(specs):
        words += " " + say(language, "sweep.time.some", n=len(specs) - len(known), all=len(specs))
    return f'<p class="lab-muted" data-time="{sum(known):.0f}">{esc(words)}</p>'
