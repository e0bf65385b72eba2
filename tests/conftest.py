"""What every test shares: no hub, one thread, homes of its own, and Hypothesis profiles.

The environment is set before anything imports torch or transformers, and worker processes inherit it.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
os.environ.update(
    HF_HUB_OFFLINE="1",
    HF_DATASETS_OFFLINE="1",
    TRANSFORMERS_OFFLINE="1",
    HF_HUB_DISABLE_TELEMETRY="1",
    TOKENIZERS_PARALLELISM="false",
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

import pytest  # noqa: E402
from hypothesis import HealthCheck, settings  # noqa: E402

_COMMON = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow, HealthCheck.function_scoped_fixture, HealthCheck.data_too_large]}
settings.register_profile("lab", max_examples=300, **_COMMON)
settings.register_profile("thorough", max_examples=3000, **_COMMON)
settings.load_profile("lab")


def pytest_sessionfinish() -> None:
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


@pytest.fixture(scope="session")
def session_home() -> Path:
    """The LAB_HOME that tests of one pytest process share where they do not care (LAB_HOME is set to it by default)."""
    return Path(_SESSION.name)
