"""How long the bench takes to answer a turned knob, from the input event to the page that shows it, in a real Chromium.

    python benchmarks/knobs.py [--url http://127.0.0.1:7860] [--turns 20] [--method lora]

Without --url an app of its own is started with a home that is thrown away. Each turn sets another rank and waits, inside the page,
until count, figure and equation show it. Prints median, 90 % and worst in ms, and the machine's load.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import sys
import tempfile
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

TURN = """async ([rank, idle]) => {
  const input = document.querySelector('#knob-method-deltas-0-rank');
  const before = document.querySelector('#costs [data-trainable]').dataset.trainable;
  const shown = () => document.querySelector('#costs [data-trainable]')?.dataset.trainable !== before
    && [...document.querySelectorAll('#figure .rank')].some((node) => node.textContent.endsWith('=' + rank));
  const start = performance.now();
  input.value = String(rank);
  input.dispatchEvent(new Event('input', { bubbles: true }));
  while (!shown()) {
    await new Promise((next) => setTimeout(next, 2));
    if (performance.now() - start > 20000) return -1;
  }
  const took = performance.now() - start;
  await new Promise((next) => setTimeout(next, idle));
  return took;
}"""


# a question to the same app that it need not think about, from the same page: what the machine takes for any answer
EMPTY = """async () => {
  const start = performance.now();
  await (await fetch('gradio_api/startup-events', { cache: 'no-store' })).text();
  await new Promise((next) => setTimeout(next, 2));
  return performance.now() - start;
}"""


def measure(page, url: str, turns: int, method: str, idle: int = 400) -> tuple[list[float], list[float], float]:
    """The times of so many turns of the first delta's rank, of as many empty round trips between them, and the processor time of a turn, all in ms.

    `idle`: ms of rest after each turn. The processor time is that of the app's process and of the page's main thread, with the empty round trips.
    """
    page.goto(f"{url}/?method={method}")
    page.wait_for_selector("#costs [data-trainable]")
    page.wait_for_timeout(2000)
    devtools = page.context.new_cdp_session(page)
    devtools.send("Performance.enable", {"timeDomain": "threadTicks"})
    app = listening(url)
    before = processor(app, devtools)
    pairs = [(page.evaluate(TURN, [10 + turn, idle]), page.evaluate(EMPTY)) for turn in range(turns)]
    return [turn for turn, _ in pairs], [empty for _, empty in pairs], (processor(app, devtools) - before) / turns


def listening(url: str) -> psutil.Process:
    """The process on this machine that answers at an address."""
    port = int(url.rsplit(":", 1)[1])
    found = (at.pid for at in psutil.net_connections("tcp") if at.status == psutil.CONN_LISTEN and at.laddr.port == port)
    return psutil.Process(next(pid for pid in found if pid))


def processor(app: psutil.Process, devtools) -> float:
    """What the app and the page's main thread have computed so far, in ms: unlike the clock it hardly grows beside other work."""
    spent = app.cpu_times()
    page = {metric["name"]: metric["value"] for metric in devtools.send("Performance.getMetrics")["metrics"]}
    return 1000 * (spent.user + spent.system + page["TaskDuration"])


def main() -> int:
    """Measure and print."""
    from ui_support import chromium, serving

    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--url", help="of a running app")
    parser.add_argument("--turns", type=int, default=20, help="how often the knob is turned (default %(default)s)")
    parser.add_argument("--method", default="lora", help="preset to turn (default %(default)s)")
    given = parser.parse_args()
    with contextlib.ExitStack() as stack:
        url = given.url or stack.enter_context(serving(Path(stack.enter_context(tempfile.TemporaryDirectory())) / "home"))
        page = stack.enter_context(chromium()).new_page(viewport={"width": 1440, "height": 900})
        turned, empty, spent = measure(page, url.rstrip("/"), given.turns, given.method)
    times = sorted(turned)
    print(f"{given.turns} turns of {given.method}: median {statistics.median(times):.0f} ms, 90 % {times[int(0.9 * (len(times) - 1))]:.0f} ms, "
          f"worst {times[-1]:.0f} ms; an empty round trip {statistics.median(empty):.0f} ms; processor {spent:.0f} ms a turn; load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")  # fmt: skip
    print(" ".join(f"{took:.0f}" for took in times))
    return 0


if __name__ == "__main__":
    sys.exit(main())
