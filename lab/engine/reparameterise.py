"""Networks that produce slots or virtual tokens while training, and are dropped once it is over.

Prefixes: Embedding (l, d) → Linear(d, mid) → tanh → Linear(mid, 2·kv·layers), one network per stack (Li & Liang 2021, and He
et al.'s code). Tokens: an MLP of three layers (peft's P-tuning), or a bidirectional LSTM before a two-layer MLP (Liu et al. 2021).
Example: l=10 on BERT-base with mid 512: (10, 768) → (10, 512) → (10, 18432), read as 12 pairs of keys and values (10, 768).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lab.design.body.anatomy import Site
from lab.design.method.delta import Delta
from lab.design.method.forms import FORMS
from lab.engine.delta import DeltaModule


class PrefixMLP(nn.Module):
    """Keys and values of all sites of one stack from one embedding; computed once per forward pass."""

    def __init__(self, delta: Delta, sites: list[Site], consumers: list[DeltaModule]):
        super().__init__()
        width = sites[0].width_in
        self.sizes = [site.kv_heads * site.head_dim for site in sites]
        self.embedding = nn.Embedding(delta.rank, width)
        self.down = nn.Linear(width, delta.encoder_width)
        self.up = nn.Linear(delta.encoder_width, 2 * sum(self.sizes))
        self._consumers = (consumers,)

    def forward(self) -> list[tuple[Tensor, Tensor]]:
        rows = self.up(torch.tanh(self.down(self.embedding.weight)))  # (l, 2·Σ kv)
        pieces = rows.split([size for size in self.sizes for _ in range(2)], -1)
        return list(zip(pieces[::2], pieces[1::2], strict=True))

    def produce(self) -> None:
        for consumer, (keys, values) in zip(self._consumers[0], self(), strict=True):
            consumer.produced = {"keys": keys, "values": values}


class TokenEncoder(nn.Module):
    """Virtual tokens (l, d) from an embedding by an MLP or an LSTM."""

    def __init__(self, delta: Delta, width: int, consumer: DeltaModule):
        super().__init__()
        self.embedding = nn.Embedding(delta.rank, width)
        self.lstm = None
        if delta.encoder == "lstm":
            self.lstm = nn.LSTM(width, width // 2, num_layers=2, bidirectional=True, batch_first=True)
            self.mlp = nn.Sequential(nn.Linear(2 * (width // 2), width), nn.ReLU(), nn.Linear(width, width))
        else:
            mid = delta.encoder_width
            self.mlp = nn.Sequential(nn.Linear(width, mid), nn.ReLU(), nn.Linear(mid, mid), nn.ReLU(), nn.Linear(mid, width))
        self._consumers = ([consumer],)

    def forward(self) -> Tensor:
        rows = self.embedding.weight
        with torch.autocast(
            "cpu" if rows.is_meta else rows.device.type, enabled=False
        ):  # l rows cost nothing in fp32, and not every processor has an LSTM in half precision
            return self.mlp(rows if self.lstm is None else self.lstm(rows[None])[0][0])

    def produce(self) -> None:
        self._consumers[0][0].produced = {"tokens": self()}


def build(delta: Delta, modules: list[DeltaModule], generator: torch.Generator) -> dict[str, nn.Module]:
    """The networks of one delta by stack (or `tokens`), started from the generator's seed."""
    if FORMS[delta.form].before_input:
        networks: dict[str, nn.Module] = {"tokens": TokenEncoder(delta, modules[0].site.width_out, modules[0])}
    else:
        networks = {}
        for stack in dict.fromkeys(module.site.stack for module in modules):
            here = [module for module in modules if module.site.stack == stack]
            networks[stack] = PrefixMLP(delta, [module.site for module in here], here)
    for network in networks.values():
        _start(network, generator, 0.02 if delta.init == "bert" else None)
    return networks


@torch.no_grad()
def _start(network: nn.Module, generator: torch.Generator, deviation: float | None) -> None:
    """As torch starts its own modules (Li & Liang's, He et al.'s and Liu et al.'s code), or as BERT's weights with a deviation."""
    for module in network.modules():
        for name, parameter in module.named_parameters(recurse=False):
            if parameter.device.type == "meta":
                continue
            if deviation is not None and "bias" in name:
                parameter.zero_()
            elif deviation is not None or isinstance(module, nn.Embedding):
                parameter.normal_(0.0, 1.0 if deviation is None else deviation, generator=generator)
            else:
                bound = (module.hidden_size if isinstance(module, nn.LSTM) else module.in_features) ** -0.5
                parameter.uniform_(-bound, bound, generator=generator)
