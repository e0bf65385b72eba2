"""Load and build models with transformers: safetensors only, no remote code, every failure as one sentence."""

from __future__ import annotations

import contextlib
import io
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
)

from lab.design.body.model import ModelSpec
from lab.design.plain.message import Note, word
from lab.design.plain.refusal import Refusal
from lab.design.spec.objectives import OBJECTIVES
from lab.models import checkpoint, quantising, vocabulary, wholeness
from lab.models.places import hub_refusal, locate

os.environ.setdefault("DISABLE_SAFETENSORS_CONVERSION", "1")  # else transformers asks a service of the hub to convert what is only a pickle
PRETRAINED = {"encoder": AutoModel, "encoder-decoder": AutoModelForSeq2SeqLM, "decoder": AutoModelForCausalLM}


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """No load reports, progress bars or warnings of transformers inside."""
    level, bars = transformers.utils.logging.get_verbosity(), transformers.utils.logging.is_progress_bar_enabled()
    transformers.utils.logging.set_verbosity(50)  # CRITICAL: the report of new and unused weights is a warning
    transformers.utils.logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        transformers.utils.logging.set_verbosity(level)
        if bars:
            transformers.utils.logging.enable_progress_bar()


def _where(spec: ModelSpec, cache: Path | None) -> tuple[str, dict[str, Any]]:
    """What to hand to from_pretrained. Raises `Refusal` when the files are nowhere."""
    place = locate(spec, cache)
    if place.folder is not None:
        return str(place.folder), {"local_files_only": True}
    if place.kind == "hub":
        return spec.source.hub, {"revision": spec.source.revision} if spec.source.revision else {}
    raise Refusal(place.words, "model")


def config_of(spec: ModelSpec, cache: Path | None = None) -> Any:
    """The configuration: from the files on this machine, else from the spec's facts."""
    place = locate(spec, cache)
    if place.folder is not None:
        with quiet():
            return AutoConfig.from_pretrained(place.folder, trust_remote_code=False)
    facts = dict(spec.config)
    model_type = facts.pop("model_type", spec.architecture)
    try:
        with quiet():
            return AutoConfig.for_model(model_type, **facts)
    except (ValueError, TypeError) as error:
        raise Refusal("transformers cannot build a configuration for {model} ({reason}).", "model", model=spec.name, reason=str(error)[:160]) from None


def _for_task(config: Any, objective: str | None, num_labels: int | None, pad: int | None = None) -> Any:
    """The configuration with a head for the task, and the tokenizer's padding in it (a head on a decoder looks for it in the ids)."""
    if objective is not None and OBJECTIVES[objective].headed:
        config.num_labels = OBJECTIVES[objective].outputs(num_labels or 2)
        config.problem_type = OBJECTIVES[objective].problem
    if pad is not None:
        config.get_text_config().pad_token_id = config.pad_token_id = pad
    elif config.pad_token_id is None and not config.is_encoder_decoder:
        end = config.eos_token_id
        config.pad_token_id = end[0] if isinstance(end, list) else end
    return config


def _check(spec: ModelSpec, config: Any, objective: str | None) -> type:
    asked = OBJECTIVES[objective] if objective is not None else None
    auto = getattr(transformers, asked.auto) if asked else PRETRAINED[spec.kind]
    if (asked and asked.kind not in ("", spec.kind)) or type(config) not in auto._model_mapping:  # bert has a causal class too, but was not trained to write
        kind = word(f"{'an' if spec.kind.startswith('e') else 'a'} {spec.kind}")
        phrase = word(asked.phrase if asked else "do this")
        raise Refusal("{model} is {kind} and cannot {phrase} in transformers.", "model", model=spec.title or spec.name, kind=kind, phrase=phrase)
    return auto


def build_meta(spec: ModelSpec, objective: str | None, num_labels: int | None, attn: str | None, dtype: Any = None) -> torch.nn.Module:
    """The model on the meta device: names, shapes and modules, no storage."""
    config = _for_task(config_of(spec), objective, num_labels)
    auto = _check(spec, config, objective)
    with quiet(), torch.device("meta"):
        model = auto.from_config(config, **({"attn_implementation": attn} if attn else {}))
    model.tie_weights()
    if dtype is not None:
        model.to(dtype)
    if spec.quantisation != "none":
        quantising.quantise(model, spec.quantisation, model.dtype, spec.title or spec.name)
    return model.eval()


def load(spec: ModelSpec, objective: str, num_labels: int | None, dtype: Any, seed: int, attn: str | None, cache: Path | None,
         tokenizer: Any = None) -> torch.nn.Module:  # fmt: skip
    """See `lab.models.load`."""
    checkpoint.require_loadable(spec)
    if objective not in OBJECTIVES:
        raise Refusal("'{name}' is no objective; there are {known}.", "model", name=objective, known=", ".join(OBJECTIVES))
    where, options = _where(spec, cache)
    if tokenizer is None:
        with contextlib.suppress(Refusal):  # a model may come without one
            tokenizer = load_tokenizer(spec, cache)
    dtype = getattr(torch, dtype) if isinstance(dtype, str) else dtype or torch.float32
    try:
        with quiet(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            config = AutoConfig.from_pretrained(where, trust_remote_code=False, **options)
            if tokenizer is not None:
                vocabulary.require_fit(spec, tokenizer, config)
                if OBJECTIVES[objective].headed:
                    vocabulary.require_end(spec, tokenizer, config)
            config = _for_task(config, objective, num_labels, getattr(tokenizer, "pad_token_id", None))
            auto = _check(spec, config, objective)
            model, found = auto.from_pretrained(where, config=config, dtype=dtype, use_safetensors=True, trust_remote_code=False, output_loading_info=True,
                                                ignore_mismatched_sizes=True, **({"attn_implementation": attn} if attn else {}), **options)  # fmt: skip
    except Refusal:
        raise
    except Exception as error:  # transformers, safetensors and the hub each raise their own kinds
        raise _refusal(spec, where, error) from error
    wholeness.settle(spec.title or spec.name, model, found, OBJECTIVES[objective].headed)
    quantising.settle(model)
    if spec.quantisation != "none":
        layers = quantising.quantise(model, spec.quantisation, dtype, spec.title or spec.name)
        model.lab_notes += (
            Note(
                "{count} linear layers of the base are packed as {quantisation}; embeddings, norms, heads and what trains are not.",
                count=layers,
                quantisation=spec.quantisation,
            ),
        )
    if getattr(model, "generation_config", None) is not None:
        model.generation_config.pad_token_id = config.pad_token_id
    return model.eval()


def load_tokenizer(spec: ModelSpec, cache: Path | None = None) -> Any:
    """See `lab.models.load_tokenizer`."""
    where, options = _where(spec, cache)
    try:
        with quiet():
            tokenizer = AutoTokenizer.from_pretrained(where, trust_remote_code=False, **options)
    except Exception as error:
        raise _refusal(spec, where, error, "tokenizer") from error
    vocabulary.require_words(spec, tokenizer)
    config = config_of(spec, cache)
    if vocabulary.lacks_padding(tokenizer, config):
        vocabulary.choose_padding(spec, tokenizer, config)
    tokenizer.padding_side = "right"
    return tokenizer


def _refusal(spec: ModelSpec, where: str, error: Exception, what: str = "weights") -> Refusal:
    text = str(error)
    if "safetensors" in text and ("no file named" in text or "does not appear to have" in text or "found in directory" in text):
        return Refusal("{model} has no safetensors weights, and the lab reads no pickles; save it with save_pretrained first.", "model", model=spec.name)
    if "SafetensorError" in type(error).__name__ or "incomplete metadata" in text:
        return Refusal("The weights of {model} are damaged ({reason}); fetch or save them again.", "model", model=spec.name, reason=text[:120])
    if "size mismatch" in text or "mismatched" in text:
        return Refusal("The weights of {name} do not fit its config.json; save the model again.", "model", name=spec.name)
    if isinstance(error, MemoryError) or "out of memory" in text.lower():
        return Refusal("There is not enough memory to load {name}; use a smaller model or dtype.", "model", name=spec.name)
    if where == spec.source.hub:
        return hub_refusal(where, error)
    first = text.strip().splitlines()[0] if text.strip() else type(error).__name__
    return Refusal("The {what} of {model} cannot be loaded from {place}: {reason}", "model", what=word(what), model=spec.name, place=where, reason=first[:200])


def convert_gguf(gguf: Path, target: Path) -> None:
    """A GGUF file as a folder of bf16 safetensors with config and tokenizer. A GGUF-loaded model cannot save itself."""
    options = {"gguf_file": gguf.name, "trust_remote_code": False, "local_files_only": True}
    with quiet(), contextlib.redirect_stderr(io.StringIO()):  # the reader of GGUF has a bar of its own
        loaded = AutoModelForCausalLM.from_pretrained(str(gguf.parent), dtype=torch.float32, **options)
        facts = loaded.config.to_dict()
        for key in ("quantization_config", "_model_name_or_path", "_name_or_path", "architectures"):
            facts.pop(key, None)
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model(facts.pop("model_type"), **facts))
        model.load_state_dict(loaded.state_dict())
        model.to(torch.bfloat16).save_pretrained(target)
        AutoTokenizer.from_pretrained(str(gguf.parent), **options).save_pretrained(target)


def checkpoint_layers(model: torch.nn.Module) -> None:
    """Make the activations of every layer again in the backward pass instead of keeping them.

    transformers then lets the embeddings have a gradient, as torch's older, reentrant kind of checkpoints needs it. This kind does not, and with
    it every layer below the lowest trained one would be made again, and be gone through backward, for nothing.
    """
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    model.disable_input_require_grads()
