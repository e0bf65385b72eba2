"""python -m lab: the lab in the terminal."""

from __future__ import annotations

import sys

try:
    from lab.cli import main

    status = main()
except KeyboardInterrupt:
    print("Interrupted before anything was done.", file=sys.stderr)
    status = 130
sys.exit(status)
