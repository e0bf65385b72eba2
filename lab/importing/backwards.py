"""An export run backwards: what the lab's own tensors must be, so that a format's writer makes of them exactly the tensors that are given.

Every writer copies, turns, scales and pads: each number that it writes is a constant, or one number of the method times a constant, plus a constant.
Which one, it is asked: it writes the method with all numbers of a kind of part at one, then at the digits of their own places. So a format has one map,
in its writer alone. At the end it writes what was found, which must be what was given: whatever a method has no place for shows there, by name.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from lab.design.method.parts import all_parts
from lab.design.plain.refusal import Refusal
from lab.engine import initial
from lab.engine.select import head_parameters

BASE = 2048  # of the digits: whole numbers that float32 has exactly, with room for a factor
CLOSE = 1e-6  # of what was given, by the largest of its tensor
Written = dict[str, Tensor]


@torch.no_grad()
def real(model: nn.Module, attached: Any) -> None:
    """Give what is attached to a model on the meta device, and its head, storage on the CPU: a writer asks no more of a base than its shapes.

    Zeros; but whole numbers, which are drawn by a seed of the form's own (FourierFT's places) and never in a file, as they start.
    """
    modules = [*attached.deltas.values(), *attached.shared.values()]
    owners = [(module, name) for module in modules for name, parameter in module._parameters.items() if parameter is not None]
    chosen = {id(parameter) for parameter in (*attached.selected.values(), *head_parameters(model).values())}
    owners += [
        (module, name) for module in model.modules() for name, parameter in module._parameters.items() if parameter is not None and id(parameter) in chosen
    ]
    made: dict[int, nn.Parameter] = {}
    for module, name in owners:
        parameter = module._parameters[name]
        if parameter is not None and parameter.is_meta:
            values = torch.zeros(parameter.shape) if parameter.is_floating_point() else _drawn(module, name)
            made.setdefault(id(parameter), nn.Parameter(values, requires_grad=parameter.requires_grad))
            module._parameters[name] = made[id(parameter)]
    attached.selected = {name: made.get(id(parameter), parameter) for name, parameter in attached.selected.items()}


def _drawn(delta: Any, name: str) -> Tensor:
    part = next(part for part in all_parts(delta.delta, delta.site) if part.name == name)
    return initial.start(part.shape, part.init, torch.Generator().manual_seed(0), torch.device("cpu"))


@torch.no_grad()
def state_for(attached: Any, written: Callable[[], Written], given: Mapping[str, Tensor], unread: Collection[str] = ()) -> dict[str, Tensor]:
    """What `attached.state_dict()` must be for `written()` to be `given`. `unread`: tensors that may be larger than what is read of them.

    Raises Refusal where names or shapes are others, or a number has no place in the method. Leaves the method in that state."""
    mine = {name: tensor for name, tensor in attached.tensors().items() if tensor.is_floating_point()}
    for tensor in mine.values():
        tensor.zero_()
    nothing = written()
    _require_alike(nothing, given)
    given = {name: given[name].to(torch.float32) for name in nothing}
    values, read = {}, {name: torch.zeros(tensor.shape, dtype=torch.bool) for name, tensor in nothing.items()}
    for part in dict.fromkeys(name.rpartition(".")[2] for name in mine):
        values |= _part({name: tensor for name, tensor in mine.items() if name.rpartition(".")[2] == part}, written, nothing, given, read)
    for name, value in values.items():
        mine[name].copy_(value)
    for name, tensor in written().items():
        apart = (tensor.float() - given[name]).abs()
        apart = apart * read[name] if name in unread else apart
        if not bool((apart <= CLOSE * given[name].abs().max().clamp(min=1.0)).all()):  # also where one is not a number
            raise Refusal(
                "The tensor '{name}' of this adapter has numbers that the method which its configuration describes has no place for.", "source", name=name[:160]
            )
    return attached.state_dict()


def _require_alike(mine: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> None:
    for name in sorted(set(mine) ^ set(given)):
        raise Refusal(
            "The tensor '{name}' is missing in this adapter."
            if name in mine
            else "The tensor '{name}' is nothing that the method which its configuration describes has.",
            "source",
            name=name[:160],
        )
    for name, tensor in mine.items():
        if tensor.shape != given[name].shape:
            raise Refusal("The tensor '{name}' of this adapter is {given}, and {expected} on this base: it belongs to another model, or its configuration says another size.", "source", name=name[:160], given=_shape(given[name]), expected=_shape(tensor))  # fmt: skip


def _shape(tensor: Tensor) -> str:
    return " × ".join(map(str, tensor.shape)) or "a number"


def _part(
    parts: dict[str, Tensor], written: Callable[[], Written], nothing: Written, given: Mapping[str, Tensor], read: dict[str, Tensor]
) -> dict[str, Tensor]:
    """The values of every tensor of one name (all A, say), while all else is zero."""
    for tensor in parts.values():
        tensor.fill_(1.0)
    factor = {name: tensor.float() - nothing[name].float() for name, tensor in written().items()}
    used = {name: tensor != 0 for name, tensor in factor.items()}
    numbers = torch.arange(sum(tensor.numel() for tensor in parts.values()))
    places = {name: torch.zeros(tensor.shape, dtype=torch.long) for name, tensor in nothing.items() if used[name].any()}
    digit = 1
    while digit == 1 or digit < len(numbers):
        _fill(parts, (numbers // digit % BASE).float())
        made = written()
        for name, place in places.items():
            found = ((made[name].float() - nothing[name].float()) / torch.where(used[name], factor[name], 1.0)).round().long()
            place += found.clamp(0, BASE - 1) * digit
        digit *= BASE
    flat = torch.zeros(len(numbers))
    for name, place in places.items():
        at = used[name]
        flat[place[at].clamp(max=max(len(numbers) - 1, 0))] = (given[name][at] - nothing[name].float()[at]) / factor[name][at]
        read[name] |= at
    for tensor in parts.values():
        tensor.zero_()
    return dict(zip(parts, _split(parts, flat), strict=True))


def _fill(parts: dict[str, Tensor], flat: Tensor) -> None:
    for tensor, values in zip(parts.values(), _split(parts, flat), strict=True):
        tensor.copy_(values)


def _split(parts: dict[str, Tensor], flat: Tensor) -> list[Tensor]:
    sizes = [tensor.numel() for tensor in parts.values()]
    return [values.view(tensor.shape).clone() for values, tensor in zip(flat.split(sizes), parts.values(), strict=True)]
