"""A method on the adapters of runs: their deltas stand frozen below its own (stacking), or it goes on from one of them.

    standing_on(method, {"k7qm2x9b/best": theirs})   # the method with theirs below, in the order of the runs
    require_same_design(method, theirs)              # Refusal unless it may train further from `theirs`

Frozen deltas keep what their weights mean and lose what only training read: a schedule, and dropouts, since nothing in them learns.
"""

from __future__ import annotations

from collections.abc import Mapping

from lab.design.method.delta import Delta, Method
from lab.design.method.forms import FORMS
from lab.design.plain.message import Message, listed, word
from lab.design.plain.options import fields, validate
from lab.design.plain.refusal import Refusal

FREE = {"dropout", "inner_dropout"}  # of a delta's options, those that may change when it trains further


def standing_on(method: Method, blocks: Mapping[str, Method], field: str = "built_on.stand_on") -> Method:
    """The method with the deltas of `blocks` (by run/best or run/final) frozen in front of its own. Raises Refusal at `field`."""
    below = [delta for source, theirs in blocks.items() for delta in _frozen(theirs, source, field)]
    if sum(FORMS[delta.form].before_input for delta in [*below, *method.own]) > 1:
        raise Refusal("One set of virtual tokens stands before the input, and two of these have some: take one of them away.", field)
    return validate(Method, {**method.document(), "deltas": [delta.model_dump(mode="json") for delta in [*below, *method.own]]}, "method.")


def _frozen(method: Method, source: str, field: str) -> list[Delta]:
    run = source.partition("/")[0]
    if method.select and not method.select.head_alone:
        raise Refusal(
            "Run {run} trained {words} of the model, and only deltas stand frozen below others: train further from it, or export it merged and give that folder as the model.",
            field,
            run=run,
            words=word(method.select.words),
        )
    if not method.deltas:
        raise Refusal("Run {run} trained its head alone, so there is no adapter to stand on.", field, run=run)
    return [delta.model_copy(update={"frozen_from": source, "schedule": None, "dropout": 0.0, "inner_dropout": 0.0}) for delta in method.deltas]


def require_same_design(method: Method, theirs: Method, run: str, field: str = "built_on.start_from") -> None:
    """Raise a Refusal unless the trained weights of `theirs` are weights of `method`, whose dropouts may be others."""
    if theirs.select and theirs.select.masks:
        raise Refusal("Run {run} ended with a fixed mask, which no second run finds again: resume it, or train anew.", field, run=run)
    mine, other = _design(method), _design(theirs)
    if len(mine) != len(other):
        raise Refusal(
            "Deltas of run {run}: {theirs}; of this method: {mine}. It goes on with the same ones.",
            field,
            run=run,
            theirs=len(theirs.own),
            mine=len(method.own),
        )
    for index, (one, two) in enumerate(zip(mine, other, strict=True)):
        for name in one:
            if one[name] != two.get(name):
                select = method.select if index == len(method.deltas) else None
                where = f"method.select.{name}" if select else f"method.deltas.{index}.{name}"
                raise Refusal(
                    "Run {run} was trained with {name} {theirs}, and goes on with it: it is {mine} here.",
                    where,
                    run=run,
                    name=word(next(field.label for field in fields(type(select) if select else Delta) if field.path == name)),
                    theirs=_shown(two.get(name)),
                    mine=_shown(one[name]),
                )


def _shown(value: object) -> object:
    return listed(map(str, value)) if isinstance(value, list) and value else Message("not given") if value in (None, []) else value


def _design(method: Method) -> list[dict]:
    """What decides what the weights mean, of each delta and of the selection."""
    deltas = [{name: value for name, value in delta.model_dump(mode="json").items() if name not in FREE} for delta in method.deltas]
    return [*deltas, *([method.select.model_dump(mode="json")] if method.select else [])]
