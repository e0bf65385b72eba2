"""The benchmarks of tasks run as they are documented: every family in one command, and a decoder whose perplexity falls. Minutes each."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lab.tasks import FAMILIES

ROOT = Path(__file__).resolve().parents[1]
pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A lab with SmolLM2, fetched by the command that a user gives."""
    folder = tmp_path_factory.mktemp("benchmarks") / "home"
    done = ran("-m", "lab", "fetch", "smollm2-135m", home=folder)
    assert done.returncode == 0, done.stderr
    return folder


def ran(*command: str, home: Path) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, *command], cwd=ROOT, env={**os.environ, "LAB_HOME": str(home)}, capture_output=True, text=True, timeout=3000)


def test_every_family_in_one_command(home):
    done = ran("benchmarks/families.py", "--quick", "--json", home=home)
    assert done.returncode == 0, done.stderr[-3000:]
    rows = json.loads(done.stdout)
    assert {row["family"] for row in rows} == set(FAMILIES) and len(rows) == 10
    for row in rows:
        assert row["loss"][1] < row["loss"][0], row
        assert (
            row["metric"] in [metric.name for metric in FAMILIES[row["family"]].metrics]
            and set(row["metrics"]) >= {"loss", row["metric"]}
            and {"input", "prediction", "reference"} <= set(row["shown"])
        ), row
    assert not (home / "tasks").exists(), "what it imports stays out of the user's lab"


def test_lora_lowers_the_perplexity_of_smollm2(home, tmp_path):
    done = ran(
        "benchmarks/perplexity.py", "--methods", "lora", "--steps", "24", "--batch", "2", "--rows", "24", "--results", str(tmp_path / "found.json"), home=home
    )
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    zero, tuned = json.loads((tmp_path / "found.json").read_text(encoding="utf-8")).values()
    assert tuned["start"] == pytest.approx(zero["perplexity"], rel=1e-4), "LoRA changes nothing before its first step"
    assert tuned["perplexity"] < 0.97 * zero["perplexity"]
