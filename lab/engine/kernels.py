"""Which attention kernel a step gets, and the one choice that is the lab's: a mask that changes nothing keeps flash away, so it is left out.

torch's sdpa picks by what it is given: flash for half precision without a mask, a memory-efficient kernel (or cuDNN's) for a mask or fp32, and the
steps one by one where no kernel fits. In a batch that is padded on the right no real token of a causal model reads padding, so without the padding's
mask their outputs are the same and flash takes the whole batch. What a method reads from the mask keeps it: slots, virtual tokens, gates that average,
changes of a prompt's positions alone.
"""

from __future__ import annotations

from lab.design.spec.objectives import OBJECTIVES
from lab.engine.attached import Attached
from lab.engine.attention import AttentionSlots
from lab.engine.tokens import TokensModule

DROPOUTS = ("attention_probs_dropout_prob", "attention_dropout", "attn_pdrop", "dropout_rate")  # of attention weights, by configuration
WIDEST = 256  # head size up to which flash goes


def mask_left_out(attached: Attached, objective: str, device: str) -> bool:
    """Whether batches that are padded on the right train without their mask: on accelerators, of a causal model's words, where nothing reads it."""
    if device == "cpu" or not OBJECTIVES[objective].one_sequence or attached.model.config._attn_implementation != "sdpa":
        return False
    if attached.context.prompts:
        return False
    return not any(isinstance(delta, (AttentionSlots, TokensModule)) or delta.composition.averages for delta in attached.deltas.values())


def attention_words(attached: Attached, objective: str, device: str, half: bool) -> str:
    """A sentence for the log: what computes attention, and why nothing faster does. `half`: whether it gets half precision."""
    config, slots = attached.model.config, [delta for delta in attached.deltas.values() if isinstance(delta, AttentionSlots) and not delta.composition.apart]
    text = config.get_text_config()
    if config._attn_implementation.removeprefix("lab_") != "sdpa":
        return "Attention is computed step by step: transformers has no fused one for this model."
    if device != "cuda":
        dropped = max(getattr(text, name, 0.0) or 0.0 for name in DROPOUTS)
        if device == "cpu" and dropped:
            return f"Attention: torch's sdpa, step by step in training, since its fused kernel for processors has no dropout of attention weights ({dropped:g} here)."
        return "Attention: torch's sdpa with its fused kernel for processors." if device == "cpu" else "Attention: torch's sdpa with Metal's kernels."
    with_mask = "Attention: torch's sdpa with its memory-efficient kernel"
    if not half:
        return f"{with_mask}; flash needs half precision."
    if getattr(text, "relative_attention_num_buckets", 0):
        return f"{with_mask}; flash takes no bias by position."
    if any(each.share for each in slots):
        return f"{with_mask}; flash takes no weight of slots."
    if (getattr(text, "head_dim", 0) or text.hidden_size // text.num_attention_heads) > WIDEST:
        return f"{with_mask}; flash takes heads of up to {WIDEST}."
    if mask_left_out(attached, objective, device):
        return "Attention: torch's sdpa with flash for every batch; padding comes after all that a causal model reads, so no mask is needed."
    if OBJECTIVES[objective].one_sequence and slots:
        return f"{with_mask}; slots are more keys than queries, which flash takes no causal mask for."
    return f"{with_mask} where a batch has padding, with flash where it has none."
