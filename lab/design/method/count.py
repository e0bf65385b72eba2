"""How many weights a method trains, from shapes alone: no torch, no weights, an answer in milliseconds.

The papers' formulas leave biases out; here they count, and are given beside it. `final` is what still trains at the end of a
schedule, or what is kept once a reparameterisation is folded away.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from lab.design.body.anatomy import Anatomy, Site, anatomy, with_ranks
from lab.design.body.model import Inventory, ModelSpec
from lab.design.method.allocation import allot
from lab.design.method.delta import Delta, Method
from lab.design.method.forms import FORMS
from lab.design.method.parts import all_parts, shared_sizes
from lab.design.method.rules import require


@dataclass(frozen=True)
class Count:
    """Numbers of weights. `biases` is the part of `trainable` that is biases."""

    trainable: int
    total: int
    percent: float
    by_delta: dict[str, int]
    biases: int
    final: int
    by_site: dict[str, int] = field(default_factory=dict, repr=False)
    frozen: int = 0  # weights of the runs that it stands on, which do not train

    def document(self) -> dict[str, Any]:
        """Plain values for `--json`; `final` only where a schedule leaves fewer weights training than it began with, `frozen` only where it stands on runs."""
        kept = {"trainable": self.trainable, "total": self.total, "percent": self.percent, "by_delta": self.by_delta, "biases": self.biases}
        kept |= {"frozen": self.frozen} if self.frozen else {}
        return kept if self.final == self.trainable else {**kept, "final": self.final}


def count(method: Method, model: ModelSpec) -> Count:
    """Count a method on a model. Raises `Refusal` for what the rules refuse, or where the model's inventory is not known."""
    body = anatomy(model.config)
    require(method, body, alone=True)
    if model.inventory is None:
        raise ValueError("the model has no inventory")
    return count_on(method, body, model.inventory)


def count_on(method: Method, body: Anatomy, inventory: Inventory) -> Count:
    """Count a method on a body whose weights are listed: what it trains at the start, and at the end where a schedule freezes some."""
    by_delta: dict[str, int] = {}
    by_site: dict[str, int] = {}
    trainable = biases = final = 0
    frozen = sum(_delta(delta.model_copy(update={"frozen_from": ""}), body, {})[0] for delta in method.frozen)
    for index, delta in enumerate(method.deltas):
        here, here_biases, end = _delta(delta, body, by_site)
        by_delta[f"{index} {delta.form} at {', '.join(delta.at)}"] = here
        trainable, biases, final = trainable + here, biases + here_biases, final + end
    if method.select:
        here, here_biases, end = method.select.count(inventory, body)
        by_delta[method.select.counted] = here
        trainable, biases, final = trainable + here, biases + here_biases, final + end
    return Count(trainable, inventory.total, 100 * trainable / inventory.total, by_delta, biases, final, by_site, frozen)


def delta_sites(delta: Delta, body: Anatomy) -> list[Site]:
    """The sites of a delta, with the ranks that an allocation would give where the weights' order does not matter."""
    sites = body.sites(delta)
    return with_ranks(sites, allot(delta, sites, None)) if delta.allocation else sites


def _delta(delta: Delta, body: Anatomy, by_site: dict[str, int]) -> tuple[int, int, int]:
    sites = delta_sites(delta, body)
    if FORMS[delta.form].before_input:
        sites = sites[:1]  # one set, at the input of the first stack
    trainable = biases = final = 0
    shared = shared_sizes(delta, sites)
    for part in shared.values():
        trainable += part.size * part.trains
        final += part.size * part.trains
        biases += part.size * part.trains * (part.kind == "bias")
    for site in sites:
        here = 0
        for part in all_parts(delta, site):
            if part.name in shared or not part.trains:
                continue
            here += part.size
            biases += part.size * (part.kind == "bias")
            final += part.size * (delta.schedule is None or delta.schedule.trains_at_the_end(part.name))
        by_site[site.key] = by_site.get(site.key, 0) + here
        trainable += here
    if delta.encoder != "none" and not delta.frozen_from:  # a network trains instead of the slots that it produces
        networks = encoder_sizes(delta, sites).values()
        produced = sum(part.size for site in sites for part in all_parts(delta, site) if part.name in FORMS[delta.form].produced)
        trainable += sum(size for size, _ in networks) - produced
        biases += sum(bias for _, bias in networks)
    return trainable, biases, delta.schedule.final(delta, final) if delta.schedule else final


def widest_trained(method: Method, body: Anatomy) -> int:
    """The largest shorter side of a matrix in the layers that trains; 0 where none does."""
    if method.select and method.select.matrices:
        return max(stack.width for stack in body.stacks)
    parts = [
        part
        for d in method.deltas
        for site in body.sites(d)
        for part in all_parts(d, site)
        if part.trains and not (d.shared and part.name in FORMS[d.form].shared)
    ]
    return max((min(part.shape) for part in parts if len(part.shape) == 2), default=0)


def encoder_sizes(delta: Delta, sites: list[Site]) -> dict[str, tuple[int, int]]:
    """(parameters, those of them that are biases) of the reparameterisation: a network per stack for slots, one for tokens.

    mlp for slots: Embedding (l, d) → Linear(d, mid) → tanh → Linear(mid, 2·kv·layers) (Li & Liang 2021).
    mlp for tokens: Embedding → Linear(d, mid) → ReLU → Linear(mid, mid) → ReLU → Linear(mid, d) (peft's P-tuning).
    lstm for tokens: Embedding → two-layer bidirectional LSTM of d/2 per direction → Linear(d, d) → ReLU → Linear(d, d) (P-tuning's code).
    """
    mid, rank = delta.encoder_width, delta.rank
    if not FORMS[delta.form].before_input:
        sizes = {}
        for stack in dict.fromkeys(site.stack for site in sites):
            here = [site for site in sites if site.stack == stack]
            width, out = here[0].width_in, sum(2 * site.kv_heads * site.head_dim for site in here)
            sizes[stack] = (rank * width + _linears(width, mid, out), mid + out)
        return sizes
    width = sites[0].width_out
    if delta.encoder == "mlp":
        return {"tokens": (rank * width + _linears(width, mid, mid, width), 2 * mid + width)}
    half = width // 2
    lstm = sum(2 * 4 * half * (inputs + half + 2) for inputs in (width, 2 * half))
    return {"tokens": (rank * width + lstm + _linears(2 * half, width, width), 2 * width)}


def _linears(*widths: int) -> int:
    """Parameters of a chain of linear layers, biases included."""
    return sum((inner + 1) * outer for inner, outer in zip(widths, widths[1:], strict=False))
