"""The bin: when a run was put there (NULL: it is not in it)."""

from __future__ import annotations

STATEMENTS = ["ALTER TABLE runs ADD COLUMN binned DOUBLE PRECISION"]
