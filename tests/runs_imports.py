"""What a fork server of a test imports beforehand and had better not."""

from __future__ import annotations

import os
import threading


def linger() -> None:
    """Start a thread that stays."""
    threading.Thread(target=threading.Event().wait, daemon=True).start()


def vanish() -> None:
    """End the process."""
    os._exit(3)
