"""The pictures of the docs, from the running app: `make screenshots`, or python docs/screenshots.py [--home LAB_HOME] [--run] [NAME ...]

With --run, Table 5 of He et al. (five runs), one of SmolLM2 on instructions and a search of six short trials are trained first, so that every page has something to show.
Each is 1440 pixels wide; one above 195 kB is written again in 256 colours.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from ui_support import FLAGS, serving  # noqa: E402

LARGEST = 195_000  # bytes
IMAGES = ROOT / "docs" / "images"
PAGES = {  # name: (route, theme, what must be there)
    "bench": ("?method=mam", "light", "#memory [data-peak]"),
    "bart": ("?model=bart-large&task=xsum&method=mam", "dark", "#memory [data-peak], #memory .lab-muted"),
    "library": ("library", "light", "#library .katex"),
    "data": ("data", "light", ".lab-tasks tr"),
    "runs": ("runs?run={run}", "light", "#run-charts .lab-plot .main-svg"),
    "compare": ("compare?runs={runs}", "light", "#results tbody tr"),
    "sweep": ("sweep?row=method", "light", "#matrix td.told"),
    "search": ("search?name={search}", "light", "#search-trials tbody tr"),
    "tryit": ("tryit?runs={run},{speaks}", "light", "#try-form .lab-item"),
    "combine": ("combine?runs={two}", "light", "#combine-view tbody td.num[title]:not([title=''])"),
    "inside": ("inside?runs={run}", "light", "#inside .lab-in-card"),
    "present": ("present?method=mam", "dark", "#stage-figure svg"),
    "export": ("export?run={run}", "light", ".lab-card"),
}
TRAINING = {"steps": 120, "lr": 3e-4, "batch_size": 16, "max_length": 48, "evaluation_rows": 200, "evaluate_every": 20, "energy": False}
SPEAKS = {"model": "smollm2-135m", "task": "instruction-deb", "method": "lora", "seed": 0,
          "training": {"steps": 40, "batch_size": 4, "max_length": 128, "evaluation_rows": 16, "evaluate_every": 20, "energy": False}}  # fmt: skip
SEARCH = {"name": "pictures", "model": "minilm-l6", "task": "sentiment-rt", "budget": "0.3 % weights, 900 MB", "anchors": ["lora"], "trials": 6, "seeds": 1, "rungs": [10, 30],
          "training": {**TRAINING, "steps": 30, "evaluate_every": 10}, "space": {"deltas.0.rank": "1..48 log", "training.lr": "1e-4..1e-2 log"}}  # fmt: skip
KEPT = {
    "lab_introduced": True,
    "lab_sweep_1": {"table": "he-2022-table-5", "axes": [{"path": "seed", "values": "0, 1, 2"}], "list": False, "without": [], "on": "bench"},
}


QUESTION = "Translate into Romanian: The file could not be opened."


def main() -> int:
    """Take them all, or those named."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", default=[], help="pictures; none: all")
    parser.add_argument("--home", type=Path, help="a LAB_HOME with runs to show")
    parser.add_argument("--run", action="store_true", help="train the runs first")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="lab-pictures-") as folder:
        home = (given.home or Path(folder) / "home").resolve()
        os.environ["LAB_HOME"] = str(home)
        if given.run:
            train(home)
        with serving(home) as address:
            shoot(address, home, given.names or list(PAGES))
    return 0


def train(home: Path) -> None:
    """The rows of Table 5 on the bundled model and reviews, to the end, as the page Sweep queues them, and a run that writes text."""
    from lab import models, searching
    from lab.design.spec.run import spec_of
    from lab.runs import Home, Queue
    from lab.ui.sweep import grid

    models.fetch(SPEAKS["model"])
    queue = Queue(Home(home))
    base = {"model": "minilm-l6", "task": "sentiment-rt", "method": "lora", "seed": 0, "training": TRAINING}
    specs = grid.specs_of({"base": base, "table": "he-2022-table-5", "axes": []}) + [spec_of(SPEAKS)]
    for run in [queue.launch(spec.document(), spec.name, spec.tags) for spec in specs]:
        queue.watch(run)
    searching.search(SEARCH)


def shoot(address: str, home: Path, wanted: list[str]) -> None:
    """One picture per page, 1440 pixels wide."""
    import json

    from playwright.sync_api import sync_playwright

    from lab.runs import Home, Queue

    over = sorted(Queue(Home(home)).store.list(["succeeded"]), key=lambda run: -float((run.result.get("best") or {}).get("accuracy") or 0))
    runs = [run.id for run in over if run.spec["model"] != SPEAKS["model"] and SEARCH["name"] not in run.tags][:5]
    speaks = next((run.id for run in over if run.spec["model"] == SPEAKS["model"]), "")
    IMAGES.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=FLAGS)
        for name in wanted:
            route, theme, there = PAGES[name]
            context = browser.new_context(viewport={"width": 1440, "height": 900}, color_scheme=theme, locale="en-US")
            context.add_init_script("".join(f"localStorage.setItem({key!r}, {json.dumps(json.dumps(value))});" for key, value in KEPT.items()))
            page = context.new_page()
            chosen = {"run": runs[0] if runs else "", "two": ",".join(runs[:2]), "runs": ",".join(runs), "speaks": speaks, "search": SEARCH["name"]}
            page.goto(f"{address}/{route.format(**chosen)}")
            page.wait_for_selector(there, state="attached", timeout=180_000)
            if name == "tryit" and runs:
                ask(page)
            page.wait_for_timeout(5000)
            page.screenshot(path=str(IMAGES / f"{name}.png"))
            context.close()
            if (IMAGES / f"{name}.png").stat().st_size > LARGEST:
                shrink(IMAGES / f"{name}.png")
            print(IMAGES / f"{name}.png", f"{(IMAGES / f'{name}.png').stat().st_size / 1000:.0f} kB")
        browser.close()


def ask(page: Any) -> None:
    """Put a question to the chosen runs, and wait for all answers."""
    page.get_by_label("Text", exact=True).fill(QUESTION)
    page.get_by_role("button", name="Ask", exact=True).click()
    page.wait_for_function(
        "document.querySelectorAll('#answers .off').length === document.querySelectorAll('#try-form [aria-checked=true]').length", timeout=180_000
    )


def shrink(path: Path) -> None:
    """Write a picture again in 256 colours."""
    from PIL import Image

    with Image.open(path) as picture:
        small = picture.convert("RGB").quantize(256, dither=Image.Dither.NONE)
    small.save(path, optimize=True)


if __name__ == "__main__":
    sys.exit(main())
