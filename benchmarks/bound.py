"""A method's step over the frozen model's, beside what its multiplications alone ask for: python benchmarks/bound.py [METHOD ...] [--profile] [--json]

Bound: the multiply-adds of the method's step (lab/design/method/work.py) over those of the frozen model's, a forward and a backward pass through
every layer without a gradient of a weight. Measured: the medians of both steps, which take turns in one process (on a CPU in processor time), the
method's with clipping and AdamW. The last column is what is left to gain. `--profile`: the operators that a step spends more on than the frozen one.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import torch  # noqa: E402
from accelerated.device import build, in_turns  # noqa: E402
from accelerated.speed import frozen_step, stepping  # noqa: E402
from beside_peft import batch_of  # noqa: E402

from lab.design.method.named import load_method  # noqa: E402
from lab.design.method.work import frozen_work, step_work  # noqa: E402
from lab.engine import attach  # noqa: E402
from lab.engine.attach import body_of  # noqa: E402
from lab.engine.select import head_parameters  # noqa: E402
from lab.training import masks  # noqa: E402

METHODS = ("lora", "ia3", "adalora", "adapter-houlsby", "mam", "unipelt-apl", "lamda", "full")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("methods", nargs="*", default=METHODS, metavar="METHOD", help=f"presets (default: {', '.join(METHODS)})")
    parser.add_argument("--model", default="minilm-l6", help="an encoder's preset (default minilm-l6)")
    parser.add_argument("--rows", type=int, default=32)
    parser.add_argument("--tokens", type=int, default=128, help="of the longest row")
    parser.add_argument("--rounds", type=int, default=7, help="steps of each (default 7)")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32", help="of mixed precision")
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--json", action="store_true", help="print one JSON document only")
    given = parser.parse_args()
    if not given.json:
        print(
            f"{'method':26} {'bound':>7} {'measured':>9} {'over the bound':>15}   ({given.model}, {given.rows} rows of up to {given.tokens} tokens)", flush=True
        )
    found = {}
    for name in given.methods:
        row = found[name] = over_frozen(name, given)
        if not given.json:
            print(
                f"{name:26} {row['bound']:7.3f} {row['measured']:9.3f} {row['over_bound']:15.3f}",
                *row.get("more", ()),
                sep="\n    " if given.profile else "",
                flush=True,
            )
    if given.json:
        print(json.dumps(found))
    return 0


def over_frozen(name: str, given: argparse.Namespace) -> dict[str, Any]:
    """{"bound", "measured", "over_bound", "step_seconds"} of a preset, with "more" where profiled."""
    batch = {key: tensor.to(given.device) for key, tensor in batch_of("minilm", given.rows, given.tokens).items()}
    bare, _ = build(given.model, given.device)
    model, _ = build(given.model, given.device)
    method = load_method(name)
    attached = attach(model, method, seed=0)
    taken = {id(p) for p in attached.may_train().values()}
    head = [p.requires_grad_(True) for p in head_parameters(model).values() if id(p) not in taken]
    model.train()
    attached.begin(1000)
    works = {"frozen": frozen_step(bare, batch, given.device, given.dtype),
             "ours": stepping(model, [*attached.trainable().values(), *head], batch, given.device, given.dtype, _penalty(attached))}  # fmt: skip
    with masks.quick():  # as in a run
        took = in_turns(given.device, works, given.rounds, warm=2)
        more = {"more": beyond(works, given.device)} if given.profile else {}
    body = body_of(model)
    bound = step_work(method, body, given.rows, given.tokens).total / frozen_work(body, given.rows, given.tokens).total
    measured = took["ours"] / took["frozen"]
    return {"bound": bound, "measured": measured, "over_bound": measured / bound, "step_seconds": took["ours"], **more}


def _penalty(attached: Any) -> Callable[[], torch.Tensor] | None:
    """What the loop adds to the loss, None for a method that has nothing."""
    return attached.penalty if attached.penalty() is not None else None


def beyond(works: dict[str, Callable[[], None]], device: str, most: int = 14) -> list[str]:
    """The operators that take more of a step than of the frozen one, with how much of the frozen step's time that is."""
    spent = {name: by_operator(work, device) for name, work in works.items()}
    whole = sum(time for time, _ in spent["frozen"].values())
    more = {key: (time - spent["frozen"].get(key, (0.0, 0))[0], count - spent["frozen"].get(key, (0.0, 0))[1]) for key, (time, count) in spent["ours"].items()}
    return [f"{key:44} {100 * time / whole:+6.1f} % ({count:+d} calls)" for key, (time, count) in sorted(more.items(), key=lambda item: -item[1][0])[:most]]


def by_operator(work: Callable[[], None], device: str) -> dict[str, tuple[float, int]]:
    """{operator: (its own time in a step, calls)}."""
    kinds = [torch.profiler.ProfilerActivity.CPU, *([torch.profiler.ProfilerActivity.CUDA] if device == "cuda" else [])]
    with torch.profiler.profile(activities=kinds) as profile:
        for _ in range(2):
            work()
    field = "self_device_time_total" if device == "cuda" else "self_cpu_time_total"
    return {row.key: (getattr(row, field) / 2, row.count // 2) for row in profile.key_averages()}


if __name__ == "__main__":
    sys.exit(main())
