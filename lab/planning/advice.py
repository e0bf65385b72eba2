"""What to do about a plan: the largest batch that fits a device, and what would make it fit. Each offer is a plan of its own.

advise({"spec": document, "device": "cuda"}, planner, device_bytes=24 * 2**30)
# {"fits": False, "room_bytes": ..., "over_bytes": ..., "largest_batch": 3, "missing": [],
#  "changes": [{"change": "checkpointing", "set": {"training.gradient_checkpointing": True}, "peak_bytes": ..., "saves_bytes": ..., "fits": True}, ...],
#  "combination": None, or {"changes": ["accumulation", "nf4"], "set": ..., "peak_bytes": ..., "saves_bytes": ..., "fits": True}}
"""

from __future__ import annotations

import importlib.util
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lab.design.method.delta import Method
from lab.design.method.forms import FORMS
from lab.design.method.named import method_of
from lab.design.method.quantised import quantised_problem
from lab.design.plain.options import override
from lab.design.plain.refusal import Refusal

Planner = Callable[..., Mapping[str, Any]]  # a request, changed → the document of its plan
RESERVE = 0.04  # of the device: CUDA context, library workspaces
MOST = 4096  # rows
SHORTEST = 16  # tokens of which half is offered
ROWS = "training.batch_size"
# Options of a run by path, and the arguments of a request for a shape that stand for them; those of a request for a run win over its spec.
SHAPED = {ROWS: "batch", "training.accumulation": "accumulation", "training.max_length": "tokens", "training.gradient_checkpointing": "checkpointing",
          "training.precision": "dtype", "quantisation": "quantisation"}  # fmt: skip
DTYPES = {"bf16": "bfloat16"}


@dataclass(frozen=True)
class Saving:
    """Something that may save memory, as settings of a run by dotted path."""

    name: str
    settings: Mapping[str, Any]


def usable(device_bytes: int, kind: str = "cuda") -> int:
    """Bytes that a run may take: a device less what the driver and libraries hold, main memory less 1.5 GB for processes."""
    return int(device_bytes * (1 - RESERVE)) if kind == "cuda" else max(0, device_bytes - 1_500_000_000)


def peak(document: Mapping[str, Any]) -> int:
    """What has to fit: reserved bytes."""
    return int(document["peak_reserved_bytes"])


def largest_batch(request: Mapping[str, Any], planner: Planner, room: int, batch: int) -> int | None:
    """Rows per pass that still fit in `room` bytes, 0 where not even one does; None: more than 4096. `batch`: those of the request.

    Memory is close to linear in the batch, so two plans point to the answer and one or two more confirm it.
    """

    def needs(rows: int) -> int:
        return peak(planner(applied(request, {ROWS: rows})))

    low, high = 1, max(2, batch)
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


def applied(request: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """A request to the planner, of a run or of a shape, with settings of a run by dotted path."""
    result, own = dict(request), {path.removeprefix("method."): value for path, value in settings.items() if path.startswith("method.")}
    others = {path: value for path, value in settings.items() if path in SHAPED}
    if others.keys() & {ROWS, "training.max_length"}:
        result.pop("targets", None)  # of the batch that was
    if "spec" in request:
        result = {name: value for name, value in result.items() if name not in {SHAPED[path] for path in others}}
        result["spec"] = override({**request["spec"], "method": override(_method(request).document(), own)}, others)
        return result
    if own:
        result["method"] = override(_method(request).document(), own)
        result.pop("overrides", None)
    result.update({SHAPED[path]: value for path, value in others.items()})
    if "training.precision" in others:  # of the frozen weights; what trains stays as it was
        result |= {"dtype": DTYPES[others["training.precision"]], "adapter_dtype": request.get("adapter_dtype") or "float32"}
    return result


def _method(request: Mapping[str, Any]) -> Method:
    if "spec" in request:
        return method_of(request["spec"]["method"])
    method = method_of(request["method"])
    return method_of(override(method.document(), dict(request["overrides"]))) if request.get("overrides") else method


def groups(method: Method, setting: Mapping[str, Any]) -> list[list[Saving]]:
    """What may save memory, from what costs the result least on; of each group one change at most, the mildest first.

    `setting`: that of the plan. Accumulation keeps the rows of an optimizer step; checkpointing computes the same again.
    """
    batch, passes, tokens = int(setting["batch"]), int(setting["accumulation"]), int(setting["tokens"])
    found = [
        [] if setting["checkpointing"] else [Saving("checkpointing", {"training.gradient_checkpointing": True})],
        [Saving("accumulation", {ROWS: batch // n, "training.accumulation": passes * n}) for n in range(2, batch + 1) if batch % n == 0],
        _bases(method, setting),
        _of_deltas("freeze_A", method, _freeze_first_map),
        _of_deltas("rank", method, _halve_rank),
        [Saving("tokens", {"training.max_length": tokens // 2})] if tokens >= SHORTEST else [],
    ]
    return [group for group in found if group]


def _bases(method: Method, setting: Mapping[str, Any]) -> list[Saving]:
    """The frozen base in fewer bytes; packed, where nothing of the method needs gradients of its weights."""
    now, found = setting["quantisation"], []
    if setting["dtype"] == "float32" and method.frozen_base and setting["device"] != "cpu" and now == "none":
        found.append(Saving("bfloat16", {"training.precision": "bf16"}))
    if now != "nf4" and quantised_problem(method) is None:
        found += [Saving(kind, {"quantisation": kind}) for kind in ("int8", "nf4") if kind != now]
    return found


def _of_deltas(name: str, method: Method, change: Callable[[dict], dict[str, Any] | None]) -> list[Saving]:
    """One change of all deltas of one's own that can have it."""
    settings: dict[str, Any] = {}
    for index, delta in enumerate(method.document()["deltas"]):
        if not delta.get("frozen_from") and (changed := change(delta)):
            settings |= {f"method.deltas.{index}.{field}": value for field, value in changed.items()}
    return [Saving(name, settings)] if settings else []


def _freeze_first_map(delta: dict[str, Any]) -> dict[str, Any] | None:
    """LoRA-FA's change: only r-dimensional tensors are kept for the backward pass."""
    if not {"A", "B"} <= set(FORMS[delta["form"]].names) or delta["schedule"] or delta["trainable"] is not None or delta["shared"] or delta["core"] != "none":
        return None
    return {"trainable": ["B"]}


def _halve_rank(delta: dict[str, Any]) -> dict[str, Any] | None:
    if delta["rank"] < 2 or delta["allocation"] or not FORMS[delta["form"]].has_rank:
        return None
    fewer = delta["rank"] // 2
    share = (fewer / delta["rank"]) ** (0.5 if delta["rank_scaling"] == "rslora" else 1.0)  # of alpha, so that s stays
    kept = {"alpha": delta["alpha"] * share} if delta["alpha"] is not None else {}
    return {"rank": fewer, **kept}


class Advisor:
    """The plans of one request, asked once each."""

    def __init__(self, request: Mapping[str, Any], planner: Planner, room: int):
        self.request, self.planner, self.room = request, planner, room
        self.document = planner(request)
        self.now = peak(self.document)
        self.missing: dict[str, None] = {}
        self._asked: dict[frozenset, int | None] = {}

    def needs(self, chosen: Sequence[Saving]) -> int | None:
        """Bytes of the request with these changes; None where they are refused."""
        settings = {path: value for change in chosen for path, value in change.settings.items()}
        key = frozenset((path, str(value)) for path, value in settings.items())
        if key not in self._asked:
            try:
                self._asked[key] = peak(self.planner(applied(self.request, settings)))
            except Refusal as problem:
                self._asked[key] = None
                if problem.field == "quantisation" and importlib.util.find_spec("bitsandbytes") is None:
                    self.missing[problem.sentence] = None
        return self._asked[key]

    def fits(self, chosen: Sequence[Saving]) -> bool:
        needed = self.needs(chosen)
        return needed is not None and needed <= self.room

    def mildest(self, levels: Sequence[Saving], others: Sequence[Saving] = ()) -> Saving:
        """The first that fits of changes that save more and more; the last where none does."""
        low, high = 0, len(levels) - 1
        if not self.fits([*others, levels[high]]):
            return levels[high]
        while low < high:
            middle = (low + high) // 2
            low, high = (low, middle) if self.fits([*others, levels[middle]]) else (middle + 1, high)
        return levels[low]

    def offer(self, chosen: Sequence[Saving]) -> dict[str, Any]:
        needed = self.needs(chosen)
        assert needed is not None
        settings = {path: value for change in chosen for path, value in change.settings.items()}
        return {"set": settings, "peak_bytes": needed, "saves_bytes": self.now - needed, "fits": needed <= self.room}

    def singles(self, found: Sequence[Sequence[Saving]]) -> list[dict[str, Any]]:
        """Each kind of change alone, from what saves most; what saves nothing is left out."""
        offers = []
        for group in found:
            for name, levels in itertools.groupby(group, key=lambda change: change.name):
                change = self.mildest(list(levels))
                needed = self.needs([change])
                if needed is not None and needed < self.now:
                    offers.append({"change": name, **self.offer([change])})
        return sorted(offers, key=lambda offer: -offer["saves_bytes"])

    def combination(self, found: Sequence[Sequence[Saving]]) -> dict[str, Any] | None:
        """The fewest changes that fit together, those that cost the result least among as many; None where not even all of them do.

        That more changes never take more memory spares most plans: what all the others do not fit without is in every answer.
        """
        possible = [left for group in found if (left := [change for change in group if self.needs([change]) is not None])]
        strongest = [group[-1] for group in possible]
        if len(possible) < 2 or not self.fits(strongest):
            return None
        without = [strongest[:place] + strongest[place + 1 :] for place in range(len(strongest))]
        needed = [place for place, others in enumerate(without) if not self.fits(others)]
        rest = [place for place in range(len(strongest)) if place not in needed]
        for size in range(len(rest) + 1):
            for more in itertools.combinations(rest, size):
                places = sorted((*needed, *more))
                if len(places) > 1 and self.fits([strongest[place] for place in places]):
                    return self._mild([possible[place] for place in places])
        return None

    def _mild(self, chosen: Sequence[Sequence[Saving]]) -> dict[str, Any]:
        """One change of each group, as mild as the others let it be."""
        picked = [group[-1] for group in chosen]
        for place, group in reversed(list(enumerate(chosen))):  # what costs the result more is made milder first
            picked[place] = self.mildest(group, picked[:place] + picked[place + 1 :])
        return {"changes": [change.name for change in picked], **self.offer(picked)}


def advise(request: Mapping[str, Any], planner: Planner, device_bytes: int, kind: str = "cuda") -> dict[str, Any]:
    """{"fits", "room_bytes", "over_bytes", "largest_batch", "changes", "combination", "missing"}, as above.

    Changes are offered where it does not fit, from what saves most; a combination where none of them fits alone.

    `planner` makes (and best caches) a plan's document from a request; a change that is refused is left out. "missing": what to install for more.
    """
    asked = Advisor(request, planner, usable(device_bytes, kind))
    setting, fits = asked.document["setting"], asked.now <= asked.room
    found = [] if fits else groups(_method(request), setting)
    singles = asked.singles(found)
    together = None if any(offer["fits"] for offer in singles) else asked.combination(found)
    return {"fits": fits, "room_bytes": asked.room, "over_bytes": max(0, asked.now - asked.room),
            "largest_batch": largest_batch(request, planner, asked.room, int(setting["batch"])),
            "changes": singles, "combination": together, "missing": list(asked.missing)}  # fmt: skip
