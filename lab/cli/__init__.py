"""The lab in the terminal: python -m lab (or delta-lab) methods | count | run | runs | compare | export | serve ...

Each verb takes `--json`: then one JSON document is on standard output and nothing else. Exit status 0; 1 when what was asked
for failed (a run that failed, a full disk); 2 for bad input, with one sentence on standard error.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
from collections.abc import Iterator, Sequence

from lab.cli.parser import parser
from lab.design.plain.called import as_called
from lab.design.plain.message import PACKED
from lab.design.plain.refusal import Refusal, packed_refusal

OK, FAILED, REFUSED, INTERRUPTED = 0, 1, 2, 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; its exit status."""
    closed = _open_what_is_closed()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal that knows ASCII alone still gets every sentence
            stream.reconfigure(errors="backslashreplace")
    try:
        arguments = parser().parse_args(argv)
        with _nothing_else_on_stdout() if arguments.json else contextlib.nullcontext():
            answer = arguments.work(arguments)
        written = _write(json.dumps(answer.document, ensure_ascii=not _unicode(), allow_nan=False) if arguments.json else as_called(answer.text()), closed)
        return OK if answer.ok and written else FAILED
    except Refusal as refusal:
        print(packed_refusal(refusal) if os.environ.get(PACKED) else as_called(refusal.sentence), file=sys.stderr)
        return REFUSED
    except KeyboardInterrupt as interrupt:
        print(as_called(str(interrupt) or "Interrupted; python -m lab runs says what there is."), file=sys.stderr)
        return INTERRUPTED
    except Exception as error:
        if not _environmental(error):
            raise
        from lab.runs.database import reason_of

        print(f"That failed: {reason_of(error)}", file=sys.stderr)
        return FAILED


def _open_what_is_closed() -> bool:
    """Let /dev/null stand where standard input, output or error is closed; whether output was.

    The first file that is opened would get its number, and what is printed would go into it."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    closed = sys.stdout is None
    sys.stdout, sys.stderr = (stream or open(os.devnull, "w", encoding="utf-8") for stream in (sys.stdout, sys.stderr))  # noqa: SIM115 (open to the end)
    return closed


def _write(text: str, closed: bool) -> bool:
    """The answer on standard output; whether it could be written. Who closes a pipe early (`| head`) has read what they wanted."""
    if closed:
        print("Standard output is closed, so the answer could not be written.", file=sys.stderr)
        return False
    try:
        print(text)
        sys.stdout.flush()
        return True
    except OSError as error:
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):
            return True
        print(f"The answer could not be written: {error.strerror or error}.", file=sys.stderr)
        return False


def _unicode() -> bool:
    return (getattr(sys.stdout, "encoding", None) or "").lower().replace("-", "").startswith("utf")


def _environmental(error: Exception) -> bool:
    """Whether it is the machine's doing (a full disk, a database out of reach), not a mistake in the lab."""
    return isinstance(error, OSError) or type(error).__module__.startswith("sqlalchemy.exc")


@contextlib.contextmanager
def _nothing_else_on_stdout() -> Iterator[None]:
    """Whatever libraries print inside goes to standard error, also from C and from child processes."""
    sys.stdout.flush()
    kept = os.dup(1)
    try:
        os.dup2(2, 1)
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        sys.stdout.flush()
        os.dup2(kept, 1)
        os.close(kept)
