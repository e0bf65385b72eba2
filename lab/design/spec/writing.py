"""A design as somebody would write it by hand: YAML, a command line, Python. Only what differs from the preset and from defaults is written.

Each of them gives the same run again: `compact` is checked against `method_of` before it is handed out.
"""

from __future__ import annotations

import json
import pprint
import shlex
from typing import Any

import yaml

from lab.design.method.delta import Delta, Method
from lab.design.method.named import load_method, method_of
from lab.design.plain.differences import differences
from lab.design.plain.refusal import Refusal
from lab.design.spec.combination import Combination
from lab.design.spec.run import RunSpec, Training


def brief(method: Method) -> dict[str, Any]:
    """The whole method without what its defaults give."""
    kept = method.model_dump(mode="json", exclude_defaults=True)
    if method.deltas:
        kept["deltas"] = [_delta(delta) for delta in method.deltas]
    if method.select:
        kept["select"] = {"what": method.select.what, **method.select.model_dump(mode="json", exclude_defaults=True)}
    return kept


def _delta(delta: Delta) -> dict[str, Any]:
    usual = Delta(at=delta.at, form=delta.form).model_dump(mode="json")
    kept = {name: value for name, value in delta.model_dump(mode="json").items() if name in ("at", "form") or value != usual[name]}
    for name in ("schedule", "allocation"):
        if group := getattr(delta, name):
            kept[name] = {"name": group.name, **group.model_dump(mode="json", exclude_defaults=True)}
    return kept


def compact(method: Method) -> Any:
    """A preset's name, {"preset", "set"}, or a whole method: the shortest that gives this method again."""
    try:
        base = load_method(method.preset) if method.preset else None
    except Refusal:
        base = None
    if base == method:
        return method.preset
    if base is None:
        return brief(method)
    for whole in (False, True):
        short = {"preset": method.preset, "set": _changes(base, method, whole)}
        try:
            if method_of(short) == method:
                return short
        except Refusal:
            continue
    return brief(method)


def _changes(base: Method, method: Method, whole: bool) -> dict[str, Any]:
    """What is to be set by path on the base; `whole`: deltas and selection as one value each."""
    before, after = base.document(), method.document()
    changes: dict[str, Any] = {}
    for name, nothing in (("deltas", []), ("select", None)) if whole else ():
        if before.pop(name) != after.pop(name):
            changes[name] = brief(method).get(name, nothing)
    return {**changes, **{path: value for path, (_, value) in differences([before, after]).items()}}


def run_document(spec: RunSpec) -> dict[str, Any]:
    """A spec as somebody would write it."""
    document = spec.document()
    usual = Training().model_dump(mode="json")
    training = {name: value for name, value in document["training"].items() if value != usual.get(name)}
    kept = {
        "model": document["model"],
        **({"quantisation": document["quantisation"]} if document["quantisation"] != "none" else {}),
        "task": document["task"],
        "further": document["further"],
        "method": compact(spec.method.model_copy(update={"deltas": spec.method.own})),
        "built_on": spec.built_on.model_dump(mode="json", exclude_defaults=True),
        "training": training,
        "combination": {name: value for name, value in (document["combination"] or {}).items() if name != "prints"},
        "seed": document["seed"],
        "tags": document["tags"],
    }
    return {name: value for name, value in kept.items() if value not in ({}, [], None)}


def as_yaml(spec: RunSpec) -> str:
    """For `python -m lab run --spec FILE`."""
    return yaml.safe_dump(run_document(spec), sort_keys=False, allow_unicode=True, width=100)


def as_command(spec: RunSpec) -> str:
    """The command line that launches this run."""
    document = run_document(spec)
    if spec.combination:
        return _combining(spec, spec.combination)
    method = document["method"]
    name, changes = (method, {}) if isinstance(method, str) else (method["preset"], method["set"]) if "set" in method else ("lora", {"select": None, **method})
    words = ["python", "-m", "lab", "run", "--model", str(document["model"]), "--method", name]
    tasks = [document["task"], *document.get("further", ())]
    if all(isinstance(task, str) for task in tasks):
        words += [word for task in tasks for word in ("--task", task)]
    else:
        changes = {**changes, "task": document["task"], **({"further": tasks[1:]} if tasks[1:] else {})}
    words += ["--quantisation", document["quantisation"]] if "quantisation" in document else []
    words += [word for path, value in changes.items() for word in ("--set", f"{path}={_flow(value)}")]
    words += [word for path, value in document.get("training", {}).items() for word in ("--set", f"training.{path}={_flow(value)}")]
    for path, value in document.get("built_on", {}).items():
        words += [f"--{path.replace('_', '-')}", ",".join(value) if isinstance(value, list) else value]
    return " ".join(map(shlex.quote, [*words, "--seed", str(document["seed"])]))


def _combining(spec: RunSpec, asked: Combination) -> str:
    """The command line that puts runs together."""
    words = ["python", "-m", "lab", "combine", *asked.runs, "--how", asked.how, "--weights", *(f"{weight:g}" for weight in asked.weights)]
    usual = {name: field.default for name, field in Combination.model_fields.items()}
    words += [word for name in ("rank", "density", "sign") if (value := getattr(asked, name)) != usual[name] for word in (f"--{name}", str(value))]
    return " ".join(map(shlex.quote, [*words, "--seed", str(spec.seed)]))


def _flow(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False) if not isinstance(value, str) or not value else value


def as_python(spec: RunSpec) -> str:
    """Python that launches this run."""
    return f"import lab\n\nrun = lab.run({pprint.pformat(run_document(spec), sort_dicts=False, width=100)})\nprint(run.state, run.result)\n"
