"""The pictures of the docs, from the running app: `make screenshots`, or python docs/screenshots.py [--home LAB_HOME] [--run]

With --run, a Quick start pair is trained first in a scratch home (some minutes), so that Runs and Compare have something to show.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from ui_support import FLAGS, serving  # noqa: E402

IMAGES = ROOT / "docs" / "images"
PAGES = {  # name: (route, theme)
    "bench": ("?method=mam", "light"),
    "library": ("library", "light"),
    "runs": ("runs", "dark"),
    "compare": ("compare", "light"),
    "sweep": ("sweep", "light"),
}


def main() -> int:
    """Take them all, or those named."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", default=[], help="pictures; none: all")
    parser.add_argument("--home", type=Path, help="a LAB_HOME with runs to show")
    parser.add_argument("--run", action="store_true", help="train a pair first")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="lab-pictures-") as folder:
        home = given.home or Path(folder) / "home"
        if given.run:
            train(home)
        with serving(home.resolve()) as address:
            shoot(address, home, given.names or list(PAGES))
    return 0


def train(home: Path) -> None:
    """The Quick start pair, to the end."""
    from lab.runs import Home, Queue
    from lab.verbs import check

    queue = Queue(Home(home))
    for method in ("lora", "adapter-parallel-scaled"):
        document = {"model": "minilm-l6", "task": "sentiment-rt", "method": method, "training": {"steps": 150}}
        queue.watch(queue.launch(check(document).document()))


def shoot(address: str, home: Path, wanted: list[str]) -> None:
    """One picture per page, 1440 pixels wide."""
    from playwright.sync_api import sync_playwright

    from lab.runs import Home, Queue

    runs = [run.id for run in Queue(Home(home)).store.list(["succeeded"])][:2]
    IMAGES.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=FLAGS)
        for name in wanted:
            route, theme = PAGES[name]
            if runs and name in ("runs", "compare"):
                route += f"?run={runs[-1]}" if name == "runs" else f"?runs={','.join(runs)}"
            context = browser.new_context(viewport={"width": 1440, "height": 900}, color_scheme=theme)
            page = context.new_page()
            page.goto(f"{address}/{route}")
            page.wait_for_timeout(8000)
            page.screenshot(path=str(IMAGES / f"{name}.png"))
            context.close()
            print(IMAGES / f"{name}.png")
        browser.close()


if __name__ == "__main__":
    sys.exit(main())
