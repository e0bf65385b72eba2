"""Where an adapter is read from: a folder, a zip of one, or a repository of the hub; its few files by name, and nothing else. Torch-free.

Only safetensors and plain documents are read: no pickle, no link that leads out, no file beyond a size, no name in a zip that is a path.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import stat
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.design.plain.boundary import require_inside
from lab.design.plain.refusal import Refusal
from lab.models.places import HUB_ID, hub_refusal

CONFIG, SPEC, SIDECAR, HEAD_CONFIG = "adapter_config.json", "spec.yaml", "delta_lab.json", "head_config.json"
WEIGHTS = {"peft": "adapter_model.safetensors", "adapterhub": "adapter.safetensors", "lab": "adapter.safetensors"}
HEADS = {"adapterhub": "model_head.safetensors", "lab": "head.safetensors"}
KNOWN = {CONFIG, SPEC, SIDECAR, HEAD_CONFIG, *WEIGHTS.values(), *HEADS.values()}
PICKLES = ("adapter_model.bin", "pytorch_adapter.bin", "pytorch_model_head.bin", "pytorch_model.bin")
OF_DATA = (".csv", ".tsv", ".json", ".jsonl", ".ndjson", ".parquet", ".gz", ".txt")  # by which a name that is not there is a file, not a repository
DOCUMENT_BYTES = 8 * 1024**2
WEIGHT_BYTES = 16 * 1024**3
FIELD = "source"


@dataclass(frozen=True)
class Folder:
    """A folder of an adapter. `kind`: peft, adapterhub or lab; `name`: what it is called where it came from."""

    path: Path
    kind: str
    name: str
    hub: str = ""  # the repository that it is a snapshot of
    revision: str = ""

    def document(self, name: str) -> dict[str, Any]:
        """A JSON file; {} where there is none. Raises Refusal for one that is none."""
        path = self.path / name
        if not path.is_file():
            return {}
        if path.stat().st_size > DOCUMENT_BYTES:
            raise Refusal("The file {name} of this adapter is too large to be one ({size:,} bytes).", FIELD, name=name, size=path.stat().st_size)
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            raise Refusal("The file {name} of this adapter is no JSON that can be read.", FIELD, name=name) from None
        if not isinstance(found, dict):
            raise Refusal("The file {name} of this adapter is no JSON object.", FIELD, name=name)
        return found

    def tensors(self, name: str) -> dict[str, Any]:
        """A safetensors file, {} where there is none: imports torch. Raises Refusal for a damaged one."""
        from safetensors.torch import load_file

        if not (self.path / name).is_file():
            return {}
        try:
            return load_file(self.path / name)
        except Exception as error:  # safetensors raises its own kind
            raise Refusal("The file {name} of this adapter is damaged ({reason}).", FIELD, name=name, reason=str(error)[:120]) from None


def is_model(source: str) -> bool:
    """Whether words name the folder of a whole model, as transformers writes it (and the export `merged`)."""
    return _holds(source, "config.json") and any(_holds(source, name) for name in ("model.safetensors", "model.safetensors.index.json"))


def is_script(source: str) -> bool:
    """Whether words name a folder that the export `script` has written: with train.py and nothing else, since a folder of data may have one, too."""
    return _holds(source, "train.py") and len(list(Path(source).expanduser().iterdir())) == 1


def _holds(source: str, name: str) -> bool:
    try:
        return (Path(source).expanduser() / name).is_file()
    except (OSError, ValueError, RuntimeError):
        return False


def is_adapter(source: str) -> bool:
    """Whether words that may name data or an adapter name an adapter: a folder of one, a zip, or a hub id (data of the hub begin with hub:)."""
    try:
        path = Path(source).expanduser()
        if path.is_dir():
            return (
                (path / CONFIG).is_file() or (path / SPEC).is_file() and (path / WEIGHTS["lab"]).is_file() or any((path / name).is_file() for name in PICKLES)
            )
        if path.exists():
            return path.suffix == ".zip"
        return bool(HUB_ID.fullmatch(source)) and path.suffix.lower() not in OF_DATA and not path.parent.is_dir()
    except (OSError, ValueError, RuntimeError):
        return False


@contextlib.contextmanager
def opened(source: str, revision: str = "") -> Iterator[Folder]:
    """The folder that `source` names: a path of a folder or a zip, or a hub id (with its revision). Raises Refusal at `source`."""
    path = _path(source)
    if path is None:
        if not HUB_ID.fullmatch(source):
            raise Refusal(
                "There is no folder or zip {source}: give the folder of an adapter, a zip of one, or a hub id owner/name.", FIELD, source=source[:200]
            )
        snapshot = _fetched(source, revision)
        yield _kind(snapshot, source, hub=source, revision=snapshot.name)
        return
    if revision:
        raise Refusal("A revision is of a repository of the hub: leave it out for a folder.", "revision")
    require_inside(path, FIELD)
    if path.is_dir():
        for name in KNOWN:
            _require_plain(path / name)
        yield _kind(path, path.resolve().name)
        return
    with tempfile.TemporaryDirectory(prefix="lab-import-") as scratch:
        _unpack(path, Path(scratch))
        yield _kind(Path(scratch), path.stem)


def _path(source: str) -> Path | None:
    try:
        path = Path(source).expanduser()
        return path if path.exists() else None
    except (OSError, ValueError, RuntimeError):  # too long, with NUL, or the home of nobody
        return None


def _require_plain(path: Path) -> None:
    if path.is_symlink():
        raise Refusal("{name} is a link, and an adapter is imported from plain files: copy what it leads to in its place.", FIELD, name=path.name)
    if path.exists() and (not path.is_file() or path.stat().st_size > WEIGHT_BYTES):
        raise Refusal("{name} is no plain file of an adapter's size.", FIELD, name=path.name)


def _kind(folder: Path, name: str, hub: str = "", revision: str = "") -> Folder:
    there = {path.name for path in folder.iterdir()}
    kind = "lab" if {SPEC, WEIGHTS["lab"]} <= there else ""
    if not kind and CONFIG in there:
        kind = "peft" if "peft_type" in Folder(folder, "", name).document(CONFIG) else "adapterhub"
    if kind and WEIGHTS[kind] in there:
        return Folder(folder, kind, name, hub, revision)
    pickle = next((one for one in PICKLES if one in there), "")
    if pickle:
        raise Refusal("{name} has its weights in a pickle ({pickle}), which can run code and is not read: load it once with the library that wrote it and save it again as safetensors (peft: model.save_pretrained(folder); adapters: model.save_adapter(folder, name, use_safetensors=True)).", FIELD, name=name[:200], pickle=pickle)  # fmt: skip
    if kind:
        raise Refusal("{name} has no {file}: save the adapter again as safetensors.", FIELD, name=name[:200], file=WEIGHTS[kind])
    raise Refusal(
        "{name} holds no adapter: there is no adapter_config.json as peft or the adapters library write it, and no spec.yaml with adapter.safetensors of the lab.",
        FIELD,
        name=name[:200],
    )


def _fetched(repository: str, revision: str) -> Path:
    """The snapshot of a repository of the hub with the files of an adapter alone."""
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(repository, revision=revision or None, allow_patterns=sorted(KNOWN)))
    except Exception as error:  # the hub's client raises many kinds, offline ones among them
        raise Refusal(hub_refusal(repository, error).sentence, FIELD) from None


def _unpack(archive: Path, folder: Path) -> None:
    """The known files of a zip: at its top, or in the one folder that it has."""
    try:
        with zipfile.ZipFile(archive) as packed:
            found: dict[str, zipfile.ZipInfo] = {}
            for entry in packed.infolist():
                parts = entry.filename.replace("\\", "/").split("/")
                linked = stat.S_ISLNK(entry.external_attr >> 16)
                if entry.is_dir():
                    continue
                if ".." in parts or parts[0] == "" or ":" in parts[0] or linked:
                    raise Refusal(
                        "The zip has a link ('{name}'), so nothing of it is read."
                        if linked
                        else "The zip has a path that leads out of it ('{name}'), so nothing of it is read.",
                        FIELD,
                        name=entry.filename[:80],
                    )
                if parts[-1] in KNOWN and len(parts) <= 2:
                    if parts[-1] in found:
                        raise Refusal("The zip has two files {file}: give the folder of one adapter.", FIELD, file=parts[-1])
                    found[parts[-1]] = entry
            if sum(entry.file_size for entry in found.values()) > WEIGHT_BYTES:
                raise Refusal("The zip unpacks to more than an adapter has.", FIELD)
            for name, entry in found.items():
                with packed.open(entry) as source, (folder / name).open("wb") as target:
                    shutil.copyfileobj(source, target)
    except (OSError, zipfile.BadZipFile, RuntimeError, NotImplementedError, EOFError) as error:  # RuntimeError: encrypted
        if isinstance(error, Refusal):
            raise
        raise Refusal("The file {name} is no zip that can be read ({reason}).", FIELD, name=archive.name[:120], reason=str(error)[:100]) from None
