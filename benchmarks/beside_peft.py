"""The same step here and in peft: processor time and peak memory, as ratios of one run. python benchmarks/beside_peft.py [--only lora vera] [--json]

For each method that peft has, one model with our method and one with peft's, on the same weights, batch and optimizer (the oracles of the tests
pair the tensors, so both compute the same numbers). Steps of the two take turns; the ratio is that of the medians of processor time (torch's threads
included). Memory is the peak of one more step of each under the planner's tracker, less the weights that both have. Below 1 means less than peft.
Encoders are MiniLM with a classification head; methods that peft makes for decoders only run on a random GPT-2 of four layers.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import statistics
import sys
import time
import warnings
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
warnings.simplefilter("ignore")

import torch  # noqa: E402
from oracles import peft_side  # noqa: E402

from lab.design.method.named import load_method  # noqa: E402
from lab.engine import attach  # noqa: E402
from lab.models import load  # noqa: E402
from lab.planning.meter import measure_step  # noqa: E402

ALL = "[attn.q, attn.k, attn.v, attn.out, ffn.up, ffn.down]"
CASES: dict[str, tuple[str, str, dict[str, Any], Any]] = {  # name: model, preset, overrides, peft's side
    "lora": ("minilm", "lora", {}, peft_side.lora),
    "lora, six projections": ("minilm", "lora", {"deltas.0.at": ALL}, peft_side.lora),
    "lora, dropout 0.1": ("minilm", "lora", {"deltas.0.at": ALL, "deltas.0.dropout": 0.1}, peft_side.lora),
    "lora-fa": ("minilm", "lora-fa", {"deltas.0.at": ALL}, peft_side.lora),
    "adalora": ("minilm", "adalora", {}, peft_side.adalora),
    "vera": ("minilm", "vera", {}, peft_side.vera),
    "ia3": ("minilm", "ia3", {}, peft_side.ia3),
    "ln-tuning": ("minilm", "ln-tuning", {}, peft_side.ln_tuning),
    "prefix-tuning": ("gpt2", "prefix-tuning", {"deltas.0.positions": "shift"}, peft_side.prefix),
    "prefix-tuning-mlp": ("gpt2", "prefix-tuning-mlp", {"deltas.0.positions": "shift"}, peft_side.prefix),
    "prompt-tuning": ("gpt2", "prompt-tuning", {}, lambda model, attached: peft_side.prompt(model, attached, "causal")),
    "p-tuning": ("gpt2", "p-tuning", {"deltas.0.encoder": "mlp"}, lambda model, attached: peft_side.p_tuning(model, attached, "causal")),
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="*", help="these cases only")
    parser.add_argument("--rounds", type=int, default=15, help="steps of each side (default 15)")
    parser.add_argument("--batch", type=int, default=16, help="rows (default 16)")
    parser.add_argument("--tokens", type=int, default=64, help="tokens of the longest row (default 64)")
    parser.add_argument("--json", action="store_true", help="print one JSON document only")
    given = parser.parse_args()
    found = {}
    if not given.json:
        print(f"{'method':24} {'step time':>10} {'memory':>8}   (ours / peft; {given.batch} rows of up to {given.tokens} tokens)", flush=True)
    for name in given.only or CASES:
        row = found[name] = compare(name, given)
        if not given.json:
            print(f"{name:24} {row['time_ratio']:10.3f} {row['memory_ratio']:8.3f}", flush=True)
    if given.json:
        print(json.dumps(found))
    return 0


def pristine(kind: str) -> torch.nn.Module:
    """MiniLM with a head, or a random GPT-2 of width 384 and four layers."""
    if kind == "minilm":
        return load("minilm-l6", objective="classification", num_labels=2)
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    return GPT2LMHeadModel(GPT2Config(n_embd=384, n_head=6, n_layer=4, n_positions=256, vocab_size=8000))


def batch_of(kind: str, rows: int, tokens: int) -> dict[str, torch.Tensor]:
    """Rows of different lengths, padded on the right."""
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(1000, 7000, (rows, tokens), generator=generator)
    lengths = torch.linspace(tokens // 2, tokens, rows).long()
    mask = (torch.arange(tokens)[None] < lengths[:, None]).long()
    labels = torch.randint(0, 2, (rows,), generator=generator) if kind == "minilm" else ids.masked_fill(mask == 0, -100)
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}


class Side:
    """One of the two: a model, its optimizer, and the times of its steps."""

    def __init__(self, model: torch.nn.Module, trained: list[torch.nn.Parameter], penalty: Any = None):
        self.model, self.trained, self.penalty = model.train(), trained, penalty
        self.optimizer = torch.optim.AdamW(trained, lr=1e-4)
        self.seconds: list[float] = []

    def step(self, batch: dict[str, torch.Tensor]) -> None:
        loss = self.model(**batch).loss
        if self.penalty is not None:
            loss = loss + self.penalty()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.trained, 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    def timed(self, batch: dict[str, torch.Tensor]) -> None:
        start = time.process_time()
        self.step(batch)
        self.seconds.append(time.process_time() - start)

    def peak(self, batch: dict[str, torch.Tensor]) -> int:
        """Bytes at the peak of a step beyond the weights."""
        with measure_step(self.model, None, self.optimizer) as measured:
            self.step(batch)
        return measured.peak_bytes - measured.categories["weights"]


def sides(name: str) -> tuple[str, Side, Side]:
    """Ours and peft's on the same weights; only what the method trains and a task head train, in both."""
    kind, preset, overrides, build = CASES[name]
    base = pristine(kind)
    ours = copy.deepcopy(base)
    attached = attach(ours, load_method(preset, overrides), seed=1)
    theirs, pairs = build(copy.deepcopy(base), attached)
    dropout = attached.method.deltas[0].dropout if attached.method.deltas else 0.0
    for module in theirs.modules():
        if dropout and hasattr(module, "lora_dropout"):
            module.lora_dropout["default"] = torch.nn.Dropout(dropout)
    with torch.no_grad():
        for pair in pairs:
            pair.mine.copy_(pair.ours(pair.theirs))
    heads = [[p for n, p in model.named_parameters() if "classifier" in n] for model in (ours, theirs)]
    for parameter in (*heads[0], *heads[1]):
        parameter.requires_grad_(True)
    attached.begin(1000)
    mine = Side(ours, [*attached.trainable().values(), *heads[0]], attached.penalty if preset == "adalora" else None)
    other = Side(theirs, [p for p in theirs.parameters() if p.requires_grad])  # peft's AdaLoRA adds its penalty in forward
    return kind, mine, other


def compare(name: str, given: argparse.Namespace) -> dict[str, Any]:
    """{"time_ratio", "memory_ratio", "trained": [ours, peft's], ...} of one case."""
    kind, mine, other = sides(name)
    batch = batch_of(kind, given.batch, given.tokens)
    for side in (mine, other) * 2:
        side.step(batch)
    for turn in range(given.rounds):
        for side in (mine, other) if turn % 2 else (other, mine):
            side.timed(batch)
    peaks = [side.peak(batch) for side in (mine, other)]
    times = [statistics.median(side.seconds) for side in (mine, other)]
    return {"time_ratio": times[0] / times[1], "memory_ratio": peaks[0] / peaks[1], "peak_bytes": peaks, "step_seconds": times,
            "trained": [sum(p.numel() for p in side.trained) for side in (mine, other)]}  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
