"""Fixed entries of weights (SHiRA) from PEFT's rows and columns: what `Attached.state_dict()` has of them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lab.design.plain.refusal import Refusal
from lab.engine.select import own_parameters
from lab.export.peft import PREFIX


def state_of(model: Any, tensors: dict[str, Tensor], rank: int) -> dict[str, Tensor]:
    """values (K,) and index (K,) into the flat weight of every projection. Raises Refusal where they do not fit."""
    names = {id(parameter): name for name, parameter in own_parameters(model).items()}
    found: dict[str, Tensor] = {}
    for path in dict.fromkeys(name.removeprefix(PREFIX).rpartition(".shira_")[0] for name in tensors):
        values, places = tensors.get(f"{PREFIX}{path}.shira_weight"), tensors.get(f"{PREFIX}{path}.shira_indices")
        weight = model.get_submodule(path).weight
        if values is None or places is None or values.dim() != 1 or places.shape != (2, len(values)) or len(values) != rank * sum(weight.shape):
            raise Refusal("The entries of '{path}' are not r·(in + out) numbers with a row and a column each.", "source", path=path[:120])
        rows, columns = places.long()
        if len(values) and not (
            int(rows.min()) >= 0 and int(rows.max()) < weight.shape[0] and int(columns.min()) >= 0 and int(columns.max()) < weight.shape[1]
        ):
            raise Refusal("The entries of '{path}' lie outside of that weight on this base.", "source", path=path[:120])
        index = rows * weight.shape[1] + columns
        found |= {
            f"select.{names[id(weight)]}.values": values.float(),
            f"select.{names[id(weight)]}.index": index.to(torch.int32 if weight.numel() < 2**31 else torch.int64),
        }
    return found
