"""What a format is, and the facts by which it accepts a method before any weights are loaded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from lab.design.body.anatomy import Anatomy, anatomy
from lab.design.method.delta import Method
from lab.design.spec.objectives import OBJECTIVES
from lab.design.spec.run import RunSpec, spec_of
from lab.tasks import objective_of


@dataclass(frozen=True)
class Facts:
    """A method on a model for an objective (classification, multi_label, regression, seq2seq, causal); how the base is quantised, or none."""

    method: Method
    body: Anatomy
    objective: str
    quantisation: str = "none"
    heads: tuple[str, ...] = ()  # the tasks of a run that has a head for each of several
    built_on: bool = False  # whether the run goes on from others, or puts them together

    @classmethod
    def of(cls, spec: RunSpec | Mapping[str, Any]) -> Facts:
        """The facts of a spec. Raises Refusal where its model or task is not known any more."""
        from lab.models import checkpoint, resolve

        spec = spec if isinstance(spec, RunSpec) else spec_of(dict(spec))
        model = resolve(spec.model)
        packed = checkpoint.quantised_by(model) if spec.quantisation == "none" else spec.quantisation
        objective = objective_of(spec.task, model)
        heads = tuple(spec.tasks) if spec.further and OBJECTIVES[objective].headed else ()
        return cls(spec.method, anatomy(model.config), objective, packed or "none", heads, bool(spec.built_on.names or spec.combination))


class Format(Protocol):
    """One way to write an adapter."""

    name: str
    help: str
    weights: bool  # whether it holds any: without, a run needs no adapter yet
    one_head: bool  # whether it has a place for one task's head alone

    def require(self, facts: Facts) -> None:
        """Raise a `Refusal`, without a full stop, that says why the format has no place for this method."""

    def write(self, opened: Any, folder: Path) -> None:
        """Write the files into the folder, which is empty."""
