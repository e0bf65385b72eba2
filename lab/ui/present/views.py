"""What the stage shows of a point of the space, and the points that one step along each dimension leads to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lab.design.body.anatomy import anatomy
from lab.design.figure.figure import figure
from lab.design.method import walking
from lab.design.method.compositions import COMPOSITIONS
from lab.design.method.count import count_on
from lab.design.method.delta import Method
from lab.design.method.forms import FORMS
from lab.design.method.insertions import INSERTIONS
from lab.design.method.named import method_of
from lab.design.plain import numbers
from lab.design.plain.refusal import Refusal
from lab.design.presets import catalogue, own
from lab.design.spec.links import link_of_method, parts_of
from lab.models import resolve
from lab.ui.shell.method_words import equations, near
from lab.ui.words.refusals import refused
from lab.ui.words.table import language_asked, of_preset, say

FIRST, MODEL = "lora", "minilm-l6"
WORDS = {"form": "functional form", "at": "modified representation", "insertion": "insertion form", "composition": "composition"}


def walk(asked: Any) -> dict[str, Any]:
    """The stage for {"method": a preset's name or a document, or "link": the parameters of a design's address, "model", "delta", "language"}.

    {"link": the parameters of the method's address, "name", "near", "summary", "figure", "equation", "count", "method": the document, "deltas": how many,
    "delta", "dimensions": [{"name", "label", "value", "steps": [{"value", "label", "method"}]}], "presets": [[name, title]]}, or {"wrong": a sentence}.
    """
    asked = asked if isinstance(asked, Mapping) else {}
    language = language_asked(asked)
    try:
        linked = parts_of(asked["link"]) if asked.get("link") else {}
        method = method_of(asked.get("method") or linked.get("method") or FIRST)
        method = method if method.preset else walking.named(method)
        spec = resolve(str(asked.get("model") or MODEL))
        body = anatomy(spec.config)
        count = count_on(method, body, spec.inventory) if spec.inventory else None
    except Refusal as problem:
        return {"wrong": refused(language, problem)}
    index = asked.get("delta") if isinstance(asked.get("delta"), int) and 0 <= asked["delta"] < len(method.deltas) else 0
    words = (
        say(language, "present.count", weights=numbers.weights(count.trainable), percent=numbers.percent(count.percent), total=numbers.weights(count.total))
        if count
        else ""
    )
    return {
        "link": link_of_method(method), "name": method.name, "near": "" if method.preset else near(method, language), "summary": of_preset(language, "methods", method.preset or "", method.summary),
        "figure": figure(method, body, language), "equation": equations(method, body), "count": words, "method": _document(method), "deltas": len(method.deltas), "delta": index,
        "dimensions": [_dimension(method, index, name, body, language) for name in walking.DIMENSIONS] if method.deltas else [],
        "presets": [[name, name] for name in (*catalogue.names("methods"), *own.names("methods"))],
    }  # fmt: skip


def _document(method: Method) -> Any:
    """A preset by its name where it is one, so that its words come along; else the document."""
    document = method.model_dump(mode="json", include={"deltas", "select", "training", "name"})
    return method.preset if method.preset and method_of(method.preset).deltas == method.deltas else document


def _dimension(method: Method, index: int, name: str, body: Any, language: str) -> dict[str, Any]:
    value = walking.place(method.deltas[index], name)
    found = walking.steps(method, index, name, body)
    return {"name": name, "label": say(language, f"dimension.{WORDS[name]}"), "value": value,
            "steps": [{"value": step.value, "label": _label(name, step.value, language), "method": step.method.model_dump(mode="json", include={"deltas", "select", "training"})}
                      for step in found]}  # fmt: skip


def _label(dimension: str, value: str, language: str) -> str:
    kinds: dict[str, Mapping[str, Any]] = {"form": FORMS, "insertion": INSERTIONS, "composition": COMPOSITIONS}
    one = kinds.get(dimension, {}).get(value)
    if one is None:
        return value
    return str(getattr(one, "label_zh" if language == "zh" else "label", "") or value)
