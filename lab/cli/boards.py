"""board: the papers' questions, asked again on this machine."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lab import boards
from lab.cli.answer import Answer, table
from lab.cli.interrupted import standing
from lab.design.plain.boundary import home_folder
from lab.design.spec import board as spec
from lab.results import findings

if TYPE_CHECKING:
    from lab.runs import Run


def board(arguments: Namespace) -> Answer:
    """{"board", "done", "runs", "due", "failed", "findings"} of one board, which is run or continued; without a name how far all are."""
    folder = Path(arguments.results).expanduser() if arguments.results else Path(home_folder()) / "boards"
    if not arguments.board:
        rows = [boards.standing(name, folder) for name in spec.names()]
        if arguments.write:
            _write(arguments.write, folder)
        return Answer(
            rows,
            lambda: table(
                ("board", "done", "of", "question"), [[row["board"], str(row["done"]), str(row["runs"]), row["title"]] for row in rows], right=("done", "of")
            ),
        )
    if arguments.dry_run:
        due = [{"run": one.key, "spec": one.spec.document()} for one in spec.due(arguments.board, boards.kept(arguments.board, folder))]
        return Answer({**boards.standing(arguments.board, folder), "next": due}, lambda: "\n".join(row["run"] for row in due) or "Nothing is missing.")
    ids: list[str] = []
    with standing(ids, tag=spec.tag(arguments.board)):
        found = boards.work(arguments.board, folder, arguments.minutes, _reporter(ids))
    verdicts = findings.findings(arguments.board, boards.kept(arguments.board, folder))
    if arguments.write:
        _write(arguments.write, folder)
    document = {**found, "findings": [{"claim": one.claim.says, "verdict": one.verdict, "seeds": one.seeds} for one in verdicts]}
    return Answer(document, lambda: _text(found, document["findings"]), ok=not found["failed"])


def _write(file: str, folder: Path) -> None:
    Path(file).write_text(findings.page({name: boards.kept(name, folder) for name in spec.names()}), encoding="utf-8")


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
