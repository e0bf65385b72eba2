"""Runs as small pieces of HTML for notebooks: tables without scripts, every text escaped."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from lab.design.plain import numbers

if TYPE_CHECKING:
    from lab.runs.records import Run

SHOWN = 100  # rows of a table of runs
HEADS = ("run", "state", "name", "model", "task", "method", "step", "best", "trainable")


def table(heads: Sequence[str], rows: Sequence[Sequence[Any]], caption: str = "") -> str:
    """A table of texts and numbers."""
    head = "".join(f"<th>{escape(str(name))}</th>" for name in heads)
    body = "".join("<tr>" + "".join(f"<td>{escape(_cell(value))}</td>" for value in row) + "</tr>" for row in rows)
    return f"<table>{f'<caption>{escape(caption)}</caption>' if caption else ''}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def one(run: Run) -> str:
    """A run: its facts, and what went wrong."""
    facts = list(zip(HEADS, _row(run), strict=True))
    facts += [(name, text) for name, text in (("error", run.error), ("advice", run.advice), ("tags", ", ".join(run.tags)), ("notes", run.notes)) if text]
    return table(("run", run.id), [fact for fact in facts[1:] if fact[1] not in ("", None)])


def listed(runs: Sequence[Run]) -> str:
    """Runs in rows, the first ones of many."""
    more = f"{len(runs)} runs, the first {SHOWN} of them" if len(runs) > SHOWN else f"{len(runs)} run{'s' * (len(runs) != 1)}"
    return table(HEADS, [_row(run) for run in runs[:SHOWN]], more)


class Runs(list):
    """A list of runs that a notebook shows as a table."""

    def _repr_html_(self) -> str:
        return listed(self)


def _row(run: Run) -> list[Any]:
    spec = run.spec if isinstance(run.spec, dict) else {}
    method = spec.get("method") or {}
    tasks = [task.get("name") or "own task" if isinstance(task, dict) else task for task in (spec.get("task", ""), *(spec.get("further") or ()))]
    best = run.result.get("best") if isinstance(run.result, dict) else None
    best = ", ".join(f"{name} {numbers.number(value)}" for name, value in (best or {}).items() if name != "step" and isinstance(value, (int, float)))
    steps = f"{run.step:,}/{run.total_steps:,}" if run.total_steps else str(run.step)
    return [run.id, run.state, run.name, str(spec.get("model", "")).rstrip("/").rsplit("/", 1)[-1], " + ".join(map(str, tasks)),
            method.get("preset") or method.get("name") or "" if isinstance(method, dict) else method, steps, best, run.result.get("trainable")]  # fmt: skip


def _cell(value: Any) -> str:
    if value is None:
        return numbers.UNKNOWN
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else numbers.number(value) if isinstance(value, float) else str(value)
