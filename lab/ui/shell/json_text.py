"""Numbers and documents as the JSON that scripts of the pages read."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np


def plain(values: Any) -> list[Any]:
    """A curve as JSON: six significant digits, None for what is no number."""
    if values.dtype.kind == "i":
        return values.tolist()
    return [None if not math.isfinite(value) else float(f"{value:.6g}") for value in np.asarray(values).tolist()]


def text(document: Any) -> str:
    """What a script of a page is told, as JSON text: gradio walks through every number of anything else, which takes longer than drawing it."""
    try:
        return json.dumps(document, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    except ValueError:  # a number that is none, which JSON has no word for
        return json.dumps(_finite(document), ensure_ascii=False, separators=(",", ":"))


def _finite(document: Any) -> Any:
    if isinstance(document, dict):
        return {key: _finite(value) for key, value in document.items()}
    if isinstance(document, (list, tuple)):
        return [_finite(value) for value in document]
    return None if isinstance(document, float) and not math.isfinite(document) else document
