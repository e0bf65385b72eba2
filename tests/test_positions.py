"""Positions behind a prefix and of virtual tokens, against plain models that are given the positions by hand.

Families that add position embeddings are held against a model whose input embeddings are moved from one position to another
(E + pos(wanted) − pos(counted)), which needs neither position ids nor the lab's hooks; those that rotate get explicit `position_ids`.
"""

from __future__ import annotations

import copy

import pytest
import torch
from laws import OBJECTIVES, batch_of, fresh, logits
from tiny import ARCHITECTURES, POSITIONS, tiny, tiny_batch

from lab.design.body.model import ModelSpec, Source
from lab.design.method.lengths import room_for_inputs
from lab.design.method.named import load_method
from lab.design.method.rules import require
from lab.design.plain.refusal import Refusal
from lab.engine import attach, body_of
from lab.engine.positions import table
from lab.planning import plan_shape

ADDED = ("bert", "roberta", "electra", "distilbert", "bart", "mbart", "marian", "pegasus", "gpt2", "opt")
ROTATED = ("modernbert", "llama", "gpt_neox")
LENGTH = 5


def positioned(name: str):
    """A model with position embeddings; of DeBERTa v2 one that adds them, as v2 may and v3 does not."""
    return tiny(name, OBJECTIVES[name], position_biased_input=True) if name == "deberta_v2" else fresh(name)


def rows_of(module: torch.nn.Module) -> torch.Tensor:
    """The embeddings by position from 0 on: past the rows that a family skips (BART's offset, RoBERTa's padding)."""
    offset = getattr(module, "offset", 0) + (0 if module.padding_idx is None else module.padding_idx + 1)
    return module.weight[offset:]


def embedded(model, name: str, batch: dict, wanted) -> dict:
    """The batch with embeddings in place of ids, at other positions: wanted(positions) of each stack."""
    body, given = body_of(model), dict(batch)
    for stack, ids in zip(body.stacks, ("input_ids", "decoder_input_ids"), strict=False):
        if ids not in given:
            given[ids] = model._shift_right(given["labels"]) if hasattr(model, "_shift_right") else shift(model, given["labels"])
        rows = rows_of(table(model.base_model, body, stack.name))
        words = model.base_model.get_submodule(body.architecture.embed.replace("{stack}", stack.name))(given.pop(ids))
        count = torch.arange(words.shape[1])
        given[ids.replace("input_ids", "inputs_embeds")] = words + rows[wanted(count)] - rows[count]
    return given


def shift(model, labels: torch.Tensor) -> torch.Tensor:
    """Decoder inputs of labels, as each family makes them."""
    import sys

    make = sys.modules[type(model).__module__].shift_tokens_right
    start = () if type(model).__name__.startswith("MBart") else (model.config.decoder_start_token_id,)
    return make(labels, model.config.pad_token_id, *start)


def with_prefix(model, positions: str, **options):
    method = load_method("prefix-tuning", {"deltas.0.rank": LENGTH, "deltas.0.positions": positions, **options})
    return attach(model, method, seed=4)


def close(mine: torch.Tensor, other: torch.Tensor, plain: torch.Tensor | None = None) -> None:
    assert (mine - other).abs().max() <= 2e-5 * max(1.0, float(other.abs().max()))
    if plain is not None:
        assert (mine - plain).abs().max() > 1e-4, "the positions change nothing here"


@pytest.mark.parametrize("name", [*ADDED, "deberta_v2"])
def test_a_shifted_prefix_counts_real_tokens_from_l_on(name: str) -> None:
    model = positioned(name)
    batch = tiny_batch(model)
    if name == "opt":  # positions are those of the mask
        batch["attention_mask"] = torch.ones_like(batch["attention_mask"])
    ours, kept = copy.deepcopy(model), copy.deepcopy(model)
    with_prefix(ours, "shift"), with_prefix(kept, "keep")
    with torch.no_grad():
        moved = kept(**embedded(kept, name, batch, lambda count: count + LENGTH)).logits
        mine, unmoved = ours(**batch).logits, kept(**batch).logits
    real = batch["attention_mask"].bool() if mine.shape[:2] == batch["attention_mask"].shape else torch.ones(mine.shape[:1], dtype=torch.bool)
    close(mine[real], moved[real], unmoved[real])


@pytest.mark.parametrize("name", ROTATED)
def test_rotated_models_are_given_shifted_position_ids(name: str) -> None:
    ours, kept = fresh(name), fresh(name)
    with_prefix(ours, "auto"), with_prefix(kept, "keep")
    batch = batch_of(name)
    ids = torch.arange(batch["input_ids"].shape[1])[None]
    with torch.no_grad():
        close(ours(**batch).logits, kept(**batch, position_ids=ids + LENGTH).logits, kept(**batch).logits)


def test_roberta_leaves_padding_where_it_is() -> None:
    """P-tuning v2's rule: (cumsum(real) + past) · real + padding id."""
    model = fresh("roberta")
    with_prefix(model, "shift")
    ids, asked = torch.tensor([[5, 6, 7, 1, 1], [1, 5, 6, 7, 8]]), []
    positions = table(model.base_model, body_of(model), "encoder")
    positions.register_forward_pre_hook(lambda module, args, kwargs: asked.append(args[0] if args else next(iter(kwargs.values()))), with_kwargs=True)
    real = (ids != 1).long()
    model(input_ids=ids, attention_mask=real)
    assert torch.equal(asked[0], (real.cumsum(1) + LENGTH) * real + 1)


@pytest.mark.parametrize("name", ["t5", "deberta_v2"])
def test_models_that_know_distances_alone_have_nothing_to_shift(name: str) -> None:
    with pytest.raises(Refusal, match="distances between tokens alone"):
        with_prefix(fresh(name), "shift")
    auto, kept = fresh(name), fresh(name)
    with_prefix(auto, "auto"), with_prefix(kept, "keep")
    assert torch.equal(logits(auto, name), logits(kept, name))


def test_each_stack_is_shifted_by_its_own_prefix() -> None:
    with pytest.raises(Refusal, match="Cross-attention"):
        with_prefix(fresh("bart"), "shift", **{"deltas.0.stacks": ["cross"]})
    ours, kept = fresh("bart"), fresh("bart")
    with_prefix(ours, "shift", **{"deltas.0.stacks": ["decoder", "cross"]}), with_prefix(kept, "keep", **{"deltas.0.stacks": ["decoder", "cross"]})
    batch = batch_of("bart")
    encoder = [model.base_model.encoder(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).last_hidden_state for model in (ours, kept)]
    assert torch.equal(*encoder)
    assert (logits(ours, "bart") - logits(kept, "bart")).abs().max() > 1e-4


@pytest.mark.parametrize("name", [*ADDED, "deberta_v2"])
def test_virtual_tokens_without_positions_join_after_the_position_embeddings(name: str) -> None:
    """He et al.'s code: cat(P, E + pos). The plain model is given rows whose own position embedding is taken off again."""
    model = positioned(name)
    method = load_method("prompt-tuning", {"deltas.0.rank": LENGTH, "deltas.0.init": "normal", "deltas.0.token_positions": "none"})
    batch = dict(tiny_batch(model))
    batch["input_ids"] = batch["input_ids"].clamp(min=3)  # no padding
    batch["attention_mask"] = torch.ones_like(batch["attention_mask"])
    ours = copy.deepcopy(model)
    attached = attach(ours, method, seed=4)
    tokens = attached.deltas["deltas.0.decoder.embed" if body_of(model).stacks[0].name == "decoder" else "deltas.0.encoder.embed"].tokens
    seq2seq = OBJECTIVES[name] == "seq2seq"
    body = body_of(model)
    rows = rows_of(table(model.base_model, body, body.stacks[0].name))
    words = model.base_model.get_submodule(body.architecture.embed.replace("{stack}", body.stacks[0].name))(batch["input_ids"])
    length = words.shape[1]
    wanted = torch.cat([tokens.expand(len(words), -1, -1), words + rows[:length]], 1) - rows[: LENGTH + length]
    given = {key: value for key, value in batch.items() if key not in ("input_ids", "labels")}
    given["attention_mask"] = torch.ones(len(words), LENGTH + length, dtype=torch.long)
    with torch.no_grad():
        mine = (ours if seq2seq else ours.base_model)(**{k: v for k, v in batch.items() if seq2seq or k != "labels"})
        if seq2seq:
            other = model(**given, inputs_embeds=wanted, labels=batch["labels"])
            close(mine.logits, other.logits)
        else:
            other = model.base_model(**{k: v for k, v in given.items() if k in ("attention_mask",)}, inputs_embeds=wanted)
            close(mine.last_hidden_state, other.last_hidden_state[:, LENGTH:])


def test_virtual_tokens_without_positions_leave_a_whole_input_its_room() -> None:
    method = load_method("prompt-tuning", {"deltas.0.rank": LENGTH, "deltas.0.init": "normal", "deltas.0.token_positions": "none"})
    assert method.positions_taken == 0 and load_method("prompt-tuning", {"deltas.0.rank": LENGTH}).positions_taken == LENGTH
    for name in ("bert", "roberta", "bart", "gpt2"):
        model = fresh(name)
        attach(model, method, seed=1)
        ids = torch.full((2, 64), 7)
        more = {"decoder_input_ids": ids} if name == "bart" else {}
        assert model(input_ids=ids, attention_mask=torch.ones_like(ids), **more).logits.isfinite().all()
    with pytest.raises(Refusal, match="adds no position embeddings"):
        attach(fresh("llama"), method)


def test_generation_goes_on_from_the_real_positions() -> None:
    """With a cache and without: the same words, from a padded batch too."""
    for name in ("gpt2", "opt"):
        model = fresh(name)
        attach(model, load_method("prompt-tuning", {"deltas.0.rank": LENGTH, "deltas.0.init": "normal", "deltas.0.token_positions": "none"}), seed=1)
        ids = torch.tensor([[0, 0, 9, 8], [5, 6, 7, 8]])
        mask = torch.tensor([[0, 0, 1, 1], [1, 1, 1, 1]])
        said = [
            model.generate(input_ids=ids, attention_mask=mask, max_new_tokens=6, do_sample=False, use_cache=cache, pad_token_id=0) for cache in (True, False)
        ]
        assert torch.equal(*said)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_map_says_how_many_positions_a_model_has(name: str) -> None:
    """A table ends with them: a token more cannot be read. Planner and tasks have the same number."""
    model = fresh(name)
    body, count = body_of(model), None if name == "t5" else POSITIONS
    assert body.positions == count
    assert body_of(positioned(name)).positions == count
    rows = tiny_batch(model, batch=1, length=POSITIONS, labels=False)
    given = {**rows, "input_ids": rows["input_ids"].clamp(min=5)}
    with torch.no_grad():
        assert model(**given).logits.isfinite().all()
        if body.position_table:
            ids = torch.full((1, POSITIONS + 1), 7)
            with pytest.raises((IndexError, RuntimeError)):
                model(**{**given, "input_ids": ids, "attention_mask": torch.ones_like(ids)})
    spec = ModelSpec(name=name, architecture=name, kind=body.architecture.kind, source=Source(), config=dict(body.config))
    if count:
        with pytest.raises(Refusal, match=f"at most {count - LENGTH} tokens beside"):
            plan_shape(model=spec, method=load_method("prompt-tuning", {"deltas.0.rank": LENGTH}), batch=1, tokens=count - LENGTH + 1, target_tokens=4)


def test_inputs_that_fit_without_a_prompt_must_fit_with_it() -> None:
    body = body_of(fresh("roberta"))
    for rank, asked, own, ends in [(12, None, 52, 52), (12, None, 65, 52), (12, 40, 90, 52), (0, 90, 90, 64)]:
        method = load_method("prompt-tuning", {"deltas.0.rank": rank}) if rank else load_method("lora")
        assert room_for_inputs(method, body, asked, own) == ends
    for preset in ("prompt-tuning", "p-tuning-v2"):
        for rank, asked, own in [(12, None, 53), (12, None, 64), (12, 53, 40), (12, 65, 40), (61, None, 90)]:
            with pytest.raises(Refusal, match="make its rank smaller") as refused:
                room_for_inputs(load_method(preset, {"deltas.0.rank": rank}), body, asked, own)
            assert refused.value.field == "deltas.0.rank"
        with pytest.raises(Refusal, match="leave no room: the model has 64 positions") as refused:
            require(load_method(preset, {"deltas.0.rank": 64}), body)
        assert refused.value.field == "deltas.0.rank"
    assert room_for_inputs(load_method("p-tuning-v2"), body_of(fresh("t5")), None, 4000) is None
