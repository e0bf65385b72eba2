"""Small random models of every architecture the lab knows, for tests: fp32, no dropout (unless asked for), sizes chosen to differ.

Width 32 (64 where a family needs it), 4 heads, ffn 48 (never 4d), 2 encoder and 3 decoder layers, 2 key-value heads where
the family has grouped-query attention, attention width ≠ model width for t5, qwen3 and gemma3. Biases and norms are made
random too, so that a hook which forgets one shows.

    model = tiny("bart", "seq2seq")           # objective: classification | multi_label | regression | seq2seq | causal | None (no head)
    batch = tiny_batch(model)                 # input_ids (3, 9) with padding on the right, labels for the objective
"""

from __future__ import annotations

import torch
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    PreTrainedModel,
)

from lab.design.body.architecture import load_architecture

VOCAB, WIDTH, HEADS, FFN, POSITIONS = 101, 32, 4, 48, 64

_BERT = {"hidden_size": WIDTH, "num_attention_heads": HEADS, "num_hidden_layers": 2, "intermediate_size": FFN,
         "max_position_embeddings": POSITIONS, "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0,
         "classifier_dropout": 0.0, "type_vocab_size": 2}  # fmt: skip
_BART = {"d_model": WIDTH, "encoder_layers": 2, "decoder_layers": 3, "encoder_attention_heads": HEADS,
         "decoder_attention_heads": HEADS, "encoder_ffn_dim": FFN, "decoder_ffn_dim": 40, "max_position_embeddings": POSITIONS,
         "dropout": 0.0, "attention_dropout": 0.0, "activation_dropout": 0.0, "classifier_dropout": 0.0, "pad_token_id": 1,
         "bos_token_id": 0, "eos_token_id": 2, "decoder_start_token_id": 2, "forced_eos_token_id": None}  # fmt: skip
_LLAMA = {"hidden_size": WIDTH, "num_attention_heads": HEADS, "num_key_value_heads": 2, "num_hidden_layers": 3,
          "intermediate_size": FFN, "max_position_embeddings": POSITIONS, "attention_dropout": 0.0, "pad_token_id": 0,
          "bos_token_id": 1, "eos_token_id": 2}  # fmt: skip
CONFIGS: dict[str, dict] = {
    "bert": _BERT,
    "roberta": {**_BERT, "max_position_embeddings": POSITIONS + 2, "pad_token_id": 1, "type_vocab_size": 1},
    "electra": {**_BERT, "embedding_size": 24},
    "distilbert": {"dim": WIDTH, "n_heads": HEADS, "n_layers": 3, "hidden_dim": FFN, "max_position_embeddings": POSITIONS,
                   "dropout": 0.0, "attention_dropout": 0.0, "seq_classif_dropout": 0.0},
    "deberta_v2": {**_BERT, "type_vocab_size": 0, "relative_attention": True, "position_buckets": 16, "max_relative_positions": -1,
                   "share_att_key": True, "pos_att_type": ["p2c", "c2p"], "norm_rel_ebd": "layer_norm", "pooler_dropout": 0.0,
                   "position_biased_input": False, "pooler_hidden_size": WIDTH},
    "modernbert": {"hidden_size": WIDTH, "num_attention_heads": HEADS, "num_hidden_layers": 3, "intermediate_size": FFN,
                   "max_position_embeddings": POSITIONS, "pad_token_id": 0, "local_attention": 8, "attention_dropout": 0.0,
                   "embedding_dropout": 0.0, "mlp_dropout": 0.0, "classifier_dropout": 0.0, "bos_token_id": 1, "eos_token_id": 2,
                   "cls_token_id": 1, "sep_token_id": 2},
    "bart": _BART,
    "mbart": _BART,
    "marian": {**_BART, "pad_token_id": 1, "eos_token_id": 0, "decoder_start_token_id": 1, "decoder_vocab_size": VOCAB},
    "pegasus": {**_BART, "pad_token_id": 0, "eos_token_id": 1, "decoder_start_token_id": 0},
    "t5": {"d_model": WIDTH, "d_kv": 6, "d_ff": FFN, "num_heads": HEADS, "num_layers": 2, "num_decoder_layers": 3,
           "relative_attention_num_buckets": 8, "dropout_rate": 0.0, "classifier_dropout": 0.0, "pad_token_id": 0,
           "eos_token_id": 1, "decoder_start_token_id": 0, "feed_forward_proj": "relu"},
    "gpt2": {"n_embd": WIDTH, "n_head": HEADS, "n_layer": 3, "n_inner": FFN, "n_positions": POSITIONS, "resid_pdrop": 0.0,
             "embd_pdrop": 0.0, "attn_pdrop": 0.0, "summary_first_dropout": 0.0, "pad_token_id": 0, "bos_token_id": 1,
             "eos_token_id": 2},
    "gpt_neox": {"hidden_size": WIDTH, "num_attention_heads": HEADS, "num_hidden_layers": 3, "intermediate_size": FFN,
                 "max_position_embeddings": POSITIONS, "attention_dropout": 0.0, "hidden_dropout": 0.0, "classifier_dropout": 0.0,
                 "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2},
    "opt": {"hidden_size": WIDTH, "word_embed_proj_dim": WIDTH, "num_attention_heads": HEADS, "num_hidden_layers": 3,
            "ffn_dim": FFN, "max_position_embeddings": POSITIONS, "dropout": 0.0, "attention_dropout": 0.0, "layerdrop": 0.0},
    "llama": _LLAMA,
    "mistral": {**_LLAMA, "sliding_window": None},
    "qwen2": _LLAMA,
    "qwen3": {**_LLAMA, "head_dim": 12},
    "gemma3": {**_LLAMA, "head_dim": 12, "sliding_window": 8, "layer_types": ["sliding_attention", "full_attention"] * 2,
               "query_pre_attn_scalar": 12},
    "phi3": {**_LLAMA, "resid_pdrop": 0.0, "embd_pdrop": 0.0},
    "smollm3": {**_LLAMA, "no_rope_layers": [1, 0, 1], "use_sliding_window": False},
    "granite": {**_LLAMA, "embedding_multiplier": 3.0, "residual_multiplier": 0.5, "attention_multiplier": 0.2, "logits_scaling": 2.0},
    "olmo2": _LLAMA,
    "stablelm": {**_LLAMA, "use_qkv_bias": True, "hidden_dropout": 0.0},
    "falcon": {"hidden_size": WIDTH, "num_attention_heads": HEADS, "num_hidden_layers": 3, "ffn_hidden_size": FFN, "max_position_embeddings": POSITIONS,
               "hidden_dropout": 0.0, "attention_dropout": 0.0, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2},
}  # fmt: skip
# other shapes of a family, as `tiny("falcon+groups")`
VARIANTS: dict[str, dict] = {
    "falcon+groups": {"new_decoder_architecture": True, "num_kv_heads": 2, "bias": True},
    "falcon+alibi": {"multi_query": False, "alibi": True, "parallel_attn": False, "bias": True},
    "stablelm+parallel": {"use_parallel_residual": True, "qk_layernorm": True},
}
CONFIGS["xlm_roberta"] = CONFIGS["roberta"]
CONFIGS["gemma3"] = {**CONFIGS["gemma3"], "num_hidden_layers": 3, "layer_types": CONFIGS["gemma3"]["layer_types"][:3]}
CONFIGS["gemma2"] = {**CONFIGS["gemma3"], "attn_logit_softcapping": 2.0}
_STACKS = {name: set(load_architecture(name).stacks) for name in CONFIGS}
ENCODERS = tuple(name for name, stacks in _STACKS.items() if stacks == {"encoder"})
ENCODER_DECODERS = tuple(name for name, stacks in _STACKS.items() if stacks == {"encoder", "decoder"})
DECODERS = tuple(name for name, stacks in _STACKS.items() if stacks == {"decoder"})
ARCHITECTURES = ENCODERS + ENCODER_DECODERS + DECODERS
# keys of the configuration that hold the probability of a dropout, that of attention weights and of heads included
DROPOUTS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("bert", "roberta", "xlm_roberta", "electra", "deberta_v2"), ("hidden_dropout_prob", "attention_probs_dropout_prob")),
    **dict.fromkeys(("bart", "mbart", "marian", "pegasus"), ("dropout", "attention_dropout", "activation_dropout")),
    **dict.fromkeys(("llama", "mistral", "qwen2", "qwen3", "gemma2", "gemma3", "smollm3", "granite", "olmo2"), ("attention_dropout",)),
    "distilbert": ("dropout", "attention_dropout"), "modernbert": ("attention_dropout", "mlp_dropout", "embedding_dropout"),
    "t5": ("dropout_rate",), "gpt2": ("resid_pdrop", "embd_pdrop", "attn_pdrop"), "gpt_neox": ("hidden_dropout", "attention_dropout"),
    "opt": ("dropout", "attention_dropout"), "phi3": ("resid_pdrop", "attention_dropout"),
    "stablelm": ("hidden_dropout", "attention_dropout"), "falcon": (),
}  # fmt: skip
_TYPES = {"deberta_v2": "deberta-v2", "gemma3": "gemma3_text", "xlm_roberta": "xlm-roberta"}


def tiny_config(model_type: str, objective: str | None = None, **overrides):
    """The configuration `tiny` builds from; `model_type` may be written deberta_v2 or deberta-v2, gemma3 or gemma3_text, or be one of `VARIANTS`."""
    name = {written: ours for ours, written in _TYPES.items()}.get(model_type, model_type)
    overrides = {**VARIANTS.get(name, {}), **overrides}
    name = name.partition("+")[0]
    options = {"vocab_size": VOCAB, **CONFIGS[name], **overrides}
    if objective == "classification":
        options = {"num_labels": 3, "problem_type": "single_label_classification", **options}
    elif objective == "multi_label":
        options = {"num_labels": 3, "problem_type": "multi_label_classification", **options}
    elif objective == "regression":
        options = {"num_labels": 1, "problem_type": "regression", **options}
    return AutoConfig.for_model(_TYPES.get(name, name), **options)


def tiny(model_type: str, objective: str | None = None, *, seed: int = 0, attn: str | None = None, **overrides) -> PreTrainedModel:
    """A random fp32 model in eval mode. `attn` picks "sdpa" or "eager"; other keywords override the configuration.

    marian and pegasus have no sequence classification head in transformers (ValueError from transformers).
    """
    config = tiny_config(model_type, objective, **overrides)
    classes = {None: AutoModel, "classification": AutoModelForSequenceClassification, "regression": AutoModelForSequenceClassification,
               "multi_label": AutoModelForSequenceClassification, "seq2seq": AutoModelForSeq2SeqLM, "causal": AutoModelForCausalLM}  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = classes[objective].from_config(config, **({"attn_implementation": attn} if attn else {}))
        with torch.no_grad():
            for parameter in model.parameters():  # zero biases and unit norms would hide mistakes
                if parameter.requires_grad:  # not sinusoidal positions, which are never saved
                    parameter.add_(torch.randn_like(parameter) * 0.1)
            for module in model.modules():
                if isinstance(module, torch.nn.Embedding) and module.padding_idx is not None:
                    module.weight[module.padding_idx].zero_()
    return model.float().eval()


def tiny_batch(model: PreTrainedModel, *, batch: int = 3, length: int = 9, target: int = 6, side: str = "right", seed: int = 1,
               labels: bool = True) -> dict[str, torch.Tensor]:  # fmt: skip
    """A batch that fits the model: row i is `length - 2i` tokens long, padded on `side`; labels as its head wants them.

    Shapes: input_ids, attention_mask (batch, length); labels (batch,) for heads, (batch, target) for seq2seq, (batch,
    length) for causal with -100 on the padding. No special tokens inside the rows, so no accidental end of text.
    """
    generator = torch.Generator().manual_seed(seed)
    config = model.config
    pad = config.pad_token_id if config.pad_token_id is not None else 0
    lengths = torch.tensor([max(2, length - 2 * i) for i in range(batch)])
    kept = torch.arange(length)[None, :] < lengths[:, None]  # (batch, length)
    mask = kept if side == "right" else kept.flip(1)
    ids = torch.randint(5, VOCAB, (batch, length), generator=generator)
    result = {"input_ids": ids.masked_fill(~mask, pad), "attention_mask": mask.long()}
    name = type(model).__name__
    headless = name.endswith("Model") and name not in ("MarianMTModel", "GPT2LMHeadModel")
    if config.is_encoder_decoder and (not labels or headless):
        result["decoder_input_ids"] = torch.randint(5, VOCAB, (batch, target), generator=generator)
    if not labels or headless:
        return result
    if name.endswith("SequenceClassification"):
        if config.is_encoder_decoder:  # BART and T5 pool the last end-of-text token of each row
            result["input_ids"] = _end_rows(result["input_ids"], mask, config.eos_token_id)
        if config.problem_type == "regression":
            result["labels"] = torch.randn(batch, generator=generator)
        elif config.problem_type == "multi_label_classification":
            result["labels"] = torch.randint(0, 2, (batch, config.num_labels), generator=generator).float()
        else:
            result["labels"] = torch.randint(0, config.num_labels, (batch,), generator=generator)
    elif config.is_encoder_decoder:
        result["labels"] = torch.randint(5, VOCAB, (batch, target), generator=generator)
        result["labels"][-1, -2:] = -100
    else:
        result["labels"] = result["input_ids"].masked_fill(~mask, -100)
    return result


def _end_rows(ids: torch.Tensor, mask: torch.Tensor, end: int) -> torch.Tensor:
    last = (mask * torch.arange(mask.shape[1])).argmax(1)  # (batch,)
    return ids.scatter(1, last[:, None], end)


TEXT = {"vocab_size": 260, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}  # overrides for models that read tiny_tokenizer's ids


def tiny_tokenizer(kind: str = "decoder"):
    """A tokenizer of single bytes: pad 0, start 1, end 2, unknown 3, bytes 4-259; build models with `**TEXT` to match.

    kind: encoder (<s> a </s> b </s>), encoder-decoder (a </s>) or decoder (nothing added).
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    special = ["<pad>", "<s>", "</s>", "<unk>"]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab = {token: index for index, token in enumerate(special + alphabet)}
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=[], unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    ends = [("<s>", 1), ("</s>", 2)]
    if kind == "encoder":
        tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A </s>", pair="<s> $A </s> $B:1 </s>:1", special_tokens=ends)
    elif kind == "encoder-decoder":
        tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", pair="$A $B </s>", special_tokens=ends)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", bos_token="<s>", eos_token="</s>", unk_token="<unk>", padding_side="right")
