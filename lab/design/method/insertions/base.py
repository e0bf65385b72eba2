"""What an insertion form is: what feeds Δh, and what a change that is linear in it makes of the projection's weight."""

from __future__ import annotations

from typing import Any, ClassVar


class Insertion:
    """Base of all insertion forms."""

    name: ClassVar[str]
    label: ClassVar[str]
    label_zh: ClassVar[str]
    help: ClassVar[str]
    help_zh: ClassVar[str]
    forms: ClassVar[tuple[str, ...]] = ()  # that it goes with besides those that name it
    reads_h: ClassVar[bool] = False  # Δh is computed from h itself, not from the input of what computes h
    changes_input: ClassVar[bool] = False  # h is what a projection reads, not what it gives

    def merged(self, weight: Any, bias: Any, matrix: Any, offset: Any, s: Any) -> tuple[Any, Any]:
        """(W, b) of a projection that takes up s·Δh, Δh = `matrix`·input + `offset`; None: as it is. W (out, in), b (out,) or None."""
        raise NotImplementedError

    def place(self, latex: str) -> str:
        """h at a representation, as LaTeX."""
        return latex


def moved(bias: Any, offset: Any, s: Any) -> Any:
    """b + s·Δb in fp32, None where there is no bias."""
    return None if bias is None else bias.float() + (0 if offset is None else s * offset)
