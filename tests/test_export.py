"""Exports mean the same elsewhere: peft itself loads each checkpoint and gives equal logits; merged models need no lab at all."""

from __future__ import annotations

import json

import pytest
import torch
from exporting import AUTO, FITTING, TOKENS, greedy, logits, run_card, small, trained
from safetensors.torch import load_file
from tiny import TEXT, tiny, tiny_batch, tiny_tokenizer
from transformers import AutoModelForSequenceClassification

from lab.design.plain.refusal import Refusal
from lab.design.spec.run import spec_of
from lab.export import FORMATS, formats, write

LEARNED = {"deltas__0__alpha": None, "deltas__0__composition": "scaled", "deltas__0__scale": "learned"}
LOW = [
    ("bert", "classification", small("lora")),
    ("bert", "classification", small("lora", deltas__0__layers="1", deltas__0__at=["attn.q", "ffn.up"])),
    ("deberta_v2", "classification", small("lora")),
    ("distilbert", "classification", small("lora")),
    ("modernbert", "classification", small("lora")),
    ("bart", "seq2seq", small("lora")),
    ("t5", "seq2seq", small("lora")),
    ("gpt2", "causal", small("lora")),
    ("gpt_neox", "causal", small("lora")),
    ("llama", "causal", small("lora")),
    ("phi3", "causal", small("lora")),
    ("gemma3", "causal", small("lora", deltas__0__at=["attn.out", "ffn.down"])),
    ("bert", "classification", small("dora")),
    ("gpt2", "causal", small("dora", deltas__0__at=["attn.q", "attn.v", "ffn.down"])),
    ("llama", "causal", small("dora", deltas__0__shared=True, deltas__0__vectors=True)),
    ("bert", "classification", small("lora-fa")),
    ("gpt2", "causal", small("miss")),
    ("gpt2", "causal", small("gralora")),
    ("bart", "seq2seq", small("lora-ffn")),
    ("bert", "classification", small("lamda")),
    ("llama", "causal", small("lamda")),
    ("bert", "classification", small("lamda", deltas__0__schedule=None)),
    ("llama", "causal", {"preset": "lamda-plus-plus", "set": {"deltas.0.rank": 6, "deltas.0.allocation.rank_min": 4, "deltas.0.allocation.rank_max": 8}}),
    ("bert", "classification", small("aflora")),
    ("gpt2", "causal", small("eva", deltas__0__rank=5, deltas__0__allocation__rank_max=8)),
    ("llama", "causal", small("lora-ga", deltas__0__rank=4)),
    ("gpt2", "causal", small("pissa", deltas__0__rank=5)),
    ("llama", "causal", small("lora-xs", deltas__0__rank=5)),
    ("bert", "classification", small("lora", deltas__0__alpha=None, deltas__0__scale="learned")),
    ("bert", "classification", {"deltas": [{"at": ["ffn.up"], "form": "bottleneck", "nonlinearity": "none", "rank": 3, "composition": "scaled", "scale": 2.0},
                                           {"at": ["ffn.up", "attn.v"], "form": "lowrank", "rank": 2}]}),
]  # fmt: skip
OTHER = [
    ("bert", "classification", {"preset": "adalora", "set": {"deltas.0.rank": 6, "deltas.0.schedule.target_rank": 3}}, "ADALORA"),
    ("llama", "causal", {"preset": "adalora", "set": {"deltas.0.rank": 6, "deltas.0.schedule.target_rank": 3}}, "ADALORA"),
    ("bert", "classification", small("vera"), "VERA"),
    ("llama", "causal", small("vera"), "VERA"),
    ("gpt2", "causal", small("vera"), "LORA"),
    ("gpt2", "causal", small("hira", deltas__0__at=["attn.q", "attn.v", "ffn.down"], deltas__0__scale=2.0), "HIRA"),
    ("llama", "causal", small("hira"), "HIRA"),
    ("bert", "classification", "ia3", "IA3"),
    ("gpt2", "causal", "ia3", "IA3"),
    ("llama", "causal", "ia3", "IA3"),
    ("bart", "seq2seq", "ia3", "IA3"),
    ("bert", "classification", "ln-tuning", "LN_TUNING"),
    ("llama", "causal", "ln-tuning", "LN_TUNING"),
    ("bert", "classification", {"preset": "shira", "set": {"select.rank": 2}}, "SHIRA"),
    ("llama", "causal", {"preset": "shira", "set": {"select.rank": 2, "select.score": "magnitude"}}, "SHIRA"),
    ("gpt2", "causal", small("prefix-tuning", deltas__0__positions="shift"), "PREFIX_TUNING"),
    ("llama", "causal", small("prefix-tuning-mlp", deltas__0__positions="shift"), "PREFIX_TUNING"),
    ("llama", "causal", small("llama-adapter"), "ADAPTION_PROMPT"),
    ("llama", "causal", {"preset": "lily", "set": {"deltas.0.rank": 4, "deltas.1.rank": 4}}, "LILY"),
    ("llama", "causal", {"deltas": [{"at": ["attn.v"], "form": "lily", "rank": 4, "composition": "scaled", "scale": 2.0}]}, "LILY"),
    ("llama", "causal", small("prompt-tuning"), "PROMPT_TUNING"),
    ("gpt2", "causal", small("p-tuning"), "PROMPT_TUNING"),
    ("bart", "seq2seq", small("prompt-tuning"), "PROMPT_TUNING"),
]
TURNING = [  # insertion input or sequential, at every projection
    ("bert", "classification", {"preset": "oft", "set": {"deltas.0.rank": 8}}, "OFT"),
    ("bart", "seq2seq", {"preset": "oft", "set": {"deltas.0.rank": 4}}, "OFT"),
    ("llama", "causal", {"preset": "boft", "set": {"deltas.0.rank": 8, "deltas.0.factors": 1}}, "BOFT"),
    ("llama", "causal", "hra", "HRA"),
    ("bert", "classification", "road", "ROAD"),
]  # fmt: skip
OTHER += TURNING
FORMS_OF_PEFT = [  # preset, type, small enough, whether it goes with Conv1D
    ("loha", "LOHA", {}, False),
    ("lokr", "LOKR", {"deltas__0__rank": 3}, False),
    ("gralora", "GRALORA", {}, True),
    ("c3a", "C3A", {}, False),
    ("randlora", "RANDLORA", {"deltas__0__alpha": 8.0}, True),
    ("miss", "MISS", {}, False),
    ("bat", "MISS", {}, False),
    ("fourierft", "FOURIERFT", {"deltas__0__rank": 40}, True),
]
OTHER += [
    ("bert", "classification", small(preset, deltas__0__at=["attn.q", "ffn.up", "ffn.down"], **fitting), kind) for preset, kind, fitting, _ in FORMS_OF_PEFT
]
OTHER += [("llama", "causal", small(preset, **{**fitting, **LEARNED}), kind) for preset, kind, fitting, _ in FORMS_OF_PEFT]
OTHER += [
    ("gpt2", "causal", small(preset, deltas__0__at=["attn.qkv", "ffn.down"], **fitting), kind) for preset, kind, fitting, conv1d in FORMS_OF_PEFT if conv1d
]
CASES = [(*case, "peft", "LORA") for case in LOW] + [(*case[:3], "peft", case[3]) for case in OTHER] + [
    (*case[:3], "peft-lora", "LORA") for case in [*OTHER[:4], LOW[22], LOW[24]]]  # fmt: skip


def name_of(case) -> str:
    method = case[2] if isinstance(case[2], str) else case[2].get("preset", "free")
    return f"{case[0]}-{method}-{case[3]}"


@pytest.mark.oracle
@pytest.mark.parametrize("case", CASES, ids=[f"{i}-{name_of(case)}" for i, case in enumerate(CASES)])
def test_peft_loads_it_with_equal_logits(case, tmp_path, monkeypatch):
    """By the code of its card."""
    pytest.importorskip("peft")
    architecture, objective, method, format, kind = case
    opened = trained(architecture, objective, method)
    batch = tiny_batch(opened.model)
    ours = logits(opened.model, batch)
    folder = write(opened, format, tmp_path / "out")
    assert {"adapter_config.json", "adapter_model.safetensors", "README.md", "delta_lab.json"} == {path.name for path in folder.iterdir()}
    config = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
    assert config["peft_type"] == kind and (format == "peft" or not config["rank_pattern"] and not config["alpha_pattern"])
    base = tiny(architecture, objective)
    assert (logits(base, batch) - ours).abs().max() > 1e-3, "the method does nothing, so equality would say nothing"
    base.save_pretrained(folder / f"tiny-{architecture}")
    space = run_card(folder, monkeypatch)
    theirs = logits(space["model"], batch)
    if kind == "PREFIX_TUNING":  # peft's own generate leaves the prefix out
        assert torch.equal(space["write"](batch["input_ids"][:1], TOKENS), greedy(opened.model, batch))
    if kind == "PROMPT_TUNING":  # peft gives the virtual tokens' logits too
        theirs = theirs[:, -ours.shape[1] :]
        if objective == "causal":  # with a cache it places words elsewhere than its forward pass does, so the card leaves the cache out
            assert torch.equal(greedy(space["model"], batch), greedy(opened.model, batch))
    assert (ours - theirs).abs().max() <= 1e-5


@pytest.mark.parametrize("case", [*LOW[:1], *LOW[5:9], LOW[14], OTHER[5][:3], OTHER[8][:3], ("bert", "classification", "bitfit"),
                                  ("llama", "causal", "ln-tuning"), ("t5", "seq2seq", "full"), ("gpt2", "causal", "diff-pruning"), ("gpt2", "causal", "shira")],
                         ids=lambda case: f"{case[0]}-{case[2] if isinstance(case[2], str) else case[2]['preset']}")  # fmt: skip
def test_merged_model_needs_no_lab(case, tmp_path, monkeypatch):
    architecture, objective, method = case
    opened = trained(architecture, objective, method)
    batch = tiny_batch(opened.model)
    ours = logits(opened.model, batch)
    folder = write(opened, "merged", tmp_path / "out")
    plain = run_card(folder, monkeypatch)["model"].eval()
    assert type(plain) in AUTO[objective]._model_mapping.values()
    assert not [name for name, _ in plain.named_modules() if "lab_" in name]
    assert not [name for name in load_file(folder / "model.safetensors") if "lab_" in name or "parametriz" in name]
    assert (ours - logits(plain, batch)).abs().max() <= 1e-5
    assert (ours - logits(tiny(architecture, objective), batch)).abs().max() > 1e-3


REFUSED = [
    ("bert", "classification", "mam", "peft", "one kind"),
    ("bert", "classification", "adapter-houlsby", "peft", "bottleneck"),
    ("bert", "classification", "bitfit", "peft", "biases"),
    ("llama", "causal", "prefix-tuning", "peft", "positions=shift"),
    ("bart", "seq2seq", "prefix-tuning", "peft", "self-attention"),
    ("gemma3", "causal", "p-tuning-v2", "peft", "see 8 tokens back"),
    ("bert", "classification", "prompt-tuning", "peft", "pools"),
    ("bert", "classification", "ia3", "peft-lora", "LoRA"),
    ("bert", "classification", "hira", "peft-lora", "not low-rank"),
    ("bert", "classification", {"preset": "boft", "set": {"deltas.0.rank": 4}}, "peft", "CUDA"),
    ("bert", "classification", {"deltas": [{"at": ["attn.out"], "form": "householder"}]}, "peft", "insertion input"),
    ("gpt2", "causal", {"preset": "oft", "set": {"deltas.0.rank": 4}}, "peft", "does not go with"),
    ("bert", "classification", "loreft", "peft", "some tokens"),
    ("bert", "classification", "loreft", "merged", "some tokens"),
    ("bert", "classification", "prefix-tuning", "merged", "merged into weights"),
    ("bert", "classification", "nonsense", "onnx", "There is no format"),
]


@pytest.mark.parametrize("case", REFUSED, ids=[f"{case[2]}-{case[3]}" for case in REFUSED[:4]] + [str(i) for i in range(4, len(REFUSED))])
def test_what_has_no_place_is_refused_with_what_works(case, tmp_path):
    architecture, objective, method, format, words = case
    opened = trained(architecture, objective, "lora" if method == "nonsense" else method)
    with pytest.raises(Refusal) as refusal:
        write(opened, format, tmp_path / "out")
    assert words in str(refusal.value)
    assert format == "onnx" or "can be exported as" in str(refusal.value) and "lab" in str(refusal.value)
    assert not (tmp_path / "out").exists()


def test_every_format_that_is_offered_works_and_no_other(tmp_path):
    """What `formats` says of a method and what `write` does agree, for every preset on one model."""
    from lab.design.presets.catalogue import names

    for preset in sorted({*names("methods")} - {"adapterfusion"}):  # which stands on runs: test_blocks.py
        opened = trained("bert", "classification", {"preset": preset, "set": FITTING.get(preset, {})})
        offered = {row["format"] for row in formats(opened.spec) if not row["refusal"]}
        assert {"lab", "config"} <= offered
        for format in [*(set(FORMATS) - {"merged"}), "merged"]:  # which changes the model, so it comes last
            try:
                write(opened, format, tmp_path / preset / format)
                assert format in offered, (preset, format)
            except Refusal:
                assert format not in offered or format == "merged", (preset, format)


def test_folder_is_new_or_empty_and_nothing_else_is_touched(tmp_path):
    opened = trained("bert", "classification", small("lora"))
    full = tmp_path / "full"
    full.mkdir()
    (full / "mine.txt").write_text("keep", encoding="utf-8")
    with pytest.raises(Refusal, match="not empty"):
        write(opened, "peft", full)
    assert [path.name for path in full.iterdir()] == ["mine.txt"]
    with pytest.raises(Refusal, match="is a file"):
        write(opened, "peft", full / "mine.txt")
    empty = tmp_path / "empty"
    empty.mkdir()
    before = {path for path in tmp_path.rglob("*") if empty not in path.parents}
    write(opened, "peft", empty)
    assert {path for path in tmp_path.rglob("*") if empty not in path.parents} == before
    write(opened, "lab", tmp_path / "deep" / "er")
    assert sorted(path.name for path in (tmp_path / "deep" / "er").iterdir()) == [
        "README.md",
        "adapter.safetensors",
        "delta_lab.json",
        "head.safetensors",
        "spec.yaml",
    ]


def test_a_failed_export_leaves_nothing(tmp_path, monkeypatch):
    opened = trained("bert", "classification", small("lora"))
    monkeypatch.setattr("lab.export.card.sidecar", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write(opened, "peft", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_sidecar_and_card_state_the_design(tmp_path):
    opened = trained("bert", "classification", small("lora"))
    folder = write(opened, "peft", tmp_path / "out")
    document = json.loads((folder / "delta_lab.json").read_text(encoding="utf-8"))
    assert document["design"][0]["functional_form"] == "lowrank" and document["design"][0]["modified_representation"] == ["attn.q", "attn.v"]
    assert spec_of(document["spec"]) == opened.spec
    text = (folder / "README.md").read_text(encoding="utf-8")
    assert text.startswith("---\nbase_model: ") and "| accuracy | 0.75 |" in text and "attn.q, attn.v" in text


def test_a_card_says_what_is_known(tmp_path):
    """Its metadata are read by the hub's own library: base, data, metric with its split, language; and the text has the rest."""
    from huggingface_hub import ModelCard

    from lab.export.bases import Origin

    origin = Origin("acme/base", True, "0123abc", "Apache-2.0", "The base was quantised.", dtype="bfloat16")
    opened = trained("llama", "causal", {"preset": "adalora", "set": {"deltas.0.rank": 6, "deltas.0.schedule.target_rank": 3}}, origin=origin)
    opened.metrics = {"accuracy": 0.75, "loss": 0.5, "step": 40}
    opened.judged_on = {"rows": 100, "of": 831}
    opened.notes = "# Mine\n\n---\nlicense: other\n---\n```python\nmodel = evil\n"
    opened.costs = {"seconds": 12.0, "peak_bytes": 2_000_000, "total_steps": 40, "joules": 7200.0}
    folder = write(opened, "peft", tmp_path / "out")
    card = ModelCard.load(folder / "README.md")
    found = card.data.eval_results
    assert card.data.base_model == "acme/base" and card.data.license == "apache-2.0" and card.data.language == ["en"] and card.data.library_name == "peft"
    assert card.data.pipeline_tag == "text-generation" and {(each.metric_type, each.metric_value, each.dataset_split) for each in found} == {
        ("accuracy", 0.75, "validation"), ("loss", 0.5, "validation")}  # fmt: skip
    for words in (
        'revision="0123abc"',
        "The base was quantised.",
        "100 of its 831 rows, at step 40",
        "Review: {text}",
        "`positive` for positive",
        "energy: 2 Wh",
        "target_rank 3",
        opened.notes.strip(),
    ):
        assert words in card.text, words
    assert card.text.rstrip().endswith(opened.notes.strip()), "as they are, after everything that the lab says"
    config = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
    assert (config["tinit"], config["tfinal"], config["total_step"], config["revision"]) == (4, 16, 40, "0123abc")


def test_a_merged_model_keeps_the_size_of_its_base(tmp_path, monkeypatch):
    from lab.export.bases import Origin, stored_dtype

    opened = trained("llama", "causal", small("lora"), origin=Origin("tiny-llama", dtype="bfloat16"))
    batch = tiny_batch(opened.model)
    ours = logits(opened.model, batch)
    folder = write(opened, "merged", tmp_path / "out")
    tiny("llama", "causal").to(torch.bfloat16).save_pretrained(tmp_path / "base")
    assert stored_dtype(folder) == "bfloat16" and "rounded" in (folder / "README.md").read_text(encoding="utf-8")
    sizes = [(place / "model.safetensors").stat().st_size for place in (folder, tmp_path / "base")]
    assert abs(sizes[0] - sizes[1]) < 200
    theirs = run_card(folder, monkeypatch)["model"]
    assert theirs.dtype == torch.bfloat16 and (logits(theirs.float(), batch) - ours).abs().max() < 0.1


@pytest.fixture
def own(lab_home, tmp_path):
    """A base in a folder of the user's own and a task of the user's own file, with a method attached: a spec full of paths of this machine."""
    from lab.export.source import _open

    folder, file = lab_home / "models" / "mine", tmp_path / "reviews.csv"
    file.write_text("text,label\n" + "".join(f"line {i},{i % 2}\n" for i in range(20)), encoding="utf-8")
    tiny("bert", "classification", **TEXT).base_model.save_pretrained(folder)
    tiny_tokenizer("encoder").save_pretrained(folder)
    task = {"name": "mine", "family": "classification", "source": {"file": str(file)}, "labels": ["bad", "good"]}
    spec = spec_of({"model": str(folder), "task": task, "method": small("lora")})
    from lab.origins import origins_of

    opened = _open(spec.model_copy(update={"origins": origins_of(spec)}), None, {"objective": "classification", "labels": ["bad", "good"]})
    with torch.no_grad():
        for parameter in opened.attached.trainable().values():
            parameter.add_(0.1)
    return opened


@pytest.mark.parametrize("format", [name for name in FORMATS if name != "merged"] + ["merged"])
def test_no_path_of_this_machine_leaves(own, format, tmp_path, lab_home):
    opened = own
    if format == "gguf":  # of models that write text
        opened = trained("llama", "causal", "lora")
        opened.spec, opened.origin = own.spec, own.origin
    folder = write(opened, format, tmp_path / "out")
    paths = (str(tmp_path), str(lab_home), "/site-packages/")
    assert [path.name for path in folder.rglob("*") if path.is_file() and any(place.encode() in path.read_bytes() for place in paths)] == []


def test_a_folder_of_the_lab_is_loaded_anywhere(own, tmp_path, monkeypatch):
    """Without the run, its LAB_HOME and its data; where the base is another one, by a sentence."""
    import lab

    encoded = own.tokenizer(["a b", "c"], return_tensors="pt", padding=True)
    ours = logits(own.model, encoded)
    folder = write(own, "lab", tmp_path / "out")
    (tmp_path / "home" / "models" / "mine").rename(folder / "mine")
    (tmp_path / "reviews.csv").unlink()
    monkeypatch.setenv("LAB_HOME", str(tmp_path / "elsewhere"))
    space = run_card(folder, monkeypatch)
    assert torch.equal(logits(space["model"], space["tokenizer"](["a b", "c"], return_tensors="pt", padding=True)), ours)
    with pytest.raises(Refusal, match="was a folder called 'mine'"):
        lab.load(folder)
    tiny("bert", "classification", seed=5, **TEXT).base_model.save_pretrained(folder / "mine")
    with pytest.raises(Refusal, match="this has changed: weights"):
        lab.load(folder, model=str(folder / "mine"))


@pytest.mark.usefixtures("warm")
def test_a_real_run_goes_home(warm, tmp_path, monkeypatch, capsys):
    """By the terminal's verbs: train a few steps in a worker, export, and load with peft: the same logits as `lab.load`, on the same sentences."""
    import lab
    from lab.cli import main
    from lab.models import load

    def terminal(*arguments: str):
        assert main([*arguments, "--json"]) == 0, capsys.readouterr().err
        return json.loads(capsys.readouterr().out)

    found = terminal("run", "--model", "minilm-l6", "--task", "sentiment-rt", "--method", "lora", "--steps", "4", "--batch-size", "4", "--max-length", "16",
                     "--evaluate-every", "4", "--set", "task.validation_rows=16", "--no-energy", "--lr", "1e-2")  # fmt: skip
    assert found["state"] == "succeeded" and found["trainable"] == 73_728 and 0 < found["best"]["accuracy"] <= 1 and found["peak_bytes"] > 0
    offered = {row["format"] for row in terminal("export", found["run"], "--formats") if not row["refusal"]}
    assert offered == set(FORMATS) - {"gguf"}  # which is for models that write text
    exported = terminal("export", found["run"], "--format", "peft", "--out", str(tmp_path / "peft"))
    assert {row["name"] for row in exported["files"]} == {path.name for path in (tmp_path / "peft").iterdir()}
    for format in ("merged", "lab", "script"):
        lab.export(found["run"], format, tmp_path / format)
        modes = {path.stat().st_mode & 0o777 for path in (tmp_path / format).rglob("*") if path.is_file()}
        assert modes == {(tmp_path / format).stat().st_mode & 0o666}, "whoever may read the folder may read what is in it"
    script = (tmp_path / "script" / "train.py").read_text(encoding="utf-8")
    assert f"accuracy {found['best']['accuracy']:.4g}" in script and '"judged_rows": 16' in script
    texts = {format: (tmp_path / format / "README.md").read_text(encoding="utf-8") for format in ("peft", "merged", "lab")}
    assert all(
        "on the validation split" in text.lower() and "sentence-transformers/all-MiniLM-L6-v2" in text and "peak process memory" in text
        for text in texts.values()
    )
    model, tokenizer = lab.load(found["run"])
    batch = tokenizer(["a moving and funny film", "dull from start to end"], return_tensors="pt", padding=True)
    ours = logits(model, batch)
    plain = AutoModelForSequenceClassification.from_pretrained(tmp_path / "merged", dtype=torch.float32).eval()
    assert (ours - logits(plain, batch)).abs().max() <= 1e-5
    assert torch.equal(ours, logits(run_card(tmp_path / "lab", monkeypatch)["model"], batch))
    peft = pytest.importorskip("peft")
    base = load("minilm-l6", objective="classification", num_labels=2, seed=99)
    assert (ours - logits(peft.PeftModel.from_pretrained(base, tmp_path / "peft").eval(), batch)).abs().max() <= 1e-5


@pytest.mark.parametrize("method, alone", [("lora", True), ("adapter-pfeiffer", False)])
def test_a_script_repeats_the_run_from_an_empty_folder(method, alone, tmp_path, monkeypatch):
    """With transformers and peft alone, the loss after a few steps is within 15 % of the run's; by the engine it is the run's own. No path of this machine is in it."""
    import subprocess
    import sys

    from training_support import save_model, save_task
    from training_support import spec as spec_of_run

    from lab.export.source import _open
    from lab.training.running import train

    pytest.importorskip("peft")
    base, task = save_model(tmp_path / "base"), save_task(tmp_path / "data")
    spec = spec_of_run(base, task, {"preset": method, "set": {"deltas.0.rank": 4}}, steps=10, lr=0.01)
    result = train(spec, run_dir=tmp_path / "run")
    opened = _open(spec, None, {"labels": ["neg", "pos"], "metrics": result["metrics"]})
    folder = write(opened, "script", tmp_path / "script")
    text = (folder / "train.py").read_text(encoding="utf-8")
    assert [path.name for path in folder.iterdir()] == ["train.py"] and str(tmp_path) not in text
    assert alone == ("import lab" not in text and "from lab" not in text)
    empty = tmp_path / "empty"
    empty.mkdir()
    more = ["--model", base, "--data", task["source"]["file"], *([] if alone else ["--other-origins"])]
    done = subprocess.run([sys.executable, str(folder / "train.py"), *more], cwd=empty, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.strip().splitlines()[-1])
    if alone:
        assert abs(found["loss"] - result["metrics"]["loss"]) <= 0.15 * result["metrics"]["loss"] and 0 <= found["accuracy"] <= 1
        assert (empty / "adapter" / "adapter_model.safetensors").is_file()
    else:
        assert found["metrics"]["loss"] == pytest.approx(result["metrics"]["loss"], rel=1e-4)


def test_a_run_built_on_others_has_no_script():
    from lab.export.base import Facts

    opened = trained("bert", "classification", small("lora"))
    with pytest.raises(Refusal, match="built on other runs"):
        FORMATS["script"].require(Facts(opened.spec.method, opened.attached.body, "classification", built_on=True))
