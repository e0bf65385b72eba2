"""Files that are whole or absent, known by checksum, and written by one attempt of a run alone.

A folder is filled beside its place, hidden, synced and renamed (`replace_folder`); `manifest.json` in it holds each file's size and
CRC-32. A worker writes through a link in its run's folder, `.attempt-3` -> `.`, which the next attempt takes away: whatever an
outdated worker still writes or removes, at whatever moment it wakes up, then ends at a name that is not there (`Fence`).
"""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from lab.design.plain.refusal import Refusal

MANIFEST = "manifest.json"
_NO_LINKS = {getattr(errno, name) for name in ("EPERM", "ENOSYS", "ENOTSUP", "EOPNOTSUPP", "EINVAL")}
_LINK = re.compile(r"\.attempt-(\d+)")


def sync(path: Path) -> None:
    """Ask the system to put a file or folder on the disk; folders cannot be synced everywhere."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(handle)
    except OSError:
        pass
    finally:
        os.close(handle)


def write_json(path: Path, document: Any) -> None:
    """A JSON file, written beside and renamed, so that a reader never sees half of it."""
    part = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        part.write_text(json.dumps(document, ensure_ascii=False, indent=1), encoding="utf-8")
        sync(part)
        part.replace(path)
    except BaseException:
        with suppress(OSError):
            part.unlink()
        raise


def replace_folder(target: Path, fill: Callable[[Path], None]) -> None:
    """Make `target` what `fill(folder)` writes, all or nothing: a hidden folder beside it, synced, then renamed."""
    if not _LINK.fullmatch(target.parent.name):  # a fence that was taken away is never made a folder
        target.parent.mkdir(exist_ok=True)
    recover(target)
    part, old = target.with_name(f".part-{target.name}"), target.with_name(f".old-{target.name}")
    for leftover in (part, old):
        shutil.rmtree(leftover, ignore_errors=True)
    part.mkdir()
    try:
        fill(part)
        sync(part)
        if target.exists():
            target.rename(old)
        part.rename(target)
        sync(target.parent)
    finally:
        recover(target)
        shutil.rmtree(part, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def recover(target: Path) -> None:
    """Put the old folder back where a process was killed between the two renames of `replace_folder`."""
    old = target.with_name(f".old-{target.name}")
    if old.exists() and not target.exists():
        old.rename(target)


def fingerprint(path: Path) -> list[int]:
    """A file's size in bytes and its CRC-32."""
    crc = 0
    with path.open("rb") as file:
        while block := file.read(1 << 22):
            crc = zlib.crc32(block, crc)
    return [path.stat().st_size, crc]


def write_manifest(folder: Path, step: int) -> None:
    """manifest.json: the step that a folder's files are of, and each one's fingerprint. Written last."""
    files = {path.name: fingerprint(path) for path in sorted(folder.iterdir())}
    write_json(folder / MANIFEST, {"step": step, "files": files})


def verify(folder: Path) -> int:
    """The step of a folder whose every file is as its manifest says. ValueError (a sentence's end) or OSError where it is not."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        files, step = dict(manifest["files"]), int(manifest["step"])
    except (ValueError, KeyError, TypeError, RecursionError):
        raise ValueError(f"{MANIFEST} cannot be read") from None
    for name, expected in files.items():
        if fingerprint(folder / name) != expected:
            raise ValueError(f"{name} is not as it was written")
    return step


class Fence:
    """The one way by which an attempt of a run writes into the run's folder: `path`, as good as the folder until another attempt begins.

    `folder`: the run's. Raises Refusal where a later attempt has begun already. On a disk without links `path` is the folder itself,
    and only the store tells an outdated worker so.
    """

    def __init__(self, folder: Path, attempt: int):
        self.path, self._real = folder / f".attempt-{attempt}", folder
        try:
            self._newest(attempt)
            with suppress(FileExistsError):
                self.path.symlink_to(".", target_is_directory=True)
        except (NotImplementedError, PermissionError):
            self.path = folder
            return
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            self.path = folder
            return
        for earlier in self._newest(attempt):
            with suppress(OSError):
                earlier.unlink()

    def _newest(self, attempt: int) -> list[Path]:
        """The links of earlier attempts. Refusal, this one's own link taken away, where there is a later one."""
        found = {link: int(match[1]) for link in self._real.iterdir() if (match := _LINK.fullmatch(link.name)) and link.is_symlink()}
        if any(number > attempt for number in found.values()):
            with suppress(OSError):
                self.path.unlink()
            raise Refusal("This run was started anew meanwhile; this worker writes nothing more.", "run")
        return [link for link, number in found.items() if number < attempt]

    def leave(self) -> None:
        """Take the link away at the end, so that nobody who copies the folder follows it."""
        if self.path != self._real:
            with suppress(OSError):
                self.path.unlink()

    @staticmethod
    def lift(folder: Path, attempt: int) -> None:
        """Take away the link that a worker left which is dead."""
        link = folder / f".attempt-{attempt}"
        if link.is_symlink():
            with suppress(OSError):
                link.unlink()

    @property
    def stands(self) -> bool:
        """Whether what is written through `path` still reaches the run's folder."""
        return self.path.exists()
