"""export, import, fetch, serve: what takes things home, brings them here, or opens the door."""

from __future__ import annotations

import contextlib
import os
import sys
from argparse import Namespace

from lab import verbs
from lab.cli.answer import Answer, facts
from lab.design.plain import numbers
from lab.design.plain.refusal import Refusal
from lab.tasks import FAMILIES

DELIMITERS = {"comma": ",", "tab": "\t", "semicolon": ";", "bar": "|"}


def export(arguments: Namespace) -> Answer:
    """{"run", "format", "folder", "files": [{"name", "bytes"}]}; with --formats what there is."""
    from lab import export as room

    run = verbs.queue_there().store.find(arguments.run) if arguments.run else None
    if arguments.formats:
        listing = room.formats(run.spec if run else None)
        return Answer(listing, lambda: facts([(row["format"], row["help"] + (f" — not here: {row['refusal']}" if row.get("refusal") else ""))
                                              for row in listing]))  # fmt: skip
    if run is None or not arguments.out:
        raise Refusal("Give a run and a folder: python -m lab export RUN --format peft --out DIR.", "out")
    folder = room.export_run(run.id, arguments.format, arguments.out, adapter=arguments.adapter, task=arguments.task or "")
    files = [{"name": str(path.relative_to(folder)), "bytes": path.stat().st_size} for path in sorted(folder.rglob("*")) if path.is_file()]
    document = {"run": run.id, "format": arguments.format, **({"task": arguments.task} if arguments.task else {}), "folder": str(folder), "files": files}
    return Answer(document, lambda: f"{folder}\n" + facts([("  " + row["name"], numbers.memory(row["bytes"])) for row in files]))


def import_(arguments: Namespace) -> Answer:
    """{"task", "family", "columns", "format", "turns", "loss_on", "rows", "splits", "dropped", "disputed", "notes", "balance", "lengths", "examples"}; task is "" where nothing was kept."""
    from lab.importing.folders import is_adapter, is_model, is_script
    from lab.tasks import gathering, importing, outside

    if is_adapter(arguments.file):
        return _import_adapter(arguments)
    if is_model(arguments.file):
        raise Refusal(
            "{file} is a whole model, not an adapter or data: give its folder with --model where a run or a plan asks for one.",
            "file",
            file=arguments.file[:120],
        )
    if is_script(arguments.file):
        raise Refusal("{file} holds a script that repeats a run, and nothing to import: run its train.py.", "file", file=arguments.file[:120])
    _require_unused(arguments, ("task", "model", "tag"), "is for an adapter (a folder or zip of one, or a hub id)")
    columns = dict(_pair(text) for text in arguments.column)
    turns: dict[str, object] = dict(_pair(text, "turn", "role=from") for text in arguments.turn)
    if arguments.speaker:
        turns["speakers"] = dict(_pair(text, "speaker", "human=user") for text in arguments.speaker)
    reading = {"encoding": arguments.encoding, "delimiter": DELIMITERS.get(arguments.delimiter, ""), "header": arguments.header}
    choices = {"family": arguments.family, "columns": columns, "labels": arguments.label, "max_length": arguments.max_length, "prompt": arguments.prompt,
               "measure": arguments.measure, "spellings": arguments.spellings, "separator": arguments.label_separator, "reading": reading,
               "turns": turns, "loss_on": arguments.loss_on or "all"}  # fmt: skip
    if not arguments.dry_run and not arguments.name and (arguments.file.startswith(gathering.HUB) or os.path.exists(os.path.expanduser(arguments.file))):
        raise Refusal("Give the task a name: --name my-reviews, or --dry-run to look first.", "name")
    if arguments.name:
        importing.check_name(arguments.name)
    if not arguments.file.startswith(gathering.HUB):
        _require_unused(arguments, ("config", "revision", "split", "rows"), "is for a set of the hub (hub:owner/name); a file or folder is read whole")
    with contextlib.ExitStack() as after:
        file, notes = arguments.file, []
        if file.startswith(gathering.HUB):
            splits = dict(_pair(text) for text in arguments.split)
            token, notes = outside.bring(
                file, config=arguments.config, revision=arguments.revision, splits=splits, rows=gathering.HUB_ROWS if arguments.rows is None else arguments.rows
            )
            after.callback(importing.unstage, token)
            file = importing.staged(token)
        choices |= {"validation": arguments.validation, "test": arguments.test}
        look = outside.preview(file, **choices)
        kind = FAMILIES[look.spec.family]
        if not kind.conversations:
            _require_unused(arguments, ("turn", "speaker", "loss_on"), f"is for conversations (--family {_families('conversations')})")
        if not kind.labelled:
            _require_unused(arguments, ("label", "spellings"), f"is for a task with labels (--family {_families('labelled')})")
        if not arguments.dry_run:
            outside.commit(file, arguments.name, **choices)
    document = {"task": "" if arguments.dry_run else arguments.name, "family": look.spec.family, "columns": dict(look.spec.columns), "rows": look.rows,
                "format": look.format, "turns": look.spec.turns.model_dump(), "loss_on": look.spec.loss_on if look.format else "",
                "splits": look.splits, "dropped": look.dropped, "disputed": look.disputed, "notes": [*notes, *look.notes], "balance": look.balance,
                "lengths": look.lengths, "examples": look.examples}  # fmt: skip
    return Answer(document, lambda: _imported(document, look.spec.max_length))


def _import_adapter(arguments: Namespace) -> Answer:
    """{"run", "name", "model", "task", "method", "trainable", "imported": {"from", "format", ...}}."""
    of_data = ("family", "column", "label", "label_separator", "spellings", "validation", "test", "encoding", "delimiter", "header", "config", "split", "rows", "turn", "speaker",
               "loss_on", "prompt", "measure")  # fmt: skip
    _require_unused(arguments, of_data, "is for data, and this is an adapter")
    if arguments.dry_run:
        raise Refusal("An adapter is imported whole or refused: leave --dry-run out.", "dry_run")
    from lab.importing import import_adapter

    run = import_adapter(
        arguments.file, task=arguments.task or "", model=arguments.model or "", revision=arguments.revision, name=arguments.name or "", tags=arguments.tag or []
    )
    document = {"run": run.id, "name": run.name, "model": run.spec["model"], "task": run.spec["task"], "method": run.spec["method"]["name"],
                "trainable": run.result["trainable"], "imported": run.result["imported"]}  # fmt: skip
    task = document["task"] if isinstance(document["task"], str) else document["task"]["name"]
    return Answer(document, lambda: facts([("run", f"{run.id}  {run.name}"), ("method", f"{document['method']}, {document['trainable']:,} weights"), ("model", document["model"]), ("task", task)])
                  + f"\nNothing was measured: python -m lab run --start-from {run.id} --steps 0 evaluates it, here or with --task on another one.")  # fmt: skip


def _families(trait: str) -> str:
    """The families that have what an option is for."""
    return " or ".join(name for name, family in FAMILIES.items() if getattr(family, trait))


def _require_unused(arguments: Namespace, names: tuple[str, ...], why: str) -> None:
    """Refusal of a flag that nothing would read."""
    if given := next((name for name in names if getattr(arguments, name) not in (None, "", [])), None):
        raise Refusal("--{given} {why}: leave it out.", given, given=given.replace("_", "-"), why=why)


def _pair(text: str, flag: str = "column", example: str = "role=column, as in text=review") -> tuple[str, str]:
    role, mark, column = text.partition("=")
    if not (mark and role.strip() and column.strip()):
        raise Refusal("'{text}' is not of the form {example}.", flag, text=text[:80], example=example)
    return role.strip(), column.strip()


def _imported(document: dict, max_length: int) -> str:
    lengths, splits = document["lengths"], document["splits"]
    lines = [
        ("family", document["family"]), ("columns", ", ".join(f"{role} = {column}" for role, column in document["columns"].items())),
        *_conversations(document),
        ("rows", f"{document['rows']:,}; {', '.join(f'{split} {count:,}' for split, count in splits.items())}"),
        ("labels", ", ".join(f"{label} {count:,}" for label, count in list(document["balance"].items())[:12])),
        ("length", f"median {lengths['median']:,}, longest {lengths['longest']:,} {lengths['unit']}; {lengths['cut']:,} of {lengths['measured']:,} are cut at {max_length:,} tokens"),
        *(("note", note) for note in document["notes"]),
    ]  # fmt: skip
    closing = f"Imported as {document['task']}: python -m lab run --task {document['task']} ..." if document["task"] else "Nothing was kept."
    return f"{facts(lines)}\n{closing}"


def _conversations(document: dict) -> list[tuple[str, str]]:
    """How conversations were read: --turn, --speaker and --loss-on say otherwise."""
    if not document["format"]:
        return []
    turns = document["turns"]
    speakers = ", ".join(f"{name} = {role or '?'}" for name, role in turns["speakers"].items())
    return [("format", document["format"].replace("_", " ")), ("turns", f"role = {turns['role']}, content = {turns['content']}" if turns["role"] else ""),
            ("speakers", speakers), ("loss on", {"all": "all answers", "last": "the last answer"}[document["loss_on"]])]  # fmt: skip


def fetch(arguments: Namespace) -> Answer:
    """{"model", "folder"} or {"task"}."""
    from lab import fetches
    from lab.design.presets import catalogue

    printed = [-1]

    def progress(done: int, total: int, words: str) -> None:
        tenth = 10 * done // total if total else 0
        if tenth != printed[0]:
            printed[0] = tenth
            print(f"  {words}" + (f"  {numbers.memory(done)} of {numbers.memory(total)}" if total else ""), file=sys.stderr, flush=True)

    if arguments.model in verbs.tasks() and arguments.model not in catalogue.names("models"):
        fetches.fetch("tasks", arguments.model, progress)
        return Answer({"task": arguments.model}, lambda: f"{arguments.model} is here.")
    folder = fetches.fetch("models", arguments.model, progress)
    return Answer({"model": arguments.model, "folder": str(folder or "")}, lambda: str(folder or f"{arguments.model} is in the hub's cache."))


def serve(arguments: Namespace) -> Answer:
    """The web app, until interrupted."""
    from lab.ui.serve import read
    from lab.ui.serve import serve as open_pages

    with contextlib.suppress(KeyboardInterrupt):
        open_pages(read(arguments))
    return Answer({"state": "stopped"}, lambda: "Stopped; runs go on.")
