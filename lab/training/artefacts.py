"""What a run leaves in its folder.

    spec.yaml           the frozen spec
    best/, adapter/     adapter.safetensors, head.safetensors (a new task head), method.json: the best and the last weights
    predictions.json    a few held-out rows with what the best weights make of them
    result.json         the document that the store keeps as the run's result
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml
from safetensors.torch import load_file
from torch import Tensor

from lab.design.spec import RunSpec
from lab.training.assembly import Assembly
from lab.training.checkpoints import replace_folder, write_json, write_tensors

PREDICTIONS = 12


def write_spec(run_dir: Path, spec: RunSpec) -> None:
    """spec.yaml, once."""
    path = run_dir / "spec.yaml"
    if not path.exists():
        path.write_text(yaml.safe_dump(spec.document(), allow_unicode=True, sort_keys=False), encoding="utf-8")


def write_adapter(folder: Path, assembly: Assembly, facts: dict[str, Any]) -> None:
    """A folder with the weights as they are now, replaced whole; `facts`: the step and the numbers of its evaluation."""
    weights = assembly.weights()

    def fill(part: Path) -> None:
        for name, tensors in weights.items():
            write_tensors(part / f"{name}.safetensors", tensors)
        write_json(part / "method.json", {
            **facts, "objective": assembly.objective, "labels": list(assembly.task.label_names),
            "trainable": assembly.attached.trainable_now, "trainable_head": assembly.trainable_head,
            "method": assembly.spec.method.document(), "spec": assembly.spec.document(),
        })  # fmt: skip

    replace_folder(folder, fill)


def read_adapter(folder: Path) -> dict[str, dict[str, Tensor]]:
    """{"adapter": ..., "head": ...} of a folder that `write_adapter` made. OSError when it is not there."""
    return {path.stem: load_file(path) for path in sorted(folder.glob("*.safetensors"))}


def step_of(folder: Path) -> int | None:
    """The step of the weights in such a folder, None where it cannot be told."""
    try:
        return json.loads((folder / "method.json").read_text(encoding="utf-8"))["step"]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def write_predictions(run_dir: Path, assembly: Assembly, device: Any) -> None:
    """predictions.json; a task that has none to show leaves none."""
    try:
        found = assembly.task.predictions(assembly.model, PREDICTIONS, device=device)
    except ValueError:  # a Refusal: nothing single to show
        return
    write_json(run_dir / "predictions.json", found)
