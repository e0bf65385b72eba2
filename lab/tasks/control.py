"""Control tokens (`</s>`, `<|im_end|>`, `[SEP]`, `<pad>`) and the text of people that spells their names.

A tokenizer reads the name of a control token anywhere in a text as the token itself. What people write is text, so all of it goes through
`plain(tokenizer)`, which reads it as any other letters and still adds what its template adds ([CLS] ... [SEP]); the markers that a chat
template writes are control tokens, and what people wrote between them is not (`chat_tokens`). Where no name occurs, both give what the
tokenizer gives. transformers' own `split_special_tokens` is not enough: a Unigram model has `</s>` among its pieces, at the best score.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

HIDDEN = "\U000f0000{}\U000f0001"  # a name that no text has, in private-use planes
MARKS = range(0xE000, 0xF8FF)  # private-use characters; a chat is rendered with two of them that it does not hold


def names(tokenizer: Any) -> tuple[str, ...]:
    """The control tokens of a tokenizer as text, longest first; tokens added for ordinary words are none."""
    found = {str(token) for token in tokenizer.all_special_tokens} | {token.content for token in tokenizer.added_tokens_decoder.values() if token.special}
    return tuple(sorted(found - {""}, key=lambda name: (-len(name), name)))


def plain(tokenizer: Any) -> Any:
    """The tokenizer as it reads what people write: called like it, with equal results where a text names no control token."""
    twin = getattr(tokenizer, "_lab_plain", None)
    if twin is None:
        twin = _twin(tokenizer, inside=False)
        tokenizer._lab_plain = twin
    languages = {name: getattr(tokenizer, name, None) for name in ("src_lang", "tgt_lang")}
    for name, language in languages.items():  # mBART's, which a task sets
        if language is not None and getattr(twin, name, None) != language:
            setattr(twin, name, language)
    return twin


def _twin(tokenizer: Any, inside: bool) -> Any:
    """A copy that knows no control token in a text; `inside`: for a text that does not begin what is read, so no space goes before it."""
    twin = copy.copy(tokenizer)
    twin.split_special_tokens = True
    if getattr(tokenizer, "is_fast", False):
        twin._tokenizer = _without(tokenizer.backend_tokenizer, names(tokenizer), inside)
    return twin


def _without(backend: Any, controls: Sequence[str], inside: bool) -> Any:
    """A tokenizer of the tokenizers library whose vocabulary no text can spell control tokens of. Ids and templates stay."""
    from tokenizers import Tokenizer

    document = json.loads(backend.to_str())
    hidden = {name: HIDDEN.format(name) for name in controls}
    document["added_tokens"] = [token for token in document["added_tokens"] or () if token["content"] not in hidden]
    model = document["model"]
    vocab = model.get("vocab")
    if isinstance(vocab, dict):
        model["vocab"] = {hidden.get(name, name): number for name, number in vocab.items()}
    elif vocab is not None:  # Unigram: pairs of piece and score
        model["vocab"] = [[hidden.get(name, name), score] for name, score in vocab]
    if "merges" in model:
        pairs = [merge if isinstance(merge, list) else merge.split(" ", 1) for merge in model["merges"]]
        model["merges"] = [pair for pair in pairs if not {pair[0], pair[1], "".join(pair)} & hidden.keys()]
    if model.get("unk_token"):
        model["unk_token"] = hidden.get(model["unk_token"], model["unk_token"])
    if inside:
        _begin_without_space([document["pre_tokenizer"], document["normalizer"]])
    return Tokenizer.from_str(json.dumps(document))


def _begin_without_space(part: Any) -> None:
    """Metaspace that puts a space before the first word only: none."""
    if isinstance(part, dict) and part.get("prepend_scheme") == "first":
        part["prepend_scheme"] = "never"
    for value in part.values() if isinstance(part, dict) else part if isinstance(part, list) else ():
        _begin_without_space(value)


def chat_tokens(tokenizer: Any, text: str, render: Callable[[Callable[[Any], Any]], str], written: Any) -> tuple[list[int], list[tuple[int, int]]]:
    """(token ids, where in the text each stands) of a rendered conversation, or of how it begins: names that somebody `written` are text.

    `render` renders the whole conversation with a function applied to all that people wrote.
    """
    controls = re.compile("|".join(map(re.escape, names(tokenizer))) or r"(?!)")
    texts = list(_strings(written))
    if not any(controls.search(each) for each in texts):
        return _read(tokenizer, text)
    everything = "".join(texts) + str(tokenizer.chat_template)
    left, right = [chr(code) for code in MARKS if chr(code) not in everything][:2]

    def mark(value: Any) -> Any:
        if isinstance(value, str):
            return controls.sub(lambda found: f"{left}{found[0]}{right}", value)
        if isinstance(value, Mapping):
            return {key: mark(item) for key, item in value.items()}
        return [mark(item) for item in value] if isinstance(value, (list, tuple)) else value

    ids: list[int] = []
    places: list[tuple[int, int]] = []
    for piece, is_written, start in _stretches(_beginning(render(mark), len(text), left, right), controls, left, right, tokenizer):
        reader = tokenizer if not is_written else plain(tokenizer) if not start else _inside(tokenizer)
        found, offsets = _read(reader, piece)
        ids += found
        places += [(start + begin, start + end) for begin, end in offsets]
    return ids, places


def _read(tokenizer: Any, text: str) -> tuple[list[int], list[tuple[int, int]]]:
    """(ids, offsets) of a text without special tokens around it; a tokenizer without offsets is asked how long each beginning is."""
    if getattr(tokenizer, "is_fast", False):
        found = tokenizer(text, add_special_tokens=False, verbose=False, return_offsets_mapping=True)
        return found["input_ids"], [tuple(pair) for pair in found["offset_mapping"]]
    ids = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
    ends = [min(len(text), len(tokenizer.decode(ids[: count + 1]))) for count in range(len(ids))]
    return ids, list(zip([0, *ends[:-1]], ends, strict=True)) if ids else []


def _beginning(marked: str, length: int, left: str, right: str) -> str:
    """As much of a text with marks as has so many letters without them."""
    seen = 0
    for place, letter in enumerate(marked):
        if letter not in (left, right):
            if seen == length:
                return marked[:place]
            seen += 1
    return marked


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, (Mapping, list, tuple)):
        for item in value.values() if isinstance(value, Mapping) else value:
            yield from _strings(item)


def _inside(tokenizer: Any) -> Any:
    twin = getattr(tokenizer, "_lab_inside", None)
    if twin is None:
        twin = tokenizer._lab_inside = _twin(tokenizer, inside=True)
    return twin


def _stretches(rendered: str, controls: re.Pattern, left: str, right: str, tokenizer: Any) -> Iterator[tuple[str, bool, int]]:
    """(text, whether it names control tokens that somebody wrote, where it starts without the marks) from one real control token to the next.

    Stretches that nobody wrote a name into stay joined with the control tokens around them and are read as one.
    """
    tokens = {token.content: token for token in tokenizer.added_tokens_decoder.values()}
    pieces, start = [], 0  # stretch, control token, stretch, ...
    for found in re.finditer(f"{left}(?:{controls.pattern}){right}|({controls.pattern})", rendered):
        if found[1] is not None:
            pieces += [rendered[start : found.start()], found[1]]
            start = found.end()
    pieces.append(rendered[start:])
    waiting, at = "", 0
    for place, piece in enumerate(pieces):
        if place % 2 or left not in piece and right not in piece:
            waiting += piece
            continue
        if waiting:
            yield waiting, False, at
            at, waiting = at + len(waiting), ""
        before, after = (tokens.get(pieces[around]) if 0 < around < len(pieces) else None for around in (place - 1, place + 1))
        piece = piece.replace(left, "").replace(right, "")
        skipped = len(piece) - len(piece.lstrip()) if before is not None and before.rstrip else 0
        kept = piece[skipped:].rstrip() if after is not None and after.lstrip else piece[skipped:]
        yield kept, True, at + skipped
        at += len(piece)
    if waiting:
        yield waiting, False, at
