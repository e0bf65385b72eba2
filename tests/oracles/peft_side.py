"""The same method in peft: one function per peft type, which builds the peft model and pairs its tensors with ours.

Each builder gets a copy of the model, our `Attached`, and returns (peft model, pairs), where a pair is (our tensor, peft's tensor)
of one shape, or (our name, our tensor, peft's tensor, view) where peft keeps it in another one. Values are copied from peft to us.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import peft
import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized

from lab.engine import Attached


@dataclass
class Pair:
    """One tensor on both sides. `ours` takes the view of the peft tensor that has our shape."""

    name: str
    mine: Tensor
    theirs: Tensor
    ours: Callable[[Tensor], Tensor] = lambda tensor: tensor


def randomise(model: nn.Module, names: tuple[str, ...], seed: int = 7, size: float = 0.1) -> None:
    """Draw every peft parameter and buffer whose name has one of `names` in it."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in (*model.named_parameters(), *model.named_buffers()):
            if any(part in name for part in names) and tensor.is_floating_point():
                tensor.copy_(size * torch.randn(tensor.shape, generator=generator) + (1.0 if "ia3" in name else 0.0))


def sites(attached: Attached) -> list[tuple[str, str, nn.Module]]:
    """(delta name, path of the module that it changes or whose input it scales, delta)."""
    paths = {id(module): path for path, module in attached.model.named_modules()}
    return [(name, paths[id(attached.binder.target(delta)[0].module)], delta) for name, delta in attached.deltas.items()]


def _layer(model, path: str) -> nn.Module:
    return model.get_base_model().get_submodule(path)


def lora(model, attached: Attached, **options):
    places = sites(attached)
    delta = attached.method.deltas[0]
    config = peft.LoraConfig(r=delta.rank, lora_alpha=delta.alpha, target_modules=[path for _, path, _ in places], fan_in_fan_out=False,
                             use_rslora=delta.rank_scaling == "rslora", **options)  # fmt: skip
    theirs = peft.get_peft_model(model, config)
    randomise(theirs, ("lora_A", "lora_B"))
    pairs = []
    for name, path, mine in places:
        layer = _layer(theirs, path)
        a = layer.lora_A["default"].weight
        a.requires_grad_(mine.A.requires_grad)  # LoRA-FA
        pairs += [Pair(f"{name}.A", mine.A, a), Pair(f"{name}.B", mine.B, layer.lora_B["default"].weight)]
    return theirs, pairs


def started(model, attached: Attached, init: str):
    """As peft starts it: nothing is drawn, and the base weights lack what the start took out of them."""
    places, delta = sites(attached), attached.method.deltas[0]
    theirs = peft.get_peft_model(
        model, peft.LoraConfig(r=delta.rank, lora_alpha=delta.alpha, target_modules=[path for _, path, _ in places], init_lora_weights=init)
    )
    pairs = []
    for name, path, mine in places:
        layer = _layer(theirs, path)
        pairs += [Pair(f"{name}.A", mine.A, layer.lora_A["default"].weight), Pair(f"{name}.B", mine.B, layer.lora_B["default"].weight)]
    return theirs, pairs


def dora(model, attached: Attached):
    """Magnitudes are moved a little from the lengths where they start."""
    theirs, pairs = lora(model, attached, use_dora=True, lora_dropout=attached.method.deltas[0].dropout)
    generator = torch.Generator().manual_seed(5)
    for name, path, mine in sites(attached):
        magnitude = _layer(theirs, path).lora_magnitude_vector["default"].weight
        with torch.no_grad():
            magnitude.mul_(1 + 0.2 * torch.randn(magnitude.shape, generator=generator))
        pairs.append(Pair(f"{name}.magnitude", mine.magnitude, magnitude))
    return theirs, pairs


def hira(model, attached: Attached):
    places = sites(attached)
    delta = attached.method.deltas[0]
    turned = any(type(attached.model.get_submodule(path)).__name__ == "Conv1D" for _, path, _ in places)
    config = peft.HiraConfig(r=delta.rank, hira_dropout=delta.dropout, target_modules=[path for _, path, _ in places], fan_in_fan_out=turned)
    theirs = peft.get_peft_model(model, config)
    randomise(theirs, ("hira_A", "hira_B"), size=0.3)
    layers = [(name, _layer(theirs, path), mine) for name, path, mine in places]
    pairs = [Pair(f"{name}.A", mine.A, layer.hira_A["default"]) for name, layer, mine in layers]
    return theirs, pairs + [Pair(f"{name}.B", mine.B, layer.hira_B["default"]) for name, layer, mine in layers]


def adalora(model, attached: Attached, steps: int = 100, **options):
    places = sites(attached)
    delta = attached.method.deltas[0]
    config = peft.AdaLoraConfig(
        init_r=delta.rank, target_r=int(delta.schedule.target_rank), lora_alpha=16, total_step=steps, target_modules=[p for _, p, _ in places], **options
    )  # fmt: skip
    theirs = peft.get_peft_model(model, config)
    randomise(theirs, ("lora_A", "lora_B", "lora_E"))
    pairs = []
    for name, path, mine in places:
        layer = _layer(theirs, path)
        pairs += [Pair(f"{name}.A", mine.A, layer.lora_A["default"]), Pair(f"{name}.B", mine.B, layer.lora_B["default"])]
        pairs.append(Pair(f"{name}.core", mine.core, layer.lora_E["default"], lambda e: e[:, 0]))
    return theirs, pairs


def vera(model, attached: Attached):
    places = sites(attached)
    theirs = peft.get_peft_model(model, peft.VeraConfig(r=attached.method.deltas[0].rank, target_modules=[p for _, p, _ in places]))
    randomise(theirs, ("vera_lambda",))
    shared = attached.shared["deltas.0.shared"]
    pairs = [Pair("A", shared["A"], theirs.base_model.vera_A["default"]), Pair("B", shared["B"], theirs.base_model.vera_B["default"])]
    for name, path, mine in places:
        layer = _layer(theirs, path)
        pairs += [Pair(f"{name}.d", mine.d, layer.vera_lambda_d["default"]), Pair(f"{name}.b", mine.b, layer.vera_lambda_b["default"])]
    return theirs, pairs


def ia3(model, attached: Attached):
    places = sites(attached)
    feedforward = [path for _, path, mine in places if mine.site.representation == "ffn.act"]
    config = peft.IA3Config(target_modules=[path for _, path, _ in places], feedforward_modules=feedforward)
    theirs = peft.get_peft_model(model, config)
    randomise(theirs, ("ia3_l",))
    return theirs, [Pair(f"{name}.l", mine.l, _layer(theirs, path).ia3_l["default"], torch.flatten) for name, path, mine in places]


def ln_tuning(model, attached: Attached):
    inside = {id(p): name for name, p in attached.selected.items()}
    norms = {path: module for path, module in attached.model.named_modules() if any(id(p) in inside for p in module.parameters(recurse=False))}
    theirs = peft.get_peft_model(model, peft.LNTuningConfig(target_modules=list(norms)))
    pairs = []
    for path, mine in norms.items():
        layer = _layer(theirs, path).ln_tuning_layers["default"]
        with torch.no_grad():
            layer.weight.add_(0.1 * torch.randn(layer.weight.shape, generator=torch.Generator().manual_seed(len(path))))
        pairs += [Pair(f"{path}.{name}", parameter, getattr(layer, name)) for name, parameter in mine.named_parameters(recurse=False)]
    return theirs, pairs


def shira(model, attached: Attached):
    """Our masks, as the mask function that the library asks for."""
    ours = {id(entries): entries for entries in attached.entries.values()}
    found = {path: ours[id(m.parametrizations.weight[0])] for path, m in attached.model.named_modules() if is_parametrized(m, "weight")}
    places = {id(model.get_submodule(path)): entries for path, entries in found.items()}
    config = peft.ShiraConfig(r=attached.method.select.rank, target_modules=list(found))
    config.mask_fn = lambda layer, r, **_: torch.zeros_like(layer.weight).flatten().index_fill(0, places[id(layer)].index.long(), 1.0).view_as(layer.weight)
    theirs = peft.get_peft_model(model, config)
    randomise(theirs, ("shira_weight",))
    return theirs, [Pair(path, entries.values, _layer(theirs, path).shira_weight["default"]) for path, entries in found.items()]


def prefix(model, attached: Attached):
    """Decoders only: peft passes the prefix as a filled cache."""
    delta = attached.method.deltas[0]
    config = peft.PrefixTuningConfig(
        task_type="CAUSAL_LM", num_virtual_tokens=delta.rank, prefix_projection=delta.encoder == "mlp", encoder_hidden_size=delta.encoder_width
    )
    theirs = peft.get_peft_model(model, config)
    randomise(theirs, ("prompt_encoder",))
    encoder = theirs.prompt_encoder["default"]
    if delta.encoder == "mlp":
        network = attached.networks["deltas.0.decoder"]
        mapped = [(network.embedding, encoder.embedding), (network.down, encoder.transform[0]), (network.up, encoder.transform[2])]
        return theirs, _of_modules(mapped)
    table, pairs = encoder.embedding.weight, []
    for index, (name, mine) in enumerate(attached.deltas.items()):
        width = mine.keys.shape[1]
        for part, row in (("keys", 2 * index), ("values", 2 * index + 1)):
            cut = slice(row * width, (row + 1) * width)
            pairs.append(Pair(f"{name}.{part}", getattr(mine, part), table, lambda t, cut=cut: t[:, cut]))
    return theirs, pairs


def lily(model, attached: Attached):
    """peft shares a pool among the modules that one name of `target_modules` stands for."""
    delta, places = attached.method.deltas[0], sites(attached)
    names = sorted({path.rsplit(".", 1)[-1] for _, path, _ in places})
    theirs = peft.get_peft_model(model, peft.LilyConfig(r=delta.rank, stride_A=1, num_B=delta.factors, target_modules=names))
    randomise(theirs, ("lily_",), size=0.3)
    pairs, pools = [], {}
    for name, path, mine in places:
        layer = _layer(theirs, path)
        pairs += [Pair(f"{name}.A", mine.A, layer.lily_A["default"].weight), Pair(f"{name}.router", mine.router, layer.lily_router["default"].weight)]
        pools[name.split(".")[1]] = layer.lily_B["default"].weight
    whole = lambda pool: pool.unflatten(0, (delta.factors, delta.rank))  # noqa: E731
    return theirs, pairs + [Pair(f"pool {index}", attached.shared[f"deltas.{index}.shared"]["B"], pool, whole) for index, pool in pools.items()]


def adaption_prompt(model, attached: Attached):
    """Llama alone: on GPT-2 peft adds behind the output projection."""
    delta, count = attached.method.deltas[0], len(attached.deltas)
    theirs = peft.get_peft_model(model, peft.AdaptionPromptConfig(task_type="CAUSAL_LM", adapter_len=delta.rank, adapter_layers=count))
    randomise(theirs, ("adaption_",), size=0.5)
    pairs = []
    for name, mine in attached.deltas.items():
        layer = theirs.get_base_model().get_submodule(f"model.layers.{mine.site.layer}.self_attn")
        pairs += [Pair(f"{name}.prompt", mine.prompt, layer.adaption_prompt, lambda rows: rows[0])]
        pairs += [Pair(f"{name}.scale", mine.scale, layer.adaption_gate, lambda gate: gate[0])]
    return theirs, pairs


TASKS = {"causal": "CAUSAL_LM", "seq2seq": "SEQ_2_SEQ_LM", None: "FEATURE_EXTRACTION"}


def prompt(model, attached: Attached, objective: str | None):
    delta = attached.method.deltas[0]
    config = peft.PromptTuningConfig(task_type=TASKS[objective], num_virtual_tokens=delta.rank, num_transformer_submodules=1)
    theirs = peft.get_peft_model(model, config)
    randomise(theirs, ("prompt_encoder",))
    (tokens,) = attached.deltas.values()
    return theirs, [Pair("tokens", tokens.tokens, theirs.prompt_encoder["default"].embedding.weight)]


def p_tuning(model, attached: Attached, objective: str | None):
    delta = attached.method.deltas[0]
    network = attached.networks["deltas.0.tokens"]
    lstm = delta.encoder == "lstm"
    config = peft.PromptEncoderConfig(
        task_type=TASKS[objective], num_virtual_tokens=delta.rank, num_transformer_submodules=1, encoder_dropout=0.0, encoder_num_layers=2,
        encoder_reparameterization_type="LSTM" if lstm else "MLP", encoder_hidden_size=network.embedding.embedding_dim // 2 if lstm else delta.encoder_width,
    )  # fmt: skip
    theirs = peft.get_peft_model(model, config)
    randomise(theirs, ("prompt_encoder",))
    encoder = theirs.prompt_encoder["default"]
    mapped = [(network.embedding, encoder.embedding), (network.mlp, encoder.mlp_head)]
    return theirs, _of_modules([*mapped, (network.lstm, encoder.lstm_head)] if lstm else mapped)


def _of_modules(mapped: list[tuple[nn.Module, nn.Module]]) -> list[Pair]:
    pairs = []
    for mine, theirs in mapped:
        other = dict(theirs.named_parameters())
        pairs += [Pair(f"{type(mine).__name__}.{name}", parameter, other[name]) for name, parameter in mine.named_parameters()]
    return pairs
