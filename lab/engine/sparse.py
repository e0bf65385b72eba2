"""Fixed sparse masks (SHiRA, Bhardwaj et al. 2024, arXiv 2406.13175; FISH mask, Sung et al. 2021, arXiv 2111.09839).

Of a weight with mask M only the entries within it have values: δ (K,), their places in the weight (K,), and what stood there (K,). θ₀ + δ is
written into the weight itself, so that no second one is made; its dense gradient lives while autograd gathers the K entries from it.
Scores: random; |θ|; |Σ∇θ| and Σ(∇θ)² over rows, one at a time, of the summed log-likelihood (the empirical Fisher information).
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from lab.design.body.anatomy import Anatomy
from lab.design.method.selections.sparse import SelectSparse
from lab.design.plain.message import Message
from lab.design.plain.refusal import Refusal
from lab.engine.bind import PROJECTION, Binder
from lab.engine.locate import Located
from lab.engine.looking import Look, gradients

Score = Callable[[str, Tensor], Tensor]  # (name, weight) → a score for each entry, the larger the rather chosen


class _Entries(torch.autograd.Function):
    """The weight with θ₀ + δ written into it; backwards, the entries of its gradient."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, start: Tensor, weight: Tensor, index: Tensor) -> Tensor:
        ctx.save_for_backward(index)
        weight.data.view(-1).index_copy_(0, index.long(), (start + values).to(weight.dtype))
        return weight.data  # shares its memory

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (index,) = ctx.saved_tensors
        return gradients[0].flatten().index_select(0, index.long()), None, None, None


class SparseValues(nn.Module):
    """The entries of one weight that train, as its parametrisation. Tensors: values δ (K,) in fp32, index (K,) into the flat weight, start θ₀ (K,)."""

    def __init__(self, weight: Tensor, index: Tensor):
        super().__init__()
        self.values = nn.Parameter(torch.zeros(index.shape, dtype=torch.float32, device=weight.device))
        self.register_buffer("index", index.to(torch.int32 if weight.numel() < 2**31 else torch.int64))
        self.register_buffer("start", weight.detach().flatten()[index.long()].clone(), persistent=False)
        self.enabled = True

    def forward(self, weight: Tensor) -> Tensor:
        if self.enabled:
            return _Entries.apply(self.values, self.start, weight, self.index)
        self.put_back(weight)
        return weight

    @torch.no_grad()
    def put_back(self, weight: Tensor) -> None:
        """The weight as it was."""
        weight.data.view(-1).index_copy_(0, self.index.long(), self.start)

    @torch.no_grad()
    def move(self, weight: Tensor, index: Tensor) -> None:
        """Train other entries of the same number."""
        self.put_back(weight)
        self.index.copy_(index)
        self.start.copy_(weight.data.view(-1)[self.index.long()])


def places(select: SelectSparse, model: nn.Module, body: Anatomy, names: Mapping[str, nn.Parameter], seed: int, look: Look | None) -> dict[str, Tensor]:
    """{name of a weight: the places of its entries, ascending}: each projection its own share, or the best of the whole model."""
    projections = _projections(select, model, body, names)
    if next(iter(names.values())).is_meta:  # a plan knows no scores
        return _planned({name: [n for other, _, n in projections if other == name] for name, _, _ in projections} or _shares(select, names))
    score = _score(select, model, {name: names[name] for name, _, _ in projections} or names, seed, look)
    if not projections:
        return _among_all(names, max(1, round(select.density * sum(p.numel() for p in names.values()))), score)
    found: dict[str, list[Tensor]] = {}
    for name, located, count in projections:
        found.setdefault(name, []).append(_flat(located, _best(located.own(score(name, names[name])), count)))
    return {name: torch.cat(each).sort().values for name, each in found.items()}


def _projections(select: SelectSparse, model: nn.Module, body: Anatomy, names: Mapping[str, nn.Parameter]) -> list[tuple[str, Located, int]]:
    """(name of its weight, where it is, how many entries it gets) of each projection."""
    known, binder, found = {id(p): name for name, p in names.items()}, Binder(model.base_model, body), []
    for site in select.sites(body):
        layer = binder.layer(site.stack, site.layer)
        located = layer.find("attn", "out") if site.representation == "attn.out" else layer.find(*PROJECTION[site.representation])
        found.append((known[id(located.module.weight)], located, select.entries_of(site)))
    return found


def _shares(select: SelectSparse, names: Mapping[str, nn.Parameter]) -> dict[str, list[int]]:
    """Entries of each weight, where all of them get an even share."""
    sizes = [p.numel() for p in names.values()]
    ends = [round(max(1, round(select.density * sum(sizes))) * sum(sizes[:place]) / sum(sizes)) for place in range(len(sizes) + 1)]
    return {name: [end - begin] for name, begin, end in zip(names, ends, ends[1:], strict=False) if end > begin}


def _planned(counts: Mapping[str, list[int]]) -> dict[str, Tensor]:
    return {name: torch.empty(sum(each), dtype=torch.long, device="meta") for name, each in counts.items()}


def _best(scores: Tensor, count: int) -> Tensor:
    return scores.flatten().topk(count).indices


def _flat(located: Located, chosen: Tensor) -> Tensor:
    """Places in the flat parameter of places in the flat (out, in) of a slice."""
    weight = located.module.weight
    out, inner = weight.shape[::-1] if located.transposed else weight.shape
    row, column = chosen // inner, chosen % inner
    if located.part is not None:
        row = located.part.rows(out).to(row.device)[row]
    return column * out + row if located.transposed else row * inner + column


def _among_all(names: Mapping[str, nn.Parameter], total: int, score: Score) -> dict[str, Tensor]:
    sizes = [p.numel() for p in names.values()]
    best = _best(torch.cat([score(name, p).flatten().float() for name, p in names.items()]), total).sort().values
    begins = torch.tensor([0, *sizes], device=best.device).cumsum(0)
    cut = torch.searchsorted(best, begins)
    return {name: best[cut[i] : cut[i + 1]] - begins[i] for i, name in enumerate(names) if cut[i + 1] > cut[i]}


def _score(select: SelectSparse, model: nn.Module, weights: Mapping[str, nn.Parameter], seed: int, look: Look | None) -> Score:
    """The score by its name; those that data give look at rows one by one."""
    if select.score == "magnitude":
        return lambda name, weight: weight.detach().abs()
    if select.score == "random":
        return lambda name, weight: torch.rand(weight.shape, generator=torch.Generator().manual_seed(_seed(seed, name))).to(weight.device)
    assert look is not None
    found = gradients(model, weights, look(select.rows, 1), squared=select.score == "fisher")
    return lambda name, weight: found[name].abs()


def _seed(seed: int, name: str) -> int:
    """One for each weight, whatever others there are."""
    return zlib.crc32(f"{seed} {name}".encode())


def stored(state: Mapping[str, Tensor], names: Mapping[str, nn.Parameter]) -> dict[str, Tensor]:
    """The places of the entries in a saved state. Raises `Refusal` where a weight has none such."""
    found = {}
    for name, parameter in names.items():
        index = state.get(f"select.{name}.index")
        if index is not None:
            if index.dim() != 1 or len(index) and not (int(index.min()) >= 0 and int(index.max()) < parameter.numel()):
                raise Refusal(
                    "These weights belong to another method or model: '{name}' is {wrong}.", name=f"select.{name}.index", wrong=Message("of another shape")
                )
            found[name] = index.to(parameter.device)
    return found


def parametrise(model: nn.Module, names: Mapping[str, nn.Parameter], indices: Mapping[str, Tensor]) -> dict[str, SparseValues]:
    """Put the entries on their weights; a weight that several modules share keeps one set."""
    owners: dict[int, list[tuple[nn.Module, str]]] = {}
    for module in model.modules():
        for attribute, parameter in module._parameters.items():
            if parameter is not None:
                owners.setdefault(id(parameter), []).append((module, attribute))
    found = {name: SparseValues(names[name], indices[name]) for name in names if name in indices}  # in one order, by which a saved optimizer knows them
    for name, entries in found.items():
        for module, attribute in owners[id(names[name])]:
            parametrize.register_parametrization(module, attribute, entries, unsafe=True)
    return found
