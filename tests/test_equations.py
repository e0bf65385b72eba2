"""The picture is the method: each preset's equation, read back from its LaTeX and computed, is what the engine computes; the figure marks it.

The reader below knows the letters of the equations and nothing of the engine. Norms, gates and learned scales are moved away from their
starts, and the deltas' own dropouts are on, so that a term which is missing on either side shows.
"""

from __future__ import annotations

import re
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from laws import SMALL, shake
from tiny import tiny, tiny_batch
from torch import Tensor

from lab.design.body.anatomy import anatomy
from lab.design.figure import equation
from lab.design.figure.equation import latex
from lab.design.figure.figure import figure
from lab.design.method.compositions import COMPOSITIONS
from lab.design.method.named import load_method
from lab.design.method.steps import reads_normed, steps
from lab.design.presets.catalogue import names
from lab.engine import attach
from lab.engine.attention import AttentionSlots
from lab.engine.looking import nothing
from lab.engine.tokens import TokensModule

PRESETS = [name for name in names("methods") if load_method(name).deltas and name != "adapterfusion"]  # which stands on runs: test_blocks.py
OWN = [name for name in PRESETS if any(step.kind == "form" for delta in load_method(name).deltas for step in steps(delta))]  # whose forms write themselves
OWN = [name for name in OWN if not COMPOSITIONS[load_method(name).deltas[0].composition].replaces]  # what turns h drops nothing
DROPPING = dict.fromkeys(("dora", "hira", *OWN), {"deltas.0.dropout": 0.2})  # whose equation is another with a dropout
DROPPING["randlora"] = {"deltas.0.dropout": 0.2, "deltas.0.at": ["ffn.up", "ffn.down"]}  # and another where h is narrower than x
FUNCTIONS = {
    "ReLU": F.relu, "GELU": F.gelu, "SiLU": F.silu, "tanh": torch.tanh, "sigmoid": torch.sigmoid, "softmax": lambda x: x.softmax(-1),
}  # fmt: skip

# -- reading LaTeX -------------------------------------------------------------------------------------------------------------

TOKEN = re.compile(
    r"\\mathrm\{(?P<name>ReLU|GELU|SiLU|sigmoid|softmax|LN|drop|down|up|attention\\ over|fold|circ|Re)\}"
    r"|\\(?P<command>tanh|left|right|odot|otimes|times|sum|Delta|lambda|Lambda|theta|alpha|Gamma|tfrac|sqrt|top|overline|gamma|beta)"
    r"|(?P<number>\d+(\.\d+)?)|(?P<letter>[A-Za-z])|(?P<sign>[+\-()\[\];{}_^=,])|(?P<bar>\\\|)|(?P<space>\\[,!;  ]| |\\textstyle|\\mathcal\{F\}\^\{-1\})"
)


def tokens(text: str) -> list[str]:
    found, at = [], 0
    while at < len(text):
        match = TOKEN.match(text, at)
        assert match, f"no meaning is known for {text[at:]!r}"
        at = match.end()
        if match["space"] is None:
            found.append(match["name"] or match["command"] or match["number"] or match["letter"] or match["sign"] or match["bar"])
    return found


class Reader:
    """Sums of products, evaluated from left to right: a product of a row with a matrix is x·W; ⊙ is elementwise."""

    def __init__(self, text: str, values: dict):
        self.left, self.values = tokens(text), values

    def take(self, *expected: str) -> str:
        word = self.left.pop(0)
        assert not expected or word in expected, f"{word} in place of {expected}"
        return word

    def peek(self) -> str:
        return self.left[0] if self.left else ""

    def sum(self):
        total = self.product()
        while self.peek() in ("+", "-") and self.left:
            sign = self.take()
            other = self.product()
            total = total + other if sign == "+" else total - other
        return total

    def product(self):
        result = self.factor()
        while self.left and self.peek() not in ("+", "-", ")", "right", "}", "]", ";", "=", "\\|"):
            if self.peek() in ("odot", "otimes"):
                joined = torch.mul if self.take() == "odot" else torch.kron
                result = joined(result, self.factor())
            else:
                result = self.times(result, self.factor())
        return result

    def times(self, one, two):
        if callable(two):  # a map of the model, or of heads
            return two(one)
        scalar = not (isinstance(one, Tensor) and isinstance(two, Tensor)) or one.dim() == 0 or two.dim() == 0
        if scalar or "gate" in (getattr(one, "role", ""), getattr(two, "role", "")) or two.shape[-2:-1] != one.shape[-1:]:
            return one * two
        return one @ two

    def group(self, close: str):
        value = self.sum()
        self.take(close)
        return value

    def braces(self):
        self.take("{")
        return self.group("}")

    def factor(self):
        word = self.take()
        if word == "left" or word == "(":
            if word == "left" and self.take("(", "[") == "[":
                return self.blocks()
            value = self.sum()
            if word == "left":
                self.take("right")
            self.take(")")
            return self.transposed(value)
        if word == "tfrac":
            return self.braces() / self.braces()
        if word == "sqrt":
            return self.braces() ** 0.5
        if word == "\\|":  # the length of what makes one output
            return self.group("\\|").norm(dim=0)
        if word in FUNCTIONS:
            return self.applied(word)
        if word in ("LN", "drop"):
            return self.with_index(word)
        if word == "sum":  # over what all its factors have first
            self.index()
            return self.product().sum(0)
        if word in ("fold", "circ", "Re"):  # Re F⁻¹
            index = self.index()
            return self.values[word](self.factor_of_function(), *([int(index.rpartition("=")[2])] if index else []))
        if word.replace(".", "").isdigit():
            return float(word)
        return self.transposed(self.symbol(word))

    def blocks(self):
        """A matrix of blocks (i, j, rows, columns)."""
        value = self.sum()
        self.take("right"), self.take("]"), self.index()
        return value.transpose(1, 2).flatten(2).flatten(0, 1)

    def applied(self, word: str):
        inside = self.factor()
        if word == "softmax":
            self.values["scores"] = inside
        return FUNCTIONS[word](inside)

    def with_index(self, word: str):
        index = self.index()
        begin = list(self.left)
        value = self.factor_of_function()
        if word == "LN":
            return self.values["LN" + ("_own" if index else "")](value)
        written = "".join(begin[: len(begin) - len(self.left)])
        known = self.values.setdefault("dropped", {})
        if written not in known:  # what is written twice is dropped once
            known[written] = value.dropped(float(index)) if isinstance(value, CutLater) else F.dropout(value, float(index))
        return self.transposed(known[written])

    def factor_of_function(self):
        if self.peek() == "left":
            self.take()
        self.take("(")
        value = self.sum()
        if self.peek() == "right":
            self.take()
        self.take(")")
        return value

    def index(self) -> str:
        if self.peek() != "_":
            return ""
        self.take()
        if self.peek() != "{":
            return self.take()
        self.take("{")
        words = []
        while self.peek() != "}":
            words.append(self.take())
        self.take("}")
        return "".join(words)

    def symbol(self, word: str):
        if word == "Delta":
            return self.values["Δ" + self.take("h", "W")]
        index = self.index()
        name = f"{word}_{index}" if index else word
        if name in ("g", "g_") and self.peek() == "(":
            self.take("("), self.take("x"), self.take(")")
        return self.values[name]

    def transposed(self, value):
        if self.peek() != "^":
            return value
        self.take("^")
        exponent = []
        self.take("{")
        while self.peek() != "}":
            exponent.append(self.take())
        self.take("}")
        return value if "top" not in exponent else self.values["heads"](value) if "heads" in self.values else value.mT


def parts_of(line: str) -> dict[str, str]:
    """{left side: right side} of an equation's statements; `h` is what h becomes."""
    found = {}
    for statement in line.split(",\\quad "):
        if statement.startswith("h\\in"):
            continue
        left, sign, right = statement.partition(" \\leftarrow ") if " \\leftarrow " in statement else statement.partition(" = ")
        assert sign, statement
        found[left] = right
    return found


# -- what the engine computes --------------------------------------------------------------------------------------------------


def model_of(preset: str):
    model = tiny("bert", "classification", attn="eager")  # its own dropouts are off: the deltas' are on
    method = load_method(preset.removesuffix(" dropping"), {**SMALL.get(preset.split()[0], {}), **(DROPPING[preset.split()[0]] if " " in preset else {})})
    attached = attach(model, method, look=nothing)
    shake(attached)
    model.train()
    return model, method, attached, tiny_batch(model)


def letters(delta, attached) -> dict:
    """The values of an equation's letters at one site: the delta's tensors as rows are multiplied by them, and the model's own maps."""
    parts, symbols = delta.parts(), {"W_down": "down", "W_up": "up", "A": "A", "B": "B", "S": "core", "Lambda": "core"}
    values: dict = {}
    symbols |= {f"{name[0]}_{name[1]}": name for name in delta.form.names if re.fullmatch("[A-Z][0-9]", name)}
    for symbol, name in symbols.items():
        tensor = getattr(parts, name, None)
        if tensor is not None and tensor.dim() < 3:
            values[symbol] = tensor.T if tensor.dim() == 2 else torch.diag(tensor)
    for symbol, name in {"b_down": "down_bias", "b_up": "up_bias", "d": "d", "b": "b", "l": "l"}.items():
        if getattr(parts, name, None) is not None:
            values[symbol] = getattr(parts, name)
    if delta.delta.form == "bias":
        values["b"] = parts.bias
    if COMPOSITIONS[delta.delta.composition].alone:  # it reads the weight
        values |= {"W": delta.target_weight().T, "ΔW": delta.form.matrix(parts)[0].T, "b_W": delta.target_bias()}
    if hasattr(delta, "magnitude"):
        values["m"] = delta.magnitude
    if hasattr(delta, "scale"):
        values["s"] = delta.scale
    if hasattr(delta, "gate"):
        values["w_g"], values["b_g"] = delta.gate[:, None], delta.gate_bias
    if hasattr(delta, "norm"):
        values["LN_own"] = lambda x: F.layer_norm(x, delta.norm.shape, delta.norm, delta.norm_bias)
    values |= OF_FORM.get(delta.delta.form, lambda parts: {})(parts)
    values["LN"] = lambda x: attached.binder.layer(delta.site.stack, delta.site.layer).find("ffn", "norm").module.forward(x)
    return values


def folded(x: Tensor, size: int) -> Tensor:
    return sum(F.pad(piece, (0, size - piece.shape[-1])) for piece in x.split(size, -1))


def circulant(kernels: Tensor, size: int) -> Tensor:
    """(in, out) of kernels (out/b, in/b, b): every row of a block is the one before, moved on by one."""
    rows = [torch.cat([torch.stack([kernel.roll(t) for t in range(size)]) for kernel in row], 1) for row in kernels]
    return torch.cat(rows).T


def waves(parts) -> Tensor:
    """(in, out): Re F⁻¹ of coefficients at their frequencies, wave by wave."""
    out, inner = parts.site.width_out, parts.site.width_in
    angle = torch.arange(out)[:, None, None] * (parts.places // inner) / out + torch.arange(inner)[:, None] * (parts.places % inner) / inner
    return ((2 * torch.pi * angle.double()).cos() @ parts.spectrum.double() / (out * inner)).float().T


def of_blocks(skews: Tensor) -> Tensor:
    """A block-diagonal matrix of Cayley transforms."""
    eye = torch.eye(skews.shape[-1])
    return torch.block_diag(*(torch.linalg.solve(eye + skew, eye - skew, left=False) for skew in skews))


def of_entries(rows: Tensor) -> Tensor:
    """The same of the entries above the diagonals."""
    size = next(b for b in range(2, 99) if b * (b - 1) // 2 == rows.shape[1])
    upper = torch.zeros(len(rows), size, size)
    upper[:, *torch.triu_indices(size, size, 1)] = rows
    return of_blocks(upper - upper.transpose(1, 2))


def of_butterfly(q: Tensor) -> Tensor:
    """B_m ⋯ B₁ with permutation matrices: Bⱼ turns dimension d with those of its half, and with the half that is b·2ʲ⁻² further on."""
    (factors, count, size, _), whole = q.shape, torch.eye(q.shape[1] * q.shape[2])
    for j in range(factors):
        half, apart = size // 2, size // 2 * 2**j
        order = [start + offset + k for base in range(0, count * size, 2 * apart) for offset in range(0, apart, half)
                 for start in (base, base + apart) for k in range(half)]  # fmt: skip
        p = torch.eye(len(whole))[:, order]
        whole = p @ of_blocks((q[j] - q[j].transpose(1, 2)) / 2) @ p.T @ whole
    return whole


def of_reflections(u: Tensor) -> Tensor:
    whole = torch.eye(u.shape[1])
    for each in u:
        whole = (torch.eye(len(each)) - 2 * torch.outer(each, each) / each.dot(each)) @ whole
    return whole


def of_angles(theta: Tensor, alpha: Tensor) -> Tensor:
    return torch.block_diag(*(a * torch.tensor([[t.cos(), t.sin()], [-t.sin(), t.cos()]]) for t, a in zip(theta, alpha, strict=True)))


def of_columns(below: Tensor) -> Tensor:
    """The first columns of a product of reflections, each along a column with a 1 on the diagonal and zeros above it."""
    whole = torch.eye(len(below))
    for index, column in enumerate(below.T):
        along = torch.cat([torch.zeros(index), torch.ones(1), column[index + 1 :]])
        whole = whole @ (torch.eye(len(below)) - 2 * torch.outer(along, along) / along.dot(along))
    return whole[:, : below.shape[1]]


def of_pool(parts, x: Tensor) -> Tensor:
    """Σ pᵢBᵢ, with p the mean over all tokens of the router's softmax."""
    shares = [((token @ parts.A.T) @ parts.router.T).softmax(0) for row in x for token in row]
    return torch.einsum("e,erd->rd", torch.stack(shares).mean(0), parts.B)


def of_kronecker(parts, name: str) -> Tensor:
    """Σᵢ Aᵢ ⊗ sᵢtᵢᵀ (in, out)."""
    pairs = zip(parts.A, getattr(parts, f"{name}_left"), getattr(parts, f"{name}_right"), strict=True)
    return sum(torch.kron(small, torch.outer(s, t)) for small, s, t in pairs)


OF_FORM = {  # letters of forms that are no matrix of rows times them
    "lokr": lambda p: {"C": (p.C1 @ p.C2 if p.C is None else p.C).T, "D": (p.D1 @ p.D2 if p.D is None else p.D).T},
    "gralora": lambda p: {"A_ij": p.A.unflatten(1, (len(p.A), -1)).mT, "B_ij": p.B.unflatten(2, (len(p.A), -1)).permute(2, 0, 3, 1)},
    "c3a": lambda p: {"w": p.w, "d_x": float(p.site.width_in), "circ": circulant},
    "randlora": lambda p: {"Gamma_n": p.gammas.diag_embed(), "A": p.A[:, 0].T, "Lambda_n": p.lambdas.T.diag_embed(),
                           "B_n": p.B.flatten(1).unflatten(1, (p.B.shape[2], -1)).permute(2, 1, 0)},
    "miss": lambda p: {"D": p.D.T, "fold": folded},
    "bat": lambda p: {"D_j": p.D.mT, "I": torch.eye(p.D.shape[1]),
                      "W_ij": p.target_weight().T.unflatten(1, (-1, p.D.shape[1])).unflatten(0, (-1, p.D.shape[1])).transpose(1, 2)},
    "fourierft": lambda p: {"c": waves(p), "Re": lambda matrix: matrix},
    "cayley": lambda p: {"R_Q": of_entries(p.Q)}, "butterfly": lambda p: {"R_Q": of_butterfly(p.Q)},
    "householder": lambda p: {"R_u": of_reflections(p.u)}, "planar": lambda p: {"R_theta,alpha": of_angles(p.theta, p.alpha)},
    "subspace": lambda p: {"W": p.W, "R": of_columns(p.R).T, "b": p.bias, "heads": lambda matrix: matrix.T},
    "compacter": lambda p: {f"W_{name}": of_kronecker(p, name) for name in ("down", "up")},
}  # fmt: skip


def gate_of(text: str, values: dict, mask: Tensor) -> Tensor:
    """g(x) (batch, 1, 1): the bar is a mean over real tokens."""
    inside = re.fullmatch(r"\\overline\{(.*)\}", text)[1]
    each = Reader(inside, values).sum()[..., 0]
    return ((each * mask).sum(-1) / mask.sum(-1))[:, None, None]


@pytest.mark.parametrize("preset", [*PRESETS, *(f"{name} dropping" for name in DROPPING)])
def test_the_equation_is_what_the_engine_computes(preset: str) -> None:
    model, method, attached, batch = model_of(preset)
    lines = [parts_of(line) for line in latex(method, attached.body)]
    assert len(lines) == len(method.deltas)
    mask, checked = batch["attention_mask"].float(), set()
    for name, delta in attached.deltas.items():
        if isinstance(delta, TokensModule):
            checked.add(check_tokens(delta, lines[int(name.split(".")[1])], model, batch))
        elif isinstance(delta, AttentionSlots):
            spy_on_slots(delta, attached, checked, lines[int(name.split(".")[1])], mask, int(name.split(".")[1]))
        else:
            spy(delta, attached, checked, lines[int(name.split(".")[1])], mask, int(name.split(".")[1]))
    with torch.no_grad():
        model(**batch)
    assert checked == set(range(len(method.deltas)))


def spy(delta, attached, checked: set, line: dict[str, str], mask: Tensor, index: int) -> None:
    """Compare at every site, where h and x are known, with the random numbers that the delta drew."""
    inner = delta.composition.join

    def compared(module, h: Tensor, x: Tensor) -> Tensor:
        state = torch.get_rng_state()
        new = inner(module, h, x)
        after = torch.get_rng_state()
        torch.set_rng_state(state)
        values = {**letters(delta, attached), "h": h, "z": h, "x": x}
        queries(delta, attached, values)
        if "x" in line and "\\text" not in line["x"]:
            assert torch.allclose(Reader(line["x"], values).sum(), x, atol=1e-6), line["x"]
        elif "x" in line:
            assert x is not h and x.shape[-1] == delta.site.width_in
        if "g(x)" in line:
            values["g"] = gate_of(line["g(x)"], values, mask)
        if delta.delta.form == "lily":
            entered = line["\\Delta h"].partition("\\,A")[0]  # what the router reads is what the map reads
            assert f"({entered}\\,A\\,W_r)" in line["B_x"]
            values["B_x"] = of_pool(delta.parts(), Reader(entered, values).sum())
        if "\\Delta h" in line:
            if "M" in line:
                values["M"] = Reader(line["M_{d_x>d_h}" if delta.site.width_in > delta.site.width_out else "M"], values).sum()
            values["Δh"] = Reader(line["\\Delta h"], values).sum()
            if delta.delta.form == "slots":  # heads side by side
                values["Δh"] = values["Δh"].transpose(1, 2).flatten(2)
        expected = Reader(line["h"], values).sum()
        torch.set_rng_state(after)
        assert (new - h).abs().max() > 1e-4, "nothing is added"
        assert torch.allclose(expected, new, atol=2e-5, rtol=1e-4), f"{line}: {(expected - new).abs().max():.2g} apart"
        checked.add(index)
        return new

    delta.composition = SimpleNamespace(join=compared)


def queries(delta, attached, values: dict) -> None:
    """W_q is the model's query projection with its bias, per head; Pᵀ and P are cut into heads."""
    if delta.delta.form not in ("slots", "prompt"):
        return
    parts, heads = delta.parts(), delta.site.heads
    query = attached.binder.layer(delta.site.stack, delta.site.layer).find("attn", "q").module
    cut = lambda part: part.unflatten(-1, (heads, -1)).transpose(-3, -2)  # noqa: E731
    values["W_q"] = lambda x: cut(query.forward(x))
    if delta.delta.form == "prompt":
        keys, rows = (attached.binder.layer(delta.site.stack, delta.site.layer).find("attn", what).module for what in ("k", "v"))
        values |= {"P": parts.prompt, "W_k": keys.forward, "W_v": lambda prompt: CutLater(rows.forward(prompt), cut)}
    else:
        values |= {"P_k": parts.keys, "P_v": CutLater(parts.values, cut)}
    values["heads"] = lambda keys: lambda q: q @ cut(keys).transpose(-1, -2)
    values["d_h"] = float(delta.site.head_dim)


class CutLater:
    """Values P_v: whole while a dropout is put on them, per head where scores are multiplied by them."""

    def __init__(self, part: Tensor, cut):
        self.part, self.cut = part, cut

    def dropped(self, p: float) -> CutLater:
        return CutLater(F.dropout(self.part, p), self.cut)

    def __call__(self, scores: Tensor) -> Tensor:
        return scores @ self.cut(self.part)


def spy_on_slots(delta, attached, checked: set, line: dict[str, str], mask: Tensor, index: int) -> None:
    """Gated slots: h is the attention without them; λ is their share of the mass of exp(scores), which the equation's softmax reads."""
    layer = attached.binder.layer(delta.site.stack, delta.site.layer)
    seen: dict[str, Tensor] = {}
    rows = delta.rows

    def drawn(batch: int):
        seen["random"] = torch.get_rng_state()
        return rows(batch)

    delta.rows = drawn
    for what in ("q", "k", "v"):
        layer.find("attn", what).module.register_forward_hook(lambda module, args, output, what=what: seen.update({what: output, "x": args[0]}))

    def compare(module, args) -> None:
        cut = lambda part: part.unflatten(-1, (delta.site.heads, -1)).transpose(-3, -2)  # noqa: E731
        q, k, v = cut(seen["q"]), cut(seen["k"]), cut(seen["v"])
        scores = (q @ k.transpose(-1, -2) / delta.site.head_dim**0.5).masked_fill(mask[:, None, None] == 0, -torch.inf)
        values = {**letters(delta, attached), "h": scores.softmax(-1) @ v, "x": seen["x"]}
        queries(delta, attached, values)
        values["W_q"] = lambda x: q  # the attention's own queries, with what other deltas make of them
        if "g(x)" in line:
            values["g"] = gate_of(line["g(x)"], values, mask)
        after = torch.get_rng_state()
        torch.set_rng_state(seen["random"])
        values["Δh"] = Reader(line["\\Delta h"], values).sum()
        torch.set_rng_state(after)
        mass = values["scores"].exp().sum(-1, keepdim=True)
        share = mass / (mass + scores.exp().sum(-1, keepdim=True))
        values |= {"lambda": share, "lambda_g": share}
        if "g" in values:
            values["g"] = values["g"][..., None]
        expected = Reader(line["h"], values).sum().transpose(1, 2).flatten(2)
        assert (args[0] - values["h"].transpose(1, 2).flatten(2)).abs().max() > 1e-4, "nothing is mixed in"
        assert torch.allclose(expected, args[0], atol=2e-5, rtol=1e-4), f"{line}: {(expected - args[0]).abs().max():.2g} apart"
        checked.add(index)

    layer.find("attn", "out").module.register_forward_pre_hook(compare)
    assert ("(P_k,P_v)" in line) == (delta.delta.encoder != "none")


def check_tokens(delta, line: dict[str, str], model, batch) -> int:
    """[P; e] is what the backbone is given: P before the embedded input e."""
    own = re.fullmatch(r"\\left\[P\^\{l=(\d+)\};\\, e\\right\]", line["e"])
    assert own and int(own[1]) == delta.length
    assert ("P" in line) == (delta.delta.encoder != "none")
    seen = {}
    encoder = model.base_model.embeddings.register_forward_pre_hook(lambda module, args, kwargs: seen.update(kwargs), with_kwargs=True)
    with torch.no_grad():
        model(**batch)
    encoder.remove()
    words = model.get_input_embeddings()(batch["input_ids"])
    both = torch.cat([delta.parts().tokens.expand(len(words), -1, -1), words], 1)
    assert torch.allclose(seen["inputs_embeds"], both, atol=1e-6)
    return 0


@pytest.mark.parametrize(("preset", "kind"), [("adapter-parallel-multihead", "norm"), ("adapter-parallel-ffn", "dropout"), ("adapter-pfeiffer", "read"),
                                              ("adapter-houlsby", "sigma"), ("unipelt-ap", "gate"), ("vera", "times")])  # fmt: skip
def test_a_term_that_the_equation_leaves_out_is_found(preset: str, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if kind == "read":
        monkeypatch.setattr(equation, "reads_normed", lambda *_: False)
    elif kind == "gate":
        monkeypatch.setattr(equation, "_part", lambda step: equation.SYMBOLS[step.part])
    else:
        monkeypatch.setitem(equation.WRITERS, kind, lambda delta, step, text: text)
    with pytest.raises((AssertionError, RuntimeError)):
        test_the_equation_is_what_the_engine_computes(preset)


# -- the figure ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("post", [True, False])
@pytest.mark.parametrize("preset", PRESETS)
def test_the_figure_marks_every_step(preset: str, post: bool) -> None:
    """Norms, nonlinearities, dropouts, gates and networks stand in the drawing as often as the engine computes them."""
    body = anatomy(tiny("bert" if post else "gpt2").config.to_dict())
    method = load_method(preset)
    drawing = figure(method, body)
    copies, sliders, diamonds = drawing.count("box norm copy"), drawing.count('class="knob"'), drawing.count("averaged over the sequence")
    normed = gates = mixes = 0
    for index, delta in enumerate(method.deltas):
        places = [place for place in delta.places if place in body.representations()]
        normed += sum(reads_normed(delta, place, body.post_norm) for place in places)
        mixes += delta.form == "slots" and delta.composition in ("gated", "learned-gate")
        gates += len(places) * (delta.composition == "learned-gate")
        glyphs = re.findall(rf"<g class=\"trained\"><title>Δ{index + 1}: [^<]*</title>.*?</g>(?:<text[^>]*>.*?</text>)*", drawing)
        marks = {"sigma": {"relu": "ReLU", "gelu": "GELU", "softmax": "softmax"}.get(delta.nonlinearity), "norm": "LN", "dropout": "drop"}
        for step in steps(delta) if delta.form not in ("scale", "bias") else ():
            wanted = marks.get(step.kind) or ("drop" if step.value else None)
            if wanted and delta.form != "tokens":
                assert glyphs and all(wanted in glyph for glyph in glyphs), f"{wanted} of {preset}"
        assert delta.encoder == "none" or 'class="encoder"' in drawing
    assert (copies, sliders) == (normed, mixes)
    assert diamonds == gates
