"""How often and on how many rows a run will be judged, said before it starts. Torch-free."""

from __future__ import annotations

import math

from lab.design.spec.evaluation import EvaluationPlan, Split, plan
from lab.design.spec.objectives import OBJECTIVES
from lab.design.spec.run import EPOCHS, RunSpec
from lab.models import of_run
from lab.tasks import objective_of, resolve


def planned(spec: RunSpec) -> EvaluationPlan | None:
    """The plan that the run will make of the same counts; None where it depends on the rows' texts (several tasks, scored options, written answers, blocks
    of text), or they are not counted. Raises Refusal for a task or a model that is not known."""
    task, training = resolve(spec.task), spec.training
    if spec.further or spec.combination or not OBJECTIVES[objective_of(task, of_run(spec))].headed:
        return None
    rows = {
        split: min(found, most or found)
        for split, most in (("train", task.train_rows), ("validation", task.validation_rows))
        if (found := task.rows.get(split))
    }
    if "validation" not in rows or training.steps is None and "train" not in rows:
        return None
    each = training.batch_size * training.accumulation
    steps = training.steps if training.steps is not None else max(1, math.ceil((training.epochs or EPOCHS) * -(-rows["train"] // each)))
    return plan(training, steps, each, [Split(rows["validation"])])
