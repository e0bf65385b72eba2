"""The connection to the store's database: SQLite or PostgreSQL, one way to read and one way to write.

Every write is one transaction that is tried again while the database is locked or out of reach. On SQLite it begins with BEGIN IMMEDIATE,
so that it waits for its turn at the start and never fails half-way; readers never wait (WAL). On PostgreSQL writes that
pages should see take the store's ticket first, a row lock, which puts them in the same one-after-another order.

A server that refuses connections, starts, or has none left is waited for: at the start for LAB_DATABASE_WAIT seconds (60;
the app and a worker wait for an hour), told once.
A connection may be lost between a commit and its answer, so what is tried again must be able to find its work done.
"""

from __future__ import annotations

import functools
import os
import random
import re
import secrets
import shutil
import sqlite3
import sys
import time
import weakref
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, OperationalError, SQLAlchemyError

from lab.design.plain import installed
from lab.design.plain.message import Message, word
from lab.design.plain.refusal import Refusal
from lab.runs.address import keep_quiet, place_of
from lab.runs.migrations import LATEST, migrate, version_of
from lab.runs.sqlite_file import Alone, SqliteFile, StoreGone

__all__ = ["Database", "StoreGone", "is_passing", "reason_of", "take_ticket"]

T = TypeVar("T")
WAIT = 60.0  # seconds that a start waits for a server, unless LAB_DATABASE_WAIT says otherwise
OUT_OF_REACH = ("connection refused", "could not connect", "connection timeout", "timeout expired", "starting up", "shutting down",
                "too many clients", "remaining connection slots", "server closed the connection", "connection is lost", "connection reset", "no route to host",
                "network is unreachable", "host is down", "timed out", "is the server running",
                "failed to resolve host", "could not translate host name", "name or service not known", "temporary failure in name resolution",  # a container's name comes and goes with it
                "in recovery mode",
                "accepting connections", "broken pipe", "closed unexpectedly")  # fmt: skip
FINAL = ("does not exist", "authentication failed", "no pg_hba", "permission denied", "not permitted")  # a server that answers, and says no


class Database:
    """An open, migrated database. `url`: as SQLAlchemy writes it. Raises Refusal when it cannot be opened."""

    def __init__(self, url: str):
        address = _address(url)
        self.sqlite = address.get_backend_name() == "sqlite"
        self.file = SqliteFile(str(address.database)) if self.sqlite else None
        self.engine = _engine(address, self.file)
        if hasattr(os, "register_at_fork"):  # a forked data loader must not touch connections that it inherits
            os.register_at_fork(after_in_child=functools.partial(_forget, weakref.ref(self.engine)))
        self._wait_until_open(place_of(address))

    def _wait_until_open(self, place: str) -> None:
        until, pause, announced = time.monotonic() + _patience(), 0.1, False
        while True:
            try:
                self._open()
                return
            except SQLAlchemyError as error:
                if self.sqlite or not _out_of_reach(error) or time.monotonic() > until:
                    raise Refusal(_why_not(place, error, self.file), "LAB_DATABASE_URL") from None  # the chain would quote the address
                if not announced:
                    announced = True
                    with suppress(OSError, ValueError, AttributeError):
                        print(f"[lab] The store {place} cannot be reached ({reason_of(error)}); waiting for it.", file=sys.stderr, flush=True)
            time.sleep(pause * (0.5 + random.random()))
            pause = min(pause * 2, 3.0)

    def _open(self) -> None:
        if self.file:
            self._enter_wal()
            self.file.hold()
        patience = 30.0 if self.sqlite else 0.0  # who opens waits for a server by itself, and says so
        if self.read(version_of, patience) != LATEST:
            self.write(migrate, durable=True, patience=patience)
        if self.read(_lab_row, patience) is None:
            mine = {"id": secrets.token_hex(6), "place": " ".join(self.read(self._place, patience))}
            made = text("INSERT INTO lab (number, id, place) VALUES (1, :id, :place) ON CONFLICT DO NOTHING")
            self.write(lambda c: c.execute(made, mine), durable=True, patience=patience)

    def _enter_wal(self) -> None:
        with self.engine.connect() as connection:
            driver: Any = connection.connection.driver_connection
            for _ in range(100):  # SQLite does not wait by itself when two processes change the mode at once
                try:
                    if driver.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
                        driver.execute("PRAGMA journal_mode=WAL")
                    return
                except sqlite3.OperationalError as error:
                    if "locked" not in str(error):
                        raise OperationalError("PRAGMA journal_mode=WAL", None, error) from error
                    time.sleep(0.05)
                except sqlite3.DatabaseError as error:
                    raise DBAPIError("PRAGMA journal_mode=WAL", None, error) from error

    def _place(self, connection: Connection) -> tuple[str, ...]:
        """What a copy of this database does not share: of a file its inode, of a server's database its number and its cluster's."""
        if self.file:
            return self.file.place()
        number = connection.execute(text("SELECT oid FROM pg_database WHERE datname = current_database()")).scalar()
        may_ask = connection.execute(text("SELECT has_function_privilege('pg_control_system()', 'execute')")).scalar()
        cluster = connection.execute(text("SELECT system_identifier FROM pg_control_system()")).scalar() if may_ask else ""
        return (f"{number}-{cluster}",)

    def identity(self) -> str:
        """Which lab this is: a word that stays when the store is moved, and that no copy of it has."""

        def work(connection: Connection) -> str:
            known, place = connection.execute(text("SELECT id, place FROM lab")).one()
            now, then = self._place(connection), tuple(place.split(" "))
            moved = now[0] != then[0] or len(now) == len(then) == 3 and now[2] == then[2] and now[1] != then[1]
            return f"{known}.{now[0]}.{now[1] if now[2] == then[2] else ''}" if moved and len(now) == 3 else f"{known}.{now[0]}" if moved else known

        return self.read(work)

    def read(self, work: Callable[[Connection], T], patience: float = 30.0) -> T:
        """work(connection) in one consistent snapshot that is never kept waiting by writers."""
        return self._again(lambda: self._once(work, {}), patience)

    def write(self, work: Callable[[Connection], T], durable: bool = False, patience: float = 30.0) -> T:
        """work(connection) in one transaction, committed on return, rolled back on an exception.

        Tried again while the database is locked or out of reach, for `patience` seconds, so `work` must be repeatable, also after a commit
        whose answer was lost. `durable`: on disk before this returns (states and results); otherwise a power loss may take the last few
        writes (metrics, heartbeats).
        """
        return self._again(lambda: self._once(work, {"lab_write": True, "lab_durable": durable}), patience)

    def _once(self, work: Callable[[Connection], T], options: dict) -> T:
        if self.file is not None:
            self.file.check()
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
    """Whether the same transaction may succeed when tried again: a lock, a deadlock, a dropped, refused or missing connection."""
    code = getattr(error.orig, "sqlstate", None)
    if code is not None:
        return code in ("40001", "40P01", "55P03", "53300") or code.startswith(("08", "57P"))
    words = str(error.orig).lower()
    return "locked" in words or "busy" in words or error.connection_invalidated or _out_of_reach(error)


def _out_of_reach(error: SQLAlchemyError) -> bool:
    """Whether a server cannot be reached just now, which may pass by itself."""
    code = getattr(getattr(error, "orig", None), "sqlstate", None)
    if code is not None:
        return code == "53300" or code.startswith(("08", "57P"))
    words = str(getattr(error, "orig", None) or error).lower()
    return any(each in words for each in OUT_OF_REACH) and not any(each in words for each in FINAL)


def reason_of(error: Exception, file: SqliteFile | None = None) -> str:
    """Why a transaction failed, in a few words and without an address. SQLite's 'disk I/O error' may be a limit of the system's."""
    words = (str(getattr(error, "orig", None) or error).strip().splitlines() or [type(error).__name__])[0][:200]
    if "disk I/O error" in words or "unable to open" in words or "disk is full" in words:
        words = _limit(file) or words
    return re.sub(r"\b\w+://\S+", "(address)", words)


def _limit(file: SqliteFile | None) -> str:
    """The limit that a file of the store ran into, '' where none is seen."""
    try:
        import resource

        most = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
        if most != resource.RLIM_INFINITY and most < 2**40:
            return f"File too large: the system lets this process write files of at most {most / 2**20:.1f} MiB (ulimit -f)"
    except (ImportError, OSError, ValueError):
        pass
    try:
        free = shutil.disk_usage(file.path.parent if file else Path.cwd()).free
    except OSError:
        return ""
    return "No space left on device" if free < 256 * 1024 else ""


def _patience() -> float:
    given = os.environ.get("LAB_DATABASE_WAIT", "").strip()
    try:
        return max(0.0, float(given)) if given else WAIT
    except ValueError:
        raise Refusal("LAB_DATABASE_WAIT must be a number of seconds, not {given}.", "LAB_DATABASE_WAIT", given=repr(given[:20])) from None


def _lab_row(connection: Connection) -> str | None:
    return connection.execute(text("SELECT id FROM lab")).scalar()


def _address(url: str) -> URL:
    kind, named, path = url.partition(":///")
    try:  # a file's path is taken as it is: its folders may have a ? in their names, which SQLAlchemy takes for the end of it
        address = URL.create(kind, database=path) if named and kind.startswith("sqlite") else make_url(url)
    except (ArgumentError, ValueError):
        raise Refusal("LAB_DATABASE_URL must be like postgresql+psycopg://user@host/lab.", "LAB_DATABASE_URL") from None
    if address.drivername in ("postgres", "postgresql"):
        address = address.set(drivername="postgresql+psycopg")
    try:
        kind = address.get_backend_name()
    except NoSuchModuleError:
        kind = ""
    if kind not in ("sqlite", "postgresql"):
        raise Refusal("LAB_DATABASE_URL must begin with sqlite:/// or postgresql+psycopg://.", "LAB_DATABASE_URL")
    if kind == "sqlite" and "?" in os.path.basename(address.database or ""):
        raise Refusal("The address of a SQLite file takes no options: leave out what follows the '?'.", "LAB_DATABASE_URL")
    if kind == "sqlite" and address.database in (None, "", ":memory:"):
        raise Refusal("The store needs a file: workers in other processes must be able to open it.", "LAB_DATABASE_URL")
    if kind == "sqlite" and not os.path.isabs(address.database or ""):
        raise Refusal("LAB_DATABASE_URL must give the file's whole path, with four slashes (sqlite:////home/me/lab.db): workers run in other folders.",
                      "LAB_DATABASE_URL")  # fmt: skip
    return address


def _forget(engine: weakref.ref[Engine]) -> None:
    if (live := engine()) is not None:
        live.dispose(close=False)


def _engine(address: URL, file: SqliteFile | None) -> Engine:
    try:
        if file is None:
            settings = {"connect_timeout": 10, "options": "-c jit=off"}  # compiling costs more than these queries
            engine = create_engine(address, pool_pre_ping=True, connect_args=settings)
        else:
            engine = create_engine(address.set(query={}), creator=file.connect)
    except (ArgumentError, NoSuchModuleError, ValueError):
        raise Refusal("LAB_DATABASE_URL must be like postgresql+psycopg://user@host/lab.", "LAB_DATABASE_URL") from None
    except ImportError:
        raise Refusal("PostgreSQL needs its driver: {command}.", "LAB_DATABASE_URL", command=installed.command("postgres")) from None
    keep_quiet(engine)
    if file is not None:
        event.listen(engine, "begin", _begin_sqlite)
        event.listen(engine, "checkin", lambda connection, record: record.invalidate() if isinstance(connection, Alone) else None)
    return engine


def _begin_sqlite(connection: Connection) -> None:
    options = connection.get_execution_options()
    if options.get("lab_write"):
        connection.exec_driver_sql(f"PRAGMA synchronous={'FULL' if options.get('lab_durable') else 'NORMAL'}")
        connection.exec_driver_sql("BEGIN IMMEDIATE")
    else:
        connection.exec_driver_sql("BEGIN")


def _why_not(place: str, error: SQLAlchemyError, file: SqliteFile | None) -> Message:
    reason = word(reason_of(error, file))
    return Message(
        "The store {place} cannot be opened ({reason}); check LAB_HOME and LAB_DATABASE_URL, or move a damaged file away.", place=place, reason=reason
    )
