"""What a search answers: who is the best, on which data, and whether that is more than chance."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import Any

from lab.design.plain.refusal import Note
from lab.design.spec.search import SearchSpec
from lab.searching.record import COMPLETE, PRESET, PRUNED, SPACE, SearchRecord, Trial

LEVEL = 0.95


def best(spec: SearchSpec, record: SearchRecord, origin: str) -> list[int]:
    """The trials of an origin that may go to the last rung, best first: by the rung that they reached, then by the metric there.

    With several objectives those that nothing beats come first.
    """
    from lab.searching.sampling import front

    sign = -1.0 if record.greater else 1.0
    found = [trial for trial in record.trials if trial.origin == origin and trial.state in (COMPLETE, PRUNED) and trial.value is not None]
    unbeaten = set(front(spec, record, found)) if len(spec.objectives) > 1 else set()
    return [trial.number for trial in sorted(found, key=lambda one: (one.number not in unbeaten, -one.step, sign * one.value, one.number))]  # type: ignore[operator]


def pair(spec: SearchSpec, record: SearchRecord) -> list[Trial]:
    """(the winner of the space, the best preset), each by the mean of its seeds on validation rows; one of them where the other is not there."""
    sign = -1.0 if record.greater else 1.0
    found = []
    for origin in (SPACE, PRESET):
        judged = [record.trials[number] for number in record.chosen if record.trials[number].origin == origin and record.trials[number].final is not None]
        found += sorted(judged, key=lambda trial: (sign * trial.final, trial.number))[:1]  # type: ignore[operator]
    return found


def paired(one: Sequence[float], other: Sequence[float], level: float = LEVEL) -> dict[str, float | None]:
    """{"difference", "low", "high", "p"} of `one` over `other`, value by value: Student's t on the differences. Without an interval for fewer than two."""
    differences = [a - b for a, b in zip(one, other, strict=True)]
    mean = statistics.fmean(differences)
    if len(differences) < 2:
        return {"difference": mean, "low": None, "high": None, "p": None}
    error = statistics.stdev(differences) / math.sqrt(len(differences))
    if not error:
        return {"difference": mean, "low": mean, "high": mean, "p": 0.0 if mean else 1.0}
    from scipy.stats import t

    reach = float(t.ppf(0.5 + level / 2, len(differences) - 1)) * error
    return {"difference": mean, "low": mean - reach, "high": mean + reach, "p": float(2 * t.sf(abs(mean / error), len(differences) - 1))}


def reached(spec: SearchSpec, record: SearchRecord) -> dict[str, Any]:
    """{"winner", "preset": numbers of trials or None, "on": test or validation, "values": by trial, "difference", "low", "high", "p", "seeds", "noise", "sentences"}."""
    found = pair(spec, record)
    tested = bool(found) and all(one.value is not None for trial in found for one in trial.tests.values())
    values = {trial.number: [one.value for one in (trial.tests if tested else trial.finals).values()] for trial in found}
    winner = next((trial for trial in found if trial.origin == SPACE), None)
    preset = next((trial for trial in found if trial.origin == PRESET), None)
    answer: dict[str, Any] = {"winner": winner and winner.number, "preset": preset and preset.number, "on": "test" if tested else "validation",
                              "values": {str(number): each for number, each in values.items()}, "seeds": spec.seeds, "noise": True}  # fmt: skip
    sentences: list[str] = []
    if winner and preset:
        answer |= paired(values[winner.number], values[preset.number])  # type: ignore[arg-type]
        sentences += _compared(record, winner, preset, values, answer)
        gain = answer["low"] if record.greater else answer["high"] and -answer["high"]
        answer["noise"] = answer["low"] is None or (answer["low"] <= 0 <= answer["high"])
        sentences.append(_meaning(answer, gain))
    elif found:
        sentences.append(_alone(record, found[0], values[found[0].number]))
    else:
        sentences.append(Note("No design of the last rung came to its end with every seed, so there is no answer."))
    if found and not tested:
        sentences.append(
            Note("This task has no test split with labels: the figures are of the validation rows by which the best were chosen, so they flatter them.")
        )
    return {**answer, "sentences": [str(one) for one in sentences]}


def _compared(record: SearchRecord, winner: Trial, preset: Trial, values: dict[int, list[Any]], answer: dict[str, Any]) -> list[str]:
    one, other = statistics.fmean(values[winner.number]), statistics.fmean(values[preset.number])
    count = len(values[winner.number])
    number, label, beside = winner.number, winner.label, preset.label
    found = [
        Note(
            f"By {record.metric} on {'test' if answer['on'] == 'test' else 'validation'} rows, over {count} seeds, "
            f"trial {number} ({label}) has {one:.4f} and the preset ({beside}) {other:.4f}."
        )
    ]
    if answer["low"] is not None:
        found.append(Note(f"The difference is {answer['difference']:+.4f}, with a 95 % interval from {answer['low']:+.4f} to {answer['high']:+.4f}."))
    return [str(one) for one in found]


def _meaning(answer: dict[str, Any], gain: float | None) -> str:
    if answer["low"] is None:
        return Note("One seed says nothing about chance: the winner may be noise.")
    if answer["noise"]:
        return Note("The interval holds zero: with these seeds the winner may be noise.")
    if (gain or 0) > 0:
        return Note("The interval leaves zero out: the design that was found is better than the best preset under this budget.")
    return Note("The interval leaves zero out the other way: the best preset is better than what was found.")


def _alone(record: SearchRecord, trial: Trial, values: list[Any]) -> str:
    return Note(
        f"Only trial {trial.number} ({trial.label}) came to the end: {record.metric} {statistics.fmean(values):.4f} over {len(values)} seeds, with nothing beside it."
    )
