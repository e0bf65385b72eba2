"""What every test shares: no hub, one thread, homes of its own, and Hypothesis profiles.

The environment is set before anything imports torch or transformers, and worker processes inherit it.
"""

from __future__ import annotations

import contextlib
import gc
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
os.environ.update(
    HF_HUB_OFFLINE="1",
    HF_DATASETS_OFFLINE="1",
    TRANSFORMERS_OFFLINE="1",
    HF_HUB_DISABLE_TELEMETRY="1",
    OMP_NUM_THREADS="1",  # torch takes its thread count from here; two trainings at two threads each fight
    MKL_NUM_THREADS="1",
    GRADIO_ANALYTICS_ENABLED="False",
    LAB_WARM="0",  # no fork server beside every app and sweep of a test; those that want one say so
    CUDA_VISIBLE_DEVICES=os.environ.get("CUDA_VISIBLE_DEVICES", ""),
    PYTHONPATH=os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH", "")))),
)
for name in ("LAB_DATABASE_URL", "LAB_LAUNCHER", "LAB_HOME"):
    os.environ.pop(name, None)
_SESSION = tempfile.TemporaryDirectory(prefix="lab-test-home-")  # so that no test writes to ./lab-home by accident
os.environ["LAB_HOME"] = _SESSION.name
sys.path.insert(0, str(ROOT / "tests"))
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # else each of the many processes that tests start compiles the lab anew
sys.dont_write_bytecode = False

import pytest  # noqa: E402
from hypothesis import HealthCheck, settings  # noqa: E402

import lab.ui  # noqa: E402, F401  # so that gradio is imported as the app imports it

_COMMON = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow, HealthCheck.function_scoped_fixture, HealthCheck.data_too_large]}
settings.register_profile("lab", max_examples=200, **_COMMON)
settings.register_profile("thorough", max_examples=3000, **_COMMON)
settings.load_profile("lab")


PAGES = (
    "browser_pages",
    "browser_data",
    "browser_bench",
    "browser_tryit",
    "browser_access",
)  # their tests share an app, and see what those before them left in it
# What takes longest begins first: a long file at the end would keep one worker at it while the others have nothing left. Those that wait for pages and
# workers stand among those that compute.
FIRST = (
    *PAGES,
    "browser",
    "planning",
    "training_loop",
    "browser_live",
    "runs_queue",
    "export",
    "browser_door",
    "training_worker",
    "docs",
    "door",
    "laws",
    "bases",
)
_IDLE = contextlib.ExitStack()  # the app of PAGES


def _name(nodeid: str) -> str:
    """laws of tests/test_laws.py::test_x."""
    return nodeid.partition("::")[0].rpartition("/")[2].removeprefix("test_").removesuffix(".py")


def pytest_configure(config: pytest.Config) -> None:
    import spread

    spread.SLOW_TOO = config.getoption("markexpr") != "not slow"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    places = {name: place for place, name in enumerate(FIRST)}
    items.sort(key=lambda item: places.get(_name(item.nodeid), len(places)))  # stable


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """By files, as --dist loadfile does, those that share an app together."""
    if config.getvalue("dist") != "loadfile":
        return None
    from xdist.scheduler import LoadFileScheduling

    class Files(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return "pages" if _name(nodeid) in PAGES else super()._split_scope(nodeid)

    return Files(config, log)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """The app of PAGES, whose tests stand first, ends before those of the other files: it takes of the processor while it idles."""
    if _name(item.nodeid) not in PAGES:
        _IDLE.close()


def pytest_collection_finish() -> None:
    """What was imported lives to the end: collections of garbage, which memory tests ask for by the hundred, need not look through it."""
    gc.collect()
    gc.freeze()


def pytest_sessionfinish() -> None:
    _IDLE.close()
    if os.environ.get("LAB_FIDELITY"):
        import comparing

        comparing.write(os.environ["LAB_FIDELITY"])
    if os.environ.get("LAB_EXPORTS"):
        import exporting

        exporting.write_told(os.environ["LAB_EXPORTS"])


@pytest.fixture
def lab_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A fresh, empty LAB_HOME for one test, also for the processes that it starts."""
    home = tmp_path / "home"
    monkeypatch.setenv("LAB_HOME", str(home))
    return home


@pytest.fixture
def warm(lab_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers of this test's lab start warm, from the one fork server of this pytest process: importing torch is not what is tested."""
    from runs_support import starting

    from lab.runs import default

    starting(default(), "warm", monkeypatch)


@pytest.fixture(scope="session")
def session_home() -> Path:
    """The LAB_HOME that tests of one pytest process share where they do not care (LAB_HOME is set to it by default)."""
    return Path(_SESSION.name)


@pytest.fixture(scope="session")
def idle(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """(address, home) of an app in which runs only wait, shared by the files of PAGES."""
    from ui_support import serving

    home = tmp_path_factory.mktemp("idle") / "home"
    return _IDLE.enter_context(serving(home, LAB_SLOTS="0")), home


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium, for a file: while Playwright is there its event loop runs in this thread, and no other can (asyncio.run in the files that follow)."""
    from ui_support import chromium

    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def contexts() -> dict[str, Any]:
    """Contexts of the file's browser by their options: what one page fetched and compiled, the next one has."""
    return {}


@pytest.fixture
def opened(browser: Any, contexts: dict[str, Any]) -> Iterator[Callable[..., Any]]:
    """opened(address, **options of the context): a watched page that remembers nothing of earlier tests. It is closed after the test, so that it asks no more."""
    from urllib.parse import urljoin

    from ui_support import Watched

    pages = []

    def opened(address: str, **options: Any) -> Watched:
        context = contexts.get(repr(options)) or browser.new_context(**{"viewport": {"width": 1440, "height": 900}, "locale": "en-US", **options})
        contexts[repr(options)] = context
        pages.append(context.new_page())
        page = pages[-1]
        page.set_default_timeout(60_000)
        if len(pages) == 1:
            context.clear_cookies()
            page.goto(urljoin(address, "/gradio_api/startup-events"))
            page.evaluate("localStorage.clear(); sessionStorage.clear(); localStorage.setItem('lab_introduced', 'true')")
        watched = Watched(page)
        page.goto(address)
        return watched

    yield opened
    for page in [page for context in contexts.values() for page in context.pages]:
        page.close()
