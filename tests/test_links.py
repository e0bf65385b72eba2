"""A design as a link, and another method in place of a changed one: what is written is read again, what is no design is refused, what is dropped is named."""

from __future__ import annotations

import pytest

from lab.design.body.anatomy import anatomy
from lab.design.method.carrying import carried
from lab.design.method.delta import Method
from lab.design.method.named import load_method
from lab.design.method.rules import problems
from lab.design.plain.refusal import Refusal
from lab.design.presets.catalogue import names
from lab.design.spec.links import link_of, link_of_method, parts_of
from lab.design.spec.run import spec_of
from lab.models import resolve
from lab.ui.bench import copies, knobs
from lab.ui.present.views import walk

BODY = anatomy(resolve("minilm-l6").config)
DRAFT = {"model": "minilm-l6", "task": "sentiment-rt", "method": "lora", "training": {"steps": 150}, "seed": 0, "name": "", "tags": []}
CHANGED = {"deltas.0.rank": 16, "deltas.0.at": ["attn.q", "attn.k"], "deltas.0.layers": "0-2"}


@pytest.mark.parametrize("name", names("methods"))
def test_a_method_is_read_from_its_link(name):
    """As it is by its name alone, changed by what changed, and whole where its preset is none of the package's."""
    preset = load_method(name)
    assert link_of_method(preset) == {"method": name}
    changed = load_method(name, {"training.lr": 0.5})
    assert set(link_of_method(changed)) == {"method", "method.training.lr"}
    for method in (preset, changed, preset.model_copy(update={"preset": "of somebody", "name": 'a "name" & 1=2'})):
        assert Method.model_validate(parts_of(link_of_method(method))["method"]) == method


def test_a_whole_design_is_read_from_its_link():
    document = {
        "model": "123", "quantisation": "none", "task": "null", "further": ["a", "[b]"], "method": {"preset": "mam", "set": {"deltas.1.layers": "3"}},
        "training": {"steps": 5, "schedule": "cosine", "track": ["wandb"], "test": True}, "built_on": {"stand_on": ["run"]}, "seed": 3, "tags": ["1", "x & y", "标签"],
    }  # fmt: skip
    spec = spec_of({**document, "name": "true"})
    link = link_of(spec, "true")
    assert all(isinstance(text, str) for text in link.values()) and link["method"] == "mam"
    assert spec_of(parts_of(link)) == spec and parts_of({"model": "123"}) == {"model": "123"}
    assert link_of(spec_of(DRAFT)) == {"link": "1", "model": "minilm-l6", "task": "sentiment-rt", "method": "lora", "training.steps": "150"}


HOSTILE = [
    {"link": "2"}, {"sed": "1"}, {"design": "{}"}, {"method": "no-such"}, {"method": '{"deltas": 3}'}, {"method": "[]"}, {"method": "null"}, {"model": "[3]"},
    {"method": "lora", "method.deltas.0.rank": "0"}, {"method": "lora", "method.deltas.9.rank": "1"}, {"method": "lora", "method.__class__": "1"}, {"method.deltas.0.rank": "4"},
    {"training": "{}"}, {"training.steps": "-1"}, {"training.lr": "NaN"}, {"training.none": "1"}, {"model.name": "x"}, {"built_on.start_from": "[]"}, {"seed": "[1]"},
    {"tags": "[" * 9000}, {"name": "\x00"}, {"further": '[{"a": 1}]'}, {"task": "{}"}, {"model": "x" * 20_001}, {"": ""}, {"seed": 3}, ["method"], "method", 3,
]  # fmt: skip


@pytest.mark.parametrize("link", HOSTILE, ids=range(len(HOSTILE)))
def test_what_is_no_design_is_refused_in_one_sentence_and_nothing_is_lost(link):
    with pytest.raises(Refusal):
        parts_of(link)
    mine = {**DRAFT, "method": load_method("lora", CHANGED).document(), "name": "mine"}
    found = knobs.turn({"draft": {**mine, "link": link}, "seq": 1})
    assert found["refused"] and found["document"] == mine and found["errors"] == []
    assert set(walk({"link": link})) == {"wrong"}


def test_the_bench_opens_a_whole_design_exactly_and_takes_a_part_into_its_own():
    mine = {**DRAFT, "method": load_method("lora", CHANGED).document(), "training": {"steps": 7, "lr": 0.1}, "tags": ["mine"]}
    link = copies.link({"draft": mine})["link"]
    assert knobs.turn({"draft": mine, "seq": 1})["link"] == link
    opened = knobs.turn({"draft": {**DRAFT, "seed": 5, "name": "other", "further": ["x"], "link": link}, "seq": 1})
    assert opened["document"] == mine and opened["link"] == link and opened["refused"] == ""
    part = knobs.turn({"draft": {**mine, "link": {"method": "bitfit"}}, "seq": 1})["document"]
    assert part["training"] == mine["training"] and part["method"]["preset"] == "bitfit"
    assert knobs.turn({"draft": {**mine, "seed": -1}, "seq": 1})["link"] == {} and "Seed" in copies.link({"draft": {**mine, "seed": -1}})["wrong"]
    assert walk({"link": {name: text for name, text in link.items() if name.startswith("method")}})["link"].items() <= link.items()


@pytest.mark.parametrize("name", names("methods"))
def test_another_method_takes_what_has_a_meaning_and_names_the_rest(name):
    before, after = load_method("lora", CHANGED), load_method(name)
    found = carried(before, after, BODY)
    assert set(found.kept) | set(found.dropped) == {"rank", "at", "layers"} and not set(found.kept) & set(found.dropped)
    assert len(problems(found.method, BODY)) <= len(problems(after, BODY))
    assert found.method.training == after.training and found.method.preset == name
    taken = {option for delta in found.method.deltas for option in found.kept if getattr(delta, option) == getattr(before.deltas[0], option)}
    assert taken == set(found.kept)
    assert carried(load_method("lora"), after, BODY).method == after, "what nobody changed does not come along"


def test_the_bench_says_what_came_along_and_what_was_dropped():
    before = load_method("lora", {**CHANGED, "deltas.0.alpha": 4}).document()
    asked = {"draft": {**DRAFT, "method": "adapter-houlsby", "training": {"lr": 0.3}}, "before": before, "changed": "method", "seq": 1}
    found = knobs.turn(asked)
    assert found["document"]["method"]["deltas"][0]["rank"] == 16 and found["document"]["training"] == {"lr": 0.3} and found["modified"]
    assert found["exchange"] == "Your changes came along: modified representation, layers, rank. Dropped, as Houlsby adapter cannot take it: alpha."
    assert "已舍弃" in knobs.turn({**asked, "language": "zh"})["exchange"]
    asked = {**asked, "draft": {**DRAFT, "method": "full", "training": {"lr_ratio": 16, "lr": 0.3}, "quantisation": "nf4"}}
    found = knobs.turn(asked)
    assert found["exchange"].endswith("rank, alpha, LoRA+ ratio, quantisation.") and found["errors"] == []
    assert found["document"]["training"] == {"lr_ratio": None, "lr": 0.3} and found["document"]["quantisation"] == "none"
    assert "LoRA+ 比率" in knobs.turn({**asked, "language": "zh"})["exchange"]
    asked["draft"] = {**DRAFT, "method": "adapter-houlsby"}
    for nothing in (None, 3, {"deltas": 3}, load_method("lora").document()):
        same = knobs.turn({**asked, "before": nothing})
        assert same["exchange"] == "" and not same["modified"]


def test_empty_fields_say_what_a_run_would_take():
    hints = knobs.turn({"draft": {**DRAFT, "training": {}}, "seq": 1})["hints"]
    own = load_method("lora").training
    assert hints["training.lr"] == hints["training.head_lr"] == f"{own.lr:g}" and hints["training.epochs"] == "3" and int(hints["training.max_length"]) > 0
    assert knobs.turn({"draft": {**DRAFT, "training": {"lr": 0.25, "steps": 3}}, "seq": 1})["hints"]["training.head_lr"] == "0.25"
