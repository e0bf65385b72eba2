"""train(spec, reporter, run_dir): one run, from its spec to its result document."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from accelerate.utils import broadcast_object_list, wait_for_everyone

from lab import blocks, continuing
from lab.design.method.notes import notes
from lab.design.plain import peaks
from lab.design.plain.numbers import duration, memory
from lab.design.spec.run import RunSpec
from lab.engine.kernels import attention_words
from lab.origins import held
from lab.training import artefacts, devices, masks, probing, sharding
from lab.training.assembly import Assembly, assemble
from lab.training.checkpoints import Checkpoint, Checkpoints, recover, write_json
from lab.training.energy import Energy
from lab.training.judging import count
from lab.training.loop import Loop
from lab.training.reporting import Record, Reporter


def _print(line: str) -> None:
    print(line, flush=True)


def train(spec: RunSpec, reporter: Reporter | None = None, run_dir: str | Path = ".", *, cache: str | Path | None = None, run_id: str = "",
          say: Callable[[str], None] = _print) -> dict[str, Any]:  # fmt: skip
    """Train, or go on from the newest whole checkpoint of `run_dir`, and give the result document.

    {"run", "state": succeeded | cancelled, "trainable", "trainable_final", "trainable_head", "total", "percent", "metrics" and "best"
    (numbers on `judged_rows` rows of the validation split; best with its step), "judge": {"metric", "greater_is_better"}, "peak_bytes", "step_bytes" (of metered steps, None where none was), "seconds", "tokens_per_second", "rows_per_second", "steps",
    "total_steps", "training_seconds" (of the steps alone), "train_rows", "validation_rows" (all there are), "evaluation_rows" (those used during training; of several
    tasks all of them), "judged_rows", "evaluations": {"times", "rows", "cost", "seconds", "splits"} (see `Evaluator.made` and `evaluation.Split`), "device", "stopped_early", "energy", "probe", "tasks" (of several: rows, steps and metric of each),
    "base": {"padding", "told"} (see `Assembly.base`)}. `cache`: where tokenised data are kept. Raises Refusal, `checkpoints.Diverged`.
    """
    began, run_dir, reporter = time.perf_counter(), Path(run_dir), reporter or Record()
    reporter.phase("loading")
    if not run_dir.is_symlink():  # a worker's way into the folder that it was given (lab.runs.files.Fence)
        run_dir.mkdir(parents=True, exist_ok=True)
    accelerator, precision, note = devices.make_accelerator(spec.training)
    main = accelerator.is_main_process
    say = say if main else lambda line: None
    if main:
        _held(spec, run_dir, say)
    devices.seed_everything(spec.seed)
    saved = _latest(run_dir, spec, accelerator, say)
    assembly = _assembled(spec, accelerator, precision, saved, Path(cache) if cache else None, reporter)
    devices.seed_everything(spec.seed, accelerator.process_index)

    def save_best(facts: dict[str, Any]) -> None:
        if main:
            artefacts.write_adapter(run_dir / "best", assembly, facts, loop.evaluator.rows(end=False), loop.evaluator.answers())

    loop = Loop(assembly, accelerator, reporter, run_dir, say, save_best)
    _introduce(loop, precision, note, [] if saved else [f"{block.name}: {block.note}" for block in map(blocks.read, spec.built_on.names) if block.note], say)
    if saved:
        loop.restore(saved)
    elif assembly.probe is not None:
        loop.probed = probing.before(spec, assembly.probe, assembly.tokenizer, accelerator, assembly.model.dtype)
        devices.seed_everything(spec.seed, accelerator.process_index)
    earlier = saved.trainer["speed"].get("wall", 0.0) if saved else 0.0
    loop.speed.wall_began = began - earlier
    energy = Energy(spec.training.energy and main)
    energy.start()
    with masks.quick():
        state = loop.run()
    if state == "cancelled":
        return _document(loop, run_id, "cancelled", {}, loop.judge.best)
    metrics, best = _judge_at_the_end(loop, run_dir, say)
    reporter.phase("saving")
    result = _document(loop, run_id, "succeeded", metrics, best)
    result |= {"stopped_early": state == "stopped early", "energy": energy.finish() if main else {}}
    if spec.training.test:
        result["test"] = loop.evaluator.test()
        if main:
            artefacts.write_test_answers(run_dir, loop.evaluator.answers())
        say("Test split: " + (", ".join(f"{name} {value:.4f}" for name, value in result["test"].items()) or "this task has none with labels") + ".")
    if loop.probed is not None:
        result["probe"] = {"task": spec.training.probe, "before": loop.probed, "after": probing.after(assembly, accelerator)}
    predictions = _predictions(assembly, accelerator)
    if main:
        artefacts.write_predictions(run_dir, predictions)
        write_json(run_dir / "result.json", result)
    _conclude(result, loop, say)
    return result


def _held(spec: RunSpec, run_dir: Path, say: Callable[[str], None]) -> None:
    """The run's folder as training needs it: made from what the spec says, with what the run begins from. Raises Refusal."""
    held(spec, run_dir)
    artefacts.write_spec(run_dir, spec)
    recover(run_dir / "best")
    continuing.take_over(spec, run_dir, say)


def _predictions(assembly: Assembly, accelerator: Accelerator) -> list[dict[str, Any]]:
    """What the best weights make of a few rows; a shared base answers in all processes or in none."""
    with accelerator.autocast():
        wanted = accelerator.is_main_process or assembly.spec.training.sharding != "none"
        return artefacts.predictions(assembly, accelerator.device) if wanted else []


def _assembled(spec: RunSpec, accelerator: Accelerator, precision: str, saved: Checkpoint | None, cache: Path | None, reporter: Reporter) -> Assembly:
    """Model, method and data on the run's device, the frozen base shared out among the processes where the run says so."""
    shared = spec.training.sharding != "none"
    assembly = assemble(spec, cache=cache, device="cpu" if shared else accelerator.device, precision=precision, state=saved.tensors if saved else None,
                        tokenised=lambda done, every: reporter.phase("tokenising", done / every))  # fmt: skip
    for task in assembly.tasks.values():
        reporter.phase("tokenising")
        task.tokenise()
    if shared:
        sharding.share_out(assembly, accelerator.device)
    return assembly


def _latest(run_dir: Path, spec: RunSpec, accelerator: Accelerator, say: Callable[[str], None]) -> Any:
    """The checkpoint to go on from; the first process looks, the others read the same."""
    checkpoints = Checkpoints(run_dir / "checkpoints", spec.training.keep_checkpoints, say)
    if accelerator.num_processes == 1:
        return checkpoints.latest()
    saved = checkpoints.latest() if accelerator.is_main_process else None
    step = broadcast_object_list([saved.step if saved else None])[0]
    return saved if saved or step is None else checkpoints.read(step)


def _judge_at_the_end(loop: Loop, run_dir: Path, say: Callable[[str], None]) -> tuple[dict[str, float], dict[str, float] | None]:
    """(numbers of the last weights, of the best ones) on the rows of the judgement at the end; leaves the best weights in the model.

    The best were chosen on the rows used during training. Where those are fewer, both are judged anew, and where the last ones beat them, they are the best.
    """
    assembly, main, judged_on = loop.assembly, loop.accelerator.is_main_process, loop.evaluator.rows(end=True)
    if main and loop.end < loop.total:
        continuing.leave(run_dir)
    last = {"step": loop.step}
    if not loop.plan.apart and loop.evaluated["step"] == loop.step:
        last |= loop.evaluated
    else:
        last |= loop.evaluator.at_the_end()
    answers = loop.evaluator.answers()
    if main:
        artefacts.write_adapter(run_dir / "adapter", assembly, last, judged_on)
    metrics = {name: value for name, value in last.items() if name != "step"}
    best = loop.judge.best
    settled = artefacts.step_of(run_dir / "best") == loop.step  # by a worker that was killed after this point
    if settled and not answers:
        answers = artefacts.answers_of(run_dir / "best")
    if loop.processes > 1:
        wait_for_everyone()
    kept = _best_weights(run_dir, best, say) if best is not None and best["step"] != loop.step and not settled else None
    if kept:
        final = assembly.weights()
        assembly.set_weights(kept)
        if loop.plan.apart:
            best = {"step": best["step"], **loop.evaluator.at_the_end()}
        of_best = loop.evaluator.answers() if loop.plan.apart else artefacts.answers_of(run_dir / "best")
        if not loop.judge.better(metrics, best):
            if main:
                artefacts.write_adapter(run_dir / "best", assembly, best, judged_on, of_best)
            return metrics, best
        assembly.set_weights(final)
    if main:
        artefacts.write_adapter(run_dir / "best", assembly, last, judged_on, answers)
    return metrics, last


def _best_weights(run_dir: Path, best: dict[str, float], say: Callable[[str], None]) -> dict[str, Any] | None:
    """The weights in best/; None, with a sentence, where they are missing, damaged, or of another step than the judge remembers."""
    try:
        weights, step = artefacts.read_whole(run_dir / "best"), artefacts.step_of(run_dir / "best")
        reason = "" if step == best["step"] else f"they are of step {step}"
    except (OSError, ValueError) as error:
        weights, reason = None, getattr(error, "strerror", None) or str(error)
    if reason:
        say(f"The best weights, of step {best['step']}, are not there ({reason[:120]}); the last ones are taken for the best.")
    return None if reason else weights


def _document(loop: Loop, run_id: str, state: str, metrics: dict[str, float], best: dict[str, float] | None) -> dict[str, Any]:
    assembly, speed, trained, counts = loop.assembly, loop.speed, max(loop.speed.seconds, 1e-9), loop.plan.told
    return {
        "run": run_id, "state": state, "trainable": loop.trainable_at_start, "trainable_final": loop.attached.trainable_now,
        "trainable_head": assembly.trainable_head, "total": assembly.total, "percent": 100 * loop.trainable_at_start / assembly.total,
        "metrics": metrics, "best": best or {}, "judge": {"metric": assembly.judge.name, "greater_is_better": assembly.judge.greater}, "peak_bytes": int(loop.memory.read()["peak_bytes"]), "step_bytes": loop.metering.peak_bytes or None, "seconds": round(speed.wall(), 2),
        "tokens_per_second": round(speed.tokens / trained, 1), "rows_per_second": round(speed.rows / trained, 2),
        "steps": loop.step, "total_steps": loop.total, "training_seconds": round(speed.seconds, 3), "train_rows": sum(len(task.train) for task in assembly.tasks.values()),
        "base": assembly.base, "validation_rows": counts["validation_rows"], "evaluation_rows": counts["evaluation_rows"],
        "judged_rows": counts["judged_rows" if state == "succeeded" else "evaluation_rows"],
        "evaluations": {**loop.evaluator.made, "splits": [[split.rows, split.cost] for split in loop.plan.splits]}, "device": devices.device_name(loop.device),
    } | ({"tasks": _tasks(loop)} if assembly.several else {})  # fmt: skip


def _tasks(loop: Loop) -> dict[str, dict[str, Any]]:
    """What a run of several tasks made of each."""
    drawn = zip(loop.assembly.tasks.items(), loop.steps.taken, loop.steps.shares, strict=True)
    return {name: {"metric": task.metric, "steps": taken, "share": float(share), "train_rows": len(task.train), "validation_rows": len(task.validation)}
            for (name, task), taken, share in drawn}  # fmt: skip


def _introduce(loop: Loop, precision: str, note: str, below: list[str], say: Callable[[str], None]) -> None:
    """The first lines of a log: what runs, on what, how much trains. `below`: sentences on what it is built on."""
    assembly: Assembly = loop.assembly
    spec, trainable = assembly.spec, loop.trainable_at_start
    say(f"{spec.name}: {spec.method.name} on {spec.model}, {_named(loop)}, seed {spec.seed}")
    say(f"{trainable:,} of {assembly.total:,} weights train ({100 * trainable / assembly.total:.2f} %)"
        + (f", and {'new heads' if assembly.heads else 'a new head'} of {assembly.trainable_head:,}" if assembly.head else ""))  # fmt: skip
    say(f"{sum(len(task.train) for task in assembly.tasks.values()):,} training rows, {count(loop.evaluator.all):,} for validation; {loop.total:,} steps of {loop.steps.rows_per_step} rows, "
        f"peak lr {spec.lr:g} ({spec.training.schedule}), {precision} on {loop.device}"
        + (f", {loop.processes} processes" if loop.processes > 1 else "")
        + (", the frozen base shared out over them" if spec.training.sharding != "none" else ""))  # fmt: skip
    if loop.end < loop.total:
        say(f"It ends after step {loop.end:,} of those, and another run may continue it.")
    say(loop.plan.words)
    if assembly.probe is not None:
        say(f"The forgetting probe {spec.training.probe} is measured besides, before and after training: {probing.words(spec, assembly.probe)}.")
    say(attention_words(assembly.attached, assembly.objective, loop.device.type, precision != "fp32"))
    if below := spec.method.frozen:
        prefixes = tuple(f"deltas.{index}." for index in range(len(below)))
        held = sum(tensor.numel() for name, tensor in assembly.attached.tensors().items() if name.startswith(prefixes))
        say(f"Frozen below, {held:,} weights: {', '.join(dict.fromkeys(delta.frozen_from for delta in below))}")
    if spec.built_on.start_from:
        say(f"Goes on from {spec.built_on.start_from}" + (", with its head" if assembly.head and spec.built_on.start_head == "keep" else ""))
    for each in (note, *(sentence for task in assembly.tasks.values() for sentence in task.told)):
        if each:
            say(f"Note: {each}.")
    for sentence in (*assembly.base["told"], *below):
        say(f"Note: {sentence}")
    for _, sentence in notes(spec.method, assembly.attached.body, spec.quantisation):
        say(f"Note: {sentence}")


def _named(loop: Loop) -> str:
    tasks = loop.assembly.tasks
    if not loop.assembly.several:
        return f"task {loop.assembly.task.spec.name or loop.assembly.task.spec.family}"
    drawn = ", ".join(f"{name} ({100 * share:.0f} % of the steps)" for name, share in zip(tasks, loop.steps.shares, strict=True))
    return f"tasks {drawn}, judged by {loop.judge.metric}"


def _conclude(result: dict[str, Any], loop: Loop, say: Callable[[str], None]) -> None:
    metric = loop.judge.metric
    numbers = f"{metric} {result['metrics'][metric]:.4f}" if metric in result["metrics"] else "no validation rows"
    if result["judged_rows"] < result["validation_rows"]:
        numbers += f" on {result['judged_rows']:,} of {result['validation_rows']:,} validation rows"
    if metric in result["best"]:
        numbers += f", best {result['best'][metric]:.4f} at step {result['best']['step']}"
        if result["best"]["step"] == 0 and loop.total:
            say("Note: no evaluation beat the model as it was before training, so the best weights are those of step 0.")
    say(
        f"Done in {duration(result['seconds'])}: {numbers}; {result['tokens_per_second']:,.0f} tokens/s, {peaks.WORDS[peaks.kind_on(loop.device)]} {memory(result['peak_bytes'])}"
    )
