"""Metric values equal the libraries' own, their command line included, on fixed predictions."""

from __future__ import annotations

import json
import random
import subprocess
import sys

import numpy as np
import pytest

from lab.tasks.metrics import final_number, label_metrics, number_metrics, perplexity, text_metrics

PREDICTED = ["The cat sat on the mat .", "A quick brown fox jumps", "hello world again", "nothing in common here", "Running dogs are running quickly"]
TRUE = ["The cat is on the mat .", "A quick brown fox jumped over the dog", "hello there world", "entirely different words", "The dog runs quickly"]


def test_label_metrics_by_their_definitions():
    draw = random.Random(0)
    true, given = ([draw.randrange(2) for _ in range(200)] for _ in range(2))
    tp, tn = (sum(t == g == label for t, g in zip(true, given, strict=True)) for label in (1, 0))
    fp, fn = (sum(t != g == label for t, g in zip(true, given, strict=True)) for label in (1, 0))
    found = label_metrics(("accuracy", "f1", "matthews"), given, true)
    assert found["accuracy"] == pytest.approx((tp + tn) / 200)
    assert found["f1"] == pytest.approx(2 * tp / (2 * tp + fp + fn))
    assert found["matthews"] == pytest.approx((tp * tn - fp * fn) / np.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn)))
    from sklearn.metrics import f1_score

    three = [draw.randrange(3) for _ in range(60)], [draw.randrange(3) for _ in range(60)]
    assert label_metrics(("f1",), *three, labels=3)["f1"] == pytest.approx(f1_score(three[1], three[0], average="macro"))


def test_number_metrics_are_scipys():
    from scipy.stats import pearsonr, spearmanr

    draw = np.random.default_rng(0)
    given, true = draw.normal(size=(2, 50))
    found = number_metrics(("pearson", "spearman"), given.tolist(), true.tolist())
    assert found["pearson"] == pytest.approx(pearsonr(given, true)[0]) and found["spearman"] == pytest.approx(spearmanr(given, true)[0])
    assert number_metrics(("pearson",), [1.0, 1.0], [0.0, 2.0]) == {"pearson": 0.0}


def test_bleu_and_chrf_are_those_of_sacrebleus_command(tmp_path):
    (tmp_path / "ref.txt").write_text("\n".join(TRUE) + "\n", encoding="utf-8")
    (tmp_path / "hyp.txt").write_text("\n".join(PREDICTED) + "\n", encoding="utf-8")
    command = [sys.executable, "-m", "sacrebleu", str(tmp_path / "ref.txt"), "-i", str(tmp_path / "hyp.txt"), "-m", "bleu", "chrf", "-f", "json", "-w", "6"]
    printed = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    found = text_metrics(("bleu", "chrf"), PREDICTED, TRUE)
    assert [found["bleu"], found["chrf"]] == pytest.approx([entry["score"] for entry in printed], abs=1e-6)


def test_rouge_is_rouge_scores():
    from rouge_score import rouge_scorer, scoring

    scorer, gather = rouge_scorer.RougeScorer(["rouge1", "rouge2", "rougeL"], use_stemmer=True), scoring.BootstrapAggregator()
    for true, given in zip(TRUE, PREDICTED, strict=True):
        gather.add_scores(scorer.score(true, given))
    found = text_metrics(("rouge1", "rouge2", "rougeL"), PREDICTED, TRUE)
    whole = [scorer.score(true, given) for true, given in zip(TRUE, PREDICTED, strict=True)]
    assert found == pytest.approx({kind: 100 * float(np.mean([score[kind].fmeasure for score in whole])) for kind in found})
    for kind, interval in gather.aggregate().items():
        assert interval.low.fmeasure * 100 <= found[kind] <= interval.high.fmeasure * 100


@pytest.mark.parametrize(
    ("text", "number"),
    [("so 3 and 4\n#### 1,200", 1200.0), ("The answer is 12.", 12.0), ("#### -3.5 apples 7", -3.5), ("none", None), ("first 3, then 1,234.50", 1234.5)],
)
def test_the_final_number(text, number):
    assert final_number(text) == number


def test_exact_match_and_perplexity():
    assert text_metrics(("exact_match",), ["is 5", "no", "#### 7"], ["#### 5", "#### 3", "x #### 8"]) == {"exact_match": pytest.approx(1 / 3)}
    assert perplexity(np.log(20.0)) == pytest.approx(20.0) and perplexity(1e9) == float("inf")
