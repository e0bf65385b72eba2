"""What a page asks of the terminal's command as a process of its own, since it needs torch and the app imports none."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

from lab.design.plain import installed
from lab.design.plain.message import PACKED
from lab.design.plain.refusal import Refusal, unpacked_refusal


def commanded(*words: str, field: str, seconds: float, late: Refusal, silent: Refusal) -> Any:
    """The document that `lab WORDS` answers. Raises the command's own Refusal (at `field`, where it names none), `late` after so many seconds, and
    `silent` where it ends without a word."""
    environment = {**os.environ, "PYTHONPATH": installed.python_path(), "CUDA_VISIBLE_DEVICES": "", PACKED: "1"}
    command = [sys.executable, "-m", "lab", *words]
    try:
        done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", timeout=seconds, stdin=subprocess.DEVNULL, env=environment)
    except subprocess.TimeoutExpired:
        raise late from None
    if done.returncode == 0:
        return json.loads(done.stdout)
    lines = [line for line in done.stderr.strip().splitlines() if line.strip()]
    raise unpacked_refusal(lines[-1], field) if lines else silent
