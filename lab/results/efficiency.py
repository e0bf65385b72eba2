"""One number for a result and what it cost: the PSCP score of PEFT-Bench (Belanec, Pecher, Srba and Bielikova 2025, arXiv 2511.21285).

PSCP = P · (1 + M_p/C_p)^−β_p · (1 + M_f/C_f)^−β_f · (1 + M_m/C_m)^−β_m

P: the metric; M_p: trainable weights; M_f: what the method adds to a forward pass, TFLOPs; M_m: peak memory of training, GB. Constants and β = 1 are those of the
authors' script (kinit-sk/PEFT-Factory, scripts/peftfactory/cal_psqp.py), made for models of 8 B weights on a device of 94 GB: on small models all penalties
are near 1. Where the lab differs: M_f is counted, not profiled (two FLOPs a multiply-add of `lab.design.method.work`, one row of 512 tokens as there,
what merges into weights not merged), and M_m is peak step memory on every device, on a CPU that of its metered steps: a process holds more than a step does.
"""

from __future__ import annotations

import functools
import json

from lab.design.body.anatomy import anatomy
from lab.design.method import named
from lab.design.method.work import frozen_work, step_work
from lab.design.plain.refusal import Refusal
from lab.results.facts import result, step_bytes
from lab.runs import Run

WEIGHTS, TFLOPS, GB = 5e8, 10.0, 94.0  # C_p, C_f, C_m
BETA = 1.0  # of each penalty
TOKENS = 512  # of the one row that M_f is counted on


def pscp(performance: float, weights: float, tflops: float, gigabytes: float, betas: tuple[float, float, float] = (BETA, BETA, BETA)) -> float:
    """The score; `performance` in any unit where more is better."""
    costs = ((weights, WEIGHTS), (tflops, TFLOPS), (gigabytes, GB))
    for (cost, constant), beta in zip(costs, betas, strict=True):
        performance *= (1 + cost / constant) ** -beta
    return performance


def pscp_of(run: Run) -> float | None:
    """The score of a run's result, in the unit of its metric; None where it is no result, its metric is better when it is less, or a cost is not known."""
    judged, weights, peak = result(run), run.result.get("trainable"), step_bytes(run)
    if judged is None or not judged.metric.greater or not isinstance(weights, (int, float)) or peak is None:
        return None
    added = added_tflops(str(run.spec.get("model", "")), json.dumps(run.spec.get("method"), sort_keys=True))
    return None if added is None else pscp(judged.value, float(weights), added, peak / 1e9)


@functools.lru_cache(maxsize=256)
def added_tflops(model: str, method: str) -> float | None:
    """What a method (its document as JSON) adds to a model's forward pass over one row of 512 tokens, TFLOPs; None where the model is not here any more."""
    from lab.models import resolve

    try:
        body, chosen = anatomy(resolve(model).config), named.method_of(json.loads(method))
        work = step_work(chosen, body, 1, TOKENS).forward - frozen_work(body, 1, TOKENS).forward
    except (Refusal, ValueError, KeyError, TypeError, AttributeError, IndexError):
        return None
    return max(0.0, 2e-12 * work)
