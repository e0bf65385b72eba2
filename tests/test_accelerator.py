"""The report on an accelerator, and `doctor`: on this machine's processor, what they find and that they find what is broken."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))

from accelerated import laws, memory, report  # noqa: E402
from accelerated.device import build  # noqa: E402

from lab import doctor  # noqa: E402
from lab.cli import main  # noqa: E402
from lab.design.plain.refusal import Refusal  # noqa: E402
from lab.engine.delta import DeltaModule  # noqa: E402


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("LAB_HOME", str(tmp_path / "home"))


def test_doctor_says_what_this_machine_is(capsys):
    assert main(["doctor", "--device", "cpu", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["device"]["kind"] == "cpu" and found["precision"]["bf16"] == "fp32" and found["versions"]["torch"] == torch.__version__
    assert found["home"]["free_bytes"] > 0 and found["slots"] >= 0 and all(sentence.endswith(".") for sentence in (*found["notes"], *found["missing"]))
    assert main(["doctor", "--device", "cpu"]) == 0
    assert "fp32" in capsys.readouterr().out
    assert main(["doctor", "--device", "tpu"]) == 2
    assert "tpu" in capsys.readouterr().err


def test_doctor_names_what_is_missing(monkeypatch):
    real = doctor._version
    monkeypatch.setattr(doctor, "_version", lambda name: None if name in ("gradio", "ray") else real(name))
    found = doctor.diagnosis("cpu")["missing"]
    assert any(line.startswith("gradio ") and "requirements.txt" in line for line in found) and any(line.startswith("ray ") for line in found)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has one")
def test_a_device_that_is_not_there_is_refused():
    with pytest.raises(Refusal, match="no cuda device"):
        doctor.diagnosis("cuda")


@pytest.mark.parametrize(("preset", "body"), [("lora", "bert"), ("mam", "bart"), ("prompt-tuning", "llama"), ("head-only", "llama"), ("olora", "t5")])
def test_laws_hold_on_this_device(preset: str, body: str):
    row = laws.law(preset, body, "cpu")
    assert row["problems"] == []
    assert ("refused" in row) == (preset == "head-only")


def change_wrongly(monkeypatch: pytest.MonkeyPatch, factor: Callable[[DeltaModule], float]) -> None:
    """Have every delta change h by so many times what it should, whatever its composition."""
    real = DeltaModule._changed

    def wrong(self, h, *given):
        new, times = real(self, h, *given), factor(self)
        return new if times == 1 else h + times * (new - h)

    monkeypatch.setattr(DeltaModule, "_changed", wrong)


def test_laws_find_a_device_that_computes_something_else(monkeypatch):
    seen: dict = {}  # the model on the CPU comes first; of each site, the second delta is the device's
    change_wrongly(monkeypatch, lambda delta: 1.0 if seen.setdefault(delta.key, delta) is delta else 1.01)
    assert any(problem.startswith("forward") for problem in laws.law("lora", "bert", "cpu")["problems"])


def test_half_precision_is_held_against_what_rounding_the_weights_does(monkeypatch):
    """A case that any rounding moves far has a wide bound; where little moves, a wrong change in half precision is found."""
    assert laws.law("olora", "t5", "cpu")["rounding"] > max(laws.BF16, 5 * laws.law("lora", "bert", "cpu")["rounding"])
    change_wrongly(monkeypatch, lambda delta: 1.5 if torch.is_autocast_enabled("cpu") else 1.0)
    assert [problem.partition(":")[0] for problem in laws.law("lora", "bert", "cpu")["problems"]] == ["bf16"]


def test_a_plan_stands_beside_what_a_step_takes():
    model, objective = build("minilm-l6", "cpu")
    kinds = {name: (p.dtype, p.requires_grad) for name, p in model.named_parameters()}
    row = memory.row(model, "minilm-l6", objective, "lora", {}, "cpu", "float32", 2, 16, 1)
    assert row["meter"] == pytest.approx(row["plan"], rel=0.005)
    assert kinds == {name: (p.dtype, p.requires_grad) for name, p in model.named_parameters()}, "the next method finds the model as it was"
    document = {"rows": [row, {"model": "m", "method": "full", "batch": 1, "failed": "out of memory"}], "whole": False, "seconds": 1}
    found = {"device": "cpu", "machine": doctor.diagnosis("cpu"), "began": "today", "minutes": 1.0, "parts": {"memory": document}}
    page = report.page(found)
    assert "Not yet run on an accelerator" in page and "1.000" in page and "out of memory" in page and "ended after 2 rows" in page
