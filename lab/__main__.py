"""python -m lab: the lab in the terminal."""

from __future__ import annotations

import os
import sys

for number in (0, 1, 2):  # a closed one would become the first file that is opened, and what is printed would go into it
    try:
        os.fstat(number)
    except OSError:
        os.open(os.devnull, os.O_RDWR)

try:
    from lab.cli import main

    status = main()
except KeyboardInterrupt:
    print("Interrupted before anything was done.", file=sys.stderr)
    status = 130
sys.exit(status)
