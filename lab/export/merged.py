"""The weights of a model with its method folded in, by their names in the plain model."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.nn.utils import parametrize

from lab.engine import packed

DELTA = "lab_"  # how modules of the engine are named


def bake(attached: Any) -> dict[str, Tensor]:
    """The plain model's state, after merging, a quantised base dequantised. Raises Refusal where a delta cannot be merged; leaves the model merged and plain."""
    attached.merge()
    model: nn.Module = attached.model
    packed.make_plain(model)
    if getattr(model.config, "quantization_config", None) is not None:  # of a checkpoint that was quantised before
        del model.config.quantization_config
        model.hf_quantizer = None
    state: dict[str, Tensor] = {}
    for name, tensor in model.state_dict().items():
        parts = name.split(".")
        if any(part.startswith(DELTA) for part in parts):
            continue
        if "parametrizations" not in parts:
            state[name] = tensor.detach()
        elif parts[-1] == "original":  # a sparse difference: θ = θ0 + z∘w
            owner, attribute = model.get_submodule(".".join(parts[:-3])), parts[-2]
            assert parametrize.is_parametrized(owner, attribute)
            state[".".join([*parts[:-3], attribute])] = getattr(owner, attribute).detach()
    return state
