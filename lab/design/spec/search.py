"""SearchSpec: the best design under a budget. What may vary, what it may cost, how it is looked for, and how the answer is tested.

An axis is any option of a run by its path, as in a sweep: deltas.0.rank, training.lr, method. It is written as a list of values, as `1..64`,
`1e-4..1e-2 log` or `any` (every choice of an option that has choices), or as a group: {low: 1, high: 64, log: true, when: {method: [lora, dora]}}.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Union

from pydantic import field_validator, model_validator

from lab.design.method.delta import Delta
from lab.design.plain.documents import read
from lab.design.plain.options import OptionField, Options, fields, option, parse_value, validate
from lab.design.plain.refusal import Refusal
from lab.design.presets import catalogue
from lab.design.spec.run import RunSpec, Training, spec_of
from lab.design.spec.sweep import apply, assignments
from lab.design.spec.task import TaskSpec

Objective = Literal["metric", "weights", "memory", "seconds"]
NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")  # also a tag and a folder
RANGE = re.compile(r"\s*(\S+?)\s*\.\.\s*(\S+?)(?:[\s:]+(log))?\s*")
UNITS = {"B": 1.0, "KB": 1e3, "MB": 1e6, "GB": 1e9, "KIB": 2.0**10, "MIB": 2.0**20, "GIB": 2.0**30}
OUTSIDE = ("built_on", "combination", "origins", "seed", "name", "tags", "training.steps", "training.until", "training.epochs", "training.test")


class Axis(Options):
    """What one option may be: one of `choices`, or a number from `low` to `high`."""

    choices: list[Any] = option(default_factory=list, max_length=200, label="choices", zh="取值", help="The values that it may have.")
    low: float | None = option(None, label="low", zh="下限", help="The least of a range.")
    high: float | None = option(None, label="high", zh="上限", help="The most of a range, which it may be.")
    log: bool = option(False, label="log", zh="对数", help="Draw from the range by its logarithm.")
    integer: bool | None = option(
        None, label="integer", zh="整数", help="Whole numbers alone. Empty: as the option is declared, else as the bounds are written."
    )
    when: dict[str, list[Any]] = option(default_factory=dict, label="when", zh="条件", help="Only where these other axes have one of these values.")

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        if isinstance(value, (list, tuple)):
            return {"choices": list(value)}
        if isinstance(value, str):
            return _of_text(value)
        if isinstance(value, Mapping) and isinstance(value.get("range"), str):  # beside `when`
            return {**{key: each for key, each in value.items() if key != "range"}, **_of_text(value["range"])}
        return value

    @model_validator(mode="after")
    def _one_kind(self) -> Axis:
        if bool(self.choices) == (self.low is not None or self.high is not None):
            raise Refusal("An axis has either values, as in [4, 8, 16], or a range, as in 1..64.")
        if self.choices:
            if len({_key(value) for value in self.choices}) < len(self.choices):
                raise Refusal("A value stands twice among the choices.", "choices")
            return self
        if self.low is None or self.high is None or self.low >= self.high:
            raise Refusal("A range goes from a smaller number to a larger one, as in 1..64.", "low")
        if self.log and self.low <= 0:
            raise Refusal("A range by logarithm begins above 0, not at {low:g}.", "low", low=self.low)
        if self.integer and not (self.low.is_integer() and self.high.is_integer()):
            raise Refusal("The bounds of a range of whole numbers are whole.", "low")
        return self

    def holds(self, value: Any) -> bool:
        """Whether it may be this value."""
        if self.choices:
            return _key(value) in {_key(choice) for choice in self.choices}
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        return number and self.low <= value <= self.high and (not self.integer or float(value).is_integer())


class Budget(Options):
    """What a design may cost. Checked before anything trains: weights by the exact count, memory by the planner."""

    percent: float | None = option(
        None, gt=0, le=100, label="share", zh="占比", unit="%", help="Of the model's weights that train, without a task head, at most."
    )
    weights: int | None = option(None, ge=1, label="weights", zh="权重数", help="That train, without a task head, at most.")
    memory: int | None = option(None, ge=1, label="memory", zh="内存", unit="bytes", help="Planned peak of training, at most; 900 MB may be written.")

    @field_validator("memory", mode="before")
    @classmethod
    def _with_unit(cls, value: Any) -> Any:
        return _bytes(value) if isinstance(value, str) else value

    @property
    def empty(self) -> bool:
        """Whether nothing is bounded."""
        return self.percent is None and self.weights is None and self.memory is None


class Anchor(Options):
    """A named design that is tried first, and beside which the winner is tested."""

    method: str = option(label="method", zh="方法", help="A method preset.")
    set: dict[str, Any] = option(default_factory=dict, label="set", zh="修改", help="Changes of a run by path, also training.lr.")

    @model_validator(mode="before")
    @classmethod
    def _by_name(cls, value: Any) -> Any:
        return {"method": value} if isinstance(value, str) else value


class SearchSpec(Options):
    """A search: a model, a task, a space, a budget, and how to look."""

    name: str = option("", max_length=40, label="name", zh="名称", help="Its name, and the tag of its runs: a-z, 0-9 and -. Empty: one is made.")
    title: str = option("", max_length=120, help="What it looks for.")
    title_zh: str = option("", max_length=120, help="The same in Chinese.")
    model: str = option(min_length=1, max_length=500, label="model", zh="模型", help="A preset, a hub id, or a local folder.")
    task: Union[str, TaskSpec] = option(label="task", zh="任务", help="A preset, or a task of your own.")
    method: Any = option(
        "lora", label="method", zh="方法", help="Where the space begins: a preset, or a whole method. What no axis changes stays as it has it."
    )
    quantisation: str = option("none", label="quantisation", zh="量化", help="Of the frozen base, as a run has it.")
    training: dict[str, Any] = option(default_factory=dict, label="training", zh="训练", help="How all designs train, as in a run; steps must be given.")
    space: dict[str, Axis] = option(label="space", zh="搜索空间", help="Option by path → what it may be.")
    anchors: list[Anchor] = option(
        default_factory=list, max_length=40, label="anchors", zh="锚点",
        help="Presets that are tried first. One that is over the budget of weights gets the largest ranks that keep it.",
    )  # fmt: skip
    budget: Budget = option(default_factory=Budget, label="budget", zh="预算", help="What a design may cost.")
    objectives: list[Objective] = option(
        default_factory=lambda: ["metric"], min_length=1, max_length=4, label="objectives", zh="目标",
        help="metric (the task's), and with it weights, memory or seconds, which are to be small.",
    )  # fmt: skip
    trials: int = option(20, ge=1, le=1000, label="trials", zh="试验数", help="Designs that are trained, anchors among them.")
    together: int = option(
        1,
        ge=1,
        le=64,
        label="together",
        zh="同批",
        help="Designs that are proposed at once, so that as many slots train; each batch learns from those before it.",
    )
    minutes: float | None = option(
        None, gt=0, label="minutes", zh="分钟", unit="min", help="After so many no design is begun any more; the last rung follows. Empty: no limit."
    )
    sampler: Literal["tpe", "random", "nsga2", "qmc"] = option("tpe", label="sampler", zh="采样器", help="Optuna's that proposes designs.")
    pruner: Literal["auto", "halving", "hyperband", "median", "none"] = option(
        "auto", label="pruner", zh="剪枝", help="Optuna's that ends designs at a rung. auto: halving for one objective, none for several."
    )
    rungs: list[int] = option(
        default_factory=list,
        max_length=8,
        label="rungs",
        zh="梯级",
        unit="steps",
        help="Steps at which designs are judged, the last one all steps. Empty: a ninth, a third, all.",
    )
    finalists: int = option(2, ge=1, le=20, label="finalists", zh="决赛数", help="Designs of the last rung.")
    baselines: int = option(1, ge=0, le=20, label="baselines", zh="基线数", help="Anchors beside them in the last rung, the best ones so far.")
    seeds: int = option(3, ge=1, le=20, label="seeds", zh="种子数", help="Of each design of the last rung.")
    seed: int = option(0, ge=0, le=2**31, label="seed", zh="随机种子", help="Of the proposals, and the first one of the runs.")

    @field_validator("name")
    @classmethod
    def _folder(cls, name: str) -> str:
        if name and not NAME.fullmatch(name):
            raise Refusal("A search's name has small letters, digits and dashes, begins with a letter or digit, and is at most 40 long.")
        return name

    @field_validator("task", mode="before")
    @classmethod
    def _one(cls, task: Any) -> Any:
        return task[0] if isinstance(task, list) and len(task) == 1 else task

    @field_validator("budget", mode="before")
    @classmethod
    def _in_words(cls, budget: Any) -> Any:
        return budget_of(budget) if isinstance(budget, str) else budget

    @field_validator("objectives")
    @classmethod
    def _with_metric(cls, objectives: list[str]) -> list[str]:
        if "metric" not in objectives or len(set(objectives)) < len(objectives):
            raise Refusal("The metric is among the objectives, and each stands once.")
        return objectives

    @model_validator(mode="after")
    def _whole(self) -> SearchSpec:
        if not self.space:
            raise Refusal("A search needs at least one axis, as in deltas.0.rank: 1..64.", "space")
        training = validate(Training, self.training, "training.")
        if not training.steps:
            raise Refusal("A search lays its rungs out in steps: give training.steps.", "training.steps")
        if training.until or training.test or training.epochs:
            raise Refusal("A search says itself where runs end and which are tested: leave until, epochs and test out.", "training")
        self._check_rungs(training.steps)
        object.__setattr__(self, "space", {path: _declared(path, axis, self.space) for path, axis in self.space.items()})
        if len(self.objectives) > 1 and self.pruner not in ("auto", "none"):
            raise Refusal("A pruner weighs one objective: choose none, or the metric alone.", "pruner")
        if self.sampler == "nsga2" and self.pruning != "none":
            raise Refusal("NSGA-II breeds from designs that came to their end: choose pruner none with it.", "pruner")
        for index, anchor in enumerate(self.anchors):
            try:
                catalogue.read("methods", anchor.method)
            except Refusal as refusal:
                raise Refusal(refusal.sentence, f"anchors.{index}.method") from None
            if path := next((path for path in anchor.set if not _free(path)), ""):
                raise Refusal("A search does not vary '{path}'.", f"anchors.{index}.set", path=path)
        return self

    def _check_rungs(self, steps: int) -> None:
        if not self.rungs:
            found = sorted({max(1, math.ceil(steps / 9)), max(1, math.ceil(steps / 3)), steps})
            object.__setattr__(self, "rungs", found)
        if any(rung < 1 for rung in self.rungs) or sorted(set(self.rungs)) != self.rungs or self.rungs[-1] != steps:
            raise Refusal("Rungs rise, each once, and the last one is all {steps:,} steps.", "rungs", steps=steps)

    @property
    def pruning(self) -> str:
        """The pruner: halving, hyperband, median or none."""
        return ("none" if len(self.objectives) > 1 or self.sampler == "nsga2" else "halving") if self.pruner == "auto" else self.pruner

    @property
    def ladder(self) -> list[int]:
        """The rungs that a design climbs by itself, before the last one. Without a pruner there is one."""
        below = self.rungs[:-1] or self.rungs
        return below[-1:] if self.pruning == "none" else below

    @property
    def steps(self) -> int:
        """Of a whole run."""
        return self.rungs[-1]

    def base(self) -> dict[str, Any]:
        """The plain run that all points change."""
        task = self.task if isinstance(self.task, str) else self.task.model_dump(mode="json")
        return {"model": self.model, "task": task, "method": self.method, "quantisation": self.quantisation, "training": dict(self.training), "seed": self.seed}

    def at(self, point: Mapping[str, Any]) -> RunSpec:
        """The run at a point ({path: value}). Raises Refusal where the design has no such meaning."""
        method = point.get("method")
        document = self.base() if method is None else {**self.base(), "method": method}
        return spec_of(apply(document, {path: value for path, value in point.items() if path != "method"}))

    def document(self) -> dict[str, Any]:
        """The plain JSON-able form."""
        return self.model_dump(mode="json")


def search_of(document: Any) -> SearchSpec:
    """A validated search from a plain document, or a `Refusal` with one sentence and the field it is about."""
    return validate(SearchSpec, document)


def load(name: str) -> SearchSpec:
    """A search by its preset's name. Raises Refusal."""
    return search_of({"name": "", **catalogue.read("searches", name)})


def names() -> tuple[str, ...]:
    """The presets of searches."""
    return catalogue.names("searches")


def budget_of(text: str) -> dict[str, Any]:
    """A budget in words: "0.3 % weights, 900 MB", "50000 weights". Raises Refusal."""
    found: dict[str, Any] = {}
    for part in filter(None, (one.strip() for one in re.split(r",| and ", text.replace("，", ",")))):
        match = re.fullmatch(r"([\d.eE+]+|\d+)\s*(%|[kM]?)\s*(?:of the\s+)?(weights|[KMG]i?B|B)?", part)
        number = parse_value(match[1]) if match else None
        if not match or not isinstance(number, (int, float)) or (match[2] != "%" and not match[3]):
            raise Refusal("A budget is written as in '0.3 % weights, 900 MB'; '{part}' is not.", part=part[:60])
        if match[2] == "%":
            found["percent"] = number
        elif match[3] == "weights":
            found["weights"] = int(number * {"": 1, "k": 1_000, "M": 1_000_000}[match[2]])
        else:
            found["memory"] = _bytes(part)
    return found


def space_of(pairs: Sequence[str]) -> dict[str, Any]:
    """A space from `path=1..64 log` or `path=v1,v2` texts."""
    found: dict[str, Any] = {}
    for path, text in assignments(pairs, "--space").items():
        text = text.strip()
        found[path] = text if text == "any" or RANGE.fullmatch(text) else [parse_value(value) for value in _listed(path, text)]
    return found


def _listed(path: str, text: str) -> list[Any]:
    value = read(f"[{text}]", f"The values of {path}", f"space.{path}")
    return value if isinstance(value, list) else [value]


def _of_text(text: str) -> dict[str, Any]:
    if text.strip() == "any":
        return {"choices": ["any"]}
    match = RANGE.fullmatch(text)
    bounds = [parse_value(match[1]), parse_value(match[2])] if match else []
    if not match or not all(isinstance(bound, (int, float)) and not isinstance(bound, bool) for bound in bounds):
        raise Refusal("A range is written as in 1..64 or 1e-4..1e-2 log; '{text}' is not.", text=text[:60])
    whole = all(isinstance(bound, int) for bound in bounds)
    return {"low": bounds[0], "high": bounds[1], "log": bool(match[3]), "integer": True if whole else None}


def _declared(path: str, axis: Axis, space: Mapping[str, Axis]) -> Axis:
    """The axis as the declaration of its option has it. Raises Refusal for an option that there is not, or that a search does not vary."""
    place = f"space.{path}"
    if not _free(path):
        raise Refusal("A search does not vary '{path}'.", place, path=path)
    for other, values in axis.when.items():
        if other not in space or other == path or space[other].when:
            raise Refusal("'when' names another axis that is always there; '{path}' is none.", f"{place}.when", path=other)
        if missing := next((value for value in values if not space[other].holds(value)), None):
            raise Refusal("'{path}' is never {value}.", f"{place}.when", path=other, value=missing)
    known = option_at(path)
    if axis.choices == ["any"]:
        choices: list[Any] = [False, True] if known and known.kind == "flag" else list(known.choices) if known else []
        if not choices:
            raise Refusal("'{path}' has no choices of its own: write the values, or a range.", place, path=path)
        return axis.model_copy(update={"choices": choices})
    if axis.choices or known is None:
        return axis
    if known.kind not in ("integer", "number", "text"):
        raise Refusal("'{path}' is no number: write its values.", place, path=path)
    integer = known.kind == "integer" if known.kind != "text" else bool(axis.integer)
    if integer and not (float(axis.low or 0).is_integer() and float(axis.high or 0).is_integer()):
        raise Refusal("The bounds of a range of whole numbers are whole.", place)
    if (known.minimum is not None and axis.low < known.minimum) or (known.maximum is not None and axis.high > known.maximum):  # type: ignore[operator]
        raise Refusal("'{path}' goes from {least} to {most}.", place, path=path, least=known.minimum, most=known.maximum)
    return axis.model_copy(update={"integer": integer})


def option_at(path: str) -> OptionField | None:
    """The declaration of an option by path; None where it is deeper than a delta (a schedule's, a selection's). Raises Refusal where there is none."""
    first, _, rest = path.partition(".")
    group: Any = {"training": Training}.get(first)
    if first == "deltas":
        group, rest = Delta, rest.partition(".")[2]
        if not rest:
            return None
    elif group is None:
        if first not in (*RunSpec.model_fields, "select", "method"):
            raise Refusal("There is no option '{path}'; write it as in deltas.0.rank or training.lr.", f"space.{path}", path=path)
        return next((field for field in fields(RunSpec) if field.path == path), None)
    if rest.partition(".")[0] not in group.model_fields:
        raise Refusal("There is no option '{path}'; there are {known}.", f"space.{path}", path=path, known=", ".join(group.model_fields))
    return next((field for field in fields(group) if field.path == rest), None)


def _free(path: str) -> bool:
    return not any(path == one or path.startswith(one + ".") for one in OUTSIDE)


def _bytes(text: str) -> int:
    match = re.fullmatch(r"\s*([\d.]+)\s*([KMG]?I?B)\s*", text.upper())
    number = parse_value(match[1]) if match else None
    if not match or not isinstance(number, (int, float)):
        raise Refusal("Memory is written as in 900 MB; '{text}' is not.", text=text[:40])
    return int(number * UNITS[match[2]])


def _key(value: Any) -> str:
    """Two values that mean the same are one: 8 and 8.0, not 1 and true."""
    return json.dumps(float(value) if isinstance(value, int) and not isinstance(value, bool) else value, sort_keys=True, default=str)
