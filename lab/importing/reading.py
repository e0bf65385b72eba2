"""What is in a folder of an adapter: its method, its tensors as the engine keeps them, its head, and which task and base they are for."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import yaml

from lab.design.body.anatomy import anatomy
from lab.design.body.model import ModelSpec
from lab.design.method.delta import Method
from lab.design.method.forms import FORMS
from lab.design.method.named import method_of
from lab.design.plain.message import Message
from lab.design.plain.refusal import Refusal
from lab.design.presets import catalogue
from lab.design.spec.objectives import OBJECTIVES
from lab.design.spec.run import RunSpec, named_tasks, spec_of
from lab.importing.folders import CONFIG, HEAD_CONFIG, HEADS, SIDECAR, SPEC, WEIGHTS, Folder
from lab.models import resolve as resolve_model
from lab.tasks import objective_of
from lab.tasks import resolve as resolve_task
from lab.verbs import count


@dataclass
class Imported:
    """An adapter as a run of this lab has it, not yet checked nor kept."""

    spec: RunSpec
    weights: dict[str, dict[str, Any]]  # {"adapter": ..., "head": ...}, as `Assembly.weights` gives them
    answers: dict[str, Any]  # objective, labels and, of several tasks, those of each
    trainable: int
    about: dict[str, Any] = field(default_factory=dict)  # {"from", "format", "revision"}


def read(folder: Folder, task: str = "", model: str = "", name: str = "", tags: list[str] | None = None) -> Imported:
    """What a folder holds. `task`, `model`: what it is for and its base, where the folder does not say, or says one that is called otherwise here.

    Raises Refusal, before any weights are loaded, for what the space cannot say, for sizes of another base, and where task or base are not known.
    """
    beside = folder.document(SIDECAR)
    about = {"from": folder.hub or folder.name, "format": folder.kind, **({"revision": folder.revision} if folder.hub else {})}
    given = {"name": name or str(beside.get("spec", {}).get("name") or folder.name.rpartition("/")[2])[:120], "tags": tags or []}
    if folder.kind == "lab":
        return _lab(folder, task, model, given, about)
    config = folder.document(CONFIG)
    if folder.kind == "peft":
        from lab.importing.from_peft import require_known

        about["type"] = require_known(config)
    base = _base(model, [config.get("base_model_name_or_path"), config.get("model_name")], beside)
    asked = _task(task, beside)
    objective = objective_of(asked, base)
    if folder.kind == "peft" and config.get("task_type") not in (None, OBJECTIVES[objective].peft):
        raise Refusal(
            "This adapter was trained for {theirs}, and the task is {mine} on this model: choose a task of its kind.",
            "task",
            theirs=str(config["task_type"])[:40],
            mine=OBJECTIVES[objective].peft,
        )
    method, state, head, outputs, trainable = (_peft if folder.kind == "peft" else _adapterhub)(folder, config, beside, base, objective)
    names = _labels(folder, beside, asked, outputs, objective)
    packed = str(beside.get("spec", {}).get("quantisation") or "none")
    spec = spec_of({"model": base.name, "quantisation": packed, "task": asked, "method": method.document(), **given})
    weights = {"adapter": state, **({"head": head} if head else {})}
    return Imported(spec, weights, {"objective": objective, "labels": list(names)}, trainable, about)


# -- base, task, labels


def _base(model: str, named: list[Any], beside: Mapping[str, Any]) -> ModelSpec:
    """The model that an adapter stands on: as it was given, else by the names that the folder has for it, a preset's hub id among them."""
    if model:
        return resolve_model(model)
    if beside.get("base", {}).get("folder"):
        raise Refusal(
            "The base of this adapter was a folder called '{name}': say where it is here as the model.", "model", name=str(beside["base"].get("name"))[:100]
        )
    known = {resolve_model(preset).source.hub.lower(): preset for preset in catalogue.names("models") if resolve_model(preset).source.hub}
    for words in (beside.get("spec", {}).get("model"), *named):
        if isinstance(words, str) and words and (words.lower() in known or words in catalogue.names("models")):
            return resolve_model(known.get(words.lower(), words))
    words = next((each for each in named if isinstance(each, str) and each), "")
    if not words:
        raise Refusal("This adapter does not say which model it is for: give it as the model.", "model")
    try:
        return resolve_model(words)
    except Refusal as refusal:
        raise Refusal(
            "The base of this adapter is called '{name}', which is not found here ({reason}): say which one it is as the model.",
            "model",
            name=words[:100],
            reason=refusal.sentence.clause(),
        ) from None


def _task(task: str, beside: Mapping[str, Any]) -> Any:
    """The task that an adapter answers: as it was given, else that of the run which it is an export of."""
    if task:
        return task
    spec = beside.get("spec") or {}
    if spec.get("task"):
        there = named_tasks([spec["task"], *(spec.get("further") or ())])
        chosen = there.get(str(beside.get("task") or "")) or spec["task"]
        with contextlib.suppress(Refusal):
            resolve_task(chosen)
            return chosen
    raise Refusal("This adapter does not say which task it answers: give one that it is for, as `tasks` lists them, or import data of your own first.", "task")


def _labels(folder: Folder, beside: Mapping[str, Any], task: Any, outputs: int, objective: str) -> tuple[str, ...]:
    """The names of a head's outputs: those that came along, else the task's. Raises Refusal where the task has others."""
    if not OBJECTIVES[objective].named:
        return ()
    mine = tuple(map(str, resolve_task(task).labels))
    numbered = folder.document(HEAD_CONFIG).get("label2id") or {}
    theirs = tuple(map(str, beside.get("labels") or [name for name, _ in sorted(numbered.items(), key=lambda pair: int(pair[1]))]))
    theirs = () if all(label.startswith("LABEL_") for label in theirs) else theirs
    found = theirs or mine or tuple(f"LABEL_{place}" for place in range(outputs))
    if len(found) != outputs or (mine and found != mine):
        words = Message("its head has {count} outputs for {names}" if theirs else "its head has {count} outputs", count=outputs, names=", ".join(theirs[:8]))
        raise Refusal(
            "This adapter answers another task: {words}, and the labels of the task are {labels}.", "task", words=words, labels=", ".join(mine[:8]) or "none"
        )
    return found


# -- PEFT and AdapterHub: the exporter backwards

Read = tuple[Method, dict[str, Any], dict[str, Any], int, int]  # method, state, head, outputs of the head, weights that train
APART = {"base_model_name_or_path", "revision", "target_modules", "modules_to_save"}  # of a configuration: what is not of the method


class _Bare:
    """The base without weights, with the head that an adapter has. `outputs`: of that head. Raises Refusal where the head is another one."""

    def __init__(self, base: ModelSpec, objective: str, head: dict[str, Any]):
        self.base, self.objective, self.head, self.body = base, objective, head, anatomy(base.config)
        self.model, self.outputs = _shape_of(base, objective, head)

    def attached(self, method: Method, state: Mapping[str, Any] | None = None) -> Any:
        """A method on it, whose own tensors and head are real; with `state`, not real and of its shapes."""
        from lab.engine import attach
        from lab.engine.looking import nothing
        from lab.importing.backwards import real
        from lab.models import load

        model = copy.deepcopy(self.model)
        if any(delta.composition == "dora" for delta in method.deltas):  # whose lengths are those of the base's weights where nothing changes them
            model = load(self.base, objective=self.objective, num_labels=self.outputs or None)
        try:
            found = attach(model, method, state=state, look=nothing)
        except Refusal as refusal:
            raise Refusal("The space cannot say this adapter on this base: {reason}", "source", reason=refusal.sentence) from None
        if state is None:
            real(model, found)
        return found

    def read(self, method: Method, attached: Any, written: Callable[[], dict[str, Any]], given: dict[str, Any], unread: Collection[str] = ()) -> Read:
        from lab.importing.backwards import state_for

        state = state_for(attached, written, given, unread)
        return method, state, self.head, self.outputs, attached.count()["trainable"]


def _peft(folder: Folder, config: dict[str, Any], beside: Mapping[str, Any], base: ModelSpec, objective: str) -> Read:
    from lab.export import kinds
    from lab.export.peft import PREFIX, checkpoint
    from lab.importing import from_peft, places
    from lab.importing.entries import state_of

    kind = from_peft.require_known(config)
    adapter, head = from_peft.separate(kind, folder.tensors(WEIGHTS["peft"]))
    bare = _Bare(base, objective, head)
    reading = from_peft.read(kind, config, adapter, places.projections(bare.model, bare.body), bare.body)
    described = _method({"name": f"PEFT {kind}", "deltas": reading.deltas, "select": reading.select})
    if kind in ("IA3", "PREFIX_TUNING", "PROMPT_TUNING", "P_TUNING", "ADAPTION_PROMPT", "LN_TUNING"):
        kinds.peft_type(described, bare.body, objective)  # where such an adapter has no equal, it says why
    if reading.kind == "SHIRA":
        state = state_of(bare.model, adapter, described.select.rank)
        return described, state, head, bare.outputs, bare.attached(described, state).count()["trainable"]

    def attempt(method: Method, given: dict[str, Any], says: Mapping[str, Any] | None = None) -> Read | None:
        attached = bare.attached(method)
        steps = SimpleNamespace(training=SimpleNamespace(steps=config.get("total_step") or 1))
        mine = SimpleNamespace(attached=attached, model=attached.model, objective=objective, base="", origin=SimpleNamespace(revision=""), costs={}, spec=steps)
        if says is not None and any(says.get(key) != value for key, value in checkpoint(mine, reading.kind)[1].items() if key not in APART):
            return None

        def written() -> dict[str, Any]:
            return {name: tensor for name, tensor in checkpoint(mine, reading.kind)[0].items() if name.removeprefix(PREFIX) not in head}

        return bare.read(method, attached, written, given, [name for name in given if name.startswith("base_model.randlora_")])

    original = _beside(beside)
    if original is not None:  # the method by its own name, where the exporter writes the same of it
        with contextlib.suppress(Refusal):
            if kinds.peft_type(original, bare.body, objective) == reading.kind and (found := attempt(original, adapter, config)):
                return found
    found = attempt(described, reading.tensors)
    assert found is not None
    return found


def _adapterhub(folder: Folder, config: dict[str, Any], beside: Mapping[str, Any], base: ModelSpec, objective: str) -> Read:
    from lab.export import adapterhub
    from lab.export.adapterhub_tensors import tensors as exported
    from lab.importing import from_adapterhub

    given = from_adapterhub.renamed(folder.tensors(WEIGHTS["adapterhub"]), str(config.get("name") or ""))
    about = folder.document(HEAD_CONFIG)
    if about.get("config"):  # of a flexible head, which the library alone has
        kind = about["config"].get("head_type") if isinstance(about["config"], Mapping) else about["config"]
        raise Refusal(
            "The head of this adapter is one of AdapterHub's flexible heads ({kind}), which the base's own class has no place for.",
            "source",
            kind=str(kind)[:40],
        )
    bare = _Bare(base, objective, folder.tensors(HEADS["adapterhub"]))

    def attempt(method: Method) -> Read:
        from_adapterhub.require_same(config.get("config") or {}, method, bare.body)
        attached = bare.attached(method)
        return bare.read(method, attached, lambda: exported(attached)[1], given)

    original = _beside(beside)
    if original is not None and not any(map(_scaled, _parts(config))):
        with contextlib.suppress(Refusal):
            adapterhub.pieces(original, bare.body)
            return attempt(original)
    return attempt(_method({"name": "AdapterHub", "deltas": from_adapterhub.read(config.get("config"), given, bare.body)}))


def _parts(config: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    found = config.get("config") or {}
    return [part for part in found.get("configs") or [found] if isinstance(part, Mapping)] if isinstance(found, Mapping) else []


def _scaled(part: Mapping[str, Any]) -> bool:
    """Whether a LoRA has a scale in its configuration, which the exporter never writes."""
    return part.get("architecture") == "lora" and part.get("composition_mode") == "add" and part.get("r") != part.get("alpha")


def _method(document: dict[str, Any]) -> Method:
    try:
        return method_of({key: value for key, value in document.items() if value})
    except Refusal as refusal:
        raise Refusal("The space cannot say this adapter: {reason}", "source", reason=refusal.sentence) from None


def _beside(beside: Mapping[str, Any]) -> Method | None:
    """The method that the lab which exported an adapter wrote beside it; None where there is none that can be read, or where the exporter writes products of its
    tensors: a start that has its share of the weight, a network that makes slots, ranks that were shared out."""
    try:
        found = method_of((beside.get("spec") or {})["method"])
    except (Refusal, KeyError, TypeError):
        return None
    multiplied = any(FORMS[delta.form].start(delta).residual or delta.encoder != "none" or delta.allocation for delta in found.deltas)
    return None if found.frozen or multiplied else found


def _shape_of(base: ModelSpec, objective: str, head: Mapping[str, Any]) -> tuple[Any, int]:
    """(the base without weights, with a head of as many outputs as the given one, how many). Raises Refusal where the head is another one."""
    from lab.engine.select import head_parameters
    from lab.models import build_meta

    if not OBJECTIVES[objective].headed:
        if head:
            raise Refusal(
                "This adapter has weights of its own for '{name}' (modules_to_save), which no method of the space has.", "source", name=min(head)[:120]
            )
        return build_meta(base, objective=objective), 0
    if not head:
        raise Refusal(
            "This adapter has no task head (modules_to_save), so its answers would come from one that knows nothing: import it for a task without a head, or with it.",
            "source",
        )
    for outputs in sorted({tensor.shape[0] for tensor in head.values()}):
        if OBJECTIVES[objective].outputs(outputs) != outputs:
            continue
        model = build_meta(base, objective=objective, num_labels=outputs)
        shapes, new = {name: tensor.shape for name, tensor in head.items()}, head_parameters(model)
        everything = dict(model.named_parameters())
        pooled = {name for name in shapes if ".pooler." in name and name in everything}  # of a checkpoint that lacked one
        if set(shapes) - pooled == set(new) and all(everything[name].shape == shape for name, shape in shapes.items()):
            model.lab_new = frozenset(pooled)
            return model, outputs
    odd = sorted(set(head) - set(head_parameters(build_meta(base, objective=objective, num_labels=2)))) or sorted(head)
    raise Refusal(
        "The weights that this adapter has besides ('{name}', modules_to_save) are not the task head of this base, and no method of the space has them.",
        "source",
        name=odd[0][:120],
    )


# -- the lab's own folders


def _lab(folder: Folder, task: str, model: str, given: dict[str, Any], about: dict[str, Any]) -> Imported:
    """The spec as it was, without what is of the other lab alone: origins of its data, the runs that it was made of."""
    from lab.export.source import open_folder

    try:
        text = (folder.path / SPEC).read_text(encoding="utf-8")
        document = yaml.safe_load(text) if len(text) < 1_000_000 else None
    except (OSError, ValueError, yaml.YAMLError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise Refusal("The spec.yaml of this adapter cannot be read: export the run again.", "source")
    whole = spec_of(document)
    if whole.method.frozen:
        raise Refusal(
            "This adapter stands on that of run {run}, which is not in its folder: import what it stands on, and build it anew.",
            "source",
            run=whole.method.frozen[0].frozen_from,
        )
    asked: dict[str, Any] = {"task": document["task"], "further": document.get("further") or []}
    if task:
        if whole.further:
            raise Refusal("This adapter has a head for each of its tasks: leave the task out.", "task")
        asked = {"task": task}
    for each in (asked["task"], *asked.get("further", ())):
        try:
            resolve_task(each)
        except Refusal as refusal:
            raise Refusal("{reason}; give the task that this adapter answers here.", "task", reason=refusal.sentence.clause()) from None
    spec = spec_of(
        {
            **document,
            **asked,
            "built_on": {},
            "combination": None,
            "origins": None,
            **({"model": model} if model else {}),
            "name": given["name"] or whole.name,
            "tags": given["tags"],
        }
    )
    found = open_folder(folder.path, model=model)  # by its own spec: the base is held to the one that it was trained on
    head, adapter = folder.tensors(HEADS["lab"]), folder.tensors(WEIGHTS["lab"])
    names = tuple(map(str, folder.document(SIDECAR).get("labels") or found.labels))
    if task and OBJECTIVES[found.objective].named and (mine := tuple(map(str, resolve_task(task).labels))) and mine != names:
        raise Refusal(
            "This adapter answers another task: its head has {count} outputs for {names}, and the labels of the task are {mine}.",
            "task",
            count=len(names),
            names=", ".join(names[:8]),
            mine=", ".join(mine[:8]),
        )
    tasks = {"tasks": found.tasks} if found.tasks else {}
    weights = {"adapter": adapter, **({"head": head} if head else {})}
    return Imported(spec, weights, {"objective": found.objective, "labels": list(names), **tasks}, found.trainable or count(spec.model, spec.method)["trainable"],
                    {**about, "run": str(folder.document(SIDECAR).get("run") or "")})  # fmt: skip
