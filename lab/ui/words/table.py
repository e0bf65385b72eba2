"""Every word that pages show, in English and Chinese. Scripts get the same table; gradio gets what its own controls need."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lab.design.plain import numbers
from lab.design.plain.called import program
from lab.design.plain.documents import bundled
from lab.design.spec.families import OF
from lab.tasks import FAMILIES

if TYPE_CHECKING:
    import gradio as gr

LANGUAGES = ("en", "zh")
HERE = Path(__file__).parent
TIME_UNITS = {"d": "天", "h": "小时", "min": "分", "s": "秒"}


def _table() -> dict[str, list[str]]:
    """{key: [English, Chinese]} of every file of words here; each key stands once."""
    found: dict[str, list[str]] = {}
    for path in sorted(HERE.glob("*.yaml")):
        if not path.name.endswith(".zh.yaml"):
            words = bundled(path)
            assert not found.keys() & words.keys(), f"{path}: {sorted(found.keys() & words.keys())} stand in another file too"
            found |= words
    return found


TABLE = _table()
PRESETS: dict[str, dict[str, str]] = bundled(HERE / "presets.zh.yaml")


def of_preset(language: str, kind: str, name: str, english: str) -> str:
    """What a preset says of itself; its own English where there is no Chinese, as for presets of one's own."""
    return PRESETS[kind].get(name, english) if language == "zh" else english


def titled(language: str, english: str) -> str:
    """A title of a preset, or its licence; in English where it is a name."""
    return PRESETS["titles"].get(english, english) if language == "zh" else english


def time_words(language: str, seconds: float | None) -> str:
    """A time span: 4 min 12 s, 4 分 12 秒."""
    return time_units(language, numbers.duration(seconds))


def time_units(language: str, text: str) -> str:
    """A time span that is written already, with the units of a language."""
    return re.sub(r" (d|h|min|s)\b", lambda unit: " " + TIME_UNITS[unit[1]], text) if language == "zh" else text


def deviation(language: str, english: str) -> str:
    """Where a preset differs from its paper, in the reader's language; in English where there is no Chinese."""
    return PRESETS["deviations"].get(english, english) if language == "zh" else english


def say(language: str, key: str, **values: Any) -> str:
    """The words of a key in a language, with {name} filled in."""
    text = (TABLE.get(key) or declared()[key])[LANGUAGES.index(language)]
    return text.format(**values) if values else text


def declared() -> dict[str, list[str]]:
    """The words that families of tasks bring along, `family.<name>` and `role.<column>`, and what the lab's command is called: `lab.command`."""
    found = {"lab.command": [program(), program()]} | {f"family.{family.name}": [family.title, family.zh] for family in FAMILIES.values()}
    return found | {f"role.{column.name}": [column.label, column.zh] for family in FAMILIES.values() for column in family.columns}


def metric_name(language: str, metric: str) -> str:
    """A metric as pages show it: `rougeL` is ROUGE-L, `final f1` that of the last evaluation, `test f1` that of the test split."""
    for part in ("final", "test"):
        if metric.startswith(part + " "):
            return say(language, f"metric.{part}", metric=metric_name(language, metric.removeprefix(part + " ")))
    first, of, task = metric.partition(OF)
    if of and not metric.startswith("f1:"):
        return say(language, "metric.of", metric=metric_name(language, first), task=task)
    if metric.startswith("f1:"):
        return say(language, "curve.f1.of", label=metric[3:])
    key = "chart.eval_loss" if metric == "loss" else f"curve.eval_{metric}"
    return say(language, key) if key in TABLE else metric.replace("_", " ")


def language_of(request: gr.Request | None) -> str:
    """The language of a page: the cookie that the switch sets, else what the browser asks for first."""
    if request is None:
        return "en"
    chosen = (request.cookies or {}).get("lab_language", "")
    if chosen in LANGUAGES:
        return chosen
    asked = str((request.headers or {}).get("accept-language", "")).strip().lower()
    return "zh" if asked.startswith("zh") else "en"


def language_asked(asked: Any) -> str:
    """The language that a question of a page's script names, English where it names none."""
    return asked["language"] if isinstance(asked, Mapping) and asked.get("language") in LANGUAGES else "en"


def script_table() -> str:
    """The table as JSON that may stand inside a script element."""
    return json.dumps({**TABLE, **declared()}, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")


def gradio_table() -> gr.I18n:
    """The keys `native.*` for labels of gradio's own controls."""
    import gradio as gr  # only here: the terminal reads words too

    native = {key: pair for key, pair in TABLE.items() if key.startswith("native.")}
    chinese = {key: pair[1] for key, pair in native.items()}
    return gr.I18n(en={key: pair[0] for key, pair in native.items()}, zh=chinese, **{"zh-CN": chinese, "zh-TW": chinese})
