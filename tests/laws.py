"""The seven laws that hold for every method, as functions over a model and a method, for the registry and for free combinations alike."""

from __future__ import annotations

import copy
import functools
from typing import Any

import torch
from tiny import ARCHITECTURES, DECODERS, DROPOUTS, ENCODERS, VARIANTS, tiny, tiny_batch

from lab.design.body.model import Inventory
from lab.design.method.count import count_on
from lab.design.method.delta import Method
from lab.design.method.parts import leaves_unchanged
from lab.design.plain.refusal import Refusal
from lab.engine import attach, body_of
from lab.models.inventory import measure_model

OBJECTIVES = {name: "classification" if name in ENCODERS else "causal" if name in DECODERS else "seq2seq" for name in ARCHITECTURES}
OBJECTIVES.update({name: OBJECTIVES[name.partition("+")[0]] for name in VARIANTS})
SIX = ("bert", "deberta_v2", "bart", "t5", "gpt2", "llama")  # of the default run: both norms, both attentions, fused or not, with and without biases
SMALL: dict[str, dict[str, Any]] = {  # tiny models are 32 wide
    "lokr": {"deltas.0.rank": 3}, "c3a": {"deltas.0.rank": 8}, "randlora": {"deltas.0.rank": 7, "deltas.0.alpha": 7.0}, "bat": {"deltas.0.rank": 8}, "fourierft": {"deltas.0.rank": 40},
    "vera": {"deltas.0.rank": 8}, "lamda": {"deltas.0.rank": 6}, "adapter-houlsby": {"deltas.0.rank": 5},
    "lamda-plus-plus": {"deltas.0.rank": 5, "deltas.0.allocation.rank_min": 2, "deltas.0.allocation.rank_max": 8},
    **{name: {"deltas.0.rank": 6} for name in ("pissa", "milora", "olora", "lora-xs", "rslora", "corda")}, "lora-ga": {"deltas.0.rank": 4},
    "eva": {"deltas.0.rank": 5, "deltas.0.allocation.rank_max": 8},
    "mam": {"deltas.0.encoder_width": 11, "deltas.1.rank": 7}, "lora-ffn": {"deltas.0.rank": 5}, "hira": {"deltas.0.rank": 5}, "oft": {"deltas.0.rank": 8}, "boft": {"deltas.0.rank": 4}, "prefix-lora-ffn": {"deltas.0.encoder_width": 11, "deltas.1.rank": 5}, "pa-attn-pa-ffn": {"deltas.1.rank": 7},
    "prefix-tuning-mlp": {"deltas.0.encoder_width": 11}, "unipelt-ap": {"deltas.1.encoder_width": 11}, "unipelt-apl": {"deltas.1.encoder_width": 11},
}  # fmt: skip


@functools.cache
def _pristine(architecture: str):
    return tiny(architecture, OBJECTIVES[architecture], **dict.fromkeys(dropouts(architecture), 0.2))


def dropouts(architecture: str) -> tuple[str, ...]:
    """Keys of a configuration's dropouts; none of Falcon, which has them where nothing can join behind."""
    return DROPOUTS.get(architecture.partition("+")[0], ())


def fresh(architecture: str):
    """A model of its own for one test."""
    return copy.deepcopy(_pristine(architecture))


@functools.cache
def inventory(architecture: str) -> Inventory:
    return measure_model(_pristine(architecture))


@functools.cache
def batch_of(architecture: str) -> dict[str, torch.Tensor]:
    return tiny_batch(_pristine(architecture))


def looking_at(model, architecture: str):
    """A look at as many rows of the batch, one by one."""
    batch = batch_of(architecture)
    return lambda rows, size: (
        model(**{name: tensor[row : row + 1] for name, tensor in batch.items()}).loss for row in range(min(rows, len(batch["input_ids"])))
    )


def logits(model, architecture: str) -> torch.Tensor:
    with torch.no_grad():
        return model(**batch_of(architecture)).logits


def dropped(model, architecture: str) -> torch.Tensor:
    """The logits in training mode, the model's dropouts on, with the same masks each time."""
    model.train()
    torch.manual_seed(11)
    found = logits(model, architecture)
    model.eval()
    return found


def snapshot(model) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


def as_it_was(model, architecture: str) -> bool:
    """No hook is left, and what trained before `attach` trains again (sinusoidal positions never do)."""
    required = {name: p.requires_grad for name, p in _pristine(architecture).named_parameters()}
    return hooks(model) == 0 and required == {name: p.requires_grad for name, p in model.named_parameters()}


def hooks(model) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())


def shake(attached, seed: int = 3) -> None:
    """Move every trained part away from its start, so that Δh is not zero."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in attached.trainable().items():
            size = 0.02 if name.startswith("select.") else 0.1
            parameter.add_(size * torch.randn(parameter.shape, generator=generator))


def check_refusal_touches_nothing(model, architecture: str, method: Method, before: dict[str, torch.Tensor]) -> str:
    """Law 7: refused with one sentence, the model untouched. Returns the sentence; raises AssertionError if it is accepted."""
    try:
        attach(model, method)
    except Refusal as refusal:
        sentence = str(refusal)
        assert sentence.endswith(".") and len(sentence) > 20 and "\n" not in sentence, sentence
        after = model.state_dict()
        assert before.keys() == after.keys() and all(torch.equal(before[k], after[k]) for k in before)
        assert as_it_was(model, architecture)
        return sentence
    raise AssertionError("accepted")


def check_laws(architecture: str, method: Method, steps: int = 4) -> None:
    """Laws 1 to 5 for a method that is accepted on this architecture."""
    model = fresh(architecture)
    before, plain, masked = snapshot(model), logits(model, architecture), dropped(model, architecture)
    assert not torch.equal(plain, masked) or not dropouts(architecture), "no dropout"
    attached = attach(model, method, seed=1, look=looking_at(model, architecture))
    _law_1_unchanged_at_start(model, architecture, method, plain)
    _law_5_count(attached, architecture, method)
    _law_2_only_declared_trains(model, attached, architecture, steps)
    _law_4_save_and_load(attached, architecture, method)
    _law_3_merge(model, attached, architecture)
    with attached.disabled():
        assert torch.equal(logits(model, architecture), plain), "disabled() is not the plain model"
        assert torch.equal(dropped(model, architecture), masked), "disabled() has other masks than the plain model"
    attached.detach()
    after = snapshot(model)
    assert before.keys() == after.keys() and all(torch.equal(before[k], after[k]) for k in before), "detach() changed the model"
    assert as_it_was(model, architecture)
    assert torch.equal(logits(model, architecture), plain) and torch.equal(dropped(model, architecture), masked)


def _law_1_unchanged_at_start(model, architecture: str, method: Method, plain: torch.Tensor) -> None:
    if all(leaves_unchanged(delta) for delta in method.deltas):
        difference = (logits(model, architecture) - plain).abs().max()
        assert difference <= 1e-5, f"attaching moved the logits by {difference:.1e}"


def _law_5_count(attached, architecture: str, method: Method) -> None:
    body = body_of(attached.model)
    said = count_on(method, body, inventory(architecture))
    real = attached.count()
    if method.select and method.select.what == "layers":  # which layers are drawn decides, where they are not alike
        assert abs(said.trainable - real["trainable"]) <= 0.25 * real["trainable"]
        return
    assert said.trainable == real["trainable"] == attached.trainable_now
    assert said.biases == real["biases"]
    assert list(said.by_delta.values()) == list(real["by_delta"].values())


def _law_2_only_declared_trains(model, attached, architecture: str, steps: int) -> None:
    """What changes over some steps is what was declared, and nothing that was declared stays still without reason."""
    model.train()
    torch.manual_seed(0)
    groups = attached.parameter_groups(lr=1e-2, weight_decay=0.1) or [{"params": [torch.nn.Parameter(torch.zeros(1))]}]
    optimizer = torch.optim.AdamW([{k: v for k, v in group.items() if k != "constant"} for group in groups])
    attached.begin(40, optimizer)
    before = {id(p): (name, p, p.detach().clone()) for name, p in model.named_parameters()}
    declared = {id(p) for p in attached.trainable().values()}
    always = set(declared) if not (attached.method.select and attached.method.select.what == "layers") else set()
    idle = _reached_by_nothing(model, attached, architecture)
    head = {id(p) for p in model.parameters() if p.requires_grad} - {id(p) for p in attached.trainable().values()}
    for step in range(1, steps + 1):
        declared |= {id(p) for p in attached.trainable().values()}  # LISA draws anew
        loss = model(**batch_of(architecture)).loss
        penalty = attached.penalty()
        if attached.trainable() or head:
            (loss if penalty is None else loss + penalty).backward()
        attached.after_backward(step)
        optimizer.step()
        attached.after_step(step)
        optimizer.zero_grad()
    for name, weight in attached.written().items():  # a fixed mask: its entries, and no other
        old, index = before[id(weight)][2].flatten(), attached.entries[name].index.long()
        outside = torch.ones(old.shape, dtype=torch.bool).index_fill(0, index, False)
        assert torch.equal(old[outside], weight.detach().flatten()[outside]), f"{name} changed outside its mask"
        declared.add(id(weight))
    changed = {key for key, (_, p, old) in before.items() if not torch.equal(p, old)}
    wrong = [before[key][0] for key in changed - declared]
    still = [before[key][0] for key in always - idle - changed]
    assert not wrong, f"changed without being declared: {wrong[:3]}"
    assert not still, f"declared but unchanged: {still[:3]}"
    assert not changed & head
    model.eval()


def _reached_by_nothing(model, attached, architecture: str) -> set[int]:
    """Own weights of the model that no loss reaches (a table that this batch does not use)."""
    loss = model(**batch_of(architecture)).loss
    chosen = [p for name, p in attached.trainable().items() if name.startswith("select.")]
    relu = {p for delta in attached.deltas.values() if delta.delta.nonlinearity == "relu" for p in delta.parameters()}
    dead = {id(p) for p in relu if p.shape[:1] == (1,) or 1 in p.shape}  # a bottleneck of 1 may have no live unit on a small batch
    # one vector added to all keys moves all scores of a query alike, which softmax does not see: such a gate's gradient is rounding, or exactly 0
    keys = [delta for delta in attached.deltas.values() if delta.form.name == "bias" and delta.site.representation == "attn.k"]
    dead |= {id(p) for delta in keys for name, p in delta.named_parameters() if name.startswith("gate")}
    # a classifier reads the first token: in the last layer nothing reaches it from a delta at the last ones
    ends = [delta for delta in attached.deltas.values() if delta.delta.ends and not delta.delta.ends[0] and OBJECTIVES[architecture] == "classification"]
    dead |= {id(p) for delta in ends if delta.site.layer + 1 == attached.body.stacks[0].layers for p in delta.parameters()}
    if not chosen:
        return dead
    gradients = torch.autograd.grad(loss, chosen, allow_unused=True)
    return dead | {id(p) for p, g in zip(chosen, gradients, strict=True) if g is None or not g.any()}


def _law_3_merge(model, attached, architecture: str) -> None:
    shake(attached)
    unmerged, masked, weights = logits(model, architecture), dropped(model, architecture), snapshot(model)
    try:
        attached.merge()
    except Refusal as refusal:
        assert "merge" in str(refusal)
        assert all(torch.equal(weights[k], v) for k, v in model.state_dict().items())
        return
    with torch.no_grad():
        size = max(1.0, float(unmerged.abs().max()))
    assert (logits(model, architecture) - unmerged).abs().max() <= 2e-5 * size
    own = any(delta.delta.dropout or delta.delta.inner_dropout for delta in attached.deltas.values())
    if not own and all(attached.binder.join(delta) == attached.binder.target(delta) for delta in attached.deltas.values()):
        assert (dropped(model, architecture) - masked).abs().max() <= 5e-5 * size, "merged, a projection's change passes through other dropouts"
    attached.unmerge()
    assert all(torch.equal(weights[k], v) for k, v in model.state_dict().items())
    assert torch.equal(logits(model, architecture), unmerged)


def _law_4_save_and_load(attached, architecture: str, method: Method) -> None:
    shake(attached, seed=5)
    state, trained = attached.state_dict(), logits(attached.model, architecture)
    other = fresh(architecture)
    _copy_head(attached.model, other)
    loaded = attach(other, method, seed=9, state=state)
    assert torch.equal(logits(other, architecture), trained), "save → load gives other outputs"
    assert loaded.state_dict().keys() == state.keys()
    if not (method.select and method.select.draws):  # by another seed, other layers
        assert list(loaded.may_train()) == list(attached.may_train()), "a saved optimizer knows tensors by their order"


def _copy_head(source, target) -> None:
    heads = {name: p for name, p in source.named_parameters() if "classifier" in name or name.startswith("pooler.")}
    with torch.no_grad():
        for name, parameter in target.named_parameters():
            if name in heads:
                parameter.copy_(heads[name])
