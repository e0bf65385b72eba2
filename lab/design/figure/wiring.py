"""How deltas are wired into a block: around a projection, around a module, on the path; and the node where Δh joins h."""

from __future__ import annotations

from lab.design.body.anatomy import source
from lab.design.figure.drawing import Canvas
from lab.design.figure.glyphs import WIDTH, glyph, over_time
from lab.design.method.compositions import COMPOSITIONS
from lab.design.method.delta import Delta, Method
from lab.design.method.forms import FORMS
from lab.design.method.fusing import fusions
from lab.design.method.steps import mixed, reads_normed

GAP = 11.0
AROUND_OUT = ("attn.out", "ffn.out")  # h of a module's output projection: a delta may go around it or around the module


def scale_of(delta: Delta) -> str:
    """The fixed s of a delta as it stands beside its node; empty where there is none, it is 1, or it is learned."""
    return "" if delta.strength in (1, "learned") else f"{delta.strength:.3g}"


class Wiring:
    """A canvas, the present x on the path, and the stack (or cross) that is being drawn."""

    def __init__(self, method: Method, canvas: Canvas, where: str, language: str = "en", post: bool = True):
        self.method, self.canvas, self.where, self.language, self.post = method, canvas, where, language, post
        self.x = 0.0

    # -- what is where

    def at(self, representation: str, reads_h: bool | None = None) -> list[tuple[int, Delta]]:
        """The deltas on what a representation of this stack gives, in order; where given, those alone that read h, or that do not."""
        found = self._everything(representation)
        return [(i, d) for i, d in found if not d.changes_input and (reads_h is None or d.reads_h == reads_h)]

    def _everything(self, representation: str) -> list[tuple[int, Delta]]:
        return [
            (i, d)
            for i, d in enumerate(self.method.deltas)
            if representation in d.places and not (d.frozen_from and fusions(self.method)) and (not self.where or d.stacks is None or self.where in d.stacks)
        ]

    @staticmethod
    def vector(delta: Delta) -> bool:
        """Whether it is one vector that meets h, and not a path of its own."""
        return bool(FORMS[delta.form].vector)

    @staticmethod
    def through(delta: Delta) -> bool:
        """Whether h itself goes through the form, and nothing joins it."""
        return COMPOSITIONS[delta.composition].replaces

    @staticmethod
    def reads(delta: Delta, representation: str) -> str:
        """What it reads: h, sublayer, residual or projection."""
        return source(delta, representation)

    def _beside(self, representation: str) -> list[tuple[int, Delta]]:
        """The deltas that are drawn at a projection's own box."""
        if representation not in AROUND_OUT:
            return self.at(representation)
        return [(i, d) for i, d in self.at(representation, reads_h=False) if not self.vector(d) and self.reads(d, representation) == "projection"]

    def css(self, kind: str, place: str = "") -> str:
        """The class of a box of the model: linear (at a place), norm or other, as the method's selection has it."""
        return self.method.select.look(kind, place) if self.method.select else "frozen"

    # -- a projection

    def below(self, representation: str) -> float:
        """Room in px that the deltas under a projection take beyond one without a second line."""
        found = [d for _, d in self._beside(representation) if not self.vector(d) and not d.reads_h]
        return 46.0 * max(0, len(found) - 1) + 14 * sum(bool(over_time(d)) for d in found)

    def width(self, representation: str, box: float, also: str = "") -> float:
        """Room that a projection takes with what is around it."""
        found = [*self._beside(representation), *(self._beside(also) if also else ())]
        return box + 8 + sum(self._room(delta) for _, delta in found) + sum(self._room(delta) + 6 for delta in self._on_input(representation))

    def _on_input(self, representation: str) -> list[Delta]:
        return [delta for _, delta in self._everything(representation) if delta.changes_input]

    def before(self, representation: str, x: float, y: float) -> float:
        """Deltas on what a projection reads, on its path from x on; returns where the projection begins."""
        for index, delta in self._everything(representation):
            if delta.changes_input:
                node, x = x + 6 + WIDTH + 14, self._short_series(index, delta, x + 6, y)
                self.canvas.line([(node + 8, y), (x, y)])
        return x

    @staticmethod
    def _room(delta: Delta) -> float:
        label = 8 + 6 * (2 + len(scale)) if (scale := scale_of(delta)) else 8
        if FORMS[delta.form].vector:
            return 26.0
        return (WIDTH + 30 if delta.reads_h else 28) + label

    def projection(self, representation: str, label: str, x: float, y: float, w: float, also: str = "") -> float:
        """A projection; parallel deltas lie under it, others behind it on its path. Returns where it ends."""
        self.canvas.box(x, y, w, 24, label, self.css("linear", representation), representation)
        end, level = x + w, y + 28
        for index, delta in [*self._beside(representation), *(self._beside(also) if also else ())]:
            if self.vector(delta):
                end += 14
                self.join(delta, end, y)
                name = FORMS[delta.form].vector
                self.canvas.add(f'<g class="trained{" standing" if delta.frozen_from else ""}"><rect x="{end - 3:.1f}" y="{y + 11:.1f}" width="6" height="14" rx="2"/>'
                                f'<text class="sigma" x="{end + 6:.1f}" y="{y + 22:.1f}" font-style="italic">{name}</text></g>')  # fmt: skip
                self.canvas.reach(end, y + 26)
                end += 12
            elif delta.reads_h:
                end = self._short_series(index, delta, end + 6, y)
            else:
                end += 22
                self.canvas.line([(x - 7, y), (x - 7, level), (x - 4, level)], "path-delta")
                self.canvas.line([(x - 4 + WIDTH, level), (end, level), (end, y + 9)], "path-delta", arrow=True)
                self.glyph(index, delta, x - 4, level, small=True)
                self.join(delta, end, y, low=level)
                end, level = end + self._room(delta) - 22, level + 46 + 14 * bool(over_time(delta))
        return end

    def _short_series(self, index: int, delta: Delta, x: float, y: float) -> float:
        self.canvas.line([(x, y), (x + WIDTH + (22 if self.through(delta) else 6), y)], "path-delta")
        self.glyph(index, delta, x, y, small=True)
        if not self.through(delta):
            self.canvas.line([(x - 2, y), (x - 2, y - 20), (x + WIDTH + 14, y - 20), (x + WIDTH + 14, y - 9)], "path thin", arrow=True)
            self.join(delta, x + WIDTH + 14, y)
        return x + self._room(delta)

    # -- the path and around it

    def series(self, index: int, delta: Delta, representation: str = "") -> None:
        """A sequential delta: on the path, behind what made h, with h going on above it."""
        canvas, x = self.canvas, self.x + 6
        if self.vector(delta):
            self.join(delta, x + 10, 0)
            self.glyph(index, delta, x + 10 - WIDTH / 2, 40)
            canvas.line([(x + 10, 24), (x + 10, 9)], "path-delta", arrow=True)
            self.x += 34
            return
        normed = reads_normed(delta, representation, self.post)
        gate = 26 if COMPOSITIONS[delta.composition].mark(delta) else 0
        begin, x = x, x + (34 if normed else 0)
        node = x + WIDTH + 16 + gate
        if normed:  # the norm that follows, read here as well
            canvas.box(
                begin,
                0,
                24,
                24,
                "LN",
                "norm copy " + self.css("norm"),
                self.said("the layer norm that follows, read here too", "与随后的层归一化相同，在此处也经过一次"),
            )
        self.glyph(index, delta, x, 0)
        canvas.line([(begin - 4, 0), (node - 8, 0)], "path-delta")
        if self.through(delta):
            self.x = node
            return
        canvas.line([(begin - 5, 0), (begin - 5, -32), (node, -32), (node, -9)], "path thin", arrow=True)
        self.join(delta, node, 0, gate=(x + WIDTH + 14, 0.0) if gate else None)
        self.x = node + 14 + 6 * len(scale_of(delta))

    def bypass(self, index: int, delta: Delta, begin: float, level: float) -> None:
        """A parallel delta around a module: out of the path at `begin`, joined behind the present x."""
        node = self.x + 16
        middle = (begin + node - WIDTH) / 2
        self.canvas.line([(begin, 0), (begin, level), (middle, level)], "path-delta")
        self.canvas.line([(middle + WIDTH, level), (node, level), (node, 9)], "path-delta", arrow=True)
        self.glyph(index, delta, middle, level)
        self.join(delta, node, 0, low=level)
        self.x = node + 12 + (8 + 6 * len(scale) if (scale := scale_of(delta)) else 0)

    def glyph(self, index: int, delta: Delta, x: float, y: float, small: bool = False) -> None:
        glyph(self.canvas, delta, x, y, index, small, self.language)

    def said(self, english: str, chinese: str) -> str:
        """What a part says when it is pointed at."""
        return chinese if self.language == "zh" else english

    def join(self, delta: Delta, x: float, y: float, low: float | None = None, gate: tuple[float, float] | None = None) -> None:
        """The composition's node, with s beside it, a slider for λ, a diamond for what is learned (on Δh's own path)."""
        canvas = self.canvas
        if mixed(delta):
            canvas.slider(x, y)
        else:
            canvas.node(x, y, COMPOSITIONS[delta.composition].node, "node on-delta")
        on_path = gate or (x, y + (24 if low is None or low - y > 40 else low - y))
        if mark := COMPOSITIONS[delta.composition].mark(delta):
            canvas.diamond(*on_path, mark.letter, self.said(mark.english, mark.chinese))
        if scale := scale_of(delta):
            canvas.text(x + 6, y + 20, f"<tspan font-style='italic'>s</tspan>={scale}", "scale", "start")
            canvas.reach(x + 18 + 6 * len(scale), y + 20)

    def enclose(self, left: float, right: float, top: float, bottom: float) -> None:
        """The ground of a module."""
        self.canvas.under.insert(0, f'<rect class="module" x="{left:.1f}" y="{top:.1f}" width="{right - left:.1f}" height="{bottom - top:.1f}" rx="8"/>')
        self.canvas.reach(left, top)
        self.canvas.reach(right, bottom)
