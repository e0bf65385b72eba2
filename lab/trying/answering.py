"""A run's model on one text, with Δ and without. Runs in the child process of `lab.trying.serve`; needs torch."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from lab.blocks import adapter_folder
from lab.child import phase
from lab.design.plain.refusal import Refusal
from lab.design.spec.objectives import OBJECTIVES
from lab.export.source import Opened, open_run, task_named
from lab.origins import ASKING
from lab.tasks import prepare
from lab.tasks.control import plain
from lab.tasks.rows import Rows

KEPT = 3  # models in memory
LETTERS = 20_000
NEW_TOKENS = 60
_opened: OrderedDict[tuple[str, str, int], tuple[Opened, Any]] = OrderedDict()


def answer(request: Mapping[str, Any]) -> dict[str, Any]:
    """{"kind": labels | several | number | text, "on": ..., "off": ..., "note": a sentence where other weights stand in, or ""} of {"run", "text", "pair", "task"}. Raises Refusal.

    labels: [[name, probability], ...], likeliest first; several: the same of labels that are judged each by itself; number: a float; text: what was generated. "off" is the model without its
    method: for a new task head, the base model under this run's head. "task": of a run of several, which one is asked; "": the first.
    """
    opened, prepared = _get(str(request.get("run", "")), str(request.get("task") or ""))
    return {**both(opened, prepared, request), "note": opened.note}


def both(opened: Opened, prepared: Any, request: Mapping[str, Any]) -> dict[str, Any]:
    """{"kind", "on", "off"} of a text: with the method, and without it."""
    rows = rows_of(prepared, request)
    kind, on = once(opened, prepared, rows, request)
    with opened.attached.disabled():
        _, off = once(opened, prepared, rows, request)
    return {"kind": kind, "on": on, "off": off}


def _get(run: str, task: str) -> tuple[Opened, Any]:
    key = (run, task, adapter_folder(run).stat().st_mtime_ns)  # a run that still trains may have a better adapter by now
    if key not in _opened:
        phase("loading")
        opened = open_run(run, parts=ASKING, task=task)
        prepared = prepare(task_named(opened.spec, task)[1], opened.tokenizer, opened.model.config, max_length=opened.spec.training.max_length,
                           taken=opened.spec.method.positions_taken)  # fmt: skip
        _opened[key] = opened, prepared
        phase("answering")
    _opened.move_to_end(key)
    while len(_opened) > KEPT:
        _opened.popitem(last=False)
    return _opened[key]


def rows_of(prepared: Any, request: Mapping[str, Any]) -> Rows | None:
    """The text as a row of the task, tokenised; None where the model is to go on with it."""
    spec, text, pair = prepared.spec, _text(request.get("text"), "text"), str(request.get("pair") or "").strip()
    row = prepared.family.typed(text, pair, spec)
    if row is None:
        return None
    return Rows.of(prepared.family.encode([prepared.family.format(row, spec)], prepared.setting, False))


def _text(value: Any, field: str) -> str:
    if not isinstance(value, str) or not value.strip():
        raise Refusal("Write a text to try.", field)
    if len(value) > LETTERS:
        raise Refusal("A text to try may have {most:,} letters, not {count:,}.", field, most=LETTERS, count=len(value))
    return value


def once(opened: Opened, prepared: Any, rows: Rows | None, request: Mapping[str, Any]) -> tuple[str, Any]:
    import torch

    if rows is None:
        return "text", _continued(opened, prepared, _text(request.get("text"), "text"))
    asked = OBJECTIVES[prepared.objective]
    if asked.headed:
        batch = {name: tensor for name, tensor in prepared.collate([rows[0]]).items() if name != "labels"}
        with torch.no_grad():
            scores = opened.model(**batch).logits[0].float()
        if asked.labels == "number":
            return "number", float(scores[0])
        several = asked.labels == "flags"
        shares = (scores.sigmoid() if several else scores.softmax(0)).tolist()
        return "several" if several else "labels", sorted(
            ([name, share] for name, share in zip(prepared.label_names, shares, strict=True)), key=lambda pair: -pair[1]
        )
    made = prepared.predictions(opened.model, 1, rows=rows)[0]
    if "probability" in made and isinstance(made["probability"], float):
        return "labels", [[str(made["prediction"]), made["probability"]]]
    return "text", str(made["prediction"])


def _continued(opened: Opened, prepared: Any, text: str) -> str:
    """How a language model goes on, within the positions that the method leaves."""
    import torch

    tokens = plain(opened.tokenizer)(text, return_tensors="pt", truncation=True, max_length=max(1, min(512, prepared.setting.positions - NEW_TOKENS)))
    with torch.no_grad():
        made = opened.model.generate(input_ids=tokens["input_ids"], attention_mask=tokens["attention_mask"], max_new_tokens=NEW_TOKENS, do_sample=False,
                                     use_cache=opened.attached.caches, pad_token_id=opened.tokenizer.pad_token_id)  # fmt: skip
    return opened.tokenizer.decode(made[0][tokens["input_ids"].shape[1] :], skip_special_tokens=True).strip()
