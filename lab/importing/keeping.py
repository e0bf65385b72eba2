"""An imported adapter as a run of the store: it is over, has weights, and has no numbers."""

from __future__ import annotations

import shutil
from pathlib import Path

import yaml

from lab.design.plain.refusal import Refusal
from lab.design.spec.run import RunSpec
from lab.importing.reading import Imported
from lab.runs import default
from lab.runs.files import replace_folder, sync, write_json, write_manifest
from lab.runs.home import new_id


def keep(spec: RunSpec, found: Imported, total: int) -> str:
    """Write the weights into a new run's folder and enter the run; its id. `spec`: checked; `total`: weights of the base. Refusal, nothing left, where a number is none."""
    for group, tensors in found.weights.items():
        for name, tensor in tensors.items():
            if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
                raise Refusal(
                    "The tensor '{name}' of this adapter ({place}) has numbers that are none (infinite, or not a number).",
                    "source",
                    name=name[:120],
                    place=group,
                )
    lab = default()
    run_id, document = new_id(), spec.document()
    folder = lab.home.run_dir(run_id, create=True)
    try:
        (folder / "spec.yaml").write_text(yaml.safe_dump(document, sort_keys=False, allow_unicode=True), encoding="utf-8")
        for place in ("best", "adapter"):  # what was trained elsewhere is both the best and the last
            _write(folder / place, spec, found)
        head = sum(tensor.numel() for tensor in found.weights.get("head", {}).values())
        result = {"run": run_id, "state": "succeeded", "trainable": found.trainable, "trainable_final": found.trainable, "trainable_head": head, "total": total,
                  "percent": 100 * found.trainable / total, "metrics": {}, "best": {}, "steps": 0, "imported": found.about}  # fmt: skip
        lab.store.enter(run_id, document, spec.name, spec.tags, result, f"Imported from {found.about['from']} ({found.about['format']}).")
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return run_id


def _write(folder: Path, spec: RunSpec, found: Imported) -> None:
    from safetensors.torch import save_file

    def fill(part: Path) -> None:
        for name, tensors in found.weights.items():
            save_file(
                {key: tensor.detach().to("cpu").clone().contiguous() for key, tensor in tensors.items()},
                part / f"{name}.safetensors",
                metadata={"format": "pt"},
            )
            sync(part / f"{name}.safetensors")
        write_json(
            part / "method.json",
            {**found.answers, "imported": found.about, "trainable": found.trainable, "method": spec.method.document(), "spec": spec.document()},
        )
        write_manifest(part, 0)

    replace_folder(folder, fill)
