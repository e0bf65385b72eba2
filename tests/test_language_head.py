"""The head of a language model at targets alone (lab/models/head.py): the same losses and gradients as from all logits, which are never made."""

from __future__ import annotations

import copy

import pytest
import torch
from laws import SMALL
from tiny import DECODERS, ENCODER_DECODERS, VARIANTS, VOCAB, tiny, tiny_batch

from lab.design.method.named import load_method
from lab.design.spec.objectives import IGNORED
from lab.engine import attach
from lab.models import head
from lab.planning.meter import measure_step
from lab.tasks.losses import batch_loss, inputs_of, loss_sum, target_losses, targets

LANGUAGE = (*ENCODER_DECODERS, *DECODERS, *VARIANTS)


def objective_of(name: str) -> str:
    return "seq2seq" if name in ENCODER_DECODERS else "causal"


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(head, "LOGITS", 5 * VOCAB)  # five rows at a time


def instructed(batch: dict[str, torch.Tensor], objective: str = "causal") -> dict[str, torch.Tensor]:
    """Without a loss on the first words of every row, as of a prompt, nor on any of the second row; of answers by themselves, with one short one."""
    labels = batch["labels"].clone()
    if objective == "causal":
        labels[:, :2], labels[1] = IGNORED, IGNORED
    else:
        labels[1, 2:] = IGNORED
    return {**batch, "labels": labels}


def gradients(model: torch.nn.Module, loss: torch.Tensor) -> dict[str, torch.Tensor]:
    model.zero_grad(set_to_none=True)
    loss.backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def agree(model: torch.nn.Module, batch: dict[str, torch.Tensor], objective: str, smoothing: float = 0.0, tolerance: float = 1e-6) -> list[int]:
    """The loss and every gradient equal those from all logits; the rows of logits that were made at once."""
    torch.manual_seed(0)
    every = loss_sum(model(**inputs_of(batch, model, objective)).logits, batch["labels"], objective, smoothing)
    expected = gradients(model, every)
    rows: list[int] = []
    handle = model.get_output_embeddings().register_forward_hook(lambda module, args, output: rows.append(output.shape[:-1].numel()))
    torch.manual_seed(0)
    loss = batch_loss(model, model, batch, objective, smoothing)
    handle.remove()
    found = gradients(model, loss)
    assert float(loss.detach()) == pytest.approx(float(every.detach()), rel=tolerance)
    assert found.keys() == expected.keys() and expected
    for name, gradient in expected.items():
        allowed = tolerance * max(1.0, float(gradient.abs().max()))
        torch.testing.assert_close(found[name], gradient, rtol=1e-4, atol=allowed, msg=lambda text, name=name: f"{name}: {text}")
    return rows


@pytest.mark.parametrize("name", LANGUAGE)
@pytest.mark.parametrize(("prompted", "smoothing"), [(False, 0.1), (True, 0.0)])
def test_loss_and_gradients_are_those_of_all_logits(name: str, prompted: bool, smoothing: float):
    objective = objective_of(name)
    model = tiny(name, objective, **({"final_logit_softcapping": 3.0} if name.startswith("gemma") else {})).train()
    batch = tiny_batch(model)
    batch = instructed(batch, objective) if prompted else batch
    rows = agree(model, batch, objective, smoothing)
    count = len(targets(batch["labels"], objective)[0])
    assert sum(rows) == count and max(rows) <= 5 < count  # no logits of anything else


@pytest.mark.parametrize("name", ["llama", "bart", "t5"])
@pytest.mark.parametrize("preset", ["lora", "prompt-tuning", "mam", "full", "bitfit", "diff-pruning", "fish-mask", "head-only"])
def test_whatever_trains(name: str, preset: str):
    """Deltas, virtual tokens, weights and entries of the head itself, tied to the embeddings or not."""
    objective = objective_of(name)
    model = tiny(name, objective)
    method = load_method(preset, {**SMALL.get(preset, {}), **({"select.score": "random"} if preset == "fish-mask" else {})})
    try:
        attached = attach(model, method, seed=0)
    except Exception as refusal:
        pytest.skip(str(refusal))
    with torch.no_grad():
        for tensor in attached.trainable().values():
            tensor.add_(torch.randn_like(tensor) * 0.05)
    agree(model.train(), tiny_batch(model), objective)


def test_nothing_to_learn_from():
    """A pass without a single target has a loss of 0 and gradients of 0."""
    model = tiny("llama", "causal").train()
    batch = tiny_batch(model)
    batch["labels"].fill_(IGNORED)
    loss = batch_loss(model, model, batch, "causal")
    assert float(loss.detach()) == 0 and all(not gradient.any() for gradient in gradients(model, loss).values())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_under_mixed_precision(dtype: torch.dtype):
    """Autocast and the factor of a gradient scaler, larger than any number of half precision."""
    model = tiny("llama", "causal").train()
    batch = tiny_batch(model)

    def both(loss_of) -> dict[str, torch.Tensor]:
        with torch.autocast("cpu", dtype):
            loss = loss_of()
        assert loss.dtype == torch.float32
        return {name: gradient / 1e5 for name, gradient in gradients(model, loss * 1e5 / 21).items()}

    expected = both(lambda: loss_sum(model(**inputs_of(batch, model, "causal")).logits, batch["labels"], "causal"))
    for name, gradient in both(lambda: batch_loss(model, model, batch, "causal")).items():
        assert (gradient - expected[name]).norm() <= 0.02 * expected[name].norm() + 1e-6, name


def test_the_loss_of_each_target():
    model = tiny("opt", "causal")
    batch = instructed(tiny_batch(model))
    owner, losses = target_losses(model, batch, "causal")
    with torch.no_grad():
        for row in range(3):
            one = {key: tensor[row : row + 1] for key, tensor in batch.items()}
            expected = loss_sum(model(**inputs_of(one, model, "causal")).logits, one["labels"], "causal")
            assert float(losses[owner == row].sum()) == pytest.approx(float(expected), rel=1e-5)


def test_a_copy_has_its_own_head():
    """A deep copy's weights make the copy's loss; the model itself gives all logits when nothing is asked."""
    model = tiny("gpt2", "causal").train()
    batch = tiny_batch(model)
    before = float(batch_loss(model, model, batch, "causal").detach())
    other = copy.deepcopy(model)
    with torch.no_grad():
        other.transformer.ln_f.weight.mul_(2)
    assert float(batch_loss(other, other, batch, "causal").detach()) != pytest.approx(before)
    assert float(batch_loss(model, model, batch, "causal").detach()) == pytest.approx(before)
    assert model(**inputs_of(batch, model, "causal")).logits.shape == (3, 9, VOCAB)


def test_memory_falls_by_the_meter(monkeypatch: pytest.MonkeyPatch):
    """A vocabulary of 8,000 and a prompt of half the row: less than half of the peak above the weights."""
    monkeypatch.setattr(head, "LOGITS", 8000 * 16)
    peaks = []
    for chosen in (False, True):
        model = tiny("llama", "causal", vocab_size=8000).train()
        attach(model, load_method("lora"), seed=0)
        batch = tiny_batch(model, batch=4, length=64)
        batch["labels"][:, :32] = IGNORED
        with measure_step(model) as measured:
            if chosen:
                loss = batch_loss(model, model, batch, "causal")
            else:
                loss = loss_sum(model(**inputs_of(batch, model, "causal")).logits, batch["labels"], "causal")
            loss.backward()
        peaks.append(measured.peak_bytes - measured.categories["weights"])
    assert peaks[1] < 0.5 * peaks[0]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["llama", "t5"])
def test_compiled(name: str):
    objective = objective_of(name)
    model = tiny(name, objective).train()
    attach(model, load_method("lora", {"deltas.0.dropout": 0.0}), seed=0)
    batch = tiny_batch(model)
    expected = gradients(model, loss_sum(model(**inputs_of(batch, model, objective)).logits, batch["labels"], objective))
    compiled = torch.compile(model, dynamic=True, backend="aot_eager")
    for _ in range(2):
        found = gradients(model, batch_loss(compiled, model, batch, objective))
        for key, gradient in expected.items():
            torch.testing.assert_close(found[key], gradient, rtol=1e-4, atol=1e-5)
