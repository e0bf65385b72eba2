"""Where a lab keeps its things: one folder, and safe paths inside it.

    lab-home/                 LAB_HOME, default ./lab-home
      lab.db                  the store (SQLite) unless LAB_DATABASE_URL names another
      runs/<id>/              spec.yaml, log.txt, checkpoints/, best/, adapter/, ...
      .reserve                half a megabyte, so that deleting works when the disk is full
      cache/                  prepared data and converted models
      tmp/                    what running processes write for themselves alone

It is its owner's alone (mode 0700).

A run id is eight letters and digits (`k7qm2x9b`), so it can be a folder name, a word of a command line and part of an
address without quoting. Every path that a page or a command line names is made by `run_dir` or `file`, which refuse
traversal and links that lead out of the run's own folder.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from lab.design.plain.message import Message, word
from lab.design.plain.refusal import Refusal
from lab.runs import privacy

LETTERS = "abcdefghjkmnpqrstvwxyz"  # without i, l, o, u: no two look alike and no words appear
RESERVE = 512 * 1024  # bytes kept free by a file, which a delete on a full disk may use
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
ID = re.compile(r"[a-z][a-z0-9]{7}")


def new_id() -> str:
    """A fresh run id: a letter, then seven letters or digits (22 * 30**7 of them)."""
    alphabet = LETTERS + "23456789"
    return secrets.choice(LETTERS) + "".join(secrets.choice(alphabet) for _ in range(7))


def check_id(run_id: object) -> str:
    """`run_id` itself if it has the form of a run id, else a Refusal."""
    if not isinstance(run_id, str) or not ID.fullmatch(run_id):
        given = repr(run_id)[:60]
        raise Refusal("{text} is not a run id, which is eight lower-case letters and digits.", "run", text=given)
    return run_id


class Home:
    """The folders of one lab.

    `path`: the folder, made if absent; None takes LAB_HOME, then ./lab-home.
    Raises Refusal when it cannot be made, is no folder, or cannot be written.
    """

    def __init__(self, path: str | os.PathLike | None = None):
        given = os.fspath(path) if path is not None else os.environ.get("LAB_HOME") or "lab-home"
        if "\0" in given:
            raise Refusal("LAB_HOME must not contain a NUL character.", "LAB_HOME")
        try:
            given.encode()
            self.path = Path(given).expanduser().absolute()
            if given.startswith("~") and not Path(given.partition("/")[0]).expanduser().is_dir():
                raise RuntimeError  # as that of `nobody` is
        except UnicodeEncodeError:
            raise Refusal(
                "LAB_HOME must be a path in UTF-8, not {given}: rename the folder, or choose another.", "LAB_HOME", given=ascii(given)[:120]
            ) from None
        except FileNotFoundError:
            raise Refusal("The folder that this was started in is gone: go to another one, or set LAB_HOME to a whole path.", "LAB_HOME") from None
        except RuntimeError:
            raise Refusal("LAB_HOME begins with the home of a user that is not here ({given}); write the whole path.", "LAB_HOME", given=given[:80]) from None
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.path = self.path.resolve()
            privacy.close(self.path)
            self.runs, self.cache = self.path / "runs", self.path / "cache"
            try:
                with tempfile.TemporaryFile(dir=self.path):
                    pass
                self.runs.mkdir(exist_ok=True)
                self.cache.mkdir(exist_ok=True)
            except OSError as error:
                if error.errno not in FULL or not self.runs.is_dir():
                    raise  # on a full disk what is there can still be read, and deleted
            self._root = self.runs.resolve()
        except (OSError, RuntimeError) as error:
            raise Refusal(_why_not(self.path, error), "LAB_HOME") from error

    def __repr__(self) -> str:
        return f"Home({str(self.path)!r})"

    @property
    def database_url(self) -> str:
        """LAB_DATABASE_URL, or the SQLite file of this home, as SQLAlchemy writes addresses."""
        return os.environ.get("LAB_DATABASE_URL") or f"sqlite:///{self.path / 'lab.db'}"

    def run_dir(self, run_id: str, create: bool = False) -> Path:
        """The folder of a run, absolute. Refusal: a malformed id, or a folder that is a link out of the lab."""
        folder = self._root / check_id(run_id)
        if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
            raise Refusal("The folder of run {run} is not a plain folder; remove {folder} and try again.", "run", run=run_id, folder=folder)
        if create:
            try:
                folder.mkdir(exist_ok=True)
            except OSError as error:
                raise Refusal(_why_not(folder, error), "LAB_HOME") from error
        return folder

    def file(self, run_id: str, *parts: str) -> Path:
        """A path inside the folder of a run, existing or not.

        Refusal when a part is absolute, has NUL, climbs with `..`, or passes a link that leads out of the folder.
        """
        folder = self.run_dir(run_id)
        given = "/".join(map(str, parts))[:120]
        pieces = [piece for part in parts for piece in re.split(r"[/\\]", str(part))]
        if not pieces or any(p in ("", ".", "..") or "\0" in p or ":" in p or not p.isprintable() for p in pieces):
            raise Refusal("{path} is not a file inside a run's folder.", "path", path=repr(given))
        path, inside = folder.joinpath(*pieces), False
        try:
            inside = path.resolve().is_relative_to(folder)
            path.stat()
        except OSError as error:
            inside = inside and error.errno != errno.ELOOP  # links in a circle, which resolve() passes from Python 3.13 on
        except (RuntimeError, ValueError):
            inside = False
        if not inside:
            raise Refusal("{path} leads out of the folder of run {run}.", "path", path=repr(given), run=run_id)
        return path

    def has_checkpoint(self, run_id: str) -> bool:
        """Whether the run left at least one checkpoint (`checkpoints/step-*/`) to continue from."""
        try:
            return any(p.name.startswith("step-") and p.is_dir() for p in (self.run_dir(run_id) / "checkpoints").iterdir())
        except OSError:
            return False

    def remove(self, run_id: str) -> bool:
        """Remove the folder of a run that was deleted, and what an earlier try left of it; whether all is gone. Links are not followed."""
        folder = self._root / check_id(run_id)
        with contextlib.suppress(OSError):  # none there, or a disk that says why below
            folder.rename(self._root / f".deleted-{run_id}-{secrets.token_hex(4)}")  # at once out of sight
        left = [folder, *self._root.glob(f".deleted-{run_id}-*")]
        for each in left:
            each.unlink() if each.is_symlink() else shutil.rmtree(each, ignore_errors=True)
        return not any(os.path.lexists(each) for each in left)

    def put_back(self, known: Callable[[list[str]], set[str]]) -> None:
        """Undo half deletes of labs before this one, which took a run's folder away first: `known` says which of some ids are runs still."""
        found = {path: path.name[len(".deleted-") :][:8] for path in self._root.glob(".deleted-????????-*") if ID.fullmatch(path.name[len(".deleted-") :][:8])}
        there = known(sorted(set(found.values()))) if found else set()
        for path, run_id in found.items():
            if run_id not in there:
                shutil.rmtree(path, ignore_errors=True)
            elif not os.path.lexists(self._root / run_id):
                path.rename(self._root / run_id)

    @contextlib.contextmanager
    def room(self) -> Iterator[None]:
        """Within, the reserve's room is there to use; after, it is kept again as soon as the disk has it."""
        with contextlib.suppress(OSError):
            (self.path / ".reserve").unlink()
        try:
            yield
        finally:
            self.keep_reserve()

    def keep_reserve(self) -> None:
        """Make the reserve, where it is not and there is room."""
        part = self.path / f".reserve.{os.getpid()}"
        with contextlib.suppress(OSError):
            if not (self.path / ".reserve").exists() and self.free_bytes() > 2 * RESERVE:
                part.write_bytes(bytes(RESERVE))
                part.replace(self.path / ".reserve")
        with contextlib.suppress(OSError):
            part.unlink()

    def free_bytes(self) -> int:
        """Bytes free on the disk that holds the runs."""
        return shutil.disk_usage(self._root).free


def _why_not(path: Path, error: Exception) -> Message:
    reason = word(getattr(error, "strerror", None) or error)
    return Message("The lab cannot keep its files in {folder} ({reason}); set LAB_HOME to a folder that you can write.", folder=path, reason=reason)
