"""What a preset's own recipe does: optimizer, learning rate and schedule as training has them, on a tiny model."""

from __future__ import annotations

import csv

import pytest
import torch
from training_support import save_model, save_task, spec

from lab.design.catalogue import load_method, names
from lab.training import Record, artefacts, running, train

STEPS = 60
MOVED, TOLD = 0.02, 0.002  # rms change of a slot's keys and values; change of the loss with the slots switched off
SLOTS = [name for name in names("methods") if any(delta.form == "slots" for delta in load_method(name).deltas)]


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    return save_model(tmp_path_factory.mktemp("bert"))


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    return save_task(tmp_path_factory.mktemp("toy"))


def learned(method, bert, toy, folder, monkeypatch, **training) -> tuple[float, float]:
    """(rms change of keys and values, change of the loss on 64 rows with the slots switched off) after the method's own recipe."""
    kept = []

    def assemble(*args, **kwargs):
        kept.append(running_assemble(*args, **kwargs))
        kept.append(kept[0].attached.fold())
        return kept[0]

    running_assemble = running.assemble
    monkeypatch.setattr(running, "assemble", assemble)
    train(spec(bert, toy, method, steps=STEPS, evaluate_every=STEPS, **training), Record(), folder, say=lambda line: None)
    assembly, before = kept
    assembly.set_weights(artefacts.read_adapter(folder / "adapter"))
    after = assembly.attached.fold()
    slots = {name: delta for name, delta in assembly.attached.deltas.items() if delta.delta.form == "slots"}
    moved = torch.cat([(after[name][part] - before[name][part]).flatten() for name in slots for part in ("keys", "values")])
    with open(toy["source"]["file"], encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file)][:64]
    batch = assembly.tokenizer([row["text"] for row in rows], padding=True, truncation=True, max_length=48, return_tensors="pt")
    batch["labels"] = torch.tensor([toy["labels"].index(row["label"]) for row in rows])
    batch.pop("token_type_ids", None)
    assembly.model.eval()
    with torch.no_grad():
        on = float(assembly.model(**batch).loss)
        for delta in slots.values():
            delta.enabled = False
        off = float(assembly.model(**batch).loss)
    return float(moved.square().mean().sqrt()), off - on


@pytest.mark.parametrize("preset", SLOTS)
def test_slots_learn_under_the_own_recipe_of_every_preset(preset, bert, toy, tmp_path, monkeypatch):
    moved, told = learned(preset, bert, toy, tmp_path, monkeypatch)
    print(preset, moved, told)
    assert moved > MOVED and abs(told) > TOLD


def test_a_prefix_trained_directly_at_the_rate_of_he_et_al_does_not_learn(bert, toy, tmp_path, monkeypatch):
    """The negative control: at 5e-5 MAM's prefix learns through its MLP, and hardly moves without."""
    through = learned("mam", bert, toy, tmp_path / "mlp", monkeypatch, lr=5e-5)
    monkeypatch.undo()
    direct = learned({"preset": "mam", "set": {"deltas.0.encoder": "none", "deltas.0.encoder_width": 512}}, bert, toy, tmp_path / "direct", monkeypatch, lr=5e-5)
    print(through, direct)
    assert through[0] > MOVED and abs(through[1]) > TOLD
    assert direct[0] < MOVED / 4 and abs(direct[1]) < TOLD
