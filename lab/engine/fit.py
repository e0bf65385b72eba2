"""Whether an architecture map fits the model that it is to describe: every module that it names is there, in the shape that it says.

Looked at before anything is changed, at shapes alone, so also on the meta device. What shapes cannot show is not seen: where a norm stands.
Example: on a BERT of width 768 whose map calls `num_key_value_heads` a quarter of the heads, `key` is 768 × 768 there, and 192 × 768 by the map.
"""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn

from lab.design.body.anatomy import Anatomy, Stack
from lab.design.plain.refusal import Refusal
from lab.engine import packed
from lab.engine.locate import Layer, Located, layers

HEAD_DIM = ("head_dim", "attention_head_size", "key_value_proj_dim")  # attributes of transformers' attentions that say the width of one head


def require_fit(base: nn.Module, body: Anatomy) -> None:
    """Raise Refusal, with the module and both shapes, where the map and the configuration say another than the model has."""
    for place, found, expected in _differences(base, body):
        if found != expected:
            raise Refusal("The architecture map of {model} does not fit this model: {place} is {found} there, and {expected} by the map and the configuration.", "model", model=body.architecture.name, place=place, found=_words(found), expected=_words(expected))  # fmt: skip


def _differences(base: nn.Module, body: Anatomy) -> Iterator[tuple[str, object, object]]:
    """(place, what is there, what the map says) of everything that is looked at."""
    architecture = body.architecture
    yield "the model", "an encoder-decoder" if base.config.is_encoder_decoder else "one stack", "an encoder-decoder" if body.encoder_decoder else "one stack"
    _module(base, architecture.backbone, body)
    if architecture.project and body.embed != body.stacks[0].width:
        _module(base, architecture.project, body)
    for stack in body.stacks:
        embedding = _module(base, architecture.embed.replace("{stack}", stack.name), body)
        yield architecture.embed.replace("{stack}", stack.name), (_shape(Located(embedding)) or (0, 0))[1], body.embed
        if body.position_table:
            path = body.position_table.replace("{stack}", stack.name)
            rows = (_shape(Located(_module(base, path, body))) or (0,))[0]
            yield path, min(rows, body.positions or 0), body.positions or 0
        yield stack.map.path, f"{len(layers(base, body, stack.name))} layers", f"{stack.layers} layers"
        for word in (stack.name, "cross")[: 1 + stack.cross]:
            for index, layer in enumerate(layers(base, body, word)):
                for place, found, expected in _of_layer(layer, stack, body):
                    yield f"{stack.map.path}.{index}.{place}", found, expected


def _of_layer(layer: Layer, stack: Stack, body: Anatomy) -> Iterator[tuple[str, object, object]]:
    width, kv = stack.width, stack.kv_heads * stack.head_dim
    read = body.stacks[0].width if layer.cross else width  # keys and values of cross-attention come from the encoder
    shapes = {
        "attn": {"q": (stack.attention, width), "k": (kv, read), "v": (kv, read), "out": (width, stack.attention), "qkv": (stack.attention + 2 * kv, width)},
        "ffn": {"up": (stack.ffn, width), "gate": (stack.ffn, width), "down": (width, stack.ffn)},
    }
    for sublayer, parts in shapes.items():
        paths = layer.maps[sublayer]
        for what, (rows, columns) in parts.items():
            if not getattr(paths, what, "") or (what == "gate" and not stack.gated):
                continue
            located = layer.find(sublayer, what)
            fused = located.part is not None
            whole = stack.attention + 2 * kv if sublayer == "attn" else len([name for name in ("up", "gate") if getattr(paths, name)]) * stack.ffn
            yield layer.path(sublayer, what).partition("[")[0], _shape(located), (whole if fused else rows, columns)
        norm = layer.find(sublayer, "norm").module
        if not isinstance(norm, nn.Identity):  # ModernBERT's first attention has none
            yield layer.path(sublayer, "norm"), _shape(Located(norm)) or (width,), (width,)  # some have no weights
            yield (
                layer.path(sublayer, "norm"),
                "a layer norm" if isinstance(norm, nn.LayerNorm) else "an RMS norm",
                "an RMS norm" if body.rms else "a layer norm",
            )
        layer.find(sublayer, "after")
        layer.dropout(sublayer)
        if sublayer == "attn":
            layer.find(sublayer, "x")
    owner = layer.owner_of_q()
    width_of_head = next((getattr(owner, name) for name in HEAD_DIM if isinstance(getattr(owner, name, None), int)), stack.head_dim)
    yield "one head of its attention", width_of_head, stack.head_dim
    causal = getattr(owner, "is_causal", None)
    if isinstance(causal, bool) and not layer.cross:
        yield "its attention", "a decoder's" if causal else "an encoder's", f"a{'n' * (stack.name == 'encoder')} {stack.name}'s"
    if stack.map.dropout:
        yield stack.map.dropout, "an attribute" if hasattr(layer.module, stack.map.dropout) else "nothing", "an attribute"


def _shape(located: Located) -> tuple[int, ...] | None:
    """(out, in) of a module's whole weight; None where it has none."""
    return packed.shape(located.module)


def _module(base: nn.Module, path: str, body: Anatomy) -> nn.Module:
    try:
        return base.get_submodule(path)
    except AttributeError:
        raise Refusal("This model has no '{path}': its architecture map ({model}) does not fit.", "model", path=path, model=body.architecture.name) from None


def _words(value: object) -> str:
    """A shape as 768 × 768; other things as they are."""
    if value is None:
        return "without a weight"
    return " × ".join(f"{number:,}" for number in value) if isinstance(value, tuple) else f"{value:,}" if isinstance(value, int) else str(value)
