"""The files of a checkpoint as their headers show them, before a run is queued: all there, whole, and of plain numbers. Torch-free."""

from __future__ import annotations

import functools
import importlib.util
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lab.design.body.model import ModelSpec
from lab.design.plain.message import listed
from lab.design.plain.refusal import Refusal

LIBRARIES = {"bitsandbytes": ("bitsandbytes",), "gptq": ("optimum", "gptqmodel"), "awq": ("gptqmodel",)}  # by which transformers loads a quantised checkpoint
INDEX = "model.safetensors.index.json"
PLAIN = ("F16", "BF16", "F32", "F64")  # number formats of weights that can be computed with as they are
HEADER = 100 * 1024 * 1024  # bytes: safetensors' own limit


def check(spec: ModelSpec, folder: Path | None) -> None:
    """Raise Refusal for a model that is quantised in a way that does not load here, or whose files in a folder are not all there or not whole."""
    quantised = require_loadable(spec)
    if folder is None:
        return
    name, files = spec.title or spec.name, _files(folder)
    for file in files:
        try:
            facts = file.stat()
        except OSError:
            raise Refusal(
                "{model} has no {file}, which its {index} names: fetch or save the model again.", "model", model=name, file=file.name, index=INDEX
            ) from None
        problem = _problem(file, facts.st_size, facts.st_mtime_ns)
        if problem:
            raise Refusal("The weights of {model} are damaged ({reason}); fetch or save them again.", "model", model=name, reason=problem)
        odd = None if quantised else _odd(file, facts.st_size, facts.st_mtime_ns)
        if odd:
            raise Refusal(
                "The weights of {model} are quantised ('{tensor}' is {dtype}), and the lab trains on plain weights alone: give the model that they were made from.",
                "model",
                model=name,
                tensor=odd[0],
                dtype=odd[1],
            )
    broken = _broken_json(folder / "tokenizer.json")
    if broken:
        raise Refusal("The tokenizer of {model} is damaged (tokenizer.json: {reason}); fetch or save it again.", "model", model=name, reason=broken)


def quantised_by(spec: ModelSpec) -> str:
    """How a checkpoint was quantised before it came here (bitsandbytes, gptq, awq ...); "" where its weights are plain."""
    config = spec.config.get("quantization_config")
    method = config.get("quant_method") if isinstance(config, Mapping) else None
    return str(method or "by its config.json") if config else ""


def require_loadable(spec: ModelSpec) -> bool:
    """Whether a checkpoint is quantised; Refusal where transformers cannot load it here as a frozen base."""
    method, name = quantised_by(spec), spec.title or spec.name
    if not method:
        return False
    if method not in LIBRARIES:
        raise Refusal(
            "{model} is quantised ({method}), which the lab has no layers for: give the model that it was made from, or one in {known}.",
            "model",
            model=name,
            method=method,
            known=", ".join(LIBRARIES),
        )
    missing = [library for library in LIBRARIES[method] if importlib.util.find_spec(library) is None]
    if missing:
        raise Refusal(
            "{model} is quantised ({method}), for which transformers needs {missing}: install it, or give the model that it was made from.",
            "model",
            model=name,
            method=method,
            missing=listed(missing, " and "),
        )
    if spec.quantisation != "none":
        raise Refusal("{name} is quantised ({method}) already: leave quantisation at none.", "quantisation", name=name, method=method)
    return True


def _files(folder: Path) -> list[Path]:
    """The weights that transformers would read: the one file, else those that the index names."""
    if (folder / "model.safetensors").is_file():
        return [folder / "model.safetensors"]
    try:
        named = json.loads((folder / INDEX).read_text(encoding="utf-8"))["weight_map"].values()
        return sorted({folder / Path(str(name)).name for name in named})
    except (OSError, ValueError, KeyError, AttributeError, TypeError, RecursionError):
        return []  # loading says what is wrong


@functools.lru_cache(maxsize=64)
def _header(file: Path, size: int, _changed: int) -> dict[str, Any] | str:
    """The header of a safetensors file ({name: {"dtype", "data_offsets"}}), or what is wrong with it."""
    try:
        with file.open("rb") as opened:
            length = int.from_bytes(opened.read(8), "little")
            if size < 8 or length > min(HEADER, size - 8):
                return f"{file.name} ends before its header does"
            found = json.loads(opened.read(length))
        tensors = {name: entry for name, entry in found.items() if name != "__metadata__"}
        end = 8 + length + max((int(entry["data_offsets"][1]) for entry in tensors.values()), default=0)
    except (OSError, ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError):
        return f"the header of {file.name} cannot be read"
    return tensors if end == size else f"{file.name} has {size:,} bytes of {end:,}"


def _problem(file: Path, size: int, changed: int) -> str:
    found = _header(file, size, changed)
    return found if isinstance(found, str) else ""


def _odd(file: Path, size: int, changed: int) -> tuple[str, str] | None:
    """A weight (a matrix) that is stored in integers or 8-bit floats, with its format."""
    found = _header(file, size, changed)
    assert isinstance(found, dict)
    return next(((name, entry["dtype"]) for name, entry in sorted(found.items()) if entry.get("dtype") not in PLAIN and name.endswith(".weight")), None)


def _broken_json(path: Path) -> str:
    try:
        json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return ""
    except (OSError, ValueError, RecursionError) as error:
        return (str(error).splitlines() or [type(error).__name__])[0][:120]
    return ""
