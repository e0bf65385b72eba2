"""The baseline of a frozen model under a new task head."""

from __future__ import annotations

from typing import Literal

from lab.design.method.selections.base import SelectionOptions
from lab.design.plain.refusal import Refusal


class SelectHead(SelectionOptions):
    """Nothing of the model trains, only the new task head: the baseline that every method must beat."""

    what: Literal["head"] = "head"
    counted, words = "task head alone", "the task head alone"
    weights = ""
    nothing = "There is no new task head on this model, so nothing would train: choose a method, or a classification task."
    in_own_type = False

    def problems(self, deltas):
        if deltas:
            yield Refusal("The task head trains beside every delta: take the selection away.", "select")

    def count(self, inventory, body):
        return 0, 0, 0

    def latex(self):
        return "W_{\\mathrm{head}} \\leftarrow W_{\\mathrm{head}} - \\eta\\,\\nabla\\mathcal{L}\\quad\\text{(task head alone)}"

    def look(self, kind, place=""):
        return "frozen"

    def lit(self, layers):
        return set()
