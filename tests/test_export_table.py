"""Every preset on families of models in every foreign format: loaded by the real library, it gives equal logits and writes the same; or it is refused.

With LAB_EXPORTS=file in the environment the outcomes are kept, of which benchmarks/exports.py makes docs/export-table.md. llama.cpp is not here: what is
compared for gguf is the product of the tensors that gguf's own reader finds.
"""

from __future__ import annotations

import pytest
import torch
from exporting import FITTING, TOKENS, greedy, logits, run_card, told, trained
from test_export_adapterhub import ROOT, through_adapters
from tiny import tiny, tiny_batch

from lab.design.plain.refusal import Refusal
from lab.design.presets.catalogue import names
from lab.export import FORMATS, formats, write

OBJECTIVE = {
    **dict.fromkeys(("bert", "roberta", "distilbert", "deberta_v2", "modernbert"), "classification"), **dict.fromkeys(("bart", "t5"), "seq2seq"),
    **dict.fromkeys(("gpt2", "llama", "qwen2", "gemma3", "phi3"), "causal"),
}  # fmt: skip
PRESETS = sorted({*names("methods")} - {"adapterfusion"})  # which stands on runs
FOREIGN = [name for name in FORMATS if name not in ("lab", "config", "script")]


@pytest.mark.slow
@pytest.mark.oracle
@pytest.mark.parametrize("family", OBJECTIVE)
def test_every_preset_goes_to_every_format_that_is_offered(family, tmp_path, monkeypatch):
    pytest.importorskip("peft")
    wrong, hub = {}, {}
    for preset in PRESETS:
        try:
            opened = trained(family, OBJECTIVE[family], {"preset": preset, "set": FITTING.get(preset, {})})
        except Refusal as refusal:  # a method that this family cannot have
            for format in FOREIGN:
                told(preset, family, format, f"not on this model: {refusal.sentence}")
            continue
        rows = {row["format"]: row["refusal"] for row in _formats(opened)}
        for format in FOREIGN:
            outcome = rows[format] or _outcome(preset, opened, family, format, tmp_path / preset / format, monkeypatch, hub)
            if outcome.startswith("differs"):
                wrong[preset, format] = outcome
            if outcome != "later":
                told(preset, family, format, outcome)
    if hub and (ROOT / ".venv-adapters" / ".ready").exists():
        for preset, (mine, other, moved, text) in through_adapters(hub, tmp_path / "hub").items():
            equal = not isinstance(other, str) and (mine - other).abs().max() <= 1e-5 and text and moved > 1e-4
            if not equal:
                wrong[preset, "adapterhub"] = other if isinstance(other, str) else f"differs by {(mine - other).abs().max():.1e}, of {moved:.1e}; text {text}"
            told(preset, family, "adapterhub", "equal" if equal else "differs")
    assert not wrong


def _formats(opened):
    """`formats` for the tiny model itself, not for the one that its spec names."""
    from lab.export import _reason
    from lab.export.base import Facts

    facts = Facts(opened.spec.method, opened.attached.body, opened.objective)
    assert {row["format"] for row in formats()} == set(FORMATS)
    return [{"format": name, "refusal": _reason(found, facts)} for name, found in FORMATS.items()]


def _outcome(preset, opened, family, format, out, monkeypatch, hub) -> str:
    if format == "adapterhub":
        hub[preset] = (family, opened)
        return "later"
    batch = tiny_batch(opened.model)
    if format == "merged":  # which leaves the model merged
        opened = trained(family, opened.objective, opened.spec.method.document())
    ours, text = logits(opened.model, batch), greedy(opened.model, batch)
    try:
        folder = write(opened, format, out)
    except Refusal as refusal:  # the engine has the last word on what merges
        return refusal.sentence
    if format == "gguf":
        return "equal" if (folder / "adapter.gguf").is_file() else "differs"
    base = tiny(family, opened.objective)
    if format != "merged":
        base.save_pretrained(folder / f"tiny-{family}")
    space = run_card(folder, monkeypatch)
    model = space["model"].eval()
    theirs = logits(model, batch)[:, -ours.shape[1] :] if ours.dim() == 3 else logits(model, batch)
    apart, moved = (ours - theirs).abs().max(), (ours - logits(base, batch)).abs().max()
    if not (apart <= 1e-5 and moved > 1e-4):
        return f"differs by {apart:.1e}, of {moved:.1e}"
    written = space["write"](batch["input_ids"][:1], TOKENS) if "write" in space else greedy(model, batch)
    if text is not None and (written is None or not torch.equal(written, text)):
        return f"differs in text: {None if written is None else written.tolist()} and {text.tolist()}"
    return "equal"
