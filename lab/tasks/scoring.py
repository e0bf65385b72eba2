"""Run a model over tokenised rows: scores of a head, mean loss, generated answers, likelihood of options.

Rows are taken in batches of like lengths, longest first, and results given back in the order of the rows. The model is in
eval mode and without gradients meanwhile, and in its former mode after.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import torch

from lab.design.spec.objectives import IGNORED
from lab.models.head import head_of
from lab.tasks.batches import collate, pad
from lab.tasks.family import EvaluationLoop, Setting, Stopped
from lab.tasks.losses import target_losses
from lab.tasks.prompting import one_pass
from lab.tasks.rows import batches

Row = dict[str, Any]


@contextlib.contextmanager
def judging(model: torch.nn.Module) -> Iterator[None]:
    """Eval mode and no gradients inside, the model's own mode after."""
    training = model.training
    model.eval()
    try:
        with torch.no_grad():  # not inference_mode: a delta may keep a tensor that training uses later
            yield
    finally:
        model.train(training)


def walk(rows: Sequence[Row], lengths: Sequence[int], loop: EvaluationLoop, size: int | None = None) -> Iterator[tuple[list[int], list[Row]]]:
    """Batches as (indices, rows), reporting progress. Raises `Stopped` when the loop says so."""
    done = 0
    for indices in batches(lengths, size or loop.batch_size):
        if loop.stopping():
            raise Stopped
        yield indices, [rows[i] for i in indices]
        done += len(indices)
        loop.progress(done, len(lengths))


def to(batch: dict[str, torch.Tensor], device: Any) -> dict[str, torch.Tensor]:
    """The batch on a device; None leaves it."""
    return {name: tensor.to(device) for name, tensor in batch.items()} if device is not None else batch


def head_scores(model: torch.nn.Module, rows: Any, setting: Setting, loop: EvaluationLoop) -> tuple[torch.Tensor, float]:
    """Logits of a classification or regression head in fp32, (rows, labels), and the mean loss."""
    scores: list[Any] = [None] * len(rows)
    total = 0.0
    with judging(model):
        for indices, some in walk(rows, rows.lengths, loop):
            out = model(**to(collate(some, setting), loop.device))
            total += float(out.loss) * len(some)
            for index, row in zip(indices, out.logits.float().cpu(), strict=True):
                scores[index] = row
    return torch.stack(scores), total / len(rows)


def token_loss(model: torch.nn.Module, rows: Any, setting: Setting, loop: EvaluationLoop) -> tuple[float, int]:
    """Mean negative log-likelihood per predicted token over all rows (nats), and how many tokens that were."""
    total, count = 0.0, 0
    each = torch.zeros(2, len(rows), dtype=torch.float64)  # of every row: its loss in nats, its predicted tokens
    with judging(model):
        for indices, some in walk(rows, rows.lengths, loop):
            owner, losses = target_losses(model, to(collate(some, setting), loop.device), setting.objective)
            owner, losses = owner.cpu(), losses.double().cpu()
            total += float(losses.sum())
            count += len(losses)
            each[:, indices] = torch.stack(
                [torch.zeros(len(some), dtype=torch.float64).index_add_(0, owner, part) for part in (losses, torch.ones_like(losses))]
            )
    loop.keep({"loss": each[0].numpy(), "tokens": each[1].numpy()})
    return total / max(1, count), count


def generate(model: torch.nn.Module, rows: Any, setting: Setting, loop: EvaluationLoop) -> list[str]:
    """The answer to each row, with the task's beam settings and the KV cache, unless the method has switched that off; decoders are padded on the left."""
    options = setting.spec.generation
    answers = [""] * len(rows)
    special = {**_generation_tokens(model, setting), "use_cache": model.generation_config.use_cache is not False}
    prompts = [_prompt(rows[i]) for i in range(len(rows))]
    size = max(1, loop.batch_size // options.beams)
    with judging(model), _cached(model):
        for indices, some in walk(prompts, list(map(len, prompts)), loop, size):
            side = "left" if setting.decoder else "right"
            batch = {"input_ids": pad(some, setting.pad, side), "attention_mask": pad([[1] * len(each) for each in some], 0, side)}
            batch = to(batch, loop.device)
            room = max(1, setting.positions - len(some[0])) if setting.decoder else setting.positions  # learned positions end there
            longest = min(options.max_length, room)
            out = model.generate(
                **batch, num_beams=options.beams, do_sample=False, min_new_tokens=min(options.min_length, longest) or None, max_new_tokens=longest,
                length_penalty=options.length_penalty if options.beams > 1 else None, early_stopping=options.beams > 1,
                no_repeat_ngram_size=options.no_repeat_ngram or None, pad_token_id=setting.pad, **special,
            )  # fmt: skip
            if setting.decoder:
                out = out[:, batch["input_ids"].shape[1] :]
            for index, text in zip(indices, setting.tokenizer.batch_decode(out, skip_special_tokens=True), strict=True):
                answers[index] = text.strip()
    return answers


def _prompt(row: Row) -> list[int]:
    return row["input_ids"][: row["prompt_length"]] if "prompt_length" in row else row["input_ids"]


def _generation_tokens(model: torch.nn.Module, setting: Setting) -> dict[str, Any]:
    """mBART starts an answer with its language."""
    languages = setting.spec.languages
    if languages and setting.architecture.starts_with_language:
        return {"decoder_start_token_id": setting.tokenizer.convert_tokens_to_ids(languages[1]), "forced_bos_token_id": None}
    return {"eos_token_id": setting.tokenizer.eos_token_id} if setting.decoder else {}


@contextlib.contextmanager
def _cached(model: torch.nn.Module) -> Iterator[None]:
    """Gradient checkpointing turns the cache off, also in evaluation: switch it off while generating."""
    flags = [module for module in model.modules() if getattr(module, "gradient_checkpointing", False)]
    for module in flags:
        module.gradient_checkpointing = False
    try:
        yield
    finally:
        for module in flags:
            module.gradient_checkpointing = True


def option_scores(model: torch.nn.Module, rows: Any, setting: Setting, loop: EvaluationLoop) -> list[list[float]]:
    """Mean log-likelihood per token (nats) of every option after its prompt; rows have "options" as lists of token ids.

    Where every option of a decoder is one token, all are read off one pass over the prompt.
    """
    every = [rows[index] for index in range(len(rows))]
    alone = one_pass([row["options"] for row in every], setting)
    if alone:
        flat = [(index, -1, _prompt(row), []) for index, row in enumerate(every)]
    else:
        flat = [(index, place, _prompt(row), option) for index, row in enumerate(every) for place, option in enumerate(row["options"])]
    scores: list[list[float]] = [[0.0] * len(row["options"]) for row in every]
    lengths = [len(prompt) + len(option) for _, _, prompt, option in flat]
    with judging(model):
        for indices, some in walk(flat, lengths, loop):
            if alone:
                for (index, *_), after in zip(some, _next_tokens(model, [each[2] for each in some], setting, loop.device), strict=True):
                    scores[index] = [float(after[option[0]]) for option in every[index]["options"]]
                continue
            values = _likelihood(model, [(prompt, option) for _, _, prompt, option in some], setting, loop.device)
            for i, score in zip(indices, values, strict=True):
                scores[flat[i][0]][flat[i][1]] = score
    return scores


def _next_tokens(model: torch.nn.Module, prompts: list[list[int]], setting: Setting, device: Any) -> torch.Tensor:
    """Log-likelihood of every next token, (prompts, vocab)."""
    batch = to(collate([{"input_ids": prompt} for prompt in prompts], setting), device)
    length = batch["input_ids"].shape[1]
    last = batch["attention_mask"].sum(1) - 1 + length * torch.arange(len(prompts), device=batch["input_ids"].device)  # (prompts,)
    return head_of(model).logits({**batch, "use_cache": False}, last).log_softmax(-1).cpu()


def _likelihood(model: torch.nn.Module, pairs: list[tuple[list[int], list[int]]], setting: Setting, device: Any) -> list[float]:
    """Mean log-likelihood of each continuation, (pairs,)."""
    if setting.decoder:
        rows = [{"input_ids": p + o, "labels": [IGNORED] * len(p) + o} for p, o in pairs]
    else:
        rows = [{"input_ids": p, "labels": o} for p, o in pairs]
    owner, losses = target_losses(model, to(collate(rows, setting), device), setting.objective)
    summed = losses.new_zeros(len(pairs)).index_add_(0, owner, losses)
    return (-summed / owner.bincount(minlength=len(pairs))).tolist()
