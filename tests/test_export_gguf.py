"""A LoRA in GGUF: what gguf's own reader finds, with its rows put back as transformers puts those of a model, is ΔW of every projection."""

from __future__ import annotations

import pytest
import torch
from exporting import code_of_card, run_card, small, trained
from gguf import GGUFReader

from lab.design.plain.refusal import Refusal
from lab.export import write
from lab.export.peft import terms_of

EVERY = {"deltas__0__at": ["all-linear"]}
CASES = [
    ("llama", small("lora", **EVERY), "llama"), ("mistral", small("pissa", deltas__0__rank=5), "llama"), ("granite", small("lora"), "granite"),
    ("smollm3", small("lora"), "smollm3"), ("qwen2", small("lora", **EVERY), "qwen2"), ("qwen3", small("rslora"), "qwen3"), ("gemma2", small("lora"), "gemma2"),
    ("gemma3", small("lora"), "gemma3"), ("phi3", small("lora", **EVERY), "phi3"), ("gpt2", small("lora-xs", deltas__0__rank=5), "gpt2"),
    ("olmo2", small("lora"), "olmo2"), ("stablelm", small("lora"), "stablelm"),
    ("llama", {"preset": "lamda-plus-plus", "set": {"deltas.0.rank": 6, "deltas.0.allocation.rank_min": 4, "deltas.0.allocation.rank_max": 8}}, "llama"),
]  # fmt: skip
PLACES = {  # of llama.cpp: what transformers calls it
    "attn_q": ("q_proj",), "attn_k": ("k_proj",), "attn_v": ("v_proj",), "attn_output": ("o_proj", "attn.c_proj"), "attn_qkv": ("qkv_proj", "c_attn"),
    "ffn_up": ("up_proj", "gate_up_proj", "c_fc"), "ffn_gate": ("gate_proj",), "ffn_down": ("down_proj", "mlp.c_proj"),
}  # fmt: skip
PERMUTED = ("llama", "mistral", "granite", "smollm3")


@pytest.mark.parametrize("case", CASES, ids=[f"{case[0]}-{case[1]['preset']}" for case in CASES])
def test_the_file_holds_every_change(case, tmp_path, monkeypatch):
    from transformers.modeling_gguf_pytorch_utils import LlamaTensorProcessor

    family, method, name = case
    opened = trained(family, "causal", method)
    folder = write(opened, "gguf", tmp_path / "out")
    reader = GGUFReader(folder / "adapter.gguf")
    said = {key: field.contents() for key, field in reader.fields.items()}
    assert (said["general.type"], said["adapter.type"], said["general.architecture"]) == ("adapter", "lora", name)
    read = {tensor.name: torch.tensor(tensor.data) for tensor in reader.tensors}
    assert run_card(folder, monkeypatch)["tensors"].keys() == read.keys() and "llama-cli" in (folder / "README.md").read_text(encoding="utf-8")
    assert code_of_card(folder)
    config, found = opened.model.config, {}
    for key in sorted(key for key in read if key.endswith(".lora_a")):
        right, left = read[key], read[key.replace(".lora_a", ".lora_b")]
        _, layer, place, _, _ = key.split(".")
        change = said["adapter.lora.alpha"] / right.shape[0] * left @ right  # as llama.cpp computes it
        if family in PERMUTED and place in ("attn_q", "attn_k"):
            heads = (config.num_attention_heads, config.num_attention_heads if place == "attn_q" else config.num_key_value_heads)
            change = torch.tensor(LlamaTensorProcessor()._reverse_permute_weights(change.numpy(), *heads))
        found[layer, place] = change
    wanted = {}
    for path, terms in terms_of(opened.attached).items():
        layer = next(part for part in path.split(".") if part.isdigit())
        place = next(place for place, ends in PLACES.items() if any(path.endswith(f".{end}") for end in ends))
        wanted[layer, place] = sum(term.s * term.left @ term.right for term in terms)
    assert found.keys() == wanted.keys()
    for key, change in wanted.items():
        assert change.abs().max() > 1e-3 and (found[key] - change).abs().max() <= 1e-6, key


def test_what_llama_cpp_has_not_is_refused(tmp_path):
    for family, objective, method, words in (
        ("bert", "classification", small("lora"), "write text"),
        ("gpt_neox", "causal", small("lora"), "not known here"),
        ("llama", "causal", small("dora"), "not low-rank"),
        ("llama", "causal", "ia3", "LoRA"),
    ):
        with pytest.raises(Refusal, match=words):
            write(trained(family, objective, method), "gguf", tmp_path / "out")
