"""Which files of this machine somebody in the web app may name: those under LAB_HOME and under the folders in LAB_DATA.

The app sets LAB_PATHS=closed for itself (lab.ui.serve), and every path in a model or a task is checked here. The terminal and
notebooks are not bounded: who types there can read the files anyway. `--open-paths` leaves the app unbounded too, which is refused
together with a password or a shared address.
"""

from __future__ import annotations

import importlib.util
import os
import re
from pathlib import Path

from lab.design.plain.refusal import Refusal

VARIABLE, CLOSED = "LAB_PATHS", "closed"
HOME = "$LAB_HOME"  # how a frozen spec begins a path below LAB_HOME


def home_folder() -> Path:
    """LAB_HOME, resolved. Refusal where its words name no folder that there can be."""
    try:
        return Path(os.environ.get("LAB_HOME") or "lab-home").expanduser().resolve()
    except (RuntimeError, OSError, ValueError):
        raise Refusal(
            "LAB_HOME names no folder that there can be ({given}); write its whole path.", "LAB_HOME", given=ascii(os.environ.get("LAB_HOME"))[:80]
        ) from None


def portable(path: Path) -> str:
    """A resolved path as a frozen spec keeps it: below LAB_HOME relative to that, so that it holds after the folder is moved."""
    root = home_folder()
    return f"{HOME}/{path.relative_to(root).as_posix()}" if path.is_relative_to(root) and path != root else str(path)


def located(name: str) -> str:
    """The path that a spec means: `$LAB_HOME/models/mine` is below LAB_HOME as it is now; any other is itself."""
    return str(home_folder() / name[len(HOME) + 1 :]) if name.startswith(f"{HOME}/") else name


def roots() -> list[Path]:
    """LAB_HOME and the folders of LAB_DATA (separated as in PATH), resolved. Refusal: one of them begins with the home of nobody."""
    named = os.environ.get("LAB_DATA", "")
    try:
        return [home_folder(), *(Path(name).expanduser().resolve() for name in named.split(os.pathsep) if name)]
    except RuntimeError:
        raise Refusal(
            "LAB_DATA begins with the home of a user that is not here, or leads in a circle ({given}); write whole paths.", "LAB_DATA", given=named[:80]
        ) from None


def inside_package(address: str) -> list[Path]:
    """Where `package/folder/file` of an installed package may be; the package is found and not imported. Refusal for what names a path.

    A package is what was installed as one: a folder without __init__.py, such as the one that a worker runs in, is none.
    """
    package, _, inside = address.partition("/")
    parts = inside.split("/")
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,99}", package) or not inside or any(part in ("", ".", "..") or re.search(r"[\\:\0]", part) for part in parts):
        raise Refusal("'{address}' is not in an installed package; write package/folder/file.", "package", address=address[:120])
    found = importlib.util.find_spec(package)
    roots = [Path(root) for root in found.submodule_search_locations or ()] if found and found.origin else []
    return [root.joinpath(*parts) for root in roots if root.joinpath(*parts).resolve().is_relative_to(root.resolve())]


def require_inside(path: str | os.PathLike, field: str = "") -> None:
    """Refusal where the app is closed and the path, its links followed, is in none of the roots. The same words whether it exists or not."""
    if os.environ.get(VARIABLE) != CLOSED:
        return
    try:
        inside = any(Path(located(os.fspath(path))).expanduser().resolve().is_relative_to(root) for root in roots())
    except (OSError, ValueError, RuntimeError):
        inside = False
    if not inside:
        raise Refusal("The app reads no files in {path}: only what is under LAB_HOME and the folders in LAB_DATA; set LAB_DATA, or start it with --open-paths.", field, path=os.fspath(path)[:200])  # fmt: skip
