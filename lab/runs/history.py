"""What is written into the history of a run."""

from __future__ import annotations

import time

from sqlalchemy import Connection, insert

from lab.runs.schema import events

MESSAGE_LETTERS = 2000


def note(connection: Connection, number: int, state: str, message: str) -> None:
    """One more event of the run `number`: the state that it is in now, and a sentence or ''."""
    connection.execute(insert(events).values(run=number, time=time.time(), state=state, message=message[:MESSAGE_LETTERS]))
