"""What a worker is busy with and how far it is in that (NULL: not known), and the views of the table of runs that people keep."""

from __future__ import annotations

STATEMENTS = [
    "ALTER TABLE runs ADD COLUMN phase VARCHAR(16)",
    "ALTER TABLE runs ADD COLUMN phase_share DOUBLE PRECISION",
    "CREATE TABLE views (name VARCHAR(80) NOT NULL PRIMARY KEY, document TEXT NOT NULL)",
]
