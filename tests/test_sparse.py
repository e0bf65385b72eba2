"""Fixed sparse masks: where the entries are, that only they have gradients and moments, and that nothing else of a weight moves."""

from __future__ import annotations

import pytest
import torch
from comparing import told
from laws import batch_of, fresh, inventory, logits, looking_at, shake

from lab.design.method.count import count_on
from lab.design.method.delta import Method
from lab.design.method.named import load_method
from lab.design.method.rules import problems
from lab.design.plain.options import validate
from lab.design.plain.refusal import Refusal
from lab.engine import attach, body_of
from lab.engine.select import own_parameters
from lab.planning.tracker import state_tensors


def sparse(**options) -> Method:
    return validate(Method, {"select": {"what": "sparse", **options}})


def weights(model, attached) -> dict[str, torch.Tensor]:
    """The weights that have entries, as they were in a fresh model, by name."""
    return {name: own_parameters(model)[name] for name in attached.entries}


@pytest.mark.parametrize("architecture", ["bert", "gpt2", "llama", "t5"])
def test_magnitude_takes_the_largest_of_each_projection(architecture: str) -> None:
    """Slices of fused and turned projections too: the chosen of a slice are the largest of that slice."""
    model, plain = fresh(architecture), fresh(architecture)
    attached = attach(model, sparse(at=["attn.k"], score="magnitude", density=0.1))
    for name, weight in weights(plain, attached).items():
        entries = attached.entries[name]
        mask = torch.zeros(weight.numel(), dtype=torch.bool).index_fill(0, entries.index.long(), True).view_as(weight)
        part = weight if architecture != "gpt2" else weight[:, weight.shape[1] // 3 : 2 * weight.shape[1] // 3]
        inside = mask if architecture != "gpt2" else mask[:, weight.shape[1] // 3 : 2 * weight.shape[1] // 3]
        assert int(mask.sum()) == int(inside.sum()) == round(0.1 * part.numel())
        assert part[inside].abs().min() >= part[~inside].abs().max()


@pytest.mark.parametrize("architecture", ["bert", "gpt2"])
def test_over_the_whole_model_all_weights_compete(architecture: str) -> None:
    model, plain = fresh(architecture), fresh(architecture)
    method = sparse(score="magnitude", density=0.03)
    attached = attach(model, method)
    own = own_parameters(plain)
    chosen = torch.cat([own[name].flatten()[entries.index.long()].abs() for name, entries in attached.entries.items()])
    assert len(chosen) == round(0.03 * inventory(architecture).total) == count_on(method, body_of(model), inventory(architecture)).trainable
    left = [
        own[n].flatten()[~torch.isin(torch.arange(own[n].numel()), attached.entries[n].index.long() if n in attached.entries else torch.tensor([]))]
        for n in own
    ]
    assert chosen.min() >= torch.cat(left).abs().max()


def test_random_masks_depend_on_the_seed_alone() -> None:
    masks = [{n: e.index for n, e in attach(fresh("bert"), sparse(at=["attn.q"]), seed=seed).entries.items()} for seed in (1, 1, 2)]
    assert all(torch.equal(masks[0][name], masks[1][name]) for name in masks[0])
    assert not any(torch.equal(masks[0][name], masks[2][name]) for name in masks[0])
    assert len({tuple(index.tolist()) for index in masks[0].values()}) == len(masks[0])


@pytest.mark.parametrize(("score", "power"), [("gradient", 1), ("fisher", 2)])
@pytest.mark.parametrize("at", [["attn.v"], None], ids=["projections", "whole"])
def test_scores_of_data_are_sums_over_rows(at: list[str] | None, score: str, power: int) -> None:
    """Row by row: what squares see is each row's own gradient. The model comes back as it was."""
    model, plain = fresh("gpt2").train(), fresh("gpt2").eval()
    method = sparse(at=at, score=score, density=0.05)
    with pytest.raises(Refusal, match="Rows of the training data"):
        attach(model, method)
    before = {name: (p.clone(), p.requires_grad) for name, p in model.named_parameters()}
    attached = attach(model, method, look=looking_at(model, "gpt2"))
    assert model.training and all(p.grad is None for p in model.parameters())
    own, sums = own_parameters(plain), {}
    for loss in looking_at(plain, "gpt2")(method.select.rows, 1):
        for (name, _), gradient in zip(own.items(), torch.autograd.grad(loss, list(own.values())), strict=True):
            sums[name] = sums.get(name, 0) + gradient**power
    part = (lambda name, t: t[:, -t.shape[1] // 3 :]) if at else (lambda name, t: t)  # the values of GPT-2's one projection
    masks = {
        name: torch.zeros(own[name].numel(), dtype=torch.bool).index_fill(0, e.index.long(), True).view_as(own[name]) for name, e in attached.entries.items()
    }
    groups = [[name] for name in masks] if at else [list(own)]
    for names in groups:
        scores = torch.cat([part(name, sums[name]).flatten().abs() for name in names])
        chosen = torch.cat([part(name, masks.get(name, torch.zeros_like(own[name], dtype=torch.bool))).flatten() for name in names])
        behind = max(0.0, float((scores[~chosen].max() - scores[chosen].min()) / scores.max()))  # how far a chosen one is below one left out
        assert chosen.sum() == round(0.05 * len(chosen)) and behind <= 1e-6
        told({"fisher": "fish-mask", "gradient": "shira"}[score], "the formula, row by row", f"mask by {score}", behind, "gpt2")
    attached.detach()
    assert all(torch.equal(p, before[name][0]) and p.requires_grad == before[name][1] for name, p in model.named_parameters())


@pytest.mark.parametrize("options", [{"at": ["all-linear"], "rank": 1}, {"density": 0.02}], ids=["projections", "whole"])
@pytest.mark.parametrize("architecture", ["bert", "llama"])
def test_only_entries_have_gradients_and_moments(architecture: str, options: dict) -> None:
    """What trains is as dense training of the same weights under a mask on their gradients; its memory is that of the entries."""
    model, dense = fresh(architecture), fresh(architecture)
    attached = attach(model, sparse(**options), seed=1)
    shake(attached)
    changed = weights(dense, attached)
    with torch.no_grad():
        for name, weight in changed.items():
            weight.view(-1)[attached.entries[name].index.long()] += attached.entries[name].values
    assert torch.equal(logits(model, architecture), logits(dense, architecture))
    optimizer = torch.optim.AdamW(attached.parameter_groups(lr=1e-2))
    for each in (model.eval(), dense.eval()):
        each(**batch_of(architecture)).loss.backward()
    count = attached.trainable_now
    assert sum(entries.values.grad.numel() for entries in attached.entries.values()) == count
    assert not any(weight.grad is not None for weight in attached.written().values())
    for name, weight in changed.items():
        assert torch.allclose(attached.entries[name].values.grad, weight.grad.flatten()[attached.entries[name].index.long()], atol=1e-7)
    optimizer.step()
    assert sum(t.numel() for t in state_tensors(optimizer) if t.dim()) == 2 * count


def test_a_state_brings_its_own_mask() -> None:
    """Loaded into another start, and again into one that has a mask already; switched off, the model is as it was."""
    model, other = fresh("bert"), fresh("bert")
    plain = logits(fresh("bert"), "bert")
    attached, later = attach(model, sparse(at=["attn.q"]), seed=1), attach(other, sparse(at=["attn.q"]), seed=2)
    shake(attached)
    shake(later, seed=4)
    logits(other, "bert")
    later.load_state_dict(attached.state_dict())
    assert torch.equal(logits(other, "bert"), logits(model, "bert"))
    with later.disabled():
        assert torch.equal(logits(other, "bert"), plain)
    later.detach()
    assert torch.equal(logits(other, "bert"), plain)
    state = attached.state_dict()
    name = next(name for name in state if name.endswith(".index"))
    with pytest.raises(Refusal, match="another method or model"):
        attach(fresh("bert"), sparse(at=["attn.q"]), state={**state, name: state[name] + 10**6})


@pytest.mark.parametrize(
    ("options", "field"),
    [({"at": ["attn.heads"]}, "select.at"), ({"rank": 2}, "select.rank"), ({"at": ["attn.q"], "rank": 30}, "select.rank"), ({"at": ["ffn.gate"]}, "select.at")],
)
def test_masks_that_cannot_be(options: dict, field: str) -> None:
    assert field in [problem.field for problem in problems(sparse(**options), body_of(fresh("bert")))]


def test_half_precision_keeps_the_entries_in_full() -> None:
    model = fresh("llama").bfloat16()
    attached = attach(model, load_method("shira"), seed=1)
    assert {entries.values.dtype for entries in attached.entries.values()} == {torch.float32}
    model(**batch_of("llama")).loss.backward()
    assert {entries.values.grad.dtype for entries in attached.entries.values()} == {torch.float32}
