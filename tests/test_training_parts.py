"""The parts of the training room: batches, losses, learning rates, checkpoints, meters, the judge."""

from __future__ import annotations

import json
import math
import random
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lab.design.plain.refusal import Refusal
from lab.design.spec.run import Training
from lab.engine.galore import GaLore
from lab.tasks import losses
from lab.training import devices, optimizers
from lab.training.batches import Position, Steps, padding_share, plan_epoch, split
from lab.training.checkpoints import Checkpoints, flatten, replace_folder, restore, write_json
from lab.training.judging import Judge
from lab.training.meters import Memory, Speed

# -- batches ---------------------------------------------------------------------------------------------------------------------


@given(st.lists(st.integers(1, 300), min_size=1, max_size=400), st.integers(1, 40), st.integers(0, 5), st.integers(0, 3))
def test_every_row_comes_once_an_epoch(lengths, size, seed, epoch):
    steps = plan_epoch(lengths, size, seed=seed, epoch=epoch, window=5)
    assert sorted(np.concatenate(steps).tolist()) == list(range(len(lengths)))
    assert all(0 < len(rows) <= size for rows in steps)
    assert len(steps) == -(-len(lengths) // size)
    again = plan_epoch(lengths, size, seed=seed, epoch=epoch, window=5)
    assert all(np.array_equal(a, b) for a, b in zip(steps, again, strict=True))


@given(st.integers(1, 100), st.integers(1, 9), st.integers(1, 5))
def test_a_step_is_split_over_passes_and_processes_without_loss(rows, batch, processes):
    whole = np.arange(rows)
    parts = [split(whole, batch, processes, rank) for rank in range(processes)]
    assert len({len(part) for part in parts}) == 1, "every process takes part in every pass"
    assert sorted(np.concatenate([piece for part in parts for piece in part]).tolist()) == list(range(rows))
    assert all(len(piece) <= batch for part in parts for piece in part)


def test_bucketing_wastes_little_padding():
    draw = random.Random(0)
    lengths = [max(3, int(draw.lognormvariate(3.0, 0.6))) for _ in range(5000)]
    plain = list(np.array_split(np.random.default_rng(0).permutation(5000), 157))
    assert padding_share(lengths, plain) > 0.5
    assert padding_share(lengths, plan_epoch(lengths, 32, seed=0, epoch=0)) < 0.08


def test_epochs_differ_and_shuffle_short_and_long_batches():
    lengths = list(range(1000))
    first, second = (plan_epoch(lengths, 10, seed=3, epoch=epoch) for epoch in (0, 1))
    assert not all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
    means = [rows.mean() for rows in first]
    assert abs(np.corrcoef(means, range(len(means)))[0, 1]) < 0.3


def test_steps_go_on_from_a_position():
    lengths = list(range(50))
    whole = Steps(lengths, 8, seed=1)
    wanted = [next(whole) for _ in range(20)]
    for cut in (1, 6, 7, 8, 15):
        part = Steps(lengths, 8, seed=1)
        for _ in range(cut):
            next(part)
        again = Steps(lengths, 8, seed=1)
        again.position = Position(part.position.epoch, part.position.index)
        assert all(np.array_equal(next(again), rows) for rows in wanted[cut:])
    assert whole.epochs_done == pytest.approx(2 + 6 / 7)


# -- losses ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("objective", ["classification", "seq2seq", "causal", "regression", "multi_label"])
def test_the_sum_over_passes_is_the_loss_of_the_whole_batch(objective):
    generator = torch.Generator().manual_seed(0)
    if objective == "multi_label":
        logits, labels = torch.randn(6, 4, generator=generator), torch.randint(0, 2, (6, 4), generator=generator).float()
    elif objective in ("classification", "regression"):
        logits = torch.randn(6, 1 if objective == "regression" else 4, generator=generator)
        labels = torch.randn(6, generator=generator) if objective == "regression" else torch.randint(0, 4, (6,), generator=generator)
    else:
        logits = torch.randn(6, 5, 11, generator=generator)
        labels = torch.randint(0, 11, (6, 5), generator=generator)
        labels[0, 1:], labels[3, 3:] = -100, -100  # answers of different lengths
    targets = losses.count_targets({"labels": labels}, objective)
    parts = [(0, 1), (1, 4), (4, 6)]
    assert sum(losses.count_targets({"labels": labels[a:b]}, objective) for a, b in parts) == targets
    summed = sum(losses.loss_sum(logits[a:b], labels[a:b], objective) for a, b in parts) / targets
    if objective == "regression":
        wanted = torch.nn.functional.mse_loss(logits.view(-1), labels)
    elif objective == "multi_label":  # each label by itself, from the definition of the sigmoid
        wanted = -(labels * logits.sigmoid().log() + (1 - labels) * (1 - logits.sigmoid()).log()).mean()
    else:
        flat, given = (logits[:, :-1], labels[:, 1:]) if objective == "causal" else (logits, labels)
        wanted = torch.nn.functional.cross_entropy(flat.reshape(-1, flat.shape[-1]), given.reshape(-1))
    assert torch.allclose(summed, wanted, atol=1e-6)


def test_label_smoothing_spreads_the_target():
    logits, labels = torch.tensor([[2.0, 0.0, -1.0]]), torch.tensor([0])
    log = torch.log_softmax(logits, -1)[0]
    wanted = -(0.9 * log[0] + 0.1 * log.mean())
    assert torch.allclose(losses.loss_sum(logits, labels, "classification", 0.1), wanted)
    given = torch.tensor([[1.0, 0.0, 0.0]])
    smooth = torch.nn.functional.binary_cross_entropy(logits.sigmoid(), torch.tensor([[0.95, 0.05, 0.05]]))
    assert torch.allclose(losses.loss_sum(logits, given, "multi_label", 0.1), smooth)


def test_tokens_are_counted_without_padding():
    batch = {"input_ids": torch.ones(2, 5), "attention_mask": torch.tensor([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]]),
             "labels": torch.tensor([[4, -100], [4, 5]])}  # fmt: skip
    assert losses.count_tokens(batch, "seq2seq") == 8 + 3
    assert losses.count_tokens(batch | {"labels": torch.zeros(2)}, "classification") == 8


# -- learning rates and optimizers -------------------------------------------------------------------------------------------------


def test_the_learning_rate_rises_and_falls():
    linear = [optimizers.lr_factor(s, 10, 0.2, "linear") for s in range(10)]
    assert linear == pytest.approx([0.5, 1.0, 1.0, 7 / 8, 6 / 8, 5 / 8, 4 / 8, 3 / 8, 2 / 8, 1 / 8])
    cosine = [optimizers.lr_factor(s, 10, 0.2, "cosine") for s in range(10)]
    assert cosine[:3] == [0.5, 1.0, 1.0] and cosine[6] == pytest.approx(0.5) and 0 < cosine[9] < 0.05
    assert [optimizers.lr_factor(s, 4, 0.0, "constant") for s in range(4)] == [1.0] * 4
    assert optimizers.lr_factor(0, 1, 1.0, "linear") == 1.0
    assert all(0 < optimizers.lr_factor(s, 7, w, k) <= 1 for s in range(7) for w in (0, 0.3, 1) for k in ("linear", "cosine", "constant"))


def _optimizer(kind: str = "adamw"):
    torch.manual_seed(0)
    parameters = {"a": torch.nn.Parameter(torch.randn(3, 2)), "b": torch.nn.Parameter(torch.randn(2))}
    groups = [{"params": [parameters["a"]], "lr": 0.1, "weight_decay": 0.01, "constant": False},
              {"params": [parameters["b"]], "lr": 0.02, "weight_decay": 0.0, "constant": True}]  # fmt: skip
    return parameters, optimizers.make_optimizer(groups, Training(optimizer=kind, galore_rank=1, galore_every=3), 0.1, 0.01, "cpu")


def _train(parameters, optimizer, steps, start=0):
    for step in range(start, steps):
        optimizers.set_lr(optimizer, optimizers.lr_factor(step, 10, 0.1, "linear"))
        sum((p * (i + step + 1)).pow(2).sum() for i, p in enumerate(parameters.values())).backward()
        optimizer.step()
        optimizer.zero_grad()


@pytest.mark.parametrize("kind", ["adamw", "sgd", "adafactor", "galore"])
def test_an_optimizer_goes_on_exactly_from_its_state(kind, tmp_path):
    parameters, optimizer = _optimizer(kind)
    _train(parameters, optimizer, 4)
    tensors: dict = {}
    document = json.loads(json.dumps(flatten(optimizers.pack(optimizer, {id(p): n for n, p in parameters.items()}), tensors)))
    tensors = {name: tensor.clone() for name, tensor in tensors.items()}
    values = {name: p.detach().clone() for name, p in parameters.items()}
    _train(parameters, optimizer, 9, start=4)
    fresh, other = _optimizer(kind)
    with torch.no_grad():
        for name, p in fresh.items():
            p.copy_(values[name])
    optimizers.unpack(other, restore(document, tensors), fresh)
    _train(fresh, other, 9, start=4)
    assert all(torch.equal(fresh[name], parameters[name]) for name in parameters)


def test_adafactor_steps_relative_to_a_weights_size_as_t_few_sets_it():
    """First step, equal gradients: w − lr·max(1e-3, rms(w)), whatever the gradient; the rate falls by the schedule alone."""
    weights = [torch.nn.Parameter(torch.full((3, 2), 2.0)), torch.nn.Parameter(torch.full((3, 2), 0.0))]
    optimizer = optimizers.make_optimizer([{"params": weights, "weight_decay": 0.0}], Training(optimizer="adafactor"), 0.1, 0.0, "cpu")
    for factor, expected in ((1.0, (1.8, -1e-4)), (0.5, (1.71, -1.5e-4))):
        optimizers.set_lr(optimizer, factor)
        for weight in weights:
            weight.grad = torch.full((3, 2), 5.0)
        optimizer.step()
        assert [float(weight.detach().mean()) for weight in weights] == pytest.approx(expected, rel=1e-4)
    assert [sum(value.numel() for value in state.values() if isinstance(value, torch.Tensor)) for state in optimizer.state.values()] == [3 + 2 + 1] * 2


def test_galore_is_adam_on_projected_gradients():
    """State sizes of the paper's table 1, a projection anew every T steps, the moments kept; against the formulas in NumPy."""
    shapes, rank, every, lr, scale = ((4, 7), (7, 4), (5, 5), (6,)), 2, 3, 0.05, 0.25
    torch.manual_seed(0)
    mine = [torch.nn.Parameter(torch.randn(shape, dtype=torch.float64)) for shape in shapes]
    theirs, moments, bases = [p.detach().numpy().copy() for p in mine], {}, {}
    optimizer = GaLore([{"params": mine}], lr, rank=rank, every=every, scale=scale)
    for step in range(8):
        for index, parameter in enumerate(mine):
            parameter.grad = torch.from_numpy(np.random.default_rng([step, index]).normal(size=parameter.shape))
        optimizer.step()
        for index, (parameter, value) in enumerate(zip(mine, theirs, strict=True)):
            gradient, wide = parameter.grad.numpy(), value.ndim == 2 and value.shape[0] < value.shape[1]
            low = gradient
            if value.ndim == 2:
                basis = optimizer.state[parameter]["basis"].numpy()
                if step % every == 0:  # the first singular vectors, whatever their signs
                    left, _, right = np.linalg.svd(gradient)
                    first = left[:, :rank] if wide else right[:rank].T
                    assert np.allclose(basis @ basis.T, first @ first.T, atol=1e-5)
                    bases[index] = basis.copy()
                assert np.array_equal(basis, bases[index])
                low = basis.T @ gradient if wide else gradient @ basis
            first, second = moments.get(index, (0.0, 0.0))
            moments[index] = first, second = 0.9 * first + 0.1 * low, 0.999 * second + 0.001 * low**2
            update = (first / (1 - 0.9 ** (step + 1))) / (np.sqrt(second / (1 - 0.999 ** (step + 1))) + 1e-8)
            value -= lr * (update if value.ndim < 2 else scale * (basis @ update if wide else update @ basis.T))
            assert np.allclose(parameter.detach().numpy(), value, atol=1e-7)
    sizes = [sum(value.numel() for value in optimizer.state[p].values() if isinstance(value, torch.Tensor)) for p in mine]
    assert sizes == [4 * 2 + 2 * 2 * 7, 4 * 2 + 2 * 2 * 7, 5 * 2 + 2 * 2 * 5, 2 * 6]


@pytest.mark.parametrize("rank", [4, 400])
def test_galore_at_full_rank_is_adamw(rank):
    torch.manual_seed(0)
    mine = [torch.nn.Parameter(torch.randn(4, 6)), torch.nn.Parameter(torch.randn(6))]
    theirs = [torch.nn.Parameter(p.detach().clone()) for p in mine]
    optimizers_ = [GaLore([{"params": mine}], 0.1, 0.05, rank=rank, every=2), torch.optim.AdamW(theirs, lr=0.1, weight_decay=0.05)]
    for step in range(6):
        for parameters, optimizer in zip((mine, theirs), optimizers_, strict=True):
            sum((p * (i + step + 1)).pow(2).sum() for i, p in enumerate(parameters)).backward()
            optimizer.step()
            optimizer.zero_grad()
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(mine, theirs, strict=True))


def test_a_constant_group_keeps_its_learning_rate():
    _, optimizer = _optimizer()
    assert optimizers.set_lr(optimizer, 0.5) == pytest.approx(0.05)
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.05, 0.02])
    optimizers.set_lr(optimizer, 1.0)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.1)


def test_parameters_that_are_gone_leave_the_optimizer():
    parameters, optimizer = _optimizer()
    _train(parameters, optimizer, 1)
    optimizers.drop_gone(optimizer, {id(parameters["a"])})
    assert [len(group["params"]) for group in optimizer.param_groups] == [1, 0] and len(optimizer.state) == 1
    optimizer.step()


# -- checkpoints -------------------------------------------------------------------------------------------------------------------


STATE = {"plain": [1, 2.5, None, True, "ü"], "pair": (1, (2, 3)), "by number": {3: "x"}, "tensor": torch.arange(4), "none": {},
         "nested": [{"mask": torch.tensor([True, False])}], "array": np.arange(3.0), "number": np.float64(0.1), "huge": 1e300}  # fmt: skip


def test_a_state_survives_json_and_tensors():
    tensors: dict = {}
    document = json.loads(json.dumps(flatten(STATE, tensors)))
    back = restore(document, tensors)
    assert back["plain"] == STATE["plain"] and back["pair"] == STATE["pair"] and back["by number"] == {3: "x"}
    assert torch.equal(back["tensor"], STATE["tensor"]) and back["nested"][0]["mask"].dtype == torch.bool
    assert np.array_equal(back["array"], STATE["array"]) and back["number"] == 0.1 and back["huge"] == 1e300
    with pytest.raises(TypeError):
        flatten({"what": object()}, {})


def _weights(value: float) -> dict:
    return {"adapter": {"w": torch.full((4, 4), value)}, "head": {"b": torch.full((2,), value)}}


def test_the_last_checkpoints_are_kept_and_read_whole(tmp_path):
    kept = Checkpoints(tmp_path / "checkpoints", keep=2)
    assert kept.latest() is None
    for step in (5, 10, 15):
        kept.write(step, _weights(step), {"step": step, "state": STATE["tensor"]})
    assert kept.steps() == [10, 15]
    assert sorted(p.name for p in kept.folder.iterdir()) == ["step-000010", "step-000015"]
    found = kept.latest()
    assert found.step == 15 and found.trainer["step"] == 15 and torch.equal(found.trainer["state"], STATE["tensor"])
    assert torch.equal(found.tensors["adapter"]["w"], torch.full((4, 4), 15.0)) and set(found.tensors) == {"adapter", "head"}
    kept.write(15, _weights(-1), {"step": 15})
    assert float(kept.latest().tensors["head"]["b"][0]) == -1


def _cut(path):
    path.write_bytes(path.read_bytes()[:-5])


def _flip(path):
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(bytes(data))


@pytest.mark.parametrize("file", ["adapter.safetensors", "trainer.safetensors", "trainer.json", "manifest.json"])
@pytest.mark.parametrize("harm", [_cut, _flip, lambda path: path.unlink(), lambda path: path.write_bytes(b"")])
def test_a_damaged_last_checkpoint_falls_back_to_the_one_before(tmp_path, file, harm):
    said: list[str] = []
    kept = Checkpoints(tmp_path, keep=2, say=said.append)
    for step in (5, 10):
        kept.write(step, _weights(step), {"step": step, "state": STATE["tensor"]})
    before = (kept.path(10) / file).read_bytes()
    harm(kept.path(10) / file)
    found = kept.latest()
    if file == "manifest.json" and harm is _flip and found.step == 10:  # a changed blank changes nothing
        assert json.loads((kept.path(10) / file).read_bytes()) == json.loads(before)
        return
    assert found.step == 5 and len(said) == 1 and "step 10" in said[0]


def test_a_write_that_fails_leaves_the_earlier_one(tmp_path):
    kept = Checkpoints(tmp_path, keep=2)
    kept.write(5, _weights(5), {"step": 5})
    with pytest.raises(TypeError):
        kept.write(5, _weights(6), {"what": object()})
    with pytest.raises(TypeError):
        kept.write(10, _weights(6), {"what": object()})
    assert kept.steps() == [5] and float(kept.latest().tensors["head"]["b"][0]) == 5
    assert [p.name for p in tmp_path.iterdir()] == ["step-000005"]


def test_what_a_crash_left_half_written_is_not_seen(tmp_path):
    kept = Checkpoints(tmp_path, keep=2)
    kept.write(5, _weights(5), {"step": 5})
    (tmp_path / ".part-step-000010").mkdir()
    (tmp_path / ".part-step-000010" / "adapter.safetensors").write_bytes(b"half")
    assert kept.latest().step == 5
    kept.write(10, _weights(10), {"step": 10})
    assert kept.latest().step == 10 and not list(tmp_path.glob(".*"))


def test_a_folder_is_replaced_whole_or_not_at_all(tmp_path):
    target = tmp_path / "best"
    replace_folder(target, lambda folder: write_json(folder / "a.json", 1))

    def fail(folder):
        write_json(folder / "a.json", 2)
        raise OSError("disk full")

    with pytest.raises(OSError):
        replace_folder(target, fail)
    assert json.loads((target / "a.json").read_text()) == 1 and [p.name for p in tmp_path.iterdir()] == ["best"]


# -- devices, meters, the judge ----------------------------------------------------------------------------------------------------


def test_a_cpu_trains_in_fp32_and_says_so():
    assert devices.precision_of("auto", "cpu") == ("fp32", "")
    assert devices.precision_of("fp32", "cpu") == ("fp32", "")
    precision, said = devices.precision_of("bf16", "cpu")
    assert precision == "fp32" and "fp32" in said


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is one")
def test_an_absent_device_is_refused():
    with pytest.raises(Refusal, match="no cuda device"):
        devices.device_type("cuda")


def test_random_states_are_put_back():
    devices.seed_everything(7)
    tensors: dict = {}
    document = json.loads(json.dumps(flatten(devices.random_states(), tensors)))
    wanted = (random.random(), np.random.rand(), torch.rand(2), torch.randn(2))
    random.random(), np.random.rand(), torch.rand(5)
    devices.set_random_states(restore(document, tensors))
    got = (random.random(), np.random.rand(), torch.rand(2), torch.randn(2))
    assert wanted[:2] == got[:2] and torch.equal(wanted[2], got[2]) and torch.equal(wanted[3], got[3])


def test_meters_read():
    memory, speed = Memory(torch.device("cpu")).read(), Speed()
    assert 10e6 < memory["memory_bytes"] <= memory["peak_bytes"]
    for _ in range(3):
        assert speed.left(5) is None, "the first steps warm up"
        with speed.step():
            sum(range(1000))
    speed.count(8, 100)
    found = speed.read()
    assert found["tokens_per_second"] == pytest.approx(found["rows_per_second"] * 12.5)
    assert speed.read()["rows_per_second"] == 0 and speed.left(10, 2.0) > 2.0


@pytest.mark.parametrize(("greater", "values", "best"), [(True, [0.1, 0.5, math.nan, 0.4], 2), (False, [9.0, 3.0, 3.0, 5.0], 2)])
def test_the_judge_keeps_the_best_and_gives_up(greater, values, best):
    judge = Judge("metric", greater, patience=2)
    seen = [judge.see(step, {"metric": value, "loss": 1.0}) for step, value in enumerate(values, 1)]
    assert judge.best["step"] == best and seen == [True, True, False, False] and judge.give_up
    again = Judge("metric", greater, patience=2)
    again.load(json.loads(json.dumps(judge.state())))
    assert again.give_up and again.best == judge.best
    assert again.see(7, {"metric": values[best - 1], "loss": 0.5}) and again.best["step"] == 7, "of equal metrics the smaller loss is better"
    again.forget()
    assert not again.give_up and again.see(9, {"metric": values[0]})


def test_lora_plus_moves_the_second_map_so_many_times_faster():
    """Hayou et al. 2024: B learns at ratio times A's rate. With SGD the step of each is its own rate times its gradient."""
    from tiny import tiny, tiny_batch

    from lab.design.method.named import load_method
    from lab.engine import attach

    model = tiny("bert", "classification")
    attached = attach(model, load_method("lora"), seed=0)
    groups = attached.parameter_groups(0.01, 0.1, 16.0)
    rates = {id(p): group["lr"] for group in groups for p in group["params"]}
    trained = attached.trainable()
    assert {name.rsplit(".", 1)[-1]: rates[id(p)] for name, p in trained.items()} == {"A": 0.01, "B": pytest.approx(0.16)}
    optimizer = torch.optim.SGD([{"params": g["params"], "lr": g["lr"]} for g in groups])
    model(**tiny_batch(model)).loss.backward()
    before = {name: (p.detach().clone(), p.grad.clone()) for name, p in trained.items()}
    optimizer.step()
    for name, p in trained.items():
        old, gradient = before[name]
        assert torch.allclose(p, old - (0.16 if name.endswith(".B") else 0.01) * gradient, atol=1e-7), name


def test_a_runs_peak_is_not_that_of_the_process_that_started_it():
    """getrusage gives a child its parent's size at the fork: an app of 1 GB would give every run a peak of 1 GB."""
    asked = "import sys; from lab.training.meters import resident, resident_peak; ballast = bytearray(30_000_000); print(resident(), resident_peak())"
    ballast = bytearray(1_500_000_000)
    ballast[::4096] = bytes(len(range(0, len(ballast), 4096)))  # every page is in memory
    done = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, timeout=120)
    now, most = map(int, done.stdout.split())
    assert len(ballast) and 30_000_000 < now <= most < 1_200_000_000
