"""What bitsandbytes' operators do inside, as far as memory sees it.

`gemm_4bit` is one operator to the dispatcher; on a CPU, and for many tokens on CUDA, its kernel dequantises the scales, then the weight, and multiplies.
LLM.int8() finds outliers in x by looking at its numbers, and takes another way on a CPU while it trains: tensors without data do as if none were found.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


def unfolded() -> dict[Any, Callable]:
    """{operator: its steps}; none where nothing is quantised."""
    if "bitsandbytes" not in sys.modules:
        return {}
    return {torch.ops.bitsandbytes.gemm_4bit.default: _gemm_4bit}


def _gemm_4bit(x: Tensor, packed: Tensor, shape: list[int], scales: Tensor, blocksize: int, kind: str, bias: Tensor | None = None,
               absmax_8bit: Tensor | None = None, absmax_code: Tensor | None = None, absmax_offset: Tensor | None = None) -> Tensor:  # fmt: skip
    """x·Wᵀ + b from the packed W; `scales` are those of the scales where these are packed too."""
    ops = torch.ops.bitsandbytes
    if absmax_8bit is not None:
        scales = ops.dequantize_blockwise.default(absmax_8bit, scales, absmax_code, 256, torch.float32) + absmax_offset
    return F.linear(x, ops.dequantize_4bit.default(packed, scales, blocksize, kind, shape, x.dtype), bias)


@contextlib.contextmanager
def int8_of(device: str) -> Iterator[None]:
    """Route int8 layers of meta tensors as a training step on `device` does."""
    if "bitsandbytes" not in sys.modules:
        yield
        return
    import bitsandbytes as bnb
    from bitsandbytes.autograd._functions import MatMul8bitFp

    multiply = bnb.matmul

    def matmul(x: Tensor, packed: Tensor, out: Tensor | None = None, state: Any = None, threshold: float = 0.0, bias: Tensor | None = None) -> Tensor:
        if x.device.type != "meta":
            return multiply(x, packed, out, state, threshold, bias)
        if device == "cpu":
            return MatMul8bitFp.apply(x, packed, out, bias, state)
        state.threshold = 0.0
        return multiply(x, packed, out, state, 0.0, bias)

    bnb.matmul = matmul
    try:
        yield
    finally:
        bnb.matmul = multiply
