"""What a plan says. Torch-free, so that pages can hold one."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

CATEGORIES = ("weights", "gradients", "optimizer", "activations", "temporary")
TOLD = ("peak_allocated_bytes", "peak_reserved_bytes", "categories", "phases", "trainable", "seconds", "not_modelled")
NOT_MODELLED = (
    "the CUDA context (0.3 to 0.6 GB outside the allocator)",
    "workspaces of cuBLAS and of single kernels",
    "torch.compile",
    "evaluation and generation during training",
)


@dataclass(frozen=True)
class Plan:
    """Predicted memory of a training step, in bytes. `categories` are those at the peak and add up to `peak_allocated_bytes`."""

    peak_allocated_bytes: int
    peak_reserved_bytes: int
    categories: dict[str, int]
    phases: dict[str, dict[str, int]]
    trainable: int
    trainable_head: int
    seconds: float
    setting: dict[str, Any]  # model, method, batch, tokens, target_tokens, dtype, adapter_dtype, optimizer, checkpointing, device, devices
    not_modelled: list[str] = field(default_factory=lambda: list(NOT_MODELLED))

    def document(self) -> dict[str, Any]:
        """The plain JSON-able form."""
        return asdict(self)

    def summary(self) -> dict[str, Any]:
        """What `lab.plan` and the terminal say; `seconds`: how long the plan took."""
        return {name: getattr(self, name) for name in TOLD}
