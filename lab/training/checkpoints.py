"""Checkpoints that are whole or absent: safetensors and JSON, never a pickle.

A checkpoint is checkpoints/step-000150/ with `adapter.safetensors` (and `head.safetensors`), `trainer.safetensors`,
`trainer.json` and `manifest.json` (each file's size and CRC-32). It is written in a hidden folder, synced to the disk and
renamed; the last `keep` stay. Reading takes the newest whose every file matches its manifest and whose weights are finite.

`flatten` turns a nested state into JSON plus named tensors, `restore` puts it together again:
    {"rank": 4, "scores": [tensor]}  →  {"rank": 4, "scores": [{"$tensor": "t0"}]},  {"t0": tensor}
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from lab.design.plain.message import Message
from lab.runs.files import recover, replace_folder, sync, verify, write_json, write_manifest

__all__ = [
    "Checkpoint",
    "Checkpoints",
    "Diverged",
    "flatten",
    "not_finite",
    "recover",
    "replace_folder",
    "restore",
    "write_json",
    "write_manifest",
    "write_tensors",
]

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


class Diverged(ArithmeticError):
    """The loss or a weight is no finite number any more, said in a sentence as a Refusal's."""

    def __init__(self, sentence: Message):
        super().__init__(sentence)
        self.sentence = sentence


def write_tensors(path: Path, tensors: dict[str, torch.Tensor], metadata: dict[str, str] | None = None) -> None:
    """A safetensors file of copies on the CPU, synced to the disk."""
    copies = {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in tensors.items()}
    save_file(copies, path, metadata={"format": "pt", **(metadata or {})})
    sync(path)


def not_finite(weights: dict[str, dict[str, torch.Tensor]]) -> str:
    """The first tensor that holds a value which is no finite number, as group/name; '' where all are finite."""
    for group, tensors in weights.items():
        for name, tensor in tensors.items():
            if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
                return f"{group}/{name}"
    return ""


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
        """Write one and delete the oldest beyond `keep`. OSError (disk full) leaves the earlier ones as they were, and so does
        Diverged: of weights or an optimizer that hold a value which is no finite number there is none."""
        state: dict[str, torch.Tensor] = {}
        document = flatten(trainer, state)
        if name := not_finite({**tensors, "trainer": state}):
            raise Diverged(Message("The weights are not finite numbers at step {step} ({name}): lower lr, or add warmup.", step=step, name=name))

        def fill(folder: Path) -> None:
            for name, group in tensors.items():
                write_tensors(folder / f"{name}.safetensors", group)
            write_tensors(folder / "trainer.safetensors", state)
            write_json(folder / "trainer.json", document)
            write_manifest(folder, step)

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
        step = verify(folder)
        document = json.loads((folder / "trainer.json").read_text(encoding="utf-8"))
        trainer = restore(document, _read(folder / "trainer.safetensors"))
        groups = {p.stem: _read(p) for p in folder.glob("*.safetensors") if p.stem != "trainer"}
        if name := not_finite(groups):
            raise ValueError(f"{name} is not finite")
        return Checkpoint(step, groups, trainer)

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
