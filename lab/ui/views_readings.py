"""What a run measured at its sites, as maps of layer × site, and what it made of a few held-out rows."""

from __future__ import annotations

import json
import math
from typing import Any

from lab.design import numbers
from lab.runs import Run, default
from lab.ui.markup import esc
from lab.ui.words import TABLE, say

QUANTITIES = ("delta_norm", "gate", "lambda", "rank", "energy", "scale", "trains", "frozen_columns")
PREDICTION_BYTES, PREDICTIONS, LETTERS = 512 * 1024, 12, 700


def maps(run: Run, language: str) -> str:
    """One map for every quantity that the run has, from the newest reading of each site."""
    wanted = [name for name in default().store.metric_names(run.id) if name.partition("/")[0] in QUANTITIES and "/" in name]
    found: dict[str, dict[str, float]] = {}
    step = 0
    for name, (at, value, _) in default().store.latest(run.id, wanted).items():
        quantity, _, site = name.partition("/")
        found.setdefault(quantity, {})[site] = value
        step = max(step, at)
    drawn = "".join(_map(quantity, found[quantity], language) for quantity in QUANTITIES if quantity in found)
    if not drawn:
        return f'<p class="lab-muted">{esc(say(language, "readings.none"))}</p>'
    return f'<p class="lab-muted">{esc(say(language, "readings.step", step=f"{step:,}"))}</p><div class="lab-heats">{drawn}</div>'


def placed(site: str) -> tuple[str, int]:
    """(row, column) of a site: 'encoder.3.attn.q' → ('encoder attn.q', 3); a site without a layer stands in column 0."""
    parts = site.split(".")
    layer = next((index for index, part in enumerate(parts) if part.isdigit()), None)
    if layer is None:
        return site, 0
    return " ".join(filter(None, (".".join(parts[:layer]), ".".join(parts[layer + 1 :])))), int(parts[layer])


def _map(quantity: str, sites: dict[str, float], language: str) -> str:
    cells = {placed(site): value for site, value in sites.items()}
    rows, columns = list(dict.fromkeys(row for row, _ in cells)), sorted({column for _, column in cells})
    told = [value for value in cells.values() if math.isfinite(value)]
    most = 1.0 if quantity in ("gate", "lambda", "trains") else max(map(abs, told), default=0.0) or 1.0
    heads = "".join(f"<th scope='col'>{column}</th>" for column in columns)
    body = "".join(
        f"<tr><th scope='row'>{esc(row)}</th>{''.join(_cell(cells.get((row, column)), most, row, column) for column in columns)}</tr>" for row in rows
    )
    help_key = f"reading.{quantity}.help"
    about = f'<p class="lab-muted">{esc(say(language, help_key))}</p>' if help_key in TABLE else ""
    return (f'<figure class="lab-heat {esc(quantity)}" data-quantity="{esc(quantity)}"><figcaption>{esc(say(language, "reading." + quantity))}'
            f' <span class="lab-muted">{esc(numbers.number(min(told, default=0.0), 3))} … {esc(numbers.number(max(told, default=0.0), 3))}</span></figcaption>{about}'
            f'<div class="lab-scroll"><table><thead><tr><th>{esc(say(language, "reading.layer"))}</th>{heads}</tr></thead><tbody>{body}</tbody></table></div></figure>')  # fmt: skip


def _cell(value: float | None, most: float, row: str, column: int) -> str:
    if value is None:
        return '<td class="none"></td>'
    share = min(1.0, abs(value) / most) if math.isfinite(value) else 0.0
    shown = esc(numbers.number(value, 2))
    return f'<td style="--v:{100 * share:.0f}%" class="{"strong" if share > 0.62 else ""}" title="{esc(row)}, {column}: {esc(repr(value))}">{shown}</td>'


def predictions(run: Run, language: str) -> str:
    """The rows of predictions.json: input, what the best weights make of it, and the reference."""
    rows = _read(run)
    if not rows:
        return f'<p class="lab-muted">{esc(say(language, "predictions.none"))}</p>'
    heads = "".join(f"<th>{esc(say(language, key))}</th>" for key in ("predictions.input", "predictions.prediction", "predictions.reference"))
    body = "".join(_row(row) for row in rows[:PREDICTIONS])
    return f'<div class="lab-scroll"><table class="lab-table lab-predictions"><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table></div>'


def _row(row: dict[str, Any]) -> str:
    right = row.get("right")
    css = "" if right is None else "right-one" if right else "wrong-one"
    sure = row.get("probability")
    share = f' <span class="lab-muted num">{100 * sure:.1f} %</span>' if isinstance(sure, (int, float)) and not isinstance(sure, bool) and math.isfinite(sure) else ""
    return f'<tr class="{css}"><td>{_text(row.get("input"))}</td><td>{_text(row.get("prediction"))}{share}</td><td>{_text(row.get("reference"))}</td></tr>'


def _text(value: Any) -> str:
    text = "" if value is None else str(value)
    return esc(text if len(text) <= LETTERS else text[:LETTERS] + " …")


def _read(run: Run) -> list[dict[str, Any]]:
    try:
        path = default().home.file(run.id, "predictions.json")
        if path.stat().st_size > PREDICTION_BYTES:
            return []
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    return [row for row in found if isinstance(row, dict)] if isinstance(found, list) else []
