"""The heads of a run of several tasks: one model, in whose head every task puts its own weights when its rows come.

The head that the model was loaded with is the first task's. The others start as in a run of that task alone with the same seed. All are parameters of
the model (`lab_heads`), so that other processes and meters know them; a step of one task reaches no other's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from lab.design.spec.objectives import OBJECTIVES
from lab.engine.select import head_parameters
from lab.models import load, of_run
from lab.tasks import Prepared


@dataclass
class Heads:
    """`made`: {task: {name of a parameter in the model: its parameter for this task}}."""

    model: nn.Module
    made: dict[str, dict[str, nn.Parameter]]

    def __post_init__(self) -> None:
        first = next(iter(self.made.values()))
        owners = {id(p): (module, name) for module in self.model.modules() for name, p in module._parameters.items()}
        self.places = {name: owners[id(parameter)] for name, parameter in first.items()}
        self.model.lab_heads = nn.ParameterList([p for head in self.made.values() for p in head.values()])

    def turn(self, name: str, task: Prepared) -> None:
        """From here on the model answers as this task asks."""
        for parameter, value in self.made[name].items():
            module, attribute = self.places[parameter]
            module._parameters[attribute] = value
            if isinstance(module, nn.Linear):
                module.out_features = module.weight.shape[0]
        answers_as(self.model, task.objective, task.num_labels)

    def parameters(self) -> dict[str, nn.Parameter]:
        """All of them, as task/name."""
        return {f"{task}/{name}": parameter for task, head in self.made.items() for name, parameter in head.items()}


def answers_as(model: Any, objective: str, outputs: int | None) -> None:
    """Tell a model with a head how many outputs it has and what they are: its own loss asks."""
    model.config.num_labels, model.config.problem_type = outputs, OBJECTIVES[objective].problem
    if hasattr(model, "num_labels"):
        model.num_labels = outputs


def heads_of(spec: Any, model: nn.Module, mine: Mapping[str, nn.Parameter], tasks: Mapping[str, Prepared], tokenizer: Any, dtype: Any) -> Heads:
    """A head for every task, in the precision and on the device of `mine`, the first one's."""
    first, *others = tasks
    started: dict[tuple[str, int | None], dict[str, Tensor]] = {}
    made = {first: dict(mine)}
    for name in others:
        task = tasks[name]
        kind = task.objective, task.num_labels
        if kind not in started:
            alone = load(of_run(spec), objective=task.objective, num_labels=task.num_labels, dtype=dtype, seed=spec.seed, tokenizer=tokenizer)
            started[kind] = {each: parameter.detach().clone() for each, parameter in head_parameters(alone).items() if each in mine}
            del alone
        made[name] = {each: nn.Parameter(tensor.to(mine[each].device, mine[each].dtype, copy=True)) for each, tensor in started[kind].items()}
    return Heads(model, made)
