"""Every method preset on a bundled task, in one table: python benchmarks/presets.py [--seeds 0 1 2] [--only lora mam] [--write docs/results.md]

Each is trained in this process with its own default settings, on the same model, task and batches, seed by seed, one after another;
`head-only` (a frozen model with a trained head) is the baseline that all must beat. Results are kept per preset and seed as they come in
--results (those of the table in docs/ are committed), so that an interrupted benchmark goes on where it was; one of which the preset, the
model, the task or the training has changed since is trained again, --again trains every one, and --table trains none. Accuracy is on the
whole validation split, at the last step.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

os.environ.setdefault("HF_HUB_OFFLINE", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lab.design.method.fusing import fusions  # noqa: E402
from lab.design.method.named import load_method  # noqa: E402
from lab.design.plain.numbers import percent, weights  # noqa: E402
from lab.design.presets.catalogue import names  # noqa: E402
from lab.design.spec.fingerprint import fingerprint  # noqa: E402
from lab.design.spec.run import RunSpec, spec_of  # noqa: E402
from lab.results.statistics import pairwise  # noqa: E402

BASELINE = "head-only"
PARTS = {  # presets that are put together, and those of what they are made of
    "mam": ("prefix-tuning-mlp", "adapter-parallel-scaled"),
    "pa-attn-pa-ffn": ("adapter-parallel-attn", "adapter-parallel-ffn"),
    "prefix-lora-ffn": ("prefix-tuning-mlp", "lora-ffn"),
    "unipelt-ap": ("adapter-pfeiffer", "prefix-tuning-mlp"),
    "unipelt-apl": ("adapter-pfeiffer", "prefix-tuning-mlp", "lora"),
}


def main() -> int:
    """Train, print the table, and write it where asked; exit status 1 when a preset does not beat the baseline."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="minilm-l6", help="model preset")
    parser.add_argument("--task", default="sentiment-rt", help="task preset")
    parser.add_argument("--steps", type=int, default=150, help="optimizer steps of each run")
    parser.add_argument("--batch-size", type=int, default=16, help="rows of each step")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="seeds of the runs of each preset")
    parser.add_argument("--only", nargs="*", help="these presets only; the table has all that there are")
    parser.add_argument("--results", type=Path, default=Path(__file__).with_name("presets.json"), help="where results are kept as they come")
    parser.add_argument("--again", action="store_true", help="train every run, also those that are there")
    parser.add_argument("--table", action="store_true", help="train nothing: the table of what is there")
    parser.add_argument("--write", type=Path, help="a Markdown file for the table")
    given = parser.parse_args()
    every = [BASELINE, *(name for name in names("methods") if name != BASELINE and not fusions(load_method(name)))]  # a fusion stands on runs
    for seed in [] if given.table else given.seeds:  # seed by seed, so that an interrupted benchmark has whole columns
        for name in given.only or every:
            spec = spec_for(given, name, seed)
            if given.again or kept(given.results).get(name, {}).get(str(seed), {}).get("spec") != fingerprint(spec):
                keep(given.results, name, seed, run(spec))
    rows = {name: row for name in every if (row := summary(given, name))}
    text = table(given, rows)
    print(text)
    if given.write:
        given.write.write_text(text, encoding="utf-8")
    floor = rows[BASELINE]["accuracy"] if BASELINE in rows else 0.0
    return int(any(row["accuracy"] <= floor for name, row in rows.items() if name != BASELINE and name in (given.only or every)))


def kept(path: Path) -> dict[str, dict[str, dict[str, Any]]]:
    """The results so far, by preset and seed."""
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def keep(path: Path, name: str, seed: int, result: dict[str, Any]) -> None:
    """Put one result beside the others."""
    now = kept(path)
    now.setdefault(name, {})[str(seed)] = result
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(now, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    print(f"{name}, seed {seed}: {result['accuracy']:.3f}", flush=True)


def summary(given: argparse.Namespace, name: str) -> dict[str, Any] | None:
    """Mean and sample deviation over the seeds of a preset as it is now; where there is none, over what it was, marked `old`. None: never trained."""
    found = kept(given.results).get(name, {})
    current = {seed: row for seed, row in found.items() if row["spec"] == fingerprint(spec_for(given, name, int(seed)))}
    rows = list((current or found).values())
    if not rows:
        return None
    accuracies = [row["accuracy"] for row in rows]
    deviation = statistics.stdev(accuracies) if len(rows) > 1 else None
    return {
        **rows[0],
        "accuracy": statistics.fmean(accuracies),
        "deviation": deviation,
        "seeds": len(rows),
        "old": not current,
        "days": [row["on"] for row in rows],
    }


def spec_for(given: argparse.Namespace, name: str, seed: int) -> RunSpec:
    """The run of one preset and seed, with the preset's own default settings."""
    training = {
        "steps": given.steps,
        "batch_size": given.batch_size,
        "evaluate_every": given.steps,
        "evaluation_rows": 100,
        "energy": False,
        "keep_checkpoints": 1,
    }
    return spec_of({"model": given.model, "task": given.task, "method": name, "training": training, "seed": seed})


def run(spec: RunSpec) -> dict[str, Any]:
    """One preset: its accuracy at the end, weights at the start and at the end, learning rate."""
    from lab.training import Record, train

    with tempfile.TemporaryDirectory(prefix="lab-presets-") as folder:
        result = train(spec, Record(), folder, cache=Path(tempfile.gettempdir()) / "lab-presets-cache", say=lambda line: None)
    gc.collect()  # a model is part of a circle: left to itself, Python keeps dozens of them
    told = {key: result[key] for key in ("trainable", "trainable_final", "percent", "steps")}
    return told | {"accuracy": result["metrics"]["accuracy"], "lr": spec.lr, "spec": fingerprint(spec), "on": time.strftime("%Y-%m-%d")}


def table(given: argparse.Namespace, rows: dict[str, dict[str, Any]]) -> str:
    """The table as Markdown, best first."""
    floor = rows[BASELINE]["accuracy"] if BASELINE in rows else None
    days = [day for row in rows.values() for day in row["days"]]
    lines = [
        "# Every preset on one task",
        "",
        f"{given.model} on {given.task}: {given.steps} steps of {given.batch_size} rows, each preset with its own default settings, on a CPU. Accuracy on the whole",
        "validation split: mean ± sample deviation over so many seeds. Short runs at one learning rate each: they show that every method learns, and",
        "by how much seeds differ; which is best needs a search for each one's learning rate. The rates are the presets' own: the paper's where short runs",
        "learn at it; otherwise the best of a few that were tried on this split with seed 0 (and with the seed that fell to chance at another rate: HRA, OFT,",
        "DoRA, LoRA-XS, P-tuning, prefix tuning with an MLP), which flatters those seeds a little.",
        f"Written by `python benchmarks/presets.py --steps {given.steps} --write docs/results.md`; trained between {min(days)} and {max(days)}. A run is",
        "trained again when its preset changes" + ("; † marks a row whose preset has changed since." if any(row["old"] for row in rows.values()) else "."),
        "",
        "| method | accuracy | seeds | over the frozen model with a trained head | trained weights | at the end | of the model | learning rate |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, row in sorted(rows.items(), key=lambda item: -item[1]["accuracy"]):
        gain = "baseline" if name == BASELINE else "" if floor is None else f"{100 * (row['accuracy'] - floor):+.1f}"
        spread = "" if row["deviation"] is None else f" ± {row['deviation']:.3f}"
        lines.append(
            f"| {name}{' †' if row['old'] else ''} | {row['accuracy']:.3f}{spread} | {row['seeds']} | {gain} | {weights(row['trainable'])} "
            f"| {weights(row['trainable_final'])} | {percent(row['percent'])} | {row['lr']:g} |"
        )
    return "\n".join([*lines, "", *beside_parts(given)]) + "\n"


def beside_parts(given: argparse.Namespace) -> list[str]:
    """Whether what is put together trails what it is made of, by the paired t test over the seeds that both have."""
    lines = [
        "## Combinations beside their parts",
        "",
        "Accuracy of the combination minus that of the preset of each part, over the same seeds, with the 95 % interval of the paired t test (three seeds: two",
        "degrees of freedom). A part's preset has its own size and rate, which are not always those it has in the combination; where that is why a combination",
        "trails, its preset says so (docs/fidelity.md).",
        "",
        "| combination | part | difference | 95 % interval | p |",
        "|---|---|---|---|---|",
    ]
    found = kept(given.results)
    for whole, parts in PARTS.items():
        for part in parts:
            seeds = sorted(found.get(whole, {}).keys() & found.get(part, {}).keys())
            if len(seeds) < 2:
                continue
            pairs = pairwise(np.array([[found[name][seed]["accuracy"] for seed in seeds] for name in (whole, part)]))
            low, high = 100 * pairs.low[0, 1], 100 * pairs.high[0, 1]
            lines.append(f"| {whole} | {part} | {100 * pairs.effect[0, 1]:+.1f} | {low:+.1f} to {high:+.1f} | {pairs.p[0, 1]:.2f} |")
    return lines


if __name__ == "__main__":
    sys.exit(main())
