"""The forms that have a PEFT type of their own: {preset: (changes for tiny models, builder)}; builders as in peft_side.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import peft

from lab.engine import Attached
from oracles.peft_side import Pair, randomise, sites


def _pairs(model, attached: Attached, config: Any, names: dict[str, str], size: float = 0.3):
    """(peft model, pairs) for a type whose tensors are called `names` there; a pair is looked at as peft keeps it, or as `views` say."""
    places = sites(attached)
    config.target_modules = {path for _, path, _ in places}
    theirs = peft.get_peft_model(model, config)
    randomise(theirs, tuple(names.values()), size=size)
    found = []
    for name, path, mine in places:
        layer = theirs.get_base_model().get_submodule(path)
        for part, other in names.items():
            if getattr(mine, part, None) is not None:
                found.append(Pair(f"{name}.{part}", getattr(mine, part), getattr(layer, other)["default"]))
    return theirs, found


def loha(model, attached: Attached):
    delta = attached.method.deltas[0]
    names = {"B1": "hada_w1_a", "A1": "hada_w1_b", "B2": "hada_w2_a", "A2": "hada_w2_b"}
    return _pairs(model, attached, peft.LoHaConfig(r=delta.rank, alpha=delta.alpha), names)


FORMS: dict[str, tuple[dict[str, Any], Callable]] = {
    "loha": ({"deltas.0.rank": 5, "deltas.0.alpha": 12.0}, loha),
}
