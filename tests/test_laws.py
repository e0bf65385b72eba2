"""The laws over the whole registry, one of six architectures each (all of them with the slow ones; other families have theirs in test_architectures.py), and over free combinations made by Hypothesis."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from laws import OBJECTIVES, SIX, SMALL, check_laws, check_refusal_touches_nothing, fresh, snapshot
from spread import pairs

from lab.design.method.compositions import COMPOSITIONS, taken
from lab.design.method.delta import Method
from lab.design.method.forms import FORMS
from lab.design.method.insertions import INSERTIONS
from lab.design.method.insertions import taken as insertions_of
from lab.design.method.named import load_method
from lab.design.method.rules import problems
from lab.design.plain.options import validate
from lab.design.plain.refusal import Refusal
from lab.design.presets.catalogue import names
from lab.design.space import REPRESENTATIONS, SETS
from lab.engine import body_of

NO_BIASES = ("t5", "llama", "mistral", "qwen3", "gemma2", "gemma3", "phi3", "smollm3", "modernbert", "granite", "olmo2")


def refusal(preset: str, architecture: str) -> str:
    """Words of the refusal of a preset that an architecture cannot have, "" where it can."""
    if preset == "bitfit" and architecture in NO_BIASES:
        return "no biases"
    if preset == "head-only" and OBJECTIVES[architecture] != "classification":
        return "no new task head"
    if preset == "adapterfusion":  # its laws are in test_blocks.py, over adapters of runs
        return "choose two or more"
    if preset in ("oft", "boft", "hra") and architecture in ("phi3", "modernbert"):  # gate and up are one projection
        return "larger projection"
    if preset == "llama-adapter" and architecture == "deberta_v2":
        return "nothing can be added"
    return "OPT flattens the sequence" if architecture == "opt" and preset.startswith("unipelt") else ""


@pytest.mark.parametrize(
    ("preset", "architecture"), [*pairs(names("methods"), SIX, 1), *pairs(names("methods"), [name for name in OBJECTIVES if name not in SIX], 0)]
)
def test_laws_of_the_registry(preset: str, architecture: str) -> None:
    method = load_method(preset, SMALL.get(preset))
    reason = refusal(preset, architecture)
    if reason:
        model = fresh(architecture)
        assert reason in check_refusal_touches_nothing(model, architecture, method, snapshot(model))
        return
    check_laws(architecture, method)


def _delta() -> st.SearchStrategy[dict]:
    """Any delta that can be written down: most have no meaning, and must be refused."""
    optional = {
        "rank": st.integers(1, 9),
        "scale": st.sampled_from([1.0, 4.0, "learned"]),
        "scale_start": st.sampled_from([1.0, 0.0, 4.0]),
        "alpha": st.sampled_from([None, 8.0]),
        "rank_scaling": st.sampled_from(["lora", "rslora"]),
        "nonlinearity": st.sampled_from(["none", "relu", "gelu", "tanh", "softmax"]),
        "norm": st.sampled_from(["none", "in", "out"]),
        "dropout": st.sampled_from([0.0, 0.1]),
        "inner_dropout": st.sampled_from([0.0, 0.1]),
        "through_dropout": st.booleans(),
        "x": st.sampled_from(["auto", "normed", "residual", "projection"]),
        "stacks": st.sampled_from([None, ["encoder"], ["decoder"], ["cross"], ["decoder", "cross"]]),
        "layers": st.sampled_from(["all", "0", "-1", "0-1", "7"]),
        "biases": st.booleans(),
        "core": st.sampled_from(["none", "diagonal", "square"]),
        "factors": st.integers(1, 3),
        "tokens": st.sampled_from(["all", "f1+l1", "l2"]),
        "vectors": st.booleans(),
        "shared": st.booleans(),
        "encoder": st.sampled_from(["none", "mlp", "lstm"]),
        "encoder_width": st.just(7),
        "gate": st.sampled_from(["own", "shared"]),
        "gate_over": st.sampled_from(["tokens", "all"]),
        "positions": st.sampled_from(["keep", "shift", "auto"]),
        "token_positions": st.sampled_from(["own", "none"]),
        "trainable": st.sampled_from([None, ["B"], ["d", "b"], ["up"], ["keys"], ["nothing"]]),
        "schedule": st.sampled_from([None, {"name": "lamda"}, {"name": "adalora", "target_rank": 2}, {"name": "aflora"}]),
        "allocation": st.sampled_from([None, {"name": "energy", "rank_min": 1, "rank_max": 12}]),
    }
    inits = sorted({init for form in FORMS.values() for init in form.inits} - {"text"})

    @st.composite
    def build(draw) -> dict:
        form = FORMS[draw(st.sampled_from(sorted(FORMS)))]
        delta: dict = {"form": form.name}
        # half of the time a value that the form accepts, so that enough examples live
        fitting = draw(st.booleans())
        places = form.representations if fitting and form.representations else (*REPRESENTATIONS, *SETS)
        delta["at"] = draw(st.lists(st.sampled_from(sorted(places)), min_size=1, max_size=3, unique=True))
        if draw(st.booleans()):
            delta["insertion"] = draw(st.sampled_from(sorted(insertions_of(form) if fitting else INSERTIONS)))
        if draw(st.booleans()):
            delta["composition"] = draw(st.sampled_from(sorted(taken(form) if fitting else COMPOSITIONS)))
        if draw(st.booleans()):
            delta["init"] = draw(st.sampled_from(sorted(form.inits if fitting else inits)))
        for name in draw(st.lists(st.sampled_from(sorted(optional)), max_size=3 if fitting else 5, unique=True)):
            delta[name] = draw(optional[name])
        return delta

    return build()


METHODS = st.fixed_dictionaries(
    {"deltas": st.lists(_delta(), min_size=0, max_size=3)},
    optional={
        "select": st.sampled_from(
            [None, "bias", "norm", "all", {"what": "layers", "active": 1, "every": 2}, {"what": "layers", "active": 9}, {"what": "masked"}]
        )
    },
)


@settings(max_examples=settings().max_examples // 2, suppress_health_check=list(HealthCheck), deadline=None, print_blob=True)
@given(document=METHODS, architecture=st.sampled_from(sorted(SIX)))
def test_every_free_combination_obeys_the_laws_or_is_refused(document: dict, architecture: str) -> None:
    """Law 7: a combination either satisfies the laws or is refused before the model is touched. Nothing else may happen."""
    try:
        method = validate(Method, document)
    except Refusal as refusal:
        event("refused as options")
        assert str(refusal).endswith(".")
        return
    model = fresh(architecture)
    before = snapshot(model)
    found = problems(method, body_of(model))
    no_biases = method.select and method.select.what == "bias" and architecture in NO_BIASES
    if found or no_biases:
        event("refused by a rule")
        sentence = check_refusal_touches_nothing(model, architecture, method, before)
        assert no_biases or sentence == str(found[0])
        assert all(problem.field for problem in found)
        return
    event("obeys the laws")
    check_laws(architecture, method, steps=3)
