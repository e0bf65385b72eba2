"""h ← h·R: the form makes a turned h from h (OFT, Qiu et al. 2023; RoAd, Liao and Monz 2024). On a projection's input this is W' = W·Rᵀ."""

from __future__ import annotations

from lab.design.method.compositions.base import Composition
from lab.design.method.insertions.input import Input
from lab.design.plain.refusal import Refusal


class Rotate(Composition):
    name = "rotate"
    label, label_zh = "rotate", "旋转"
    help, help_zh = "h·R: h is turned by the form's matrix", "h·R：h 由该形式的矩阵旋转"
    latex = "h\\,R"
    misfit = "rotate turns h by a matrix R: choose a form that has one, such as cayley, or composition add."
    replaces = True
    merges_into_columns = True
    low_rank = False
    peft_types = ("OFT", "BOFT", "HRA", "ROAD")

    def problems(self, delta, form):
        if delta.norm != "none":
            yield Refusal("rotate turns h itself, before which no layer norm fits: leave it at none.", "norm")
        if delta.dropout:
            yield Refusal("rotate gives the new h, of which nothing may be dropped: leave dropout at 0.", "dropout")
        if delta.x != "auto":
            yield Refusal("rotate turns h itself: leave the input at auto.", "x")

    def join(self, module, h, x):
        return module.change(h).to(h.dtype)

    def merged(self, module, insertion, weight, bias):
        insertion = Input() if module.of_activation else insertion  # columns of the projection that reads h
        return insertion.merged(weight, bias, *module.form.matrix(module.parts()), 1.0)
