"""Trained runs as building blocks: read back whole, refused for another base or other labels, trained further, stood on, fused."""

from __future__ import annotations

import shutil

import pytest
import torch
import torch.nn.functional as F
from comparing import told
from tiny import tiny
from training_support import save_model, save_task, spec

from lab import blocks, verbs
from lab.design.method.named import load_method
from lab.design.method.standing import standing_on
from lab.design.plain.refusal import Refusal
from lab.design.spec.run import Origins, spec_of
from lab.design.spec.writing import as_command, as_yaml
from lab.engine import attach
from lab.export.source import open_run
from lab.runs import Home, Queue, WorkerLink
from lab.training import train
from lab.ui.bench import knobs


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    return save_model(tmp_path_factory.mktemp("bert"))


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    return save_task(tmp_path_factory.mktemp("toy"), rows=60)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A LAB_HOME for the whole file, whose runs are only read."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LAB_HOME", str(tmp_path_factory.mktemp("home")))
        yield Home().path


def finished(chosen, **more):
    """Train in this process what `verbs.check` gives, as a worker would; the run's id."""
    checked = verbs.check(chosen)
    lab = Queue(Home(), count=0)
    run_id = lab.launch(checked.document(), checked.name)
    link = WorkerLink(run_id, lab.home, lab.store)
    result = train(checked, link, link.run_dir, run_id=run_id, say=lambda line: None)
    link.finish("succeeded", result)
    return run_id


@pytest.fixture(scope="module")
def lora(home, bert, toy):
    return finished(spec(bert, toy, "lora", steps=4, evaluate_every=2, lr=0.01))


def test_a_block_is_what_the_run_left(home, lora, bert):
    block = blocks.read(lora)
    assert block.name == f"{lora}/best" and block.labels == ("neg", "pos") and block.objective == "classification" and 0 <= block.metrics["accuracy"] <= 1
    assert blocks.read(f"{lora}/final").folder.name == "adapter" and blocks.read(lora[:5]).run == lora
    assert block.print and block.print == blocks.read(lora).print and set(block.head()) and all("deltas.0." in name for name in block.state())
    now = verbs.check(block.spec).origins
    blocks.require_base(block, now, bert)
    blocks.require_base(block, now, "/another/place/of/the/same/files")
    blocks.require_labels(block, ["neg", "pos"])
    torch.testing.assert_close(block.state(), blocks.read(f"{lora}/best").state(), rtol=0, atol=0)


@pytest.mark.parametrize(
    "change, words", [({"weights": "1"}, "the weights of"), ({"config": "1"}, "the config.json of"), ({"tokenizer": "1"}, "the tokenizer of")]
)
def test_another_base_is_refused(home, lora, bert, change, words):
    block = blocks.read(lora)
    now = block.base.model_copy(update=change)
    with pytest.raises(Refusal, match=words) as refused:
        blocks.require_base(block, now, bert, "built_on.start")
    assert refused.value.field == "built_on.start"
    with pytest.raises(Refusal, match="choose the same model"):
        blocks.require_base(block, Origins(), "bert-base")  # prints that are not known yet: then the name decides


def test_other_labels_and_runs_without_an_adapter_are_refused(home, lora, bert, toy):
    with pytest.raises(Refusal, match="labels neg, pos, and these are pos, neg"):
        blocks.require_labels(blocks.read(lora), ["pos", "neg"])
    waiting = Queue(Home(), count=0).launch(spec(bert, toy).document())
    with pytest.raises(Refusal, match="wait for its end") as refused:
        blocks.read(waiting, "built_on.frozen.0")
    assert refused.value.field == "built_on.frozen.0"
    for words in ("nosuchrun", f"{lora}/worst", "../../etc"):
        with pytest.raises(Refusal):
            blocks.read(words)


# -- training further


def logits(run_id, adapter="best"):
    """(of a text by the model as it is opened, the opened run)."""
    opened = open_run(run_id, adapter)
    with torch.no_grad():
        return opened.model(**IDS).logits, opened


IDS = {"input_ids": torch.tensor([[2, 6, 8, 17, 3], [2, 12, 13, 18, 3]])}
FURTHER = {
    "lora": {},
    "adapter-pfeiffer": {"deltas.0.rank": 4},
    "lamda": {"deltas.0.rank": 4},
    "prefix-tuning": {"deltas.0.rank": 3},
    "bitfit": {},
    "vera": {"deltas.0.rank": 8},
}


@pytest.mark.parametrize("method", [pytest.param(name, marks=[] if place % 2 == 0 else [pytest.mark.slow]) for place, name in enumerate(FURTHER)])
def test_training_further_starts_where_the_run_ended(home, bert, toy, method):
    """At a learning rate of almost nothing the new run is the old one: deltas, changed weights, frozen bases and head."""
    chosen = load_method(method, FURTHER[method])
    first = finished(spec(bert, toy, chosen, steps=3, evaluate_every=3, lr=0.01))
    document = spec(bert, toy, chosen, seed=5, steps=1, evaluate_every=1, lr=1e-30, head_lr=1e-30).document()
    further = finished({**document, "built_on": {"start_from": f"{first}/final"}})
    before, after = logits(first, "final"), logits(further, "final")
    torch.testing.assert_close(after[0], before[0], rtol=1e-6, atol=1e-6)
    assert after[1].spec.built_on.start_from == f"{first}/final" and after[1].spec.origins.adapters
    fresh = finished({**document, "built_on": {"start_from": f"{first}/final", "start_head": "new"}})
    kept, new = (blocks.read(f"{run}/final") for run in (further, fresh))
    torch.testing.assert_close(new.state(), kept.state(), rtol=0, atol=1e-20)
    assert not any(torch.equal(tensor, kept.head()[name]) for name, tensor in new.head().items() if tensor.dim() > 1)


def test_another_design_base_or_labels_to_go_on_with_is_refused(home, lora, bert, toy, tmp_path):
    def refused(field, words, method="lora", model=bert, task=toy, **built_on):
        document = {**spec(model, task, method).document(), "built_on": {"start_from": lora, **built_on}}
        with pytest.raises(Refusal, match=words) as found:
            verbs.check(document)
        assert found.value.field == field

    refused("method.deltas.0.rank", "was trained with rank 8", load_method("lora", {"deltas.0.rank": 4, "deltas.0.alpha": None}))
    refused("built_on.start_from", ": 1; of this method: 2", "mam")
    refused(
        "method.deltas.0.at",
        "trained with modified representation .*attn.v, and goes on with it: it is attn.q here",
        load_method("lora", {"deltas.0.at": ["attn.q"]}),
    )
    refused("built_on.start_from", "another base", model=save_model(tmp_path / "other", "bert", vocab_size=120))
    refused("built_on.start_head", "its head fits the same labels alone", task={**toy, "labels": ["pos", "neg"]})
    verbs.check({**spec(bert, {**toy, "labels": ["pos", "neg"]}).document(), "built_on": {"start_from": lora, "start_head": "new"}})
    short = verbs.check({"built_on": {"start_from": lora}, "training": {"steps": 1}})  # the rest is that run's
    assert short.method.deltas == blocks.read(lora).spec.method.deltas and short.model == blocks.read(lora).spec.model


# -- standing on


def test_a_run_stands_on_two_and_is_whole_by_itself(home, lora, bert, toy, tmp_path):
    """Frozen ones stay as they are and are counted apart; saved, opened, merged, exported to PEFT, resumed: one and the same model."""
    adapter = finished(spec(bert, toy, load_method("adapter-pfeiffer", {"deltas.0.rank": 4}), steps=3, evaluate_every=3, lr=0.01))
    document = {**spec(bert, toy, "lora", seed=3, steps=4, evaluate_every=2, lr=0.01).document(), "built_on": {"stand_on": [lora, adapter]}}
    checked = verbs.check(document)
    assert [delta.frozen_from for delta in checked.method.deltas] == [f"{lora}/best", f"{adapter}/best", ""] and verbs.check(checked.document()) == checked
    counted = verbs.count(checked.model, checked.method)
    assert counted["trainable"] == verbs.count(checked.model, "lora")["trainable"]
    assert counted["frozen"] == sum(verbs.count(run.spec.model, run.spec.method)["trainable"] for run in map(blocks.read, (lora, adapter)))
    stacked = finished(checked)
    block = blocks.read(f"{stacked}/final")
    state = block.state()
    for index, source in enumerate((lora, adapter)):
        theirs = blocks.read(source).state()
        assert {name.replace("deltas.0.", f"deltas.{index}.", 1) for name in theirs} == {name for name in state if name.startswith(f"deltas.{index}.")}
        assert all(torch.equal(state[name.replace("deltas.0.", f"deltas.{index}.", 1)], tensor) for name, tensor in theirs.items())
    whole, opened = logits(stacked, "final")
    assert opened.attached.count()["trainable"] == 0  # opened to be asked, not to be trained
    with pytest.raises(Refusal, match="merge"):
        opened.attached.merge()  # the adapter has a ReLU
    again = finished(verbs.check({**document, "built_on": {"stand_on": [stacked]}, "method": "ia3"}))
    assert {delta.frozen_from for delta in blocks.read(again).spec.method.frozen} == {f"{stacked}/best"}


def test_a_stack_of_low_rank_changes_merges_and_is_one_lora_for_peft(home, lora, bert, toy, tmp_path):
    peft = pytest.importorskip("peft")
    from transformers import AutoModelForSequenceClassification

    stacked = finished({**spec(bert, toy, "lora", seed=3, steps=4, evaluate_every=2, lr=0.01).document(), "built_on": {"stand_on": [lora]}})
    expected, opened = logits(stacked)
    opened.attached.merge()
    with torch.no_grad():
        torch.testing.assert_close(opened.model(**IDS).logits, expected, rtol=1e-5, atol=1e-5)
    out = verbs.export(stacked, "peft", tmp_path / "out")
    loaded = peft.PeftModel.from_pretrained(AutoModelForSequenceClassification.from_pretrained(bert, num_labels=2), out).eval()
    with torch.no_grad():
        torch.testing.assert_close(loaded(**IDS).logits, expected, rtol=1e-5, atol=1e-5)


def test_what_cannot_stand_below_is_refused(home, lora, bert, toy):
    biases = finished(spec(bert, toy, "bitfit", steps=1, evaluate_every=1))
    prompts = finished(spec(bert, toy, load_method("prompt-tuning", {"deltas.0.rank": 2}), steps=1, evaluate_every=1))
    for runs, method, words in (
        ([biases], "lora", "only deltas stand frozen below"), ([prompts], "prompt-tuning", "One set of virtual tokens"), ([lora, f"{lora}/best"], "lora", "is there twice"),
        ([lora], "dora", "a weight is changed by one delta"), (["nosuchrun"], "lora", "There is no run"),
    ):  # fmt: skip
        with pytest.raises(Refusal, match=words):
            verbs.check({**spec(bert, toy, method).document(), "built_on": {"stand_on": runs}})
    with pytest.raises(Refusal, match="whose weights were not given"):
        attach(tiny("bert", "classification"), standing_on(load_method("lora"), {f"{lora}/best": load_method("lora")}))


def test_a_run_that_others_would_still_read_is_not_deleted(home, bert, toy):
    """Once a run that is built on it has a checkpoint, it has its own copy: then it resumes, opens and goes on without the other."""
    base = finished(spec(bert, toy, "lora", steps=2, evaluate_every=1))
    lab = Queue(Home(), count=0)
    checked = verbs.check({**spec(bert, toy, "ia3", steps=4, evaluate_every=2).document(), "built_on": {"stand_on": [base]}})
    run_id = lab.launch(checked.document())
    with pytest.raises(Refusal, match=f"is what run {run_id} is built on"):
        lab.delete(base)

    class Stops(WorkerLink):
        def stopping(self):
            return self.run_dir.joinpath("checkpoints").is_dir() and any(self.run_dir.joinpath("checkpoints").glob("step-*"))

    link = Stops(run_id, lab.home, lab.store)
    assert train(checked, link, link.run_dir, run_id=run_id, say=lambda line: None)["state"] == "cancelled"
    link.finish("cancelled", {})
    lab.delete(base)
    verbs.resume(run_id)
    link = WorkerLink(run_id, lab.home, lab.store)
    result = train(spec_of(lab.store.get(run_id).spec), link, link.run_dir, run_id=run_id, say=lambda line: None)
    link.finish("succeeded", result)
    assert result["state"] == "succeeded" and logits(run_id)[0].isfinite().all()
    whole = finished({**checked.document(), "built_on": {"start_from": run_id, "stand_on": []}, "origins": None})  # goes on with what it stood on
    assert [delta.frozen_from for delta in blocks.read(whole).spec.method.deltas] == [f"{base}/best", ""]
    with pytest.raises(Refusal, match="There is no run"):
        verbs.check({**checked.document(), "origins": None})


def test_a_frozen_spec_finds_changed_weights_below_it(home, bert, toy):
    base = finished(spec(bert, toy, "lora", steps=2, evaluate_every=1))
    checked = verbs.check({**spec(bert, toy, "ia3").document(), "built_on": {"stand_on": [base]}})
    folder = blocks.read(base).folder
    other = finished(spec(bert, toy, "lora", seed=9, steps=2, evaluate_every=1))
    shutil.rmtree(folder)
    shutil.copytree(blocks.read(other).folder, folder)
    with pytest.raises(Refusal, match=f"weights of {base}/best") as refused:
        verbs.check(checked)
    assert refused.value.field == "built_on"
    assert "--stand-on" in as_command(checked) and as_yaml(checked).count(base) == 1  # written by hand: the runs, not their deltas


# -- AdapterFusion


def fused(architecture="bert", places=("ffn.residual",), below="adapter-pfeiffer", **options):
    """(model, attached): a fusion at some places over two frozen adapters that are moved away from their starts."""
    model = tiny(architecture, "classification")
    theirs = load_method(below, {"deltas.0.rank": 5, **options})
    other = {} if "ffn.residual" in places else {"deltas.0.x": "auto"}
    method = standing_on(load_method("adapterfusion", {"deltas.0.at": list(places), **other}), {"aaaaaaa1/best": theirs, "aaaaaaa2/best": theirs})
    attached = attach(model, method, seed=3, frozen={})
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for tensor in attached.tensors().values():
            tensor.add_(0.2 * torch.randn(tensor.shape, generator=generator))
    return model.eval(), attached


class BertFusion(torch.nn.Module):
    """AdapterFusion of one layer, written from section 3.2 of the paper: query (b, t, d), keys and values (b, t, n, d) → (b, t, d)."""

    def __init__(self, parts):
        super().__init__()
        self.q, self.k, self.v = (torch.nn.Linear(*parts.V.shape) for _ in range(3))
        for layer, weight, bias in ((self.q, parts.Q, parts.Q_bias), (self.k, parts.K, parts.K_bias), (self.v, parts.V, None)):
            layer.weight.data.copy_(weight)
            layer.bias.data.copy_(torch.zeros(len(weight)) if bias is None else bias)

    def forward(self, query, values):
        scores = torch.einsum("btd,btnd->btn", self.q(query), self.k(values))
        return torch.einsum("btn,btnd->btd", scores.softmax(-1), self.v(values))


def test_fusion_is_the_papers_formula_in_outputs_and_gradients():
    """Over the whole model, against Pfeiffer adapters and their fusion as modules of their own, each layer rebuilt by hand."""
    model, attached = fused()
    plain = tiny("bert", "classification").eval()
    body, mine, theirs = plain.base_model.encoder.layer, [], []
    for index, layer in enumerate(body):
        fusion = attached.deltas[f"deltas.2.encoder.{index}.ffn.residual"]
        adapters = [attached.deltas[f"deltas.{number}.encoder.{index}.ffn.residual"] for number in (0, 1)]
        oracle = BertFusion(fusion)
        mine += [fusion.Q, fusion.Q_bias, fusion.K, fusion.K_bias, fusion.V]
        theirs += [oracle.q.weight, oracle.q.bias, oracle.k.weight, oracle.k.bias, oracle.v.weight]

        def changed(module, args, oracle=oracle, adapters=adapters):
            normed = module.forward(args[0])
            each = [F.linear(F.linear(normed, one.down, one.down_bias).relu(), one.up, one.up_bias) for one in adapters]
            return (args[0] + oracle(normed, torch.stack(each, 2)),)

        layer.output.LayerNorm.register_forward_pre_hook(changed)
    found, expected = model(**IDS).logits, plain(**IDS).logits
    assert (found - expected).abs().max() <= 1e-5 and (found - tiny("bert", "classification").eval()(**IDS).logits).abs().max() > 1e-3
    told(
        "adapterfusion",
        "the formula of the paper, written anew",
        "outputs",
        float((found - expected).abs().max() / max(1.0, float(expected.abs().max()))),
        "bert",
    )
    for one, two in zip(torch.autograd.grad(found.square().sum(), mine), torch.autograd.grad(expected.square().sum(), theirs), strict=True):
        error = float((one - two).abs().max() / max(1.0, float(two.abs().max())))
        assert error <= 1e-5
        told("adapterfusion", "the formula of the paper, written anew", "gradients", error, "bert")
    trains = {name.split(".")[1] for name in attached.trainable()}
    assert trains == {"2"} and attached.count()["trainable"] == 2 * (3 * 32 * 32 + 2 * 32)
    value = attached.deltas["deltas.2.encoder.0.ffn.residual"].V
    assert attached.penalty() > 0.01 * (value - torch.eye(32)).square().sum()


@pytest.mark.parametrize("architecture, places, below, options", [
    ("bert", ["attn.q", "attn.v"], "lora", {}), ("bert", ["attn.out", "ffn.out"], "adapter-houlsby", {}), ("gpt2", ["ffn.out"], "adapter-parallel-scaled", {}),
    ("llama", ["attn.q", "attn.v"], "lora", {"deltas.0.composition": "learned-gate", "deltas.0.alpha": None, "deltas.0.scale": 1.0}),
])  # fmt: skip
def test_a_fusion_obeys_the_laws(architecture, places, below, options):
    """Over adapters of other forms and places: only it trains, equal ones fuse to themselves, saved and loaded it is the same, off it is the plain model, detached it is gone."""
    model, attached = fused(architecture, places, below, **options)
    plain = tiny(architecture, "classification").eval()
    trained, state = model(**IDS).logits, attached.state_dict()
    trained.square().sum().backward()
    assert all(
        p.grad is not None and p.grad.abs().max() > 0 for name, p in attached.trainable().items() if not name.endswith("K_bias")
    )  # the same for all, which softmax does not see
    with attached.disabled():
        assert torch.equal(model(**IDS).logits, plain(**IDS).logits)
    again = tiny(architecture, "classification").eval()
    attach(again, attached.method, state=state)
    assert torch.equal(again(**IDS).logits, trained)
    with attached.measuring() as readings:
        model(**IDS)
    shares = [value for name, value in readings.items() if name.startswith("share/")]
    assert len(shares) == 2 * len([delta for delta in attached.deltas.values() if delta.members]) and all(0 < share < 1 for share in shares)
    with pytest.raises(Refusal, match="merge"):
        attached.merge()
    with torch.no_grad():  # two equal adapters, and values at the identity: one of them, whatever the shares
        for name, tensor in attached.tensors().items():
            if name.startswith("deltas.1."):
                tensor.copy_(attached.tensors()[name.replace("deltas.1.", "deltas.0.", 1)])
            if name.endswith(".V"):
                tensor.copy_(torch.eye(len(tensor)))
        one = tiny(architecture, "classification").eval()
        alone = standing_on(load_method("head-only"), {"aaaaaaa1/best": load_method(below, {"deltas.0.rank": 5, **options})})
        attach(one, alone, state={name: tensor for name, tensor in attached.state_dict().items() if name.startswith("deltas.0.")})
        assert (model(**IDS).logits - one(**IDS).logits).abs().max() <= 1e-5
    attached.detach()
    assert torch.equal(model(**IDS).logits, plain(**IDS).logits)


def test_a_run_fuses_runs(home, bert, toy):
    """From two runs of one method to a fused one: frozen spec, training, readings, Try it; what cannot be fused is refused with the reason."""
    small = load_method("adapter-pfeiffer", {"deltas.0.rank": 4})
    one, two = (finished(spec(bert, toy, small, seed=seed, steps=3, evaluate_every=3, lr=0.01)) for seed in (1, 2))
    document = {**spec(bert, toy, "adapterfusion", steps=4, evaluate_every=2, lr=0.01).document(), "built_on": {"stand_on": [one, two]}}
    run_id = finished(document)
    assert logits(run_id)[0].isfinite().all() and blocks.read(run_id).spec.method.own[0].composition == "fusion"
    for runs, method, words in (
        ([], "adapterfusion", "choose two or more"), ([one], "adapterfusion", "choose two or more"), ([one, run_id], "adapterfusion", "a fusion itself"),
        ([one, two], load_method("adapterfusion", {"deltas.0.at": ["ffn.out"], "deltas.0.x": "auto"}), "a fusion needs two or more"),
        ([one, two], load_method("adapterfusion", {"deltas.0.layers": "0"}), "where no fusion is"),
    ):  # fmt: skip
        with pytest.raises(Refusal, match=words) as refused:
            verbs.check({**document, "method": method, "built_on": {"stand_on": runs}})
        assert refused.value.field in ("built_on.stand_on", "deltas.0.at", "deltas.2.at")


def test_the_bench_puts_runs_below_a_design(home, lora, bert, toy):
    """Figure, equation and count have the frozen ones, apart; what is wrong is said at the field of the runs; a run's own page gives its draft back."""
    draft = {"model": bert, "task": toy, "method": "ia3", "training": {"steps": 1}, "seed": 0, "name": "", "tags": []}

    def turned(**more):
        return knobs.turn({"draft": {**draft, **more}, "seq": 1, "language": "en", "changed": more.pop("changed", "")})

    told = turned(built_on={"stand_on": [lora]})
    shown = {name: part[1] for name, part in told["parts"].items()}
    assert told["errors"] == [] and f"frozen from run {lora}/best" in shown["figure"] and "frozen" in shown["equation"] and "standing" in shown["figure"]
    assert f"{lora}/best" in [run["name"] for run in shown["own"]["runs"]]
    assert [field for field, _ in turned(built_on={"stand_on": ["nosuchrun"]})["errors"]] == ["built_on.stand_on"]
    assert [field for field, _ in turned(method="adapterfusion")["errors"]] == ["built_on.stand_on"]
    goes_on = knobs.turn({"draft": {**draft, "built_on": {"start_from": f"{lora}/best"}}, "changed": "built_on.start_from", "seq": 1, "language": "en"})
    assert goes_on["document"]["method"]["preset"] == "lora" and goes_on["errors"] == []
    stacked = Queue(Home(), count=0).launch(verbs.check({**draft, "built_on": {"stand_on": [lora]}}).document())
    again = knobs.of_run({"run": stacked})
    assert len(again["method"]["deltas"]) == len(load_method("ia3").deltas) and again["built_on"]["stand_on"] == [f"{lora}/best"]
