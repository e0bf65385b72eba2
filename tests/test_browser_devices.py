"""The page's option of several devices, in a real Chromium: offered where there are several, planned for each, launched as one run."""

from __future__ import annotations

import re
import time

import pytest
from runs_support import until
from ui_support import Watched, chromium, serving

from lab.runs import Home, Queue, processes

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(900)]


def test_the_page_offers_several_devices_where_there_are_several(tmp_path):
    """An app that is told of two accelerators; torch finds none, so that the run trains in two processes of the CPU."""
    home = tmp_path / "home"
    with serving(home, CUDA_VISIBLE_DEVICES="0,1") as address, chromium() as browser:
        page = browser.new_context(viewport={"width": 1440, "height": 900}, locale="en-US").new_page()
        page.set_default_timeout(90_000)
        watched = Watched(page)
        page.goto(address)
        page.wait_for_selector("#costs [data-trainable]")
        page.get_by_label("steps", exact=True).fill("60")
        page.get_by_label("batch size rows").fill("2")
        row = page.locator('[data-path="training.devices"]')
        assert row.locator("option").all_inner_texts() == ["1", "2"]
        row.locator("select").select_option("2")
        page.locator('[data-path="training.sharding"] [data-choice="fsdp"]').click()
        page.get_by_text("On each of 2 devices; the base is shared out").wait_for()
        page.screenshot(path=str(tmp_path / "devices.png"), full_page=True)
        training = page.locator(".lab-knobs > section").last
        training.locator("details").evaluate("node => { node.open = true; }")
        page.get_by_label("evaluation rows").fill("16")
        page.get_by_label("longest input tokens").fill("16")
        page.wait_for_timeout(400)
        page.get_by_role("button", name="Launch", exact=True).click()
        page.wait_for_url(re.compile(r"/runs\?run=[a-z0-9]{8}"))
        run_id = re.search(r"run=([a-z0-9]{8})", page.url).group(1)
        queue = Queue(Home(home))
        assert until(lambda: queue.store.get(run_id).step >= 2 or queue.store.get(run_id).over, 240), queue.log_tail(run_id)
        run = queue.store.get(run_id)
        assert run.state == "running" and run.devices == 2 and run.slots == [0, 1], queue.log_tail(run_id)
        assert run.spec["training"]["sharding"] == "fsdp"
        members = processes.members(queue.store.token(run))
        assert len(members) == 2, [member.cmdline() for member in members]
        began = time.monotonic()
        assert queue.stop(run_id) == "cancelled" and time.monotonic() - began < 12
        assert until(lambda: not processes.members(queue.store.token(run)), 10)  # the last of them leaves after it has told the end
        watched.clean()


def test_one_accelerator_or_none_offers_nothing(tmp_path):
    with serving(tmp_path / "home") as address, chromium() as browser:
        page = browser.new_context(locale="en-US").new_page()
        page.set_default_timeout(90_000)
        page.goto(address)
        page.wait_for_selector("#costs [data-trainable]")
        assert page.locator('[data-path="training.batch_size"]').count() == 1 and page.locator('[data-path="training.devices"]').count() == 0
