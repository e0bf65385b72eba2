"""Which pairs of a large product the default run tests; the others are slow."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from typing import Any

import pytest

SLOW_TOO = True  # False where only what is not slow was asked for (conftest.py): each of the processes would make thousands of tests to leave them out


def pairs(presets: Iterable[str], architectures: Sequence[str], each: int) -> list[Any]:
    """Every (preset, architecture); `each` of a preset's are in the default run and the rest are slow.

    Which ones, a checksum of its name decides: every architecture meets about as many presets, and a new preset moves no other's.
    """
    found = []
    for preset in presets:
        first = zlib.crc32(preset.encode()) % len(architectures)
        for index, architecture in enumerate(architectures):
            later = (index - first) % len(architectures) >= each
            if SLOW_TOO or not later:
                found.append(pytest.param(preset, architecture, id=f"{preset}-{architecture}", marks=[pytest.mark.slow] if later else []))
    return found
