"""What a board found, beside what its paper found: a verdict on each claim, and the page of all boards (docs/findings.md)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from lab.design.plain import numbers, peaks
from lab.design.presets import catalogue
from lab.design.spec import board as boards
from lab.design.spec.board import Board, Cell, Claim
from lab.results.published import Point, points
from lab.results.statistics import LEVEL, Pairs, pairwise

Verdict = Literal["agrees", "does not agree", "cannot be decided", "open"]
VERDICTS: tuple[Verdict, ...] = ("agrees", "does not agree", "cannot be decided", "open")
Kept = Mapping[str, Mapping[str, Any]]
NEAR = 0.05  # of a factor between two memories: the share by which it may be missed


@dataclass(frozen=True)
class CellResult:
    """What a cell came to: the values of its seeds (NaN: not yet), at the factor of the learning rate that was taken."""

    cell: Cell
    rate: float | None
    values: list[float]
    lr: float | None
    trainable: int | None
    percent: float | None
    metric: str
    greater: bool
    stalled: int = 0  # of the values, those of runs that learned nothing

    @property
    def known(self) -> list[float]:
        """The values there are."""
        return [value for value in self.values if math.isfinite(value)]


@dataclass(frozen=True)
class Finding:
    """A claim and what was found of it. `effect`, `low`, `high`: better minus than, in the measure's own unit and towards better; NaN where there is none.

    `p`: of the test that the verdict is by, corrected for the board's claims; NaN for a claim that is judged by its interval.
    """

    claim: Claim
    verdict: Verdict
    effect: float
    low: float
    high: float
    seeds: int
    published: float | None  # the paper's own difference
    p: float = math.nan


def measured(name: str, kept: Kept) -> list[CellResult]:
    """Every cell of a board as far as it is known."""
    board, found = boards.load(name), []
    for cell in board.cells:
        rate = boards.chosen_rate(name, cell, kept)
        rows = [boards.result_of(boards.job(name, cell, rate, seed), kept) for seed in range(board.seeds)] if rate is not None else [None] * board.seeds
        values = [math.nan if row is None or row["value"] is None else float(row["value"]) for row in rows]
        one: Mapping[str, Any] = next((row for row in rows if row is not None), {})
        greater = bool(one.get("greater", True)) if board.measure == "test" else False
        found.append(
            CellResult(
                cell,
                rate,
                values,
                one.get("lr"),
                one.get("trainable"),
                one.get("percent"),
                str(one.get("metric") or ""),
                greater,
                sum(bool(row and row.get("stalled")) for row in rows),
            )
        )
    return found


def findings(name: str, kept: Kept) -> list[Finding]:
    """A verdict on each claim of a board.

    By the paired t test over the seeds of both cells, corrected by Holm for all pairs that the claims name: a claim of a difference agrees where the test
    finds one that way, and does not where it finds one the other way. A claim of no difference larger than d agrees where the 95 % interval is
    within ±d, and does not where it is wholly outside. All else cannot be decided.
    """
    board, cells = boards.load(name), measured(name, kept)
    place = {each.cell.key: number for number, each in enumerate(cells)}
    asked = [(place[claim.better], place[claim.than]) for claim in board.claims]
    allowed = np.zeros((len(cells), len(cells)), bool)
    for one, other in asked:
        allowed[one, other] = allowed[other, one] = True
    pairs = pairwise(np.array([each.values for each in cells]), allowed=allowed)
    return [_finding(board, claim, cells[one], cells[other], pairs, (one, other)) for claim, (one, other) in zip(board.claims, asked, strict=True)]


def _finding(board: Board, claim: Claim, one: CellResult, other: CellResult, pairs: Pairs, at: tuple[int, int]) -> Finding:
    published = _difference(board, one.cell, other.cell)
    whole = all(math.isfinite(value) for value in (*one.values, *other.values))
    if not whole:
        return Finding(claim, "open", math.nan, math.nan, math.nan, 0, published)
    if board.measure == "memory":
        ratio = other.values[0] / one.values[0]
        factor = claim.times or 1.0
        verdict: Verdict = "agrees" if abs(ratio / factor - 1) <= NEAR or (claim.times is None and ratio > 1) else "does not agree"
        return Finding(claim, verdict, ratio, ratio, ratio, 1, published)
    sign = 1.0 if one.greater else -1.0
    effect, low, high = (sign * float(getattr(pairs, field)[at]) for field in ("effect", "low", "high"))
    low, high = min(low, high), max(low, high)
    unit, p = 100.0 if board.measure == "test" else 1.0, math.nan
    if claim.within is not None:
        bound = claim.within / unit
        within, outside = -bound < low and high < bound, low > bound or high < -bound
        verdict = "agrees" if within else "does not agree" if outside else "cannot be decided"
    else:
        p = float(pairs.adjusted[at])
        verdict = "cannot be decided" if not p < LEVEL else "agrees" if effect > 0 else "does not agree"
    return Finding(claim, verdict, effect, low, high, int(pairs.n[at]), published, p)


# -- the paper's numbers -------------------------------------------------------------------------------------------------------------


def published_of(board: Board, cell: Cell) -> float | None:
    """The paper's number of a cell; None where it has none."""
    where, task = board.published_of(cell.row), cell.setting.published or board.published
    if where is None or not board.paper:
        return None
    cite = catalogue.read("papers", board.paper).get("cite", board.paper)
    found: list[Point] = [
        point
        for point in points()
        if (point.cite, point.method, point.setting, point.task, point.metric) == (cite, where.method, where.setting, task, board.metric)
    ]
    return found[0].value if found else None


def _difference(board: Board, one: Cell, other: Cell) -> float | None:
    mine, theirs = published_of(board, one), published_of(board, other)
    return None if mine is None or theirs is None else mine - theirs


# -- the page --------------------------------------------------------------------------------------------------------------------------


def page(kept: Mapping[str, Kept], results: str = "benchmarks/boards", file: str = "docs/findings.md", command: str = "python -m lab board") -> str:
    """All boards as Markdown. `kept`: the results of each board, by its name, as they are in the folder `results`; `file`: what is written."""
    found = {name: findings(name, kept.get(name, {})) for name in boards.names()}
    counted = {verdict: sum(one.verdict == verdict for each in found.values() for one in each) for verdict in VERDICTS}
    text = [
        "# Findings: what the papers say, and what this machine finds",
        "",
        f"Written by `{command} --results {results} --write {file}` from the results in {results}. Each board asks a paper's",
        "question again at a size that two cores finish: a small encoder, short runs, one task. No result is tuned to agree: for each method the best of",
        "the tried learning rates by the validation split with one seed is taken, all seeds run at it, and what counts is the test split. Verdicts are of the",
        "paired t test over seeds, corrected by Holm for the claims of a board, at 95 %; *cannot be decided* says that the seeds differ by more than the methods.",
        "A run that learned nothing counts with what it stayed at; in brackets the lowest and the highest seed, which show a rate that was good for one seed alone.",
        "Intervals are of one claim by itself, p is corrected: so an interval may leave zero out where p is above 0.05.",
        "",
        " · ".join(f"{counted[verdict]} {verdict}" for verdict in VERDICTS) + f", of {sum(counted.values())} claims.",
    ]
    for name, each in found.items():
        text += ["", *_section(name, kept.get(name, {}), each, f"{command} {name} --results {results}")]
    return "\n".join(text) + "\n"


def _section(name: str, kept: Kept, found: list[Finding], command: str) -> list[str]:
    board = boards.load(name)
    cite = catalogue.read("papers", board.paper)["cite"] if board.paper else board.cite
    text = [f"## {board.title}", "", f"{cite}, {board.where}. {board.notes}", ""]
    rows = measured(name, kept)
    text += _table(board, rows)
    missing = sum(math.isnan(value) for row in rows for value in row.values)
    if missing:
        done = len(rows) * board.seeds - missing
        text += ["", f"Open: {missing} of {len(rows) * board.seeds} results are missing{'' if done else ', and nothing has run yet'}; "
                     f"`{command}` goes on."]  # fmt: skip
    if found:
        text += ["", *(f"- **{one.verdict.capitalize()}**: {one.claim.says} {_words(board, one)}" for one in found)]
    made = sorted({(row.get("on", ""), row.get("commit", "")) for row in kept.values()})
    if made:
        commits = sorted({commit for _, commit in made if commit})
        versions = next(iter(kept.values())).get("versions", {})
        text += ["", f"Made between {made[0][0]} and {made[-1][0]}" + (f" at {', '.join(commits)}" if commits else "")
                     + f" with {', '.join(f'{what} {version}' for what, version in versions.items())}."]  # fmt: skip
    return text


def _table(board: Board, rows: list[CellResult]) -> list[str]:
    unit = {"test": "test", "forgetting": "rise of the probe's loss", "memory": peaks.WORDS["step"]}[board.measure]
    metric = next((row.metric for row in rows if row.metric), "")
    head = [
        "",
        f"{unit} {metric}".strip() if board.measure == "test" else unit,
        "seeds",
        "trained weights",
        "learning rate",
        f"the paper ({board.metric})" if board.metric else "",
    ]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for row in rows:
        published = published_of(board, row.cell)
        lines.append("| " + " | ".join([
            row.cell.key, _value(board, row), f"{len(row.known)} of {board.seeds}" + (f", {row.stalled} learned nothing" if row.stalled else ""),
            "–" if row.trainable is None else numbers.weights(row.trainable) + ("" if row.percent is None else f" ({numbers.percent(row.percent)})"),
            "–" if row.lr is None or board.measure == "memory" else f"{row.lr:g}", "–" if published is None and board.metric else "" if published is None else f"{published:g}",
        ]) + " |")  # fmt: skip
    return lines


def _value(board: Board, row: CellResult) -> str:
    if not row.known:
        return "–"
    mean = float(np.mean(row.known))
    if board.measure == "memory":
        return numbers.memory(int(mean))
    spread = f" ± {np.std(row.known, ddof=1):.3f}" if len(row.known) > 1 else ""
    span = f" ({min(row.known):.3f} to {max(row.known):.3f})" if len(row.known) > 1 else ""
    return f"{mean:.3f}{spread}{span}"


def _words(board: Board, one: Finding) -> str:
    """What the paper has, what was found, and why they may part."""
    paper = f"The paper has {one.published:+.2f} {board.metric}; " if one.published is not None else ""
    if one.verdict == "open":
        return f"{paper.rstrip('; ')}{'.' if paper else ''}".strip()
    if board.measure == "memory":
        return f"Here {one.effect:.2f} times." + (f" {one.claim.why}" if one.claim.why and one.verdict != "agrees" else "")
    scale, unit = (100.0, " points") if board.measure == "test" else (1.0, "")
    digits = "+.1f" if scale > 1 else "+.3f"
    aside = [] if math.isnan(one.low) else [f"95 % interval {scale * one.low:{digits}} to {scale * one.high:{digits}}"]
    aside += [] if math.isnan(one.p) else [f"p {'< 0.001' if one.p < 0.001 else f'= {one.p:.3f}'} corrected"]
    found = f"{scale * one.effect:{digits}}{unit}" + (f" ({', '.join(aside)})" if aside else "")
    why = f" {one.claim.why}" if one.claim.why and one.verdict != "agrees" else ""
    return f"{paper}here it is {found}, {one.seeds} seeds.{why}" if paper else f"Here {found}, {one.seeds} seeds.{why}"
