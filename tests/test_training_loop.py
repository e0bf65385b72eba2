"""Whole runs on tiny random models: learning, exact resumption, equal losses however a step is split, what a run leaves behind."""

from __future__ import annotations

import json
import math
import random

import pytest
import torch
import yaml
from safetensors.torch import load_file
from training_support import BAD, GOOD, PLAIN, save_model, save_task, spec

from lab.design.plain.refusal import Refusal
from lab.design.spec.run import spec_of
from lab.models import resolve
from lab.training import Record, train
from lab.training.loop import Diverged


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    return save_model(tmp_path_factory.mktemp("bert"))


@pytest.fixture(scope="module")
def dropping(tmp_path_factory):
    """A model whose forward draws random numbers, so that a resumed run needs the random state."""
    return save_model(tmp_path_factory.mktemp("dropping"), hidden_dropout_prob=0.1, attention_probs_dropout_prob=0.1)


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    return save_task(tmp_path_factory.mktemp("toy"))


def weights(run_dir, which="adapter"):
    return {f"{p.stem}/{k}": v for p in sorted((run_dir / which).glob("*.safetensors")) for k, v in load_file(p).items()}


def same(one, other):
    assert one.keys() == other.keys()
    return [name for name in one if not torch.equal(one[name], other[name])]


def silent(line):
    pass


# -- learning and what is left behind ------------------------------------------------------------------------------------------------


def test_a_run_learns_and_leaves_everything(bert, toy, tmp_path):
    record, lines = Record(), []
    result = train(spec(bert, toy, lr=0.01, steps=60, evaluate_every=15), record, tmp_path, run_id="abc", say=lines.append)
    loss = record.curve("loss")
    assert list(loss) == list(range(1, 61)) and sum(list(loss.values())[-10:]) < sum(list(loss.values())[:10])
    assert list(record.curve("eval_accuracy")) == [0, 15, 30, 45, 60] and record.total_steps == 60
    for name in ("lr", "grad_norm", "tokens_per_second", "rows_per_second", "trainable", "memory_bytes", "peak_bytes", "epoch"):
        assert len(record.curve(name)) == 60, name
    assert result["step_bytes"] == max(record.curve("measured/peak").values()) < result["peak_bytes"], "a step's memory is a part of its process's"
    assert [n for _, n, _ in record.rows if n.startswith("delta_norm/")]
    assert result["state"] == "succeeded" and result["run"] == "abc" and result["steps"] == 60
    assert result["best"]["accuracy"] >= result["metrics"]["accuracy"] and result["best"]["accuracy"] > 0.7
    assert result["trainable"] == 2 * 2 * 8 * (32 + 32) == set(record.curve("trainable").values()).pop()
    assert 0 < result["evaluation_rows"] <= result["validation_rows"]
    assert result["trainable_head"] == 2 * 32 + 2 and result["percent"] == pytest.approx(100 * result["trainable"] / result["total"])
    for path in ("spec.yaml", "result.json", "predictions.json", "best/method.json", "best/head.safetensors", "adapter/adapter.safetensors"):
        assert (tmp_path / path).is_file(), path
    assert json.loads((tmp_path / "result.json").read_text())["metrics"] == result["metrics"]
    assert spec_of(yaml.safe_load((tmp_path / "spec.yaml").read_text())) == spec(bert, toy, lr=0.01, steps=60, evaluate_every=15)
    shown = json.loads((tmp_path / "predictions.json").read_text())
    assert shown and {"input", "prediction", "reference"} <= set(shown[0])
    assert not list(tmp_path.rglob("*.pt")) and not list(tmp_path.rglob("*.bin")) and not list(tmp_path.rglob("*.pkl"))
    assert len([line for line in lines if line.startswith("step ")]) == 5
    assert list(dict.fromkeys(name for name, _ in record.phases)) == ["loading", "tokenising", "evaluating", "saving", "training"]
    shares = [share for name, share in record.phases if name == "evaluating"]
    assert shares.count(0.0) == shares.count(1.0) >= 5 and record.phases[-1] == ("saving", None)


def test_the_examples_are_the_rows_that_were_judged_and_cost_no_reading_of_the_data(bert, toy, tmp_path, monkeypatch):
    """Of a drawn part of the validation rows too; a later run has what it shows beside its tokenised rows."""
    from lab.tasks import prepared

    shown = []
    for name in ("first", "later"):
        train(spec(bert, {**toy, "validation_rows": 5}, steps=2), Record(), tmp_path / name, cache=tmp_path / "cache", say=silent)
        shown.append(json.loads((tmp_path / name / "predictions.json").read_text()))
        monkeypatch.setattr(prepared, "raw_rows", None)
    assert shown[0] == shown[1] and len(shown[0]) == 5
    for row in shown[0]:
        assert row["text"] and row["text"].split() == [word for word in row["input"].split() if not word.startswith("[")], row


def test_the_best_weights_give_the_best_number(bert, toy, tmp_path):
    """A learning rate that is far too large late in the run must not cost the best checkpoint."""
    result = train(spec(bert, toy, lr=0.05, steps=40, evaluate_every=4), Record(), tmp_path, say=silent)
    from lab.engine import attach
    from lab.export.source import load_head
    from lab.models import load, load_tokenizer
    from lab.tasks import prepare

    run = spec(bert, toy)
    tokenizer = load_tokenizer(bert)
    model = load(bert, objective="classification", num_labels=2, seed=run.seed)
    attach(model, run.method, seed=run.seed, state=load_file(tmp_path / "best" / "adapter.safetensors"))
    load_head(model, load_file(tmp_path / "best" / "head.safetensors"))
    ready = prepare(run.task, tokenizer, model.config)
    values = ready.evaluate(model, ready.validation, batch_size=32)
    assert values["accuracy"] == pytest.approx(result["best"]["accuracy"]) and values["loss"] == pytest.approx(result["best"]["loss"], abs=1e-5)


def test_the_test_split_is_judged_once_by_the_best_weights(bert, toy, tmp_path):
    lines: list[str] = []
    given = spec(bert, toy, lr=0.05, steps=20, evaluate_every=4, test=True)
    result = train(given, Record(), tmp_path, say=lines.append)
    from lab.engine import attach
    from lab.export.source import load_head
    from lab.models import load, load_tokenizer
    from lab.tasks import prepare

    model = load(bert, objective="classification", num_labels=2, seed=0)
    attach(model, given.method, seed=0, state=load_file(tmp_path / "best" / "adapter.safetensors"))
    load_head(model, load_file(tmp_path / "best" / "head.safetensors"))
    ready = prepare(given.task, load_tokenizer(bert), model.config)
    assert len(ready.test) and result["test"] == pytest.approx(ready.evaluate(model, ready.test), abs=1e-5)
    assert json.loads((tmp_path / "result.json").read_text())["test"] == result["test"] and any(line.startswith("Test split: loss") for line in lines)


def test_a_half_precision_model_has_full_precision_adapters(bert, toy):
    """As on an accelerator, here under the CPU's autocast: frozen weights in bf16; adapters, head, their gradients and AdamW's state in fp32."""
    from lab.tasks.losses import inputs_of, loss_sum
    from lab.training.assembly import assemble
    from lab.training.optimizers import make_optimizer

    given = spec(bert, toy, method="adapter-houlsby")
    assembly = assemble(given, cache=None, precision="bf16")
    trained = assembly.parameters()
    assert {p.dtype for p in trained.values()} == {torch.float32}
    own = {id(p) for p in trained.values()}
    assert {p.dtype for p in assembly.model.parameters() if id(p) not in own} == {torch.bfloat16}
    optimizer = make_optimizer(assembly.groups(), given.training, 1e-3, 0.0, "cpu")
    batch = assembly.task.collate([assembly.task.train[i] for i in range(8)])
    with torch.autocast("cpu", torch.bfloat16):
        logits = assembly.model(**inputs_of(batch, assembly.model, "classification")).logits
        loss = loss_sum(logits, batch["labels"], "classification") / 8
    loss.backward()
    optimizer.step()
    assert loss.dtype == torch.float32 and torch.isfinite(loss)
    assert all(p.grad is None or p.grad.dtype == torch.float32 for p in trained.values()) and any(
        p.grad is not None and p.grad.abs().sum() > 0 for p in trained.values()
    )
    assert {value.dtype for state in optimizer.state.values() for value in state.values()} == {torch.float32}


def test_only_what_is_declared_trains(bert, toy, tmp_path):
    from lab.models import load

    before = load(bert, objective="classification", num_labels=2, seed=0).state_dict()
    train(spec(bert, toy, method="bitfit", steps=3), Record(), tmp_path, say=silent)
    after = weights(tmp_path)
    changed = {name for name, tensor in after.items() if name.startswith("adapter/") and not torch.equal(
        tensor, before["bert." + name.removeprefix("adapter/select.")])}  # fmt: skip
    assert changed and all(name.endswith("bias") for name in changed)
    assert not torch.equal(after["head/classifier.weight"], before["classifier.weight"])


# -- the same whatever a step is split into --------------------------------------------------------------------------------------------


def test_accumulation_equals_a_larger_batch(bert, toy, tmp_path):
    curves = []
    for name, batch, accumulation in (("one", 16, 1), ("two", 8, 2), ("many", 3, 6)):
        record = Record()
        given = spec(bert, toy, lr=0.01, steps=8, batch_size=batch, accumulation=accumulation)
        train(given, record, tmp_path / name, say=silent)
        curves.append((list(record.curve("loss").values()), weights(tmp_path / name)))
    assert curves[0][0] == pytest.approx(curves[1][0], abs=1e-5)
    assert max(float((curves[0][1][n] - curves[1][1][n]).abs().max()) for n in curves[0][1]) < 1e-4
    assert len(curves[2][0]) == 8  # 18 rows a step: others, but as many steps


def test_two_runs_of_a_seed_are_equal_and_another_seed_differs(dropping, toy, tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        train(spec(dropping, toy, seed=seed, steps=5), Record(), tmp_path / name, say=silent)
    assert not same(weights(tmp_path / "a"), weights(tmp_path / "b"))
    assert same(weights(tmp_path / "a"), weights(tmp_path / "c"))


def test_gradient_checkpointing_changes_nothing(dropping, toy, tmp_path):
    losses = []
    for on in (False, True):
        record = Record()
        train(spec(dropping, toy, method="adapter-houlsby", steps=4, gradient_checkpointing=on), record, tmp_path / str(on), say=silent)
        losses.append(list(record.curve("loss").values()))
    assert losses[0] == pytest.approx(losses[1], abs=1e-6)


@pytest.mark.slow
def test_a_compiled_model_trains_alike(bert, toy, tmp_path):
    losses = []
    for on in (False, True):
        record = Record()
        method = {"preset": "adapter-parallel-scaled", "set": {"deltas.0.inner_dropout": 0.0}}  # a compiled dropout draws other masks
        given = spec(bert, toy, method=method, steps=4, compile=on)
        train(given, record, tmp_path / str(on), say=silent)
        losses.append(list(record.curve("loss").values()))
    assert losses[0] == pytest.approx(losses[1], abs=1e-4)


# -- resuming ----------------------------------------------------------------------------------------------------------------------------


METHODS = [  # by default one of each kind of what a run keeps: two rates, ranks that a schedule moves, drawn layers, gates, a mask and ranks by data, each optimizer
    *("lora", "adalora", "lisa", "diff-pruning", "fish-mask", "eva", "ia3", "last-layers"),
    *(pytest.param(name, marks=pytest.mark.slow) for name in ("full", "prefix-tuning", "aflora", "lamda", "unipelt-apl", "lora-ga")),
]


class Killed(BaseException):
    pass


class Deadly(Record):
    """A reporter under which the process dies at a step, whatever it was doing."""

    def __init__(self, at: int):
        super().__init__()
        self.at = at

    def log(self, step, values, *, total_steps=None):
        super().log(step, values, total_steps=total_steps)
        if step == self.at and "loss" in values:
            raise Killed


@pytest.mark.parametrize("method", METHODS)
def test_a_killed_run_resumes_to_the_same_weights(dropping, toy, tmp_path, method):
    given = spec(dropping, toy, method={"preset": method, "set": SHORT.get(method, {})}, steps=12, checkpoint_every=2, evaluate_every=3, accumulation=2,
                 **OPTIMIZER.get(method, {}))  # fmt: skip
    whole = Record()
    train(given, whole, tmp_path / "whole", say=silent)
    second = Record()
    for at in (3, 6, 11) if method == "lora" else (7, 11):  # killed again and again in one run
        with pytest.raises(Killed):
            train(given, Deadly(at), tmp_path / "killed", say=silent)
    train(given, second, tmp_path / "killed", say=silent)
    assert not same(weights(tmp_path / "whole"), weights(tmp_path / "killed"))
    assert not same(weights(tmp_path / "whole", "best"), weights(tmp_path / "killed", "best"))
    assert list(second.curve("loss")) == [11, 12]
    for name in ("loss", "grad_norm", "lr", "trainable"):
        assert [second.curve(name)[s] for s in (11, 12)] == [whole.curve(name)[s] for s in (11, 12)], name


OPTIMIZER = {"ia3": {"optimizer": "adafactor"}, "last-layers": {"optimizer": "galore", "galore_rank": 4, "galore_every": 5}}
SHORT = {
    "eva": {"deltas.0.rank": 5, "deltas.0.allocation.rank_max": 8, "deltas.0.init_rows": 11},
    "lora-ga": {"deltas.0.rank": 4},
    "fish-mask": {"select.rows": 9, "select.density": 0.05},
    "last-layers": {"select.depth": 1},
    "lora": {"training.lr_ratio": 8.0},
    "lisa": {"select.every": 3, "select.active": 1},
    "adalora": {"deltas.0.schedule.every": 2},
    "aflora": {"deltas.0.schedule.every": 2, "deltas.0.schedule.finish": 0.3},
    "lamda": {"deltas.0.rank": 6, "deltas.0.schedule.fraction": 0.7},
}


NINE = {"steps": 9, "evaluate_every": 4, "checkpoint_every": 100}


@pytest.fixture(scope="module")
def nine(dropping, toy, tmp_path_factory):
    """What nobody stopped leaves."""
    folder = tmp_path_factory.mktemp("nine")
    train(spec(dropping, toy, **NINE), Record(), folder, say=silent)
    return weights(folder)


@pytest.mark.parametrize("at", [pytest.param(step, marks=[] if step in (1, 3, 4, 8) else [pytest.mark.slow]) for step in range(1, 9)])
def test_a_stop_at_any_step_resumes_exactly(dropping, toy, nine, tmp_path, at):
    given = spec(dropping, toy, **NINE)
    stopped = train(given, Record(stop_when=lambda step: step >= at), tmp_path / "cut", say=silent)
    assert stopped["state"] == "cancelled" and stopped["steps"] == at
    record = Record()
    assert train(given, record, tmp_path / "cut", say=silent)["state"] == "succeeded"
    assert not same(nine, weights(tmp_path / "cut"))
    assert 4 in record.curve("eval_loss") or at > 4 or at == 0, "an evaluation that the stop cut short is made up for"


class Impatient(Record):
    """Asks to stop at the n-th time of asking, which may be in the midst of a step or of an evaluation."""

    def __init__(self, n: int):
        super().__init__()
        self.n = n

    def stopping(self):
        self.n -= 1
        return self.n < 0


@pytest.mark.parametrize("method", ["lora", pytest.param("diff-pruning", marks=pytest.mark.slow)])
def test_a_stop_in_the_midst_of_a_step_loses_nothing(dropping, toy, tmp_path, method):
    given = spec(dropping, toy, method=method, steps=6, evaluate_every=3, checkpoint_every=100, accumulation=2)
    train(given, Record(), tmp_path / "whole", say=silent)
    ends = []
    for n in (3, 5, 6, 7, 9, 12):
        ends.append(train(given, Impatient(n), tmp_path / "cut", say=silent))
    assert ends[0]["steps"] < ends[-1]["steps"] and ends[0]["state"] == "cancelled"
    train(given, Record(), tmp_path / "cut", say=silent)
    assert not same(weights(tmp_path / "whole"), weights(tmp_path / "cut"))


def test_a_damaged_checkpoint_costs_only_time(dropping, toy, tmp_path):
    given = spec(dropping, toy, steps=9, checkpoint_every=2)
    train(given, Record(), tmp_path / "whole", say=silent)
    with pytest.raises(Killed):
        train(given, Deadly(7), tmp_path / "cut", say=silent)
    last = tmp_path / "cut" / "checkpoints" / "step-000006" / "trainer.safetensors"
    last.write_bytes(last.read_bytes()[:-1])
    lines: list[str] = []
    train(given, Record(), tmp_path / "cut", say=lines.append)
    assert any("damaged" in line for line in lines) and "Resumed at step 4 of 9." in lines
    assert not same(weights(tmp_path / "whole"), weights(tmp_path / "cut"))


def test_a_schedule_changes_what_trains(bert, toy, tmp_path):
    record = Record()
    method = {"preset": "lamda", "set": {"deltas.0.rank": 6, "deltas.0.schedule.fraction": 0.5}}
    result = train(spec(bert, toy, method=method, steps=12), record, tmp_path, say=silent)
    curve = list(record.curve("trainable").values())
    assert curve[0] > curve[2] > curve[-1] == result["trainable_final"] < result["trainable"]
    assert curve == sorted(curve, reverse=True)


# -- ends --------------------------------------------------------------------------------------------------------------------------------


def test_early_stopping(bert, toy, tmp_path):
    lines: list[str] = []
    result = train(spec(bert, toy, lr=1e-9, steps=50, evaluate_every=2, early_stopping=2), Record(), tmp_path, say=lines.append)
    assert result["stopped_early"] and result["steps"] < 50 and result["state"] == "succeeded"
    assert any("Stopped early" in line for line in lines)


def test_a_loss_that_is_no_number_ends_the_run_with_a_sentence(bert, toy, tmp_path, monkeypatch):
    from lab.training import loop

    right = loop.batch_loss
    calls = []

    def wrong(*args):
        calls.append(1)
        return right(*args) * (float("nan") if len(calls) == 5 else 1.0)

    monkeypatch.setattr(loop, "batch_loss", wrong)
    with pytest.raises(Diverged, match="The loss is nan at step 5: lower lr"):
        train(spec(bert, toy, steps=9), Record(), tmp_path, say=silent)


def test_a_probe_that_cannot_be_measured_is_refused_in_a_sentence(bert, toy, tmp_path):
    with pytest.raises(Refusal, match="The probe 'text-lm' cannot be measured here: Language modelling needs a decoder"):
        train(spec(bert, toy, probe="text-lm"), Record(), tmp_path, say=silent)


@pytest.mark.parametrize("kind", ["bart", "llama", pytest.param("t5", marks=pytest.mark.slow), pytest.param("gpt2", marks=pytest.mark.slow)])
def test_other_objectives_train_and_forget(kind, tmp_path):
    """Summaries on encoder-decoders, text on decoders: the loss falls; a probe is measured before and after."""
    seq2seq = kind in ("bart", "t5")
    depth = {"num_decoder_layers": 2} if kind == "t5" else {}  # transformers sizes the cache of generate() by the encoder
    model = save_model(tmp_path / "model", kind, "seq2seq" if seq2seq else "causal", **depth)
    file = tmp_path / "rows.jsonl"
    rows = [{"source": "the film was fine " * 3, "target": "it was fine", "text": "the film was fine and warm " * 4} for _ in range(40)]
    rows = [{k: f"{v} {['great', 'dull', 'warm', 'weak'][i % 4]} {['plot', 'cast'][i % 2]} {' '.join(['very'] * (i % 7))}"
             for k, v in row.items()} for i, row in enumerate(rows)]  # fmt: skip
    file.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    family = "summarization" if seq2seq else "language_modelling"
    task = {"name": "toy", "family": family, "max_length": 24, "source": {"file": str(file), "hash": {"validation": 0.3, "test": 0.1}},
            "generation": {"max_length": 6}}  # fmt: skip
    record = Record()
    result = train(spec(model, task, lr=0.02, steps=25, batch_size=4, evaluate_every=25, label_smoothing=0.05), record, tmp_path / "run", say=silent)
    loss = list(record.curve("loss").values())
    assert sum(loss[-5:]) < sum(loss[:5]) and result["state"] == "succeeded"
    assert record.curve("eval_loss")[25] < record.curve("eval_loss")[0]


def classes_of(folder, sides):
    """A file of sentences with words of one side each, imported as the task `classes`."""
    from lab.tasks import importing

    draw = random.Random(2)
    rows = [{"text": " ".join([*draw.choices(PLAIN, k=3), *draw.choices(words, k=4)]), "label": name} for name, words in list(sides.items()) * 40]
    (folder / "classes.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    importing.commit(folder / "classes.jsonl", "classes", family="classification", columns={"text": "text", "label": "label"}, max_length=32)


@pytest.mark.parametrize("method", ["lora", "prefix-tuning"])
def test_a_forgetting_probe_of_other_classes(bert, toy, tmp_path, lab_home, method):
    """Two classes are learned, three others measured by a linear classifier: before is the base's alone, whatever the method's start."""
    from accelerate import Accelerator

    from lab.models import load, load_tokenizer
    from lab.tasks import prepare
    from lab.training import probing

    classes_of(tmp_path, {"good": GOOD, "bad": BAD, "plain": PLAIN})
    chosen = spec(bert, toy, method, probe="classes", lr=0.02, steps=20)
    result = train(chosen, Record(), tmp_path / "run", say=silent)
    before, after = result["probe"]["before"], result["probe"]["after"]
    assert set(result["probe"]) == {"task", "before", "after"} and before["loss"] != after["loss"]
    assert before["accuracy"] > 0.8, "the words tell the classes, which a linear classifier finds"
    model, tokenizer = load(bert, objective="classification", num_labels=3), load_tokenizer(bert)
    probe = prepare("classes", tokenizer, model.config, taken=chosen.method.positions_taken)
    assert probing._measured(model, probe, chosen, Accelerator(cpu=True)) == pytest.approx(before, abs=1e-4)


def test_a_probe_of_held_out_perplexity(tmp_path, lab_home):
    """A decoder that learns to summarise is measured on prose of its own, an imported task, before and after."""
    from lab.tasks import importing

    draw = random.Random(1)
    model = save_model(tmp_path / "model", "gpt2", "causal")
    prose, pairs = tmp_path / "prose.jsonl", tmp_path / "pairs.jsonl"
    prose.write_text("\n".join(json.dumps({"body": " ".join(draw.choices(PLAIN, k=12))}) for _ in range(60)), encoding="utf-8")
    pairs.write_text(
        "\n".join(json.dumps({"document": " ".join(draw.choices(GOOD, k=12)), "summary": f"fine {draw.choice(GOOD)}"}) for _ in range(60)), encoding="utf-8"
    )
    importing.commit(prose, "prose", family="language_modelling", columns={"text": "body"})
    importing.commit(pairs, "pairs", family="summarization", columns={"source": "document", "target": "summary"}, max_length=32)
    result = train(spec(model, "pairs", probe="prose", lr=0.02, steps=20, batch_size=4, evaluate_every=20), Record(), tmp_path / "run", say=silent)
    probe = result["probe"]
    assert probe["task"] == "prose" and probe["before"]["perplexity"] == pytest.approx(math.exp(probe["before"]["loss"]))
    assert probe["after"]["perplexity"] > probe["before"]["perplexity"], "what it learned costs it the prose"


# -- inputs as long as the model's positions -----------------------------------------------------------------------------------------------


SHIFTED = {"preset": "prefix-tuning", "set": {"deltas.0.positions": "shift", "deltas.0.rank": 12}}
VIRTUAL = {"preset": "prompt-tuning", "set": {"deltas.0.rank": 12}}
WITHOUT = {"preset": "prompt-tuning", "set": {"deltas.0.rank": 12, "deltas.0.init": "normal", "deltas.0.token_positions": "none"}}


@pytest.mark.parametrize(("kind", "family", "method", "longest"), [
    ("bert", "classification", VIRTUAL, 52), ("roberta", "classification", VIRTUAL, 52), ("bart", "summarization", VIRTUAL, 52), ("t5", "summarization", VIRTUAL, 90),
    ("gpt2", "language_modelling", VIRTUAL, 52), ("gpt2", "language_modelling", SHIFTED, 52), ("gpt2", "language_modelling", "prefix-tuning", 64),
    ("gpt2", "summarization", SHIFTED, 52), ("gpt2", "summarization", VIRTUAL, 52),
    ("roberta", "classification", SHIFTED, 52), ("bart", "summarization", SHIFTED, 52), ("roberta", "classification", WITHOUT, 64),
])  # fmt: skip
def test_virtual_tokens_and_shifted_prefixes_shorten_the_longest_input(kind, family, method, longest, tmp_path):
    """Rows far longer than the model's 64 positions: without the cut the position table would be read past its end."""
    objective = {"classification": None, "language_modelling": "causal", "summarization": "seq2seq" if kind != "gpt2" else "causal"}[family]
    model = save_model(tmp_path / "model", kind, objective, **({"num_decoder_layers": 2} if kind == "t5" else {}))
    draw = random.Random(0)
    rows = [
        {"text": " ".join(draw.choices(PLAIN, k=120)), "source": " ".join(draw.choices(PLAIN, k=120)), "target": "it was a story", "label": i % 2}
        for i in range(30)
    ]
    file = tmp_path / "rows.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    task = {"name": "long", "family": family, "max_length": 90, "labels": ["0", "1"] if family == "classification" else [], "target_length": 10,
            "generation": {"max_length": 40, "beams": 2}, "source": {"file": str(file), "hash": {"validation": 0.3, "test": 0.1}}}  # fmt: skip
    record = Record()
    given = spec(model, task, method=method, steps=2, batch_size=4, evaluate_every=2)
    result = train(given, record, tmp_path / "run", say=silent)
    assert result["state"] == "succeeded" and (tmp_path / "run" / "predictions.json").is_file()
    from lab.models import config_of, load_tokenizer
    from lab.tasks import prepare

    ready = prepare(given.task, load_tokenizer(model), config_of(resolve(model)), taken=given.method.positions_taken)
    assert ready.max_length == longest
    assert longest - 12 <= ready.train.lengths.max() <= longest  # a decoder's prompt leaves room for the answer
    assert given.method.positions_taken == (0 if method in ("prefix-tuning", WITHOUT) else 12)


@pytest.mark.parametrize(("preset", "rank", "words"), [("prompt-tuning", 65, "65 virtual tokens leave no room"), ("prompt-tuning", 17, "leaves 47 for inputs of up to 48 tokens"),
                                                       ("p-tuning-v2", 64, "Positions shifted by 64"), ("p-tuning-v2", 20, "leaves 44 for inputs of up to 48")])  # fmt: skip
def test_a_launch_whose_inputs_have_no_room_is_refused_at_the_rank(bert, toy, preset, rank, words):
    from lab import verbs
    from lab.planning import plan

    given = spec(bert, toy, method={"preset": preset, "set": {"deltas.0.rank": rank}})
    for ask in (verbs.check, plan):
        with pytest.raises(Refusal, match=words) as refused:
            ask(given)
        assert refused.value.field == "deltas.0.rank"
    assert verbs.check(spec(bert, toy, method={"preset": preset, "set": {"deltas.0.rank": 16}}))


def test_more_virtual_tokens_than_positions_are_refused(bert, toy, tmp_path):
    with pytest.raises(Refusal, match="takes 62 of the model's 64 positions"):
        train(spec(bert, toy, method={"preset": "prompt-tuning", "set": {"deltas.0.rank": 62}}), Record(), tmp_path, say=silent)


@pytest.mark.parametrize("kind, method", [
    ("gpt2", "prefix-tuning"), ("t5", "full"), ("bart", "lora"), pytest.param("gpt2", "full", marks=pytest.mark.slow), pytest.param("llama", "lora", marks=pytest.mark.slow)])  # fmt: skip
def test_a_run_with_a_head_is_probed_on_words(kind, method, tmp_path, lab_home):
    """Before is the base's own language model without the method; after is that with what the run learned."""
    from lab.models import load, load_tokenizer
    from lab.tasks import importing, prepare

    writes = kind in ("t5", "bart")
    model = save_model(
        tmp_path / "model",
        kind,
        "seq2seq" if writes else "causal",
        **({"num_decoder_layers": 2} if kind == "t5" else {}),
        **({"eos_token_id": 3} if writes else {}),
    )
    draw, file = random.Random(2), tmp_path / "words.jsonl"
    file.write_text("\n".join(json.dumps({"text": " ".join(draw.choices(PLAIN, k=12)), "summary": draw.choice(GOOD)}) for _ in range(60)), encoding="utf-8")
    columns = {"source": "text", "target": "summary"} if writes else {"text": "text"}
    importing.commit(file, "words", family="summarization" if writes else "language_modelling", columns=columns, max_length=32)
    classes_of(tmp_path, {"good": GOOD, "bad": BAD})
    task = "classes" if writes else {**importing.load("classes").model_dump(exclude_none=True), "head": "classifier"}
    chosen = spec(model, task, method, probe="words", lr=0.02, steps=12, evaluate_every=12)
    result = train(chosen, Record(), tmp_path / "run", say=silent)
    probe = result["probe"]
    plain, tokenizer = load(model, objective="seq2seq" if writes else "causal"), load_tokenizer(model)
    ready = prepare("words", tokenizer, plain.config, taken=chosen.method.positions_taken)
    assert probe["before"]["loss"] == pytest.approx(ready.evaluate(plain, ready.validation, batch_size=8)["loss"], abs=1e-5)
    assert result["best"]["step"] == 0 or probe["after"]["loss"] != pytest.approx(probe["before"]["loss"], abs=1e-4)
