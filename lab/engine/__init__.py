"""What a method does to a torch model: one mechanism that attaches, trains, counts, saves, merges and detaches."""

from __future__ import annotations

from lab.engine.attach import attach, body_of
from lab.engine.attached import Attached

__all__ = ["Attached", "attach", "body_of"]
