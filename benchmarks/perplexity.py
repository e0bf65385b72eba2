"""Perplexity of a decoder on held-out text before and after tuning: python benchmarks/perplexity.py [--write docs/perplexity.md]

SmolLM2-135M (`python -m lab fetch smollm2-135m` first) reads the bundled technical prose; every method starts from the same model, sees the
same batches, and is judged by the same validation rows. Each has the learning rate of its preset unless --lr says otherwise. Results are
kept as they come, so that an interrupted benchmark goes on where it was. Exit status 1 when a method does not lower the perplexity.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lab.design.plain.numbers import percent, weights  # noqa: E402
from lab.design.spec.run import spec_of  # noqa: E402

METHODS = ("lora", "prefix-tuning", "mam", "lamda")
ZERO = "zero-shot"
# A random prefix doubles this model's perplexity before the first step, since 30 keys near zero take a third of the attention. One that holds real
# tokens, with positions that count from behind it as under peft, is the model with 30 random words before its input.
PREFIX = {"deltas.0.init": "vocabulary", "deltas.0.positions": "shift"}
SETTINGS = {"prefix-tuning": PREFIX, "mam": {**PREFIX, "deltas.0.encoder": "none", "deltas.0.encoder_width": 512}}


def main() -> int:
    """Measure, print the table, and write it where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--task", default="text-lm")
    parser.add_argument("--methods", nargs="+", default=METHODS)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--batch", type=int, default=4, help="rows per step")
    parser.add_argument("--length", type=int, default=128, help="tokens per row")
    parser.add_argument("--rows", type=int, default=120, help="validation paragraphs; 0: all of them")
    parser.add_argument("--lr", type=float, help="instead of each preset's own")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--results", type=Path, default=Path("lab-home/cache/perplexity.json"), help="where results are kept as they come")
    parser.add_argument("--kept", action="store_true", help="put all results that were kept into the table, also those of other settings")
    parser.add_argument("--write", type=Path, help="a Markdown file for the table")
    given = parser.parse_args()
    for method in (ZERO, *given.methods):
        found, key = kept(given.results), key_of(given, method)
        if key not in found:
            result = zero_shot(given) if method == ZERO else tuned(given, method)
            given.results.parent.mkdir(parents=True, exist_ok=True)
            given.results.write_text(json.dumps({**kept(given.results), key: result}, indent=1), encoding="utf-8")
    found = kept(given.results)
    asked = [key_of(given, method) for method in given.methods]
    rows = [row | {"zero": found[row["zero"]]["perplexity"]} for key, row in found.items() if "method" in row and (given.kept or key in asked)]
    text = table(given, rows, found)
    print(text)
    if given.write:
        given.write.write_text(text, encoding="utf-8")
    return int(any(row["perplexity"] >= row["zero"] for row in rows))


def kept(path: Path) -> dict[str, Any]:
    """The results so far."""
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def key_of(given: argparse.Namespace, method: str) -> str:
    """What a result depends on."""
    rest = "" if method == ZERO else f" {given.steps}x{given.batch} lr {given.lr or 'own'} seed {given.seed}"
    return f"{method} {given.model} {given.task} {given.length} tokens {given.rows} rows{rest}"


def spec(given: argparse.Namespace, method: str) -> Any:
    """The run: its last evaluation is on the whole of the validation rows."""
    from lab.tasks import resolve

    task = {**resolve(given.task).model_dump(mode="json", exclude_defaults=True), "validation_rows": given.rows or None}
    training = {"steps": given.steps, "batch_size": given.batch, "max_length": given.length, "evaluate_every": given.steps, "evaluation_rows": 100_000,
                "keep_checkpoints": 1, "energy": False, "lr": given.lr}  # fmt: skip
    method = {"preset": method, "set": SETTINGS.get(method, {})}
    return spec_of({"model": given.model, "task": task, "method": method, "training": training, "seed": given.seed})


def zero_shot(given: argparse.Namespace) -> dict[str, Any]:
    """The model as it comes."""
    from lab.models import config_of, load, load_tokenizer
    from lab.tasks import prepare

    run = spec(given, "lora")
    ready = prepare(run.task, load_tokenizer(given.model), config_of(given.model), max_length=given.length, cache_dir=given.results.parent)
    values = ready.evaluate(load(given.model, objective="causal"), ready.validation, batch_size=4 * given.batch)
    return {"perplexity": values["perplexity"], "tokens": int(ready.validation.lengths.sum())}


def tuned(given: argparse.Namespace, method: str) -> dict[str, Any]:
    """One method: perplexity before its first step and after its last."""
    from lab.training import Record, train

    run, record = spec(given, method), Record()
    with tempfile.TemporaryDirectory(prefix="lab-perplexity-") as folder:
        result = train(run, record, folder, cache=given.results.parent, say=lambda line: print(f"  {line}", file=sys.stderr, flush=True))
    return {"method": method, "zero": key_of(given, ZERO), "steps": given.steps, "batch": given.batch, "length": given.length, "seed": given.seed,
            "perplexity": result["metrics"]["perplexity"], "start": record.curve("eval_perplexity")[0], "lr": run.lr, "trainable": result["trainable"],
            "percent": result["percent"], "seconds": result["seconds"]}  # fmt: skip


def table(given: argparse.Namespace, rows: list[dict[str, Any]], found: dict[str, dict[str, Any]]) -> str:
    """The table as Markdown, the largest gain first."""
    judged = sorted({row["tokens"] for row in found.values() if "tokens" in row})
    lines = [
        "# Perplexity on held-out text", "",
        f"{given.model} on {given.task}, on a CPU, each method with the learning rate of its preset unless another is shown; judged by "
        f"{' or '.join(f'{n:,}' for n in judged)} tokens of the validation split.",
        "Written by `python benchmarks/perplexity.py --write docs/perplexity.md`. Short runs of one seed: they show that the perplexity falls, not which",
        "method is best. The prefixes of prefix-tuning and mam start from real tokens (init: vocabulary, positions: shift).", "",
        "| method | zero-shot | before the first step | after | against zero-shot | steps × rows × tokens | trained weights | of the model | learning rate |",
        "|---|---|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    for row in sorted(rows, key=lambda row: row["perplexity"] / row["zero"]):
        lines.append(f"| {row['method']} | {row['zero']:.2f} | {row['start']:.2f} | {row['perplexity']:.2f} | {100 * (row['perplexity'] / row['zero'] - 1):+.1f} % "
                     f"| {row['steps']} × {row['batch']} × {row['length']} | {weights(row['trainable'])} | {percent(row['percent'])} | {row['lr']:g} |")  # fmt: skip
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
