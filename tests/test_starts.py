"""How the parts start: the law of the source, preset by preset, against the tensors that `attach` makes."""

from __future__ import annotations

import pytest
import torch
from laws import OBJECTIVES, SMALL
from tiny import tiny

from lab.design.method.named import load_method
from lab.engine import attach

BERT = {"std": 0.02, "most": None}
# preset: {tensor, by the end of its name: its law}; biases are zero, the gates of UniPELT start as its model's other weights do
LAWS: dict[str, dict[str, dict]] = {
    "adapter-houlsby": dict.fromkeys(("down", "up"), {"std": 0.0088, "most": 0.02}),  # N(0, 0.01) cut at two deviations
    "adapter-pfeiffer": dict.fromkeys(("down", "up"), BERT),
    "adapter-parallel-attn": dict.fromkeys(("down", "up"), BERT),
    "adapter-parallel-ffn": dict.fromkeys(("down", "up"), BERT),
    "adapter-parallel-multihead": dict.fromkeys(("keys", "values"), BERT),
    "pa-attn-pa-ffn": dict.fromkeys(("down", "up"), BERT),
    "adapter-parallel-scaled": {"down": {"std": (3 * 64) ** -0.5, "most": 64**-0.5}, "up": {"std": 0.0, "most": 0.0}},
    "lora": {"A": {"std": (3 * 64) ** -0.5, "most": 64**-0.5}, "B": {"std": 0.0, "most": 0.0}},
    "ssf": {"bias": BERT, "l": {"std": 1.0, "most": None}},
    "prefix-tuning-mlp": {"embedding.weight": {"std": 1.0, "most": None}, "down.weight": {"std": (3 * 64) ** -0.5, "most": 64**-0.5},
                          "down.bias": {"std": (3 * 64) ** -0.5, "most": 64**-0.5}},
    "unipelt-apl": {"down": BERT, "up": BERT, "gate": BERT, "embedding.weight": BERT, "down.weight": BERT, "up.weight": BERT,
                    "down.bias": {"std": 0.0, "most": 0.0}, "B": {"std": 0.0, "most": 0.0}},
}  # fmt: skip


@pytest.mark.parametrize("preset", LAWS)
def test_parts_start_as_the_source_says(preset: str) -> None:
    model = tiny("bert", OBJECTIVES["bert"], hidden_size=64, intermediate_size=64)
    method = load_method(preset, {name: 48 if name.endswith("rank") else value for name, value in SMALL.get(preset, {}).items()})
    tensors = attach(model, method).tensors()
    for end, law in LAWS[preset].items():
        drawn = torch.cat([tensor.detach().flatten() for name, tensor in tensors.items() if name.endswith(f".{end}")])
        error = 4 * law["std"] / (2 * len(drawn)) ** 0.5 + 0.02 * law["std"]
        assert abs(float(drawn.square().mean().sqrt()) - law["std"]) <= error, f"{end}: {float(drawn.square().mean().sqrt()):.4g}"
        assert law["most"] is None or float(drawn.abs().max()) <= law["most"] + 1e-6, end
    for name, tensor in tensors.items():
        if name.endswith(("down_bias", "up_bias", "gate_bias")):
            assert not tensor.any(), name
