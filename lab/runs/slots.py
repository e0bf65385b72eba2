"""How many runs may train at once here, and which accelerators each may see. torch is not needed to find out."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import psutil

from lab.design.plain.refusal import Refusal
from lab.planning.devices import nvidia


@lru_cache(maxsize=1)
def _indices() -> tuple[str, ...]:
    return tuple(index for (index,) in nvidia("index") if index.isdigit())


def devices() -> list[str]:
    """The accelerators that workers may use, as CUDA_VISIBLE_DEVICES names them; [] on a CPU."""
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is None:
        return list(_indices())
    return [name.strip() for name in chosen.split(",") if name.strip() not in ("", "-1")]


def slots() -> int:
    """LAB_SLOTS, or one per accelerator, or one on a CPU. Refusal: LAB_SLOTS is no whole number from 0 to 1000."""
    given = os.environ.get("LAB_SLOTS", "").strip()
    if not given:
        return max(1, len(devices()))
    if not (given.isascii() and given.isdigit() and int(given) <= 1000):
        raise Refusal("LAB_SLOTS must be a whole number from 0 to 1000, not {given}.", "LAB_SLOTS", given=repr(given[:20]))
    return int(given)


def policy() -> str:
    """LAB_MEMORY_POLICY: ignore (the default), wait or refuse. Refusal: anything else."""
    given = os.environ.get("LAB_MEMORY_POLICY", "").strip() or "ignore"
    if given not in ("ignore", "wait", "refuse"):
        raise Refusal("LAB_MEMORY_POLICY must be ignore, wait or refuse, not {given}.", "LAB_MEMORY_POLICY", given=repr(given[:20]))
    return given


def memory() -> tuple[int, int]:
    """(total, free) bytes for one run: of the accelerator with most free, else of main memory."""
    chosen = devices()
    rows = nvidia("index", "memory.total", "memory.free") if chosen else []
    found = [(int(total) * 2**20, int(free) * 2**20) for index, total, free in rows if index in chosen and total.isdigit() and free.isdigit()]
    if found:
        return max(total for total, _ in found), max(free for _, free in found)
    now = psutil.virtual_memory()
    return now.total, now.available


def devices_of(slot: int, count: int, found: list[str]) -> list[str]:
    """The accelerators of one of `count` slots: a fair share of `found`, or one that slots share when there are more slots.

    Four accelerators in two slots: ["0", "2"] and ["1", "3"]; one accelerator in three slots: ["0"] for each.
    """
    if not found:
        return []
    return found[slot::count] if slot < len(found) else [found[slot % len(found)]]


def devices_of_run(held: Sequence[int], wanted: int, count: int, found: list[str]) -> list[str]:
    """The accelerators of a run that holds these of `count` slots: all of theirs, and where slots share accelerators, as many as it trains on."""
    own = [device for slot in held for device in devices_of(slot, count, found)]
    return list(dict.fromkeys([*own, *found]))[: max(wanted, len(dict.fromkeys(own)))]


def slots_for(wanted: int, count: int, found: Sequence[str] = ()) -> int:
    """How many of `count` slots a run over `wanted` devices takes: one for each, fewer where a slot has several of `found`, and never more than there are."""
    each = max(1, len(found) // max(1, count))
    return max(1, min(-(-wanted // each), count))


def devices_of_spec(spec: Mapping[str, Any]) -> int:
    """Over how many devices the run of a spec's document trains."""
    training = spec.get("training")
    wanted = training.get("devices") if isinstance(training, Mapping) else None
    return wanted if isinstance(wanted, int) and not isinstance(wanted, bool) and wanted > 0 else 1


def require_devices(wanted: int, where: str, found: Sequence[str]) -> None:
    """Refusal where this machine has fewer devices than a run asks for. `where`: auto, cpu, cuda or mps; on a CPU a device is a process, one for each core."""
    if wanted == 1:
        return
    if where == "mps" or where == "auto" and not found and (sys.platform, platform.machine()) == ("darwin", "arm64"):
        raise Refusal("MPS is one device: set devices to 1.", "training.devices")
    if found and where in ("auto", "cuda"):
        if wanted > len(found):
            raise Refusal(
                "This run asks for {wanted} devices, and this machine has {most}: set devices to at most {most}.",
                "training.devices",
                wanted=wanted,
                most=len(found),
            )
    elif wanted > (cores := max(2, os.cpu_count() or 1)):
        raise Refusal(
            "On a CPU a device is a process, and {wanted} of them are more than its {cores} cores: set devices to at most {cores}.",
            "training.devices",
            wanted=wanted,
            cores=cores,
        )
