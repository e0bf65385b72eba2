"""A long run's chart in a real Chromium: it draws about as fast as a short one's, and keeps its zoom while the run goes on (benchmarks/live.py)."""

from __future__ import annotations

import statistics
import sys

import pytest
from ui_support import ROOT, Watched, chromium, serving

from lab.runs import Home, Queue

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]
sys.path.append(str(ROOT))


def test_a_chart_of_100_000_steps_updates_as_fast_as_a_short_one_and_keeps_its_zoom(tmp_path):
    from benchmarks.live import fill, measure

    queue = Queue(Home(tmp_path / "home"), count=0)
    short, long = fill(queue, 1000), fill(queue, 100_000)
    with serving(tmp_path / "home", LAB_SLOTS="0") as address, chromium() as browser:
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        page.set_default_timeout(60_000)
        watched = Watched(page)
        quick, slow = (measure(page, address, queue, run, 5) for run in (short, long))
        watched.clean()
    assert statistics.median(slow["ms"]) < max(200.0, 2.5 * statistics.median(quick["ms"])), (quick, slow)
    assert quick["zoom_kept"] and slow["zoom_kept"]
    assert slow["points_in_zoom"] > 500, "the whole curve has about 1,000 points, a tenth of them in the zoom"
