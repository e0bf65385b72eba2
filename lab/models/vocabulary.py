"""Tokens of a tokenizer against the embeddings of its model: enough rows for all that a text can become, and one token to pad with."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

from lab.design.body.anatomy import anatomy_of
from lab.design.body.model import ModelSpec
from lab.design.plain.refusal import Refusal

PADDING = ("<pad>", "[PAD]", "<|pad|>", "<|padding|>", "<|finetune_right_pad_id|>", "<pad_token>", "PAD", "<|endoftext|>")  # names that checkpoints have for it
FEWEST = 8  # words; a tokenizer made of nothing has one or two, such as SentencePiece's space


def require_words(spec: ModelSpec, tokenizer: Any) -> None:
    """Raise Refusal for a tokenizer of control tokens alone, which transformers makes where a model comes without tokenizer files."""
    control = set(tokenizer.all_special_tokens) | {token.content for token in tokenizer.added_tokens_decoder.values() if token.special}
    if len(set(tokenizer.get_vocab()) - control) < FEWEST:
        raise Refusal(
            "{model} comes without a tokenizer: put tokenizer.json and tokenizer_config.json of the model beside its weights.",
            "model",
            model=spec.title or spec.name,
        )


def choose_padding(spec: ModelSpec, tokenizer: Any, config: Any) -> None:
    """Give a tokenizer without a padding token (or with one beyond the model's embeddings) another, and say which in `tokenizer.lab_padding`. Raises Refusal where it has no control token at all.

    The configuration's, else one that is named like it, else the end of text, else the unknown word. Padding is masked, so which one it
    is changes no logits; a control token is taken because no text becomes one, so a head that looks for the last real token finds it.
    """
    named = config.get_text_config().pad_token_id
    was, rows = tokenizer.pad_token, _rows(config) or len(tokenizer)
    word = tokenizer.convert_ids_to_tokens(named) if isinstance(named, int) and 0 <= named < min(rows, len(tokenizer)) else None
    known = {token.content for number, token in tokenizer.added_tokens_decoder.items() if token.special and number < rows}
    candidates = [*(name for name in PADDING if name in known and name != tokenizer.eos_token), tokenizer.eos_token, tokenizer.unk_token]
    word = word or next((name for name in candidates if name and tokenizer.convert_tokens_to_ids(name) < rows), None)
    if not word:
        raise Refusal("The tokenizer of {name} has no token to pad with; name one as pad_token in its tokenizer_config.json.", "model", name=spec.name)
    tokenizer.pad_token = word
    why = f"The tokenizer pads with {was}, for which the model has no embedding" if was else "The tokenizer names no padding token"
    tokenizer.lab_padding = f"{why}, so {word} (token {tokenizer.pad_token_id}) pads."


def lacks_padding(tokenizer: Any, config: Any) -> bool:
    """Whether a tokenizer has no padding token that its model has an embedding for."""
    return tokenizer.pad_token is None or tokenizer.pad_token_id >= (_rows(config) or len(tokenizer))


def _rows(config: Any) -> int | None:
    """Rows of the token embedding by the configuration."""
    rows = getattr(config.get_text_config(), "vocab_size", None)
    return rows if isinstance(rows, int) else None


def require_fit(spec: ModelSpec, tokenizer: Any, config: Any) -> None:
    """Raise Refusal where a text can become a token that the model has no embedding for, or positions would be counted from another padding."""
    rows = _rows(config)
    if rows is not None:
        used = set(tokenizer("")["input_ids"]) | {
            number for number in tokenizer.all_special_ids if str(tokenizer.convert_ids_to_tokens(number)) in _named(tokenizer)
        }
        special = {number for number, token in tokenizer.added_tokens_decoder.items() if token.special}
        beyond = {number: word for word, number in tokenizer.get_vocab().items() if number >= rows and (number in used or number not in special)}
        _require_rows(spec, beyond, rows)
    pad, counted = tokenizer.pad_token_id, config.pad_token_id
    if anatomy_of(config).architecture.positions.after and pad != counted:
        raise Refusal(
            "The tokenizer of {name} pads with token {pad}, and the model counts positions from token {counted}: give both the same pad_token.",
            "model",
            name=spec.name,
            pad=pad,
            counted=counted,
        )


def require_end(spec: ModelSpec, tokenizer: Any, config: Any) -> None:
    """Raise Refusal where a head on an encoder-decoder would look for an end of text that the tokenizer does not write."""
    if config.is_encoder_decoder and config.eos_token_id not in tokenizer("")["input_ids"]:
        raise Refusal("A head on {model} reads the end of a text (token {token}), which its tokenizer does not write: give the tokenizer that the model was saved with.", "model", model=spec.name, token=config.eos_token_id)  # fmt: skip


def _named(tokenizer: Any) -> set[str]:
    """The control tokens that reading or writing a text puts in: padding, start, end, and those of the chat template."""
    roles = ("pad_token", "bos_token", "eos_token", "cls_token", "sep_token", "unk_token")
    found = {str(getattr(tokenizer, role, None)) for role in roles}
    return found | {name for name in tokenizer.all_special_tokens if name in str(tokenizer.chat_template or "")}


def _require_rows(spec: ModelSpec, beyond: dict[int, str], rows: int) -> None:
    if beyond:
        top = max(beyond)
        raise Refusal("The tokenizer of {model} has {count:,} tokens more than the model has embeddings ('{token}' is number {number:,} of {rows:,}): give the tokenizer that the model was saved with, or a model with its embeddings resized.", "model", model=spec.name, count=len(beyond), token=beyond[top], number=top, rows=rows)  # fmt: skip


def check(spec: ModelSpec, folder: Path | None) -> None:
    """`require_fit` as far as tokenizer.json shows it, without torch: for the moment before a run is queued."""
    rows = spec.config.get("vocab_size")
    file = folder / "tokenizer.json" if folder is not None else None
    if not isinstance(rows, int) or file is None or not file.is_file():
        return
    _require_rows(spec, {number: word for number, word in _words(file, file.stat().st_mtime_ns).items() if number >= rows}, rows)


@functools.lru_cache(maxsize=8)
def _words(file: Path, _changed: int) -> dict[int, str]:
    """The highest of the tokens that a text can become, and all that were added; {} where the file cannot be read (loading says why)."""
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
        vocab = document["model"]["vocab"]
        pairs = vocab.items() if isinstance(vocab, dict) else ((piece[0], number) for number, piece in enumerate(vocab))
        special = {token["id"] for token in document.get("added_tokens") or () if token.get("special")}
        found = {number: word for word, number in pairs if number not in special}
        kept = {top: found[top] for top in sorted(found)[-200:]}
        return kept | {token["id"]: token["content"] for token in document.get("added_tokens") or () if token["id"] not in special}
    except (OSError, ValueError, KeyError, TypeError, RecursionError, AttributeError, IndexError):
        return {}
