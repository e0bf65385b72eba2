"""Laws over all compositions and insertion forms: what one file says is known everywhere, and one more file is found."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from laws import SIX, batch_of, check_laws, fresh, inventory, shake

from lab.design.body.anatomy import anatomy
from lab.design.figure.equation import latex
from lab.design.figure.figure import figure
from lab.design.method.compositions import COMPOSITIONS, taken
from lab.design.method.count import count_on
from lab.design.method.delta import Delta, Method
from lab.design.method.forms import FORMS
from lab.design.method.insertions import INSERTIONS
from lab.design.method.insertions import taken as insertions_of
from lab.design.method.rules import problems
from lab.design.method.settling import with_composition
from lab.design.plain.options import validate
from lab.design.plain.refusal import Refusal
from lab.engine import attach
from lab.export import formats
from lab.ui.bench.schema import schema

ROOT = Path(__file__).resolve().parents[1]
PAIRS = [(form, composition) for form in FORMS for composition in taken(FORMS[form])]


def method_of(form: str, composition: str) -> Method:
    """One delta of a form, with a composition, where it fits."""
    kind = FORMS[form]
    at = list(kind.representations) or ["attn.v"]
    return validate(Method, {"deltas": [with_composition({"at": at, "form": form, **({"rank": 4} if kind.has_rank else {}), **kind.defaults}, composition)]})


@pytest.mark.parametrize(("form", "composition"), PAIRS)
def test_a_composition_has_an_equation_a_figure_a_count_and_an_export(form: str, composition: str) -> None:
    body = anatomy(fresh("bert").config.to_dict())
    method = method_of(form, composition)
    (delta,) = method.deltas
    if delta.form == "slots" and not FORMS[form].mixed(delta):
        method = validate(Method, {"deltas": [{**delta.model_dump(), "nonlinearity": "relu"}]})
    assert not problems(method, body)
    one = COMPOSITIONS[composition]
    (line,) = latex(method, body)
    assert line.startswith("h \\leftarrow ")
    drawn = figure(method, body)
    assert ('class="knob"' in drawn) == (FORMS[form].mixed(delta) and not FORMS[form].before_input)
    mark = one.mark(delta)
    assert mark is None or f">{mark.letter}</text>" in drawn
    extra = one.parts(delta, body.sites(delta)[0])
    plain = method_of(form, next(name for name in taken(FORMS[form]) if not COMPOSITIONS[name].parts(delta, body.sites(delta)[0])))
    more = count_on(method, body, inventory("bert")).trainable - count_on(plain, body, inventory("bert")).trainable
    assert more == sum(part.size for part in extra) * (1 if FORMS[form].before_input else len(body.sites(delta)))
    answers = {each["format"]: each["refusal"] for each in formats({"model": "minilm-l6", "task": "sentiment-rt", "method": method.document()})}
    assert answers["lab"] == answers["config"] == ""
    assert bool(answers["merged"]) == (bool(one.unmerged) or not FORMS[form].mergeable(delta))
    assert one.peft_types or answers["peft"]


@pytest.mark.parametrize("architecture", SIX)
@pytest.mark.parametrize("composition", [name for name in COMPOSITIONS if name not in ("gated", "rescale")])
def test_every_composition_of_a_linear_change_obeys_the_laws(composition: str, architecture: str) -> None:
    check_laws(architecture, method_of("lowrank", composition))


@pytest.mark.parametrize("architecture", SIX)
@pytest.mark.parametrize("insertion", INSERTIONS)
def test_every_insertion_of_a_linear_change_obeys_the_laws(insertion: str, architecture: str) -> None:
    """With a second delta beside the same projections, so that the order in which they merge counts."""
    at = ["attn.qkv", "ffn.down"] if architecture == "gpt2" else ["attn.q", "ffn.down"]
    deltas = [{"at": at, "form": "lowrank", "rank": 3, "init": "normal"}, {"at": [*at, "attn.out"], "form": "lowrank", "insertion": insertion, "rank": 4}]
    check_laws(architecture, validate(Method, {"deltas": deltas}))


@pytest.mark.parametrize("form", [name for name in FORMS if "input" in insertions_of(FORMS[name])])
def test_a_change_of_the_input_is_what_the_projection_reads(form: str) -> None:
    """x ← x + Δ(x) at one projection alone: its neighbours read the plain x, and a slice of a fused one has no input of its own."""
    model = fresh("bert")
    delta = {"at": ["attn.q"], "form": form, "insertion": "input", "rank": 4, "layers": "0"}
    attached = attach(model, validate(Method, {"deltas": [delta]}))
    shake(attached)
    (module,) = attached.deltas.values()
    layer = attached.binder.layer("encoder", 0)
    seen = {}
    for what in ("q", "k"):
        layer.find("attn", what).module.register_forward_hook(lambda module, args, output, what=what: seen.update({what: args[0]}))
    with torch.no_grad():
        model.eval()(**batch_of("bert"))
        assert torch.allclose(seen["q"], seen["k"] + module.change(seen["k"]), atol=1e-6) and (seen["q"] - seen["k"]).abs().max() > 1e-3
    with pytest.raises(Refusal, match="larger projection"):
        attach(fresh("gpt2"), validate(Method, {"deltas": [delta]}))


def test_every_option_belongs_to_the_delta_and_has_a_sentence_elsewhere() -> None:
    for one in COMPOSITIONS.values():
        assert set(one.options) | set(one.elsewhere) <= set(Delta.model_fields)
        assert set(one.elsewhere) <= set(one.options)
        assert one.label and one.label_zh and one.help and one.help_zh


def test_the_page_knows_every_composition() -> None:
    known = schema("zh")
    assert list(known["compositions"]) == list(known["words"]["composition"]) == list(COMPOSITIONS)
    assert next(field for field in known["delta"] if field["path"] == "composition")["choices"] == tuple(COMPOSITIONS)


NEW = '''
from lab.design.method.compositions.base import Composition


class Halved(Composition):
    name = "halved"
    label, label_zh = "halved", "减半"
    help, help_zh = "h/2 + Δh", "h 减半后相加"
    latex = "\\\\tfrac{h}{2} + \\\\Delta h"
    forms = ("bottleneck", "lowrank")
    unmerged = "halves h"

    def join(self, module, h, x):
        return h / 2 + module.change(x).to(h.dtype)
'''
ASKED = '''
import torch
from tiny import tiny, tiny_batch
from lab.design.figure.equation import latex
from lab.design.figure.figure import figure
from lab.design.method.named import load_method
from lab.design.method.rules import problems
from lab.engine import attach
from lab.export import formats
from lab.ui.bench.schema import schema

method = load_method("lora", {"deltas.0.composition": "halved", "deltas.0.alpha": None})
assert not problems(method) and "\\\\tfrac{h}{2}" in latex(method)[0] and "<svg" in figure(method)
assert problems(load_method("ia3", {"deltas.0.composition": "halved"}))
known = schema()
assert "halved" in known["compositions"] and "halved" in known["forms"]["lowrank"]["compositions"] and "halved" not in known["forms"]["bias"]["compositions"]
answers = {each["format"]: each["refusal"] for each in formats({"model": "minilm-l6", "task": "sentiment-rt", "method": method.document()})}
assert not answers["lab"] and answers["peft"] and answers["merged"], answers
model = tiny("bert", "classification").eval()
batch = tiny_batch(model)
plain = model(**batch).logits
attached = attach(model, method)
assert attached.count()["trainable"] and (model(**batch).logits - plain).abs().max() > 1e-4
'''


def test_a_new_composition_is_one_file(tmp_path: Path) -> None:
    """In a copy of the lab with one file more, everything knows it."""
    for folder in ("lab", "presets"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "lab" / "design" / "method" / "compositions" / "halved.py").write_text(NEW, encoding="utf-8")
    path = os.pathsep.join((str(tmp_path), str(ROOT / "tests")))
    asked = subprocess.run([sys.executable, "-c", ASKED], cwd=tmp_path, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True)
    assert asked.returncode == 0, asked.stderr[-2000:]
