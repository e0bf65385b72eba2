"""The views of the table of runs that people keep: a name and what the table shows then. Part of `Store`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, delete, func, insert, select

from lab.design.plain.refusal import Refusal
from lab.runs.database import Database, take_ticket
from lab.runs.schema import views

NAME_LETTERS, DOCUMENT_LETTERS, MOST = 80, 8_000, 100


class Views:
    """What a store keeps of the table of its runs."""

    database: Database

    def views(self) -> dict[str, dict[str, Any]]:
        """{name: {"where", "columns", "sort", ...}}, by name; one whose text is damaged is left out."""
        rows = self.database.read(lambda c: c.execute(select(views.c.name, views.c.document).order_by(views.c.name)).all())
        found = {}
        for name, document in rows:
            try:
                found[name] = json.loads(document)
            except (ValueError, RecursionError):
                continue
        return {name: view for name, view in found.items() if isinstance(view, dict)}

    def keep_view(self, name: Any, document: Mapping[str, Any]) -> str:
        """Keep a view under a name, in the place of one that has it; the name. Refusal: no name, too long, too many."""
        name = name.strip() if isinstance(name, str) else ""
        if not name or len(name) > NAME_LETTERS or not name.isprintable():
            raise Refusal("The name of a view is one line of 1 to {most} letters.", "view", most=NAME_LETTERS)
        text = json.dumps(dict(document), ensure_ascii=False)
        if len(text) > DOCUMENT_LETTERS:
            raise Refusal("A view may have {most:,} letters; this one has {count:,}: show fewer columns.", "view", most=DOCUMENT_LETTERS, count=len(text))

        def work(connection: Connection) -> bool:
            take_ticket(connection)
            connection.execute(delete(views).where(views.c.name == name))
            if connection.execute(select(func.count()).select_from(views)).scalar_one() >= MOST:
                return False
            connection.execute(insert(views).values(name=name, document=text))
            return True

        if not self.database.write(work, durable=True):
            raise Refusal("There are {most} views already: delete one first.", "view", most=MOST)
        return name

    def drop_view(self, name: str) -> None:
        """Forget a view. Refusal where there is none of that name."""

        def work(connection: Connection) -> int:
            take_ticket(connection)
            return connection.execute(delete(views).where(views.c.name == name)).rowcount

        if not self.database.write(work, durable=True):
            raise Refusal("There is no view '{name}'.", "view", name=name)
