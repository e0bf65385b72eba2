"""The selections by name. A new one is one file in this folder; nothing else lists it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Union

from pydantic import Field

from lab.design.method.selections.base import SelectionOptions
from lab.design.plain.folder import classes

__all__ = ["SELECTIONS", "Selection", "SelectionOptions"]

ORDER = ("all", "head", "bias", "norm", "layers", "last", "masked", "sparse")  # of display
SELECTIONS: dict[str, type[SelectionOptions]] = classes(__name__, __path__, SelectionOptions, ORDER, lambda one: one.model_fields["what"].default)
if TYPE_CHECKING:
    Selection = SelectionOptions
else:
    Selection = Annotated[Union[tuple(SELECTIONS.values())], Field(discriminator="what")]
