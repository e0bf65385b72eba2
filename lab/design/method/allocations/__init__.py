"""How rank is shared out over sites, by name. A new allocation is one file in this folder with a subclass of `AllocationOptions`; nothing else lists it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Union

from pydantic import Field

from lab.design.method.allocations.base import LESS, MORE, AllocationOptions
from lab.design.plain.folder import classes

__all__ = ["ALLOCATIONS", "LESS", "MORE", "Allocation", "AllocationOptions"]

ORDER = ("energy", "sensitivity", "explained-variance")  # of display
FOUND = classes(__name__, __path__, AllocationOptions, ORDER, lambda one: one.model_fields["name"].default if "name" in one.model_fields else "")
ALLOCATIONS: dict[str, type[AllocationOptions]] = {name: one for name, one in FOUND.items() if name}
if TYPE_CHECKING:
    Allocation = AllocationOptions
else:
    Allocation = Annotated[Union[tuple(ALLOCATIONS.values())], Field(discriminator="name")]
