"""What the Data page asks: take an upload, bring a set of the hub, look at a file, import it, list tasks. It decides nothing: lab.tasks.importing does."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lab.design.plain.refusal import Refusal
from lab.design.presets import catalogue
from lab.tasks import FAMILIES, importing, outside, resolve
from lab.tasks.family import Family
from lab.tasks.gathering import HUB_ROWS
from lab.tasks.measuring import models
from lab.ui.data import views
from lab.ui.shell.gradio_private import upload_folder
from lab.ui.words.refusals import refused
from lab.ui.words.table import language_asked, say

TEXTS = ("family", "prompt", "separator", "measure", "spellings", "validation", "test")
READING = ("encoding", "delimiter", "header")


def take(paths: object) -> str:
    """Move gradio's copies of an upload into the lab; their token. Raises `Refusal` for any path but a plain file in gradio's own upload folder."""
    found, folder = [Path(str(path)) for path in (paths if isinstance(paths, (list, tuple)) else [paths])], upload_folder().resolve()
    try:
        upload = bool(found) and all(not path.is_symlink() and path.is_file() and path.resolve().is_relative_to(folder) for path in found)
    except (OSError, ValueError):  # too long, or with NUL
        upload = False
    if not upload:
        raise Refusal("That is no upload: choose the file again.", "file")
    return importing.stage(*(path.resolve() for path in found))


def bring(asked: Any) -> dict[str, Any]:
    """Rows of {"hub", "config", "revision", "splits", "rows"} as if they had been uploaded: {"upload": token, "notes": [sentence]} or {"errors": ...}."""
    asked, language = _request(asked)
    try:
        splits = dict(_named(line) for line in str(asked.get("splits") or "").replace(",", "\n").splitlines() if line.strip())
        rows = str(asked.get("rows") or HUB_ROWS).strip()
        if not rows.isdecimal() or len(rows) > 9:
            raise Refusal("Take between 1 and 10 million rows of a split, not {rows}.", "hub", rows=rows[:40])
        hub = asked["hub"] if isinstance(asked.get("hub"), str) else ""
        token, notes = outside.bring(hub, config=str(asked.get("config") or ""), revision=str(asked.get("revision") or ""), splits=splits, rows=int(rows))
    except Refusal as problem:
        return {"errors": [["hub", refused(language, problem)]]}
    return {"upload": token, "notes": [refused(language, note) for note in notes]}


def not_brought(sentence: str) -> dict[str, Any]:
    """The answer of `bring` where too many wait."""
    return {"errors": [["hub", sentence]]}


def _named(line: str) -> tuple[str, str]:
    ours, mark, theirs = line.partition("=")
    if not (mark and ours.strip() and theirs.strip()):
        raise Refusal("'{text}' names no split: write train=train, a line for each.", "hub", text=line[:80])
    return ours.strip(), theirs.strip()


def look(asked: Any) -> dict[str, Any]:
    """What {"upload" or "path", "validation", "test", "reading", "family", "columns", "labels", "spellings", "max_length", "prompt", "separator",
    "turns", "loss_on", "measure", "name", "language"} would import.

    Returns {"form": what the fields show, None where the file cannot be read, "html": the preview, "errors": [[field, sentence]]}.
    """
    asked, language = _request(asked)
    try:
        return _looked(asked, language)
    except OSError:  # an import took it away, or somebody deleted it, while it was read
        gone = Refusal("The file is not here any more: choose it again.", "file")
        return {"form": None, "html": "", "errors": [[gone.field, refused(language, gone)]]}


def _looked(asked: Mapping[str, Any], language: str) -> dict[str, Any]:
    try:
        path, choices = _source(asked), _choices(asked)
        columns, family, chosen, chat = outside.outline(path, choices["family"], choices["columns"], reading=choices["reading"], turns=choices["turns"])
    except Refusal as problem:
        return {"form": None, "html": "", "errors": [[problem.field or "file", refused(language, problem)]]}
    form = {"file": _called(path), "bytes": importing.size_of(path), "columns": columns, "family": family, "chosen": chosen, "name": _free_name(path.name),
            **_asked(family, chosen), "labels": [], **chat}  # fmt: skip
    errors: list[list[str]] = []
    html = ""
    try:
        found = outside.preview(path, **choices)
        html, form["labels"] = views.preview(found, language), found.spec.labels
        form["reading"] = {name: getattr(found.spec.source.reading, name) for name in READING}  # as it was decided by content, where nobody said
    except Refusal as problem:
        errors.append([problem.field, refused(language, problem)])
    try:
        if asked.get("name"):
            importing.check_name(str(asked["name"]))
    except Refusal as problem:
        errors.append([problem.field, refused(language, problem)])
    return {"form": form, "html": html, "errors": errors}


def none_read(sentence: str) -> dict[str, Any]:
    """The answer of `look` and `keep` where the file is not read at all."""
    return {"form": None, "html": "", "errors": [["file", sentence]]}


def keep(asked: Any) -> dict[str, Any]:
    """Import what `look` showed: {"kept": name, "html": a sentence with a link} or {"errors": [[field, sentence]]}."""
    asked, language = _request(asked)
    try:
        path = _source(asked)
        spec = outside.commit(path, str(asked.get("name") or ""), **_choices(asked))
    except Refusal as problem:
        return {"errors": [[problem.field or "file", refused(language, problem)]]}
    importing.unstage(str(asked.get("upload") or ""))
    return {"kept": spec.name, "html": views.kept(spec, language)}


def listing(asked: Any) -> dict[str, Any]:
    """{"own": the imported tasks, newest last, "html": a table of those that come with the lab}."""
    _, language = _request(asked)
    own = []
    for name in importing.names():
        try:
            own.append(views.row(resolve(name), language))
        except Refusal as problem:
            own.append({"name": name, "wrong": refused(language, problem)})
    return {"own": own, "html": views.presets([resolve(name) for name in catalogue.names("tasks")], language)}


def choices(language: str) -> dict[str, Any]:
    """What the form offers: [name, title] of families and of measures."""
    return {"families": [[name, say(language, f"family.{name}")] for name in FAMILIES],
            "measures": [*([name, name] for name in models()), ["", say(language, "data.words")]]}  # fmt: skip


def _request(asked: Any) -> tuple[dict[str, Any], str]:
    asked = dict(asked) if isinstance(asked, Mapping) else {}
    return asked, language_asked(asked)


def _source(asked: Mapping[str, Any]) -> Path:
    """The file that is asked about: an upload by its token, or a path, which the reader checks against the folders that pages may read."""
    if asked.get("upload"):
        return importing.staged(asked["upload"])
    given = asked.get("path")
    if not isinstance(given, str) or not given.strip() or "\0" in given:
        raise Refusal("Choose a file, or write the path of one.", "file")
    try:
        return Path(given.strip()).expanduser()
    except RuntimeError:  # the home of nobody
        raise Refusal("There is no file {name}.", "file", name=given[:200]) from None


def _choices(asked: Mapping[str, Any]) -> dict[str, Any]:
    columns, turns = (asked.get(name) if isinstance(asked.get(name), Mapping) else {} for name in ("columns", "turns"))
    reading = asked.get("reading") if isinstance(asked.get("reading"), Mapping) else {}
    labels = asked.get("labels") if isinstance(asked.get("labels"), str) else ""
    return {**{name: str(asked.get(name) or "") for name in TEXTS}, "max_length": asked.get("max_length") or 256, "turns": dict(turns), "loss_on": str(asked.get("loss_on") or "all"),
            "columns": {str(role): str(column) for role, column in columns.items() if column}, "labels": [line for line in labels.splitlines() if line.strip()],
            "reading": {name: str(reading[name]) for name in READING if reading.get(name)}}  # fmt: skip


def _called(path: Path) -> str:
    """The name of a file; of a folder, those of its first files."""
    if not path.is_dir():
        return path.name
    files = sorted(file.name for file in path.iterdir() if file.is_file())
    return ", ".join(files[:3]) + (" …" if len(files) > 3 else "") if path.parent.name == "uploads" else path.name


def _asked(family: str, chosen: Mapping[str, str]) -> dict[str, Any]:
    """What the form asks of a family: {"roles": [[role, whether it must be there]], "prompt": its own wording, "" where it has none, "labelled", "separated", "conversations"}."""
    kind = FAMILIES.get(family, Family)
    return {
        "roles": [[role, needed] for role, needed in kind.roles(chosen)],
        **{name: getattr(kind, name) for name in ("prompt", "labelled", "separated", "conversations")},
    }


def _free_name(file: str) -> str:
    """A name for a task, from the file's: small letters, digits and dashes, one that is not taken."""
    stem = re.sub(r"[^a-z0-9]+", "-", file.split(".")[0].casefold()).strip("-")[:50] or "my-data"
    taken = {*catalogue.names("tasks"), *importing.names()}
    return next(name for name in (stem, *(f"{stem}-{n}" for n in range(2, 10_000))) if name not in taken)
