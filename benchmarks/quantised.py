"""A quantised base beside the fp32 one: python benchmarks/quantised.py [--model NAME] [--methods ...] [--quantisation nf4 int8] [--steps N]

For each method: perplexity on held-out text before and after training on the quantised base; its plan against what the meter finds; and how much less
memory a step takes than on the fp32 base, against how much less the weights take. `python -m lab fetch smollm2-135m` first. Exit status 1 where the
perplexity does not fall, the plan is off by more than 2 %, or the memory falls by less than 98 % of what the weights save.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from perplexity import SETTINGS  # noqa: E402

from lab.design.plain.numbers import memory  # noqa: E402
from lab.design.spec.run import spec_of  # noqa: E402
from lab.planning import plan  # noqa: E402
from lab.training import Record, train  # noqa: E402


def main() -> int:
    """Measure and print a row for each method and quantisation."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--task", default="text-lm")
    parser.add_argument("--methods", nargs="+", default=("lora", "mam"))
    parser.add_argument("--quantisation", nargs="+", default=("nf4",))
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--batch", type=int, default=2, help="rows per step")
    parser.add_argument("--length", type=int, default=128, help="tokens per row")
    parser.add_argument("--rows", type=int, default=24, help="validation paragraphs")
    given = parser.parse_args()
    print("| method | base | perplexity | peak, measured | planned | weights | less than fp32 | of what the weights save |\n|---|---|---|---|---|---|---|---|")
    wrong = False
    for method in given.methods:
        plain = run(given, method, "none", 2)  # the second is metered
        print(
            f"| {method} | fp32 | | {memory(plain['peak'])} | {100 * (plain['planned'] / plain['peak'] - 1):+.2f} % | {memory(plain['weights'])} | | |",
            flush=True,
        )
        for packing in given.quantisation:
            own = run(given, method, packing, given.steps)
            saved, lighter = plain["peak"] - own["peak"], plain["weights"] - own["weights"]
            off = own["planned"] / own["peak"] - 1
            print(f"| {method} | {packing} | {own['before']:.2f} → {own['after']:.2f} | {memory(own['peak'])} | {100 * off:+.2f} % | {memory(own['weights'])} "
                  f"| {memory(saved)} | {100 * saved / lighter:.1f} % |", flush=True)  # fmt: skip
            wrong |= own["after"] >= own["before"] or abs(off) > 0.02 or saved < 0.98 * lighter
    return int(wrong)


def run(given: argparse.Namespace, method: str, packing: str, steps: int) -> dict[str, Any]:
    """{"before", "after": perplexity, "peak", "weights": measured bytes of a step, "planned": the plan's peak for a step of its shape}."""
    from lab.tasks import resolve

    task = {**resolve(given.task).model_dump(mode="json", exclude_defaults=True), "validation_rows": given.rows}
    training = {"steps": steps, "batch_size": given.batch, "max_length": given.length, "evaluate_every": steps, "energy": False, "device": "cpu"}
    spec = spec_of(
        {"model": given.model, "quantisation": packing, "task": task, "method": {"preset": method, "set": SETTINGS.get(method, {})}, "training": training}
    )
    record = Record()
    with tempfile.TemporaryDirectory() as folder:
        train(spec, record, folder, say=lambda line: None)
    found = {name: value for _, name, value in record.rows if name.startswith("measured/")}
    judged = [value for _, name, value in record.rows if name == "eval_perplexity"]
    expected = plan(spec, batch=int(found["measured/rows"]), tokens=int(found["measured/tokens"]), device="cpu", padding=False)  # joined text
    return {
        "before": judged[0],
        "after": judged[-1],
        "peak": found["measured/peak"],
        "weights": found["measured/weights"],
        "planned": expected.peak_allocated_bytes,
    }


if __name__ == "__main__":
    sys.exit(main())
