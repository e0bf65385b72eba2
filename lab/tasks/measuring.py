"""How long texts are, and what is left of one that is too long: in tokens of a model that is here, else in words. Torch-free.

measure = measure_of("minilm-l6")
measure.lengths(["a film", "a dull film"])          # [4, 5], with the model's special tokens
measure.cut("a dull film", 4)                        # ("a dull", " film")
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lab.design.plain.refusal import Refusal

WORDS_PER_TOKEN = 0.75  # of English, where no tokenizer is at hand
LETTERS = 1_500_000  # letters beyond which a fixed sample of the rows is measured (about 3 s on one core)


class Measure:
    """Words, counted as if a token were three quarters of one."""

    unit = "words"

    def limit(self, max_length: int) -> int:
        """The longest input in this measure's unit."""
        return max(1, int(max_length * WORDS_PER_TOKEN))

    def lengths(self, texts: Sequence[str]) -> list[int]:
        """The length of each text, as a model would count it."""
        return [len(text.split()) for text in texts]

    def ends(self, text: str) -> list[int]:
        """Where each unit of a text ends."""
        return [found.end() for found in re.finditer(r"\S+", text)]

    def cut(self, text: str, units: int) -> tuple[str, str]:
        """(what stays, what is lost) of a text of at most so many units."""
        ends = self.ends(text)
        if len(ends) <= units:
            return text, ""
        place = ends[units - 1] if units > 0 else 0
        return text[:place], text[place:]

    def room(self, max_length: int) -> int:
        """Units of text in the longest input, special tokens left out."""
        return self.limit(max_length)


class TokenMeasure(Measure):
    """Tokens of one model."""

    unit = "tokens"

    def __init__(self, tokenizer: Any):
        self.tokenizer = tokenizer
        self.special = len(tokenizer.encode(""))

    def limit(self, max_length: int) -> int:
        return max_length

    def lengths(self, texts: Sequence[str]) -> list[int]:
        return [len(found) for found in self.tokenizer.encode_batch_fast(list(texts))]

    def ends(self, text: str) -> list[int]:
        return [end for _, end in self.tokenizer.encode(text, add_special_tokens=False).offsets]

    def room(self, max_length: int) -> int:
        return max(1, max_length - self.special)


def models() -> list[str]:
    """The model presets that are on this machine with a tokenizer that can be read without torch."""
    from lab.models import names

    return [name for name in names() if _file(name) is not None]


def measure_of(model: str) -> Measure:
    """The measure by a model's name; words for "". Raises `Refusal` for a model whose tokenizer is not here."""
    if not model:
        return Measure()
    file = _file(model)
    if file is None:
        raise Refusal("The tokenizer of {model} is not on this machine; choose another, or words.", "measure", model=model)
    return tokens_of(file)


def _file(model: str) -> Any:
    from lab.models import locate, names, resolve

    folder = locate(resolve(model)).folder if model in names() else None
    return folder / "tokenizer.json" if folder is not None and (folder / "tokenizer.json").is_file() else None


@functools.lru_cache(maxsize=4)
def tokens_of(file: Path) -> TokenMeasure:
    """The measure by a tokenizer.json."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(file))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    tokenizer.encode_special_tokens = True  # as text, which is how training reads it
    return TokenMeasure(tokenizer)


def sample(texts: Sequence[str]) -> list[int]:
    """Places of the texts to measure: all of them, or evenly drawn ones that have about LETTERS letters."""
    letters = sum(map(len, texts))
    if letters <= LETTERS:
        return list(range(len(texts)))
    count = max(100, len(texts) * LETTERS // letters)
    return [i * len(texts) // count for i in range(min(count, len(texts)))]


def histogram(lengths: Sequence[int], limit: int, bins: int = 24) -> dict[str, Any]:
    """{"median", "longest", "edges": [bins + 1], "counts": [bins], "cut": how many are longer than `limit`, "limit"}."""
    ordered = sorted(lengths)
    top = max(1, ordered[-1])
    width = max(1, -(-top // bins))
    counts = [0] * bins
    for length in lengths:
        counts[min(bins - 1, max(0, length - 1) // width)] += 1
    return {"median": ordered[len(ordered) // 2], "longest": top, "edges": [width * i for i in range(bins + 1)], "counts": counts,
            "cut": sum(length > limit for length in lengths), "limit": limit}  # fmt: skip


def shares(lengths: Sequence[int], room: int) -> list[int]:
    """How many units of each text stay where all of them share a room: the longest are cut first, as transformers does."""
    left, kept = room, [0] * len(lengths)
    for rank, place in enumerate(sorted(range(len(lengths)), key=lengths.__getitem__)):
        kept[place] = min(lengths[place], left // (len(lengths) - rank))
        left -= kept[place]
    return kept
