"""Training: one loop on accelerate, and the worker process that runs one RunSpec and writes to the store.

result = train(spec, Record(), "folder")     # in this process; `lab.run(spec)` does it in a worker
"""

from __future__ import annotations

from typing import Any

__all__ = ["Record", "train"]


def __getattr__(name: str) -> Any:
    if name == "train":
        from lab.training.running import train

        return train
    if name == "Record":
        from lab.training.reporting import Record

        return Record
    raise AttributeError(f"module 'lab.training' has no attribute {name!r}")
