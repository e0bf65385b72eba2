"""The docs say what the code does: the examples run, and the page of methods is current."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest
import yaml
from laws import check_laws

from lab.design import reference
from lab.design.method import forms
from lab.design.method.delta import Method
from lab.design.method.forms import FORMS
from lab.design.plain.options import validate
from lab.design.presets.catalogue import names

DOCS = Path(__file__).resolve().parents[1] / "docs"


def example(language: str) -> str:
    return re.search(rf"```{language}\n(.*?)```", (DOCS / "extending.md").read_text(encoding="utf-8"), re.DOTALL)[1]


def test_the_page_of_methods_is_current() -> None:
    assert reference.main(["--check"]) == 0, "run: python -m lab.design.reference"


def test_the_page_of_fidelity_is_current() -> None:
    """It is that of the presets and of benchmarks/fidelity.json, whose comparisons are all of presets and within bounds."""
    spec = importlib.util.spec_from_file_location("fidelity", DOCS.parent / "benchmarks" / "fidelity.py")
    fidelity = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(fidelity)
    assert fidelity.main(["--check"]) == 0, "run: python benchmarks/fidelity.py --page"
    rows = fidelity.kept()["comparisons"]
    assert rows and {row["method"] for row in rows} <= set(names("methods")) and all(0 <= row["error"] <= 1e-4 for row in rows)
    assert {row["against"].split()[0] for row in rows} >= {"peft"}


@pytest.mark.parametrize("architecture", ["bert", "bart", "llama"])
def test_the_example_of_a_method_obeys_the_laws(architecture: str) -> None:
    check_laws(architecture, validate(Method, yaml.safe_load(example("yaml"))))


@pytest.mark.parametrize("architecture", ["bert", "gpt2", "llama"])
def test_the_example_of_a_form_obeys_the_laws(architecture: str, monkeypatch: pytest.MonkeyPatch) -> None:
    space: dict = {}
    exec(example("python"), space)  # noqa: S102 (our own page)
    monkeypatch.setitem(FORMS, "kronecker", space["Kronecker"]())
    assert forms.FORMS is FORMS
    delta = {"at": ["attn.q", "attn.v", "ffn.down"], "form": "kronecker", "scale": 2.0}
    check_laws(architecture, validate(Method, {"deltas": [delta]}))
