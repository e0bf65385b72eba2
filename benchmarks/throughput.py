"""Rows per second of the loop's batches against a plain script's, in one run: `python benchmarks/throughput.py`.

The plain script shuffles rows and pads every batch to the longest allowed input (256); the loop makes batches of like lengths and
pads to the longest of each; its measured steps are spread evenly over the epoch's lengths. Same model, same method, same optimizer, same rows per step; steps of the two take turns, so a busy
machine slows both. Time is processor time of this process (torch's threads included); wall time is printed beside it.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np  # noqa: E402
import torch  # noqa: E402

from lab.design.spec.run import spec_of  # noqa: E402
from lab.training import Record, devices  # noqa: E402
from lab.training.assembly import assemble  # noqa: E402
from lab.training.batches import padding_share, plan_epoch  # noqa: E402
from lab.training.feeding import Step  # noqa: E402
from lab.training.loop import Loop  # noqa: E402


def padded(batch: dict[str, torch.Tensor], length: int, pad: int) -> dict[str, torch.Tensor]:
    """The batch with every row padded to `length`."""
    fill = {"input_ids": pad}
    return {name: tensor if tensor.dim() == 1 else torch.nn.functional.pad(tensor, (0, length - tensor.shape[1]), value=fill.get(name, 0))
            for name, tensor in batch.items()}  # fmt: skip


class Chosen:
    """The steps to measure, in the place of the loop's own endless ones: `make` gives each one's data, of its rows."""

    def __init__(self, steps, make):
        self.steps, self.make = iter(steps), make

    def __next__(self):
        return self.make(next(self.steps))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="minilm-l6")
    parser.add_argument("--task", default="sentiment-imdb")
    parser.add_argument("--method", default="lora")
    parser.add_argument("--steps", type=int, default=8, help="of each kind")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--length", type=int, default=256)
    given = parser.parse_args()
    training = {"steps": 10_000, "batch_size": given.batch, "max_length": given.length, "energy": False}
    spec = spec_of({"model": given.model, "task": given.task, "method": given.method, "training": training})
    accelerator, _, _ = devices.make_accelerator(spec.training)
    assembly = assemble(spec, cache=Path(tempfile.gettempdir()) / "lab-benchmark-cache", device=accelerator.device)
    loop = Loop(assembly, accelerator, Record(), Path(tempfile.mkdtemp()), print, lambda facts: None)
    loop.model.train()
    loop.wrap()
    feed, rows, here = loop.feed, assembly.task.train, loop.steps.positions
    epoch = sorted(plan_epoch(rows.lengths, given.batch, seed=0, epoch=0), key=lambda step: rows.lengths[step].mean())
    places = np.linspace(0, len(epoch) - 1, 2 * given.steps + 1)[1::2].round().astype(int)  # short, middling and long, as in the epoch
    ours = Chosen([epoch[len(epoch) // 2], *(epoch[place] for place in places)], lambda whole: feed.collated(0, whole, here, here))
    order = np.random.default_rng(0).permutation(len(rows))[: len(rows) // given.batch * given.batch].reshape(-1, given.batch)

    def padded_whole(whole):
        batch = padded(assembly.task.collate([rows[i] for i in whole]), given.length, assembly.tokenizer.pad_token_id)
        return Step(0, [(batch, 1.0)], given.batch, int(batch["attention_mask"].sum()), given.batch, here, here)

    plain = Chosen(order, padded_whole)
    spent = {"lab": [0.0, 0.0, 0], "plain": [0.0, 0.0, 0]}
    for turn in range(given.steps + 1):
        for name, steps in (("lab", ours), ("plain", plain)):
            loop.feed = steps
            before, wall, count = time.process_time(), time.perf_counter(), loop.speed.rows
            loop.train_step()
            if turn:  # the first of each warms up
                for place, value in enumerate((time.process_time() - before, time.perf_counter() - wall, loop.speed.rows - count)):
                    spent[name][place] += value
    lengths = rows.lengths
    result = {
        "rows_per_cpu_second": {name: round(n / cpu, 2) for name, (cpu, _, n) in spent.items()},
        "rows_per_second": {name: round(n / wall, 2) for name, (_, wall, n) in spent.items()},
        "ratio": round(spent["lab"][2] / spent["lab"][0] / (spent["plain"][2] / spent["plain"][0]), 3),
        "padding": {"lab": round(padding_share(lengths, plan_epoch(lengths, given.batch, seed=0, epoch=0)), 4),
                    "plain": round(1 - float(np.mean(lengths)) / given.length, 4)},
        "steps": given.steps, "batch": given.batch, "length": given.length, "threads": torch.get_num_threads(),
    }  # fmt: skip
    print(json.dumps(result))


if __name__ == "__main__":
    main()
