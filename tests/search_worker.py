"""A worker for tests of searches: no torch, a metric that is a function of the design, the steps and the seed alone."""

from __future__ import annotations

import math
import os
import sys
import time

from lab.runs import WorkerLink


def value_of(document: dict, steps: int) -> float:
    """Best at rank 6 and a learning rate of 0.003; more steps are better."""
    delta = (document["method"]["deltas"] or [{"rank": 1}])[0]
    lr = document["training"]["lr"] or document["method"]["training"]["lr"]
    noise = math.sin(12.9 * document["seed"] + delta["rank"]) / 500
    return 0.9 - 0.02 * abs(math.log2(delta["rank"] / 6)) - 0.01 * abs(math.log10(lr / 0.003)) - 0.5 / (steps + 2) + noise


def main(run_id: str) -> None:
    with WorkerLink(run_id, interval=0.1) as link:
        spec = link.run.spec
        steps = spec["training"]["until"] or spec["training"]["steps"]
        time.sleep(float(os.environ.get("LAB_TEST_PAUSE", "0")))
        link.log(steps, {"loss": 0.5}, total_steps=steps)
        (link.run_dir / "checkpoints" / f"step-{steps:06d}").mkdir(parents=True, exist_ok=True)
        value = value_of(spec, steps)
        result = {"metrics": {"accuracy": value}, "best": {"step": steps, "accuracy": value}, "seconds": float(steps), "steps": steps}
        link.finish("cancelled" if link.stopping() else "succeeded", result | ({"test": {"accuracy": value - 0.01}} if spec["training"]["test"] else {}))


if __name__ == "__main__":
    main(sys.argv[1])
