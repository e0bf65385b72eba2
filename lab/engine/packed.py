"""Packed weights, those of a quantised base: how large they are, read as numbers, written, kept, and made plain. All else sees a weight by these.

| layer | weight | beside it |
|---|---|---|
| bitsandbytes' Linear4bit (nf4) | two weights a byte, (out·in/2, 1) | a scale for 64 weights in 8 bits, a scale of those for 256 of them (QLoRA's double quantisation, arXiv 2305.14314) |
| bitsandbytes' Linear8bitLt (int8) | one a byte, (out, in) | a scale per output in fp32 (LLM.int8(), arXiv 2208.07339) |
| another library's (GPTQ, AWQ) | `qweight` | its own; W is what the layer makes of the unit vectors |
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D


def is_packed(module: nn.Module) -> bool:
    """Whether a layer holds its weight in another form than plain numbers."""
    weight = getattr(module, "weight", None)
    return not weight.is_floating_point() if isinstance(weight, Tensor) else hasattr(module, "qweight")


def rewritable(module: nn.Module) -> bool:
    """Whether new numbers can be packed into the layer as its own were."""
    return type(getattr(module, "weight", None)).__name__ in ("Params4bit", "Int8Params")


def shape(module: nn.Module) -> tuple[int, ...] | None:
    """(out, in) of a layer's weight, packed or not; None where it has none."""
    if is_packed(module):
        return module.out_features, module.in_features
    weight = getattr(module, "weight", None)
    if weight is None:
        return None
    return tuple(weight.shape[::-1] if isinstance(module, Conv1D) else weight.shape)


def elements(parameter: Tensor) -> int:
    """How many weights a parameter stands for: 4-bit ones share a byte."""
    state = getattr(parameter, "quant_state", None)
    return parameter.numel() if state is None else state.shape.numel()


@torch.no_grad()
def dequantised(module: nn.Module) -> Tensor:
    """W (out, in) of a packed layer as it computes with it: nf4 in the type that it was packed from, int8 in fp32."""
    kind = type(getattr(module, "weight", None)).__name__
    if kind == "Params4bit":
        from bitsandbytes.functional import dequantize_4bit

        return dequantize_4bit(module.weight.data, module.weight.quant_state)
    if kind == "Int8Params":
        return module.weight.data.float().mul_(_scales(module)[:, None].mul(1 / 127))
    float_type = next((t.dtype for t in module.buffers() if t.is_floating_point()), torch.float32)
    unit = torch.eye(module.in_features, dtype=float_type, device=module.qweight.device)
    made = module.forward(unit)  # without hooks
    bias = getattr(module, "bias", None)
    return (made if bias is None else made - bias).T.contiguous()


@torch.no_grad()
def pack(module: nn.Module, value: Tensor) -> None:
    """Write W (out, in) into a packed layer, rounded to what its form can hold."""
    weight, device = module.weight, module.weight.device
    if device.type == "meta":
        return
    if type(weight).__name__ == "Params4bit":
        from bitsandbytes.functional import quantize_4bit

        before = weight.quant_state
        data, state = quantize_4bit(value.to(before.dtype).contiguous(), blocksize=before.blocksize, compress_statistics=before.nested, quant_type=before.quant_type,
                                    quant_storage=weight.quant_storage)  # fmt: skip
        _write(module, (data, state))
    else:
        from bitsandbytes.functional import int8_vectorwise_quant

        data, scales, _ = int8_vectorwise_quant(value.half().contiguous())
        _write(module, (data, scales))


def states(module: nn.Module) -> Iterator[Tensor]:
    """What a layer keeps beside parameters and buffers to read its packed weight."""
    weight = module._parameters.get("weight")  # not by its name, by which a parametrised one is computed
    state = getattr(weight, "quant_state", None)
    while state is not None:
        yield from (tensor for tensor in (state.absmax, state.code, state.offset) if isinstance(tensor, Tensor))
        state = state.state2
    if type(weight).__name__ == "Int8Params":
        yield _scales(module)


def tensors(model: nn.Module) -> list[Tensor]:
    """Parameters, buffers and the states of packed weights, shared ones once."""
    inside = (tensor for module in model.modules() for tensor in states(module))
    return list({id(t): t for t in (*model.parameters(), *model.buffers(), *inside)}.values())


def moved(model: nn.Module) -> None:
    """After `model.to(device)`: bring along what bitsandbytes leaves behind, the scales of int8."""
    for module in model.modules():
        if type(getattr(module, "weight", None)).__name__ == "Int8Params":
            _write(module, (module.weight.data, _scales(module).to(module.weight.device)))


class Kept:
    """A layer's packed weight as it was. `swap()` puts it back and keeps what was there instead."""

    def __init__(self, module: nn.Module):
        self.module = module
        self._other = tuple(copy.deepcopy(each) for each in _read(module))

    def swap(self) -> None:
        now = _read(self.module)
        _write(self.module, self._other)
        self._other = now


class Plain:
    """A packed layer made plain in place: nn.Linear (transformers' Conv1D where it was one), with all that hangs on it. `swap()` packs it as it was, and back."""

    def __init__(self, module: nn.Module):
        self.module = module
        weight, bias = dequantised(module), getattr(module, "bias", None)
        turned = getattr(module, "source_cls", nn.Linear) is Conv1D
        self._other: tuple[type, dict, dict] = (Conv1D if turned else nn.Linear), {}, {}
        module.nf = weight.shape[0]  # of Conv1D
        self.swap()
        module.register_parameter("weight", nn.Parameter(weight.T.contiguous() if turned else weight, requires_grad=False))
        module.register_parameter("bias", bias if bias is None or isinstance(bias, nn.Parameter) else nn.Parameter(bias, requires_grad=False))

    def swap(self) -> None:
        module = self.module
        now = type(module), dict(module._parameters), dict(module._buffers)
        module.__class__ = self._other[0]
        for mine, other in ((module._parameters, self._other[1]), (module._buffers, self._other[2])):
            mine.clear()
            mine.update(other)
        self._other = now


def make_plain(model: nn.Module) -> list[Plain]:
    """Every packed layer of a model, made plain."""
    return [Plain(module) for module in list(model.modules()) if is_packed(module)]


def _scales(module: nn.Module) -> Tensor:
    """Of int8, (out,) in fp32: bitsandbytes moves them from the parameter to the layer in the first forward pass."""
    return module.state.SCB if module.state.SCB is not None else module.weight.SCB


def _read(module: nn.Module) -> tuple[Any, Any]:
    weight = module.weight
    return weight.data, weight.quant_state if type(weight).__name__ == "Params4bit" else _scales(module)


def _write(module: nn.Module, what: tuple[Any, Any]) -> None:
    weight = module.weight
    weight.data, state = what
    if type(weight).__name__ == "Params4bit":
        weight.quant_state = module.quant_state = state
    else:
        weight.CB = weight.SCB = None
        module.state.CB, module.state.SCB = weight.data, state
