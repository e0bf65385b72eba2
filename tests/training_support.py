"""Small, real runs for tests of the loop: tiny random models saved with a tokenizer, and a sentiment task in a file."""

from __future__ import annotations

import csv
import random
from pathlib import Path
from typing import Any

from tiny import tiny
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from lab.design.spec.run import RunSpec, spec_of

GOOD = ["fine", "great", "warm", "clever", "bright", "lovely"]
BAD = ["dull", "weak", "flat", "stale", "grim", "silly"]
PLAIN = ["the", "a", "film", "plot", "cast", "it", "was", "and", "with", "very", "of", "story"]


def save_model(folder: Path, kind: str = "bert", objective: str | None = None, **overrides: Any) -> str:
    """A tiny random model with a word-level tokenizer, as a folder that the lab loads; its path."""
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "</s>", *GOOD, *BAD, *PLAIN]
    core = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    core.pre_tokenizer = pre_tokenizers.Whitespace()
    core.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])  # fmt: skip
    PreTrainedTokenizerFast(tokenizer_object=core, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]",
                            eos_token="</s>", model_max_length=64).save_pretrained(folder)  # fmt: skip
    counted = {"pad_token_id": 0, "max_position_embeddings": 65} if kind in ("roberta", "xlm_roberta") else {}  # they count positions from the padding token
    tiny(kind, objective, **{**counted, **overrides}).save_pretrained(folder)
    return str(folder)


def save_task(folder: Path, rows: int = 200, seed: int = 0) -> dict[str, Any]:
    """Sentences of 2 to 30 words, half of them of one sentiment; the task as a document."""
    draw = random.Random(seed)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "reviews.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        for _ in range(rows):
            good = draw.random() < 0.5
            words = [draw.choice(PLAIN if draw.random() < 0.5 else GOOD if good else BAD) for _ in range(draw.randint(2, 30))]
            writer.writerow([" ".join(words), "pos" if good else "neg"])
    return {"name": "toy", "family": "classification", "labels": ["neg", "pos"], "max_length": 48,
            "source": {"file": str(path), "hash": {"validation": 0.2, "test": 0.1}}}  # fmt: skip


def spec(model: str, task: Any, method: Any = "lora", seed: int = 0, **training: Any) -> RunSpec:
    """A run of a few steps, without the energy estimate."""
    given = {"steps": 12, "batch_size": 8, "evaluate_every": 4, "energy": False, "device": "cpu", **training}
    return spec_of({"model": model, "task": task, "method": method, "seed": seed, "training": given})
