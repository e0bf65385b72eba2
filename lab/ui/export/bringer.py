"""Adapters brought in by the pages and the API: read by a process of its own (it needs torch). The app imports no torch for it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from lab.design.plain.boundary import require_inside
from lab.design.plain.refusal import Refusal
from lab.importing.folders import is_adapter
from lab.models.places import HUB_ID
from lab.tasks import uploads
from lab.ui.export.command import commanded
from lab.ui.shell.gradio_private import upload_folder

SECONDS = 900  # the hub may be slow


def bring(source: str, task: str = "", model: str = "", revision: str = "", name: str = "", upload: str = "") -> dict[str, Any]:
    """What `lab import` says of an adapter that it kept as a run. `upload`: a zip in gradio's own upload folder, in place of a source. Raises Refusal."""
    token = ""
    if upload:
        token, source = _staged(upload)
    elif not HUB_ID.fullmatch(source) or Path(source).exists():
        require_inside(source, "source")  # before it is said whether anything is there
    if not is_adapter(source):
        raise Refusal("There is no adapter at '{source}': give a folder or a zip of one, or a hub id owner/name.", "source", source=source[:200])
    given = {"task": task, "model": model, "revision": revision, "name": name}
    try:
        return commanded(
            "import", "--json", *(f"--{flag}={value}" for flag, value in given.items() if value), "--", source,
            field="source", seconds=SECONDS,
            late=Refusal("The import took too long and was ended.", "source"), silent=Refusal("The import failed without a word.", "source"),
        )  # fmt: skip
    finally:
        uploads.unstage(token)


def _staged(path: str) -> tuple[str, str]:
    """(token, path) of a zip that gradio took, moved into the lab; Refusal for any other path."""
    try:
        found = Path(path)
        good = found.suffix == ".zip" and not found.is_symlink() and found.is_file() and found.resolve().is_relative_to(upload_folder().resolve())
    except (OSError, ValueError, RuntimeError):
        good = False
    if not good:
        raise Refusal("That is no upload of a zip: choose the file again.", "source")
    token, folder = uploads.room()
    return token, str(shutil.move(found, folder / "adapter.zip"))
