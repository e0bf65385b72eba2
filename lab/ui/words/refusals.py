"""Refusals in the language of the page. Rooms write their sentences in English; the Chinese is found by the sentence's template."""

from __future__ import annotations

import functools
import re
from pathlib import Path

from lab.design.method.delta import Delta
from lab.design.method.forms import FORMS
from lab.design.plain.called import as_called
from lab.design.plain.documents import bundled
from lab.design.plain.options import fields
from lab.design.plain.refusal import Refusal
from lab.design.spec.run import BuiltOn, RunSpec, Training
from lab.ui.words.table import LANGUAGES, TABLE

CHINESE: dict[str, dict[str, str]] = bundled(Path(__file__).parent / "refusals.zh.yaml")


def refused(language: str, problem: Refusal | str) -> str:
    """The sentence of a refusal; in English where its words have no translation, as those of another library. It names the command as it is called."""
    sentence = problem.sentence if isinstance(problem, Refusal) else problem
    return as_called(_labelled(_chinese(sentence) if language == "zh" else sentence, language))


@functools.cache
def _labels() -> dict[str, tuple[str, str]]:
    """{an option as a file has it: (its label on pages, that in Chinese)}, of those that nobody would read as words."""
    found = {field.path.rpartition(".")[2]: (field.label, field.zh or field.label) for group in (Delta, Training, BuiltOn) for field in fields(group)}
    return {"built_on": ("built on", "基于已有运行"), **{name: labels for name, labels in found.items() if "_" in name or name == "lr"}}


def _labelled(sentence: str, language: str) -> str:
    """A page's own fields by their labels: `batch_size` is how a file has it. What is quoted, a path or a flag stays."""
    place = LANGUAGES.index(language if language in LANGUAGES else "en")
    return re.sub(
        r"(?<![\w.'/`=\-])[a-z]+(?:_[a-z]+)*(?![\w'/`=\-]|\.\w)", lambda match: _labels().get(match[0], (match[0], match[0]))[place], sentence, flags=re.ASCII
    )


@functools.lru_cache(4096)
def _chinese(sentence: str) -> str:
    if whole := _found("sentences", sentence):
        return whole
    parts = re.split(r"(?<=\.) ", sentence)
    found = [_found("sentences", one) for one in parts]
    return "".join(found) if all(found) else " ".join(chinese or one for one, chinese in zip(parts, found, strict=True))


def _found(kind: str, text: str) -> str:
    if text in CHINESE[kind]:
        return CHINESE[kind][text].format()
    for pattern, quoted, chinese in _patterns(kind):
        if match := pattern.fullmatch(text):
            return chinese.format(*(part if kept else _part(part) for part, kept in zip(match.groups(), quoted, strict=True)))
    return ""


def _part(text: str) -> str:
    """What stood in a template's place: a form, an option, a phrase or a whole sentence is translated; a name or a number is not."""
    if (text[:1].isupper() or " " in text) and text.lower() in _names():  # in words: `vectors` by itself is what one writes into a file
        return _names()[text.lower()]
    listed = re.split(r" (?:and|or) ", text)
    if len(listed) > 1 and not any(" " in one for one in listed):
        return " / ".join(listed)
    if len(listed) > 1 and all(each := [_found("parts", one) for one in listed]):
        return "、".join(each)
    return _found("parts", text) or _found("sentences", text) or text


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


@functools.cache
def _patterns(kind: str) -> list[tuple[re.Pattern[str], list[bool], str]]:
    """The templates with places, those with the most words of their own first; of each place whether it is quoted: that is somebody's own word."""
    open_ones = sorted((english for english in CHINESE[kind] if "{}" in english), key=lambda english: -len(english.replace("{}", "")))
    split = {english: english.split("{}") for english in open_ones}
    return [
        (re.compile("(.+?)".join(map(re.escape, words)), re.DOTALL), [one.endswith("'") for one in words[:-1]], CHINESE[kind][english])
        for english, words in split.items()
    ]
