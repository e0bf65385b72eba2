"""Checkpoints that are whole or absent: safetensors and JSON, never a pickle.

A checkpoint is checkpoints/step-000150/ with `adapter.safetensors` (and `head.safetensors`), `trainer.safetensors`,
`trainer.json` and `manifest.json` (each file's size and CRC-32). It is written in a hidden folder, synced to the disk and
renamed; the last `keep` stay. Reading takes the newest whose every file matches its manifest.

`flatten` turns a nested state into JSON plus named tensors, `restore` puts it together again:
    {"rank": 4, "scores": [tensor]}  →  {"rank": 4, "scores": [{"$tensor": "t0"}]},  {"t0": tensor}
"""

from __future__ import annotations

import json
import os
import re
import shutil
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file

FOLDER = re.compile(r"step-(\d{6,})")


def flatten(value: Any, tensors: dict[str, torch.Tensor]) -> Any:
    """`value` as JSON, its tensors and arrays added to `tensors`. TypeError for anything that is not plain."""
    if isinstance(value, (torch.Tensor, np.ndarray)):
        kind = "$tensor" if isinstance(value, torch.Tensor) else "$array"
        name = f"t{len(tensors)}"
        tensors[name] = torch.as_tensor(value).detach()
        return {kind: name}
    if isinstance(value, dict):
        if all(isinstance(key, str) and not key.startswith("$") for key in value):
            return {key: flatten(item, tensors) for key, item in value.items()}
        return {"$items": [[flatten(key, tensors), flatten(item, tensors)] for key, item in value.items()]}
    if isinstance(value, tuple):
        return {"$tuple": [flatten(item, tensors) for item in value]}
    if isinstance(value, list):
        return [flatten(item, tensors) for item in value]
    if isinstance(value, np.generic):
        return value.item()
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise TypeError(f"a checkpoint holds plain values and tensors, not {type(value).__name__}")


def restore(value: Any, tensors: dict[str, torch.Tensor]) -> Any:
    """What `flatten` was given."""
    if isinstance(value, list):
        return [restore(item, tensors) for item in value]
    if not isinstance(value, dict):
        return value
    if "$tensor" in value:
        return tensors[value["$tensor"]]
    if "$array" in value:
        return tensors[value["$array"]].numpy()
    if "$tuple" in value:
        return tuple(restore(item, tensors) for item in value["$tuple"])
    if "$items" in value:
        return {restore(key, tensors): restore(item, tensors) for key, item in value["$items"]}
    return {key: restore(item, tensors) for key, item in value.items()}


def write_tensors(path: Path, tensors: dict[str, torch.Tensor], metadata: dict[str, str] | None = None) -> None:
    """A safetensors file of copies on the CPU, synced to the disk."""
    copies = {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in tensors.items()}
    save_file(copies, path, metadata={"format": "pt", **(metadata or {})})
    sync(path)


def write_json(path: Path, document: Any) -> None:
    """A JSON file, written beside and renamed, so that a reader never sees half of it."""
    part = path.with_name(f".{path.name}.{os.getpid()}")
    part.write_text(json.dumps(document, ensure_ascii=False, indent=1), encoding="utf-8")
    sync(part)
    part.replace(path)


def sync(path: Path) -> None:
    """Ask the system to put a file or folder on the disk; folders cannot be synced everywhere."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(handle)
    except OSError:
        pass
    finally:
        os.close(handle)


def replace_folder(target: Path, fill: Callable[[Path], None]) -> None:
    """Make `target` what `fill(folder)` writes, all or nothing: a hidden folder beside it, synced, then renamed."""
    target.parent.mkdir(parents=True, exist_ok=True)
    recover(target)
    part, old = target.with_name(f".part-{target.name}"), target.with_name(f".old-{target.name}")
    for leftover in (part, old):
        shutil.rmtree(leftover, ignore_errors=True)
    part.mkdir()
    try:
        fill(part)
        sync(part)
        if target.exists():
            target.rename(old)
        part.rename(target)
        sync(target.parent)
    finally:
        recover(target)
        shutil.rmtree(part, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def recover(target: Path) -> None:
    """Put the old folder back where a process was killed between the two renames of `replace_folder`."""
    old = target.with_name(f".old-{target.name}")
    if old.exists() and not target.exists():
        old.rename(target)


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that was read and found whole."""

    step: int
    tensors: dict[str, dict[str, torch.Tensor]]  # by file: "adapter", "head"
    trainer: dict[str, Any]


class Checkpoints:
    """The checkpoints of one run, newest last. `say` gets a line about a damaged one."""

    def __init__(self, folder: Path, keep: int = 2, say: Callable[[str], None] = print):
        self.folder, self.keep, self.say = Path(folder), keep, say

    def steps(self) -> list[int]:
        """The steps of which there are checkpoints, ascending, whole or not."""
        if not self.folder.is_dir():
            return []
        return sorted(int(found[1]) for path in self.folder.iterdir() if (found := FOLDER.fullmatch(path.name)) and path.is_dir())

    def path(self, step: int) -> Path:
        """The folder of a step's checkpoint."""
        return self.folder / f"step-{step:06d}"

    def write(self, step: int, tensors: dict[str, dict[str, torch.Tensor]], trainer: dict[str, Any]) -> Path:
        """Write one and delete the oldest beyond `keep`. OSError (disk full) leaves the earlier ones as they were."""

        def fill(folder: Path) -> None:
            for name, group in tensors.items():
                write_tensors(folder / f"{name}.safetensors", group)
            state: dict[str, torch.Tensor] = {}
            document = flatten(trainer, state)
            write_tensors(folder / "trainer.safetensors", state)
            write_json(folder / "trainer.json", document)
            files = {path.name: _fingerprint(path) for path in sorted(folder.iterdir())}
            write_json(folder / "manifest.json", {"step": step, "files": files})

        replace_folder(self.path(step), fill)
        for old in [s for s in self.steps() if s != step][: -self.keep + 1 or None]:
            self._remove(old)
        return self.path(step)

    def latest(self) -> Checkpoint | None:
        """The newest whole checkpoint, or None. A damaged one is told, removed, and the one before it taken."""
        for step in reversed(self.steps()):
            try:
                return self.read(step)
            except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
                self.say(f"The checkpoint of step {step} is damaged ({str(error)[:120]}); taking the one before it.")
                self._remove(step)
        return None

    def read(self, step: int) -> Checkpoint:
        """One checkpoint, checked against its manifest. ValueError or OSError when it is not whole."""
        folder = self.path(step)
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        for name, expected in manifest["files"].items():
            if _fingerprint(folder / name) != expected:
                raise ValueError(f"{name} is not as it was written")
        document = json.loads((folder / "trainer.json").read_text(encoding="utf-8"))
        trainer = restore(document, _read(folder / "trainer.safetensors"))
        groups = {p.stem: _read(p) for p in folder.glob("*.safetensors") if p.stem != "trainer"}
        return Checkpoint(manifest["step"], groups, trainer)

    def _remove(self, step: int) -> None:
        gone = self.folder / f".old-step-{step:06d}"
        shutil.rmtree(gone, ignore_errors=True)
        self.path(step).rename(gone)
        shutil.rmtree(gone, ignore_errors=True)


def _read(path: Path) -> dict[str, torch.Tensor]:
    try:
        return load_file(path)
    except Exception as error:  # safetensors raises its own kind
        raise ValueError(f"{path.name}: {error}") from error


def _fingerprint(path: Path) -> list[int]:
    """Size in bytes and CRC-32."""
    crc = 0
    with path.open("rb") as file:
        while block := file.read(1 << 22):
            crc = zlib.crc32(block, crc)
    return [path.stat().st_size, crc]
