"""FSDP of the frozen base: each process holds a part of every layer's weights, and a layer is whole only while its turn lasts.

torch's `fully_shard` splits each frozen weight by its first dimension over the processes. Before a layer runs, forwards or backwards, its parts are
gathered, and let go after; what is in no layer (embeddings, final norms) is gathered once for a pass. Whatever the method has (all of its tensors, weights
of the base that it trains or writes into, task heads) stays whole in every process and is kept in step by DDP, as without sharding. So a start that reads weights
is computed before they are split, and a checkpoint, a saved adapter and the norm of the gradient are those of any run.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.distributed import init_device_mesh
from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor

from lab.design.plain.refusal import Refusal
from lab.training.assembly import Assembly


def share_out(assembly: Assembly, device: torch.device) -> None:
    """Split the frozen base of an assembled run over the processes, and bring what stays whole to `device`, layer by layer, so that the base need not fit it.

    Raises Refusal where the layers have no weight that is frozen.
    """
    model, attached = assembly.model, assembly.attached
    whole = attached.whole() | set(assembly.head.values())
    layers = [layer for stack in attached.body.stacks for layer in model.base_model.get_submodule(stack.map.path)]
    if all(parameter in whole for layer in layers for parameter in layer.parameters()):
        raise Refusal("Every weight of the base's layers may train here, so that nothing is frozen to share out: set sharding to none.", "training.sharding")
    for parameter in whole:
        parameter.data = parameter.data.to(device)
    mesh = init_device_mesh(device.type, (torch.distributed.get_world_size(),))
    for layer in dict.fromkeys(layers):  # ALBERT has one, many times
        fully_shard(layer, mesh=mesh, ignored_params=whole)
    fully_shard(model, mesh=mesh, ignored_params=whole)
    model._is_fsdp_managed_module = True  # transformers' generate() then goes on until every process has its last word
    if hasattr(model, "generate"):  # it calls an encoder by itself, before the model that gathers the embeddings
        register_fsdp_forward_method(model, "generate")


def held(tensors: Any) -> list[Tensor]:
    """What this process holds of tensors: its parts of those that are split."""
    return [tensor.to_local() if isinstance(tensor, DTensor) else tensor for tensor in tensors]
