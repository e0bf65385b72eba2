"""Whole or not at all, with weights: what a succeeded run left is there, NaN is never kept, exports appear at once, and every way out is told."""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file
from training_support import PLAIN, save_model, save_task, spec

from lab.blocks import adapter_folder, note_of
from lab.design.plain.boundary import HOME, inside_package, located, portable
from lab.design.plain.refusal import Refusal
from lab.export.folder import HIDDEN, new_folder
from lab.runs import Home, Queue, Store, WorkerLink, files, logs, processes
from lab.runs.launcher import ROOT
from lab.training import Record, artefacts, train, worker
from lab.training.checkpoints import Checkpoints, Diverged, not_finite
from lab.ui.export import packer
from lab.ui.export import page as export_page
from lab.ui.words.refusals import refused
from lab.verbs import check


def silent(line: str) -> None:
    pass


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    return save_model(tmp_path_factory.mktemp("bert"))


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    return save_task(tmp_path_factory.mktemp("toy"))


@pytest.fixture
def ended(bert, toy, lab_home):
    """(run id, folder, result) of a run that is over, with its files, in the lab of LAB_HOME."""
    lab = Queue(Home(lab_home), count=0)
    run_id = lab.launch(spec(bert, toy, steps=12, evaluate_every=4, lr=0.003).document())
    link = WorkerLink(run_id, lab.home, lab.store)
    result = train(spec(bert, toy, steps=12, evaluate_every=4, lr=0.003), link, link.run_dir, run_id=run_id, say=silent)
    assert link.at_home() and artefacts.astray(link.run_dir, result) == ""
    link.finish("succeeded", result)
    return run_id, lab.home.run_dir(run_id), result


# -- success means that the files are there ---------------------------------------------------------------------------------------------


def _cut(path):
    path.write_bytes(path.read_bytes()[:-3])


HARMS = {
    "missing": (lambda folder: shutil.rmtree(folder), "cannot be read"),
    "without weights": (lambda folder: (folder / "adapter.safetensors").unlink(), "cannot be read"),
    "cut": (lambda folder: _cut(folder / "adapter.safetensors"), "is not as it was written"),
    "another head": (lambda folder: (folder / "head.safetensors").write_bytes((folder / "adapter.safetensors").read_bytes()), "is not as it was written"),
    "of another step": (lambda folder: files.write_manifest(folder, 4) if (folder / "manifest.json").unlink() is None else None, "of step 4, not of step"),
    "without manifest": (lambda folder: (folder / "manifest.json").unlink(), "cannot be read"),
}


@pytest.mark.parametrize("name", ["best", "adapter"])
@pytest.mark.parametrize("harm", HARMS, ids=list(HARMS))
def test_a_run_succeeds_only_with_its_files(ended, monkeypatch, tmp_path, name, harm):
    _, folder, result = ended
    result = {**result, "best": {**result["best"], "step": 12}}
    artefacts_there = tmp_path / "run"
    shutil.copytree(folder, artefacts_there)
    (artefacts_there / "best" / "manifest.json").unlink()
    files.write_manifest(artefacts_there / "best", 12)
    assert artefacts.astray(artefacts_there, result) == ""
    spoil, words = HARMS[harm]
    spoil(artefacts_there / name)
    found = artefacts.astray(artefacts_there, result)
    assert found.startswith(f"{name}/") and words in found
    told = []
    link = SimpleNamespace(run=SimpleNamespace(id="abcdefgh", spec={}), run_dir=artefacts_there, home=SimpleNamespace(cache=tmp_path), at_home=lambda: True, finish=lambda *a: told.append(a), log=None, progress=None, phase=lambda *a, **k: None, store=None,
                           flush=None, stopping=None, terminated=None)  # fmt: skip
    monkeypatch.setattr(worker, "train_as", lambda *a: result)
    monkeypatch.setattr(worker.signal, "signal", lambda *a: None)
    with pytest.raises(Refusal, match="its files are not there as its result says"):
        worker.lead(link)
    assert told == []


def test_a_worker_whose_home_is_gone_before_it_begins_makes_no_empty_one(tmp_path):
    gone = tmp_path / "gone"
    environment = {**os.environ, "LAB_HOME": str(gone), "LAB_RUN_ID": "abcdefgh", "LAB_RUN_ATTEMPT": "1"}
    done = subprocess.run([sys.executable, "-m", "lab.training.worker", "abcdefgh"], env=environment, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2 and "is not in LAB_HOME any more" in done.stderr and not gone.exists()


@pytest.mark.parametrize("taken", ["moved", "deleted"])
def test_a_folder_that_was_taken_out_of_its_home_is_no_success(lab_home, tmp_path, taken):
    lab = Queue(Home(lab_home), count=0)
    link = WorkerLink(lab.launch({}), lab.home, lab.store)
    assert link.at_home()
    folder = lab.home.run_dir(link.run.id)
    folder.rename(tmp_path / link.run.id) if taken == "moved" else shutil.rmtree(folder)
    assert not link.at_home()
    link.close()


def test_paths_below_lab_home_hold_after_it_is_moved(bert, toy, lab_home, monkeypatch, tmp_path):
    from lab import verbs

    Home(lab_home)
    shutil.copytree(bert, lab_home / "models" / "mine")
    shutil.copytree(os.path.dirname(toy["source"]["file"]), lab_home / "data")
    inside = {**toy, "source": {**toy["source"], "file": str(lab_home / "data" / "reviews.csv")}}
    checked = verbs.check(spec(str(lab_home / "models" / "mine"), inside))
    assert checked.model == f"{HOME}/models/mine" and checked.task.source.file == f"{HOME}/data/reviews.csv"
    assert portable(located(f"{HOME}/a/b") and lab_home / "a" / "b") == f"{HOME}/a/b" and located("/elsewhere") == "/elsewhere"
    lab_home.rename(tmp_path / "moved")
    monkeypatch.setenv("LAB_HOME", str(tmp_path / "moved"))
    again = verbs.check(checked)
    assert again.document() == checked.document()
    assert train(again, Record(), tmp_path / "run", say=silent)["state"] == "succeeded"


# -- no NaN ------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["weight", "optimizer", "loss"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_no_checkpoint_holds_what_is_not_finite(tmp_path, where, value):
    kept = Checkpoints(tmp_path, keep=2)
    fine, bad = torch.ones(3), torch.tensor([1.0, value, 1.0])
    kept.write(5, {"adapter": {"w": fine}}, {"optimizer": {"m": fine}, "losses": [fine]})
    weights = {"adapter": {"w": bad if where == "weight" else fine}}
    with pytest.raises(Diverged, match="not finite numbers at step 10"):
        kept.write(10, weights, {"optimizer": {"m": bad if where == "optimizer" else fine}, "losses": [bad if where == "loss" else fine]})
    assert kept.steps() == [5] and kept.latest().step == 5 and [path.name for path in tmp_path.iterdir()] == ["step-000005"]


def test_a_checkpoint_of_nan_from_an_earlier_lab_is_passed_over(tmp_path, monkeypatch):
    said = []
    kept = Checkpoints(tmp_path, keep=2, say=said.append)
    kept.write(5, {"adapter": {"w": torch.ones(3)}}, {})
    with monkeypatch.context() as without:
        without.setattr("lab.training.checkpoints.not_finite", lambda weights: "")
        kept.write(10, {"adapter": {"w": torch.full((3,), float("nan"))}}, {})
    assert kept.latest().step == 5 and "adapter/w is not finite" in said[0]


@pytest.mark.parametrize("every, kept", [(3, 6), (7, None)])
def test_a_run_that_diverges_keeps_and_names_its_last_finite_checkpoint(bert, toy, tmp_path, monkeypatch, every, kept):
    """The weights break at step 7, which the loss of that step does not show and a checkpoint or best weights would keep."""
    from lab.training.loop import Loop

    right = Loop._update

    def wrong(self):
        norm = right(self)
        if self.step == 7:
            with torch.no_grad():
                self.trains[0].fill_(float("nan"))
        return norm

    monkeypatch.setattr(Loop, "_update", wrong)
    with pytest.raises(Diverged, match=f"step [78].*lower lr.*{f'The checkpoint of step {kept} is kept' if kept else 'There is no checkpoint yet'}"):
        train(spec(bert, toy, steps=20, evaluate_every=7, checkpoint_every=every), Record(), tmp_path, say=silent)
    found = Checkpoints(tmp_path / "checkpoints").latest()
    assert found.step == kept if kept else found is None
    assert not_finite({"best": artefacts.read_whole(tmp_path / "best")["adapter"]}) == "" and files.verify(tmp_path / "best") == 0


# -- metrics before checkpoints, and best weights that are gone ----------------------------------------------------------------------------


def test_no_checkpoint_is_written_while_metrics_before_it_are_not(bert, toy, tmp_path):
    class Away(Record):
        def flush(self):
            return not 5 <= self.step <= 9

    lines = []
    train(spec(bert, toy, steps=12, evaluate_every=12, checkpoint_every=2, keep_checkpoints=9), Away(), tmp_path, say=lines.append)
    assert Checkpoints(tmp_path / "checkpoints").steps() == [2, 4, 10, 12]
    assert sum("has not taken the curves" in line for line in lines) == 2


@pytest.mark.parametrize("harm", ["missing", "cut", "without weights"])
def test_best_weights_that_are_gone_fall_back_with_a_sentence(ended, bert, toy, tmp_path, harm, monkeypatch):
    run_id, folder, result = ended
    assert adapter_folder(run_id) == folder / "best" and "taken" not in note_of(run_id)
    HARMS[harm][0](folder / "best")
    assert adapter_folder(run_id) == folder / "adapter" and "the last weights are taken instead" in note_of(run_id)
    assert re.search("权重无法使用.*改用最后的权重", refused("zh", note_of(run_id)))
    monkeypatch.setattr(packer.PACKER, "make", lambda *asked: SimpleNamespace(files=list, zip=lambda: __file__))
    shown = list(
        export_page.make(SimpleNamespace(_data={"run": run_id, "format": "lab", "adapter": "best"}), SimpleNamespace(headers={}, cookies={}, query_params={}))
    )[-1][0]
    assert shown["state"] == "made" and shown["note"] == note_of(run_id)
    shutil.rmtree(folder / "adapter")
    assert adapter_folder(run_id) == folder / "checkpoints" / "step-000012"
    assert "the checkpoint of step 12 is taken" in note_of(run_id)
    import lab

    model, _ = lab.load(run_id)
    weights = load_file(folder / "checkpoints" / "step-000012" / "head.safetensors")
    assert all(torch.equal(dict(model.named_parameters())[name], value) for name, value in weights.items())
    assert model.config.id2label == {0: "neg", 1: "pos"}
    shutil.rmtree(folder / "checkpoints")
    with pytest.raises(Refusal, match="has no best adapter"):
        adapter_folder(run_id)


def test_a_run_whose_best_weights_vanish_ends_with_its_last_ones_and_says_so(bert, toy, tmp_path):
    class Thief(Record):
        def log(self, step, values, *, total_steps=None):
            super().log(step, values, total_steps=total_steps)
            if step == 11 and (tmp_path / "best").exists():
                shutil.rmtree(tmp_path / "best")

    lines, given = [], spec(bert, toy, steps=12, evaluate_every=6, evaluation_rows=8, lr=1e-6)
    result = train(given, Thief(), tmp_path, say=lines.append)
    assert files.verify(tmp_path / "best") == result["best"]["step"] and artefacts.astray(tmp_path, result) == ""
    assert result["best"]["step"] == 12 and (
        any("are not there" in line for line in lines) or result["metrics"] == {k: v for k, v in result["best"].items() if k != "step"}
    )


# -- exports -------------------------------------------------------------------------------------------------------------------------------


def test_an_export_appears_whole_and_an_interrupted_one_leaves_only_what_was_there(tmp_path):
    (tmp_path / "mine").write_text("keep")
    out = tmp_path / "deep" / "out"
    with pytest.raises(KeyboardInterrupt), new_folder(out) as part:
        (part / "half").write_text("x")
        assert not out.exists() and part.parent == out.parent
        raise KeyboardInterrupt
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine"]
    with pytest.raises(Refusal, match="filled by something else"), new_folder(out) as part:
        (part / "a").write_text("export")
        out.mkdir()
        (out / "theirs").write_text("keep")
    assert [path.name for path in out.iterdir()] == ["theirs"] and sorted(path.name for path in out.parent.iterdir()) == ["out"]


@pytest.mark.parametrize("to", ["empty", "nowhere yet", "loop"])
def test_an_export_goes_where_a_link_leads(tmp_path, to):
    (tmp_path / "empty").mkdir()
    link = tmp_path / "loop" if to == "loop" else tmp_path / "link"
    link.symlink_to(tmp_path / to)
    with pytest.raises(Refusal, match="cannot be written") if to == "loop" else contextlib.nullcontext(), new_folder(link) as part:
        (part / "whole").write_text("1")
    assert link.is_symlink() and (to == "loop" or os.listdir(tmp_path / to) == ["whole"])


@pytest.mark.parametrize("there", ["new", "empty", "where one is"])
def test_of_two_exports_into_one_folder_one_wins(tmp_path, monkeypatch, there):
    out = tmp_path / "out"
    if there != "new":
        out.mkdir()
    if there == "where one is":
        monkeypatch.chdir(out)
    gate, ends = threading.Barrier(4), []

    def export(number):
        try:
            with new_folder(out) as part:
                for name in ("README.md", "weights"):
                    (part / name).write_text(str(number))
                gate.wait(10)
            ends.append("won")
        except Refusal as refusal:
            ends.append(refusal.sentence)

    threads = [threading.Thread(target=export, args=(number,)) for number in range(4)]
    [thread.start() for thread in threads]
    [thread.join(20) for thread in threads]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"], "nothing hidden is left"
    texts = [path.read_text() for path in sorted(out.iterdir())]
    assert ends.count("won") == 1 and all("filled by something else" in end or end == "won" for end in ends)
    assert len(texts) == 2 and len(set(texts)) == 1


def test_what_a_killed_export_left_goes_with_the_next_one_and_nothing_else(tmp_path):
    script = (
        "import os, sys; from lab.export.folder import new_folder\nwith new_folder(sys.argv[1]) as part:\n"
        "    (part / 'weights').write_text('half'); os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path / "out")], cwd=ROOT)
    assert [path.name.startswith(HIDDEN) for path in tmp_path.iterdir()] == [True]
    (tmp_path / f"{HIDDEN}of-mine").mkdir()
    with new_folder(tmp_path / "other") as living, new_folder(tmp_path / "out") as part:
        (part / "weights").write_text("whole")
        assert living.exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"{HIDDEN}of-mine", "other", "out"]


# -- names that are no paths, models that cannot read -----------------------------------------------------------------------------------------

PATHS = ["lab/../../etc", "lab/../secrets", "..", "../x", "/etc/passwd", "lab/", "lab", "lab//x", "lab/./x", "lab.design/x", "lab/a\\b", "lab/a\0b", "lab/C:x", "",
         "lab /x", "os/path", "lab-home/x", "~/x"]  # fmt: skip


@pytest.mark.parametrize("address", PATHS)
def test_a_package_names_no_path(address):
    from lab.design.body.model import ModelSpec
    from lab.models.places import locate
    from lab.tasks import sources

    with pytest.raises(Refusal):
        sources.package_file(address)
    if address:
        shape = {"name": "m", "title": "m", "architecture": "bert", "kind": "encoder", "config": {"model_type": "bert"}}
        try:
            assert locate(ModelSpec(**shape, source={"package": address})).folder is None
        except Refusal as refusal:
            assert "installed package" in refusal.sentence


def test_a_folder_that_was_not_installed_is_no_package(tmp_path, monkeypatch):
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "data.csv").write_text("secret")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert inside_package("checkpoints/data.csv") == []
    (tmp_path / "installed_one").mkdir()
    (tmp_path / "installed_one" / "__init__.py").write_text("")
    (tmp_path / "installed_one" / "out").symlink_to(tmp_path)
    assert inside_package("installed_one/out/checkpoints/data.csv") == [] and inside_package("installed_one/x.csv")


@pytest.mark.parametrize("share, fine", [(0.0, True), (0.3, True), (0.8, False), (1.0, False)])
def test_a_model_whose_tokenizer_does_not_know_the_texts_is_refused(bert, toy, tmp_path, share, fine):
    draw = random.Random(0)
    rows = [
        "text,label",
        *(" ".join(f"quux{n}" if draw.random() < share else draw.choice(PLAIN) for _ in range(12)) + f",{['neg', 'pos'][n % 2]}" for n in range(80)),
    ]
    (tmp_path / "rows.csv").write_text("\n".join(rows))
    given = spec(bert, {**toy, "source": {**toy["source"], "file": str(tmp_path / "rows.csv")}}, steps=2)
    trained = lambda: train(given, Record(), tmp_path / "run", cache=tmp_path / "cache", say=silent)  # noqa: E731
    if fine:
        assert check(given) and trained()["state"] == "succeeded"
        return
    for start in (lambda: check(given), trained, trained):  # before it is queued; by the worker; also from the cache of tokenised rows
        with pytest.raises(Refusal, match="does not know the texts of this task: [0-9]+ % of") as refused:
            start()
        assert refused.value.field == "model"


# -- the terminal --------------------------------------------------------------------------------------------------------------------------------

SWEEP = ["sweep", "--model", "minilm-l6", "--task", "sentiment-rt", "--method", "lora", "--steps", "5", "--over", "seed=0,1,2,3,4,5"]


def terminal(*arguments: str, shell: str = "", **environment: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "lab", *arguments]
    given = {"env": {**os.environ, **environment}, "cwd": ROOT, "capture_output": True, "timeout": 60}
    return subprocess.run(["sh", "-c", f'exec "$0" "$@" {shell}', *command], **given)


@pytest.mark.parametrize("after", [0.02, 1.5, *(pytest.param(moment, marks=pytest.mark.slow) for moment in (0.0, 0.2))])
def test_ctrl_c_at_any_moment_leaves_all_or_nothing_and_says_which(lab_home, after):
    store = Store(Home(lab_home).database_url)
    command = subprocess.Popen(
        [sys.executable, "-m", "lab", *SWEEP], cwd=ROOT, env={**os.environ, "LAB_SLOTS": "0"}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    if after < 0.1:  # from the moment at which it has said its tag: while it queues
        tag = command.stderr.readline()
        assert tag.startswith("tag "), tag
    time.sleep(after)
    command.send_signal(signal.SIGINT)
    out, err = command.communicate(timeout=60)
    runs = store.list()
    assert len(runs) in (0, 6) and len({tuple(run.tags) for run in runs}) <= 1
    if command.returncode == 0:
        assert len(runs) == 6 and out
    elif command.returncode == 130:
        assert "6 queued" in err if runs else "nothing was queued" in err.lower() or "before anything was done" in err or "says what there is" in err, err
    else:  # before Python itself could hear it
        assert not runs, (command.returncode, err)


ODD = {
    "a home of nobody": ({"LAB_HOME": "~nobody-of-that-name/x"}, "", 2, "whole path"),
    "a home that is not UTF-8": ({"LAB_HOME": os.fsdecode(b"/tmp/\xff\xfe")}, "", 2, "UTF-8"),
    "a relative database": ({"LAB_DATABASE_URL": "sqlite:///lab.db"}, "", 2, "four slashes"),
    "no output": ({}, ">&-", 1, "Standard output is closed"),
    "a full output": ({}, ">/dev/full", 1, "could not be written: No space left"),
    "no outputs at all": ({}, ">&- 2>&-", 1, ""),
    "a closed pipe": ({}, "| true", 0, ""),
}


@pytest.mark.parametrize("odd, json_flag", [*((odd, []) for odd in ODD), ("a full output", ["--json"])])
def test_odd_environments_get_a_sentence(lab_home, odd, json_flag):
    environment, shell, status, words = ODD[odd]
    done = terminal("runs", *json_flag, shell=shell, **environment)
    said = done.stderr.decode()
    assert done.returncode == status and words in said and "Traceback" not in said and said.count("\n") <= 1, said


@pytest.mark.parametrize("name", ["a?b#c", "50%25 done", "me@host:x", "sqlite:///x", "a\nb", "-rf"])
def test_a_home_of_any_name_holds_its_store(tmp_path, name):
    home = Home(tmp_path / name)
    run_id = Store(home.database_url).create({}, "mine")
    assert (home.path / "lab.db").is_file() and Store(home.database_url).get(run_id).name == "mine" and os.listdir(tmp_path) == [name.split("/")[0]]


def test_options_of_a_file_s_address_are_refused(tmp_path):
    with pytest.raises(Refusal, match="takes no options"):
        Store(f"sqlite:///{tmp_path}/lab.db?mode=ro")
    assert not os.listdir(tmp_path)


def test_a_home_is_not_made_for_its_user(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "gone"))
    with pytest.raises(Refusal, match="a user that is not here"):
        Home("~/lab")
    assert not (tmp_path / "gone").exists()


def test_a_folder_that_is_gone_is_told(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "gone").mkdir()
    os.chdir("gone")
    (tmp_path / "gone").rmdir()
    with pytest.raises(Refusal, match="started in is gone"):
        Home("lab-home")


def test_a_terminal_of_ascii_gets_every_letter_in_some_form(lab_home):
    Store(Home(lab_home).database_url).create({}, "ü 中文 · name")
    ascii_alone = {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0", "LC_ALL": "C"}
    done = terminal("runs", **ascii_alone)
    assert done.returncode == 0 and b"\\xfc" in done.stdout
    assert json.loads(terminal("runs", "--json", **ascii_alone).stdout)[0]["name"] == "ü 中文 · name"


def test_a_process_of_another_lab_is_never_signalled():
    one, other = processes.token("abcdefgh", 1, "lab-a"), processes.token("abcdefgh", 1, "lab-b")
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(30)"], env={**os.environ, processes.TOKEN: one})
    try:
        time.sleep(0.3)
        assert processes.send(other, signal.SIGKILL) == 0 and child.poll() is None and processes.carries_another(child.pid, other)
        assert not processes.carries_another(child.pid, one) and not processes.carries_another(os.getpid(), one)
        assert processes.send(one, signal.SIGKILL) == 1
    finally:
        child.kill()
        child.wait()


def test_a_terminal_that_waits_goes_on_waiting_while_the_store_is_away(lab_home, monkeypatch, capsys):
    from sqlalchemy.exc import OperationalError

    from lab import verbs

    store = Store(Home(lab_home).database_url)
    run_id = store.create({})
    store.ask_stop(run_id)
    right, tries = Queue.watch, []

    def away(self, *arguments, **options):
        tries.append(1)
        if len(tries) < 4:
            raise OperationalError("SELECT", None, Exception("connection refused at postgresql://lab:geheim@host/lab"))
        return right(self, *arguments, **options)

    monkeypatch.setattr(Queue, "watch", away)
    monkeypatch.setattr(verbs, "POLL_SECONDS", 0.01)
    assert verbs.wait_for(run_id).state == "cancelled" and len(tries) == 4
    said = capsys.readouterr().err
    assert said.count("waiting for it") == 1 and "geheim" not in said


@pytest.mark.parametrize(
    "words, reason",
    [
        ("SafetensorError: Error while serializing: I/O error: File too large (os error 27)", "ulimit -f"),
        ("SafetensorError: I/O error: No space left on device (os error 28)", "disk is full"),
        ("OSError: [Errno 27] File too large", "ulimit -f"),
    ],
)
def test_advice_names_the_true_reason(words, reason):
    assert reason in logs.advise(words)
