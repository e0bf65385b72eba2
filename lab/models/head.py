"""The head of a language model at chosen positions alone: logits, losses and their gradients, a few rows at a time.

A model's logits (batch, positions, vocabulary) are its largest tensor (4 rows of 704 words of 128,256: 1.4 GB in fp32, as much again for each of
its copies and gradients), and a loss reads those before the words of the answer. Here the backbone gives its last hidden states, those of the
chosen positions are kept, and the model's own code goes from them to logits: its final scaling and bounds (T5, Granite, Gemma 2) are what they
are. The gradient of each piece is made at once, so no piece of logits outlives its turn, and none is made twice.

    head = head_of(model)
    loss = head.loss(model, inputs, index, labels)      # Σ −log p(label), differentiable; index (n,) into positions of the flattened batch
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from transformers.modeling_outputs import BaseModelOutput

from lab.design.body.anatomy import anatomy_of

LOGITS = 2**25  # of one piece: 134 MB in fp32, 261 rows of the largest vocabularies, which keeps an accelerator busy


class LanguageHead:
    """What a model does behind its backbone. One per model (`head_of`); its hooks do nothing unless something is asked."""

    def __init__(self, model: nn.Module):
        self.model = model
        self.backbone = model.base_model.get_submodule(anatomy_of(model.config).architecture.backbone)
        self.alone = self.backbone is model  # T5: the model itself calls encoder and decoder
        if self.alone:
            self.backbone = model.decoder
        path = next(name for name, module in model.named_modules() if module is self.backbone)
        owner, _, self.name = path.rpartition(".")
        self.owner = model.get_submodule(owner)
        self.asked: Callable[[Tensor], Tensor] | None = None
        self.found: Tensor | None = None
        self.last = self.backbone.register_forward_hook(self._answer)
        model.register_forward_hook(self._give)

    # -- what can be asked -------------------------------------------------------------------------------------------------------

    def loss(self, forward: Callable[..., Any], inputs: dict[str, Any], index: Tensor, labels: Tensor, smoothing: float = 0.0) -> Tensor:
        """Σ cross-entropy (a scalar, fp32) at positions `index` (n,) of the flattened batch, whose words are `labels` (n,)."""
        return self._ask(forward, inputs, index, lambda hidden: self._summed(hidden, labels, smoothing))

    @torch.no_grad()
    def losses(self, inputs: dict[str, Any], index: Tensor, labels: Tensor) -> Tensor:
        """Cross-entropy (n,) of each of them, in fp32."""

        def each(hidden: Tensor) -> Tensor:
            return torch.cat([F.cross_entropy(self._logits(hidden[at]).float(), labels[at], reduction="none") for at in self._pieces(len(labels))])

        return self._ask(self.model, inputs, index, each)

    @torch.no_grad()
    def logits(self, inputs: dict[str, Any], index: Tensor) -> Tensor:
        """Logits (n, vocabulary) in fp32."""
        return self._ask(self.model, inputs, index, lambda hidden: self._logits(hidden).float())

    # -- one forward pass --------------------------------------------------------------------------------------------------------

    def _ask(self, forward: Callable[..., Any], inputs: dict[str, Any], index: Tensor, work: Callable[[Tensor], Tensor]) -> Tensor:
        self.backbone._forward_hooks.move_to_end(self.last.id)  # behind one that takes virtual tokens off
        self.asked = lambda hidden: work(hidden.flatten(0, -2)[index])
        try:
            return forward(**inputs).loss
        finally:
            self.asked = self.found = None

    def _answer(self, module: nn.Module, args: tuple, output: Any) -> Any:
        """Hook of the backbone: do the work on its last hidden states (batch, positions, width), and leave none of them to the model's own head."""
        if self.asked is None:
            return None
        hidden = output[0] if isinstance(output, tuple) else output["last_hidden_state"]
        self._work(hidden)
        if isinstance(output, tuple):
            return (hidden[:, :0], *output[1:])
        output["last_hidden_state"] = hidden[:, :0]
        return output

    @torch._dynamo.disable
    def _work(self, hidden: Tensor) -> None:
        assert self.asked is not None
        asked, self.asked = self.asked, None  # the model's own code is called again, for each piece
        self.found = asked(hidden)

    def _give(self, module: nn.Module, args: tuple, output: Any) -> Any:
        """Hook of the model: what was found is its loss, so that whatever wraps the model sees it among the outputs."""
        if self.found is not None:
            output["loss"], self.found = self.found, None
        return output

    # -- from hidden states to logits --------------------------------------------------------------------------------------------

    def _logits(self, hidden: Tensor) -> Tensor:
        """(n, vocabulary) from (n, width), by the model's own code, to which they are the backbone's output."""
        given = {"encoder_outputs": BaseModelOutput(last_hidden_state=hidden[None])} if self.alone else {}
        self.owner._modules[self.name] = _Given(hidden[None])
        try:
            return self.model.forward(use_cache=False, return_dict=True, **given).logits[0]
        finally:
            self.owner._modules[self.name] = self.backbone

    def _pieces(self, rows: int) -> Iterator[slice]:
        """Slices of about one size, each of at most so many logits."""
        count = max(1, -(-rows // max(1, LOGITS // self.model.config.get_text_config().vocab_size)))
        size = max(1, -(-rows // count))
        return (slice(start, start + size) for start in range(0, max(1, rows), size))

    def _summed(self, hidden: Tensor, labels: Tensor, smoothing: float) -> Tensor:
        total = torch.zeros((), device=hidden.device)
        learning = torch.is_grad_enabled()
        gradients: list[Tensor] = []  # by hidden states, piece by piece
        weights: dict[Tensor, Tensor] = {}  # trained tensors of the head, with their gradients
        for at in self._pieces(len(labels)):
            piece = hidden[at].detach().requires_grad_(learning and hidden.requires_grad)
            loss = F.cross_entropy(self._logits(piece).float(), labels[at], reduction="sum", label_smoothing=smoothing)
            total += loss.detach()
            if not loss.requires_grad:
                continue
            wanted = [*([piece] if piece.requires_grad else []), *(weights := weights or dict.fromkeys(_leaves(loss, piece)))]
            with torch.autocast("cpu" if hidden.is_meta else hidden.device.type, enabled=False):
                found = list(torch.autograd.grad(loss, wanted))
            gradients += [found.pop(0)] if piece.requires_grad else []
            weights = {weight: new if old is None else old.add_(new) for (weight, old), new in zip(weights.items(), found, strict=True)}
        if not gradients and not weights:
            return total
        return _Carried.apply(total, [*([torch.cat(gradients)] if gradients else []), *weights.values()], *([hidden] if gradients else []), *weights)


class _Given(nn.Module):
    """In the backbone's place: a module that gives hidden states (1, n, width), whatever it is called with."""

    def __init__(self, hidden: Tensor):
        super().__init__()
        self.hidden = hidden

    def forward(self, *args: Any, **kwargs: Any) -> _Hidden:
        return _Hidden(last_hidden_state=self.hidden)


class _Hidden(BaseModelOutput):
    """An output that has nothing else: no cache, no attentions."""

    def __getattr__(self, name: str) -> None:
        if name.startswith("__"):
            raise AttributeError(name)


class _Carried(torch.autograd.Function):
    """A sum whose gradients by `inputs` are there already; it takes them over, so it goes back once."""

    @staticmethod
    def forward(ctx: Any, total: Tensor, gradients: list[Tensor], *inputs: Tensor) -> Tensor:
        ctx.gradients = gradients
        return total.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, scale: Tensor) -> tuple:
        gradients, ctx.gradients = ctx.gradients, None
        return None, None, *(gradient.mul_(scale) for gradient in gradients)


def _leaves(loss: Tensor, besides: Tensor) -> list[Tensor]:
    """The tensors that train and that a loss was made of, in the order of the graph."""
    found: dict[int, Tensor] = {}
    seen, waiting = set(), [loss.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        variable = getattr(node, "variable", None)
        if variable is not None and variable is not besides:
            found[id(variable)] = variable
        waiting += [following for following, _ in node.next_functions]
    return list(found.values())


def head_of(model: nn.Module) -> LanguageHead:
    """The head of a language model, made at the first call."""
    if "lab_head" not in model.__dict__:
        model.lab_head = LanguageHead(model)
    return model.lab_head
