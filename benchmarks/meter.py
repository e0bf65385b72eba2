"""What the live meter costs: `python benchmarks/meter.py [--steps N] [--batch N] [METHOD ...]`. Processor time of metered steps beyond the steps around them.

Runs on the bundled encoder: LoRA, which is metered once, and LISA, whose trained layers change so often that it is metered as often as a run
of its length may. Evaluation and loading are left out of both sides, so the share is the largest there can be. With fewer steps than 200 the
share of a run of 200 is that of as many metered steps as such a run may have.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lab.design.spec.run import spec_of  # noqa: E402
from lab.training import Record, train  # noqa: E402
from lab.training.loop import Loop  # noqa: E402
from lab.training.metering import MOST, PER  # noqa: E402

WHOLE = 200  # steps of the run whose share is told


def small_task(folder: Path) -> dict:
    """Rows of 10 to 50 words in a file, few of them for validation."""
    rows = [f"row {number} {' '.join(['film', 'plot', 'warm', 'dull', 'story'] * (2 + number % 9))},{number % 2}" for number in range(400)]
    (folder / "rows.csv").write_text("text,label\n" + "\n".join(rows), encoding="utf-8")
    return {
        "name": "rows",
        "family": "classification",
        "labels": ["0", "1"],
        "source": {"file": str(folder / "rows.csv"), "hash": {"validation": 0.03, "test": 0.03}},
    }


def share(method: str, task: dict, steps: int, batch: int) -> None:
    """Train, and print the meter's share of the processor time that steps took."""
    took: list[float] = []
    step = Loop.train_step

    def timed(self: Loop) -> tuple:
        start = time.process_time()
        found = step(self)
        took.append(time.process_time() - start)
        return found

    Loop.train_step = timed
    try:
        spec = spec_of({"model": "minilm-l6", "task": task, "method": method, "seed": 0,
                        "training": {"steps": steps, "batch_size": batch, "evaluate_every": steps, "energy": False, "device": "cpu"}})  # fmt: skip
        record = Record()
        with tempfile.TemporaryDirectory() as folder:
            train(spec, record, folder, say=lambda line: None)
    finally:
        Loop.train_step = step
    metered = sorted({number for number, name, _ in record.rows if name.startswith("measured/")})
    ratios = []
    for number in metered:
        around = [took[i - 1] for i in range(max(1, number - 8), min(steps, number + 8) + 1) if i not in metered]
        ratios.append(took[number - 1] / statistics.median(around))
    times = len(metered) if steps == WHOLE else 1 if method == "lora" else min(MOST, 1 + WHOLE // PER)
    extra = times * (statistics.mean(ratios) - 1)
    print(f"{method}: steps {metered} of {steps} metered, at {', '.join(f'{ratio:.2f}' for ratio in ratios)} times a usual step; "
          f"{times} in a run of {WHOLE} cost {100 * extra / (WHOLE + extra):.2f} % of its training", flush=True)  # fmt: skip


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("methods", nargs="*", default=["lora", "lisa"])
    parser.add_argument("--steps", type=int, default=WHOLE)
    parser.add_argument("--batch", type=int, default=32)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as data:
        rows = small_task(Path(data))
        for each in given.methods:
            share(each, rows, given.steps, given.batch)
