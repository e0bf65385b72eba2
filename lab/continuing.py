"""A run that goes on where another one ended before its last step (`training.until`), as if there had been one run alone.

The worker begins from a copy of the other run's last checkpoint: weights, the optimizer's moments, place in the data, random states and the
method's schedules, all laid out for the same total of steps. So a rung of successive halving costs the steps that it adds.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from lab.design.plain.differences import differences
from lab.design.plain.message import word
from lab.design.plain.refusal import Refusal
from lab.design.spec.run import RunSpec, spec_of
from lab.runs import default
from lab.runs.files import replace_folder, verify
from lab.runs.records import SUCCEEDED

FIELD = "built_on.continues"
KEPT = ("model", "quantisation", "task", "further", "method", "training", "seed")  # what a document that names no other takes from the run
FREE = ("name", "tags", "origins", FIELD, "training.until", "training.test", "training.keep_checkpoints")  # what need not be the same
BEST = "best"  # beside the checkpoints of a run that ended early: its best weights before the last ones were judged on all rows


def filled(document: dict[str, Any], continues: str = "") -> dict[str, Any]:
    """A plain spec with the settings of the run that it continues, where it does not say others (which `settled` then refuses)."""
    built_on = document.get("built_on")
    continues = continues or (str(built_on.get("continues") or "") if isinstance(built_on, Mapping) else "")
    if not continues:
        return document
    spec = _earlier(continues)[1].document()
    training = {**spec["training"], "until": None, "test": False, **(document.get("training") or {})}
    return {**{name: spec[name] for name in KEPT}, **{name: value for name, value in document.items() if value not in (None, "", [], {})}, "training": training}


def settled(spec: RunSpec) -> RunSpec:
    """The spec with the run that it continues by its id. Raises Refusal: other settings, no checkpoint, or nothing left to do."""
    if not spec.built_on.continues:
        return spec
    run, before = _earlier(spec.built_on.continues)
    now = spec.model_copy(update={"built_on": spec.built_on.model_copy(update={"continues": run})})
    changed = [path for path in differences([before.document(), now.document()]) if not any(path == one or path.startswith(one + ".") for one in FREE)]
    if changed:
        raise Refusal(
            "Run {run} differs from this one in {name}: what continues a run has its settings, but for until and the test split.",
            FIELD,
            run=run,
            name=changed[0],
        )
    if (last := _last(run)) is None:
        raise Refusal("Run {run} has left no checkpoint to continue from.", FIELD, run=run)
    if spec.training.until and spec.training.until < _step(last):
        raise Refusal("Run {run} has trained {steps:,} steps already: end at a later one.", "training.until", run=run, steps=_step(last))
    return now


def take_over(spec: RunSpec, run_dir: Path, say: Callable[[str], None]) -> None:
    """Copy what a run that continues another one begins from into its folder, once. Raises Refusal where it is gone or damaged."""
    if not spec.built_on.continues or any((run_dir / "checkpoints").glob("step-*")):
        return
    lab, run = default(), spec.built_on.continues
    last = _last(run)
    try:
        if last is None:
            raise ValueError("there is none")
        verify(last)
        best = last.parent / BEST if (last.parent / BEST).is_dir() else lab.home.file(run, "best")
        if best.is_dir():
            replace_folder(run_dir / "best", lambda part: _copy(best, part))
        replace_folder(run_dir / "checkpoints" / last.name, lambda part: _copy(last, part))  # last: it says that all is there
    except (OSError, ValueError) as error:
        raise Refusal(
            "The checkpoint of run {run}, which this one continues, cannot be used ({reason}).",
            FIELD,
            run=run,
            reason=word(getattr(error, "strerror", None) or error),
        ) from None
    say(f"Continues run {run} from step {_step(last):,}.")


def leave(run_dir: Path) -> None:
    """Keep the best weights of a run that ends early as its steps left them, before its end is judged: who continues it goes on with these."""
    if (run_dir / "best").is_dir():
        replace_folder(run_dir / "checkpoints" / BEST, lambda part: _copy(run_dir / "best", part))


def _earlier(words: str) -> tuple[str, RunSpec]:
    """(id, spec) of a run that came to its end. Raises Refusal at the field."""
    try:
        run = default().store.find(words)
        if run.state != SUCCEEDED:
            raise Refusal("Run {run} is {state}: only a run that came to its end can be continued; resume the others.", run=run.id, state=word(run.state))
        return run.id, spec_of(run.spec)
    except Refusal as refusal:
        raise Refusal(refusal.sentence, FIELD) from None


def _last(run: str) -> Path | None:
    found = [path for path in default().home.file(run, "checkpoints").glob("step-*") if path.name[5:].isdigit() and path.is_dir()]
    return max(found, key=_step, default=None)


def _step(checkpoint: Path) -> int:
    return int(checkpoint.name[5:])


def _copy(source: Path, target: Path) -> None:
    for path in source.iterdir():
        shutil.copy2(path, target / path.name)
