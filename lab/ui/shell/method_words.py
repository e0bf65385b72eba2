"""A method in words and formulas: its equations as Markdown, and the named method that is nearest."""

from __future__ import annotations

from lab.design.body.anatomy import Anatomy
from lab.design.figure import equation
from lab.design.method.delta import Method
from lab.design.method.nearest import nearest
from lab.ui.words.table import TABLE, say


def equations(method: Method, body: Anatomy | None = None) -> str:
    """The method's equations on a model as Markdown with display LaTeX."""
    return "\n\n".join(f"$${line}$$" for line in equation.latex(method, body))


def near(method: Method, language: str) -> str:
    """A sentence on the named method that is nearest, and the step that leads there."""
    found = nearest(method)[0]
    if not found.steps:
        return say(language, "near.same", name=found.name)
    words = [TABLE.get(f"dimension.{step.dimension}", [step.dimension] * 2)[language == "zh"] for step in found.steps]
    if len(found.steps) == 1 and found.steps[0].before and found.steps[0].after:
        return say(language, "near.step", name=found.name, dimension=words[0], before=found.steps[0].before, after=found.steps[0].after)
    joined = ("、" if language == "zh" else ", ").join(dict.fromkeys(words))
    return say(language, "near.steps", name=found.name, count=len(words), dimensions=joined)
