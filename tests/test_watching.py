"""What open pages ask once a second: one answer for all who ask the same, and a door that only those who belong there get through."""

from __future__ import annotations

import http.cookiejar
import json
import threading
import time
import urllib.error
import urllib.parse
import urllib.request

import pytest
from ui_support import serving

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


def ask(opener, address: str, page: str, body: bytes, kind: str = "application/json") -> tuple[int, bytes]:
    try:
        with opener.open(urllib.request.Request(f"{address}/look/{page}", body, {"Content-Type": kind}), timeout=30) as reply:
            return reply.status, reply.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def test_the_door(tmp_path):
    """With a password nobody is answered who has not logged in; nothing that is sent makes the app fail."""
    stranger = urllib.request.build_opener()
    with serving(tmp_path / "home", LAB_AUTH="me:a-long-password") as address:
        for page in ("runs", "compare", "sweep", "tryit", "combine", "export"):
            assert ask(stranger, address, page, b"{}")[0] == 401
        friend = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar()))
        with pytest.raises(urllib.error.HTTPError):
            friend.open(f"{address}/login", urllib.parse.urlencode({"username": "me", "password": "wrong"}).encode())
        assert ask(friend, address, "runs", b"{}")[0] == 401
        friend.open(f"{address}/login", urllib.parse.urlencode({"username": "me", "password": "a-long-password"}).encode())
        for page in ("runs", "compare", "sweep", "tryit", "combine", "export"):
            status, said = ask(friend, address, page, b"{}")
            told = json.loads(said)
            assert status == 200 and told["parts"]
            assert ask(friend, address, page, json.dumps({"seen": told["seen"]}).encode())[0] == 204, "nothing has changed"
        for body, status in (
            (b"", 400),
            (b"{", 400),
            (b"[" * 60_000, 400),
            (b"x" * 70_000, 413),
            (b'{"chosen":{"run":"../../etc/passwd"}}', 200),
            (b'{"chosen":{"runs":[{}]}}', 200),
            (b"\xff", 400),
        ):
            assert ask(friend, address, "compare", body)[0] == status, body[:40]
        assert ask(friend, address, "runs", b"{}", "text/plain")[0] == 415
        assert ask(friend, address, "nowhere", b"{}")[0] == 404
        assert ask(friend, address, "runs", b"{}")[0] == 200, "the app goes on"
