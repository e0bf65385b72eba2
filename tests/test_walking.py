"""Walking the space: every step has a meaning, moves along one dimension, can be shown, and the way back is there."""

from __future__ import annotations

import pytest

from lab.design.body.anatomy import anatomy
from lab.design.method import walking
from lab.design.method.count import count_on
from lab.design.method.fusing import fusions
from lab.design.method.named import load_method
from lab.design.method.rules import problems
from lab.design.presets.catalogue import names
from lab.models import resolve
from lab.ui.present.views import walk

MODEL = resolve("minilm-l6")
BODY = anatomy(MODEL.config)
WITH_DELTAS = list(
    {
        tuple((delta.form, delta.composition) for delta in load_method(name).deltas): name
        for name in names("methods")
        if load_method(name).deltas and not fusions(load_method(name))
    }.values()
)[::2]  # every second kind of point


@pytest.mark.parametrize("name", WITH_DELTAS)
def test_every_step_has_a_meaning(name):
    method = load_method(name)
    for index in range(len(method.deltas)):
        for dimension in walking.DIMENSIONS:
            found = walking.steps(method, index, dimension, BODY)
            own = walking.place(method.deltas[index], dimension)
            assert [step.value for step in found].count(own) == 1, (dimension, own)
            for step in found:
                assert step.value == own or not problems(step.method, BODY), (dimension, step.value)
                assert walking.place(step.method.deltas[index], dimension) == step.value
                assert all(step.method.deltas[other] == method.deltas[other] for other in range(len(method.deltas)) if other != index)
                if dimension != "form":
                    kept = [one for one in walking.DIMENSIONS if one != dimension]
                    assert [walking.place(step.method.deltas[index], one) for one in kept] == [walking.place(method.deltas[index], one) for one in kept]
                assert step.value == own or count_on(step.method, BODY, MODEL.inventory).trainable >= 0


def test_there_and_back():
    method = load_method("lora")
    there = next(step for step in walking.steps(method, 0, "insertion", BODY) if step.value == "sequential").method
    back = next(step for step in walking.steps(there, 0, "insertion", BODY) if step.value == "parallel").method
    assert back.deltas == method.deltas and walking.named(back).name == method.name


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_stage_shows_every_preset_and_refuses_in_one_sentence(language):
    for name in names("methods"):
        found = walk({"method": name, "language": language})
        assert found["name"] and found["figure"].startswith("<svg") and found["equation"].startswith("$$") and found["count"], name
        assert len(found["dimensions"]) == (4 if load_method(name).deltas else 0)
    for wrong in ({"method": "no-such"}, {"method": {"deltas": [{"form": "nothing"}]}}, {"method": "lora", "model": "../etc"}, {"method": {"deltas": 3}}):
        assert set(walk({**wrong, "language": language})) == {"wrong"}
    assert walk(None)["name"] and walk({"method": "mam", "delta": 99})["delta"] == 0
