"""What the memory of a run is called: two things that are never one number, and so never one word."""

from __future__ import annotations

from typing import Literal

Kind = Literal["step", "process", "both"]
WORDS: dict[Kind, str] = {  # "both": where runs of both kinds stand side by side
    "step": "peak step memory",
    "process": "peak process memory",
    "both": "peak memory, of steps or of processes",
}


def kind_on(device: object) -> Literal["step", "process"]:
    """What is measured on a device: what an accelerator's allocator gave for weights, optimizer state and steps; on a CPU all that the process holds."""
    return "process" if str(device or "cpu").split(":")[0] == "cpu" else "step"
