"""What open pages ask once a second: one answer for all who ask the same, and a door that only those who belong there get through."""

from __future__ import annotations

import json
import threading
import time

import pytest

from lab.ui.shell import poll
from lab.ui.shell.poll import Seen, _question, _Watched

SPEC = {"model": "minilm-l6", "task": "sentiment-rt", "method": "lora"}


@pytest.fixture
def store(tmp_path, monkeypatch):
    """The store of a fresh home, as the pages see it."""
    from lab.runs import Home, Queue

    queue = Queue(Home(tmp_path / "home"), count=1)
    monkeypatch.setattr(poll, "default", lambda: queue)
    monkeypatch.setattr(poll, "STORE", poll._Steady())
    return queue.store


def test_one_answer_for_all_who_ask_the_same(store):
    calls: list[Seen] = []

    def look(chosen, seen, language):
        calls.append(seen)
        time.sleep(0.2)
        return {"part": [chosen, language]}, "mark"

    page, told = _Watched(look), []
    asked = _question({"chosen": {"run": "a"}, "language": "zh"})
    threads = [threading.Thread(target=lambda: told.append(page.answer(asked))) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(calls) == 1 and calls[0] == Seen(None, "", False) and len(set(told)) == 1
    answer = json.loads(told[0])
    assert answer["parts"] == {"part": [{"run": "a"}, "zh"]} and answer["seen"] == f"{store.store_version()}|mark"
    again = _question({"chosen": {"run": "a"}, "language": "zh", "seen": answer["seen"]})
    assert page.answer(again) == "" and page.ready(again) == "" and len(calls) == 1, "nothing has changed"
    page.answer({**again, "chose": True, "now": True})
    assert calls[-1] == Seen(store.store_version(), "mark", True), "another choice is answered though the store is the same"
    store.create(SPEC)
    assert page.answer({**again, "now": True}), "what was just done is seen at once"
    assert calls[-1] == Seen(int(answer["seen"].partition("|")[0]), "mark", False)


def test_a_failure_is_not_kept(store):
    def look(chosen, seen, language):
        calls.append(1)
        if len(calls) == 1:
            raise OSError("once")
        return {}, ""

    calls: list[int] = []
    page = _Watched(look)
    with pytest.raises(OSError, match="once"):
        page.answer(_question({}))
    assert page.answer(_question({}))


@pytest.mark.parametrize(
    "asked",
    [None, 5, "x", [], {"chosen": 5, "seen": {}, "language": "xx"}, {"seen": "9" * 40 + "|x"}, {"seen": "-1|"}, {"seen": "|"}, {"chosen": [1], "chose": "yes"}],
)
def test_every_question_is_understood_or_taken_as_a_first_one(store, asked):
    def look(chosen, seen, language):
        assert isinstance(chosen, dict) and language == "en" and (seen.before is None or seen.before < 10**19)
        return {}, ""

    assert json.loads(_Watched(look).answer(_question(asked)))["parts"] == {}
