"""Laws over compositions, insertion forms, schedules and selections: what one file says is known everywhere."""

from __future__ import annotations

import pytest
import torch
from laws import SIX, batch_of, check_laws, fresh, inventory, shake
from spread import pairs

from lab.design.body.anatomy import anatomy
from lab.design.figure.equation import latex
from lab.design.figure.figure import figure
from lab.design.method.compositions import COMPOSITIONS, taken
from lab.design.method.count import count_on
from lab.design.method.delta import Delta, Method
from lab.design.method.forms import FORMS
from lab.design.method.insertions import INSERTIONS
from lab.design.method.insertions import taken as insertions_of
from lab.design.method.named import load_method
from lab.design.method.rules import problems
from lab.design.method.schedules import SCHEDULES
from lab.design.method.selections import SELECTIONS
from lab.design.method.settling import with_composition
from lab.design.plain.options import validate
from lab.design.plain.refusal import Refusal
from lab.design.presets.catalogue import names
from lab.engine import attach
from lab.engine.schedules import Schedule, of_delta
from lab.export import formats
from lab.ui.bench.schema import schema

PAIRS = [(name, composition) for name, form in FORMS.items() if not form.over_frozen for composition in taken(form)]  # over runs: test_blocks.py


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
    assert line.startswith("e \\leftarrow " if FORMS[form].before_input else "h \\leftarrow ")
    drawn = figure(method, body)
    assert ('class="knob"' in drawn) == (FORMS[form].mixed(delta) and not FORMS[form].before_input)
    mark = one.mark(delta)
    assert mark is None or f">{mark.letter}</text>" in drawn
    extra = one.parts(delta, body.sites(delta)[0])
    sites = body.sites(delta)
    plain = next((name for name in taken(FORMS[form]) if not COMPOSITIONS[name].parts(delta, sites[0])), "")
    without = (
        count_on(method_of(form, plain), body, inventory("bert")).trainable if plain else len(sites) * sum(p.size for p in FORMS[form].parts(delta, sites[0]))
    )
    more = count_on(method, body, inventory("bert")).trainable - without
    assert more == sum(part.size for part in extra) * (1 if FORMS[form].before_input else len(body.sites(delta)))
    answers = {each["format"]: each["refusal"] for each in formats({"model": "minilm-l6", "task": "sentiment-rt", "method": method.document()})}
    assert answers["lab"] == answers["config"] == ""
    assert bool(answers["merged"]) == (bool(one.unmerged) or not FORMS[form].mergeable(delta))
    assert one.peft_types or answers["peft"]


LINEAR = [name for name in COMPOSITIONS if "lowrank" in COMPOSITIONS[name].forms or name in FORMS["lowrank"].compositions]


@pytest.mark.parametrize(("composition", "architecture"), pairs(LINEAR, SIX, 2))
def test_every_composition_of_a_linear_change_obeys_the_laws(composition: str, architecture: str) -> None:
    check_laws(architecture, method_of("lowrank", composition))


@pytest.mark.parametrize(("insertion", "architecture"), pairs(INSERTIONS, SIX, 3))
def test_every_insertion_of_a_linear_change_obeys_the_laws(insertion: str, architecture: str) -> None:
    """With a second delta beside the same projections, so that the order in which they merge counts."""
    at = ["attn.qkv", "ffn.down"] if architecture == "gpt2" else ["attn.q", "ffn.down"]
    deltas = [{"at": at, "form": "lowrank", "rank": 3, "init": "normal"}, {"at": [*at, "attn.out"], "form": "lowrank", "insertion": insertion, "rank": 4}]
    check_laws(architecture, validate(Method, {"deltas": deltas}))


@pytest.mark.parametrize("composition", ["add", "dora"])
def test_what_changes_a_projections_input_is_merged_after_what_stands_beside_it(composition: str) -> None:
    """Whichever comes first in the method: the delta beside ffn.down reads the rescaled activation."""
    deltas = [{"at": ["ffn.act"], "form": "scale"}, {"at": ["ffn.down"], "form": "lowrank", "rank": 3, "composition": composition}]
    for order in (deltas, deltas[::-1]):
        check_laws("bert", validate(Method, {"deltas": order}))


@pytest.mark.parametrize("form", [name for name in FORMS if "input" in insertions_of(FORMS[name])])
def test_a_change_of_the_input_is_what_the_projection_reads(form: str) -> None:
    """x ← x + Δ(x) at one projection alone: its neighbours read the plain x, and a slice of a fused one has no input of its own."""
    model = fresh("bert")
    delta = {"at": ["attn.q"], "form": form, "insertion": "input", "layers": "0", **({"rank": 4} if FORMS[form].has_rank else {})}
    attached = attach(model, validate(Method, {"deltas": [delta]}))
    shake(attached)
    (module,) = attached.deltas.values()
    layer = attached.binder.layer("encoder", 0)
    seen = {}
    for what in ("q", "k"):
        layer.find("attn", what).module.register_forward_hook(lambda module, args, output, what=what: seen.update({what: args[0]}))
    with torch.no_grad():
        model.eval()(**batch_of("bert"))
        assert torch.allclose(seen["q"], module.composition.join(module, seen["k"], seen["k"]), atol=1e-6) and (seen["q"] - seen["k"]).abs().max() > 1e-3
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


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_schedule_says_what_it_does_and_has_an_engine(name: str) -> None:
    """What freezes at the end is drawn as cooling and counted; a delta of another form is refused at its schedule."""
    kind = SCHEDULES[name]
    body = anatomy(fresh("bert").config.to_dict())
    method = next(
        method for method in map(load_method, names("methods")) if method.deltas and method.deltas[0].schedule and method.deltas[0].schedule.name == name
    )
    (delta,) = method.deltas
    schedule = delta.schedule
    assert kind.label and kind.label_zh and issubclass(of_delta(schedule), Schedule)
    for part in ("A", "B"):
        cooling = kind.freezes and any(schedule.trains(delta, site, part) for site in body.sites(delta)) and not schedule.trains_at_the_end(part)
        assert (schedule.look(part) == "cooling") == cooling
    counted = count_on(
        method.model_copy(update={"deltas": [delta.model_copy(update={"rank": min(delta.rank, 16), "allocation": None})]}), body, inventory("bert")
    )
    assert counted.final < counted.trainable
    assert figure(method, body) != figure(method.model_copy(update={"deltas": [delta.model_copy(update={"schedule": None, "allocation": None})]}), body)
    other = validate(Method, {"deltas": [{"at": ["ffn.out"], "form": "bottleneck", "schedule": schedule.model_dump()}]})
    assert "deltas.0.schedule" in [problem.field for problem in problems(other)]


@pytest.mark.parametrize("what", SELECTIONS)
def test_a_selection_says_what_it_trains(what: str) -> None:
    """On pages and in counts; beside deltas where it may stand there."""
    body = anatomy(fresh("bert").config.to_dict())
    method = validate(Method, {"select": {"what": what}})
    assert not problems(method, body) and len(latex(method, body)) == 1
    counted = count_on(method, body, inventory("bert"))
    assert counted.by_delta == {SELECTIONS[what].counted: counted.trainable}
    assert bool(counted.trainable) == (not method.select.head_alone)
    both = validate(Method, {"select": {"what": what}, "deltas": [{"at": ["attn.q"], "form": "lowrank"}]})
    assert bool(problems(both)) == (not SELECTIONS[what].beside_deltas)
    answers = {each["format"]: each["refusal"] for each in formats({"model": "minilm-l6", "task": "sentiment-rt", "method": method.document()})}
    assert answers["lab"] == "" and bool(answers["peft"]) == (not SELECTIONS[what].peft_type)
