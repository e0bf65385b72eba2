"""YAML and JSON that somebody else wrote, read with limits: plain values only, and never more of them than a spec can need.

PyYAML's safe loader builds no objects, but a few hundred bytes of it can still stand for billions of values (an alias of an
alias of an alias ...), contain themselves, or nest until Python gives up. `read` counts what the aliases stand for before
anything is built.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from lab.design.plain.message import word
from lab.design.plain.refusal import Refusal

LETTERS = 256 * 1024  # most letters of a document
VALUES = 20_000  # most values, aliases counted as what they stand for
DEPTH = 40  # most levels
DIGITS = 100  # most letters of a number: Python refuses to print much longer ones
_PARSER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml's, of which a PyYAML that was built without it has none


def bundled(path: Path) -> Any:
    """The value of a YAML file that comes with the lab or a plugin: without the limits, and ten times as fast, as every process reads some when it starts."""
    return yaml.load(path.read_text(encoding="utf-8"), _PARSER)


def read(text: str, what: str = "The document", field: str = "") -> Any:
    """The plain value of a YAML or JSON text. Raises Refusal: not YAML, too long, too many values, too deep, or containing itself."""
    if len(text) > LETTERS:
        raise Refusal("{what} has {size} KiB; at most {most} KiB are read.", field, what=word(what), size=len(text) // 1024, most=LETTERS // 1024)
    loader = None
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is None:
            return None
        if _count(node, {}) > VALUES:
            raise _TooMany
        return loader.construct_document(node)
    except _TooDeep:
        raise Refusal("{what} has more than {most} levels.", field, what=word(what), most=DEPTH) from None
    except _TooMany:
        raise Refusal("{what} stands for more than {most:,} values.", field, what=word(what), most=VALUES) from None
    except _Endless:
        raise Refusal("{what} contains itself.", field, what=word(what)) from None
    except Refusal:
        raise
    except (yaml.YAMLError, ValueError, ArithmeticError, AttributeError, TypeError, LookupError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        problem = getattr(error, "problem", None)
        if mark is None or not problem:
            raise Refusal("{what} is not plain YAML or JSON.", field, what=word(what)) from None
        raise Refusal("{what} is not plain YAML or JSON (line {line}: {problem}).", field, what=word(what), line=mark.line + 1, problem=problem) from None
    finally:
        if loader is not None:
            loader.dispose()


class _TooDeep(Exception):
    pass


class _TooMany(Exception):
    pass


class _Endless(Exception):
    pass


class _Loader(yaml.SafeLoader):
    """The safe loader, which gives up at DEPTH levels (its own cost grows with the square of them) and at VALUES values."""

    depth = values = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        self.depth, self.values = self.depth + 1, self.values + 1
        if self.depth > DEPTH:
            raise _TooDeep
        if self.values > VALUES:
            raise _TooMany
        try:
            return super().compose_node(parent, index)
        finally:
            self.depth -= 1


def _count(node: yaml.Node, known: dict[int, int | None]) -> int:
    """How many values a node stands for, aliases counted each time. `known`: node id → its count, None while it is being counted."""
    if id(node) in known:
        counted = known[id(node)]
        if counted is None:
            raise _Endless
        return counted
    known[id(node)] = None
    if isinstance(node, yaml.ScalarNode) and node.tag.endswith((":int", ":float")) and len(node.value) > DIGITS:
        raise ValueError("no number has so many digits")
    parts = [] if isinstance(node, yaml.ScalarNode) else [part for item in node.value for part in (item if isinstance(item, tuple) else (item,))]
    known[id(node)] = total = 1 + sum(_count(part, known) for part in parts)
    return total
