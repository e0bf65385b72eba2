"""The lab in the terminal: python -m lab methods | count | run | runs | compare | export | serve ...

Each verb takes `--json`: then one JSON document is on standard output and nothing else. Exit status 0; 1 when what was asked
for failed (a run that failed, a full disk); 2 for bad input, with one sentence on standard error.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Iterator, Sequence

from lab.cli.parser import parser
from lab.design.refusal import Refusal

OK, FAILED, REFUSED, INTERRUPTED = 0, 1, 2, 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; its exit status."""
    try:
        arguments = parser().parse_args(argv)
        with _nothing_else_on_stdout() if arguments.json else contextlib.nullcontext():
            answer = arguments.work(arguments)
        print(json.dumps(answer.document, ensure_ascii=False, allow_nan=False) if arguments.json else answer.text())
        sys.stdout.flush()
        return OK if answer.ok else FAILED
    except Refusal as refusal:
        print(refusal.sentence, file=sys.stderr)
        return REFUSED
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # `python -m lab runs | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    except Exception as error:
        if not _environmental(error):
            raise
        print(_first_line(error), file=sys.stderr)
        return FAILED


def _environmental(error: Exception) -> bool:
    """Whether it is the machine's doing (a full disk, a database out of reach), not a mistake in the lab."""
    return isinstance(error, OSError) or type(error).__module__.startswith("sqlalchemy.exc")


def _first_line(error: Exception) -> str:
    reason = getattr(error, "orig", None) or error
    return f"That failed: {(str(reason).strip() or type(reason).__name__).splitlines()[0][:300]}"


@contextlib.contextmanager
def _nothing_else_on_stdout() -> Iterator[None]:
    """Whatever libraries print inside goes to standard error, also from C and from child processes."""
    sys.stdout.flush()
    try:
        kept = os.dup(1)
    except OSError:  # there is no standard output
        yield
        return
    try:
        os.dup2(2, 1)
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        sys.stdout.flush()
        os.dup2(kept, 1)
        os.close(kept)
