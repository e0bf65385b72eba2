"""One layer of one stack as a drawing: its sublayers from left to right along y = 0, and every delta where it acts."""

from __future__ import annotations

from collections.abc import Callable

from lab.design.body.anatomy import Stack
from lab.design.figure.drawing import Canvas
from lab.design.figure.glyphs import WIDTH
from lab.design.figure.wiring import GAP, Wiring
from lab.design.method.compositions import COMPOSITIONS
from lab.design.method.delta import Method
from lab.design.method.forms import FORMS

LABELS = {"attn": ("self-attention", "自注意力"), "cross": ("cross-attention", "交叉注意力"), "ffn": ("FFN", "前馈网络")}


class Block(Wiring):
    """`draw()` once; then `canvas`, its `left` and `right` edge, and `memory`: where the encoder's output comes in (None without)."""

    def __init__(self, method: Method, stack: Stack | None, language: str, *, norm: str, first: bool, rms: bool = False):
        super().__init__(method, Canvas(), stack.name if stack else "", language, norm == "post")
        self.stack, self.first, self.norm, self.rms = stack, first, norm, rms
        self.left = self.right = self.start = 0.0
        self.memory: tuple[float, float] | None = None
        self.gaps: list[tuple[float, float]] = []  # where the path does not run along y = 0

    def draw(self) -> None:
        """The whole layer."""
        canvas = self.canvas
        canvas.text(-8, 4, "x", "var")
        canvas.reach(-16, -8)
        if self.first:
            self._tokens()
        self.x += 16
        self.start = start = self.x
        self._sublayer("attn")
        if self.stack and self.stack.cross:
            self.where = "cross"
            self._sublayer("cross")
            self.where = self.stack.name
        self._sublayer("ffn")
        self._around("layer.out", start)
        ends = [0.0, *(x for gap in self.gaps for x in gap), self.x + 22]
        for place in range(0, len(ends), 2):
            canvas.line([(ends[place], 0), (ends[place + 1], 0)], "path", arrow=place + 2 == len(ends))
        canvas.text(self.x + 27, 4, "h", "var", "start")
        canvas.reach(self.x + 36, 8)
        self.left, self.right = start - 8, self.x + 36
        self._frame(start - 8, self.x + 8)
        if self.method.select and self.method.select.head_alone:
            canvas.box(self.right + 8, 0, 40, 34, "head", "head", self.said("the task head: the only part that trains", "任务头：唯一参与训练的部分"))

    def _tokens(self) -> None:
        """Virtual tokens stand before the input's own."""
        for index, delta in self.at("embed"):
            if not FORMS[delta.form].before_input:
                self.x += 12
                self.series(index, delta)
                continue
            self.glyph(index, delta, self.x + 2, -42)
            self.canvas.line([(self.x + 15, -24), (self.x + 15, -2)], "path-delta", arrow=True)
            if COMPOSITIONS[delta.composition].averages:
                self.canvas.diamond(
                    self.x + 15, -14, "σ", self.said("g(x) multiplies their keys and values in every attention", "g(x) 乘以它们在每个注意力中的键与值")
                )
            self.x += 58

    def _around(self, representation: str, start: float) -> None:
        """Sequential deltas on the path; parallel ones read the layer's own input."""
        for index, delta in self.at(representation, reads_h=True):
            self.series(index, delta, representation)
        for place, (index, delta) in enumerate(self.at(representation, reads_h=False)):
            self.bypass(index, delta, start - 4 * place + 3, self.canvas.bottom + 30)

    def _sublayer(self, name: str) -> None:
        """Residual, norm before, behind the module or after the sum, the module, what goes around it and what sits behind it."""
        canvas, fork = self.canvas, self.x
        self.x += GAP
        if self.norm == "pre":
            self._norm()
        branch = self.x
        self.x += GAP
        inside = self.x
        with canvas.span() as span:
            self._module(name)
            end = self.x
            top = min(span.top, -30) - 22
            self.enclose(inside, end - 2, top, max(span.bottom, 30) + 8)
        canvas.text((inside + end) / 2, top + 14, LABELS[name][self.language == "zh"], "label")
        if self.norm == "output":
            self.x += GAP
            self._norm()
        self._behind("ffn.out" if name == "ffn" else "attn.out", branch, fork, span.bottom + 30)
        self.x += GAP
        canvas.node(self.x + 8, 0, "+", "node")
        high = min(span.top, top) - 13
        canvas.line([(fork, 0), (fork, high), (self.x + 8, high), (self.x + 8, -9)], "path residual", arrow=True)
        self.x += 16 + GAP
        if name == "ffn":
            self._around("ffn.residual", self.start)
        if self.post:
            self._norm()

    def _module(self, name: str) -> None:
        draw: dict[str, Callable[[], None]] = {"attn": self._attention, "cross": self._attention, "ffn": self._ffn}
        draw[name]()

    def _behind(self, representation: str, branch: float, fork: float, level: float) -> None:
        """What reads the sublayer's input and joins after it, then what sits on its output."""
        place = 0
        for index, delta in self.at(representation, reads_h=False):
            if self.vector(delta):
                self.series(index, delta)
            elif self.reads(delta, representation) != "projection":
                begin = fork + 4 if self.reads(delta, representation) == "residual" and self.norm == "pre" else branch
                self.bypass(index, delta, begin - 4 * place, level + 62 * place)
                place += 1
        for index, delta in self.at(representation, reads_h=True):
            self.series(index, delta)

    def _norm(self) -> None:
        wide = 32 if self.rms else 26
        self.canvas.box(
            self.x,
            0,
            wide,
            38,
            "RMS" if self.rms else "LN",
            "norm " + self.css("norm"),
            self.said("RMS norm", "RMS 归一化") if self.rms else self.said("layer norm", "层归一化"),
        )
        self.x += wide + GAP

    # -- the modules

    def _attention(self) -> None:
        canvas, start, cross = self.canvas, self.x, self.where == "cross"
        fused = bool(self.at("attn.qkv"))
        names = ("qkv",) if fused else ("k", "v", "q") if cross else ("q", "k", "v")
        row = 66 + max(self.below(f"attn.{name}") for name in names) + 10 * any(FORMS[delta.form].glyph == "pairs" for _, delta in self.at("attn.heads"))
        x = start + (20 if cross else 16)
        after = x + max(self.width(f"attn.{name}", 36) for name in names) + 6
        for place, name in enumerate(names):
            y = 0.0 if fused else (place - 1.0) * row
            if cross and name != "q":
                canvas.line([(start + 12, -row - 26), (start + 12, y), (x, y)], "path memory", arrow=y == 0)
            else:
                canvas.line([(start, 0), (start + 5, 0), (start + 5, y), (x, y)] if y else [(start, 0), (x, 0)])
            box = self.before(f"attn.{name}", x, y)
            self.projection(f"attn.{name}", f"W{_sub(name)}", box, y, 36)
            canvas.line([(box + 36, y), (after, y), (after, 0), (after + 12, 0)] if y else [(box + 36, y), (after + 12, y)])
        if cross:
            self.memory = (start + 12, -row - 26)
            self.gaps.append((start + 4, x))
        heads = after + 12
        canvas.box(heads, 0, 54, 46, "heads", "frozen", self.said("softmax(QKᵀ)V, head by head; it has no weights", "逐头计算 softmax(QKᵀ)V，没有权重"))
        self.x = heads + 54
        self._at_heads(start, heads, after, row if cross else -row)
        self.x += GAP
        self.x = self.projection("attn.out", f"W{_sub('o')}", self.before("attn.out", self.x, 0), 0, 36) + GAP

    def _at_heads(self, start: float, heads: float, fork: float, level: float) -> None:
        """Slots beside attention: fed by the query, joined before Wo; other forms on the path behind the heads, or around them."""
        for index, delta in self.at("attn.heads"):
            if delta.reads_h or self.vector(delta):
                self.series(index, delta)
            elif FORMS[delta.form].glyph != "pairs":
                self.bypass(index, delta, start + 2, abs(level) + 66)
            else:
                join = max(self.x, heads + WIDTH + 6) + 14
                self.canvas.line([(fork - 2, level), (heads + 3, level)], "path-delta")
                self.canvas.line([(heads + 3 + WIDTH, level), (join, level), (join, -10 if level < 0 else 10)], "path-delta", arrow=True)
                self.glyph(index, delta, heads + 3, level)
                self.join(delta, join, 0, gate=(join, level / 2 - (3 if level < 0 else -3)))
                self.x, level = join + 10, -level

    def _ffn(self) -> None:
        canvas, start = self.canvas, self.x
        gated = bool(self.stack and self.stack.gated)
        x = start + 16
        names = ("ffn.gate", "ffn.up") if gated else ("ffn.up",)
        after = x + max(self.width(name, 42) for name in names) + 4
        if gated:
            self.gaps.append((start + 4, after))
            row = 30 if not self.at("ffn.gate") else 44 + self.below("ffn.gate") / 2
            for name, y in (("ffn.gate", -row), ("ffn.up", row)):
                canvas.line([(start, 0), (start + 6, 0), (start + 6, y), (x, y)])
                box = self.before(name, x, y)
                self.projection(name, name[4:], box, y, 42)
                canvas.line([(box + 42, y), (after, y), (after, 0), (after + 10, 0)])
        else:
            self.projection("ffn.up", "up", self.before("ffn.up", x, 0), 0, 42)
        self.canvas.box(
            after + 8,
            0,
            30,
            28,
            "σ⊙" if gated else "σ",
            "frozen",
            self.said("activation, times the up projection", "激活，再与上投影相乘") if gated else self.said("activation", "激活"),
        )
        self.x = after + 38
        for index, delta in self.at("ffn.act"):
            if delta.reads_h or self.vector(delta):
                self.series(index, delta)
            else:
                self.bypass(index, delta, start + 2, canvas.bottom + 34)
        self.x += 10
        self.x = self.projection("ffn.down", "down", self.before("ffn.down", self.x, 0), 0, 46, also="ffn.out") + GAP

    def _frame(self, left: float, right: float) -> None:
        canvas = self.canvas
        top, bottom = canvas.top - 10, canvas.bottom + 10
        canvas.under.insert(0, f'<rect class="frame" x="{left:.1f}" y="{top:.1f}" width="{right - left:.1f}" height="{bottom - top:.1f}" rx="10"/>')
        canvas.reach(left, top)
        canvas.reach(right, bottom)


def _sub(name: str) -> str:
    return f"<tspan baseline-shift='sub' font-size='8'>{name}</tspan>"
