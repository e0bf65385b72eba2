"""How parts start: initialisers by name, as forms write them (`kaiming:2.236`, `normal:0.02`, `zeros`, `constant:0.1`)."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import torch
from torch import Tensor


def _kaiming(tensor: Tensor, generator: torch.Generator, a: float) -> None:
    """Uniform within ±√(6 / ((1+a²)·fan_in)), as torch's kaiming_uniform_; fan_in is the last dimension."""
    bound = math.sqrt(6.0 / ((1.0 + a * a) * tensor.shape[-1]))
    tensor.uniform_(-bound, bound, generator=generator)


def _normal(tensor: Tensor, generator: torch.Generator, std: float, mean: float = 0.0) -> None:
    tensor.normal_(mean, std, generator=generator)


def _glorot(tensor: Tensor, generator: torch.Generator) -> None:
    """Uniform within ±√(6 / (fan_in + fan_out)) of rows that are each a matrix of one column (Compacter)."""
    bound = math.sqrt(6.0 / (1 + tensor.shape[-1]))
    tensor.uniform_(-bound, bound, generator=generator)


def _truncated(tensor: Tensor, generator: torch.Generator, std: float) -> None:
    """Normal, cut at two deviations (Houlsby et al. 2019)."""
    torch.nn.init.trunc_normal_(tensor, 0.0, std, -2 * std, 2 * std, generator=generator)


def _identity(tensor: Tensor, generator: torch.Generator, noise: float = 0.0) -> None:
    """Ones on the diagonal, beside it normal noise of that deviation."""
    tensor.normal_(0.0, noise, generator=generator).fill_diagonal_(1.0) if noise else tensor.copy_(
        torch.eye(*tensor.shape) if tensor.dim() == 2 else torch.ones(tensor.shape)
    )


def _paired(tensor: Tensor, generator: torch.Generator, a: float) -> None:
    """Kaiming-uniform rows, each twice: two equal reflections cancel (HRA)."""
    half = tensor.new_empty(len(tensor) // 2, *tensor.shape[1:])
    _kaiming(half, generator, a)
    tensor.copy_(half.repeat_interleave(2, 0))


def _reflections(tensor: Tensor, generator: torch.Generator) -> None:
    """The reflections (columns below the diagonal, 1 on it) whose product begins with random orthonormal columns (LoReFT)."""
    tall = torch.linalg.qr(torch.randn(tensor.shape, generator=generator))[0]
    tensor.copy_(torch.geqrf(tall)[0].tril(-1))


@functools.lru_cache(64)
def _drawn(total: int, seed: int, count: int) -> Tensor:
    return torch.randperm(total, generator=torch.Generator().manual_seed(seed))[:count].clone()


def _places(tensor: Tensor, generator: torch.Generator, total: float, seed: float) -> None:
    """Different whole numbers below `total`, by a seed of their own: the same in every run."""
    tensor.copy_(_drawn(int(total), int(seed), len(tensor)))


WHOLE = ("places",)  # initialisers of whole numbers
INITIALISERS: dict[str, Callable] = {
    "places": _places,
    "kaiming": _kaiming,
    "normal": _normal,
    "truncated": _truncated,
    "glorot": _glorot,
    "identity": _identity,
    "paired": _paired,
    "reflections": _reflections,
    "uniform": lambda tensor, generator, bound: tensor.uniform_(-bound, bound, generator=generator),
    "constant": lambda tensor, generator, value: tensor.fill_(value),
    "zeros": lambda tensor, generator: tensor.zero_(),
    # set afterwards, from the model itself (starting.py, tokens.py, activations.py)
    "later": lambda tensor, generator: tensor.zero_(),
    "vocabulary": lambda tensor, generator: tensor.zero_(),
    "text": lambda tensor, generator: tensor.zero_(),
}


def start(shape: tuple[int, ...], init: str, generator: torch.Generator, device: torch.device) -> Tensor:
    """A tensor of a part at its start, in fp32 (whole numbers in int64). It is drawn on the CPU, so a seed gives the same weights on every device."""
    name, *arguments = init.split(":")
    dtype = torch.int64 if name in WHOLE else torch.float32
    if device.type == "meta":
        return torch.empty(shape, device=device, dtype=dtype)
    tensor = torch.empty(shape, dtype=dtype)
    with torch.no_grad():
        INITIALISERS[name](tensor, generator, *map(float, arguments))
    return tensor.to(device)
