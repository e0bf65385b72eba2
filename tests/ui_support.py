"""A real app on a free port with a home of its own, and a real Chromium that keeps count of errors and of requests that leave the machine."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync",
         "--host-resolver-rules=MAP evil.test 127.0.0.1"]  # fmt: skip
LONG = 120_000  # ms that a worker may need to import torch, load the model and take its first steps on a busy machine
LOCAL = re.compile(r"(https?|wss?)://(127\.|localhost|\[::1\])|data:|blob:|about:")


def free_port() -> int:
    """A port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def environment(home: Path) -> dict[str, str]:
    """The environment of an app under test."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("LAB_", "GRADIO_"))}
    return {**kept, "LAB_HOME": str(home), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "LAB_SLOTS": "2", "LAB_WARM": "0", "PYTHONUNBUFFERED": "1"}


@contextlib.contextmanager
def serving(home: Path, seconds: float = 150.0, command: tuple[str, ...] = ("app.py",), **more: str) -> Iterator[str]:
    """`python app.py` until the block ends; gives its address. `command`: another way to start it; `more`: environment variables."""
    port = free_port()
    log = (home.parent / f"app-{port}.log").open("wb")
    app = subprocess.Popen(
        [sys.executable, *command, "--port", str(port)],
        cwd=ROOT,
        env={**environment(home), **more},
        stdout=log,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
    )
    address = f"http://127.0.0.1:{port}"
    try:
        until = time.monotonic() + seconds
        while True:
            try:
                urllib.request.urlopen(address, timeout=10).read(1)
                break
            except OSError:
                assert app.poll() is None, Path(log.name).read_text(encoding="utf-8", errors="replace")[-2000:]
                assert time.monotonic() < until, "the app was not up in time"
                time.sleep(0.2)
        yield address
    finally:
        app.terminate()
        try:
            app.wait(15)
        except subprocess.TimeoutExpired:
            app.kill()
        log.close()
        end_runs(home)


def end_runs(home: Path) -> None:
    """Workers outlive the app by design; a test's own must not."""
    from lab.runs import Home, Queue

    queue = Queue(Home(home))
    for run in queue.store.list(["queued", "starting", "running", "stopping"]):
        queue.stop(run.id)


class Watched:
    """A page whose console errors and outside requests are kept."""

    def __init__(self, page):
        self.page, self.errors, self.outside = page, [], []
        page.on("console", lambda message: self.errors.append(message.text[:300]) if message.type == "error" else None)
        page.on("pageerror", lambda error: self.errors.append(str(error)[:300]))
        page.on("request", lambda request: None if LOCAL.match(request.url) else self.outside.append(request.url[:200]))

    def clean(self) -> None:
        """Nothing went wrong and nothing was fetched from elsewhere."""
        assert self.errors == [], self.errors
        assert self.outside == [], self.outside


@contextlib.contextmanager
def chromium() -> Iterator:
    """Debian's Chromium, headless; the test is skipped where there is none."""
    import pytest

    sync_api = pytest.importorskip("playwright.sync_api")
    if not Path("/usr/bin/chromium").exists():
        pytest.skip("there is no /usr/bin/chromium")
    with sync_api.sync_playwright() as player:
        browser = player.chromium.launch(executable_path="/usr/bin/chromium", args=FLAGS)
        yield browser
        browser.close()


def trainable(page, value):
    page.wait_for_selector(f'#costs [data-trainable="{value}"]')


def set_steps(page, steps):
    """So many steps of few rows: the machine that tests run on is slow and shared."""
    page.get_by_label("steps", exact=True).fill(str(steps))
    page.get_by_label("batch size rows").fill("2")
    training = page.locator(".lab-knobs > section").last
    training.locator("details").evaluate("node => { node.open = true; }")
    page.get_by_label("evaluation rows").fill("16")
    page.get_by_label("longest input tokens").fill("16")
    page.wait_for_timeout(400)
