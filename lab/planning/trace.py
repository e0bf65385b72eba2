"""One training step under the tracker, as the training loop does it, written into a log by layers."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from lab.design.spec.objectives import OBJECTIVES
from lab.engine import galore, packed
from lab.engine.galore import GaLore
from lab.planning.building import Built, adafactor_state, optimizer_state
from lab.planning.kernels import ANSWERS, ONES, modelled
from lab.planning.log import Log
from lab.planning.tracker import Tracker
from lab.tasks.batches import blank_labels
from lab.tasks.losses import batch_loss, inputs_of, loss_sum
from lab.tasks.losses import targets as where_targets


def batch_of(model: nn.Module, objective: str, *, rows: int, tokens: int, target_tokens: int, device: str = "meta", padding: bool = True) -> dict[str, Tensor]:
    """A batch of the given shape, rows of different lengths (`padding`) or of one; its values do not matter."""
    ids = torch.full((rows, tokens), 5, dtype=torch.long, device=device)
    batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    if not padding and device == "meta":
        setattr(batch["attention_mask"], ONES, True)
    words = target_tokens if OBJECTIVES[objective].two_sequences else tokens
    return {**batch, "labels": blank_labels(objective, rows, outputs=model.config.num_labels, words=words, device=device)}


def step(built: Built, batch: dict[str, Tensor], objective: str, *, smoothing: float = 0.0, clip: float = 1.0, use_cache: bool = False,
         all_logits: bool = False, targets: int | None = None) -> None:  # fmt: skip
    """Forward, backward and clipping, as lab.training.loop does them.

    `all_logits`: as scripts do, with the logits of every position, which stay until the backward pass is over. `use_cache`: as those that call the
    model with its defaults and keep its output: keys and values stay, too. `targets`: so many positions of labels without values (meta) are targets.
    """
    found: Sequence[Tensor] = ()
    if use_cache or all_logits:
        inputs = inputs_of(batch, built.model, objective)
        output = built.model(**{**inputs, "use_cache": True} if use_cache and "use_cache" in inputs else inputs)
        logits, kept = output.logits, output if use_cache else None  # noqa: F841  (kept is held, not read)
        del output
        loss = loss_sum(logits, batch["labels"], objective, smoothing)
    else:
        found = where_targets(batch["labels"], objective, targets)
        loss = batch_loss(built.model, built.model, batch, objective, smoothing, found)
    loss = loss * (1 / max(1, batch["labels"].shape[0]))
    penalty = built.attached.penalty()
    if penalty is not None:
        loss = loss + penalty
    loss.backward()
    del found  # which the loop has until here
    trained = [p for p in built.trained() if p.grad is not None]
    nn.utils.clip_grad_norm_(trained, clip)


class Trace:
    """The log of a step of a built model on meta. `statics` are the events before it, `log` everything."""

    def __init__(self, built: Built, device: str, autocast: torch.dtype | None = None):
        self.built, self.device, self.autocast = built, device, autocast
        self.log = Log()
        self.tracker = Tracker(answers=ANSWERS, log=self.log)
        self._held: list[Any] = []

    def run(self, batch: dict[str, Tensor], objective: str, *, optimizer: str, accumulate: bool, smoothing: float, use_cache: bool = False,
            all_logits: bool = False, targets: int | None = None, galore_rank: int = 128) -> Log:  # fmt: skip
        """Trace one step. `accumulate`: gradients of an earlier pass are there already; `use_cache`, `all_logits`, `targets`: see `step`."""
        built, tracker = self.built, self.tracker
        self._hold_by_layer([(t, [t]) for t in packed.tensors(built.model)], "weights")
        if accumulate:
            for parameter in built.trained():
                parameter.grad = torch.empty_like(parameter)
            self._hold_by_layer([(p, [p.grad]) for p in built.trained()], "gradients")
        self._held.append(optimizer_state([*built.trained(), *built.others], optimizer, galore_rank, built.attached.in_layers()))
        self._hold_by_layer(self._held[-1], "optimizer")
        self.log.phase = "forward"
        self.log.enter("batch")
        tracker.hold(batch.values(), "activations")
        enabled = gc.isenabled()
        gc.collect(0)
        gc.disable()  # a collection at a chance moment would free cycles at a chance moment
        try:
            with modelled(self.device, self.autocast), self._marking(), tracker.watching(built.model):
                step(built, batch, objective, smoothing=smoothing, use_cache=use_cache, all_logits=all_logits, targets=targets)
                if optimizer == "sgd":
                    self._sgd(tracker)
                elif optimizer == "adafactor":
                    self._adafactor(tracker)
                elif optimizer == "galore":
                    self._galore(tracker, galore_rank)
        finally:
            self.log.closed = True
            if enabled:
                gc.enable()
        return self.log

    def _sgd(self, tracker: Tracker) -> None:
        """SGD over lists of tensors adds weight decay into a copy of the gradients."""
        tracker.begin("optimizer")
        self._held.append(torch._foreach_add([p.grad for p in self.built.trained()], self.built.trained(), alpha=0.01))

    def _adafactor(self, tracker: Tracker) -> None:
        """Adafactor goes through the parameters one by one and makes its update beside the last one's: its own step is traced."""
        from transformers.optimization import Adafactor  # imports the trainer, and with it peft and bitsandbytes where they are installed

        tracker.begin("optimizer")
        own = Adafactor([p for p in self.built.trained() if p.grad is not None], lr=0.0, relative_step=False)
        for parameter, tensors in self._held.pop():  # so that nothing else holds an rms that is replaced
            own.state[parameter] = {"step": 1, **dict(zip(adafactor_state(parameter), tensors, strict=True))}
            tensors.clear()
        self._held.append(own)
        own.step()

    def _galore(self, tracker: Tracker, rank: int) -> None:
        """GaLore too goes through the parameters one by one. Traced is a step with new projections: the largest of a run."""
        tracker.begin("optimizer")
        own = GaLore(
            galore.split([{"params": [p for p in self.built.trained() if p.grad is not None]}], self.built.attached.in_layers()), lr=0.0, rank=rank, every=1
        )
        for parameter, tensors in self._held.pop():  # so that nothing else holds the projections that are replaced
            names = ("exp_avg", "exp_avg_sq") if len(tensors) == 2 else ("basis", "exp_avg", "exp_avg_sq")
            own.state[parameter] = {"step": 1, **dict(zip(names, tensors, strict=True))}
            tensors.clear()
        self._held.append(own)
        own.step()

    def _hold_by_layer(self, owned: list[tuple[Tensor, list[Tensor]]], category: str) -> None:
        groups: dict[tuple[str, int], list[Tensor]] = {("", -1): []}
        for owner, tensors in owned:
            groups.setdefault(self.built.place.get(id(owner), ("", -1)), []).extend(tensors)
        for (stack, layer), tensors in groups.items():
            self.log.enter(category, stack, layer)
            self.tracker.hold(tensors, category)

    @contextlib.contextmanager
    def _marking(self) -> Iterator[None]:
        """Open a segment wherever the forward or the backward pass comes to another layer."""
        handles = []
        for stack, layers in self.built.stacks.items():
            last = len(layers) - 1
            for index, layer in enumerate(layers):
                handles.append(layer.register_forward_pre_hook(self._entering(stack, index), with_kwargs=True, prepend=True))
            handles.append(layers[-1].register_forward_hook(self._leaving(stack, last)))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _entering(self, stack: str, index: int) -> Any:
        def hook(module: nn.Module, args: tuple, kwargs: dict) -> None:
            self.log.enter("layer", stack, index)
            self._mark_backward(args[0] if args else kwargs.get("hidden_states"), stack, index - 1)

        return hook

    def _leaving(self, stack: str, last: int) -> Any:
        def hook(module: nn.Module, args: tuple, output: Any) -> None:
            self.log.enter("after")
            self._mark_backward(output[0] if isinstance(output, tuple) else output, stack, last)

        return hook

    def _mark_backward(self, hidden: Any, stack: str, index: int) -> None:
        """When the gradient of a layer's output is there, that layer's backward pass begins."""

        def reached(gradient: Tensor) -> None:
            self.tracker.begin("backward")
            self.log.enter("layer" if index >= 0 else "before", stack if index >= 0 else "", index)

        if isinstance(hidden, Tensor) and hidden.requires_grad:
            hidden.register_hook(reached)
