"""Planar rotations: each pair of dimensions of h is turned by an angle θ and scaled by α (RoAd, Liao and Monz 2024).

(h₂ᵢ, h₂ᵢ₊₁) ← (α cos θ·h₂ᵢ − α sin θ·h₂ᵢ₊₁, α sin θ·h₂ᵢ + α cos θ·h₂ᵢ₊₁), one θ and α for each pair (RoAd₁). At a width of 768: 768 weights.
"""

from __future__ import annotations

from lab.design.method.forms.base import Form, Part
from lab.design.method.forms.cayley import Turning, blocks_fit


class Planar(Turning, Form):
    name = "planar"
    label, label_zh = "planar rotations", "平面旋转"
    help = "Each pair of dimensions of h is turned by an angle and scaled."
    names = ("theta", "alpha")
    has_rank = False
    defaults = {"insertion": "sequential", "composition": "rotate", "init": "identity"}
    motif = "M10 26V8M10 26H28M10 26L24 13M34 26V8M34 26h14"
    peft_type, peft_insertion = "ROAD", "sequential"
    peft_names = {}
    peft_fixed = {"variant": "road_1", "group_size": 2, "init_weights": True}

    def parts(self, delta, site):
        return [Part("theta", (site.width_out // 2,), "zeros"), Part("alpha", (site.width_out // 2,), "constant:1")]

    def fits(self, delta, site):
        yield from blocks_fit(2, site.width_out)

    def identity(self, p):
        return p.theta.new_ones(2 * len(p.theta)).diag()

    def change(self, p, x, sigma):
        cos, sin = (p.alpha * each for each in (p.theta.cos(), p.theta.sin()))
        first, second = x.unflatten(-1, (-1, 2)).unbind(-1)
        turned = x.unflatten(-1, (-1, 2)).clone()
        turned[..., 0], turned[..., 1] = cos * first - sin * second, sin * first + cos * second
        return turned.flatten(-2)

    def latex(self, delta):
        return "x\\,R_{\\theta,\\alpha}"

    def lines(self, delta, x):
        return [
            "R_{\\theta,\\alpha} = \\mathrm{diag}\\!\\left(\\alpha_i\\begin{pmatrix}\\cos\\theta_i&\\sin\\theta_i\\\\-\\sin\\theta_i&\\cos\\theta_i\\end{pmatrix}\\right)"
        ]

    def peft_tensors(self, p, s):
        return {"road_theta": p.theta, "road_alpha": p.alpha}
