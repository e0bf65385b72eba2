"""A design as the query of an address, and back: `link=1&model=minilm-l6&task=sentiment-rt&method=lora&method.deltas.0.rank=16&training.steps=150`.

One format for all pages. What is as a preset or a default has it is left out, so a preset is its name. A method that no preset of the package is near enough to
stands whole under `method`, as JSON, and travels to a lab that lacks the preset. Values are JSON, except for text that could not be mistaken for it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from lab.design.method.delta import Method
from lab.design.method.named import method_of
from lab.design.plain.refusal import Refusal
from lab.design.presets import catalogue
from lab.design.spec.run import RunSpec, spec_of
from lab.design.spec.writing import brief, compact, run_document

VERSION = "1"  # of the format: `link=1` says that the address is a whole design, in which what is not named is as by default
PARTS = ("model", "quantisation", "task", "further", "method", "built_on", "training", "seed", "name", "tags")
GROUPS = ("method", "built_on", "training")  # whose options are named by path: training.steps
LONGEST = 20_000  # characters


def link_of(spec: RunSpec, name: str = "") -> dict[str, str]:
    """The parameters of a whole design. `name`: what somebody called it (a spec without a name gets one)."""
    document = {**run_document(spec), "name": name}
    found = {"link": VERSION}
    for part in PARTS:
        if part == "method":
            found |= link_of_method(spec.method.model_copy(update={"deltas": spec.method.own}))
        elif part in GROUPS:
            found |= {f"{part}.{option}": _text(value) for option, value in document.get(part, {}).items()}
        elif document.get(part):  # seed 0, no name and no tags are the defaults
            found[part] = _text(document[part])
    return found


def link_of_method(method: Method) -> dict[str, str]:
    """The parameters of a method alone: its name and what differs from it, or the whole of it."""
    short = compact(method)
    if isinstance(short, str):
        short = {"preset": short, "set": {}}
    if "set" not in short or short["preset"] not in catalogue.names("methods"):
        return {"method": _text(brief(method))}
    return {"method": _text(short["preset"]), **{f"method.{path}": _text(value) for path, value in short["set"].items()}}


def parts_of(link: Any) -> dict[str, Any]:
    """What the parameters of an address name, as parts of a run's document, in which the method is whole.

    Raises `Refusal` for parameters of another version, that there are not, or that are no design.
    """
    named = link if isinstance(link, Mapping) else {"": link}
    if not all(isinstance(one, str) for pair in named.items() for one in pair) or sum(len(path) + len(text) for path, text in named.items()) > LONGEST:
        raise Refusal("The address is no design: it has more than {most:,} characters, or not text.", "link", most=LONGEST)
    if named.get("link", VERSION) != VERSION:
        raise Refusal("The address is a design of another version of the lab.", "link")
    parts: dict[str, Any] = {}
    for path, text in named.items():
        part, _, option = path.partition(".")
        if path == "link":
            continue
        if part not in PARTS or bool(option) > (part in GROUPS) or (not option and part in GROUPS[1:]):
            raise Refusal("There is no option '{path}'.", "link", path=path[:80])
        if option:
            parts.setdefault(f"{part}.", {})[option] = _value(text)
        else:
            parts[part] = _value(text)
    changes = parts.pop("method.", {})
    if "method" in parts or changes:
        parts["method"] = method_of({"preset": parts.get("method", ""), "set": changes} if changes else parts["method"]).document()
    parts |= {part: parts.pop(f"{part}.") for part in GROUPS[1:] if f"{part}." in parts}
    document = spec_of({"model": "any", "task": "any", "method": Method(), **parts}).document()
    return {part: value if part in GROUPS else document[part] for part, value in parts.items()}


def _text(value: Any) -> str:
    if isinstance(value, str) and _value(value) == value:
        return value
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text
