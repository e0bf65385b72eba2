"""What the bench answers to a turned knob: count, problems, equation, figure. It asks the design room and puts the answers together."""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass, field
from typing import Any, get_args

from lab import blocks, fetches
from lab.design.body.anatomy import Anatomy, anatomy
from lab.design.method.compositions import COMPOSITIONS
from lab.design.method.count import Count, count_on
from lab.design.method.delta import Delta, Method
from lab.design.method.insertions import INSERTIONS
from lab.design.method.named import method_of
from lab.design.method.rules import problems
from lab.design.method.settling import GROUPS, with_composition, with_form, with_group
from lab.design.plain.message import Message
from lab.design.plain.options import validate
from lab.design.plain.refusal import Refusal
from lab.design.presets import catalogue
from lab.design.space import REPRESENTATIONS, SETS
from lab.design.spec.run import BuiltOn, RunSpec, spec_of
from lab.fetches import Availability
from lab.models import resolve
from lab.tasks import resolve as resolve_task
from lab.tasks.together import objectives_of
from lab.verbs import check


@dataclass
class Assessment:
    """What is known about a draft. `errors` are (path in the draft, sentence)."""

    draft: dict[str, Any]
    document: dict[str, Any] | None = None  # the draft as the server changed it, None where it did not
    method: Method | None = None
    whole: Method | None = None  # with the frozen deltas of the runs that it stands on
    body: Anatomy | None = None
    count: Count | None = None
    spec: RunSpec | None = None  # what a run of it would be, where it is a design at all
    there: dict[str, Availability] = field(default_factory=dict)  # of the model and the task
    modified: bool = False
    errors: list[tuple[str, str]] = field(default_factory=list)
    reasons: dict[str, dict[str, str]] = field(default_factory=dict)


def assess(draft: dict[str, Any]) -> Assessment:
    """Everything about a draft of the bench. Never raises for bad input: that is in `errors`."""
    draft = {key: value for key, value in draft.items() if key != "seq"}
    changed = str(draft.pop("changed", "") or "")
    found = Assessment(draft)
    try:
        found.document = _settled(draft, changed)
        found.draft = found.document or draft
        found.method = validate(Method, found.draft.get("method"), "method.")
    except Refusal as problem:
        found.errors.append((problem.field or "method", problem.sentence))
    except (LookupError, TypeError, ValueError, AttributeError):  # a draft that no knob of ours could have made
        found.errors.append(("method", Message("This is not a design: choose a method to start from.")))
    spec = _model(found)
    if found.method:
        found.modified = _modified(found.method)
        found.whole = _whole(found)
        found.errors += [(_field(problem.field, len(found.whole.frozen)), problem.sentence) for problem in problems(found.whole, found.body)]
        found.reasons = _reasons(found.method, found.draft["model"] if found.body else "")
        if not found.errors and spec and spec.inventory:
            found.count = count_on(found.whole, found.body, spec.inventory)
    _rest(found, spec)
    return found


def _whole(found: Assessment) -> Method:
    """The method with what it stands on; alone where that cannot be read, which is told."""
    assert found.method is not None
    try:
        return blocks.below(found.method, validate(BuiltOn, found.draft.get("built_on") or {}, "built_on."))[0]
    except Refusal as problem:
        found.errors.append((_field(problem.field, 0), problem.sentence))
        return found.method


def _field(field: str, frozen: int) -> str:
    """The path in the draft of a field of the whole method, in which so many frozen deltas stand first."""
    first, *rest = field.removeprefix("method.").split(".")
    if first == "built_on":
        return ".".join([first, *rest[:1]])
    if first == "deltas" and rest and rest[0].isdigit():
        if int(rest[0]) < frozen:
            return "built_on.stand_on"
        rest[0] = str(int(rest[0]) - frozen)
    return ".".join(["method", first, *rest])


def _settled(draft: dict[str, Any], changed: str) -> dict[str, Any] | None:
    """A preset's name becomes its document; a changed form or composition takes along what depends on it."""
    start = str((draft.get("built_on") or {}).get("start_from") or "")
    if changed == "built_on.start_from" and start:  # it goes on with that run's own method
        theirs = blocks.read(start, "built_on.start_from").spec.method
        return {**draft, "method": theirs.model_copy(update={"deltas": theirs.own}).document(), "built_on": {**draft["built_on"], "stand_on": []}}
    method = draft.get("method")
    if isinstance(method, str):
        return {**draft, "method": method_of(method).document()}
    if changed == "run":
        return dict(draft)
    parts = changed.split(".")
    if parts[:2] == ["method", "deltas"] and len(parts) == 4 and parts[3] in ("form", "composition", "schedule", "allocation"):
        deltas = list(method["deltas"])
        delta, field = deltas[int(parts[2])], parts[3]
        if field in ("form", "composition"):
            deltas[int(parts[2])] = (with_form if field == "form" else with_composition)(delta, str(delta[field]))
        else:
            deltas[int(parts[2])] = with_group(delta, field, str((delta.get(field) or {}).get("name", "")))
        return {**draft, "method": {**method, "deltas": deltas}}
    return None


def _model(found: Assessment) -> Any:
    try:
        spec = resolve(str(found.draft.get("model", "")))
        found.there["model"] = fetches.of_model(spec)
        found.body = anatomy(spec.config)
        return spec
    except Refusal as problem:
        found.errors.append(("model", problem.sentence))
        return None


def _modified(method: Method) -> bool:
    if not method.preset:
        return True
    try:
        return (_preset if method.preset in catalogue.names("methods") else method_of)(method.preset) != method
    except Refusal:
        return True


@functools.lru_cache(maxsize=128)
def _preset(name: str) -> Method:
    return method_of(name)


def _rest(found: Assessment, spec: Any) -> None:
    """Tasks, training and seed, checked by the spec itself; several tasks also on their model."""
    try:
        stand_in = found.method or _preset("lora")
        asked = spec_of({**{k: v for k, v in found.draft.items() if k in RunSpec.model_fields}, "method": stand_in})
        found.spec = asked if found.method else None
    except Refusal as problem:
        found.errors.append((problem.field, problem.sentence))
    further = found.draft.get("further")
    tasks = {"task": found.draft.get("task"), **{f"further.{number}": task for number, task in enumerate(further if isinstance(further, list) else ())}}
    for path, task in tasks.items():
        if isinstance(task, str):
            try:
                found.there[path] = fetches.available("tasks", task)
            except Refusal as problem:
                if not any(at == path for at, _ in found.errors):
                    found.errors.append((path, problem.sentence))
    if len(tasks) > 1 and spec and not found.errors:
        try:
            objectives_of([resolve_task(task) for task in tasks.values()], spec)
        except Refusal as problem:
            found.errors.append((problem.field, problem.sentence))


def _reasons(method: Method, model: str) -> dict[str, dict[str, str]]:
    """{path: {choice: why it cannot be chosen}} for every choice of every delta."""
    found: dict[str, dict[str, str]] = {}
    for index, delta in enumerate(method.deltas):
        for name, choices in _delta_reasons(delta.model_dump_json(), model).items():
            found[f"method.deltas.{index}.{name}"] = choices
    return found


@functools.lru_cache(maxsize=512)
def _delta_reasons(delta_json: str, model: str) -> dict[str, dict[str, str]]:
    delta = json.loads(delta_json)
    body = anatomy(resolve(model).config) if model else None
    candidates = {"composition": COMPOSITIONS, "norm": ("none", "in", "out"), "x": ("auto", "normed", "residual", "projection"),
                  "insertion": INSERTIONS, "nonlinearity": get_args(Delta.model_fields["nonlinearity"].annotation)}  # fmt: skip
    found: dict[str, dict[str, str]] = {}
    for name, choices in candidates.items():
        for choice in choices:
            changed = with_composition(delta, choice) if name == "composition" else {**delta, name: choice}
            if choice != delta[name] and (why := _objection(changed, name, body)):
                found.setdefault(name, {})[choice] = why
    for name, kinds in GROUPS.items():
        for choice in kinds:
            if choice != (delta[name] or {}).get("name") and (why := _objection(with_group(delta, name, choice), name, body)):
                found.setdefault(name, {})[choice] = why
    for choice in (*REPRESENTATIONS, *SETS):
        if choice in delta["at"]:
            continue
        inside = next((one for one in delta["at"] if choice in SETS.get(one, ())), "")
        if why := Message("{name} takes {other} in already.", name=inside, other=choice) if inside else _objection({**delta, "at": [choice]}, "at", body):
            found.setdefault("at", {})[choice] = why
    return found


def _objection(delta: dict[str, Any], name: str, body: Anatomy | None) -> str:
    try:
        tried = Method(deltas=[Delta.model_validate(delta)])
    except ValueError:
        return ""
    return next((problem.sentence for problem in problems(tried, body, alone=True) if problem.field == f"deltas.0.{name}"), "")


def spec_for(draft: dict[str, Any]) -> RunSpec:
    """The spec of a draft, as it can be launched here. Raises the first `Refusal`, with its field as a path in the draft."""
    return check(design_of(draft))


def design_of(draft: dict[str, Any]) -> RunSpec:
    """The spec of a draft, whether or not its model's weights and its data are on this machine: enough to say what it costs. Raises as `spec_for`."""
    found = assess(draft)
    for path, sentence in found.errors:
        raise Refusal(sentence, path)
    return blocks.settled(spec_of({key: value for key, value in found.draft.items() if key in RunSpec.model_fields}))


def launch_document(draft: dict[str, Any]) -> dict[str, Any]:
    """The frozen spec of a draft, as it is launched. Raises as `spec_for`."""
    return spec_for(draft).document()
