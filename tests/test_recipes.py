"""What a preset's own recipe does: optimizer, learning rate and schedule as training has them, on a tiny model."""

from __future__ import annotations

import csv

import pytest
import torch
from training_support import save_model, save_task, spec

from lab.design.method.named import load_method
from lab.design.presets.catalogue import names
from lab.training import Record, artefacts, running, train

STEPS = 100
MOVED, TOLD = 0.02, 1e-4  # rms change of keys and values; change of the loss on 64 rows
SLOTS = [name for name in names("methods") if any(delta.form == "slots" for delta in load_method(name).deltas)]


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    return save_model(tmp_path_factory.mktemp("bert"))


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    return save_task(tmp_path_factory.mktemp("toy"))


def learned(method, bert, toy, folder, monkeypatch, **training) -> tuple[float, float]:
    """(rms change of keys and values, change of the loss) that STEPS of the method's own recipe make of its slots.

    The change of the loss is that between the trained slots and the same slots where they started, with everything else as trained. It is
    by how much the effect of switching the slots off has changed: a random prefix disturbs the model whether it learns or not.
    """
    assembled, assemble = [], running.assemble

    def kept(*args, **kwargs):
        assembly = assemble(*args, **kwargs)
        assembled.extend((assembly, assembly.attached.fold(), assembly.attached.state_dict()))
        return assembly

    monkeypatch.setattr(running, "assemble", kept)
    train(spec(bert, toy, method, steps=STEPS, evaluate_every=STEPS, **training), Record(), folder, say=lambda line: None)
    monkeypatch.undo()
    assembly, before, start = assembled
    assembly.set_weights(artefacts.read_adapter(folder / "adapter"))
    attached = assembly.attached
    after, final = attached.fold(), attached.state_dict()
    slots = {name: delta for name, delta in attached.deltas.items() if delta.delta.form == "slots"}
    moved = torch.cat([(after[name][part] - before[name][part]).flatten() for name in slots for part in ("keys", "values")])
    own = tuple({".".join(name.split(".")[:2]) + "." for name in slots})  # their reparameterisation too

    trained = loss(assembly, toy)
    with torch.no_grad():
        for name, tensor in attached.tensors().items():
            tensor.copy_((start if name.startswith(own) else final)[name])
    return float(moved.square().mean().sqrt()), abs(loss(assembly, toy) - trained)


def loss(assembly, toy) -> float:
    """Of the model as it is, on 64 rows."""
    with open(toy["source"]["file"], encoding="utf-8") as file:
        rows = list(csv.DictReader(file))[:64]
    batch = assembly.tokenizer([row["text"] for row in rows], padding=True, truncation=True, max_length=48, return_tensors="pt")
    labels = torch.tensor([toy["labels"].index(row["label"]) for row in rows])
    with torch.no_grad():
        return float(assembly.model.eval()(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], labels=labels).loss)


@pytest.mark.parametrize("preset", SLOTS)
def test_slots_learn_under_the_own_recipe_of_every_preset(preset, bert, toy, tmp_path, monkeypatch):
    fitting = {"prefix-lora-ffn": {"deltas.1.rank": 32}}  # beside the slots: all the rank that a width of 32 has
    moved, told = learned({"preset": preset, "set": fitting.get(preset, {})}, bert, toy, tmp_path, monkeypatch)
    assert moved > MOVED and told > TOLD


def test_a_prefix_trained_directly_at_the_rate_of_he_et_al_does_not_learn(bert, toy, tmp_path, monkeypatch):
    """The negative control: at their 5e-5, MAM's prefix moves through its MLP; directly it hardly moves, and the loss does not notice."""
    moved, _ = learned("mam", bert, toy, tmp_path / "mlp", monkeypatch, lr=5e-5)
    assert moved > MOVED
    direct = {"preset": "mam", "set": {"deltas.0.encoder": "none"}}
    moved, told = learned(direct, bert, toy, tmp_path / "direct", monkeypatch, lr=5e-5)
    assert moved < MOVED / 10 and told < TOLD / 10
