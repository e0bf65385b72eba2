"""Refusals in the language of the page. Rooms write their templates in English; the Chinese one is found by the English one, and takes the same values."""

from __future__ import annotations

import functools
import re
from pathlib import Path

from lab.design.method.delta import Delta
from lab.design.method.forms import FORMS
from lab.design.plain.called import as_called
from lab.design.plain.documents import bundled
from lab.design.plain.message import Message, filled, shown
from lab.design.plain.options import fields
from lab.design.plain.refusal import Refusal
from lab.design.spec.run import BuiltOn, RunSpec, Training
from lab.ui.words.table import LANGUAGES, TABLE

CHINESE: dict[str, str] = bundled(Path(__file__).parent / "refusals.zh.yaml")


def refused(language: str, problem: Refusal | str) -> str:
    """The sentence of a refusal; in English where its words have no translation, as those of another library. It names the command as it is called."""
    return as_called(_filled(language, problem.sentence if isinstance(problem, Refusal) else problem))


def _filled(language: str, message: str) -> str:
    """A text that is no message is its own key: so are the finished sentences that earlier labs kept."""
    key, values = (message.key, message.values) if isinstance(message, Message) else (message, {})
    return shown(filled(_template(language, key), values, lambda value: _filled(language, value) if isinstance(value, Message) else value))


@functools.lru_cache(4096)
def _template(language: str, key: str) -> str:
    """The template of a key in a language: by the whole of it, of a sentence within another one without its full stop, or a word that is declared elsewhere."""
    chinese = CHINESE.get(key) or CHINESE.get(f"{key}.", "").removesuffix("。") or _names().get(key.lower()) if language == "zh" else None
    return _labelled(chinese or key, language)


@functools.cache
def _labels() -> dict[str, tuple[str, str]]:
    """{an option as a file has it: (its label on pages, that in Chinese)}, of those that nobody would read as words."""
    found = {field.path.rpartition(".")[2]: (field.label, field.zh or field.label) for group in (Delta, Training, BuiltOn) for field in fields(group)}
    return {"built_on": ("built on", "基于已有运行"), **{name: labels for name, labels in found.items() if "_" in name or name == "lr"}}


def _labelled(template: str, language: str) -> str:
    """A page's own fields by their labels: `batch_size` is how a file has it. What is quoted, a path, a flag or the name of a value stays."""
    place = LANGUAGES.index(language if language in LANGUAGES else "en")
    return re.sub(
        r"(?<![\w.'/`=\-{])[a-z]+(?:_[a-z]+)*(?![\w'/`=\-]|\.\w)", lambda match: _labels().get(match[0], (match[0], match[0]))[place], template, flags=re.ASCII
    )


@functools.cache
def _names() -> dict[str, str]:
    declared = {
        name: field.zh
        for group in (Delta, Training, RunSpec)
        for field in fields(group)
        if field.zh
        for name in (field.path.replace("_", " "), field.label.lower())
    }
    named = {key: pair for key, pair in TABLE.items() if key.startswith(("label.", "dimension."))}
    options = {name.lower(): pair[1] for key, pair in named.items() for name in (key.partition(".")[2].replace("_", " "), pair[0])}
    return {**options, **declared, **{form.label.lower(): form.label_zh for form in FORMS.values()}}
