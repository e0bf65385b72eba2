"""Checksums of files by content, read once: afterwards a file is known by its place, size, times and inode."""

from __future__ import annotations

import hashlib
import os
import tempfile
import time
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

from lab.design.plain.boundary import home_folder

SETTLED_NS = 2_000_000_000  # a file changed more recently may change again without showing it in its times
LARGE = 8 * 1024 * 1024  # bytes from which a checksum is also kept on disk, for the next process


def content(path: str | Path) -> str:
    """sha256 of a file's bytes, in hexadecimal. Raises OSError."""
    path = Path(path).resolve()
    facts = path.stat()
    mark = (str(path), facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns, facts.st_ino, facts.st_dev)
    if time.time_ns() - max(facts.st_mtime_ns, facts.st_ctime_ns) < SETTLED_NS:
        return _read(path)
    return _known(mark)


@lru_cache(maxsize=256)
def _known(mark: tuple) -> str:
    if mark[1] < LARGE:
        return _read(Path(mark[0]))
    kept = _folder() / hashlib.sha256(repr(mark).encode("utf-8", "surrogateescape")).hexdigest()[:40]
    with suppress(OSError):
        found = kept.read_text(encoding="ascii").strip()
        if len(found) == 64:
            return found
    found = _read(Path(mark[0]))
    with suppress(OSError):  # a full or read-only disk costs time, nothing else
        kept.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=kept.parent, delete=False, encoding="ascii", suffix=".part") as file:
            file.write(found)
        os.replace(file.name, kept)
    return found


def _read(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _folder() -> Path:
    return home_folder() / "cache" / "checksums"
