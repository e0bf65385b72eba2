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


def measure(page, url: str, turns: int, method: str, idle: int = 400) -> tuple[list[float], list[float]]:
    """The times of so many turns of the first delta's rank, and of as many empty round trips between them, in ms. `idle`: ms of rest after each turn."""
    page.goto(f"{url}/?method={method}")
    page.wait_for_selector("#costs [data-trainable]")
    page.wait_for_timeout(2000)
    pairs = [(page.evaluate(TURN, [10 + turn, idle]), page.evaluate(EMPTY)) for turn in range(turns)]
    return [turn for turn, _ in pairs], [empty for _, empty in pairs]


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
        turned, empty = measure(page, url.rstrip("/"), given.turns, given.method)
    times = sorted(turned)
    print(f"{given.turns} turns of {given.method}: median {statistics.median(times):.0f} ms, 90 % {times[int(0.9 * (len(times) - 1))]:.0f} ms, "
          f"worst {times[-1]:.0f} ms; an empty round trip {statistics.median(empty):.0f} ms; load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")  # fmt: skip
    print(" ".join(f"{took:.0f}" for took in times))
    return 0


if __name__ == "__main__":
    sys.exit(main())
