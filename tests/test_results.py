"""What runs came to: pages and terminal say of every metric what the trainer chose by, and a family of tasks written here is known everywhere."""

from __future__ import annotations

import random
import re
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from training_support import save_model
from training_support import spec as run_of

from lab.cli import main
from lab.design.body.architecture import Architecture
from lab.design.plain import numbers
from lab.design.plain.refusal import Refusal
from lab.design.spec.families import LOSS, Column, Metric
from lab.design.spec.task import TaskSpec
from lab.results import compare, groups
from lab.results.facts import counts, result, score
from lab.runs import Run, default, processes
from lab.tasks import FAMILIES, importing, outside, resolve, sources, suitability
from lab.tasks.families import register
from lab.tasks.family import EvaluationLoop, Example, Family, Setting
from lab.training import train
from lab.training.judging import Judge
from lab.training.reporting import Record
from lab.ui.compare import coordinates, overlay
from lab.ui.compare import views as views_compare
from lab.ui.data import own_data
from lab.ui.data import views as views_data
from lab.ui.shell import run_facts, run_list
from lab.verbs import check

JUDGED = [(name, metric) for name, family in FAMILIES.items() for metric in (*family.metrics, LOSS)]
METHOD = {"name": "LoRA", "preset": "lora", "deltas": [{"rank": 8}]}
SOURCE = {"file": "rows.csv"}


@pytest.fixture(autouse=True)
def home(lab_home, monkeypatch):
    monkeypatch.setenv("LAB_SLOTS", "0")  # nothing starts
    return lab_home


def over(task: Any, found: Mapping[str, Any], name: str = "a run", state: str = "succeeded", seed: int = 0, rank: int = 8) -> Run:
    """A run that is over."""
    store = default().store
    run = store.create({"model": "minilm-l6", "task": task, "method": {**METHOD, "deltas": [{"rank": rank}]}, "seed": seed}, name)
    store.claim(run, processes.identity())
    store.finish(run, state, result=dict(found))
    return store.get(run)


def starred(page: str, name: str) -> list[str]:
    """The names of the runs whose cell has a star, in the column of that title."""
    place = re.findall(r'data-sort="\d+">([^<]+)<', page).index(name)
    rows = re.findall(r"<tr><th scope='row'>.*?</tr>", page)
    return [re.search(r"</span>([^<]+)</a>", row)[1] for row in rows if "★" in re.findall(r"<t[hd][^>]*>.*?</t[hd]>", row)[place]]


@pytest.mark.parametrize(
    ("family", "metric", "noted"),
    [
        pytest.param(family, metric, noted, id=f"{family}-{metric.name}-{'noted' if noted else 'by the task'}")
        for family, metric in JUDGED
        for noted in (True, False)
        if noted or metric in (FAMILIES[family].metrics[0], LOSS)
    ],
)
def test_pages_and_terminal_agree_with_the_trainer(family: str, metric: Metric, noted: bool, capsys):
    """Evaluations of three runs, their numbers in any order: each run's number, and the best run, are those by which the trainer's judge chooses."""
    draw = random.Random(f"{family} {metric.name}")
    task = TaskSpec(family=family, metric=metric.name, source=SOURCE)
    names = [each.name for each in (*FAMILIES[family].metrics, LOSS)]
    best, runs = Judge(task.main_metric, task.greater_is_better), []
    for number in range(3):
        judge = Judge(task.main_metric, task.greater_is_better)
        for step in (1, 2, 3):
            draw.shuffle(names)
            evaluation = {name: round(draw.uniform(0.1, 5), 4) for name in names}
            judge.see(step, evaluation)
        best.see(number, {name: value for name, value in judge.best.items() if name != "step"})
        noting = {"judge": {"metric": judge.metric, "greater_is_better": judge.sign > 0}} if noted else {}
        # a task by name or as a whole: what is noted holds where the task is not here any more
        where = "gone" if noted else task.model_dump(mode="json")
        runs.append(over(where, {"best": judge.best, "metrics": evaluation, "percent": 1.0 + number, **noting}, f"run-{number}", seed=number, rank=number + 1))
        assert result(runs[-1]).value == judge.best[metric.name] and result(runs[-1]).metric == metric and result(runs[-1]).kind == "best"
    chosen = f"run-{best.best['step']}"
    rows = {row["name"]: row for row in run_list.news(None, "")[0]["rows"]}
    assert {name: row["metric_name"] for name, row in rows.items()} == dict.fromkeys(rows, metric.name)
    assert {row["value"] for row in rows.values()} == {result(run).value for run in runs} and rows["run-0"] == run_facts.row(runs[0])
    page = views_compare.results(runs, "en")
    heading = re.findall(r'data-sort="\d+">([^<]+)<', page)[3]  # what judges stands first, behind name, state and seeds
    assert starred(page, heading) == [], "one seed each: no star for luck"
    assert all(f"data-value='{result(run).value!r}'" in page for run in runs)
    lines = coordinates.parallel(runs, "en")["axes"][-1]
    assert lines["id"] == "metric" and (lines["good"] == "high") == metric.greater and lines["at"][best.best["step"]] == (1 if metric.greater else 0)
    assert {chart["metric"] for chart in overlay.fronts(runs, backdrop=False)} == {metric.name}
    sign = 1 if metric.greater else -1
    values = [sign * result(run).value for run in runs]
    assert compare.unbeaten(runs, "percent") == [run.id for place, run in enumerate(runs) if all(values[place] > cheaper for cheaper in values[:place])]
    assert main(["compare", *(run.id for run in runs)]) == 0
    table = capsys.readouterr().out
    assert "*" not in table.partition("No *")[0] and f"{chosen} against " in table and f"best {metric.name}" in table
    assert main(["runs"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert all(f" {metric.name} {numbers.number(result(run).value)} " in next(line for line in lines if run.id in line) for run in runs)


@pytest.mark.parametrize(("state", "step"), [("cancelled", 3), ("failed", 3), ("interrupted", 3), ("succeeded", 0)])
def test_what_is_no_result_is_shown_and_never_compared_by(state: str, step: int, capsys):
    task = {"family": "classification", "source": SOURCE}
    there = [over(task, {"best": {"step": 2, "accuracy": value}, "percent": 2.0}, f"run-{value}", seed=round(10 * value)) for value in (0.5, 0.6)]
    other = over(task, {"best": {"step": step, "accuracy": 0.9}, "percent": 1.0}, "no-result", state)
    runs = [*there, other]
    assert result(other) is None and score(other).value == 0.9
    assert starred(views_compare.results(runs, "en", by_seeds=False), "accuracy") == [] and "(0.9)" in re.sub(
        "<[^>]+>", "", views_compare.results(runs, "en", by_seeds=False)
    )
    assert len(overlay.fronts(runs, grouped=False)[0]["points"]) == 2 and other.id not in compare.unbeaten(runs, "percent")
    (group,) = groups.grouped(runs)
    assert (len(group.values), group.mean, group.deviation) == (2, pytest.approx(0.55), pytest.approx(statistics.stdev([0.5, 0.6])))
    assert main(["compare", *(run.id for run in runs)]) == 0
    said = capsys.readouterr().out
    assert "(0.9)" in said and "0.6 *" not in said and re.search(r"accuracy +0\.55 +0\.071 +2", said)


def test_a_run_without_a_judge_has_no_number():
    """Its task is gone and nothing was noted: no metric is guessed from what stands first."""
    gone = over("no-such-task", {"best": {"step": 2, "rougeL": 1.0, "perplexity": 3.0}})
    assert score(gone) is None and run_facts.row(gone)["metric"] == "" and compare.metric_of([gone]) is None and not overlay.fronts([gone, gone])


@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_has_words_in_both_languages_and_one_meaning_for_a_role(name: str):
    family = FAMILIES[name]
    assert family.title and family.zh and family.title != family.zh and all(column.label and column.zh for column in family.columns)
    for other in FAMILIES.values():
        words = {column.name: (column.label, column.zh) for column in other.columns}
        assert all(words.get(column.name, (column.label, column.zh)) == (column.label, column.zh) for column in family.columns)


# -- a family that stands in this file alone ------------------------------------------------------------------------------------------


class Verdicts(Family):
    """A post → whether it stays; judged by the share of wrong verdicts."""

    name = "verdicts"
    title, zh = "Verdicts", "裁决"
    columns = (Column("post", "post", "帖子"), Column("verdict", "verdict", "结论", answers=True, asks=False, named=False))
    metrics = (Metric("rightness", fraction=True), Metric("wrongness", greater=False, fraction=True))
    main = "wrongness"
    worded = False

    def objective(self, spec: TaskSpec, architecture: Architecture) -> str:
        return "classification"

    def format(self, row: sources.Row, spec: TaskSpec, number: int | None = None) -> Example:
        verdict = sources.text(row, spec.column("verdict"), number)
        if verdict not in ("keep", "drop"):
            raise Refusal(f"Row {number} has '{verdict}' in column '{spec.column('verdict')}', which is no verdict.", "task.columns")
        return {"post": sources.text(row, spec.column("post"), number), "verdict": verdict}

    def labels(self, spec: TaskSpec, examples: Sequence[Example]) -> tuple[str, ...]:
        return ("keep", "drop")

    def encode(self, examples: Sequence[Example], setting: Setting, train: bool) -> list[dict[str, Any]]:
        tokens = setting.plain([example["post"] for example in examples], truncation=True, max_length=setting.max_length)["input_ids"]
        return [{"input_ids": ids, "length": len(ids), "labels": int(example["verdict"] == "drop")} for ids, example in zip(tokens, examples, strict=True)]

    def evaluate(self, model: Any, rows: Any, setting: Setting, loop: EvaluationLoop) -> dict[str, float]:
        from lab.tasks import scoring

        logits, loss = scoring.head_scores(model, rows, setting, loop)
        right = sum(int(given == rows[i]["labels"]) for i, given in enumerate(logits.argmax(1).tolist())) / len(rows)
        return {"rightness": right, "loss": loss, "wrongness": 1 - right}  # the main one last: no order says what judges

    def predict(self, model: Any, rows: Any, setting: Setting, loop: EvaluationLoop) -> list[dict[str, Any]]:
        return []


def test_a_family_of_ones_own_is_known_everywhere(tmp_path, monkeypatch, capsys):
    for name in FAMILIES:
        monkeypatch.setitem(FAMILIES, name, FAMILIES[name])  # as it is now, again after the test
    monkeypatch.setitem(FAMILIES, "verdicts", Verdicts)
    register(Verdicts)
    draw, file = random.Random(0), tmp_path / "posts.csv"
    lines = [
        f"the {draw.choice(words)} film was {draw.choice(words)} number {n},{verdict}"
        for n in range(60)
        for words, verdict in ((("fine", "warm"), "keep"), (("dull", "grim"), "drop"))
    ]
    file.write_text("post,verdict\n" + "\n".join(lines), encoding="utf-8")
    # the page's form and the terminal offer it, in its own words
    assert ["verdicts", "Verdicts"] in own_data.choices("en")["families"] and ["verdicts", "裁决"] in own_data.choices("zh")["families"]
    assert main(["import", str(file), "--family", "no-such", "--dry-run"]) == 2 and "verdicts" in capsys.readouterr().err
    # a table is imported, its rows are counted and shown, and what is wrong is said at its column
    look = importing.preview(file, family="verdicts")
    assert look.rows == len(lines) and sum(look.splits.values()) == look.rows - look.dropped - look.disputed and "帖子" in views_data.preview(look, "zh")
    with pytest.raises(Refusal, match="verdict") as wrong:
        importing.preview(file, family="verdicts", columns={"post": "post", "verdict": "post"})
    assert wrong.value.field in ("columns.post", "columns.verdict")
    importing.commit(file, "posts", family="verdicts")
    assert main(["tasks"]) == 0 and re.search(r"posts +verdicts +wrongness", capsys.readouterr().out)
    assert views_data.row(resolve("posts"), "zh")["family"] == "裁决" and resolve("posts").all_metrics == ("wrongness", "rightness")
    monkeypatch.setattr(outside, "require_suited", suitability.require_suited)  # this process alone knows the family
    # a run is checked for launch and trains, and its best weights are those with the fewest wrong verdicts
    bert, found, document = save_model(tmp_path / "bert"), [], None
    for seed, lr in ((0, 0.02), (1, 1e-6)):
        wanted = check(run_of(bert, "posts", seed=seed, lr=lr, steps=8))
        record = Record()
        document = train(wanted, record, tmp_path / f"run-{seed}", say=lambda line: None)
        found.append(over("posts", document, f"run-{seed}", seed=seed, rank=seed + 4))
        assert document["judge"] == {"metric": "wrongness", "greater_is_better": False}
        assert document["best"]["wrongness"] == min(record.curve("eval_wrongness").values())
        assert score(found[-1]).value == document["best"]["wrongness"]
    # Compare says which run is the better one
    tested = groups.tested(groups.grouped(found))
    column = next(column for column in compare.columns(tested.groups) if column.name == "wrongness")
    values = [score(run).value if counts(run) else None for run in found]  # one may have been best before it trained
    assert column.greater is False and column.means == values and (tested.best() is None or values[tested.best()] == min(values))
    head, *rows = compare.table(found)
    assert [row[head.index("wrongness")] for row in rows] == values and [row[head.index("task")] for row in rows] == ["posts", "posts"]
    assert "wrongness" in views_compare.results(found, "en")
    assert main(["compare", *(run.id for run in found)]) == 0 and "best wrongness" in capsys.readouterr().out


def test_one_name_has_one_meaning():
    class Other(Verdicts):
        name = "others"
        metrics = (Metric("accuracy", greater=False, fraction=True),)
        main = ""

    with pytest.raises(ValueError, match="one meaning"):
        register(Other)
    assert "others" not in FAMILIES


def test_a_delta_that_one_run_has_alone_differs_in_what_its_author_would_write():
    """MAM beside prefix tuning: its second delta's place, form, insertion and composition, and what is no default of the form; all of them on demand."""
    store = default().store
    runs = [store.get(store.create(run_of("minilm-l6", "sentiment-rt", method).document(), method)) for method in ("prefix-tuning", "mam")]
    found = compare.settings(runs)
    second = {path.removeprefix("method.deltas.1.") for path in found if path.startswith("method.deltas.1.")}
    assert second >= {*compare.DIMENSIONS, "rank", "scale", "inner_dropout"} and not second & {"vectors", "blocks", "token_positions", "encoder_width"}
    assert {path for path, values in found.items() if None not in values} == {path for path, values in compare.settings(runs, True).items()
                                                                              if None not in values and any(value != values[0] for value in values)}  # fmt: skip
    assert "method.deltas.1.encoder_width" in compare.settings(runs, everything=True)
