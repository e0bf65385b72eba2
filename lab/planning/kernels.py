"""The kernels of an accelerator, as far as memory sees them, for tensors without data.

On meta tensors `scaled_dot_product_attention` takes the mathematical route and keeps n² scores (26.4 against 20.2 GB on a 3B model), and
dropout keeps a mask as large as its input. Accelerators do neither. Inside `modelled(device)`:

| call | cuda | cpu |
|---|---|---|
| attention, half precision, no mask | flash: q, k, v, out and fp32 logsumexp (batch, heads, n) | flash for CPU |
| attention, fp32 or with a mask | memory-efficient, the mask as an additive bias | flash for CPU, without dropout |
| dropout | native_dropout: output and a mask of 1 byte per element | as torch does it |

Which batches come without a mask is `lab.engine.kernels.mask_left_out`'s choice, for runs and plans alike.

The functions are replaced in `torch.nn.functional`, not by a TorchFunctionMode, which is inactive when gradient checkpointing recomputes.
`ANSWERS` are for Python code that looks at data: the batch has padding, a mask of ones that a model makes for itself has none.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import handle_torch_function, has_torch_function

from lab.planning.quantised import int8_of

aten = torch.ops.aten
HALF = (torch.float16, torch.bfloat16)


@contextlib.contextmanager
def modelled(device: str, autocast: torch.dtype | None = None) -> Iterator[None]:
    """Route attention and dropout of meta tensors to the kernels of `device`: cuda or cpu. `autocast`: the half type of mixed precision."""
    with _attention_and_dropout(device, autocast), _autocast(autocast), int8_of(device):
        yield


@contextlib.contextmanager
def _autocast(half: torch.dtype | None) -> Iterator[None]:
    """What torch.autocast does on CUDA, for meta tensors, which it does not see: projections in half precision, norms in fp32.

    A weight that trains is cast once per step, as autocast's cache does it.
    """
    if half is None:
        yield
        return
    linear, layer_norm, addmm, matmul, cache = F.linear, F.layer_norm, torch.addmm, Tensor.__matmul__, {}

    def low(tensor: Tensor | None) -> Tensor | None:
        if tensor is None or tensor.dtype != torch.float32:
            return tensor
        if not (tensor.is_leaf and tensor.requires_grad):
            return tensor.to(half)
        if id(tensor) not in cache:
            cache[id(tensor)] = tensor.to(half)
        return cache[id(tensor)]

    def full(tensor: Tensor | None) -> Tensor | None:
        return tensor if tensor is None else tensor.float()

    F.linear = lambda input, weight, bias=None: linear(low(input), low(weight), low(bias))
    torch.addmm = lambda input, a, b, **rest: addmm(low(input), low(a), low(b), **rest)
    Tensor.__matmul__ = lambda a, b: matmul(low(a), low(b))
    F.layer_norm = lambda input, normalized_shape, weight=None, bias=None, eps=1e-5: layer_norm(full(input), normalized_shape, full(weight), full(bias), eps)
    try:
        yield
    finally:
        F.linear, F.layer_norm, torch.addmm, Tensor.__matmul__ = linear, layer_norm, addmm, matmul
        cache.clear()


@contextlib.contextmanager
def _attention_and_dropout(device: str, half: torch.dtype | None) -> Iterator[None]:
    attention, dropout = F.scaled_dot_product_attention, F.dropout

    def attend(query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None, dropout_p: float = 0.0, is_causal: bool = False,
               scale: float | None = None, enable_gqa: bool = False) -> Tensor:  # fmt: skip
        if has_torch_function((query,)):  # of an attention that takes slots (engine/own_attention.py)
            return handle_torch_function(attend, (query,), query, key, value, attn_mask, dropout_p, is_causal, scale=scale, enable_gqa=enable_gqa)
        if query.device.type != "meta":
            return attention(query, key, value, attn_mask, dropout_p, is_causal, scale=scale, enable_gqa=enable_gqa)
        if half is not None:
            query, key, value = (t.to(half) for t in (query, key, value))
        if device == "cpu":
            if not _cpu_has_flash(query, key, value, attn_mask, dropout_p):
                return attention(query, key, value, attn_mask, dropout_p, is_causal, scale=scale, enable_gqa=enable_gqa)
            return _cpu(query, key, value, attn_mask, is_causal, scale)
        return _cuda(query, key, value, attn_mask, dropout_p, is_causal, scale)

    def drop(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
        if input.device.type != "meta" or device == "cpu" or not training or not 0 < p < 1:
            return dropout(input, p, training, inplace)
        return torch.native_dropout(input, p, True)[0]

    F.scaled_dot_product_attention, F.dropout = attend, drop
    try:
        yield
    finally:
        F.scaled_dot_product_attention, F.dropout = attention, dropout


def _bias(mask: Tensor | None, dtype: torch.dtype) -> Tensor | None:
    """A boolean mask becomes one of the query's type, as torch converts it at every call."""
    if mask is None or mask.dtype != torch.bool:
        return mask
    return torch.where(mask, torch.zeros((), dtype=dtype, device=mask.device), torch.full((), -math.inf, dtype=dtype, device=mask.device))


def _cuda(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, p: float, causal: bool, scale: float | None) -> Tensor:
    flash = query.dtype in HALF and mask is None and query.shape[-1] <= 256
    if flash:
        return aten._scaled_dot_product_flash_attention(query, key, value, p, causal, scale=scale)[0]
    if key.shape[1] != query.shape[1]:  # only flash reads grouped keys as they are
        key, value = (t.repeat_interleave(query.shape[1] // t.shape[1], 1) for t in (key, value))
    bias = _bias(mask, query.dtype)
    if bias is not None:
        bias = _aligned(bias).expand(query.shape[0], query.shape[1], query.shape[2], key.shape[2])
    save = torch.is_grad_enabled() and any(t.requires_grad for t in (query, key, value))
    return aten._scaled_dot_product_efficient_attention(query, key, value, bias, save, p, causal, scale=scale)[0]


def _aligned(bias: Tensor) -> Tensor:
    """The kernel wants rows whose length is a multiple of 8: torch pads the bias to one and reads a slice."""
    length = bias.shape[-1]
    return bias if length % 8 == 0 else F.pad(bias, (0, 8 - length % 8))[..., :length]


def _cpu_has_flash(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, p: float) -> bool:
    dense = all(t.dim() == 4 and t.stride(-1) == 1 for t in (query, key, value))
    return dense and p == 0 and query.shape[-1] == value.shape[-1] and (mask is None or not mask.requires_grad)


def _cpu(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, causal: bool, scale: float | None) -> Tensor:
    bias = _bias(mask, query.dtype)
    return aten._scaled_dot_product_flash_attention_for_cpu(query, key, value, 0.0, causal, attn_mask=bias, scale=scale)[0]


def _scalar(tensor: Tensor) -> Any:
    """What `tensor.item()` gives on meta: whether all is known to be one, False otherwise, 0 or 0.0."""
    if tensor.device.type != "meta":
        return aten._local_scalar_dense.default(tensor)
    return hasattr(tensor, ONES) if tensor.dtype == torch.bool else 0.0 if tensor.is_floating_point() else 0


ONES = "_lab_all_ones"  # mark of a meta tensor that a model filled with ones itself: a mask without padding


def _makes_ones(operator: Any) -> Any:
    def make(*args: Any, **options: Any) -> Tensor:
        out = operator(*args, **options)
        setattr(out, ONES, True)
        return out

    return make


def _keeps_ones(operator: Any) -> Any:
    def keep(tensor: Tensor, *args: Any, **options: Any) -> Tensor:
        out = operator(tensor, *args, **options)
        if hasattr(tensor, ONES):
            setattr(out, ONES, True)
        return out

    return keep


def _nonzero(tensor: Tensor) -> Tensor:
    """Indices (rows, dimensions): on meta one per row of the batch, as a model asks that pools one position per row."""
    if tensor.device.type != "meta":
        return aten.nonzero.default(tensor)
    return torch.empty(tensor.shape[0], tensor.dim(), dtype=torch.long, device="meta")


def _unique(tensor: Tensor, *rest: Any, **options: Any) -> tuple[Tensor, Tensor, Tensor]:
    if tensor.device.type != "meta":
        return aten.unique_consecutive.default(tensor, *rest, **options)
    one = torch.empty(1, dtype=torch.long, device="meta")
    return one.to(tensor.dtype), one, one


ANSWERS = {
    aten._local_scalar_dense.default: _scalar, aten.nonzero.default: _nonzero, aten.unique_consecutive.default: _unique,
    **{op: _makes_ones(op) for op in (aten.ones.default, aten.new_ones.default, aten.ones_like.default)},
    **{op: _keeps_ones(op) for op in (aten.all.default, aten.sum.default, aten.eq.Scalar, aten._to_copy.default, aten.slice.Tensor, aten.unsqueeze.default,
                                      aten.expand.default, aten.view.default, aten.alias.default, aten.detach.default)},
}  # fmt: skip
