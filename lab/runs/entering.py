"""Runs that were trained elsewhere: a part of `Store`."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, insert, select

from lab.runs.database import Database, take_ticket
from lab.runs.history import note
from lab.runs.home import check_id
from lab.runs.records import SUCCEEDED, check_name, check_tags, result_text, spec_text
from lab.runs.schema import runs


class Entering:
    """What `Store` does with them."""

    database: Database

    def enter(self, run_id: str, spec: dict[str, Any], name: str, tags: Sequence[str], result: Mapping[str, Any], message: str) -> None:
        """A run that was trained elsewhere: over from the beginning, never queued. Refusal as for `create`."""
        row = {"id": check_id(run_id), "name": check_name(name), "state": SUCCEEDED, "spec": spec_text(spec), "tags": json.dumps(check_tags(tags)), "notes": "",
               "attempt": 0, "created": time.time(), "ended": time.time(), "step": 0, "position": 0, "result": result_text(result)}  # fmt: skip

        def work(connection: Connection) -> None:
            version = take_ticket(connection)
            if connection.execute(select(runs.c.number).where(runs.c.id == run_id)).scalar() is None:  # else only the answer was lost
                note(connection, connection.execute(insert(runs).values(**row, version=version).returning(runs.c.number)).scalar_one(), SUCCEEDED, message)

        self.database.write(work, durable=True)
