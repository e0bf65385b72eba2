"""What to do about a plan: the largest batch that fits a device, and which single change saves most. Each answer is a plan of its own.

advise({"model": "llama-3.2-3b", ...}, device_bytes=24 * 2**30)
# {"fits": False, "over_bytes": ..., "largest_batch": 3, "changes": [{"change": "checkpointing", "saves_bytes": ..., "fits": True}, ...]}
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from lab.design.method.delta import Method
from lab.design.method.forms import FORMS
from lab.design.method.named import method_of
from lab.design.plain.refusal import Refusal

Planner = Callable[..., Mapping[str, Any]]  # a request's arguments, changed → the document of its plan
RESERVE = 0.04  # of the device: CUDA context, library workspaces
MOST = 4096  # rows


def usable(device_bytes: int, kind: str = "cuda") -> int:
    """Bytes that a run may take: a device less what the driver and libraries hold, main memory less 1.5 GB for processes."""
    return int(device_bytes * (1 - RESERVE)) if kind == "cuda" else max(0, device_bytes - 1_500_000_000)


def peak(document: Mapping[str, Any]) -> int:
    """What has to fit: reserved bytes."""
    return int(document["peak_reserved_bytes"])


def largest_batch(request: Mapping[str, Any], planner: Planner, room: int) -> int | None:
    """Rows per pass that still fit in `room` bytes, 0 where not even one does; None: more than 4096.

    Memory is close to linear in the batch, so two plans point to the answer and one or two more confirm it.
    """

    def needs(rows: int) -> int:
        return peak(planner({**request, "batch": rows}))

    low, high = 1, max(2, int(request["batch"]))
    first = needs(low)
    if first > room:
        return 0
    last = needs(high)
    while last <= room:
        if high >= MOST:
            return None
        low, first = high, last
        guess = _crossing(low, first, high, last, room) if high > 2 else high * 4
        high = min(MOST, max(high * 2, guess))
        last = needs(high)
    while high - low > 1:
        middle = min(high - 1, max(low + 1, _crossing(low, first, high, last, room)))
        at = needs(middle)
        low, first, high, last = (middle, at, high, last) if at <= room else (low, first, middle, at)
        if high - low > 1 and at <= room:  # one above the best guess is nearly always the end of the search
            above = needs(low + 1)
            if above > room:
                return low
            low, first = low + 1, above
    return low


def _crossing(low: int, first: int, high: int, last: int, room: int) -> int:
    """Where the line through two plans meets `room`."""
    if high == low or last == first:
        return high
    return int(low + (room - first) * (high - low) / (last - first))


def changes(request: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Single changes that may save memory: {name: the request with it}."""
    method = method_of(request["method"])
    found: dict[str, dict[str, Any]] = {}
    if not request.get("checkpointing"):
        found["checkpointing"] = {**request, "checkpointing": True}
    if int(request["batch"]) > 1:
        found["batch"] = {**request, "batch": max(1, int(request["batch"]) // 2)}
    if request.get("dtype", "float32") == "float32" and method.frozen_base and request.get("device") != "cpu":
        found["bfloat16"] = {**request, "dtype": "bfloat16", "adapter_dtype": request.get("adapter_dtype") or "float32"}
    frozen = _with_deltas(method, _freeze_first_map)
    if frozen is not None:
        found["freeze_A"] = {**request, "method": frozen}
    halved = _with_deltas(method, _halve_rank)
    if halved is not None:
        found["rank"] = {**request, "method": halved}
    return found


def _freeze_first_map(delta: dict[str, Any]) -> dict[str, Any] | None:
    """LoRA-FA's change: only r-dimensional tensors are kept for the backward pass."""
    if not {"A", "B"} <= set(FORMS[delta["form"]].names) or delta["schedule"] or delta["trainable"] is not None or delta["shared"] or delta["core"] != "none":
        return None
    return {**delta, "trainable": ["B"]}


def _halve_rank(delta: dict[str, Any]) -> dict[str, Any] | None:
    if delta["rank"] < 2 or delta["allocation"] or not FORMS[delta["form"]].has_rank:
        return None
    fewer = delta["rank"] // 2
    share = (fewer / delta["rank"]) ** (0.5 if delta["rank_scaling"] == "rslora" else 1.0)  # of alpha, so that s stays
    kept = {"alpha": delta["alpha"] * share} if delta["alpha"] is not None else {}
    return {**delta, "rank": fewer, **kept}


def _with_deltas(method: Method, change: Callable[[dict], dict | None]) -> dict[str, Any] | None:
    document = method.document()
    changed = [change(delta) for delta in document["deltas"]]
    if not any(changed):
        return None
    return {**document, "deltas": [new or old for new, old in zip(changed, document["deltas"], strict=True)]}


def advise(request: Mapping[str, Any], planner: Planner, device_bytes: int, kind: str = "cuda") -> dict[str, Any]:
    """{"fits", "room_bytes", "over_bytes", "largest_batch", "changes": [{"change", "saves_bytes", "fits"}] from the most to the least}.

    `planner` makes (and best caches) a plan's document from a request; a change that is refused is left out.
    """
    room, now = usable(device_bytes, kind), peak(planner(request))
    savings: list[dict[str, Any]] = []
    for name, changed in changes(request).items():
        try:
            after = peak(planner(changed))
        except Refusal:
            continue
        if after < now:
            savings.append({"change": name, "saves_bytes": now - after, "fits": after <= room})
    savings.sort(key=lambda each: -each["saves_bytes"])
    return {"fits": now <= room, "room_bytes": room, "over_bytes": max(0, now - room), "largest_batch": largest_batch(request, planner, room),
            "changes": savings}  # fmt: skip
