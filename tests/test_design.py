"""The design room without torch: published counts, refusals with their fields, options, rank ladders, the map of the space."""

from __future__ import annotations

import subprocess
import sys

import pytest

from lab.design.body.anatomy import anatomy, chosen_layers
from lab.design.body.model import ModelSpec
from lab.design.method.allocation import allot, groups, rank_ladder
from lab.design.method.allocations import LESS, MORE
from lab.design.method.count import count
from lab.design.method.delta import Delta, Method
from lab.design.method.named import load_method
from lab.design.method.nearest import nearest, neighbours
from lab.design.method.notes import notes
from lab.design.method.rules import problems
from lab.design.plain.options import fields, override, validate
from lab.design.plain.refusal import Refusal
from lab.design.presets.catalogue import names, read
from lab.design.spec.run import RunSpec, Training, spec_of

SIX = ["attn.q", "attn.k", "attn.v", "attn.out", "ffn.up", "ffn.down"]


def model(name: str) -> ModelSpec:
    return validate(ModelSpec, {**read("models", name), "name": name})


# Figures of the papers: the number, and where it counts trainable weights at the end
PUBLISHED = [
    ("deberta-v3-base", "lora", {"deltas.0.at": SIX}, "trainable", 1_327_104),  # LaMDA's paper: 1.33 M
    ("deberta-v3-base", "lamda", {}, "final", 73_728),  # 0.075 M, 17.7 times fewer
    ("deberta-v3-base", "aflora", {}, "trainable", 451_872),
    ("deberta-v3-base", "aflora", {}, "final", 83_232),
    ("bert-base-uncased", "unipelt-apl", {}, "final", 1_410_672),
    ("bert-base-uncased", "unipelt-ap", {}, "final", 1_097_304),
    ("llama-2-7b", "lisa", {}, "trainable", 666_914_816),
    ("llama-3.2-3b", "p-tuning", {"deltas.0.encoder": "mlp", "deltas.0.encoder_width": 3072}, "trainable", 28_382_208),
]


@pytest.mark.parametrize(("name", "method", "changes", "what", "number"), PUBLISHED)
def test_published_counts(name: str, method: str, changes: dict, what: str, number: int) -> None:
    assert getattr(count(load_method(method, changes), model(name)), what) == number


ADDED = {"bottleneck", "compacter", "frozen", "slots", "tokens", "prompt", "scale", "bias", "subspace"}  # forms that stand beside weights, and are none


def test_families_are_those_of_the_surveys() -> None:
    """Inside additive, adapters are what maps the hidden state through a bottleneck, soft prompts what adds virtual tokens or slots."""
    for method in map(load_method, names("methods")):
        forms = {delta.form for delta in method.deltas}
        assert bool(method.branch) == (method.family == "additive"), method.preset
        assert (method.family == "selective") == (method.select is not None and not forms), method.preset
        if method.branch:
            soft = bool(forms & {"tokens", "slots", "prompt"}) and method.preset != "adapter-parallel-multihead"
            edits = forms <= {"scale", "bias", "subspace"} or any(delta.ends for delta in method.deltas)  # of h itself, at all tokens or at chosen ones
            assert method.branch == ("soft-prompts" if soft else "other" if edits else "adapters"), method.preset
        assert method.family != "reparameterised" or not forms & ADDED, method.preset
        assert method.family != "unified" or len(method.deltas) > 1


@pytest.mark.parametrize(
    ("method", "changes", "percent"),
    [("prefix-tuning", {"deltas.0.rank": 200}, 3.6), ("adapter-pfeiffer", {"deltas.0.rank": 600}, 7.2), ("mam", {"deltas.0.encoder": "none"}, 6.7),
     ("adapter-parallel-ffn", {"deltas.0.rank": 1024}, 12.3)],
)  # fmt: skip
def test_published_percentages_on_bart_large(method: str, changes: dict, percent: float) -> None:
    found = count(load_method(method, changes), model("bart-large"))
    weights = 100 * (found.trainable - found.biases) / found.total  # the paper's formulas leave biases out
    assert weights == pytest.approx(percent, abs=0.1)


@pytest.mark.parametrize("table", [name for name in names("sweeps") if name.startswith("he-2022")])
def test_prefixes_of_he_et_al_are_trained_through_their_network(table: str) -> None:
    """Appendix A.3 and the released scripts (mid_dim 800), with positions as they are there; valid on the models of the paper."""
    document = read("sweeps", table)
    for row in document["rows"]:
        method = load_method(row["method"], row["set"])
        assert all((d.encoder, d.encoder_width, d.positions) == ("mlp", 800, "keep") for d in method.deltas if d.form == "slots"), row["label"]
        assert not [problem for base in document["bases"] for problem in problems(method, anatomy(model(base["model"]).config))], row["label"]


@pytest.mark.parametrize("method", ["mam", "prefix-lora-ffn"])
def test_the_papers_count_what_is_kept_once_the_prefix_is_folded(method: str) -> None:
    direct, through = (count(load_method(method, changes), model("bart-large")) for changes in ({"deltas.0.encoder": "none"}, {}))
    assert through.final == direct.trainable == direct.final < through.trainable


def test_all_linear_is_every_projection_that_the_model_has() -> None:
    seven = [*SIX[:5], "ffn.gate", SIX[5]]
    for name, places in (("llama-2-7b", seven), ("t5-base", SIX), ("bert-base-uncased", SIX), ("gpt2", SIX), ("bart-large", SIX)):
        method = load_method("lora", {"deltas.0.at": "all-linear"})
        body = anatomy(model(name).config)
        assert body.places(method.deltas[0]) == places
        assert {site.representation for site in body.sites(method.deltas[0])} == set(places)
        written_out = load_method("lora", {"deltas.0.at": places})
        assert count(method, model(name)).trainable == count(written_out, model(name)).trainable
        assert notes(method, body) == notes(load_method("lora", {"deltas.0.at": ["attn-linear", "ffn-linear"]}), body) == []
        left_out = notes(load_method("lora", {"deltas.0.at": SIX}), body)
        assert [field for field, _ in left_out] == (["deltas.0.at"] if places == seven else [])
    for preset in ("adalora", "aflora", "lamda", "lamda-plus-plus"):
        assert "ffn.gate" in {site.representation for site in anatomy(model("llama-2-7b").config).sites(load_method(preset).deltas[0])}
    assert load_method("lora", {"deltas.0.at": ["all-linear", "attn.q", "ffn-linear"]}).deltas[0].at == ["all-linear"]
    assert problems(load_method("lora", {"deltas.0.at": ["ffn.gate"]}), anatomy(model("bert-base-uncased").config))


@pytest.mark.parametrize("name", names("models"))
def test_every_preset_counts_on_every_model_or_says_why_not(name: str) -> None:
    wrong = []
    for preset in names("methods"):
        try:
            found = count(load_method(preset), model(name))
        except Refusal as refusal:
            right = str(refusal).endswith(".")
        else:
            right = 0 <= found.final <= max(found.trainable, found.total) and found.total == model(name).inventory.total
        wrong += [] if right else [preset]
    assert wrong == []


@pytest.mark.parametrize(
    ("document", "field", "words"),
    [
        ({"method": {"preset": "lora", "set": {"deltas.0.rank": 0}}}, "method.deltas.0.rank", "Rank must be at least 1; it is 0."),
        ({"method": {"preset": "lorra"}}, "method", "lora"),
        ({"method": {"deltas": [{"at": ["attn.q"], "form": "conv"}]}}, "method.deltas.0.form", "no functional form 'conv'"),
        ({"training": {"lr": -1}}, "training.lr", "must be more than 0"),
        ({"training": {"stepz": 5}}, "training.stepz", "no option"),
        ({"seed": "x"}, "seed", "whole number"),
        ({"model": ""}, "model", "characters"),
    ],
)
def test_bad_specs_are_refused_at_their_field(document: dict, field: str, words: str) -> None:
    with pytest.raises(Refusal) as caught:
        spec_of({"model": "minilm-l6", "task": "sentiment-rt", "method": "lora", **document})
    assert words in str(caught.value) and caught.value.field.startswith(field.split(".set")[0][:6])


def test_true_is_no_number_at_any_option() -> None:
    document = spec_of({"model": "minilm-l6", "task": "sentiment-rt", "method": "lora"}).document()
    asked = [field.path for field in fields(RunSpec) if field.kind in ("integer", "number")] + [
        "method.deltas.0." + field.path for field in fields(Delta) if field.kind in ("integer", "number")
    ]
    assert {"seed", "training.lr", "method.deltas.0.rank", "method.deltas.0.dropout"} <= set(asked)
    for path in asked:
        with pytest.raises(Refusal, match="must be a (whole )?number; it is True") as refused:
            spec_of(override(document, {path: True}))
        assert refused.value.field == path


def test_a_gated_bottleneck_is_refused_with_the_way_out() -> None:
    method = validate(Method, {"deltas": [{"at": ["attn.q"], "form": "bottleneck", "composition": "gated"}]})
    found = problems(method)
    assert [p.field for p in found] == ["deltas.0.composition"]
    assert str(found[0]) == "gated needs the attention mass of slots: choose form slots, or composition add."


@pytest.mark.parametrize(
    ("preset", "changes", "field", "words"),
    [
        ("ia3", {"training.lr_ratio": 4}, "training.lr_ratio", "no second map trains here"),
        ("vera", {"training.lr_ratio": 4}, "training.lr_ratio", "no second map trains here"),
        ("lora", {"deltas.0.composition": "learned-gate"}, "deltas.0.alpha", "A learned gate stands in the place of α/r"),
        ("lora", {"deltas.0.alpha": None, "deltas.0.rank_scaling": "rslora"}, "deltas.0.rank_scaling", "set alpha"),
        ("mam", {"deltas.1.scale_start": 2}, "deltas.1.scale_start", "Only a learned s has a start"),
        ("adapter-parallel-scaled", {"deltas.0.scale": "learned", "deltas.0.scale_start": 0}, "deltas.0.scale_start", "would never move"),
        ("lora", {"deltas.0.gate": "shared"}, "deltas.0.gate", "two deltas or more"),
        ("lora", {"deltas.0.token_positions": "none"}, "deltas.0.token_positions", "no use for"),
        ("prefix-ungated", {"deltas.0.positions": "shift"}, "deltas.0.positions", "choose composition gated"),
        ("p-tuning", {"deltas.0.init": "vocabulary"}, "deltas.0.init", "A network produces these"),
        ("mam", {"deltas.0.trainable": ["values"]}, "deltas.0.trainable", "trains as a whole"),
        ("prompt-tuning", {"deltas.0.layers": "0"}, "deltas.0.layers", "before all layers"),
        ("lora", {"deltas.0.encoder_width": 800}, "deltas.0.encoder_width", "no use for"),
        ("ia3", {"deltas.0.rank": 4}, "deltas.0.rank", "no rank"),
        ("ia3", {"deltas.0.form": "bias", "deltas.0.composition": "add", "deltas.0.insertion": "parallel"}, "deltas.0.insertion", "whatever it reads"),
        ("lora", {"deltas.0.at": ["attn.out"], "deltas.0.through_dropout": True}, "deltas.0.through_dropout", "anyway"),
        ("aflora", {"deltas.0.trainable": ["d", "b"]}, "deltas.0.trainable", "one of them must be"),
        ("lamda", {"deltas.0.trainable": ["A", "B", "core"]}, "deltas.0.trainable", "freezes A from the start"),
        ("lamda", {"deltas.0.schedule.mode": "never", "deltas.0.schedule.fraction": 0.5}, "deltas.0.schedule.fraction", "Only gradual"),
        ("lora", {"deltas.0.init_rows": 9}, "deltas.0.init_rows", "look at rows of it"),
        ("lamda-plus-plus", {"deltas.0.allocation.rank_min": 32, "deltas.0.allocation.rank_max": 32}, "deltas.0.allocation.rank_max", "nothing to share out"),
    ],
)
def test_options_that_would_say_nothing_are_refused(preset: str, changes: dict, field: str, words: str) -> None:
    found = [(problem.field, problem.sentence) for problem in problems(load_method(preset, changes))]
    assert any(where == field and words in sentence for where, sentence in found), found


@pytest.mark.parametrize(
    ("preset", "changes", "name", "field"),
    [
        ("mam", {"deltas.0.encoder": "none"}, "bart-large", "deltas.0.encoder_width"),
        ("adapter-parallel-ffn", {"deltas.0.through_dropout": True}, "llama-2-7b", "deltas.0.through_dropout"),
        ("lora", {"deltas.0.stacks": ["encoder", "cross"]}, "bert-base-uncased", "deltas.0.stacks"),
        ("lamda-plus-plus", {"deltas.0.alpha": 16}, "bert-base-uncased", "deltas.0.alpha"),
        ("aflora", {"deltas.0.at": ["ffn-linear"]}, "bert-base-uncased", "deltas.0.schedule.frozen_from_start"),
        ("aflora", {"deltas.0.at": ["attn.q"]}, "bert-base-uncased", "deltas.0.schedule.frozen_from_start"),
    ],
)
def test_what_another_option_or_the_model_leaves_without_effect_is_told(preset: str, changes: dict, name: str, field: str) -> None:
    body = anatomy(model(name).config)
    method = load_method(preset, changes)
    assert not problems(method, body)
    assert [where for where, _ in notes(method, body)] == [field]
    assert not notes(load_method(preset), body)


def test_a_spec_survives_its_document() -> None:
    spec = spec_of({"model": "minilm-l6", "task": "sentiment-rt", "method": {"preset": "mam", "set": {"deltas.1.rank": 16}}})
    assert spec.method.deltas[1].rank == 16 and spec.method.preset == "mam"
    assert spec_of(spec.document()) == spec
    assert isinstance(spec, RunSpec)


def test_options_are_declared_once() -> None:
    listed = {option.path: option for option in fields(Training, "training.")}
    assert listed["training.batch_size"].minimum == 1 and listed["training.schedule"].choices == ("linear", "cosine", "constant")
    assert all(option.help.endswith(".") for option in listed.values())
    assert override({"a": [{"b": 1}]}, {"a.0.b": "1e-3", "a.1": "[x, y]"}) == {"a": [{"b": 0.001}, ["x", "y"]]}
    for path in ("a.2.b", "a.0.b.c"):
        with pytest.raises(Refusal):
            override({"a": [{"b": 1}]}, {path: 1})


def test_rank_ladders_keep_their_total() -> None:
    assert rank_ladder(5, 32, 16, 48) == [48, 40, 32, 24, 16]
    for sites in range(1, 40):
        ladder = rank_ladder(sites, 32, 10, 48)
        assert sum(ladder) == 32 * sites and min(ladder) >= 10 and max(ladder) <= 48 and ladder == sorted(ladder, reverse=True)


def test_an_allocation_uses_its_bounds_or_tells() -> None:
    """Mean 32 from 8 to 40: the smallest rank given is 8, not 24; where both bounds cannot be had, a note says which are given."""
    body = anatomy(model("roberta-base").config)
    for within in ("shape", "all"):
        changes = {"deltas.0.allocation.within": within}
        for low, high in ((8, 40), (16, 48), (28, 60), (4, 36)):
            method = load_method("lamda-plus-plus", {**changes, "deltas.0.allocation.rank_min": low, "deltas.0.allocation.rank_max": high})
            assert "deltas.0.allocation.rank_min" not in [field for field, _ in notes(method, body)]
            sites = body.sites(method.deltas[0])
            for group in groups(sites, within):
                ranks = [allot(method.deltas[0], sites, None)[index] for index in group]
                assert (min(ranks), max(ranks), sum(ranks)) == (low, high, 32 * len(group))
        assert len(groups(sites, within)) == {"shape": 3, "all": 1}[within]
        lost = [index * 7 % 11 for index in range(len(sites))]
        more, less = (allot(method.deltas[0], sites, [[0.0] * high + [value] for value in lost], order=order) for order in (MORE, LESS))
        for group in groups(sites, within):
            pairs = [(lost[index], more[index], less[index]) for index in group]
            assert all((a[1] >= b[1] and a[2] <= b[2]) for a in pairs for b in pairs if a[0] > b[0])
    for low, high, rank in ((32, 48, 32), (16, 32, 32), (16, 48, 20)):
        changes = {"deltas.0.rank": rank, "deltas.0.allocation.rank_min": low, "deltas.0.allocation.rank_max": high, "deltas.0.layers": "0-5"}
        told = notes(load_method("lamda-plus-plus", changes), body)
        assert {field for field, _ in told} == {"deltas.0.allocation.rank_min"} and len(told) == 2 + (rank == 32)
        assert f"from {16 if rank == 20 else 32} to {24 if rank == 20 else 32}" in told[-1][1]
    assert "deltas.0.allocation.rank_min" in dict(notes(load_method("lamda-plus-plus", {"deltas.0.layers": "0"}), body)), "one projection cannot have two ranks"
    told = notes(load_method("lamda-plus-plus", {"deltas.0.allocation.within": "all"}), body)
    assert [field for field, _ in told] == ["deltas.0.allocation.within"] and notes(load_method("lamda-plus-plus"), body) == []
    assert load_method("lamda-plus-plus", {"deltas.0.allocation.order": "ascending"}).deltas[0].allocation.order == LESS, "as frozen by earlier versions"


@pytest.mark.parametrize("preset", ["vera", "adapter-houlsby", "adapter-parallel-scaled"])
def test_a_rank_above_the_width_is_told_where_it_can_be_meant(preset: str) -> None:
    body = anatomy(model("bert-base-uncased").config)
    assert notes(load_method(preset, {"deltas.0.rank": 768}), body) == []
    (field, sentence), *_ = notes(load_method(preset, {"deltas.0.rank": 4000}), body)
    assert field == "deltas.0.rank" and "Rank 4000 is more than the width" in sentence


def test_layers_can_be_written_in_every_way() -> None:
    assert chosen_layers("all", 3) == [0, 1, 2] and chosen_layers("0-1,-1", 6) == [0, 1, 5] and chosen_layers("-2", 6) == [4]
    for wrong in ("6", "3-1", "-7"):
        with pytest.raises(Refusal):
            chosen_layers(wrong, 6)


def test_the_nearest_named_method() -> None:
    for name in names("methods"):
        assert nearest(load_method(name))[0].distance == 0
    design = load_method("lora", {"deltas.0": {"at": ["ffn.out"], "form": "bottleneck", "composition": "scaled", "scale": 4.0}})
    near = nearest(design)[0]
    assert near.preset == "adapter-parallel-scaled" and near.steps == ()
    pairs = {frozenset(pair[:2]): pair[2].dimension for pair in neighbours()}
    assert pairs[frozenset({"adapter-parallel-ffn", "adapter-parallel-scaled"})] == "composition"
    assert pairs[frozenset({"lora", "lora-fa"})] == "what trains"


def test_the_design_room_starts_without_torch() -> None:
    code = "import sys, lab.design.method.count, lab.design.method.rules, lab.design.spec.run, lab.design.method.nearest; sys.exit('torch' in sys.modules or 'gradio' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
