"""board: the papers' questions, asked again on this machine."""

from __future__ import annotations

import errno
import os
import sys
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lab import boards
from lab.cli.answer import Answer, table
from lab.cli.interrupted import standing
from lab.design.plain.boundary import home_folder
from lab.design.plain.message import word
from lab.design.plain.refusal import Refusal
from lab.design.spec import board as spec
from lab.results import findings

if TYPE_CHECKING:
    from lab.runs import Run


def board(arguments: Namespace) -> Answer:
    """{"board", "done", "runs", "due", "failed", "findings"} of one board, which is run or continued; without a name how far all are."""
    folder = Path(arguments.results).expanduser() if arguments.results else Path(home_folder()) / "boards"
    _require_place(arguments.write)
    if arguments.board is None:
        rows = [boards.standing(name, folder) for name in spec.names()]
        written = _written(arguments, folder)
        listed = [[row["board"], str(row["done"]), str(row["runs"]), row["title"]] for row in rows]
        return Answer(rows, lambda: table(("board", "done", "of", "question"), listed, right=("done", "of")) + written)
    if arguments.dry_run:
        due = [{"run": one.key, "spec": one.spec.document()} for one in spec.due(arguments.board, boards.kept(arguments.board, folder))]
        written = _written(arguments, folder)
        return Answer(
            {**boards.standing(arguments.board, folder), "next": due}, lambda: ("\n".join(row["run"] for row in due) or "Nothing is missing.") + written
        )
    ids: list[str] = []
    with standing(ids, tag=spec.tag(arguments.board)):
        found = boards.work(arguments.board, folder, arguments.minutes, _reporter(ids))
    verdicts = findings.findings(arguments.board, boards.kept(arguments.board, folder))
    written = _written(arguments, folder)
    document = {**found, "findings": [{"claim": one.claim.says, "verdict": one.verdict, "seeds": one.seeds} for one in verdicts]}
    return Answer(document, lambda: _text(found, document["findings"]) + written, ok=not found["failed"])


def _require_place(file: str | None) -> None:
    """Raise Refusal for a file that the findings cannot be written to: before anything begins."""
    path = Path(file or "findings.md").expanduser()
    number = errno.EISDIR if path.is_dir() else 0 if path.parent.is_dir() else errno.ENOENT
    if file is not None and (number or not file):
        raise Refusal("{path} cannot be written ({reason}).", "write", path=path, reason=word(os.strerror(number or errno.ENOENT)))


def _written(arguments: Namespace, folder: Path) -> str:
    """Write the findings of all boards where that was asked for; a line that says so, "" where not."""
    if arguments.write is None:
        return ""
    file = Path(arguments.write).expanduser()
    kept = {name: boards.kept(name, folder) for name in spec.names()}
    try:
        file.write_text(findings.page(kept, arguments.results or str(folder), arguments.write), encoding="utf-8")
    except OSError as error:
        raise Refusal("{path} cannot be written ({reason}).", "write", path=file, reason=word(error.strerror)) from None
    return f"\n{file} has the findings of all boards."


def _text(found: dict[str, Any], verdicts: list[dict[str, Any]]) -> str:
    lines = [f"{found['done']} of {found['runs']} runs of {found['board']} are there."]
    lines += [f"Failed: {key}: {problem}" for key, problem in found["failed"].items()]
    return "\n".join([*lines, table(("verdict", "claim"), [[row["verdict"], row["claim"]] for row in verdicts]) if verdicts else ""]).rstrip()


def _reporter(ids: list[str]) -> Callable[[str, Run | None], None]:
    """A line on standard error where a run begins and where it ends."""
    seen: dict[str, str] = {}

    def report(key: str, run: Run | None) -> None:
        state = run.state if run else "planned"
        if run and run.id not in ids:
            ids.append(run.id)
        if seen.get(key) != state:
            seen[key] = state
            print(f"  {state:10} {key}", file=sys.stderr, flush=True)

    return report
