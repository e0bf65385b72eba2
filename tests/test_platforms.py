"""Where the system is not Linux: no module of the lab needs what Windows and macOS lack, and runs start, end and are stopped without it.

What those systems lack is taken away from the lab's modules (not from Python's own, which here need it) by a sitecustomize. It shows that nothing
falls over for want of it, not that the lab was ever run there.
"""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LACKING = {"fcntl", "resource", "pwd", "grp", "termios", "tty"}  # modules that Windows has not
CALLS = {"getsid", "killpg", "setsid", "getpgid", "fork", "geteuid", "getuid", "sched_getaffinity", "statvfs", "uname", "mkfifo", "chown", "waitpid", "setpgid"}
GUARDED = {  # file: names that it uses behind a guard, which the process below goes through
    "lab/runs/privacy.py": {"geteuid"}, "lab/runs/processes.py": {"getsid"}, "lab/runs/sqlite_file.py": {"statvfs"}, "lab/runs/scratch.py": set(),
    "lab/runs/database.py": {"resource"}, "lab/training/meters.py": {"resource"}, "lab/export/folder.py": {"fcntl"}, "lab/training/worker.py": {"sched_getaffinity"},
    "lab/runs/warm.py": {"resource", "sched_getaffinity"}, "lab/runs/fork_server.py": {"fork", "setsid", "waitpid"},  # which Linux alone has: warm.wanted
}  # fmt: skip
SITE = f"""
import builtins, io, os, signal, sys
real, opened, ours = builtins.__import__, os.open, lambda: sys._getframe(2).f_globals.get("__name__", "").startswith("lab")
def absent(name, globals=None, *rest, **named):
    if name in {sorted(LACKING)!r} and str((globals or {{}}).get("__name__", "")).startswith("lab"):
        raise ModuleNotFoundError(name)
    return real(name, globals, *rest, **named)
builtins.__import__ = absent
del os.getsid, os.sched_getaffinity, signal.SIGHUP
def no_folders(path, *rest, **more):
    if not isinstance(path, int) and os.path.isdir(path) and ours():
        raise PermissionError(13, "Permission denied", str(path))
    return opened(path, *rest, **more)
os.open = no_folders
text = io.open
def no_proc(file, *rest, **more):  # of pathlib; psutil's own is the builtin
    if str(file).startswith("/proc/"):
        raise FileNotFoundError(2, "No such file or directory", str(file))
    return text(file, *rest, **more)
io.open = no_proc
"""
WALK = """
import importlib, pkgutil, lab
for module in pkgutil.walk_packages(lab.__path__, "lab."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
from lab.doctor import diagnosis
import sys, platform
platform.system = lambda: "Windows"
assert any(note.startswith("Windows is not tested") for note in diagnosis("cpu")["notes"])
from lab.ui import serve
import signal
try: serve._end(15, None)
except SystemExit as end: assert end.code == 143
print("all")
"""
RUNS = """
import os, sys, time
from pathlib import Path
from lab.runs import Home, Queue, processes
from lab.runs.scratch import scratch
from lab.export.folder import new_folder
from runs_support import WORKER, until
assert not processes.HAS_SESSIONS
processes.ASKS = False  # as on Windows, where a signal would end a worker at once
home = Home(sys.argv[1])
scratch(home.path)
scratch(home.path)
queue = Queue(home, command=WORKER, count=4, estimate=lambda spec: None)
short, long, family = (queue.launch({"name": name, **spec}, name) for name, spec in (("short", {"steps": 4}), ("long", {"steps": 2000, "pause": 0.05}), ("family", {"steps": 2000, "pause": 0.05, "mode": "family"})))
def state(run):
    queue.reconcile()
    return queue.store.get(run).state
assert until(lambda: state(short) == "succeeded", 60), (state(short), queue.log_tail(short))
assert until(lambda: queue.store.get(long).step > 1, 30)
assert queue.stop(long) == "cancelled", state(long)
assert until(lambda: (home.run_dir(family) / "children").is_file(), 30)
children = [int(pid) for pid in (home.run_dir(family) / "children").read_text().split()]
token = queue.store.token(queue.store.get(family))
assert {process.pid for process in processes.members(token)} >= set(children) and processes.kill(token)
assert until(lambda: state(family) in ("failed", "interrupted"), 30), state(family)
with new_folder(Path(sys.argv[1]) / "out") as folder:
    (folder / "a").write_text("a")
Path(sys.argv[1], "empty").mkdir()
with new_folder(Path(sys.argv[1]) / "empty") as folder:
    (folder / "a").write_text("a")
assert (Path(sys.argv[1]) / "empty" / "a").is_file()
print("all")
"""


def there(tmp_path: Path, code: str) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(SITE)
    paths = os.pathsep.join(map(str, (tmp_path / "site", ROOT, ROOT / "tests")))
    environment = {**os.environ, "PYTHONPATH": paths, "LAB_HOME": str(tmp_path / "home"), "LAB_WARM": "0"}
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "home")], env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=550)
    assert done.returncode == 0 and done.stdout.splitlines()[-1:] == ["all"], done.stdout[-500:] + done.stderr[-3000:]


def test_every_module_can_be_imported(tmp_path: Path) -> None:
    there(tmp_path, WALK)


def test_runs_start_end_and_are_stopped(tmp_path: Path) -> None:
    there(tmp_path, RUNS)


def test_what_other_systems_lack_is_used_behind_a_guard_alone() -> None:
    found: dict[str, set[str]] = {}
    for path in sorted((ROOT / "lab").rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        used = {
            node.attr
            for node in ast.walk(tree)
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "os" and node.attr in CALLS
        }
        used |= {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names if alias.name in LACKING}
        if used:
            found[path.relative_to(ROOT).as_posix()] = used
    assert found == {file: names for file, names in GUARDED.items() if names}, "guard it, and say so above"
