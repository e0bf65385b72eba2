"""Two MiniLM runs on two tasks, combined over 11 points from the one alone to the other alone; both metrics, in docs/combining.md and its figure.

    python benchmarks/combining.py [--steps 120] [--how sum ties dare] [--rank 8] [--rows 200] [--length 128] [--home FOLDER] [--page]

Trained are a LoRA on one-sentence reviews (sentiment-rt) and one on reviews of several paragraphs (sentiment-imdb). Each point is judged on --rows validation rows of
each task, by the head of the run that was trained on it, as the Combine page does it. `--rank r`: with a rank, changes of weights are combined and r singular
values kept. `--home`: a LAB_HOME that has the two runs already, or shall keep them. `--page` writes the page and the figure.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

TASKS = ("sentiment-rt", "sentiment-imdb")
POINTS = [step / 10 for step in range(11)]
COLOURS = ("#c2570c", "#2563a8")
DASHES = ("", "6 4", "2 3", "9 3 2 3")


def runs(steps: int, rows: int, length: int) -> list[str]:
    """The two runs, trained in this process where the home has none of these names; their ids."""
    from lab import verbs
    from lab.runs import Home, Queue, WorkerLink
    from lab.tasks import resolve
    from lab.training import train

    lab = Queue(Home(), count=0)
    found = []
    for task in TASKS:
        name = f"lora {task} {steps}"
        there = [run.id for run in lab.store.list(["succeeded"]) if run.name == name]
        if not there:
            training = {"steps": steps, "batch_size": 16, "max_length": length, "evaluate_every": steps, "energy": False, "device": "cpu"}
            part = resolve(task).model_copy(update={"train_rows": 16 * steps, "validation_rows": rows})
            checked = verbs.check({"model": "minilm-l6", "task": part.model_dump(mode="json"), "method": "lora", "training": training, "name": name})
            run = lab.launch(checked.document(), name)
            link = WorkerLink(run, lab.home, lab.store)
            link.finish("succeeded", train(checked, link, link.run_dir, cache=lab.home.cache, run_id=run))
            there = [run]
        found.append(there[0])
    return found


def sweep(pair: list[str], how: str, rank: int | None, density: float) -> list[dict[str, float]]:
    """[{"share", task: metric, ...}] from the first run alone to the second alone."""
    from lab.trying.combining import answer

    found = []
    for share in POINTS:
        asked = {"runs": pair, "weights": [1 - share, share], "how": how, "rank": rank, "density": density}
        found.append({"share": share, **{row["task"]: row["value"] for row in answer({"combination": asked})["tasks"]}})
        print(how, found[-1], file=sys.stderr, flush=True)
    return found


def figure(measured: dict[str, list[dict[str, float]]]) -> str:
    """Both metrics of every way over the share, as SVG."""
    left, top, width, height = 52, 16, 560, 250
    values = [point[task] for points in measured.values() for point in points for task in TASKS]
    low, high = min(values) - 0.01, max(values) + 0.01
    x = lambda share: left + share * width  # noqa: E731
    y = lambda value: top + (high - value) / (high - low) * height  # noqa: E731
    lines = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {left + width + 20} {top + height + 84}" font-family="sans-serif" font-size="12">',
             '<rect width="100%" height="100%" fill="#ffffff"/>']  # fmt: skip
    for tick in range(5):
        value = low + (high - low) * tick / 4
        lines.append(f'<line x1="{left}" x2="{left + width}" y1="{y(value):.1f}" y2="{y(value):.1f}" stroke="#d8dce2"/>')
        lines.append(f'<text x="{left - 6}" y="{y(value) + 4:.1f}" text-anchor="end" fill="#5b6472">{value:.2f}</text>')
    for share in POINTS[::2]:
        lines.append(f'<text x="{x(share):.1f}" y="{top + height + 16}" text-anchor="middle" fill="#5b6472">{share:g}</text>')
    lines.append(
        f'<text x="{left + width / 2}" y="{top + height + 34}" text-anchor="middle" fill="#5b6472">share of the run on {TASKS[1]}; the rest is that of the run on {TASKS[0]}</text>'
    )
    for number, (how, points) in enumerate(measured.items()):
        for task, colour in zip(TASKS, COLOURS, strict=True):
            path = " ".join(f"{x(point['share']):.1f},{y(point[task]):.1f}" for point in points)
            lines.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2" stroke-dasharray="{DASHES[number % len(DASHES)]}"/>')
        at = left + number * width / len(measured)
        lines.append(
            f'<line x1="{at}" x2="{at + 34}" y1="{top + height + 52}" y2="{top + height + 52}" stroke="#444b57" stroke-width="2" stroke-dasharray="{DASHES[number % len(DASHES)]}"/>'
        )
        lines.append(f'<text x="{at + 40}" y="{top + height + 56}" fill="#2b313b">{how}</text>')
    for number, (task, colour) in enumerate(zip(TASKS, COLOURS, strict=True)):
        at = left + number * width / 2
        lines.append(
            f'<circle cx="{at + 6}" cy="{top + height + 73}" r="5" fill="{colour}"/><text x="{at + 18}" y="{top + height + 77}" fill="#2b313b">accuracy on {task}</text>'
        )
    return "\n".join([*lines, "</svg>"]) + "\n"


def page(measured: dict[str, list[dict[str, float]]], command: str, trained: list[dict[str, float]], each: int) -> str:
    """The page, with the figure and the numbers."""
    head = "| share of the second run | " + " | ".join(f"{how}: {task}" for how in measured for task in TASKS) + " |"
    rows = [
        "| " + " | ".join([f"{share:g}", *(f"{points[number][task]:.3f}" for points in measured.values() for task in TASKS)]) + " |"
        for number, share in enumerate(POINTS)
    ]
    alone = "; ".join(f"{task} {result['accuracy']:.3f}" for task, result in zip(TASKS, trained, strict=True))
    return "\n".join([
        "# Two runs combined", "", f"Written by `{command}`.", "",
        "Two LoRAs on all-MiniLM-L6-v2, one trained on each task, as one method: weights (1−t, t) for the share t of the second. Each task is judged by the head of its own run, "
        f"on {each} validation rows; alone they have {alone}.", "", "![accuracy over the share](images/combining.svg)", "", head,
        "|---|" + "---|" * (len(measured) * len(TASKS)), *rows, "",
        "How each way combines stands in [the code](../lab/engine/arithmetic.py); `python -m lab combine RUN RUN --how ties --weights 0.5 0.5` keeps one as a run, and the "
        "page *Combine* has sliders for it.", "",
    ])  # fmt: skip


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--steps", type=int, default=120)
    asked.add_argument("--how", nargs="+", default=["sum", "ties"])
    asked.add_argument("--rank", type=int)
    asked.add_argument("--density", type=float, default=0.5)
    asked.add_argument("--rows", type=int, default=200)
    asked.add_argument("--length", type=int, default=128)
    asked.add_argument("--home")
    asked.add_argument("--page", action="store_true")
    given = asked.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["LAB_HOME"] = given.home or scratch
        from lab import blocks
        from lab.trying import combining

        combining.ROWS = given.rows
        pair = runs(given.steps, given.rows, given.length)
        began = time.perf_counter()
        measured = {how: sweep(pair, how, given.rank, given.density) for how in given.how}
        seconds = time.perf_counter() - began
        print(json.dumps({"runs": pair, "measured": measured, "seconds": round(seconds, 1)}))
        if given.page:
            words = [
                "python benchmarks/combining.py",
                f"--steps {given.steps} --rows {given.rows} --length {given.length}",
                f"--how {' '.join(given.how)}",
                *([f"--rank {given.rank}"] if given.rank else []),
                "--page",
            ]
            (ROOT / "docs" / "images" / "combining.svg").write_text(figure(measured), encoding="utf-8")
            trained = [blocks.read(run).metrics for run in pair]
            (ROOT / "docs" / "combining.md").write_text(page(measured, " ".join(words), trained, given.rows), encoding="utf-8")


if __name__ == "__main__":
    main()
