"""The memory that a run needs at its peak, as its plan says (bytes; NULL where nobody asked)."""

from __future__ import annotations

STATEMENTS = ["ALTER TABLE runs ADD COLUMN needs BIGINT"]
