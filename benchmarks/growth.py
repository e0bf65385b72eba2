"""What attaching, merging, saving and loading take beside peft, and how they and a step grow: python benchmarks/growth.py [--json]

Beside peft: LoRA at six projections of a random BERT of 12 layers, medians of processor time, the two in turns; below 1 means less than peft. Growth: the same
on 3, 6 and 12 layers, at ranks 8, 32 and 128, and with 1, 4 and 8 deltas at the same projection, each as a ratio to the first of its row.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import torch  # noqa: E402
from beside_peft import batch_of  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402
from transformers import BertConfig, BertForSequenceClassification  # noqa: E402

from lab.design.method.delta import Method  # noqa: E402
from lab.design.method.named import load_method  # noqa: E402
from lab.engine import attach  # noqa: E402

ROUNDS = 7
PLACES = ["attn.q", "attn.k", "attn.v", "attn.out", "ffn.up", "ffn.down"]
MODULES = ["query", "key", "value", "attention.output.dense", "intermediate.dense", "output.dense"]


def bert(layers: int) -> BertForSequenceClassification:
    """A random BERT of width 384."""
    torch.manual_seed(0)
    config = BertConfig(hidden_size=384, num_hidden_layers=layers, num_attention_heads=12, intermediate_size=1536, vocab_size=8000, num_labels=2)
    return BertForSequenceClassification(config)


def lora(rank: int = 8, deltas: int = 1) -> Method:
    """LoRA at six projections, so many times beside each other."""
    one = load_method("lora", {"deltas.0.at": PLACES, "deltas.0.rank": rank})
    return one.model_copy(update={"deltas": one.deltas * deltas})


def clock(work: Callable[[], Any]) -> tuple[float, Any]:
    """(processor seconds, what it gave)."""
    began = time.process_time()
    found = work()
    return time.process_time() - began, found


def ours(layers: int, method: Method, folder: Path, batch: dict[str, torch.Tensor] | None = None) -> dict[str, float]:
    """{verb: seconds} of one round."""
    model, took = bert(layers), {}
    took["attach"], attached = clock(lambda: attach(model, method, seed=0))
    if batch is not None:
        took["step"] = step(model, list(attached.trainable().values()), batch)
    model.eval()
    file = folder / "ours.safetensors"
    took["save"], _ = clock(lambda: save_file(attached.state_dict(), file))
    took["merge"], _ = clock(attached.merge)
    attached.unmerge()
    again = bert(layers)
    took["load"], _ = clock(lambda: attach(again, method, seed=0, state=load_file(file)))
    return took


def theirs(layers: int, rank: int, folder: Path) -> dict[str, float]:
    """The same of peft."""
    from peft import LoraConfig, PeftModel, get_peft_model

    model, took = bert(layers), {}
    took["attach"], wrapped = clock(lambda: get_peft_model(model, LoraConfig(r=rank, lora_alpha=rank, target_modules=MODULES)))
    took["save"], _ = clock(lambda: wrapped.save_pretrained(folder / "theirs"))
    took["merge"], _ = clock(wrapped.merge_adapter)
    again = bert(layers)
    took["load"], _ = clock(lambda: PeftModel.from_pretrained(again, folder / "theirs"))
    return took


def step(model: torch.nn.Module, trained: list[torch.nn.Parameter], batch: dict[str, torch.Tensor]) -> float:
    """Processor seconds of a training step, the better of two."""
    optimizer = torch.optim.AdamW(trained)
    model.train()
    times = []
    for _ in range(2):
        began = time.process_time()
        model(**batch).loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        times.append(time.process_time() - began)
    return min(times)


def beside_peft(folder: Path) -> dict[str, dict[str, float]]:
    """{verb: {"ours", "peft", "ratio"}} of medians."""
    rounds = [(ours(12, lora(), folder), theirs(12, 8, folder)) for _ in range(ROUNDS + 1)][1:]  # the first imports
    found = {}
    for verb in ("attach", "save", "merge", "load"):
        mine, other = (statistics.median(round_[side][verb] for round_ in rounds) for side in (0, 1))
        found[verb] = {"ours": mine, "peft": other, "ratio": mine / other}
    return found


def growth(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """{what grows: [{"at", verb: seconds, ...}]} of medians."""
    batch = batch_of("minilm", 8, 32)
    axes = {
        "layers": [(at, at, lora()) for at in (3, 6, 12)],
        "rank": [(at, 6, lora(at)) for at in (8, 32, 128)],
        "deltas at one place": [(at, 6, lora(8, at)) for at in (1, 4, 8)],
    }
    found: dict[str, list[dict[str, Any]]] = {}
    for name, points in axes.items():
        for at, layers, method in points:
            rounds = [ours(layers, method, folder, batch) for _ in range(3)]
            found.setdefault(name, []).append({"at": at, **{verb: statistics.median(one[verb] for one in rounds) for verb in rounds[0]}})
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print one JSON document only")
    given = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="lab-growth-") as name:
        found = {"beside": beside_peft(Path(name)), "growth": growth(Path(name))}
    if given.json:
        print(json.dumps(found))
        return 0
    for verb, row in found["beside"].items():
        print(f"{verb:8} {1000 * row['ours']:8.1f} ms {1000 * row['peft']:8.1f} ms in peft   {row['ratio']:6.3f}")
    for name, rows in found["growth"].items():
        print(name)
        for row in rows:
            print("  ", row["at"], "  ".join(f"{verb} {row[verb] / rows[0][verb]:.2f}" for verb in row if verb != "at"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
