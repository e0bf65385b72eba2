"""h ← l ⊙ h ((IA)³, Liu et al. 2022): the form makes the product."""

from __future__ import annotations

from lab.design.method.compositions.base import Composition


class Rescale(Composition):
    name = "rescale"
    label, label_zh = "rescale", "逐元素缩放"
    help, help_zh = "l ⊙ h", "逐元素缩放"
    latex = "l \\odot h"
    misfit = "rescale multiplies h by one vector: choose form scale, or composition add."
    replaces = True
    merges_into_columns = True
    node = "×"
    peft_types = ("IA3",)

    def join(self, module, h, x):
        return module.change(h).to(h.dtype)

    def merged(self, module, insertion, weight, bias):
        factor = module.parts().l
        if module.of_activation:
            return weight * factor, None  # columns of the projection that reads h
        return factor[:, None] * weight, None if bias is None else factor * bias
