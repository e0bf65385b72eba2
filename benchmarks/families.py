"""A short real job for every family of tasks on what is bundled, in one table: python benchmarks/families.py [--quick] [--write docs/families.md]

all-MiniLM-L6-v2 classifies and measures; SmolLM2-135M (`python -m lab fetch smollm2-135m` first) continues, answers, reasons and chooses; tiny
random BART and T5, which know nothing at the start, summarise and translate. Where a family has no bundled data, rows in the format of its
usual set are made from bundled text and go through the real import: STS-like pairs, GSM8K-like problems, questions with options. Exit status
1 when a held-out loss did not fall.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import random
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lab.design.plain.numbers import number  # noqa: E402
from lab.design.spec.run import spec_of  # noqa: E402
from lab.models import locate, resolve  # noqa: E402
from lab.tasks import importing  # noqa: E402
from lab.tasks import resolve as task_of  # noqa: E402
from lab.tasks.prepared import raw_rows  # noqa: E402

DECODER = "smollm2-135m"


@dataclass
class Job:
    """One short run. `note` says where its data come from, or how it answers."""

    family: str
    model: str
    task: str
    method: str
    note: str
    changes: dict[str, Any] = field(default_factory=dict)  # of the task
    training: dict[str, Any] = field(default_factory=dict)


def jobs(quick: bool) -> list[Job]:
    """Every family, and two that a decoder does in another way. `quick`: a few steps of each, enough to see the whole path work."""
    encoder = {"steps": 20 if quick else 80, "batch_size": 16}
    decoder = {"steps": 5 if quick else 24, "batch_size": 2 if quick else 4, "max_length": 48 if quick else 96}
    writer = {"steps": 40 if quick else 200, "batch_size": 8, "max_length": 96, "lr": 1e-2}
    few, brief = {"validation_rows": 8 if quick else 32}, {"max_length": 16 if quick else 24}
    some = {"validation_rows": 60 if quick else 300}
    return [
        Job("classification", "minilm-l6", "sentiment-rt", "lora", "bundled", some, encoder),
        Job("regression", "minilm-l6", "pairs", "lora", "imported CSV", some, {**encoder, "lr": 3e-3}),
        Job("summarization", "tiny bart", "summarization-deb", "full", "bundled", {**few, "generation": {**brief, "beams": 4}, "target_length": 24}, writer),
        Job("translation", "tiny t5", "translation-deb", "full", "bundled", {**few, "generation": {**brief, "beams": 5}, "target_length": 24}, writer),
        Job("language_modelling", DECODER, "text-lm", "lora", "bundled", few, decoder),
        Job("math_reasoning", DECODER, "problems", "lora", "imported JSON Lines", {**few, "generation": {"max_length": 20 if quick else 60}}, decoder),
        Job("commonsense", DECODER, "synopses", "lora", "imported JSON; by option likelihood", few, decoder),
        Job("instruction", DECODER, "instruction-deb", "lora", "bundled; in the model's chat format", few, decoder),
        Job("classification", DECODER, "sentiment-rt", "lora", "bundled; by label likelihood", few, decoder),
        Job("summarization", DECODER, "summarization-deb", "lora", "bundled; by prompt", {**few, "generation": {**brief, "beams": 2}, "target_length": 24}, decoder),
    ]  # fmt: skip


def main() -> int:
    """Train each, print the table, and write it where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a few steps of each")
    parser.add_argument("--only", nargs="*", help="these families only")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="print the rows as JSON instead")
    parser.add_argument("--write", type=Path, help="a Markdown file for the table")
    given = parser.parse_args()
    fetched = locate(resolve(DECODER)).folder  # of this lab, before it moves
    cache = Path(os.environ.get("LAB_HOME") or "lab-home").expanduser().resolve() / "cache"
    with tempfile.TemporaryDirectory(prefix="lab-families-") as folder:
        os.environ["LAB_HOME"] = folder  # imported tasks go there, not into the user's lab
        make_data(Path(folder))
        models = {**{f"tiny {kind}": make_model(Path(folder) / kind, kind) for kind in ("bart", "t5")}, "minilm-l6": "minilm-l6", DECODER: str(fetched or "")}
        rows = [run(job, models[job.model], Path(folder), cache, given) for job in jobs(given.quick) if not given.only or job.family in given.only]
    text = json.dumps(rows) if given.json else table(rows, given)
    print(text)
    if given.write:
        given.write.write_text(table(rows, given), encoding="utf-8")
    return int(any("loss" in row and row["loss"][1] >= row["loss"][0] for row in rows))


def run(job: Job, model: str, folder: Path, cache: Path, given: argparse.Namespace) -> dict[str, Any]:
    """One job: its metric and its loss on held-out rows, before the first step and after the last."""
    from lab.training import Record, train

    row: dict[str, Any] = {"family": job.family, "model": job.model, "task": job.task, "method": job.method, "note": job.note}
    if not model:
        return {**row, "missing": f"python -m lab fetch {job.model}"}
    task = {**task_of(job.task).model_dump(mode="json", exclude_defaults=True), **job.changes}
    training = {"evaluate_every": job.training["steps"], "evaluation_rows": 100_000, "keep_checkpoints": 1, "energy": False, **job.training}
    spec = spec_of({"model": model, "task": task, "method": job.method, "training": training, "seed": given.seed})
    record, began = Record(), time.perf_counter()
    with tempfile.TemporaryDirectory(dir=folder) as out:
        result = train(spec, record, out, cache=cache, say=lambda line: print(f"  {line}", file=sys.stderr, flush=True))
        shown = json.loads((Path(out) / "predictions.json").read_text(encoding="utf-8"))[0]
    metric = spec.task.main_metric
    return {**row, "metric": metric, "value": [record.curve(f"eval_{metric}")[0], result["metrics"][metric]], "metrics": result["metrics"],
            "loss": [record.curve("eval_loss")[0], result["metrics"]["loss"]], "steps": result["steps"], "rows_per_second": result["rows_per_second"],
            "seconds": round(time.perf_counter() - began, 1), "shown": shown}  # fmt: skip


def make_data(folder: Path) -> None:
    """The three files that are not bundled, imported as a user's own: families and columns are guessed."""
    draw = random.Random(0)
    pairs, problems, synopses = folder / "pairs.csv", folder / "problems.jsonl", folder / "synopses.json"
    with pairs.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("sentence1", "sentence2", "score"), *sentence_pairs(draw)])
    problems.write_text("\n".join(json.dumps(problem(draw)) for _ in range(400)), encoding="utf-8")
    synopses.write_text(json.dumps({"data": questions(draw)}), encoding="utf-8")
    for path, family in ((pairs, "regression"), (problems, "math_reasoning"), (synopses, "commonsense")):
        found = importing.commit(path, path.stem)
        assert found.family == family, f"{path.name} was taken for {found.family}"


def sentence_pairs(draw: random.Random) -> list[tuple[str, str, float]]:
    """Sentences of the bundled translations with some words gone or another sentence's; the score is 5 × the share of words in common (STS-B's scale)."""
    sentences = [row["en"] for row in raw_rows(task_of("translation-deb"))["train"] if 5 <= len(row["en"].split()) <= 20][:1500]
    found = []
    for sentence in sentences:
        words, kept = sentence.split(), draw.random()
        other = draw.choice(sentences).split()
        mixed = [word if draw.random() < kept else draw.choice(other) for word in words]
        one, two = {word.lower() for word in words}, {word.lower() for word in mixed}
        found.append((sentence, " ".join(mixed), round(5 * len(one & two) / len(one | two), 2)))
    return found


def problem(draw: random.Random) -> dict[str, str]:
    """A word problem as GSM8K writes them, the calculator's notes included."""
    name, thing = draw.choice(["Ana", "Bo", "Chen", "Dara", "Eli"]), draw.choice(["apples", "books", "coins", "stamps"])
    first, more, times = draw.randint(2, 20), draw.randint(2, 20), draw.randint(2, 5)
    total = (first + more) * times
    answer = f"{name} has {first} + {more} = <<{first}+{more}={first + more}>>{first + more} {thing} a day.\nIn {times} days that is {times} * {first + more} = <<{times}*{first + more}={total}>>{total}.\n#### {total}"
    return {"question": f"{name} finds {first} {thing} in the morning and {more} in the evening. How many {thing} are that in {times} days?", "answer": answer}


def questions(draw: random.Random) -> list[dict[str, Any]]:
    """Which one-line synopsis belongs to a package's description? Four options, as in OpenBookQA."""
    rows = [row for row in raw_rows(task_of("summarization-deb"))["train"] if len(row["summary"].split()) <= 9][:400]
    found = []
    for row in rows:
        options = [row["summary"], *draw.sample([other["summary"] for other in rows if other is not row], 3)]
        draw.shuffle(options)
        found.append({"question": " ".join(row["document"].split()[:40]), "options": options, "answer": options.index(row["summary"])})
    return found


def make_model(folder: Path, kind: str) -> str:
    """A small random encoder-decoder that reads bytes, saved with its tokenizer; its folder."""
    from tests.tiny import TEXT, tiny, tiny_tokenizer

    size = {"bart": {"d_model": 64, "encoder_ffn_dim": 128, "decoder_ffn_dim": 128, "decoder_layers": 2, "max_position_embeddings": 128, "decoder_start_token_id": 2},
            "t5": {"d_model": 64, "d_ff": 128, "num_decoder_layers": 2, "d_kv": 16, "decoder_start_token_id": 0}}[kind]  # fmt: skip
    tiny(kind, "seq2seq", **TEXT, **size).save_pretrained(folder)
    tokenizer = tiny_tokenizer("encoder-decoder")
    tokenizer.model_max_length = 128
    tokenizer.save_pretrained(folder)
    return str(folder)


def table(rows: list[dict[str, Any]], given: argparse.Namespace) -> str:
    """The table as Markdown."""
    lines = [
        "# Every family of tasks", "",
        f"A short job of each on what is bundled, seed {given.seed}, on a CPU, written by `python benchmarks/families.py{' --quick' if given.quick else ''} --write docs/families.md`.",
        "Numbers are on a few held-out rows, before the first step and after the last: they show that each family's whole path works (data, prompt or",
        "head, loss, generation or likelihood, metric), not how good a method is. The tiny encoder-decoders are random at the start.", "",
        "| family | model | task | method | metric | before → after | held-out loss | steps |", "|---|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    for row in rows:
        head = f"| {row['family'].replace('_', ' ')} | {row['model']} | {row['task']} ({row['note']}) | {row['method']} "
        if "missing" in row:
            lines.append(f"{head}| not here: `{row['missing']}` | | | |")
            continue
        pairs = [" → ".join(number(value, 3) for value in row[key]) for key in ("value", "loss")]
        lines.append(f"{head}| {row['metric']} | {pairs[0]} | {pairs[1]} | {row['steps']} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
