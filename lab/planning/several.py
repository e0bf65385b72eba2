"""What one device of several holds, against one that trains alone: gradient buckets of DDP, and its parts of a base that is shared out (FSDP).

DDP keeps the gradients of all that trains a second time, in buckets that it sums over the devices. With FSDP a device holds 1/n of each frozen weight of the
layers and of what is in no layer; the latter is gathered for a whole pass, and of the layers two at a time: the one whose turn it is, and the next, which is
fetched meanwhile. Both are there for the whole step, so they move every peak alike.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from lab.planning.building import Built
from lab.planning.replay import Peaks

GATHERED = 2  # layers at a time
SEGMENT = 2 << 20  # bytes; the allocator reserves large blocks by as many


def of_one(peaks: Peaks, built: Built, deep: Mapping[str, int], few: Mapping[str, int], devices: int, sharding: str) -> Peaks:
    """The peaks of each of `devices` devices. `built` has `few` layers per stack and stands for `deep` of them."""
    if devices == 1:
        return peaks
    buckets = sum(_times(built, p, deep, few) * p.nbytes for p in built.trained())
    weights = _gathered(built, deep, few, devices) if sharding != "none" else 0
    changed = {"gradients": buckets, "weights": weights, "total": buckets + weights}
    phases = {phase: {name: size + changed.get(name, 0) for name, size in peak.items()} for phase, peak in peaks.phases.items()}
    more = buckets + weights
    return Peaks(phases, peaks.reserved + -(-more // SEGMENT) * SEGMENT)


def _times(built: Built, parameter: nn.Parameter, deep: Mapping[str, int], few: Mapping[str, int]) -> int:
    """How often a parameter is there in the deep model: every layer of a stack has as many as the middle one."""
    stack, layer = built.place.get(id(parameter), ("", -1))
    return 1 + (deep[stack] - few[stack] if layer >= 0 and layer == few[stack] // 2 else 0)


def _gathered(built: Built, deep: Mapping[str, int], few: Mapping[str, int], devices: int) -> int:
    """Bytes of weights that a device of several has more than one that trains alone: fewer than none, where the base is large."""
    whole = built.attached.whole() | set(built.head.values()) | set(built.others)
    parts = outside = 0
    layers: dict[tuple[str, int], int] = {}
    alone = 0
    for parameter in built.model.parameters():
        if parameter in whole:
            continue
        place, times = built.place.get(id(parameter), ("", -1)), _times(built, parameter, deep, few)
        alone += times * parameter.nbytes
        rows = parameter.shape[0] if parameter.dim() else 1
        parts += times * -(-rows // devices) * (parameter.nbytes // max(1, rows))
        if place[1] >= 0:
            layers[place] = layers.get(place, 0) + parameter.nbytes
        else:
            outside += parameter.nbytes
    return parts + outside + GATHERED * max(layers.values(), default=0) - alone
