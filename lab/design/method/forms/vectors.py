"""One vector per site: `scale` h·l ((IA)³, Liu et al. 2022) and `bias` h + b (BitFit's space, for models without biases)."""

from __future__ import annotations

from lab.design.method.forms.base import Form, Part
from lab.design.method.step import Step


class Scale(Form):
    name = "scale"
    label, label_zh = "scale", "缩放向量"
    help = "One learned factor per dimension of h."
    by_tensor = True
    names = ("l",)
    has_rank, reads_x = False, False
    vector, glyph = "l", "vector"
    peft_type = "IA3"
    defaults = {"insertion": "sequential", "composition": "rescale", "init": "ones"}
    insertions = ("sequential",)
    compositions = ("rescale",)
    inits = ("ones", "normal")
    identity_inits = ("ones",)
    refusals = {
        "insertion.parallel": "A scale multiplies h itself: choose insertion sequential.",
        "composition": "A scale multiplies h: choose composition rescale (adding l⊙h is the same method with l−1).",
        "nonlinearity": "A scale is linear: leave the nonlinearity at none, or choose form bottleneck.",
    }

    def parts(self, delta, site):
        return [Part("l", (site.width_out,), "normal:0.02:1" if delta.init == "normal" else "constant:1")]

    def steps(self, delta):
        return [Step("times", "l")]

    def mergeable(self, delta):
        return True


class Bias(Form):
    name = "bias"
    label, label_zh = "bias", "偏置"
    help = "One learned offset per dimension of h."
    by_tensor = True
    names = ("bias",)
    has_rank, reads_x = False, False
    vector, glyph = "b", "vector"
    defaults = {"insertion": "sequential", "init": "zero"}
    compositions = ("add", "scaled", "learned-gate")
    inits = ("zero", "normal")
    identity_inits = ("zero",)
    refusals = {"nonlinearity": "A bias is constant: leave the nonlinearity at none, or choose form bottleneck."}

    def parts(self, delta, site):
        return [Part("bias", (site.width_out,), "normal:0.02" if delta.init == "normal" else "zeros", "bias")]

    def steps(self, delta):
        return [Step("constant", "bias")]

    def mergeable(self, delta):
        return True

    def matrix(self, p):
        return None, p.bias
