"""The draft that a first visit begins with, on the bench and in a sweep."""

from __future__ import annotations

from typing import Any


def start() -> dict[str, Any]:
    """What the bench shows to somebody who comes for the first time."""
    return {"model": "minilm-l6", "task": "sentiment-rt", "method": "lora", "training": {"steps": 150}, "seed": 0, "name": "", "tags": []}
