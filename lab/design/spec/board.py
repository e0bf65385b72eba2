"""Boards (presets/boards): the papers' questions as experiments that finish on a small machine, and what the papers claim.

A board has cells: its rows (methods) at each of its settings. For every cell a few learning rates are tried with the first seed, the best by the
validation split is taken, and the other seeds run at it; what counts is the test split. A board of memory has plans in place of runs.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import model_validator

from lab.design.plain.options import Options, option, validate
from lab.design.plain.refusal import Refusal
from lab.design.presets import catalogue, tables
from lab.design.presets.tables import PaperTable, Published
from lab.design.spec.fingerprint import fingerprint
from lab.design.spec.run import RunSpec, spec_of
from lab.design.spec.sweep import apply

BETWEEN = " · "  # in a cell's key, a row and a setting


class BoardRow(Options):
    """A method of a board: a row of the paper's table, or a preset, changed to the size of the board's model."""

    label: str = option(help="its name on the board")
    of: str = option("", help="a row of the board's table, by its label: its method, changes and published numbers")
    method: str = option("", help="a method preset, where it is no row of a table")
    set: dict[str, Any] = option(default_factory=dict, help="changes of the method by path, over those of the table's row")
    published: Published | None = option(None, help="where its numbers are, where it is no row of a table")


class BoardSetting(Options):
    """What is changed for all rows: so many training rows, another batch."""

    label: str = option("", help="its name on the board")
    set: dict[str, Any] = option(default_factory=dict, help="changes of the spec by path")
    published: str = option("", help="the task under which the paper's numbers of it are")


class Claim(Options):
    """Something that a paper says of two cells, which a board's results agree with or not."""

    says: str = option(help="the claim, one sentence")
    says_zh: str = option(help="the same in Chinese")
    better: str = option(help="the cell that is better, by its key")
    than: str = option(help="the one that it is compared with")
    within: float | None = option(None, gt=0, help="the claim is that they differ by less than this: points of the metric, or per cent of memory")
    times: float | None = option(None, gt=0, help="of memory: the factor that the paper has between them")
    why: str = option("", help="why this machine may find something else")


class Board(Options):
    """One question of a paper."""

    title: str = option(help="the question, short")
    title_zh: str = option(help="the same in Chinese")
    paper: str = option("", help="of presets/papers")
    cite: str = option("", help="what is cited, where presets/papers has no such paper")
    where: str = option(help="the table or figure")
    measure: Literal["test", "forgetting", "memory"] = option(
        "test", help="what is compared: the test split, the loss of a probe, or the planned peak step memory"
    )
    table: str = option("", help="of presets/sweeps, whose rows these are")
    published: str = option("", help="the task of the paper's numbers that stand beside")
    metric: str = option("", help="their metric")
    model: str = option("minilm-l6", help="a model preset")
    task: str = option("sentiment-rt", help="a task preset")
    training: dict[str, Any] = option(default_factory=dict, help="training options")
    plan: dict[str, Any] = option(default_factory=dict, help="of memory: tokens, target_tokens and dtype of what is planned")
    seeds: int = option(3, ge=1, le=100, help="runs of each cell")
    rates: list[float] = option(default_factory=lambda: [0.3, 1.0, 3.0], min_length=1, help="factors of the learning rate of a preset that are tried")
    rows: list[BoardRow] = option(min_length=2, help="its methods")
    settings: list[BoardSetting] = option(default_factory=lambda: [BoardSetting()], min_length=1, help="what all rows run at")
    claims: list[Claim] = option(default_factory=list, help="what the paper says")
    notes: str = option("", help="how it is smaller than the paper's")

    @model_validator(mode="after")
    def _named(self) -> Board:
        keys = [cell.key for cell in self.cells]
        if len(set(keys)) < len(keys):
            raise Refusal("Two cells of this board have one name.", "rows")
        for claim in self.claims:
            for key in (claim.better, claim.than):
                if key not in keys:
                    raise Refusal("'{key}' is no cell of this board; there are {keys}.", "claims", key=key[:80], keys=", ".join(keys))
        for row in self.rows:
            if bool(row.of) == bool(row.method):
                raise Refusal("{row} is a row of the table, or a preset.", "rows", row=row.label)
            if row.of and (self._table is None or self._table.row(row.of) is None):
                raise Refusal("There is no row '{row}' in the table {table}.", "rows", row=row.of[:80], table=self.table or "of this board, which has none")
        return self

    @property
    def _table(self) -> PaperTable | None:
        return tables.load(self.table) if self.table else None

    @property
    def cells(self) -> list[Cell]:
        """Row by row, at each setting."""
        return [Cell(row, setting) for row in self.rows for setting in self.settings]

    def method(self, row: BoardRow) -> dict[str, Any]:
        """A row's method as a spec may hold it, under the row's name."""
        source = self._table.row(row.of) if self._table and row.of else None
        preset, changes = (source.method, source.set) if source else (row.method, {})
        return {"preset": preset, "set": {"name": row.label, **changes, **row.set}}

    def published_of(self, row: BoardRow) -> Published | None:
        """Where the paper's numbers of a row are."""
        source = self._table.row(row.of) if self._table and row.of else None
        return source.published if source else row.published


@dataclass(frozen=True)
class Cell:
    """A row at a setting."""

    row: BoardRow
    setting: BoardSetting

    @property
    def key(self) -> str:
        """Its name on the board: the row's, and the setting's where there are several."""
        return BETWEEN.join(filter(None, (self.row.label, self.setting.label)))


@dataclass(frozen=True)
class BoardRun:
    """A run of a cell."""

    cell: Cell
    rate: float
    seed: int
    spec: RunSpec
    print: str  # fingerprint of the spec

    @property
    def key(self) -> str:
        """Under which its result is kept."""
        return f"{self.cell.key} | {self.rate:g} | {self.seed}"


def load(name: str) -> Board:
    """A board by its preset's name. Raises `Refusal`."""
    catalogue.read("boards", name)  # an unknown one is refused with the nearest that there are
    return _load(name)


@functools.cache
def _load(name: str) -> Board:
    return validate(Board, catalogue.read("boards", name))


def names() -> tuple[str, ...]:
    """The boards there are."""
    return catalogue.names("boards")


def tag(name: str) -> str:
    """What the runs of a board are tagged with."""
    return f"board-{name}"


def job(name: str, cell: Cell, rate: float, seed: int) -> BoardRun:
    """A run of a cell at so many times the preset's own learning rate."""
    return _job(name, load(name).cells.index(cell), rate, seed)


@functools.lru_cache(maxsize=4096)
def _job(name: str, place: int, rate: float, seed: int) -> BoardRun:
    board = load(name)
    cell = board.cells[place]
    training = {**board.training, **({"test": True} if board.measure == "test" else {})}
    base = {"model": board.model, "task": board.task, "method": board.method(cell.row), "training": training, "seed": seed, "tags": [tag(name)]}
    document = apply(base, cell.setting.set)
    lr = float(f"{spec_of(document).lr * rate:.3g}")
    found = spec_of({**document, "training": {**document["training"], "lr": lr}})
    return BoardRun(cell, rate, seed, found.model_copy(update={"name": f"{cell.key} · lr {lr:g} · seed {seed}"[:120]}), fingerprint(found))


def chosen_rate(name: str, cell: Cell, kept: Mapping[str, Mapping[str, Any]]) -> float | None:
    """The factor whose run with the first seed is best on the validation split; None while one is missing. Of equal ones, that nearest to 1."""
    board = load(name)
    if len(board.rates) == 1:
        return board.rates[0]
    found = [(rate, result_of(job(name, cell, rate, 0), kept)) for rate in board.rates]
    if any(result is None for _, result in found):
        return None
    known = [(rate, result["validation"], result["greater"]) for rate, result in found if result is not None and result["validation"] is not None]
    if not known:
        return None
    return max(known, key=lambda one: (one[1] if one[2] else -one[1], -abs(one[0] - 1)))[0]


def result_of(one: BoardRun, kept: Mapping[str, Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """What was kept of a run; None where there is nothing, or it was of another spec."""
    found = kept.get(one.key)
    return found if found is not None and found.get("spec") == one.print else None


def due(name: str, kept: Mapping[str, Mapping[str, Any]]) -> list[BoardRun]:
    """The runs that can begin now and have no result: learning rates cell by cell, then the other seeds, one after another over all cells."""
    board = load(name)
    first = [job(name, cell, rate, 0) for cell in board.cells for rate in board.rates if chosen_rate(name, cell, kept) is None or len(board.rates) == 1]
    rates = {cell.key: chosen_rate(name, cell, kept) for cell in board.cells}
    later = [job(name, cell, rate, seed) for seed in range(1, board.seeds) for cell in board.cells if (rate := rates[cell.key]) is not None]
    return [one for one in (*first, *later) if result_of(one, kept) is None]


def size(name: str) -> int:
    """How many runs the whole board is."""
    board = load(name)
    return len(board.cells) * (len(board.rates) + board.seeds - 1)
