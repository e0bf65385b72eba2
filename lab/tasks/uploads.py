"""Uploads of a page, staged where only their token leads until they are imported. Torch-free."""

from __future__ import annotations

import re
import secrets
import shutil
import time
from pathlib import Path

from lab.design.plain.message import word
from lab.design.plain.refusal import Refusal
from lab.design.presets import own
from lab.tasks.tables import kind_of

TOKEN = re.compile(r"[0-9a-f]{32}")
KEPT_SECONDS = 24 * 3600  # that an upload waits for its import


def stage(*paths: str | Path) -> str:
    """Move uploaded files to where only their token leads; the token. Raises `Refusal` for a format that cannot be imported, and removes the files."""
    files = [Path(path) for path in paths]
    try:
        for path in files:
            kind_of(path)
        if len({path.name for path in files}) < len(files):
            raise Refusal("Two of these files have the same name: rename one.", "file")
        token, folder = room()
        for path in files:
            shutil.move(path, folder / path.name)
    except OSError as error:
        raise Refusal("The upload could not be kept in {folder}: {reason}.", "file", folder=_uploads(), reason=word(error.strerror or error)) from None
    finally:
        for path in files:
            path.unlink(missing_ok=True)
    return token


def room() -> tuple[str, Path]:
    """(token, its empty folder)."""
    _sweep()
    token = secrets.token_hex(16)
    folder = _uploads() / token
    folder.mkdir(parents=True)
    return token, folder


def staged(token: object) -> Path:
    """The file of a token, or the folder of its several files. Raises `Refusal` where there is none any more."""
    folder = _uploads() / token if isinstance(token, str) and TOKEN.fullmatch(token) else None
    found = [path for path in folder.iterdir() if path.is_file()] if folder is not None and folder.is_dir() else []
    if folder is None or not found:
        raise Refusal("The upload is not here any more: choose the file again.", "file")
    return found[0] if len(found) == 1 else folder


def unstage(token: str) -> None:
    """Delete an upload; nothing where there is none."""
    if TOKEN.fullmatch(token):
        shutil.rmtree(_uploads() / token, ignore_errors=True)


def _uploads() -> Path:
    return own.folder("tasks").parent / "cache" / "uploads"


def _sweep() -> None:
    """Delete uploads that nobody imported for a day."""
    for folder in _uploads().glob("*"):
        if folder.stat().st_mtime < time.time() - KEPT_SECONDS:
            shutil.rmtree(folder, ignore_errors=True)
