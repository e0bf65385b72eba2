"""The Data page in a real Chromium: upload, correct, look, switch the language, import, go to the bench, delete; a bad file says where it is bad."""

from __future__ import annotations

import json
import os
import re

import pytest
import yaml

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]

SERVED = re.compile("component_server")  # questions of a part of a page to the server


def test_a_file_becomes_a_task(idle, opened, tmp_path):
    home, data, bad = idle[1], tmp_path / "Film reviews.csv", tmp_path / "bad.csv"
    rows = [f'"{"a long film of much feeling and little sense, number " * (1 + i % 9)}{i}","another text {i}",{["dull", "fine"][i % 2]}' for i in range(240)]
    data.write_text("review,remark,mood\n" + "\n".join(rows), encoding="utf-8")
    bad.write_text("review,mood\nfine,1\nshort\n", encoding="utf-8")
    watched = opened(idle[0] + "/data")
    page = watched.page
    page.wait_for_selector('#data-tasks [data-task="sentiment-rt"]')

    def upload(path):
        page.set_input_files("#data-file input[type=file]", str(path))

    upload(bad)
    page.locator('[data-field="file"] .lab-wrong').wait_for()
    assert "Row 2 of bad.csv (line 3) has 1 cells; the header has 2." in page.locator('[data-field="file"] .lab-wrong').inner_text()
    upload(data)
    page.wait_for_selector("#data-preview .lab-facts")
    assert (
        page.input_value("#data-family") == "classification"
        and page.input_value("#data-column-text") == "review"
        and page.input_value("#data-name") == "film-reviews"
    )
    assert page.locator("#data-preview .lab-labels tr").count() == 2 and page.locator("#data-preview [data-cut]").get_attribute("data-cut") == "0"
    page.fill("#data-length", "40")
    page.wait_for_function("Number(document.querySelector('#data-preview [data-cut]').dataset.cut) > 0")
    assert page.locator("#data-preview s").count() > 0, "what is cut off is shown"
    page.select_option("#data-column-text", "remark")
    page.wait_for_function("document.querySelector('#data-preview [data-cut]').dataset.cut === '0'")
    page.select_option("#data-column-label", "review")
    page.locator('[data-field="columns.label"] .lab-wrong').wait_for()
    assert page.locator("#data-import").is_disabled()
    page.select_option("#data-column-label", "mood")
    page.wait_for_selector("#data-preview .lab-facts")

    page.get_by_role("button", name="中文").click()
    page.wait_for_selector("#data-preview .lab-facts")
    assert page.input_value("#data-column-text") == "remark", "the language switch loses nothing"
    page.fill("#data-name", "films")
    page.get_by_role("button", name="导入", exact=True).dblclick()
    page.locator("#data-form .lab-said a").wait_for()
    page.wait_for_timeout(700)
    assert page.locator("#data-form .lab-wrong").count() == 0, "a second press imports nothing a second time"
    page.get_by_role("button", name="English").click()
    page.wait_for_selector('.lab-own-task[data-task="films"]')
    assert sorted(path.name for path in (home / "tasks" / "films").iterdir()) == ["data.csv", "task.yaml"] and not list(
        (home / "cache" / "uploads").glob("*/Film*")
    )

    page.locator('.lab-own-task[data-task="films"] a').click()
    page.wait_for_selector("#costs [data-trainable]")
    assert page.input_value("#knob-task") == "films" and page.locator("#costs .lab-problems").count() == 0
    assert page.locator("#knob-task option:checked").inner_text() == "films"

    page.goto(idle[0] + "/data")
    delete = page.locator('.lab-own-task[data-task="films"] button')
    delete.dblclick()
    page.wait_for_selector("dialog.lab-sure")
    assert (home / "tasks" / "films").exists(), "a double click only asks"
    page.locator("dialog.lab-sure .warn").click()
    page.wait_for_selector('.lab-own-task[data-task="films"]', state="detached")
    assert not (home / "tasks" / "films").exists()
    page.locator("#undo").click()
    page.wait_for_selector('.lab-own-task[data-task="films"]')
    assert (home / "tasks" / "films" / "data.csv").exists()
    watched.clean()


def test_how_conversations_are_written_is_shown_and_corrected(idle, opened, tmp_path):
    """The format, the keys and the speakers as recognised; another key, another role and the loss are chosen, kept in both languages, and imported."""
    home, data = idle[1], tmp_path / "talks.jsonl"
    rows = [{"conversations": [{"from": "human", "value": f"question {i}", "said": f"Question {i}?"}, {"from": "narrator", "value": "later", "said": "Later."},
                               {"from": "gpt", "value": f"answer {i}", "said": f"Answer {i}."}]} for i in range(60)]  # fmt: skip
    data.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    watched = opened(idle[0] + "/data")
    page = watched.page
    page.wait_for_selector('#data-tasks [data-task="sentiment-rt"]')
    page.set_input_files("#data-file input[type=file]", str(data))
    page.locator('[data-field="turns"] select').first.wait_for()
    assert "ShareGPT" in page.locator("#data-format").inner_text()
    assert (page.input_value("#data-turn-role"), page.input_value("#data-turn-content"), page.input_value("#data-loss")) == ("from", "value", "all")
    shown = {row.locator("th").inner_text(): row.locator("select").input_value() for row in page.locator(".lab-speakers tr").all()}
    assert shown == {"human": "user", "narrator": "", "gpt": "assistant"}
    assert "narrator" in page.locator("#data-form .lab-wrong").inner_text() and page.locator("#data-import").is_disabled()
    page.locator(".lab-speakers tr", has_text="narrator").locator("select").select_option("ignore")
    page.wait_for_selector("#data-preview .lab-facts")
    page.select_option("#data-turn-content", "said")
    page.wait_for_function("document.querySelector('#data-preview .lab-example')?.innerText.includes('Question')")
    page.select_option("#data-loss", "last")
    page.get_by_role("button", name="中文").click()
    page.wait_for_selector("#data-preview .lab-facts")
    assert (page.input_value("#data-turn-content"), page.input_value("#data-loss")) == ("said", "last"), "the language switch loses nothing"
    if folder := os.environ.get("LAB_SHOTS"):
        page.screenshot(path=f"{folder}/chats-zh.png", full_page=True)
    page.fill("#data-name", "talks")
    page.get_by_role("button", name="导入", exact=True).dblclick()
    page.locator("#data-form .lab-said a").wait_for()
    page.wait_for_timeout(700)
    assert page.locator("#data-form .lab-wrong").count() == 0, "a second press imports nothing a second time"
    kept = yaml.safe_load((home / "tasks" / "talks" / "task.yaml").read_text(encoding="utf-8"))
    assert (
        kept["turns"] == {"role": "from", "content": "said", "speakers": {"human": "user", "narrator": "ignore", "gpt": "assistant"}}
        and kept["loss_on"] == "last"
    )
    watched.clean()


def test_a_look_that_an_import_overtakes_leaves_the_form_alive(idle, opened, tmp_path):
    """A question under way when the import takes its file away: nothing is said of it, and the next file is asked about."""
    data = tmp_path / "films.csv"
    data.write_text("review,mood\n" + "\n".join(f"a film of number {i},{['dull', 'fine'][i % 2]}" for i in range(40)), encoding="utf-8")
    watched = opened(idle[0] + "/data")
    page = watched.page
    page.wait_for_selector('#data-tasks [data-task="sentiment-rt"]')
    page.set_input_files("#data-file input[type=file]", str(data))
    page.wait_for_selector("#data-preview .lab-facts")
    held = []
    looks = lambda request: bool(SERVED.search(request.url)) and '"look"' in (request.post_data or "")  # noqa: E731
    page.route(SERVED, lambda route: held.append(route) if looks(route.request) else route.continue_())
    with page.expect_request(looks):
        page.fill("#data-name", "mine")
    page.get_by_role("button", name="Import", exact=True).click()
    page.locator("#data-form .lab-said a").wait_for()
    (late,) = held
    with page.expect_response(lambda response: looks(response.request)) as answered:
        late.continue_()
    assert answered.value.ok
    page.unroute(SERVED)
    assert page.locator("#data-form .lab-said a").count() == 1 and page.locator("#data-form .lab-wrong").count() == 0
    page.set_input_files("#data-file input[type=file]", str(data))
    page.wait_for_selector("#data-preview .lab-facts")
    watched.clean()


def test_odd_files_are_asked_about_and_read(idle, opened, tmp_path):
    """GB18030, no header, a legacy encoding, near-equal labels, names for numbers, three files with their splits."""
    files = {
        "评论.csv": ("文本;标签\n" + "\n".join(f"这款物品很好用 质量不错 第{i}件;{['差评', '好评'][i % 2]}" for i in range(60))).encode("gb18030"),
        "bare.csv": "\n".join(f"quiet motor number {i},{['neg', 'pos'][i % 2]}" for i in range(60)).encode(),
        "latin.csv": ("text,label\n" + "\n".join(f"ça m’a déçu à Nîmes {i},{['non', 'oui'][i % 2]}" for i in range(60))).encode("cp1252"),
        "near.csv": ("text,label\n" + "\n".join(f"quiet motor number {i},{['pos', 'neg', 'POS'][i % 3]}" for i in range(90))).encode(),
        **{f"{split}.csv": ("text,label\n" + "\n".join(f"{split} motor {i},{i % 2}" for i in range(count))).encode() for split, count in (("train", 90), ("validation", 30), ("test", 20))},
    }  # fmt: skip
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    watched = opened(idle[0] + "/data")
    page = watched.page
    page.wait_for_selector('#data-tasks [data-task="sentiment-rt"]')

    def upload(*names):
        page.set_input_files("#data-file input[type=file]", [str(tmp_path / name) for name in names])

    def wrong(field):
        return page.locator(f'[data-field="{field}"] .lab-wrong').inner_text()

    upload("评论.csv")
    page.locator("#data-preview .lab-notes", has_text="GB18030").wait_for()
    upload("bare.csv")
    assert "looks like data (quiet motor number 0, neg)" in wrong("header")
    page.select_option("#data-header", "data")
    page.wait_for_selector("#data-preview .lab-facts")
    assert page.input_value("#data-column-text") == "column_1" and page.input_value("#data-column-label") == "column_2"
    upload("latin.csv")
    assert "not UTF-8 (line 2)" in wrong("encoding")
    page.select_option("#data-encoding", "cp1252")
    page.locator("#data-preview .lab-example", has_text="déçu à Nîmes").first.wait_for()
    upload("near.csv")
    assert "pos (30) / POS (30)" in wrong("spellings") and page.locator("#data-import").is_disabled()
    page.select_option("#data-spellings", "merge")
    page.locator("#data-preview .lab-labels", has_text="60 · 67 %").wait_for()

    upload("train.csv", "validation.csv", "test.csv")
    page.locator("#data-preview .lab-facts", has_text="90 / 30 / 20").wait_for()
    page.locator(".lab-names summary").click()
    page.fill("#data-labels", "bad\ngood")
    assert "names are not given to numbers by their place" in wrong("labels")
    page.fill("#data-labels", "0=bad\n1=good")
    page.locator("#data-preview .lab-labels", has_text="good").wait_for()
    page.fill("#data-name", "three")
    page.wait_for_selector("#data-import:not([disabled])")
    page.get_by_role("button", name="Import", exact=True).click()
    page.wait_for_selector('.lab-own-task[data-task="three"]')
    assert sorted(path.name for path in (idle[1] / "tasks" / "three").iterdir()) == ["data.json.gz", "task.yaml"]
    watched.clean()
