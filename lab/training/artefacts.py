"""What a run leaves in its folder.

spec.yaml           the frozen spec
best/, adapter/     adapter.safetensors, head.safetensors (a new task head), method.json: the best and the last weights
best/rows.npz       what each row that the best were judged on came to (lab.tasks.answered); test-rows.npz: of the test split, where it was asked for
predictions.json    a few held-out rows with what the best weights make of them
result.json         the document that the store keeps as the run's result
"""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import yaml
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from lab.design.plain.message import Message, word
from lab.design.spec.run import RunSpec
from lab.runs.files import MANIFEST, replace_folder, verify, write_json, write_manifest
from lab.tasks import answered
from lab.training.assembly import Assembly
from lab.training.checkpoints import Diverged, not_finite, write_tensors

PREDICTIONS = 12


def write_spec(run_dir: Path, spec: RunSpec) -> None:
    """spec.yaml, once."""
    path = run_dir / "spec.yaml"
    if not path.exists():
        path.write_text(yaml.safe_dump(spec.document(), allow_unicode=True, sort_keys=False), encoding="utf-8")


def write_adapter(folder: Path, assembly: Assembly, facts: dict[str, Any], judged_on: dict[str, int] | None = None, answers: bytes = b"") -> None:
    """A folder with the weights as they are now, replaced whole; `facts`: the step and the numbers of its evaluation, on `judged_on` ({"rows", "of"}).

    `answers`: what each of those rows came to (`Evaluator.answers`).
    """
    weights = assembly.weights()
    if name := not_finite(weights):
        raise Diverged(Message("The weights are not finite numbers at step {step} ({name}): lower lr, or add warmup.", step=facts["step"], name=name))

    def fill(part: Path) -> None:
        for name, tensors in weights.items():
            write_tensors(part / f"{name}.safetensors", tensors)
        write_json(part / "method.json", {
            **facts, **({"judged_on": judged_on} if judged_on else {}), **assembly.answers(),
            "trainable": assembly.attached.trainable_now, "trainable_head": assembly.trainable_head,
            "method": assembly.spec.method.document(), "spec": assembly.spec.document(),
        })  # fmt: skip
        if answers:
            (part / answered.FILE).write_bytes(answers)
        write_manifest(part, int(facts["step"]))

    replace_folder(folder, fill)


def read_adapter(folder: Path) -> dict[str, dict[str, Tensor]]:
    """{"adapter": ..., "head": ...} of a folder that `write_adapter` made. OSError when it is not there."""
    return {path.stem: load_file(path) for path in sorted(folder.glob("*.safetensors"))}


def read_whole(folder: Path) -> dict[str, dict[str, Tensor]]:
    """The same, every file checked against its manifest (runs of earlier labs have none). OSError or ValueError where it is missing or damaged."""
    if (folder / MANIFEST).exists():
        verify(folder)
    try:
        return read_adapter(folder) or verify(folder)
    except SafetensorError as error:
        raise ValueError(str(error)) from None


def astray(run_dir: Path, result: dict[str, Any]) -> str:
    """What of a succeeded run's files is not there as its result says, as the end of a sentence; '' where everything is."""
    wanted = {"adapter": result["steps"], "best": (result["best"] or {}).get("step")}
    for name, step in wanted.items():
        if step is None:
            continue
        try:
            found = verify(run_dir / name)
        except OSError as error:
            return Message("{name}/ cannot be read ({reason})", name=name, reason=word(error.strerror or error))
        except ValueError as error:
            return Message("{name}/ is damaged ({reason})", name=name, reason=error)
        if found != step:
            return Message("{name}/ has the weights of step {found}, not of step {step}", name=name, found=found, step=step)
    return ""


def step_of(folder: Path) -> int | None:
    """The step of the weights in such a folder, None where it cannot be told."""
    try:
        return json.loads((folder / "method.json").read_text(encoding="utf-8"))["step"]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def answers_of(folder: Path) -> bytes:
    """What each row that the weights in a folder were judged on came to; b"" where that was not kept."""
    try:
        return (folder / answered.FILE).read_bytes()
    except OSError:
        return b""


def write_test_answers(run_dir: Path, answers: bytes) -> None:
    """test-rows.npz, whole or not at all."""
    if answers:
        part = run_dir / f".test-{answered.FILE}"
        part.write_bytes(answers)
        part.replace(run_dir / f"test-{answered.FILE}")


def predictions(assembly: Assembly, device: Any) -> list[dict[str, Any]]:
    """A few held-out rows with what the weights as they are now make of them; [] of a task that has none to show. Of several tasks each row says whose it is."""
    found: list[dict[str, Any]] = []
    for name in assembly.tasks:
        with contextlib.suppress(ValueError):  # a Refusal: nothing single to show
            rows = assembly.turn(name).predictions(assembly.model, PREDICTIONS, device=device)
            found += [{"task": name, **row} for row in rows] if assembly.several else rows
    return found


def write_predictions(run_dir: Path, rows: list[dict[str, Any]]) -> None:
    """predictions.json; where there is nothing to show there is none."""
    if rows:
        write_json(run_dir / "predictions.json", rows)
