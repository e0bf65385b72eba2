"""AdapterHub's library loads what was exported, with its head, by the code of its card: equal logits, in an environment of its own (`make oracle`)."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
from exporting import TOKENS, greedy, inputs, logits, small, trained
from safetensors.torch import load_file, save_file
from tiny import tiny, tiny_batch, tiny_tokenizer

from lab.design.plain.refusal import Refusal
from lab.export import write

ROOT = Path(__file__).resolve().parents[1]
PYTHON = ROOT / ".venv-adapters" / "bin" / "python"
OBJECTIVE = {**dict.fromkeys(("bart", "mbart", "t5"), "seq2seq"), **dict.fromkeys(("gpt2", "llama", "mistral"), "causal")}
RESIDUAL = {"deltas__0__x": "residual"}
GATED = {f"deltas.{index}.gate_over": "all" for index in range(3)}
MAM = {"preset": "mam", "set": {"deltas.0.rank": 4, "deltas.0.encoder_width": 16, "deltas.1.rank": 8, "deltas.1.x": "residual"}}
UNIPELT = {"preset": "unipelt-apl", "set": {**GATED, "deltas.0.rank": 4, "deltas.1.rank": 3}}
SOME = {
    "deltas": [
        {"at": ["attn.v"], "form": "lowrank", "rank": 2, "layers": "1"},
        {"at": ["ffn.up", "attn.v"], "form": "lowrank", "rank": 3, "composition": "scaled", "scale": 2.0},
    ]
}
PARTLY = {"deltas": [{"at": ["attn.out"], "form": "bottleneck", "insertion": "sequential", "rank": 3, "layers": "1", "biases": False, "composition": "scaled", "scale": "learned"},
                     {"at": ["ffn.out"], "form": "bottleneck", "insertion": "sequential", "rank": 7, "nonlinearity": "tanh", "weight": 0.5}]}  # fmt: skip
CASES = {
    f"{family}-{name}": (family, OBJECTIVE.get(family, "classification"), method)
    for name, method, families in (
        ("houlsby", small("adapter-houlsby"), ("bert", "roberta", "distilbert", "deberta_v2", "electra", "xlm_roberta", "bart", "mbart", "t5", "gpt2", "llama", "mistral")),
        ("pfeiffer", small("adapter-pfeiffer"), ("bert", "distilbert", "bart", "t5", "llama")),
        ("parallel", small("adapter-parallel-scaled", **RESIDUAL), ("bert", "mbart", "t5", "mistral")),
        ("compacter", small("compacter"), ("bert", "bart", "t5", "llama")),
        ("compacter-apart", small("compacter", deltas__0__shared=False), ("bert",)),
        ("lora", small("lora"), ("bert", "distilbert", "bart", "t5", "gpt2", "llama", "mistral")),
        ("some", SOME, ("bert", "bart", "gpt2", "llama")),
        ("ia3", "ia3", ("llama", "mistral")),
        ("ia3-before", {"preset": "ia3", "set": {"deltas.0.at": ["attn.k", "attn.v", "ffn.up"]}}, ("bert", "bart", "gpt2")),
        ("prefix", small("prefix-tuning"), ("bert", "distilbert", "bart", "gpt2", "llama")),
        ("prefix-some", small("prefix-tuning", deltas__0__layers="1"), ("roberta", "gpt2")),
        ("mam", MAM, ("bert", "bart", "gpt2", "mistral")),
        ("unipelt", UNIPELT, ("bert", "bart", "gpt2", "llama")),
        ("partly", PARTLY, ("bert", "bart")),
    )
    for family in families
}  # fmt: skip


@pytest.fixture(scope="module")
def theirs(tmp_path_factory, request):
    """What the library answers to every case that is asked for, from one run of its environment: see `through_adapters`."""
    if not (ROOT / ".venv-adapters" / ".ready").exists():
        pytest.skip("there is no .venv-adapters with the adapters library; `make oracle` makes it")
    asked = {item.callspec.params["name"] for item in request.session.items if item.nodeid.partition("[")[0].endswith("test_its_logits_are_ours")}
    cases = {name: (family, trained(family, objective, method)) for name, (family, objective, method) in CASES.items() if name in asked}
    tokenizer = tiny_tokenizer()  # which the card reads too, in an older transformers
    for _, opened in cases.values():
        if opened.model.config.pad_token_id == tokenizer.pad_token_id:  # RoBERTa counts positions from it, and the lab builds a model with its tokenizer's
            opened.tokenizer = tokenizer
    return through_adapters(cases, tmp_path_factory.mktemp("hub"))


def through_adapters(cases, job: Path):
    """{name: (our logits, theirs or why there are none, how far ours are from the base's, whether both write the same)} of open models with their families."""
    asked, ours = [], {}
    for name, (family, opened) in cases.items():
        batch, base = tiny_batch(opened.model), tiny(family, opened.objective)
        mine = logits(opened.model, batch)
        ours[name] = mine, float((logits(base, batch) - mine).abs().max()), greedy(opened.model, batch)
        folder = write(opened, "adapterhub", job / "out" / name)
        base.save_pretrained(folder / f"tiny-{family}")
        save_file(inputs(opened.model, batch), job / f"{name}.batch")
        asked.append({"name": name, "folder": str(folder), "batch": str(job / f"{name}.batch"), "tokens": 0 if ours[name][2] is None else TOKENS})
    (job / "cases.json").write_text(json.dumps(asked), encoding="utf-8")
    done = subprocess.run([PYTHON, ROOT / "tests" / "oracles" / "adapters_loads.py", job], capture_output=True, text=True, timeout=900,
                          env={"HF_HUB_OFFLINE": "1", "HOME": str(job), "PATH": os.environ["PATH"]})  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    found = {}
    for name, (mine, moved, text) in ours.items():
        answer, problem = job / f"{name}.safetensors", job / f"{name}.error"
        other = load_file(answer) if answer.exists() else {"logits": problem.read_text(encoding="utf-8")[-1000:]}
        found[name] = (mine, other["logits"], moved, text is None or "text" in other and other["text"].tolist() == text.tolist())
    return found


@pytest.mark.oracle
@pytest.mark.parametrize("name", CASES)
def test_its_logits_are_ours(name: str, theirs) -> None:
    mine, other, moved, text = theirs[name]
    assert not isinstance(other, str), other
    assert moved > 1e-3, "the method does nothing, so equality would say nothing"
    assert (mine - other).abs().max() <= 1e-5 and text


REFUSED = [
    ("bert", "ia3", "before its activation"), ("gpt2", "adapter-parallel-ffn", "x=residual"), ("bert", "p-tuning-v2", "positions=keep"), ("t5", "prefix-tuning", "distances"),
    ("bert", "unipelt-apl", "gate_over=all"), ("bert", "loreft", "padding"), ("bert", "bitfit", "own weights"), ("bert", "dora", "composition dora"), ("bert", "hra", "form"),
    ("modernbert", "lora", "no adapters for ModernBERT"), ("bert", "prefix-ungated", "inside the attention"),
    ("bert", {"deltas": [{"at": ["attn.out"], "form": "lowrank"}]}, "own input"),
    ("bert", {"deltas": [{"at": ["attn.q"], "form": "lowrank"}, {"at": ["attn.v"], "form": "scale", "insertion": "sequential", "composition": "rescale"}]}, "not both"),
]  # fmt: skip


@pytest.mark.parametrize("case", REFUSED, ids=[f"{case[0]}-{case[1] if isinstance(case[1], str) else index}" for index, case in enumerate(REFUSED)])
def test_what_it_cannot_say_is_refused_with_what_can(case, tmp_path) -> None:
    family, method, words = case
    opened = trained(family, OBJECTIVE.get(family, "classification"), method)
    with pytest.raises(Refusal) as refusal:
        write(opened, "adapterhub", tmp_path / "out")
    assert words in refusal.value.sentence and "can be exported as" in refusal.value.sentence
