"""Starts that are drawn at random."""

from __future__ import annotations

from lab.design.method.starts.base import DRAWN, KAIMING, Start
from lab.design.plain.refusal import Refusal


class LoRA(Start):
    """A as a linear layer of torch, B zero (Hu et al. 2022's code)."""

    name = "lora"
    help, help_zh = "A Kaiming, B zero", "A 为 Kaiming，B 为零"


class Code(Start):
    """LaMDA's released code: the core as a linear layer of torch."""

    name = "code"
    help, help_zh = "A and the core Kaiming, B zero", "A 与核为 Kaiming，B 为零"
    draws = {**DRAWN, "core": KAIMING}


class Normal(Start):
    """Small normal maps: the model is not unchanged at the start."""

    name = "normal"
    help, help_zh = "A and B normal, 0.02", "A 与 B 为正态分布，0.02"
    draws = {**DRAWN, "A": "normal:0.02", "B": "normal:0.02"}
    at_zero = False


class ZeroCore(Start):
    """AdaLoRA (Zhang et al. 2023): triplets whose middle is zero."""

    name = "zero-core"
    help, help_zh = "A and B normal, 0.02, the core zero", "A 与 B 为正态分布 0.02，核为零"
    draws = {**DRAWN, "A": "normal:0.02", "B": "normal:0.02", "core": "zeros"}

    def problems(self, delta):
        if delta.core == "none":
            yield Refusal("zero-core starts from a core of zeros: choose core diagonal or square.", "init")


class Vectors(Start):
    """VeRA (Kopiczko et al. 2024): random maps, d a tenth, b zero."""

    name = "vectors"
    help, help_zh = "A and B Kaiming, d 0.1, b zero", "A 与 B 为 Kaiming，d 为 0.1，b 为零"
    draws = {"A": "kaiming:0", "B": "kaiming:0", "core": "identity", "d": "constant:0.1", "b": "zeros"}

    def problems(self, delta):
        if not delta.vectors:
            yield Refusal("Initialisation vectors starts from the scaling vectors: switch them on.", "init")
