"""The block of a model with each delta drawn where it acts (after Figures 1 and 3 of He et al. 2022), as SVG.

Data flows from left to right on the grey path. A parallel delta leaves the path before its module and joins after it; a
sequential one sits on the path behind the module. Frozen is outlined in slate, trained is orange and filled, gates are violet.
An encoder-decoder shows both blocks, with the encoder's output going into the decoder's cross-attention.
"""

from __future__ import annotations

from lab.design.body.anatomy import Anatomy, Stack, chosen_layers
from lab.design.figure.block import Block
from lab.design.figure.drawing import Canvas, esc
from lab.design.method.delta import Method
from lab.design.method.selections.layers import SelectLayers
from lab.design.plain.refusal import Refusal

STACKS = {"encoder": ("encoder", "编码器"), "decoder": ("decoder", "解码器")}


def figure(method: Method, body: Anatomy | None = None, language: str = "en") -> str:
    """The SVG of a method on a model's block. Without a model: a post-norm block with a plain FFN."""
    canvas, bottom = Canvas(), None
    memory: tuple[float, float] | None = None  # where the encoder's output ends
    for place, stack in enumerate(body.stacks if body else (None,)):
        block = Block(method, stack, language, norm=body.norm if body else "post", first=place == 0, rms=bool(body and body.rms))
        block.draw()
        if stack is not None:
            _layers(block, stack, method, language)
        down = 0.0 if bottom is None else bottom - block.canvas.top + 34
        if memory is not None and bottom is not None and block.memory is not None:
            x, y = block.memory
            between = bottom + 15
            block.canvas.line(
                [(memory[0], memory[1] - down), (memory[0] + 14, memory[1] - down), (memory[0] + 14, between - down), (x, between - down), (x, y)],
                "path memory",
            )
        memory = (block.right + 2, down)
        canvas.place(block.canvas, down)
        bottom = canvas.bottom
    name = body.architecture.name if body else "transformer"
    title = f"{method.name}：{name} 的一层" if language == "zh" else f"{method.name}: one layer of {name}"
    return canvas.svg(title, css="two" if body and len(body.stacks) > 1 else "")


def _layers(block: Block, stack: Stack, method: Method, language: str) -> None:
    """A strip of cells over the block, one per layer, lit where a delta is."""
    canvas, left = block.canvas, block.left
    y, lit, size = canvas.top - 10, lit_layers(method, stack), max(4.0, min(12.0, 300 / stack.layers))
    name = STACKS.get(stack.name, (stack.name,) * 2)[language == "zh"]
    select = method.select
    drawn = isinstance(select, SelectLayers)
    if isinstance(select, SelectLayers):
        name += {"en": f", {select.active} drawn at a time", "zh": f"，每次抽取 {select.active} 层"}[language]
    words = f"{name.partition(',')[0].partition('，')[0]} × {stack.layers}"
    canvas.text(left, y, esc(words), "label", "start")
    cells = "".join(f'<rect class="{"lit" if layer in lit else "maybe" if drawn else ""}" x="{left + 96 + layer * size:.1f}" y="{y - 8:.1f}" width="{size - 2:.1f}" height="9" rx="1.5">'
                    f"<title>{layer}</title></rect>" for layer in range(stack.layers))  # fmt: skip
    canvas.add(f'<g class="layers">{cells}</g>')
    end = left + 96 + stack.layers * size
    canvas.reach(end, y - 10)
    if drawn:
        canvas.text(end + 6, y, esc(name.partition(", ")[2] or name.partition("，")[2]), "label", "start")
        canvas.reach(end + 130, y)


def lit_layers(method: Method, stack: Stack) -> set[int]:
    """The layers of a stack in which something trains (LISA: an example of a draw)."""
    count = stack.layers
    if method.select:
        chosen = method.select.lit(count)
        if chosen:
            return chosen
    lit: set[int] = set()
    for delta in method.own:
        here = delta.stacks is None or stack.name in delta.stacks or ("cross" in delta.stacks and stack.cross)
        if here and delta.places != ["embed"]:
            try:
                lit |= set(chosen_layers(delta.layers, count))
            except Refusal:
                continue
    return lit
