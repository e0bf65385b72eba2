"""The oldest store: runs, their metrics, and the ticket that counts every write that a page would want to see."""

from __future__ import annotations

STATEMENTS = [
    "CREATE TABLE schema_version (version BIGINT NOT NULL PRIMARY KEY)",
    "CREATE TABLE ticket (id BIGINT NOT NULL PRIMARY KEY, value BIGINT NOT NULL)",
    "INSERT INTO ticket (id, value) VALUES (1, 0)",
    """CREATE TABLE runs (
        number {number},
        id VARCHAR(16) NOT NULL UNIQUE,
        name TEXT NOT NULL,
        state VARCHAR(16) NOT NULL,
        spec TEXT NOT NULL,
        tags TEXT NOT NULL,
        notes TEXT NOT NULL,
        position BIGINT NOT NULL,
        version BIGINT NOT NULL,
        attempt BIGINT NOT NULL,
        parent VARCHAR(16),
        created DOUBLE PRECISION NOT NULL,
        started DOUBLE PRECISION,
        ended DOUBLE PRECISION,
        step BIGINT NOT NULL,
        total_steps BIGINT,
        slot BIGINT,
        pid BIGINT,
        pid_create_time DOUBLE PRECISION,
        mark TEXT,
        place TEXT,
        host TEXT,
        heartbeat DOUBLE PRECISION,
        error TEXT,
        advice TEXT,
        log_tail TEXT,
        exit_code BIGINT,
        result TEXT
    )""",
    "CREATE INDEX runs_by_state ON runs (state, position)",
    """CREATE TABLE metrics (
        run BIGINT NOT NULL,
        name VARCHAR(200) NOT NULL,
        step BIGINT NOT NULL,
        value DOUBLE PRECISION,
        time DOUBLE PRECISION NOT NULL,
        PRIMARY KEY (run, name, step) {covers(value, time)}
    ) {rowless}""",
]
