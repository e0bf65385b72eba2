"""Fourier transforms for forms, which import no torch: they find these functions as `p.fourier`.

Half precision is computed in fp32, which a Fourier transform needs.
"""

from __future__ import annotations

import torch
from torch import Tensor


def _wide(x: Tensor) -> Tensor:
    return x if x.dtype in (torch.float32, torch.float64) else x.float()


def correlate(x: Tensor, kernels: Tensor) -> Tensor:
    """(..., m·b): block i is Σ_j of the circular correlations y[t] = Σ_u w_ij[(u−t) mod b]·x_j[u]. x (..., n·b), kernels (m, n, b)."""
    _, count, size = kernels.shape
    blocks = torch.fft.rfft(_wide(x).unflatten(-1, (count, size)))
    product = torch.einsum("...nf,mnf->...mf", blocks, torch.fft.rfft(_wide(kernels)).conj())
    return torch.fft.irfft(product, size).flatten(-2).to(x.dtype)


def circulant(kernels: Tensor) -> Tensor:
    """The matrix (m·b, n·b) of `correlate`: each of its blocks is circulant. kernels (m, n, b)."""
    size = kernels.shape[-1]
    steps = torch.arange(size, device=kernels.device)
    return kernels[:, :, (steps - steps[:, None]) % size].permute(0, 2, 1, 3).flatten(2).flatten(0, 1)


def inverse(values: Tensor, places: Tensor, shape: tuple[int, int]) -> Tensor:
    """Re F⁻¹(E) of a spectrum E (out, in) that is `values` at its flat `places` and 0 elsewhere; F⁻¹ divides by out·in."""
    wide = _wide(values)
    spectrum = wide.new_zeros(shape[0] * shape[1]).scatter(0, places, wide)
    return torch.fft.ifft2(spectrum.view(shape)).real.to(values.dtype).contiguous()  # a copy, so that the imaginary half goes
