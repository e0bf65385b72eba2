"""The papers' tables as sweeps (presets/sweeps): their rows as methods, each beside the numbers that were published for it.

A row is crossed with what a sweep varies besides: he-2022-table-5 has five rows, with three seeds that makes fifteen runs.
"""

from __future__ import annotations

import functools
from typing import Any

from lab.design.plain.options import Options, option, validate
from lab.design.presets import catalogue


class Published(Options):
    """Which row of the paper's results."""

    method: str = option(help="as presets/papers has it")
    setting: str = option("", help="as presets/papers has it")


class Row(Options):
    """One row of a table: a preset, changed where the paper has other settings."""

    label: str = option(help="the row's name in the paper, short")
    method: str = option(help="a method preset")
    set: dict[str, Any] = option(default_factory=dict, help="changes of it by path")
    published: Published = option(help="where its numbers are")

    def document(self) -> dict[str, Any]:
        """The method as a spec may hold it, under the row's own name."""
        return {"preset": self.method, "set": {"name": self.label, **self.set}}


class Base(Options):
    """A model, a task and a training of the paper."""

    model: str = option(help="a model preset")
    task: str = option(help="a task preset")
    training: dict[str, Any] = option(default_factory=dict, help="training options")


class PaperTable(Options):
    """A table of a paper."""

    title: str = option(help="what it varies")
    title_zh: str = option(help="the same in Chinese")
    paper: str = option(help="of presets/papers")
    table: str = option(help="its number")
    notes: str = option("", help="where the sizes come from, if not from the paper")
    bases: list[Base] = option(help="where the paper ran it")
    rows: list[Row] = option(help="its rows, from top to bottom")

    def row(self, label: str) -> Row | None:
        """The row of that name."""
        return next((row for row in self.rows if row.label == label), None)


@functools.cache
def load(name: str) -> PaperTable:
    """A table by its preset's name. Raises `Refusal`."""
    return validate(PaperTable, catalogue.read("sweeps", name))


def names() -> tuple[str, ...]:
    """The tables there are; their names are also the tags of their runs."""
    return catalogue.names("sweeps")
