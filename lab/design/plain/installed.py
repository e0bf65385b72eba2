"""Whether the lab runs from a checkout or is an installed package, and what follows for children and for what one types to install more."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]  # the checkout, or the folder of installed packages


def from_checkout() -> bool:
    """Whether this is a checkout, or an editable install of one."""
    return (ROOT / "requirements.txt").is_file()


def command(extra: str = "") -> str:
    """What installs an extra: pip install -r requirements-ray.txt, or pip install 'delta-lab[ray]'; "" for what the lab needs itself."""
    file = f"requirements-{extra}.txt" if extra else "requirements.txt"
    if (ROOT / file).is_file():
        return f"pip install -r {file}"
    return f"pip install 'delta-lab[{extra}]'" if extra else "pip install --force-reinstall delta-lab"


def python_path() -> str:
    """PYTHONPATH of a child that imports the lab from any folder: the checkout first, then what this process was given, absolute.

    A folder of installed packages is none of it: a child has it anyway, behind the standard library, which nothing there may shadow.
    """
    given = (os.path.abspath(path) for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path)
    return os.pathsep.join([*([str(ROOT)] if ROOT.name not in ("site-packages", "dist-packages") else []), *given])
