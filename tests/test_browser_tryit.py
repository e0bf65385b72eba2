"""Try it, with runs whose models write text: one that goes on with a text, one that answers an instruction, in a real Chromium."""

from __future__ import annotations

import json

import pytest
from training_support import save_model
from ui_support import LONG

from lab.design.spec.run import spec_of
from lab.runs import Home, Queue, processes

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]


def speaks(queue, folder, task):
    """A run of a tiny model with random weights that writes text, and an adapter that changes what it writes."""
    import torch
    from safetensors.torch import save_file

    from lab.engine import attach
    from lab.models import load

    document = spec_of({"model": str(folder), "task": task, "method": "lora", "training": {"steps": 1, "max_length": 32}, "name": f"speaks, {task}"}).document()
    run = queue.store.create(document, document["name"], [])
    queue.store.claim(run, processes.identity())
    queue.store.finish(run, "succeeded", result={})
    attached = attach(load(str(folder), objective="causal"), spec_of(document).method)
    best = queue.home.run_dir(run, create=True) / "best"
    best.mkdir()
    torch.manual_seed(0)
    save_file({name: torch.randn_like(tensor) for name, tensor in attached.state_dict().items()}, best / "adapter.safetensors")
    (best / "method.json").write_text(json.dumps({"objective": "causal"}), encoding="utf-8")
    return run


def test_text_is_written_with_and_without_the_delta(idle, opened):
    address, home = idle
    queue = Queue(Home(home), count=0)
    folder = save_model(home / "model", "llama", "causal")
    runs = [speaks(queue, folder, task) for task in ("text-lm", "instruction-deb")]
    watched = opened(f"{address}/tryit?runs={','.join(runs)}")
    page = watched.page
    page.wait_for_function("document.querySelectorAll('#try-form .lab-item[aria-checked=true]').length === 2")
    first = page.locator("#try-form .lab-item").evaluate_all("rows => rows.slice(0, 2).map((row) => row.dataset.run)")
    assert first == runs, "what the address asks for stands where it is seen"
    assert not page.get_by_label("Second text").is_visible(), "neither task compares two texts"
    sent = []
    page.on("request", lambda request: sent.append(request.post_data_json or {}) if "component_server" in request.url else None)
    for nothing in ("", "  \n "):
        page.get_by_label("Text", exact=True).fill(nothing)
        page.get_by_role("button", name="Ask", exact=True).click()
        page.get_by_text("Write a text to ask about.").wait_for()
    assert [one for one in sent if one.get("fn_name") in ("begin", "answer")] == [], "nothing is sent, so nothing is loaded"
    page.get_by_label("Text", exact=True).fill("an old question")
    page.get_by_role("button", name="Ask", exact=True).click()
    page.locator("#answers .lab-asking").first.wait_for()
    page.get_by_role("button", name="中文").click()
    page.get_by_role("button", name="English").click()
    page.wait_for_function("document.querySelectorAll('#try-form .lab-item[aria-checked=true]').length === 2")
    assert page.get_by_label("Text", exact=True).input_value() == "an old question", "what was typed survives the language switch and a reload"
    page.get_by_role("button", name="Ask", exact=True).click()
    page.wait_for_function(
        "['Starting', 'Loading', 'Waiting', 'The model'].some((word) => document.querySelector('#answers .lab-asking')?.innerText.startsWith(word))"
    )
    page.get_by_label("Text", exact=True).fill("a warm film with a clever plot")
    page.get_by_role("button", name="Ask", exact=True).click()  # while the first one is being answered
    page.wait_for_function("document.querySelectorAll('#answers .off').length === 2", timeout=LONG)
    for run in runs:  # random weights may also end at once, which the page says
        on, off = (page.locator(f'#answers [data-run="{run}"] {side} :is(blockquote, .lab-muted)').inner_text() for side in (".on", ".off"))
        assert on and off and on != off
    assert page.locator("#answers blockquote").count() >= 2
    asked = [one["data"]["text"] for one in sent if one.get("fn_name") == "answer"]
    assert asked[-2:] == ["a warm film with a clever plot"] * 2 and len(asked) <= 5, "of the older questions no more than what was under way"
    assert page.locator("#answers .off h4").all_inner_texts() == ["without Δ: the base model"] * 2
    watched.clean()
