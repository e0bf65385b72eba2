"""A LoRA for llama.cpp: one GGUF file of type adapter, beside which the base is its own GGUF.

For each projection llama.cpp computes W x + (alpha / r) · lora_b lora_a x, with r of each tensor and one alpha: so the scale is folded into lora_b and
alpha is r. Names are those of the gguf package's tensor maps. Where the converter of the base reorders the rows of q and k for the rotary embedding
(Llama and its kin: pairs beside each other instead of halves), lora_b is reordered alike.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lab.design.plain.refusal import Refusal
from lab.design.spec.objectives import OBJECTIVES
from lab.export import kinds
from lab.export.base import Facts
from lab.export.card import write_card

ARCHITECTURES = {  # type of model: (name of gguf.MODEL_ARCH, whether the rows of q and k are reordered)
    "llama": ("LLAMA", True), "mistral": ("LLAMA", True), "granite": ("GRANITE", True), "smollm3": ("SMOLLM3", True),
    "qwen2": ("QWEN2", False), "qwen3": ("QWEN3", False), "gemma2": ("GEMMA2", False), "gemma3_text": ("GEMMA3", False), "phi3": ("PHI3", False),
    "gpt2": ("GPT2", False), "olmo2": ("OLMO2", False), "stablelm": ("STABLELM", False),
}  # fmt: skip
ROTATED = ("attn_q", "attn_k")


class Gguf:
    """A LoRA in GGUF."""

    name = "gguf"
    weights = True
    one_head = True
    help = "the same change of weights as a LoRA in GGUF, for llama.cpp and what is built on it"

    def require(self, facts: Facts) -> None:
        if not OBJECTIVES[facts.objective].one_sequence:
            raise Refusal("A LoRA in GGUF is for models that write text, and this run's answers come otherwise", "format")
        if str(facts.body.config.get("model_type")) not in ARCHITECTURES:
            raise Refusal("The order of weights that llama.cpp has for {name} is not known here", "format", name=facts.body.architecture.name)
        if any(delta.form == "bottleneck" and delta.biases for delta in facts.method.deltas):
            raise Refusal("A LoRA in GGUF has no biases", "format")
        kinds.lora_type(facts.method, facts.body, facts.objective)

    def write(self, opened: Any, folder: Path) -> None:
        import numpy
        from gguf import MODEL_ARCH, MODEL_ARCH_NAMES, GGUFType, GGUFWriter, Keys, get_tensor_name_map

        from lab.export import lowrank
        from lab.export.peft import terms_of

        body = opened.attached.body
        kind, rotated = ARCHITECTURES[str(body.config["model_type"])]
        architecture = MODEL_ARCH[kind]
        stack = body.stacks[0]
        names = get_tensor_name_map(architecture, stack.layers)
        factors, rank = lowrank.of_one_rank(terms_of(opened.attached))
        writer = GGUFWriter(folder / "adapter.gguf", MODEL_ARCH_NAMES[architecture])
        writer.add_type(GGUFType.ADAPTER)
        writer.add_name(opened.spec.name)
        writer.add_string(Keys.Adapter.TYPE, "lora")
        writer.add_float32(Keys.Adapter.LORA_ALPHA, float(rank))
        for path, (left, right) in factors.items():
            name = names.get_name(path)
            if name is None:
                raise Refusal("llama.cpp has no tensor for '{path}'.", "format", path=path)
            place = name.rpartition(".")[2]
            if rotated and place in ROTATED:
                left = left[pairs(left.shape[0], stack.heads if place == "attn_q" else stack.kv_heads)]
            for part, tensor in (("lora_a", right), ("lora_b", left)):
                writer.add_tensor(f"{name}.weight.{part}", numpy.ascontiguousarray(tensor.detach().float().cpu().numpy()))
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        write_card(opened, self.name, folder)


def pairs(rows: int, heads: int) -> list[int]:
    """Of each head's rows, whose halves turn together, the order in which row i stands beside row i + half."""
    half = rows // heads // 2
    return [head * 2 * half + part * half + i for head in range(heads) for i in range(half) for part in range(2)]
