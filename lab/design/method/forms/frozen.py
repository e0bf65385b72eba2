"""Frozen: Δh₁ … Δh_N, what the adapters of earlier runs compute at a representation, each from its own x; nothing of them trains.

The deltas themselves stand frozen in the method (`Delta.frozen_from`); this form hands on what they would add, and its composition says how that
joins h (AdapterFusion, Pfeiffer et al. 2021).
"""

from __future__ import annotations

from lab.design.method.forms.base import Form


class Frozen(Form):
    name = "frozen"
    label, label_zh = "frozen adapters", "冻结的适配器"
    help = "What the adapters of earlier runs compute here, side by side."
    has_rank = False
    over_frozen = True
    glyph = "block"
    motif = "M5 3L13 7V11L5 14ZM47 3L39 7V11L47 14ZM13 9H39M5 20L13 24V27L5 31ZM47 20L39 24V27L47 31ZM13 25H39"
    defaults = {"insertion": "sequential", "composition": "fusion", "init": "trained"}
    compositions = ()
    inits = ("trained",)
    refusals = {"nonlinearity": "Frozen adapters have their own nonlinearities: leave it at none."}

    def parts(self, delta, site):
        return []

    def latex(self, delta):
        return "(\\Delta h_1,\\dots,\\Delta h_N)"
