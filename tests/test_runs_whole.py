"""Nothing lost, nothing half, nobody else's: homes that are copied or moved, stores that vanish, blink or are full, deletes that are cut short."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest
from runs_support import WORKER, alive, until
from sqlalchemy.engine import make_url
from sqlalchemy.exc import OperationalError

from lab.design.plain.refusal import Refusal
from lab.runs import files, processes, records
from lab.runs.database import Database, StoreGone
from lab.runs.home import Home
from lab.runs.interrupts import whole
from lab.runs.keeper import Keeper
from lab.runs.launcher import ROOT
from lab.runs.queue import Queue
from lab.runs.store import Store
from lab.runs.worker_link import WorkerLink, read_receipt

pytest_plugins = ["runs_fixtures"]
LONG = {"steps": 100_000, "pause": 0.01, "checkpoint_every": 20}


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A Queue over SQLite with the fake worker, LAB_HOME=tmp_path/home."""
    monkeypatch.setenv("LAB_HOME", str(tmp_path / "home"))
    queue = Queue(Home(), count=1, command=WORKER)
    pids = []
    queue.watched = pids.append
    yield queue
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def started(lab: Queue, document: dict = LONG, steps: int = 25):
    """A run of that spec once it has done some steps."""
    run_id = lab.launch(document)
    assert until(lambda: lab.reconcile() is not None and lab.store.get(run_id).step >= steps), lab.log_tail(run_id)
    run = lab.store.get(run_id)
    if hasattr(lab, "watched"):
        lab.watched(run.pid)
    return run


# -- whose run it is -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("copy", [
    lambda a, b: subprocess.run(["cp", "-a", a, b], check=True), pytest.param(lambda a, b: shutil.copytree(a, b, symlinks=True), marks=pytest.mark.slow)])  # fmt: skip
def test_a_copy_of_a_home_is_another_lab(here, tmp_path, copy):
    run = started(here)
    copy(tmp_path / "home", tmp_path / "copy")
    other = Queue(Home(tmp_path / "copy"), count=1, command=WORKER)
    assert other.store.identity != here.store.identity and Queue(Home(tmp_path / "copy"), count=0).store.identity == other.store.identity
    other.store.move(run.id, [records.RUNNING], records.STOPPING)
    other._asked[run.id, run.attempt] = -1e9  # past all patience: what carries its token is killed now
    assert until(lambda: other.reconcile() is not None and other.store.get(run.id).state == "cancelled", 10)
    other.resume(run.id)
    again = other.store.get(run.id)
    assert until(lambda: other.reconcile() is not None and other.store.get(run.id).step > again.step, 15), other.log_tail(run.id)
    assert "begin at step 1" in other.log_tail(run.id) and other.store.get(run.id).pid != run.pid
    assert other.stop(run.id) == "cancelled"
    other.delete(run.id)
    step = here.store.get(run.id).step
    assert until(lambda: here.reconcile() is not None and here.store.get(run.id).step > step + 20) and alive(run.pid), "the original never noticed"
    assert here.store.get(run.id).attempt == 1 and here.home.has_checkpoint(run.id)


def test_slots_are_counted_by_place_not_by_the_name_of_a_host(here, monkeypatch):
    one = processes.identity()
    elsewhere = processes.Identity(one.pid, one.pid_create_time, one.mark, "another boot pid:[1]", one.host)
    renamed = processes.Identity(one.pid, one.pid_create_time, one.mark, one.place, "a new name")
    [here.store.create({}) for _ in range(3)]
    assert here.store.claim_next(one, 1) and here.store.claim_next(renamed, 1) is None and here.store.claim_next(elsewhere, 1)
    assert socket.gethostname() not in processes.place()


@pytest.mark.parametrize("then", ["another lab", pytest.param("nothing", marks=pytest.mark.slow)])
def test_a_home_that_is_moved_in_mid_run_takes_its_files_along(here, tmp_path, then):
    run = started(here, {"steps": 400, "pause": 0.01, "checkpoint_every": 20})
    (tmp_path / "home").rename(tmp_path / "moved")
    if then == "another lab":
        Queue(Home(tmp_path / "home"), count=0)
    for act in (here.reconcile, lambda: here.launch(LONG), lambda: here.store.get(run.id)):
        with pytest.raises(StoreGone, match="was moved, deleted or replaced"):
            act()
    moved = Queue(Home(tmp_path / "moved"), count=1, command=WORKER)
    end = moved.watch(run.id, seconds=30)
    assert end.state == "succeeded" and end.attempt == 1 and end.step == 400, moved.log_tail(run.id)
    assert moved.store.series(run.id)["loss"][0].tolist() == list(range(1, 401))
    kept = sorted(path.name for path in (moved.home.run_dir(run.id) / "checkpoints").iterdir())
    assert kept[-1] == "step-000400" and read_receipt(moved.home.run_dir(run.id), 1)["state"] == "succeeded"
    assert not (tmp_path / "home" / "runs" / run.id).exists() and ((tmp_path / "home").exists() is (then == "another lab"))


@pytest.mark.parametrize("harm", ["deleted", "replaced"])
def test_a_store_that_vanishes_is_told_and_not_replaced_by_an_empty_one(here, harm, capsys):
    run_id, path = here.store.create({}), here.home.path / "lab.db"
    keeper = Keeper(here, seconds=0.05)
    kept = path.read_bytes()
    for each in here.home.path.glob("lab.db*"):
        each.unlink()
    if harm == "replaced":
        path.write_bytes(kept)
    assert until(lambda: keeper.trouble and "was moved, deleted or replaced" in keeper.trouble, 5)
    with pytest.raises(StoreGone):
        here.store.get(run_id)
    assert path.exists() is (harm == "replaced")
    keeper.close()
    assert "The queue stands still" in capsys.readouterr().err


# -- one writer ----------------------------------------------------------------------------------------------------------------------

WRITES = {
    "a folder": lambda run, step: files.replace_folder(run / "best", lambda part: (part / "a").write_text("stale")),
    "a folder inside": lambda run, step: files.replace_folder(run / "checkpoints" / "step-000009", lambda part: (part / "a").write_text("stale")),
    "a file": lambda run, step: files.write_json(run / "result.json", "stale"),
    "a removal": lambda run, step: (run / "best").rename(run / ".old-best"),
    "half a folder": lambda run, step: files.replace_folder(run / "best", lambda part: (step(), (part / "a").write_text("stale"))),
}


@pytest.mark.parametrize("write", WRITES.values(), ids=list(WRITES))
def test_an_outdated_attempt_writes_nothing_more_at_whatever_moment_it_wakes(tmp_path, write):
    old = files.Fence(tmp_path, 1)
    files.replace_folder(old.path / "best", lambda part: (part / "a").write_text("fine"))
    (old.path / "checkpoints").mkdir()
    new: list[files.Fence] = []

    def begin():
        new.append(files.Fence(tmp_path, 2))

    if "half" not in str([name for name, each in WRITES.items() if each is write]):
        begin()
    with pytest.raises(OSError):
        write(old.path, begin)
    assert not old.stands and new[0].stands and (tmp_path / "best" / "a").read_text() == "fine"
    left = sorted(path.name for path in tmp_path.iterdir() if path.name != ".part-best")
    assert left == [".attempt-2", "best", "checkpoints"] and not list((tmp_path / "checkpoints").iterdir())
    with pytest.raises(Refusal, match="started anew"):
        files.Fence(tmp_path, 1)
    files.replace_folder(new[0].path / "best", lambda part: (part / "a").write_text("new"))
    new[0].leave()
    assert (tmp_path / "best" / "a").read_text() == "new" and sorted(p.name for p in tmp_path.iterdir()) == ["best", "checkpoints"]


def test_a_worker_that_slept_through_its_successor_says_so_and_keeps_its_hands_off(here):
    run = started(here)
    os.kill(run.pid, signal.SIGSTOP)
    here.store.finish(run.id, "interrupted", attempt=1)  # given up, as from another machine
    folder = here.home.run_dir(run.id)
    second = Queue(here.home, Store(here.store.url), count=1, command=WORKER)
    second.resume(run.id)
    assert until(lambda: second.reconcile() is not None and second.store.get(run.id).step > run.step + 30), second.log_tail(run.id)
    new = second.store.get(run.id)
    here.watched(new.pid)
    steps = lambda: {path.name for path in (folder / "checkpoints").iterdir()}  # noqa: E731
    before = steps()
    os.kill(new.pid, signal.SIGSTOP)
    time.sleep(0.3)
    mine = steps()
    os.kill(run.pid, signal.SIGCONT)
    assert until(lambda: not alive(run.pid), 10), "it hears that the run is another's, and ends"
    assert steps() == mine >= before, "and wrote nothing"
    os.kill(new.pid, signal.SIGCONT)
    assert second.stop(run.id) == "cancelled"


def test_nothing_is_flushed_while_the_store_is_away_or_the_run_is_anothers(here, monkeypatch):
    run_id = here.store.create({})
    link = WorkerLink(run_id, here.home, here.store, interval=30.0)
    link.log(1, {"loss": 1.0})
    real = here.store.log

    def refused(*_args, **_options):
        raise OperationalError("INSERT", None, Exception("connection refused"))

    monkeypatch.setattr(here.store, "log", refused)
    assert not link.flush() and link.trouble and not link.lost
    monkeypatch.setattr(here.store, "log", real)
    assert link.flush() and here.store.latest(run_id)["loss"][:2] == (1, 1.0)
    monkeypatch.setattr(here.store, "log", refused)
    link.log(2, {"loss": 0.5})
    monkeypatch.setattr("lab.runs.worker_link.END_PATIENCE", 0.0)
    with pytest.raises(OperationalError):
        link.finish("succeeded", {"x": 1})
    monkeypatch.setattr(here.store, "log", real)
    run = here.store.get(run_id)
    assert here._lost(run, False) and here.store.get(run_id).state == "succeeded"
    assert here.store.series(run_id)["loss"][0].tolist() == [1, 2], "rows that the store missed are in the receipt"


# -- deleting ------------------------------------------------------------------------------------------------------------------------

CUT = """
import os, sys
from lab.runs import Home, Queue
import lab.runs.home, lab.runs.store, shutil
lab = Queue(Home(), count=0)
owner, name, after = {"before": (lab.store, "delete", False), "committed": (lab.store, "delete", True), "renamed": (shutil, "rmtree", False),
                      "half": (os, "unlink", True), "files": (lab.home, "remove", True), "metrics": (lab.store, "forget", True)}[sys.argv[2]]
real = getattr(owner, name)
def cut(*args, **options):
    if after: real(*args, **options)
    if args[0] == ".reserve" or str(args[0]).endswith(".reserve"): return
    os.kill(os.getpid(), 9)
setattr(owner, name, cut)
lab.delete(sys.argv[1])
"""


@pytest.mark.parametrize("moment", ["before", "committed", "renamed", "half", "files", "metrics"])
def test_a_delete_that_is_killed_leaves_a_whole_run_or_none(here, moment):
    here._count = 0
    doomed, kept = (here.launch({"n": n}) for n in range(2))
    for run_id in (doomed, kept):
        folder = here.home.run_dir(run_id, create=True)
        for name in ("a", "b"):
            (folder / "checkpoints" / f"step-00000{name}").mkdir(parents=True)
            (folder / "checkpoints" / f"step-00000{name}" / "weights").write_bytes(bytes(1000))
        here.store.log(run_id, [(step, "loss", 1.0) for step in range(50)])
    done = subprocess.run([sys.executable, "-c", CUT, doomed, moment], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == -9, done.stderr
    if moment == "before":
        assert len(list((here.home.run_dir(doomed) / "checkpoints").iterdir())) == 2 and here.store.get(doomed).state == "queued"
        return
    with pytest.raises(Refusal, match="There is no run"):
        here.store.get(doomed)
    Queue(here.home, here.store, count=0).reconcile()  # whoever comes next
    assert [path.name for path in here.home.runs.iterdir()] == [kept] and here.store.doomed() == []
    count = here.store.database.read(lambda c: c.exec_driver_sql("SELECT count(*) FROM metrics").scalar())
    assert count == 50 and len(here.store.series(kept)["loss"][0]) == 50 and len(list((here.home.run_dir(kept) / "checkpoints").iterdir())) == 2


def test_a_resume_that_wins_leaves_a_whole_run(here, monkeypatch):
    run = started(here, {"steps": 2000, "pause": 0.01, "checkpoint_every": 20})
    os.kill(run.pid, signal.SIGKILL)
    assert until(lambda: here.reconcile() is not None and here.store.get(run.id).state == "interrupted")
    real = here.store.delete

    def later(run_id):  # between the look at the run and the delete, somebody resumes it
        here.resume(run_id)
        real(run_id)

    monkeypatch.setattr(here.store, "delete", later)
    with pytest.raises(Refusal, match="stop it before you delete it"):
        here.delete(run.id)
    assert here.home.has_checkpoint(run.id) and here.store.get(run.id).active
    assert until(lambda: here.reconcile() is not None and here.store.get(run.id).step > run.step, 15)
    assert "begin at step 1" not in here.log_tail(run.id, 1) and here.stop(run.id) == "cancelled"


def test_half_a_delete_of_an_earlier_lab_is_undone_only_where_its_run_is_there(here):
    run_id = here.store.create({})
    aside = {name: here.home.runs / f".deleted-{name}-abcd1234" for name in (run_id, "gggggggg")}
    for path in aside.values():
        path.mkdir()
        (path / "weights").write_bytes(b"w")
    Queue(here.home, here.store, count=0)
    assert [path.name for path in here.home.runs.iterdir()] == [run_id] and (here.home.run_dir(run_id) / "weights").read_bytes() == b"w"


# -- all at once ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wrong", [{"tags": ["x" * 99]}, {"name": "a\nb"}, {"document": {"a": float("nan")}}, {"document": {"a": "x" * 300_000}}])
def test_a_sweep_is_queued_whole_or_not_at_all(here, wrong):
    here._count = 0
    given = [{"document": {"n": n}, "tags": ["sweep"]} for n in range(5)]
    with pytest.raises(Refusal):
        here.launch_all([*given[:3], {**given[3], **wrong}, given[4]])
    assert here.store.list() == [] and list(here.home.runs.iterdir()) == []
    ids = here.launch_all(given)
    assert [run.id for run in here.store.list(["queued"])] == ids and [run.position for run in here.store.list(["queued"])] == [1, 2, 3, 4, 5]


def test_a_queue_with_too_little_room_takes_none(here, monkeypatch):
    monkeypatch.setattr("lab.runs.store.QUEUE_LENGTH", 4)
    here._count = 0
    here.launch({})
    with pytest.raises(Refusal, match="room for 3 runs more, not for 5"):
        here.launch_all([{"document": {}}] * 5)
    assert len(here.store.list()) == 1


def test_ctrl_c_comes_after_what_belongs_together():
    done = []
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
    try:
        with pytest.raises(KeyboardInterrupt), whole():
            with whole():
                os.kill(os.getpid(), signal.SIGINT)
                done.append(1)
            done.append(2)
        assert done == [1, 2]
        with whole():
            pass
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        with whole():
            assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN, "what is started within ignores it too"
            os.kill(os.getpid(), signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)


# -- a database that blinks ----------------------------------------------------------------------------------------------------------


class Door:
    """A port of 127.0.0.1 that leads to another one while it is open, and refuses connections while it is shut."""

    def __init__(self, port: int):
        self.to, self.listener, self.lines = port, None, []
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]

    def open(self):
        self.listener = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._serve, args=(self.listener,), daemon=True).start()

    def shut(self):
        listener, self.listener = self.listener, None
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        for line in self.lines:
            with suppress(OSError):
                line.shutdown(socket.SHUT_RDWR)
        self.lines = []

    def _serve(self, listener):
        while True:
            try:
                near = listener.accept()[0]
                far = socket.create_connection(("127.0.0.1", self.to))
            except OSError:
                return
            self.lines += [near, far]
            for one, other in ((near, far), (far, near)):
                threading.Thread(target=self._carry, args=(one, other), daemon=True).start()

    @staticmethod
    def _carry(one, other):
        with suppress(OSError):
            while data := one.recv(65536):
                other.sendall(data)
        for each in (one, other):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)


@pytest.mark.postgres
@pytest.mark.parametrize("url", ["postgres"], indirect=True)
def test_a_server_that_goes_away_and_comes_back_ends_nothing(url, tmp_path, monkeypatch, capfd):
    address = make_url(url)
    door = Door(address.port)
    through = address.set(port=door.port).render_as_string(hide_password=False)
    monkeypatch.setenv("LAB_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("LAB_DATABASE_URL", through)
    opened = []
    thread = threading.Thread(target=lambda: opened.append(Queue(Home(), count=1, command=WORKER)))
    thread.start()  # a start waits
    assert until(lambda: "waiting for it" in capfd.readouterr().err, 10) and not opened
    door.open()
    thread.join(20)
    lab = opened[0]
    run_id = lab.launch({"steps": 600, "pause": 0.01, "checkpoint_every": 10_000})
    assert until(lambda: lab.reconcile() is not None and lab.store.get(run_id).step > 20)
    keeper = Keeper(lab, seconds=0.2)
    door.shut()
    found = []
    reader = threading.Thread(target=lambda: found.append(lab.store.get(run_id).id))
    reader.start()
    time.sleep(4.0)
    assert not found, "a reader waits too"
    door.open()
    reader.join(20)
    assert found == [run_id]
    assert until(lambda: lab.store.get(run_id).over, 30)
    keeper.close()
    run = lab.store.get(run_id)
    assert (run.state, run.attempt) == ("succeeded", 1) and lab.store.series(run_id)["loss"][0].tolist() == list(range(1, 601)), "a whole curve"
    door.shut()


@pytest.mark.parametrize(
    "words, passes",
    [
        ("connection refused", True),
        ("FATAL:  sorry, too many clients already", True),
        ("the database system is starting up", True),
        ("FATAL:  the database system is not yet accepting connections", True),
        ("failed to resolve host 'db': [Errno -2] Name or service not known", True),
        ("could not receive data from server: Connection timed out", True),
        ('FATAL:  password authentication failed for user "x"', False),
        ('database "lab" does not exist', False),
    ],
)
def test_what_is_waited_for_and_what_is_not(words, passes):
    from lab.runs.database import is_passing

    assert is_passing(OperationalError("SELECT 1", None, Exception(words))) is passes


def test_a_run_that_this_process_claimed_and_forgot_is_queued_again(here, monkeypatch):
    run_id = here.store.create({"steps": 3})
    here._count = 0
    assert here.store.claim_next(processes.identity(), 1).id == run_id  # the commit's answer was lost on the way here
    here.reconcile()
    assert here.store.get(run_id).state == "starting"
    monkeypatch.setattr("lab.runs.local.Local.patience", 0.0)
    here._count = 1
    assert here.watch(run_id, seconds=20).state == "succeeded"


# -- a full disk ---------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def small(tmp_path):
    """A folder on a disk of 4 MB and 80 files, where one can be mounted."""
    folder = tmp_path / "small"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m,nr_inodes=80", "tmpfs", str(folder)], capture_output=True).returncode != 0:
        pytest.skip("no small disk can be mounted here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(path: Path) -> None:
    with suppress(OSError), path.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))


def terminal(*arguments, env=None, **options):
    return subprocess.run([sys.executable, "-m", "lab", *arguments], cwd=ROOT, capture_output=True, text=True, env={**os.environ, **(env or {})}, **options)


def test_on_a_disk_that_takes_no_more_files_too(small, monkeypatch):
    monkeypatch.setenv("LAB_HOME", str(small / "home"))
    lab = Queue(Home(), count=0)
    doomed, kept = lab.launch({"model": "m"}, "old"), lab.launch({"model": "m"}, "new")
    lab.store.close()
    with pytest.raises(OSError, match="No space left"):
        for number in range(100):
            (small / f"{number}").touch()
    lab = Queue(Home(), count=0)
    assert {run.name for run in lab.store.list()} == {"old", "new"}
    lab.delete(doomed)
    lab.rename(kept, "another")
    lab.store.close()
    assert [run.name for run in Queue(Home(), count=0).store.list()] == ["another"]


@pytest.mark.parametrize("reserve", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_on_a_full_disk_runs_are_listed_shown_and_deleted(small, monkeypatch, reserve):
    monkeypatch.setenv("LAB_HOME", str(small / "home"))
    monkeypatch.setenv("LAB_SLOTS", "0")
    lab = Queue(Home(), count=0)
    doomed, kept = lab.launch({"model": "m"}, "old"), lab.launch({"model": "m"}, "new")
    lab.store.log(doomed, [(step, "loss", 1.0) for step in range(5000)])
    (lab.home.run_dir(doomed) / "weights").write_bytes(bytes(1_000_000))
    assert (small / "home" / ".reserve").stat().st_size > 400_000
    lab.store.close()  # the last one out takes the files beside the database away
    if not reserve:
        (small / "home" / ".reserve").unlink()
    fill(small / "ballast")
    listed = terminal("runs")
    assert listed.returncode == 0 and doomed in listed.stdout and kept in listed.stdout, listed.stderr
    if not reserve:
        return
    assert terminal("show", kept).returncode == 0
    full = terminal("edit", kept, "--name", "another")
    assert full.returncode == 1 and ("No space left on device" in full.stderr or "disk is full" in full.stderr), full.stderr
    gone = terminal("delete", doomed, "--for-good", "--yes")
    assert gone.returncode == 0, gone.stderr
    assert [path.name for path in lab.home.runs.iterdir()] == [kept] and terminal("edit", kept, "--name", "another").returncode == 0
    assert (small / "home" / ".reserve").exists()


def test_a_limit_on_the_size_of_files_is_named(tmp_path):
    env = {"LAB_HOME": str(tmp_path / "home"), "LAB_SLOTS": "0"}
    store = Store(Home(tmp_path / "home").database_url)
    ids = [store.create({"text": "x" * 100_000}) for _ in range(5)]
    store.close()

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (65_536, 65_536))

    assert ids[0] in terminal("runs", env=env, preexec_fn=limit).stdout
    failed = terminal("edit", ids[0], "--notes", "n" * 15_000, env=env, preexec_fn=limit)
    while failed.returncode == 0:  # the first pages of the log still fit
        failed = terminal("edit", ids[0], "--notes", "n" * 15_000, env=env, preexec_fn=limit)
    assert failed.returncode == 1 and "ulimit -f" in failed.stderr and "disk I/O" not in failed.stderr, failed.stderr


def test_a_database_opened_alone_lets_the_next_one_in(tmp_path, monkeypatch):
    """The way in on a full disk keeps others out, so it is never kept open."""
    from lab.runs import sqlite_file

    url = f"sqlite:///{tmp_path / 'lab.db'}"
    Store(url).close()
    database = Database(url)
    monkeypatch.setattr(sqlite_file.SqliteFile, "connect", lambda self: self._alone())
    database.close()
    assert database.read(lambda c: c.exec_driver_sql("SELECT count(*) FROM runs").scalar()) == 0
    monkeypatch.undo()
    began = time.monotonic()
    assert Store(url).list() == [] and time.monotonic() - began < sqlite_file.BUSY_SECONDS, "another one that is kept open is waited for"
