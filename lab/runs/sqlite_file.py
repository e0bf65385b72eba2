"""The store's SQLite file: opened once and held, so that another file in its place is told and never taken for it; read on a full disk too.

A connection needs a small file beside the database (`-shm`) even to read. Where the disk has no room for it, one connection at a time keeps
that index in memory instead (locking_mode=EXCLUSIVE) and is closed after its transaction; so it does where the disk takes no more files.
"""

from __future__ import annotations

import os
import sqlite3
import sys
import weakref
from contextlib import suppress
from pathlib import Path

from lab.design.plain.refusal import Refusal

BUSY_SECONDS = 5.0  # how long SQLite itself waits for a lock before it reports 'database is locked'
NO_ROOM = ("SQLITE_IOERR_SHMSIZE", "SQLITE_IOERR_SHMOPEN", "SQLITE_IOERR_SHMMAP", "SQLITE_FULL")
RESERVE = ".reserve"  # the file that lab.runs.home keeps beside it for when the disk is full


class StoreGone(Refusal):
    """The store is not where it was opened any more."""


class SqliteFile:
    """The file at `path` (absolute). `follow`: whether who opened it goes with it when its folder is moved (a worker does)."""

    def __init__(self, path: str):
        self.path, self.follow = Path(path), False
        self._seen: tuple[int, int] | None = None
        self._folder: int | None = None

    def connect(self) -> sqlite3.Connection:
        """A new connection; the first one may make the file. Transactions are begun by who uses it."""
        self.check()
        connection = sqlite3.connect(f"{self._where().as_uri()}?mode={'rw' if self._seen else 'rwc'}", uri=True, timeout=BUSY_SECONDS,
                                     check_same_thread=False, isolation_level=None)  # fmt: skip
        try:
            try:
                connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchall()
            except sqlite3.OperationalError as error:
                if getattr(error, "sqlite_errorname", "") not in NO_ROOM and not self._is_full_of_files():
                    raise
                connection.close()
                connection = self._alone()
            for pragma in ("synchronous=NORMAL", "cache_size=-8000", "temp_store=MEMORY"):
                connection.execute(f"PRAGMA {pragma}")
        except BaseException:
            connection.close()
            raise
        return connection

    def _is_full_of_files(self) -> bool:
        """Whether the disk takes no more files, however much room it has. Then the lab's reserve gives its place to the file that even reading needs."""
        try:
            facts = os.statvfs(self.path.parent)
            if not facts.f_files or facts.f_favail > 0:
                return False
            self._where().with_name(RESERVE).unlink(missing_ok=True)
            return True
        except (OSError, AttributeError):
            return False

    def _alone(self) -> sqlite3.Connection:
        connection = sqlite3.connect(f"{self._where().as_uri()}?mode=rw", uri=True, timeout=BUSY_SECONDS, check_same_thread=False, isolation_level=None,
                                     factory=Alone)  # fmt: skip
        connection.execute("PRAGMA locking_mode=EXCLUSIVE")
        return connection

    def hold(self) -> None:
        """From now on only this very file is the store."""
        with suppress(OSError):
            seen = os.stat(self.path)
            with suppress(PermissionError):  # Windows opens no folders: there a store that is moved is gone, for a worker too
                self._folder = os.open(self.path.parent, os.O_RDONLY | getattr(os, "O_DIRECTORY", 0))
                weakref.finalize(self, _close, self._folder)
            self._seen = (seen.st_dev, seen.st_ino)

    def check(self) -> None:
        """StoreGone where the file is not the one that was opened."""
        if self._seen and not self._here() and not (self.follow and self._in_folder()):
            raise StoreGone(
                "The store {store} was moved, deleted or replaced while the lab was open; put it back, or start the lab again.", "LAB_HOME", store=self.path
            )

    def place(self) -> tuple[str, str, str]:
        """(inode, device, boot): what a copy of the file does not share. A device's number means something until the next boot only."""
        found = os.stat(self._where())
        try:
            boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
        except OSError:
            boot = ""
        return str(found.st_ino), str(found.st_dev), boot

    def _where(self) -> Path:
        """The file's path now: after a move, through the folder that is held."""
        if self.follow and self._seen and not self._here() and self._folder is not None and sys.platform == "linux":
            return Path(f"/proc/self/fd/{self._folder}") / self.path.name
        return self.path

    def _here(self) -> bool:
        try:
            found = os.stat(self.path)
        except OSError:
            return False
        return (found.st_dev, found.st_ino) == self._seen

    def _in_folder(self) -> bool:
        if self._folder is None:
            return False
        try:
            found = os.stat(self.path.name, dir_fd=self._folder)
        except OSError:
            return False
        return (found.st_dev, found.st_ino) == self._seen


class Alone(sqlite3.Connection):
    """A connection that keeps every other one out, so it is not to be kept open."""


def _close(handle: int) -> None:
    with suppress(OSError):
        os.close(handle)
