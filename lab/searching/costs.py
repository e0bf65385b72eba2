"""What a design costs, before anything trains: the exact count of its weights, and the planner's peak. And anchors made to fit a budget."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from lab import verbs
from lab.design.body.anatomy import anatomy
from lab.design.method.count import count_on
from lab.design.method.delta import Method
from lab.design.method.rules import require
from lab.design.plain import numbers
from lab.design.plain.message import listed
from lab.design.plain.refusal import Note, Refusal
from lab.design.spec.run import RunSpec
from lab.design.spec.search import Budget, SearchSpec
from lab.models import resolve
from lab.runs import default
from lab.runs.needs import planned

Peak = Callable[[Mapping[str, Any]], int | None]  # a run's document -> bytes at its peak


@dataclass(frozen=True)
class Costs:
    """Weights that train (at the start, or at the end where they are more then), their share of the model, planned bytes (None: not asked for), and what is broken."""

    weights: int
    percent: float
    memory: int | None
    over: dict[str, float] = field(default_factory=dict)
    reason: str = ""


class Meter:
    """Costs of the runs of one search. `peak`: what plans memory (the lab's planner if None)."""

    def __init__(self, spec: SearchSpec, peak: Peak | None = None):
        self.spec = spec
        model = resolve(spec.model)
        self.body = anatomy(model.config)
        self.inventory = verbs.inventory_of(model)
        self._peak = peak or planned(default().home)

    def costs(self, run: RunSpec) -> Costs:
        """Of a run. Raises Refusal where its design has no meaning on this model or cannot be planned. Memory is planned only if the weights keep the budget."""
        require(run.method, self.body)
        weights, percent = self.weights(run.method)
        self._require_training(run.method, weights)
        budget = self.spec.budget
        over = {name: share for name, share in (("percent", _above(percent, budget.percent)), ("weights", _above(weights, budget.weights))) if share}
        memory = None
        if not over and (budget.memory is not None or "memory" in self.spec.objectives):
            memory = self._peak(run.document())
            if memory is None:
                raise Refusal("The planner says nothing of its memory.", "budget.memory")
            if share := _above(memory, budget.memory):
                over["memory"] = share
        return Costs(weights, percent, memory, over, _reason(budget, over, weights, percent, memory))

    def weights(self, method: Method) -> tuple[int, float]:
        """(weights that train without a task head, their percent of the model)."""
        found = count_on(method, self.body, self.inventory).document()
        most = max(found["trainable"], found.get("final") or 0)
        return most, 100 * most / found["total"]

    def _require_training(self, method: Method, weights: int) -> None:
        headed = method.select is not None and method.select.head_alone
        if not weights and not headed:
            raise Refusal("Nothing of this design trains.", "method")

    def fits(self, method: Method) -> bool:
        """Whether its weights keep the budget."""
        weights, percent = self.weights(method)
        return not _above(percent, self.spec.budget.percent) and not _above(weights, self.spec.budget.weights)

    def fitted(self, point: Mapping[str, Any]) -> dict[str, Any]:
        """The point of an anchor, where it has too many weights with the largest ranks that keep the budget, all lowered in proportion.

        As it is where no rank would do (then it is over the budget). Raises Refusal where it has no meaning.
        """
        method = self.spec.at(point).method
        if self.fits(method):
            return dict(point)
        ranks = {f"deltas.{index}.rank": delta.rank for index, delta in enumerate(method.deltas) if delta.rank > 1}
        most = max(ranks.values(), default=1)
        low, high, best = 1, most - 1, None
        while low <= high:  # weights rise with the ranks
            middle = (low + high) // 2
            lowered = {**point, **{path: max(1, rank * middle // most) for path, rank in ranks.items()}}
            try:
                good = self.fits(self.spec.at(lowered).method)
            except Refusal:  # a rank that this form cannot have
                good = False
            if good:
                best, low = lowered, middle + 1
            else:
                high = middle - 1
        return best or dict(point)


def _above(value: float, bound: float | None) -> float:
    """By which share of a bound a value is above it; 0 where it is not."""
    return max(0.0, value / bound - 1) if bound else 0.0


def _reason(budget: Budget, over: Mapping[str, float], weights: int, percent: float, memory: int | None) -> str:
    parts = {
        "percent": Note("{percent} of the weights, {most} allowed.", percent=numbers.percent(percent), most=numbers.percent(budget.percent)),
        "weights": Note("{weights} weights, {most} allowed.", weights=numbers.weights(weights), most=numbers.weights(budget.weights)),
        "memory": Note("{memory} planned, {most} allowed.", memory=numbers.memory(memory), most=numbers.memory(budget.memory)),
    }
    return listed((parts[name] for name in over), " ")
