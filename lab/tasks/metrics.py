"""The metrics, each by a library that others use too, so that figures compare. Imported on first need (rouge_score takes 3 s).

Units: accuracy, f1 (micro, macro, of a label), subset_accuracy, exact_match are fractions; matthews, pearson, spearman lie in [-1, 1]; rouge, bleu, chrf are × 100 as
papers print them; perplexity is exp of the mean negative log-likelihood per token.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

PER_LABEL = 30  # labels up to which each has a number of its own
NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?")


def label_metrics(names: Sequence[str], predictions: Sequence[int], references: Sequence[int], labels: int = 2) -> dict[str, float]:
    """accuracy, f1 (of label 1 where there are two labels, else macro) and matthews, by scikit-learn."""
    from sklearn import metrics

    averages = {"average": "binary"} if labels == 2 else {"average": "macro", "labels": list(range(labels))}
    ways = {
        "accuracy": lambda: metrics.accuracy_score(references, predictions),
        "f1": lambda: metrics.f1_score(references, predictions, zero_division=0.0, **averages),
        "matthews": lambda: metrics.matthews_corrcoef(references, predictions),
    }
    return {name: float(ways[name]()) for name in names if name in ways}


def label_set_metrics(
    names: Sequence[str], predictions: Sequence[Sequence[int]], references: Sequence[Sequence[int]], labels: Sequence[str]
) -> dict[str, float]:
    """f1_micro, f1_macro and subset_accuracy (all labels of a row right), by scikit-learn, of rows × labels of 0 and 1; a label that is never given nor
    right counts as 0. Of at most `PER_LABEL` labels also "f1:<label>" of each.
    """
    import numpy as np
    from sklearn import metrics

    given, right = np.array(predictions), np.array(references)
    each = [float(f1) for f1 in metrics.f1_score(right, given, average=None, zero_division=0.0)]
    ways = {
        "f1_micro": lambda: metrics.f1_score(right, given, average="micro", zero_division=0.0),
        "f1_macro": lambda: sum(each) / len(each),
        "subset_accuracy": lambda: metrics.accuracy_score(right, given),
    }
    found = {name: float(ways[name]()) for name in names if name in ways}
    return found | ({f"f1:{label[:100]}": f1 for label, f1 in zip(labels, each, strict=True)} if len(labels) <= PER_LABEL else {})


def number_metrics(names: Sequence[str], predictions: Sequence[float], references: Sequence[float]) -> dict[str, float]:
    """pearson and spearman by scipy; 0 where either side is constant or there are fewer than two rows."""
    from scipy import stats

    if len(predictions) < 2 or len(set(predictions)) == 1 or len(set(references)) == 1:
        return {name: 0.0 for name in names if name in ("pearson", "spearman")}
    ways = {"pearson": stats.pearsonr, "spearman": stats.spearmanr}
    return {name: float(ways[name](predictions, references).statistic) for name in names if name in ways}


def text_metrics(
    names: Sequence[str], predictions: Sequence[str], references: Sequence[str], keep: Callable[[Mapping[str, Any]], None] = lambda found: None
) -> dict[str, float]:
    """rouge1, rouge2, rougeL (rouge-score with stemmer, mean F1 × 100), bleu and chrf (sacrebleu's defaults), exact_match of numbers.

    `keep` is told what each row came to: scores of which these are the mean, and of BLEU its counts (`lab.tasks.answered`).
    """
    result: dict[str, float] = {}
    kinds = [name for name in names if name.startswith("rouge")]
    if kinds:
        from rouge_score.rouge_scorer import RougeScorer

        scorer = RougeScorer(kinds, use_stemmer=True)
        scores = [scorer.score(reference, prediction) for reference, prediction in zip(references, predictions, strict=True)]
        result |= {kind: 100 * sum(score[kind].fmeasure for score in scores) / max(1, len(scores)) for kind in kinds}
        keep({kind: [100 * score[kind].fmeasure for score in scores] for kind in kinds})
    if "bleu" in names or "chrf" in names:
        import sacrebleu

        if "bleu" in names:
            result["bleu"] = sacrebleu.corpus_bleu(list(predictions), [list(references)]).score
            rows = [sacrebleu.corpus_bleu([prediction], [[reference]]) for prediction, reference in zip(predictions, references, strict=True)]
            keep({"bleu": [[row.sys_len, row.ref_len, *row.counts, *row.totals] for row in rows]})
        if "chrf" in names:
            result["chrf"] = sacrebleu.corpus_chrf(list(predictions), [list(references)]).score
    if "exact_match" in names:
        right = [final_number(p) is not None and final_number(p) == final_number(r) for p, r in zip(predictions, references, strict=True)]
        result["exact_match"] = sum(right) / max(1, len(right))
        keep({"exact_match": [float(one) for one in right]})
    return result


def perplexity(loss: float) -> float:
    """exp of a mean negative log-likelihood per token; infinite where that overflows."""
    return math.exp(loss) if loss < 700 else math.inf


def final_number(text: str) -> float | None:
    """The number that an answer comes to: what follows '####' (GSM8K), else the last number in the text."""
    tail = text.rsplit("####", 1)[-1] if "####" in text else text
    found = NUMBER.findall(tail)
    if not found:
        return None
    return float((found[0] if "####" in text else found[-1]).replace(",", ""))
