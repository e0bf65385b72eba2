"""The forms that have a PEFT type of their own: {case: (preset, changes for tiny models, builder)}; builders as in peft_side.py."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import peft
import torch
from peft.tuners.c3a import layer as c3a_layer
from torch import Tensor

from lab.engine import Attached
from oracles.peft_side import Pair, randomise, sites


def _pairs(model, attached: Attached, config: Any, names: dict[str, str], view: Callable[[Tensor], Tensor] = lambda tensor: tensor):
    """(peft model, pairs) for a type whose tensors are called `names` there, and seen as ours through `view`."""
    places = sites(attached)
    config.target_modules = {path for _, path, _ in places}
    theirs = peft.get_peft_model(model, config)
    randomise(theirs, tuple(names.values()), size=0.3)
    found = []
    for name, path, mine in places:
        layer = theirs.get_base_model().get_submodule(path)
        for part, other in names.items():
            if getattr(mine, part, None) is not None:
                theirs_part = getattr(layer, other)["default"]
                found.append(Pair(f"{name}.{part}", getattr(mine, part), getattr(theirs_part, "weight", theirs_part), view))
    return theirs, found


def loha(model, attached: Attached):
    delta = attached.method.deltas[0]
    names = {"B1": "hada_w1_a", "A1": "hada_w1_b", "B2": "hada_w2_a", "A2": "hada_w2_b"}
    return _pairs(model, attached, peft.LoHaConfig(r=delta.rank, alpha=delta.alpha), names)


def lokr(model, attached: Attached):
    delta = attached.method.deltas[0]
    config = peft.LoKrConfig(r=delta.rank, alpha=delta.alpha, decompose_factor=delta.factor, decompose_both=delta.decompose_both)
    names = {"C": "lokr_w1", "C1": "lokr_w1_a", "C2": "lokr_w1_b", "D": "lokr_w2", "D1": "lokr_w2_a", "D2": "lokr_w2_b"}
    return _pairs(model, attached, config, names)


def gralora(model, attached: Attached):
    delta = attached.method.deltas[0]
    config = peft.GraloraConfig(
        r=delta.rank, alpha=delta.alpha, gralora_k=delta.blocks, gralora_dropout=delta.dropout, fan_in_fan_out=model.config.model_type == "gpt2"
    )
    return _pairs(model, attached, config, {"A": "gralora_A", "B": "gralora_B"}, lambda tensor: tensor.mT)


def c3a(model, attached: Attached):
    """By the matrix that peft merges: the backward pass of its convolution gives the gradient of x by a kernel turned round (0.21.2)."""
    c3a_layer.BlockCircularConvolution = SimpleNamespace(apply=lambda x, w: x @ c3a_layer.get_circulant_fast(w).T)
    return _pairs(model, attached, peft.C3AConfig(block_size=attached.method.deltas[0].rank), {"w": "c3a_kernel"})


def miss(model, attached: Attached):
    delta = attached.method.deltas[0]
    return _pairs(model, attached, peft.MissConfig(r=delta.rank, miss_dropout=delta.dropout), {"D": "miss_block"}, lambda tensor: tensor.T)


def bat(model, attached: Attached):
    return _pairs(model, attached, peft.MissConfig(r=attached.method.deltas[0].rank, init_weights="bat"), {"D": "miss_block"})


def randlora(model, attached: Attached):
    """peft's bases are as wide as the widest projections ask for together; ours are a corner of them."""
    delta = attached.method.deltas[0]
    config = peft.RandLoraConfig(r=delta.rank, randlora_alpha=delta.alpha, randlora_dropout=delta.dropout, fan_in_fan_out=model.config.model_type == "gpt2")
    theirs, found = _pairs(model, attached, config, {"lambdas": "randlora_lambda", "gammas": "randlora_gamma"})
    for name, mine in attached.shared["deltas.0.shared"].named_parameters():
        other = getattr(theirs.base_model, f"randlora_{name}")["default"]
        found.append(Pair(name, mine, other, lambda tensor, shape=mine.shape: tensor[tuple(map(slice, shape))]))
    return theirs, found


def fourierft(model, attached: Attached):
    delta = attached.method.deltas[0]
    config = peft.FourierFTConfig(n_frequency=delta.rank, scaling=delta.scale, fan_in_fan_out=model.config.model_type == "gpt2")
    theirs, found = _pairs(model, attached, config, {"spectrum": "fourierft_spectrum"})
    for _, path, mine in sites(attached):
        rows, columns = theirs.get_base_model().get_submodule(path).indices["default"]
        assert torch.equal(mine.places.cpu(), rows * mine.site.width_in + columns)
    return theirs, found


def oft(model, attached: Attached):
    """Exact Cayley transforms, as the paper has them."""
    config = peft.OFTConfig(oft_block_size=attached.method.deltas[0].rank, use_cayley_neumann=False)
    return _pairs(model, attached, config, {"Q": "oft_R"})


def boft(model, attached: Attached):
    """Several factors take peft's CUDA kernel: its place is taken by torch's block_diag."""
    delta, layer = attached.method.deltas[0], peft.tuners.boft.layer
    diagonal = SimpleNamespace(apply=lambda each: torch.stack([torch.block_diag(*blocks) for blocks in each]))
    layer.get_fbd_cuda, layer.FastBlockDiag = (lambda: True), diagonal
    config = peft.BOFTConfig(boft_block_size=delta.rank, boft_n_butterfly_factor=delta.factors)
    return _pairs(model, attached, config, {"Q": "boft_R"})


def hra(model, attached: Attached):
    return _pairs(model, attached, peft.HRAConfig(r=attached.method.deltas[0].rank), {"u": "hra_u"}, lambda u: u.T)


def road(model, attached: Attached):
    return _pairs(model, attached, peft.RoadConfig(variant="road_1", group_size=2), {"theta": "road_theta", "alpha": "road_alpha"})


FORMS: dict[str, tuple[str, dict[str, Any], Callable]] = {
    "loha": ("loha", {"deltas.0.rank": 5, "deltas.0.alpha": 12.0}, loha),
    "lokr": ("lokr", {"deltas.0.rank": 3, "deltas.0.alpha": 9.0}, lokr),
    "lokr-both": ("lokr", {"deltas.0.rank": 1, "deltas.0.alpha": 2.0, "deltas.0.factor": -1, "deltas.0.decompose_both": True}, lokr),
    "lokr-krona": ("lokr", {"deltas.0.rank": 30, "deltas.0.alpha": 60.0, "deltas.0.factor": 5}, lokr),
    "gralora": ("gralora", {"deltas.0.rank": 6, "deltas.0.alpha": 12.0}, gralora),
    "gralora-4": ("gralora", {"deltas.0.rank": 8, "deltas.0.alpha": 12.0, "deltas.0.blocks": 4}, gralora),
    "c3a": ("c3a", {"deltas.0.rank": 8}, c3a),
    "randlora": ("randlora", {"deltas.0.rank": 7, "deltas.0.alpha": 12.0}, randlora),
    "miss": ("miss", {"deltas.0.rank": 8}, miss),
    "miss-odd": ("miss", {"deltas.0.rank": 5}, miss),
    "bat": ("bat", {"deltas.0.rank": 8}, bat),
    "fourierft": ("fourierft", {"deltas.0.rank": 60, "deltas.0.scale": 100.0}, fourierft),
    "oft": ("oft", {"deltas.0.rank": 8}, oft),
    "boft": ("boft", {"deltas.0.rank": 4}, boft),
    "hra": ("hra", {"deltas.0.rank": 4}, hra),
    "road": ("road", {}, road),
}
DROPPING = ("gralora", "randlora", "miss")  # that have a dropout on x in peft
