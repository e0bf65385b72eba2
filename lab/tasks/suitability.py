"""Whether a model can read a task's rows, as far as its files tell without torch: for the moment before a run is queued.

The rows and the model's tokenizer and chat template may be a stranger's, so `lab.tasks.outside.require_suited` asks this in a child process.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lab.design.body.model import ModelSpec
from lab.design.spec.objectives import OBJECTIVES
from lab.design.spec.task import TaskSpec
from lab.tasks import FAMILIES, sources
from lab.tasks.known import LOOKED, require_known
from lab.tasks.measuring import tokens_of
from lab.tasks.prepared import raw_rows

FIRST = 2000  # rows of each split that a family looks at before a run is launched


def require_suited(task: TaskSpec, model: ModelSpec, folder: Path, objective: str) -> None:
    """Raise Refusal where the tokenizer in a model's folder has more tokens than the model, its chat template refuses rows of a task, or it does not know their words."""
    from lab.models import vocabulary

    vocabulary.check(model, folder)
    FAMILIES[task.family]().require_rows(task, objective, folder, model.title or model.name, lambda: _first(task))
    if task.source.hub:
        return
    file = folder / "tokenizer.json"
    unknown = _unknown(file) if file.is_file() else None
    if unknown is None:
        return  # every text has tokens (bytes), or the tokenizer is of another kind: the worker looks at the tokens themselves
    texts = _texts(task, objective)
    try:
        found = tokens_of(file).tokenizer.encode_batch(texts, add_special_tokens=False)
    except Exception:  # tokenizers raises nothing narrower; loading says what is wrong with the file
        return
    tokens = [token for encoding in found for token in encoding.ids]
    require_known(len(tokens), tokens.count(unknown))


def _first(task: TaskSpec) -> dict[str, list[sources.Row]]:
    """The first rows of each split; those of a hub set where it is on this machine."""
    if task.source.hub:
        return sources.first_rows(task.source, FIRST)
    return {split: rows[:FIRST] for split, rows in raw_rows(task).items()}


def _texts(task: TaskSpec, objective: str) -> list[str]:
    family, texts = FAMILIES[task.family](), []
    for number, row in enumerate(raw_rows(task)["train"][:LOOKED], 1):
        example = family.format(row, task, number)
        texts.append(" ".join(family.reads(example, task)) if not OBJECTIVES[objective].headed else family.length_of(row, example, task))
    return texts


def _unknown(file: Path) -> int | None:
    """The number of the token for what a tokenizer does not know; None where it has none, or the file cannot be read (loading says why)."""
    try:
        model: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))["model"]
        if isinstance(model.get("unk_id"), int):
            return model["unk_id"]
        number = model["vocab"].get(model.get("unk_token"))
        return None if model.get("byte_fallback") else number
    except (OSError, ValueError, KeyError, TypeError, RecursionError, AttributeError):
        return None
