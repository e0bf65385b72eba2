"""Trained runs put together: several adapters of one base as one run, whose tasks are those of its parts.

    spec = document(["k7qm2x9b", "h3pw9d2a"], [0.5, 0.5], "ties")  # a plain spec, to launch like any other
    settled(spec)                # with its method; Refusal where the parts do not go together
    weights(settled, model)      # {"adapter": ..., "head": ...}: what the run starts from. It trains no step, unless it is asked to

Each task keeps the head of the run that was trained on it; several runs on one task have the mean of their heads, by their weights. Torch is
imported by `weights` alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lab import blocks
from lab.blocks import TrainedBlock
from lab.design.body.anatomy import Anatomy, anatomy
from lab.design.method.combining import combined, name_of
from lab.design.method.delta import Method
from lab.design.plain.options import validate
from lab.design.plain.refusal import Refusal
from lab.design.spec.combination import Combination
from lab.design.spec.run import RunSpec, named_tasks
from lab.design.spec.tasks import judged
from lab.models import resolve

FIELD = "combination"


def document(runs: Sequence[str], weights: Sequence[float] = (), how: str = "sum", **more: Any) -> dict[str, Any]:
    """The plain spec of a combination; `more`: rank, density and sign, and name, tags, seed, training and further options of the run. Raises Refusal."""
    mine = {name: more.pop(name) for name in ("rank", "density", "sign") if name in more}
    asked = validate(Combination, {"runs": list(runs), "weights": list(weights), "how": how, **mine}, f"{FIELD}.")
    found = parts(asked)
    first = found[0].spec
    tasks = tasks_of(found)
    return {
        "model": first.model, "quantisation": first.quantisation, "task": tasks[0], "further": tasks[1:], "method": method_of(asked, found, body_of(first.model)).document(), "seed": 0, **more,
        "training": {**_limits(found), **more.get("training", {})},
        "combination": {**asked.model_dump(mode="json"), "runs": [block.name for block in found]},
        "name": more.get("name") or name_of([block.spec.method for block in found], asked.how, asked.rank),
    }  # fmt: skip


def parts(asked: Combination) -> list[TrainedBlock]:
    """The adapters of a combination. Refusal where one is not there, is there twice, or was trained on another base, or with other labels of the same task."""
    found = [blocks.read(name, f"{FIELD}.runs.{index}") for index, name in enumerate(asked.runs)]
    for index, block in enumerate(found):
        field = f"{FIELD}.runs.{index}"
        if block.name in [earlier.name for earlier in found[:index]]:
            raise Refusal("'{name}' is there twice: give it one weight.", field, name=block.name)
        blocks.require_base(block, found[0].base, found[0].spec.model, field)
        for earlier in found[:index]:
            if block.labels and earlier.labels and not block.spec.further and not earlier.spec.further and _same(block.spec.task, earlier.spec.task):
                blocks.require_labels(block, earlier.labels, field)
    return found


def tasks_of(found: Sequence[TrainedBlock]) -> list[Any]:
    """The tasks of the parts, each once."""
    tasks: list[Any] = []
    for task in (task for block in found for task in block.spec.tasks.values()):
        if not any(_same(task, other) for other in tasks):
            tasks.append(task if isinstance(task, str) else task.model_dump(mode="json"))
    return tasks


def _same(one: Any, other: Any) -> bool:
    return judged([one]) == judged([other])


def _limits(found: Sequence[TrainedBlock]) -> dict[str, Any]:
    """The longest input, where the parts name one."""
    lengths = [block.spec.training.max_length for block in found]
    return {"max_length": max(filter(None, lengths))} if all(lengths) else {}


def body_of(model: str) -> Anatomy:
    return anatomy(resolve(model).config)


def method_of(asked: Combination, found: Sequence[TrainedBlock], body: Anatomy) -> Method:
    """What the parts are together. Raises Refusal at `combination`."""
    try:
        return combined([block.spec.method for block in found], asked.weights, asked.how, asked.rank, body)
    except Refusal as refusal:
        field = refusal.field.replace("parts", "runs")
        raise Refusal(refusal.sentence, f"{FIELD}.{field}") from None


def settled(spec: RunSpec) -> RunSpec:
    """The spec of a combination with the method that its parts make, and their prints. Any other spec as it is. Raises Refusal."""
    asked = spec.combination
    if asked is None:
        return spec
    if spec.built_on.names:
        raise Refusal("A combination is built on its own runs: leave built_on empty.", "built_on")
    found = parts(asked)
    method = method_of(asked, found, body_of(spec.model))
    if found[0].spec.model != spec.model:
        raise Refusal("The runs of this combination were trained on {model}: leave the model as it is.", "model", model=found[0].spec.model)
    here = list(spec.tasks.values())
    if not all(any(_same(task, mine) for mine in here) for task in tasks_of(found)) or len(here) != len(tasks_of(found)):
        raise Refusal("The tasks of a combination are those of its runs: leave task and further as they are.", "task")
    frozen = asked.model_copy(update={"runs": [block.name for block in found], "prints": [block.print for block in found]})
    return spec.model_copy(update={"method": method, "combination": frozen})


def weights(spec: RunSpec, model: Any) -> dict[str, dict[str, Any]]:
    """What a settled spec starts from, as `Assembly.weights` gives it; `model`: its base, with nothing attached. Raises Refusal."""
    from lab.engine.combining import How, Parts

    asked = spec.combination
    assert asked is not None
    found = parts(asked)
    for block, then in zip(found, asked.prints, strict=False):
        if block.print != then:
            raise Refusal("The adapter of run {run} has changed since this combination was launched: launch it again.", FIELD, run=block.run)
    made = Parts(model, [(block.spec.method, block.state()) for block in found])
    how = How(asked.how, asked.rank, asked.density, asked.sign, spec.seed)
    return {"adapter": made.state(spec.method, asked.weights, how), "head": heads(found, asked.weights, list(spec.tasks.values()))}


def heads(found: Sequence[TrainedBlock], shares: Sequence[float], tasks: Sequence[Any]) -> dict[str, Any]:
    """The head of every task by parameter name (of several tasks task/name): that of the part that was trained on it, or the mean of several."""
    made: dict[str, Any] = {}
    for name, task in named_tasks(list(tasks)).items():
        own = [
            (block.head(theirs), share) for block, share in zip(found, shares, strict=True) for theirs, other in block.spec.tasks.items() if _same(task, other)
        ]
        positive = [max(share, 0.0) for _, share in own]
        whole = sum(positive) or len(own)
        for parameter in own[0][0]:
            value = (
                own[0][0][parameter]
                if len(own) == 1
                else sum((share or not any(positive)) / whole * head[parameter] for (head, _), share in zip(own, positive, strict=True))
            )
            made[f"{name}/{parameter}" if len(tasks) > 1 else parameter] = value
    return made
