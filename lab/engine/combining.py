"""The tensors of a combination (lab/design/method/combining.py), made on a model of the base that the parts were trained on.

    parts = Parts(model, [(method, state), ...])
    attach(model, combined(...), state=parts.state(combined(...), weights, "ties", density=0.5))

The model must have nothing attached; whatever is attached to read a part's change of weights is detached again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lab.design.body.anatomy import Site
from lab.design.method.combining import changed_weights, present
from lab.design.method.delta import Delta, Method
from lab.design.method.forms import FORMS
from lab.design.method.parts import all_parts
from lab.design.plain.refusal import Refusal
from lab.engine import arithmetic, select
from lab.engine.attach import attach, body_of
from lab.engine.bind import PROJECTION, Binder
from lab.engine.locate import Located
from lab.engine.starting import true_factors

State = Mapping[str, Tensor]


@dataclass
class How:
    """How tensors become one, but for their weights; see lab/engine/arithmetic.py."""

    how: str = "sum"
    rank: int | None = None
    density: float = 1.0
    sign: str = "total"
    seed: int = 0


class Parts:
    """Trained methods, each with its state, of one base."""

    def __init__(self, model: nn.Module, parts: Sequence[tuple[Method, State]]):
        self.model, self.parts, self.body = model, list(parts), body_of(model)
        self.binder = Binder(model.base_model, self.body)
        self._changes: dict[int, dict[tuple[str, int, str], Tensor]] = {}
        self._turned: dict[int, dict[str, Tensor]] = {}

    @torch.no_grad()
    def state(self, method: Method, weights: Sequence[float], asked: How) -> dict[str, Tensor]:
        """What `attach(model, method, state=...)` takes, `method` being what `combined` made of these parts. Raises Refusal where shapes differ."""
        generator = torch.Generator().manual_seed(asked.seed)
        if asked.rank:
            return self._of_rank(method, weights, asked, generator)
        if asked.how == "sum":
            return self._side_by_side(method, weights) | self._selected(weights, How("sum"), generator)
        return self._by_tensor(method, weights, asked, generator) | self._selected(weights, asked, generator)

    # -- side by side

    def _side_by_side(self, method: Method, weights: Sequence[float]) -> dict[str, Tensor]:
        found: dict[str, Tensor] = {}
        begin = 0
        for number in present(weights):
            part, state = self.parts[number]
            own = self._without_starts(number, method, begin) if method.deltas[begin:] and _turned(part, method, begin) else state
            for name, tensor in own.items():
                if name.startswith("deltas."):
                    _, index, rest = name.split(".", 2)
                    found[f"deltas.{begin + int(index)}.{rest}"] = tensor
            begin += len(part.deltas)
        return found

    def _without_starts(self, number: int, method: Method, begin: int) -> dict[str, Tensor]:
        """A part's state in which a delta whose start was taken out of the weight is the plain low-rank change that it comes to."""
        part, state = self.parts[number]
        if number not in self._turned:
            found = {name: tensor for name, tensor in state.items() if name.startswith("deltas.") and not _taken_out(part.deltas[int(name.split(".")[1])])}
            attached = attach(self.model, part, state=state)
            try:
                for name, delta in attached.deltas.items():
                    index = int(name.split(".")[1])
                    if delta.start.residual:
                        left, right, _ = true_factors(delta)
                        down, up = _of_rank(left, right, method.deltas[begin + index].rank)
                        found |= {f"{name}.A": down, f"{name}.B": up}
            finally:
                attached.detach()
            self._turned[number] = found
        return self._turned[number]

    # -- tensor by tensor

    def _by_tensor(self, method: Method, weights: Sequence[float], asked: How, generator: torch.Generator) -> dict[str, Tensor]:
        states = [state for _, state in self.parts]
        found = {}
        for name in sorted(name for name in states[0] if name.startswith("deltas.")):
            index, part = int(name.split(".")[1]), name.rsplit(".", 1)[-1]
            tensors = [self._like(state, name, states[0]) for state in states]
            deltas = [each.deltas[index] for each, _ in self.parts]
            product, neutral = FORMS[deltas[0].form].product(deltas[0]), _neutral(deltas[0], part)
            if part in product:
                shares = [
                    arithmetic.roots(weight * delta.weight * float(delta.strength))[product.index(part)] for weight, delta in zip(weights, deltas, strict=True)
                ]
            else:
                shares = [weight * delta.weight for weight, delta in zip(weights, deltas, strict=True)]
            changes = [tensor.float() - neutral for tensor in tensors]
            found[name] = neutral + arithmetic.combine(changes, shares, asked.how, density=asked.density, sign=asked.sign, generator=generator)
        return found

    def _like(self, state: State, name: str, first: State) -> Tensor:
        if name not in state or state[name].shape != first[name].shape:
            raise Refusal("The parts differ in shape at '{name}', so they cannot be combined tensor by tensor: choose sum, or give a rank.", "parts", name=name)
        return state[name]

    def _selected(self, weights: Sequence[float], asked: How, generator: torch.Generator) -> dict[str, Tensor]:
        """Weights of the model itself: the base and what becomes of the differences to it; of fixed masks, the entries of all parts."""
        there = [(state, weight) for (_, state), weight in zip(self.parts, weights, strict=True) if any(name.startswith("select.") for name in state)]
        used = [(state, weight) for state, weight in there if weight]
        if len(used) == 1 and used[0][1] == 1 and asked.how == "sum":  # to the bit
            return {name: tensor for name, tensor in used[0][0].items() if name.startswith("select.")}
        own: dict[str, Any] = select.own_parameters(self.model)
        found: dict[str, Tensor] = {}
        for name, kind in sorted({_selected_name(name) for state, _ in there for name in state if name.startswith("select.")}):
            if name not in own:
                raise Refusal("'{name}' is no weight of this model, so its difference to the base cannot be combined.", "parts", name=name)
            base = own[name].detach().float().cpu()
            changes = [_difference(state, name, kind, base) for state, _ in there]
            how = "sum" if asked.how == "average" else asked.how
            made = arithmetic.combine(changes, [weight for _, weight in there], how, density=asked.density, sign=asked.sign, generator=generator)
            if kind:
                index = torch.cat([state[f"select.{name}.index"] for state, _ in there]).unique()
                found |= {f"select.{name}.index": index, f"select.{name}.values": made.flatten()[index.long()]}
            else:
                found[f"select.{name}"] = base + made
        return found

    # -- one low-rank change

    def _of_rank(self, method: Method, weights: Sequence[float], asked: How, generator: torch.Generator) -> dict[str, Tensor]:
        found = {}
        for index, delta in enumerate(method.deltas):
            for site in self.body.sites(delta):
                place = (site.stack, site.layer, site.representation)
                there = [(self.changes(number)[place], weight) for number, weight in enumerate(weights) if place in self.changes(number)]
                changes, shares = zip(*there, strict=True)
                change = arithmetic.combine(changes, shares, asked.how, density=asked.density, sign=asked.sign, generator=generator)
                name = f"deltas.{index}.{site.key}"
                found[f"{name}.A"], found[f"{name}.B"] = arithmetic.low_rank(change, delta.rank)
        return found

    def changes(self, number: int) -> dict[tuple[str, int, str], Tensor]:
        """ΔW (out, in) of a part by (stack, layer, projection): its weights merged, less the base's. Raises Refusal where it changes more than weights."""
        if number not in self._changes:
            method, state = self.parts[number]
            places = {place: self._located(*place) for place in changed_weights(method, self.body)}
            before = {place: (located.weight().detach().double(), located.bias()) for place, located in places.items()}
            biases = {place: None if bias is None else bias.detach().clone() for place, (_, bias) in before.items()}
            weights = {place: weight.clone() for place, (weight, _) in before.items()}
            attached = attach(self.model, method, state=state)
            try:
                attached.merge()
                found = {place: (located.weight().detach().double() - weights[place]).float() for place, located in places.items()}
                for place, located in places.items():
                    now = located.bias()
                    if biases[place] is not None and now is not None and not torch.allclose(biases[place], now, atol=1e-7):
                        raise Refusal(
                            "Part {number} changes the bias of {place}, for which a low-rank change has no place: leave the rank empty.",
                            "rank",
                            number=number + 1,
                            place=place[2],
                        )
            finally:
                attached.detach()
            self._changes[number] = found
        return self._changes[number]

    def _located(self, stack: str, layer: int, place: str) -> Located:
        found = self.binder.layer(stack, layer)
        return found.find("attn", "out") if place == "attn.out" else found.find(*PROJECTION[place])


def _turned(part: Method, method: Method, begin: int) -> bool:
    """Whether a delta of a part, whose deltas begin at `begin` in the whole, stands there as a plain low-rank change."""
    return any(_taken_out(delta) and not _taken_out(method.deltas[begin + index]) for index, delta in enumerate(part.deltas))


def _taken_out(delta: Delta) -> bool:
    """Whether its start is taken out of the weight, which keeps the residual."""
    return FORMS[delta.form].start(delta).residual


def _of_rank(left: Tensor, right: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """left (out, k) · right (k, in) as A (rank, in) and B (out, rank): filled with zeros, or where k is more than that, by its singular values."""
    missing = rank - right.shape[0]
    if missing < 0:
        return arithmetic.low_rank(left @ right, rank)
    return torch.cat([right, right.new_zeros(missing, right.shape[1])]), torch.cat([left, left.new_zeros(left.shape[0], missing)], 1)


def _selected_name(name: str) -> tuple[str, str]:
    """The weight that a selection's tensor is of, and `sparse` where its entries alone are kept."""
    whole = name.removeprefix("select.")
    for suffix in (".values", ".index"):
        if whole.endswith(suffix):
            return whole.removesuffix(suffix), "sparse"
    return whole, ""


def _difference(state: State, name: str, kind: str, base: Tensor) -> Tensor:
    """A part's weight less the base's. Raises Refusal where it is of another shape."""
    if kind:
        found = torch.zeros(base.numel())
        found[state[f"select.{name}.index"].long()] = state[f"select.{name}.values"].float()
        return found.view_as(base)
    if f"select.{name}" not in state or state[f"select.{name}"].shape != base.shape:
        raise Refusal("'{name}' is not the same weight in all parts, so its difference to the base cannot be combined.", "parts", name=name)
    return state[f"select.{name}"].float() - base


def _neutral(delta: Delta, part: str) -> float:
    """The value of a part that changes nothing, from which its change counts: where it starts if that is a constant, else 0."""
    site = Site(delta.places[0], "encoder", 0, 8, 8, "h", 1, 1, 8, model=8)
    init: dict[str, Any] = {each.name: each.init for each in all_parts(delta, site)}
    return float(init[part].split(":")[1]) if init.get(part, "").startswith("constant:") else 0.0
