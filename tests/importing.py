"""What imports are proved with: tiny bases in folders, tasks of each kind, and the way there and back."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from exporting import logits, trained
from safetensors.torch import load_file
from tiny import tiny, tiny_batch

from lab import importing
from lab.design.spec.task import TaskSpec
from lab.engine import attach
from lab.engine.looking import nothing
from lab.export import write
from lab.export.source import Opened, load_head
from lab.models import load

FAMILY = {
    "classification": {"family": "classification", "labels": ["a", "b", "c"]},
    "causal": {"family": "language_modelling"},
    "seq2seq": {"family": "summarization"},
}


def task_of(objective: str) -> TaskSpec:
    """A task of that objective, whose data nobody reads."""
    return TaskSpec(name="mine", source={"file": "rows.jsonl"}, **FAMILY[objective])


def base_of(architecture: str, objective: str, root: Path) -> str:
    """The tiny base of `trained`, in a folder."""
    folder = root / f"base-{architecture}-{objective}"
    if not folder.exists():
        tiny(architecture, objective).save_pretrained(folder)
    return str(folder)


def brought(folder: Path, architecture: str, objective: str, root: Path) -> tuple[importing.Imported, Opened]:
    """What is read of a folder, and a base with it attached."""
    base = base_of(architecture, objective, root)
    with importing.opened(str(folder)) as opened:
        found = importing.read(opened, task_of(objective), base)
    model = load(base, objective=objective, num_labels=3 if objective == "classification" else None)
    if "head" in found.weights:
        load_head(model, found.weights["head"])
    attached = attach(model, found.spec.method, state=found.weights["adapter"], frozen={}, look=nothing)
    return found, Opened(found.spec, model.eval(), attached, objective=objective, base=f"tiny-{architecture}")


def there_and_back(architecture: str, objective: str, method, format: str, root: Path, beside: bool = False) -> importing.Imported:
    """Export, import, export again: equal logits, the same tensors, the same configuration. `beside`: with the lab's own notes, which say the method's name."""
    opened = trained(architecture, objective, method)
    batch = tiny_batch(opened.model)
    ours = logits(opened.model, batch)
    folder = write(opened, format, root / "out")
    if not beside:
        (folder / "delta_lab.json").unlink()
    found, again = brought(folder, architecture, objective, root)
    assert (logits(again.model, batch) - ours).abs().max() <= 1e-5
    assert (logits(tiny(architecture, objective), batch) - ours).abs().max() > 1e-4, "the method does nothing, so equality would say nothing"
    second = write(again, format, root / "again")
    for name in [path.name for path in folder.iterdir() if path.suffix == ".safetensors"]:
        first, other = load_file(folder / name), load_file(second / name)
        assert first.keys() == other.keys()
        for key, tensor in first.items():
            assert torch.allclose(tensor.float(), other[key].float(), rtol=2e-7, atol=1e-8), key
    first, other = (json.loads((each / "adapter_config.json").read_text(encoding="utf-8")) for each in (folder, second))
    assert first == other
    return found
