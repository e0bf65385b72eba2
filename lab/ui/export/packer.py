"""Exports for the pages and the API: written by a process of its own (it needs torch), shown, then zipped. The app imports no torch for it."""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import shutil
import tempfile
import threading
import zipfile
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.design.plain.refusal import Refusal
from lab.export import FORMATS
from lab.results.facts import tasks_of
from lab.runs import default
from lab.runs.home import check_id
from lab.ui.export.command import commanded
from lab.ui.shell.run_facts import adapters

SECONDS = 600
KEPT = 6  # folders at most, the last used ones; all are gone when the app ends
SHOWN = 24_000  # letters of a text file's preview
TEXTS = (".json", ".yaml", ".md", ".txt", ".py")
LONGEST_HEADER = 8 * 1024**2
STORED = (".safetensors", ".bin")  # weights do not shrink


@dataclass(frozen=True)
class Packed:
    """What was written: a folder, named as it will be in the zip."""

    folder: Path

    def files(self) -> list[dict[str, Any]]:
        """[{"name", "bytes", "text", "cut"}] by name, descriptions first; text is None where there is none to show."""
        found = [path for path in sorted(self.folder.rglob("*")) if path.is_file() and not path.is_symlink()]
        return [_file(path, self.folder) for path in sorted(found, key=lambda path: path.suffix not in TEXTS)]

    def zip(self) -> Path:
        """The folder as a zip file beside it."""
        archive = self.folder.parent / f"{self.folder.name}.zip"
        if not archive.exists():
            part = archive.with_suffix(".part")
            with zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED) as packed:
                for path in sorted(self.folder.rglob("*")):
                    if path.is_file() and not path.is_symlink():
                        packed.write(path, path.relative_to(self.folder.parent), zipfile.ZIP_STORED if path.suffix in STORED else None)
            part.rename(archive)
        return archive


def _file(path: Path, folder: Path) -> dict[str, Any]:
    text = None
    if path.suffix in TEXTS:
        with path.open(encoding="utf-8", errors="replace") as opened:
            text = opened.read(SHOWN + 1)
    elif path.suffix == ".safetensors":
        text = _tensors(path)
    cut = text is not None and len(text) > SHOWN
    return {"name": path.relative_to(folder).as_posix(), "bytes": path.stat().st_size, "text": text[:SHOWN] if cut else text, "cut": cut}


def _tensors(path: Path) -> str | None:
    """The names, types and shapes of a safetensors file, from its header (its length in 8 bytes, then JSON)."""
    try:
        with path.open("rb") as opened:
            length = int.from_bytes(opened.read(8), "little")
            header = json.loads(opened.read(length)) if length <= LONGEST_HEADER else {}
        found = [(name, about["dtype"], about["shape"]) for name, about in header.items() if name != "__metadata__"]
        wide = max((len(name) for name, *_ in found), default=0)
        return "".join(f"{name:<{wide}}  {kind:<4} {tuple(shape)}\n" for name, kind, shape in sorted(found)) or None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


class Packer:
    """Writes each export once and keeps the last few. Any thread may ask; one export is written at a time."""

    def __init__(self) -> None:
        self._root: Path | None = None
        self._kept: OrderedDict[tuple, Packed] = OrderedDict()
        self._lock = threading.Lock()

    def make(self, run: str, format: str = "peft", adapter: str = "best", task: str = "") -> Packed:
        """The export of a run's adapter, of several tasks with the head of one. Raises Refusal: an unknown run, format or adapter, or the exporting process's own sentence."""
        if not isinstance(format, str) or format not in FORMATS:
            raise Refusal("There is no format '{format}'; there are {known}.", "format", format=str(format)[:40], known=", ".join(FORMATS))
        if adapter not in ("best", "final"):
            raise Refusal("There is no adapter '{adapter}'; there are best and final.", "adapter", adapter=str(adapter)[:40])
        found = default().store.get(check_id(run))
        if task and (not isinstance(task, str) or task not in tasks_of(found)):
            raise Refusal("This run has no task '{task}'; it has {known}.", "task", task=str(task)[:60], known=", ".join(tasks_of(found)) or "one")
        with self._lock:
            key = (found.id, format, adapter, task, _age(found))
            if key not in self._kept or not self._kept[key].folder.is_dir():  # somebody may have cleared LAB_HOME/tmp away
                self._kept[key] = Packed(self._written(found.id, format, adapter, task))
            self._kept.move_to_end(key)
            while len(self._kept) > KEPT:
                shutil.rmtree(self._kept.popitem(last=False)[1].folder.parent, ignore_errors=True)
            return self._kept[key]

    def _written(self, run: str, format: str, adapter: str, task: str) -> Path:
        if self._root is None or not self._root.is_dir():
            os.makedirs(tempfile.gettempdir(), mode=0o700, exist_ok=True)
            self._root = Path(tempfile.mkdtemp(prefix="lab-export-"))
            atexit.register(shutil.rmtree, self._root, ignore_errors=True)
        out = Path(tempfile.mkdtemp(dir=self._root)) / f"{run}-{format}"
        words = ["export", run, "--format", format, "--adapter", adapter, "--out", str(out), "--json", *([f"--task={task}"] if task else [])]
        late, silent = Refusal("The export took too long and was ended.", "format"), Refusal("The export failed without a word.", "format")
        try:
            commanded(*words, field="format", seconds=SECONDS, late=late, silent=silent)
        except BaseException:
            shutil.rmtree(out.parent, ignore_errors=True)
            raise
        return out


def _age(run: Any) -> tuple:
    """What changes when a run has better weights."""
    with contextlib.suppress(OSError, Refusal):
        folder = default().home.run_dir(run.id)
        return tuple(
            (folder / kept / "adapter.safetensors").stat().st_mtime_ns for kept, name in (("best", "best"), ("adapter", "final")) if name in adapters(run)
        )
    return ()


PACKER = Packer()
