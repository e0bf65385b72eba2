"""How long a live chart of a long run takes to show new steps, in a real Chromium, and whether it keeps its zoom.

    python benchmarks/live.py [--points 100000] [--updates 12] [--json]

An app of its own is started over a scratch store with a run of 1,000 and one of --points steps. New rows are written to each while its page is open;
counted is, inside the page, from the poll that brings them (the request is sent) until the loss chart has been drawn, and what app and page compute
from one update to the next. The chart is then zoomed:
the range must stay through the next updates, and the curve in it must have points that the whole curve, thinned for display, leaves out.
Exit status 1 where the median is 200 ms or more. The processor time is a test (tests/test_browser_live.py), there against the run of 1,000 steps.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

LIMIT = 200.0  # ms
PLOT = "#run-charts [data-chart=loss] .lab-plot"
WATCH = """(plot) => {
  let sent = 0;
  const old = window.fetch;
  window.shown = [];
  window.fetch = async (...asked) => { const at = performance.now(), reply = await old(...asked); if (reply.status === 200 && String(asked[0]).startsWith("look/")) sent = at; return reply; };
  document.querySelector(plot).on('plotly_afterplot', () => window.shown.push(performance.now() - sent));
}"""


def fill(queue, steps: int) -> str:
    """A run that has come so far, with the curves that the charts show; its id."""
    from lab.design.spec.run import spec_of

    document = spec_of(
        {"model": "minilm-l6", "task": "sentiment-rt", "method": "lora", "training": {"steps": 2 * steps}, "name": f"{steps:,} steps"}
    ).document()
    run = queue.store.create(document, document["name"])
    for first in range(0, steps, 20_000):
        write(queue, run, first, min(steps, first + 20_000))
    return run


def write(queue, run: str, first: int, last: int) -> None:
    """The rows of the steps after `first` up to `last`; the smaller curves have every tenth step."""
    rows = [(step, "loss", math.exp(-step / 3e4) + 0.1 * math.sin(12.9 * step)) for step in range(first + 1, last + 1)]
    rows += [(step, name, 1 + 0.3 * math.sin(78.2 * step)) for step in range(first + 10, last + 1, 10) for name in ("lr", "grad_norm", "tokens_per_second")]
    queue.store.log(run, rows, step=last)


def measure(page, address: str, queue, run: str, updates: int) -> dict:
    """{"ms": [...], "processor_ms" of an update, "first_s", "zoom_kept", "points_in_zoom"} of a run's page."""
    import time

    from benchmarks.knobs import listening, processor

    begun = time.monotonic()
    page.goto(f"{address}/runs?run={run}")
    page.wait_for_function(f"document.querySelector('{PLOT}')?.data?.[0].x.length > 10")
    first = time.monotonic() - begun
    page.wait_for_timeout(1500)
    page.evaluate(WATCH, PLOT)
    app, devtools = listening(address), page.context.new_cdp_session(page)
    devtools.send("Performance.enable", {"timeDomain": "threadTicks"})
    before = processor(app, devtools)
    took = [_update(page, queue, run) for _ in range(updates)]
    spent = (processor(app, devtools) - before) / updates
    end = queue.store.get(run).step
    page.evaluate(
        "([plot, from, to]) => Plotly.relayout(document.querySelector(plot), {'xaxis.range[0]': from, 'xaxis.range[1]': to})", [PLOT, 0.4 * end, 0.5 * end]
    )
    page.wait_for_timeout(1500)
    for _ in range(2):
        _update(page, queue, run)
    kept = page.evaluate("(plot) => document.querySelector(plot).layout.xaxis.range", PLOT) == [0.4 * end, 0.5 * end]
    inside = page.evaluate(
        "([plot, from, to]) => document.querySelector(plot).data[0].x.filter((x) => x >= from && x <= to).length", [PLOT, 0.4 * end, 0.5 * end]
    )
    return {"ms": took, "processor_ms": round(spent, 1), "first_s": round(first, 2), "zoom_kept": kept, "points_in_zoom": inside}


def _update(page, queue, run: str) -> float:
    step = queue.store.get(run).step
    seen = page.evaluate("window.shown.length")
    write(queue, run, step, step + 20)
    page.wait_for_function(f"window.shown.length > {seen}")
    page.wait_for_timeout(300)
    return page.evaluate("window.shown.at(-1)")


def main() -> int:
    """Measure and print."""
    from ui_support import chromium, serving

    from lab.runs import Home, Queue

    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--points", type=int, default=100_000, help="steps of the long run (default %(default)s)")
    parser.add_argument("--updates", type=int, default=12, help="how often rows are written (default %(default)s)")
    parser.add_argument("--json", action="store_true", help="print one JSON document only")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="lab-live-") as folder:
        home = Path(folder) / "home"
        queue = Queue(Home(home), count=0)
        runs = {steps: fill(queue, steps) for steps in (1000, given.points)}
        with serving(home, LAB_SLOTS="0") as address, chromium() as browser:
            page = browser.new_page(viewport={"width": 1440, "height": 900})
            found = {str(steps): measure(page, address, queue, run, given.updates) for steps, run in runs.items()}
    slow = statistics.median(found[str(given.points)]["ms"]) >= LIMIT
    if given.json:
        print(json.dumps(found))
    else:
        for steps, one in found.items():
            print(
                f"{int(steps):,} steps: median {statistics.median(one['ms']):.0f} ms, worst {max(one['ms']):.0f} ms, processor {one['processor_ms']:.0f} ms, first drawn after {one['first_s']} s, zoom kept: {one['zoom_kept']}, points in the zoom: {one['points_in_zoom']}"
            )
        print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    return int(slow)


if __name__ == "__main__":
    sys.exit(main())
