"""The bench in a real Chromium: knobs, counts, figures, plans, errors, the keyboard; what is launched only waits."""

from __future__ import annotations

import re

import pytest
from ui_support import LONG, set_steps, trainable

from lab.runs import Home, Queue

pytestmark = [pytest.mark.browser, pytest.mark.timeout(900)]


def peak(page):
    return int(page.locator("#memory [data-peak]").get_attribute("data-peak"))


def test_the_memory_bar_follows_the_rank_and_what_would_make_it_fit_turns_the_knobs(idle, opened):
    watched = opened(idle[0])
    page = watched.page
    page.wait_for_selector("#memory [data-peak]", timeout=LONG)
    page.evaluate("window.untouched = true")
    before, widths = peak(page), page.locator("#memory .lab-stack i").evaluate_all("all => all.map(one => one.style.width)")
    page.get_by_label("rank r").fill("256")
    page.wait_for_function(f"Number(document.querySelector('#memory [data-peak]')?.dataset.peak) > {before}", timeout=LONG)
    assert page.locator("#memory .lab-stack i").evaluate_all("all => all.map(one => one.style.width)") != widths
    assert page.evaluate("window.untouched") is True, "the page was not loaded again"
    assert page.locator("#memory .lab-over").count() == 0
    page.goto(f"{idle[0]}/?model=llama-2-7b&task=text-lm&method=lora")
    page.get_by_label("Device", exact=True).last.select_option("16")
    page.locator("#memory .lab-over").wait_for(timeout=LONG)
    assert "16 GB" in page.locator("#memory .lab-over").inner_text()
    page.locator('#memory [data-offer="accumulation"]').click(timeout=LONG)
    page.wait_for_function("document.querySelector('[data-path=\"training.batch_size\"] input').value === '2'")
    assert page.locator('[data-path="training.accumulation"] input').input_value() == "16", "32 rows a step, as before"
    page.locator("#memory .lab-over").wait_for(state="detached", timeout=LONG)
    page.locator("#cost-curves summary").click()
    page.locator("#cost-curves").get_by_role("button", name="Compute").click()
    page.wait_for_function("Number(document.querySelector('#cost-curves .lab-plot')?.dataset.points || 0) >= 2", timeout=LONG)
    assert page.locator("#cost-curves [data-curves]").get_attribute("data-curves") >= "3"
    page.locator("#cost-curves").get_by_role("button", name="Stop").click()
    watched.clean()


def test_quick_start_opens_both_runs_side_by_side(idle, opened):
    watched = opened(idle[0])
    page = watched.page
    trainable(page, 73_728)
    page.get_by_role("button", name="Quick start").click()
    page.wait_for_url(re.compile(r"/compare\?runs=[a-z0-9]{8},[a-z0-9]{8}"))
    picked = re.search(r"runs=([a-z0-9,]+)", page.url).group(1).split(",")
    queue = Queue(Home(idle[1]))
    try:
        for run in picked:
            page.wait_for_selector(f'.lab-item[data-run="{run}"][aria-checked="true"]')
        page.wait_for_function("document.querySelectorAll('#results tbody tr').length === 2")
        specs = [queue.store.get(run).spec for run in picked]
        assert [spec["method"]["preset"] for spec in specs] == ["lora", "adapter-parallel-scaled"]
        assert {(spec["model"], spec["task"], spec["seed"], spec["training"]["steps"]) for spec in specs} == {("minilm-l6", "sentiment-rt", 0, 150)}
        assert {queue.store.get(run).state for run in picked} == {"queued"}
    finally:
        for run in picked:
            queue.stop(run, wait=False)
    watched.clean()


def test_errors_stand_at_their_fields(idle, opened):
    watched = opened(idle[0])
    page = watched.page
    trainable(page, 73_728)
    page.get_by_label("rank r").fill("0")
    row = page.locator('[data-path="method.deltas.0.rank"]')
    row.locator(".lab-wrong").wait_for()
    assert "at least 1" in row.locator(".lab-wrong").inner_text()
    page.get_by_role("button", name="Launch", exact=True).click()
    page.locator("#advice .wrong").wait_for()
    assert page.get_by_label("rank r").input_value() == "0" and "/runs" not in page.url
    page.get_by_label("rank r").fill("4")
    trainable(page, 36_864)
    watched.clean()


def test_the_form_takes_what_still_has_a_meaning(idle, opened):
    watched = opened(idle[0])
    page = watched.page
    trainable(page, 73_728)
    page.get_by_label("method", exact=True).select_option("mam")
    page.wait_for_selector(".lab-delta >> nth=1")
    page.get_by_label("functional form").first.select_option("bottleneck")
    page.wait_for_selector(".lab-modified:visible")
    assert page.locator("#costs .lab-problems").count() == 0
    page.get_by_label("composition").first.wait_for()
    why = page.get_by_label("composition").first.locator('option[value="gated"]')
    page.wait_for_function("document.querySelector('[data-path=\"method.deltas.0.composition\"] option[value=gated]').disabled")
    assert "slots" in why.get_attribute("title")
    watched.clean()


def test_the_bench_by_keyboard(idle, opened):
    """Pick, turn and queue without a mouse; a choice that cannot be combined says why and does nothing."""
    watched = opened(idle[0])
    page = watched.page
    trainable(page, 73_728)
    press = page.keyboard.press
    page.get_by_label("rank r").focus()
    press("ArrowUp")
    trainable(page, 147_456)
    query = page.get_by_role("button", name="attn.q", exact=True)
    query.focus()
    press("Space")
    trainable(page, 73_728)
    assert query.get_attribute("aria-pressed") == "false" and page.evaluate("document.activeElement.dataset.choice") == "attn.q"
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    gate = page.get_by_role("button", name="ffn.gate", exact=True)
    gate.focus()
    press("Enter")
    assert gate.get_attribute("aria-disabled") == "true" and "no gated FFN" in page.locator(".lab-help").inner_text()
    trainable(page, 73_728)
    set_steps(page, 5000)
    page.get_by_role("button", name="Add to queue").focus()
    press("Enter")
    page.locator("#advice a").wait_for()
    run = re.search(r"run=([a-z0-9]{8})", page.locator("#advice a").get_attribute("href")).group(1)
    queue = Queue(Home(idle[1]))
    queue.stop(run, wait=False)
    assert queue.store.get(run).spec["method"]["deltas"][0]["at"] == ["attn.v"] and "/runs" not in page.url
    watched.clean()


def test_a_design_is_a_link_and_its_changes_are_undone(idle, opened):
    """The address follows the knobs and opens the same design in another tab, which leaves this one alone; changes are undone by keys and buttons, also after a reload."""
    watched = opened(idle[0])
    page = watched.page
    rank, steps, entries = page.get_by_label("rank r"), page.get_by_label("steps", exact=True), page.evaluate("history.length")
    trainable(page, 73_728)
    rank.fill("16")
    trainable(page, 147_456)
    steps.fill("77")
    page.wait_for_url(re.compile(r"method=lora&method\.deltas\.0\.rank=16&training\.steps=77$"))
    assert page.evaluate("history.length") == entries
    other = opened(page.url)
    trainable(other.page, 147_456)
    assert other.page.get_by_label("steps", exact=True).input_value() == "77"
    other.page.get_by_label("rank r").fill("4")
    trainable(other.page, 36_864)
    other.clean()
    page.reload()
    trainable(page, 147_456)
    page.get_by_role("button", name="Undo", exact=True).click()
    page.wait_for_function("document.querySelector('[data-path=\"training.steps\"] input').value === '150'")
    page.keyboard.press("Control+z")
    trainable(page, 73_728)
    page.keyboard.press("Control+Shift+z")
    trainable(page, 147_456)
    page.get_by_label("method", exact=True).select_option("adapter-houlsby")
    page.locator(".lab-exchange", has_text="came along: rank").wait_for()
    page.get_by_label("method", exact=True).press("Control+z")  # a list of choices has no undo of its own
    trainable(page, 147_456)
    page.keyboard.press("Control+y")
    page.wait_for_function("document.querySelector('#knob-method').value === 'adapter-houlsby'")
    assert page.locator('[data-path="method.deltas.0.rank"] input[type=text]').input_value() == "16"
    page.goto(f"{idle[0]}/?link=2&method=bitfit")
    page.locator(".lab-exchange", has_text="another version").wait_for()
    assert page.locator('[data-path="method.deltas.0.rank"] input[type=text]').input_value() == "16"
    watched.clean()


def test_the_sheet_of_shortcuts(idle, opened):
    watched = opened(idle[0] + "/present?method=mam")
    page = watched.page
    page.locator("#stage-equation .katex").nth(1).wait_for()
    for width in (1440, 1024):  # nobody scrolls an equation for a room
        page.set_viewport_size({"width": width, "height": 720})
        page.wait_for_function(
            "[...document.querySelectorAll('#stage-equation, #stage-equation .lab-equation')].every((box) => box.scrollWidth <= box.clientWidth)"
        )
    page.goto(idle[0] + "/present?method=lora&method.deltas.0.rank=5")
    page.locator("#stage-count", has_text="46.1 k").wait_for()
    page.keyboard.press("?")
    page.get_by_role("dialog", name="Keyboard shortcuts").wait_for()
    page.keyboard.press("Escape")
    page.get_by_role("dialog").wait_for(state="detached")
    assert "/present" in page.url, "Escape was the sheet's"
    page.keyboard.press("g")
    page.keyboard.press("b")
    page.get_by_label("rank r").press("?")
    assert page.get_by_role("dialog").count() == 0, "a key that belongs to a text"
    page.locator("#knob-undo").focus()
    page.keyboard.press("?")
    page.get_by_role("button", name="Close").click()
    assert page.evaluate("document.activeElement.id") == "knob-undo"
    page.keyboard.press("g")
    page.keyboard.press("r")
    page.wait_for_url("**/runs**")
    watched.clean()


def test_chinese(idle, opened):
    watched = opened(idle[0])
    page = watched.page
    page.get_by_role("button", name="中文").click()
    page.get_by_role("button", name="启动", exact=True).wait_for()
    page.get_by_text("可训练参数").first.wait_for()
    page.get_by_label("秩 r").fill("0")
    page.get_by_role("button", name="启动", exact=True).click()
    page.locator("#advice", has_text="秩必须至少为 1；现在是 0。").wait_for()
    page.get_by_label("秩 r").fill("8")
    page.get_by_role("link", name="运行").click()
    page.get_by_role("tab", name="日志").wait_for()
    watched.clean()
