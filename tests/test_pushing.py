"""Pushes to the hub by the real client against a small hub on 127.0.0.1: what is shown first, what arrives, and one sentence for each way it cannot."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from exporting import trained
from fake_hub import Account, Repo, hub

from lab.design.plain.refusal import Refusal
from lab.export import write
from lab.ui.door.settings import read

ROOT = Path(__file__).resolve().parents[1]
TOKENS = {"hf_writes_secretly": Account("me", orgs=("team",)), "hf_reads_secretly": Account("me", "read")}
HEAD = """
import json, os, sys, time
from pathlib import Path
from lab.design.plain.refusal import Refusal
from lab.export import hub
folder, told = Path(sys.argv[1]), {}

def tried(act):
    try:
        return act()
    except Refusal as refusal:
        return str(refusal)

def push(repo, public=False, format="peft"):
    return hub.Push(hub.look(repo, format, public), folder, "k7qm2x9b", "my run", format)
"""
SENT = """
first = push("fresh")
told["shown"], told["nothing yet"] = first.document(), not Path(sys.argv[2]).exists()
steps = []
told["sent"] = first.send(lambda *step: steps.append(step))
told["steps"], told["twice"] = steps, first.send() == told["sent"]
again = push("me/fresh")
told["again"] = again.notes()
Path(sys.argv[2], "me/fresh/notes.txt").write_text("somebody else's")
told["meanwhile"] = tried(again.send)
told["stay"] = push("me/fresh").notes()
told["other format"] = tried(lambda: push("me/fresh", format="merged"))
told["other's"] = [tried(push("me/other").send), push("me/other").notes(), push("me/other").send(replace=True)]
told["readers"] = [tried(lambda: push("me/open")), tried(lambda: push("me/fresh", public=True)), push("team/shared", public=True).document()["visibility"]]
told["names"] = [tried(lambda: push(name)) for name in ("no name", "a/b/c", "../x", "me/a--b", "")]
told["not mine"] = tried(push("you/x").send)
"""
PUSHED = """
from lab.ui.export import packer, pusher
from lab.runs import default
run = default().store.create({"model": "minilm-l6", "task": "sentiment-rt", "method": {"deltas": []}}, name="my run")
packer.PACKER.make = lambda *asked: packer.Packed(folder)
told["off"] = tried(lambda: pusher.PUSHER.look(run, "me/page"))
os.environ[pusher.VARIABLE] = pusher.PAGE
found = pusher.PUSHER.look(run, "me/page")
told["ready"], told["unknown"] = found["state"], tried(lambda: pusher.PUSHER.send("guessed"))
pusher.PUSHER.send(found["confirm"]), pusher.PUSHER.send(found["confirm"])
while (now := pusher.PUSHER.of_run(run))["state"] == "sending":
    time.sleep(0.05)
told["page"] = [now["state"], now["done"] == now["bytes"], now["sent"]]
"""
END = "\nprint(json.dumps(told))\n"


def run(code: str, folder: Path, room: Path, address: str, token: str = "hf_writes_secretly", **more: str) -> dict:
    """What a process prints that has this hub and token; the token stands nowhere in what it says."""
    home = room.parent
    given = {
        **os.environ,
        "HF_ENDPOINT": address,
        "HF_HUB_DISABLE_XET": "1",
        "HF_HOME": str(home / "hf"),
        "LAB_HOME": str(home / "lab"),
        "PYTHONPATH": str(ROOT),
    }
    given = {name: value for name, value in given.items() if name not in ("HF_HUB_OFFLINE", "HF_TOKEN", "LAB_PUSHING", "TRANSFORMERS_OFFLINE")}
    given |= ({"HF_TOKEN": token} if token else {}) | more
    done = subprocess.run([sys.executable, "-c", HEAD + code + END, str(folder), str(room)], env=given, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "secretly" not in done.stdout + done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(trained("bert", "classification", "lora", run_id="k7qm2x9b"), "peft", tmp_path_factory.mktemp("exported") / "peft")


def test_an_export_is_shown_and_then_sent(exported: Path, tmp_path: Path):
    for name in ("other", "open"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "README.md").write_text("mine")
    repos = {"me/other": Repo("models", tmp_path / "other", private=True), "me/open": Repo("models", tmp_path / "open")}
    with hub(repos, TOKENS, tmp_path / "room") as (address, asked):
        told = run(SENT + PUSHED, exported, tmp_path / "room", address)
    files = {path.name: path.stat().st_size for path in exported.iterdir()}
    shown = told["shown"]
    assert (shown["repo"], shown["visibility"], shown["exists"], shown["sent"]) == ("me/fresh", "private", False, "") and told["nothing yet"]
    assert {file["name"]: file["bytes"] for file in shown["files"]} == files and shown["bytes"] == sum(files.values())
    arrived = tmp_path / "room" / "me" / "fresh"
    assert repos["me/fresh"].private and all((arrived / name).read_bytes() == (exported / name).read_bytes() for name in files)
    assert "base_model:" in (arrived / "README.md").read_text() and told["sent"].startswith(f"{address}/me/fresh/commit/") and told["twice"]
    assert told["steps"][-1] == [shown["bytes"], shown["bytes"], ""] and [step[0] for step in told["steps"]] == sorted(step[0] for step in told["steps"])
    assert told["again"] == ["It holds an earlier export of this run, which this one replaces."]
    assert told["meanwhile"] == "me/fresh was made or changed meanwhile: look at it again before you push." and (arrived / "notes.txt").is_file()
    assert told["stay"][-1] == "These files stay there: notes.txt."
    assert told["other format"].startswith("me/fresh holds an export in the format peft, and files of two formats")
    assert told["other's"][0].startswith("me/other did not come from a lab, and 1 of its files would be replaced") and told["other's"][2]
    assert told["other's"][1] == ["It did not come from a lab: 1 of its 1 files would be replaced."]
    assert told["readers"][0].startswith("me/open is there and public") and told["readers"][1].startswith("me/fresh is there and private")
    assert told["readers"][2] == "public" and all(sentence.startswith("Name the repository as me/my-adapter") for sentence in told["names"])
    assert told["not mine"].startswith("The token on this machine may not write to you/x")
    assert (
        told["off"].startswith("Pushing is off here") and told["ready"] == "ready" and told["unknown"] == "That push is not known any more: look at it again."
    )
    assert told["page"][:2] == ["sent", True] and sum("/me/page/commit/" in line for line in asked) == 1  # two clicks, one commit
    assert (tmp_path / "room" / "me" / "page" / "README.md").read_bytes() == (exported / "README.md").read_bytes()


WAYS = """
told["sentence"] = tried(lambda: push("me/new").send(lambda *step: None))
"""


def test_each_way_that_it_cannot_be_sent_is_one_sentence(exported: Path, tmp_path: Path):
    expected = {
        "/commit/main 403": "The token on this machine may not write to me/new: make one that may, or choose a repository of your own. The new repository me/new is there, without files.",
        "/repos/create 409": "me/new was made or changed meanwhile: look at it again before you push.",
        "/repos/create 500": "The hub answers with an error of its own (status 500): try again later.",
        "whoami-v2 401": "The hub does not know the token on this machine: run 'hf auth login' again, or set another HF_TOKEN.",
    }
    for fault, sentence in expected.items():
        part, _, status = fault.rpartition(" ")
        with hub({}, TOKENS, tmp_path / fault.replace("/", "") / "room", {part: int(status)}) as (address, _asked):
            assert run(WAYS, exported, tmp_path / fault.replace("/", "") / "room", address)["sentence"] == sentence
    with hub({}, TOKENS, tmp_path / "none" / "room") as (address, asked):
        for given, sentence in (({"token": ""}, "There is no token of the hub on this machine"), ({"token": "hf_reads_secretly"}, "The token of me on this machine may only read"),
                                ({"HF_HUB_OFFLINE": "1"}, "HF_HUB_OFFLINE is set, so nothing is sent to the hub"),
                                ({"HF_HUB_OFFLINE": "", "TRANSFORMERS_OFFLINE": "1"}, "TRANSFORMERS_OFFLINE is set, so nothing is sent to the hub")):  # fmt: skip
            assert run(WAYS, exported, tmp_path / "none" / "room", address, **given)["sentence"].startswith(sentence)
        assert not any(line.startswith(("POST", "PUT")) for line in asked)
    assert run(WAYS, exported, tmp_path / "none" / "room", address)["sentence"].startswith("The hub cannot be reached at ")


def test_the_terminal_asks_before_it_sends(lab_home: Path, tmp_path: Path):
    """The settings of a run that waits, which need no weights: without --yes and without a terminal nothing is sent."""
    from lab.design.spec.run import spec_of
    from lab.runs import default

    run_id = default().store.create(spec_of({"model": "minilm-l6", "task": "sentiment-rt", "method": "lora"}).document(), name="waits")
    with hub({}, TOKENS, tmp_path / "room") as (address, asked):
        code = "import sys; from lab.cli import main\nfor more in ([], ['--yes']): print(main(['push', sys.argv[1], 'me/settings', '--format', 'config', '--json', *more]), file=sys.stderr)"
        given = {name: value for name, value in os.environ.items() if name not in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")}
        given |= {"HF_ENDPOINT": address, "HF_HOME": str(tmp_path / "hf"), "HF_TOKEN": "hf_writes_secretly", "LAB_HOME": str(lab_home), "PYTHONPATH": str(ROOT)}
        done = subprocess.run([sys.executable, "-c", code, run_id], env=given, capture_output=True, text=True, timeout=300, stdin=subprocess.DEVNULL)
        written = [line for line in done.stderr.splitlines() if line in ("0", "1", "2")]
        assert written == ["2", "0"] and "Nothing was sent. What would be is listed above: say --yes to send it." in done.stderr, done.stderr[-2000:]
        assert "private: only you and those you let in can read it" in done.stderr and "secretly" not in done.stdout + done.stderr
        assert sum("/commit/" in line for line in asked) == 1 and json.loads(done.stdout)["sent"].startswith(address)
    assert {path.name for path in (tmp_path / "room" / "me" / "settings").iterdir()} >= {"spec.yaml", "method.yaml"}


def test_who_may_push_with_this_machines_token(monkeypatch: pytest.MonkeyPatch):
    """Pages where nobody else comes in; the API and language models only where that was said, too."""
    for name in ("LAB_AUTH", "LAB_ANYONE", "LAB_HOST", "LAB_PROXY", "SPACE_HOST", "SPACE_ID", "LAB_PUSH", "LAB_ALLOW_HOST", "LAB_ROOT_PATH", "LAB_SHARE"):
        monkeypatch.delenv(name, raising=False)
    door = {"auth": "me:a long password"}
    assert read({}).ours and not read({}).push and read({"push": True}).push and read({"host": "0.0.0.0", **door, "push": True}).ours
    for others in ({"host": "0.0.0.0", "anyone": True}, {"proxy": ["127.0.0.1"]}, {"root_path": "/lab"}, {"allow_host": ["lab.example.org"]}):
        assert not read(others).ours and read({**others, **door}).ours
        with pytest.raises(Refusal, match="so it needs --auth"):
            read({**others, "push": True})


@pytest.mark.slow
@pytest.mark.browser
def test_the_page_shows_before_it_sends(tmp_path: Path, opened):
    """Look, then a button that takes no second click of the same hand; what arrives is what was shown."""
    from ui_support import serving

    from lab.design.spec.run import spec_of
    from lab.runs import Home, Queue

    home = tmp_path / "home"
    run_id = Queue(Home(home)).store.create(spec_of({"model": "minilm-l6", "task": "sentiment-rt", "method": "lora"}).document(), name="waits")
    with hub({}, TOKENS, tmp_path / "room") as (address, asked):
        more = {"HF_ENDPOINT": address, "HF_TOKEN": "hf_writes_secretly", "HF_HOME": str(tmp_path / "hf"), "HF_HUB_OFFLINE": "", "TRANSFORMERS_OFFLINE": "",
                "HF_HUB_DISABLE_XET": "1"}  # fmt: skip
        with serving(home, LAB_SLOTS="0", **more) as app:
            page = opened(f"{app}/export?run={run_id}").page
            page.click("[data-format=config]", timeout=60_000)
            page.fill("#push-repo", "settings", timeout=120_000)
            page.click("#push-look")
            page.wait_for_selector("#push-send, #export-push [role=alert]")
            assert not page.query_selector("#export-push [role=alert]"), page.inner_text("#export-push")
            assert page.is_disabled("#push-send") and "me/settings" in page.inner_text("#push-send") and not any("/commit/" in line for line in asked)
            assert page.inner_text("#export-push .lab-push-plan").count("spec.yaml") == 1
            page.screenshot(path=str(tmp_path / "ready.png"), full_page=True)
            page.wait_for_selector("#push-send:not([disabled])")
            page.click("#push-send")
            page.wait_for_selector("#export-push a[href*='me/settings']", timeout=60_000)
            assert sum("/commit/" in line for line in asked) == 1 and "secretly" not in page.content()
    assert (tmp_path / "room" / "me" / "settings" / "method.yaml").is_file()


@pytest.mark.slow
def test_the_api_looks_and_then_sends(tmp_path: Path):
    """Over HTTP, where the app was started with --push: nothing leaves by the first call, and the second sends what the first said, once."""
    from gradio_client import Client
    from ui_support import serving

    from lab.design.spec.run import spec_of
    from lab.runs import Home, Queue

    home = tmp_path / "home"
    run_id = Queue(Home(home)).store.create(spec_of({"model": "minilm-l6", "task": "sentiment-rt", "method": "lora"}).document(), name="waits")
    with hub({}, TOKENS, tmp_path / "room") as (address, asked):
        more = {"HF_ENDPOINT": address, "HF_TOKEN": "hf_writes_secretly", "HF_HOME": str(tmp_path / "hf"), "HF_HUB_OFFLINE": "", "TRANSFORMERS_OFFLINE": "",
                "HF_HUB_DISABLE_XET": "1", "LAB_PUSH": "1"}  # fmt: skip
        with serving(home, LAB_SLOTS="0", **more) as app:
            caller = Client(app, verbose=False)
            found = caller.predict(run_id, "me/settings", "config", api_name="/push")
            assert (found["state"], found["visibility"], found["repo"]) == ("ready", "private", "me/settings") and not any("/commit/" in line for line in asked)
            while (now := caller.predict(run_id, confirm=found["confirm"], api_name="/push"))["state"] in ("ready", "sending"):
                time.sleep(0.2)
            assert now["state"] == "sent" and sum("/commit/" in line for line in asked) == 1 and "secretly" not in str(now)
    assert (tmp_path / "room" / "me" / "settings" / "method.yaml").is_file()
