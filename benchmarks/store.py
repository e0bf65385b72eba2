"""How fast the store answers when it is full: python benchmarks/store.py [--rows 10000000] [--runs 1000] [--url URL] [--json]

Fills a scratch store (SQLite in a temporary folder, or the database at --url, which must be empty) with runs and metric rows:
20 long runs of 100,000 points of `loss`, the other rows spread over all runs. Then times, each as the best and the worst of
five on a freshly opened store: the list of all runs, opening one long run (its row, history, names and thinned curves),
comparing 20 long runs, one poll, and writing. The list is timed at a tenth of the runs too, to show how it grows.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from sqlalchemy import text  # noqa: E402

from lab.runs.processes import identity  # noqa: E402
from lab.runs.store import Store  # noqa: E402

LIMITS = {"list": 0.3, "open": 0.5, "compare": 1.5}  # seconds
LONG_STEPS, LONG_RUNS, POINTS = 100_000, 20, 1000
SPEC = {
    "model": "minilm-l6",
    "task": "sentiment-rt",
    "seed": 0,
    "training": {f"option_{n}": n for n in range(30)},
    "method": {"deltas": [{"at": "attn.q", "form": "lowrank", "rank": 8, "note": "x" * 200}] * 4},
}


def main() -> int:
    """Fill, time, print; exit status 1 when a limit is passed at the full size."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=10_000_000, help="metric rows in all (default 10,000,000)")
    parser.add_argument("--runs", type=int, default=1000, help="runs in all (default 1,000)")
    parser.add_argument("--url", help="an empty database; default SQLite in a temporary folder")
    parser.add_argument("--json", action="store_true", help="print one JSON document only")
    given = parser.parse_args()
    say = (lambda *_: None) if given.json else (lambda *words: print(*words, flush=True))
    with tempfile.TemporaryDirectory(prefix="lab-bench-") as folder:
        url = given.url or f"sqlite:///{folder}/lab.db"
        found = measure(url, given.runs, given.rows, say)
        if not given.url:
            found["megabytes"] = round(sum(p.stat().st_size for p in Path(folder).iterdir()) / 1e6)
    slow = [name for name, limit in LIMITS.items() if found[name]["worst"] > limit]
    found["slow"] = slow
    say(f"{'all within the limits' if not slow else 'TOO SLOW: ' + ', '.join(slow)} {LIMITS}; megabytes: {found.get('megabytes', '-')}")
    if given.json:
        print(json.dumps(found))
    return 1 if slow else 0


def measure(url: str, runs: int, rows: int, say) -> dict:
    """Fill the store at `url` and time it: {what: {"best", "worst"} in seconds, ...}."""
    store = Store(url)
    tenth = [add_run(store, n) for n in range(runs // 10)]
    found = {"url": store.database.engine.url.render_as_string(hide_password=True), "runs": runs, "rows": rows}
    found["list_tenth"] = timed(url, lambda s: s.list(), say, f"list {len(tenth)} runs")
    ids = tenth + [add_run(store, n) for n in range(len(tenth), runs)]
    began = time.perf_counter()
    fill(store, ids, rows)
    say(f"filled with {rows:,} rows in {time.perf_counter() - began:.0f} s")
    store.close()
    long = ids[:LONG_RUNS]
    found["list"] = timed(url, lambda s: s.list(), say, f"list {runs} runs")
    found["open"] = timed(url, lambda s: (s.get(long[3]), s.events(long[3]), s.series(long[3], points=POINTS)), say, "open one long run")
    found["compare"] = timed(url, lambda s: [s.series(i, ["loss"], points=POINTS) for i in long], say, f"compare {len(long)} long runs")
    found["poll"] = timed(url, lambda s: s.store_version(), say, "poll")
    found["write_10"] = timed(url, lambda s: s.log(ids[-1], [(10**6, f"m{n}", 1.0) for n in range(10)]), say, "write 10 rows")
    found["growth"] = round(found["list"]["best"] / found["list_tenth"]["best"], 1)
    say(f"the list grew {found['growth']} times for 10 times the runs")
    return found


def add_run(store: Store, number: int) -> str:
    """One finished run."""
    run_id = store.create({**SPEC, "seed": number}, f"lora {number}", ["bench"])
    store.claim(run_id, identity())
    store.finish(run_id, "succeeded", result={"accuracy": number / 1000, "best": {"accuracy": 0.8, "step": 100}})
    return run_id


def fill(store: Store, ids: list[str], rows: int) -> None:
    """Long curves for the first runs, written interleaved as live runs would; the other rows spread over all runs."""
    numbers = {run.id: run.number for run in store.list(specs=False)}
    steps = min(LONG_STEPS, rows // (2 * LONG_RUNS))
    long = [numbers[i] for i in ids[:LONG_RUNS]]
    dice = random.Random(0)
    for first in range(0, steps, 1000):
        insert(
            store,
            [(run, "loss", step, 2 * math.exp(-step / 2e4) + dice.gauss(0, 0.05), 1.7e9 + step / 10) for step in range(first, first + 1000) for run in long],
        )
    rest = max(0, rows - steps * len(long))
    names = ["lr", "grad_norm", "eval_loss", "eval_accuracy", "memory_bytes"]
    each = rest // (len(ids) * len(names)) + 1
    for run_id in ids:
        insert(store, [(numbers[run_id], name, step, dice.random(), 1.7e9 + step) for step in range(each) for name in names])
    if not store.database.sqlite:
        with store.database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text("VACUUM ANALYZE"))  # what autovacuum does by itself within a minute


def insert(store: Store, rows: list[tuple]) -> None:
    """Rows straight into the table: filling is not what is measured."""

    def work(connection) -> None:
        cursor = connection.connection.cursor()
        if store.database.sqlite:
            cursor.executemany("INSERT INTO metrics VALUES (?, ?, ?, ?, ?)", rows)
        else:
            with cursor.copy("COPY metrics FROM STDIN") as copy:
                for row in rows:
                    copy.write_row(row)

    store.database.write(work)


def timed(url: str, work, say, what: str) -> dict[str, float]:
    """Seconds of the best and the worst of five calls, each on a store opened for it."""
    took = []
    for _ in range(5):
        store = Store(url)
        store.store_version()
        began = time.perf_counter()
        work(store)
        took.append(time.perf_counter() - began)
        store.close()
    say(f"{what}: {min(took):.4f} s (worst of five {max(took):.4f} s)")
    return {"best": round(min(took), 5), "worst": round(max(took), 5)}


if __name__ == "__main__":
    sys.exit(main())
