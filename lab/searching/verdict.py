"""What a search answers: who is the best, on which data, and whether that is more than chance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lab.design.plain.refusal import Note
from lab.design.spec.search import SearchSpec
from lab.results import statistics
from lab.searching.record import COMPLETE, PRESET, PRUNED, SPACE, SearchRecord, Trial


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


def paired(one: Sequence[float], other: Sequence[float]) -> dict[str, float | None]:
    """{"difference", "low", "high", "p"} of `one` over `other`, seed by seed (lab.results.statistics); None where too few seeds leave it open."""
    import numpy as np

    found = statistics.pairwise(np.array([one, other], dtype=float))
    values = {name: float(getattr(found, name)[0, 1]) for name in ("low", "high", "p")}
    difference = sum(a - b for a, b in zip(one, other, strict=True)) / len(one)
    return {"difference": difference, **{name: value if value == value else None for name, value in values.items()}}


def reached(spec: SearchSpec, record: SearchRecord) -> dict[str, Any]:
    """{"winner", "preset": numbers of trials or None, "on": test or validation, "values": by trial, "difference", "low", "high", "p", "seeds", "noise", "better": the trial that is more than chance ahead, "sentences"}."""
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
        answer["noise"] = answer["p"] is None or answer["p"] >= statistics.LEVEL
        gain = (answer["difference"] > 0) is record.greater
        answer["better"] = None if answer["noise"] else winner.number if gain else preset.number
        sentences.append(_meaning(answer, gain))
    elif found:
        sentences.append(_alone(record, found[0], values[found[0].number]))
    else:
        sentences.append(Note("No design of the last rung came to its end with every seed, so there is no answer."))
    if found and not tested:
        sentences.append(
            Note("This task has no test split with labels: the figures are of the validation rows by which the best were chosen, so they flatter them.")
        )
    return {**answer, "sentences": sentences}


def _compared(record: SearchRecord, winner: Trial, preset: Trial, values: dict[int, list[Any]], answer: dict[str, Any]) -> list[str]:
    one, other = _mean(values[winner.number]), _mean(values[preset.number])
    count = len(values[winner.number])
    number, label, beside = winner.number, winner.label, preset.label
    found = [
        Note(
            "By {metric} on test rows (seeds: {count}), trial {number} ({label}) has {one:.4f} and the preset ({beside}) {other:.4f}."
            if answer["on"] == "test"
            else "By {metric} on validation rows (seeds: {count}), trial {number} ({label}) has {one:.4f} and the preset ({beside}) {other:.4f}.",
            metric=record.metric,
            count=count,
            number=number,
            label=label,
            one=one,
            beside=beside,
            other=other,
        )
    ]
    if answer["low"] is not None:
        found.append(
            Note(
                "The difference is {difference:+.4f}, with a 95 % interval from {low:+.4f} to {high:+.4f}.",
                difference=answer["difference"],
                low=answer["low"],
                high=answer["high"],
            )
        )
    return found


def _meaning(answer: dict[str, Any], gain: bool) -> str:
    if answer["p"] is None:
        return Note("One seed says nothing about chance: the winner may be noise.")
    if answer["noise"] and answer["low"] is None:
        return Note("Every seed gives the same difference, and they are too few to judge it by: the winner may be noise.")
    if answer["noise"]:
        return Note("The interval holds zero: with these seeds the winner may be noise.")
    if gain:
        return Note("That is more than chance: the design that was found is better than the best preset under this budget.")
    return Note("That is more than chance the other way: the best preset is better than what was found.")


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _alone(record: SearchRecord, trial: Trial, values: list[Any]) -> str:
    return Note(
        "Only trial {number} ({label}) came to the end: {metric} {value:.4f} (seeds: {count}), with nothing beside it.",
        number=trial.number,
        label=trial.label,
        metric=record.metric,
        value=_mean(values),
        count=len(values),
    )
