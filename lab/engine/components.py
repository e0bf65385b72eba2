"""Principal components of what projections read, batch after batch, as EVA has them (Paischer et al. 2024, arXiv 2410.07170).

The decomposition is updated with each batch of rows (Ross et al. 2008, "Incremental learning for robust visual tracking"): of all rows
so far there are the mean, the k first directions with their singular values, and the sum of squares about the mean. Projections that
read one tensor (queries, keys and values) share one decomposition.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from lab.design.body.anatomy import Anatomy, Site
from lab.design.plain.refusal import Refusal
from lab.engine import calls
from lab.engine.locate import Located
from lab.engine.looking import Look

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


@torch.no_grad()
def components(model: nn.Module, body: Anatomy, targets: Mapping[str, tuple[Located, Site]], look: Look, rows: int, count: int) -> dict[str, Components]:
    """The components of what each projection reads at real tokens, in eval mode. Raises `Refusal` where there are fewer tokens than `count`."""
    found: dict[str, Components] = {}
    passing: list[tuple[Tensor, Components]] = []  # tensors of the pass in progress
    masks: dict[str, Tensor | None] = {}

    def begin(module: nn.Module, args: tuple, kwargs: dict) -> None:
        passing.clear()
        masks.update(_masks(module, body, calls.arguments(module, args, kwargs)))

    def take(key: str, site: Site, x: Tensor) -> None:
        shared = next((known for tensor, known in passing if tensor is x), None)
        mask = masks.get(_side(body, site))
        if shared is None and mask is not None and mask.numel() * x.shape[-1] != x.numel():
            return  # no tokens: DeBERTa projects its relative positions too
        known = found.setdefault(key, shared or Components(count))
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
        for _ in look(rows, ROWS_AT_ONCE):
            pass
    finally:
        for handle in handles:
            handle.remove()
        model.train(training)
        passing.clear()
    for key in targets:
        if key not in found or len(found[key].sigma) < count:
            tokens = found[key].seen if key in found else 0
            raise Refusal(
                f"The rows that a start looks at give {tokens} tokens at {key}, too few for {count} directions: let it look at more rows (init_rows), or choose a smaller rank.",
                "method",
            )
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
