"""Every page for people who read it by other means or on other screens: axe-core's rules, layout that stays where it is, keyboard, touch, charts in words.

Each page is loaded once, and widths, themes and languages take turns over them; all of their combinations are slow tests.
"""

from __future__ import annotations

import importlib.util
import re
import time
from itertools import product
from pathlib import Path

import pytest
from test_browser_pages import finished
from ui_support import LONG

from lab.runs import Home, Queue

pytestmark = [pytest.mark.browser, pytest.mark.timeout(900)]

ROUTES = ("", "library", "data", "runs?run={run}", "compare?runs={all}", "sweep?tag=grid&row=method.deltas.0.rank&column=seed", "tryit?runs={run}", "combine?runs={all}", "export?run={run}", "search", "runs?view=table", "inside", "present")  # fmt: skip
LANGUAGES, WIDTHS, THEMES = ("en-US", "zh-CN"), (1440, 390), ("light", "dark")
LONGEST = 0.1  # layout shift, above which people lose what they were about to press (web.dev/cls)
SHIFTS = "new PerformanceObserver((list) => { for (const one of list.getEntries()) if (!one.hadRecentInput) (window.shifts ??= []).push([one.value, one.sources.map((s) => s.node?.id || s.node?.className || s.node?.nodeName)]); }).observe({ type: 'layout-shift', buffered: true });"  # fmt: skip
LAST = {"": "#costs [data-trainable]", "library": "#method-mam .katex", "runs": "#run-charts .main-svg", "compare": "#compare-charts .main-svg", "present": "#stage-figure svg", "runs?view=table": ".lab-grid tbody th"}  # of what a page shows  # fmt: skip
FOUND = "async () => (await axe.run({ resultTypes: ['violations'] })).violations.flatMap((rule) => rule.nodes.map((node) => `${rule.id}: ${node.target} ${node.html.slice(0, 160)}`))"


def cases():
    """(route, language, width, theme): for each route one that is of the default suite."""
    for index, route in enumerate(ROUTES):
        turn = (LANGUAGES[index % 2], WIDTHS[index // 2 % 2], THEMES[(index + index // 2 + index // 4) % 2])
        for case in product(LANGUAGES, WIDTHS, THEMES):
            yield pytest.param(route, *case, marks=() if case == turn else pytest.mark.slow, id="-".join([route.partition("?")[0] or "bench", *map(str, case)]))


@pytest.fixture(scope="module")
def axe():
    package = importlib.util.find_spec("axe_playwright_python")
    if package is None:
        pytest.skip("axe-playwright-python of requirements-test.txt is not there")
    return (Path(package.submodule_search_locations[0]) / "axe.min.js").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def lab(idle):
    """(address, ids of runs that are over): those that the files before have left, or new ones."""
    address, home = idle
    queue = Queue(Home(home), count=0)
    runs = [run.id for run in queue.store.list(["succeeded"], tag="grid") if (queue.home.run_dir(run.id) / "best").is_dir()]
    if not runs:
        runs = [finished(queue, rank, seed, 0.7 + rank / 100 + seed / 100) for rank in (4, 16) for seed in (0, 1)]
        best = queue.home.run_dir(runs[0], create=True) / "best"
        best.mkdir()
        (best / "adapter.safetensors").write_bytes(b"")  # pages ask whether it is there
    more = [run.id for run in queue.store.list(["succeeded"], tag="grid") if run.id not in runs]
    return address, [*runs, *more][:4]


def visit(opened, lab, route, language="en-US", width=1440, theme="light", held=(), **options):
    address, runs = lab
    height = 900 if width > 500 else 844
    watched = opened(f"{address}/gradio_api/startup-events", locale=language, viewport={"width": width, "height": height}, color_scheme=theme, **options)
    watched.page.add_init_script(SHIFTS)
    for address_held, hold in dict(held).items():
        watched.page.route(address_held, hold)
    watched.page.goto(f"{address}/{route.format(run=runs[0], all=','.join(runs))}")
    watched.page.wait_for_selector(".lab-bar nav a", timeout=LONG)
    watched.page.wait_for_selector(LAST.get(route) or LAST.get(route.partition("?")[0], ".lab-card"), timeout=LONG, state="attached")
    watched.page.wait_for_timeout(1500)
    return watched


@pytest.mark.parametrize(("route", "language", "width", "theme"), cases())
def test_a_page_is_there_for_everybody(lab, opened, axe, route, language, width, theme):
    """No rule of axe-core is broken, nothing moves while the page comes, and nothing is wider than the screen."""
    watched = visit(opened, lab, route, language, width, theme)
    page = watched.page
    moved = page.evaluate("window.shifts || []")
    assert sum(value for value, _ in moved) <= LONGEST, sorted(moved, reverse=True)[:4]
    assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
    if route == "library":  # a hundred cards of one kind: a few of them
        page.locator("#library-filter input").fill("prefix")
        page.wait_for_timeout(1000)  # boxes that scroll are reached by the keyboard once what is in them is drawn
    page.evaluate(axe)
    assert page.evaluate(FOUND) == []
    drawings = page.locator(".lab-plot:has(.main-svg):visible")
    words = [drawing.evaluate("plot => plot.nextElementSibling.textContent") for drawing in drawings.all()]
    assert all(len(sentence) > 5 and not re.search(r"undefined|NaN|drawn\.", sentence) for sentence in words), words
    watched.clean()


@pytest.fixture(scope="module")
def parts_script():
    """The name of gradio's script in which our parts are drawn (gr.HTML)."""
    scripts = Path(importlib.util.find_spec("gradio").submodule_search_locations[0], "templates", "frontend", "assets").glob("*.js")
    (found,) = [script.name for script in scripts if "html-container" in script.read_text(encoding="utf-8")]
    return found


@pytest.mark.parametrize(("route", "width"), [("", 1440), ("sweep?tag=grid&row=method.deltas.0.rank&column=seed", 390), ("search", 390), ("search", 1440)])
def test_nothing_moves_where_parts_come_late(lab, opened, parts_script, route, width):
    """On a slow line gradio's own buttons are there long before our parts, and must not be seen to jump."""
    late = []

    def hold(request):
        late.append(request.request.url)
        time.sleep(1)
        request.continue_()

    watched = visit(opened, lab, route, width=width, held={f"**/{parts_script}": hold})
    moved = watched.page.evaluate("window.shifts || []")
    assert late
    assert sum(value for value, _ in moved) <= LONGEST, sorted(moved, reverse=True)[:4]
    watched.clean()


def test_a_chart_fills_the_screen_and_comes_back(lab, opened):
    """By the keyboard alone: past the bar, to the charts, one of them large, Escape; a logarithmic axis that stays."""
    watched = visit(opened, lab, "compare?group=no&runs={all}")
    page = watched.page
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to content"
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")  # Skip to the charts
    assert page.evaluate("document.activeElement.id") == "compare-charts"
    larger = page.locator("[data-chart=loss] .lab-tool").last
    plot = page.locator("[data-chart=loss] .lab-plot")
    before = plot.bounding_box()
    larger.focus()
    page.keyboard.press("Enter")
    page.wait_for_function("document.querySelector('dialog[open] .main-svg')?.getBoundingClientRect().height > 600")
    after = plot.bounding_box()
    assert after["width"] > 1.8 * before["width"] and after["height"] > 2 * before["height"]
    page.keyboard.press("Escape")
    page.wait_for_function(
        f"!document.querySelector('dialog') && document.querySelector('[data-chart=loss] .main-svg').getBoundingClientRect().height < {before['height'] + 2}"
    )
    assert larger.evaluate("node => node === document.activeElement")
    page.get_by_label("log y axis").check()
    page.wait_for_function("document.querySelector('[data-chart=loss] .lab-plot').layout.yaxis.type === 'log'")
    page.reload()
    page.wait_for_function("document.querySelector('[data-chart=loss] .lab-plot')?.layout?.yaxis.type === 'log'", timeout=LONG)
    page.get_by_label("log y axis").uncheck()
    lines = page.evaluate("document.querySelector('[data-chart=loss] .lab-plot').data.map((t) => [t.line.color, t.line.dash, t.marker.symbol].join())")
    assert len(lines) == len(set(lines)) == 4
    watched.clean()


def test_the_introduction_is_offered_once_and_can_be_skipped(lab, opened, axe):
    """On a phone: skipped it stays away; from the sheet of keys it comes back, step by step, each pointing at its place in sight, and axe has nothing to say."""
    watched = visit(opened, lab, "", width=390)
    page = watched.page
    card = page.locator(".lab-introduction")
    assert not card.is_visible()
    page.evaluate("localStorage.removeItem('lab_introduced')")
    page.reload()
    card.get_by_text("New here?").wait_for()
    page.get_by_role("button", name="Skip", exact=True).click()
    page.reload()
    page.locator("#costs [data-trainable]").wait_for(timeout=LONG)
    assert not card.is_visible()
    page.keyboard.press("?")
    page.get_by_role("link", name="Introduction to the bench").click()
    for place, button in (("knobs", "Next"), ("figure", "Next"), ("costs", "Next"), ("launch", "Done")):
        page.locator(f"#{place}[data-pointed]").wait_for()
        assert page.locator("[data-pointed]").count() == 1
        seen = page.evaluate(
            "(id) => { const box = document.getElementById(id).getBoundingClientRect(); return box.bottom > 0 && box.top < innerHeight; }", place
        )
        assert seen and page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
        if place == "figure":
            page.evaluate(axe)
            assert page.evaluate(FOUND) == []
        card.get_by_role("button", name=button, exact=True).click()
    assert not card.is_visible() and page.locator("[data-pointed]").count() == 0 and "#" not in page.url
    watched.clean()


def test_a_finger_gets_the_help_of_a_knob(lab, opened):
    """A tap on the mark shows it below the knob; another place or Escape closes it. What scrolls says so."""
    watched = visit(opened, lab, "", width=390, has_touch=True, is_mobile=True)
    page = watched.page
    mark = page.get_by_role("button", name="About rank r", exact=True)
    mark.tap()
    text = page.locator(".lab-info-text")
    assert len(text.inner_text()) > 10 and mark.get_attribute("aria-expanded") == "true"
    assert page.evaluate(
        "(() => { const box = document.querySelector('.lab-info-text').getBoundingClientRect(); return box.top >= 0 && box.bottom <= innerHeight; })()"
    )
    page.keyboard.press("Escape")
    assert text.count() == 0
    mark.tap()
    text.wait_for()
    page.locator("#knobs h3").first.tap()
    assert text.count() == 0 and mark.get_attribute("aria-expanded") == "false"
    assert page.locator(".lab-figure.lab-more-right").count() == 1, "the figure is wider than the phone, and its edge fades"
    watched.clean()
