"""Runs put together: the weight of a delta, methods side by side, tensor by tensor and at a rank, beside peft's add_weighted_adapter."""

from __future__ import annotations

import copy
import functools

import peft
import pytest
import torch
from comparing import told
from peft.utils import merge_utils
from tiny import tiny, tiny_batch

from lab.design.method.combining import HOWS, combined
from lab.design.method.delta import Method
from lab.design.method.named import load_method
from lab.design.plain.options import validate
from lab.design.plain.refusal import Refusal
from lab.engine import arithmetic, attach, body_of
from lab.engine.combining import How, Parts

TOLERANCE, PEFT = 1e-5, f"peft {peft.__version__}"
LORA = {"deltas": [{"at": ["attn.q", "attn.v"], "form": "lowrank", "rank": 4, "alpha": 8.0}]}
OTHER = {"deltas": [{"at": ["attn.q", "attn.v"], "form": "lowrank", "rank": 4, "alpha": 2.0}]}
WIDER = {"deltas": [{"at": ["attn.q", "ffn.down"], "form": "lowrank", "rank": 3, "alpha": 6.0, "layers": "1"}]}
PARALLEL = {"deltas": [{"at": ["ffn.out"], "form": "bottleneck", "composition": "scaled", "scale": 4.0, "rank": 5}]}
PREFIX = {"deltas": [{"at": ["attn.heads"], "form": "slots", "rank": 3}]}


def method(document) -> Method:
    return load_method(document) if isinstance(document, str) else validate(Method, document)


@functools.cache
def pristine(architecture="bert"):
    return tiny(architecture, {"bert": "classification", "deberta_v2": "classification", "t5": "seq2seq"}.get(architecture, "causal"))


def trained(document, seed: int, architecture="bert"):
    """(method, state) whose tensors have moved."""
    model, chosen = copy.deepcopy(pristine(architecture)), method(document)
    attached = attach(model, chosen, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in attached.trainable().items():
            tensor.add_((0.02 if name.startswith("select.") else 0.1) * torch.randn(tensor.shape, generator=generator))
    return chosen, attached.state_dict()


def logits(chosen, state, architecture="bert"):
    model = copy.deepcopy(pristine(architecture))
    if chosen is not None:
        attach(model, chosen, state=state)
    with torch.no_grad():
        return model(**tiny_batch(model)).logits


def together(parts, weights, how="sum", rank=None, architecture="bert", **more):
    model = copy.deepcopy(pristine(architecture))
    chosen = combined([one for one, _ in parts], weights, how, rank, body_of(model))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    state = Parts(model, parts).state(chosen, weights, How(how, rank, **more))
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items()), "the base is not as it was"
    return chosen, state


def close(one, other, tolerance=TOLERANCE) -> float:
    """The error, relative to the size of what is compared."""
    error, size = float((one - other).abs().max()), max(1.0, float(other.abs().max()))
    assert error <= tolerance * size, f"{error:.1e} apart, of {size:.2g}"
    return error / size


# -- the arithmetic


@pytest.mark.oracle
@pytest.mark.parametrize("how", [how for how in HOWS if how != "average"])
def test_the_arithmetic_is_pefts(how):
    tensors = [torch.randn(13, 7, generator=torch.Generator().manual_seed(seed)) for seed in range(3)]
    weights, theirs = [0.7, -0.4, 1.2], {"sum": "task_arithmetic", "prune": "magnitude_prune"}.get(how, how.replace("-", "_"))
    theirs = {"dare": "dare_linear"}.get(theirs, theirs)
    for sign in ("total", "frequency") if "ties" in how else ("total",):
        torch.manual_seed(5)
        more = ({} if how == "sum" else {"density": 0.4}) | ({"majority_sign_method": sign} if "ties" in how else {})
        expected = getattr(merge_utils, theirs)(list(tensors), torch.tensor(weights), **more)
        torch.manual_seed(5)
        close(arithmetic.combine(tensors, weights, how, density=0.4, sign=sign), expected, 1e-6)


def test_ties_by_hand():
    """The example of TIES-Merging's figure 2 in small: trimmed, elected, and the mean of those that agree."""
    first, second, third = torch.tensor([3.0, -0.1, 2.0, -4.0]), torch.tensor([1.0, 5.0, -3.0, -2.0]), torch.tensor([-2.0, 4.0, 0.1, 3.0])
    found = arithmetic.combine([first, second, third], [1, 1, 1], "ties", density=0.75)  # without -0.1, 1.0 and 0.1
    torch.testing.assert_close(found, torch.tensor([3.0, 4.5, -3.0, -3.0]))


# -- the weight of a delta


@pytest.mark.parametrize("architecture", ["bert", "gpt2", "t5"])
@pytest.mark.parametrize("preset", ["lora", "dora", "ia3", "adapter-parallel-scaled", "mam"])
def test_a_part_of_a_change(architecture, preset):
    """Between without and with, and the same once merged, where it can be."""
    if (preset, architecture) == ("mam", "t5"):
        pytest.skip("T5's scores are not divided by √d: its slots take nearly all mass. See the next tests.")
    chosen = load_method(preset, {"deltas.0.encoder": "none"} if preset == "mam" else {})
    state, none = trained(chosen.document(), 3, architecture)[1], logits(None, None, architecture)
    part = lambda weight: chosen.model_copy(update={"deltas": [delta.model_copy(update={"weight": weight}) for delta in chosen.deltas]})  # noqa: E731
    moved = [(logits(part(weight), state, architecture) - none).norm() for weight in (0.004, 0.002)]
    assert 1.9 < float(moved[0] / moved[1]) < 2.1 and float(moved[1]) > 1e-5
    model = copy.deepcopy(pristine(architecture))
    attached = attach(model, part(0.5), state=state)
    with torch.no_grad():
        partly = model(**tiny_batch(model)).logits
        try:
            attached.merge()
        except Refusal:
            return
        close(model(**tiny_batch(model)).logits, partly)


def test_half_a_lora_is_a_lora_of_half_the_scale():
    chosen, state = trained(LORA, 3)
    close(logits(method({"deltas": [{**LORA["deltas"][0], "weight": 0.5}]}), state), logits(method({"deltas": [{**LORA["deltas"][0], "alpha": 4.0}]}), state))


@pytest.mark.parametrize("architecture", ["bert", "llama", "t5", "deberta_v2"])
def test_slots_that_weigh_two_are_there_twice(architecture):
    """Inside the attention the weight multiplies the share of its mass: exactly what the same slots once more do."""
    chosen, state = trained(PREFIX, 3, architecture)
    twice = method({"deltas": PREFIX["deltas"] * 2})
    doubled = state | {name.replace("deltas.0", "deltas.1"): tensor for name, tensor in state.items()}
    weighed = method({"deltas": [{**PREFIX["deltas"][0], "weight": 2.0}]})
    close(logits(weighed, state, architecture), logits(twice, doubled, architecture))


# -- side by side


@pytest.mark.parametrize("pair", [(LORA, PARALLEL), (LORA, PREFIX), ("ia3", "lora"), ("lamda", LORA), ("bitfit", PARALLEL)], ids=str)
def test_each_switched_off_is_the_other_alone(pair):
    small = {"lamda": {"deltas.0.rank": 6}}
    parts = [trained(load_method(one, small.get(one, {})).document() if isinstance(one, str) else one, seed) for seed, one in enumerate(pair, 3)]
    for index, weights in enumerate(([1.0, 0.0], [0.0, 1.0])):
        assert torch.equal(logits(*together(parts, weights)), logits(*parts[index]))
    both, alone = logits(*together(parts, [1.0, 1.0])), [logits(*part) for part in parts]
    assert all(float((both - one).abs().max()) > 1e-3 for one in alone)
    nearly = logits(*together(parts, [1.0, 1e-6]))
    close(nearly, alone[0], 1e-4)


def test_the_sum_of_loras_is_the_sum_of_their_changes():
    """Merged one after the other into one model."""
    parts = [trained(LORA, 3), trained(WIDER, 4)]
    model = copy.deepcopy(pristine())
    for (chosen, state), weight in zip(parts, (0.7, -0.3), strict=True):
        attached = attach(model, method({"deltas": [{**chosen.deltas[0].model_dump(mode="json"), "weight": weight}]}), state=state, keep_originals=False)
        attached.merge()
        attached._merged = None  # the weights stay as they are
        attached.detach()
    with torch.no_grad():
        close(logits(*together(parts, [0.7, -0.3])), model(**tiny_batch(model)).logits)


def test_a_start_that_was_taken_out_of_the_weight_is_weighed_with_the_rest():
    lamda = load_method("lamda", {"deltas.0.rank": 6})
    part, none = trained(lamda.document(), 3), logits(None, None)
    chosen, state = together([part, trained(LORA, 4)], [1.0, 1e-6])
    close(logits(chosen, state), logits(*part), 1e-4)
    assert all(delta.core == "none" for delta in chosen.deltas)
    close(logits(*together([part, trained(LORA, 4)], [1e-6, 1e-6])), none, 1e-4)


@pytest.mark.parametrize("preset", ["bitfit", "full"])
def test_weights_of_the_model_itself_are_combined_by_their_difference(preset):
    parts = [trained(preset, 3), trained(preset, 4)]
    assert torch.equal(logits(*together(parts, [0.0, 1.0])), logits(*parts[1]))
    _, state = together(parts, [0.25, 0.75])
    for name in state:
        close(state[name], 0.25 * parts[0][1][name] + 0.75 * parts[1][1][name])
    _, pruned = together(parts, [1.0, 1.0], "ties", density=0.2)
    assert any(not torch.equal(pruned[name], state[name]) for name in state)


def test_fixed_masks_keep_the_entries_of_all_parts():
    """SHiRA's adapters side by side (Bhardwaj et al. 2024): each switched off is the other alone, and both are the sum of their entries."""
    document = {"select": {"what": "sparse", "at": ["attn.q", "ffn.up"], "density": 0.05}}
    parts = [trained(document, seed) for seed in (3, 4)]
    for index, weights in enumerate(([1.0, 0.0], [0.0, 1.0])):
        assert torch.equal(logits(*together(parts, weights)), logits(*parts[index]))
    model = copy.deepcopy(pristine())
    own = dict(model.base_model.named_parameters())
    with torch.no_grad():
        for _, state in parts:
            for name in (name for name in state if name.endswith(".values")):
                weight = name.removeprefix("select.").removesuffix(".values")
                own[weight].view(-1).index_add_(0, state[f"select.{weight}.index"].long(), 0.5 * state[name])
        close(logits(*together(parts, [0.5, 0.5])), model(**tiny_batch(model)).logits)


# -- beside peft


def theirs(parts, weights, kind: str, **more):
    """The logits of peft's model with a combination of LoRAs that have these weights."""
    model = copy.deepcopy(pristine())
    places = {"attn.q": "query", "attn.v": "value", "ffn.down": r"output.dense"}
    for index, (chosen, state) in enumerate(parts):
        delta = chosen.deltas[0]
        own = "|".join(places[name] for name in delta.at)
        layers = r"\d+" if delta.layers == "all" else delta.layers
        config = peft.LoraConfig(r=delta.rank, lora_alpha=delta.alpha, target_modules=rf"bert\.encoder\.layer\.({layers})\.(attention\.self\.|)({own})")
        model = peft.get_peft_model(model, config, f"p{index}") if not index else model
        if index:
            model.add_adapter(f"p{index}", config)
        modules = dict(model.get_base_model().named_modules())
        for name, tensor in state.items():
            _, _, _, layer, group, place, part = name.split(".")
            path = f"bert.encoder.layer.{layer}." + {"attn": "attention.self.", "ffn": ""}[group] + places[f"{group}.{place}"]
            getattr(modules[path], f"lora_{part}")[f"p{index}"].weight.data.copy_(tensor)
    model.add_weighted_adapter([f"p{index}" for index in range(len(parts))], weights, "both", kind, **more)
    model.set_adapter("both")
    with torch.no_grad():
        return model.eval()(**tiny_batch(pristine())).logits


@pytest.mark.oracle
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(
    ("kind", "how", "rank"),
    [("cat", "sum", None), ("svd", "sum", 6), ("ties_svd", "ties", 6), ("magnitude_prune_svd", "prune", 6), ("linear", "average", None), ("ties", "ties", None),
     ("magnitude_prune", "prune", None)],
)  # fmt: skip
@pytest.mark.parametrize("weights", [[0.5, 0.5], [1.3, -0.4]], ids=str)
def test_as_pefts_add_weighted_adapter(kind, how, rank, weights):
    alike = rank is None and how != "sum"
    parts = [trained(LORA, 3), trained(OTHER if alike else WIDER, 4)]
    more = ({"svd_rank": rank} if rank else {}) | ({} if how in ("sum", "average") else {"density": 0.5})
    error = close(logits(*together(parts, weights, how, rank, density=0.5)), theirs(parts, weights, kind, **more))
    told("lora", f"{PEFT}, its add_weighted_adapter", f"combined: {kind}", error, "bert")


@pytest.mark.oracle
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(
    ("kind", "how", "rank"),
    [("dare_linear", "dare", None), ("dare_ties", "dare-ties", None), ("dare_linear_svd", "dare", 6), ("dare_ties_svd", "dare-ties", 6)],
)
def test_dare_as_pefts_where_the_same_numbers_are_dropped(kind, how, rank, monkeypatch):
    kept, drop = [], arithmetic.drop

    def remembered(change, density, generator=None):
        kept.append((change, drop(change, density, generator)))
        return kept[-1][1]

    monkeypatch.setattr(arithmetic, "drop", remembered)
    parts = [trained(LORA, 3), trained(OTHER, 4)]
    ours = logits(*together(parts, [0.6, 0.4], how, rank, density=0.5, seed=2))
    same = lambda tensor: next(after for before, after in kept if before.shape == tensor.shape and torch.allclose(before, tensor, atol=1e-6))  # noqa: E731
    monkeypatch.setattr(merge_utils, "random_pruning", lambda tensor, density, rescale: same(tensor))
    error = close(ours, theirs(parts, [0.6, 0.4], kind, density=0.5, **({"svd_rank": rank} if rank else {})))
    told("lora", f"{PEFT}, its add_weighted_adapter", f"combined: {kind}", error, "bert")


# -- what cannot be


@pytest.mark.parametrize(
    ("documents", "weights", "how", "rank", "field"),
    [([LORA, PARALLEL], [1, 1], "ties", None, "parts.1"), ([LORA, PREFIX], [1, 1], "sum", 4, "parts.1"), ([LORA, LORA], [0, 0], "sum", None, "weights"),
     ([LORA, LORA], [1, 1], "average", 4, "how"), (["prompt-tuning", "prompt-tuning"], [1, 1], "sum", None, "parts"), (["dora", "dora"], [1, 1], "sum", None, "parts"),
     (["dora", "dora"], [1, 1], "ties", None, "parts.0"), ([LORA, "full"], [1, 1], "sum", None, "parts"), (["full", "bitfit"], [1, 1], "sum", None, "parts"),
     (["head-only", LORA], [1, 1], "sum", None, "parts.0"), ([LORA, "bitfit"], [1, 1], "sum", 4, "parts.1"), (["prompt-tuning", LORA], [0.5, 1], "sum", None, "parts")],
    ids=str,
)  # fmt: skip
def test_what_cannot_be_combined_says_why(documents, weights, how, rank, field):
    with pytest.raises(Refusal) as refused:
        combined([method(one) for one in documents], weights, how, rank, body_of(pristine()))
    assert refused.value.field == field and len(refused.value.sentence) > 40
