"""A folder for what a process writes only for itself: LAB_HOME/tmp/<name>, which goes with the process, or with the next one where it was killed."""

from __future__ import annotations

import atexit
import shutil
import tempfile
import time
from pathlib import Path

from filelock import FileLock, Timeout

LOCK = ".lock"
YOUNG = 60.0  # seconds in which a folder may have no lock yet
_held: list[object] = []


def scratch(home: Path) -> Path:
    """Make one, make it where `tempfile` writes from now on, and see to its end. What processes left that are no more is removed."""
    root = home / "tmp"
    root.mkdir(mode=0o700, exist_ok=True)
    sweep(root)
    folder = Path(tempfile.mkdtemp(prefix="of-", dir=root))
    lock = FileLock(folder / LOCK)
    lock.acquire(timeout=0)
    _held.append(lock)  # the lock is the sign of life: the system lets it go with the process, however that ends
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    tempfile.tempdir = str(folder)
    return folder


def sweep(root: Path) -> None:
    """Remove the folders whose process has ended."""
    for folder in root.glob("of-*"):
        try:
            if folder.stat().st_mtime > time.time() - YOUNG and not (folder / LOCK).exists():
                continue
            with FileLock(folder / LOCK, timeout=0):
                shutil.rmtree(folder, ignore_errors=True)
            shutil.rmtree(folder, ignore_errors=True)  # where an open lock cannot be removed (Windows)
        except (OSError, Timeout):  # it lives, or somebody else removes it
            continue
