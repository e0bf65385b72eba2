"""How an extra of the lab is installed: from its file in a checkout, by its name where the lab is an installed package."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]


def command(extra: str = "") -> str:
    """What to type: pip install -r requirements-ray.txt, or pip install 'delta-lab[ray]'; "" for what the lab needs itself."""
    file = f"requirements-{extra}.txt" if extra else "requirements.txt"
    if (ROOT / file).is_file():
        return f"pip install -r {file}"
    return f"pip install 'delta-lab[{extra}]'" if extra else "pip install --force-reinstall delta-lab"
