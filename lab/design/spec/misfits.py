"""Settings of a run that were made for another method, and have no meaning with the one that stands in its place."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lab.design.method.delta import Method
from lab.design.method.quantised import quantised_problem
from lab.design.method.rules import ratio_problem
from lab.design.spec.sharing import nothing_frozen


def misfits(method: Method, draft: Mapping[str, Any]) -> dict[str, Any]:
    """{path in the draft: the value that means 'not used'} of what `method` would be refused for."""
    given = draft.get("training")
    training: Mapping[str, Any] = given if isinstance(given, Mapping) else {}
    ratio = training.get("lr_ratio")
    found: dict[str, Any] = {}
    if isinstance(ratio, (int, float)) and ratio_problem(method, float(ratio)):
        found["training.lr_ratio"] = None
    if training.get("sharding", "none") != "none" and nothing_frozen(method):
        found["training.sharding"] = "none"
    if draft.get("quantisation", "none") != "none" and quantised_problem(method):
        found["quantisation"] = "none"
    return found
