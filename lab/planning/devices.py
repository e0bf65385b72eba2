"""How much memory this machine has to train in: the accelerator's by nvidia-smi, else the main memory. No torch."""

from __future__ import annotations

import functools
import shutil
import subprocess
from typing import Any

SECONDS = 10


def nvidia(*fields: str) -> list[list[str]]:
    """The values of these fields of nvidia-smi for each NVIDIA device here; [] where there are none or the driver does not answer."""
    if shutil.which("nvidia-smi") is None:
        return []
    command = ["nvidia-smi", f"--query-gpu={','.join(fields)}", "--format=csv,noheader,nounits"]
    try:
        listed = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=SECONDS, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return []
    rows = [[part.strip() for part in line.split(",")] for line in listed.splitlines()]
    return [row for row in rows if len(row) == len(fields)]


@functools.lru_cache(maxsize=1)
def accelerators() -> tuple[dict[str, Any], ...]:
    """[{"name", "total_bytes"}] of the NVIDIA devices here."""
    return tuple({"name": name, "total_bytes": int(mib) * 1024**2} for mib, name in nvidia("memory.total", "name") if mib.isdigit())


def memory() -> dict[str, Any]:
    """{"kind": cuda or cpu, "name", "total_bytes", "free_bytes"} of what a run would train on: the first accelerator, or main memory.

    Free bytes of an accelerator are not asked for (None): another run may hold them now and be over by then.
    """
    found = accelerators()
    if found:
        return {"kind": "cuda", "free_bytes": None, **found[0]}
    import psutil

    now = psutil.virtual_memory()
    return {"kind": "cpu", "name": "main memory", "total_bytes": now.total, "free_bytes": now.available}


TYPICAL = {str(size): {"kind": "cuda", "name": f"{size} GB", "total_bytes": size * 1024**3, "free_bytes": None} for size in (16, 24, 40, 80)}


def chosen(name: str) -> tuple[dict[str, Any], str | None]:
    """(memory, whose kernels a plan must model: cuda, or None for this machine's own) of a typical accelerator by its size, else of this machine."""
    return (TYPICAL[name], "cuda") if name in TYPICAL else (memory(), None)
