"""What each judged row came to: kept beside the best weights, and every metric is the one that the run was judged by."""

from __future__ import annotations

import numpy as np
import pytest
from training_support import save_model
from training_support import spec as run_of

from lab.tasks import answered
from lab.tasks.metrics import label_metrics, label_set_metrics, number_metrics, text_metrics
from lab.training import train
from lab.training.reporting import Record

DRAW = np.random.default_rng(3)
WORDS = ["red", "tree"]  # few, so that there are 4-grams in common: BLEU smooths what is not there by how much there is


def texts(rows):
    return [" ".join(DRAW.choice(WORDS, 9)) for _ in range(rows)]


def of_labels(labels, rows=60):
    given, wanted = DRAW.integers(labels, size=rows).tolist(), DRAW.integers(labels, size=rows).tolist()
    scores = np.log(DRAW.dirichlet(np.ones(labels), rows))
    return answered.labels(given, wanted, scores), label_metrics(("accuracy", "f1", "matthews"), given, wanted, labels), labels


def of_sets(rows=50):
    given, wanted = DRAW.integers(2, size=(rows, 4)), DRAW.integers(2, size=(rows, 4))
    names = ("f1_micro", "f1_macro", "subset_accuracy")
    return {"prediction": given, "reference": wanted}, {name: label_set_metrics(names, given, wanted, "abcd")[name] for name in names}, 4


def of_numbers(rows=40):
    given, wanted = DRAW.normal(size=rows).tolist(), DRAW.normal(size=rows).tolist()
    return {"prediction": given, "reference": wanted}, number_metrics(("pearson",), given, wanted), 0


def of_texts(rows=12):
    kept = {}
    found = text_metrics(("rouge1", "rougeL", "bleu", "exact_match"), texts(rows), texts(rows), kept.update)
    return kept, found, 0


@pytest.mark.parametrize("made", [lambda: of_labels(2), lambda: of_labels(5), of_sets, of_numbers, of_texts], ids=["two", "five", "sets", "numbers", "texts"])
def test_a_metric_is_a_function_of_sums_over_rows(made):
    """Of all rows it is the libraries' own number, through a file and back; of rows drawn twice it is that of those rows."""
    kept, judged, labels = made()
    rows = len(next(iter(kept.values())))
    found, of = answered.unpack(answered.pack({"a task": {"row": np.arange(rows), **kept}}, {"a task": 99}))["a task"]
    assert of == 99 and found["row"].tolist() == list(range(rows))
    for metric, value in judged.items():
        summed, finish = answered.summable(metric, found, labels)
        assert float(finish(summed.sum(0))) == pytest.approx(value, abs=1e-5), metric
        assert finish(np.stack([summed.sum(0), 2 * summed.sum(0)])) == pytest.approx([value, value], abs=1e-5), metric
    assert answered.summable("spearman", found, labels) is None and answered.summable("chrf", found, labels) is None


def test_a_run_keeps_what_its_best_weights_answered(tmp_path, lab_home):
    from lab.tasks import importing

    lines = [f"the {word} film number {n},{label}" for n in range(60) for word, label in (("fine", "good"), ("dull", "bad"))]
    (tmp_path / "films.csv").write_text("text,label\n" + "\n".join(lines), encoding="utf-8")
    importing.commit(tmp_path / "films.csv", "films", family="classification")
    model = save_model(tmp_path / "bert")
    document = train(run_of(model, "films", steps=6, test=True), Record(), tmp_path / "run", say=lambda line: None)
    for file, judged, rows in (("best/rows.npz", document["best"], document["judged_rows"]), ("test-rows.npz", document["test"], None)):
        data = (tmp_path / "run" / file).read_bytes()
        ((found, of),) = answered.unpack(data).values()
        assert len(found["row"]) == (rows or of) and len(data) < 20_000
        for metric in ("accuracy", "f1", "loss"):
            summed, finish = answered.summable(metric, found, 2)
            assert float(finish(summed.sum(0))) == pytest.approx(judged[metric], abs=1e-5), (file, metric)
