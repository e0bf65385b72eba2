"""Starts from the weight's own singular vectors (LaMDA), against numpy: with the residual left in the weight or not, under dropout; energy scores."""

from __future__ import annotations

import copy
import functools

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from comparing import told
from laws import check_laws, looking_at
from tiny import tiny, tiny_batch

from lab.design.method.delta import Method
from lab.design.method.named import load_method
from lab.design.method.starts import STARTS
from lab.design.plain.options import validate
from lab.design.plain.refusal import Refusal
from lab.engine import attach
from lab.engine.components import Components

AT = ["attn.q", "ffn.down"]


@functools.cache
def pristine():
    return tiny("bert", "classification")


def lamda(init: str, rank: int = 6, **options) -> Method:
    return load_method(
        "lamda", {"deltas.0.at": AT, "deltas.0.rank": rank, "deltas.0.init": init, **{f"deltas.0.{name}": value for name, value in options.items()}}
    )


def projection(model, site: str):
    """The module of `encoder.<layer>.<representation>`."""
    layer = model.base_model.encoder.layer[int(site.split(".")[1])]
    return layer.attention.self.query if site.endswith("attn.q") else layer.output.dense


@pytest.mark.parametrize("init", [name for name, start in STARTS.items() if start.cores == ("square",) and name != "lora-xs"])
def test_a_start_is_what_it_says(init: str) -> None:
    model, plain = copy.deepcopy(pristine()), pristine()
    attached = attach(model, lamda(init, scale=2.0), seed=1)
    for delta in attached.deltas.values():
        before, now = projection(plain, delta.key).weight.detach(), projection(model, delta.key).weight.detach()
        change = 2 * (delta.B @ delta.core @ delta.A).detach()
        told("lamda", "the pretrained weight", f"W − s·B·S·A plus s·B·S·A at the start, init {init}", float((now + change - before).abs().max()), "bert")
        torch.testing.assert_close(now + change, before, atol=1e-5, rtol=0)
        assert STARTS[init].residual == bool(change.any()) == (not torch.equal(now, before))
        if init in ("spectral", "spectral-minor", "spectral-zero-core"):
            u, sigma, vh = np.linalg.svd(before.double().numpy(), full_matrices=False)
            kept = slice(-6, None) if init == "spectral-minor" else slice(0, 6)
            for mine, theirs in ((delta.B.detach().T, u.T[kept]), (delta.A.detach(), vh[kept])):  # equal but for signs
                np.testing.assert_allclose(np.abs((mine.double().numpy() * theirs).sum(1)), 1, atol=1e-4)
            if init != "spectral-zero-core":
                np.testing.assert_allclose(change.double().numpy(), (u[:, kept] * sigma[kept]) @ vh[kept], atol=1e-5)


@pytest.mark.parametrize("preset", ["pissa", "milora", "olora", "lora-xs"])
def test_a_start_without_a_square_core_is_the_papers(preset: str) -> None:
    """Against numpy: B·A, and what the weight keeps; for PiSSA and MiLoRA the singular values in halves on either side."""
    model, plain = copy.deepcopy(pristine()), pristine()
    attached = attach(model, load_method(preset, {"deltas.0.at": AT, "deltas.0.rank": 6, "deltas.0.alpha": 9.0}), seed=1)
    s, errors = 1.5, []
    for delta in attached.deltas.values():
        before, now = (projection(each, delta.key).weight.detach().double().numpy() for each in (plain, model))
        a, b = delta.A.detach().double().numpy(), delta.B.detach().double().numpy()
        u, sigma, vh = np.linalg.svd(before, full_matrices=False)
        pick = slice(-6, None) if preset == "milora" else slice(0, 6)
        if preset == "olora":
            q, r = np.linalg.qr(before)
            wanted = q[:, :6] @ r[:6]
            assert np.allclose(b.T @ b, np.eye(6), atol=1e-5) and np.allclose(np.tril(a[:, :6], -1), 0, atol=1e-6)
        else:
            wanted = (u[:, pick] * sigma[pick]) @ vh[pick]
            sides = (np.sqrt(sigma[pick] / s),) * 2 if preset != "lora-xs" else (sigma[pick], np.ones(6))
            for lengths, expected in zip((np.linalg.norm(a, axis=1), np.linalg.norm(b, axis=0)), sides, strict=True):
                np.testing.assert_allclose(lengths, expected, atol=1e-5)
        if preset == "lora-xs":
            np.testing.assert_allclose(now, before, atol=0)
            assert 0 < float(delta.core.detach().abs().max()) < 6e-5 and not delta.A.requires_grad and not delta.B.requires_grad
            errors.append(np.abs(b @ a - wanted).max())
        else:
            errors += [np.abs(s * b @ a - (s * wanted if preset == "olora" else wanted)).max(), np.abs(now + s * b @ a - before).max()]
    told(preset, "numpy's SVD and QR of the weights", "what A and B start as, and the weight that stays", max(errors), "bert")
    assert max(errors) < 1e-5


def test_a_core_from_zero_leaves_the_weight_alone_and_obeys_the_laws() -> None:
    options = {"at": AT, "form": "lowrank", "rank": 5, "core": "square", "init": "spectral-zero-core", "scale": "learned", "norm": "in"}
    check_laws("bert", validate(Method, {"deltas": [options]}))
    check_laws("gpt2", lamda("spectral-zero-core"))
    model = copy.deepcopy(pristine())
    attached = attach(model, lamda("spectral-zero-core"), seed=1)
    attached.begin(100)
    model(**tiny_batch(model)).loss.backward()
    assert all(delta.core.grad.any() for delta in attached.deltas.values()), "the core learns from the first step"


@pytest.mark.parametrize("init", ["spectral", "spectral-random", "spectral-zero-core"])
def test_dropout_with_a_spectral_start(init: str) -> None:
    """h = W_res·x + b + s·B·S·A·dropout(x), at training mode, with the same mask; in eval the model starts unchanged."""
    model, plain = copy.deepcopy(pristine()), pristine()
    attached = attach(model, lamda(init, dropout=0.5, scale=1.5), seed=1)
    batch = tiny_batch(model)
    with torch.no_grad():
        assert (model(**batch).logits - plain(**batch).logits).abs().max() < 1e-5
    model.train()
    for delta in attached.deltas.values():
        with torch.no_grad():
            delta.core.add_(0.3 * torch.randn(delta.core.shape, generator=torch.Generator().manual_seed(2)))
        module = projection(model, delta.key)
        x = torch.randn((2, 7, module.in_features), generator=torch.Generator().manual_seed(3))
        torch.manual_seed(11)
        mine = module(x)
        torch.manual_seed(11)
        expected = F.linear(x, module.weight, module.bias) + 1.5 * F.dropout(x, 0.5) @ (delta.B @ delta.core @ delta.A).T
        told(
            "lamda",
            "W_res·x + b + s·B·S·A·dropout(x), with the same mask",
            "outputs in training",
            float((mine - expected).detach().abs().max()) / max(1.0, float(expected.detach().abs().max())),
            "bert",
        )
        torch.testing.assert_close(mine, expected, atol=1e-5, rtol=1e-5)
        assert (mine - F.linear(x, module.weight, module.bias) - 1.5 * x @ (delta.B @ delta.core @ delta.A).T).abs().max() > 1e-3


@pytest.mark.parametrize("within", ["shape", "all"])
@pytest.mark.parametrize("order", ["larger-where-more-is-lost", "larger-where-less-is-lost", "random"])
def test_the_energy_that_ranks_keep_is_told_of_both_orders(order: str, within: str) -> None:
    allocation = {"name": "energy", "rank_min": 2, "rank_max": 12, "order": order, "within": within}
    model = copy.deepcopy(pristine())
    attached = attach(model, load_method("lamda-plus-plus", {"deltas.0.rank": 7, "deltas.0.allocation": allocation}), seed=1)
    said = attached.measurements()
    energies, worst = {}, 0.0
    for delta in attached.deltas.values():
        weight = attached.binder.target(delta)[0].weight() + delta.B @ delta.core @ delta.A
        energy = np.cumsum(np.linalg.svd(weight.detach().double().numpy(), compute_uv=False) ** 2)
        energies[delta.key] = energy / energy[-1]
        worst = max(worst, abs(said[f"energy/{delta.key}"] - (energies[delta.key][11] - energies[delta.key][1])))
        assert said[f"energy/{delta.key}"] == pytest.approx(energies[delta.key][11] - energies[delta.key][1], abs=1e-4)
    told("lamda-plus-plus", "numpy's singular values", "energy scores of the projections", worst, "bert")
    mine = np.mean([energies[delta.key][delta.A.shape[0] - 1] for delta in attached.deltas.values()])
    assert said[f"energy_kept/{order}"] == pytest.approx(mine, abs=1e-4)
    assert said["energy_kept/larger-where-more-is-lost"] > said["energy_kept/larger-where-less-is-lost"]
    ranks = [delta.A.shape[0] for delta in attached.deltas.values()]
    assert (min(ranks), max(ranks), sum(ranks)) == (2, 12, 7 * len(ranks))


def test_principal_components_come_batch_by_batch() -> None:
    """As many directions as there are: what three batches give is what numpy finds in all of their rows at once."""
    rows = torch.randn(60, 12, generator=torch.Generator().manual_seed(1)) * torch.linspace(3, 0.1, 12) + 2.0
    known = Components(12)
    for batch in rows.split([25, 5, 30]):
        known.add(batch)
    centred = (rows - rows.mean(0)).double().numpy()
    _, sigma, vh = np.linalg.svd(centred, full_matrices=False)
    worst = max(np.abs(known.sigma.numpy() - sigma).max() / sigma[0], np.abs(np.abs((known.directions.numpy() * vh).sum(1)) - 1).max())
    told("eva", "numpy's SVD of all rows at once", "principal components, taken in batch by batch", worst, "numbers")
    assert worst < 1e-5
    np.testing.assert_allclose(known.shares, sigma**2 / (centred**2).sum(), atol=1e-6)


@pytest.mark.parametrize(("form", "of"), [("lowrank", "weight-times-gradient"), ("bottleneck", "gradient")])
def test_rank_goes_where_the_loss_feels_the_weight(form: str, of: str) -> None:
    at = ["attn.q", "attn.v", "ffn.up"]
    sharing = {"name": "sensitivity", "rank_min": 2, "rank_max": 8, "within": "all", "of": of}
    method = validate(Method, {"deltas": [{"at": at, "form": form, "insertion": "parallel", "rank": 5, "allocation": sharing}]})
    model, plain = copy.deepcopy(pristine()), copy.deepcopy(pristine())
    with pytest.raises(Refusal, match="Rows of the training data"):
        attach(model, method)
    attached = attach(model, method, seed=1, look=looking_at(model, "bert"))
    for loss in looking_at(plain, "bert")(32, 1):
        loss.backward()
    said, ranks, scores = attached.measurements(), {}, {}
    for delta in attached.deltas.values():
        layer = plain.base_model.encoder.layer[delta.site.layer]
        weight = {"attn.q": layer.attention.self.query, "attn.v": layer.attention.self.value, "ffn.up": layer.intermediate.dense}[
            delta.site.representation
        ].weight
        wanted = (weight.grad * (weight.detach() if of != "gradient" else 1)).abs().mean()
        assert said[f"sensitivity/{delta.key}"] == pytest.approx(float(wanted), rel=1e-4)
        ranks[delta.key], scores[delta.key] = said[f"rank/{delta.key}"], float(wanted)
    order = sorted(scores, key=scores.__getitem__)
    assert (
        [ranks[key] for key in order] == sorted(ranks.values())
        and sum(ranks.values()) == 5 * len(ranks)
        and (min(ranks.values()), max(ranks.values())) == (2, 8)
    )
