"""What tests compare numerically with another library or with a reference of their own, and how far apart it was.

`told` is called where the comparison is made. With LAB_FIDELITY=file in the environment, conftest.py writes the worst of each there at the
end of the session; `python benchmarks/fidelity.py` asks for it and makes docs/fidelity.md.
"""

from __future__ import annotations

import json
from pathlib import Path

FOUND: dict[tuple[str, str, str], dict] = {}


def told(method: str, against: str, what: str, error: float, on: str = "") -> None:
    """Note a comparison of a preset: with what, of what, its error (relative to the size of what is compared, at least 1), on which model."""
    row = FOUND.setdefault((method, against, what), {"method": method, "against": against, "what": what, "error": 0.0, "on": []})
    row["error"] = max(row["error"], float(error))
    row["on"] = sorted({*row["on"], *([on] if on else [])})


def write(path: str) -> None:
    """The comparisons of this session as JSON."""
    rows = [FOUND[key] for key in sorted(FOUND)]
    Path(path).write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
