"""What a forward call was given: its arguments by name, and its cache under the name that this release of transformers gives it."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from torch import nn


def arguments(module: nn.Module, args: tuple, kwargs: dict) -> dict[str, Any]:
    """The arguments of a call of `module`, by name: those given by position too, as a pre-hook sees them."""
    names = inspect.signature(module.forward).parameters
    return {**dict(zip(names, args, strict=False)), **kwargs}


def cache(given: Mapping[str, Any]) -> Any | None:
    """The cache of keys and values: `cache` since transformers 5.24, `past_key_values` before it and from older code."""
    own = given.get("cache")
    return given.get("past_key_values") if own is None else own


def seen(given: Mapping[str, Any]) -> int:
    """Positions whose keys and values are in the cache already."""
    held = cache(given)
    return 0 if held is None else int(held.get_seq_length())
