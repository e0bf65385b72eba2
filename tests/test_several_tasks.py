"""One run of several tasks: what is drawn when, a head for each, numbers for each and their average, resumption, and what does not go together."""

from __future__ import annotations

import csv
import json
import shlex
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
import yaml
from hypothesis import given as for_all
from hypothesis import settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from training_support import save_model, save_task, spec
from transformers import AutoModelForSequenceClassification

import lab
from lab import origins
from lab.blocks import head_of
from lab.cli.parser import parser
from lab.cli.request import document_of
from lab.design.plain.refusal import Refusal
from lab.design.spec.families import AVERAGE, LOSS, Metric, judging_together, metric_named, together
from lab.design.spec.run import named_tasks, spec_of
from lab.design.spec.sweep import apply
from lab.design.spec.writing import as_command, as_yaml
from lab.export import export_run
from lab.planning import plan
from lab.results import facts
from lab.tasks.losses import inputs_of, loss_sum
from lab.training import Record, train
from lab.training.assembly import assemble
from lab.training.batches import Mixture, Position, Steps, shares
from lab.ui.bench.assessment import assess
from lab.verbs import check


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A tiny model of a kind; bert's forward draws random numbers in training."""
    made = {}

    def of(kind, **more):
        key = (kind, *more)
        if key not in made:
            made[key] = save_model(tmp_path_factory.mktemp(kind), kind, "causal" if kind == "gpt2" else None, **more)
        return made[key]

    return of


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    return save_task(tmp_path_factory.mktemp("toy"))


@pytest.fixture(scope="module")
def others(tmp_path_factory, toy):
    """Tasks of other answers on the same rows: three classes, several labels, a number; of fewer rows."""
    folder = tmp_path_factory.mktemp("others")
    with open(toy["source"]["file"], encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))[:120]
    made = {}
    for name, family, labels, answer in (
        ("long", "classification", ["few", "some", "many"], lambda text: ["few", "some", "many"][min(2, len(text.split()) // 10)]),
        ("flags", "multi_label", ["film", "cast"], lambda text: json.dumps([word for word in ("film", "cast") if word in text.split()])),
        ("length", "regression", [], lambda text: len(text.split()) / 30),
    ):
        path = folder / f"{name}.csv"
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerows([["text", "label"], *([row["text"], answer(row["text"])] for row in rows)])
        made[name] = {**toy, "name": name, "family": family, "labels": labels, "source": {**toy["source"], "file": str(path)}}
    return made


def run(model, tasks, **training):
    document = spec(model, tasks[0], **training).document()
    return spec_of({**document, "further": tasks[1:]})


def weights(folder):
    return {f"{path.stem}/{name}": tensor for path in sorted(folder.glob("*.safetensors")) for name, tensor in load_file(path).items()}


def silent(line):
    pass


# -- which task a step takes ---------------------------------------------------------------------------------------------------------


def test_a_temperature_goes_from_size_to_evenness():
    assert shares([300, 100], 1) == pytest.approx([0.75, 0.25])
    assert shares([400, 100], 2) == pytest.approx([2 / 3, 1 / 3]) and shares([9, 900], 1e6) == pytest.approx([0.5, 0.5], abs=1e-4)
    assert shares([10**9, 1], 1).sum() == pytest.approx(1)


def test_one_task_is_drawn_as_it_always_was():
    lengths = list(range(5, 60))
    alone, mixed = Steps(lengths, 8, 3), Mixture([lengths], 8, 3, 7.0)
    for _ in range(20):
        number, rows = next(mixed)
        assert number == 0 and (rows == next(alone)).all() and mixed.epochs_done == alone.epochs_done


@settings(max_examples=20)
@for_all(st.lists(st.integers(1, 30), min_size=2, max_size=4), st.integers(2, 9), st.sampled_from([1.0, 2.0, 100.0]), st.integers(0, 25))
def test_every_task_goes_through_its_own_epochs_and_a_mixture_goes_on_from_its_positions(sizes, size, temperature, at):
    lengths = [[3] * n for n in sizes]
    whole, expected = Mixture(lengths, size, 5, temperature), [Steps(each, size, 5) for each in lengths]
    for _ in range(at):
        number, rows = next(whole)
        assert (rows == next(expected[number])).all()
    resumed = Mixture(lengths, size, 5, temperature)
    resumed.positions = [Position(**vars(each)) for each in whole.positions]
    assert sum(whole.taken) == at
    for _ in range(10):
        (one, rows), (other, again) = next(whole), next(resumed)
        assert one == other and (rows == again).all()


def test_steps_are_drawn_in_these_shares():
    mixed = Mixture([[1] * 900, [1] * 100], 10, 0)
    drawn = np.array([next(mixed)[0] for _ in range(600)])
    assert (drawn == 1).mean() == pytest.approx(0.1, abs=0.04)


# -- numbers -------------------------------------------------------------------------------------------------------------------------


def test_the_average_is_of_what_judges_each_task_as_fractions():
    judges = {"a": metric_named("accuracy"), "b": metric_named("bleu")}
    found = together({"a": {"loss": 1.0, "accuracy": 0.5}, "b": {"loss": 3.0, "bleu": 30.0}}, judges)
    assert found == {"average": pytest.approx(0.4), "loss": 2.0, "loss/a": 1.0, "accuracy/a": 0.5, "loss/b": 3.0, "bleu/b": 30.0}
    assert judging_together(list(judges.values())) is AVERAGE and metric_named("bleu/b") == Metric("bleu") and metric_named("loss/a") is LOSS
    falling = {**judges, "c": metric_named("perplexity")}
    assert judging_together(list(falling.values())) is LOSS and "average" not in together({"a": {"accuracy": 0.5}, "c": {"perplexity": 9.0}}, falling)


def test_names_of_tasks_are_told_apart():
    assert list(named_tasks(["cola", "cola", {"name": "my task/1"}, {"name": ""}, {"name": "cola-2"}])) == ["cola", "cola-2", "my-task-1", "own", "cola-2-2"]


# -- laws ----------------------------------------------------------------------------------------------------------------------------


def test_one_task_twice_on_the_whole_data_is_that_task_alone(models, toy, tmp_path):
    """With one shared head and every row in each step, both draws have the gradient of the task alone, so that the runs are one."""
    model, whole = models("gpt2"), {"batch_size": 200, "steps": 4, "lr": 0.01, "evaluate_every": 4}
    alone, twice = Record(), Record()
    one = train(spec(model, toy, **whole), alone, tmp_path / "alone", say=silent)
    two = train(run(model, [toy, toy], **whole), twice, tmp_path / "twice", say=silent)
    assert two["trainable_head"] == 0 and min(each["steps"] for each in two["tasks"].values()) > 0
    assert list(twice.curve("loss").values()) == pytest.approx(list(alone.curve("loss").values()), abs=1e-5)
    for name in ("accuracy", "f1", "loss"):
        assert two["metrics"][f"{name}/toy"] == two["metrics"][f"{name}/toy-2"] == pytest.approx(one["metrics"][name], abs=1e-5)
    assert two["metrics"]["average"] == pytest.approx(one["metrics"]["accuracy"])
    for name, tensor in weights(tmp_path / "alone" / "adapter").items():
        torch.testing.assert_close(weights(tmp_path / "twice" / "adapter")[name], tensor, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("kind", ["bert", "roberta", "bart", "gpt2"])
def test_a_step_of_one_task_is_that_of_a_run_of_it_alone_and_leaves_the_other_heads(models, toy, others, kind):
    """The start of a head, outputs and every gradient are those of the task's own run; the other heads get none."""
    tasks = [{**toy, "head": "classifier"}, {**others["long"], "head": "classifier"}, others["flags"], others["length"]]
    several = assemble(run(models(kind), tasks), cache=None)
    for name, task in zip(several.tasks, tasks, strict=True):
        alone, prepared = assemble(spec(models(kind), task), cache=None), several.turn(name)
        for assembly in (alone, several):
            rows = alone.task.collate([alone.task.train[i] for i in range(4)])
            assembly.model.eval()
            assembly.model.zero_grad(set_to_none=True)
            logits = assembly.model(**inputs_of(rows, assembly.model, prepared.objective)).logits
            loss_sum(logits, rows["labels"], prepared.objective).backward()
        own = dict(alone.head)
        assert own and all(torch.equal(several.head[f"{name}/{each}"], parameter) for each, parameter in own.items())
        assert all((several.head[f"{name}/{each}"].grad is None) == (p.grad is None) for each, p in own.items())
        for each, parameter in own.items():
            if parameter.grad is not None:
                torch.testing.assert_close(several.head[f"{name}/{each}"].grad, parameter.grad, atol=1e-6, rtol=1e-5)
        for each, parameter in alone.attached.trainable().items():
            torch.testing.assert_close(several.attached.trainable()[each].grad, parameter.grad, atol=1e-6, rtol=1e-5)
        assert all(parameter.grad is None for each, parameter in several.head.items() if not each.startswith(f"{name}/"))
        assert several.model(**rows).loss.item() == pytest.approx(alone.model(**rows).loss.item(), abs=1e-5)
    assert several.trainable_head == sum(p.numel() for p in several.head.values())
    assert {id(p) for group in several.groups()[-2:] for p in group["params"]} == set(map(id, several.head.values()))


def test_a_task_that_is_not_drawn_keeps_its_head_and_its_moments(models, toy, others, tmp_path):
    """Weight decay and AdamW's moments included: a head moves in the steps of its task alone."""
    given = run(models("bert"), [toy, others["long"]], steps=1, lr=0.1, weight_decay=0.5, evaluate_every=1)
    started = {name: tensor.clone() for name, tensor in assemble(given, cache=None).weights()["head"].items()}
    result = train(given, Record(), tmp_path, say=silent)
    drawn = [name for name, each in result["tasks"].items() if each["steps"]]
    after = weights(tmp_path / "adapter")
    assert len(drawn) == 1
    for name, tensor in started.items():
        assert torch.equal(after[f"head/{name}"], tensor) != name.startswith(f"{drawn[0]}/"), name


# -- runs ----------------------------------------------------------------------------------------------------------------------------


def test_a_run_of_four_kinds_of_answers_has_a_number_of_each_and_learns(models, toy, others, tmp_path):
    record, lines = Record(), []
    given = run(models("bert"), [toy, others["long"], others["flags"], others["length"]], steps=60, evaluate_every=20, lr=0.02, temperature=5, test=True)
    result = train(given, record, tmp_path, say=lines.append)
    for name in ("accuracy/toy", "accuracy/long", "f1_micro/flags", "pearson/length", "average", "loss", "loss/flags"):
        assert list(record.curve(f"eval_{name}")) == [0, 20, 40, 60] and name in result["best"] and name in result["test"], name
    judging = [result["best"][name] for name in ("accuracy/toy", "accuracy/long", "f1_micro/flags", "pearson/length")]
    assert result["best"]["average"] == pytest.approx(sum(judging) / 4) and result["judge"] == {"metric": "average", "greater_is_better": True}
    assert result["best"]["average"] > record.curve("eval_average")[0] and record.curve("eval_loss")[60] < record.curve("eval_loss")[0]
    assert sum(len(record.curve(f"loss/{name}")) for name in result["tasks"]) == 60
    assert result["train_rows"] == sum(each["train_rows"] for each in result["tasks"].values())
    heads = load_file(tmp_path / "best" / "head.safetensors")
    assert heads["toy/classifier.weight"].shape[0] == 2 and heads["long/classifier.weight"].shape[0] == 3 and heads["length/classifier.weight"].shape[0] == 1
    said = json.loads((tmp_path / "best" / "method.json").read_text())
    assert said["tasks"]["long"] == {"objective": "classification", "labels": ["few", "some", "many"]} and said["labels"] == ["neg", "pos"]
    assert {row["task"] for row in json.loads((tmp_path / "predictions.json").read_text())} == set(result["tasks"])
    assert any("judged by average" in line for line in lines)


class Killed(BaseException):
    pass


class Deadly(Record):
    def __init__(self, at):
        super().__init__()
        self.at = at

    def log(self, step, values, *, total_steps=None):
        super().log(step, values, total_steps=total_steps)
        if step == self.at and "loss" in values:
            raise Killed


def test_a_killed_run_of_several_tasks_resumes_to_the_same_weights_and_curves(models, toy, others, tmp_path):
    model = models("bert", hidden_dropout_prob=0.1)
    given = run(model, [toy, others["long"], others["length"]], steps=14, checkpoint_every=3, evaluate_every=4, accumulation=2, early_stopping=3)
    whole, last = Record(), Record()
    train(given, whole, tmp_path / "whole", say=silent)
    for at in (4, 9):
        with pytest.raises(Killed):
            train(given, Deadly(at), tmp_path / "killed", say=silent)
    train(given, last, tmp_path / "killed", say=silent)
    for which in ("adapter", "best"):
        one, other = weights(tmp_path / "whole" / which), weights(tmp_path / "killed" / which)
        assert one.keys() == other.keys() and not [name for name in one if not torch.equal(one[name], other[name])]
    curves = {name for _, name, _ in last.rows if name.startswith(("loss", "eval_"))}
    assert {"loss/toy", "eval_average"} <= curves
    for name in curves:
        assert last.curve(name).items() <= whole.curve(name).items(), name


def test_a_decoder_judges_words_and_perplexity_together_by_the_loss(models, toy, tmp_path):
    text = tmp_path / "text.txt"
    with open(toy["source"]["file"], encoding="utf-8", newline="") as file:
        text = tmp_path / "text.csv"
        text.write_text("text\n" + "\n".join(row["text"] for row in csv.DictReader(file)), encoding="utf-8")
    lm = {"name": "lm", "family": "language_modelling", "max_length": 24, "source": {"file": str(text), "hash": {"validation": 0.2, "test": 0.1}}}
    record = Record()
    result = train(run(models("gpt2"), [toy, lm], steps=30, lr=0.02, evaluate_every=10), record, tmp_path / "run", say=silent)
    assert result["judge"] == {"metric": "loss", "greater_is_better": False} and result["trainable_head"] == 0
    assert result["best"]["perplexity/lm"] < record.curve("eval_perplexity/lm")[0] and result["best"]["loss"] < record.curve("eval_loss")[0]


# -- what goes together --------------------------------------------------------------------------------------------------------------


def test_what_does_not_go_together_is_refused_at_its_field(models, toy, others, lab_home):
    bert, gpt2 = models("bert"), models("gpt2")
    checked = check(run(bert, [toy, others["long"]]))
    assert [task.name for task in (checked.task, *checked.further)] == ["toy", "long"]
    assert checked.origins.rows not in ("", check(spec(bert, toy)).origins.rows)
    with pytest.raises(Refusal, match="'toy' is answered in words here and 'length' by a new head") as refused:
        check(run(gpt2, [toy, others["length"]]))
    assert refused.value.field == "further.0"
    with pytest.raises(Refusal, match="An encoder cannot answer with words") as refused:
        check(run(bert, [toy, {**others["long"], "head": "likelihood"}]))
    assert refused.value.field == "further.0.head"
    with pytest.raises(Refusal, match="There is one task") as refused:
        check(spec(bert, toy, temperature=2))
    assert refused.value.field == "training.temperature"
    with pytest.raises(Refusal) as refused:
        spec_of({**spec(bert, toy).document(), "further": [{**toy, "metric": "bleu"}]})
    assert refused.value.field == "further.0.metric"
    with pytest.raises(Refusal) as refused:
        check(run(bert, [toy, "no-such-task"]))
    assert refused.value.field == "further.0"


def test_the_bench_says_at_the_task_what_does_not_go_together_and_writes_the_run_down(lab_home):
    draft = {"model": "minilm-l6", "task": "sentiment-rt", "method": "lora", "training": {"temperature": 3}, "seed": 0}
    (wrong,) = assess({**draft, "further": ["sentiment-imdb", "text-lm"]}).errors
    assert wrong[0] == "further.1"
    assert [field for field, _ in assess({**draft, "further": ["gone"]}).errors] == ["further.0"]
    assert assess({**draft, "further": ["sentiment-imdb"]}).errors == []
    wanted = spec_of({**draft, "further": ["sentiment-imdb"]})
    assert spec_of(yaml.safe_load(as_yaml(wanted))) == wanted
    flags = shlex.split(as_command(wanted))[3:]
    assert spec_of(document_of(parser().parse_args(flags))) == wanted
    changed = apply(wanted.document(), {"further.0.train_rows": "50", "task.train_rows": "60"})
    assert [task["train_rows"] for task in (changed["task"], *changed["further"])] == [60, 50]


def test_a_changed_further_task_is_noticed(models, toy, others, lab_home, tmp_path):
    path = tmp_path / "mine.csv"
    shutil.copyfile(others["long"]["source"]["file"], path)
    mine = {**others["long"], "source": {**others["long"]["source"], "file": str(path)}}
    checked = check(run(models("bert"), [toy, mine]))
    assert origins.changes(checked) == []
    path.write_text(path.read_text().replace("story", "tale"))
    assert [field for field, _ in origins.changes(checked)] == ["task"]


# -- memory, export, questions -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["lora", pytest.param("full", marks=pytest.mark.slow)])
def test_a_plan_is_of_the_task_that_takes_most_and_holds_every_head(models, toy, others, method, tmp_path):
    """As the meter finds it once each head has had a step; the batch is that of the metered one."""
    given = run(
        models("roberta"), [{**toy, "max_length": 12}, {**others["long"], "max_length": 40}, others["length"]], method=method, steps=9, evaluate_every=9
    )
    alone = [plan(spec(models("roberta"), task, method), device="cpu") for task in (given.task, *given.further)]
    said = plan(given, device="cpu")
    assert said.setting["tokens"] == 48 and said.trainable == alone[0].trainable and said.trainable_head == sum(each.trainable_head for each in alone)
    assert said.peak_allocated_bytes > max(each.peak_allocated_bytes for each in alone)
    record = Record()
    result = train(given, record, tmp_path, say=silent)
    assert result["trainable_head"] == said.trainable_head and all(each["steps"] for each in result["tasks"].values())
    found = {name.removeprefix("measured/"): value for _, name, value in record.rows if name.startswith("measured/")}
    again = plan(given, device="cpu", batch=int(found["rows"]), tokens=int(found["tokens"]))
    assert again.categories["weights"] == found["weights"] and again.categories["optimizer"] >= found["optimizer"] > 0


def test_a_run_is_exported_with_the_head_of_a_task_and_asked_for_each(models, toy, others, lab_home, tmp_path):
    """Format lab keeps every head; one that holds one wants a task, and its logits are those of the run for this task."""
    from lab.runs import default
    from lab.trying.answering import answer

    tasks = [toy, others["long"], others["length"]]
    given = check(run(models("bert"), tasks, steps=8, lr=0.02))
    name = default().store.create(given.document())
    result = train(given, Record(), default().home.run_dir(name, create=True), say=silent)
    found, numbers = default().store.get(name), ["accuracy/toy", "f1/toy", "accuracy/long", "average", "loss", "loss/toy", "pearson/length"]
    assert facts.tasks_of(found) == ["toy", "long", "length"] and facts.judge(found) is AVERAGE and facts.task_of(found) == "toy + long + length"
    shown = ["average", "accuracy/toy", "accuracy/long", "pearson/length"]
    assert facts.evaluations(found, [f"eval_{each}" for each in numbers]) == [f"eval_{each}" for each in shown]
    with pytest.raises(Refusal, match="has a head for each of its tasks") as refused:
        export_run(name, "peft", tmp_path / "none")
    assert refused.value.field == "task" and not (tmp_path / "none").exists()
    for wrong, task in (("lab", "toy"), ("peft", "other")):
        with pytest.raises(Refusal):
            export_run(name, wrong, tmp_path / "wrong", task=task)
    kept = load_file(export_run(name, "lab", tmp_path / "lab") / "head.safetensors")
    assert {each.partition("/")[0] for each in kept} == set(result["tasks"])
    for task, labels in (("toy", ["neg", "pos"]), ("long", ["few", "some", "many"]), ("length", [])):
        out = export_run(name, "merged", tmp_path / task, task=task)
        told = json.loads((out / "delta_lab.json").read_text(encoding="utf-8"))
        assert told["labels"] == labels and told["task"] == task
        plain = AutoModelForSequenceClassification.from_pretrained(out, dtype=torch.float32).eval()
        assert plain.config.num_labels == (len(labels) or 1)
        said = answer({"run": name, "text": "the film was fine", "task": task})
        batch = lab.load(name, task=task)[1](["the film was fine"], return_tensors="pt")
        with torch.no_grad():
            logits, folder = plain(**batch).logits[0], lab.load(tmp_path / "lab", task=task, model=given.model)[0](**batch).logits[0]
        torch.testing.assert_close(folder, logits, atol=1e-5, rtol=1e-4)
        if labels:
            assert dict(said["on"]) == pytest.approx(dict(zip(labels, logits.softmax(0).tolist(), strict=True)), abs=1e-4)
        else:
            assert said["kind"] == "number" and said["on"] == pytest.approx(float(logits[0]), abs=1e-4)
    assert head_of(kept, "long").keys() == {"classifier.weight", "classifier.bias"}


SCRIPT = """
import json, sys
from pathlib import Path
from accelerate import PartialState
from lab.design.spec.run import spec_of
from lab.training import Record, train
folder = Path(sys.argv[1])
record = Record()
train(spec_of(json.loads((folder / 'spec.json').read_text())), record, folder / 'run', say=lambda line: None)
if PartialState().is_main_process:
    (folder / 'curves.json').write_text(json.dumps({name: record.curve(name) for _, name, _ in record.rows if 'loss' in name or name == 'grad_norm'}))
"""


@pytest.mark.slow
def test_two_processes_on_several_tasks_equal_one_with_twice_the_batch(models, toy, others, tmp_path):
    found = []
    for processes in (1, 2):
        folder = tmp_path / str(processes)
        folder.mkdir()
        given = run(models("bert"), [toy, others["long"], others["length"]], steps=12, batch_size=16 // processes, accumulation=2, lr=0.01)
        (folder / "spec.json").write_text(json.dumps(given.document()))
        (folder / "script.py").write_text(SCRIPT)
        launch = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)] if processes > 1 else []
        done = subprocess.run([sys.executable, *launch, str(folder / "script.py"), str(folder)], capture_output=True, text=True, timeout=280)
        assert done.returncode == 0, done.stderr[-3000:]
        found.append(json.loads((folder / "curves.json").read_text()))
    one, two = found
    assert one.keys() == two.keys() and {"loss/long", "eval_loss/length"} <= one.keys()
    for name, curve in one.items():
        assert list(curve.values()) == pytest.approx(list(two[name].values()), abs=1e-4), name
