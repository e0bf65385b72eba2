"""How much memory a run needs by its plan, for the policy that LAB_MEMORY_POLICY names. Torch-free: the planner's own process has it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from lab.runs.home import Home

if TYPE_CHECKING:
    from lab.planning.client import PlanClient

Estimate = Callable[[Mapping[str, Any]], int | None]  # a spec's document -> bytes at its peak


def planned(home: Home) -> Estimate:
    """What plans kept in a lab's home say of specs: bytes at the peak. Raises Refusal where one cannot be planned, or not in time."""

    def peak_bytes(document: Mapping[str, Any]) -> int | None:
        return _planner(str(home.path)).plan({"spec": dict(document)})["peak_reserved_bytes"]

    return peak_bytes


@functools.lru_cache(maxsize=2)
def _planner(home: str) -> PlanClient:
    from lab.planning.client import PlanClient

    return PlanClient(home)
