"""What nvidia-smi says, read in one place: slots, memory for a run, the plan's device."""

from __future__ import annotations

import pytest

from lab.planning import devices
from lab.runs import slots

SCRIPT = """#!/bin/sh
case "$1" in
  *index,memory*) echo "0, 81559, 4000"; echo "1, 81559, 70000"; echo "2, [N/A], [N/A]";;
  *index) echo 0; echo 1;;
  *) echo "81559, NVIDIA H100 80GB HBM3"; echo "[N/A], Unknown";;
esac
"""


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """Makes nvidia-smi a script, for caches that know nothing yet."""

    def make(script: str) -> None:
        (tmp_path / "nvidia-smi").write_text(script, encoding="utf-8")
        (tmp_path / "nvidia-smi").chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        monkeypatch.delenv("LAB_SLOTS", raising=False)

    for cached in (slots._indices, devices.accelerators):
        cached.cache_clear()
    yield make
    for cached in (slots._indices, devices.accelerators):
        cached.cache_clear()


def test_accelerators(machine, monkeypatch):
    machine(SCRIPT)
    assert slots.devices() == ["0", "1"] and slots.slots() == 2
    assert slots.memory() == (81559 * 2**20, 70000 * 2**20)
    assert devices.memory() == {"kind": "cuda", "name": "NVIDIA H100 80GB HBM3", "total_bytes": 81559 * 2**20, "free_bytes": None}
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    assert slots.memory() == (81559 * 2**20, 4000 * 2**20), "those that workers may not see do not count"


@pytest.mark.parametrize("script", ["#!/bin/sh\nexit 9\n", "#!/bin/sh\necho 'NVIDIA-SMI has failed, call your driver'\n", "no program"])
def test_a_driver_that_does_not_answer_is_none(machine, script):
    machine(script)
    assert slots.devices() == [] and slots.slots() == 1 and devices.memory()["kind"] == "cpu"
