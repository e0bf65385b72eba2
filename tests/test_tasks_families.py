"""Every family on every kind of model: tokens, labels, truncation, loss, metrics; what cannot be is refused."""

from __future__ import annotations

import copy
import gzip
import json

import numpy as np
import pytest
import torch

from lab.design.method import named
from lab.design.plain.options import override
from lab.design.plain.refusal import Refusal
from lab.design.presets import catalogue
from lab.design.spec.task import TaskSpec
from lab.models import resolve as model_of
from lab.tasks import FAMILIES, describe, objective_of, prepare, resolve
from lab.tasks.family import EvaluationLoop
from lab.tasks.scoring import generate, option_scores, token_loss
from lab.trying.answering import rows_of
from tests.spread import pairs
from tests.tiny import TEXT, tiny, tiny_config, tiny_tokenizer

SAMPLE = {
    "classification": ({"labels": ["bad", "good"]}, [{"text": f"a film, number {i}", "label": i % 2} for i in range(24)]),
    "multi_label": ({"labels": ["long", "dull"]}, [{"text": f"a film, number {i}", "label": [["long"], [], ["dull", "long"]][i % 3]} for i in range(24)]),
    "regression": ({}, [{"text": f"text {i}", "label": i / 10} for i in range(24)]),
    "summarization": ({}, [{"source": f"the long story of number {i}", "target": f"story {i}"} for i in range(24)]),
    "translation": ({}, [{"source": f"number {i}", "target": f"numărul {i}"} for i in range(24)]),
    "language_modelling": ({}, [{"text": f"paragraph {i} says a thing"} for i in range(24)]),
    "math_reasoning": ({}, [{"source": f"{i} and 1?", "target": f"it is <<{i}+1={i + 1}>>so\n#### {i + 1}"} for i in range(24)]),
    "commonsense": ({}, [{"question": f"what is {i}?", "options": ["red", "a number", "x"], "answer": 1} for i in range(24)]),
    "instruction": ({}, [{"instruction": f"say {i}", "output": f"it is {i}"} for i in range(24)]),
}  # fmt: skip
MODELS = {"encoder": ("bert", {}), "encoder-decoder": ("bart", {"decoder_start_token_id": 2}), "decoder": ("llama", {})}
CAN = {
    "encoder": {"classification", "multi_label", "regression"},
    "encoder-decoder": set(SAMPLE) - {"language_modelling"},
    "decoder": set(SAMPLE),
}


def built(kind, objective, **extra):
    model_type, overrides = MODELS[kind]
    return tiny(model_type, objective, **TEXT, **overrides, **extra)


def ready(family, kind, folder, max_length=48, **changes):
    """A small task of one family, made ready for a tiny model of one kind."""
    extra, rows = SAMPLE[family]
    path = folder / f"{family}.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    spec = TaskSpec(name=family, family=family, columns={role: role for role in rows[0]}, generation={"max_length": 5, "beams": 2}, target_length=16,
                    source={"file": str(path), "hash": {"validation": 0.2, "test": 0.2}}, **{**extra, **changes})  # fmt: skip
    model_type, overrides = MODELS[kind]
    return prepare(spec, tiny_tokenizer(kind), tiny_config(model_type, **TEXT, **overrides), max_length=max_length)


@pytest.fixture(scope="module", params=["encoder-decoder", "decoder"])
def writer(request, tmp_path_factory):
    """(task, model) of the translation of few words by a tiny model of each kind that writes."""
    task = ready("translation", request.param, tmp_path_factory.mktemp("writer"))
    return task, built(request.param, task.objective)


@pytest.mark.parametrize("kind", list(MODELS))
@pytest.mark.parametrize("family", list(FAMILIES))
def test_a_family_on_a_kind_of_model(family, kind, tmp_path):
    if family not in CAN[kind]:
        with pytest.raises(Refusal, match="decoder|encoder"):
            ready(family, kind, tmp_path)
        return
    task = ready(family, kind, tmp_path)
    model = built(kind, task.objective, **({"num_labels": task.num_labels} if task.num_labels else {}))
    rows = task.train[:5]
    assert all(row["length"] == len(row["input_ids"]) <= 48 for row in rows)
    batch = task.collate(rows)
    assert batch["input_ids"].shape[1] == max(row["length"] for row in rows)  # no padding beyond the batch
    assert torch.isfinite(model(**batch).loss)
    model.train()
    values = task.evaluate(model, task.validation, batch_size=4)
    each = {f"f1:{label}" for label in task.spec.labels} if family == "multi_label" else set()
    assert model.training and task.metric in values and set(values) == {"loss", *task.spec.all_metrics, *each}
    alone = task.evaluate(model.eval(), task.validation, batch_size=1)
    assert values == pytest.approx(alone, abs=1e-4, rel=1e-5)  # neither padding nor order matters
    shown = task.predictions(model, 3)
    assert len(shown) == 3 and all({"input", "prediction", "reference", "text"} <= set(row) for row in shown)
    if family not in ("language_modelling", "commonsense"):  # what Try it makes of the typed text is what the row was
        for row, typed in zip(task.validation[:3], shown, strict=True):
            again = rows_of(task, typed)[0]
            ends = row.get("prompt_length") or len(row["input_ids"])
            assert again["input_ids"][: again.get("prompt_length") or ends] == row["input_ids"][:ends]
    assert len(task.examples(2)) == 2


def test_a_decoders_loss_is_on_the_answer_only(tmp_path):
    task = ready("translation", "decoder", tmp_path)
    row = task.train[0]
    decode = task.setting.tokenizer.decode
    asked, answer = row["input_ids"][: row["prompt_length"]], [label for label in row["labels"] if label != -100]
    assert decode(asked).endswith("\nTranslation:") and row["labels"][: row["prompt_length"]] == [-100] * row["prompt_length"]
    assert decode(answer).startswith(" numărul ") and answer[-1] == TEXT["eos_token_id"]


def test_too_long_a_source_is_cut_but_its_question_stays(tmp_path):
    task = ready("summarization", "decoder", tmp_path, prompt="Read: {source}\nSum up:")
    long = [{"source": "word " * 100, "target": "a word"}]
    row = task.family.encode(long, task.setting, True)[0]
    text = task.setting.tokenizer.decode(row["input_ids"][: row["prompt_length"]])
    assert row["length"] <= 48 and text.startswith("Read: word") and text.endswith("\nSum up:")
    with pytest.raises(Refusal, match="wording alone"):
        ready("summarization", "decoder", tmp_path, prompt="x" * 60 + "{source}").train[0]


def test_language_model_loss_is_that_of_the_tokens(tmp_path):
    task = ready("language_modelling", "decoder", tmp_path)
    model = tiny("llama", "causal", **TEXT)
    total = count = 0.0
    for row in task.validation:
        ids = torch.tensor([row["input_ids"]])
        log = model(ids).logits[0, :-1].log_softmax(-1).detach()
        total -= float(log[torch.arange(ids.shape[1] - 1), ids[0, 1:]].sum())
        count += ids.shape[1] - 1
    loss, tokens = token_loss(model, task.validation, task.setting, EvaluationLoop(batch_size=3))
    assert tokens == count and loss == pytest.approx(total / count, rel=1e-5)
    assert task.evaluate(model, task.validation)["perplexity"] == pytest.approx(np.exp(total / count), rel=1e-5)
    assert not task.greater_is_better and [row["length"] for row in task.train][:-1] == [48] * (len(task.train) - 1)


def test_option_scores_in_one_pass_equal_those_in_many(tmp_path):
    task = ready("commonsense", "decoder", tmp_path)
    model = tiny("llama", "causal", **TEXT)
    row = {"input_ids": [10, 11, 12, 13], "prompt_length": 4, "options": [[20], [21]], "answer": 0, "length": 4, "labels": []}
    rows = [row, {**row, "input_ids": [30, 31], "prompt_length": 2, "length": 2}]
    single = option_scores(model, rows, task.setting, EvaluationLoop(batch_size=2))
    many = option_scores(model, [{**each, "options": [*each["options"], [20, 22]]} for each in rows], task.setting, EvaluationLoop(batch_size=2))
    assert np.allclose([each[:2] for each in many], single, atol=1e-5)
    log = model(torch.tensor([[30, 31]])).logits[0, -1].log_softmax(-1)
    assert single[1] == pytest.approx([float(log[20]), float(log[21])], abs=1e-5)


def test_generation_does_not_depend_on_its_batch_or_cache(writer):
    task, model = writer
    together = generate(model, task.validation, task.setting, EvaluationLoop(batch_size=8))
    alone = generate(model, task.validation, task.setting, EvaluationLoop(batch_size=1))
    assert together == alone and len(together) == len(task.validation)


@pytest.mark.parametrize(("preset", "writer"), pairs(catalogue.names("methods"), ["encoder-decoder", "decoder"], 1), indirect=["writer"])
def test_generation_keeps_its_cache_with_every_method_that_allows_one(preset, writer):
    """After the first pass a decoder reads one token at a time; a learned gate, which averages over the sequence, reads it whole."""
    from lab.engine import attach
    from lab.engine.looking import nothing

    task, model = writer[0], copy.deepcopy(writer[1])
    try:
        attached = attach(model, named.load_method(preset), seed=0, look=nothing)
    except Refusal:
        return
    stack, read = model.get_decoder(), []
    stack.register_forward_pre_hook(
        lambda module, args, given: read.append((given.get("input_ids") if given.get("input_ids") is not None else given["inputs_embeds"]).shape[1]),
        with_kwargs=True,
    )
    texts = generate(model, task.validation[:2], task.setting, EvaluationLoop(batch_size=8))
    assert len(texts) == 2 and len(read) > 1
    gated = any(delta.composition == "learned-gate" for delta in attached.method.deltas)
    assert attached.caches is not gated
    assert read[1:] == list(range(read[0] + 1, read[0] + len(read))) if gated else set(read[1:]) == {1}, read


def test_rows_are_cached_by_what_they_depend_on(tmp_path):
    spec = resolve("sentiment-rt").model_copy(update={"train_rows": 50})
    config, tokenizer = tiny_config("bert", **TEXT), tiny_tokenizer("encoder")

    def made(**options):
        return prepare(spec, tokenizer, config, cache_dir=tmp_path, max_length=options.pop("max_length", 32), **options)

    first = made(evaluation_rows=20)
    rows = list(first.validation)
    files = list((tmp_path / "tasks").iterdir())
    assert list(made(evaluation_rows=20, seed=5).validation) == rows and list((tmp_path / "tasks").iterdir()) == files
    files[0].write_bytes(b"damaged")
    assert list(made(evaluation_rows=20).validation) == rows
    assert made(evaluation_rows=20, max_length=16).validation.lengths.max() == 16
    assert first.train.subset([3, 1])[1] == first.train[1] and len(first.train[:7]) == 7


def test_training_rows_are_drawn_by_the_seed():
    config, tokenizer = tiny_config("bert", **TEXT), tiny_tokenizer("encoder")
    spec = resolve("sentiment-rt").model_copy(update={"train_rows": 50})
    drawn = [list(prepare(spec, tokenizer, config, max_length=32, seed=seed).train) for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2] and len(drawn[0]) == 50


@pytest.mark.parametrize(("name", "sizes"), [("sentiment-rt", (6896, 831, 803)), ("sentiment-imdb", (19856, 2513, 2535))])
def test_hash_splits_are_fixed_and_share_no_text(name, sizes):
    from lab.tasks.prepared import raw_rows
    from lab.tasks.sources import normalised

    splits = raw_rows(resolve(name))
    texts = {split: {normalised(row["text"]) for row in rows} for split, rows in splits.items()}
    assert tuple(len(splits[split]) for split in ("train", "validation", "test")) == sizes == tuple(map(len, texts.values()))
    assert not texts["train"] & texts["validation"] and not texts["train"] & texts["test"] and not texts["validation"] & texts["test"]
    first = {"sentiment-rt": "as comedic spotlights go", "sentiment-imdb": "This film is really ONLY Bill Maher's"}
    assert splits["train"][0]["text"].startswith(first[name])


@pytest.mark.parametrize("name", catalogue.names("tasks"))
def test_every_preset_is_read_and_described(name):
    spec = resolve(name)
    shown = describe(name, 2)
    if shown["available"]:
        from lab.tasks.prepared import raw_rows

        assert spec.rows == {split: len(rows) for split, rows in raw_rows(spec).items()}
    assert spec.rows["train"] and spec.licence
    assert shown["metric"] in shown["metrics"] and (shown["available"] or "hub" in shown["unavailable"])
    assert objective_of(name, model_of("smollm2-135m")) in ("causal", "regression")
    assert spec.title and spec.description


def test_bundled_sets_keep_their_provenance():
    for folder in (catalogue.PRESETS / "data").iterdir():
        if folder.is_dir() and folder.name[0].isalpha():
            names = {path.name.split(".")[0] for path in folder.iterdir()}
            assert {"README", "SOURCES", "train", "validation", "test"} <= names
            with gzip.open(folder / "train.jsonl.gz", "rt", encoding="utf-8") as lines:
                assert json.loads(next(lines))["id"]


HUB_ROWS = {
    "mnli": ({"premise": "p", "hypothesis": "h", "label": 2}, {"text": "p", "text_pair": "h", "label": 2}),
    "cola": ({"sentence": "s", "label": 0}, {"text": "s", "label": 0}),
    "wmt16-en-ro": ({"translation": {"en": "a", "ro": "b"}}, {"source": "a", "target": "b"}),
    "gsm8k": ({"question": "q", "answer": "<<1+1=2>>2\n#### 2"}, {"source": "q", "target": "2\n#### 2"}),
    "commonsense-boolq": ({"question": "is it", "passage": "It is.", "answer": True}, {"question": "It is.\nQuestion: is it?", "options": ["no", "yes"], "answer": 1}),
    "commonsense-siqa": ({"context": "c.", "question": "q?", "answerA": "x", "answerB": "y", "answerC": "z", "label": "3"},
                         {"question": "c. q?", "options": ["x", "y", "z"], "answer": 2}),
    "commonsense-hellaswag": ({"ctx": "c", "endings": ["x", "y", "z", "w"], "label": "0"}, {"question": "c", "options": ["x", "y", "z", "w"], "answer": 0}),
    "commonsense-arc-c": ({"question": "q", "choices": {"text": ["x", "y"], "label": ["A", "B"]}, "answerKey": "B"}, {"question": "q", "options": ["x", "y"], "answer": 1}),
    "commonsense-winogrande": ({"sentence": "a _ b", "option1": "x", "option2": "y", "answer": "2"}, {"question": "a _ b", "options": ["x", "y"], "answer": 1}),
    "alpaca": ({"instruction": "do", "input": "it", "output": "done"}, {"messages": [{"role": "user", "content": "do\n\nit"}, {"role": "assistant", "content": "done"}], "tools": [], "row": 1, "after": 0}),
}  # fmt: skip


@pytest.mark.parametrize("name", list(HUB_ROWS))
def test_hub_rows_are_understood(name):
    row, example = HUB_ROWS[name]
    spec = resolve(name)
    assert FAMILIES[spec.family]().format(row, spec, 1) == example


def test_offline_hub_sets_are_refused_in_a_sentence():
    config = tiny_config("bert", **TEXT)
    with pytest.raises(Refusal, match="hub cannot be reached: go online once"):
        prepare("rte", tiny_tokenizer("encoder"), config).train[0]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"metric": "bleu"}, "no metric of classification"),
        ({"columns.source": "x"}, "has no column 'source'"),
        ({"prompt": "say {label}"}, "may name text"),
        ({"prompt": "{text"}, "cannot be read"),
        ({"source.hub": "a/b"}, "exactly one of"),
        ({"verbalisers": ["one"]}, "2 labels and 1 verbalisers"),
        ({"nonsense": 1}, "no option 'task.nonsense'"),
        ({"generation.min_length": 500}, "longer than the longest"),
    ],
)
def test_bad_specs_are_refused(change, words):
    document = override(resolve("sentiment-rt").model_dump(mode="json", exclude_defaults=True), change)
    with pytest.raises(Refusal, match=words):
        resolve(document)
