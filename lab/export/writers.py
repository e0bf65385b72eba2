"""The formats: PEFT (two ways), a merged model, the lab's own folder, and the configuration alone."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import yaml

from lab.design.method.compositions import COMPOSITIONS
from lab.design.method.forms import FORMS
from lab.design.plain.message import Note, listed, word
from lab.design.plain.refusal import Refusal
from lab.design.spec.objectives import OBJECTIVES
from lab.export import adapterhub, kinds
from lab.export.base import Facts
from lab.export.bases import plain_names
from lab.export.card import write_card
from lab.export.folder import write_json

ROUNDED = (
    "The base was packed as {kind} while it trained. This model has its dequantised weights with the method folded in, as they computed, in full size; "
    "packed again, they are rounded anew and answers may differ."
)
NARROWED = "Its weights are stored in {dtype}, as those of the base are: the method's changes were folded in at full precision and then rounded to it."


class Peft:
    """A PEFT checkpoint: the type made for the method, or (`peft-lora`) a plain LORA of the same change of weights."""

    weights = True
    one_head = True

    def __init__(self, name: str):
        self.name, self._as_lora = name, name == "peft-lora"
        self.help = (
            "the same change of weights as a plain LoRA of one rank, for tools that know no other PEFT type (vLLM)" if self._as_lora
            else "a PEFT checkpoint (adapter_config.json and safetensors) that peft loads"
        )  # fmt: skip

    def kind(self, facts: Facts) -> str:
        """The PEFT type. Refusal also where the base's own weights were rounded anew by the start."""
        residual = [delta.init for delta in facts.method.deltas if FORMS[delta.form].start(delta).residual]
        if residual and facts.quantisation != "none":
            raise Refusal(
                "The residual of init {init} was rounded to {quantisation} in the base, which a PEFT checkpoint has no place for",
                "format",
                init=residual[0],
                quantisation=facts.quantisation,
            )
        decide = kinds.lora_type if self._as_lora else kinds.peft_type
        return decide(facts.method, facts.body, facts.objective)

    def require(self, facts: Facts) -> None:
        self.kind(facts)

    def write(self, opened: Any, folder: Path) -> None:
        from safetensors.torch import save_file

        from lab.export.peft import checkpoint

        kind = self.kind(Facts(opened.spec.method, opened.attached.body, opened.objective, opened.spec.quantisation))
        tensors, config = checkpoint(opened, kind, one_rank=self._as_lora)
        save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})
        write_json(folder / "adapter_config.json", config)
        if opened.tokenizer is not None:
            opened.tokenizer.save_pretrained(folder)
        write_card(opened, self.name, folder, prefix=kind == "PREFIX_TUNING", prompt=kind in ("PROMPT_TUNING", "P_TUNING"))


class AdapterHub:
    """An adapter of AdapterHub's library, with the head of a classifier."""

    name = "adapterhub"
    weights = True
    one_head = True
    help = "an adapter that AdapterHub's library loads (bottleneck, Compacter, LoRA, IA3, prefix, MAM, UniPELT), with its head"

    def require(self, facts: Facts) -> None:
        if facts.quantisation != "none":
            raise Refusal("AdapterHub's library does not load a base packed as {quantisation} with its classes", "format", quantisation=facts.quantisation)
        adapterhub.pieces(facts.method, facts.body)

    def write(self, opened: Any, folder: Path) -> None:
        from safetensors.torch import save_file

        from lab.engine.select import head_parameters
        from lab.export.adapterhub_tensors import tensors

        found, adapter = tensors(opened.attached)
        config = opened.model.config
        about = {
            "model_type": config.model_type, "hidden_size": getattr(config, "hidden_size", None), "model_name": opened.base,
            "model_class": type(opened.model).__name__, "version": adapterhub.VERSION,
        }  # fmt: skip
        save_file(adapter, folder / "adapter.safetensors", metadata={"format": "pt"})
        write_json(folder / "adapter_config.json", {**about, "name": adapterhub.NAME, "config": adapterhub.document(found)})
        if OBJECTIVES[opened.objective].headed:
            head = {name: parameter.detach().float().contiguous() for name, parameter in head_parameters(opened.model).items()}
            save_file(head, folder / "model_head.safetensors", metadata={"format": "pt"})
            labels = {"label2id": config.label2id, "num_labels": config.num_labels}
            write_json(folder / "head_config.json", {**about, "name": None, "config": None, **labels})
        if opened.tokenizer is not None:
            opened.tokenizer.save_pretrained(folder)
            _for_older_transformers(folder / "tokenizer_config.json")
        write_card(opened, self.name, folder, prefix=any(piece.kind == "prefix" for piece in found))


class Merged:
    """The whole model with the method folded into its weights."""

    name = "merged"
    weights = True
    one_head = True
    help = "the whole model in safetensors with its tokenizer, the method folded into its weights"

    def require(self, facts: Facts) -> None:
        """What the design alone shows; the engine has the last word, before anything is written."""
        for delta in facts.method.deltas:
            if delta.ends:
                raise Refusal("A {form} delta that changes some tokens alone cannot be merged into weights", "format", form=word(FORMS[delta.form].label))
            if not FORMS[delta.form].mergeable(delta) or COMPOSITIONS[delta.composition].unmerged or delta.norm != "none":
                raise Refusal(
                    "A {form} delta with composition {composition} depends on the input and cannot be merged into weights",
                    "format",
                    form=word(FORMS[delta.form].label),
                    composition=delta.composition,
                )

    def write(self, opened: Any, folder: Path) -> None:
        from lab.export.merged import bake

        if opened.spec.quantisation != "none":
            print(ROUNDED.format(kind=opened.spec.quantisation), file=sys.stderr, flush=True)
            opened.note = listed(filter(None, [opened.note, Note(ROUNDED, kind=opened.spec.quantisation)]), " ")
        import torch

        dtype = getattr(torch, opened.origin.dtype)  # a checkpoint in bfloat16 stays one, and as small
        state = {name: tensor.to(dtype) if tensor.is_floating_point() else tensor for name, tensor in bake(opened.attached).items()}
        if dtype != torch.float32:
            opened.note = listed(filter(None, [opened.note, Note(NARROWED, dtype=opened.origin.dtype)]), " ")
        opened.model.to(dtype).save_pretrained(folder, state_dict=state)
        if opened.tokenizer is not None:
            opened.tokenizer.save_pretrained(folder)
        write_card(opened, self.name, folder)


class Lab:
    """The adapter as the lab keeps it: every method has this format."""

    name = "lab"
    weights = True
    one_head = False
    help = "the adapter as the lab keeps it (adapter.safetensors, head.safetensors, spec.yaml); holds every method"

    def require(self, facts: Facts) -> None:
        pass

    def write(self, opened: Any, folder: Path) -> None:
        from safetensors.torch import save_file

        from lab.engine.select import head_parameters

        if opened.folder is not None:
            for name in ("adapter.safetensors", "head.safetensors"):
                if (opened.folder / name).is_file():
                    shutil.copyfile(opened.folder / name, folder / name)
        else:
            save_file(opened.attached.state_dict(), folder / "adapter.safetensors", metadata={"format": "pt"})
            mine = {id(p) for p in opened.attached.may_train().values()}
            head = {name: p.detach().contiguous() for name, p in head_parameters(opened.model).items() if id(p) not in mine}
            if OBJECTIVES[opened.objective].headed and head:
                save_file(head, folder / "head.safetensors", metadata={"format": "pt"})
        if opened.tokenizer is not None:
            opened.tokenizer.save_pretrained(folder)
        _write_yaml(folder / "spec.yaml", plain_names(opened.spec.document()))
        write_card(opened, self.name, folder)


class Config:
    """The settings alone, without weights."""

    name = "config"
    weights = False
    one_head = False
    help = "the settings alone: method.yaml and spec.yaml, and PEFT's adapter_config.json where it has the type"

    def require(self, facts: Facts) -> None:
        pass

    def write(self, opened: Any, folder: Path) -> None:
        from lab.export.peft import checkpoint

        _write_yaml(folder / "spec.yaml", plain_names(opened.spec.document()))
        _write_yaml(folder / "method.yaml", opened.spec.method.document())
        try:
            kind = kinds.peft_type(opened.spec.method, opened.attached.body, opened.objective)
        except Refusal:
            return
        write_json(folder / "adapter_config.json", checkpoint(opened, kind)[1])


def _for_older_transformers(path: Path) -> None:
    """The class of a tokenizer by the name that transformers 4 has for it, as 5 has too: the adapters library pins 4.57."""
    document = json.loads(path.read_text(encoding="utf-8"))
    if document.get("tokenizer_class") == "TokenizersBackend":
        write_json(path, {**document, "tokenizer_class": "PreTrainedTokenizerFast"})


def _write_yaml(path: Path, document: dict[str, Any]) -> None:
    path.write_text(yaml.safe_dump(document, sort_keys=False, allow_unicode=True), encoding="utf-8")
