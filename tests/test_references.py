"""Methods that no library here has, against references written from their formulas: the same outputs and gradients on the same weights.

A twin of the model gets hooks of its own at the same modules; they know the formula and the trained tensors, and nothing of the engine.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping

import pytest
import torch
import torch.nn.functional as F
from comparing import told
from laws import shake
from test_equations import of_columns
from test_oracle_peft import OBJECTIVE, close, outputs, pristine, projected
from tiny import tiny_batch
from torch import Tensor

from lab.design.method.delta import Method
from lab.design.method.named import load_method
from lab.engine import attach

Formula = Callable[[Mapping[str, Tensor], Tensor], Tensor]  # (tensors by part, h) → new h


def compare(architecture: str, method: Method, formulas: list[Formula], against: str, side: str = "right") -> None:
    """`formulas[i]`: of delta i, whose h is the output of one module. `side`: of the padding."""
    ours = copy.deepcopy(pristine(architecture, OBJECTIVE[architecture]))
    attached = attach(ours, method, seed=1)
    shake(attached)
    twin = copy.deepcopy(pristine(architecture, OBJECTIVE[architecture]))
    leaves = {name: tensor.detach().clone().requires_grad_() for name, tensor in attached.trainable().items()}
    paths = {id(module): path for path, module in ours.named_modules()}
    for name, delta in attached.deltas.items():
        located, at = attached.binder.join(delta)
        assert at == "output" and located.part is None
        index = int(name.split(".")[1])
        own = {part: leaf for key, leaf in leaves.items() for start, part in [key.rsplit(".", 1)] if start in (name, f"deltas.{index}.shared")}

        def hook(module, args, output, own=own, formula=formulas[index]):
            return (formula(own, output[0]), *output[1:]) if isinstance(output, tuple) else formula(own, output)

        twin.get_submodule(paths[id(located.module)]).register_forward_hook(hook)
    batch = tiny_batch(ours, labels=OBJECTIVE[architecture] == "seq2seq", side=side)
    mine, theirs = outputs(ours.eval(), batch), outputs(twin.eval(), batch)
    assert (mine - outputs(pristine(architecture, OBJECTIVE[architecture]), batch)).abs().max() > 1e-3, "nothing would be compared"
    told(method.preset, against, "outputs", close("logits", mine, theirs), architecture)
    projected(mine, batch).backward()
    projected(theirs, batch).backward()
    errors = [close(name, tensor.grad, leaves[name].grad) for name, tensor in attached.trainable().items()]
    told(method.preset, against, "gradients", max(errors), architecture)


@pytest.mark.parametrize("architecture", ["bert", "t5"])
def test_ssf(architecture: str) -> None:
    formulas: list[Formula] = [lambda own, h: own["l"] * h, lambda own, h: h + own["bias"]]
    compare(architecture, load_method("ssf"), formulas, "γ ⊙ h + β written out")


def kronecker(own: Mapping[str, Tensor], x: Tensor) -> Tensor:
    """x + GELU(x·Wd + bd)·Wu + bu with W = Σᵢ Aᵢ ⊗ (sᵢ·tᵢᵀ), entry by entry as the paper's Eq. 4 and 5 have it."""

    def whole(name: str) -> Tensor:
        return sum(torch.kron(a, s[:, None] @ t[None]) for a, s, t in zip(own["A"], own[f"{name}_left"], own[f"{name}_right"], strict=True))

    return x + F.gelu(x @ whole("down") + own["down_bias"]) @ whole("up") + own["up_bias"]


@pytest.mark.parametrize("preset", ["compacter", "compacter-plus-plus"])
@pytest.mark.parametrize("architecture", ["bert", "gpt2"])
def test_compacter(architecture: str, preset: str) -> None:
    compare(architecture, load_method(preset, {"deltas.0.rank": 8}), [kronecker], "Σ A ⊗ stᵀ written out")


def at_ends(formula: Formula, first: int, last: int, mask: Tensor) -> Formula:
    """The formula at the first and last so many tokens of each row alone, row by row."""

    def edited(own: Mapping[str, Tensor], h: Tensor) -> Tensor:
        rows = []
        for row, real in zip(h, mask, strict=True):
            places = [int(place) for place in real.nonzero()[:, 0]]
            changed = {*places[:first], *places[len(places) - last :]}
            rows.append(torch.stack([formula(own, each) if place in changed else each for place, each in enumerate(row)]))
        return torch.stack(rows)

    return edited


def loreft(own: Mapping[str, Tensor], h: Tensor) -> Tensor:
    """h + Rᵀ(Wh + b − Rh), the paper's Eq. 2."""
    r = of_columns(own["R"]).T
    assert torch.allclose(r @ r.T, torch.eye(len(r)), atol=1e-5)
    return h + r.T @ (own["W"] @ h + own["bias"] - r @ h)


def direft(own: Mapping[str, Tensor], h: Tensor) -> Tensor:
    """h + W₂ᵀ(W₁h + b), its Eq. 3."""
    return h + own["up"] @ (own["down"] @ h + own["down_bias"])


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize(("preset", "formula"), [("loreft", loreft), ("direft", direft)])
@pytest.mark.parametrize("architecture", ["bert", "gpt2"])
def test_reft(architecture: str, preset: str, formula: Formula, side: str) -> None:
    """The batch has rows of unequal length; without labels a row is a prompt as a whole."""
    mask = tiny_batch(pristine(architecture, OBJECTIVE[architecture]), side=side)["attention_mask"]
    assert len(set(mask.sum(1).tolist())) > 1
    method = load_method(preset, {"deltas.0.rank": 4, "deltas.0.tokens": "f2+l1"})
    compare(architecture, method, [at_ends(formula, 2, 1, mask)], "its equation written out, token by token", side)


@pytest.mark.parametrize("architecture", ["gpt2", "llama", "bart"])
def test_what_is_written_is_not_changed_in_training_nor_in_generation(architecture: str) -> None:
    """With labels on an answer, its logits are those that the model gives while it writes this answer with a cache."""
    model = copy.deepcopy(pristine(architecture, OBJECTIVE[architecture]))
    attached = attach(model, load_method("loreft", {"deltas.0.rank": 4, "deltas.0.tokens": "f2+l2"}))
    shake(attached)
    batch = {name: rows for name, rows in tiny_batch(model, labels=False, side="left").items() if not name.startswith("decoder")}
    with torch.no_grad():
        written = model.eval().generate(**batch, max_new_tokens=5, min_new_tokens=5, do_sample=False, output_logits=True, return_dict_in_generate=True)
    answer, step_by_step = written.sequences[:, -5:].contiguous(), torch.stack(written.logits, 1)
    with torch.no_grad(), attached.disabled():
        untouched = model(**batch, **({"decoder_input_ids": written.sequences[:, :1]} if model.config.is_encoder_decoder else {})).logits[:, -1]
    assert (untouched - step_by_step[:, 0]).abs().max() > 1e-3
    if model.config.is_encoder_decoder:
        whole = {**batch, "labels": answer}
    else:
        both = torch.cat([batch["input_ids"], answer], 1)
        mask = torch.cat([batch["attention_mask"], torch.ones_like(answer)], 1)
        positions = {"position_ids": (mask.cumsum(1) - 1).clamp(min=0)}  # as generate() counts them
        whole = {"input_ids": both, "attention_mask": mask, "labels": torch.cat([torch.full_like(batch["input_ids"], -100), answer], 1), **positions}
    with torch.no_grad():
        logits = model(**whole).logits[:, -5:] if model.config.is_encoder_decoder else model(**whole).logits[:, -6:-1]
    close("logits of an answer", logits, step_by_step)
