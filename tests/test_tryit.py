"""Try it without a browser: the newest question of a page is put to the models, older ones that wait are not; what goes on is said by its phase."""

from __future__ import annotations

import sys
import threading
import time

import pytest

from lab.child import Child, Overtaken
from lab.ui.tryit import page
from lab.ui.words.table import TABLE

SLOW = """
import time
from lab.child import phase, serve

def answer(question):
    phase("loading")
    time.sleep(0.3)
    phase("answering")
    time.sleep(question.get("seconds", 0))
    return {"text": question["text"]}

serve(answer, "wrong")
"""


@pytest.fixture
def child():
    found = Child([sys.executable, "-c", SLOW], start=60, answer=60, late="late", died="died")
    yield found
    found.close()


def test_a_question_that_nobody_wants_any_more_is_not_put(child):
    first, second, seen, answers = {"text": "old", "seconds": 1.0}, {"text": "older", "seconds": 30.0}, set(), []
    threads = [threading.Thread(target=lambda: answers.append(child.ask(first)["text"]))]
    threads[0].start()
    until = time.monotonic() + 60
    while not {"loading", "answering"} <= seen and time.monotonic() < until:
        seen.add(child.phase(first))
        assert child.phase(second) == "waiting"
        time.sleep(0.002)
    with pytest.raises(Overtaken):
        child.ask(second, wanted=lambda: False)
    threads[0].join()
    assert answers == ["old"] and {"starting", "loading", "answering"} <= seen
    assert child.phase(first) == "waiting" and child.ask({"text": "new"})["text"] == "new"


def test_the_newest_question_of_a_page_wins():
    newest = page._Newest()
    newest.ask("a", 1, {"text": "one"})
    newest.ask("b", 1, {"text": "other page"})
    newest.ask("a", 2, {"text": "two"})
    assert not newest.is_newest("a", 1) and newest.is_newest("a", 2) and newest.is_newest("b", 1) and newest.question("a") == {"text": "two"}
    for number in range(2 * page.PAGES_KEPT):
        newest.ask(f"p{number}", 1, {})
    assert newest.question("a") is None and newest.is_newest("a", 7), "what is kept is bounded"


def test_every_phase_has_words():
    assert {f"try.phase.{name}" for name in ("waiting", "starting", "loading", "answering")} <= TABLE.keys()
