"""The search itself: anchors, then proposals up the rungs, the last rung over seeds with presets beside it, and the test split once, for two.

Every step is a function of the record, which is kept before runs are launched and after they are over: whoever takes a killed search up again
finds the ids of its runs, waits for those that live, resumes those that were cut short, and goes on as if nothing had happened.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

from lab.design.plain.message import listed
from lab.design.plain.refusal import Note, Refusal
from lab.design.spec.run import RunSpec
from lab.design.spec.search import SearchSpec
from lab.design.spec.sweep import varied
from lab.runs.home import new_id
from lab.searching import sampling, verdict
from lab.searching.costs import Costs
from lab.searching.jobs import Bench, Halted, Outcome, SearchJob
from lab.searching.record import (
    COMPLETE,
    DONE,
    ENDED,
    FAILED,
    FINALS,
    OPEN,
    OVER,
    PRESET,
    PRUNED,
    RUNNING,
    SPACE,
    STOPPED,
    TEST,
    TRIALS,
    Judged,
    SearchRecord,
    Trial,
)

TRIES = 200  # points in a row that are refused, over the budget or known before a search gives up
LEARNED = 200  # points without a meaning that the sampler learns from, the newest ones
LISTED = 60  # reasons of refusal that are kept


class Driver:
    """Drives one search to its end, or to a stop. `keep` writes the record; `say` gets a line for people."""

    def __init__(
        self, record: SearchRecord, bench: Bench, keep: Callable[[SearchRecord], None], say: Callable[[str], None], clock: Callable[[], float] = time.monotonic
    ):
        self.record, self.bench, self.say, self.clock = record, bench, say, clock
        self.spec: SearchSpec = record.search()
        self._write, self._before, self._again = keep, clock(), True
        self.runs = {trial.number: self._run(trial.point) for trial in record.trials}

    def run(self) -> SearchRecord:
        """Go on from the record as it is; the record at the end, or when a stop was asked for."""
        self.record.state = RUNNING
        try:
            if not self.record.trials:
                self._anchors()
            while self.record.phase == TRIALS:
                self._climb()
                if not self._propose():
                    self._choose()
            if self.record.phase == FINALS:
                self._finals()
            if self.record.phase == TEST:
                self._test()
            self.record.state = ENDED
        except Halted:
            self.record.state = STOPPED
            self.say("Stopped; it can be resumed.")
        self._keep()
        return self.record

    def _keep(self) -> None:
        now = self.clock()
        self.record.seconds, self._before = self.record.seconds + max(0.0, now - self._before), now
        self._write(self.record)

    def _run(self, point: dict[str, Any]) -> RunSpec:
        """The run at a point, as far as it is valid by itself."""
        return self.spec.at(point)

    # -- what is tried

    def _anchors(self) -> None:
        """The presets, each with what the sampler learns from it where it is a point of the space."""
        for anchor in self.spec.anchors:
            point: dict[str, Any] = {"method": anchor.method, **anchor.set}
            label = anchor.method + (f" · {varied(anchor.set)}" if anchor.set else "")
            try:
                fitted = self.bench.fitted(point)
                lowered = {path: value for path, value in fitted.items() if point.get(path) != value}
                run = self._run(fitted)
                costs = self.bench.costs(run)
                if not costs.over:
                    self.bench.check(run)
            except Refusal as problem:
                self._refuse(listed([Note("The preset {preset} was left out.", preset=label), problem.sentence], " "))
                continue
            if len(self.record.trained) >= self.spec.trials and not costs.over:
                self._refuse(listed([Note("The preset {preset} was left out.", preset=label), Note("No trials were left for it.")], " "))
                continue
            self._add(PRESET, label + (f" → {varied(lowered)}" if lowered else ""), fitted, self._params(run, anchor.method), costs, run)
        self._keep()

    def _params(self, run: RunSpec, preset: str) -> dict[str, Any]:
        """The point of the space that is this very design; {} where there is none."""
        document, found = run.document(), {}
        for path, axis in sampling.ordered(self.spec):
            if sampling.there(axis, found):
                value = preset if path == "method" else value_at(document, path, run)
                if not axis.holds(value):
                    return {}
                found[path] = value
        try:
            return found if same_design(self._run(found)) == same_design(run) else {}
        except Refusal:
            return {}

    def _add(self, origin: str, label: str, point: dict[str, Any], params: dict[str, Any], costs: Costs, run: RunSpec) -> None:
        trial = Trial(len(self.record.trials), origin, label, point, params, costs.weights, costs.percent, costs.memory,
                      OVER if costs.over else OPEN, costs.reason, dict(costs.over))  # fmt: skip
        self.record.trials.append(trial)
        self.runs[trial.number] = run

    def _refuse(self, sentence: str) -> None:
        if sentence in self.record.refused or len(self.record.refused) < LISTED:
            self.record.refused[sentence] = self.record.refused.get(sentence, 0) + 1

    def _propose(self) -> bool:
        """Add the next designs, as many as are tried together; whether there is one. All are drawn from what was known before them."""
        spec, record = self.spec, self.record
        if spec.minutes is not None and record.seconds >= 60 * spec.minutes:
            record.note = Note("Its {minutes:g} minutes for trials are over.", minutes=spec.minutes)
            return False
        wanted = min(spec.together, spec.trials - len(record.trained))
        known = {same_design(run) for run in self.runs.values()}
        added = attempt = 0
        while added < wanted and attempt < TRIES:
            params = sampling.draw(spec, record, len(record.trials), attempt)
            record.asked, attempt = record.asked + 1, attempt + 1
            try:
                run = self._run(params)
                if same_design(run) in known:
                    self._refuse(Note("It was tried before."))
                    continue
                costs = self.bench.costs(run)
                if not costs.over:
                    self.bench.check(run)
            except Refusal as problem:
                self._refuse(problem.sentence)
                record.meaningless = [*record.meaningless, params][-LEARNED:]
                continue
            known.add(same_design(run))
            self._add(
                SPACE,
                varied(params) if "method" not in params else " · ".join(filter(None, [str(params["method"]), varied(params)])),
                params,
                params,
                costs,
                run,
            )
            if not costs.over:
                added, attempt = added + 1, 0
        if wanted > 0 and not added:
            record.note = Note("{count} points in a row were refused, over the budget or known: the space holds hardly any other.", count=TRIES)
        if added:
            self._keep()
        return added > 0

    # -- the rungs

    def _climb(self) -> None:
        """Train every open trial up the ladder, rung by rung, until each has ended or is at its top."""
        spec = self.spec
        for index, step in enumerate(spec.ladder):
            climbing = [trial for trial in self.record.trials if trial.state == OPEN and len([r for r in trial.rungs if r.value is not None]) == index]
            for trial in climbing:
                if len(trial.rungs) == index:
                    trial.rungs.append(Judged(step, new_id()))
            if not climbing:
                continue
            self._keep()
            for batch in [climbing[at : at + max(1, spec.together)] for at in range(0, len(climbing), max(1, spec.together))]:
                found = self._train([self._job(trial, trial.rungs[index], trial.rungs[index - 1].run if index else "") for trial in batch])
                for trial, outcome in zip(batch, found, strict=True):
                    self._judge(trial, index, outcome)
                self._keep()

    def _judge(self, trial: Trial, index: int, outcome: Outcome) -> None:
        rung = trial.rungs[index]
        rung.value, rung.seconds = outcome.value, outcome.seconds
        if outcome.value is None:
            trial.state, trial.reason = FAILED, outcome.error
        elif index == len(self.spec.ladder) - 1:
            trial.state = COMPLETE
        elif sampling.pruned(self.spec, self.record, trial):
            trial.state = PRUNED
        self.say(f"{trial.number:3} {trial.label}: {self.record.metric} {outcome.value:.4f} at step {rung.step}, {trial.state}" if outcome.value is not None
                 else f"{trial.number:3} {trial.label}: failed ({outcome.error})")  # fmt: skip

    def _job(self, trial: Trial, judged: Judged, continues: str = "", seed: int | None = None, test: bool = False) -> SearchJob:
        run = self.runs[trial.number]
        training = run.training.model_copy(update={"until": judged.step if judged.step < self.spec.steps else None, "test": test})
        words = "test" if test else f"step {judged.step}"
        name = f"{self.record.name} {trial.number} · {trial.label}"[:96] + f" · {words}"
        built_on = run.built_on.model_copy(update={"continues": continues})
        changes = {"training": training, "built_on": built_on, "seed": self.spec.seed if seed is None else seed, "name": name, "tags": [self.record.name]}
        return SearchJob(judged.run, run.model_copy(update=changes), test)

    def _train(self, jobs: list[SearchJob]) -> list[Outcome]:
        again, self._again = self._again, False
        return self.bench.train(jobs, self.say, again) if jobs else []

    # -- the last rung

    def _choose(self) -> None:
        """Which trials run over all seeds: the best of the space, and the best presets beside them."""
        record, spec = self.record, self.spec
        record.importance = sampling.importance(spec, record)
        record.chosen = [*verdict.best(spec, record, SPACE)[: spec.finalists], *verdict.best(spec, record, PRESET)[: spec.baselines]]
        record.phase = FINALS
        if not record.chosen:
            record.phase, record.note = DONE, record.note or Note("No design that keeps the budget came to an end.")
        self._keep()

    def _finals(self) -> None:
        """Every chosen trial over every seed, the first one from where it stands."""
        spec, jobs = self.spec, []
        for trial in (self.record.trials[number] for number in self.record.chosen):
            last = next(rung for rung in reversed(trial.rungs) if rung.value is not None)
            for seed in range(spec.seed, spec.seed + spec.seeds):
                if str(seed) not in trial.finals:
                    whole = seed == spec.seed and last.step == spec.steps
                    trial.finals[str(seed)] = Judged(**vars(last)) if whole else Judged(spec.steps, new_id())
                if trial.finals[str(seed)].value is None:
                    jobs.append((trial, seed, self._job(trial, trial.finals[str(seed)], last.run if seed == spec.seed else "", seed)))
        self._keep()
        for (trial, seed, _), outcome in zip(jobs, self._train([job for *_, job in jobs]), strict=True):
            trial.finals[str(seed)].value, trial.finals[str(seed)].seconds = outcome.value, outcome.seconds
            if outcome.value is None:
                trial.reason = listed([Note("One of its seeds failed."), outcome.error], " ")
        self.record.phase = TEST
        self._keep()

    def _test(self) -> None:
        """The winner and the best preset by the test split: chosen on validation rows, looked at once, with no step more."""
        record, jobs = self.record, []
        for trial in verdict.pair(self.spec, record):
            for seed, final in trial.finals.items():
                trial.tests.setdefault(seed, Judged(self.spec.steps, new_id()))
                if trial.tests[seed].value is None and not trial.tests[seed].seconds:
                    jobs.append((trial, seed, self._job(trial, trial.tests[seed], final.run, int(seed), test=True)))
        self._keep()
        for (trial, seed, _), outcome in zip(jobs, self._train([job for *_, job in jobs]), strict=True):
            trial.tests[seed].value, trial.tests[seed].seconds = outcome.value, outcome.seconds
        record.verdict = verdict.reached(self.spec, record)
        record.phase = DONE
        self._keep()


def value_at(document: dict[str, Any], path: str, run: RunSpec) -> Any:
    """The value of an option in a run's document; of what a run leaves to its method, the method's."""
    if path in ("training.lr", "training.lr_ratio", "training.weight_decay", "training.clip"):
        return getattr(run, path.removeprefix("training."))
    found: Any = document if path.partition(".")[0] in document else document["method"]
    for part in path.split("."):
        if isinstance(found, list):
            found = found[int(part)] if part.isdigit() and int(part) < len(found) else None
        else:
            found = found.get(part) if isinstance(found, dict) else None
    return found


def same_design(run: RunSpec) -> str:
    """Equal for runs that are one design: what trains, how, and by which numbers, whatever it is called."""
    method, training = run.document()["method"], run.training.model_dump(mode="json")
    effective = {name: getattr(run, name) for name in ("lr", "head_lr", "lr_ratio", "weight_decay", "clip")}
    return json.dumps([run.quantisation, method["deltas"], method["select"], {**training, **effective}], sort_keys=True)
