"""What an accelerator does with the lab, proved by one command: python benchmarks/accelerator.py [--device cuda] [--minutes 8] [--out FILE]

Needs no hub and no files of models: weights are random, shapes are those of published models. In turns, each with its share of the minutes:
the engine's laws for every preset (fp32 as on the CPU, bf16 within bounds), runs in each precision that must learn, a run stopped and one
killed that go on bit for bit, planned memory beside the device's own peaks and the meter, and step times beside peft, beside the frozen
model and under torch.compile. FILE gets JSON as it comes, and a page in Markdown beside it. Exit status 1 where something does not hold.
On a CPU (`--device cpu --minutes 3`) the same commands run on what is small enough.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when CUDA starts: resumed runs are compared bit for bit
ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests"), str(ROOT / "benchmarks")]
warnings.simplefilter("ignore")

LEAST = {"speed": 2}  # rows that a part has whatever they take: a method beside peft, and torch.compile
PARTS = {"runs": 0.25, "memory": 0.3, "speed": 0.2, "laws": 0.25}  # shares of the time; what one leaves, the next ones have


def main() -> int:
    """Run the parts, and write what they found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="auto", choices=["auto", "cuda", "mps", "cpu"])
    parser.add_argument("--minutes", type=float, default=8.0, help="of the whole, about (default 8)")
    parser.add_argument("--out", type=Path, default=Path("accelerator.json"), help="a JSON file; the page is beside it, with .md")
    parser.add_argument("--only", nargs="*", choices=list(PARTS), help="these parts only; the others stay as FILE has them of this machine")
    given = parser.parse_args()
    from accelerated.report import page

    from lab.doctor import diagnosis
    from lab.training.devices import device_type

    device = device_type(given.device)
    found: dict[str, Any] = {"device": device, "machine": diagnosis(device), "began": time.strftime("%Y-%m-%d %H:%M"), "minutes": given.minutes, "parts": {}}
    if given.only and given.out.exists():
        before = json.loads(given.out.read_text(encoding="utf-8"))
        if before["machine"]["device"] == found["machine"]["device"]:
            first = before.get("earlier") or {name: before[name] for name in ("minutes", "began")}
            found |= {"parts": before["parts"], "earlier": first, "only": given.only}
    end, left = time.monotonic() + 60 * given.minutes, [part for part in PARTS if not given.only or part in given.only]
    for part in list(left):
        share = PARTS[part] / sum(PARTS[each] for each in left)
        until = time.monotonic() + share * max(0.0, end - time.monotonic())
        document = found["parts"][part] = {"rows": [], "whole": False, "seconds": 0}
        collect(document, part, device, until, lambda: write(given.out, found, page))
        left.remove(part)
    found["seconds"] = round(60 * given.minutes - (end - time.monotonic()))
    write(given.out, found, page)
    print(f"Written: {given.out} and {given.out.with_suffix('.md')}")
    return int(any(row.get("problems") or row.get("failed") or row.get("error") for each in found["parts"].values() for row in each["rows"]))


def collect(document: dict[str, Any], part: str, device: str, until: float, keep: Callable[[], None]) -> None:
    """Put the rows of a part into its document until its time is over; `whole` says that it came to its end."""
    import importlib

    began, kept = time.monotonic(), document["rows"]
    rows: Iterator[dict[str, Any]] = importlib.import_module(f"accelerated.{part}").rows(device)
    while len(kept) < LEAST.get(part, 1) or time.monotonic() < until:  # a row at least, also where importing took the time
        try:
            row = next(rows)
        except StopIteration:
            document["whole"] = True
            break
        except Exception as error:  # a part that breaks leaves the others their time, and says where it broke
            row = {"error": f"{type(error).__name__}: {str(error)[:300]}", "where": traceback.format_exc().splitlines()[-6:]}
            kept.append(row)
            print(part, json.dumps(row), flush=True)
            break
        kept.append(row)
        print(part, json.dumps(row), flush=True)
        keep()
    rows.close()
    document["seconds"] = round(time.monotonic() - began)


def write(out: Path, found: dict[str, Any], page: Callable[[dict[str, Any]], str]) -> None:
    """JSON and Markdown, as they are now: what a time limit cuts short is there still."""
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    out.with_suffix(".md").write_text(page(found), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
