"""The block of a model with each delta drawn where it acts (after Figures 1 and 3 of He et al. 2022), as SVG.

Data flows from left to right on the grey path. A parallel delta leaves the path before its module and joins after it; a
sequential one sits on the path behind the module. Frozen is outlined in slate, trained is orange and filled, gates are violet.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from lab.design.anatomy import Anatomy, chosen_layers
from lab.design.drawing import Canvas, esc
from lab.design.glyphs import WIDTH, glyph
from lab.design.method import Delta, Method
from lab.design.refusal import Refusal

MAIN = 150.0  # y of the data path
ROW = 70.0  # between q, k and v
GAP = 14.0


def figure(method: Method, body: Anatomy | None = None, language: str = "en") -> str:
    """The SVG of a method on a model's block. Without a model: a post-norm block with a plain FFN."""
    return _Block(method, body, language).draw()


@dataclass
class _Block:
    method: Method
    body: Anatomy | None
    language: str
    canvas: Canvas = field(default_factory=Canvas)
    x: float = 0.0

    def draw(self) -> str:
        canvas = self.canvas
        stack = self.body.stacks[0] if self.body else None
        post = self.body.post_norm if self.body else True
        self._input()
        start = self.x
        self._sublayer("attn", post, lambda: self._attention())
        self._sublayer("ffn", post, lambda: self._ffn(bool(stack and stack.gated)))
        self._on_path("layer.out")
        canvas.line([(0, MAIN), (self.x + 26, MAIN)], "path", arrow=True)
        canvas.text(self.x + 30, MAIN + 4, "h", "var", "start")
        canvas.reach(self.x + 40, MAIN)
        self._frame(start - 10, self.x + 8)
        self._layers(start - 10)
        return canvas.svg(self._title())

    def _title(self) -> str:
        name = self.body.architecture.name if self.body else "transformer"
        return f"{self.method.name}: one layer of {name}"

    def at(self, representation: str, insertion: str | None = None) -> list[tuple[int, Delta]]:
        """The deltas at a representation, in order, of one insertion form where given."""
        found = [(i, d) for i, d in enumerate(self.method.deltas) if representation in d.at]
        return [(i, d) for i, d in found if insertion is None or d.insertion == insertion]

    def css(self, kind: str) -> str:
        """The class of a box of the model: linear or norm, as the method's selection has it."""
        what = self.method.select.what if self.method.select else ""
        if what in ("all", "layers") or (what == "norm" and kind == "norm"):
            return "chosen"
        return "sparse" if what == "masked" else "biased" if what == "bias" else "frozen"

    # -- the way through the block

    def _input(self) -> None:
        self.canvas.text(-8, MAIN + 4, "x", "var")
        self.canvas.reach(-14, MAIN)
        tokens = self.at("embed")
        self.x = 18.0
        for index, delta in tokens:
            glyph(self.canvas, delta, self.x, MAIN - 40 if delta.form == "tokens" else MAIN, index)
            if delta.form == "tokens":
                self.canvas.line([(self.x + 24, MAIN - 22), (self.x + 24, MAIN)], "path-delta", arrow=True)
            self.x += WIDTH + 10
        self.x += 14

    def _sublayer(self, name: str, post: bool, module) -> None:
        """Residual, norm before or after, the module, and what sits behind it."""
        canvas, fork = self.canvas, self.x
        self.x += GAP
        if not post:
            self._norm()
        branch = self.x
        self.x += GAP
        inside = self.x
        module()
        end = self.x
        self._parallel(f"{name}.out", branch, MAIN + 116, below=True)
        self._on_path(f"{name}.out", behind=True)
        self.x += GAP
        canvas.node(self.x + 8, MAIN, "+", "node")
        top = MAIN - (128 if name == "attn" else 106)
        canvas.line([(fork, MAIN), (fork, top), (self.x + 8, top), (self.x + 8, MAIN - 9)], "path residual", arrow=True)
        self.x += 16 + GAP
        if name == "ffn":
            self._on_path("ffn.residual")
        if post:
            self._norm()
        label = {"attn": ("self-attention", "自注意力"), "ffn": ("FFN", "前馈网络")}[name][self.language == "zh"]
        canvas.text((inside + end) / 2, top + 16, label, "label")

    def _norm(self) -> None:
        self.canvas.box(self.x, MAIN, 28, 40, "LN", "norm " + self.css("norm"), "layer norm")
        self.x += 28 + GAP

    def _on_path(self, representation: str, behind: bool = False) -> None:
        """Sequential deltas: on the path, behind what made h."""
        for index, delta in self.at(representation, "sequential"):
            self._series(index, delta)
        if not behind:
            for index, delta in self.at(representation, "parallel"):
                self._series(index, delta)

    def _series(self, index: int, delta: Delta) -> None:
        canvas = self.canvas
        vector = delta.form in ("scale", "bias")
        x = self.x + 6
        if vector:
            self._join(delta, x + 10, MAIN)
            glyph(canvas, delta, x + 10 - WIDTH / 2, MAIN + 40, index)
            canvas.line([(x + 10, MAIN + 24), (x + 10, MAIN + 9)], "path-delta", arrow=True)
            self.x += 34
            return
        glyph(canvas, delta, x, MAIN, index)
        canvas.line([(x - 4, MAIN), (x + WIDTH + 4, MAIN)], "path-delta")
        canvas.line([(x - 5, MAIN), (x - 5, MAIN - 34), (x + WIDTH + 16, MAIN - 34), (x + WIDTH + 16, MAIN - 9)], "path thin", arrow=True)
        self._join(delta, x + WIDTH + 16, MAIN)
        self.x += WIDTH + 34

    def _parallel(self, representation: str, branch: float, y: float, below: bool) -> None:
        """Parallel deltas around a module: out of the path at `branch`, joined at the present x."""
        found = self.at(representation, "parallel")
        for place, (index, delta) in enumerate(found):
            level, join = y + place * 58, self.x + 10
            if delta.form in ("scale", "bias"):
                self._series(index, delta)
                continue
            middle = (branch + join - WIDTH) / 2
            self.canvas.line([(branch - 4, MAIN), (branch - 4, level), (middle, level)], "path-delta")
            self.canvas.line([(middle + WIDTH, level), (join + 8, level), (join + 8, MAIN + 9)], "path-delta", arrow=True)
            glyph(self.canvas, delta, middle, level, index)
            self._join(delta, join + 8, MAIN)
            self.x += 30

    def _join(self, delta: Delta, x: float, y: float, small: bool = False) -> None:
        """The composition's node, with s beside it, a slider for gated, a diamond for a learned gate."""
        canvas = self.canvas
        if delta.composition == "gated":
            canvas.slider(x, y)
            return
        canvas.node(x, y, "×" if delta.composition == "rescale" else "+", "node on-delta")
        if delta.composition == "learned-gate":
            canvas.diamond(x, y + 24, "g", "g(x): a sigmoid of x, averaged over the sequence")
        if delta.composition == "scaled":
            if delta.strength == "learned":
                canvas.diamond(x + 4, y + 22, "s", "s is learned")
            else:
                canvas.text(x + 6, y + (17 if small else 21), f"<tspan font-style='italic'>s</tspan>={delta.strength:g}", "scale", "start")

    # -- the modules

    def _attention(self) -> None:
        canvas, start = self.canvas, self.x
        x = start + GAP
        fused = bool(self.at("attn.qkv"))
        names = ("qkv",) if fused else ("q", "k", "v")
        wide = any(self.at(f"attn.{name}") for name in names)
        after = x + 46 + (52 if wide else 12)
        for row, name in enumerate(names):
            y = MAIN if fused else MAIN + (row - 1) * ROW
            canvas.line([(start, MAIN), (start + 5, MAIN), (start + 5, y), (x, y)] if y != MAIN else [(start, MAIN), (x, MAIN)])
            self._projection(f"attn.{name}", f"W<tspan baseline-shift='sub' font-size='8'>{name}</tspan>", x, y, 38)
            canvas.line([(x + 38, y), (after + 6, y), (after + 6, MAIN), (after + 16, MAIN)] if y != MAIN else [(x + 38, y), (after + 16, y)])
        heads = after + 16
        canvas.box(heads, MAIN, 62, 54, "heads", self.css("other") if self.css("other") == "chosen" else "frozen", "softmax(QKᵀ)V, head by head")
        self.x = heads + 62
        self._at_heads(heads, after + 6)
        self.x += GAP
        branch, out = self.x, self.x
        canvas.box(out, MAIN, 38, 36, "W<tspan baseline-shift='sub' font-size='8'>o</tspan>", self.css("linear"), "output projection")
        self.x = branch + 38 + GAP
        self._enclose(start, self.x - 4, MAIN - ROW - 30, MAIN + ROW + 30)

    def _at_heads(self, heads: float, fork: float) -> None:
        """Slots beside attention, joined before Wo; other forms on the path behind the heads."""
        for place, (index, delta) in enumerate(self.at("attn.heads")):
            if delta.insertion == "sequential" or delta.form in ("scale", "bias"):
                self._series(index, delta)
                continue
            level, join = MAIN - 66 + place * 132, self.x + 16
            middle = heads + 5
            self.canvas.line([(fork, MAIN - ROW if place == 0 else MAIN), (fork, level), (middle, level)] if place else [(fork - 2, MAIN - ROW), (middle, level)], "path-delta")
            self.canvas.line([(middle + WIDTH, level), (join, level), (join, MAIN - 10 if level < MAIN else MAIN + 10)], "path-delta", arrow=True)
            glyph(self.canvas, delta, middle, level, index)
            self._join(delta, join, MAIN)
            self.x = join + 12

    def _projection(self, representation: str, label: str, x: float, y: float, w: float) -> None:
        """A projection with what is parallel to it underneath, and what is behind it on its path."""
        canvas = self.canvas
        canvas.box(x, y, w, 24, label, self.css("linear"), representation)
        for index, delta in self.at(representation):
            join = x + w + 24
            if delta.form in ("scale", "bias"):
                self._join(delta, join, y, small=True)
                canvas.add(f'<g class="trained"><rect x="{join - 3}" y="{y + 11}" width="6" height="14" rx="2"/></g>')
            elif delta.insertion == "sequential":
                glyph(canvas, delta, x + w + 3, y, index, small=True)
            else:
                level, left = y + 27, x - 6
                canvas.line([(x - 8, y), (x - 8, level), (left, level)], "path-delta")
                canvas.line([(left + WIDTH, level), (join, level), (join, y + 9)], "path-delta", arrow=True)
                glyph(canvas, delta, left, level, index, small=True)
                self._join(delta, join, y, small=False)

    def _ffn(self, gated: bool) -> None:
        canvas, start = self.canvas, self.x
        x = start + GAP
        wide = bool(self.at("ffn.up") or self.at("ffn.gate"))
        after = x + 44 + (44 if wide else 8)
        if gated:
            canvas.line([(start, MAIN), (start + 5, MAIN), (start + 5, MAIN - 34), (x, MAIN - 34)])
            self._projection("ffn.gate", "gate", x, MAIN - 34, 44)
            canvas.line([(start, MAIN), (start + 5, MAIN), (start + 5, MAIN + 34), (x, MAIN + 34)])
            self._projection("ffn.up", "up", x, MAIN + 34, 44)
            for y in (MAIN - 34, MAIN + 34):
                canvas.line([(x + 44, y), (after + 4, y), (after + 4, MAIN), (after + 12, MAIN)])
        else:
            self._projection("ffn.up", "up", x, MAIN, 44)
        canvas.box(after + 10, MAIN, 32, 30, "σ⊙" if gated else "σ", "frozen", "activation")
        self.x = after + 42
        for index, delta in self.at("ffn.act"):
            self._series(index, delta)
        self.x += 12
        self._projection("ffn.down", "down", self.x, MAIN, 48)
        self.x += 48 + (GAP if not self.at("ffn.down") else 46)
        self._enclose(start, self.x - 4, MAIN - 76, MAIN + 76)

    # -- around the block

    def _enclose(self, left: float, right: float, top: float, bottom: float) -> None:
        self.canvas.under.insert(0, f'<rect class="module" x="{left:.1f}" y="{top:.1f}" width="{right - left:.1f}" height="{bottom - top:.1f}" rx="8"/>')
        self.canvas.reach(left, top)
        self.canvas.reach(right, bottom)

    def _frame(self, left: float, right: float) -> None:
        canvas = self.canvas
        top, bottom = canvas.top - 14, canvas.bottom + 12
        canvas.under.insert(0, f'<rect class="frame" x="{left:.1f}" y="{top:.1f}" width="{right - left:.1f}" height="{bottom - top:.1f}" rx="10"/>')
        canvas.reach(left, top)
        canvas.reach(right, bottom)

    def _layers(self, left: float) -> None:
        """A strip of cells, one per layer, lit where a delta is; one strip per stack."""
        if self.body is None:
            return
        y = self.canvas.top - 12
        for stack in reversed(self.body.stacks):
            lit = self._lit(stack.name, stack.layers)
            size = max(4.0, min(12.0, 300 / stack.layers))
            name = {"encoder": ("encoder", "编码器"), "decoder": ("decoder", "解码器")}.get(stack.name, (stack.name,) * 2)[self.language == "zh"]
            self.canvas.text(left, y, esc(f"{name} × {stack.layers}"), "label", "start")
            cells = "".join(f'<rect class="{"lit" if layer in lit else ""}" x="{left + 96 + layer * size:.1f}" y="{y - 8}" width="{size - 2:.1f}" height="9" rx="1.5">'
                            f"<title>{layer}</title></rect>" for layer in range(stack.layers))  # fmt: skip
            self.canvas.add(f'<g class="layers">{cells}</g>')
            self.canvas.reach(left + 96 + stack.layers * size, y - 10)
            y -= 18

    def _lit(self, stack: str, count: int) -> set[int]:
        if self.method.select:
            return set(range(count)) if self.method.select.what != "layers" else set(range(0, count, max(1, count // self.method.select.active)))
        lit: set[int] = set()
        for delta in self.method.deltas:
            here = delta.stacks is None or stack in delta.stacks or ("cross" in delta.stacks and stack == "decoder")
            if here and delta.at != ["embed"]:
                try:
                    lit |= set(chosen_layers(delta.layers, count))
                except Refusal:
                    continue
        return lit
