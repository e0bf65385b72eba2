"""Optuna's part: proposing a design, ending one at a rung, and saying which options mattered. The one file that imports it.

A study is made anew in memory from the record whenever it is needed, with a sampler seeded by the search's seed, the trial's number and the
attempt: a proposal is a function of the record alone. Designs over the budget are in it as trials that broke a constraint, and teach the sampler.
"""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState

from lab.design.spec.search import Axis, SearchSpec
from lab.searching.record import COMPLETE, OPEN, OVER, PRUNED, SearchRecord, Trial

FACTOR = 3  # of successive halving and Hyperband: one of so many goes on (Li et al. 2018 take 3 or 4)
STUCK = 20  # attempts at one design after which it is drawn at random: a sampler that learns may come back to what is refused or known
FEWEST = 4  # trials from which importances say anything at all

optuna.logging.set_verbosity(optuna.logging.WARNING)
warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)


def distribution(axis: Axis) -> BaseDistribution:
    """An axis as Optuna has it. Choices are told apart by their place: a list is no value of Optuna's."""
    if axis.choices:
        return CategoricalDistribution(list(range(len(axis.choices))))
    if axis.integer:
        return IntDistribution(int(axis.low or 0), int(axis.high or 0), log=axis.log)
    return FloatDistribution(float(axis.low or 0), float(axis.high or 0), log=axis.log)


def outer(axis: Axis, value: Any) -> Any:
    """What a value of Optuna's stands for."""
    return axis.choices[value] if axis.choices else value


def inner(axis: Axis, value: Any) -> Any:
    """The value of Optuna's that stands for it."""
    if axis.choices:
        found = [json.dumps(choice, sort_keys=True) for choice in axis.choices]
        wanted = json.dumps(value, sort_keys=True)
        return found.index(wanted) if wanted in found else next(place for place, choice in enumerate(axis.choices) if choice == value)
    return int(value) if axis.integer else float(value)


def there(axis: Axis, params: Mapping[str, Any]) -> bool:
    """Whether an axis is one of a design that has these values on the axes which are always there."""
    return all(params.get(path) in values for path, values in axis.when.items())


def ordered(spec: SearchSpec) -> list[tuple[str, Axis]]:
    """The axes, those that are always there first."""
    return sorted(spec.space.items(), key=lambda one: bool(one[1].when))


# -- proposing


def draw(spec: SearchSpec, record: SearchRecord, number: int, attempt: int) -> dict[str, Any]:
    """The params of a new design, {path: value}."""
    seed = _seed(spec, number, attempt)
    if attempt >= STUCK and spec.sampler in ("tpe", "nsga2"):
        return _suggested(spec, optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed)).ask())
    study = _quasi(spec, record.asked, seed) if spec.sampler == "qmc" else _study(spec, record, _sampler(spec, seed))
    return _suggested(spec, study.ask())


def _suggested(spec: SearchSpec, trial: optuna.Trial) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for path, axis in ordered(spec):
        if not there(axis, found):
            continue
        if axis.choices:
            found[path] = outer(axis, trial.suggest_categorical(path, list(range(len(axis.choices)))))
        elif axis.integer:
            found[path] = trial.suggest_int(path, int(axis.low or 0), int(axis.high or 0), log=axis.log)
        else:
            found[path] = trial.suggest_float(path, float(axis.low or 0), float(axis.high or 0), log=axis.log)
    return found


def _seed(spec: SearchSpec, number: int, attempt: int) -> int:
    return int.from_bytes(hashlib.sha256(f"{spec.seed}/{number}/{attempt}".encode()).digest()[:4], "big")


def _sampler(spec: SearchSpec, seed: int) -> optuna.samplers.BaseSampler:
    if spec.sampler == "tpe":
        startup = min(10, max(4, spec.trials // 3))
        return optuna.samplers.TPESampler(seed=seed, n_startup_trials=startup, multivariate=True, group=True)
    if spec.sampler == "nsga2":
        return optuna.samplers.NSGAIISampler(seed=seed, population_size=max(4, min(50, spec.trials // 3)))
    return optuna.samplers.RandomSampler(seed=seed)


def _quasi(spec: SearchSpec, asked: int, seed: int) -> optuna.Study:
    """A study whose next trial is the `asked`-th point of one scrambled Sobol sequence over the axes that are always there; the others are drawn."""
    sampler = optuna.samplers.QMCSampler(scramble=True, seed=spec.seed, independent_sampler=optuna.samplers.RandomSampler(seed=seed),
                                         warn_independent_sampling=False, warn_asynchronous_seeding=False)  # fmt: skip
    study = optuna.create_study(sampler=sampler)
    always = {path: distribution(axis) for path, axis in ordered(spec) if not axis.when}
    some = {path: each.choices[0] if isinstance(each, CategoricalDistribution) else each.low for path, each in always.items()}  # type: ignore[attr-defined]
    study.add_trial(optuna.trial.create_trial(params=some, distributions=always, value=0.0))  # says what the sequence is over
    for _ in range(asked):
        study.tell(study.ask(), state=TrialState.FAIL)
    return study


# -- the study of a record


def _study(spec: SearchSpec, record: SearchRecord, sampler: optuna.samplers.BaseSampler, pruner: optuna.pruners.BasePruner | None = None) -> optuna.Study:
    study = optuna.create_study(study_name=record.name, directions=_directions(spec, record), sampler=sampler, pruner=pruner)
    study.add_trials([_frozen(spec, trial) for trial in record.trials])
    study.add_trials([_meaningless(spec, params) for params in record.meaningless])
    return study


def _directions(spec: SearchSpec, record: SearchRecord) -> list[str]:
    return ["maximize" if name == "metric" and record.greater else "minimize" for name in spec.objectives]


def values_of(spec: SearchSpec, trial: Trial) -> list[float] | None:
    """What a trial came to by each objective; None where one is not known."""
    found = {"metric": trial.value, "weights": trial.weights, "memory": trial.memory, "seconds": trial.seconds}
    values = [found[name] for name in spec.objectives]
    return None if None in values else [float(value) for value in values]  # type: ignore[arg-type]


def _frozen(spec: SearchSpec, trial: Trial) -> FrozenTrial:
    values = values_of(spec, trial)
    state = {COMPLETE: TrialState.COMPLETE, PRUNED: TrialState.PRUNED, OVER: TrialState.PRUNED, OPEN: TrialState.RUNNING}.get(trial.state, TrialState.FAIL)
    if state == TrialState.COMPLETE and values is None:
        state = TrialState.FAIL
    axes = {path: spec.space[path] for path in trial.params if path in spec.space}
    return optuna.trial.create_trial(
        state=state,
        values=values if state == TrialState.COMPLETE else None,
        params={path: inner(axis, trial.params[path]) for path, axis in axes.items()},
        distributions={path: distribution(axis) for path, axis in axes.items()},
        intermediate_values={} if len(spec.objectives) > 1 else {_resource(spec, rung.step): rung.value for rung in trial.rungs if rung.value is not None},
        system_attrs=dict(trial.marks),
        constraints=_constraints(spec, trial),
    )


def _meaningless(spec: SearchSpec, params: dict[str, Any]) -> FrozenTrial:
    """A point that the design's rules refuse, as one that breaks a bound: TPE would come back to what it has never seen the outcome of."""
    axes = {path: spec.space[path] for path in params}
    return optuna.trial.create_trial(
        state=TrialState.PRUNED,
        params={path: inner(axis, params[path]) for path, axis in axes.items()},
        distributions={path: distribution(axis) for path, axis in axes.items()},
        constraints={"meaning": 1.0},
    )


def _constraints(spec: SearchSpec, trial: Trial) -> dict[str, float]:
    """What is broken by how much (above 0), and the other bounds as kept."""
    bounds = [name for name in ("percent", "weights", "memory") if getattr(spec.budget, name) is not None]
    return {name: trial.over.get(name, -1e-9) for name in bounds}


# -- ending a design at a rung


def pruned(spec: SearchSpec, record: SearchRecord, trial: Trial) -> bool:
    """Whether the pruner ends a trial at the rung that it was judged at last; what it notes of the trial goes into its marks."""
    pruner = _pruner(spec)
    if pruner is None:
        return False
    study = _study(spec, record, optuna.samplers.RandomSampler(seed=0), pruner)
    ended = pruner.prune(study, study.get_trials(deepcopy=False)[trial.number])
    trial.marks = {name: value for name, value in study.get_trials()[trial.number].system_attrs.items() if not name.startswith("constraints")}
    return bool(ended)


def _resource(spec: SearchSpec, step: int) -> int:
    """What Optuna's pruners count in for a rung: powers of FACTOR, so that each of the spec's rungs is one of theirs, whatever its steps."""
    return FACTOR ** spec.rungs.index(step)


def _pruner(spec: SearchSpec) -> optuna.pruners.BasePruner | None:
    if spec.pruning == "halving":
        return optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=FACTOR)
    if spec.pruning == "hyperband":
        return optuna.pruners.HyperbandPruner(min_resource=1, max_resource=_resource(spec, spec.steps), reduction_factor=FACTOR)
    return optuna.pruners.MedianPruner(n_startup_trials=FEWEST) if spec.pruning == "median" else None


# -- afterwards


def front(spec: SearchSpec, record: SearchRecord, trials: Sequence[Trial]) -> list[int]:
    """The numbers of those that no other beats in every objective (the Pareto front); with one objective, of the best."""
    signs = [-1.0 if direction == "maximize" else 1.0 for direction in _directions(spec, record)]
    points = [(trial.number, [sign * value for sign, value in zip(signs, values, strict=True)])
              for trial in trials if trial.state in (COMPLETE, PRUNED) and (values := values_of(spec, trial)) is not None]  # fmt: skip
    beats = lambda a, b: all(x <= y for x, y in zip(a, b, strict=True)) and a != b  # noqa: E731
    return [number for number, point in points if not any(beats(other, point) for _, other in points)]


def importance(spec: SearchSpec, record: SearchRecord) -> dict[str, float]:
    """{path: share of the metric's variance that the option explains} by fANOVA (Hutter et al. 2014), over the first rung, which every trial has; {} for too few.

    Of options that are always there: one that only some designs have cannot be weighed against the others.
    """
    always = [path for path, axis in ordered(spec) if not axis.when]
    found = [trial for trial in record.trials if trial.rungs and trial.rungs[0].value is not None and all(path in trial.params for path in always)]
    varied = [path for path in always if len({json.dumps(trial.params[path]) for trial in found}) > 1]
    if len(found) < FEWEST or not varied or len({trial.rungs[0].value for trial in found}) < 2:
        return {}
    study = optuna.create_study(direction="maximize" if record.greater else "minimize")
    study.add_trials([
        optuna.trial.create_trial(
            value=trial.rungs[0].value, params={path: inner(spec.space[path], trial.params[path]) for path in varied},
            distributions={path: distribution(spec.space[path]) for path in varied},
        )
        for trial in found
    ])  # fmt: skip
    shares = optuna.importance.get_param_importances(study, evaluator=optuna.importance.FanovaImportanceEvaluator(seed=spec.seed))
    return {path: float(share) for path, share in shares.items()}
