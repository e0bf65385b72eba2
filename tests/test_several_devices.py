"""A run over several devices: two processes of a CPU, started, counted, stopped, killed and resumed as one run, equal to one process with twice the batch."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import torch
from runs_support import alive
from safetensors.torch import load_file
from training_support import save_model, save_task, spec

from lab import verbs
from lab.design.method.named import method_of
from lab.design.plain.refusal import Refusal
from lab.runs import Queue, Store, processes
from lab.runs.home import Home
from lab.runs.processes import Identity
from lab.runs.slots import devices_of_run, require_devices, slots_for
from lab.training import Record, train

WAIT = 240.0
ME = Identity(1234, 1.0, "7", "here", "host")


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    return save_model(tmp_path_factory.mktemp("bert"))  # no dropout: processes draw their own


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    return save_task(tmp_path_factory.mktemp("toy"))


@pytest.fixture
def queue(lab_home, monkeypatch):
    monkeypatch.delenv("LAB_RUN_ID", raising=False)
    queue = Queue(Home(lab_home))
    yield queue
    for run in queue.store.active():
        processes.kill(queue.store.token(run))


def until(queue, run_id, done):
    end = time.monotonic() + WAIT
    while time.monotonic() < end:
        queue.reconcile()
        run = queue.store.get(run_id)
        if done(run):
            return run
        time.sleep(0.1)
    raise AssertionError(f"{run_id} is {run.state} at step {run.step} after {WAIT} s\n{queue.log_tail(run_id)}")


def ranks(queue, run):
    """The other processes of a run, by their pids."""
    return [p.pid for p in processes.members(queue.store.token(run)) if "lab.training.follower" in p.cmdline()]


def gone(queue, run, *pids, seconds=10.0):
    """Whether no process of a run, nor any of `pids`, is left within some seconds of its end; one that is ending has no environment to be known by."""
    end = time.monotonic() + seconds
    while (left := processes.members(queue.store.token(run)) or any(map(alive, pids))) and time.monotonic() < end:
        time.sleep(0.05)
    return not left


def weights(folder: Path):
    return {p.stem + name: tensor for p in sorted(folder.glob("*.safetensors")) for name, tensor in load_file(p).items()}


def still(preset: str, changes: dict | None = None):
    """A method without its own dropout: processes draw their own."""
    document = method_of({"preset": preset, "set": changes or {}}).document()
    for delta in document["deltas"]:
        delta |= dict.fromkeys(set(delta) & {"dropout", "inner_dropout", "encoder_dropout"}, 0.0)
    return document


def same(mine: Path, wanted: Path):
    found, expected = weights(mine), weights(wanted)
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name].float(), tensor.float(), atol=1e-4, rtol=0, msg=lambda words, name=name: f"{name}: {words}")


# -- slots ------------------------------------------------------------------------------------------------------------------------


def test_a_wide_run_waits_for_its_slots_and_nobody_passes_it(tmp_path):
    store = Store(f"sqlite:///{tmp_path / 'lab.db'}")
    ids = [store.create({"model": "m"}, devices=devices) for devices in (1, 1, 3, 1, 1)]
    assert [store.claim_next(ME, 4).id for _ in range(2)] == ids[:2]
    assert store.claim_next(ME, 4) is None, "two slots are free, and the run of three is first"
    assert store.finish(ids[0], "failed")
    wide = store.claim_next(ME, 4)
    assert wide.id == ids[2] and wide.slots == [0, 2, 3] and store.get(ids[1]).slots == [1]
    assert store.claim_next(ME, 4) is None, "all slots are taken"
    assert store.finish(ids[2], "failed") and store.get(ids[2]).slots == []
    assert [store.claim_next(ME, 4).slots for _ in range(2)] == [[0], [2]]


@pytest.mark.parametrize(
    ("held", "wanted", "count", "found", "own"),
    [
        ([0, 2], 2, 4, "0123", "02"),
        ([1], 2, 2, "0123", "13"),  # a slot of two
        ([0, 2], 2, 4, "01", "01"),  # slots that share: two of them would have one
        ([2], 1, 3, "0", "0"),
        ([0, 1], 2, 2, "", ""),
    ],
)
def test_accelerators_of_the_slots_that_a_run_holds(held, wanted, count, found, own):
    assert devices_of_run(held, wanted, count, list(found)) == list(own)
    assert slots_for(wanted, count, found) == len(held)


def test_more_slots_than_there_are_is_all_of_them():
    assert slots_for(2, 1) == 1 and slots_for(64, 4, "0123") == 4


def test_more_devices_than_there_are_are_refused(bert, toy, monkeypatch):
    for wanted, where, found, words in ((3, "auto", ["0", "1"], "at most 2"), (2, "cuda", ["0"], "this machine has 1:"), (64, "cpu", ["0"], "On a CPU")):
        with pytest.raises(Refusal, match=words) as refused:
            require_devices(wanted, where, found)
        assert refused.value.field == "training.devices"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    with pytest.raises(Refusal, match="this machine has 2:"):
        verbs.check(spec(bert, toy, devices=3, device="auto"))
    assert verbs.check(spec(bert, toy, devices=2)).training.devices == 2
    with pytest.raises(Refusal, match="which its worker starts"):
        train(spec(bert, toy, devices=2), Record(), "nowhere", say=lambda line: None)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"devices": 1}, "nobody to share"),
        ({"method": "full"}, "Every weight of the base may train"),
        ({"method": "lisa"}, "Every weight of the base may train"),
        ({"method": "diff-pruning"}, "Every weight of the base may train"),
        ({"compile": True}, "not compiled"),
        ({"probe": "sst2"}, "forgetting probe"),
    ],
)
def test_a_base_that_cannot_be_shared_out_is_refused(bert, toy, changes, words):
    with pytest.raises(Refusal, match=words) as refused:
        spec(bert, toy, **{"devices": 2, "sharding": "fsdp", **changes})
    assert refused.value.field == "training.sharding"


# -- one run of two processes -------------------------------------------------------------------------------------------------------


LEADER = """
import json, os, sys, time
from pathlib import Path
from types import SimpleNamespace
from lab.training import ranks

class Link:
    run, run_dir, home = SimpleNamespace(spec={}, id='a'), Path(sys.argv[1]), SimpleNamespace(cache='c')
    def fail(self, error, advice=None, exit_code=1): print('failed:', error, flush=True)
    def finish(self, state, error='', **more): print(state + ':', error, flush=True)

ranks.FOLLOWER = (sys.executable, '-c', sys.argv[2])
with ranks.Ranks(Link(), 3) as found:
    print(json.dumps([child.pid for child in found.children]), found.folder, flush=True)
    exec(sys.argv[3])
print('left', 'RANK' in os.environ, flush=True)
"""
DIES = "import os, sys; os.environ['RANK'] == '2' and os.kill(os.getpid(), 9); import time; time.sleep(60)"
TELLS = "import json, os, sys; open(sys.argv[1] + '/failed-1.json', 'w').write(json.dumps({'words': 'No.', 'known': os.environ['RANK'] == '1'})); sys.exit(1)"
DEAF = "import os, signal, sys, time; os.kill(os.getpid(), signal.SIGTERM); sys.exit(int(os.environ['WORLD_SIZE']) - 3)"


@pytest.mark.parametrize(
    ("follower", "leader", "code", "said"),
    [
        (DIES, "time.sleep(60)", 1, "cancelled: Process 3 of 3 was killed by SIGKILL."),  # which waits for them in a collective
        (DIES, "raise OSError('Connection closed by peer')", 1, "cancelled: Process 3 of 3 was killed by SIGKILL."),
        (TELLS, "time.sleep(60)", 1, "failed:"),
        ("import time; time.sleep(60)", "raise OSError('disk full')", 1, "disk full"),  # its own reason, after the others had time to tell theirs
        (DEAF, "[child.wait() for child in found.children]", 0, "left False"),  # SIGTERM is nothing to them
    ],
)
def test_the_first_process_tells_why_a_run_ended_and_leaves_nobody(tmp_path, follower, leader, code, said):
    done = subprocess.run([sys.executable, "-c", LEADER, str(tmp_path), follower, leader], capture_output=True, text=True, timeout=100)
    pids, _, folder = done.stdout.splitlines()[0].rpartition(" ")
    assert done.returncode == code and said in done.stdout + done.stderr, done.stderr
    assert not any(alive(pid) for pid in json.loads(pids)) and not Path(folder).exists()


@pytest.mark.slow
def test_a_shared_base_is_trained_killed_and_resumed_as_one_run(queue, bert, toy, tmp_path):
    """FSDP: a rank is killed, the run ends with the reason and nobody left; resumed, it ends as one process with twice the batch does."""
    given = spec(bert, toy, steps=30, evaluate_every=15, checkpoint_every=5, lr=0.003, devices=2, sharding="fsdp", gradient_checkpointing=True)
    run_id = queue.launch(given.document(), "two")
    run = until(queue, run_id, lambda run: run.step >= 8 or run.over)
    assert run.state == "running", queue.log_tail(run_id)
    (other,) = ranks(queue, run)
    os.kill(other, signal.SIGKILL)
    run = until(queue, run_id, lambda run: run.over)
    assert run.state == "interrupted" and "Process 2 of 2 was killed by SIGKILL" in run.error and "Resume" in run.advice
    assert gone(queue, run), "no process is left"

    queue.resume(run_id)
    run = until(queue, run_id, lambda run: run.over)
    folder, log = queue.home.run_dir(run_id), queue.log_tail(run_id)
    assert run.state == "succeeded" and "Resumed at step" in log and "2 processes, the frozen base shared out" in log, log
    assert list(queue.store.series(run_id)["loss"][0]) == list(range(1, 31)), "one curve without a gap"
    assert run.result["rows_per_second"] > 0 and (folder / "predictions.json").is_file()
    train(spec(bert, toy, steps=30, evaluate_every=15, lr=0.003, batch_size=16), Record(), tmp_path / "one", say=lambda line: None)
    same(folder / "adapter", tmp_path / "one" / "adapter")


@pytest.mark.slow
def test_ddp_is_stopped_and_resumed_as_one_run(queue, bert, toy, tmp_path):
    run_id = queue.launch(spec(bert, toy, steps=240, evaluate_every=120, checkpoint_every=1000, lr=0.003, devices=2).document(), "two")
    run = until(queue, run_id, lambda run: run.step >= 5 or run.over)
    queue.stop(run_id)
    run = until(queue, run_id, lambda run: run.over)
    assert run.state == "cancelled" and run.exit_code == 0 and queue.home.has_checkpoint(run_id) and gone(queue, run)
    assert "Traceback" not in queue.log_tail(run_id)

    queue.resume(run_id)
    stopped = run.step
    run = until(queue, run_id, lambda run: run.step > stopped or run.over)
    assert run.state == "running", f"resumed after step {stopped}: {queue.log_tail(run_id)}"
    (other,) = ranks(queue, run)
    os.kill(run.pid, signal.SIGKILL)  # the first one: the other goes with it
    assert gone(queue, run, other)
    assert until(queue, run_id, lambda run: run.over).state == "interrupted"

    queue.resume(run_id)
    assert until(queue, run_id, lambda run: run.over).state == "succeeded", queue.log_tail(run_id)
    train(spec(bert, toy, steps=240, evaluate_every=120, lr=0.003, batch_size=16), Record(), tmp_path / "one", say=lambda line: None)
    same(queue.home.run_dir(run_id) / "adapter", tmp_path / "one" / "adapter")


@pytest.mark.slow
def test_a_failure_of_one_process_is_the_runs(queue, bert, toy):
    """What only one process runs into ends all of them, with its words; what all run into is told once, as of one process."""
    run_id = queue.launch(spec(bert, {**toy, "columns": {"text": "review"}}, devices=2).document(), "wrong column")
    run = until(queue, run_id, lambda run: run.over)
    assert run.state == "failed" and "review" in run.error and not run.error.startswith("Process"), run.error
    run_id = queue.launch(spec(bert, toy, steps=5000, evaluate_every=5000, devices=2).document(), "segfault")
    run = until(queue, run_id, lambda run: run.step >= 2 or run.over)
    assert psutil.Process(run.pid).status() != psutil.STATUS_ZOMBIE
    os.kill(ranks(queue, run)[0], signal.SIGSEGV)
    run = until(queue, run_id, lambda run: run.over)
    assert run.state == "interrupted" and "SIGSEGV" in run.error and gone(queue, run)


SCRIPT = """
import json, os, sys, traceback
from pathlib import Path
from lab.design.spec.run import spec_of
from lab.training import Record, train
from lab.training import running

folder = Path(sys.argv[1])
pair = {'WORLD_SIZE': '2', 'LOCAL_WORLD_SIZE': '2', 'LAB_MEETING': str(folder / 'meeting'), 'GLOO_SOCKET_IFNAME': 'lo'}
children = []
for name, variables in (('two', {**pair, 'RANK': '0', 'LOCAL_RANK': '0'}), ('two', {**pair, 'RANK': '1', 'LOCAL_RANK': '1'}), ('one', {})):
    if pid := os.fork():  # they share what is imported
        children.append(pid)
        continue
    try:
        os.environ |= variables
        for path in sorted((folder / name).glob('*.json')):
            record, out = Record(), folder / name / path.stem
            train(spec_of(json.loads(path.read_text())), record, out, say=lambda line: None)
            if variables.get('RANK') != '1':
                (out / 'curves.json').write_text(json.dumps([list(record.curve(each).values()) for each in ('loss', 'grad_norm', 'eval_loss')]))
    except BaseException:
        print(path, file=sys.stderr)
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)
    os._exit(0)
failed = 0
for _ in children:
    pid, status = os.wait()
    if status and not failed:
        failed = status
        for other in children:
            if other != pid:
                try: os.kill(other, 9)
                except OSError: pass
sys.exit(1 if failed else 0)
"""


# Biases of keys: softmax does not see what all keys share, so their gradient is rounding alone, which AdamW makes steps of.
IDLE = "k_proj.bias"  # of BART, where all weights train


def apart(folder: Path, runs: dict[str, tuple], seconds: float = 1100) -> dict[str, tuple[float, str]]:
    """{name: (largest difference of a weight, which)} of runs {name: (spec over two devices, spec of one with twice the batch)}, and of their curves."""
    for place, number in (("two", 0), ("one", 1)):
        (folder / place).mkdir(parents=True)
        for name, specs in runs.items():
            (folder / place / f"{name}.json").write_text(json.dumps(specs[number].document()))
    (folder / "script.py").write_text(SCRIPT)
    done = subprocess.run([sys.executable, str(folder / "script.py"), str(folder)], capture_output=True, text=True, timeout=seconds)
    assert done.returncode == 0, done.stderr[-4000:]
    found = {}
    for name in runs:
        two, one = (folder / place / name for place in ("two", "one"))
        assert {path.name for path in (two / "adapter").iterdir()} == {path.name for path in (one / "adapter").iterdir()}, name
        mine, own = weights(two / "adapter"), weights(one / "adapter")
        assert mine.keys() == own.keys(), name
        found[name] = max((float((mine[key].float() - tensor.float()).abs().max()), key) for key, tensor in own.items() if not key.endswith(IDLE))
        curves = [json.loads((place / "curves.json").read_text()) for place in (two, one)]
        assert all(len(a) == len(b) > 0 for a, b in zip(*curves, strict=True)), name
        found[name] = max(found[name], *((abs(x - y), "a curve") for a, b in zip(*curves, strict=True) for x, y in zip(a, b, strict=True)))
    return found


KINDS = {
    "lora": {}, "dora": {}, "pissa": {}, "lora-ga": {"deltas.0.rank": 4}, "adalora": {}, "lamda": {"deltas.0.rank": 6}, "vera": {}, "ia3": {}, "mam": {},
    "prefix-tuning": {}, "prompt-tuning": {"deltas.0.rank": 6}, "bitfit": {}, "last-layers": {"select.depth": 1}, "adapter-houlsby": {}, "unipelt-apl": {}, "shira": {},
}  # fmt: skip
DDP_ALONE = {"full": {}, "lisa": {"select.every": 2, "select.active": 1}, "diff-pruning": {}, "fish-mask": {}}
HARD = ("diff-pruning",)  # draws its gates in each process


def over_two(model, task, name, changes, sharding, **more):
    """(a run over two devices, the same in one process with twice the batch)."""
    method = still(name, changes)
    settings = {"steps": 5, "evaluate_every": 5, "lr": 0.003, **more}
    return spec(model, task, method, **settings, batch_size=8, devices=2, sharding=sharding), spec(model, task, method, **settings, batch_size=16)


def test_two_processes_equal_one_with_twice_the_batch(bert, toy, tmp_path):
    runs = {f"{name}-{sharding}": over_two(bert, toy, name, KINDS[name], sharding)
            for name, sharding in (("mam", "none"), ("adalora", "fsdp"), ("bitfit", "fsdp"))}  # fmt: skip
    found = apart(tmp_path / "runs", runs)
    assert max(found.values())[0] <= 1e-4, found


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize(("kind", "objective"), [("bert", None), ("llama", "causal"), ("bart", "seq2seq")])
def test_methods_of_every_kind_equal_one_process_with_twice_the_batch(toy, tmp_path, kind, objective):
    """Weights and curves after five steps, of DDP and of FSDP, over kinds of methods and models; evaluated by generating where the model writes."""
    task, model = toy, save_model(tmp_path / "model", kind, objective)
    if objective is not None:
        source = tmp_path / "pairs.csv"
        source.write_text("text,target\n" + "".join(f"{'the film was ' * (1 + i % 4)}{w},{w}\n" for i in range(40) for w in ("fine", "dull")))
        task = {"name": "echo", "family": "summarization", "columns": {"source": "text", "target": "target"}, "max_length": 40, "target_length": 4,
                "source": {"file": str(source), "hash": {"validation": 0.2}}}  # fmt: skip
    names = KINDS | DDP_ALONE if objective is None else {name: KINDS.get(name, {}) for name in ("lora", "mam", "ln-tuning", "prompt-tuning", "full")}
    runs = {
        f"{name}-{sharding}": over_two(model, task, name, changes, sharding)
        for name, changes in names.items()
        for sharding in ("fsdp", "none")
        if name not in DDP_ALONE or sharding == "none"
    }
    found = apart(tmp_path / "runs", runs)
    drawn = {name for name in found if name.startswith(HARD)}
    assert not {name: most for name, most in found.items() if most[0] > 1e-4 and name not in drawn}, found


# -- the plan of each device ----------------------------------------------------------------------------------------------------------

SHAPE = {"model": "roberta-base", "batch": 4, "tokens": 32}


def test_a_plan_is_of_each_device():
    from lab.planning import plan_shape

    alone, ddp, shared, many = (
        plan_shape(**SHAPE, method="lora", devices=devices, sharding=sharding) for devices, sharding in ((1, "none"), (2, "none"), (2, "fsdp"), (16, "fsdp"))
    )
    buckets = 4 * (alone.trainable + alone.trainable_head)
    assert {name: ddp.categories[name] - size for name, size in alone.categories.items() if ddp.categories[name] != size} == {"gradients": buckets}
    assert ddp.peak_allocated_bytes - alone.peak_allocated_bytes == buckets <= ddp.peak_reserved_bytes - alone.peak_reserved_bytes
    layer, layers = 4 * (4 * 768 * 769 + 768 * 3072 * 2 + 3072 + 768 + 4 * 768), 12  # of RoBERTa: 7,087,872 weights
    for plan, devices in ((shared, 2), (many, 16)):
        saved = alone.categories["weights"] - plan.categories["weights"]
        outside = 4 * (50265 + 514 + 1 + 2) * 768  # embeddings and their norm, gathered for a pass
        expected = layers * layer - 2 * layer - (layers * layer + outside) / devices
        assert saved == pytest.approx(expected, rel=0.001), f"{devices} devices"
    few, all_layers = (plan_shape(**{**SHAPE, "model": "minilm-l6"}, method="lora", devices=2, sharding="fsdp", whole=whole) for whole in (False, True))
    assert few.categories == all_layers.categories, "five layers stand for all"


def test_a_plan_of_a_base_that_cannot_be_shared_out_is_refused():
    from lab.planning import plan_shape

    for changes in ({"method": "full"}, {"method": "lora", "quantisation": "nf4"}, {"method": "lora", "devices": 1}):
        with pytest.raises(Refusal, match="set sharding to none|or sharding to none"):
            plan_shape(**SHAPE, **{"devices": 2, "sharding": "fsdp", **changes})
