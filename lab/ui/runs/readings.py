"""What a run measured at its sites, by layer and over time, and what it made of a few held-out rows."""

from __future__ import annotations

import math
from typing import Any

from lab.runs import Run, default
from lab.ui.shell import run_facts
from lab.ui.shell.json_text import plain
from lab.ui.shell.markup import esc
from lab.ui.words.table import say

QUANTITIES = ("delta_norm", "gate", "lambda", "rank", "energy", "sensitivity", "explained_variance", "scale", "trains", "frozen_columns")
PREDICTIONS, LETTERS = 12, 700


def names(run: Run) -> list[str]:
    """The run's metrics that were read at a site: 'gate/encoder.1.ffn.out'."""
    return [name for name in default().store.metric_names(run.id) if name.partition("/")[0] in QUANTITIES and "/" in name]


def newest(run: Run, found: list[str]) -> int:
    """The step of the last reading, -1 before there is one."""
    return max((step for step, *_ in default().store.latest(run.id, found[:1]).values()), default=-1)


def readings(run: Run, found: list[str]) -> dict[str, Any]:
    """{"run", "steps", "quantities": [{"id", "rows", "columns", "steps", "values"}]} for runs/readings.js.

    `values[row][column]` is that site's curve over `steps`, None where there is no such site; a row is a stack and a site, a column a layer.
    """
    quantities = [_quantity(quantity, run, [name for name in found if name.startswith(quantity + "/")]) for quantity in QUANTITIES]
    quantities = [quantity for quantity in quantities if quantity["steps"]]
    steps = max((quantity["steps"] for quantity in quantities), key=len, default=[])
    return {"run": run.id, "steps": steps, "quantities": quantities}


def _quantity(quantity: str, run: Run, found: list[str]) -> dict[str, Any]:
    steps, values = default().store.readings(run.id, found)
    cells = {placed(name.partition("/")[2]): plain(curve) for name, curve in values.items()}
    rows, columns = list(dict.fromkeys(row for row, _ in cells)), sorted({column for _, column in cells})
    return {
        "id": quantity,
        "rows": rows,
        "columns": columns,
        "steps": steps.tolist(),
        "values": [[cells.get((row, column)) for column in columns] for row in rows],
    }


def placed(site: str) -> tuple[str, int]:
    """(row, column) of a site: 'encoder.3.attn.q' → ('encoder attn.q', 3); a site without a layer stands in column 0."""
    parts = site.split(".")
    layer = next((index for index, part in enumerate(parts) if part.isdigit()), None)
    if layer is None:
        return site, 0
    return " ".join(filter(None, (".".join(parts[:layer]), ".".join(parts[layer + 1 :])))), int(parts[layer])


def predictions(run: Run, language: str) -> str:
    """The rows of predictions.json: input, what the best weights make of it, and the reference."""
    rows = run_facts.predictions(run)
    if not rows:
        return f'<p class="lab-muted">{esc(say(language, "predictions.none"))}</p>'
    several = ["bench.task"] if any("task" in row for row in rows) else []
    keys = (*several, "predictions.input", "predictions.prediction", "predictions.reference")
    heads = "".join(f"<th>{esc(say(language, key))}</th>" for key in keys)
    body = "".join(_row(row) for row in rows[: PREDICTIONS * max(1, len({row.get("task") for row in rows}))])
    return f'<div class="lab-scroll"><table class="lab-table lab-predictions"><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table></div>'


def _row(row: dict[str, Any]) -> str:
    right = row.get("right")
    css = "" if right is None else "right-one" if right else "wrong-one"
    sure = row.get("probability")
    share = (
        f' <span class="lab-muted num">{100 * sure:.1f} %</span>'
        if isinstance(sure, (int, float)) and not isinstance(sure, bool) and math.isfinite(sure)
        else ""
    )
    task = f"<td>{_text(row['task'])}</td>" if "task" in row else ""
    return (
        f'<tr class="{css}">{task}<td>{_text(row.get("input"))}</td><td>{_text(row.get("prediction"))}{share}</td><td>{_text(row.get("reference"))}</td></tr>'
    )


def _text(value: Any) -> str:
    text = "" if value is None else str(value)
    return esc(text if len(text) <= LETTERS else text[:LETTERS] + " …")
