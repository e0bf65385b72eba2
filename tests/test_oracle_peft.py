"""Same weights, same inputs: same outputs and same gradients as peft, in fp32 on the CPU, to 1e-5 of their size.

Compared are the logits, the gradient of every trained tensor and that of the input embeddings, under a random projection of the
logits at real positions. What peft does otherwise, and is therefore not here:
- its AdaLoRA has no layer for GPT-2's Conv1D; it divides by r + 1e-5, which alpha makes up for here;
- its prefix for an encoder-decoder reaches the decoder's self-attention alone, and encoders of transformers 5 take no cache;
- its classification pools the first virtual token, so prompts on BERT are compared by the hidden states of real tokens;
- its LoRA-FA is an optimizer over LoRA: forward and gradients are LoRA's with A frozen.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
import importlib
import sys
from types import SimpleNamespace

import peft
import pytest
import torch
from comparing import told
from oracles import peft_forms, peft_side
from peft.optimizers import create_loraplus_optimizer
from peft.tuners.lora.config import CordaConfig
from spread import pairs
from tiny import tiny, tiny_batch

from lab.design.method.forms import FORMS
from lab.design.method.named import load_method
from lab.design.spec.run import RunSpec
from lab.engine import attach
from lab.training.optimizers import make_optimizer

pytestmark = [pytest.mark.oracle, pytest.mark.filterwarnings("ignore::UserWarning")]  # peft on Conv1D and on norms

TOLERANCE = 1e-5
PEFT = f"peft {peft.__version__}"
OBJECTIVE = {"bert": "classification", "bart": "seq2seq", "t5": "seq2seq", "gpt2": "causal", "llama": "causal"}
ALL_LINEAR = ["attn.q", "attn.k", "attn.v", "attn.out", "ffn.up", "ffn.down"]


@functools.cache
def pristine(architecture: str, objective: str | None):
    return tiny(architecture, objective)


def outputs(model, batch, first: int = 0) -> torch.Tensor:
    """Logits, or hidden states of a model without a head; peft gives those of virtual tokens too, before position `first`."""
    result = model(**batch)
    values = result.logits if "logits" in result else result.last_hidden_state
    return values[:, first:]


def projected(values: torch.Tensor, batch) -> torch.Tensor:
    """A random projection of the values at real positions: mean squares of normed outputs have no gradient."""
    weights = torch.randn(values.shape, generator=torch.Generator().manual_seed(11))
    if values.dim() == 3 and values.shape[1] == batch["attention_mask"].shape[1]:
        weights = weights * batch["attention_mask"][..., None]
    return (values * weights).sum()


def close(name: str, mine: torch.Tensor, theirs: torch.Tensor) -> float:
    """The error, relative to the size of what is compared."""
    assert mine is not None and theirs is not None, f"{name} has no gradient on one side"
    assert mine.shape == theirs.shape, name
    mine, theirs = mine.detach(), theirs.detach()
    error, size = float((mine - theirs).abs().max()), max(1.0, float(theirs.abs().max()))
    assert error <= TOLERANCE * size, f"{name}: {error:.1e} apart, of {size:.2g}"
    return error / size


def compare(architecture: str, method, build, objective="of the architecture", dtype: torch.dtype = torch.float32) -> None:
    """Outputs and gradients of ours and peft's; `dtype`: in which both compute."""
    objective = OBJECTIVE[architecture] if objective == "of the architecture" else objective
    ours = copy.deepcopy(pristine(architecture, objective))
    attached = attach(ours, method, seed=1)
    theirs, pairs = build(copy.deepcopy(pristine(architecture, objective)), attached)
    with torch.no_grad():
        for pair in pairs:
            pair.mine.copy_(pair.ours(pair.theirs))
    assert {id(p) for p in attached.trainable().values()} <= {id(pair.mine) for pair in pairs}, "a trained tensor has no partner"
    batch = tiny_batch(ours, labels=objective == "seq2seq")
    virtual = method.deltas[0].rank if method.deltas and method.deltas[0].form == "tokens" and objective != "seq2seq" else 0
    ours, theirs = ours.to(dtype), theirs.to(dtype)
    tables = [model.get_input_embeddings().weight.requires_grad_(True) for model in (ours, theirs.get_base_model())]
    mine, other = outputs(ours.eval(), batch), outputs(theirs.eval(), batch, virtual)
    plain = outputs(pristine(architecture, objective), batch)
    assert (mine - plain).abs().max() > 1e-3, "nothing would be compared"
    told(method.preset, PEFT, "outputs", close("logits", mine, other), architecture)
    projected(mine, batch).backward()
    projected(other, batch).backward()
    errors = [close("input embeddings", tables[0].grad, tables[1].grad)]
    errors += [close(pair.name, pair.mine.grad, pair.ours(pair.theirs.grad)) for pair in pairs if pair.mine.requires_grad]
    told(method.preset, PEFT, "gradients", max(errors), architecture)


@pytest.mark.parametrize("at", ["attention", "all"])
@pytest.mark.parametrize("preset", ["lora", "lora-fa"])
@pytest.mark.parametrize("architecture", OBJECTIVE)
def test_lora(architecture: str, preset: str, at: str) -> None:
    fused = architecture == "gpt2"
    places = {"attention": ["attn.qkv"] if fused else ["attn.q", "attn.v"], "all": ["attn.qkv", "attn.out", "ffn.up", "ffn.down"] if fused else ALL_LINEAR}[at]
    places = places + ["ffn.gate"] if architecture == "llama" and at == "all" else places
    compare(architecture, load_method(preset, {"deltas.0.at": places, "deltas.0.rank": 5, "deltas.0.alpha": 12.0}), peft_side.lora)


WHOLE = {"gpt2": ["attn.qkv", "ffn.up", "ffn.down"], "llama": ["attn.q", "attn.v", "attn.out", "ffn.gate", "ffn.down"]}  # whole projections, not slices


def of(preset: str, architecture: str, **changes):
    """A preset at whole projections of a tiny model."""
    return load_method(preset, {"deltas.0.at": WHOLE.get(architecture, ["attn.q", "attn.v", "attn.out", "ffn.down"]), **changes})


@pytest.mark.parametrize("architecture", OBJECTIVE)
def test_dora(architecture: str) -> None:
    compare(architecture, of("dora", architecture, **{"deltas.0.rank": 5, "deltas.0.alpha": 12.0}), peft_side.dora)


SEEING = {"dora": peft_side.dora, "hira": peft_side.hira}  # compositions that see the weight


@pytest.mark.parametrize("architecture", ["bert", "gpt2", "llama"])
def test_hira(architecture: str) -> None:
    compare(architecture, of("hira", architecture, **{"deltas.0.rank": 5}), peft_side.hira)


@pytest.mark.parametrize(("preset", "architecture"), [("dora", "bert"), ("dora", "gpt2"), ("dora", "t5"), ("hira", "gpt2")])
def test_what_sees_the_weight_drops_what_peft_drops_and_merges_to_its_weights(preset: str, architecture: str) -> None:
    """In training, the same random numbers on the input; merged, the same weights."""
    method = of(preset, architecture, **{"deltas.0.rank": 5, "deltas.0.dropout": 0.2, **({"deltas.0.alpha": 12.0} if preset == "dora" else {})})
    drop_and_merge(architecture, method, SEEING[preset])


def drop_and_merge(architecture: str, method, build) -> None:
    """In training, outputs and gradients under the same random numbers; merged, the weights."""
    ours, theirs = (copy.deepcopy(pristine(architecture, OBJECTIVE[architecture])) for _ in range(2))
    attached = attach(ours, method, seed=1)
    theirs, pairs = build(theirs, attached)
    with torch.no_grad():
        for pair in pairs:
            pair.mine.copy_(pair.ours(pair.theirs))
    batch = tiny_batch(ours)
    found = []
    for model in (ours.train(), theirs.train()):
        torch.manual_seed(3)
        found.append(outputs(model, batch))
        projected(found[-1], batch).backward()
    close("logits", *found)
    for pair in pairs:
        if pair.mine.requires_grad:
            close(pair.name, pair.mine.grad, pair.ours(pair.theirs.grad))
    attached.merge()
    for _, path, delta in peft_side.sites(attached):
        layer = theirs.get_base_model().get_submodule(path)
        layer.merge()
        told(method.preset, PEFT, "merged weights", close(path, attached.binder.target(delta)[0].module.weight, layer.get_base_layer().weight), architecture)


def form_of(case: str, architecture: str, **changes):
    """(method, builder) of a form of its own at projections of unequal widths; no method where peft has no layer for GPT-2's Conv1D."""
    preset, small, build = peft_forms.FORMS[case]
    if architecture == "gpt2" and not FORMS[load_method(preset).deltas[0].form].peft_conv1d:
        return None, build
    at = {"gpt2": ["attn.qkv", "ffn.up"], "llama": ["attn.q", "attn.v", "ffn.down"]}.get(architecture, ["attn.q", "ffn.up", "ffn.down"])
    return load_method(preset, {"deltas.0.at": at, **small, **changes}), build


@pytest.mark.parametrize(("case", "architecture"), pairs(peft_forms.FORMS, list(OBJECTIVE), 2))
def test_forms_with_a_type_of_their_own(case: str, architecture: str) -> None:
    method, build = form_of(case, architecture)
    if method is not None:  # gradients of scalings are sums over whole matrices, whose rounding in fp32 is at the bound
        compare(architecture, method, build, dtype=torch.float64 if case == "randlora" else torch.float32)


@pytest.mark.parametrize(("case", "dropout"), [*((case, 0.0) for case in peft_forms.FORMS), *((case, 0.2) for case in peft_forms.DROPPING)])
def test_forms_drop_what_peft_drops_and_merge_to_its_weights(case: str, dropout: float) -> None:
    method, build = form_of(case, "bert", **{"deltas.0.dropout": dropout})
    drop_and_merge("bert", method, build)


@pytest.mark.parametrize("architecture", ["bert", "t5", "llama"])
@pytest.mark.parametrize("preset", ["pissa", "olora"])
def test_a_start_that_leaves_the_residual_in_the_weight(preset: str, architecture: str) -> None:
    """The same A, B and base weight as peft at the start; moved from there, the same outputs and gradients, and merged, the same weights."""

    def build(model, attached):
        theirs, pairs = peft_side.started(model, attached, preset)
        bases = [(attached.binder.target(delta)[0].module.weight, theirs.get_base_model().get_submodule(path)) for _, path, delta in peft_side.sites(attached)]
        worst = [close(pair.name, pair.mine, pair.theirs) for pair in pairs] + [close("W", mine, layer.get_base_layer().weight) for mine, layer in bases]
        told(preset, PEFT, "A, B and the weight that stays, at the start", max(worst), architecture)
        generator = torch.Generator().manual_seed(7)
        with torch.no_grad():
            for pair in pairs:
                pair.theirs.add_(0.03 * torch.randn(pair.theirs.shape, generator=generator))
        merged = copy.deepcopy(theirs).merge_and_unload()
        with torch.no_grad():
            for pair in pairs:
                pair.mine.copy_(pair.theirs)
        attached.merge()
        for (mine, _), (_, path, _) in zip(bases, peft_side.sites(attached), strict=True):
            told(preset, PEFT, "merged weights", close(path, mine, merged.get_submodule(path).weight), architecture)
        attached.unmerge()
        return theirs, pairs

    compare(architecture, load_method(preset, {"deltas.0.rank": 5, "deltas.0.alpha": 12.0}), build)


def many_tokens(model, rows: int = 4) -> dict[str, torch.Tensor]:
    """Rows of up to 14 tokens: more tokens than the models are wide."""
    ids = torch.randint(5, model.config.vocab_size, (rows, 14), generator=torch.Generator().manual_seed(4))
    mask = torch.ones_like(ids)
    mask[1, 11:] = mask[3, 9:] = 0
    return {"input_ids": ids, "attention_mask": mask}


@pytest.mark.parametrize("architecture", ["bert", "llama"])
def test_eva_has_the_directions_and_ranks_that_peft_has(architecture: str) -> None:
    """Of projections 32 wide, where peft's SVD of 2·16 directions is exact: each A up to signs, and how many directions every projection gets."""
    plain = pristine(architecture, OBJECTIVE[architecture])
    sharing = {"name": "explained-variance", "rank_min": 1, "rank_max": 16, "within": "all"}
    method = load_method("eva", {"deltas.0.at": ["attn.q", "attn.out", "ffn.up"], "deltas.0.rank": 8, "deltas.0.allocation": sharing})
    ours, batch = copy.deepcopy(plain), many_tokens(plain)
    attached = attach(ours, method, look=lambda rows, size: iter([outputs(ours, batch)]))
    places = peft_side.sites(attached)
    config = peft.LoraConfig(r=8, target_modules=[path for _, path, _ in places], init_lora_weights="eva", eva_config=peft.EvaConfig(rho=2.0, tau=0.99))
    theirs = peft.tuners.lora.eva.get_eva_state_dict(copy.deepcopy(plain), [batch], config, show_progress_bar=False)
    errors = []
    for _, path, delta in places:
        assert len(theirs[path]) == len(delta.A), path
        errors.append(close(path, (delta.A * theirs[path]).sum(1).abs(), torch.ones(len(delta.A))))
    assert len({len(delta.A) for *_, delta in places}) > 2, "nothing is shared out"
    told("eva", PEFT, "directions of the inputs (up to signs), and ranks", max(errors), architecture)


@pytest.mark.parametrize("architecture", ["bert", "llama"])
def test_corda_starts_from_peft_s_covariance(architecture: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twelve rows, one at a time, so that the covariance has an inverse: the same change B·A leaves the weight, in the same directions."""
    monkeypatch.setitem(sys.modules, "attr", SimpleNamespace(dataclass=dataclasses.dataclass))  # all that peft has attrs for there
    preprocess_corda = importlib.import_module("peft.tuners.lora.corda").preprocess_corda
    plain = copy.deepcopy(pristine(architecture, OBJECTIVE[architecture])).double()
    method = load_method("corda", {"deltas.0.at": ["attn.q", "attn.out", "ffn.down"], "deltas.0.rank": 5, "deltas.0.alpha": 12.0})
    ours, theirs, batch = copy.deepcopy(plain), copy.deepcopy(plain), many_tokens(plain, 16)
    rows = [{name: tensor[row : row + 1] for name, tensor in batch.items()} for row in range(4, 16)]
    attached = attach(ours, method, look=lambda count, size: (outputs(ours, row) for row in rows))
    places = peft_side.sites(attached)
    config = peft.LoraConfig(r=5, lora_alpha=12, target_modules=[path for _, path, _ in places], init_lora_weights="corda", corda_config=CordaConfig())
    with monkeypatch.context() as exact:  # an inverse magnifies what fp32 rounds away, by as much as this machine's kernels do
        exact.setattr(torch.Tensor, "float", torch.Tensor.double)
        preprocess_corda(theirs, config, run_model=lambda: [theirs(**row) for row in rows])
    theirs, errors = peft.get_peft_model(theirs.float(), config), []
    for _, path, delta in places:
        layer = theirs.get_base_model().get_submodule(path)
        a, b = layer.lora_A["default"].weight, layer.lora_B["default"].weight
        errors += [close(path, delta.B @ delta.A, b @ a), close(path, attached.binder.target(delta)[0].weight(), layer.get_base_layer().weight)]
        errors += [close(path, mine.norm(dim=1), other.norm(dim=1)) for mine, other in ((delta.A, a), (delta.B.T, b.T))]
    told("corda", PEFT, "B·A, its sides and the weight that stays, at the start", max(errors), architecture)


@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
def test_lora_ga_starts_from_the_gradient(architecture: str) -> None:
    """A and B are those of the authors' code, and the singular vectors that peft takes (which scales B by singular values besides)."""
    plain = pristine(architecture, "causal")
    method = load_method("lora-ga", {"deltas.0.at": ["attn.out", "ffn.down"], "deltas.0.rank": 8, "deltas.0.alpha": 6.0})
    ours, batch = copy.deepcopy(plain), many_tokens(plain)
    batch["labels"] = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)
    attached = attach(ours, method, look=lambda rows, size: iter([ours(**batch).loss]))
    places = peft_side.sites(attached)
    paths = [path for _, path, _ in places]
    model = copy.deepcopy(plain)
    model(**batch).loss.backward()
    config = peft.LoraConfig(r=8, lora_alpha=6, use_rslora=True, target_modules=paths, init_lora_weights="lora_ga", lora_ga_config=peft.LoraGAConfig())
    other = copy.deepcopy(plain)
    peft.tuners.lora.loraga.preprocess_loraga(other, config, lambda: other(**batch).loss.backward())
    theirs, errors, same = peft.get_peft_model(other, config), [], []
    for _, path, delta in places:
        module = model.get_submodule(path)
        gradient, weight = (t.detach().T if architecture == "gpt2" else t.detach() for t in (module.weight.grad, module.weight))
        u, _, vh = torch.linalg.svd(gradient.double(), full_matrices=False)
        size = weight.shape[0] ** 0.25 / 16**0.5
        for mine, wanted in ((delta.A.double() / size, vh[:8]), (delta.B.double().T / size, u[:, 8:16].T)):
            errors.append(close(path, (mine * wanted).sum(1).abs(), torch.ones(8, dtype=torch.float64)))
        now = attached.binder.target(delta)[0].weight()
        errors.append(close(path, now + 6 / 8**0.5 * delta.B @ delta.A, weight))
        layer = theirs.get_base_model().get_submodule(path)
        a, b = layer.lora_A["default"].weight, layer.lora_B["default"].weight
        same += [
            close(path, (x / x.norm(dim=1, keepdim=True) * y / y.norm(dim=1, keepdim=True)).sum(1).abs(), torch.ones(8))
            for x, y in ((delta.A, a), (delta.B.T, b.T))
        ]
    told("lora-ga", "the authors' formula on autograd's gradients", "A, B and the weight that stays, at the start", max(errors), architecture)
    told("lora-ga", PEFT, "directions of A and B", max(same), architecture)


@pytest.mark.parametrize("architecture", ["bert", "t5", "llama"])
def test_rslora(architecture: str) -> None:
    method = load_method("rslora", {"deltas.0.rank": 7, "deltas.0.alpha": 12.0})
    assert method.deltas[0].strength == pytest.approx(12 / 7**0.5)
    compare(architecture, method, peft_side.lora)


@pytest.mark.parametrize("architecture", ["bert", "llama"])
def test_lora_plus_moves_both_maps_as_peft_does(architecture: str) -> None:
    """Three steps of AdamW, B with sixteen times the learning rate of A, which the method itself says."""
    method = load_method("lora-plus", {"deltas.0.rank": 5, "deltas.0.alpha": 12.0})
    given = RunSpec(model="m", task="sentiment-rt", method=method, training={"lr": 1e-3})
    ours = copy.deepcopy(pristine(architecture, OBJECTIVE[architecture]))
    attached = attach(ours, method, seed=1)
    theirs, pairs = peft_side.lora(copy.deepcopy(pristine(architecture, OBJECTIVE[architecture])), attached)
    with torch.no_grad():
        for pair in pairs:
            pair.mine.copy_(pair.theirs)
    before = {pair.name: pair.mine.detach().clone() for pair in pairs}
    own = make_optimizer(attached.parameter_groups(given.lr, 0.01, given.lr_ratio), given.training, given.lr, 0.01, "cpu")
    other = create_loraplus_optimizer(theirs, torch.optim.AdamW, lr=1e-3, loraplus_lr_ratio=16.0, loraplus_weight_decay=0.01)
    batch = tiny_batch(ours)
    for _ in range(3):
        for model, optimizer in ((ours, own), (theirs, other)):
            optimizer.zero_grad()
            projected(outputs(model, batch), batch).backward()
            optimizer.step()
    for pair in pairs:
        told("lora-plus", f"{PEFT}, its create_loraplus_optimizer", "weights after three steps", close(pair.name, pair.mine, pair.theirs), architecture)
        moved = float((pair.mine - before[pair.name]).abs().mean())
        assert (0.02 < moved < 0.06) if pair.name.endswith(".B") else (0.001 < moved < 0.004), (pair.name, moved)


@pytest.mark.parametrize("architecture", ["bert", "bart", "t5", "llama"])
def test_adalora_forward(architecture: str) -> None:
    alpha = 16 * 6 / (6 + 1e-5)
    compare(architecture, load_method("adalora", {"deltas.0.rank": 6, "deltas.0.alpha": alpha, "deltas.0.schedule.target_rank": 3}), peft_side.adalora)


@pytest.mark.parametrize("architecture", OBJECTIVE)
def test_vera(architecture: str) -> None:
    at = {"gpt2": ["attn.qkv", "ffn.up"], "llama": ["attn.q", "attn.v", "ffn.down"]}.get(architecture, ["attn.q", "ffn.up", "ffn.down"])
    compare(architecture, load_method("vera", {"deltas.0.at": at, "deltas.0.rank": 9}), peft_side.vera)


@pytest.mark.parametrize("architecture", OBJECTIVE)
def test_ia3(architecture: str) -> None:
    at = ["attn.qkv", "ffn.act"] if architecture == "gpt2" else ["attn.k", "attn.v", "ffn.act"]
    compare(architecture, load_method("ia3", {"deltas.0.at": at}), peft_side.ia3)


@pytest.mark.parametrize("architecture", OBJECTIVE)
def test_ln_tuning(architecture: str) -> None:
    compare(architecture, load_method("ln-tuning"), peft_side.ln_tuning)


@pytest.mark.parametrize(("architecture", "score"), [("bert", "random"), ("llama", "magnitude"), ("t5", "random"), ("bart", "magnitude")])
def test_shira(architecture: str, score: str) -> None:
    """Of a size as peft counts it; merged, the same weights."""
    method = load_method("shira", {"select.rank": 2, "select.score": score})
    compare(architecture, method, peft_side.shira)
    ours = copy.deepcopy(pristine(architecture, OBJECTIVE[architecture]))
    attached = attach(ours, method, seed=1)
    theirs, pairs = peft_side.shira(copy.deepcopy(pristine(architecture, OBJECTIVE[architecture])), attached)
    with torch.no_grad():
        for pair in pairs:
            pair.mine.copy_(pair.theirs)
    for pair in pairs:
        layer = theirs.get_base_model().get_submodule(pair.name)
        layer.merge()
        told("shira", PEFT, "merged weights", close(pair.name, ours.get_submodule(pair.name).weight, layer.get_base_layer().weight), architecture)


@pytest.mark.parametrize(("architecture", "preset"), [("gpt2", "prefix-tuning"), ("llama", "prefix-tuning"), ("gpt2", "prefix-tuning-mlp")])
def test_prefix_tuning(architecture: str, preset: str) -> None:
    options = {"deltas.0.rank": 4, "deltas.0.positions": "shift", "deltas.0.encoder_width": 13}
    compare(architecture, load_method(preset, options), peft_side.prefix)


@pytest.mark.parametrize("architecture", ["bert", "llama"])
def test_lily(architecture: str) -> None:
    compare(architecture, load_method("lily", {"deltas.0.rank": 5, "deltas.1.rank": 5}), peft_side.lily)


def test_llama_adapter() -> None:
    compare("llama", load_method("llama-adapter", {"deltas.0.rank": 4}), peft_side.adaption_prompt)


PROMPTED = [("gpt2", "causal"), ("llama", "causal"), ("bart", "seq2seq"), ("t5", "seq2seq"), ("bert", None)]


@pytest.mark.parametrize(("architecture", "objective"), PROMPTED)
def test_prompt_tuning(architecture: str, objective: str | None) -> None:
    compare(architecture, load_method("prompt-tuning", {"deltas.0.rank": 5}), functools.partial(peft_side.prompt, objective=objective), objective)


@pytest.mark.parametrize("encoder", ["mlp", "lstm"])
@pytest.mark.parametrize(("architecture", "objective"), PROMPTED)
def test_p_tuning(architecture: str, objective: str | None, encoder: str) -> None:
    method = load_method("p-tuning", {"deltas.0.rank": 5, "deltas.0.encoder": encoder, "deltas.0.encoder_width": 13})
    compare(architecture, method, functools.partial(peft_side.p_tuning, objective=objective), objective)


def test_adalora_keeps_the_triplets_that_peft_keeps() -> None:
    """The same gradients for 60 steps: Λ, the budget and the choice are the same after every step (peft's RankAllocator)."""
    total, start, finish = 60, 6, 18
    schedule = {"target_rank": 2, "start": start / total, "finish": finish / total, "every": 4}
    method = load_method("adalora", {"deltas.0.rank": 5, **{f"deltas.0.schedule.{name}": value for name, value in schedule.items()}})
    attached = attach(copy.deepcopy(pristine("bert", "classification")), method, seed=1)
    theirs, pairs = peft_side.adalora(copy.deepcopy(pristine("bert", "classification")), attached, total, tinit=start, tfinal=finish, deltaT=4)
    with torch.no_grad():
        for pair in pairs:
            pair.mine.copy_(pair.ours(pair.theirs))
    allocator = theirs.base_model.rankallocator
    attached.begin(total)
    (mine,) = attached.schedules.values()
    generator = torch.Generator().manual_seed(3)
    for step in range(1, total + 1):
        for pair in pairs:
            pair.theirs.grad = torch.randn(pair.theirs.shape, generator=generator)
            pair.mine.grad = pair.ours(pair.theirs.grad).clone()
            with torch.no_grad():
                pair.theirs -= 0.02 * pair.theirs.grad
                pair.mine -= 0.02 * pair.mine.grad
        attached.after_step(step)
        budget, pattern = allocator.update_and_allocate(theirs.base_model.model, step)
        assert mine.budget(step) == (budget, pattern is not None)
        for pair in pairs:
            told(
                "adalora",
                f"{PEFT}, its RankAllocator",
                "weights and masks after each of 60 steps",
                close(f"{pair.name} after step {step}", pair.mine, pair.ours(pair.theirs)),
                "bert",
            )
        if pattern is not None:
            assert sum(int(kept.sum()) for kept in mine.kept.values()) == budget == sum(map(sum, pattern.values()))
