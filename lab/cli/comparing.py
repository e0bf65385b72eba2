"""compare: runs side by side, what is better over seeds, and the same as files for a paper."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lab import origins, verbs
from lab.cli.answer import Answer, shorten, table
from lab.cli.reading import result_of, settings_of
from lab.design.plain import numbers, peaks
from lab.design.plain.message import word
from lab.design.plain.refusal import Refusal
from lab.results import compare as comparing
from lab.results import examples, groups
from lab.results.facts import COST, FINAL, TEST, counts, peak_kind, score, why_not

if TYPE_CHECKING:
    from lab.design.spec.families import Metric
    from lab.runs import Run

SHOWN = 12  # groups that sentences are said of


def compare(arguments: Namespace) -> Answer:
    """{"runs": [result + "name", "no_result": why it is none or ""], "metric", "groups": [{"name", "runs", "metric", "n", "mean", "deviation", "by_seed", "star"} of each setting over its
    seeds], "pairs": [{"one", "other" (places of groups, the better one first), "kind", "effect", "low", "high", "p", "adjusted", "n", "how"}], "rows": the same by example for the best
    or the baseline, "front": {cost: [runs whose setting none beats]}, "differing": {path: [value of each run]}, "unlike": [parts that are not of one origin],
    "judged_rows": [how many validation rows, where runs of one task were not judged on as many]}. With --latex and the like: the text, or {"file"}."""
    lab = verbs.queue_now()
    if len(arguments.run) < 2:
        raise Refusal("Give two runs or more to compare; `python -m lab runs` lists them.", "run")
    found = list({run.id: run for run in (lab.store.find(words) for words in arguments.run)}.values())
    if len(found) < 2:
        raise Refusal("Those are all the same run, {found}: give two different ones.", "run", found=found[0].id)
    if arguments.form or arguments.appendix is not None:
        if not any(counts(run) for run in found):
            raise Refusal("None of these runs has a result yet, so there is nothing to write of them.", "run")
        return _taken(found, arguments)
    differing, metric = comparing.settings(found), comparing.metric_of(found)
    unlike = origins.unlike([run.spec for run in found])
    tested = groups.tested(groups.grouped(found))
    names, place = groups.names(tested.groups), _baseline(tested, lab.store.find(arguments.baseline).id if arguments.baseline else "")
    by_rows = examples.differences(tested.groups, place) if place is not None else {}
    document = {
        "runs": [{**result_of(run), "name": run.name, "no_result": why_not(run), **settings_of(run)} for run in found], "metric": metric.name if metric else "",
        **groups.document(tested, names), "rows": [{"one": place, "other": other, **vars(each)} for other, each in by_rows.items()],
        "front": {cost: comparing.unbeaten(found, cost) for cost in comparing.FRONTS}, "differing": differing, "unlike": unlike,
        "judged_rows": comparing.judged_apart(found),
    }  # fmt: skip
    warning = f"These runs were not made from the same {', '.join(unlike)}: their results cannot simply be compared." if unlike else ""
    rows = ", ".join(f"{rows:,}" for rows in document["judged_rows"])
    apart = f"These runs were not judged on the same validation rows ({rows} of them): a small difference may come from the rows." if rows else ""

    def text() -> str:
        from lab.ui.shell import verdicts

        lines = verdicts.lines(tested, names, "en", place)[:SHOWN] if place is not None else []
        lines += [verdicts.by_rows(tested, each, place, other, names, "en") for other, each in by_rows.items()]
        tables = (
            _results_table(found, metric),
            _groups_table(tested, names),
            "\n".join(lines),
            verdicts.stars(tested, "en").replace("★", "*") if any(map(counts, found)) else "",
        )
        return "\n\n".join(filter(None, (*tables, _settings_table(found, differing), warning, apart)))

    return Answer(document, text)


def _taken(found: list[Run], arguments: Namespace) -> Answer:
    """{"form": text}, or {"file"} that was written."""
    from lab.ui.compare import appendix

    if arguments.form:
        text = appendix.text_of(found, arguments.form)
        return Answer({arguments.form: text}, lambda: text.rstrip("\n"))
    path = Path(arguments.appendix).expanduser()
    if path.suffix != ".zip":
        raise Refusal("The appendix is a zip file: give it a name that ends in .zip.", "appendix")
    try:
        path.write_bytes(appendix.appendix(found, baseline=verbs.queue().store.find(arguments.baseline).id if arguments.baseline else ""))
    except OSError as error:
        raise Refusal("{path} cannot be written ({reason}).", "appendix", path=path, reason=word(error.strerror)) from None
    return Answer({"file": str(path)}, lambda: f"{path} has tables, figures, equations, references, specifications and costs of {len(found)} runs.")


def _baseline(tested: groups.Tested, run_id: str) -> int | None:
    """The place of the group of a run, else of the best one."""
    if not run_id:
        return tested.best()
    place = next((place for place, group in enumerate(tested.groups) if any(run.id == run_id for run in group.runs)), None)
    if place is None:
        raise Refusal("The baseline must be one of the runs that are compared.", "baseline")
    return place


def _results_table(found: list[Run], metric: Metric | None) -> str:
    """One row per run; what is measured of runs that are no result is in parentheses."""
    alone = groups.alone(found)
    finals = [column for column in comparing.columns(alone) if column.name.startswith((FINAL, TEST))]
    best = f"best {metric.name if metric else 'metric'}"
    rows = []
    for index, run in enumerate(found):
        judged = score(run)
        value = numbers.number(judged.value) if judged and judged.metric == metric else numbers.UNKNOWN
        aside = value if counts(run) or value == numbers.UNKNOWN else f"({value})"
        rows.append([run.id, run.state, shorten(run.name, 40), aside, *(numbers.number(column.means[index]) for column in finals), numbers.weights(COST["trainable"](run)),
                     numbers.memory(COST["peak_bytes"](run)), numbers.duration(COST["seconds"](run))])  # fmt: skip
    names = [column.name for column in finals]
    peak = peaks.WORDS[peak_kind(found)]
    return table(["run", "state", "name", best, *names, "trainable", peak, "time"], rows, right=(best, *names, "trainable", peak, "time"))


def _groups_table(tested: groups.Tested, names: list[str]) -> str:
    """Mean and deviation over the seeds of each setting, where there are several; * where nothing is significantly better."""
    several = [place for place, group in enumerate(tested.groups) if len(group.by_seed) > 1 and group.metric]
    rows = []
    for place in several:
        group = tested.groups[place]
        rows.append([shorten(names[place], 50), group.metric.name, numbers.number(group.mean) + (" *" if place in tested.stars else "  "),
                     numbers.number(group.deviation, 2), str(len(group.by_seed))])  # fmt: skip
    return table(["over seeds", "metric", "mean", "deviation", "n"], rows, right=("mean", "deviation", "n")) if rows else ""


def _settings_table(found: list[Run], differing: dict[str, list[Any]]) -> str:
    if not differing:
        return "The settings are the same."
    return table(["setting", *(run.id for run in found)], [[path, *map(_cell, values)] for path, values in differing.items()])


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    return ", ".join(map(str, value)) if isinstance(value, list) else shorten(str(value), 40)
