"""How many multiplications a training step needs, from shapes alone: the bound that its measured time is held against.

Counted are the products of matrices that the maths of a method asks of forward and backward passes, one multiply-add each; what is done element by
element is not. Backward, a product takes as much again for each of its two sides that a gradient goes to: a frozen weight asks for none, and below
the lowest thing that trains there is nothing. (Sublayers beside each other, as Falcon's, count as though one came after the other.) Example: MAM on MiniLM, 32 rows of 128 tokens: 1.32 times the step of the frozen model.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field

from lab.design.body.anatomy import Anatomy, Site, Stack
from lab.design.method.compositions import COMPOSITIONS
from lab.design.method.count import delta_sites, encoder_sizes
from lab.design.method.delta import Delta, Method
from lab.design.method.forms import FORMS
from lab.design.method.parts import all_parts


@dataclass
class Work:
    """Multiply-adds of a step."""

    forward: int = 0
    backward: int = 0

    @property
    def total(self) -> int:
        return self.forward + self.backward

    def product(self, size: int, moves: bool, trains: bool) -> bool:
        """A product of `size`, whose one side has a gradient where something below it trains (`moves`), the other where it trains itself; whether what it gives has one."""
        self.forward += size
        self.backward += size * (moves + trains)
        return moves or trains


def step_work(method: Method, body: Anatomy, rows: int, tokens: int, target_tokens: int | None = None) -> Work:
    """Of a step of the method on `rows` rows of `tokens` tokens (targets of `target_tokens` where there are two stacks), without a head."""
    return _Walk(method, body, rows, tokens, target_tokens or tokens).run()


def frozen_work(body: Anatomy, rows: int, tokens: int, target_tokens: int | None = None) -> Work:
    """Of the model alone, whose weights are frozen, with a gradient that goes back to its input: what time is measured against."""
    return _Walk(None, body, rows, tokens, target_tokens or tokens).run()


def reads_alone(delta: Delta) -> bool:
    """Whether it changes what a projection reads, and not what it gives."""
    return delta.changes_input


@dataclass
class _Attention:
    """What one attention knows of its slots: how many there are, and whether they train."""

    slots: int = 0
    trains: bool = False
    own: list[tuple[Delta, Site]] = field(default_factory=list)  # under a softmax of their own


class _Walk:
    """The forward pass, place by place, with whether each tensor has a gradient."""

    def __init__(self, method: Method | None, body: Anatomy, rows: int, tokens: int, target_tokens: int):
        self.method, self.body, self.rows = method, body, rows
        self.tokens = {"encoder": tokens, "decoder": target_tokens if body.encoder_decoder else tokens}
        self.work = Work()
        self.select = method.select if method else None
        self.at: dict[tuple[str, int, str], list[tuple[Delta, Site]]] = defaultdict(list)
        self.begins = method is None  # whether the first layer's input has a gradient
        for delta in method.deltas if method else ():
            self._place(delta)
        if self.select is not None and not self.select.layers_alone:
            self.begins |= self.select.weights == "all" and not getattr(self.select, "at", None)
            self.begins |= self.select.weights in ("bias", "norm") and body.post_norm  # the norm of the embeddings

    def _place(self, delta: Delta) -> None:
        form, sites = FORMS[delta.form], delta_sites(delta, self.body)
        if form.before_input:
            sites = sites[:1]
        if delta.encoder != "none":
            for size, biases in encoder_sizes(delta, sites).values():
                self.work.product((size - biases - delta.rank * sites[0].width_out) * delta.rank, True, True)
        if form.before_input:
            first = self.body.stacks[0].name
            self.work.product(self._gate(delta, sites[0]) * self.rows * self.tokens[first], False, True)
            self.tokens[first] += delta.rank
            self.begins |= not delta.frozen_from
            return
        for site in sites:
            self.at[site.stack, site.layer, site.representation].append((delta, site))

    def run(self) -> Work:
        memory = False
        for stack in self.body.stacks:
            moves = self.begins or self._delta((stack.name, 0, "embed"), {}, self.begins, stack.name)
            for layer in range(stack.layers):
                moves = self._layer(stack, layer, moves, memory)
            memory = moves
        return self.work

    # -- one layer -----------------------------------------------------------------------------------------------------------------

    def _layer(self, stack: Stack, layer: int, stream: bool, memory: bool) -> bool:
        before = stream
        stream = self._attention(stack.name, stack, layer, stream, None)
        if stack.cross:
            stream = self._attention("cross", stack, layer, stream, memory)
        stream = self._ffn(stack, layer, stream)
        return self._delta((stack.name, layer, "layer.out"), {"residual": before}, stream, stack.name)

    def _attention(self, name: str, stack: Stack, layer: int, stream: bool, memory: bool | None) -> bool:
        """The residual stream behind an attention; `memory`: whether what it attends to has a gradient, of cross-attention."""
        body, place = self.body, lambda what: (name, layer, what)
        x = stream or (self._norm(layer, stack) and not body.reads_residual)
        kv = stack.kv_heads * stack.head_dim
        source = self._input(place("attn.qkv"), x, self.rows * self.tokens[stack.name])
        other = source if memory is None else memory
        read = stack.width if memory is None else body.stacks[0].width
        queries, keys = self.tokens[stack.name], self.tokens["encoder" if memory is not None else stack.name]
        q, k, v = (
            self._linear(place(f"attn.{what}"), side, each, count, {"sublayer": each, "residual": stream}, stack)
            for what, side, each, count in (
                ("q", (stack.width, stack.attention), source, queries),
                ("k", (read, kv), other, keys),
                ("v", (read, kv), other, keys),
            )
        )
        if body.is_slice("attn.q"):  # of one tensor, which has a gradient or none
            q = k = v = self._delta(place("attn.qkv"), {"sublayer": x, "residual": stream, "projection": x}, q or k or v, stack.name, skip=reads_alone)
        found = self._slots(place("attn.heads"), stack, x)
        k, v = k or found.trains, v or found.trains
        size = self.rows * queries * (keys + found.slots) * stack.attention
        heads = self.work.product(size, q, k)
        heads = self.work.product(size, heads, v)
        for delta, site in found.own:
            self._rows_of(delta, site, self.rows * queries, q)
            heads = True
        heads = self._delta(place("attn.heads"), {"sublayer": x, "residual": stream}, heads, stack.name)
        given = {"sublayer": x, "residual": stream, "projection": heads}
        out = self._linear(place("attn.out"), (stack.attention, stack.width), heads, queries, given, stack)
        return stream or out or (self._norm(layer, stack) and body.reads_residual)

    def _slots(self, place: tuple[str, int, str], stack: Stack, x: bool) -> _Attention:
        """The slots of an attention. Those that deltas add by hooks stay in their place, for `_delta`."""
        found = _Attention()
        for delta, site in list(self.at.get(place, ())):
            if FORMS[delta.form].kind(delta) != "attention":
                continue
            self.at[place].remove((delta, site))
            if FORMS[delta.form].mixed(delta):
                found.slots += delta.rank
                found.trains |= not delta.frozen_from
                self.work.product(self._gate(delta, site) * self.rows * self.tokens[self._side(site)], x, True)
            else:
                found.own.append((delta, site))
        return found

    def _rows_of(self, delta: Delta, site: Site, count: int, queries: bool) -> None:
        """Slots under a softmax of their own; their keys and values may be rows that the model projects."""
        for size, _ in FORMS[delta.form].products(delta, site)[-2:]:
            self.work.product(count * size, queries, True)
            queries = True
        self.work.product(FORMS[delta.form].making(delta, site), True, False)

    def _ffn(self, stack: Stack, layer: int, stream: bool) -> bool:
        place, tokens = lambda what: (stack.name, layer, what), self.tokens[stack.name]
        x = stream or (self._norm(layer, stack) and not self.body.reads_residual)
        given = {"sublayer": x, "residual": stream}
        act = self._linear(place("ffn.up"), (stack.width, stack.ffn), x, tokens, given, stack)
        if stack.gated:
            act |= self._linear(place("ffn.gate"), (stack.width, stack.ffn), x, tokens, given, stack)
        act = self._delta(place("ffn.act"), given, act, stack.name)
        down = self._linear(place("ffn.down"), (stack.ffn, stack.width), act, tokens, given, stack)
        out = self._delta(place("ffn.out"), {**given, "projection": act}, down, stack.name)
        return self._delta(place("ffn.residual"), given, stream or out, stack.name) or (self._norm(layer, stack) and self.body.reads_residual)

    # -- what a place costs ------------------------------------------------------------------------------------------------------

    def _linear(self, place: tuple[str, int, str], shape: tuple[int, int], x: bool, tokens: int, given: dict[str, bool], stack: Stack) -> bool:
        """A projection of the model with its deltas, those on its input first."""
        x, layer = self._input(place, x, self.rows * tokens), place[1]
        trains = self._trains(layer, stack, "all") and self._selected(place)
        h = self.work.product(self.rows * tokens * shape[0] * shape[1], x, trains) or self._trains(layer, stack, "bias")
        return self._delta(place, {**given, "projection": x}, h, self._side_of(place), skip=reads_alone)

    def _input(self, place: tuple[str, int, str], x: bool, count: int) -> bool:
        """What a projection reads, behind the deltas that change it."""
        for delta, site in self.at.get(place, ()):
            if delta.changes_input:
                x = self._one(delta, site, x, x, count)
        return x

    def _delta(self, place: tuple[str, int, str], given: dict[str, bool], h: bool, side: str, skip: Callable[[Delta], bool] = lambda delta: False) -> bool:
        """h behind the deltas of a place; `given`: whether what each of them reads has a gradient."""
        for delta, site in self.at.get(place, ()):
            if not skip(delta):
                h = self._one(delta, site, h if site.reads == "h" else given[site.reads], h, self.rows * self.tokens[side])
        return h

    def _one(self, delta: Delta, site: Site, x: bool, h: bool, count: int) -> bool:
        form, composition = FORMS[delta.form], COMPOSITIONS[delta.composition]
        learns = not delta.frozen_from
        self.work.product(self._gate(delta, site) * count, x, learns)
        x |= delta.norm == "in" and learns
        trains = {part.name: part.trains and learns for part in all_parts(delta, site)}
        for size, part in composition.products(delta, site, form.products(delta, site)):
            x = self.work.product(count * size, x, trains.get(part, bool(part)))
        learns = any(trains.values())
        self.work.product(form.making(delta, site), learns, learns)
        self.work.product(composition.making(delta, site), *[learns and composition.made_learns] * 2)
        return h or x or learns

    @staticmethod
    def _gate(delta: Delta, site: Site) -> int:
        """Multiply-adds of the learned gate at one position."""
        if not COMPOSITIONS[delta.composition].averages or not (delta.gate == "own" or site.first):
            return 0
        return site.width_in if delta.gate == "own" else site.model

    def _side(self, site: Site) -> str:
        return self._side_of((site.stack, site.layer, site.representation))

    @staticmethod
    def _side_of(place: tuple[str, int, str]) -> str:
        stack, _, what = place
        return stack if stack != "cross" else "encoder" if what in ("attn.k", "attn.v") else "decoder"

    def _trains(self, layer: int, stack: Stack, what: str) -> bool:
        """Whether weights (all) or biases of a layer train."""
        return self.select is not None and self.select.weights in {"all": ("all",), "bias": ("all", "bias")}[what] and layer in self.select.lit(stack.layers)

    def _norm(self, layer: int, stack: Stack) -> bool:
        select = self.select
        if select is None or select.weights not in ("all", "norm", "bias") or getattr(select, "at", None):
            return False
        return layer in select.lit(stack.layers) and not (select.weights == "bias" and self.body.rms)

    def _selected(self, place: tuple[str, int, str]) -> bool:
        """Whether a projection is among those whose entries train."""
        select = self.select
        if select is None or not getattr(select, "at", None):
            return True
        return any((site.stack, site.layer, site.representation) == place for site in select.sites(self.body))  # type: ignore[attr-defined]


__all__ = ["Work", "frozen_work", "step_work"]
