"""The same step here and in AdapterHub's adapters: processor time and what backward keeps, as ratios of one run. python benchmarks/beside_adapters.py [--json]

The library pins an older transformers, so its side is a process of its own in .venv-adapters (`make oracle`); the two processes take turns step by step on
MiniLM's weights and one batch, each with AdamW, on one thread. Both compute the same numbers by the oracle tests (tests/test_oracle_adapters.py). Memory is what
a forward pass keeps for its backward pass, in bytes of storages, without weights. Below 1 means less than adapters; the bare model's ratio says what the two
transformers alone differ by.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ["OMP_NUM_THREADS"] = "1"
import torch  # noqa: E402

ROOT = Path(__file__).resolve().parents[1]
PYTHON = ROOT / ".venv-adapters" / "bin" / "python"
BOTTLENECK = {"reduction_factor": 6}  # 64 of 384
CASES: dict[str, tuple[list, str, dict[str, Any]]] = {  # name: adapters' configuration, our preset, changes of it
    "bare model, head alone": ([], "head-only", {}),
    "Houlsby adapter": (["DoubleSeqBnConfig", {**BOTTLENECK, "non_linearity": "gelu"}], "adapter-houlsby", {}),
    "Pfeiffer adapter": (["SeqBnConfig", BOTTLENECK], "adapter-pfeiffer", {"deltas.0.rank": 64}),
    "parallel adapter (FFN)": (["ParBnConfig", {**BOTTLENECK, "scaling": 1.0}], "adapter-parallel-ffn", {"deltas.0.inner_dropout": 0}),
    "LoRA r=8": (["LoRAConfig", {"r": 8, "alpha": 8}], "lora", {"deltas.0.rank": 8, "deltas.0.alpha": 8}),
    "(IA)³": (["IA3Config", {}], "ia3", {}),
    "prefix with MLP, l=30": (["PrefixTuningConfig", {"prefix_length": 30, "bottleneck_size": 512}], "prefix-tuning-mlp", {"deltas.0.rank": 30, "deltas.0.encoder_width": 512}),
}  # fmt: skip


def step_of(model: Any, batch: dict[str, torch.Tensor]) -> Any:
    """A function that makes one training step, and what that step's forward pass keeps (bytes)."""
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-4)
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}

    def step(kept: dict[int, int] | None = None) -> None:
        def pack(tensor: torch.Tensor) -> torch.Tensor:
            if kept is not None and tensor.untyped_storage().data_ptr() not in weights:
                kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            loss = model(**batch).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


def served(model: Any, batch: dict[str, torch.Tensor]) -> None:
    """Answer `step` with the processor seconds of one and `keep` with bytes, a line each, until the input ends."""
    torch.set_num_threads(1)
    step = step_of(model.train(), batch)
    print(sum(p.numel() for p in model.parameters() if p.requires_grad), flush=True)
    for line in sys.stdin:
        if line.strip() == "keep":
            kept: dict[int, int] = {}
            step(kept)
            print(sum(kept.values()), flush=True)
        else:
            began = time.process_time()
            step()
            print(time.process_time() - began, flush=True)


def theirs(job: Path, name: str) -> None:
    """The library's side; imports nothing of the lab."""
    import adapters
    from adapters.configuration import adapter_config
    from transformers import BertForSequenceClassification

    torch.manual_seed(0)
    model = BertForSequenceClassification.from_pretrained(job)
    config, *_ = CASES[name]
    if config:
        adapters.init(model)
        model.add_adapter("beside", config=getattr(adapter_config, config[0])(**config[1]))
        model.train_adapter("beside")
    else:
        for parameter in model.bert.parameters():
            parameter.requires_grad_(False)
    served(model, torch.load(job / "batch.pt", weights_only=True))


def ours(job: Path, name: str) -> None:
    """The lab's side."""
    sys.path.insert(0, str(ROOT))
    from transformers import BertForSequenceClassification

    from lab.design.method.named import load_method
    from lab.engine import attach

    torch.manual_seed(0)
    model = BertForSequenceClassification.from_pretrained(job)
    _, preset, changes = CASES[name]
    attach(model, load_method(preset, changes), seed=1).begin(1000)
    for parameter in model.classifier.parameters():
        parameter.requires_grad_(True)
    served(model, torch.load(job / "batch.pt", weights_only=True))


def compare(job: Path, name: str, rounds: int) -> dict[str, Any]:
    """{"time_ratio", "memory_ratio", "step_seconds", "kept_bytes", "trained"}: ours over theirs."""
    sides = [
        subprocess.Popen([str(python), __file__, "--side", side, "--job", str(job), "--only", name], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for python, side in ((sys.executable, "ours"), (PYTHON, "theirs"))
    ]

    def asked(side: subprocess.Popen, what: str) -> float:
        assert side.stdin is not None and side.stdout is not None
        side.stdin.write(what + "\n")
        side.stdin.flush()
        return float(side.stdout.readline())

    try:
        trained = [int(side.stdout.readline()) for side in sides if side.stdout]
        for side in sides * 2:
            asked(side, "step")
        times: list[list[float]] = [[], []]
        for turn in range(rounds):
            for place in (0, 1) if turn % 2 else (1, 0):
                times[place].append(asked(sides[place], "step"))
        kept = [int(asked(side, "keep")) for side in sides]
    finally:
        for side in sides:
            side.communicate()
    medians = [statistics.median(each) for each in times]
    return {"time_ratio": medians[0] / medians[1], "memory_ratio": kept[0] / kept[1], "step_seconds": medians, "kept_bytes": kept, "trained": trained}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="*", help="these cases only")
    parser.add_argument("--rounds", type=int, default=11, help="steps of each side (default 11)")
    parser.add_argument("--batch", type=int, default=16, help="rows (default 16)")
    parser.add_argument("--tokens", type=int, default=64, help="tokens of the longest row (default 64)")
    parser.add_argument("--json", action="store_true", help="print one JSON document only")
    parser.add_argument("--side", choices=("ours", "theirs"), help=argparse.SUPPRESS)
    parser.add_argument("--job", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.side:
        {"ours": ours, "theirs": theirs}[given.side](given.job, given.only[0])
        return 0
    if not PYTHON.exists():
        print("The adapters library has an environment of its own: make oracle", file=sys.stderr)
        return 2
    sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
    from beside_peft import batch_of

    from lab.models import load

    found = {}
    with tempfile.TemporaryDirectory(prefix="lab-beside-") as folder:
        job = Path(folder)
        load("minilm-l6", objective="classification", num_labels=2).save_pretrained(job)
        torch.save(batch_of("minilm", given.batch, given.tokens), job / "batch.pt")
        if not given.json:
            print(f"{'method':26} {'step time':>10} {'kept':>8}   (ours / adapters; {given.batch} rows of up to {given.tokens} tokens)", flush=True)
        for name in given.only or CASES:
            row = found[name] = compare(job, name, given.rounds)
            if not given.json:
                print(f"{name:26} {row['time_ratio']:10.3f} {row['memory_ratio']:8.3f}   {row['trained'][0]:,} and {row['trained'][1]:,} trained", flush=True)
    if given.json:
        print(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
