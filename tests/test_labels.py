"""Labels of runs: whatever is picked, what tells them apart stands in what is shown."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from lab.results.labels import CUT, ROOM, labels

WORDS = st.sampled_from(["minilm-l6", "roberta-base", "lora", "prefix-tuning", "sentiment-rt", "rank", "seed", "lr 1e-3", "8", "16", "0", "1", "on", "·", "_"])
NAMES = st.lists(WORDS, min_size=1, max_size=14).map(" ".join)


def test_what_differs_comes_first():
    long = "MiniLM-L6 on the sentiments of Rotten Tomatoes with LoRA"
    names = {"a": f"{long}, rank 8, seed 0", "b": f"{long}, rank 8, seed 1", "c": f"{long}, rank 16, seed 0", "d": "baseline"}
    found = labels(names)
    assert found == {"a": "MiniLM … rank 8, seed 0", "b": "MiniLM … rank 8, seed 1", "c": "MiniLM … rank 16, seed 0", "d": "baseline"}
    longer = {run: name.replace("LoRA,", "LoRA,").replace(", seed", ", on every linear layer of the encoder, seed") for run, name in names.items()}
    assert len({label[: ROOM + 8] for label in labels(longer).values()}) == 4, labels(longer)
    assert labels({"x1": "same", "x2": "same"}) == {"x1": "x1 · same", "x2": "x2 · same"}
    short = {"a": "rank 4, seed 0", "b": "rank 4, seed 1"}
    assert labels(short) == short, "what is shown whole stays as it is"


@given(st.lists(NAMES, min_size=1, max_size=12))
def test_labels_are_unique_and_made_of_the_names(names):
    found = labels({f"run{index}": name for index, name in enumerate(names)})
    assert len(set(found.values())) == len(names)
    for (run, label), name in zip(found.items(), names, strict=True):
        for piece in label.removeprefix(f"{run} · ").split(CUT):
            assert piece.strip() in f"{run} · {name}"
        assert label.split(CUT)[-1] and (f"{run} · {name}").endswith(label.split(CUT)[-1])


def test_a_thousand_names_take_no_time():
    import time

    names = {f"r{index}": f"MiniLM-L6 on the sentiments of Rotten Tomatoes with LoRA, rank {index % 37}, seed {index}" for index in range(1000)}
    begun = time.process_time()
    found = labels(names)
    assert len(set(found.values())) == 1000 and time.process_time() - begun < 2
