"""A method as equations and as a row of the unified view's Table 1 (He et al. 2022), written from the steps that the engine executes."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from lab.design.body.anatomy import Anatomy
from lab.design.method.compositions import COMPOSITIONS
from lab.design.method.delta import Delta, Method
from lab.design.method.forms import FORMS
from lab.design.method.fusing import fusions
from lab.design.method.insertions import INSERTIONS
from lab.design.method.step import Step
from lab.design.method.steps import entering, reads_normed, steps
from lab.design.space import REPRESENTATIONS, SET_WORDS


def latex(method: Method, body: Anatomy | None = None) -> list[str]:
    """One equation per delta, and one for a selection, with the current numbers. Without a model: on a post-norm one, as in the figure."""
    lines = [_below(method, delta, _delta(delta, body.post_norm if body else True)) for delta in method.deltas]
    if method.select:
        lines.append(method.select.latex())
    return lines


def _below(method: Method, delta: Delta, line: str) -> str:
    """A frozen delta says so; where a fusion weighs it, it is one of its Δhₙ and does not join h by itself."""
    if not delta.frozen_from:
        return line
    if fusions(method):
        added = join(delta).removeprefix("h + ")
        line = (f"\\Delta h_n = {added},\\quad " if added != "\\Delta h" else "") + line.partition(",\\quad ")[2]
    return f"{line},\\quad \\mathrm{{frozen\\ from\\ run\\ {delta.frozen_from}}}"


def _delta(delta: Delta, post: bool) -> str:
    form, composition = FORMS[delta.form], COMPOSITIONS[delta.composition]
    if form.before_input:
        return _prompt(delta)
    lines = [f"h \\leftarrow {_in_part(delta, change(delta, 'h')) if composition.replaces else join(delta)}"]
    if not composition.replaces:
        lines.append(f"\\Delta h = {change(delta)}")
        if form.reads_x:
            lines.append(f"x = {_source(delta, post)}")
    lines += [*form.lines(delta, _entered(delta)), *composition.lines(delta)]
    if delta.weight != 1 and form.mixed(delta):
        lines.append(f"\\lambda \\leftarrow \\tfrac{{{delta.weight:g}\\,\\lambda}}{{1-\\lambda+{delta.weight:g}\\,\\lambda}}")
    if delta.encoder != "none" and form.produced:
        made = f"({','.join(SYMBOLS[name] for name in form.produced)})" if len(form.produced) > 1 else SYMBOLS[form.produced[0]]
        lines.append(f"{made} = \\mathrm{{{delta.encoder.upper()}}}(E)")
    if form.start(delta).residual:
        core = "" if delta.core == "none" else "S_0\\,"
        lines.append("W = W_0 - " + ("" if delta.strength == 1 else f"{delta.strength:g}\\,") + f"A_0\\,{core}B_0")
    where = ",\\,".join(INSERTIONS[delta.insertion].place({**REPRESENTATIONS, **SET_WORDS}[name].latex) for name in delta.at)
    chosen = "" if delta.ends is None else f",\\ \\text{{first }}{delta.ends[0]}\\text{{ and last }}{delta.ends[1]}\\text{{ tokens}}"
    return ",\\quad ".join([*lines, f"h\\in\\{{{where}\\}}{chosen}"])


def _prompt(delta: Delta) -> str:
    """Virtual tokens: the input is what changes, and under a learned gate their keys and values in every attention."""
    lines, composition = [f"e \\leftarrow \\left[{_prompt_tokens(delta)};\\, e\\right]"], COMPOSITIONS[delta.composition]
    if composition.averages:
        lines += ["(K,V)_P \\leftarrow g(x)\\,(K,V)_P", "x = e", *composition.lines(delta)]
    if delta.encoder != "none":
        lines.append(f"P = \\mathrm{{{delta.encoder.upper()}}}(E)")
    return ",\\quad ".join(lines)


def _source(delta: Delta, post: bool) -> str:
    if delta.reads_h:
        return "\\mathrm{LN}(z)" if any(reads_normed(delta, place, post) for place in delta.places) else "h"
    return "\\text{residual stream}" if delta.x == "residual" else "\\text{input}"


def join(delta: Delta) -> str:
    """The right side of h ← ..., with s as a number where it is one."""
    form = FORMS[delta.form]
    text = form.joined or COMPOSITIONS[delta.composition].equation(delta, form)
    text = _in_part(delta, text)
    return f"\\mathrm{{drop}}{_around(text)}" if delta.through_dropout else text


def _in_part(delta: Delta, text: str) -> str:
    """What h becomes where a part of the change is taken."""
    if delta.weight == 1 or FORMS[delta.form].mixed(delta):
        return text
    return f"{1 - delta.weight:g}\\,h + {delta.weight:g}{_around(text)}"


# -- the steps from x to Δh -----------------------------------------------------------------------------------------------------

SYMBOLS = {
    "down": "W_{\\mathrm{down}}", "up": "W_{\\mathrm{up}}", "down_bias": "b_{\\mathrm{down}}", "up_bias": "b_{\\mathrm{up}}", "A": "A", "B": "B",
    "d": "d", "b": "b", "prompt_keys": "(P\\,W_k)", "prompt_values": "(P\\,W_v)", "difference": "(W-R)^{\\top}", "basis": "R", "l": "l", "bias": "b", "D": "D", "keys": "P_k", "values": "P_v", "tokens": "P",
}  # fmt: skip
SIGMA = {
    "relu": "\\mathrm{ReLU}", "gelu": "\\mathrm{GELU}", "silu": "\\mathrm{SiLU}", "tanh": "\\tanh",
    "sigmoid": "\\mathrm{sigmoid}", "softmax": "\\mathrm{softmax}",
}  # fmt: skip


def change(delta: Delta, x: str = "x") -> str:
    """Δh as LaTeX: the steps that the engine executes, with the current numbers in them."""
    return _after(delta, steps(delta), x)


def _entered(delta: Delta) -> str:
    """x as it enters the form."""
    return _after(delta, entering(delta), "x")


def _after(delta: Delta, taken: Iterable[Step], text: str) -> str:
    """What some steps make of a text."""
    for step in taken:
        text = WRITERS[step.kind](delta, step, text)
    return text


def _around(text: str) -> str:
    return f"\\!\\left({text}\\right)"


def _factor(text: str) -> str:
    """Text as a factor: a sum in parentheses."""
    return f"\\left({text}\\right)" if "+" in _outside(text) else text


def _outside(text: str) -> str:
    """What stands outside of all parentheses."""
    depth, kept = 0, ""
    for letter in text:
        depth += (letter in "({") - (letter in ")}")
        kept += letter if not depth else ""
    return kept


def _map(delta: Delta, step: Step, text: str) -> str:
    size = f"^{{r={delta.rank}}}" if step.part in ("down", "A", "basis") else ""
    symbol = {"diagonal": "\\Lambda", "square": "S"}[delta.core] if step.part == "core" else SYMBOLS[step.part]
    left = f"\\left({text}\\right)" if "\\odot" in _outside(text) else _factor(text)
    return f"{left}\\,{symbol}{size}" + (f"+{SYMBOLS[step.bias]}" if step.bias else "")


def _times(delta: Delta, step: Step, text: str) -> str:
    if step.part == "core":  # a diagonal matrix is written as one
        return _map(delta, step, text)
    return f"l \\odot {text}" if step.part == "l" else f"{_factor(text)}\\odot {SYMBOLS[step.part]}"


def _dropped(step: Step, text: str) -> str:
    return f"\\mathrm{{drop}}_{{{step.value:g}}}{_around(text)}" if step.value else text


def _part(step: Step) -> str:
    text = _dropped(step, SYMBOLS[step.part])
    return f"\\left(g(x)\\,{text}\\right)" if step.gated and step.kind == "keys" else text


def _constant(delta: Delta, step: Step, text: str) -> str:
    if step.part != "tokens":
        return SYMBOLS[step.part]
    own = _prompt_tokens(delta)
    both = f"g(x)\\,(K,V)_{{{own}}};\\, (K,V)_x" if COMPOSITIONS[delta.composition].averages else f"{own};\\, x"
    return f"\\mathrm{{attention\\ over}}\\ [{both}]"


def _prompt_tokens(delta: Delta) -> str:
    return _dropped(steps(delta)[0], f"P^{{l={delta.rank}}}")


def _formed(latex: str, text: str) -> str:
    """What a form writes of x, with what enters it in x's place."""
    return _factor(text) + latex[1:] if latex.startswith("x") else latex


WRITERS: dict[str, Callable[[Delta, Step, str], str]] = {
    "norm": lambda delta, step, text: f"\\mathrm{{LN}}_{{\\gamma,\\beta}}{_around(text)}",
    "dropout": lambda delta, step, text: _dropped(step, text),
    "map": _map,
    "fold": lambda delta, step, text: f"\\mathrm{{fold}}_{{{step.value:g}}}{_around(text)}",
    "times": _times,
    "sigma": lambda delta, step, text: f"{SIGMA[step.name]}{_around(text)}",
    "queries": lambda delta, step, text: f"\\tfrac{{{_factor(text)}\\,W_q}}{{\\sqrt{{d_h}}}}" if step.scaled else f"{_factor(text)}\\,W_q",
    "keys": lambda delta, step, text: f"{text}\\,{_part(step)}^{{\\top\\,(l={delta.rank})}}",
    "values": lambda delta, step, text: f"{text}\\,{_part(step)}",
    "constant": _constant,
    "form": lambda delta, step, text: _formed(FORMS[delta.form].latex(delta), text),
}


def table_row(delta: Delta) -> dict[str, str]:
    """The row of Table 1: functional form, insertion form, modified representation, composition (LaTeX for maths)."""
    return {
        "form": change(delta),
        "insertion": delta.insertion,
        "representation": ", ".join(delta.at),
        "composition": join(delta),
    }
