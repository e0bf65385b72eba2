"""A run over several devices: how many it asks for (NULL: one), and all the slots that it holds (NULL: `slot` alone)."""

from __future__ import annotations

STATEMENTS = ["ALTER TABLE runs ADD COLUMN devices BIGINT", "ALTER TABLE runs ADD COLUMN held TEXT"]
