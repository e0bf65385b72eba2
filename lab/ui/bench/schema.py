"""What the bench's knobs are drawn from: the option declarations, the forms, the words of the dimensions, and the presets there are."""

from __future__ import annotations

import functools
from dataclasses import asdict
from typing import Any

from lab.design.method import named
from lab.design.method.compositions import COMPOSITIONS, taken
from lab.design.method.delta import Delta
from lab.design.method.forms import FORMS
from lab.design.method.insertions import INSERTIONS
from lab.design.method.insertions import taken as insertions_of
from lab.design.method.selections import SELECTIONS
from lab.design.method.settling import GROUPS
from lab.design.method.starts import LOOKS, STARTS
from lab.design.plain.options import OptionField, fields
from lab.design.plain.refusal import Refusal
from lab.design.presets import catalogue, own
from lab.design.space import KINDS, REPRESENTATIONS, SET_WORDS, SETS
from lab.design.spec.run import BuiltOn, RunSpec, Training
from lab.runs import launchers
from lab.ui.shell.draft import start
from lab.ui.words.table import TABLE, of_preset, titled

MAIN = ("form", "at", "insertion", "composition", "rank", "scale", "scale_start", "alpha", "rank_scaling", "nonlinearity", "init", "layers", "stacks")
OWN = (
    "biases",
    "core",
    "factors",
    "vectors",
    "alpha",
    "rank_scaling",
    "encoder",
    "encoder_width",
    "positions",
    "token_positions",
    "text",
    "inner_dropout",
    "blocks",
    "factor",
    "decompose_both",
)  # only some forms understand these
TRAINING_MAIN = ("steps", "lr", "batch_size")
LOGARITHMIC = ("rank",)


@functools.lru_cache(maxsize=2)
def schema(language: str = "en") -> dict[str, Any]:
    """Everything that bench/knobs.js needs to draw the form."""
    return {
        "start": start(),
        "models": [_model(name, language) for name in catalogue.names("models")],
        "tasks": sorted((_task(name, language) for name in catalogue.names("tasks")), key=lambda item: item["group"]),
        "methods": sorted((_method(name, language) for name in catalogue.names("methods")), key=lambda item: list(KINDS).index(item["kind"])),
        "delta": [_field(field) for field in fields(Delta) if not field.path.startswith(("schedule", "allocation", "frozen_from"))],
        "training": [_field(field) for field in fields(Training)],
        "built_on": [_field(field) for field in fields(BuiltOn)],
        "identity": [_field(field) for field in fields(RunSpec) if field.path in ("quantisation", "seed", "name")],
        "main": MAIN, "own": OWN, "training_main": TRAINING_MAIN, "accelerators": _accelerators(),
        "forms": {name: _form(form) for name, form in FORMS.items()},
        "compositions": {name: {"options": one.options} for name, one in COMPOSITIONS.items()},
        "insertions": {name: {"reads_h": one.reads_h} for name, one in INSERTIONS.items()},
        "words": _dimension_words(), "sets": SETS,
        "selections": {what: {"fields": [_field(f, what) for f in fields(kind) if f.path != "what"]} for what, kind in SELECTIONS.items()},
        "groups": {name: {kind: {"label": [one.label, one.label_zh], "forms": one.forms, "fields": [_field(f, kind) for f in fields(one) if f.path != "name"]}
                          for kind, one in kinds.items()} for name, kinds in GROUPS.items()},
        "looks": [name for name, one in {**STARTS, **GROUPS["allocation"]}.items() if one.reads in LOOKS],
        "fresh": Delta(at=["ffn.out"], form="bottleneck", rank=16).model_dump(mode="json"),
    }  # fmt: skip


def _accelerators() -> int:
    """How many accelerators a run may train on together where it would run."""
    try:
        return launchers.chosen().accelerators
    except Refusal:
        return 0


def _word(language: str, key: str) -> str:
    return TABLE[key][language == "zh"] if key in TABLE else key.rsplit(".", 1)[-1]


def _field(field: OptionField, group: str = "") -> dict[str, Any]:
    """A field with its Chinese words: those of its own group first (`help.adalora.start`), else those of its path."""
    several = (*REPRESENTATIONS, *SETS) if field.path == "at" else field.choices if field.kind == "list" else ()
    chinese = lambda what: TABLE.get(f"{what}.{group}.{field.path}", TABLE.get(f"{what}.{field.path}", ["", ""]))[1]  # noqa: E731
    return {
        **asdict(field), "default": _scalar(field.default), "choices": several or field.choices, "several": bool(several),
        "log": field.path in LOGARITHMIC, "help_zh": chinese("help") or field.help,
        "zh": field.zh or chinese("label"),
    }  # fmt: skip


def _scalar(value: Any) -> Any:
    return value if isinstance(value, (str, int, float, bool, type(None))) else None


def _form(form: Any) -> dict[str, Any]:
    kept = ("label", "label_zh", "help", "rank_label", "rank_symbol", "nonlinearities", "inits", "options", "has_rank")
    return {name: getattr(form, name) for name in kept} | {"compositions": taken(form), "insertions": insertions_of(form)}


def _dimension_words() -> dict[str, dict[str, list[str]]]:
    """{field: {value: [English, Chinese, help, Chinese help]}} for the values of the dimensions."""
    words = {field: {} for field in ("composition", "insertion", "at", "stacks", "nonlinearity", "init")}
    for field, group in (("composition", COMPOSITIONS), ("insertion", INSERTIONS)):
        words[field] = {name: [one.label, one.label_zh, one.help, one.help_zh] for name, one in group.items()}
    words["init"] = {name: [name, name, one.help, one.help_zh] for name, one in STARTS.items()}
    for name, word in {**REPRESENTATIONS, **SET_WORDS}.items():
        words["at"][name] = [*TABLE.get(f"at.{name}", [name, name]), word.help, word.help_zh or word.help]
    for field in ("stacks", "nonlinearity"):
        for key in (key for key in TABLE if key.startswith(f"{field}.")):
            words[field][key.split(".", 1)[1]] = [*TABLE[key], "", ""]
    return words


def _model(name: str, language: str) -> dict[str, str]:
    document = catalogue.read("models", name)
    return {
        "name": name,
        "title": titled(language, document.get("title", name)),
        "kind": document["kind"],
        "group": _word(language, f"kind.{document['kind']}"),
        "help": of_preset(language, "models", name, document.get("description", "")),
    }


def _task(name: str, language: str) -> dict[str, str]:
    document = catalogue.read("tasks", name)
    return {
        "name": name,
        "title": titled(language, document.get("title") or name),
        "group": _word(language, f"family.{document['family']}"),
        "help": of_preset(language, "tasks", name, document.get("description", "")),
    }


def own_methods(language: str) -> list[dict[str, str]]:
    """The lab's own presets, as the picker shows them; a file that cannot be read is left out."""
    found = []
    for name in own.names("methods"):
        try:
            found.append({**_method(name, language), "group": _word(language, "method.own")})
        except (Refusal, AttributeError):
            continue
    return found


def own_tasks(language: str) -> list[dict[str, str]]:
    """The imported tasks, as the picker shows them; one that cannot be read is left out."""
    found = []
    for name in own.names("tasks"):
        try:
            found.append({**_task(name, language), "group": _word(language, "task.own")})
        except (Refusal, LookupError, AttributeError):
            continue
    return found


def _method(name: str, language: str) -> dict[str, str]:
    document = catalogue.read("methods", name)
    method = named.method_of(name)
    return {
        "name": name,
        "title": titled(language, document.get("name", name)),
        "kind": method.kind,
        "group": _word(language, f"method.{method.kind}"),
        "help": of_preset(language, "methods", name, document.get("summary", "")),
    }
