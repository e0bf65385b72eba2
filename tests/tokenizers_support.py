"""Small trained tokenizers of every kind, each with control tokens, as the families of the lab have them."""

from __future__ import annotations

import functools
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

CORPUS = ["the lamp works and it broke again", "a dull film, a fine film: 20 of 31", "user says hello to the assistant <tag> </s> [SEP] <|im_end|> x|y"] * 20
CHATML = ("{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
          "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}")  # fmt: skip
LLAMA2 = ("{% for m in messages %}{% if m['role'] == 'user' %}<s>[INST] {{ m['content'] }} [/INST]{% else %} {{ m['content'] }} </s>"
          "{% endif %}{% endfor %}")  # fmt: skip


def _bpe() -> PreTrainedTokenizerFast:
    """Byte-level BPE with control tokens of chats: GPT-2, Llama 3, Qwen, SmolLM."""
    core = Tokenizer(models.BPE())
    core.pre_tokenizer, core.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    core.train_from_iterator(CORPUS, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=core, eos_token="<|im_end|>", bos_token="<|endoftext|>", pad_token="<|endoftext|>",
                                   additional_special_tokens=["<|im_start|>"], chat_template=CHATML)  # fmt: skip


def _wordpiece(whole_words: bool = False) -> PreTrainedTokenizerFast:
    """WordPiece: BERT, Electra, DistilBERT. `whole_words`: cut at spaces alone, so that [SEP] between spaces is a piece of its vocabulary."""
    core = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    core.normalizer = normalizers.BertNormalizer(lowercase=False)
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit() if whole_words else pre_tokenizers.BertPreTokenizer()
    core.train_from_iterator(CORPUS, trainers.WordPieceTrainer(vocab_size=300, special_tokens=["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]))
    core.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return PreTrainedTokenizerFast(tokenizer_object=core, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]", mask_token="[MASK]")


def _unigram(scheme: str = "always") -> PreTrainedTokenizerFast:
    """SentencePiece's Unigram, where the control tokens are pieces with the best score: T5, mBART, XLM-R, DeBERTa-v2."""
    core = Tokenizer(models.Unigram())
    core.pre_tokenizer, core.decoder = pre_tokenizers.Metaspace(prepend_scheme=scheme), decoders.Metaspace(prepend_scheme=scheme)
    special = ["<pad>", "</s>", "<unk>", "<s>", "en_XX"]
    core.train_from_iterator(CORPUS, trainers.UnigramTrainer(vocab_size=120, special_tokens=special, unk_token="<unk>"))
    core.post_processor = processors.TemplateProcessing("$A </s>", "$A </s> $B </s>", [("</s>", 1)])
    return PreTrainedTokenizerFast(tokenizer_object=core, pad_token="<pad>", eos_token="</s>", unk_token="<unk>", bos_token="<s>",
                                   additional_special_tokens=["en_XX"], chat_template=LLAMA2)  # fmt: skip


def _sentencepiece_bpe(scheme: str = "first") -> PreTrainedTokenizerFast:
    """SentencePiece's BPE with its space before the first word only, and merges that spell a control token: Llama 2, Mistral, Gemma."""
    core = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True))
    core.pre_tokenizer, core.decoder = pre_tokenizers.Metaspace(prepend_scheme=scheme, split=False), decoders.Metaspace(prepend_scheme=scheme)
    core.train_from_iterator(CORPUS, trainers.BpeTrainer(vocab_size=200, special_tokens=["<unk>", "<s>", "</s>"]))
    core.post_processor = processors.TemplateProcessing("<s> $A", "<s> $A <s> $B", [("<s>", 1)])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, unk_token="<unk>", bos_token="<s>", eos_token="</s>", pad_token="<unk>", chat_template=LLAMA2)
    tokenizer.add_tokens([AddedToken("<tag>", special=False)])
    return tokenizer


KINDS = {"bpe": _bpe, "wordpiece": _wordpiece, "wordpiece-whole": lambda: _wordpiece(True), "unigram": _unigram, "unigram-first": lambda: _unigram("first"),
         "sentencepiece-bpe": _sentencepiece_bpe, "sentencepiece-bpe-always": lambda: _sentencepiece_bpe("always")}  # fmt: skip


@functools.cache
def tokenizer_of(kind: str) -> Any:
    """One of each kind; tests change nothing about it."""
    return KINDS[kind]()
