"""A base model is whole, or refused with the names of what is wrong: transformers' loading report, read."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from torch import nn

from lab.design.plain.message import Message, some
from lab.design.plain.refusal import Refusal

SHOWN = 3


def settle(name: str, model: nn.Module, found: Mapping[str, Any], headed: bool) -> None:
    """Note what is new in a model (`lab_new`: names; `lab_notes`: sentences), or raise Refusal.

    `found` is what `output_loading_info` gives. New may be the task head alone (`headed`): what lies outside the base model, and a pooler
    that the checkpoint lacks, which only the head reads. Every other weight must have been in the checkpoint, with its shape, and every
    layer of the checkpoint must be in the model.
    """
    shapes = {key: (tuple(theirs), tuple(ours)) for key, theirs, ours in found["mismatched_keys"]}
    missing, unexpected = set(found["missing_keys"]), set(found["unexpected_keys"])
    mine = set(model.state_dict())
    head = _head(model) if headed else set()
    lacking, other = missing - head, {key: pair for key, pair in shapes.items() if key not in head}
    if lacking or other or found.get("error_msgs") or _beyond(mine, unexpected):
        raise Refusal(_why(name, model, lacking, other, unexpected, len(mine), list(found.get("error_msgs") or ())), "model")
    odd = sorted(key for key, parameter in model.named_parameters() if key not in missing and key not in shapes and not _finite(parameter))
    if odd:
        raise Refusal("The weights of {model} hold numbers that are not finite ({names}): fetch or save them again.", "model", model=name, names=_some(odd))
    model.lab_new = frozenset(missing | set(shapes))
    model.lab_notes = tuple(_sentences(model, head, shapes))


def _finite(parameter: nn.Parameter) -> bool:
    """Whether a weight has neither NaN nor infinity: both show in its extremes, for which nothing is copied."""
    if parameter.is_meta or not parameter.numel() or not parameter.is_floating_point():
        return True
    low, high = parameter.detach().aminmax()
    return bool(low.isfinite() and high.isfinite())


def _head(model: nn.Module) -> set[str]:
    """Names of what only the head reads: outside the base model, or its pooler."""
    base = model.base_model
    inside = {f"{prefix}{key}" for prefix in _prefixes(model, base) for key in base.state_dict()}
    pooler = {f"{prefix}{key}" for prefix in _prefixes(model, base) for key in base.state_dict() if key.startswith("pooler.")}
    return (set(model.state_dict()) - inside) | pooler


def _prefixes(model: nn.Module, base: nn.Module) -> list[str]:
    return [f"{path}." if path else "" for path, module in model.named_modules() if module is base]


def _beyond(mine: Iterable[str], unexpected: Iterable[str]) -> list[str]:
    """Weights of layers that the configuration has not: the name of one of the model's, with another number."""
    known = {re.sub(r"\d+", "N", key) for key in mine}
    known |= {key.split(".", 1)[1] for key in known if "." in key}
    return sorted(key for key in unexpected if re.search(r"\.\d+\.", f".{key}") and _shape_of(key) & known)


def _shape_of(key: str) -> set[str]:
    general = re.sub(r"\d+", "N", key)
    return {general, general.split(".", 1)[-1]}


def _why(name: str, model: nn.Module, lacking: Collection[str], other: Mapping[str, tuple], unexpected: Collection[str], count: int, errors: list[str]) -> str:
    """The one sentence that is true of what is wrong."""
    for key in sorted(lacking):
        longer = [theirs for theirs in unexpected if theirs.endswith(key) or theirs.endswith(key.split(".", 1)[-1]) and "." in key.split(".", 1)[-1]]
        if longer:
            return Message(
                "The weights of {model} have other names than transformers gives them ('{theirs}' for '{name}'), so {lacking} of {count} would be random: save the model itself with save_pretrained, not what wraps it.",
                model=name,
                theirs=min(longer),
                name=key,
                lacking=len(lacking),
                count=count,
            )
    if other:
        key = min(other)
        theirs, ours = other[key]
        return Message(
            "The weights of {model} do not fit its config.json: '{name}' is {theirs} there and {ours} by the configuration, one of {count} such; give the config.json that belongs to them.",
            model=name,
            name=key,
            theirs=_size(theirs),
            ours=_size(ours),
            count=len(other),
        )
    output = model.get_output_embeddings()
    heads = {key for key, parameter in model.named_parameters() if output is not None and any(parameter is own for own in output.parameters())}
    if lacking and set(lacking) <= heads:
        return Message(
            "The weights of {model} are those of its body alone, without the head that writes words ({names}), which would be random: give the whole model, as its language-model class saves it.",
            model=name,
            names=_some(lacking),
        )
    if lacking:
        return Message(
            "The weights of {model} lack {lacking} of the {count} that its config.json asks for ({names}), which would be random: give a complete checkpoint of this architecture.",
            model=name,
            lacking=len(lacking),
            count=count,
            names=_some(lacking),
        )
    extra = _beyond(model.state_dict(), unexpected)
    if extra:
        return Message(
            "The weights of {model} have {count} of layers that its config.json does not count ({names}), which would be left out: give the config.json that belongs to them.",
            model=name,
            count=len(extra),
            names=_some(extra),
        )
    return Message("The weights of {model} cannot be read as its config.json says ({reason}); save the model again.", model=name, reason=" ".join(errors)[:160])


def _sentences(model: nn.Module, head: Collection[str], shapes: Mapping[str, tuple]) -> Iterable[str]:
    """What is worth knowing of a model that loaded."""
    replaced = sorted(shapes)
    if replaced:
        theirs, ours = shapes[replaced[-1]]
        yield f"The checkpoint's own head has {theirs[0]} outputs and the task {ours[0]}, so the head begins anew ({_some(replaced)})."
    kept = sorted(key for key in head - model.lab_new if "pooler" not in key)
    if kept:
        yield f"The head begins with what the checkpoint has of one ({_some(kept)})."
    pooler = sorted(key for key in model.lab_new if ".pooler." in f".{key}" and key in head)
    if pooler and any(key in dict(model.base_model.named_parameters(prefix=model.base_model_prefix)) for key in pooler):
        yield f"The checkpoint has no pooler, so a new one trains with the head ({_some(pooler)})."


def _some(names: Iterable[str]) -> str:
    return some(sorted(names), SHOWN)


def _size(shape: tuple[int, ...]) -> str:
    return " × ".join(map(str, shape)) or "one number"
