"""What the app uses of gradio beyond its promises: it stands in one file, and is as that file expects in the version that is installed."""

from __future__ import annotations

import ast
import importlib.metadata
import inspect
import re
import sys
from pathlib import Path

import gradio as gr
from fastapi import FastAPI
from fastapi.testclient import TestClient

from lab.ui import STUBS
from lab.ui.shell import gradio_private

ROOT = Path(__file__).resolve().parents[1]
HERE = ROOT / "lab" / "ui" / "shell" / "gradio_private.py"


def test_the_installed_version_is_the_one_that_was_tested():
    assert importlib.metadata.version("gradio").startswith(gradio_private.TESTED + ".")
    pinned = re.search(r"^gradio>=([\d.]+),<([\d.]+)", (ROOT / "requirements.txt").read_text(encoding="utf-8"), re.M)
    major, minor = map(int, gradio_private.TESTED.split("."))
    assert pinned.groups() == (gradio_private.TESTED, f"{major}.{minor + 1}")


def test_private_names_of_gradio_stand_in_one_file():
    """No module of gradio is imported elsewhere, and no attribute with an underscore is read of anything but one's own object."""
    for path in sorted((ROOT / "lab" / "ui").rglob("*.py")):
        if path == HERE:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not any(name.startswith("gradio.") or (name == "gradio" and isinstance(node, ast.ImportFrom)) for name in names), f"{path}:{node.lineno}"
            if isinstance(node, ast.Attribute) and node.attr.startswith("_") and not node.attr.startswith("__"):
                assert isinstance(node.value, ast.Name) and node.value.id in ("self", "cls"), f"{path}:{node.lineno}: {ast.unparse(node)}"


def test_gradio_makes_no_stubs():
    """Its function of that name is there (else lab/ui/__init__.py replaces nothing), and it is not called."""
    assert f"def {STUBS[1]}(" in inspect.getsource(sys.modules[STUBS[0]])
    assert getattr(sys.modules[STUBS[0]], STUBS[1])() is None


def test_gradio_has_what_is_used_of_it():
    with gradio_private.building(), gr.Blocks() as demo:
        gr.Button().click(lambda: None, None, None)
    assert demo.app is None and demo.config == {}, "they are made in another way"
    outer = FastAPI()
    gr.mount_gradio_app(outer, demo, path="/", auth=("me", "a-long-password"), ssr_mode=False)
    inner = gradio_private.mounted(outer, demo)
    tokens, cookies = gradio_private.logins(inner)
    assert tokens == {} and len(cookies) == 2 and demo._queue.sleep_when_free == gradio_private.BETWEEN
    with TestClient(outer) as visitor:
        asks = visitor.get("/").content
        assert gradio_private.LOGIN in asks and gradio_private.MODULE in asks and b"</head>" in asks
        assert visitor.post("/login", data={"username": "me", "password": "a-long-password"}).status_code == 200
        assert set(tokens.values()) == {"me"} and set(visitor.cookies) <= set(cookies)
        page = visitor.get("/").content
        assert gradio_private.LOGIN not in page and page.index(b"<base ") < page.index(gradio_private.MODULE) < page.index(b"</head>")
    for number in range(gradio_private.PAGES + 9):
        inner.state_holder[f"page {number}"]
    assert len(inner.state_holder.session_data) <= gradio_private.PAGES
    gradio_private.close(demo)
    assert inner.stop_event.is_set()


def test_payloads_uploads_and_the_relay():
    assert gradio_private.payload(gr.EventData(None, {"run": "a"})) == {"run": "a"} and gradio_private.payload(gr.EventData(None, [1])) == {}
    assert isinstance(gradio_private.upload_folder(), Path)
    wanted = {"local_host", "local_port", "share_token", "share_server_address", "share_server_tls_certificate"}
    assert wanted <= set(inspect.signature(gradio_private.networking.setup_tunnel).parameters) and hasattr(gr.Blocks(), "share_token")
