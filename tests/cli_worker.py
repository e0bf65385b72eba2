"""A worker for tests of the terminal: no torch, the same results each time, as long as the spec's steps and LAB_TEST_PAUSE say."""

from __future__ import annotations

import os
import sys
import time

from lab.runs import WorkerLink


def main(run_id: str) -> None:
    with WorkerLink(run_id, interval=0.1) as link:
        training = link.run.spec["training"]
        steps = training["steps"] or 10
        if training["batch_size"] == 13:
            raise RuntimeError("CUDA out of memory")
        print("hello from the worker", flush=True)
        for step in range(1, steps + 1):
            time.sleep(float(os.environ.get("LAB_TEST_PAUSE", "0")))
            link.log(step, {"loss": 1 / step}, total_steps=steps)
            if link.stopping():
                break
        rank = link.run.spec["method"]["deltas"][0]["rank"]
        result = {"trainable": 9216 * rank, "metrics": {"accuracy": 0.7 + rank / 1000, "loss": 0.5}, "best": {"step": steps, "accuracy": 0.7 + rank / 1000},
                  "peak_bytes": 812_000_000, "seconds": 72.4}  # fmt: skip
        link.finish("cancelled" if link.stopping() else "succeeded", result)


if __name__ == "__main__":
    main(sys.argv[1])
