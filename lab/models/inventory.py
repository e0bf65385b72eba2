"""Measure a model on the meta device and write its `inventory` into its preset: `python -m lab.models.inventory [NAME ...]`.

`--check` writes nothing and exits with 1 when a preset differs. Layers are where the architecture map has them; a norm is a module whose class name says so and that has a one-dimensional weight.
"""

from __future__ import annotations

import argparse
import sys

import torch
import yaml

from lab.design.body.anatomy import anatomy_of
from lab.design.body.model import Inventory, Layers, ModelSpec, StackInventory
from lab.design.presets import catalogue


def measure(spec: ModelSpec) -> Inventory:
    """Count the pre-trained model's parameters; shared ones once."""
    from lab.models import build_meta

    return measure_model(build_meta(spec))


def measure_model(model: torch.nn.Module) -> Inventory:
    """The inventory of a transformers model (a task head, where there is one, is not counted)."""
    base = model.base_model
    norms = _norm_parameters(model)
    counted = {id(p): p for p in base.parameters()}
    head = model.get_output_embeddings()
    head = head.weight if head is not None and id(head.weight) not in counted else None
    everything = {**dict(base.named_parameters()), **({"lm_head.weight": head} if head is not None else {})}
    extra = [name for name, p in model.named_parameters() if name.endswith("lm_head.bias")]  # phi and the like
    everything.update({name: model.get_parameter(name) for name in extra})
    everything = {name: p for name, p in everything.items() if p.requires_grad}  # sinusoidal positions are computed, not weights
    embedding = base.get_input_embeddings().weight
    body = anatomy_of(model.config)
    stacks = [(stack, base.get_submodule(stack.map.path)) for stack in body.stacks]
    inside = {id(p) for _, layers in stacks for layer in layers for p in layer.parameters()}
    tables = [m.weight for m in base.modules() if isinstance(m, torch.nn.Embedding) and id(m.weight) not in inside]
    pooler = getattr(base, "pooler", None)
    return Inventory(
        **_tally(everything, norms),
        tensors=len(everything),
        embed=embedding.numel(),
        embed_other=sum({id(t): t.numel() for t in tables if t is not embedding}.values()),
        head=head.numel() if head is not None else 0,
        pooler=sum(p.numel() for p in pooler.parameters()) if pooler is not None else 0,
        width=body.stacks[0].width,
        vocab=embedding.shape[0],
        stacks={
            stack.name: StackInventory(layers=_runs(layers, norms), ffn=stack.ffn, heads=stack.heads, kv_heads=stack.kv_heads, head_dim=stack.head_dim)
            for stack, layers in stacks
        },
    )


def _norm_parameters(model: torch.nn.Module) -> set[int]:
    norms = [m for m in model.modules() if "Norm" in type(m).__name__ and getattr(getattr(m, "weight", None), "ndim", 0) == 1]
    return {id(p) for norm in norms for p in norm.parameters(recurse=False)}


def _tally(parameters: dict[str, torch.Tensor], norms: set[int]) -> dict[str, int]:
    is_bias = {name for name in parameters if name.rsplit(".", 1)[-1] == "bias"}
    return {
        "total": sum(p.numel() for p in parameters.values()),
        "bias": sum(parameters[name].numel() for name in is_bias),
        "norm": sum(p.numel() for p in parameters.values() if id(p) in norms),
        "norm_bias": sum(parameters[name].numel() for name in is_bias if id(parameters[name]) in norms),
    }


def _runs(layers: torch.nn.ModuleList, norms: set[int]) -> list[Layers]:
    runs: list[dict[str, int]] = []
    for layer in layers:
        facts = _tally(dict(layer.named_parameters()), norms)
        if runs and all(runs[-1][key] == value for key, value in facts.items()):
            runs[-1]["count"] += 1
        else:
            runs.append({"count": 1, **facts})
    return [Layers(**run) for run in runs]


def write(name: str) -> Inventory:
    """Measure a preset and replace the inventory at the end of its file."""
    path = catalogue.PRESETS / "models" / f"{name}.yaml"
    text = path.read_text(encoding="utf-8").split("\ninventory:")[0].rstrip() + "\n"
    found = measure(ModelSpec(**yaml.safe_load(text), name=name))
    block = yaml.safe_dump({"inventory": found.model_dump(exclude_none=True)}, sort_keys=False, width=130, default_flow_style=None)
    path.write_text(text + block, encoding="utf-8")
    return found


def main(arguments: list[str] | None = None) -> int:
    """The command; the exit status is 1 when `--check` finds a difference."""
    parser = argparse.ArgumentParser(prog="python -m lab.models.inventory", description=__doc__.split("\n")[0])
    parser.add_argument("names", nargs="*", help="model presets; none: all")
    parser.add_argument("--check", action="store_true", help="write nothing, report differences")
    options = parser.parse_args(arguments)
    status = 0
    for name in options.names or catalogue.names("models"):
        if options.check:
            from lab.models import resolve

            same = resolve(name).inventory == measure(resolve(name))
            print(f"{name}: {'as measured' if same else 'DIFFERS'}")
            status |= not same
        else:
            print(f"{name}: {write(name).total:,}")
    return status


if __name__ == "__main__":
    sys.exit(main())
