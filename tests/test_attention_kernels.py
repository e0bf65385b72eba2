"""A causal model's padding needs no mask where nothing but attention reads it: the same losses and gradients without one, plans that agree, and what is said."""

from __future__ import annotations

import functools
import json

import pytest
import torch
from tiny import DECODERS, tiny, tiny_batch
from training_support import save_model, spec
from transformers import LlamaModel

from lab.design.method.named import load_method
from lab.engine import attach
from lab.engine.kernels import attention_words, mask_left_out
from lab.planning.predict import plan_shape
from lab.tasks.losses import inputs_of, loss_sum
from lab.training import Record, loop, train

READ = ["prefix-tuning", "prompt-tuning", "p-tuning", "unipelt-apl", "mam", "loreft"]  # methods that read the mask, or whose slots need one


def on(architecture: str, method: str, objective: str = "causal"):
    model = tiny(architecture, objective)
    return model, attach(model, load_method(method), seed=0)


@pytest.mark.parametrize("architecture", [*DECODERS, "falcon+alibi", "falcon+groups"])
def test_without_its_mask_a_padded_batch_has_the_same_loss_and_gradients(architecture):
    model, attached = on(architecture, "lora")
    fits = model.config._attn_implementation == "sdpa"
    assert mask_left_out(attached, "causal", "cuda") is fits and not mask_left_out(attached, "causal", "cpu")
    found = []
    for name, parameter in attached.trainable().items():
        torch.nn.init.normal_(parameter, generator=torch.Generator().manual_seed(len(name)))
    for left_out in ("", "attention_mask"):
        batch = {name: tensor for name, tensor in tiny_batch(model).items() if name != left_out}
        loss = loss_sum(model(**inputs_of(batch, model, "causal")).logits, batch["labels"], "causal")
        found.append([loss, *torch.autograd.grad(loss, list(attached.trainable().values()))])
    if fits:
        assert tiny_batch(model)["attention_mask"].min() == 0
        for one, other in zip(*found, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("method", READ)
def test_what_reads_the_mask_keeps_it(method):
    assert not mask_left_out(on("llama", method)[1], "causal", "cuda")


def test_a_run_trains_alike_without_the_mask(tmp_path, monkeypatch):
    model = save_model(tmp_path / "model", "llama", "causal")
    rows = [{"text": f"the film was {'fine great' if number % 2 else 'dull weak flat'} and the plot {'very ' * (number % 7)}warm"} for number in range(40)]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    source = {"file": str(tmp_path / "rows.jsonl"), "hash": {"validation": 0.3, "test": 0.1}}
    task = {"name": "toy", "family": "language_modelling", "max_length": 24, "source": source}
    curves: list[list[float]] = []
    read: list[set[bool]] = []  # of each run: whether its model was given a mask in training
    forward = LlamaModel.forward

    @functools.wraps(forward)
    def watched(self, *given, attention_mask=None, **more):
        if self.training:
            read[-1].add(attention_mask is not None)
        return forward(self, *given, attention_mask=attention_mask, **more)

    monkeypatch.setattr(LlamaModel, "forward", watched)
    for left_out in (False, True):
        read.append(set())
        monkeypatch.setattr(loop, "mask_left_out", lambda attached, objective, device, wanted=left_out: wanted and mask_left_out(attached, objective, "cuda"))
        record, lines = Record(), []
        train(spec(model, task, lr=0.02, steps=6, batch_size=4, evaluate_every=6), record, tmp_path / str(left_out), say=lines.append)
        curves.append(list(record.curve("loss").values()))
        assert any(line.startswith("Attention: torch's sdpa with its fused kernel") for line in lines)
    assert curves[0] == pytest.approx(curves[1], abs=1e-5) and read == [{True}, {False}]


def test_a_plan_knows_which_batches_have_no_mask():
    sizes = {"batch": 4, "tokens": 512, "dtype": "bf16", "device": "cuda"}
    padded, even = (plan_shape(model="smollm2-135m", method="lora", padding=padding, **sizes).peak_allocated_bytes for padding in (True, False))
    assert padded == even
    script = plan_shape(model="smollm2-135m", method="lora", use_cache=True, **sizes).peak_allocated_bytes
    assert script > plan_shape(model="smollm2-135m", method="lora", use_cache=True, padding=False, **sizes).peak_allocated_bytes


@pytest.mark.parametrize(
    ("architecture", "method", "objective", "device", "half", "words"),
    [
        ("llama", "lora", "causal", "cuda", True, "flash for every batch"),
        ("llama", "lora", "causal", "cuda", False, "flash needs half precision"),
        ("llama", "prefix-tuning", "causal", "cuda", True, "slots are more keys than queries"),
        ("bert", "lora", "classification", "cuda", True, "where a batch has padding, with flash where it has none"),
        ("bert", "prefix-tuning", "classification", "cuda", True, "where a batch has padding, with flash where it has none"),
        ("t5", "lora", "seq2seq", "cuda", True, "no bias by position"),
        ("deberta_v2", "lora", "classification", "cuda", True, "step by step: transformers has no fused one"),
        ("gemma2", "lora", "causal", "cuda", True, "step by step: transformers has no fused one"),
        ("bert", "lora", "classification", "cpu", False, "fused kernel for processors"),
        ("bert", "lora", "classification", "mps", False, "Metal"),
    ],
)
def test_what_is_said_of_the_kernel(architecture, method, objective, device, half, words):
    assert words in attention_words(on(architecture, method, objective)[1], objective, device, half)


def test_dropout_of_attention_weights_is_said_on_a_cpu():
    model = tiny("bert", "classification", attention_probs_dropout_prob=0.1)
    assert "step by step in training" in attention_words(attach(model, load_method("lora"), seed=0), "classification", "cpu", False)


@pytest.mark.parametrize("method", ["lora", "prefix-tuning"])
def test_a_batch_without_padding_reaches_an_encoders_kernel_without_a_mask(method, monkeypatch):
    """Slots included: more keys need no mask where every query reads all of them."""
    model, _ = on("bert", method, "classification")
    masks, right = [], torch.nn.functional.scaled_dot_product_attention

    def watched(*args, attn_mask=None, **more):
        masks.append(attn_mask)
        return right(*args, attn_mask=attn_mask, **more)

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", watched)
    batch = tiny_batch(model)
    model(**batch)
    assert masks and all(mask is not None and mask.dtype == torch.bool for mask in masks)
    masks.clear()
    model(**{**batch, "attention_mask": torch.ones_like(batch["attention_mask"])})
    assert masks and all(mask is None for mask in masks)
