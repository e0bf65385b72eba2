"""Which files of this machine somebody in the web app may name: those under LAB_HOME and under the folders in LAB_DATA.

The app sets LAB_PATHS=closed for itself (lab.ui.serving), and every path in a model or a task is checked here. The terminal and
notebooks are not bounded: who types there can read the files anyway. `--open-paths` leaves the app unbounded too, which is refused
together with a password or a shared address.
"""

from __future__ import annotations

import os
from pathlib import Path

from lab.design.refusal import Refusal

VARIABLE, CLOSED = "LAB_PATHS", "closed"


def roots() -> list[Path]:
    """LAB_HOME and the folders of LAB_DATA (separated as in PATH), resolved."""
    named = [os.environ.get("LAB_HOME") or "lab-home", *os.environ.get("LAB_DATA", "").split(os.pathsep)]
    return [Path(name).expanduser().resolve() for name in named if name]


def require_inside(path: str | os.PathLike, field: str = "") -> None:
    """Refusal where the app is closed and the path, its links followed, is in none of the roots. The same words whether it exists or not."""
    if os.environ.get(VARIABLE) != CLOSED:
        return
    try:
        inside = any(Path(path).expanduser().resolve().is_relative_to(root) for root in roots())
    except (OSError, ValueError, RuntimeError):
        inside = False
    if not inside:
        raise Refusal(f"The app reads no files in {os.fspath(path)[:200]}: only what is under LAB_HOME and the folders in LAB_DATA; "
                      f"set LAB_DATA, or start it with --open-paths.", field)  # fmt: skip
