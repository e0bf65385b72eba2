"""Every option of a delta that is accepted does something: it changes the tensors, their start, the outputs or the count, or a note says that it does not."""

from __future__ import annotations

from typing import Any, get_args

import pytest
import torch
from laws import dropped, fresh, inventory, logits, looking_at, snapshot

from lab.design.method.count import count_on
from lab.design.method.delta import Delta, Method
from lab.design.method.notes import notes
from lab.design.method.rules import problems
from lab.design.plain.options import validate
from lab.design.plain.refusal import Refusal
from lab.design.spec.run import spec_of
from lab.engine import attach, body_of
from lab.verbs import require_read

DELTAS: dict[str, dict[str, Any]] = {  # one of each form and of each way in which its options differ
    "parallel": {"at": ["ffn.out"], "form": "bottleneck", "rank": 5},
    "sequential": {"at": ["attn.out"], "form": "bottleneck", "insertion": "sequential", "composition": "scaled", "scale": 2.0, "rank": 5},
    "after the residual": {"at": ["ffn.residual"], "form": "bottleneck", "insertion": "sequential", "composition": "learned-gate", "rank": 5},
    "lora": {"at": ["attn.q", "ffn.up"], "form": "lowrank", "rank": 4, "alpha": 8},
    "output projection": {"at": ["attn.out", "ffn.down"], "form": "lowrank", "rank": 4, "scale": "learned"},
    "triplets": {"at": ["attn.k"], "form": "lowrank", "rank": 4, "core": "diagonal", "init": "zero-core"},
    "spectral": {"at": ["attn.v"], "form": "lowrank", "rank": 4, "core": "square", "init": "spectral"},
    "from inputs": {"at": ["attn.q", "ffn.down"], "form": "lowrank", "rank": 4, "init": "eva", "init_rows": 2},
    "from gradients": {"at": ["attn.v"], "form": "lowrank", "rank": 3, "init": "lora-ga", "init_rows": 2},
    "vectors": {"at": ["attn.q"], "form": "lowrank", "rank": 4, "vectors": True, "init": "vectors", "composition": "add"},
    "kronecker": {"at": ["ffn.out"], "form": "compacter", "rank": 4, "factors": 2},
    "prompt rows": {"at": ["attn.heads"], "form": "prompt", "rank": 3},
    "slots under a gate from zero": {"at": ["attn.heads"], "form": "slots", "composition": "zero-gate", "rank": 3},
    "pool": {"at": ["attn.q"], "form": "lily", "rank": 3},
    "subspace": {"at": ["layer.out"], "form": "subspace", "rank": 3},
    "turned input": {"at": ["ffn.up"], "form": "cayley", "insertion": "input", "rank": 4},
    "butterfly": {"at": ["ffn.up"], "form": "butterfly", "insertion": "input", "rank": 4},
    "reflections": {"at": ["attn.out"], "form": "householder", "rank": 4},
    "angles": {"at": ["ffn.out"], "form": "planar"},
    "prefix": {"at": ["attn.heads"], "form": "slots", "rank": 3},
    "prefix from a network": {"at": ["attn.heads"], "form": "slots", "rank": 3, "encoder": "mlp", "encoder_width": 7},
    "gated prefix": {"at": ["attn.heads"], "form": "slots", "rank": 3, "composition": "learned-gate"},
    "added slots": {"at": ["attn.heads"], "form": "slots", "rank": 3, "composition": "add", "nonlinearity": "relu"},
    "scale": {"at": ["attn.k", "ffn.act"], "form": "scale"},
    "bias": {"at": ["attn.out", "ffn.residual"], "form": "bias"},
    "gated bias": {"at": ["attn.out"], "form": "bias", "composition": "learned-gate"},
    "prompt": {"at": ["embed"], "form": "tokens", "rank": 3},
    "prompt from a network": {"at": ["embed"], "form": "tokens", "rank": 3, "init": "normal", "encoder": "lstm"},
}  # fmt: skip
FIRST = {document["form"]: name for name, document in reversed(DELTAS.items())}.values()  # one of each form, in the default run; the others are slow
VALUES: dict[str, list[Any]] = {  # of the options that are no choice of names
    "factors": [1, 3, 4], "tokens": ["f1", "f2+l1"],
    "rank": [2], "scale": [3.0, "learned"], "scale_start": [2.0], "alpha": [5.0], "dropout": [0.5], "init_rows": [1], "inner_dropout": [0.5], "encoder_width": [13],
    "layers": ["0"], "stacks": [["decoder"], ["cross"]], "trainable": [["B"], ["up"], ["values"]],
    "through_dropout": [True], "biases": [False], "vectors": [True], "shared": [True],
    "init": ["lora", "normal", "near-identity", "code", "zero-core", "vectors", "bert", "vocabulary", "spectral-minor", "spectral-random", "spectral-zero-core", "lora-xs", "pissa", "milora", "olora", "eva", "lora-ga", "corda"],
}  # fmt: skip
ELSEWHERE = {
    "at",
    "form",
    "text",
    "gate",
    "schedule",
    "allocation",
}  # a place by itself; needs a tokenizer; needs two deltas; what changes in time or by the weights
ALIKE = [  # true of a delta under two names: where no network and no core is to start, where a projection or a post-norm sublayer reads the stream itself
    ("init", "bert"), ("init", "normal"), ("init", "code"), ("init", "lora"), ("x", "residual"), ("x", "normed"), ("x", "projection"),
]  # fmt: skip


def values(name: str) -> list[Any]:
    return VALUES.get(name) or list(get_args(Delta.model_fields[name].annotation))


def seen(architecture: str, document: dict[str, Any]) -> Any:
    """(start, what trains, logits in training, logits, count, fields with a note) of a delta; None where it is refused."""
    try:
        method = validate(Method, {"deltas": [document]})
        model = fresh(architecture)
        if problems(method, body_of(model)):
            return None
        attached = attach(model, method, seed=1, look=looking_at(model, architecture))
    except Refusal:
        return None
    start = snapshot(model)
    trains = {name: parameter.requires_grad for name, parameter in model.named_parameters()}
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, parameter in sorted(model.named_parameters()):
            if "lab_" in name:
                parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    told = {field for field, _ in notes(method, attached.body)}
    return start, trains, dropped(model, architecture), logits(model, architecture), count_on(method, attached.body, inventory(architecture)).document(), told


def alike(one: Any, other: Any) -> bool:
    tensors = one[0].keys() == other[0].keys() and all(torch.equal(one[0][key], other[0][key]) for key in one[0])
    return tensors and one[1] == other[1] and torch.equal(one[2], other[2]) and torch.equal(one[3], other[3]) and one[4] == other[4]


def means_the_same(usual: Delta, name: str, value: Any, body: Any) -> bool:
    """Whether the value says what the delta says already: the only stack, an s of 1, a shift where there are distances alone."""
    only = name == "stacks" and value == [word for word, _ in body.sublayers()]
    added = name == "composition" and usual.strength == 1 and {value, usual.composition} == {"add", "scaled"}
    return only or added or (name, value) == ("positions", "auto") and not body.counts_positions or any((name, value) == pair for pair in ALIKE)


@pytest.mark.parametrize("architecture", ["bert", *(pytest.param(name, marks=pytest.mark.slow) for name in ("bart", "t5", "gpt2", "llama", "deberta_v2"))])
@pytest.mark.parametrize("delta", [name if name in FIRST else pytest.param(name, marks=pytest.mark.slow) for name in DELTAS])
def test_an_option_that_is_accepted_does_something(delta: str, architecture: str) -> None:
    document = DELTAS[delta]
    plain, usual = seen(architecture, document), Delta.model_validate(document)
    if architecture == "deberta_v2" and (reasons := problems(validate(Method, {"deltas": [document]}), body_of(fresh(architecture)))):
        pytest.skip(str(reasons[0]))  # it computes its attention by itself, so some forms join in one way alone
    assert plain is not None
    idle, body = [], body_of(fresh(architecture))
    for name in sorted(set(Delta.model_fields) - ELSEWHERE):
        for value in values(name):
            if getattr(usual, name) == value or means_the_same(usual, name, value, body):
                continue
            changed = seen(architecture, {**document, name: value})
            if changed is not None and alike(plain, changed) and f"deltas.0.{name}" not in changed[5]:
                idle.append((name, value))
    assert not idle


@pytest.mark.parametrize(
    ("option", "value", "objective", "fits"), [("head_lr", 0.01, "causal", "classification"), ("label_smoothing", 0.1, "regression", "seq2seq")]
)
def test_an_option_of_a_run_that_its_task_cannot_use_is_refused(option: str, value: float, objective: str, fits: str) -> None:
    spec = spec_of({"model": "minilm-l6", "task": "sentiment-rt", "method": "lora", "training": {option: value}})
    with pytest.raises(Refusal) as caught:
        require_read(spec, [objective])
    assert caught.value.field == f"training.{option}"
    require_read(spec, [fits])


def test_what_is_built_directly_is_refused_as_what_is_read():
    """One sentence and its field, also from a notebook; also of a group within."""
    import lab

    for build, field in (
        (lambda: lab.Method(deltas=[{"at": ["ffn.out"], "form": "bogus"}]), "deltas.0.form"),
        (lambda: lab.Delta(at=["attn.q"], form="lowrank", rank=0), "rank"),
        (lambda: lab.Method(nope=1), "nope"),
        (lambda: lab.Training(lr="x"), "lr"),
    ):
        with pytest.raises(lab.Refusal) as found:
            build()
        assert found.value.field == field and "pydantic" not in str(found.value) and "\n" not in str(found.value)
