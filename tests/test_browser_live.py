"""Much at once in a real Chromium: the chart of a long run while it goes on (benchmarks/live.py), and a long list of runs."""

from __future__ import annotations

import sys

import pytest
from ui_support import ROOT, serving

from lab.design.spec.run import spec_of
from lab.runs import Home, Queue

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]
sys.path.append(str(ROOT))


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """(address, its queue) of an app without runs."""
    home = tmp_path_factory.mktemp("live") / "home"
    with serving(home, LAB_SLOTS="0") as address:
        yield address, Queue(Home(home), count=0)


def test_a_list_of_hundreds_of_runs_draws_what_is_in_sight(lab, opened):
    """The rest is found by scrolling, by keyboard, by the filter and by the order; a row that has the focus keeps it while runs change."""
    address, queue = lab
    document = spec_of({"model": "minilm-l6", "task": "sentiment-rt", "method": "lora"}).document()
    runs = [queue.store.create(document, f"run {number:03d}", ["odd"] if number % 2 else []) for number in range(160)]  # they wait, the first one first
    watched = opened(f"{address}/runs?run={runs[0]}")
    page = watched.page
    rows = page.locator("#runs .lab-item")
    page.locator('#runs [aria-selected="true"]').wait_for()
    assert rows.count() < 50
    first = page.locator(f'#runs [data-run="{runs[0]}"]')
    assert first.get_attribute("aria-setsize") == "160" and first.get_attribute("aria-posinset") == "1"
    first.focus()
    focused = "document.activeElement.dataset.run"
    page.keyboard.press("End")
    assert page.evaluate(focused) == runs[-1] and rows.count() < 50
    page.keyboard.press("ArrowUp")
    assert page.evaluate(focused) == runs[-2]
    queue.store.rename(runs[-2], "renamed")
    page.locator("#runs .lab-name", has_text="renamed").wait_for()
    assert page.evaluate(focused) == runs[-2]
    page.mouse.move(150, 500)
    page.mouse.wheel(0, -100_000)
    page.locator("#runs .lab-name", has_text="run 001").wait_for()
    assert page.evaluate(focused) == runs[-2], "scrolled out of sight, it still has the focus"
    page.keyboard.press("Enter")
    page.wait_for_url(f"**run={runs[-2]}*")
    page.get_by_label("Tag", exact=True).select_option("odd")
    assert page.locator("#runs .lab-item").first.get_attribute("aria-setsize") == "80"
    page.get_by_label("Order").select_option("name")
    page.get_by_role("searchbox").first.fill("run 157")
    assert rows.evaluate_all("rows => rows.map((row) => row.dataset.run)") == [runs[157]] and rows.first.is_visible()
    queue.delete(runs[157])
    page.wait_for_function("document.querySelectorAll('#runs .lab-item').length === 0")
    watched.clean()


def test_a_chart_of_40_000_steps_updates_as_fast_as_a_short_one_and_keeps_its_zoom(lab, opened):
    from benchmarks.live import fill, measure

    address, queue = lab
    short, long = fill(queue, 1000), fill(queue, 40_000)
    watched = opened(f"{address}/runs")
    quick, slow = (measure(watched.page, address, queue, run, 4) for run in (short, long))
    watched.clean()
    assert slow["processor_ms"] < max(200.0, 2.5 * quick["processor_ms"]), (quick, slow)  # of the app and the page: by the clock other work counts too
    assert quick["zoom_kept"] and slow["zoom_kept"]
    assert slow["points_in_zoom"] > 500, "the whole curve has about 1,000 points, a tenth of them in the zoom"
