"""What this machine is and what the lab will do with it: `python -m lab doctor`.

Asks torch and the drivers, and starts nothing. Whatever is missing is said in a sentence, with what it is missing for.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
from typing import Any

from lab.design.plain import installed, plugins
from lab.design.plain.boundary import home_folder
from lab.design.plain.refusal import Refusal

NEEDED = ("torch", "transformers", "accelerate", "datasets", "gradio", "plotly", "pydantic", "SQLAlchemy", "safetensors", "PyYAML", "psutil")
EXTRAS = {  # package: what it is for
    "bitsandbytes": "quantised bases",
    "codecarbon": "the estimate of energy",
    "gguf": "models from GGUF files",
    "sentencepiece": "tokenizers of SentencePiece",
    "psycopg": f"runs in PostgreSQL ({installed.command('postgres')})",
    "ray": f"runs on a Ray cluster ({installed.command('ray')})",
}
PLATFORMS = {  # what does not work as on Linux, where the tests run (docs/install.md)
    "Windows": "Windows is not tested: a run that is stopped sees it in the store, within seconds; processes are ended as descendants of a run's worker, "
    "and a lab that is moved while a run trains takes that run's files not along. One lab for several machines, and Ray, want Linux.",
    "Darwin": "macOS is not tested: a lab that is moved while a run trains takes that run's files not along.",
}
ATTENTION = {  # what computes it; a run's log says it of that run
    "cuda": "Attention goes through torch's sdpa. In half precision it takes flash for causal models, which need no mask for padding here, and for batches without padding; with slots, "
            "with padding in encoders and in fp32 it takes the memory-efficient kernel. The package flash-attn is not used.",
    "mps": "Attention goes through torch's sdpa with Metal's kernels.",
    "cpu": "Attention goes through torch's sdpa: its fused kernel for processors, and step by step where a model drops attention weights in training.",
}  # fmt: skip
LITTLE = 5 * 10**9  # bytes of disk


def diagnosis(device: str = "auto") -> dict[str, Any]:
    """{"device", "precision", "attention", "compile", "machine", "versions", "slots", "home", "plugins", "missing", "notes"} as plain data.

    `device`: cpu, cuda, mps, or auto for the one that a run would take; Refusal where it is not there.
    """
    import torch

    from lab.runs.slots import slots
    from lab.training.devices import device_type, precision_of

    kind = device_type(device)
    found: dict[str, Any] = {"device": {"kind": kind, **_device(kind)}}
    found["precision"] = {asked: precision_of(asked, kind)[0] for asked in ("auto", "fp32", "bf16", "fp16")}
    found["attention"] = _kernels(kind)
    found["compile"] = bool(shutil.which("cc") or shutil.which("gcc")) if kind == "cpu" else _version("triton") is not None
    found["machine"] = {**_memory(), "system": platform.platform(terse=True), "python": platform.python_version(), "cores": os.cpu_count(),
                        "threads": torch.get_num_threads()}  # fmt: skip
    found["versions"] = {name: version for name in (*NEEDED, *EXTRAS, "peft") if (version := _version(name))}
    found["slots"] = slots()
    found["home"] = _home()
    found["missing"] = [f"{name} is not installed, and the lab needs it: {installed.command()}." for name in NEEDED if _version(name) is None]
    found["missing"] += [f"{name} is not installed: it is for {what}." for name, what in EXTRAS.items() if _version(name) is None]
    found["plugins"] = [{"group": one.group, "name": one.name, "of": one.of, "problem": one.problem} for one in plugins.known()]
    found["notes"] = _notes(found)
    return found


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _device(kind: str) -> dict[str, Any]:
    import torch

    if kind != "cuda":
        return {"name": _processor() if kind == "cpu" else "Apple GPU", "count": 1, "memory_bytes": _memory()["memory_bytes"]}
    from lab.planning.devices import nvidia

    facts = torch.cuda.get_device_properties(0)
    driver = nvidia("driver_version")
    return {
        "name": facts.name, "count": torch.cuda.device_count(), "memory_bytes": facts.total_memory, "capability": f"{facts.major}.{facts.minor}",
        "cuda": torch.version.cuda or torch.version.hip, "driver": driver[0][0] if driver else None,
    }  # fmt: skip


def _processor() -> str:
    """The processor's name, as Linux and macOS tell it."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            return next(line.partition(":")[2].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _memory() -> dict[str, int]:
    import psutil

    now = psutil.virtual_memory()
    return {"memory_bytes": now.total, "free_bytes": now.available}


def _kernels(kind: str) -> list[str]:
    """Attention kernels that torch may choose here; which one a step gets depends on its mask and types."""
    import torch

    if kind != "cuda":
        return ["flash" if kind == "cpu" else "metal", "math"]
    backends = torch.backends.cuda
    enabled = {"flash": backends.flash_sdp_enabled(), "memory-efficient": backends.mem_efficient_sdp_enabled(), "math": backends.math_sdp_enabled(),
               "cudnn": getattr(backends, "cudnn_sdp_enabled", bool)()}  # fmt: skip
    return [name for name, on in enabled.items() if on]


def _home() -> dict[str, Any]:
    from lab.runs import Home, is_there

    try:
        if not is_there():
            path = home_folder()
            return {"path": str(path), "free_bytes": shutil.disk_usage(next(above for above in path.parents if above.is_dir())).free}
        home = Home()
    except Refusal as refusal:
        return {"path": os.environ.get("LAB_HOME", "lab-home"), "problem": refusal.sentence}
    return {"path": str(home.path), "free_bytes": home.free_bytes()}


def _notes(found: dict[str, Any]) -> list[str]:
    """What the lab will do here that a person may not expect."""
    device, notes = found["device"], []
    if device["kind"] == "cpu":
        notes.append("Runs train on the processor, in fp32 whatever a run asks for: half precision is far slower there.")
    else:
        notes.append(f"Runs train on {device['name']}; auto means {found['precision']['auto']}, with the frozen model in that type and adapters in fp32.")
    notes.append(ATTENTION[device["kind"]])
    if device["count"] > 1:
        notes.append(
            f"There are {device['count']} accelerators: each run takes one, or as many as its option devices says, and {found['slots']} of one train at once."
        )
    if device["kind"] == "mps":
        notes.append("Plans model the kernels of CUDA and of processors, not those of MPS: take them as estimates here.")
    if not found["compile"]:
        notes.append("torch.compile has no compiler here: leave a run's option compile off.")
    if note := PLATFORMS.get(platform.system()):
        notes.append(note)
    if "problem" in found["home"]:
        notes.append(found["home"]["problem"])
    elif found["home"]["free_bytes"] < LITTLE:
        notes.append("There is little room on the disk of LAB_HOME: models and checkpoints take some GB.")
    return notes
