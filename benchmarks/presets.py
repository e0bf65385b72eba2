"""Every method preset on a bundled task, in one table: python benchmarks/presets.py [--steps 150] [--only lora mam] [--write docs/results.md]

Each is trained in this process with its own default settings, on the same model, task, seed and batches, one after another;
`head-only` (a frozen model with a trained head) is the baseline that all must beat. Results are kept as they come in --results (those of
the table in docs/ are committed), so that an interrupted benchmark goes on where it was; a row of which the preset, the model, the task or
the training has changed since is trained again, and --again trains every row. Accuracy is on the whole validation split, at the last step.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lab.design.catalogue import names  # noqa: E402
from lab.design.numbers import percent, weights  # noqa: E402
from lab.design.spec import RunSpec, spec_of  # noqa: E402

BASELINE = "head-only"


def main() -> int:
    """Train, print the table, and write it where asked; exit status 1 when a preset does not beat the baseline."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="minilm-l6", help="model preset")
    parser.add_argument("--task", default="sentiment-rt", help="task preset")
    parser.add_argument("--steps", type=int, default=150, help="optimizer steps of each run")
    parser.add_argument("--seed", type=int, default=0, help="seed of each run")
    parser.add_argument("--only", nargs="*", help="these presets only")
    parser.add_argument("--results", type=Path, default=Path(__file__).with_name("presets.json"), help="where results are kept as they come")
    parser.add_argument("--again", action="store_true", help="train every row, also those that are there")
    parser.add_argument("--write", type=Path, help="a Markdown file for the table")
    given = parser.parse_args()
    wanted = given.only or [BASELINE, *(name for name in names("methods") if name != BASELINE)]
    for name in wanted:
        spec = spec_for(given, name)
        if not given.again and kept(given.results).get(name, {}).get("spec") == fingerprint(spec):
            continue
        result = run(given, spec)
        given.results.parent.mkdir(parents=True, exist_ok=True)
        given.results.write_text(json.dumps({**kept(given.results), name: result}, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        print(f"{name}: {result['accuracy']:.3f}", flush=True)
    found = kept(given.results)
    text = table(given, {name: found[name] for name in wanted})
    print(text)
    if given.write:
        given.write.write_text(text, encoding="utf-8")
    floor = found.get(BASELINE, {}).get("accuracy", 0.0)
    return int(any(found[name]["accuracy"] <= floor for name in wanted if name != BASELINE))


def kept(path: Path) -> dict[str, dict[str, Any]]:
    """The results so far, by preset."""
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def spec_for(given: argparse.Namespace, name: str) -> RunSpec:
    """The run of one preset, with its own default settings."""
    training = {"steps": given.steps, "evaluate_every": given.steps, "evaluation_rows": 100, "energy": False, "keep_checkpoints": 1}
    return spec_of({"model": given.model, "task": given.task, "method": name, "training": training, "seed": given.seed})


def fingerprint(spec: RunSpec) -> str:
    """Of what decides over a result: words about the method do not, and an option that came later counts only where it is used."""
    document = spec.model_dump(mode="json", exclude_defaults=True)
    method = {key: document["method"].get(key) for key in ("deltas", "select", "training")}
    text = json.dumps([document["model"], document["task"], document["training"], spec.seed, method], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def run(given: argparse.Namespace, spec: RunSpec) -> dict[str, Any]:
    """One preset: its accuracy at the end, weights at the start and at the end, learning rate."""
    from lab.training import Record, train

    with tempfile.TemporaryDirectory(prefix="lab-presets-") as folder:
        result = train(spec, Record(), folder, cache=Path(tempfile.gettempdir()) / "lab-presets-cache", say=lambda line: None)
    told = {key: result[key] for key in ("trainable", "trainable_final", "percent", "steps")}
    return told | {"accuracy": result["metrics"]["accuracy"], "lr": spec.lr, "spec": fingerprint(spec), "on": time.strftime("%Y-%m-%d")}


def table(given: argparse.Namespace, found: dict[str, dict[str, Any]]) -> str:
    """The table as Markdown, best first."""
    floor = found.get(BASELINE, {}).get("accuracy")
    lines = [
        "# Every preset on one task",
        "",
        f"{given.model} on {given.task}: {given.steps} steps of 32 rows, seed {given.seed}, each with its own default settings, on a CPU.",
        f"Written by `python benchmarks/presets.py --steps {given.steps} --write docs/results.md`. One seed and one short run each: it shows",
        "that every method learns, not which is best; that needs several seeds and a search for each one's learning rate.",
        f"Trained between {min(row['on'] for row in found.values())} and {max(row['on'] for row in found.values())}; a row is trained again when its preset changes.",
        "",
        "| method | accuracy | over the frozen model with a trained head | trained weights | at the end | of the model | learning rate |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, row in sorted(found.items(), key=lambda item: -item[1]["accuracy"]):
        gain = "baseline" if name == BASELINE else "" if floor is None else f"{100 * (row['accuracy'] - floor):+.1f}"
        lines.append(
            f"| {name} | {row['accuracy']:.3f} | {gain} | {weights(row['trainable'])} | {weights(row['trainable_final'])} "
            f"| {percent(row['percent'])} | {row['lr']:g} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
