"""Adapters from elsewhere: what was exported comes back as it was, what peft writes means the same here, and what the space cannot say is refused by name."""

from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path

import pytest
import torch
from exporting import logits, small, trained
from importing import brought, there_and_back
from safetensors.torch import load_file, save_file
from test_export import LOW, OTHER
from test_export_adapterhub import CASES as HUB_CASES
from tiny import tiny, tiny_batch

from lab import importing, verbs
from lab.design.plain.refusal import Refusal
from lab.export import FORMATS, write
from lab.export.peft import MAKERS
from lab.importing import backwards, folders
from lab.importing.from_peft import MARKS, OWN

ELSEWHERE = {"merged", "gguf", "config", "script"}  # a whole model, a file for llama.cpp, no weights: docs/export.md
FEW = [("bert", "classification", small("lora", deltas__0__layers="1", deltas__0__at=["attn.q", "ffn.up"])), ("phi3", "causal", small("lora")),
       ("gpt2", "causal", small("dora", deltas__0__at=["attn.q", "attn.v", "ffn.down"])), ("llama", "causal", {"preset": "adalora", "set": {"deltas.0.rank": 6, "deltas.0.schedule.target_rank": 3}}),
       ("bert", "classification", small("vera")), ("gpt2", "causal", "ia3"), ("llama", "causal", small("llama-adapter")), ("gpt2", "causal", small("fourierft", deltas__0__at=["attn.qkv"], deltas__0__rank=40))]  # fmt: skip


def test_every_format_comes_back_or_says_why():
    assert set(importing.FORMATS) | ELSEWHERE >= set(FORMATS) and not set(importing.FORMATS) & ELSEWHERE
    assert {"LORA", "ADALORA", *MAKERS, *(form.peft_type for form in OWN.values())} <= set(MARKS), "a type that the exporter writes and nobody reads"


@pytest.mark.parametrize("case", FEW, ids=lambda case: f"{case[0]}-{case[2] if isinstance(case[2], str) else case[2]['preset']}")
def test_a_peft_folder_comes_back_as_it_was(case, tmp_path):
    there_and_back(*case, "peft", tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(
    "case", [case[:3] for case in (*LOW, *OTHER)], ids=lambda case: f"{case[0]}-{case[2] if isinstance(case[2], str) else case[2].get('preset', 'free')}"
)
def test_every_peft_folder_comes_back_as_it_was(case, tmp_path):
    there_and_back(*case, "peft", tmp_path / "alone")
    there_and_back(*case, "peft", tmp_path / "beside", beside=True)


@pytest.mark.parametrize("name", ["bert-compacter", "gpt2-some", "llama-ia3", "bart-mam", "bert-partly"])
def test_an_adapterhub_folder_comes_back_as_it_was(name, tmp_path):
    there_and_back(*HUB_CASES[name], "adapterhub", tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", HUB_CASES)
def test_every_adapterhub_folder_comes_back_as_it_was(name, tmp_path):
    there_and_back(*HUB_CASES[name], "adapterhub", tmp_path)


def test_the_method_keeps_its_name_where_the_lab_wrote_it(tmp_path):
    assert there_and_back("bert", "classification", small("lora"), "peft", tmp_path, beside=True).spec.method.preset == "lora"
    renamed = trained("bert", "classification", small("lora"))
    folder = write(renamed, "peft", tmp_path / "other")
    notes = json.loads((folder / "delta_lab.json").read_text())
    notes["spec"]["method"]["deltas"][0]["alpha"] = 99.0  # says another scale than the configuration, which is what counts
    (folder / "delta_lab.json").write_text(json.dumps(notes))
    found, _ = brought(folder, "bert", "classification", tmp_path)
    assert found.spec.method.preset == "" and found.spec.method.deltas[0].alpha != 99.0


# -- what peft itself writes

PEFT = {
    "LORA": ("llama", "causal", lambda peft: peft.LoraConfig(r=4, lora_alpha=6, use_rslora=True, target_modules=["q_proj", "down_proj"], rank_pattern={"layers.1.self_attn.q_proj": 2},
                                                             alpha_pattern={"layers.0.self_attn.q_proj": 3})),
    "LORA-fused": ("phi3", "causal", lambda peft: peft.LoraConfig(r=3, lora_alpha=6, target_modules=["qkv_proj", "gate_up_proj", "o_proj"])),
    "LORA-dora": ("bert", "classification", lambda peft: peft.LoraConfig(r=4, use_dora=True, target_modules=["query", "value"], task_type="SEQ_CLS")),
    "LORA-bias": ("bert", "classification", lambda peft: peft.LoraConfig(r=4, lora_bias=True, target_modules=["query", "intermediate.dense"], task_type="SEQ_CLS")),
    "ADALORA": ("llama", "causal", lambda peft: peft.AdaLoraConfig(init_r=6, target_r=3, total_step=20, tinit=2, tfinal=5, deltaT=2, target_modules=["q_proj", "v_proj"])),
    "IA3": ("llama", "causal", lambda peft: peft.IA3Config(target_modules=["k_proj", "v_proj", "down_proj"], feedforward_modules=["down_proj"])),
    "VERA": ("llama", "causal", lambda peft: peft.VeraConfig(r=5, target_modules=["q_proj", "o_proj"])),
    "PREFIX_TUNING": ("gpt2", "causal", lambda peft: peft.PrefixTuningConfig(num_virtual_tokens=4, prefix_projection=True, encoder_hidden_size=8, task_type="CAUSAL_LM")),
    "PROMPT_TUNING": ("llama", "causal", lambda peft: peft.PromptTuningConfig(num_virtual_tokens=4, task_type="CAUSAL_LM")),
    "P_TUNING": ("gpt2", "causal", lambda peft: peft.PromptEncoderConfig(num_virtual_tokens=4, encoder_hidden_size=16, task_type="CAUSAL_LM")),
    "LN_TUNING": ("bert", "classification", lambda peft: peft.LNTuningConfig(target_modules=["LayerNorm"], task_type="SEQ_CLS")),
    "HRA": ("llama", "causal", lambda peft: peft.HRAConfig(r=4, target_modules=["q_proj", "o_proj"])),
    "LOHA": ("llama", "causal", lambda peft: peft.LoHaConfig(r=4, alpha=6, target_modules=["q_proj", "o_proj"])),
}  # fmt: skip


@pytest.mark.oracle
@pytest.mark.parametrize("name", PEFT)
def test_what_peft_writes_means_the_same(name, tmp_path):
    """Every adapter of peft with its weights moved, saved by peft, gives peft's own logits."""
    peft = pytest.importorskip("peft")
    architecture, objective, config = PEFT[name]
    model = peft.get_peft_model(tiny(architecture, objective), config(peft))
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.1)
    model.save_pretrained(tmp_path / "theirs")
    batch = tiny_batch(tiny(architecture, objective))
    found, mine = brought(tmp_path / "theirs", architecture, objective, tmp_path)
    model = peft.PeftModel.from_pretrained(tiny(architecture, objective), tmp_path / "theirs").eval()
    theirs, ours = logits(model, batch), logits(mine.model, batch)
    assert (theirs[:, -ours.shape[1] :] if ours.dim() == 3 else theirs).sub(ours).abs().max() <= 1e-5
    assert (logits(tiny(architecture, objective), batch) - ours).abs().max() > 1e-3
    assert found.spec.method.deltas or found.spec.method.select


# -- what is refused


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("given")
    write(trained("bert", "classification", small("lora")), "peft", root / "lora")
    (root / "lora" / "delta_lab.json").unlink()
    return root


def _changed(folder: Path, target: Path, config: dict | None = None, tensors=None) -> Path:
    target.mkdir()
    known = json.loads((folder / "lora" / "adapter_config.json").read_text())
    (target / "adapter_config.json").write_text(json.dumps({**known, **(config or {})}))
    save_file((tensors or (lambda found: found))(load_file(folder / "lora" / "adapter_model.safetensors")), target / "adapter_model.safetensors")
    return target


def _larger(found: dict) -> dict:
    return {name: torch.zeros(tensor.shape[0], tensor.shape[1] + 1) if name.endswith("lora_A.weight") else tensor for name, tensor in found.items()}


def _more(name: str):
    return lambda found: {**found, name: torch.ones(3, 3)}


HEADLESS = lambda found: {name: tensor for name, tensor in found.items() if "classifier" not in name}  # noqa: E731
REFUSED = {
    "type": ({"peft_type": "XLORA"}, None, "no place for the PEFT type XLORA"),
    "replication": ({"layer_replication": [[0, 2], [1, 2]]}, None, "layer_replication"),
    "alora": ({"alora_invocation_tokens": [1, 2]}, None, "alora_invocation_tokens"),
    "bias": ({"bias": "all"}, None, "'bias'"),
    "start": ({"init_lora_weights": "pissa"}, None, "init_lora_weights pissa"),
    "pattern": ({"alpha_pattern": {".*query": 3}}, None, "regular expression"),
    "task": ({"task_type": "CAUSAL_LM"}, None, "trained for CAUSAL_LM"),
    "scale": ({"lora_alpha": 0}, None, "0 or less"),
    "rank": ({"r": 3}, None, "in the weights of this adapter, and 3 in its configuration"),
    "words": ({"lora_alpha": "much"}, None, "lacks a number"),
    "sizes": (None, _larger, "belongs to another model"),
    "saved": (None, _more("base_model.model.bert.embeddings.word_embeddings.weight"), "bert.embeddings.word_embeddings.weight"),
    "module": (None, _more("base_model.model.bert.embeddings.lora_A.weight"), "bert.embeddings"),
    "tensor": (None, _more("base_model.model.bert.encoder.layer.0.attention.self.query.lora_embedding_A"), "lora_embedding_A"),
    "head": (None, HEADLESS, "no task head"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_the_space_cannot_say_is_refused_by_name(name, folder, tmp_path):
    config, tensors, words = REFUSED[name]
    with pytest.raises(Refusal, match=words):
        brought(_changed(folder, tmp_path / "given", config, tensors), "bert", "classification", tmp_path)


def test_only_plain_files_and_safetensors_are_read(folder, tmp_path):
    pickled = tmp_path / "pickled"
    pickled.mkdir()
    (pickled / "adapter_config.json").write_text('{"peft_type": "LORA"}')
    (pickled / "adapter_model.bin").write_bytes(b"\x80")
    linked = _changed(folder, tmp_path / "linked")
    (linked / "adapter_config.json").rename(tmp_path / "apart.json")
    (linked / "adapter_config.json").symlink_to(tmp_path / "apart.json")
    for given, words in (
        (pickled, "pickle"),
        (linked, "is a link"),
        (tmp_path / "nowhere", "no folder or zip"),
        (tmp_path, "holds no adapter"),
        ("a/b\0", "no folder"),
    ):
        with pytest.raises(Refusal, match=words), importing.opened(str(given)):
            pass
    with pytest.raises(Refusal, match="hub cannot be reached"), importing.opened("nobody/nothing-at-all"):
        pass


def test_a_zip_is_read_and_one_that_leads_out_is_not(folder, tmp_path):
    good, out, link = tmp_path / "good.zip", tmp_path / "out.zip", tmp_path / "link.zip"
    with zipfile.ZipFile(good, "w") as packed:
        for path in (folder / "lora").iterdir():
            packed.write(path, f"lora/{path.name}")
    with zipfile.ZipFile(out, "w") as packed:
        packed.writestr("../adapter_config.json", "{}")
    with zipfile.ZipFile(link, "w") as packed:
        entry = zipfile.ZipInfo("adapter_config.json")
        entry.external_attr = 0o120777 << 16
        packed.writestr(entry, "/etc/passwd")
    with importing.opened(str(good)) as opened:
        assert (opened.kind, opened.name) == ("peft", "good") and opened.tensors("adapter_model.safetensors")
    for given, words in ((out, "leads out"), (link, "link")):
        with pytest.raises(Refusal, match=words), importing.opened(str(given)):
            pass


def test_an_app_that_is_closed_reads_no_folder_elsewhere(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("LAB_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("LAB_PATHS", "closed")
    with pytest.raises(Refusal, match="reads no files"), importing.opened(str(folder / "lora")):
        pass


def test_numbers_without_a_place_are_seen():
    """The way back is checked by the way there: a number that a writer leaves out is refused."""

    class Padded:
        values = torch.zeros(2)

        def tensors(self):
            return {"a": self.values}

        state_dict = tensors

    padded = Padded()
    writes = lambda: {"x": torch.cat([2 * padded.values + 1, torch.zeros(1)])}  # noqa: E731
    assert torch.equal(backwards.state_for(padded, writes, {"x": torch.tensor([7.0, 5.0, 0.0])})["a"], torch.tensor([3.0, 2.0]))
    with pytest.raises(Refusal, match="no place for"):
        backwards.state_for(padded, writes, {"x": torch.tensor([7.0, 5.0, 1.0])})


# -- as a run


def test_it_becomes_a_run_that_is_tried_evaluated_and_exported(tmp_path, monkeypatch, capsys):
    """Through the terminal: exported, imported, exported again with the same tensors, and evaluated by a run of no steps that goes on from it."""
    from training_support import save_model, save_task
    from training_support import spec as spec_of_run

    from lab.cli import main
    from lab.runs import default
    from lab.training.running import train
    from lab.trying.answering import answer

    monkeypatch.setenv("LAB_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("LAB_MEMORY_POLICY", "ignore")
    base, task = save_model(tmp_path / "base"), save_task(tmp_path / "data")
    method = {"preset": "lora", "set": {"deltas.0.rank": 2}}
    from lab.export.source import _open

    opened = _open(spec_of_run(base, task, method), None, {"labels": ["neg", "pos"]})
    with torch.no_grad():
        for parameter in opened.attached.tensors().values():
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(2)) * 0.3)
    folder = write(opened, "peft", tmp_path / "theirs")
    run = importing.import_adapter(folder, task=spec_of_run(base, task).task, model=base, name="theirs")
    assert (run.state, run.name, run.result["metrics"], run.result["imported"]["format"]) == ("succeeded", "theirs", {}, "peft")
    assert run.result["trainable"] == sum(tensor.numel() for tensor in opened.attached.tensors().values())
    with pytest.raises(Refusal, match="which task"):
        importing.import_adapter(_without_notes(folder, tmp_path), model=base)
    assert answer({"run": run.id, "text": "great film"})["kind"] == "labels"
    out = tmp_path / "again"
    assert main(["export", run.id, "--out", str(out)]) == 0
    first, other = load_file(folder / "adapter_model.safetensors"), load_file(out / "adapter_model.safetensors")
    assert first.keys() == other.keys() and all(torch.equal(first[name], other[name]) for name in first)
    document = spec_of_run(base, task, run.spec["method"]).document()
    document |= {"built_on": {"start_from": run.id}, "training": {**document["training"], "steps": 0, "evaluate_every": None}}
    result = train(verbs.check(document), run_dir=tmp_path / "evaluated")
    assert result["steps"] == 0 and 0 <= result["metrics"]["accuracy"] <= 1
    listed = default().store.list(["succeeded"])
    assert [each.id for each in listed] == [run.id] and os.path.isdir(default().home.run_dir(run.id) / "best")
    capsys.readouterr()


def _without_notes(folder: Path, root: Path) -> Path:
    import shutil

    copy = shutil.copytree(folder, root / "bare")
    (copy / "delta_lab.json").unlink()
    return copy


def test_a_folder_of_the_lab_comes_back(tmp_path, monkeypatch):
    from training_support import save_model, save_task
    from training_support import spec as spec_of_run

    from lab.export.source import _open

    monkeypatch.setenv("LAB_HOME", str(tmp_path / "home"))
    base, task = save_model(tmp_path / "base"), save_task(tmp_path / "data")
    opened = _open(spec_of_run(base, task, "adapter-pfeiffer"), None, {"labels": ["neg", "pos"]})
    folder = write(opened, "lab", tmp_path / "theirs")
    with importing.opened(str(folder)) as found:
        assert found.kind == "lab"
    run = importing.import_adapter(folder, task=spec_of_run(base, task).task, model=base)
    kept = load_file(Path(os.environ["LAB_HOME"]) / "runs" / run.id / "best" / "adapter.safetensors")
    theirs = load_file(folder / "adapter.safetensors")
    assert kept.keys() == theirs.keys() and all(torch.equal(kept[name], theirs[name]) for name in theirs)
    assert run.spec["method"]["preset"] == "adapter-pfeiffer" and run.result["trainable"]


def test_a_script_alone_is_no_data_and_data_with_one_are(tmp_path):
    (tmp_path / "train.py").write_text("", encoding="utf-8")
    assert folders.is_script(str(tmp_path)) and not folders.is_model(str(tmp_path))
    (tmp_path / "train.csv").write_text("text,label\n", encoding="utf-8")
    assert not folders.is_script(str(tmp_path))
    (tmp_path / "config.json").write_text("{}", encoding="utf-8")
    assert not folders.is_model(str(tmp_path)), "a configuration alone is no model"
    (tmp_path / "model.safetensors").write_bytes(b"")
    assert folders.is_model(str(tmp_path)) and not folders.is_adapter(str(tmp_path))
