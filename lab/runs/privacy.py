"""LAB_HOME is its owner's alone: runs, data, and a database of results are nobody else's to read, and weights nobody else's to change."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

_warned: set[Path] = set()


def close(folder: Path) -> None:
    """Take a lab's folder away from other users (mode 0700), or say that it is open where that is not the lab's to do.

    Nothing is changed of a folder that is somebody else's, that people share (a sticky one such as /tmp), or that is more than a lab's: one's home,
    or one that the process works in.
    """
    if os.name != "posix":
        return
    try:
        facts = folder.stat()
        if not facts.st_mode & 0o077:
            return
        own = facts.st_uid == os.geteuid() and not facts.st_mode & stat.S_ISVTX
        if own and not Path.cwd().is_relative_to(folder) and not Path.home().is_relative_to(folder):
            folder.chmod(0o700)
            if not folder.stat().st_mode & 0o077:
                return
    except (OSError, RuntimeError):
        pass
    if folder not in _warned and sys.stderr is not None:
        _warned.add(folder)
        print(f"Other users of this machine can look into {folder}; set LAB_HOME to a folder of your own (chmod 700).", file=sys.stderr)
