"""DoRA (Liu et al. 2024, arXiv 2402.09353): W' = m ⊙ (W + s·ΔW) / ‖W + s·ΔW‖, each output's length learned apart from its direction.

The norm is over what makes one output and counts as a constant for gradients (section 4.3 of the paper). On what a projection gives,
Wx = h − b, this is h + (m/‖·‖ − 1) ⊙ (h − b) + m/‖·‖ ⊙ s·Δh; b stays as it is. A dropout is on the x of both terms, as in peft.
For a projection 768 → 3072 with r=8 it trains 8·(768 + 3072) + 3072 weights.
"""

from __future__ import annotations

from lab.design.method.compositions.base import Composition, Mark
from lab.design.method.compositions.scaled import fixed_scale, scale_problems, written_scale
from lab.design.method.part import Part
from lab.design.plain.refusal import Refusal


class DoRA(Composition):
    name = "dora"
    label, label_zh = "DoRA", "DoRA"
    help = "m ⊙ (W+s·ΔW)/‖W+s·ΔW‖: the length of each output's weights is learned apart from their direction"
    help_zh = "m ⊙ (W+s·ΔW)/‖W+s·ΔW‖：每个输出的权重长度与方向分开学习"
    latex = "b_W + m\\odot\\tfrac{h - b_W + s\\,\\Delta h}{\\|W + s\\,\\Delta W\\|}"
    forms = ("lowrank",)
    misfit = "dora divides by the length of W + ΔW, which a low-rank change has: choose form lowrank, or composition add."
    options = ("scale", "alpha", "rank_scaling")
    alone = True
    low_rank = False
    made_learns = False  # the length of a weight's rows is taken as constant (section 4.3 of the paper)
    peft_types = ("LORA",)
    peft_config = {"use_dora": True}

    def parts(self, delta, site):
        return [Part("magnitude", (site.width_out,), "zeros")]

    def problems(self, delta, form):
        yield from scale_problems(delta)
        if delta.scale == "learned":
            yield Refusal("The lengths m of dora are learned in place of s: give scale a number, or choose composition scaled.", "scale")
        yield from self.weight_problems(delta)

    def strength(self, delta):
        return fixed_scale(delta)

    def products(self, delta, site, own):
        """With a dropout, what x gives by W is made again behind it."""
        return [(site.width_in * site.width_out, ""), *own] if delta.dropout else own

    def making(self, delta, site):
        return delta.rank * site.width_in * site.width_out

    def _changed(self, module):
        """W + s·ΔW (out, in) and its length per output (out,), in fp32."""
        weight = module.target_weight().float() + module.strength * module.form.matrix(module.parts())[0].float()
        return weight, weight.detach().norm(dim=1).clamp(min=1e-12)

    def start(self, module):
        module.magnitude.copy_(self._changed(module)[1])

    def join(self, module, h, x):
        x = module.enter(x)
        ratio = (module.magnitude / self._changed(module)[1]).to(x.dtype)
        if module.training and module.delta.dropout:
            unchanged = x @ module.target_weight().to(x.dtype).T
        else:
            unchanged = h if module.target_bias() is None else h - module.target_bias()
        return h + ((ratio - 1) * unchanged + ratio * module.strength * module.formed(x)).to(h.dtype)

    def merged(self, module, insertion, weight, bias):
        changed, length = self._changed(module)
        return (module.magnitude / length)[:, None] * changed, None

    def peft_tensors(self, each):
        whole = type(each[0][1])(each[0][1].module).weight()
        lengths = whole.detach().float().norm(dim=1)  # of rows that no delta changes, which then stay as they are
        for module, located in each:
            rows = slice(None) if located.part is None else located.rows(whole)
            lengths[rows] = module.magnitude.detach().float()
        return {"lora_magnitude_vector": lengths}

    def equation(self, delta, form):
        s = written_scale(delta)
        s = "" if s == "1" else f"{s}\\,"
        length = f"\\|W + {s}\\Delta W\\|"
        if not delta.dropout:
            return f"b_W + m\\odot\\tfrac{{h - b_W + {s}\\Delta h}}{{{length}}}"
        dropped = f"\\left(\\mathrm{{drop}}_{{{delta.dropout:g}}}\\!\\left(x\\right)\\,W\\right)"
        return f"h + \\left(\\tfrac{{m}}{{{length}}} - 1\\right)\\odot {dropped} + \\tfrac{{m}}{{{length}}}\\odot {s}\\Delta h"

    def mark(self, delta):
        return Mark("m", "m: the learned length of each output's weights", "m：每个输出的权重长度，可学习")
