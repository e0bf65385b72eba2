"""What a run over several devices can share out between them, and what it cannot: the frozen base, by layer (FSDP), never what trains."""

from __future__ import annotations

from lab.design.method.delta import Method
from lab.design.plain.refusal import Refusal


def nothing_frozen(method: Method) -> bool:
    """Whether every weight of the base may train, or has entries that do: then none of them can lie on another device."""
    select = method.select
    if select is None or select.weights != "all" or select.layers_alone:
        return False
    return not (select.entries and getattr(select, "at", None))


def sharing_problem(method: Method, devices: int, sharding: str, quantisation: str = "none") -> Refusal | None:
    """Why the base cannot be shared out over the devices of a run; None where it can, or where nobody asked for it."""
    if sharding == "none":
        return None
    words = ""
    if devices == 1:
        words = "On one device there is nobody to share the base with: set devices to 2 or more, or sharding to none."
    elif nothing_frozen(method):
        words = "Every weight of the base may train with this method, so that nothing is frozen to share out: set sharding to none."
    elif quantisation != "none":
        words = "The packed weights of a quantised base cannot be split over devices: set sharding to none, or quantisation to none."
    return Refusal(words, "training.sharding") if words else None


def whole_base_needed(sharding: str, compiled: bool, probe: str) -> Refusal | None:
    """What else a run asks for that needs the whole base on each device; None where nothing does."""
    if sharding == "none" or not (compiled or probe):
        return None
    if compiled:
        return Refusal("A base that is shared out over devices is not compiled: set sharding to none, or torch.compile off.", "training.sharding")
    return Refusal("The forgetting probe needs the whole base on each device: leave the probe empty, or set sharding to none.", "training.sharding")
