"""HiRA (Huang et al. 2025): W' = W + s·W ⊙ ΔW, a low-rank ΔW as the relative change of each weight, so that what is added is not of low rank.

On what a projection gives: h + s·x(W ⊙ ΔW). For a projection 768 → 3072 with r=8 it trains 8·(768 + 3072) weights, as LoRA.
"""

from __future__ import annotations

from lab.design.method.compositions.base import Composition, Mark
from lab.design.method.compositions.scaled import fixed_scale, scale_problems, written_scale
from lab.design.plain.refusal import Refusal


class HiRA(Composition):
    name = "hira"
    label, label_zh = "HiRA", "HiRA"
    help, help_zh = "W + s·W⊙ΔW: each weight changes by a share of itself", "W + s·W⊙ΔW：每个权重按自身的比例改变"
    latex = "h + s\\,x\\,(W\\odot\\Delta W)"
    forms = ("lowrank",)
    misfit = "hira multiplies W by ΔW, which a low-rank change has: choose form lowrank, or composition add."
    options = ("scale", "alpha", "rank_scaling")
    alone = True
    low_rank = False
    peft_types = ("HIRA",)
    peft_type = "HIRA"

    def problems(self, delta, form):
        yield from scale_problems(delta)
        if delta.scale == "learned":
            yield Refusal("hira has a fixed scale: give scale a number, or choose composition scaled.", "scale")
        yield from self.weight_problems(delta)

    def strength(self, delta):
        return fixed_scale(delta)

    def products(self, delta, site, own):
        return [(site.width_in * site.width_out, own[0][1])]

    def making(self, delta, site):
        return delta.rank * site.width_in * site.width_out

    def _change(self, module):
        """s·W ⊙ ΔW (out, in), in fp32."""
        return module.target_weight() * (module.strength * module.form.matrix(module.parts())[0].float())

    def join(self, module, h, x):
        x = module.enter(x)
        return h + (x @ self._change(module).to(x.dtype).T).to(h.dtype)

    def merged(self, module, insertion, weight, bias):
        return weight.float() + self._change(module), None

    def equation(self, delta, form):
        s = written_scale(delta)
        x = f"\\mathrm{{drop}}_{{{delta.dropout:g}}}\\!\\left(x\\right)" if delta.dropout else "x"
        s = "" if s == "1" else f"{s}\\,"
        return f"h + {s}{x}\\,\\left(W\\odot \\Delta W\\right)"

    def mark(self, delta):
        return Mark("W", "ΔW is multiplied by W, entry by entry", "ΔW 与 W 逐元素相乘")
