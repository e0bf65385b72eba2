"""Prompts as tokens. What is too long is cut inside the source text, so that the question and the wording around it stay."""

from __future__ import annotations

from collections.abc import Sequence

from lab.design.plain.refusal import Refusal
from lab.tasks.family import Setting


def encode_prompts(texts: Sequence[str], setting: Setting) -> list[list[int]]:
    """Token ids as a model reads them: with its special tokens; no end of text after a decoder's prompt."""
    ids = _ids(texts, setting, special=True)
    end = setting.tokenizer.eos_token_id
    if setting.decoder:
        ids = [each[:-1] if len(each) > 1 and each[-1] == end else each for each in ids]
        return [each or [setting.tokenizer.bos_token_id or end] for each in ids]
    limit = setting.max_length
    return [each if len(each) <= limit else each[: limit - 1] + each[-1:] for each in ids]


def answers(texts: Sequence[str], setting: Setting, end: bool = False) -> list[list[int]]:
    """Token ids of what follows a prompt, without special tokens; with `end`, closed by the end of text."""
    if not setting.decoder:
        texts = [text.strip() for text in texts]
    tail = [setting.tokenizer.eos_token_id] if end and setting.tokenizer.eos_token_id is not None else []
    return [each + tail for each in _ids(texts, setting, special=False)]


def cut(source: str, frame: Sequence[str], setting: Setting, room: int) -> str:
    """The prompt with as much of `source` between the pieces of its `frame` as fits before an answer of `room` tokens.

    Raises `Refusal` where the wording alone fills the longest input.
    """
    fixed = len(_ids(["".join(frame)], setting, special=True)[0])
    budget = setting.max_length - fixed - (room if setting.decoder else 0) - 1
    if budget < 1:
        raise Refusal("The prompt's wording alone fills the longest input of {most} tokens; make it longer.", "training.max_length", most=setting.max_length)
    if len(source) > budget:  # a token has at least one character
        source = clip(source, budget, setting.plain)
    return source.join(frame)


def clip(text: str, tokens: int, tokenizer) -> str:
    """The first `tokens` tokens of a text, as text."""
    if getattr(tokenizer, "is_fast", False):
        offsets = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
        return text if len(offsets) <= tokens else text[: offsets[tokens - 1][1]]
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    return text if len(ids) <= tokens else tokenizer.decode(ids[:tokens])


def _ids(texts: Sequence[str], setting: Setting, special: bool) -> list[list[int]]:
    if not texts:
        return []
    return setting.plain(list(texts), add_special_tokens=special, verbose=False)["input_ids"]


def one_pass(options: Sequence[Sequence[Sequence[int]]], setting: Setting) -> bool:
    """Whether every option of a decoder is one token, so that all are read off one pass over the prompt."""
    return setting.decoder and all(len(option) == 1 for each in options for option in each)
