"""One delta at one site: a module with the form's parts, which taps x, computes Δh and changes h by its composition.

Its hooks are bound methods, so that a deep copy of the model is changed by its own deltas. x is tapped into one slot, which
the consumer empties: a recomputation that stops early leaves nothing behind that grows.
"""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from lab.design.body.anatomy import Site
from lab.design.method.compositions import COMPOSITIONS
from lab.design.method.delta import Delta
from lab.design.method.forms import FORMS
from lab.design.method.step import Step, activation
from lab.design.method.steps import entering, reads_normed, steps
from lab.engine import fourier
from lab.engine.locate import Located, Slice
from lab.engine.prompt import Prompts

SIGMA: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": F.relu,
    "gelu": F.gelu,
    "silu": F.silu,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "softmax": lambda x: x.softmax(-1),
}


ACTIVATIONS = ("attn.heads", "ffn.act")  # each the input of the projection that follows


class DeltaModule(nn.Module):
    """The parts of a delta at a site, as parameters named by the form (A, B; down, up; keys, values ...)."""

    fourier = fourier  # for the formulas of forms

    def __init__(self, delta: Delta, site: Site, parts: dict[str, Tensor], shared: nn.Module | None, context: Context):
        super().__init__()
        self.delta, self.site = delta, site
        self.form = FORMS[delta.form]
        self.start = self.form.start(delta)
        self.steps, self.entering = steps(delta), entering(delta)
        self.composition = COMPOSITIONS[delta.composition]
        self.part: Slice | None = None  # of a fused projection's output
        self._target: tuple[Located, ...] = ()  # the module that it changes; a tuple, so that it is not a child here
        self.tapped: Tensor | None = None
        self.produced: dict[str, Tensor] = {}  # parts that a reparameterisation gives for this forward pass
        self.enabled = True
        self.shares: tuple[Any, int] | None = None  # the gate of its layer that it shares (gates.py), and its place there
        self.fused = False  # a fusion takes what it would add to h, which it leaves in `given`
        self.given: Tensor | None = None
        self.members: tuple[DeltaModule, ...] = ()  # of a fusion; a tuple, so that they are not children here
        self.reading: dict[str, float] | None = None  # where measurements go while measuring
        self._outside = (shared, context)  # a tuple, so that they are not registered as children here
        for name in self.form.names:
            self.register_parameter(name, None)
        for name, tensor in parts.items():
            self.register_parameter(name, nn.Parameter(tensor, requires_grad=tensor.is_floating_point()))

    @property
    def context(self) -> Context:
        """The masks of the current forward pass, shared by all deltas of the model."""
        return self._outside[1]

    def parts(self) -> Any:
        """The parts by name: the module's own, those that live once at the root cut to this site, those just produced."""
        shared = self._outside[0]
        if shared is None and not self.produced:
            return self
        view = SimpleNamespace(
            by_head=self.by_head,
            fourier=fourier,
            site=self.site,
            target_weight=self.target_weight,
            **{name: getattr(self, name) for name in self.form.names},
        )
        if shared is not None:
            for name, tensor in shared.named_parameters():
                setattr(view, name, tensor[tuple(map(slice, self._own_shape(name)))])
        for name, tensor in self.produced.items():
            setattr(view, name, tensor)
        return view

    def _own_shape(self, name: str) -> tuple[int, ...]:
        return next(part.shape for part in self.form.parts(self.delta, self.site) if part.name == name)

    def by_head(self, slots: Tensor) -> Tensor:
        """(l, kv) → (heads, l, head_dim); with grouped-query attention each key/value head serves several query heads."""
        site = self.site
        each = slots.view(-1, site.kv_heads, site.head_dim).transpose(0, 1)  # (kv_heads, l, head_dim)
        return each if site.heads == site.kv_heads else each.repeat_interleave(site.heads // site.kv_heads, 0)

    def change(self, x: Tensor) -> Tensor:
        """Δh (..., width_out), before the composition's scale or gate. x: (..., width_in)."""
        return self.formed(self.enter(x))

    def added(self, h: Tensor, x: Tensor, scale: float | Tensor) -> Tensor:
        """h + scale·Δh (..., width_out). x: (..., width_in); scale: a number, or a tensor that is one number for each row or for all.

        Where Δh ends in a map, its product is added to h as it is made, and the scale multiplies what is as narrow as the rank: no second tensor
        as large as h is made, forward or backward.
        """
        last, parts = self.steps[-1], self.parts()
        x = self._run(self.steps[:-1], x.to(self.dtype))
        mixed = not h.is_meta and torch.is_autocast_enabled(h.device.type)
        if last.kind != "map" or h.dim() != x.dim() or h.dtype != x.dtype or mixed:
            change = self._run(self.steps[-1:], x)
            return h + (scale * change).to(h.dtype) if isinstance(scale, Tensor) else h.add(change.to(h.dtype), alpha=scale)
        x, factor = (x * scale, 1.0) if isinstance(scale, Tensor) else (x, scale)
        new = torch.addmm(h.flatten(0, -2), x.flatten(0, -2), self.form.weight(parts, last.part).T, alpha=factor).view(*h.shape[:-1], -1)
        return new.add_(scale * getattr(parts, last.bias)) if last.bias else new

    def beside(self) -> Tensor:
        """(..., N, width_out): the Δh of the frozen deltas that it fuses, of this forward pass."""
        found = [member.given for member in self.members]
        for member in self.members:
            member.given = None
        return torch.stack([change.to(self.dtype) for change in found if change is not None], -2)

    def read_shares(self, shares: Tensor) -> None:
        """While measuring: the mean share (..., N, 1) of each of them."""
        if self.reading is not None:
            each = shares.detach().flatten(0, -3).mean(0).flatten()
            self.reading |= {f"share/{self.key}/{member.delta.frozen_from or number}": float(each[number]) for number, member in enumerate(self.members)}

    def enter(self, x: Tensor) -> Tensor:
        """x as it enters the form, behind the delta's own norm and dropout on it: (..., width_in)."""
        return self._run(self.entering, x.to(self.dtype))

    def formed(self, x: Tensor) -> Tensor:
        """Δh (..., width_out) from what `enter` gives."""
        return self._run(self.steps[len(self.entering) :], x)

    def _run(self, steps: tuple[Step, ...], x: Tensor) -> Tensor:
        parts = self.parts()
        for step in steps:
            x = getattr(self, f"_{step.kind}")(step, parts, x)
        return x

    def target_weight(self) -> Tensor:
        """W (out, in) of the projection that it changes, without any delta."""
        return self._target[0].weight()

    def target_bias(self) -> Tensor | None:
        """b (out,) of that projection, None where there is none."""
        return self._target[0].bias()

    @property
    def of_activation(self) -> bool:
        """Whether h is an activation, which the projection that follows reads."""
        return self.site.representation in ACTIVATIONS

    # -- the steps -----------------------------------------------------------------------------------------------------------

    def _norm(self, step: Step, parts: Any, x: Tensor) -> Tensor:
        return F.layer_norm(x, self.norm.shape, self.norm, self.norm_bias)

    def _dropout(self, step: Step, parts: Any, x: Tensor) -> Tensor:
        return F.dropout(x, step.value, self.training)

    def _map(self, step: Step, parts: Any, x: Tensor) -> Tensor:
        return F.linear(x, self.form.weight(parts, step.part), getattr(parts, step.bias) if step.bias else None)

    def _fold(self, step: Step, parts: Any, x: Tensor) -> Tensor:
        size = int(step.value)
        return F.pad(x, (0, -x.shape[-1] % size)).unflatten(-1, (-1, size)).sum(-2)

    def _times(self, step: Step, parts: Any, x: Tensor) -> Tensor:
        return x * getattr(parts, step.part)

    def _sigma(self, step: Step, parts: Any, x: Tensor) -> Tensor:
        return SIGMA[step.name](x)

    def _constant(self, step: Step, parts: Any, x: Tensor) -> Tensor:
        return self.dropped(step, getattr(parts, step.part))

    def _form(self, step: Step, parts: Any, x: Tensor) -> Tensor:
        def sigma(hidden: Tensor) -> Tensor:
            for inner in activation(self.delta):
                hidden = getattr(self, f"_{inner.kind}")(inner, parts, hidden)
            return hidden

        if self.form.remade and torch.is_grad_enabled():
            return checkpoint(self.form.change, parts, x, sigma, use_reentrant=False, preserve_rng_state=False)
        return self.form.change(parts, x, sigma)

    def dropped(self, step: Step, part: Tensor) -> Tensor:
        """A part with the dropout that its step puts on it."""
        return F.dropout(part, step.value, self.training) if step.value else part

    @property
    def dtype(self) -> torch.dtype:
        """Of its parts, in which Δh is computed."""
        own = next(self.parameters(recurse=False), None) if not self.produced else next(iter(self.produced.values()))
        if own is not None:
            return own.dtype
        shared = self._outside[0]
        assert shared is not None  # a module without parts of its own has shared ones
        return next(shared.parameters()).dtype

    @property
    def strength(self) -> float | Tensor:
        """s: a number, or the learned scalar."""
        return self.scale if self.delta.strength == "learned" else self.delta.strength

    def gate_value(self, x: Tensor) -> Tensor:
        """g(x) (batch, 1, 1): σ of a linear map per token, averaged over the sequence (UniPELT, Mao et al. 2022), or its layer's shared gate."""
        if self.shares is not None:
            gate, place = self.shares
            value = gate.values[place]
        else:
            each = torch.sigmoid(x.to(self.dtype) @ self.gate + self.gate_bias)  # (batch, positions)
            value = self.average(each, self.side)
        if self.reading is not None:
            self.reading[f"gate/{self.key}"] = float(value.detach().mean())
        return value[:, None, None]

    def chosen(self, h: Tensor) -> Tensor:
        """(batch, positions), True where h (batch, positions, width) is changed, by `tokens`."""
        assert self.context.prompts is not None and self.delta.ends is not None
        stack = self.side
        return self.context.prompts.chosen(stack, self.delta.ends, self.context.token_mask(stack), h)

    @property
    def side(self) -> str:
        """The stack whose positions x has: keys and values of cross-attention are of the encoder's."""
        site = self.site
        if site.stack != "cross":
            return site.stack
        return "encoder" if site.representation in ("attn.k", "attn.v") else "decoder"

    def average(self, each: Tensor, stack: str) -> Tensor:
        """(batch, positions) → (batch,): the mean over the real tokens of a stack, or over padding too (`gate_over`)."""
        mask = self.context.token_mask(stack) if self.delta.gate_over == "tokens" else None
        if mask is None or mask.shape != each.shape:
            return each.mean(-1)
        mask = mask.to(each.dtype)
        return (each * mask).sum(-1) / mask.sum(-1).clamp(min=1)

    @property
    def key(self) -> str:
        """The site's name: `encoder.3.attn.q`."""
        return self.site.key

    # -- hooks -------------------------------------------------------------------------------------------------------------

    def tap_input(self, module: nn.Module, args: tuple, kwargs: dict) -> None:
        """Pre-hook on the module whose input is x."""
        self.tapped = args[0] if args else kwargs["hidden_states"]

    def change_output(self, module: nn.Module, args: tuple, kwargs: dict, output: Any) -> Any:
        """Forward hook on the module whose output is h; x is its own input, the tap, or h."""
        if not self.enabled:
            self.tapped = None
            return None
        h = output[0] if isinstance(output, tuple) else output
        new = self._changed(h, args[0] if args else next(iter(kwargs.values()), None))
        return (new, *output[1:]) if isinstance(output, tuple) else new

    def change_input(self, module: nn.Module, args: tuple) -> Any:
        """Pre-hook on the module whose input is h."""
        if not self.enabled:
            self.tapped = None
            return None
        return (self._changed(args[0], None, module), *args[1:])

    def _changed(self, h: Tensor, own_input: Tensor | None, module: nn.Module | None = None) -> Tensor:
        part = h if self.part is None else self.part.read(h)
        x = self._x(part, own_input, module)
        if self.fused:
            self.given = self.composition.join(self, x.new_zeros((), dtype=self.dtype), x)
            return h
        new = self.composition.join(self, part, x)
        if self.delta.weight != 1:
            new = part + self.delta.weight * (new - part)
        if self.delta.ends:
            new = torch.where(self.chosen(part)[..., None], new, part)
        if self.reading is not None:
            size = part.detach().float().norm().clamp(min=1e-12)
            self.reading[f"delta_norm/{self.key}"] = float((new.detach() - part.detach()).float().norm() / size)
        return new if self.part is None else self.part.write(h, new)

    def _x(self, h: Tensor, own_input: Tensor | None, module: nn.Module | None) -> Tensor:
        if self.delta.reads_h:
            if reads_normed(self.delta, self.site.representation, self.context.post_norm):
                assert module is not None  # the norm, which the hook is on
                return module.forward(h)  # Pfeiffer on post-norm models reads LN(z); forward alone, so no hook runs again
            return h
        tapped, self.tapped = self.tapped, None
        return own_input if tapped is None else tapped

    def extra_repr(self) -> str:
        return f"{self.delta.form} at {self.site.key}, {self.delta.insertion}, {self.delta.composition}"


class SlotsModule(DeltaModule):
    """Slots that are added (no attention mass needed): queries are computed again from x, without the projection's hooks."""

    def set_query(self, query: Any, scaling: float) -> None:
        """The query projection whose weights make queries of x, and 1/√d of this attention."""
        self._query, self.scaling = (query,), scaling

    def _queries(self, step: Step, parts: Any, x: Tensor) -> Tensor:
        query = self._query[0]
        weight, bias = query.weight(), query.bias()
        q = F.linear(x, weight.to(x.dtype), None if bias is None else bias.to(x.dtype))  # (batch, positions, heads·head_dim)
        return q.unflatten(-1, (self.site.heads, self.site.head_dim)).transpose(-3, -2) * (self.scaling if step.scaled else 1.0)

    def _keys(self, step: Step, parts: Any, x: Tensor) -> Tensor:
        return x @ self.by_head(parts.keys).transpose(-1, -2)  # (batch, heads, positions, l)

    def _values(self, step: Step, parts: Any, x: Tensor) -> Tensor:
        return (x @ self.by_head(parts.values)).transpose(-3, -2).flatten(-2)  # (batch, positions, heads·head_dim)


class Context:
    """What deltas need to know of the current forward pass: the attention masks."""

    def __init__(self, post_norm: bool = True) -> None:
        self.post_norm = post_norm  # of the model
        self.masks: dict[str, Tensor | None] = {}
        self.reparameterisations: list[nn.Module] = []
        self.prompts: Prompts | None = None  # where a delta changes some tokens alone

    def token_mask(self, stack: str) -> Tensor | None:
        """(batch, positions), 1 on real tokens, of the stack that x comes from; None: all are real."""
        return self.masks.get(stack)
