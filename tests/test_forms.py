"""Forms of a matrix: what their widths refuse, how many weights they have, and how LoKr splits a width."""

from __future__ import annotations

import re

import pytest
from laws import check_refusal_touches_nothing, fresh, snapshot

from lab.design.body.anatomy import Site, anatomy
from lab.design.method.forms.lokr import split
from lab.design.method.named import load_method
from lab.design.method.notes import notes
from lab.design.method.parts import all_parts
from lab.design.method.rules import problems
from lab.ui.words.refusals import refused

UNFIT = [  # on widths of 32 and 48
    ("gralora", {"deltas.0.blocks": 5, "deltas.0.rank": 10}, "blocks", "5 blocks do not divide a width of 32"),
    ("gralora", {"deltas.0.blocks": 4, "deltas.0.rank": 6}, "rank", "a multiple of 4"),
    ("c3a", {"deltas.0.rank": 32, "deltas.0.at": ["ffn.up"]}, "rank", "a divisor of 16"),
    ("bat", {"deltas.0.rank": 5}, "rank", "do not divide a width of 32"),
    ("bat", {"deltas.0.rank": 8, "deltas.0.insertion": "sequential"}, "insertion", "reads the weight of a projection"),
    ("miss", {"deltas.0.rank": 33, "deltas.0.at": ["ffn.down", "attn.q"]}, "rank", "wider than the 32 dimensions"),
    ("fourierft", {"deltas.0.rank": 1025}, "rank", "more than the 1024"),
    ("lokr", {"deltas.0.factor": 0}, "factor", "divides no width"),
    ("lokr", {"deltas.0.rank": 3, "deltas.0.trainable": ["D"]}, "trainable", "none of the trained parts"),
    ("randlora", {"deltas.0.trainable": ["A"]}, "trainable", "There is no part 'A'"),
    ("fourierft", {"deltas.0.rank": 40, "deltas.0.trainable": ["places"]}, "trainable", "There is no part 'places'"),
    ("lora", {"deltas.0.blocks": 4}, "blocks", "no use for"),
]


@pytest.mark.parametrize(("preset", "changes", "field", "words"), UNFIT)
def test_what_does_not_fit_is_refused_before_anything_starts(preset: str, changes: dict, field: str, words: str) -> None:
    model, method = fresh("bert"), load_method(preset, changes)
    assert words in check_refusal_touches_nothing(model, "bert", method, snapshot(model))
    problem = problems(method, anatomy(model.config.to_dict()))[0]
    assert problem.field == f"deltas.0.{field}" and words in problem.sentence and re.search("[\u4e00-\u9fff]", refused("zh", problem))


def test_two_deltas_of_which_one_reads_the_weight_are_refused() -> None:
    document = load_method("bat", {"deltas.0.rank": 8}).document()
    document["deltas"].append({"at": ["attn.v"], "form": "lowrank"})
    model = fresh("bert")
    assert "form bat" in check_refusal_touches_nothing(model, "bert", document, snapshot(model))


def test_a_number_of_frequencies_is_no_width() -> None:
    body = anatomy(fresh("bert").config.to_dict())
    assert not notes(load_method("fourierft", {"deltas.0.rank": 1000}), body)
    assert [field for field, _ in notes(load_method("lokr", {"deltas.0.rank": 200}), body)] == ["deltas.0.rank"]


COUNTS = {  # of a projection 768 → 3072, by the papers' formulas
    "loha": 2 * 8 * (768 + 3072),
    "lokr": 4 * 4 + 32 * (192 + 768),
    "gralora": 8 * (768 + 3072),
    "c3a": 768 * 3072 // 64,
    "randlora": 24 * (32 + 768),
    "miss": 16 * 3072,
    "bat": 16 * 3072,
    "fourierft": 1000,
}


@pytest.mark.parametrize("preset", COUNTS)
def test_the_count_is_that_of_the_paper(preset: str) -> None:
    (delta,) = load_method(preset).deltas
    for widths in ((768, 3072), (3072, 768)) if preset not in ("miss", "bat") else ((768, 3072),):
        site = Site("ffn.up", "encoder", 0, *widths, "projection", 12, 12, 64, model=768)
        assert sum(part.size for part in all_parts(delta, site) if part.trains) == COUNTS[preset]


@pytest.mark.oracle
def test_a_width_is_split_as_peft_splits_it() -> None:
    from peft.tuners.lokr.layer import factorization

    for width in (*range(1, 130), 384, 576, 768, 1536, 4864, 11008):
        for factor in (-1, *range(1, 20), 48, 768):
            if width % factor == 0 or factor == -1 or factor <= width:
                assert split(width, factor) == factorization(width, factor), (width, factor)
