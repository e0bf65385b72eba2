"""h ← h + Δh."""

from __future__ import annotations

from lab.design.method.compositions.base import Composition


class Add(Composition):
    name = "add"
    label, label_zh = "add", "相加"
    help, help_zh = "h + Δh", "相加"
    latex = "h + \\Delta h"
    adds = True
    peft_types = ("LORA", "ADALORA", "VERA")

    def join(self, module, h, x):
        return module.added(h, x, 1.0)
