"""A PEFT checkpoint as a method: what its adapter_config.json says, as deltas of the space; what they cannot say is refused by name.

The tensors' names and places stand in the exporter (lab/export/peft.py), which is run backwards; here are the numbers that a configuration has. A few
checkpoints are first written as the exporter writes them (`PeftReading.tensors`): ranks that an AdaLoRA has pruned come back as zeros, changes of a fused
projection without a name of its own become changes of its slices.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from lab.design.body.anatomy import Anatomy
from lab.design.method.forms import FORMS
from lab.design.method.forms.base import Form
from lab.design.plain.message import word
from lab.design.plain.refusal import Refusal
from lab.export.peft import PREFIX
from lab.importing import places
from lab.importing.places import MOST, ProjectionPlace

Tensors = dict[str, Tensor]
MARKS = {  # how a part of a tensor's name begins, by type; of a form's own type they are those of its tensors
    "LORA": ("lora_",), "HIRA": ("hira_",), "ADALORA": ("lora_",), "VERA": ("vera_",), "IA3": ("ia3_",), "PREFIX_TUNING": ("prompt_embeddings",),
    "PROMPT_TUNING": ("prompt_embeddings",), "P_TUNING": ("prompt_embeddings",), "ADAPTION_PROMPT": ("adaption_",), "LN_TUNING": ("ln_tuning_layers",),
    "SHIRA": ("shira_",), "LOHA": ("hada_",), "LOKR": ("lokr_",), "GRALORA": ("gralora_",), "C3A": ("c3a_",), "RANDLORA": ("randlora_",), "MISS": ("miss_",),
    "FOURIERFT": ("fourierft_",), "OFT": ("oft_",), "HRA": ("hra_",), "BOFT": ("boft_",), "ROAD": ("road_",), "LILY": ("lily_",),
}  # fmt: skip
WRITTEN_AS = {"P_TUNING": "PROMPT_TUNING"}  # by the exporter: a prompt encoder is gone once it is saved
OWN = {form.peft_type: form for form in FORMS.values() if form.peft_own}  # of MISS there are two, see _form
NO_MATTER = {  # keys that say where the tensors are, which their names say too, or what mattered while it trained
    "peft_type", "task_type", "auto_mapping", "peft_version", "base_model_name_or_path", "revision", "inference_mode", "target_modules", "exclude_modules",
    "feedforward_modules", "modules_to_save", "fan_in_fan_out", "layers_to_transform", "layers_pattern", "megatron_core", "qalora_group_size", "eva_config",
    "lora_dropout", "hira_dropout", "vera_dropout", "gralora_dropout", "randlora_dropout", "miss_dropout", "boft_dropout", "rank_dropout", "module_dropout",
    "rank_dropout_scale", "encoder_dropout", "d_initial", "init_weights", "init_ia3_weights", "init_lora_weights", "projection_prng_key", "save_projection", "eps",
    "num_cayley_neumann_terms", "random_seed", "mask_type", "prompt_tuning_init", "prompt_tuning_init_text", "tokenizer_name_or_path", "tokenizer_kwargs",
    "encoder_reparameterization_type", "encoder_hidden_size", "encoder_num_layers", "prefix_projection", "num_attention_heads", "num_layers", "token_dim",
    "tinit", "tfinal", "deltaT", "beta1", "beta2", "orth_reg_weight", "total_step", "target_r", "num_virtual_tokens", "adapter_len", "adapter_layers",
}  # fmt: skip
READ = {  # keys by type that the reading below takes up
    "LORA": {"r", "lora_alpha", "rank_pattern", "alpha_pattern", "use_rslora", "use_dora", "lora_bias"}, "HIRA": {"r"}, "VERA": {"r"}, "SHIRA": {"r"},
    "ADALORA": {"r", "init_r", "lora_alpha", "rank_pattern"}, "PREFIX_TUNING": {"num_transformer_submodules"}, "PROMPT_TUNING": {"num_transformer_submodules"},
    "P_TUNING": {"num_transformer_submodules"},
}  # fmt: skip
STARTS = {"True", "False", "gaussian", "eva", "orthogonal", "None"}  # init_lora_weights that leave the base as it is
NOTHING = ("none", "None")  # words for what is not used


@dataclass
class PeftReading:
    """The type by which the exporter writes it, the deltas, and the tensors as the exporter writes them."""

    kind: str
    deltas: list[dict[str, Any]] = field(default_factory=list)
    select: dict[str, Any] | None = None
    tensors: Tensors = field(default_factory=dict)


def separate(kind: str, tensors: Tensors) -> tuple[Tensors, Tensors]:
    """(the adapter's tensors, those of the head by their names in the model)."""
    adapter = {name: tensor for name, tensor in tensors.items() if any(part.startswith(MARKS[kind]) for part in name.split("."))}
    rest = {name.removeprefix(PREFIX).replace(".modules_to_save.", "."): tensor for name, tensor in tensors.items() if name not in adapter}
    return adapter, rest


def require_known(config: Mapping[str, Any]) -> str:
    """The type of a configuration. Raises Refusal for one that is not known, and for an option that has no place in the space."""
    kind = str(config.get("peft_type"))
    if kind not in MARKS:
        raise Refusal("The space has no place for the PEFT type {kind}; it has {known}.", "source", kind=kind[:40], known=", ".join(sorted(MARKS)))
    if kind in ("LORA", "ADALORA") and str(config.get("init_lora_weights", True)) not in STARTS:
        raise Refusal("This adapter was trained with init_lora_weights {init}, which changed the weights of its base: save it as a plain LoRA (save_pretrained with path_initial_model_for_weight_conversion) and import that.", "source", init=str(config['init_lora_weights'])[:40])  # fmt: skip
    known = NO_MATTER | READ.get(kind, set())
    known |= set(_form(config).peft_config(_example(_form(config)), 1.0)) if kind in OWN else set()
    for key, value in sorted(config.items()):
        if key not in known and _used(value):
            raise Refusal("The space has no place for '{key}' of this adapter ({value}).", "source", key=key[:60], value=str(value)[:80])
    return kind


def _used(value: Any) -> bool:
    """Whether an option is at something that has an effect."""
    return any(map(_used, value.values())) if isinstance(value, Mapping) else bool(value) and value not in NOTHING


def read(kind: str, config: Mapping[str, Any], tensors: Tensors, known: Mapping[str, list[ProjectionPlace]], body: Anatomy) -> PeftReading:
    """What the tensors of an adapter of a type are in the space. Raises Refusal."""
    try:
        found = READERS.get(kind, _own)(config, tensors, known, body)
    except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
        if isinstance(error, Refusal):
            raise
        raise Refusal(
            "The adapter_config.json of this adapter lacks a number, or has one that is none ({name}: {reason}).",
            "source",
            name=type(error).__name__,
            reason=str(error)[:80],
        ) from None
    if len(found.deltas) > MOST:
        raise Refusal(
            "The changes of this adapter differ from place to place, so that it would take {deltas} deltas; a method has at most {most}.",
            "source",
            deltas=len(found.deltas),
            most=MOST,
        )
    return found


def _by_path(tensors: Tensors, suffixes: tuple[str, ...]) -> dict[str, Tensors]:
    """{module path: {suffix: tensor}}. Raises Refusal for a tensor with another ending."""
    found: dict[str, Tensors] = {}
    for name, tensor in tensors.items():
        suffix = next((each for each in suffixes if name.endswith(f".{each}")), None)
        if suffix is None or not name.startswith(PREFIX):
            raise Refusal("The space has no place for the tensor '{name}' of this adapter.", "source", name=name[:160])
        found.setdefault(name[len(PREFIX) : -len(suffix) - 1], {})[suffix] = tensor
    return found


# -- low rank


def _lora(config: Mapping[str, Any], tensors: Tensors, known: Mapping[str, list[ProjectionPlace]], body: Anatomy) -> PeftReading:
    """Each projection with its own rank and alpha; where that takes too many deltas, smaller ranks get zeros and the scale goes into lora_B."""
    found = _by_path(tensors, ("lora_A.weight", "lora_B.weight", "lora_B.bias", "lora_magnitude_vector"))
    alphas, standard = dict(config.get("alpha_pattern") or {}), config["lora_alpha"]
    root, dora = bool(config.get("use_rslora")), bool(config.get("use_dora"))
    there = {path: places.of(path, known) for path in found}
    numbers = {path: (parts["lora_A.weight"].shape[0], float(_of_pattern(alphas, path, standard))) for path, parts in found.items()}
    if any(rank < 1 or alpha <= 0 for rank, alpha in numbers.values()):
        raise Refusal("A rank or lora_alpha of this adapter is 0 or less.", "source")
    for path, (rank, _) in numbers.items():
        if (configured := int(_of_pattern(dict(config.get("rank_pattern") or {}), path, config["r"]))) != rank:
            where = {"path": path[:120], "rank": rank, "configured": configured}
            raise Refusal("'{path}' has rank {rank} in the weights of this adapter, and {configured} in its configuration.", "source", **where)
    biased = any("lora_B.bias" in parts for parts in found.values())
    sliced = any(len(each) > 1 or each[0].slice for each in there.values())
    if sliced and dora:
        raise Refusal(
            "On {name} this adapter has a DoRA at a fused projection without a name of its own, whose lengths no delta has.",
            "source",
            name=body.architecture.name,
        )
    wanted = {place: numbers[path] for path, each in there.items() for place in each}
    if not sliced and len(covers := places.covered(wanted, body)) <= MOST:
        scaled = {path: (parts, 1.0) for path, parts in found.items()}
    else:
        ranks = [rank for rank, _ in numbers.values()]
        most = max(ranks)
        scaled = {path: (_padded(parts, most), _scale(*numbers[path], root)) for path, parts in found.items()}
        covers, root = places.covered({place: (most, float(most)) for place in wanted}, body), False
    canonical = {}
    for path, (parts, s) in scaled.items():
        canonical |= {f"{PREFIX}{path}.{suffix}": tensor for suffix, tensor in _in_slices(parts, s, there[path]).items()}
    deltas = [{**fields, **_low_rank(rank, alpha, root, dora, biased)} for (rank, alpha), fields in covers]
    return PeftReading("LORA", deltas, tensors=canonical)


def _low_rank(rank: int, alpha: float, root: bool, dora: bool, biased: bool) -> dict[str, Any]:
    if biased:  # two maps without a nonlinearity, of which the second has a bias
        s = _scale(rank, alpha, root)
        return {"form": "bottleneck", "nonlinearity": "none", "rank": rank, "composition": "scaled", "scale": s, "biases": True, "x": "projection"}
    return {"form": "lowrank", "rank": rank, "alpha": alpha, "composition": "dora" if dora else "scaled", **({"rank_scaling": "rslora"} if root else {})}


def _scale(rank: int, alpha: float, root: bool) -> float:
    return alpha / (rank**0.5 if root else rank)


def _of_pattern(pattern: Mapping[str, Any], path: str, standard: Any) -> Any:
    """A pattern's number for a module: by its whole path or an ending of it, as peft reads them; one that is more than a name is refused."""
    for key, value in pattern.items():
        name = str(key).lstrip("^")
        if not re.fullmatch(r"[\w.-]+", name):
            raise Refusal(
                "A pattern of this adapter is a regular expression ('{name}'), which is not read: write the names of its modules.", "source", name=name[:60]
            )
        if path == name or not str(key).startswith("^") and path.endswith(f".{name}"):
            return value
    return standard


def _padded(parts: Tensors, rank: int) -> Tensors:
    missing = rank - parts["lora_A.weight"].shape[0]
    return parts | {"lora_A.weight": F.pad(parts["lora_A.weight"], (0, 0, 0, missing)), "lora_B.weight": F.pad(parts["lora_B.weight"], (0, missing))}


def _in_slices(parts: Tensors, s: float, there: list[ProjectionPlace]) -> Tensors:
    """A change of a fused projection as the exporter writes those of its slices: beside each other, each with its own rows."""
    made = {suffix: tensor if suffix == "lora_A.weight" or s == 1.0 else s * tensor for suffix, tensor in parts.items()}
    if len(there) == 1:
        return made
    left, blocks = made["lora_B.weight"], []
    for place in there:
        rows, block = place.slice.rows(left.shape[0]), torch.zeros_like(left)
        block[rows] = left[rows]
        blocks.append(block)
    return made | {"lora_A.weight": torch.cat([made["lora_A.weight"]] * len(there)), "lora_B.weight": torch.cat(blocks, 1)}


def _adalora(config: Mapping[str, Any], tensors: Tensors, known: Mapping[str, list[ProjectionPlace]], body: Anatomy) -> PeftReading:
    """With its schedule; triplets that rank_pattern has taken out come back with E = 0. PEFT divides by the initial rank whatever is left."""
    found = _by_path(tensors, ("lora_A", "lora_E", "lora_B"))
    rank, canonical = int(config["init_r"]), {}
    kept = {name.rpartition(".lora_")[0]: torch.tensor(mask, dtype=torch.bool).flatten() for name, mask in (config.get("rank_pattern") or {}).items()}
    for path, parts in found.items():
        mask = next((mask for name, mask in kept.items() if name.removeprefix("base_model.model.") == path), torch.ones(rank, dtype=torch.bool))
        if len(mask) != rank:
            raise Refusal("The rank pattern of '{path}' has {count} entries, and init_r is {rank}.", "source", path=path[:120], count=len(mask), rank=rank)
        whole = parts["lora_A"].shape[0] == rank
        canonical |= {f"{PREFIX}{path}.{name}": tensor if whole else _unpruned(tensor, mask, name == "lora_B") for name, tensor in parts.items()}
    first, last, total = (int(config.get(name) or 0) for name in ("tinit", "tfinal", "total_step"))
    times = (first / total, last / total) if total and first + last < total else (0.0, 0.0)
    schedule = {"name": "adalora", "target_rank": min(float(config["target_r"]), rank), "start": times[0], "finish": times[1], "every": int(config["deltaT"]),
                "beta1": config["beta1"], "beta2": config["beta2"], "orthogonality": config["orth_reg_weight"]}  # fmt: skip
    options = {"form": "lowrank", "rank": rank, "composition": "scaled", "scale": float(config["lora_alpha"]) / (rank + 1e-5), "core": "diagonal",
               "init": "zero-core", "schedule": schedule}  # fmt: skip
    covers = places.covered(_same(found, known), body)
    return PeftReading("ADALORA", [{**fields, **options} for _, fields in covers], tensors=canonical)


def _unpruned(tensor: Tensor, mask: Tensor, columns: bool) -> Tensor:
    """Zeros where a triplet was taken out."""
    if int(mask.sum()) != tensor.shape[1 if columns else 0]:
        raise Refusal("The rank pattern of this AdaLoRA keeps another number of triplets than its tensors have.", "source")
    shape = (tensor.shape[0], len(mask)) if columns else (len(mask), tensor.shape[1])
    whole = tensor.new_zeros(shape)
    whole[(slice(None), mask) if columns else mask] = tensor
    return whole


def _same(found: Mapping[str, Any], known: Mapping[str, list[ProjectionPlace]], thing: Any = 0) -> dict[ProjectionPlace, Any]:
    """Each module's one place. Raises Refusal for a fused projection without a name of its own."""
    wanted = {}
    for path in found:
        there = places.of(path, known)
        if len(there) > 1 or there[0].slice:
            raise Refusal(
                "The module '{path}' is a fused projection that has no name of its own in the space, and only a LoRA of it is read as one of its slices.",
                "source",
                path=path[:160],
            )
        wanted[there[0]] = thing
    return wanted


def _hira(config: Mapping[str, Any], tensors: Tensors, known: Mapping[str, list[ProjectionPlace]], body: Anatomy) -> PeftReading:
    found = _by_path(tensors, ("hira_A", "hira_B"))
    options = {"form": "lowrank", "rank": int(config["r"]), "composition": "hira"}
    return PeftReading("HIRA", [{**fields, **options} for _, fields in places.covered(_same(found, known), body)], tensors=tensors)


def _vera(config: Mapping[str, Any], tensors: Tensors, known: Mapping[str, list[ProjectionPlace]], body: Anatomy) -> PeftReading:
    pair = {name: tensor for name, tensor in tensors.items() if name in ("base_model.vera_A", "base_model.vera_B")}
    if len(pair) < 2:
        raise Refusal(
            "This VeRA was saved without its random pair (save_projection=false), which is drawn by peft alone: save it again with the pair.", "source"
        )
    found = _by_path({name: tensor for name, tensor in tensors.items() if name not in pair}, ("vera_lambda_d", "vera_lambda_b"))
    options = {"form": "lowrank", "rank": int(config["r"]), "composition": "add", "vectors": True, "shared": True, "init": "vectors", "trainable": ["d", "b"]}
    return PeftReading("VERA", [{**_one(_same(found, known), body), **options}], tensors=tensors)


def _one(wanted: Mapping[ProjectionPlace, Any], body: Anatomy) -> dict[str, Any]:
    """The fields of the one delta that maps shared by all projections need. Raises Refusal."""
    covers = places.covered(wanted, body)
    if len(covers) > 1:
        raise Refusal("This adapter shares maps between modules that are not the same in all of its layers, which no delta is.", "source")
    return covers[0][1]


# -- other types


def _ia3(config: Mapping[str, Any], tensors: Tensors, known: Mapping[str, list[ProjectionPlace]], body: Anatomy) -> PeftReading:
    """(out, 1) scales what a projection gives, (1, in) what it reads."""
    found, wanted = _by_path(tensors, ("ia3_l",)), {}
    for path, parts in found.items():
        place = next(iter(_same([path], known)))  # type: ignore[arg-type]
        if parts["ia3_l"].shape[0] == 1 and parts["ia3_l"].shape[1] != 1:
            inner = {"attn.out": "attn.heads", "ffn.down": "ffn.act"}.get(place.representation)
            if inner is None:
                raise Refusal(
                    "This IA3 scales what '{path}' reads (feedforward_modules), and the space has a place there before attn.out and ffn.down alone.",
                    "source",
                    path=path[:120],
                )
            place = place._replace(representation=inner)
        wanted[place] = 0
    options = {"form": "scale", "insertion": "sequential", "composition": "rescale"}
    return PeftReading("IA3", [{**fields, **options} for _, fields in places.covered(wanted, body)], tensors=tensors)


def _prefix(config: Mapping[str, Any], tensors: Tensors, known: Mapping[str, list[ProjectionPlace]], body: Anatomy) -> PeftReading:
    options = {
        "at": ["attn.heads"],
        "form": "slots",
        "composition": "gated",
        "nonlinearity": "softmax",
        "rank": int(config["num_virtual_tokens"]),
        "positions": "shift",
    }
    return PeftReading("PREFIX_TUNING", [options], tensors=tensors)


def _prompt(config: Mapping[str, Any], tensors: Tensors, known: Mapping[str, list[ProjectionPlace]], body: Anatomy) -> PeftReading:
    if (config.get("num_transformer_submodules") or 1) != 1:
        raise Refusal(
            "This prompt has tokens for the decoder too (num_transformer_submodules 2), and virtual tokens of the space stand before the first stack alone.",
            "source",
        )
    options = {"at": ["embed"], "form": "tokens", "rank": int(config["num_virtual_tokens"])}
    return PeftReading("PROMPT_TUNING", [options], tensors=tensors)


def _adaption(config: Mapping[str, Any], tensors: Tensors, known: Mapping[str, list[ProjectionPlace]], body: Anatomy) -> PeftReading:
    depth, count = body.stacks[0].layers, int(config["adapter_layers"])
    options = {"at": ["attn.heads"], "form": "prompt", "composition": "zero-gate", "nonlinearity": "softmax", "rank": int(config["adapter_len"]),
               "layers": places.expression(range(max(0, depth - count), depth))}  # fmt: skip
    return PeftReading("ADAPTION_PROMPT", [options], tensors=tensors)


def _norms(config: Mapping[str, Any], tensors: Tensors, known: Mapping[str, list[ProjectionPlace]], body: Anatomy) -> PeftReading:
    return PeftReading("LN_TUNING", select={"what": "norm"}, tensors=tensors)


def _shira(config: Mapping[str, Any], tensors: Tensors, known: Mapping[str, list[ProjectionPlace]], body: Anatomy) -> PeftReading:
    """Entries of weights, which are their own places: see lab.importing.entries."""
    found = _by_path(tensors, ("shira_weight", "shira_indices"))
    fields = _one(_same(found, known), body)
    if fields["layers"] != "all" or fields.get("stacks"):
        raise Refusal("This SHiRA is not in every layer, and fixed entries of the space are.", "source")
    return PeftReading("SHIRA", select={"what": "sparse", "at": fields["at"], "rank": int(config["r"])}, tensors=tensors)


def _form(config: Mapping[str, Any]) -> Form:
    """The form that has a type of its own. Raises Refusal."""
    kind, start = str(config["peft_type"]), config.get("init_weights", True)
    if kind != "MISS":
        return OWN[kind]
    if start not in (True, False, "bat"):
        raise Refusal("The space has no MiSS with init_weights {start}.", "source", start=str(start)[:40])
    return next(form for form in FORMS.values() if form.peft_type == kind and form.peft_own and (form.peft_fixed["init_weights"] == "bat") == (start == "bat"))


def _example(form: Form) -> Any:
    from lab.design.method.delta import Delta

    return Delta(at=["attn.v"], form=form.name)


def _own(config: Mapping[str, Any], tensors: Tensors, known: Mapping[str, list[ProjectionPlace]], body: Anatomy) -> PeftReading:
    """A type that one form has alone: its options are those of the form's own configuration, backwards; what else that says must be as it says."""
    form, kind = _form(config), str(config["peft_type"])
    for key, fixed in form.peft_fixed.items():
        if key not in NO_MATTER and key in config and config[key] != fixed and (_used(config[key]) or _used(fixed)):
            raise Refusal(
                "The space has a {form} with {key} {fixed}, and this adapter has {given}.",
                "source",
                form=word(form.label),
                key=key,
                fixed=fixed,
                given=str(config[key])[:60],
            )
    shared = {name for name in tensors if name.startswith("base_model.") and not name.startswith(PREFIX)}
    paths = {_module(name) for name in tensors if name not in shared}
    wanted, options = _same(dict.fromkeys(paths), known), {"form": form.name, "insertion": form.peft_insertion, **form.peft_options(config)}
    if form.shared:
        options["shared"] = True
    if form.peft_each_place:
        fields = [each for _, each in places.covered(wanted, body, each_place=True)]
    else:
        fields = [_one(wanted, body)] if form.shared else [each for _, each in places.covered(wanted, body)]
    turned = form.peft_insertion != "parallel" or form.own_input
    return PeftReading(
        kind, [{**each, **options, **({} if turned or "attn.out" not in each["at"] else {"x": "projection"})} for each in fields], tensors=tensors
    )


def _module(name: str) -> str:
    """The path of the module that a tensor of such a type belongs to: up to the part that begins as the type's tensors do."""
    parts = name.removeprefix(PREFIX).split(".")
    marks = tuple(mark for each in MARKS.values() for mark in each)
    return ".".join(parts[: next(index for index, part in enumerate(parts) if part.startswith(marks))])


READERS: dict[str, Callable[[Mapping[str, Any], Tensors, Mapping[str, list[ProjectionPlace]], Anatomy], PeftReading]] = {
    "LORA": _lora, "ADALORA": _adalora, "HIRA": _hira, "VERA": _vera, "IA3": _ia3, "PREFIX_TUNING": _prefix, "PROMPT_TUNING": _prompt, "P_TUNING": _prompt,
    "ADAPTION_PROMPT": _adaption, "LN_TUNING": _norms, "SHIRA": _shira,
}  # fmt: skip
