"""What a run was made from is frozen with it: each part that changes is told, at the launch, the start, the resume and the load that need it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file
from training_support import save_model, save_task, spec

import lab
from lab import origins, verbs
from lab.design.plain.refusal import Refusal
from lab.design.spec.run import RunSpec, spec_of
from lab.training import train

REFUSING = {"start": origins.STARTING, "load": origins.LOADING, "ask": origins.ASKING}


def _weights(folder: Path, task: dict) -> dict:
    path = folder / "model" / "model.safetensors"
    tensors = load_file(path)
    name = sorted(tensors)[0]
    tensors[name] = tensors[name].clone()
    tensors[name].view(-1)[-1] += 1  # one weight, same size of the file
    save_file(tensors, path, metadata={"format": "pt"})
    return task


def _config(folder: Path, task: dict) -> dict:
    _edit(folder / "model" / "config.json", lambda document: document.update(hidden_act="relu"))
    return task


def _generation(folder: Path, task: dict) -> dict:
    (folder / "model" / "generation_config.json").write_text('{"repetition_penalty": 1.3}', encoding="utf-8")
    return task


def _tokenizer(folder: Path, task: dict) -> dict:
    _edit(folder / "model" / "tokenizer.json", lambda document: document["model"]["vocab"].update(fine=6, great=5))
    return task


def _template(folder: Path, task: dict) -> dict:
    (folder / "model" / "chat_template.jinja").write_text("{{ messages[0].content }}", encoding="utf-8")
    return task


def _rows(folder: Path, task: dict) -> dict:
    path = Path(task["source"]["file"])
    before = path.stat()
    text = path.read_text(encoding="utf-8")
    path.write_text(text[:-5] + text[-5:].replace("neg", "pos") if "neg" in text[-5:] else text[:-5] + text[-5:].replace("pos", "neg"), encoding="utf-8")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))  # same size, same time: only what it holds differs
    return task


CHANGES = {
    "weights": _weights, "config": _config, "generation": _generation, "tokenizer": _tokenizer, "template": _template, "rows": _rows,
    "columns": lambda folder, task: {**task, "columns": {"text": "text", "text_pair": "label", "label": "label"}},
    "labels": lambda folder, task: {**task, "labels": ["pos", "neg"]},
    "splits": lambda folder, task: {**task, "source": {**task["source"], "hash": {"validation": 0.3, "test": 0.1}}},
    "wording": lambda folder, task: {**task, "max_length": 40},
}  # fmt: skip


def _edit(path: Path, change) -> None:
    document = json.loads(path.read_text(encoding="utf-8"))
    change(document)
    path.write_text(json.dumps(document), encoding="utf-8")


def _own_task(folder: Path, document: dict) -> None:
    """A task of the lab's own, found by name, so that what the name means can change under a run."""
    import yaml

    place = Path(os.environ["LAB_HOME"]) / "tasks" / "toy"
    place.mkdir(parents=True, exist_ok=True)
    source = Path(document["source"]["file"])
    (place / "data.csv").write_bytes(source.read_bytes())
    stored = {**document, "source": {**document["source"], "file": "data.csv"}}
    (place / "task.yaml").write_text(yaml.safe_dump(stored), encoding="utf-8")


@pytest.fixture
def made(lab_home: Path, tmp_path: Path) -> tuple[Path, dict, RunSpec]:
    """(folder, task document, a frozen spec of two steps) of a run on a small model and an imported task."""
    save_model(tmp_path / "model")
    task = save_task(tmp_path, rows=60)
    _own_task(tmp_path, task)
    return tmp_path, task, verbs.check(spec(str(tmp_path / "model"), "toy", steps=2, evaluate_every=1, checkpoint_every=1))


def _change(part: str, folder: Path, task: dict) -> None:
    changed = CHANGES[part](folder, task)
    _own_task(folder, changed)


def test_all_parts_are_changed_by_some_case():
    assert set(CHANGES) == set(origins.STARTING) - {"probe", "adapters"}  # of runs below: test_blocks.py


@pytest.mark.parametrize("part", CHANGES)
def test_what_changed_is_named_and_stops_what_depends_on_it(part: str, made):
    folder, task, frozen = made
    assert getattr(frozen.origins, part)
    assert origins.changes(frozen) == []
    _change(part, folder, task)
    ((field, words),) = origins.changes(frozen)
    assert words == origins.CHANGED[part].format(task="toy", model=frozen.model, probe="")
    for needed in REFUSING.values():
        assert bool(origins.changes(frozen, needed)) is (part in needed)
    with pytest.raises(Refusal) as refusal:  # as it lies in the queue, at its start
        train(frozen, run_dir=folder / "run")
    assert words in refusal.value.sentence and refusal.value.field == field
    assert not (folder / "run" / "checkpoints").exists() or not any((folder / "run" / "checkpoints").iterdir())
    with pytest.raises(Refusal, match="Since this specification was frozen, this has changed"):  # taken elsewhere as spec.yaml
        verbs.check(frozen)
    again = verbs.check(frozen.model_copy(update={"origins": None}))  # what is here now is another beginning
    assert getattr(again.origins, part) != getattr(frozen.origins, part)
    assert origins.unlike([frozen.document(), again.document()]) == [part]


def test_nothing_is_told_where_nothing_of_matter_changed(made):
    folder, task, frozen = made
    for path in (folder / "model").iterdir():
        os.utime(path)
    _edit(folder / "model" / "config.json", lambda document: document.update(transformers_version="0.0", _name_or_path="elsewhere"))
    _own_task(folder, {**task, "title": "Other words", "description": "For people."})
    assert origins.changes(frozen) == []
    assert train(frozen, run_dir=folder / "run")["state"] == "succeeded"


def test_what_could_not_be_known_at_launch_is_held_from_the_first_start(made):
    folder, task, frozen = made
    unknown = spec_of({**frozen.document(), "origins": None})
    train(unknown, run_dir=folder / "run")
    _change("rows", folder, task)
    with pytest.raises(Refusal, match="Since this run first started, this has changed: rows of task toy"):
        train(unknown, run_dir=folder / "run")


@pytest.mark.usefixtures("warm")
def test_a_finished_run_loads_and_exports_only_on_its_own_base(made, warm, tmp_path: Path):
    folder, task, frozen = made
    run = lab.run(frozen.document())
    assert run.state == "succeeded", run.error
    _change("rows", folder, task)  # harmless to a trained adapter: told, not refused
    assert verbs.changed(run) == "Since this run was launched, this has changed: rows of task toy."
    model, _ = lab.load(run)
    copy = verbs.queue().store.get(verbs.duplicate(run.id))
    events = [event.message for event in verbs.queue().store.events(copy.id)]
    assert any("this has changed: rows of task toy" in message for message in events), events
    verbs.wait_for(copy.id)
    _change("weights", folder, task)
    with pytest.raises(Refusal, match="Since run .* was launched, this has changed: weights of"):
        lab.load(run)
    with pytest.raises(Refusal, match="Since run .* was launched, this has changed: weights of"):
        lab.export(run, format="peft", out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("part", ["rows", "weights"])
def test_a_run_that_ended_early_resumes_on_what_it_was_made_from_alone(part: str, made):
    folder, task, frozen = made
    queue = verbs.queue()
    run = queue.store.create(frozen.document(), "one")
    assert queue.stop(run) == "cancelled"
    _change(part, folder, task)
    with pytest.raises(Refusal, match=f"Since this run was launched, this has changed: {part} of"):
        verbs.resume(run)
    assert queue.store.get(run).state == "cancelled"
