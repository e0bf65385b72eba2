"""Looking inside: measures agree with their definitions, a look changes nothing, and what it tells is what the model does."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from laws import SMALL, shake
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support
from tiny import tiny, tiny_batch, tiny_tokenizer

from lab.design.method.fusing import fusions
from lab.design.method.named import load_method
from lab.design.presets.catalogue import names
from lab.engine import attach, merge
from lab.engine.looking import nothing
from lab.inside import rows, states, weights

DATA_DRIVEN = ("eva", "corda", "lora-ga", "fish-mask")  # their starts read rows
PRESETS = [name for name in names("methods") if name not in DATA_DRIVEN and not fusions(load_method(name))]


def small(name: str):
    return load_method(name, SMALL.get(name, {}))


def attached_to(architecture: str, name: str, objective: str = "classification", shaken: bool = True):
    model = tiny(architecture, objective).eval()
    attached = attach(model, small(name), seed=1, look=nothing)
    if shaken:
        shake(attached)
    return model, attached


# -- weights -------------------------------------------------------------------------------------------------------------------------


def test_a_spectrum_is_its_definition():
    torch.manual_seed(0)
    before, change = torch.randn(24, 16), torch.randn(24, 3) @ torch.randn(3, 16) * 0.1
    found = weights.spectrum(before, before + change)
    u, s, v = np.linalg.svd(before.double().numpy(), full_matrices=False)
    d = change.double().numpy()
    own = np.linalg.svd(d, compute_uv=False)
    share = own / own.sum()
    share = share[share > 1e-9]
    assert found["relative"] == pytest.approx(np.linalg.norm(d) / np.linalg.norm(before.numpy()), rel=1e-4)
    assert found["effective_rank"] == pytest.approx(np.exp(-(share * np.log(share)).sum()), rel=1e-3) and 1 <= found["effective_rank"] <= 3.01
    assert found["stable_rank"] == pytest.approx((own**2).sum() / own[0] ** 2, rel=1e-4)
    assert found["alignment"] == pytest.approx(np.linalg.norm(u[:, :10].T @ d @ v[:10].T) / np.linalg.norm(d), rel=1e-3)
    assert found["values"][:3] == pytest.approx(own[:3].tolist(), rel=1e-3) and found["values_weight"] == pytest.approx(s.tolist(), rel=1e-3)


def test_alignment_and_intruders_at_their_ends():
    torch.manual_seed(0)
    before = torch.randn(40, 40)
    u, s, vh = torch.linalg.svd(before)
    along = weights.spectrum(before, before + u[:, :4] @ torch.diag(s[:4]) @ vh[:4] * 0.3)
    assert along["alignment"] == pytest.approx(1, abs=1e-4) and along["intruders"] == 0  # the model's own directions, stronger
    new = torch.randn(40, 1) @ torch.randn(1, 40)
    assert weights.spectrum(before, before + 20 * new / new.norm())["intruders"] == 1  # one direction like none of the model's, above all others


@pytest.mark.parametrize("name", PRESETS)
def test_a_look_leaves_the_model_as_it_was(name):
    model, attached = attached_to("bert", name)
    batch = {key: value for key, value in tiny_batch(model).items() if key != "labels"}
    with torch.no_grad():
        before = model(**batch).logits
    state = attached.state_dict()
    found, notes = weights.spectra(attached)
    same = states.similarities(attached, [batch])
    states.slot_masses(attached, batch)
    json.dumps([found, same, states.readings(attached, batch)], allow_nan=True)
    with torch.no_grad():
        assert torch.equal(before, model(**batch).logits)
    assert all(torch.equal(tensor, state[key]) for key, tensor in attached.state_dict().items())
    linear = [delta for delta in attached.deltas.values() if not merge.why_not(delta, attached.binder)]
    assert found or not linear or not any(delta.form.matrix(delta.parts()) for delta in linear)
    assert bool(notes) == (len(linear) < len(attached.deltas))
    assert all(one["cka"] <= 1 + 1e-9 for one in same)


@pytest.mark.parametrize(
    ("architecture", "name"), [("bert", "lora"), ("gpt2", "lora"), ("bart", "lora"), ("bert", "pissa"), ("bert", "dora"), ("bert", "full")]
)
def test_the_change_of_a_weight_is_what_merging_makes_of_it(architecture, name):
    objective = {"gpt2": "causal", "bart": "seq2seq"}.get(architecture, "classification")
    model, attached = attached_to(architecture, name, objective)
    places = {(stack, layer, what): located for stack, layer, what, located in weights.projections(attached)}
    with attached.disabled():
        before = {place: located.weight().detach().clone() for place, located in places.items()}
    found, _ = weights.spectra(attached)
    attached.merge()
    changed = {place: float((located.weight() - before[place]).norm() / before[place].norm()) for place, located in places.items()}
    told = {(one["stack"], one["layer"], one["representation"]): one["relative"] for one in found}
    assert told and all(told.get(place, 0.0) == pytest.approx(size, rel=1e-3, abs=1e-6) for place, size in changed.items())


# -- layers --------------------------------------------------------------------------------------------------------------------------


def test_cka_is_hsic_and_blind_to_rotation_and_scale():
    torch.manual_seed(0)
    x, y = torch.randn(50, 8).double(), torch.randn(50, 5).double()
    centre = torch.eye(50).double() - 1 / 50
    k, m = centre @ (x @ x.T) @ centre, centre @ (y @ y.T) @ centre
    assert states.cka(x, y) == pytest.approx(float((k * m).sum() / (k.norm() * m.norm())), rel=1e-9)
    turned = torch.linalg.qr(torch.randn(8, 8).double())[0]
    assert states.cka(x, 3 * x @ turned + 1) == pytest.approx(1, abs=1e-9)
    assert np.isnan(states.cka(x, torch.ones(50, 3)))


@pytest.mark.parametrize(("architecture", "objective"), [("bert", "classification"), ("gpt2", "causal"), ("bart", "seq2seq"), ("t5", "seq2seq")])
def test_layers_are_alike_until_something_is_learned(architecture, objective):
    model, attached = attached_to(architecture, "lora", objective, shaken=False)
    batch = {key: value for key, value in tiny_batch(model).items() if key != "labels" or objective == "seq2seq"}
    before = states.similarities(attached, [batch])
    assert before and all(one["cka"] == pytest.approx(1, abs=1e-6) for one in before)
    shake(attached)
    after = states.similarities(attached, [batch])
    assert after[0]["cka"] == pytest.approx(1, abs=1e-6) and after[-1]["cka"] < 1 - 1e-4  # what enters the layers is nobody's change


def test_layers_of_a_prompt_are_those_of_the_text():
    model, attached = attached_to("bert", "prompt-tuning")
    batch = {key: value for key, value in tiny_batch(model).items() if key != "labels"}
    found = states.states(model, batch)["layers"]
    assert {len(layer) for layer in found} == {int(batch["attention_mask"].sum())}


@pytest.mark.parametrize("architecture", ["bert", "gpt2"])
def test_masses_of_heads_are_those_of_the_readings(architecture):
    model, attached = attached_to(architecture, "prefix-tuning", "causal" if architecture == "gpt2" else "classification")
    batch = {key: value for key, value in tiny_batch(model).items() if key != "labels"}
    found = {f"lambda/{one['stack']}.{one['layer']}.attn.heads": one for one in states.slot_masses(attached, batch)}
    told = {name: value for name, value in states.readings(attached, batch).items() if name.startswith("lambda/")}
    assert set(found) == set(told)
    assert all(one["mean"] == pytest.approx(told[name], rel=1e-5) and len(one["heads"]) == model.config.num_attention_heads for name, one in found.items())


@pytest.mark.parametrize("architecture", ["gpt2", "llama"])
def test_the_lens_ends_with_what_the_model_says(architecture):
    model, attached = attached_to(architecture, "lora", "causal")
    batch = {key: value for key, value in tiny_batch(model).items() if key != "labels"}
    tokenizer = tiny_tokenizer()
    found = states.lens(attached, tokenizer, batch)
    assert found is not None and len(found["on"]) == len(found["off"]) == model.config.num_hidden_layers + 1
    last = int(batch["attention_mask"][0].nonzero()[-1])
    with torch.no_grad():
        logits = model(**{key: value[:1, : last + 1] for key, value in batch.items()}).logits[0, -1].softmax(-1)
    assert [chance for _, chance in found["on"][-1]] == pytest.approx(logits.topk(5).values.tolist(), rel=1e-4)
    assert found["on"][-1] != found["off"][-1] and states.lens(attached_to("bert", "lora")[1], tokenizer, batch) is None


# -- answers -------------------------------------------------------------------------------------------------------------------------


def answers(seed: int, size: int = 200, labels: int = 3) -> dict[str, np.ndarray]:
    chance = np.random.default_rng(seed)
    right = np.random.default_rng(0).integers(0, labels, size)
    given = np.where(chance.random(size) < 0.6, right, chance.integers(0, labels, size))
    score = np.log(chance.uniform(0.34, 1, size))
    loss = np.where(given == right, -score, chance.uniform(1, 3, size))
    return {"row": np.arange(size), "prediction": given, "reference": right, "score": score, "loss": loss, "tokens": np.ones(size)}


def test_confusion_is_scikit_learns():
    found, labels = answers(1), ("a", "b", "c")
    told = rows.confusion(found, labels)
    assert told["counts"] == confusion_matrix(found["reference"], found["prediction"]).tolist()
    wanted = precision_recall_fscore_support(found["reference"], found["prediction"])
    for place, one in enumerate(told["classes"]):
        assert (one["precision"], one["recall"], one["f1"], one["rows"]) == pytest.approx(tuple(part[place] for part in wanted))


def test_a_class_that_nothing_is_has_no_recall():
    found = {key: value[:1] for key, value in answers(1).items()}
    assert [one["recall"] is None for one in rows.confusion(found, ("a", "b", "c"))["classes"]].count(True) == 2


def test_lists_begin_with_their_worst():
    found = answers(1)
    lists = rows.worth_reading(found)
    assert found["loss"][lists["worst"][0]] == found["loss"].max() and found["score"][lists["least_certain"][0]] == found["score"].min()


def test_disagreements_add_up():
    one, other = answers(1), answers(2)
    part = {key: value[20:] for key, value in other.items()}  # judged on fewer rows
    found = rows.disagreements(one, part)
    first, second = one["prediction"][20:] == one["reference"][20:], other["prediction"][20:] == other["reference"][20:]
    assert (found["rows"], found["one_right"], found["other_right"]) == (180, int((first & ~second).sum()), int((second & ~first).sum()))
    assert all(one["row"][mine] == part["row"][theirs] and one["prediction"][mine] != part["prediction"][theirs] for mine, theirs in found["places"])
    shown = rows.shown([mine for mine, _ in found["places"][:5]], one, [{"text": f"text {row}"} for row in range(200)], ("a", "b", "c"))
    assert all(row["text"] == f"text {row['row']}" and row["prediction"] in "abc" for row in shown)


def test_texts_are_not_told_apart_by_row():
    assert rows.disagreements({"row": np.arange(3), "rouge1": np.ones(3)}, {"row": np.arange(3), "rouge1": np.zeros(3)}) is None
