"""The memory plan beside the knobs: asked after the knobs have come to rest, answered by the planner's own process."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from lab.design.plain import numbers
from lab.design.plain.refusal import Refusal
from lab.design.spec.run import RunSpec
from lab.planning import devices
from lab.planning.advice import usable
from lab.planning.client import Superseded
from lab.planning.result import CATEGORIES
from lab.tasks.planned import planned
from lab.ui.bench import assessment
from lab.ui.shell import run_facts
from lab.ui.shell.markup import duration, esc, memory
from lab.ui.shell.planner import client, question_of
from lab.ui.words.refusals import refused
from lab.ui.words.table import language_asked, say
from lab.verbs import estimate


def plan(asked: Any) -> dict[str, Any]:
    """{"html"} for {"draft", "language", "topic", "turn", "device", "advise"}: peak by category against the device; with `advise` also the largest batch.

    `device`: "" for this machine, or the size of a typical accelerator in GB. {"html": ""} where the design may not run (the costs say why),
    {"superseded": True} where the same page has asked anew.
    """
    asked = asked if isinstance(asked, Mapping) else {}
    language = language_asked(asked)
    question = question_of(asked)
    device, kernels = devices.chosen(str(asked.get("device") or ""))
    try:
        spec = assessment.design_of(dict(asked.get("draft") or {}))
    except (Refusal, TypeError, ValueError):
        return {"html": ""}
    request, time = {"spec": spec.document(), **({"device": kernels} if kernels else {})}, _time(spec, kernels, language)
    try:
        if asked.get("advise"):
            found = client().advise(request, device=device, **question)
            return {"html": panel(found["plan"], found["device"], found["room_bytes"], language, found, len(spec.method.frozen)) + time}
        return {"html": panel(client().plan(request, **question), device, usable(device["total_bytes"], device["kind"]), language) + time}
    except Superseded:
        return {"superseded": True}
    except Refusal as problem:
        return {"html": f'<h3>{esc(say(language, "plan.title.cpu"))}</h3><p class="lab-muted">{esc(refused(language, problem))}</p>{time}'}


def _time(spec: RunSpec, elsewhere: str | None, language: str) -> str:
    """How long runs like this one took here, or that it is measured after the first steps."""
    found = None if elsewhere else estimate(spec)
    if found is None:
        words = esc(say(language, "time.later"))
    else:
        words = f"{esc(say(language, 'time.about'))} <b>{duration(language, found['seconds'])}</b>, {esc(say(language, 'time.from.' + found['alike'], runs=found['runs']))}"
    return f'<p class="lab-muted" id="plan-time">{words}</p>{_judged(spec, language)}'


def _judged(spec: RunSpec, language: str) -> str:
    """How often the run will be judged, where that is known before its texts are read."""
    try:
        found = planned(spec)
    except Refusal:  # which the costs tell
        return ""
    return f'<p class="lab-muted" id="plan-judged">{esc(run_facts.judged(found.told, language))}</p>' if found else ""


def panel(document: Mapping[str, Any], device: Mapping[str, Any], room: int, language: str, advice: Mapping[str, Any] | None = None, frozen: int = 0) -> str:
    """The peak as a stacked bar, its share of what the device can give, and whether it fits. `frozen`: deltas that stand below those of the draft."""
    word = lambda key, **values: esc(say(language, key, **values))  # noqa: E731
    peak, parts = int(document["peak_reserved_bytes"]), {name: document["categories"].get(name, 0) for name in CATEGORIES}
    total = max(1, sum(parts.values()))
    bar = "".join(
        f'<i class="{name}" style="width:{100 * size / total:.2f}%" title="{word("plan." + name)}: {esc(numbers.memory(size))}"></i>'
        for name, size in parts.items()
        if size
    )
    rows = "".join(f'<li><i class="{name}"></i>{word("plan." + name)} <b>{memory(size)}</b></li>' for name, size in parts.items() if size)
    share, over = min(100.0, 100 * peak / max(1, room)), peak - room
    verdict = f'<p class="lab-fine">{word("plan.fits", device=_device(device, language))}</p>' if over <= 0 else \
        f'<p class="lab-over">{word("plan.over", device=_device(device, language), over=numbers.memory(over))}</p>'  # fmt: skip
    setting = document["setting"]
    return (f'<h3>{word("plan.title." + ("cuda" if device["kind"] == "cuda" else "cpu"))}</h3>'
            f'<p class="lab-count" data-peak="{peak}"><span class="lab-peak">{memory(peak)}</span> <span class="lab-muted">{word("plan.of", room=numbers.memory(room))}</span></p>'
            f'<div class="lab-stack" role="img" aria-label="{word("plan.bar")}">{bar}</div><ul class="lab-kinds">{rows}</ul>'
            f'<div class="lab-device{" over" if over > 0 else ""}" title="{share:.3g} %"><i style="width:{max(share, 0.8):.2f}%"></i></div>'
            f"{verdict}{_batch(advice, language)}{_offers(advice, language, frozen)}"
            f'<p class="lab-muted">{word("plan.shape", batch=setting["batch"], tokens=setting["tokens"])}{_over(setting, language)}</p>')  # fmt: skip


def _over(setting: Mapping[str, Any], language: str) -> str:
    """That a plan is of each of several devices; "" of one."""
    if setting.get("devices", 1) == 1:
        return ""
    return " " + esc(say(language, "plan.devices", devices=setting["devices"], sharding=say(language, f"plan.sharding.{setting['sharding']}")))


def _device(device: Mapping[str, Any], language: str) -> str:
    return str(device["name"]) if device["kind"] == "cuda" else say(language, "plan.main")


def _batch(advice: Mapping[str, Any] | None, language: str) -> str:
    """The largest batch that fits."""
    if advice is None:
        return ""
    rows = advice["largest_batch"]
    words = say(language, "plan.batch.many") if rows is None else say(language, "plan.batch.none") if rows == 0 else say(language, "plan.batch", rows=rows)
    return f'<p class="lab-muted">{esc(words)}</p>'


def _offers(advice: Mapping[str, Any] | None, language: str, frozen: int) -> str:
    """What would make it fit: each change alone, and the fewest together where none does alone; a press turns the knobs."""
    if advice is None or advice["fits"]:
        return ""
    together = advice["combination"]
    offers = [((one["change"],), one) for one in advice["changes"]] + ([(together["changes"], together)] if together else [])
    rows = "".join(_offer(names, one, language, frozen) for names, one in sorted(offers, key=lambda each: not each[1]["fits"]))
    notes = [] if any(one["fits"] for _, one in offers) else [say(language, "plan.offers.none")]
    notes += [refused(language, sentence) for sentence in advice["missing"]]
    return (f'<h4>{esc(say(language, "plan.offers"))}</h4><ul class="lab-offers">{rows}</ul>' if rows else "") + "".join(
        f'<p class="lab-muted">{esc(sentence)}</p>' for sentence in notes
    )


def _offer(names: Sequence[str], one: Mapping[str, Any], language: str, frozen: int) -> str:
    settings = {_own(path, frozen): value for path, value in one["set"].items()}
    values = {"rows": settings.get("training.batch_size"), "passes": settings.get("training.accumulation"), "tokens": settings.get("training.max_length")}
    words = " + ".join(say(language, f"change.{name}", **values) for name in names)
    saves = say(language, "plan.offer.fits" if one["fits"] else "plan.offer.not", saves=numbers.memory(one["saves_bytes"]))
    return (f'<li><button type="button" class="lab-link" data-offer="{esc("+".join(names))}" data-set="{esc(json.dumps(settings))}">{esc(words)}</button> '
            f'<span class="lab-muted">{esc(saves)}</span></li>')  # fmt: skip


def _own(path: str, frozen: int) -> str:
    """The path in the draft, in which frozen deltas are not listed."""
    first, second, *rest = [*path.split("."), ""]
    return ".".join([first, second, str(int(rest[0]) - frozen), *rest[1:-1]]) if (first, second) == ("method", "deltas") else path
