"""What a run costs besides its steps, as ratios of one measurement: python benchmarks/overhead.py [--quick] [--only share start whole] [--page]

    share   a LoRA run of 150 steps as it comes, by the command that a person types: evaluation and everything else over the steps
    start   from Launch to the first step, cold and with a warm worker (benchmarks/overhead_start.py)
    whole   rows per second of a whole run, from the start of the process to its end with the adapter saved, beside benchmarks/plain_peft.py on the
            same rows of IMDb: the same model, LoRA, learning rate, steps, rows per step, longest input, and one evaluation each of the same rows

Sides take turns, each in a process of its own on all cores. In its first turn a side has empty caches (of tokenised rows), in the second it finds them. Results are kept piece by
piece in --results, so that an interrupted measurement goes on where it was; --pieces N measures N more at most, --again begins anew. --page writes docs/overhead.md.
A measurement is meant for about 12 minutes of two quiet cores, --quick for half: fewer rows, its results apart.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import importlib.metadata
import io
import json
import os
import platform
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import psutil  # noqa: E402

PAGE = ROOT / "docs" / "overhead.md"
MODEL, METHOD, IMDB, SENTENCES = "minilm-l6", "lora", "sentiment-imdb", "sentiment-rt"
SIDES = {"lab": "the lab", "longest": "plain script, batches padded to their longest row", "max_length": "plain script, rows padded to 256"}
# Steps of `share`; of `whole` its steps, as many as are sorted by length together, so that short and long ones are there as in an epoch, rows per step, and
# validation rows, all of which the lab judges by default.
SETTINGS = {
    False: {"share_steps": 150, "steps": 50, "batch": 8, "judged": 60, "turns": 2},
    True: {"share_steps": 40, "steps": 50, "batch": 2, "judged": 32, "turns": 2},
}
THREADS: dict[str, str] = {}  # of the environment of every side
MARK = "LAB_OVERHEAD"  # in the environment of what this starts
PACKAGES = ("torch", "transformers", "peft", "accelerate", "datasets")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=["share", "start", "whole"], default=["share", "start", "whole"], help="these parts only")
    parser.add_argument("--quick", action="store_true", help="fewer rows; kept apart")
    parser.add_argument("--results", type=Path, help="where results are kept as they come (default benchmarks/overhead.json)")
    parser.add_argument("--pieces", type=int, default=1000, help="measure at most so many pieces now")
    parser.add_argument("--again", action="store_true", help="forget what was measured of these parts")
    parser.add_argument("--page", action="store_true", help=f"write {PAGE.relative_to(ROOT)} from the results")
    parser.add_argument("--threads", type=int, help="of each side (default: as many as there are cores)")
    given = parser.parse_args()
    if given.threads:
        THREADS["OMP_NUM_THREADS"] = str(given.threads)
    path = given.results or (Path(tempfile.gettempdir()) / "lab-overhead-quick.json" if given.quick else Path(__file__).with_name("overhead.json"))
    found = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    if given.again:
        found = {part: rows for part, rows in found.items() if part not in given.only}
    for part, piece, measure in wanted(given):
        if given.pieces <= 0:
            break
        if piece in found.get(part, {}):
            continue
        given.pieces -= 1
        found.setdefault(part, {})[piece] = {**measure(), "on": time.strftime("%Y-%m-%d")}
        found["settings"], found["machine"] = SETTINGS[given.quick], {**machine(), "threads": given.threads or os.cpu_count()}
        path.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        print(f"{part}, {piece}: {json.dumps(found[part][piece])}", file=sys.stderr, flush=True)
    text = page(found)
    print(text)
    if given.page:
        PAGE.write_text(text, encoding="utf-8")
    return 0


def wanted(given: argparse.Namespace) -> list[tuple[str, str, Callable[[], dict[str, Any]]]]:
    """(part, piece, what measures it) in the order of measuring: sides in turns, each turn in the other order."""
    settings, pieces = SETTINGS[given.quick], []
    if "share" in given.only:
        pieces.append(("share", "run", lambda: lab_run(SENTENCES, settings["share_steps"], 32, {}, fresh=False)))
    if "start" in given.only:
        pieces.append(("start", "turns", start))
    if "whole" in given.only:
        for turn in range(settings["turns"]):
            for side in [name for name in SIDES if turn or name != "max_length"][:: -1 if turn % 2 else 1]:
                pieces.append(("whole", f"{side} {turn}", lambda side=side, turn=turn: whole(side, turn, settings)))
    return pieces


def scratch(name: str, fresh: bool = False) -> Path:
    """A folder that stays between the pieces of a measurement."""
    folder = Path(tempfile.gettempdir()) / "lab-overhead" / name
    if fresh:
        shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def timed(command: list[str], environment: dict[str, str]) -> tuple[dict[str, float], str]:
    """({"seconds" on the clock, "processor": seconds of all its processes}, standard output) of a command.

    A worker of the lab is nobody's child, so processes are known by a word in their environment, and what each has used is read a few times a second.
    """
    whole = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"} | {"HF_HUB_OFFLINE": "1", **THREADS, **environment}
    before = used()
    with tempfile.TemporaryFile("w+", encoding="utf-8") as out:
        began = time.perf_counter()
        process = subprocess.Popen(command, env={**whole, MARK: "1"}, cwd=ROOT, stdout=out)
        after: dict[Any, float] = {}
        while process.poll() is None:
            after |= used()
            time.sleep(0.2)
        took = {"seconds": time.perf_counter() - began, "processor": sum(seconds - before.get(key, 0.0) for key, seconds in after.items())}
        out.seek(0)
        if process.returncode:
            raise SystemExit(f"{' '.join(command)} ended with {process.returncode}")
        return took, out.read()


def used() -> dict[Any, float]:
    """Processor seconds so far of every process that this benchmark started, a fork server of an earlier turn among them, by (pid, when it began)."""
    found = {}
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if MARK in process.environ():
                found[process.pid, process.create_time()] = sum(process.cpu_times()[:2])
    return found


def lab_run(task: str, steps: int, batch: int, options: dict[str, Any], fresh: bool) -> dict[str, Any]:
    """A run by the lab's own command; what it took and what its result says of it."""
    sets = [part for name, value in options.items() for part in ("--set", f"{name}={value}")]
    command = [sys.executable, "-m", "lab", "run", "--json", "--model", MODEL, "--task", task, "--method", METHOD, "--steps", str(steps),
               "--batch-size", str(batch), *sets]  # fmt: skip
    home = scratch("home", fresh)
    took, printed = timed(command, {"LAB_HOME": str(home)})
    result = json.loads((home / "runs" / json.loads(printed)["run"] / "result.json").read_text(encoding="utf-8"))
    return {**took, "rows": steps * batch, "steps_seconds": result["training_seconds"], "accuracy": result["metrics"]["accuracy"],
            "judged": result["judged_rows"], "evaluations": {"seconds": result["evaluations"]["seconds"]}, "trained": result["trainable"] + result["trainable_head"]}  # fmt: skip


def whole(side: str, turn: int, settings: dict[str, int]) -> dict[str, Any]:
    """One whole run of a side, its caches emptied before the first."""
    if side == "lab":
        found = lab_run(IMDB, settings["steps"], settings["batch"], {"task.validation_rows": settings["judged"]}, fresh=not turn)
        if found["judged"] != settings["judged"]:
            raise SystemExit(f"The lab judged {found['judged']} rows by default, and the plain script judges {settings['judged']}: change SETTINGS.")
        return found
    folder = scratch(f"plain-{side}", fresh=not turn)
    command = [sys.executable, "benchmarks/plain_peft.py", "--model", str(model_folder()), "--data", str(reviews(settings["judged"])), "--out", str(folder / "out"),
               "--steps", str(settings["steps"]), "--batch", str(settings["batch"]), "--padding", side]  # fmt: skip
    took, printed = timed(command, {"HF_DATASETS_CACHE": str(folder / "datasets"), "TRANSFORMERS_VERBOSITY": "error"})
    told = json.loads(printed.splitlines()[-1])
    return {**took, "rows": settings["steps"] * settings["batch"], "steps_seconds": told["training_seconds"], "accuracy": told["accuracy"],
            "judged": settings["judged"], "evaluations": {"seconds": told["evaluation_seconds"]}, "trained": told["trained"]}  # fmt: skip


def model_folder() -> Path:
    from lab.models import resolve
    from lab.models.places import locate

    return locate(resolve(MODEL)).folder


def reviews(judged: int) -> Path:
    """The rows of the lab's task as the files that a plain script reads: all that train, and those that the lab judges."""
    from lab.tasks import resolve
    from lab.tasks.prepared import raw_rows

    folder = scratch("reviews")
    spec = resolve(IMDB)
    splits = raw_rows(spec)
    held = splits["validation"]
    held = [held[i] for i in sorted(random.Random(0).sample(range(len(held)), judged))]  # as lab.tasks draws validation rows
    for name, rows in (("train", splits["train"]), ("validation", held)):
        text = io.StringIO(newline="")
        writer = csv.writer(text)
        writer.writerow(["text", "label"])
        writer.writerows([row["text"], row["label"] if str(row["label"]).isdigit() else spec.labels.index(row["label"])] for row in rows)
        file = folder / f"{name}.csv"
        if not file.exists() or file.read_bytes() != text.getvalue().encode("utf-8"):  # a file that is written anew is another one for the script's cache
            file.write_bytes(text.getvalue().encode("utf-8"))
    return folder


def start() -> dict[str, Any]:
    """What benchmarks/overhead_start.py finds."""
    _, printed = timed([sys.executable, "benchmarks/overhead_start.py", "--json"], {})
    return json.loads(printed)


def machine() -> dict[str, Any]:
    """What this was measured on."""
    from lab import doctor

    versions = {name: importlib.metadata.version(name) for name in PACKAGES}
    return {"processor": doctor.diagnosis("cpu")["device"]["name"], "cores": os.cpu_count(), "python": platform.python_version(), "versions": versions}


def page(found: dict[str, Any]) -> str:
    """Markdown of what was measured."""
    lines = ["# What a run costs besides its steps", ""]
    if "machine" in found:
        about, days = found["machine"], sorted({row["on"] for part in ("share", "start", "whole") for row in found.get(part, {}).values()})
        lines += [f"Written by `python benchmarks/overhead.py --page`, measured on {' and '.join(dict.fromkeys((days[0], days[-1])))} on {about['cores']} cores of {about['processor']} without an "
                  f"accelerator, {about['threads']} threads: Python {about['python']}, " + ", ".join(f"{name} {version}" for name, version in about["versions"].items())
                  + ". Each figure is of one measurement, in which the sides took turns."]  # fmt: skip
    for part, write in (("share", _share), ("start", _start), ("whole", _whole)):
        if part in found:
            lines += ["", *write(found[part], found["settings"])]
    return "\n".join(lines) + "\n"


def _share(rows: dict[str, Any], settings: dict[str, int]) -> list[str]:
    row = rows["run"]
    beside = row["seconds"] - row["steps_seconds"]
    lines = ["## Besides the steps of one run", "",
             f"`lab run --model {MODEL} --task {SENTENCES} --method {METHOD} --steps {settings['share_steps']}`, everything else as it comes, from the start of the command to its end: "
             f"{row['seconds']:.0f} s, of which {row['steps_seconds']:.0f} s are steps, so {100 * beside / row['seconds']:.0f} % goes beside training."]  # fmt: skip
    lines += [f"Evaluations took {100 * row['evaluations']['seconds'] / row['steps_seconds']:.1f} % of what the steps took. "
              f"Accuracy at the end: {row['accuracy']:.3f} on {row['judged']:,} rows."]  # fmt: skip
    return lines


def _start(rows: dict[str, Any], settings: dict[str, int]) -> list[str]:
    row = rows["turns"]
    return ["## From Launch to the first step", "",
            f"`python benchmarks/overhead_start.py`: {row['cold']:.1f} s cold, {row['warm']:.1f} s with a warm worker, {row['cold'] / row['warm']:.1f} times as fast; medians of "
            f"{len(row['each']) // 2} starts each of a MiniLM run after the first, in turns."]  # fmt: skip


def _whole(rows: dict[str, Any], settings: dict[str, int]) -> list[str]:
    lines = ["## A whole run beside a plain script", "",
             f"{settings['steps']} steps of {settings['batch']} IMDb reviews, cut at 256 tokens, LoRA (r = 8 at query and value) on MiniLM, one evaluation of {settings['judged']} reviews, from the start of the process to "
             "its end with the adapter saved. The lab's side is `lab run` with its own defaults; the other is [plain_peft.py](../benchmarks/plain_peft.py), peft's and transformers' tutorials put "
             "together. The first turn has empty caches of tokenised rows, the second finds them.", "",
             "| | turn | processor s | s on the clock | of these steps | evaluation | the rest | accuracy |", "|---|---|---|---|---|---|---|---|"]  # fmt: skip
    for piece in sorted(rows, key=lambda each: (each.split()[1], list(SIDES).index(each.split()[0]))):
        (side, turn), row = piece.split(), rows[piece]
        rest = row["seconds"] - row["steps_seconds"] - row["evaluations"]["seconds"]
        lines.append(f"| {SIDES[side]} | {int(turn) + 1} | {row['processor']:.0f} | {row['seconds']:.0f} | {row['steps_seconds']:.0f} | {row['evaluations']['seconds']:.0f} "
                     f"| {rest:.0f} | {row['accuracy']:.3f} |")  # fmt: skip
    for turn in sorted({piece.split()[1] for piece in rows}):
        for side in ("longest", "max_length"):
            if {f"lab {turn}", f"{side} {turn}"} <= set(rows):
                mine, other = rows[f"lab {turn}"], rows[f"{side} {turn}"]
                lines += ["", f"Rows per second of the lab over those of the {SIDES[side]}, turn {int(turn) + 1}: **{other['processor'] / mine['processor']:.2f}** by processor time, "
                              f"{other['seconds'] / mine['seconds']:.2f} on the clock; of the steps alone, which is what a long run comes to, "
                              f"{other['steps_seconds'] / mine['steps_seconds']:.2f} on the clock."]  # fmt: skip
    return lines


if __name__ == "__main__":
    sys.exit(main())
