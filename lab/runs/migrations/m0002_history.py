"""What happened to a run, in order (queued, started, interrupted, resumed, ...), begun from what older rows still know."""

from __future__ import annotations

STATEMENTS = [
    """CREATE TABLE events (
        number {number},
        run BIGINT NOT NULL,
        time DOUBLE PRECISION NOT NULL,
        state VARCHAR(16) NOT NULL,
        message TEXT NOT NULL
    )""",
    "CREATE INDEX events_by_run ON events (run, number)",
    "INSERT INTO events (run, time, state, message) SELECT number, created, 'queued', '' FROM runs ORDER BY number",
    """INSERT INTO events (run, time, state, message)
       SELECT number, ended, state, COALESCE(error, '') FROM runs WHERE ended IS NOT NULL ORDER BY number""",
]
