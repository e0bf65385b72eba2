"""One tensor of a delta at one site, as forms and compositions declare it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Part:
    """One tensor of a form or composition at one site.

    `init` names an initialiser of lab/engine/initial.py, with its arguments after colons: `zeros`, `constant:0.1`,
    `normal:0.02`, `kaiming:2.2360679` (uniform, by its `a`), `truncated:0.01`, `uniform:0.1` (by its bound),
    `places:589824:777` (whole numbers below the first, drawn by the second), `later` (set from what the start reads).
    """

    name: str
    shape: tuple[int, ...]
    init: str
    kind: str = "weight"  # weight, bias, norm or scalar: papers' formulas count only the first
    trains: bool = True  # False: never

    @property
    def size(self) -> int:
        """Number of weights."""
        total = 1
        for side in self.shape:
            total *= side
        return total
