"""Combinations that are no runs yet: a text, or the validation rows of their tasks, at whatever weights. Runs in the child process of `lab.trying.serve`; needs torch."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from lab import blocks, combining
from lab.design.method.delta import Method
from lab.design.plain.options import validate
from lab.design.spec.combination import Combination
from lab.design.spec.objectives import OBJECTIVES
from lab.design.spec.run import named_tasks, spec_of
from lab.export.source import Opened, load_head
from lab.models import config_of, load, load_tokenizer, of_run
from lab.runs import default
from lab.tasks import prepare
from lab.trying.answering import both

KEPT = 2  # sets of runs whose models are in memory
ROWS = 200  # of each task's validation split
BATCH = 32
_kept: OrderedDict[tuple[str, ...], Mix] = OrderedDict()


def answer(request: Mapping[str, Any]) -> dict[str, Any]:
    """Of {"combination", "text", "pair"}: {"tasks": [{"task", "kind", "on", "off"}]}, as `lab.trying.answering` answers for a run; of {"combination"} alone
    {"tasks": [{"task", "metric", "greater", "value", "rows"}]}: what each task comes to on at most ROWS of its validation rows. Raises Refusal."""
    asked = validate(Combination, request.get("combination"), f"{combining.FIELD}.")
    found = combining.parts(asked)
    key = tuple(f"{block.name} {block.print}" for block in found)
    if key not in _kept:
        _kept[key] = Mix(found)
    _kept.move_to_end(key)
    while len(_kept) > KEPT:
        _kept.popitem(last=False)
    return {"tasks": _kept[key].answer(asked, request)}


class Mix:
    """Some runs of one base: a model for each of their tasks, to which their change of the moment is attached while it is asked."""

    def __init__(self, found: list[blocks.TrainedBlock]):
        from lab.engine.combining import Parts

        self.found, self.name = found, found[0].spec.model
        self.body, self.tokenizer = combining.body_of(self.name), load_tokenizer(self.name)
        self.spec = spec_of(combining.document([block.name for block in found]))
        taken = sum(block.spec.method.positions_taken for block in found)
        self.tasks: dict[str, tuple[Any, Any]] = {}  # name: (task made ready, model)
        for name, task in named_tasks(list(self.spec.tasks.values())).items():
            prepared = prepare(task, self.tokenizer, config_of(self.name), max_length=self.spec.training.max_length,
                               cache_dir=default().home.cache, evaluation_rows=ROWS, taken=taken)  # fmt: skip
            self.tasks[name] = prepared, self._model(prepared)
        first = next(iter(self.tasks.values()))[1]
        self.parts = Parts(first, [(block.spec.method, block.state()) for block in found])
        self.made: tuple[Combination, Method, dict[str, Any]] | None = None  # what was asked for last

    def _model(self, prepared: Any) -> Any:
        """A model of its own for each head; one for all tasks that are answered in words."""
        if not OBJECTIVES[prepared.objective].headed:
            for other, model in self.tasks.values():
                if other.objective == prepared.objective:
                    return model
        model = load(of_run(self.spec), objective=prepared.objective, num_labels=prepared.num_labels, tokenizer=self.tokenizer)
        for parameter in model.parameters():
            parameter.requires_grad_(False)
        return model.eval()

    def _state(self, asked: Combination) -> tuple[Method, dict[str, Any]]:
        from lab.engine.combining import How

        if self.made is None or self.made[0] != asked:
            method = combining.method_of(asked, self.found, self.body)
            self.made = asked, method, self.parts.state(method, asked.weights, How(asked.how, asked.rank, asked.density, asked.sign))
        return self.made[1:]

    def answer(self, asked: Combination, request: Mapping[str, Any]) -> list[dict[str, Any]]:
        """See `answer` of this module."""
        from lab.engine import attach

        method, state = self._state(asked)
        heads = combining.heads(self.found, asked.weights, list(self.spec.tasks.values()))
        answers = []
        for name, (prepared, model) in self.tasks.items():
            if OBJECTIVES[prepared.objective].headed:
                load_head(model, blocks.head_of(heads, name if len(self.tasks) > 1 else ""))
            attached = attach(model, method, state=state)
            model.eval()
            try:
                opened = Opened(self.spec, model, attached, self.tokenizer, prepared.objective)
                answers.append({"task": name, **(both(opened, prepared, request) if "text" in request else self._measured(model, prepared))})
            finally:
                attached.detach()
        return answers

    def _measured(self, model: Any, prepared: Any) -> dict[str, Any]:
        rows = prepared.validation
        values = prepared.evaluate(model, rows, batch_size=BATCH, device="cpu")
        return {"metric": prepared.metric, "greater": prepared.greater_is_better, "value": float(values[prepared.metric]), "rows": len(rows)}
