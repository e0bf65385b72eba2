"""What projections read, batch after batch: principal components, as EVA has them (Paischer et al. 2024, arXiv 2410.07170), and covariances, as CorDA.

A decomposition is updated with each batch of rows (Ross et al. 2008, "Incremental learning for robust visual tracking"): of all rows
so far there are the mean, the k first directions with their singular values, and the sum of squares about the mean. Projections that
read one tensor (queries, keys and values) share what is known of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from lab.design.body.anatomy import Anatomy, Site
from lab.design.plain.refusal import Refusal
from lab.engine import calls
from lab.engine.locate import Located

ROWS_AT_ONCE = 8


class Components:
    """The first `count` principal components of rows (n, d), which `add` takes batch by batch."""

    def __init__(self, count: int):
        self.count, self.seen = count, 0
        self.mean, self.sigma, self.directions, self.spread = (torch.zeros(()) for _ in range(4))

    @torch.no_grad()
    def add(self, rows: Tensor) -> None:
        """Take rows (n, d) in."""
        rows, new = rows.float(), len(rows)
        mean = rows.mean(0)
        centred, total = rows - mean, self.seen + new
        joined, spread = [centred], centred.square().sum()
        if self.seen:
            apart = (self.mean - mean) * (self.seen * new / total) ** 0.5  # (d,)
            joined = [self.sigma[:, None] * self.directions, centred, apart[None]]
            spread = self.spread + spread + apart.square().sum()
            mean = self.mean + (mean - self.mean) * (new / total)
        _, sigma, vh = torch.linalg.svd(torch.cat(joined), full_matrices=False)
        self.sigma, self.directions = sigma[: self.count], vh[: self.count]  # (k,), (k, d)
        self.mean, self.spread, self.seen = mean, spread, total

    @property
    def shares(self) -> list[float]:
        """The share of the variance that each direction explains, falling."""
        return (self.sigma.square() / self.spread.clamp(min=1e-30)).tolist()


class Covariance:
    """XᵀX (d, d) of rows (n, d), each pass divided by its largest value, averaged over passes (Yang et al. 2024, arXiv 2406.05223)."""

    def __init__(self) -> None:
        self.total, self.passes = torch.zeros(()), 0

    @torch.no_grad()
    def add(self, rows: Tensor) -> None:
        """Take the rows (n, d) of one pass in."""
        rows = rows.float()
        rows = rows / rows.max().abs()
        self.total, self.passes = self.total.to(rows) + rows.T @ rows, self.passes + 1

    @property
    def matrix(self) -> Tensor:
        """(d, d)."""
        return self.total / self.passes


Targets = Mapping[str, tuple[Located, Site]]
Passes = Callable[[], Iterator[Tensor]]  # of a look; begun once the model is hooked


def components(model: nn.Module, body: Anatomy, targets: Targets, passes: Passes, count: int) -> dict[str, Components]:
    """The first `count` components of what each projection reads at real tokens. Raises `Refusal` where there are fewer tokens."""
    found = _read(model, body, targets, passes, lambda: Components(count))
    for key in targets:
        if key not in found or len(found[key].sigma) < count:
            tokens = found[key].seen if key in found else 0
            raise Refusal(
                "The rows that a start looks at give {tokens} tokens at {place}, too few for {count} directions: let it look at more rows (init_rows), or choose a smaller rank.",
                "method",
                tokens=tokens,
                place=key,
                count=count,
            )
    return found


def covariances(model: nn.Module, body: Anatomy, targets: Targets, passes: Passes) -> dict[str, Tensor]:
    """The covariance (in, in) of what each projection reads at real tokens, pass by pass."""
    return {key: known.matrix for key, known in _read(model, body, targets, passes, Covariance).items()}


@torch.no_grad()
def _read(model: nn.Module, body: Anatomy, targets: Targets, passes: Passes, new: Callable[[], Any]) -> dict[str, Any]:
    """What `new` makes of all that each projection reads, with the model in eval mode."""
    found: dict[str, Any] = {}
    passing: list[tuple[Tensor, Any]] = []  # tensors of the pass in progress
    masks: dict[str, Tensor | None] = {}

    def begin(module: nn.Module, args: tuple, kwargs: dict) -> None:
        passing.clear()
        masks.update(_masks(module, body, calls.arguments(module, args, kwargs)))

    def take(key: str, site: Site, x: Tensor) -> None:
        shared = next((known for tensor, known in passing if tensor is x), None)
        mask = masks.get(_side(body, site))
        if shared is None and mask is not None and mask.numel() * x.shape[-1] != x.numel():
            return  # no tokens: DeBERTa projects its relative positions too
        known = found.setdefault(key, shared or new())
        if shared is None:
            flat = x.reshape(-1, x.shape[-1])
            known.add(flat if mask is None else flat[mask.reshape(-1).bool()])
            passing.append((x, known))

    def hook(key: str, site: Site) -> Any:
        return lambda module, args, kwargs: take(key, site, args[0] if args else next(iter(kwargs.values())))

    handles = [model.base_model.register_forward_pre_hook(begin, with_kwargs=True)]
    handles += [located.module.register_forward_pre_hook(hook(key, site), with_kwargs=True) for key, (located, site) in targets.items()]
    training = model.training
    model.eval()
    try:
        for _ in passes():
            pass
    finally:
        for handle in handles:
            handle.remove()
        model.train(training)
        passing.clear()
    return found


def _side(body: Anatomy, site: Site) -> str:
    """Which stack's tokens a projection reads."""
    if site.stack != "cross":
        return site.stack
    return "encoder" if site.representation in ("attn.k", "attn.v") else "decoder"


def _masks(model: nn.Module, body: Anatomy, given: Mapping[str, Any]) -> dict[str, Tensor | None]:
    """(batch, positions) by stack, 1 at real tokens; the decoder of an encoder-decoder pads what it reads from the second token on."""
    own, inner, ids = (given.get(name) for name in ("attention_mask", "decoder_attention_mask", "decoder_input_ids"))
    if not body.encoder_decoder:
        return {stack.name: own for stack in body.stacks}
    if inner is None and ids is not None and model.config.pad_token_id is not None:
        inner = ids != model.config.pad_token_id
        inner[:, 0] = True
    return {"encoder": own, "decoder": inner}
