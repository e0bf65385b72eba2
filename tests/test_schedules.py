"""What changes during training, against formulas written out here: budgets, freezing, draws, masks, on short real runs."""

from __future__ import annotations

import copy
import functools
import math

import pytest
import torch
from comparing import told
from tiny import tiny, tiny_batch

from lab.design.method.named import load_method
from lab.engine import attach

STEPS = 40
SIX = {"deltas.0.at": ["attn.q", "ffn.up", "ffn.down"]}


@functools.cache
def _pristine(architecture: str, objective: str):
    return tiny(architecture, objective)


class Run:
    """A short training run of one method, in the order that the lab's loop has."""

    def __init__(self, preset: str, overrides: dict | None = None, steps: int = STEPS, lr: float = 1e-2, decay: float = 0.1, architecture: str = "bert"):
        self.model = copy.deepcopy(_pristine(architecture, "classification" if architecture == "bert" else "causal")).train()
        self.attached = attach(self.model, load_method(preset, overrides), seed=1)
        groups = [{k: v for k, v in g.items() if k != "constant"} for g in self.attached.parameter_groups(lr=lr, weight_decay=decay)]
        self.optimizer = torch.optim.AdamW(groups)
        self.attached.begin(steps, self.optimizer)
        self.steps, self.batch = steps, tiny_batch(self.model)

    @property
    def schedule(self):
        return next(iter(self.attached.schedules.values()))

    def __iter__(self):
        """Yields (step, whether the set that trains has changed) after each step, gradients still there."""
        for step in range(1, self.steps + 1):
            loss, penalty = self.model(**self.batch).loss, self.attached.penalty()
            (loss if penalty is None else loss + penalty).backward()
            self.attached.after_backward(step)
            torch.nn.utils.clip_grad_norm_(self.attached.trainable().values(), 1.0)
            self.optimizer.step()
            yield step, self.attached.after_step(step)
            self.optimizer.zero_grad()


# -- AdaLoRA ------------------------------------------------------------------------------------------------------------------


def adalora_budget(step: int, start: int, target: int, first: int, last: int) -> int:
    """b0 until t_i, bT after T − t_f, and the cubic between (Zhang et al. 2023, Eq. 12)."""
    if step <= first:
        return start
    if step > last:
        return target
    return int(target + (start - target) * (1 - (step - first) / (last - first)) ** 3)


def test_adalora_budget_and_ranks() -> None:
    options = {"target_rank": 2, "start": 0.1, "finish": 0.3, "every": 3}
    run = Run("adalora", {**SIX, "deltas.0.rank": 6, **{f"deltas.0.schedule.{k}": v for k, v in options.items()}})
    sites, first, last = 6, 4, 28
    ranks = []
    for step, changed in run:
        budget, masked = run.schedule.budget(step)
        assert budget == adalora_budget(step, 6 * sites, 2 * sites, first, last)
        assert masked == (step > last or (step > first and step % 3 == 0)) and not changed
        rank = sum(value for name, value in run.attached.measurements().items() if name.startswith("rank/"))
        if masked:
            assert rank == budget
        kept = sum(int((delta.core != 0).sum()) for delta in run.attached.deltas.values())
        assert not masked or kept <= budget
        ranks.append(rank)
    assert ranks[0] == 36 and ranks[-1] == 12 and sorted(ranks, reverse=True) == ranks
    assert run.attached.trainable_now == sum(run.schedule.kept[d.key].sum() * (1 + d.site.width_in + d.site.width_out) for d in run.attached.deltas.values())


def test_adalora_freezes_its_scores_at_the_end_and_only_masks() -> None:
    run = Run("adalora", {**SIX, "deltas.0.rank": 4, "deltas.0.schedule.target_rank": 2, "deltas.0.schedule.finish": 0.5})
    seen = []
    for step, _ in run:
        seen.append({key: value.clone() for key, value in run.schedule.sensitivity.items()})
        if step > 20:
            assert all(torch.equal(seen[-1][key], seen[18][key]) for key in seen[-1]), "scores moved after the budget's end"
        shapes = {delta.A.shape for delta in run.attached.deltas.values()}
    assert all(shape[0] == 4 for shape in shapes), "triplets are masked, not removed"
    assert not all(torch.equal(seen[17][key], seen[18][key]) for key in seen[18])


def test_adalora_penalty() -> None:
    """γ × the mean over all P and Q of ‖PᵀP − I‖_F and ‖QQᵀ − I‖_F, and its gradient reaches both."""
    run = Run("adalora", {**SIX, "deltas.0.schedule.orthogonality": 0.3})
    norms = []
    for delta in run.attached.deltas.values():
        for rows in (delta.A.detach(), delta.B.detach().T):
            gram = [[float(a @ b) - (i == j) for j, b in enumerate(rows)] for i, a in enumerate(rows)]
            norms.append(math.sqrt(sum(value**2 for row in gram for value in row)))
    penalty = run.attached.penalty()
    told("adalora", "its formula (loralib/utils.py)", "orthogonality penalty", abs(float(penalty.detach()) - 0.3 * sum(norms) / len(norms)), "bert")
    assert float(penalty.detach()) == pytest.approx(0.3 * sum(norms) / len(norms), rel=1e-5)
    penalty.backward()
    assert all(d.A.grad.any() and d.B.grad.any() and d.core.grad is None for d in run.attached.deltas.values())


# -- AFLoRA -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", ["code", "paper"])
def test_aflora_freezes_tensors_for_good(rule: str) -> None:
    options = {"rule": rule, "start": 0.1, "finish": 0.3, "every": 4, "frozen_from_start": ["attn.q"]}
    run = Run("aflora", {**SIX, **{f"deltas.0.schedule.{k}": v for k, v in options.items()}})
    total, first, last = 8, 4, 28  # two layers × (up, down) × (A, B); those of attn.q never train
    assert len(run.schedule.tensors) == total
    frozen_at: dict[str, int] = {}
    still: dict[str, torch.Tensor] = {}
    for step, changed in run:
        now = {key for key, tensor in run.schedule.tensors.items() if not tensor.requires_grad}
        assert changed == bool(now - set(frozen_at))
        assert set(frozen_at) <= now, "a frozen tensor trains again"
        for key in now - set(frozen_at):
            frozen_at[key] = step
            still[key] = run.schedule.tensors[key].detach().clone()
        for key, value in still.items():
            assert torch.equal(run.schedule.tensors[key], value) and run.schedule.tensors[key].grad is None
            assert run.schedule.tensors[key] not in run.optimizer.state
        done = step - 1  # updates before this step's gradient
        share = 1.0 if done <= first else 0.0 if done >= last else (1 - (done - first) / (last - first)) ** 3
        if rule == "paper" and done > first and (done % 4 == 0 or done > last):
            assert total - len(now) == round(share * total)
        if done <= first:
            assert not now
        if done > last:
            assert len(now) == total
    assert all(name.endswith((".d", ".b")) for name in run.attached.trainable()) and len(run.attached.trainable()) == 2 * 6
    assert run.attached.trainable_now == sum(d.d.numel() + d.b.numel() for d in run.attached.deltas.values())


def released_freezing(gradients, total: int, first: int, last: int, every: int = 10, beta1: float = 0.85, beta2: float = 0.95) -> list[int]:
    """How many tensors still train after each iteration t = 0, 1, ... of the released AFLoRA, from its formulas (readme and glue/utils.py).

    A window's mean |g| enters Ī = β1·Ī + (1−β1)·I and Ū = β2·Ū + (1−β2)·|I − Ī| at the first iteration of the next window. For
    t_i < t ≤ T − t_f, at every tenth t, r = (1 − (t−t_i)/(T−t_i−t_f))³; after that r = 0 at every t. With N elements of Ī·Ū in tensors
    that still train and q the ⌊N·(1−r)⌋-th smallest, a tensor freezes when the mean of its Ī·Ū is below q.
    """
    live, mean, average, spread, left = set(gradients(0)), {}, {}, {}, []
    for t in range(total):
        now = gradients(t) if live else {}
        place = t % every
        for key in live:
            if place == 0:
                window = mean.get(key, torch.zeros_like(now[key]))
                average[key] = beta1 * average.get(key, torch.zeros_like(window)) + (1 - beta1) * window
                spread[key] = beta2 * spread.get(key, torch.zeros_like(window)) + (1 - beta2) * (window - average[key]).abs()
            mean[key] = (mean[key] * place + now[key].abs()) / (place + 1) if place else now[key].abs()
        if live and t > first and (t > last or place == 0):
            r = 0.0 if t > last else (1 - (t - first) / (last - first)) ** 3
            each = {key: average[key] * spread[key] for key in live}
            ordered = torch.cat([score.flatten() for score in each.values()]).sort().values
            k = int(len(ordered) * (1 - r))
            live = {key for key in live if k == 0 or not each[key].mean() < ordered[k - 1]}
        left.append(len(live))
    return left


def test_aflora_code_freezes_as_the_released_rule_does() -> None:
    """48 tensors over 1,000 steps on the same gradients, which fall over the run at speeds of their own; the paper's rule is far off."""
    changes = {"deltas.0.at": ["ffn.up", "ffn.down"], "deltas.0.rank": 4, "deltas.0.schedule.start": 0.05, "deltas.0.schedule.finish": 0.7}
    left: dict[str, list[int]] = {}
    for rule in ("code", "paper"):
        model = tiny("bert", "classification", num_hidden_layers=12)
        schedule = next(iter(attach(model, load_method("aflora", {**changes, "deltas.0.schedule.rule": rule}), seed=1).schedules.values()))
        assert len(schedule.tensors) == 48
        sizes = {key: 10 ** (index % 7 / 3 - 1) for index, key in enumerate(schedule.tensors)}
        shapes = {key: tensor.shape for key, tensor in schedule.tensors.items()}

        def gradients(t: int, sizes=sizes, shapes=shapes) -> dict[str, torch.Tensor]:
            noise = torch.Generator().manual_seed(t)
            return {key: size * math.exp(-t * size / 300) * torch.randn(shapes[key], generator=noise) for key, size in sizes.items()}

        schedule.begin(1000, None)
        for step in range(1, 1001):
            now = gradients(step - 1) if schedule.training() else {}
            for key in schedule.training():
                schedule.tensors[key].grad = now[key]
            schedule.after_backward(step)
            schedule.after_step(step)
            left.setdefault(rule, []).append(len(schedule.training()))
    expected = released_freezing(gradients, 1000, 50, 300)
    told(
        "aflora",
        "the released rule, from its formula (glue/utils.py)",
        "how many of 48 tensors still train after each of 1,000 steps",
        max(abs(a - b) for a, b in zip(left["code"], expected, strict=True)),
        "bert",
    )
    assert left["code"] == expected
    assert expected[50] == 48 and 0 < expected[100] < 48 and expected[-1] == 0 and len(set(expected)) > 5
    assert max(abs(a - b) for a, b in zip(left["paper"], expected, strict=True)) >= 8


# -- LaMDA --------------------------------------------------------------------------------------------------------------------


def test_lamda_freezes_columns_bit_for_bit() -> None:
    rank, fraction = 8, 0.5
    run = Run("lamda", {**SIX, "deltas.0.rank": rank, "deltas.0.schedule.fraction": fraction}, lr=3e-2, decay=0.5)
    counts, columns = [], {}
    for step, changed in run:
        expected = min(rank, math.floor(rank * step / (fraction * STEPS)))
        for key, delta in run.attached.deltas.items():
            assert run.attached.measurements()[f"frozen_columns/{delta.key}"] == expected
            for index in range(expected):
                value = columns.setdefault((key, index), delta.B[:, index].detach().clone())
                assert torch.equal(delta.B[:, index], value), "a frozen column moved"
            for index in range(expected, rank):
                assert (key, index) not in columns
        assert changed == (expected == rank and counts[-1] < rank)
        counts.append(expected)
        outs = sum(delta.site.width_out for delta in run.attached.deltas.values())
        assert run.attached.trainable_now == 6 * rank**2 + outs * (rank - expected)
    assert counts[0] == 0 and counts[19] == rank and all(not d.B.requires_grad for d in run.attached.deltas.values())
    assert all(d.B not in run.optimizer.state for d in run.attached.deltas.values())


def test_lamda_columns_move_until_they_freeze() -> None:
    run = Run("lamda", {**SIX, "deltas.0.rank": 8, "deltas.0.schedule.fraction": 0.5}, lr=3e-2)
    delta = next(iter(run.attached.deltas.values()))
    before = delta.B.detach().clone()
    for step, _ in run:
        held = int(run.attached.measurements()[f"frozen_columns/{delta.key}"])
        previously = math.floor(8 * (step - 1) / 20)
        moved = (before != delta.B).any(0)
        assert bool(moved[min(8, previously) :].all()) and not moved[: min(8, previously)].any() and held <= 8
        before = delta.B.detach().clone()


# -- LISA ---------------------------------------------------------------------------------------------------------------------


def test_lisa_draws_layers_and_drops_their_state() -> None:
    run = Run("lisa", {"select.active": 1, "select.every": 5}, architecture="gpt2")
    layers = run.schedule.layers
    held = {id(p) for layer in layers for p in layer}
    outside = [p for p in run.attached.selected.values() if id(p) not in held]
    active, before, drawn = set(run.schedule.active), [[p.detach().clone() for p in layer] for layer in layers], []
    for step, changed in run:
        for index, layer in enumerate(layers):
            moved = any(not torch.equal(p, old) for p, old in zip(layer, before[index], strict=True))
            assert moved == (index in active), f"layer {index} at step {step}"
            assert moved or all(torch.equal(p, old) for p, old in zip(layer, before[index], strict=True))
        assert changed == (step % 5 == 0 and step < STEPS)
        if changed:
            drawn.append(frozenset(active))
            assert not any(p in run.optimizer.state for layer in layers for p in layer), "optimizer state outlives its interval"
            active = set(run.schedule.active)
        assert len(run.schedule.active) == 1 and all(p.requires_grad for p in outside)
        for index, layer in enumerate(layers):
            assert all(p.requires_grad == (index in run.schedule.active) for p in layer)
            assert index in run.schedule.active or all(p.grad is None for p in layer)
        before = [[p.detach().clone() for p in layer] for layer in layers]
    assert outside and all(p in run.optimizer.state for p in outside), "embeddings and final norm keep their state"
    assert len(set(drawn)) > 1, "the layers never change"


# -- diff pruning -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("density", [0.005, 0.05])
def test_diff_pruning_reaches_its_density_and_keeps_its_mask(density: float) -> None:
    run = Run("diff-pruning", {"select.density": density}, steps=24)
    differences = run.attached.differences.values()
    total = sum(difference.w.numel() for difference in differences)
    masks = None
    for step, changed in run:
        assert changed == (step == 12)
        if step < 12:
            assert all(d.mask is None for d in differences)
            continue
        kept = sum(int(d.mask.sum()) for d in differences)
        assert abs(kept - round(density * total)) <= 1
        masks = masks or [d.mask.clone() for d in differences]
        assert all(torch.equal(d.mask, mask) for d, mask in zip(differences, masks, strict=True)), "the mask moved"
        assert all(not d.w[mask == 0].any() for d, mask in zip(differences, masks, strict=True)), "a masked weight differs"
        assert run.attached.trainable_now == kept and run.attached.penalty() is None
        assert run.attached.measurements()["density"] == pytest.approx(kept / total)
        if step == 12:
            start = [d.w.detach().clone() for d in differences]
    moved = sum(int((d.w != old).sum()) for d, old in zip(differences, start, strict=True))
    assert 0 < moved <= kept, "nothing trains inside the mask"
    assert all(d.w.grad is None or not d.w.grad[d.mask == 0].any() for d in differences)


@pytest.mark.parametrize("structured", [True, False])
def test_diff_pruning_penalty(structured: bool) -> None:
    """λ·Σ σ(log α − log(−γ/ζ)), γ = −1.5 and ζ = 1.5, over all gates; the group's once per tensor."""
    run = Run("diff-pruning", {"select.l0": 1e-3, "select.structured": structured, "select.start": 0.7})
    generator = torch.Generator().manual_seed(4)
    expected = 0.0
    with torch.no_grad():
        for difference in run.attached.differences.values():
            difference.gate.add_(torch.randn(difference.gate.shape, generator=generator))
            gates = difference.gate.flatten().tolist() + ([float(difference.group)] if structured else [])
            expected += sum(1 / (1 + math.exp(-(gate - math.log(1.5 / 1.5)))) for gate in gates)
    told(
        "diff-pruning",
        "its formula (examples/run_glue_diffpruning.py)",
        "L0 penalty, relative",
        abs(float(run.attached.penalty().detach()) / (1e-3 * expected) - 1),
        "bert",
    )
    assert float(run.attached.penalty().detach()) == pytest.approx(1e-3 * expected, rel=1e-5)


def test_diff_pruning_gates_fall_under_a_strong_penalty() -> None:
    run = Run("diff-pruning", {"select.l0": 1e-2, "select.projection": 0.9})
    readings = [run.attached.measurements()["density"] for step, _ in run if step < 36]
    assert readings[-1] < 0.9 * readings[0]
