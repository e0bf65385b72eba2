"""What exports are proved with: tiny models with a method attached and moved, the code of their cards, and the table of round trips.

With LAB_EXPORTS=file in the environment, conftest.py writes what `told` was given there; `python benchmarks/exports.py` makes docs/export-table.md of it.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import torch
from tiny import tiny, tiny_batch
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoModelForSequenceClassification

from lab.design.spec.run import spec_of
from lab.engine import attach
from lab.engine.select import head_parameters
from lab.export.source import Opened

AUTO = {"classification": AutoModelForSequenceClassification, "causal": AutoModelForCausalLM, "seq2seq": AutoModelForSeq2SeqLM}
FOUND: dict[tuple[str, str, str], str] = {}
FITTING = {  # options by which presets fit a width of 32; FourierFT's scale is for wide models: here ΔW would be so large that rounding shows in the logits
    "fourierft": {"deltas.0.rank": 40, "deltas.0.scale": 15.0},
    "p-tuning": {"deltas.0.rank": 8}, "prompt-tuning": {"deltas.0.rank": 8}, "lora-ffn": {"deltas.0.rank": 8}, "c3a": {"deltas.0.rank": 8}, "hira": {"deltas.0.rank": 8}, "boft": {"deltas.0.rank": 4}, "oft": {"deltas.0.rank": 16},
    "prefix-lora-ffn": {"deltas.1.rank": 8}, "eva": {"deltas.0.rank": 5, "deltas.0.allocation.rank_max": 8}, "mam": {"deltas.0.encoder_width": 16, "deltas.1.rank": 8},
    "lamda-plus-plus": {"deltas.0.rank": 8, "deltas.0.allocation.rank_min": 4, "deltas.0.allocation.rank_max": 12},
}  # fmt: skip


def told(method: str, family: str, format: str, outcome: str) -> None:
    """Note what became of a method on a family of models in a format: "equal", or the sentence of a refusal."""
    FOUND[method, family, format] = outcome


def write_told(path: str) -> None:
    """The outcomes of this session, over those that the file has."""
    file = Path(path)
    rows = {tuple(row[:3]): row[3] for row in json.loads(file.read_text(encoding="utf-8"))} if file.is_file() else {}
    rows |= FOUND
    file.write_text("[\n" + ",\n".join(json.dumps([*key, rows[key]]) for key in sorted(rows)) + "\n]\n", encoding="utf-8")


def trained(architecture: str, objective: str, method, seed: int = 3, **more) -> Opened:
    """A tiny model with a method attached and every trained part (and the new head) moved, as after training."""
    spec = spec_of({"model": "minilm-l6", "task": "sentiment-rt", "method": method})
    model = tiny(architecture, objective)
    attached = attach(model, spec.method, seed=seed, look=lambda rows, size: (model(**tiny_batch(model)).loss for _ in range(1)))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        moved = list(attached.trainable().values()) + (list(head_parameters(model).values()) if objective == "classification" else [])
        for parameter in moved:
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.05)
    return Opened(spec, model.eval(), attached, objective=objective, base=f"tiny-{architecture}", metrics={"accuracy": 0.75}, **more)


def logits(model, batch):
    with torch.no_grad():
        return model(**inputs(model, batch)).logits


def inputs(model, batch) -> dict[str, torch.Tensor]:
    """What a model is asked; a decoder behind an encoder reads the labels (which peft's AdaLoRA would take for a step of training)."""
    asked = {key: value for key, value in batch.items() if key != "labels"}
    if model.config.is_encoder_decoder and batch["labels"].dim() == 2:
        inner = model.get_base_model() if hasattr(model, "get_base_model") else model
        asked["decoder_input_ids"] = inner.prepare_decoder_input_ids_from_labels(labels=batch["labels"])
    return asked


TOKENS = 5  # of a greedy answer


def greedy(model, batch) -> torch.Tensor | None:
    """What a model that writes text says after the first row, which has no padding; None for others, and for a T5 of unequal stacks, whose cache transformers makes too short."""
    if model.config.model_type == "t5" or not type(model).__name__.endswith(
        ("ForCausalLM", "ForConditionalGeneration", "LMHeadModel", "PeftModelForCausalLM", "PeftModelForSeq2SeqLM")
    ):
        return None
    with torch.no_grad():
        return model.generate(input_ids=batch["input_ids"][:1], max_new_tokens=TOKENS, do_sample=False)


def small(preset: str, **changes):
    return {"preset": preset, "set": {"deltas.0.rank": 4, **{key.replace("__", "."): value for key, value in changes.items()}}}


def code_of_card(folder: Path) -> str:
    """The Python code of a model card."""
    found = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    assert len(found) == 1
    return found[0]


def run_card(folder: Path, monkeypatch) -> dict:
    """What the code of a card leaves when it is run in its folder, with the base beside it under its name."""
    space: dict = {}
    monkeypatch.chdir(folder)
    exec(compile(code_of_card(folder), "README.md", "exec"), space)  # noqa: S102
    return space
