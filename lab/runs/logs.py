"""The end of a run's log, and one sentence of advice for the failures that people meet most."""

from __future__ import annotations

import re
import signal
from pathlib import Path

from lab.design.plain.message import Message

TAIL_BYTES = 16 * 1024

ADVICE = [
    (
        r"CUDA out of memory|OutOfMemoryError|MPS backend out of memory|CUBLAS_STATUS_ALLOC_FAILED",
        ("The accelerator ran out of memory: lower batch_size (and raise accumulation), lower max_length, or switch on gradient_checkpointing."),
    ),
    (
        r"MemoryError|[Cc]annot allocate memory|DefaultCPUAllocator|bad_alloc",
        "The machine ran out of memory: lower batch_size or max_length, choose a smaller model, or run fewer at once (LAB_SLOTS).",
    ),
    (r"File too large|EFBIG|SIGXFSZ", "The system lets this process write no larger files: raise the limit (ulimit -f), then resume."),
    (
        r"No space left on device|disk is full|Disk quota exceeded|ENOSPC",
        "The disk is full: free some space (old runs can be deleted with their files), then resume.",
    ),
    (
        r"bus error.*shared memory|insufficient shared memory|unable to open shared memory",
        "Shared memory is too small for the data loader: use no loader processes, or enlarge /dev/shm.",
    ),
    (
        r"LocalEntryNotFoundError|OfflineModeIsEnabled|couldn't connect to|not a valid model id|RepositoryNotFound|GatedRepo",
        ("The model was not found here or on the hub: check its name and the connection, fetch it with `python -m lab fetch MODEL`, or give a local folder."),
    ),
    (
        r"SafetensorError|HeaderTooLarge|MetadataIncompleteBuffer|InvalidHeader",
        "A weights file is damaged: delete that checkpoint (the one before is used) or fetch the model again, then resume.",
    ),
    (
        r"[Cc]olumn .*(not|missing)|[Nn]o column|KeyError: '(text|label|labels|sentence|input|target)'",
        "A column that the task names is not in the data: compare the task's columns with the header of the file.",
    ),
    (r"UnicodeDecodeError", "A data file is not UTF-8: convert it, for instance with `iconv -t UTF-8`."),
    (
        r"ModuleNotFoundError|No module named",
        "A Python package is missing: install what the lab needs again, in the environment that runs it (docs/install.md).",
    ),
    (
        r"CUDA driver|no kernel image|CUDA error|NVML|cudnn",
        "The accelerator or its driver failed: check `nvidia-smi`, restart the driver or the machine, then resume.",
    ),
    (
        r"database is locked|could not connect to server|connection refused",
        "The store could not be reached: check that its disk or server is there, then resume.",
    ),
    (r"loss is (nan|inf)|non-finite loss|not finite", "Training diverged: lower lr, add warmup, or clip gradients more tightly."),
    (r"Permission denied|Read-only file system", "A file could not be written: check the permissions of LAB_HOME, then resume."),
]


def advise(text: str, exit_code: int | None = None) -> Message | None:
    """One sentence on what to do about a failure, from its error and log, or None where nothing certain can be said."""
    for pattern, sentence in ADVICE:
        if re.search(pattern, text or ""):
            return Message(sentence)
    if exit_code in (-9, 137):
        return Message(
            "If nobody killed it, the machine ran out of memory: lower batch_size or max_length, choose a smaller model, or run fewer at once (LAB_SLOTS)."
        )
    return None


def exit_words(exit_code: int | None) -> Message:
    """How a process ended, for the middle of a sentence: 'was killed by SIGKILL', 'ended with exit code 1'."""
    if exit_code is None:
        return Message("is gone (killed, or the machine went down)")
    if exit_code < 0:
        try:
            return Message("was killed by {signal}", signal=signal.Signals(-exit_code).name)
        except ValueError:
            return Message("was killed by signal {number}", number=-exit_code)
    return Message("ended with exit code {code}", code=exit_code)


def tail(path: Path, lines: int = 40) -> str:
    """The last lines of a log, '' where there is none, without undecodable bytes, overwritten progress bars and colours."""
    try:
        with open(path, "rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - TAIL_BYTES))
            text = file.read(TAIL_BYTES).decode("utf-8", errors="replace")
    except OSError:
        return ""
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text).replace("\r\n", "\n")
    kept = [line.rstrip("\r").rpartition("\r")[2] for line in text.split("\n")]
    clean = ["".join(c for c in line if c.isprintable() or c == "\t") for line in kept]
    return "\n".join(clean[-lines - 1 :]).strip("\n")
