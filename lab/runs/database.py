"""The connection to the store's database: SQLite or PostgreSQL, one way to read and one way to write.

Every write is one transaction that is tried again while the database is locked. On SQLite it begins with BEGIN IMMEDIATE,
so that it waits for its turn at the start and never fails half-way; readers never wait (WAL). On PostgreSQL writes that
pages should see take the store's ticket first, a row lock, which puts them in the same one-after-another order.
"""
from __future__ import annotations

import os
import random
import sqlite3
import time
import weakref
from collections.abc import Callable
from typing import TypeVar

from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, OperationalError, SQLAlchemyError

from lab.design.refusal import Refusal
from lab.runs.address import keep_quiet, place_of
from lab.runs.migrations import LATEST, migrate, version_of

T = TypeVar("T")
BUSY_SECONDS = 5.0  # how long SQLite itself waits for a lock before it reports 'database is locked'


class Database:
    """An open, migrated database. `url`: as SQLAlchemy writes it. Raises Refusal when it cannot be opened."""

    def __init__(self, url: str):
        self.engine = _engine(url)
        self.sqlite = self.engine.dialect.name == "sqlite"
        if hasattr(os, "register_at_fork"):  # a forked data loader must not touch connections that it inherits
            engine = weakref.ref(self.engine)
            os.register_at_fork(after_in_child=lambda: engine() and engine().dispose(close=False))
        shown = place_of(self.engine.url)
        try:
            if self.sqlite:
                self._enter_wal()
            if self.read(version_of) != LATEST:
                self.write(migrate, durable=True)
        except SQLAlchemyError as error:
            raise Refusal(_why_not(shown, error), "LAB_DATABASE_URL") from None  # the chain would quote the address

    def _enter_wal(self) -> None:
        with self.engine.connect() as connection:
            driver = connection.connection.driver_connection
            for _ in range(100):  # SQLite does not wait by itself when two processes change the mode at once
                try:
                    driver.execute("PRAGMA journal_mode=WAL")
                    return
                except sqlite3.OperationalError as error:
                    if "locked" not in str(error):
                        raise OperationalError("PRAGMA journal_mode=WAL", None, error) from error
                    time.sleep(0.05)
                except sqlite3.DatabaseError as error:
                    raise DBAPIError("PRAGMA journal_mode=WAL", None, error) from error

    def read(self, work: Callable[[Connection], T]) -> T:
        """work(connection) in one consistent snapshot that is never kept waiting by writers."""
        return self._again(lambda: self._once(work, {}), 30.0)

    def write(self, work: Callable[[Connection], T], durable: bool = False, patience: float = 30.0) -> T:
        """work(connection) in one transaction, committed on return, rolled back on an exception.

        Tried again while the database is locked, for `patience` seconds, so `work` must be repeatable. `durable`: on disk
        before this returns (states and results); otherwise a power loss may take the last few writes (metrics, heartbeats).
        """
        return self._again(lambda: self._once(work, {"lab_write": True, "lab_durable": durable}), patience)

    def _once(self, work: Callable[[Connection], T], options: dict) -> T:
        with self.engine.connect().execution_options(**options) as connection, connection.begin():
            return work(connection)

    @staticmethod
    def _again(attempt: Callable[[], T], patience: float) -> T:
        until, pause = time.monotonic() + patience, 0.01
        while True:
            try:
                return attempt()
            except DBAPIError as error:
                if not is_passing(error) or time.monotonic() > until:
                    raise
            time.sleep(pause * (0.5 + random.random()))
            pause = min(pause * 2, 0.5)

    def close(self) -> None:
        """Close every connection."""
        self.engine.dispose()


def take_ticket(connection: Connection) -> int:
    """The next number of the store's change counter. First statement of every write that pages should notice."""
    return connection.execute(text("UPDATE ticket SET value = value + 1 WHERE id = 1 RETURNING value")).scalar_one()


def is_passing(error: DBAPIError) -> bool:
    """Whether the same transaction may succeed when tried again: a lock, a deadlock, a dropped connection."""
    code = getattr(error.orig, "sqlstate", None)
    if code is not None:
        return code in ("40001", "40P01", "55P03") or code.startswith(("08", "57P"))
    words = str(error.orig).lower()
    return "locked" in words or "busy" in words or error.connection_invalidated


def _engine(url: str) -> Engine:
    try:
        address = make_url(url)
        if address.drivername in ("postgres", "postgresql"):
            address = address.set(drivername="postgresql+psycopg")
        if address.get_backend_name() not in ("sqlite", "postgresql"):
            raise Refusal("LAB_DATABASE_URL must begin with sqlite:/// or postgresql+psycopg://.", "LAB_DATABASE_URL")
        if address.get_backend_name() == "sqlite" and address.database in (None, "", ":memory:"):
            raise Refusal("The store needs a file: workers in other processes must be able to open it.", "LAB_DATABASE_URL")
        engine = create_engine(address, pool_pre_ping=address.get_backend_name() == "postgresql", **_options(address))
    except (ArgumentError, NoSuchModuleError, ValueError) as error:
        if isinstance(error, Refusal):
            raise
        raise Refusal("LAB_DATABASE_URL must be like postgresql+psycopg://user@host/lab.", "LAB_DATABASE_URL") from None
    except ImportError as error:
        raise Refusal("PostgreSQL needs its driver: pip install -r requirements-postgres.txt.", "LAB_DATABASE_URL") from None
    keep_quiet(engine)
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    return engine


def _options(address) -> dict:
    if address.get_backend_name() == "sqlite":
        return {"connect_args": {"timeout": BUSY_SECONDS}}
    return {"connect_args": {"connect_timeout": 10, "options": "-c jit=off"}}  # compiling costs more than these queries


def _prepare_sqlite(connection: sqlite3.Connection, _record) -> None:
    connection.isolation_level = None  # transactions are begun by _begin_sqlite alone
    for pragma in ("synchronous=NORMAL", "cache_size=-8000", "temp_store=MEMORY"):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Connection) -> None:
    options = connection.get_execution_options()
    if options.get("lab_write"):
        connection.exec_driver_sql(f"PRAGMA synchronous={'FULL' if options.get('lab_durable') else 'NORMAL'}")
        connection.exec_driver_sql("BEGIN IMMEDIATE")
    else:
        connection.exec_driver_sql("BEGIN")


def _why_not(shown: str, error: SQLAlchemyError) -> str:
    reason = str(getattr(error, "orig", None) or error).strip().splitlines()[0][:200]
    return f"The store {shown} cannot be opened ({reason}); check LAB_HOME and LAB_DATABASE_URL, or move a damaged file away."
