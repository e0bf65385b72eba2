"""Translation: WMT16 English-Romanian, and interface sentences of Debian. BLEU and chrF; beam 5, 1-200 tokens for en-ro."""

from __future__ import annotations

from lab.design.spec.families import Metric
from lab.tasks.families.writing import CHRF, Writing


class Translation(Writing):
    """Sentence in one language → sentence in another. mBART gets the spec's language codes, T5 its prefix."""

    name = "translation"
    title, zh = "Translation", "翻译"
    metrics = (Metric("bleu"), CHRF)
    prompt = "Sentence: {source}\nTranslation:"
    one_line = True
    verb = "translate"
