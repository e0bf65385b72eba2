"""Predicted memory against published figures, and how long a plan takes: `python benchmarks/memory.py`.

The published numbers: the maximum reserved by Llama-3.2-3B with LoRA r=32 on an NVIDIA L40S, and the ratio of LoRA to LaMDA on bart-large.
Every line is what the planner gives now; nothing is fitted.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lab.planning import plan_shape  # noqa: E402

PUBLISHED = 22_292_725_760
BASE = {"model": "llama-3.2-3b", "batch": 4, "tokens": 704, "dtype": "bfloat16", "adapter_dtype": "float32"}
SIX = {"deltas.0.rank": 16, "deltas.0.at": ["attn.q", "attn.k", "attn.v", "attn.out", "ffn.up", "ffn.down"]}


def anchor() -> None:
    """The published maximum, and other configurations of the same model."""
    found = plan_shape(method="lora", overrides={"deltas.0.rank": 32, "deltas.0.alpha": 64}, **BASE)
    off = 100 * (found.peak_reserved_bytes / PUBLISHED - 1)
    print(f"Llama-3.2-3B LoRA r=32: {found.peak_reserved_bytes:,} reserved, published {PUBLISHED:,} ({off:+.2f} %)")
    others = {
        "lora r=64": ("lora", {"deltas.0.rank": 64, "deltas.0.alpha": 64}), "lora all projections r=32": ("lora", {"deltas.0.rank": 32, "deltas.0.at": [
            "attn.q", "attn.k", "attn.v", "attn.out", "ffn.up", "ffn.gate", "ffn.down"]}),
        "lora-fa r=32": ("lora-fa", {"deltas.0.rank": 32}), "vera": ("vera", {}), "ia3": ("ia3", {}), "ln-tuning": ("ln-tuning", {}),
        "p-tuning": ("p-tuning", {}), "prompt-tuning": ("prompt-tuning", {}), "prefix-tuning": ("prefix-tuning", {}), "adalora": ("adalora", {}),
        "full": ("full", {}),
    }  # fmt: skip
    for label, (method, overrides) in others.items():
        found = plan_shape(method=method, overrides=overrides, **BASE)
        print(f"  {label:28} {found.peak_reserved_bytes / 1e9:7.3f} GB reserved  {found.peak_allocated_bytes / 1e9:7.3f} allocated  "
              f"{found.trainable:>13,} trained  {found.seconds:.2f} s")  # fmt: skip


def ratios() -> None:
    """LoRA over LaMDA, bart-large, fp32, source 512, target 128."""
    for batch in (4, 8, 16, 32):
        peaks = {
            label: plan_shape(model="bart-large", method=method, batch=batch, tokens=512, target_tokens=128, overrides={**SIX, **more}).peak_allocated_bytes
            for label, method, more in (("lora", "lora", {}), ("gradual", "lamda", {}), ("B frozen", "lamda", {"deltas.0.schedule.mode": "early"}))
        }
        print(f"bart-large batch {batch}: LoRA/LaMDA {peaks['lora'] / peaks['gradual']:.3f}, with B frozen from the start {peaks['lora'] / peaks['B frozen']:.3f}")


def speed() -> None:
    """Seconds of wall time, and of this process, per plan; the first imports and warms up."""
    for model in ("roberta-base", "bert-base-uncased", "gpt2", "t5-base", "deberta-v3-base", "bart-large", "qwen2.5-0.5b", "llama-2-7b"):
        for attempt in ("first", "warm"):
            wall, own = time.perf_counter(), time.process_time()
            plan_shape(model=model, method="lora", batch=8, tokens=128, dtype="bfloat16", adapter_dtype="float32")
            print(f"{model:18} {attempt:5} {time.perf_counter() - wall:6.2f} s wall  {time.process_time() - own:6.2f} s of one core")


if __name__ == "__main__":
    anchor()
    ratios()
    speed()
