"""A base model is whole or refused, pads with one token, and what is new in it comes home with the adapter."""

from __future__ import annotations

import json
import shutil
import zlib
from pathlib import Path

import pytest
import torch
from laws import SIX
from safetensors.torch import load_file, save_file
from tiny import ARCHITECTURES, DECODERS, ENCODER_DECODERS, ENCODERS, TEXT, tiny, tiny_tokenizer

from lab.design.body.architecture import load_architecture
from lab.design.plain.refusal import Refusal
from lab.models import load, load_tokenizer

OWN = {name: "causal" if name in DECODERS else "seq2seq" if name in ENCODER_DECODERS else "classification" for name in ARCHITECTURES}
HEADED = tuple(name for name in ARCHITECTURES if load_architecture(name).classifier)


def saved(folder: Path, architecture: str, objective: str | None, **overrides) -> Path:
    tiny(architecture, objective, **overrides).save_pretrained(folder)
    return folder


def change(folder: Path, edit) -> Path:
    """The weights of a saved model as `edit` makes them of what they were."""
    file = folder / "model.safetensors"
    tensors = load_file(file)
    save_file({name: tensor.contiguous() for name, tensor in edit(tensors).items()}, file, metadata={"format": "pt"})
    return folder


def configure(folder: Path, **values) -> None:
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps({**config, **values}), encoding="utf-8")


def refused(folder: Path, objective: str, *words: str) -> str:
    with pytest.raises(Refusal) as refusal:
        load(str(folder), objective=objective, num_labels=2)
    sentence = refusal.value.sentence
    assert all(word in sentence for word in words), sentence
    assert "\n" not in sentence and sentence.endswith(".") and refusal.value.field == "model"
    return sentence


def layered(names) -> list[str]:
    return [name for name in names if any(part.isdigit() for part in name.split("."))]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_what_a_checkpoint_lacks_is_named(architecture, tmp_path):
    """Of every family: keys under a prefix, layers that are not there, one tensor gone, and one of another shape."""
    objective = OWN[architecture]
    folder = saved(tmp_path / "model", architecture, objective)
    load(str(folder), objective=objective, num_labels=3)
    whole = load_file(folder / "model.safetensors")
    shutil.copytree(folder, tmp_path / "wrapped")
    refused(
        change(tmp_path / "wrapped", lambda old: {f"module.wrapped.{name}": tensor for name, tensor in old.items()}),
        objective,
        "other names",
        "module.wrapped.",
    )
    last = max(int(part) for name in layered(whole) for part in name.split(".") if part.isdigit())
    gone = [name for name in layered(whole) if f".{last}." in name]
    shutil.copytree(folder, tmp_path / "half")
    sentence = refused(change(tmp_path / "half", lambda old: {name: tensor for name, tensor in old.items() if name not in gone}), objective, "would be random")
    assert any(name.split(".", 1)[-1].split(".", 1)[-1] in sentence for name in gone), sentence
    shutil.copytree(folder, tmp_path / "shape")
    changed = gone[0]
    refused(change(tmp_path / "shape", lambda old: {**old, changed: torch.zeros(3, 5)}), objective, "3 × 5", "config.json")


@pytest.mark.parametrize("architecture", DECODERS)
def test_a_decoders_body_alone(architecture, tmp_path):
    """Tied: its head is the embedding, and it works. Untied: refused for what writes words, fine for a new head."""
    for tied in (True, False):
        folder = saved(tmp_path / str(tied), architecture, None, tie_word_embeddings=tied)
        if tied:
            model = load(str(folder), objective="causal")
            assert model.get_output_embeddings().weight is model.get_input_embeddings().weight
        else:
            refused(folder, "causal", "body alone", "lm_head" if architecture != "gpt_neox" else "weight")
        if architecture in HEADED:
            assert load(str(folder), objective="classification", num_labels=2).lab_new == {"score.weight"}


@pytest.mark.parametrize("architecture", HEADED)
def test_a_head_of_another_size_begins_anew_and_one_that_fits_is_taken(architecture, tmp_path):
    folder = saved(tmp_path, architecture, "classification")
    theirs = tiny(architecture, "classification").state_dict()
    again = load(str(folder), objective="classification", num_labels=3)
    assert not again.lab_new and any("begins with what the checkpoint has" in sentence for sentence in again.lab_notes)
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in again.state_dict().items())
    others = (("classification", 5), ("regression", None), ("multi_label", 7))
    for objective, labels in others if architecture == "bert" else [others[zlib.crc32(architecture.encode()) % 3]]:  # each is tried on some of them
        first, second = (load(str(folder), objective=objective, num_labels=labels, seed=4) for _ in range(2))
        assert first.lab_new and any("begins anew" in sentence and "3 outputs" in sentence for sentence in first.lab_notes)
        for name, tensor in first.state_dict().items():
            assert torch.equal(tensor, second.state_dict()[name]), "a new head is not that of its seed"
            assert name in first.lab_new or torch.equal(tensor, theirs[name])


def test_other_architectures_and_other_depths_are_refused(tmp_path):
    for theirs, said, objective in (
        ("roberta", "bert", "classification"),
        ("gpt2", "llama", "causal"),
        ("t5", "bart", "seq2seq"),
        ("bert", "distilbert", "classification"),
    ):
        folder = saved(tmp_path / theirs, theirs, OWN[theirs])
        config = json.loads((saved(tmp_path / f"{theirs}-{said}", said, OWN[said]) / "config.json").read_text(encoding="utf-8"))
        (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
        refused(folder, objective, "The weights of")
    folder = saved(tmp_path / "deep", "llama", "causal")
    configure(folder, num_hidden_layers=2)
    refused(folder, "causal", "layers that its config.json does not count", "layers.2.")
    folder = saved(tmp_path / "encoder", "t5", "seq2seq")
    refused(change(folder, lambda old: {name: tensor for name, tensor in old.items() if not name.startswith("decoder")}), "seq2seq", "lack", "decoder.block.0")


def test_a_folder_with_an_adapter_is_no_model(tmp_path):
    from lab.models import resolve

    (tmp_path / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "org/base", "peft_type": "LORA"}), encoding="utf-8")
    with pytest.raises(Refusal, match="is a PEFT adapter for org/base"):
        resolve(str(tmp_path))
    saved(tmp_path, "bert", "classification")  # transformers would load the base that the adapter names
    with pytest.raises(Refusal, match="is a PEFT adapter for org/base"):
        resolve(str(tmp_path))
    for name in ("method.json", "delta_lab.json"):
        folder = tmp_path / name.split(".")[0]
        folder.mkdir()
        (folder / "adapter.safetensors").write_bytes(b"")
        (folder / name).write_text("{}", encoding="utf-8")
        with pytest.raises(Refusal, match="adapter of the lab"):
            resolve(str(folder))


# -- one padding token ---------------------------------------------------------------------------------------------------------------


def with_tokenizer(folder: Path, architecture: str, objective: str | None, pad: str | None = "<pad>", **overrides) -> Path:
    """A saved model with a byte tokenizer whose padding is `pad`; its config says nothing of padding, or another token."""
    kind = "encoder" if architecture in ENCODERS else "encoder-decoder" if architecture in ENCODER_DECODERS else "decoder"
    size = {"decoder_vocab_size": 260} if architecture == "marian" else {}
    tokenizer = tiny_tokenizer(kind)
    if pad is None:
        tokenizer = type(tokenizer)(tokenizer_object=tokenizer.backend_tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>")
    tokenizer.save_pretrained(folder)
    return saved(
        folder,
        architecture,
        objective,
        **{**TEXT, "decoder_start_token_id": 1, "forced_eos_token_id": None, "cls_token_id": 1, "sep_token_id": 2, **size, **overrides},
    )


TEXTS = ["a film", "it was a dull and a long one", "x", "fine <pad> </s>"]


@pytest.mark.parametrize(("architecture", "objective"), [
    pytest.param(name, objective, marks=[pytest.mark.slow] if objective == "regression" and name not in SIX else []) for name in HEADED for objective in ("classification", "regression")
])  # fmt: skip
def test_a_texts_logits_do_not_depend_on_its_batch(architecture, objective, tmp_path):
    """Alone against padded, whatever the model's config said of padding: nothing, or another token."""
    from lab.tasks import prepare, resolve

    said = 0 if architecture in ("roberta", "xlm_roberta") else 3 if architecture in ("deberta_v2", "bert") else None
    if architecture in ENCODER_DECODERS:
        said = 3
    folder = with_tokenizer(tmp_path, architecture, None, pad_token_id=said)
    tokenizer = load_tokenizer(str(folder))
    model = load(str(folder), objective=objective, num_labels=3)
    assert model.config.pad_token_id == model.config.get_text_config().pad_token_id == tokenizer.pad_token_id == 0
    columns = {"text": "text", "label": "label"}
    task = {"name": "toy", "family": objective, "columns": columns, "source": {"file": str(tmp_path / "x.csv")}, "head": "classifier" if objective != "regression" else "auto",
            **({"labels": ["a", "b", "c"]} if objective == "classification" else {})}  # fmt: skip
    ready = prepare(resolve(task), tokenizer, model.config, max_length=40)
    rows = ready.family.encode([{"text": text, "label": 0} for text in TEXTS], ready.setting, False)
    with torch.no_grad():
        together = model(**{name: tensor for name, tensor in ready.collate(rows).items() if name != "labels"}).logits
        for i, row in enumerate(rows):
            alone = model(**{name: tensor for name, tensor in ready.collate([row]).items() if name != "labels"}).logits[0]
            assert (alone - together[i]).abs().max() <= 1e-5, TEXTS[i]
    assert (together[0] - together[1]).abs().max() > 1e-4


@pytest.mark.parametrize("architecture", [
    pytest.param(name, marks=[] if name in (*SIX, "mbart", "gemma2", "falcon") else [pytest.mark.slow]) for name in ARCHITECTURES if OWN[name] != "classification"
])  # fmt: skip
def test_what_is_written_does_not_depend_on_the_batch(architecture, tmp_path):
    """Generation pads decoders on the left, teacher forcing on the right: both as alone; decoders have no padding token of their own."""
    from lab.tasks import prepare, resolve, scoring
    from lab.tasks.family import EvaluationLoop
    from lab.tasks.rows import Rows

    given = {"pad": None, "pad_token_id": None} if architecture in DECODERS else {"pad_token_id": 3}
    depth = {"num_decoder_layers": 2} if architecture == "t5" else {}  # transformers sizes the cache of generate() by the encoder
    folder = with_tokenizer(tmp_path, architecture, OWN[architecture], **given, **depth)
    tokenizer = load_tokenizer(str(folder))
    model = load(str(folder), objective=OWN[architecture])
    assert model.config.pad_token_id == model.generation_config.pad_token_id == tokenizer.pad_token_id
    task = {"name": "toy", "family": "summarization", "columns": {"source": "a", "target": "b"}, "source": {"file": str(tmp_path / "x.csv")},
            "generation": {"beams": 1, "max_length": 5, "min_length": 3}}  # fmt: skip
    ready = prepare(resolve(task), tokenizer, model.config, max_length=60)
    rows = Rows.of(ready.family.encode([{"source": text, "target": "ok"} for text in TEXTS], ready.setting, False))
    together, alone = (scoring.generate(model, rows, ready.setting, EvaluationLoop(batch_size=size)) for size in (4, 1))
    assert together == alone
    losses = [scoring.token_loss(model, rows, ready.setting, EvaluationLoop(batch_size=size))[0] for size in (1, 4)]
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)


def test_padding_is_chosen_deliberately_and_told(tmp_path):
    for name, options, word in (("config", {"pad_token_id": 0}, "<pad>"), ("named", {"pad_token_id": None}, "<pad>")):
        folder = with_tokenizer(tmp_path / name, "llama", "causal", pad=None, **options)
        tokenizer = load_tokenizer(str(folder))
        assert tokenizer.pad_token == word and f"{word} (token 0) pads" in tokenizer.lab_padding
    own = load_tokenizer(str(with_tokenizer(tmp_path / "own", "llama", "causal")))
    assert not hasattr(own, "lab_padding")
    own.add_special_tokens({"pad_token": "[PAD]"})  # as many do, and leave the embeddings as they were
    own.save_pretrained(tmp_path / "own")
    own = load_tokenizer(str(tmp_path / "own"))
    assert own.pad_token == "<pad>" and "pads with [PAD], for which the model has no embedding, so <pad>" in own.lab_padding
    load(str(tmp_path / "own"), objective="causal")


def test_positions_counted_from_another_padding_are_refused(tmp_path):
    refused(with_tokenizer(tmp_path, "roberta", None, pad_token_id=1), "classification", "counts positions from token 1")


@pytest.mark.parametrize("architecture", ["bart", "mbart", "t5"])
def test_a_head_that_finds_no_end_of_text_is_refused(architecture, tmp_path):
    folder = with_tokenizer(tmp_path, architecture, None)
    tiny_tokenizer("decoder").save_pretrained(folder)
    refused(folder, "classification", "reads the end of a text (token 2)")


def test_a_tokenizer_larger_than_the_embedding(tmp_path):
    """Words that a text can become are refused, at launch too; control tokens that nothing writes (Gemma's image token) are not."""
    from lab.models import locate, resolve, vocabulary

    folder = with_tokenizer(tmp_path, "llama", "causal")
    tokenizer = load_tokenizer(str(folder))
    tokenizer.add_special_tokens({"additional_special_tokens": ["<image>"]})
    tokenizer.save_pretrained(folder)
    load(str(folder), objective="causal")
    vocabulary.check(resolve(str(folder)), locate(resolve(str(folder))).folder)
    tokenizer.add_tokens(["ticket", "lamp"])
    tokenizer.save_pretrained(folder)
    refused(folder, "causal", "2 tokens more than the model has embeddings", "'lamp' is number 262 of 260")
    with pytest.raises(Refusal, match="2 tokens more"):
        vocabulary.check(resolve(str(folder)), locate(resolve(str(folder))).folder)
    tokenizer.chat_template = "{% for m in messages %}<image>{{ m['content'] }}{% endfor %}"
    bare = with_tokenizer(tmp_path / "bare", "llama", "causal")
    tokenizer = load_tokenizer(str(bare))
    tokenizer.add_special_tokens({"additional_special_tokens": ["<turn>"]})
    tokenizer.chat_template = "{% for m in messages %}<turn>{{ m['content'] }}{% endfor %}"
    tokenizer.save_pretrained(bare)
    refused(bare, "causal", "'<turn>'")


def test_a_model_without_a_tokenizer_is_refused(tmp_path):
    for architecture in ("roberta", "bert", "gpt2", "t5", "mbart"):
        with pytest.raises(Refusal, match="comes without a tokenizer"):
            load_tokenizer(str(saved(tmp_path / architecture, architecture, OWN[architecture])))


def cut(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])


def shards(folder: Path) -> None:
    """As a checkpoint in two files, of which one is not here."""
    file = folder / "model.safetensors"
    names = sorted(load_file(file))
    file.rename(folder / "model-00001-of-00002.safetensors")
    index = {"metadata": {}, "weight_map": {name: f"model-0000{1 + place % 2}-of-00002.safetensors" for place, name in enumerate(names)}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")


def stored(dtype):
    return lambda folder: change(folder, lambda old: {name: tensor.to(dtype) if "q_proj" in name else tensor for name, tensor in old.items()})


DAMAGES = {
    "cut": (cut, "are damaged .model.safetensors has"), "empty": (lambda folder: (folder / "model.safetensors").write_bytes(b""), "are damaged .model.safetensors ends before"),
    "no header": (lambda folder: (folder / "model.safetensors").write_bytes(b"\x02" + bytes(7) + b"{]"), "are damaged .the header of model.safetensors cannot be read"),
    "a shard": (shards, "has no model-00002-of-00002.safetensors, which its model.safetensors.index.json names"),
    "int8": (stored(torch.int8), "are quantised .'model.layers.0.self_attn.q_proj.weight' is I8"), "fp8": (stored(torch.float8_e4m3fn), "are quantised .* is F8_E4M3"),
    "gptq": (lambda folder: configure(folder, quantization_config={"quant_method": "gptq", "bits": 4}), "is quantised .gptq., for which transformers needs optimum and gptqmodel"),
    "hqq": (lambda folder: configure(folder, quantization_config={"quant_method": "hqq"}), "is quantised .hqq., which the lab has no layers for"),
    "tokenizer": (lambda folder: (folder / "tokenizer.json").write_text('{"model": ', encoding="utf-8"), "tokenizer of .* is damaged .tokenizer.json: "),
}  # fmt: skip


@pytest.mark.parametrize("name", list(DAMAGES))
def test_a_damaged_or_quantised_base_is_refused_at_launch(name, tmp_path, lab_home):
    from lab import verbs

    damage, words = DAMAGES[name]
    folder = with_tokenizer(tmp_path / "model", "llama", "causal")
    spec = {"model": str(folder), "task": "text-lm", "method": "lora"}
    verbs.check(spec)
    damage(folder)
    with pytest.raises(Refusal, match=words) as refusal:
        verbs.check(spec)
    assert refusal.value.field == "model"


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_weights_that_are_no_numbers_are_refused(value, tmp_path):
    for architecture in ("bert", "gpt2", "t5"):
        folder = saved(tmp_path / architecture, architecture, OWN[architecture])
        name = next(name for name in sorted(load_file(folder / "model.safetensors")) if name.endswith("weight") and "norm" not in name.lower())

        def spoil(old, name=name):
            old[name].view(-1)[3] = value
            return old

        refused(change(folder, spoil), OWN[architecture], "not finite", name.split(".", 1)[-1])


# -- what trains nothing, or more than there is, is refused before a run is queued ------------------------------------------------------


def test_nothing_to_train_is_refused_at_launch(tmp_path, lab_home):
    import lab
    from lab import verbs

    folder = with_tokenizer(tmp_path, "llama", "causal")

    def refusal(method, task="text-lm") -> str:
        with pytest.raises(Refusal) as found:
            verbs.check({"model": str(folder), "task": task, "method": method})
        return found.value.sentence

    assert "no biases" in refusal("bitfit") and "no new task head" in refusal({"select": {"what": "head"}})
    for at in (["attn.q"], ["attn.v"], ["ffn.up"]):
        assert "the most that a change of these weights can have" in refusal({"preset": "lora", "set": {"deltas.0.rank": 4096, "deltas.0.at": at}})
    assert "at least 1" in refusal({"preset": "lora", "set": {"deltas.0.trainable": []}})
    verbs.check({"model": str(folder), "task": "text-lm", "method": {"preset": "lora", "set": {"deltas.0.rank": 32}}})
    with pytest.raises(Refusal, match="no method preset 'nope'"):
        lab.attach(tiny("llama", "causal"), "nope")
    by_name, by_document = lab.attach(tiny("llama", "causal"), "lora"), lab.attach(tiny("llama", "causal"), {"preset": "lora"})
    assert by_name.method == by_document.method == lab.load_method("lora")


# -- an export gives the same logits wherever it is loaded ------------------------------------------------------------------------------


@pytest.mark.parametrize("architecture", ["bert", "gpt2"])
def test_an_export_gives_the_same_logits_on_every_load(architecture, tmp_path):
    """A BERT without a pooler, and a decoder whose config says nothing of padding: what is new goes home in every format, whatever the seed of a load."""
    peft = pytest.importorskip("peft")
    from training_support import save_model, save_task, spec
    from transformers import AutoModelForSequenceClassification as Headed

    import lab
    from lab.blocks import facts_in
    from lab.export import source, write
    from lab.training import Record, train

    folder = Path(
        save_model(tmp_path / "model", architecture, None if architecture == "bert" else "causal", **({"pad_token_id": None} if architecture == "gpt2" else {}))
    )
    if architecture == "bert":
        change(folder, lambda old: {name: tensor for name, tensor in old.items() if not name.startswith("pooler")})
    chosen = spec(str(folder), {**save_task(tmp_path / "task", rows=60), "head": "classifier"}, steps=3, evaluate_every=3, lr=0.05)
    result, best = train(chosen, Record(), tmp_path / "run", say=lambda line: None), tmp_path / "run" / "adapter"
    assert result["base"]["padding"] == {"token": "[PAD]", "id": 0}
    if architecture == "bert":
        assert any("no pooler" in sentence for sentence in result["base"]["told"])
        kept = load_file(best / "head.safetensors")
        assert {"bert.pooler.dense.weight", "bert.pooler.dense.bias", "classifier.weight", "classifier.bias"} == set(kept)
        assert result["trainable_head"] == sum(tensor.numel() for tensor in kept.values())
    ids = {"input_ids": torch.tensor([[2, 6, 8, 3, 0, 0], [2, 7, 12, 13, 14, 3]]), "attention_mask": torch.tensor([[1, 1, 1, 1, 0, 0], [1, 1, 1, 1, 1, 1]])}

    def opened():
        return source._open(chosen, best, facts_in(best))

    def again(format, out):
        if format == "lab":
            return lab.load(out, model=str(folder))[0]  # the folder's own place goes along in no format
        if format == "merged":
            model = Headed.from_pretrained(out)
            assert model.config.id2label == {0: "neg", 1: "pos"} and model.config.pad_token_id == 0
            return model
        facts = json.loads((out / "delta_lab.json").read_text(encoding="utf-8"))  # as the README says
        model = Headed.from_pretrained(folder, num_labels=2, id2label=dict(enumerate(facts["labels"])), pad_token_id=facts["padding"]["id"])
        return peft.PeftModel.from_pretrained(model, out)

    with torch.no_grad():
        ours = opened().model(**ids).logits
        for format in ("peft", "merged", "lab"):
            out = write(opened(), format, tmp_path / format)
            facts = json.loads((out / "delta_lab.json").read_text(encoding="utf-8"))
            assert facts["labels"] == ["neg", "pos"] and facts["padding"]["id"] == 0 and (out / "tokenizer.json").is_file()
            assert "0 neg, 1 pos" in (out / "README.md").read_text(encoding="utf-8")
            for seed in (1, 2):
                torch.manual_seed(seed)
                assert (again(format, out).eval()(**ids).logits - ours).abs().max() <= 1e-5, (format, seed)


@pytest.mark.usefixtures("warm")
def test_best_weights_of_step_0_are_never_without_a_word(tmp_path, warm, capsys):
    """Nothing learned (a learning rate of almost nothing on labels that mean nothing) is said in the log, at export and in what is exported."""
    from training_support import save_model, save_task, spec

    import lab
    from lab.runs import default

    run = lab.run(spec(save_model(tmp_path / "model", "bert"), save_task(tmp_path / "task", rows=60), steps=2, evaluate_every=2, lr=1e-12))
    assert run.state == "succeeded" and run.result["best"]["step"] in (0, 2)
    if run.result["best"]["step"]:
        pytest.skip("rounding gave the last step an equal metric and a lower loss")
    assert "best weights are those of step 0" in default().log_tail(run.id)
    out = lab.export(run, format="peft", out=tmp_path / "out")
    assert "step 0" in capsys.readouterr().err and "step 0" in (out / "README.md").read_text(encoding="utf-8")
    assert "step 0" in json.loads((out / "delta_lab.json").read_text(encoding="utf-8"))["note"]
