"""The app's API over a running app: every verb answers, with the documents of the terminal; and a Space's environment brings the app up on its address."""

from __future__ import annotations

import base64
import importlib.util
import json

import httpx
import pytest
from gradio_client import Client
from gradio_client.exceptions import AppError
from ui_support import free_port, serving

from lab.runs import Home, Queue
from lab.ui import api
from lab.ui.door import settings

SPEC = {"model": "minilm-l6", "task": "sentiment-rt", "method": "lora", "training": {"steps": 7}}
PASSWORD = "a-long-password"
MCP = importlib.util.find_spec("mcp") is not None


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("api") / "home"


@pytest.fixture(scope="module")
def lab(home):
    """A client of an app behind a password that starts no workers, so that what is queued stays so."""
    with serving(home, LAB_SLOTS="0", LAB_AUTH=f"me:{PASSWORD}", **({"LAB_MCP": "1"} if MCP else {})) as address:
        yield Client(address, auth=("me", PASSWORD), verbose=False)


def ask(lab, verb, *given):
    return lab.predict(*given, api_name=f"/{verb}")


def test_the_verbs_are_named_and_nothing_else_is(lab):
    named = lab.view_api(return_format="dict")["named_endpoints"]
    assert set(named) == {f"/{verb.__name__}" for verb in (*api.VERBS, api.export)}


def test_what_there_is_and_what_it_would_cost(lab):
    assert {row["preset"] for row in ask(lab, "methods")} >= {"lora", "mam"} and {row["preset"] for row in ask(lab, "models")} >= {"minilm-l6"}
    assert {row["preset"] for row in ask(lab, "tasks")} >= {"sentiment-rt"}
    properties = ask(lab, "schema")["properties"]
    assert set(properties) >= set(SPEC)
    small, large = (ask(lab, "count", "minilm-l6", {"preset": "lora", "set": {"deltas.0.rank": rank}})["trainable"] for rank in (2, 4))
    assert large == 2 * small > 0
    with pytest.raises(AppError, match="There is no method preset"):
        ask(lab, "count", "minilm-l6", "no-such")
    with pytest.raises(AppError, match="no option 'colour'"):
        ask(lab, "plan", SPEC, {"colour": 1})
    planned = ask(lab, "plan", SPEC, {"batch": 2, "tokens": 16})
    assert planned["trainable"] > 0 and planned["peak_allocated_bytes"] > 10**6


def test_a_run_from_its_launch_to_its_end(lab, home):
    run = ask(lab, "launch", SPEC)["run"]
    copy = ask(lab, "duplicate", run, "a copy")["run"]
    assert ask(lab, "edit", copy, {"name": "another", "tags": ["one"], "place": 1}) == {
        "run": copy,
        "name": "another",
        "tags": ["one"],
        "notes": "",
        "state": "queued",
    }
    for verb, given, words in (
        ("metrics", (run, ["loss"], "a", 10), "After must be a whole number"), ("metrics", (run, "loss", 0, 10), "Names must be a list"),
        ("log", (run, "many"), "Lines must be a whole number"), ("runs", (5, "", "", 10), "States must be a list"), ("runs", (None, "", "", "x"), "Limit must be a whole"),
        ("edit", (copy, "x"), "Changes must be a group of options"), ("plan", ("x", None), "Spec must be a group of options"),
        ("plan", (SPEC, "x"), "Setting must be a group of options"), ("compare", ("x",), "Runs must be a list"), ("count", ([], "lora"), "Model must be text"),
    ):  # fmt: skip
        with pytest.raises(AppError, match=words):
            ask(lab, verb, *given)
    with pytest.raises(AppError, match="cannot be changed to that"):
        ask(lab, "edit", copy, {"state": "running"})
    listed = ask(lab, "runs", ["queued"], "", "", 10)
    assert [row["run"] for row in listed] == [copy, run] and listed[0]["method"] == "lora"
    assert [row["run"] for row in ask(lab, "runs", None, "one", "", 10)] == [copy]
    Queue(Home(home)).store.log(run, [(step, "loss", value, float(step)) for step, value in enumerate((0.5, float("nan"), 0.25))])
    curve = {"steps": [1, 2], "values": [None, 0.25], "times": [1.0, 2.0]}
    assert ask(lab, "metrics", run, ["loss"], 0, 100) == {"loss": curve} and set(ask(lab, "metrics", run, None, -1, 100)) == {"loss"}
    assert isinstance(ask(lab, "log", run, 10), str) and ask(lab, "status", run)["state"] == "queued"
    assert ask(lab, "stop", copy) == {"run": copy, "state": "cancelled"}
    assert ask(lab, "resume", copy) == {"run": copy, "state": "queued"}
    assert ask(lab, "stop", copy)["state"] == "cancelled"
    assert ask(lab, "compare", [run, copy])["differences"] == {}
    assert ask(lab, "delete", copy) == {"run": copy, "deleted": True}
    for verb, *more in (
        ("status",),
        ("stop",),
        ("resume",),
        ("delete",),
        ("metrics", None, -1, 10),
        ("log", 10),
        ("duplicate", ""),
        ("export", "peft", "best", ""),
    ):
        for name in (copy, "../../etc"):
            with pytest.raises(AppError, match="no run|is not a run id|is in the bin"):
                ask(lab, verb, name, *more)


def test_nobody_is_answered_without_the_password(lab):
    for path in ("call/methods", "call/delete", "run/stop", "mcp/", "mcp/http/"):
        assert httpx.post(f"{lab.src}gradio_api/{path}", json={"data": []}).status_code == 401
    assert httpx.get(f"{lab.src}gradio_api/mcp/schema").status_code == 401


@pytest.mark.skipif(not MCP, reason="no mcp here: pip install -r requirements-mcp.txt")
def test_a_language_model_has_the_verbs_as_tools(lab):
    key = {"Authorization": "Basic " + base64.b64encode(f"me:{PASSWORD}".encode()).decode(), "Accept": "application/json, text/event-stream"}
    with httpx.Client(base_url=lab.src, headers=key, timeout=60) as caller:

        def asked(method: str, **parameters):
            told = caller.post("gradio_api/mcp/", json={"jsonrpc": "2.0", "id": 1, "method": method, "params": parameters}, follow_redirects=True)
            assert told.status_code == 200, told.text
            return json.loads(next(line[6:] for line in told.text.splitlines() if line.startswith("data: ")))["result"]

        assert {tool["name"] for tool in asked("tools/list")["tools"]} == {verb.__name__ for verb in (*api.VERBS, api.export)}
        counted = asked("tools/call", name="count", arguments={"model": "minilm-l6", "method": "lora"})
        assert not counted.get("isError") and "trainable" in counted["content"][0]["text"]
        assert asked("tools/call", name="stop", arguments={"run": "k7qm2x9b"})["isError"]


# -- a Space ---------------------------------------------------------------------------------------------------------------------------------


def test_a_spaces_environment_brings_it_up(tmp_path, monkeypatch):
    """On the host's address and port, under its name, behind a password that only the owner's log has."""
    for name in ("LAB_HOST", "LAB_PORT", "LAB_AUTH", "LAB_ANYONE", "LAB_HOME"):
        monkeypatch.delenv(name, raising=False)
    port = free_port()
    space = {"GRADIO_SERVER_NAME": "0.0.0.0", "GRADIO_SERVER_PORT": str(port), "SPACE_ID": "me/lab", "SPACE_HOST": "me-lab.hf.space", "SYSTEM": "spaces"}
    for name, value in space.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(settings, "STORAGE", tmp_path)
    found = settings.read()
    assert (found.host, found.port, found.home) == ("0.0.0.0", port, str(tmp_path / "lab-home")) and found.allow_hosts == ("me-lab.hf.space",)
    assert found.door and found.door != settings.read().door and found.door[1] in found.notice
    monkeypatch.setenv("LAB_ANYONE", "1")
    assert settings.read().door is None and not settings.read().notice
    monkeypatch.setenv("LAB_PORT", "7999")
    assert settings.read().port == 7999


def test_outside_a_space_an_open_address_stays_refused(monkeypatch):
    for name in ("SPACE_ID", "SPACE_HOST", "LAB_AUTH", "LAB_ANYONE", "LAB_HOST"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GRADIO_SERVER_NAME", "0.0.0.0")
    with pytest.raises(settings.Refusal, match="everybody who reaches"):
        settings.read()
