"""The one training loop: forward, backward, the method's own rules, the optimizer, evaluations and checkpoints.

A step: loss of all its passes over the number of targets in the whole step, plus the method's penalty → backward →
`after_backward` → clip → optimizer → `after_step` (a schedule may change what trains) → zero gradients. Steps count from 1.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import gather_object, wait_for_everyone
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from lab.design.plain.message import Message, listed
from lab.design.plain.numbers import duration
from lab.design.plain.refusal import Refusal
from lab.design.spec import evaluation
from lab.design.spec.families import LOSS, OF
from lab.design.spec.run import EPOCHS, EVALUATIONS
from lab.engine.kernels import mask_left_out
from lab.tasks import Stopped
from lab.tasks.losses import batch_loss
from lab.tasks.losses import targets as where_targets
from lab.training import devices, judging, optimizers, sharding
from lab.training.assembly import Assembly
from lab.training.batches import Mixture, Position
from lab.training.checkpoints import Checkpoint, Checkpoints, Diverged
from lab.training.feeding import Feed
from lab.training.judging import Evaluator, Judge
from lab.training.metering import Metering
from lab.training.meters import Memory, Speed, resident_beside
from lab.training.reporting import Reporter

LOGGED = 400  # at least so many points of a long run's curves
MEASURED = 50


class Loop:
    """A run in progress. `run()` trains to the end, or to the step after which the reporter says stop."""

    def __init__(self, assembly: Assembly, accelerator: Accelerator, reporter: Reporter, run_dir: Path, say: Callable[[str], None],
                 save_best: Callable[[dict[str, Any]], None]):  # fmt: skip
        spec, training = assembly.spec, assembly.spec.training
        self.assembly, self.accelerator, self.reporter, self.say, self.save_best = assembly, accelerator, reporter, say, save_best
        self.training, self.attached, self.model = training, assembly.attached, assembly.model
        self.processes, self.rank, self.device = accelerator.num_processes, accelerator.process_index, accelerator.device
        self.tasks = list(assembly.tasks)
        lengths = [task.train.lengths for task in assembly.tasks.values()]
        self.steps = Mixture(lengths, training.batch_size * training.accumulation * self.processes, spec.seed, training.temperature)
        self.feed = Feed(self.steps, list(assembly.tasks.values()), training, self.device, self.processes, self.rank)
        as_it_is = training.steps == 0 or spec.combination and training.steps is None and training.epochs is None
        self.total = 0 if as_it_is else training.steps or max(1, math.ceil((training.epochs or EPOCHS) * self.steps.per_epoch))
        self.end = min(self.total, training.until or self.total)  # of this run; learning rate, schedules and evaluations are laid out for all steps
        self.plan = evaluation.plan(training, self.total, training.batch_size * training.accumulation,
                                    judging.splits(assembly.tasks, self.steps.shares, self.device.type))  # fmt: skip
        self.tell_every = training.evaluate_every or max(1, self.total // EVALUATIONS)
        self.checkpoint_every = training.checkpoint_every or self.tell_every
        self.log_every = max(1, self.total // LOGGED)
        self.measure_every = max(self.log_every, self.total // MEASURED)
        self.optimizer = optimizers.make_optimizer(assembly.groups(), training, spec.lr, spec.weight_decay, self.device.type)
        self.attached.begin(self.total, self.optimizer)
        self.judge = Judge(assembly.judge.name, assembly.judge.greater, training.early_stopping)
        self.evaluator = Evaluator(assembly, accelerator, self.plan, reporter.phase)
        self.checkpoints = Checkpoints(run_dir / "checkpoints", training.keep_checkpoints, say)
        self.memory, self.speed = Memory(self.device), Speed()
        self.metering = Metering(self.model, self.optimizer, self.total, wanted=self.processes == 1 and not training.compile)
        self.process_bytes = 0  # resident besides weights and the optimizer's state after the first step and evaluation, on a CPU
        self.step = 0
        self.evaluated: dict[str, Any] = {"step": -1}
        self.last_loss = math.nan
        self.probed: dict[str, float] | None = None  # before training
        self.trainable_at_start = self.attached.trainable_now
        self._losses: list[Tensor] = []
        self._drawn: list[int] = []  # the task of each
        self._stop = False
        self.forward: nn.Module = self.model
        self.trains: list[nn.Parameter] = []
        self.unmasked: set[str] = set()  # objectives whose batches are read without their padding's mask

    # -- the whole run -----------------------------------------------------------------------------------------------------------

    def run(self) -> str:
        """succeeded, stopped early (also a success), or cancelled. Raises Diverged."""
        self.model.train()
        self.wrap()
        self.metering.begin(self.step)
        self.reporter.progress(self.step, self.end)
        self.reporter.log(self.step, self.plan.told, total_steps=self.end)  # for a page, while there is no result
        try:
            if self.plan.due(self.step) and self.evaluated["step"] != self.step:
                self.evaluate()
            self.reporter.phase("training")
            while self.step < self.end and not self._asked_to_stop() and not self.judge.give_up:
                with self.speed.step():
                    norm, rate = self.train_step()
                self.after_step(norm, rate)
        except Stopped:
            pass
        except Diverged as error:
            raise Diverged(listed([error.sentence, self._kept()], " ")) from None
        finally:
            self.feed.close()
        if self.step < self.end and not self.judge.give_up:
            self.say(f"Stopped at step {self.step} of {self.end}" + ("; a checkpoint is kept." if self.checkpoint() else f". {self._kept()}"))
            return "cancelled"
        if self.step < self.end:
            self.say(f"Stopped early at step {self.step}: no gain in {self.judge.stale} evaluations.")
            return "stopped early"
        return "succeeded"

    def after_step(self, norm: Tensor, rate: float) -> None:
        """Log, evaluate and save where it is due."""
        evaluate = self.plan.due(self.step) or self.step == self.end
        if self.step == 1:
            self._measure_process()
        if measured := self.metering.values():
            if self.process_bytes:
                measured["process_bytes"] = self.process_bytes
            self.reporter.log(self.step, measured, total_steps=self.end)
        if self.step % self.log_every == 0 or evaluate:
            self.log(norm, rate, measure=self.step % self.measure_every == 0 or evaluate)
        if self._asked_to_stop():
            return
        if evaluate:
            libraries = not self.evaluator.made["times"]
            self.evaluate()
            if libraries and self.process_bytes:  # metrics bring theirs with the first evaluation
                self._measure_process()
                self.reporter.log(self.step, {"process_bytes": self.process_bytes}, total_steps=self.end)
        elif self.step % self.tell_every == 0:
            self.say(self._line({}))
        if self.step % self.checkpoint_every == 0 or self.step == self.end:
            self.checkpoint()

    def _measure_process(self) -> None:
        if self.device.type == "cpu":
            kept = [value for state in self.optimizer.state.values() for value in state.values() if isinstance(value, Tensor)]
            self.process_bytes = resident_beside(sharding.held([*self.model.parameters(), *self.model.buffers(), *kept]))

    def _asked_to_stop(self) -> bool:
        return self._stop if self.processes > 1 else self.reporter.stopping()

    # -- one step ----------------------------------------------------------------------------------------------------------------

    def train_step(self) -> tuple[Tensor, float]:
        """One optimizer step; (gradient norm before clipping, learning rate).

        Raises lab.tasks.Stopped, with everything as it was before the step, when a stop is asked for in its midst: a stopped
        worker has seconds, and a step may take minutes. (Processes of one run finish the step together.)
        """
        positions, random = self.steps.positions, devices.random_states() if self.processes == 1 else {}
        data = next(self.feed)
        task, passes = self.assembly.turn(self.tasks[data.task]), data.passes
        targets, rows, tokens = self._agree(data.targets, data.rows, data.tokens)
        factor = optimizers.lr_factor(self.step, self.total, self.training.warmup, self.training.schedule)
        rate = optimizers.set_lr(self.optimizer, factor)
        try:
            with self.metering.watching(self.step + 1, [batch for batch, _ in passes], task.objective):
                norm = self._learn(passes, targets, task.objective)
        except Stopped:
            self.optimizer.zero_grad(set_to_none=True)
            self.steps.positions = positions
            devices.set_random_states(random)
            raise
        self._drawn.append(data.task)
        self.speed.count(rows, tokens)
        if self.device.type == "cuda" and self.step % self.log_every == 0:
            torch.cuda.synchronize(self.device)  # so that the clock reads the work, not its queueing
        return norm, rate

    def _learn(self, passes: list[tuple[dict[str, Tensor], float]], targets: int, objective: str) -> Tensor:
        """All passes of a step and its update; the gradient norm before clipping. Raises Stopped before anything has changed."""
        summed = torch.zeros((), device=self.device)
        for number, (batch, weight) in enumerate(passes, 1):
            summed += self._backward(batch, weight, targets, objective, last=number == len(passes))
        self.step += 1
        self._losses.append(summed)
        return self._update()

    def _agree(self, targets: int, rows: int, tokens: int) -> tuple[int, int, int]:
        """Targets, rows and tokens of the step over all processes; they also agree here whether this step is the last."""
        if self.processes > 1:
            summed = torch.tensor([targets, rows, tokens, int(self.reporter.stopping())], device=self.device)
            targets, rows, tokens, stop = self.accelerator.reduce(summed, "sum").tolist()
            self._stop = bool(stop)
        return max(1, targets), rows, tokens

    def _backward(self, batch: dict[str, Tensor], weight: float, targets: int, objective: str, last: bool) -> Tensor:
        """Forward and backward of one pass; its share of the step's mean loss. The penalty counts once per step."""
        found = [each.to(self.device, non_blocking=True) for each in where_targets(batch["labels"], objective)]  # before: a device's answer is waited for
        left_out = "attention_mask" if objective in self.unmasked else ""
        batch = {name: tensor.to(self.device, non_blocking=True) for name, tensor in batch.items() if name != left_out}
        together = contextlib.nullcontext() if last or self.processes == 1 else self.forward.no_sync()
        with together:
            with self.accelerator.autocast():
                loss = batch_loss(self.forward, self.model, batch, objective, self.training.label_smoothing, found) * (weight / targets)
                shared = loss.detach()
                loss = loss * self.processes  # DDP averages gradients over processes
                penalty = self.attached.penalty() if last else None
                if penalty is not None:
                    loss = loss + penalty
            self._stop_here()
            self.accelerator.backward(loss)
            self._stop_here()
        return shared

    def _stop_here(self) -> None:
        if self.processes == 1 and self.reporter.stopping():
            raise Stopped

    def _update(self) -> Tensor:
        """From gradients to new weights, in the order that schedules rely on; the gradient norm before clipping."""
        scaler = self.accelerator.scaler
        if scaler is not None:
            scaler.unscale_(self.optimizer)
        self.attached.after_backward(self.step)
        norm = nn.utils.clip_grad_norm_([p for p in self.trains if p.grad is not None], self.assembly.spec.clip)
        if scaler is not None:
            scaler.step(self.optimizer)
            scaler.update()
        else:
            self.optimizer.step()
        changed = self.attached.after_step(self.step)
        self.optimizer.zero_grad(set_to_none=True)
        if changed:
            self.rearrange()
            self.metering.changed(self.step)
        return norm

    def rearrange(self) -> None:
        """After a schedule changed what trains: forget parameters that are gone, wrap for the other processes again."""
        optimizers.drop_gone(self.optimizer, {id(p) for p in self.assembly.parameters().values()})
        names = set(self.attached.tensors())
        if names != self.assembly.names:  # another phase of the method (diff pruning's fixed mask): its best is to come
            self.assembly.names = names
            self.judge.forget()
        self.wrap()

    def wrap(self) -> None:
        """The model as the loop calls it: compiled where asked, and what trains kept in step with other processes."""
        first, self.trains = not isinstance(self.forward, DistributedDataParallel), self.assembly.training()
        self.unmasked = {each.objective for each in self.assembly.tasks.values() if mask_left_out(self.attached, each.objective, self.device.type)}
        self.forward = self.model
        if self.training.compile:
            self.forward = torch.compile(self.model, dynamic=True)
        if self.processes > 1:
            where = [self.device.index] if self.device.type == "cuda" else None
            unused = bool(self.assembly.spec.method.select or self.assembly.heads)  # a pooler that nothing reads, layers that rest, other tasks' heads
            alike = first and self.training.sharding == "none"  # every process made the same from the seed; the first one's are sent once all the same
            self.forward = DistributedDataParallel(self.forward, device_ids=where, find_unused_parameters=unused, broadcast_buffers=False, init_sync=alike)

    # -- what is told ------------------------------------------------------------------------------------------------------------

    def log(self, norm: Tensor, rate: float, measure: bool) -> None:
        """Write the curves' points of this step. Raises Diverged when the loss is no number."""
        each = torch.stack(self._losses)
        loss = each.mean()
        loss = float(self.accelerator.reduce(loss, "sum") if self.processes > 1 else loss)
        apart = self._apart(each) if self.assembly.several else {}
        self._losses.clear()
        self._drawn.clear()
        if not math.isfinite(loss):
            raise Diverged(Message("The loss is {loss} at step {step}: lower lr (it is {lr:.3g}), or add warmup.", loss=str(loss), step=self.step, lr=rate))
        values = {"loss": loss, **apart, "lr": rate, "grad_norm": float(norm), "epoch": self.steps.epochs_done,
                  "trainable": self.attached.trainable_now, "trainable_head": self.assembly.trainable_head,
                  **self.speed.read(), **self.memory.read()}  # fmt: skip
        if self.speed.step_seconds is not None:
            values["seconds_per_step"] = self.speed.step_seconds
        if (left := self.seconds_left()) is not None:
            values["eta_seconds"] = left
        if measure:
            values |= self.attached.measurements()
        self.last_loss = loss
        self.reporter.log(self.step, values, total_steps=self.end)

    def _apart(self, losses: Tensor) -> dict[str, float]:
        """The mean loss of the steps of each task, of those that had any: {"loss/cola": 0.6}."""
        losses = self.accelerator.reduce(losses, "sum") if self.processes > 1 else losses
        drawn = np.array(self._drawn)
        return {f"{LOSS.name}{OF}{name}": float(losses[drawn == number].mean()) for number, name in enumerate(self.tasks) if (drawn == number).any()}

    def seconds_left(self) -> float | None:
        """About how long the run still takes, evaluations included: at the pace of those so far, before the first one as the plan counts them."""
        made = self.evaluator.made
        row = made["seconds"] / made["cost"] if made["cost"] else (self.speed.step_seconds or 0.0) * self.processes / self.steps.rows_per_step
        return self.speed.left(self.end - self.step, self.plan.to_come(self.step) * row)

    def evaluate(self) -> None:
        """Evaluate, keep the weights if they are the best so far, and say a line. Raises lab.tasks.Stopped."""
        values = self.evaluator.during(self.reporter.stopping)
        readings = self.evaluator.readings()
        self.evaluated = {"step": self.step, **values}
        self.reporter.log(self.step, {f"eval_{name}": value for name, value in values.items()} | readings, total_steps=self.end)
        if self.judge.see(self.step, values):
            self.reporter.phase("saving")
            self.save_best({"step": self.step, **values})
        self.reporter.phase("training")
        self.say(self._line(values))

    def _line(self, values: dict[str, float]) -> str:
        """One line of the log: `step 75/150 · loss 0.512 · accuracy 0.771 (best 0.771) · eval loss 0.49 · 12 s left`."""
        parts = [f"step {self.step}/{self.end}"]
        if math.isfinite(self.last_loss):
            parts.append(f"loss {self.last_loss:.4f}")
        metric = self.judge.metric
        if metric in values and self.judge.best:
            parts.append(f"{metric} {values[metric]:.4f} (best {self.judge.best[metric]:.4f} at step {self.judge.best['step']})")
        for name, judge in self.assembly.judges.items() if self.assembly.several else ():
            if (of_task := f"{judge.name}{OF}{name}") in values:
                parts.append(f"{of_task} {values[of_task]:.4f}")
        if "loss" in values and metric != "loss":
            parts.append(f"eval loss {values['loss']:.4f}")
        left = self.seconds_left()
        if left and self.step < self.end:
            parts.append(f"about {duration(left)} left")
        return " · ".join(parts)

    # -- checkpoints -------------------------------------------------------------------------------------------------------------

    def _kept(self) -> Message:
        """A sentence on the last checkpoint; only those of finite weights are ever written."""
        steps = self.checkpoints.steps()
        return Message("The checkpoint of step {step} is kept.", step=steps[-1]) if steps else Message("There is no checkpoint yet.")

    def checkpoint(self) -> bool:
        """Write everything that a resumed run needs to go on exactly; whether it was written.

        Not while the store has not taken every point of the curves so far: who resumed from it would leave a gap there. Raises Diverged.
        """
        written = True
        states = gather_object([devices.random_states()])
        if self.accelerator.is_main_process:
            names = {id(p): name for name, p in self.assembly.parameters().items()}
            scaler = self.accelerator.scaler
            trainer = {
                "total": self.total, "rows_per_step": self.steps.rows_per_step, "random": states,
                "positions": [vars(position) for position in self.steps.positions],
                "optimizer": optimizers.pack(self.optimizer, names), "schedule": self.attached.schedule_state(),
                "judge": self.judge.state(), "evaluated": self.evaluated, "made": self.evaluator.made, "judged_on": judging.count(self.evaluator.some),
                "scaler": scaler.state_dict() if scaler else None,
                "losses": [loss.detach() for loss in self._losses], "drawn": list(self._drawn), "speed": self.speed.state(), "probed": self.probed,
                "trainable_at_start": self.trainable_at_start,
                "about": {**self.assembly.answers(), "trainable": self.attached.trainable_now},
            }  # fmt: skip
            written = self.reporter.flush()
            if written:
                self.checkpoints.write(self.step, self.assembly.weights(), trainer)
            else:
                self.say(f"No checkpoint at step {self.step}: the store has not taken the curves up to it.")
        if self.processes > 1:
            wait_for_everyone()
        return written

    def restore(self, saved: Checkpoint) -> None:
        """Go on from a checkpoint whose weights are in the model already (`assemble(state=...)`)."""
        trainer = saved.trainer
        if trainer["rows_per_step"] != self.steps.rows_per_step or trainer["total"] != self.total or len(trainer["random"]) != self.processes:
            raise Refusal("The checkpoint was written with {count} processes of {rows} rows per step in all; resume it with as many.", "training", count=len(trainer['random']), rows=trainer['rows_per_step'])  # fmt: skip
        self.step = saved.step
        self.attached.load_schedule_state(trainer["schedule"])
        optimizers.unpack(self.optimizer, trainer["optimizer"], self.assembly.parameters())
        self.assembly.names = set(self.attached.tensors())
        self.steps.positions = [Position(**each) for each in trainer.get("positions") or [trainer["position"]]]  # one, of a lab before several tasks
        self.judge.load(trainer["judge"])
        self.evaluator.made = trainer.get("made", self.evaluator.made)
        self.evaluated, self.probed, self.trainable_at_start = trainer["evaluated"], trainer["probed"], trainer["trainable_at_start"]
        if trainer.get("judged_on", 0) != judging.count(self.evaluator.some):
            self.judge.forget()
            self.evaluated = {"step": -1}
            self.say("It was judged on other validation rows before, by an earlier version of the lab: what was best by those counts no more.")
        self._losses = [loss.to(self.device) for loss in trainer["losses"]]
        self._drawn = list(trainer.get("drawn") or [0] * len(self._losses))
        self.speed.load(trainer["speed"])
        if trainer["scaler"] and self.accelerator.scaler is not None:
            self.accelerator.scaler.load_state_dict(trainer["scaler"])
        devices.set_random_states(trainer["random"][self.rank])
        self.say(f"Resumed at step {self.step} of {self.end}.")
