"""Gates of virtual tokens and of layers, a start for a learned s, a network behind added slots: against references written from the formulas."""

from __future__ import annotations

import copy

import pytest
import torch
from laws import batch_of, check_laws, fresh, inventory, logits, shake

from lab.design.method.count import count_on
from lab.design.method.delta import Method
from lab.design.method.named import load_method
from lab.design.plain.options import validate
from lab.design.plain.refusal import Refusal
from lab.engine import attach, body_of
from lab.engine.bind import Binder

LENGTH = 4
PROMPT = {"deltas.0.rank": LENGTH, "deltas.0.init": "normal"}
SHARED = [
    {"at": ["attn.q", "attn.v"], "form": "lowrank", "composition": "learned-gate", "gate": "shared", "rank": 3, "init": "normal"},
    {"at": ["attn.heads"], "form": "slots", "composition": "learned-gate", "gate": "shared", "rank": LENGTH},
]


def method_of(*deltas: dict) -> Method:
    return validate(Method, {"deltas": list(deltas)})


def gated_prompt(**options) -> Method:
    return load_method("prompt-tuning", {**PROMPT, "deltas.0.composition": "learned-gate", **{f"deltas.0.{name}": value for name, value in options.items()}})


class Projections:
    """Hooks by hand on a model with ungated virtual tokens: keys and values of the first l positions times g, made from the real embeddings."""

    def __init__(self, model, gate: torch.Tensor):
        self.gate, self.body = gate, body_of(model)
        binder = Binder(model.base_model, self.body)
        first = self.body.stacks[0]
        places = [(first.name, first.layers)] + [("cross", stack.layers) for stack in self.body.stacks if stack.cross]
        for layer in (binder.layer(stack, index) for stack, layers in places for index in range(layers)):
            for what in ("k", "v"):
                located = layer.find("attn", what)
                located.module.register_forward_hook(self.scaling(located.part))

    def scaling(self, part):
        def hook(module, args, output):
            if output.shape[0] != len(self.gate):  # DeBERTa's second call, with position embeddings
                return None
            rows = output if part is None else part.read(output)
            rows = torch.cat([self.gate[:, None, None] * rows[:, :LENGTH], rows[:, LENGTH:]], 1)
            return rows if part is None else part.write(output, rows)

        return hook


@pytest.mark.parametrize("over", ["tokens", "all"])
@pytest.mark.parametrize("name", ["bert", "deberta_v2", "bart", "t5", "gpt2", "llama"])
def test_the_gate_of_virtual_tokens_multiplies_their_keys_and_values(name: str, over: str) -> None:
    ours, theirs = fresh(name), fresh(name)
    attached = attach(ours, gated_prompt(gate_over=over), seed=2)
    shake(attached)
    plain = attach(theirs, load_method("prompt-tuning", PROMPT), seed=2)
    (mine,), (other,) = attached.deltas.values(), plain.deltas.values()
    batch = batch_of(name)
    with torch.no_grad():
        other.tokens.copy_(mine.tokens)
        x, mask = theirs.base_model.get_input_embeddings()(batch["input_ids"]), batch["attention_mask"].float()
        each = torch.sigmoid(x @ mine.gate + mine.gate_bias)
        gate = (each * mask).sum(1) / mask.sum(1) if over == "tokens" else each.mean(1)
    ungated = logits(theirs, name)
    Projections(theirs, gate)
    wanted, found = logits(theirs, name), logits(ours, name)
    assert (wanted - ungated).abs().max() > 1e-3
    assert (found - wanted).abs().max() <= 1e-5 * max(1.0, float(wanted.abs().max()))
    with attached.measuring() as readings:
        logits(ours, name)
    assert readings[f"gate/{mine.key}"] == pytest.approx(float(gate.mean()), abs=1e-6)


def test_a_gated_prompt_serves_beams_and_checkpointing() -> None:
    model = fresh("bart")
    attached = attach(model, gated_prompt(), seed=2)
    shake(attached)
    batch = batch_of("bart")
    given = {"input_ids": batch["input_ids"], "attention_mask": batch["attention_mask"]}
    alone = model.generate(**{name: rows[:1] for name, rows in given.items()}, num_beams=3, max_new_tokens=4, do_sample=False)
    together = model.generate(**given, num_beams=3, max_new_tokens=4, do_sample=False)
    assert torch.equal(alone[0], together[0][: alone.shape[1]])
    gradients = []
    for checkpointing in (False, True):
        if checkpointing:
            model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        model.train().zero_grad()
        torch.manual_seed(6)  # of dropout
        model(**batch).loss.backward()
        gradients.append({name: p.grad.clone() for name, p in attached.trainable().items()})
    assert all(torch.allclose(gradients[0][name], gradients[1][name], atol=1e-6) for name in gradients[0])
    assert gradients[0]["deltas.0.encoder.embed.gate"].abs().max() > 0


def test_a_shared_gate_is_a_softmax_over_the_deltas_of_a_layer() -> None:
    """UniPELT's add_central_gate: softmax(mean ReLU(x·W + b)), one value for LoRA at queries and values, one for the prefix."""
    ours, theirs = fresh("bert"), fresh("bert")
    attached = attach(ours, method_of(*SHARED), seed=2)
    shake(attached)
    plain = attach(theirs, method_of(*({**delta, "gate": "own"} for delta in SHARED)), seed=2)
    batch = batch_of("bert")
    mask = batch["attention_mask"].float()
    seen: dict[int, torch.Tensor] = {}
    with torch.no_grad():
        for name, other in plain.deltas.items():
            for part in other.form.names:
                if getattr(other, part) is not None:
                    getattr(other, part).copy_(getattr(attached.deltas[name], part))
    for index, layer in enumerate(theirs.base_model.encoder.layer):
        lora, prefix = attached.deltas[f"deltas.0.encoder.{index}.attn.q"], attached.deltas[f"deltas.1.encoder.{index}.attn.heads"]
        weight, bias = torch.stack([lora.gate, prefix.gate]), torch.stack([lora.gate_bias, prefix.gate_bias])

        def look(module, args, index=index, weight=weight, bias=bias):
            each = torch.relu(args[0] @ weight.T + bias) * mask[..., None]
            seen[index] = (each.sum(1) / mask.sum(1, keepdim=True)).softmax(-1)  # (batch, 2)

        layer.attention.self.query.register_forward_pre_hook(look)
    for other in plain.deltas.values():
        place = 0 if other.delta.form == "lowrank" else 1
        other.gate_value = lambda x, place=place, layer=other.site.layer: seen[layer][:, place, None, None]
    wanted, found = logits(theirs, "bert"), logits(ours, "bert")
    assert (found - wanted).abs().max() <= 1e-5 * max(1.0, float(wanted.abs().max()))
    assert (found - logits(fresh("bert"), "bert")).abs().max() > 1e-3
    width = ours.config.hidden_size
    own = sum(p.numel() for name, p in attached.trainable().items() if "gate" in name)
    assert own == 2 * 2 * (width + 1)  # a row of each delta in each layer
    assert count_on(method_of(*SHARED), body_of(ours), inventory("bert")).trainable == attached.trainable_now


def test_a_shared_gate_needs_two_deltas_in_every_layer() -> None:
    lora, prefix = SHARED
    for deltas, words in (([lora], "two deltas or more"), ([lora, {**prefix, "layers": "0"}], "layer 1 of encoder has one alone"),
                          ([lora, {**prefix, "gate_over": "all"}], "one average"), ([{**lora, "composition": "scaled"}, prefix], "Only composition learned-gate")):  # fmt: skip
        with pytest.raises(Refusal, match=words):
            attach(fresh("bert"), method_of(*deltas))
    with pytest.raises(Refusal, match="leave alpha empty"):
        attach(fresh("bert"), method_of({**lora, "gate": "own", "alpha": 16}))


@pytest.mark.parametrize("name", ["bert", "t5", "gpt2"])
def test_added_slots_may_come_from_a_network(name: str) -> None:
    """The multi-head parallel adapter of He et al.'s code, whose keys and values an MLP makes; kept alone they are the same function."""
    ours, theirs = fresh(name), fresh(name)
    options = {"deltas.0.rank": LENGTH, "deltas.0.init": "normal"}
    attached = attach(ours, load_method("adapter-parallel-multihead", {**options, "deltas.0.encoder": "mlp", "deltas.0.encoder_width": 11}), seed=2)
    assert attached.networks and (logits(ours, name) - logits(theirs, name)).abs().max() > 1e-4
    shake(attached)
    plain = attach(theirs, load_method("adapter-parallel-multihead", options), seed=7)
    folded = attached.fold()
    with torch.no_grad():
        for key, other in plain.deltas.items():
            for part, tensor in other.named_parameters():
                tensor.copy_(folded[key][part])
    assert (logits(ours, name) - logits(theirs, name)).abs().max() <= 1e-6
    with pytest.raises(Refusal, match="A network produces these slots"):
        attach(fresh(name), load_method("adapter-parallel-multihead", {"deltas.0.encoder": "mlp", "deltas.0.init": "lora"}))


NEW = {
    "gated prompt": method_of({"at": ["embed"], "form": "tokens", "rank": LENGTH, "init": "normal", "composition": "learned-gate"}),
    "shared gate": method_of(*SHARED),
    "network behind added slots": method_of({"at": ["attn.heads"], "form": "slots", "composition": "scaled", "nonlinearity": "relu", "rank": 3, "encoder": "mlp",
                                             "encoder_width": 7, "scale": "learned", "scale_start": 4.0}),
    "s from 0": method_of({"at": ["ffn.out"], "form": "bottleneck", "composition": "scaled", "scale": "learned", "scale_start": 0.0, "rank": 5, "init": "normal"}),
}  # fmt: skip


@pytest.mark.parametrize("architecture", ["bert", "deberta_v2", "bart", "llama"])
@pytest.mark.parametrize("what", NEW)
def test_they_obey_the_laws(what: str, architecture: str) -> None:
    if (what, architecture) == ("shared gate", "deberta_v2"):  # its queries project relative positions too
        with pytest.raises(Refusal, match="no gate of a sequence fits there"):
            attach(fresh(architecture), NEW[what])
        check_laws(architecture, method_of({**SHARED[0], "at": ["attn.v", "ffn.out"]}, SHARED[1]))
        return
    check_laws(architecture, NEW[what])


def test_a_copy_of_a_model_has_gates_of_its_own() -> None:
    for method in (gated_prompt(), method_of(*SHARED)):
        model = fresh("llama")
        attached = attach(model, method, seed=2)
        shake(attached)
        before, twin = logits(model, "llama"), copy.deepcopy(model)
        shake(attached, seed=8)
        assert torch.equal(logits(twin, "llama"), before) and not torch.equal(logits(model, "llama"), before)
