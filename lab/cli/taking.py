"""export, fetch, serve: what takes things home, brings them here, or opens the door."""

from __future__ import annotations

import sys
from argparse import Namespace

from lab import verbs
from lab.cli.answer import Answer, facts
from lab.design import numbers
from lab.design.refusal import Refusal


def export(arguments: Namespace) -> Answer:
    """{"run", "format", "folder", "files": [{"name", "bytes"}]}; with --formats what there is."""
    from lab import export as room

    lab = verbs.queue()
    run = lab.store.find(arguments.run) if arguments.run else None
    if arguments.formats:
        listing = room.formats(run.spec if run else None)
        return Answer(listing, lambda: facts([(row["format"], row["help"] + (f" — not here: {row['refusal']}" if row.get("refusal") else ""))
                                              for row in listing]))  # fmt: skip
    if run is None or not arguments.out:
        raise Refusal("Give a run and a folder: python -m lab export RUN --format peft --out DIR.", "out")
    folder = room.export_run(run.id, arguments.format, arguments.out, adapter=arguments.adapter)
    files = [{"name": str(path.relative_to(folder)), "bytes": path.stat().st_size} for path in sorted(folder.rglob("*")) if path.is_file()]
    document = {"run": run.id, "format": arguments.format, "folder": str(folder), "files": files}
    return Answer(document, lambda: f"{folder}\n" + facts([("  " + row["name"], numbers.memory(row["bytes"])) for row in files]))


def fetch(arguments: Namespace) -> Answer:
    """{"model", "folder"}."""
    from lab.models import fetch as bring

    shown = [-1]

    def progress(done: int, total: int, words: str) -> None:
        tenth = 10 * done // total if total else 0
        if tenth != shown[0]:
            shown[0] = tenth
            print(f"  {words}  {numbers.memory(done)} of {numbers.memory(total)}", file=sys.stderr, flush=True)

    folder = bring(arguments.model, progress=progress)
    return Answer({"model": arguments.model, "folder": str(folder)}, lambda: str(folder))


def serve(arguments: Namespace) -> Answer:
    """The web app, until interrupted."""
    from lab.ui.serving import serve as open_pages

    try:
        open_pages(arguments.host, arguments.port)
    except KeyboardInterrupt:
        pass
    return Answer({"state": "stopped"}, lambda: "Stopped; runs go on.")
