"""The folder that an export writes: new or empty, written whole or left as it was, and nothing outside of it."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import secrets
import shutil
import zlib
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import lab
from lab.design.plain.message import word
from lab.design.plain.refusal import Refusal
from lab.export.bases import plain_names
from lab.runs.processes import identity, is_alive

HIDDEN = ".lab-export-"  # then the process that writes it: its place, id and start


@contextlib.contextmanager
def new_folder(out: str | Path) -> Iterator[Path]:
    """A hidden folder to write into, which takes its place as `out` (new or empty) when the block ends, and is gone where it does not end well.

    Raises Refusal where `out` has files, is a file, or cannot be written; also where somebody else filled it meanwhile.
    """
    try:
        folder = Path(out).expanduser().absolute()
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            folder.lstat()  # a name that no folder can have is refused before anything is written
        if folder.is_symlink():
            folder = folder.resolve()  # a link stays the link that it is
        _require_empty(folder, out)
        made = [parent for parent in folder.parents if not parent.exists()]
        folder.parent.mkdir(parents=True, exist_ok=True)
        part = _hidden(folder)
    except Refusal:
        raise
    except (OSError, ValueError, RuntimeError) as error:  # ValueError: NUL; RuntimeError: the home of nobody
        raise _refused(out, error) from None
    try:
        yield part
        _share(part)
        _take_place(part, folder, out)
    except BaseException as error:
        shutil.rmtree(part, ignore_errors=True)  # ours alone: nobody else knows its name
        for parent in made:
            with contextlib.suppress(OSError):
                parent.rmdir()
        if isinstance(error, PermissionError):
            raise _refused(out, error) from None
        raise


def _share(part: Path) -> None:
    """Files for whom the umask lets read their folder: safetensors writes weights for their owner alone."""
    shared = part.stat().st_mode & 0o666
    for path in part.rglob("*"):
        if path.is_file() and not path.is_symlink():
            path.chmod(path.stat().st_mode | shared)


def _require_empty(folder: Path, out: str | Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise Refusal("{out} is a file; give a folder that is new or empty.", "out", out=out)
    if folder.exists() and any(not path.name.startswith(HIDDEN) for path in folder.iterdir()):
        raise Refusal("The folder {out} is not empty; give one that is new or empty, so that nothing is overwritten.", "out", out=out)


def _hidden(folder: Path) -> Path:
    """A new hidden folder beside `folder`; inside it, where it is to stay the folder that it is (a mounted disk, one that somebody is in)."""
    stays = folder.exists() and (os.path.ismount(folder) or folder.samefile(Path.cwd()) or not os.access(folder.parent, os.W_OK))
    where = folder if stays else folder.parent
    me = identity()
    mine = f"{zlib.crc32(me.place.encode()):08x}"
    for left in where.glob(f"{HIDDEN}{mine}-*"):  # of an export that was killed in this place, where a process's id says whether it lives
        process, _, mark = left.name[len(HIDDEN) + len(mine) + 1 :].partition("-")
        if process.isdigit() and me.mark and mark and not is_alive(int(process), mark.partition("-")[0], None):
            shutil.rmtree(left, ignore_errors=True)
    part = where / f"{HIDDEN}{mine}-{me.pid}-{me.mark}-{secrets.token_hex(3)}"
    part.mkdir()
    return part


def _take_place(part: Path, folder: Path, out: str | Path) -> None:
    """Rename the whole folder into its place, which works for a new or an empty one only. Refusal where it is not any more."""
    if part.parent != folder:
        try:
            if folder.exists():
                part.chmod(folder.stat().st_mode & 0o7777)
            part.rename(folder)
        except OSError as error:
            if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                raise Refusal("The folder {out} was filled by something else meanwhile; nothing was written, so give another one.", "out", out=out) from None
            raise
        return
    handle = None
    try:
        with contextlib.suppress(ImportError, OSError):  # not every system and disk has locks: then two at once are as good as their timing
            import fcntl

            handle = os.open(folder, os.O_RDONLY)
            fcntl.flock(handle, fcntl.LOCK_EX)
        if any(not path.name.startswith(HIDDEN) for path in folder.iterdir()):
            raise Refusal("The folder {out} was filled by something else meanwhile; nothing was written, so give another one.", "out", out=out)
        for path in sorted(part.iterdir(), key=lambda path: path.name == "README.md"):
            path.rename(folder / path.name)
        part.rmdir()
    finally:
        if handle is not None:
            os.close(handle)


def _refused(out: str | Path, error: Exception) -> Refusal:
    return Refusal(
        "The folder {out} cannot be written ({reason}); give another one with --out.", "out", out=out, reason=word(getattr(error, "strerror", None) or error)
    )


def write_json(path: Path, document: Any) -> None:
    path.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def sidecar(opened: Any, format: str) -> dict[str, Any]:
    """delta_lab.json: what other formats have no place for, above all the method as a point in the design space."""
    method = opened.spec.method
    return {
        "delta_lab": lab.__version__,
        "format": format,
        "run": opened.run_id,
        "adapter": opened.adapter,
        **({"note": opened.note} if opened.note else {}),
        "objective": opened.objective,
        "labels": list(opened.labels),
        **({"task": opened.task, "tasks": opened.tasks} if opened.task else {}),
        "padding": padding(opened),
        "metrics": opened.metrics,
        **({"judged_on": opened.judged_on} if opened.judged_on else {}),
        "trainable": opened.trainable,
        "design": [
            {"functional_form": delta.form, "modified_representation": opened.attached.body.places(delta), "insertion_form": delta.insertion,
             "composition": delta.composition, "rank": delta.rank, "scale": delta.strength, "nonlinearity": delta.nonlinearity}
            for delta in method.deltas
        ],
        **({"costs": opened.costs} if opened.costs else {}),
        **({"notes": opened.notes} if opened.notes else {}),
        "base": {name: value for name, value in asdict(opened.origin).items() if value},
        "spec": plain_names(opened.spec.document()),
    }  # fmt: skip


def padding(opened: Any) -> dict[str, Any]:
    """The one padding token of tokenizer and model; {} without a tokenizer."""
    tokenizer = opened.tokenizer
    return {} if tokenizer is None else {"token": tokenizer.pad_token, "id": tokenizer.pad_token_id, "chosen": getattr(tokenizer, "lab_padding", "")}
