"""Taking an adapter home: a run in the formats that other tools read. Importing this room does not import torch.

    export_run("k7qm2x9b", "peft", "my-adapter")   # the folder, with adapter_config.json, adapter_model.safetensors, ...
    formats(run.spec)                              # what there is, and why a format does not hold this method

A format is one object: a name, one line of help, `refusal(facts)` that says from the design alone why a method has no place in it, and
`write(opened, folder)`; `weights` says whether it holds any. A new format is one file and one line in FORMATS.
"""

from __future__ import annotations

import sys
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lab.design.plain.message import listed
from lab.design.plain.refusal import Refusal
from lab.export.base import Facts, Format
from lab.export.bases import clean
from lab.export.folder import new_folder
from lab.export.gguf import Gguf
from lab.export.script import Script
from lab.export.writers import AdapterHub, Config, Lab, Merged, Peft

FORMATS: dict[str, Format] = {found.name: found for found in (Peft("peft"), Peft("peft-lora"), AdapterHub(), Gguf(), Merged(), Lab(), Config(), Script())}
__all__ = ["FORMATS", "Format", "export_run", "formats", "require_format", "write"]


def formats(spec: Any = None) -> list[dict[str, str]]:
    """[{"format", "help", "refusal"}]: what there is; for a spec, `refusal` says why it cannot be written in a format, else ""."""
    facts = Facts.of(spec) if spec else None
    return [{"format": found.name, "help": found.help, "refusal": _reason(found, facts) if facts else ""} for found in FORMATS.values()]


def export_run(run_id: str, format: str = "peft", out: str | Path = "adapter", *, adapter: str = "best", task: str = "") -> Path:
    """Write a run's adapter (`best` by the task's metric, or `final`) into a new or empty folder; the folder.

    `task`: of a run of several with heads, whose head goes along, where the format holds one. Raises Refusal before anything is written: an unknown format, one without a place for the method (it names those that work),
    a run without an adapter (for a format that holds weights), a folder that has files.
    """
    from lab.blocks import adapter_folder
    from lab.export.source import open_run
    from lab.runs import default

    run = default().store.find(run_id)
    chosen = _format(format)
    require_format(run, format, task)
    if chosen.weights:
        adapter_folder(run.id, adapter)
    with new_folder(out) as folder:
        chosen.write(open_run(run.id, adapter, weights=chosen.weights, task=task), folder)
        clean(folder)
    return Path(out).expanduser().absolute()


def require_format(run: Any, format: str, task: str = "") -> None:
    """Raise Refusal where a run (as the store has it) cannot be written in a format, as far as its specification shows."""
    chosen, facts = _format(format), Facts.of(run.spec)
    _require(chosen, facts)
    _require_head(chosen, facts, task)


def write(opened: Any, format: str, out: str | Path) -> Path:
    """Write what is open (a model with a method attached, see source.Opened) in a format. `merged` leaves the model merged."""
    chosen = _format(format)
    built_on = bool(opened.spec.built_on.names or opened.spec.combination)
    _require(chosen, Facts(opened.spec.method, opened.attached.body, opened.objective, opened.spec.quantisation, built_on=built_on))
    with new_folder(out) as folder:
        chosen.write(opened, folder)
        clean(folder)
    return Path(out).expanduser().absolute()


def _format(name: str) -> Format:
    if name not in FORMATS:
        raise Refusal("There is no format '{format}'; there are {known}.", "format", format=str(name)[:40], known=", ".join(FORMATS))
    return FORMATS[name]


def _require(chosen: Format, facts: Facts) -> None:
    reason = _reason(chosen, facts)
    if reason:
        works = [name for name, other in FORMATS.items() if not _reason(other, facts)]
        raise Refusal("{reason}; this run can be exported as {works}.", "format", reason=reason, works=listed(works, " or "))


def _require_head(chosen: Format, facts: Facts, task: str) -> None:
    """Refusal where a head is to be chosen and none is, or one is where there is nothing to choose."""
    if task and not (facts.heads and chosen.one_head):
        raise Refusal("There is no head to choose for the format {name} here: leave the task out.", "task", name=chosen.name)
    if facts.heads and chosen.one_head and task not in facts.heads:
        raise Refusal(
            "This run has a head for each of its tasks, and the format {name} holds one: choose a task of {heads}.",
            "task",
            name=chosen.name,
            heads=", ".join(facts.heads),
        )


def _reason(chosen: Format, facts: Facts) -> str:
    try:
        chosen.require(facts)
    except Refusal as refusal:
        return refusal.sentence.clause()
    return ""


class _Room(types.ModuleType):
    """`lab.export` is this module, and `lab.export(run, format=, out=)` exports."""

    def __call__(self, run: Any, format: str = "peft", out: str | Path = "adapter", **options: Mapping[str, Any]) -> Path:
        return export_run(run if isinstance(run, str) else run.id, format, out, **options)


sys.modules[__name__].__class__ = _Room
