"""The linear layers of a base's blocks in nf4 or int8, by bitsandbytes (an extra: requirements-quantised.txt).

As QLoRA (Dettmers et al. 2023, arXiv 2305.14314): every linear layer inside the blocks, in 4 bits of a normal distribution with double quantisation;
or as LLM.int8() (Dettmers et al. 2022, arXiv 2208.07339). Embeddings, norms, biases, heads, and what transformers keeps in fp32 (T5's `wo`) stay as they
are. The layers are those that transformers' BitsAndBytesConfig makes. On the meta device they have their true bytes and no data.
"""

from __future__ import annotations

import ctypes
import json
import logging
import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from lab.design.body.anatomy import anatomy_of
from lab.design.plain.refusal import Refusal

BLOCK, NESTED = 64, 256  # weights of one scale; scales of one scale of scales
OUTLIER = 6.0  # LLM.int8(): columns of x with a larger value are computed in half precision


def quantise(model: nn.Module, kind: str, dtype: torch.dtype, name: str = "this model") -> int:
    """Pack the linear layers of a model's blocks in place as `kind`: nf4 or int8; how many. `dtype`: what they compute in. Raises Refusal."""
    read_whole_blocks()
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # it tells at each layer that LLM.int8() computes in fp16
    found = list(_linear(model))
    if not found:
        raise Refusal("{name} has no linear layers in its blocks that bitsandbytes can pack: leave quantisation at none.", "quantisation", name=name)
    for path, module in found:
        model.set_submodule(path, _packed(module, kind, dtype))
    return len(found)


def as_transformers(model: nn.Module, kind: str) -> str:
    """The BitsAndBytesConfig, as Python, with which transformers packs the same layers of the same model."""
    left = sorted(path for path, module in model.named_modules() if (type(module) is nn.Linear or isinstance(module, Conv1D)) and "lab_" not in path)
    how = 'load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True' if kind == "nf4" else "load_in_8bit=True"
    return f"BitsAndBytesConfig({how}, llm_int8_skip_modules={json.dumps(left)})"


def settle(model: nn.Module) -> None:
    """What a checkpoint of bitsandbytes needs before it trains: see `_packed`."""
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False
            read_whole_blocks()


class _WholeBlocks:
    """bitsandbytes' library, but that 4-bit weights whose rows end inside a block are read as one row."""

    def __init__(self, library: Any):
        self._library = library

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._library, name)
        if not name.startswith(("cdequantize_blockwise_cpu_nf4_", "cdequantize_blockwise_cpu_fp4_")):
            return found

        def read(codes: Any, scales: Any, out: Any, block: Any, rows: Any, columns: Any) -> Any:
            if columns.value % block.value:
                rows, columns = ctypes.c_longlong(1), ctypes.c_longlong(rows.value * columns.value)
            return found(codes, scales, out, block, rows, columns)

        return read


def read_whole_blocks() -> None:
    """On processors with AVX-512 bitsandbytes 0.50 begins a block of 64 weights at each row, and so reads rows of another width (TinyBERT's 312) wrongly, in silence."""
    try:
        from bitsandbytes.backends.cpu import ops
    except ImportError:  # another release
        return
    library = getattr(ops, "lib", None)
    if library is not None and not isinstance(library, _WholeBlocks):
        ops.lib = _WholeBlocks(library)


def _linear(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """(path, layer) of what is packed. Subclasses with a forward pass of their own are left, as transformers leaves them."""
    base, kept = model.base_model, tuple(getattr(model, "_keep_in_fp32_modules", None) or ())
    prefix = next(path for path, module in model.named_modules() if module is base)
    for stack in anatomy_of(model.config).stacks:
        path = ".".join(filter(None, (prefix, stack.map.path)))
        for inner, module in model.get_submodule(path).named_modules():
            if (type(module) is nn.Linear or isinstance(module, Conv1D)) and not any(part in kept for part in inner.split(".")):
                yield f"{path}.{inner}", module


def _packed(module: nn.Module, kind: str, dtype: torch.dtype) -> nn.Module:
    import bitsandbytes as bnb

    weight = module.weight.data.T if isinstance(module, Conv1D) else module.weight.data
    out, inner = weight.shape
    with torch.device("meta"):
        if kind == "nf4":
            new = bnb.nn.Linear4bit(inner, out, module.bias is not None, compute_dtype=dtype, compress_statistics=True, quant_type="nf4")
        else:
            new = bnb.nn.Linear8bitLt(inner, out, module.bias is not None, has_fp16_weights=False, threshold=OUTLIER)
    if kind == "nf4":
        new.support_avx512bf16_for_cpu = False  # else an evaluation repacks the weight for a kernel that has no backward pass
        new.weight = bnb.nn.Params4bit(weight.contiguous(), requires_grad=False, compress_statistics=True, quant_type="nf4", module=new)
        new.weight = _without_data(new, weight) if weight.is_meta else new.weight.to(weight.device)
    else:
        new.weight = bnb.nn.Int8Params(weight.contiguous(), requires_grad=False, has_fp16_weights=False)
        if weight.is_meta:
            new.weight.data = torch.empty(out, inner, dtype=torch.int8, device="meta")
            new.weight.CB, new.weight.SCB = new.weight.data, torch.empty(out, device="meta")
        else:
            new.weight = new.weight.to(weight.device)
    new.bias = module.bias
    new.source_cls = type(module)
    new.requires_grad_(False)
    return new.train(module.training)


def _without_data(new: nn.Module, weight: torch.Tensor) -> nn.Parameter:
    """The nf4 parameter of a weight without data: the same tensors as bitsandbytes makes."""
    from bitsandbytes.functional import QuantState

    def empty(*size: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
        return torch.empty(size, dtype=dtype, device="meta")

    blocks = math.ceil(weight.numel() / BLOCK)
    nested = QuantState(absmax=empty(math.ceil(blocks / NESTED)), blocksize=NESTED, code=empty(256), dtype=torch.float32)
    state = QuantState(absmax=empty(blocks, dtype=torch.uint8), shape=weight.shape, dtype=weight.dtype, blocksize=BLOCK, code=empty(16), quant_type="nf4",
                       offset=empty(), state2=nested)  # fmt: skip
    parameter = new.weight
    parameter.data = empty(math.ceil(weight.numel() / 2), 1, dtype=torch.uint8)
    parameter.quant_state = new.quant_state = state
    parameter.bnb_quantized = True
    return parameter
