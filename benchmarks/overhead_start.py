"""From Launch to the first step, cold and warm, of a small run after the first: `python benchmarks/overhead_start.py [--turns 3] [--json]`.

A lab of its own is made in a scratch folder; a first run fills its cache of tokenised rows. Then cold and warm starts take turns. Counted is
the time from the call that launches to the moment at which the worker begins its first step (the time of the step's row in the store less the seconds that the
step took), and apart from it that step. Each run is stopped after it.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from lab.design.spec.run import spec_of  # noqa: E402
from lab.runs import Home, Queue, Store  # noqa: E402

RUN = {"model": "minilm-l6", "task": "sentiment-rt", "method": "lora", "training": {"steps": 200, "batch_size": 32, "evaluation_rows": 32}}
READY = 120.0  # seconds for a fork server to import everything


def start_to_first_step(warm: bool, queue: Queue, document: dict[str, Any] | None = None) -> dict[str, Any]:
    """{"warm", "to_step" and "step": seconds from launching to the beginning of the first step, and of that step} of one run of a lab, which is stopped then.

    RuntimeError where no start could be made warm, or the run came to no step.
    """
    os.environ["LAB_WARM"] = "10" if warm else "0"
    queue.warm(wait=READY if warm else 0.0)
    began = time.time()
    run_id = queue.launch(spec_of(document or RUN).document(), "start")
    while not (run := queue.store.get(run_id)).over and run.step < 1:
        queue.reconcile()
        time.sleep(0.1)
    rows = queue.store.series(run_id, ["loss", "seconds_per_step"])
    log = queue.log_tail(run_id)
    queue.stop(run_id)
    if "loss" not in rows or (", warm" in log) is not warm:
        raise RuntimeError(log)
    step = float(rows["seconds_per_step"][1][0])
    return {"warm": warm, "to_step": float(rows["loss"][2][0]) - began - step, "step": step}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["LAB_HOME"] = folder
        queue = Queue(Home(folder), Store(f"sqlite:///{folder}/lab.db"))
        found = [start_to_first_step(False, queue)]
        found += [start_to_first_step(warm, queue) for _ in range(given.turns) for warm in (False, True)]
        queue.store.close()
    first, later = found[0], found[1:]
    cold, warm = ([each["to_step"] for each in later if each["warm"] is kind] for kind in (False, True))
    result = {
        "first_run": first["to_step"],
        "cold": statistics.median(cold),
        "warm": statistics.median(warm),
        "step": statistics.median(each["step"] for each in later),
        "each": later,
    }
    if given.json:
        print(json.dumps(result, indent=1))
        return
    print(f"Launch to the first step, {RUN['method']} on {RUN['model']}, {RUN['task']}: the very first run {first['to_step']:.1f} s (it tokenises), "
          f"cold {result['cold']:.2f} s, warm {result['warm']:.2f} s ({result['cold'] / result['warm']:.1f} times as fast); the step itself {result['step']:.2f} s")  # fmt: skip


if __name__ == "__main__":
    main()
