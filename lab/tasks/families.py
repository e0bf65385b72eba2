"""The families of tasks by name. A new one is one file and one name here."""

from __future__ import annotations

from lab.tasks.classification import Classification, Regression
from lab.tasks.commonsense import Commonsense
from lab.tasks.family import Family
from lab.tasks.instruction import Instruction
from lab.tasks.language_modelling import LanguageModelling
from lab.tasks.math_reasoning import MathReasoning
from lab.tasks.multi_label import MultiLabel
from lab.tasks.summarization import Summarization
from lab.tasks.translation import Translation

FAMILIES: dict[str, type[Family]] = {
    family.name: family
    for family in (Classification, MultiLabel, Regression, Summarization, Translation, LanguageModelling, MathReasoning, Commonsense, Instruction)
}  # fmt: skip
