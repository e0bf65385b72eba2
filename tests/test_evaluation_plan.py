"""How often and on how many rows a run is judged: the plan's law over families, sizes and options, and a run that keeps to it."""

from __future__ import annotations

import itertools
import json

import pytest
from training_support import GOOD, PLAIN, save_model, save_task, spec

from lab.design.spec.evaluation import FEWEST, FORWARD, ROWS, SHOWN, EvaluationPlan, Split, plan
from lab.design.spec.run import EVALUATIONS, Training
from lab.tasks import Prepared
from lab.training.reporting import Record
from lab.training.running import train

STEPS = (1, 2, 3, 7, 10, 33, 150, 400, 801, 2500)
SPLITS = ([831], [12], [300], [1500], [40_000], [0], [831, 25_000], [60, 0, 5000])
PASSES = {"a head": 1.0, "four options": 4.0, "written by six beams": 31.0}


def steps_of(found: EvaluationPlan) -> list[int]:
    return [step for step in range(found.total + 1) if found.due(step)]


@pytest.mark.parametrize("kind", PASSES)
@pytest.mark.parametrize("share", [0.1, 0.0, 0.5])
def test_judging_costs_at_most_its_share(kind, share):
    """By the count of rows, whatever the sizes; the last step is judged, on `FEWEST` rows or more, whatever that costs."""
    for steps, sizes, batch in itertools.product(STEPS, SPLITS, (4, 32)):
        splits = [Split(rows, FORWARD * PASSES[kind]) for rows in sizes]
        found = plan(Training(evaluation_share=share), steps, batch, splits)
        due = steps_of(found)
        counted = sum(split.cost * min(split.rows, found.some) for split in splits) * len(due)
        if found.some < found.last:  # at the end by more rows: the last weights, and at worst others that are the best
            counted += 2 * sum(split.cost * min(split.rows, found.last) for split in splits)
        fewest, shown = (sum(split.cost * min(split.rows, most) for split in splits) for most in (FEWEST, SHOWN))
        where = (steps, sizes, batch, found)
        assert counted == pytest.approx(found.to_come(-1)) and counted + shown <= max(share * steps * batch, fewest + shown) * (1 + 1e-9), where
        assert due and due[-1] == steps and len(due) == found.told["evaluations"] <= EVALUATIONS and due[0] > 0, where
        assert all(found.left(step) == len([one for one in due if one > step]) for step in range(0, steps + 1, max(1, steps // 20))), where
        top = max(sizes)
        assert min(top, FEWEST) <= found.some <= found.last <= top, where


def test_more_steps_never_judge_by_fewer_rows():
    """The end comes first: with more to spend, the number at the end is of as many rows or more, or there are more evaluations."""
    for rows in (60, 300, 831, 1000, 5000):
        before = (0, 0)
        for steps in range(1, 1500, 7):
            found = plan(Training(), steps, 32, [Split(rows)])
            now = (found.last, found.told["evaluations"])
            assert now[0] >= before[0] or now[1] > before[1], (rows, steps, before, now)
            before = now
    assert plan(Training(), 150, 32, [Split(831)]).told == {"evaluations": 1, "evaluation_rows": 831, "judged_rows": 831, "validation_rows": 831}
    assert plan(Training(), 20_000, 32, [Split(831)]).told == {"evaluations": EVALUATIONS, "evaluation_rows": ROWS, "judged_rows": 831, "validation_rows": 831}


def test_options_win():
    split = [Split(831)]
    every = plan(Training(evaluate_every=4), 10, 8, split)
    assert steps_of(every) == [0, 4, 8, 10] and (every.some, every.last) == (ROWS, 831), "whatever it costs, the untrained model too"
    both = plan(Training(evaluate_every=20, evaluation_rows=100), 20, 8, split)
    assert steps_of(both) == [0, 20] and (both.some, both.last) == (100, 831)
    rows = plan(Training(evaluation_rows=64), 110, 32, split)
    assert (rows.some, rows.last) == (64, 64) and steps_of(rows) == list(range(11, 111, 11))
    share = plan(Training(evaluation_share=100), 10, 8, split)
    assert steps_of(share) == list(range(1, 11)) and (share.some, share.last) == (ROWS, 831)
    patient = plan(Training(early_stopping=3), 150, 32, split)
    assert len(steps_of(patient)) == EVALUATIONS and patient.some == patient.last == 94, "early stopping looks for a gain ten times"
    combined = plan(Training(), 0, 32, split)
    assert steps_of(combined) == [0] and combined.some == combined.last == 831, "a combination that does not train is judged whole"


def test_several_processes_judge_as_one_that_trains_as_much():
    """Every process judges all rows, so what counts are the rows that one process trains on: `Loop` gives those."""
    assert plan(Training(), 10, 8, [Split(831)]).some == FEWEST < plan(Training(), 10, 32, [Split(831)]).some == 44


# -- runs --------------------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    return save_model(tmp_path_factory.mktemp("bert"), hidden_dropout_prob=0.1)


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    return save_task(tmp_path_factory.mktemp("toy"), rows=500)


@pytest.fixture
def judged(monkeypatch):
    """Every evaluation as (rows, their texts and the adapter's sum), in order."""
    seen = []
    right = Prepared.evaluate

    def counted(self, model, rows, **more):
        adapter = float(sum(p.detach().double().abs().sum() for p in model.parameters() if p.requires_grad))
        seen.append((len(rows), json.dumps([row["input_ids"] for row in rows]), adapter))
        return right(self, model, rows, **more)

    monkeypatch.setattr(Prepared, "evaluate", counted)
    return seen


@pytest.mark.parametrize(("steps", "often", "rows"), [(3, 1, FEWEST), (20, 1, 44), (40, 1, None), (110, 3, None)])
def test_a_run_keeps_to_its_plan(bert, toy, tmp_path, judged, steps, often, rows):
    record, lines = Record(), []
    result = train(spec(bert, toy, steps=steps, batch_size=16, evaluate_every=None), record, tmp_path, say=lines.append)
    all_rows = result["validation_rows"]
    rows = rows or all_rows
    assert [count for count, _, _ in judged] == [rows] * often and len({(texts, weights) for _, texts, weights in judged}) == often, "never twice the same"
    assert list(record.curve("eval_accuracy")) == [-(-steps * (n + 1) // often) for n in range(often)]
    assert (result["evaluation_rows"], result["judged_rows"]) == (rows, rows) and result["evaluations"]["rows"] == rows * often
    assert sum(FORWARD * count for count, _, _ in judged) <= max(0.1 * steps * 16, FORWARD * FEWEST)
    said = f"all {all_rows}" if rows == all_rows else f"{rows} of {all_rows}"
    assert any(line.startswith("Judged") and f"on {said} validation rows" in line for line in lines)
    assert (f"on {rows} of {all_rows} validation rows" in lines[-1]) is (rows < all_rows), "a number on a sample says so"
    assert json.loads((tmp_path / "best" / "method.json").read_text())["judged_on"] == {"rows": rows, "of": all_rows}
    assert {name: record.curve(name)[0] for name in ("evaluations", "judged_rows")} == {"evaluations": often, "judged_rows": rows}


def test_every_method_and_seed_is_judged_on_the_same_rows(bert, toy, tmp_path, judged):
    for number, (method, seed) in enumerate((("lora", 0), ("bitfit", 1), ("prompt-tuning", 2))):
        train(spec(bert, {**toy, "train_rows": 100}, method, seed=seed, steps=20, evaluate_every=None), Record(), tmp_path / str(number), say=lambda line: None)
    assert len(judged) == 3 and len({texts for _, texts, _ in judged}) == 1


def test_a_resumed_run_is_judged_where_the_whole_one_was(bert, toy, tmp_path, judged):
    given = spec(bert, toy, steps=90, batch_size=8, evaluate_every=None, evaluation_rows=16, checkpoint_every=7)
    whole = Record()
    result = train(given, whole, tmp_path / "whole", say=lambda line: None)
    wanted, judged[:] = list(judged), []
    parts = [Record(stop_when=lambda step: step >= 25), Record(stop_when=lambda step: step >= 61), Record()]
    ends = [train(given, part, tmp_path / "cut", say=lambda line: None) for part in parts]
    assert judged == wanted and ends[-1]["metrics"] == result["metrics"] and ends[-1]["best"] == result["best"]
    assert ends[-1]["evaluations"]["rows"] == result["evaluations"]["rows"]


def test_numbers_on_other_rows_are_not_compared(bert, toy, tmp_path):
    """A checkpoint of an earlier lab, which judged by up to 500 rows: what was best by those is none any more, and that is said."""
    given = spec(bert, toy, steps=12, evaluate_every=4, evaluation_rows=16, checkpoint_every=4)
    train(given, Record(stop_when=lambda step: step >= 8), tmp_path, say=lambda line: None)
    path = max((tmp_path / "checkpoints").iterdir()) / "trainer.json"
    document = json.loads(path.read_text())
    document["judge"]["best"]["accuracy"] = 2.0
    for name in ("judged_on", "made"):
        del document[name]
    path.write_text(json.dumps(document))
    from lab.runs.files import write_manifest

    (path.parent / "manifest.json").unlink()
    write_manifest(path.parent, 8)
    lines: list[str] = []
    result = train(given, Record(), tmp_path, say=lines.append)
    assert result["best"]["accuracy"] <= 1 and any("other validation rows before" in line for line in lines), lines


# -- what is said of it --------------------------------------------------------------------------------------------------------------------


def over(state="succeeded", **result):
    from lab.runs import Run

    names = dict.fromkeys(Run.__dataclass_fields__)
    document = {"task": "sentiment-rt", "model": "minilm-l6", "method": {"preset": "lora"}}
    return Run(**{**names, "id": "abcd2345", "name": "one", "state": state, "number": 1, "spec": document, "tags": [], "result": {
        "best": {"step": 10, "accuracy": 0.79}, "metrics": {"accuracy": 0.79}, "judge": {"metric": "accuracy", "greater_is_better": True}, **result}})  # fmt: skip


SAMPLE = {"validation_rows": 831, "evaluation_rows": 96, "judged_rows": 96}


def test_a_number_on_a_sample_says_so_everywhere():
    from lab.cli.reading import result_text
    from lab.results.compare import judged_apart, table
    from lab.ui.compare import views as compared
    from lab.ui.runs import views
    from lab.ui.sweep.views import matrix

    sample, whole, old = over(**SAMPLE), over(validation_rows=831, evaluation_rows=831, judged_rows=831), over(validation_rows=831, evaluation_rows=500)
    assert "96 of 831 validation rows" in result_text(sample) and "validation rows" not in result_text(whole) + result_text(old)
    shown = views.head(sample, sample.id, None, {}, "en")
    assert "judged on 96 of the 831 validation rows" in shown and "judged on all 831" in views.head(old, old.id, None, {}, "en")
    assert judged_apart([sample, whole, old]) == [831, 96] and judged_apart([whole, old]) == judged_apart([sample, sample]) == []
    assert "(831, 96 of them)" in compared.results([sample, whole], "en") and "831, 96" in compared.results([sample, whole], "zh")
    assert "(831, 96 of them)" in matrix([sample, whole], "method", "seed", "en")
    assert 'role="note"' not in compared.results([whole, old], "en") and table([sample])[1][table([sample])[0].index("judged_rows")] == 96


@pytest.mark.parametrize(("told", "said"), [((1, 96, 96, 831), "Judged once, after the last step, on 96 of 831"), ((4, 240, 240, 831), "Judged 4 times, on 240 of 831"),
                                            ((10, 500, 831, 831), "Judged 10 times, on 500 of 831 validation rows, and at the end on 831")])  # fmt: skip
def test_a_run_that_goes_on_says_how_often_it_is_judged(told, said):
    from lab.ui.runs import views

    latest = {name: (0, float(value)) for name, value in zip(views.TOLD, told, strict=True)}
    run = over("running")
    assert said in views._judged(run, latest, "en") and "评估" in views._judged(run, latest, "zh")


def test_the_bench_and_the_terminal_say_it_before_a_run_starts(bert, toy, tmp_path):
    """From the counts that the task's file states, the same plan that the run makes of its rows; nothing where texts decide."""
    from lab.design.spec.run import spec_of
    from lab.tasks.planned import planned
    from lab.ui.bench.memory_plan import _judged

    for training in ({"steps": 10}, {"steps": 150}, {"epochs": 2.0}, {"steps": 40, "evaluate_every": 7}):
        document = {"model": "minilm-l6", "task": "sentiment-rt", "method": "lora", "training": training}
        wanted = spec_of(document).training
        steps = wanted.steps or 2 * -(-6896 // 32)
        assert planned(spec_of(document)).told == plan(wanted, steps, 32, [Split(831)]).told
    said = spec_of({"model": "minilm-l6", "task": "sentiment-rt", "method": "lora", "training": {"steps": 10}})
    assert "once, after the last step, on 44 of 831 validation rows" in _judged(said, "en") and "44" in _judged(said, "zh")
    assert planned(spec_of({"model": "smollm2-135m", "task": "text-lm", "method": "lora"})) is None, "blocks of text"
    assert planned(spec_of({"model": "minilm-l6", "task": "sentiment-rt", "further": ["sentiment-imdb"], "method": "lora"})) is None


def test_what_a_family_does_for_a_row_is_what_it_says(tmp_path, monkeypatch):
    """Options scored one by one take a pass each; what is written takes the source again and a step for every token that it may have; a head reads once."""
    from lab.models import config_of, load, load_tokenizer
    from lab.tasks import prepare
    from lab.tasks.families.writing import ACCELERATED, WRITING

    asked = [" ".join(words * 4) for words in itertools.product(GOOD, PLAIN)]
    rows = [{"question": text, "options": ["fine", "dull plot", "a weak cast"], "answer": number % 3} for number, text in enumerate(asked)]
    path = tmp_path / "rows.json"
    path.write_text(json.dumps([{**row, "source": row["question"], "target": "great plot", "text": row["question"], "label": row["answer"]} for row in rows]))
    source = {"source": {"file": str(path), "hash": {"validation": 0.4, "test": 0.1}}, "max_length": 32}

    def of(kind, **task):
        folder = tmp_path / kind
        folder = str(folder) if folder.exists() else save_model(folder, kind, "causal")
        tokenizer = load_tokenizer(folder)
        ready = prepare({**source, **task}, tokenizer, config_of(folder))
        model = load(folder, objective=ready.objective, num_labels=ready.num_labels, tokenizer=tokenizer)
        seen = []
        model.register_forward_pre_hook(lambda module, args, given: seen.append(given["input_ids"].numel()), with_kwargs=True)
        ready.evaluate(model, ready.validation, batch_size=1)
        return ready, sum(seen) / ready.validation.lengths.sum()

    choosing, passes = of("llama", family="commonsense", name="choosing")
    assert choosing.passes() == 3.0 and passes == pytest.approx(3.0, rel=0.1)
    generation = {"max_length": 6, "min_length": 6}
    writing, passes = of("llama", family="summarization", name="writing", generation=generation)
    mean = writing.validation.lengths.mean()
    prompt = sum(row["prompt_length"] for row in writing.validation) / len(writing.validation)
    assert writing.passes() == pytest.approx(1 + (prompt + WRITING["cpu"] * 6) / mean) and passes == pytest.approx(1 + (prompt + 5) / mean, rel=0.05)
    assert writing.passes("cuda") == pytest.approx(1 + (prompt + ACCELERATED * 6) / mean)
    assert of("llama", family="summarization", name="by-loss", metric="loss", metrics=["loss"])[0].passes() == 1.0
