"""Same weights, same inputs: same outputs and same gradients as AdapterHub's `adapters` 1.3.0, in fp32, to 1e-5 of their size.

The library pins transformers 4.57, so it runs in a process of its own (.venv-adapters, `make oracle`), once for all cases. Both
sides use eager attention: under sdpa it masks the prefix out on GPT-2 and Llama. What it does otherwise, and is not here or said so:
- parallel adapters of pre-norm models read the raw residual (`x: residual`); UniPELT's gates average over padding (`gate_over: all`);
- its (IA)³ scales the FFN's up projection before the activation (on Llama the output of the down projection), the paper after it;
- a prefix on T5 shifts the position bias of real tokens, so T5 has no prefix here;
- its prompts enter after position embeddings and layer norm (BERT only), so they are other inputs than Lester et al.'s and peft's.
"""

from __future__ import annotations

import copy
import functools
import json
import subprocess
from pathlib import Path

import pytest
import torch
from comparing import told
from safetensors.torch import load_file, save_file
from tiny import tiny, tiny_batch

from lab.design.method.named import load_method
from lab.engine import Attached, attach

ROOT = Path(__file__).resolve().parents[1]
PYTHON = ROOT / ".venv-adapters" / "bin" / "python"
pytestmark = [pytest.mark.oracle]

TOLERANCE = 1e-5
ADAPTERS = "adapters 1.3.0"
OBJECTIVE = {"bert": None, "bart": "seq2seq", "t5": "seq2seq", "gpt2": "causal", "llama": "causal"}
POST_NORM = ("bert", "bart")
WIDTH, RANK, SLOTS, HIDDEN = 32, 8, 4, 13  # of tiny models; reduction 4 gives a bottleneck of 8

Method = tuple[str, dict]  # preset and overrides
ADAPTER = {"reduction_factor": WIDTH / RANK}
PREFIX = {"prefix_length": SLOTS, "bottleneck_size": HIDDEN}


def _bottleneck(index: int, **more) -> dict:
    return {f"deltas.{index}.{name}": value for name, value in {"rank": RANK, **more}.items()}


def _cases() -> dict[str, tuple[str, list, Method]]:
    """{name: (architecture, adapters' config, our method)}."""
    cases = {}
    for model in OBJECTIVE:
        cross = {"cross_adapter": model in ("bart", "t5")}
        reads = "normed" if model in POST_NORM else "residual"
        act = {"gpt2": "ffn.up", "llama": "ffn.down"}.get(model, "ffn.up")
        every = {
            "houlsby": (["DoubleSeqBnConfig", {**ADAPTER, **cross, "non_linearity": "gelu"}], ("adapter-houlsby", _bottleneck(0))),
            "pfeiffer": (["SeqBnConfig", ADAPTER], ("adapter-pfeiffer", _bottleneck(0))),
            "parallel-ffn": (["ParBnConfig", {**ADAPTER, "scaling": 1.0}], ("adapter-parallel-ffn", _bottleneck(0, x=reads))),
            "parallel-attn": (
                ["ParBnConfig", {**ADAPTER, **cross, "scaling": 1.0, "mh_adapter": True, "output_adapter": False}],
                ("adapter-parallel-attn", _bottleneck(0, x=reads)),
            ),
            "scaled": (["ParBnConfig", {**ADAPTER, "scaling": 4.0}], ("adapter-parallel-scaled", _bottleneck(0, x=reads))),
            "scaled-learned": (["ParBnConfig", {**ADAPTER, "scaling": "learned"}], ("adapter-parallel-scaled", _bottleneck(0, x=reads, scale="learned"))),
            "lora": (["LoRAConfig", {"r": 5, "alpha": 12}], ("lora", {"deltas.0.rank": 5, "deltas.0.alpha": 12.0})),
            "ia3": (["IA3Config", {}], ("ia3", {"deltas.0.at": ["attn.k", "attn.v", act]})),
        }  # fmt: skip
        if model != "t5":
            gated = {"rank": SLOTS, "encoder": "mlp", "encoder_width": HIDDEN}
            slots = {f"deltas.0.{name}": value for name, value in gated.items()}
            adapter = _bottleneck(1, x=reads)
            every |= {
                "prefix-flat": (["PrefixTuningConfig", {**PREFIX, "flat": True}], ("prefix-tuning", {"deltas.0.rank": SLOTS})),
                "prefix-mlp": (["PrefixTuningConfig", PREFIX], ("prefix-tuning-mlp", slots | {"deltas.0.positions": "keep"})),
                "mam": ([["PrefixTuningConfig", PREFIX], ["ParBnConfig", {**ADAPTER, "scaling": 4.0}]], ("mam", slots | adapter)),
                "unipelt": (_unipelt(), ("unipelt-apl", _unipelt_options())),
            }
        cases |= {f"{method}-{model}": (model, *pair) for method, pair in every.items()}
    return cases


def _unipelt() -> list:
    gate = {"use_gating": True}
    return [["PrefixTuningConfig", {**PREFIX, **gate}], ["SeqBnConfig", {**ADAPTER, **gate}], ["LoRAConfig", {"r": 5, "alpha": 12, **gate}]]


def _unipelt_options() -> dict:
    options = {f"deltas.{i}.gate_over": "all" for i in range(3)}
    return options | {"deltas.0.rank": RANK, "deltas.1.rank": SLOTS, "deltas.1.encoder_width": HIDDEN, "deltas.2.rank": 5}


CASES = _cases()


@functools.cache
def pristine(architecture: str):
    return tiny(architecture, OBJECTIVE[architecture], attn="eager")


def _batch(architecture: str) -> dict[str, torch.Tensor]:
    """Inputs with padding, and `projection`: random weights of the outputs, zero at padding."""
    model = pristine(architecture)
    batch = {name: tensor for name, tensor in tiny_batch(model).items() if name != "labels"}
    if model.config.is_encoder_decoder:
        batch["decoder_input_ids"] = torch.randint(5, 100, (3, 6), generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        shape = _outputs(model, batch).shape
    weights = torch.randn(shape, generator=torch.Generator().manual_seed(11))
    if not model.config.is_encoder_decoder:
        weights = weights * batch["attention_mask"][..., None]
    return batch | {"projection": weights}


def _outputs(model, batch) -> torch.Tensor:
    result = model(**batch)
    return result.logits if "logits" in result else result.last_hidden_state


@pytest.fixture(scope="module")
def oracle(tmp_path_factory):
    """What adapters says to every case: {case: tensors}, from one run of its environment."""
    if not (ROOT / ".venv-adapters" / ".ready").exists():
        pytest.skip("there is no .venv-adapters with the adapters library; `make oracle` makes it")
    job = tmp_path_factory.mktemp("adapters")
    for architecture in OBJECTIVE:
        pristine(architecture).save_pretrained(job / architecture)
        save_file(_batch(architecture), job / f"{architecture}.safetensors")
    cases = [{"name": name, "model": model, "config": config} for name, (model, config, _) in CASES.items()]
    (job / "cases.json").write_text(json.dumps(cases))
    done = subprocess.run(
        [PYTHON, ROOT / "tests" / "oracles" / "adapters_side.py", job],
        capture_output=True,
        text=True,
        timeout=280,
        env={"HF_HUB_OFFLINE": "1", "HOME": str(job)},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return lambda name: load_file(job / f"{name}.safetensors")


@pytest.mark.parametrize("name", CASES)
def test_outputs_and_gradients_equal_those_of_adapters(name: str, oracle) -> None:
    architecture, _, (preset, options) = CASES[name]
    theirs = oracle(name)
    model = copy.deepcopy(pristine(architecture))
    batch = _batch(architecture)
    weights = batch.pop("projection")
    with torch.no_grad():
        close("without the adapter", _outputs(model, batch), theirs["plain"])
    attached = attach(model, load_method(preset, options), seed=1)
    pairs = partners(attached, theirs)
    assert {id(p) for p in attached.trainable().values()} == {id(mine) for mine, _, _ in pairs.values()}
    used = {source for _, source, _ in pairs.values()}
    assert used == {name.removeprefix("value/") for name in theirs if name.startswith("value/")}, "tensors without a partner"
    with torch.no_grad():
        for mine, source, view in pairs.values():
            mine.copy_(view(theirs[f"value/{source}"]))
    table = model.get_input_embeddings().weight.requires_grad_(True)
    outputs = _outputs(model, batch)
    assert (outputs - theirs["plain"]).abs().max() > 1e-3, "nothing would be compared"
    told(preset, ADAPTERS, "outputs", close("outputs", outputs, theirs["logits"]), architecture)
    (outputs * weights).sum().backward()
    errors = [close("input embeddings", table.grad, theirs["embedding"])]
    errors += [close(f"gradient of {key}", mine.grad, view(theirs[f"gradient/{source}"])) for key, (mine, source, view) in pairs.items()]
    told(preset, ADAPTERS, "gradients", max(errors), architecture)


def close(name: str, mine: torch.Tensor, theirs: torch.Tensor) -> float:
    """The error, relative to the size of what is compared."""
    assert mine.shape == theirs.shape, name
    mine, theirs = mine.detach(), theirs.detach()
    error, size = float((mine - theirs).abs().max()), max(1.0, float(theirs.abs().max()))
    assert error <= TOLERANCE * size, f"{name}: {error:.1e} apart, of {size:.2g}"
    return error / size


# -- which tensor of theirs is which of ours: {our name: (our tensor, their name, the view of it that is ours)} ----------------------


def partners(attached: Attached, theirs: dict[str, torch.Tensor]) -> dict[str, tuple]:
    found: dict[str, tuple] = {}
    paths = {id(module): path for path, module in attached.model.named_modules()}
    for name, delta in attached.deltas.items():
        form, site = delta.delta.form, delta.site
        layer = attached.binder.layer(site.stack, site.layer)
        if form == "bottleneck":
            place = f"{paths[id(layer.module)]}{_bottleneck_place(attached, site)}.adapters.oracle"
            pairs = _bottleneck_parts(place)
        elif form == "slots":
            pairs = _slots_parts(attached, delta, f"{paths[id(layer.owner_of_q())]}.prefix_tuning.prefix_gates.oracle")
        else:
            target = attached.binder.target(delta)[0]
            pairs = _lora_parts(f"{paths[id(target.module)]}.loras.oracle", delta, target.transposed and site.representation.startswith("attn"))
        own = dict(delta.named_parameters())
        found |= {f"{name}.{part}": (own[part], *pairs[part]) for part in own if own[part].requires_grad}
    for name, network in attached.networks.items():
        found |= _network_parts(name, network, attached)
    return found


def _bottleneck_place(attached: Attached, site) -> str:
    attention, kind = site.representation == "attn.out", attached.body.config["model_type"]
    if kind == "bert":
        return ".attention.output" if attention else ".output"
    if kind == "t5":
        sublayer = 0 if attention and site.stack != "cross" else 1 if attention or site.stack == "encoder" else 2
        return f".layer.{sublayer}"
    return ".cross_attention_adapters" if site.stack == "cross" else ".attention_adapters" if attention else ".output_adapters"


def _same(tensor: torch.Tensor) -> torch.Tensor:
    return tensor


def _scalar(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.reshape(())


def _bottleneck_parts(place: str) -> dict[str, tuple]:
    return {
        "down": (f"{place}.adapter_down.0.weight", _same), "down_bias": (f"{place}.adapter_down.0.bias", _same),
        "up": (f"{place}.adapter_up.weight", _same), "up_bias": (f"{place}.adapter_up.bias", _same),
        "scale": (f"{place}.scaling", _scalar),
        "gate": (f"{place}.gate.weight", torch.flatten), "gate_bias": (f"{place}.gate.bias", _scalar),
    }  # fmt: skip


def _slots_parts(attached: Attached, delta, gate: str) -> dict[str, tuple]:
    """Flat prefixes are one vector per stack, (l, layers·2, heads, head_dim) read along its memory."""
    same = [other for other in attached.deltas.values() if other.site.stack == delta.site.stack and other.delta.form == "slots"]
    index, count = same.index(delta), len(same)
    width = delta.site.kv_heads * delta.site.head_dim

    def row(which: int):
        return lambda tensor: tensor.view(SLOTS, 2 * count, width)[:, 2 * index + which]

    flat = f"prefix.{_location(delta.site.stack, attached)}.control_trans"
    return {"keys": (flat, row(0)), "values": (flat, row(1)), "gate": (f"{gate}.weight", torch.flatten), "gate_bias": (f"{gate}.bias", _scalar)}


def _location(stack: str, attached: Attached) -> str:
    if attached.body.encoder_decoder:
        return {"encoder": "encoder_prefix", "decoder": "self_prefix", "cross": "cross_prefix"}[stack]
    return "self_prefix"


def _lora_parts(place: str, delta, merged: bool) -> dict[str, tuple]:
    """GPT-2's fused projection keeps the chosen matrices (q and v, or k and v) one after another."""
    half = (lambda tensor: tensor.chunk(2)[delta.site.representation == "attn.v"]) if merged else _same
    return {
        "A": (f"{place}.lora_A", half), "B": (f"{place}.lora_B", half), "l": (f"{place}.lora_B", lambda tensor: half(tensor).flatten()),
        "gate": (f"{place}.gate.weight", lambda tensor: half(tensor).flatten()), "gate_bias": (f"{place}.gate.bias", lambda tensor: _scalar(half(tensor))),
    }  # fmt: skip


def _network_parts(name: str, network, attached: Attached) -> dict[str, tuple]:
    location = _location(name.rsplit(".", 1)[-1], attached)
    names = {"embedding.weight": "wte.weight", "down.weight": "control_trans.0.weight", "down.bias": "control_trans.0.bias",
             "up.weight": "control_trans.2.weight", "up.bias": "control_trans.2.bias"}  # fmt: skip
    return {f"{name}.{part}": (tensor, f"prefix.{location}.{names[part]}", _same) for part, tensor in network.named_parameters()}
