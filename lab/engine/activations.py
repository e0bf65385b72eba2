"""Slots that start from real tokens: the keys and values that the model itself gives for them (Li & Liang 2021, section 7.4).

A random prefix takes attention from the first step on: l=30 keys near zero take a third of it on SmolLM2, and its perplexity doubles. Keys
and values of real tokens are what the attention is used to. They are copied where slots join, after rotation and normalisation.
Example: l=30 on SmolLM2-135M: ids (1, 30) → in each of 30 layers keys and values (1, 3, 30, 64) → Pk, Pv (30, 192).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lab.engine.attached import Attached
from lab.engine.attention import AttentionSlots


@torch.no_grad()
def start_slots(attached: Attached, modules: Sequence[AttentionSlots], ids: Tensor) -> None:
    """Set keys and values of `modules` from one forward pass over `ids` (l,), the method switched off.

    An encoder-decoder reads the tokens on both sides, so cross-attention gets what its encoder makes of them.
    """
    base = attached.model.base_model
    if ids.device.type == "meta":
        return
    inputs = {"input_ids": ids[None], "attention_mask": torch.ones_like(ids)[None]}
    if attached.body.encoder_decoder:
        inputs["decoder_input_ids"] = ids[None]
    modes = {each: each.training for each in base.modules()}
    for module in modules:
        module.copies = True
    try:
        with attached.disabled():
            base.eval()(**inputs)
    finally:
        for each, training in modes.items():
            each.training = training
        for module in modules:
            module.copies = False
