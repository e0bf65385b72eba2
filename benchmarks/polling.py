"""What watching costs: 20 browser-like clients poll the app while two runs train. python benchmarks/polling.py [--clients 20] [--windows 12] [--json]

Two real runs train at once (MiniLM on sentences, one thread each). In turn nobody and everybody watches for `--seconds`: each client asks once a
second what the Runs page asks, with the mark of what it saw last, as a browser does and with a browser's compression.
The runs' own times of their steps give steps per second in each window; a window with watchers is compared with the windows beside it, and the
slowing is the median over windows, so that whatever else the machine does meanwhile counts in both. Clients are nice, since in life they are
other machines, but what they take counts too; the app runs at its own priority.
"""

from __future__ import annotations

import argparse
import gzip
import http.client
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

STEPS = 4000  # more than the windows need; every 10th is logged
LIMIT = 5.0  # percent
SETTLE = 2.0  # seconds at the beginning of each window that are not counted


def main() -> int:
    """Train, watch, compare, print; exit status 1 when watching slows training by more than LIMIT."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clients", type=int, default=20, help="watching clients (default 20)")
    parser.add_argument("--windows", type=int, default=12, help="windows with watchers, one without between each (default 12)")
    parser.add_argument("--seconds", type=float, default=10.0, help="length of a window (default 10)")
    parser.add_argument("--json", action="store_true", help="print one JSON document only")
    parser.add_argument("--watch", nargs=3, metavar=("ADDRESS", "RUN", "SECONDS"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.watch:
        return watch(given.watch[0], given.watch[1], float(given.watch[2]), given.clients)
    os.environ |= {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "GRADIO_ANALYTICS_ENABLED": "False"}
    with tempfile.TemporaryDirectory(prefix="lab-polling-") as folder:
        found = measure(Path(folder) / "home", given.clients, given.windows, given.seconds)
    found["limit_percent"] = LIMIT
    if given.json:
        print(json.dumps(found))
    else:
        print(
            f"{found['polls']:,} polls of {given.clients} clients ({found['per_second']:.1f} a second, {found['changed']:,} with news, median {found['poll_ms']:.1f} ms, {found['bytes_per_poll']:,} bytes, {found['failed']} failed); "
            f"steps per second of both runs: {found['alone']:.2f} alone, {found['watched']:.2f} watched; slowed by {found['slower_percent']:.1f} %, {found['app_cpu_ms_per_poll']:.1f} ms of processor for each poll "
            f"(windows from {found['least']:.1f} to {found['most']:.1f} %)"
        )
    return int(found["slower_percent"] > LIMIT)


def measure(home: Path, clients: int, windows: int, seconds: float) -> dict:
    """The whole measurement in a scratch home."""
    os.environ["LAB_HOME"] = str(home)
    from ui_support import serving

    from lab.runs import Home, Queue

    spec = {
        "model": "minilm-l6",
        "task": "sentiment-rt",
        "method": "lora",
        "training": {
            "steps": STEPS,
            "batch_size": 16,
            "max_length": 32,
            "evaluate_every": 10_000_000,
            "evaluation_rows": 50,
            "checkpoint_every": 10_000_000,
            "energy": False,
            "device": "cpu",
        },
    }
    with serving(home) as address:
        lab = Queue(Home(home), count=0)
        runs = [json.loads(call(address, "launch", {**spec, "seed": seed}))["run"] for seed in range(2)]
        while any(lab.store.get(run).step < 20 for run in runs):
            assert not any(lab.store.get(run).over for run in runs), [lab.log_tail(run) for run in runs]
            time.sleep(0.5)
        rates, told = [], []
        app, spent = next(child for child in psutil.Process().children() if "app.py" in child.cmdline()), 0.0
        for number in range(2 * windows + 1):
            watched = number % 2 == 1
            busy = sum(app.cpu_times()[:2])
            child = (
                subprocess.Popen(
                    ["nice", "-n", "19", sys.executable, __file__, "--clients", str(clients), "--watch", address, runs[0], str(seconds + SETTLE)],
                    stdout=subprocess.PIPE,
                    text=True,
                )
                if watched
                else None
            )
            time.sleep(SETTLE)
            first = progress(lab, runs)
            time.sleep(seconds)
            rates.append(rate(first, progress(lab, runs)))
            if child:
                told.append(json.loads(child.communicate()[0]))
            spent += (1 if watched else -1) * (sum(app.cpu_times()[:2]) - busy) if number else 0.0
    found = summary(rates, told, seconds + SETTLE)
    return {**found, "app_cpu_ms_per_poll": round(1000 * spent / found["polls"], 2)}


def progress(lab, runs: list[str]) -> list[tuple[int, float]]:
    """(step, when it was logged) of each run; the worker's own clock, so that a late delivery does not matter."""
    last = [lab.store.latest(run, ["loss"])["loss"] for run in runs]
    return [(step, when) for step, _, when in last]


def rate(first: list[tuple[int, float]], last: list[tuple[int, float]]) -> float:
    """Steps per second of all runs together."""
    return sum((b - a) / max(1e-9, until - since) for (a, since), (b, until) in zip(first, last, strict=True))


def summary(rates: list[float], told: list[dict], seconds: float) -> dict:
    """Each watched window against the mean of its two neighbours."""
    if min(rates) <= 0:
        sys.exit("A window had no step in it: this machine is too busy to measure on, or --seconds too small.")
    slower = [100 * (1 - rates[n] / ((rates[n - 1] + rates[n + 1]) / 2)) for n in range(1, len(rates), 2)]
    polls = sum(one["polls"] for one in told)
    return {
        "slower_percent": round(statistics.median(slower), 2),
        "least": round(min(slower), 1),
        "most": round(max(slower), 1),
        "alone": statistics.median(rates[::2]),
        "watched": statistics.median(rates[1::2]),
        "windows": len(slower),
        "polls": polls,
        "per_second": polls / (seconds * len(told)),
        "changed": sum(one["changed"] for one in told),
        "bytes_per_poll": round(sum(one["bytes"] for one in told) / polls),
        "poll_ms": statistics.median(one["ms"] for one in told),
        "failed": sum(one["failed"] for one in told),
        "load": os.getloadavg()[0],
    }


def call(address: str, verb: str, argument) -> str:
    """The first value that a verb of the app's API gives, as JSON."""
    request = urllib.request.Request(f"{address}/gradio_api/call/{verb}", json.dumps({"data": [argument]}).encode(), {"Content-Type": "application/json"})
    event = json.load(urllib.request.urlopen(request, timeout=60))["event_id"]
    said = urllib.request.urlopen(f"{address}/gradio_api/call/{verb}/{event}", timeout=60).read().decode()
    return json.dumps(json.loads(said.rsplit("data: ", 1)[1])[0])


def watch(address: str, run: str, seconds: float, clients: int) -> int:
    """The clients: threads that each hold one connection and poll once a second; prints what they saw."""
    host = address.removeprefix("http://")
    saw = {"polls": 0, "changed": 0, "failed": 0, "bytes": 0}
    times: list[float] = []
    lock, until = threading.Lock(), time.monotonic() + seconds

    def client(number: int) -> None:
        connection, seen = http.client.HTTPConnection(host, timeout=30), ""
        time.sleep(number / clients)
        while time.monotonic() < until:
            began = time.monotonic()
            asked = {"chosen": {"run": run}, "seen": seen, "chose": False, "did": False, "language": "en"}
            try:
                connection.request("POST", "/look/runs", json.dumps(asked), {"Content-Type": "application/json", "Accept-Encoding": "gzip, deflate, br, zstd"})
                reply = connection.getresponse()
                said = reply.read()
                answer = json.loads(unpacked(said, reply.headers.get("Content-Encoding"))) if reply.status == 200 else {} if reply.status == 204 else None
            except (OSError, ValueError, KeyError, http.client.HTTPException):
                connection, answer, said = http.client.HTTPConnection(host, timeout=30), None, b""
            with lock:
                times.append(time.monotonic() - began)
                saw["polls"] += 1
                saw["bytes"] += len(said)
                saw["failed"] += answer is None
                saw["changed"] += bool(answer)
            if answer:
                seen = answer["seen"]
            time.sleep(max(0.0, 1.0 - (time.monotonic() - began)))

    threads = [threading.Thread(target=client, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(json.dumps({**saw, "ms": 1000 * statistics.median(times)}))
    return 0


def unpacked(said: bytes, encoding: str | None) -> bytes:
    """An answer as it was before it was compressed for a browser."""
    if encoding == "br":
        import brotli

        return brotli.decompress(said)
    return gzip.decompress(said) if encoding == "gzip" else said


if __name__ == "__main__":
    sys.exit(main())
