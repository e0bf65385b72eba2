"""Any process of a run over several devices but the first: `python -m lab.training.follower FOLDER PARENT`, which ranks.py starts.

It trains as the first one does, tells the store nothing, ends with its parent, and leaves the reason of a failure in the folder.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
import threading
import traceback
from contextlib import suppress
from pathlib import Path
from typing import Any

from lab.child import end_with
from lab.design.plain.message import packed
from lab.training.ranks import leave


class Silent:
    """The reporter of every process of a run but the first."""

    def log(self, step: int, values: Any, *, total_steps: int | None = None) -> None:
        """Nothing: the first process tells."""

    def progress(self, step: int, total_steps: int | None = None) -> None:
        """Nothing: the first process tells."""

    def phase(self, name: str, share: float | None = None) -> None:
        """Nothing: the first process tells."""

    def flush(self) -> bool:
        """Nothing: the first process tells."""
        return True

    def stopping(self) -> bool:
        """Never: the first process hears, and all agree."""
        return False


def follow(folder: Path, parent: int) -> int:
    """Train as one of the other processes of the run whose spec is in `folder`, until it is over or `parent` is gone; the exit code."""
    threading.Thread(target=end_with, args=(parent,), daemon=True).start()
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: at once, whatever this process is busy with
    run = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    try:
        from lab.training.preload import quiet
        from lab.training.worker import train_as

        quiet()
        train_as(run["spec"], run["run"], Silent(), Path(run["folder"]), Path(run["cache"]))
        leave()
    except BaseException as error:
        traceback.print_exc()
        known = hasattr(error, "sentence")  # of a Refusal, or of a loss that is none any more
        words = error.sentence if known else f"{type(error).__name__}: {error}"[:2000]
        with suppress(OSError):
            (folder / f"failed-{os.environ['RANK']}.json").write_text(json.dumps(packed({"words": words, "known": known})), encoding="utf-8")
        return 1
    return 0


if __name__ == "__main__":
    code = follow(Path(sys.argv[1]), int(sys.argv[2]))
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code)  # what libraries tear down after the last collective is no failure of the run
