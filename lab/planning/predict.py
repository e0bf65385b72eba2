"""plan(spec) and plan_shape(...): peak memory of a training step, without weights and without an accelerator.

The model is built on meta with at most five layers per stack, a step is traced (trace.py), the log is unrolled to the real depth (log.py) and
replayed (replay.py). Where layers differ, or the method treats them differently, the whole model is traced instead: as exact, slower.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from lab.design.body.anatomy import Anatomy, anatomy
from lab.design.body.model import ModelSpec
from lab.design.method.delta import Method
from lab.design.method.lengths import require_readable, room_for_inputs
from lab.design.method.named import method_of
from lab.design.method.quantised import quantised_problem
from lab.design.method.rules import require
from lab.design.plain.options import override
from lab.design.plain.refusal import Refusal
from lab.design.spec.objectives import OBJECTIVES
from lab.design.spec.run import RunSpec, spec_of
from lab.design.spec.sharing import sharing_problem
from lab.engine.kernels import mask_left_out
from lab.models import checkpoint, of_run, quantised, resolve
from lab.models.loading import quiet
from lab.planning.building import Built, Subject, alike, build, depths, facts_of, traced_depths
from lab.planning.log import Log, NotAlike
from lab.planning.replay import Peaks, replay
from lab.planning.result import CATEGORIES, NOT_MODELLED, Plan
from lab.planning.several import of_one
from lab.planning.trace import Trace, batch_of

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16,
          "fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}  # fmt: skip
USUAL = {"encoder": "classification", "decoder": "causal", "encoder-decoder": "seq2seq"}
LARGEST = 10_000_000  # rows or tokens


def plan(spec: RunSpec | Mapping[str, Any], *, batch: int | None = None, tokens: int | None = None, target_tokens: int | None = None, targets: int | None = None,
         dtype: str | None = None, adapter_dtype: str | None = None, device: str | None = None, padding: bool = True) -> Plan:  # fmt: skip
    """The memory of a run, every row as long as its task allows; of several tasks, of a step of the one that takes most. What is given here wins over the spec.

    `targets`: of a language model's batch, see `plan_shape`. `device`: whose kernels to model, cuda or cpu; None: the run's own, and for auto the one of this machine. Raises Refusal.
    """
    from lab.tasks import resolve as task_of
    from lab.tasks.together import objectives_of

    spec = spec if isinstance(spec, RunSpec) else spec_of(dict(spec))
    model, tasks, training = of_run(spec), [task_of(task) for task in spec.tasks.values()], spec.training
    kinds = [(objective, len(task.labels) or 2) for objective, task in zip(objectives_of(tasks, model), tasks, strict=True)]
    where = device or _device_of(training.device)
    precision = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16", "auto": "bfloat16"}[training.precision] if where == "cuda" else "float32"
    half = precision != "float32"
    body = anatomy(facts_of(model))
    require(spec.method, body)
    shared: dict[str, Any] = {
        "model": model, "method": spec.method, "batch": batch or training.batch_size,
        "dtype": dtype or (precision if spec.method.frozen_base else "float32"), "adapter_dtype": adapter_dtype or "float32",
        "optimizer": training.optimizer, "galore_rank": training.galore_rank, "checkpointing": training.gradient_checkpointing, "accumulation": training.accumulation,
        "smoothing": training.label_smoothing, "seed": spec.seed, "device": where, "autocast": precision if half and dtype is None else None,
        "padding": padding, "targets": targets, "devices": training.devices, "sharding": training.sharding,
    }  # fmt: skip
    steps: list[dict[str, Any]] = []
    for number, (task, (objective, labels)) in enumerate(zip(tasks, kinds, strict=True)):
        require_readable(body, training.max_length)
        room = room_for_inputs(spec.method, body, training.max_length, task.max_length) or LARGEST
        own = {"tokens": tokens or min(training.max_length or task.max_length, room), "target_tokens": target_tokens or min(task.target_length, room),
               "objective": objective, "num_labels": labels, "others": sorted(kinds[:number] + kinds[number + 1 :])}  # fmt: skip
        if own not in steps:
            steps.append(own)
    return max((plan_shape(**shared, **own) for own in steps), key=lambda found: found.peak_allocated_bytes)


def plan_shape(*, model: str | ModelSpec, method: str | Method | Mapping[str, Any], batch: int, tokens: int, target_tokens: int | None = None, targets: int | None = None,
               dtype: str = "float32", adapter_dtype: str | None = None, optimizer: str = "adamw", checkpointing: bool = False,
               overrides: Mapping[str, Any] | None = None, objective: str | None = None, num_labels: int | None = None, accumulation: int = 1,
               smoothing: float = 0.0, seed: int = 0, device: str = "cuda", autocast: str | None = None, use_cache: bool = False, all_logits: bool = False, whole: bool = False,
               galore_rank: int = 128, quantisation: str | None = None, others: Sequence[Sequence[Any]] = (), padding: bool = True,
               devices: int = 1, sharding: str = "none") -> Plan:  # fmt: skip
    """The memory of a step of `batch` rows of `tokens` tokens (targets of `target_tokens`, on an encoder-decoder).

    `targets`: words of the whole batch that a language model has logits for; None: every position, the most that such a batch can have. A real batch
    has fewer: padding has none, nor has a prompt.
    `dtype` is that of the frozen weights, `adapter_dtype` of what trains (None: the same); `autocast`: the type of mixed precision,
    where it is on. `use_cache`: keys and values of the forward pass stay until the backward pass is over, as where a script calls a
    transformers model with its defaults and keeps the output; the lab's loop does without. `all_logits`: so do a language model's logits of every
    position (`use_cache` has them too), as in such scripts; the lab's loop makes those of targets, piece by piece. `quantisation`: of the base, none, int8 or nf4 (None: the
    model's own). `padding`: some rows are shorter, so that attention has a mask. `others`: (objective, labels) of the further tasks of a run, each with a head. `whole`: trace every layer.
    `devices`, `sharding`: the plan is of each of so many devices, with the base whole on each (none) or shared out (fsdp). Raises Refusal for what cannot be combined or built.
    """
    start = time.perf_counter()
    spec, chosen = quantised(model, quantisation) if quantisation else resolve(model), method_of(method)
    if overrides:
        chosen = method_of(override(chosen.document(), dict(overrides)))
    objective = _objective(objective or USUAL[spec.kind])
    if not OBJECTIVES[objective].two_sequences:
        target_tokens = None
    _require_whole(
        batch=batch, tokens=tokens, target_tokens=target_tokens or tokens, accumulation=accumulation, devices=devices, targets=1 if targets is None else targets
    )
    body = anatomy(facts_of(spec))
    require(chosen, body)
    if before := checkpoint.quantised_by(spec):
        raise Refusal(
            "The memory of a checkpoint that is quantised already ({method}) is not predicted: {model} can be run.",
            "model",
            method=before,
            model=spec.title or spec.name,
        )
    if spec.quantisation != "none" and (problem := quantised_problem(chosen)):
        raise problem
    if problem := sharing_problem(chosen, devices, sharding, spec.quantisation):
        raise problem
    _require_room(spec, chosen, body.positions, max(tokens, target_tokens or 0))
    subject = Subject(spec, chosen, objective, num_labels or 2, _dtype(dtype, "dtype"),
                      _dtype(adapter_dtype or dtype, "adapter_dtype"), checkpointing, autocast is not None, seed,
                      tuple((_objective(each), int(labels)) for each, labels in others))  # fmt: skip
    shape = {"rows": batch, "tokens": tokens, "target_tokens": target_tokens or tokens, "padding": padding}
    how = {"optimizer": optimizer, "accumulate": accumulation > 1, "smoothing": smoothing, "use_cache": use_cache, "all_logits": all_logits,
           "targets": targets, "galore_rank": galore_rank}  # fmt: skip
    with quiet():
        peaks, trainable, head = _peaks(subject, body, shape, how, device, _dtype(autocast, "autocast") if autocast else None, whole, (devices, sharding))
    peak = peaks.largest()
    setting = {"model": spec.name, "method": chosen.preset or chosen.name, "batch": batch, "tokens": tokens, "target_tokens": shape["target_tokens"], "targets": targets,
               "dtype": dtype, "adapter_dtype": adapter_dtype or dtype, "optimizer": optimizer, "checkpointing": checkpointing,
               "accumulation": accumulation, "smoothing": smoothing, "objective": subject.objective, "num_labels": subject.num_labels, "device": device, "autocast": autocast, "use_cache": use_cache, "all_logits": all_logits, "galore_rank": galore_rank,
               "quantisation": spec.quantisation, "others": [list(each) for each in subject.others],
               "devices": devices, "sharding": sharding}  # fmt: skip
    return Plan(
        peak_allocated_bytes=peak["total"], peak_reserved_bytes=peaks.reserved if device == "cuda" else peak["total"],
        categories={name: peak[name] for name in CATEGORIES}, phases=peaks.phases, trainable=trainable, trainable_head=head,
        seconds=round(time.perf_counter() - start, 3), setting=setting, not_modelled=_not_modelled(chosen, device, spec.quantisation),
    )  # fmt: skip


def _require_room(spec: ModelSpec, method: Method, positions: int | None, tokens: int) -> None:
    """Refuse more tokens than the model reads; `positions`: that it has, None without a limit."""
    longest = None if positions is None else positions - method.positions_taken
    if longest is not None and tokens > longest:
        raise Refusal(
            "{model} reads at most {most:,} tokens beside the positions that the method takes; {count:,} are too many."
            if method.positions_taken
            else "{model} reads at most {most:,} tokens; {count:,} are too many.",
            "tokens",
            model=spec.title or spec.name,
            most=longest,
            count=tokens,
        )


def _require_whole(**numbers: int) -> None:
    for name, number in numbers.items():
        if not isinstance(number, int) or not 1 <= number <= LARGEST:
            raise Refusal("'{name}' must be a whole number from 1 to {most:,}.", name, name=name, most=LARGEST)


def _peaks(subject: Subject, body: Anatomy, shape: dict, how: dict, device: str, autocast: torch.dtype | None, whole: bool,
           over: tuple[int, str]) -> tuple[Peaks, int, int]:  # fmt: skip
    """(peaks, weights that the method trains, those of a task head). `over`: devices, and how the base lies on them."""
    deep = depths(body)
    few = traced_depths(body)
    if few != deep and not whole and alike(subject, body):
        built = build(subject, few)
        log = _traced(built, subject, shape, how, device, autocast)
        try:
            return of_one(replay(log.unroll(deep)), built, deep, few, *over), _trainable(built, deep, few), _head(built)
        except NotAlike:
            pass  # the layers did not do the same: trace them all
    built = build(subject)
    log = _traced(built, subject, shape, how, device, autocast)
    return of_one(replay(log.recorded()), built, deep, deep, *over), built.attached.trainable_now, _head(built)


def _traced(built: Built, subject: Subject, shape: dict, how: dict, device: str, autocast: torch.dtype | None) -> Log:
    left_out = not how["use_cache"] and mask_left_out(built.attached, subject.objective, device)  # as the loop does it, and a script does not
    batch = batch_of(built.model, subject.objective, **{**shape, "padding": shape["padding"] and not left_out})
    try:
        return Trace(built, device, autocast).run(batch, subject.objective, **how)
    except (NotImplementedError, RuntimeError, ValueError, IndexError) as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise Refusal(
            "The memory of {model} cannot be predicted in this shape: {reason}", model=subject.model.name or "this model", reason=lines[0][:200]
        ) from error


def _trainable(built: Built, deep: dict[str, int], few: dict[str, int]) -> int:
    """Weights that the method trains on the deep model: every layer of a stack has as many as the middle one."""
    total = built.attached.trainable_now
    for parameter in built.attached.trainable().values():
        stack, layer = built.place.get(id(parameter), ("", -1))
        if layer == few.get(stack, 0) // 2 and layer >= 0:
            total += parameter.numel() * (deep[stack] - few[stack])
    return total


def _head(built: Built) -> int:
    return sum(p.numel() for p in (*built.head.values(), *built.others))


def _objective(name: str) -> str:
    if name not in OBJECTIVES:
        raise Refusal("There is no objective '{name}'; there are {known}.", "objective", name=name[:40], known=", ".join(OBJECTIVES))
    return name


def _dtype(name: str, field: str) -> torch.dtype:
    if name not in DTYPES:
        raise Refusal("'{name}' is no number type; there are float32, bfloat16 and float16.", field, name=str(name)[:40])
    return DTYPES[name]


def _device_of(asked: str) -> str:
    from lab.planning.devices import memory

    return ("cpu" if asked == "cpu" else "cuda") if asked != "auto" else memory()["kind"]


def _not_modelled(method: Method, device: str, quantisation: str) -> list[str]:
    extra = []
    if quantisation == "nf4" and device != "cpu":
        extra.append("kernels that multiply by 4-bit weights without dequantising them, for few tokens at a time")
    if any(delta.schedule and delta.schedule.freezes for delta in method.deltas) or (method.select and method.select.changes_later):
        extra.append("what the schedule changes later: this is the beginning of the run")
    if method.select and method.select.entries and method.select.uneven:
        extra.append("which weights have the entries that train: each is taken to have its share")
    if device == "cpu":
        return ["the Python process and its libraries (0.4 to 0.8 GB)", "work buffers of single kernels", *NOT_MODELLED[3:], *extra]
    return [*NOT_MODELLED, *extra]


__all__ = ["Plan", "plan", "plan_shape"]
