"""How soon each page is painted, in a real Chromium, over a store of 1,000 runs. python benchmarks/pages.py [--runs 1000] [--times 3] [--home FOLDER]

The runs are made by the store's own API: specs of several methods, curves of 60 steps, results, tags; the newest five wait in the queue. Every page is
opened in a browser profile of its own, with nothing cached: milliseconds from the request to the first contentful paint (the browser's own
measure) and to the page's own content (its list, figure or matrix), and the processor time that the page's main thread took until then, which
does not depend on what else the machine does; medians over --times. Then how long the table of runs takes to answer a query. Exit status 1 when a first paint is above 1,500 ms.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

LIMIT_MS = 1500.0
METHODS = ("lora", "adapter-parallel-scaled", "mam", "prefix-tuning", "bitfit")
CONTENT = {  # route: what its content is
    "": "#costs [data-trainable]", "library": "#library .lab-method", "data": ".lab-card", "runs": "#runs .lab-item", "runs?view=table": "#run-table tbody tr[data-run]",
    "compare?runs={pair}": "#results tbody tr", "sweep": "#matrix td", "tryit": "#try-form .lab-list", "export": ".lab-detail, .lab-card",
}  # fmt: skip
NAMES = {"": "bench", "runs?view=table": "table"}
QUERIES = ("accuracy > 0.7 and method = lora*", "rank = 8 or lr > 1e-4", "not state in (queued, failed)")  # that the table of runs is asked
PAINT = "performance.getEntriesByType('paint').find((one) => one.name === 'first-contentful-paint')?.startTime ?? -1"


def fill(home: Path, count: int) -> list[str]:
    """So many runs in a fresh home; the ids of two that are over."""
    from lab.design.spec.run import spec_of
    from lab.runs import Home, Queue, processes

    store, over = Queue(Home(home), count=0).store, []
    for number in range(count):
        method, seed = METHODS[number % len(METHODS)], number // len(METHODS) % 4
        document = spec_of({"model": "minilm-l6", "task": "sentiment-rt", "method": method, "seed": seed, "training": {"steps": 60},
                            "tags": [f"sweep-{number // 40:02d}"], "name": f"{method} {number}"}).document()  # fmt: skip
        run = store.create(document, document["name"], document["tags"])
        if number >= count - 5:
            continue
        store.claim(run, processes.identity())
        value = 0.6 + number % 37 / 200
        rows = [(step, name, 1 / step) for step in range(1, 61) for name in ("loss", "lr", "grad_norm")] + [(60, "eval_accuracy", value)]
        store.log(run, rows, step=60, total_steps=60)
        store.finish(
            run,
            "succeeded",
            result={"best": {"step": 60, "accuracy": value}, "trainable": 1000 * number, "percent": 0.3, "peak_bytes": 1e9 + number, "seconds": 60.0},
        )
        over.append(run)
    return over[:2]


def measure(address: str, pair: list[str], times: int) -> dict[str, tuple[float, float, float]]:
    """{route: (first contentful paint, content, processor time of the main thread until then) in ms}, medians."""
    from ui_support import chromium

    found = {}
    with chromium() as browser:
        for route, content in CONTENT.items():
            taken = []
            for _ in range(times):
                context = browser.new_context(viewport={"width": 1440, "height": 900})
                page = context.new_page()
                meter = context.new_cdp_session(page)
                meter.send("Performance.enable", {"timeDomain": "threadTicks"})
                before = time.perf_counter()
                page.goto(f"{address}/{route.format(pair=','.join(pair))}", wait_until="commit")
                page.wait_for_selector(content, state="attached", timeout=60_000)
                whole = 1000 * (time.perf_counter() - before)
                busy = {one["name"]: one["value"] for one in meter.send("Performance.getMetrics")["metrics"]}["TaskDuration"]
                taken.append((page.evaluate(PAINT), whole, 1000 * busy))
                context.close()
            found[NAMES.get(route, route.partition("?")[0])] = tuple(statistics.median(column) for column in zip(*taken, strict=True))
    return found


def queried(address: str, times: int) -> dict[str, float]:
    """{query: milliseconds from the question to its whole answer}, medians, over HTTP as the page asks; the first of all is not counted."""
    found, another = {}, itertools.count()
    for query in (QUERIES[0], *QUERIES):
        body = {"chosen": {"view": "table", "where": query, "sort": "metric", "descending": True}, "seen": "", "chose": True, "language": "en"}
        taken = []
        for _ in range(times):
            body["chosen"]["baseline"] = str(next(another))  # another choice, so that no answer is one that was kept
            asked = urllib.request.Request(f"{address}/look/runs", json.dumps(body).encode(), {"content-type": "application/json"})
            before = time.perf_counter()
            urllib.request.urlopen(asked, timeout=60).read()
            taken.append(1000 * (time.perf_counter() - before))
        found[query] = statistics.median(taken)
    return found


def main() -> int:
    """Fill, serve, measure, print."""
    from ui_support import serving

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=1000, help="runs in the store (default %(default)s)")
    parser.add_argument("--times", type=int, default=3, help="how often each page is opened (default %(default)s)")
    parser.add_argument("--home", type=Path, help="where the store is kept; one with runs already is taken as it is")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="lab-pages-") as folder:
        home = given.home or Path(folder) / "home"
        os.environ["LAB_HOME"] = str(home)
        pair = _pair(home) or fill(home, given.runs)
        with serving(home, LAB_SLOTS="0") as address:
            measure(address, pair, 1)  # the app's own first answers are not the page's
            found, asked = measure(address, pair, given.times), queried(address, 5 * given.times)
    print(f"{'page':<9} first paint   content   processor   ({given.runs:,} runs; load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores)")
    for name, (paint, whole, busy) in found.items():
        print(f"{name:<9} {paint:>8.0f} ms {whole:>7.0f} ms {busy:>8.0f} ms{'   over the limit' if paint > LIMIT_MS else ''}")
    for query, taken in asked.items():
        print(f"query     {taken:>8.0f} ms    {query}")
    return int(any(paint > LIMIT_MS for paint, *_ in found.values()))


def _pair(home: Path) -> list[str]:
    from lab.runs import Home, Queue

    return [run.id for run in Queue(Home(home), count=0).store.list(["succeeded"], limit=2)] if (home / "lab.db").exists() else []


if __name__ == "__main__":
    sys.exit(main())
