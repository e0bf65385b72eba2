"""A method as equations and as a row of the unified view's Table 1 (He et al. 2022)."""

from __future__ import annotations

from lab.design.forms import FORMS
from lab.design.method import Delta, Method
from lab.design.space import COMPOSITIONS, REPRESENTATIONS, SET_WORDS

SELECTIONS = {
    "all": "\\theta \\leftarrow \\theta - \\eta\\,\\nabla_\\theta\\mathcal{L}\\quad\\text{(all weights)}",
    "head": "W_{\\mathrm{head}} \\leftarrow W_{\\mathrm{head}} - \\eta\\,\\nabla\\mathcal{L}\\quad\\text{(task head alone)}",
    "bias": "b \\leftarrow b - \\eta\\,\\nabla_b\\mathcal{L}\\quad\\text{(existing biases)}",
    "norm": "\\gamma,\\beta \\leftarrow \\gamma,\\beta - \\eta\\,\\nabla\\mathcal{L}\\quad\\text{(norms)}",
}


def latex(method: Method) -> list[str]:
    """One equation per delta, and one for a selection, with the current numbers."""
    lines = [_delta(delta) for delta in method.deltas]
    if method.select:
        what = method.select.what
        if what == "layers":
            lines.append(f"\\theta_i \\leftarrow \\theta_i - \\eta\\nabla\\mathcal{{L}},\\quad i\\in\\mathrm{{draw}}(\\gamma={method.select.active})\\ \\text{{every}}\\ K={method.select.every}")
        elif what == "masked":
            lines.append(f"\\theta = \\theta_0 + z\\odot w,\\quad \\|z\\|_0 \\le {100 * method.select.density:g}\\%")
        else:
            lines.append(SELECTIONS[what])
    return lines


def _delta(delta: Delta) -> str:
    form = FORMS[delta.form]
    where = ",\\,".join({**REPRESENTATIONS, **SET_WORDS}[name].latex for name in delta.at)
    if delta.composition == "rescale":
        return f"h \\leftarrow l \\odot h,\\quad h\\in\\{{{where}\\}}"
    x = "" if form.name in ("bias", "tokens") else ",\\quad x = h" if delta.insertion == "sequential" else ",\\quad x = \\text{input}"
    gate = ",\\quad g = \\mathrm{softmax}\\,\\overline{\\mathrm{ReLU}(x\\,W_g)}" if delta.gate == "shared" else ""
    return f"h \\leftarrow {join(delta)},\\quad \\Delta h = {form.latex(delta)}{x}{gate},\\quad h\\in\\{{{where}\\}}"


def join(delta: Delta) -> str:
    """The right side of h ← ..., with s as a number where it is one."""
    if delta.composition == "scaled":
        if delta.strength == "learned":
            return "h + s\\,\\Delta h" + (f"\\ (s_0={delta.scale_start:g})" if delta.scale_start != 1 else "")
        under = f"\\sqrt{{{delta.rank}}}" if delta.rank_scaling == "rslora" else f"{delta.rank}"
        text = f"\\tfrac{{{delta.alpha:g}}}{{{under}}}" if delta.alpha is not None else f"{delta.strength:g}"
        return f"h + {text}\\,\\Delta h"
    if delta.form == "tokens":  # gated or not, they join through the attention
        return COMPOSITIONS["gated"].latex
    return COMPOSITIONS[delta.composition].latex


def table_row(delta: Delta) -> dict[str, str]:
    """The row of Table 1: functional form, insertion form, modified representation, composition (LaTeX for maths)."""
    return {
        "form": FORMS[delta.form].latex(delta),
        "insertion": delta.insertion,
        "representation": ", ".join(delta.at),
        "composition": join(delta),
    }
