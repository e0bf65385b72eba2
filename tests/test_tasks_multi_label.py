"""Several labels a row: every way to write them means the same, what is no set of labels is refused, and a run keeps them to its exports."""

from __future__ import annotations

import csv
import json

import numpy as np
import pyarrow
import pytest
import torch
from pyarrow import parquet
from training_support import save_model, spec
from transformers import AutoModelForSequenceClassification

import lab
from lab.design.body.architecture import load_architecture
from lab.design.plain.refusal import Refusal
from lab.export import write
from lab.export.source import open_run
from lab.tasks import importing
from lab.tasks.metrics import label_set_metrics
from lab.training import Record, train

SETS = [["billing"], ["login", "billing"], [], ["login"], ["refund", "billing"]]
WORDS = {"billing": "great", "login": "dull", "refund": "story"}  # that the tests' tokenizer knows
ROWS = [(f"the film {i} {' and '.join(WORDS[label] for label in SETS[i % 5]) or 'plot'}", SETS[i % 5]) for i in range(60)]
NAMES = ["billing", "login", "refund"]


@pytest.fixture(autouse=True)
def home(lab_home):
    return lab_home


def table(path, header, rows):
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return path


def lines(path, rows):
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return path


def flags(labels, yes=1, no=0):
    return [yes if name in labels else no for name in NAMES]


WAYS = {
    "lists": lambda folder: (lines(folder / "a.jsonl", [{"text": text, "labels": labels} for text, labels in ROWS]), {}),
    "lists in parquet": lambda folder: (parquet.write_table(pyarrow.Table.from_pylist([{"text": t, "labels": s} for t, s in ROWS]), folder / "a.parquet") or folder / "a.parquet", {}),
    "json in a cell": lambda folder: (table(folder / "a.csv", ["text", "labels"], [(text, json.dumps(labels)) for text, labels in ROWS]), {}),
    "pandas in a cell": lambda folder: (table(folder / "a.csv", ["text", "labels"], [(text, str(labels)) for text, labels in ROWS]), {}),
    "a separator": lambda folder: (table(folder / "a.csv", ["text", "labels"], [(text, " ;".join(labels)) for text, labels in ROWS]), {"separator": ";"}),
    "columns of 0 and 1": lambda folder: (table(folder / "a.csv", ["text", *NAMES], [(text, *flags(labels)) for text, labels in ROWS]), {}),
    "columns of 1.0": lambda folder: (table(folder / "a.csv", ["text", *NAMES], [(text, *flags(labels, "1.0", "0.0")) for text, labels in ROWS]), {}),
    "columns of true": lambda folder: (lines(folder / "a.jsonl", [{"text": text, **dict(zip(NAMES, flags(labels, True, False), strict=True))} for text, labels in ROWS]), {}),
}  # fmt: skip


@pytest.mark.parametrize("way", list(WAYS))
def test_every_way_to_write_several_labels_means_the_same(way, tmp_path):
    path, choices = WAYS[way](tmp_path)
    look = importing.preview(path, examples=60, **choices)
    assert (look.spec.family, look.spec.labels, look.dropped) == ("multi_label", NAMES, 0)
    assert look.balance == {"billing": 36, "login": 24, "refund": 12}
    assert [example["label"] for example in look.examples[:5]] == ["billing", "billing, login", "∅", "login", "billing, refund"]
    task = importing.commit(path, "tickets", **choices)
    assert lab.tasks.describe(task)["balance"].keys() == set(NAMES)


BAD = {
    "object": ([{"text": "a b", "label": {"name": "pos"}}], {}, "Row 1 has an object in column 'label': a label is one name"),
    "list among words": ([{"text": "a b", "label": "x"}, {"text": "a c", "label": ["x", "y"]}], {}, "Row 1 has 'x' in column 'label', which is no list of labels"),
    "lists for one label": ([{"text": "a b", "label": ["x"]}], {"family": "classification"}, "Row 1 has a list in column 'label': a label is one name or one number; lists of labels are of the kind multi_label"),
    "objects in a list": ([{"text": "a b", "label": ["x"]}, {"text": "c", "label": [{"id": 1}]}], {}, "Row 2 has an object in column 'label'"),
    "list in a list": ([{"text": "a b", "label": [["x"]]}], {}, "Row 1 has a list in column 'label'"),
    "null in a list": ([{"text": "a b", "label": ["x", None]}], {}, "Row 1 has no label in column 'label'"),
    "null": ([{"text": "a b", "label": ["x"]}, {"text": "c", "label": None}], {}, r"Row 2 has nothing in column 'label', .* write \[\] for none"),
    "a 2": ([{"text": "a b", "p": 0, "q": 1}, {"text": "c", "p": 1, "q": 2}], {"family": "multi_label", "columns": {"text": "text", "label": "p|q"}}, "Row 2 has '2' in column 'q'"),
    "an empty cell": ([{"text": "a b", "p": 0, "q": 1}, {"text": "c", "p": 1, "q": ""}], {"family": "multi_label", "columns": {"text": "text", "label": "p|q"}}, "Row 2 has nothing in column 'q'"),
    "separator and lists": ([{"text": "a b", "label": ["x"]}], {"separator": ";"}, "Row 1 has a list in column 'label', where a text with ';'"),
    "one label": ([{"text": f"a {i}", "label": ["x"]} for i in range(9)], {}, "only one label .'x'."),
    "no label": ([{"text": f"a {i}", "label": []} for i in range(9)], {}, "has no label in any row"),
    "another label": ([{"text": f"a {i}", "label": ["x", "z"]} for i in range(9)], {"labels": ["x", "y"]}, "has the label 'z'.*; the labels are x, y"),
}  # fmt: skip


@pytest.mark.parametrize("name", list(BAD))
def test_what_is_no_set_of_labels_is_refused_with_its_row(name, tmp_path):
    rows, choices, words = BAD[name]
    with pytest.raises(Refusal, match=words):
        importing.preview(lines(tmp_path / "x.jsonl", rows), **choices)


@pytest.mark.parametrize(("kind", "words"), [("pegasus", "has no head that gives labels"), ("marian", "has no head that gives labels")])
def test_models_without_a_head_are_refused(kind, words):
    with pytest.raises(Refusal, match=words):
        lab.tasks.FAMILIES["multi_label"]().objective(lab.TaskSpec(family="multi_label", source={"file": "x.csv"}), load_architecture(kind))


def test_f1_by_its_definition():
    draw = np.random.default_rng(0)
    given, right = draw.integers(0, 2, (50, 3)), draw.integers(0, 2, (50, 3))
    given[:, 2] = right[:, 2] = 0  # a label that never is
    hits, false, missed = (given & right).sum(0), (given & ~right & 1).sum(0), (~given & 1 & right).sum(0)
    each = [2 * h / (2 * h + f + m) if h + f + m else 0.0 for h, f, m in zip(hits, false, missed, strict=True)]
    found = label_set_metrics(("f1_micro", "f1_macro", "subset_accuracy"), given.tolist(), right.tolist(), NAMES)
    assert found["f1_micro"] == pytest.approx(2 * hits.sum() / (2 * hits.sum() + false.sum() + missed.sum()))
    assert found["f1_macro"] == pytest.approx(sum(each) / 3) and [found[f"f1:{name}"] for name in NAMES] == pytest.approx(each)
    assert found["subset_accuracy"] == pytest.approx((given == right).all(1).mean())


@pytest.mark.parametrize("kind, way", [("bert", "lists"), ("gpt2", "a separator"), ("bart", "columns of 0 and 1")])
def test_a_run_keeps_its_labels_to_its_exports(kind, way, home, tmp_path):
    """Trained, judged by micro F1, tried, exported: one problem type, the same label names, the same logits everywhere."""
    from lab.runs import default
    from lab.trying.answering import answer

    path, choices = WAYS[way](tmp_path)
    task = importing.commit(path, "tickets", **choices)
    model = save_model(tmp_path / "model", kind, {"gpt2": "causal", "bart": "seq2seq"}.get(kind))
    run = default().store.create(spec(model, "tickets", lr=0.02, steps=40, evaluate_every=10).document())
    folder = default().home.run_dir(run, create=True)
    record = Record()
    result = train(spec(model, "tickets", lr=0.02, steps=40, evaluate_every=10), record, folder, say=lambda line: None)
    assert {"f1_micro", "f1_macro", "subset_accuracy", "f1:billing", "f1:login", "f1:refund"} <= set(result["best"])
    assert result["best"]["f1_micro"] == max(record.curve("eval_f1_micro").values()) > record.curve("eval_f1_micro")[0]
    said = answer({"run": run, "text": ROWS[0][0]})
    assert said["kind"] == "several" and {name for name, _ in said["on"]} == set(task.labels) and all(0 <= share <= 1 for _, share in said["on"])
    loaded, tokenizer = lab.load(run)
    batch = tokenizer([text for text, _ in ROWS[:4]], return_tensors="pt", padding=True)
    with torch.no_grad():
        ours = loaded(**batch).logits
    shares = dict(said["on"])
    assert [shares[name] for name in NAMES] == pytest.approx(ours[0].sigmoid().tolist(), abs=1e-4)
    write(open_run(run), "merged", tmp_path / "merged")
    plain = AutoModelForSequenceClassification.from_pretrained(tmp_path / "merged", dtype=torch.float32).eval()
    assert plain.config.problem_type == "multi_label_classification" and plain.config.id2label == dict(enumerate(NAMES))
    with torch.no_grad():
        assert (plain(**batch).logits - ours).abs().max() < 1e-4
    out = write(open_run(run), "peft", tmp_path / "peft")  # as its README says: the base with so many labels, padded as it was trained
    facts = json.loads((out / "delta_lab.json").read_text(encoding="utf-8"))
    assert facts["labels"] == list(task.labels) and "multi_label" in json.dumps(facts)
    base = AutoModelForSequenceClassification.from_pretrained(
        model, num_labels=3, problem_type="multi_label_classification", pad_token_id=facts["padding"]["id"], dtype=torch.float32
    )
    wrapped = pytest.importorskip("peft").PeftModel.from_pretrained(base, out).eval()
    with torch.no_grad():
        assert (wrapped(**batch).logits - ours).abs().max() < 1e-5
