"""What a run costs in memory, before it runs (predicted on the meta device) and while it runs (metered).

    plan(spec)                                      # a Plan: bytes at the peak, by category and phase
    plan_shape(model="llama-3.2-3b", method="lora", batch=4, tokens=704, dtype="bfloat16", adapter_dtype="float32")

Importing this room imports no torch; pages ask `lab.planning.client.PlanClient`, which asks a process that does.
"""

from __future__ import annotations

import importlib
from typing import Any

_NAMES = {
    "Plan": "lab.planning.result", "plan": "lab.planning.predict", "plan_shape": "lab.planning.predict", "advise": "lab.planning.advice",
    "Tracker": "lab.planning.tracker", "measure_step": "lab.planning.meter", "PlanClient": "lab.planning.client",
}  # fmt: skip
__all__ = sorted(_NAMES)


def __getattr__(name: str) -> Any:
    if name not in _NAMES:
        raise AttributeError(f"module 'lab.planning' has no attribute {name!r}")
    module = importlib.import_module(_NAMES[name])
    return getattr(module, name)
