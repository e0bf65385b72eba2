"""What is nobody else's: the folder of a lab, temporary files, the password, and the database's address."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest
from ui_support import ROOT, environment, free_port

from lab.cli import main
from lab.runs import Home, scratch

pytest_plugins = ["runs_fixtures"]


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_lab_s_folder_is_its_owner_s_alone(tmp_path, capsys):
    old = os.umask(0)
    try:
        assert mode(Home(tmp_path / "new").path) == 0o700
        (tmp_path / "open").mkdir(mode=0o777)
        assert mode(Home(tmp_path / "open").path) == 0o700, "an open one is closed"
        assert capsys.readouterr().err == ""
    finally:
        os.umask(old)


@pytest.mark.parametrize("kind", ["shared", "more than a lab"])
def test_what_is_not_the_labs_to_close_is_told(kind, tmp_path, capsys, monkeypatch):
    home = tmp_path / "home"
    home.mkdir()
    home.chmod(0o1777 if kind == "shared" else 0o755)
    if kind != "shared":
        monkeypatch.chdir(home)
    Home(home)
    Home(home)
    assert mode(home) & 0o077 and capsys.readouterr().err.count("Other users") == 1


def test_temporary_folders_go_with_their_process(tmp_path):
    """Also those of processes that were killed, with the next one's start; never one whose process lives."""
    script = "import sys, tempfile, time; from pathlib import Path; from lab.runs.scratch import scratch; print(scratch(Path(sys.argv[1])), flush=True); tempfile.mkstemp(); time.sleep(float(sys.argv[2]))"
    run = lambda seconds: subprocess.Popen([sys.executable, "-c", script, str(tmp_path), str(seconds)], cwd=ROOT, stdout=subprocess.PIPE, text=True)  # noqa: E731
    killed, living = run(60), run(60)
    folders = [Path(process.stdout.readline().strip()) for process in (killed, living)]
    killed.kill()
    killed.wait()
    assert folders[0].is_dir() and mode(folders[0].parent) == 0o700
    scratch.sweep(tmp_path / "tmp")
    assert not folders[0].exists() and any(folders[1].glob("tmp*"))
    living.kill()
    living.wait()
    ended = run(0)
    mine = Path(ended.stdout.readline().strip())
    ended.wait()
    assert not mine.exists() and not folders[1].exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, *(pytest.param(one, marks=pytest.mark.slow) for one in (signal.SIGHUP, signal.SIGINT))])
def test_an_app_that_is_told_to_end_leaves_nothing(number, tmp_path):
    """Uploads are in LAB_HOME while it runs, and go with it; its children too."""
    import psutil

    port, home = free_port(), tmp_path / "home"
    outside = set(Path("/tmp").glob("gradio*")) | set(Path("/tmp").glob("lab-*"))
    app = subprocess.Popen(
        [sys.executable, "app.py", "--port", str(port)],
        cwd=ROOT,
        env={**environment(home), "TMPDIR": str(tmp_path)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    try:
        until = time.monotonic() + 150
        while True:
            try:
                httpx.get(f"http://127.0.0.1:{port}/gradio_api/app_id")
                break
            except httpx.HTTPError:
                assert app.poll() is None and time.monotonic() < until
                time.sleep(0.2)
        uploaded = Path(httpx.post(f"http://127.0.0.1:{port}/gradio_api/upload", files={"files": ("x.csv", "a,b\n1,2\n")}).json()[0])
        assert uploaded.is_file() and uploaded.is_relative_to(home)
        children = psutil.Process(app.pid).children(recursive=True)
        app.send_signal(number)
        assert app.wait(20) == (0 if number == signal.SIGINT else 128 + number), app.stderr.read()[-2000:]
        assert b"Traceback" not in app.stderr.read()
    finally:
        app.kill()
        app.wait()
    assert not uploaded.exists() and not list((home / "tmp").iterdir())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["home"]
    assert set(Path("/tmp").glob("gradio*")) | set(Path("/tmp").glob("lab-*")) <= outside | set(Path("/tmp").glob("lab-test-home-*"))
    assert not [child for child in children if child.is_running() and child.status() != psutil.STATUS_ZOMBIE]


SECRET = "s3cr3t-w0rd"
ADDRESSES = {
    "refused": "postgresql+psycopg://somebody:{}@127.0.0.1:1/lab", "no host": "postgresql://somebody:{}@no.such.host.invalid/lab", "an option that there is not": "postgresql://somebody:{}@127.0.0.1/lab?nope=1",
    "an option of a wrong kind": "postgresql://somebody:{}@127.0.0.1/lab?sslmode=nope", "a port that is none": "postgresql://somebody:{}@127.0.0.1:x/lab", "another database": "mysql://somebody:{}@127.0.0.1/lab",
    "an at in the password": "postgresql://somebody:x@{}@127.0.0.1:1/lab", "a slash in the password": "postgresql://somebody:x/{}@127.0.0.1:1/lab", "a colon": "postgresql://somebody:x:{}@127.0.0.1:1/lab",
    "a password as an option": "postgresql://127.0.0.1:1/lab?user=somebody&password={}", "no scheme": "somebody:{}@127.0.0.1/lab", "a bracket": "postgresql://somebody:{}[@127.0.0.1:1/lab",
    "a file in a folder that there is not": "sqlite:////no/such/folder/lab.db?key={}",
}  # fmt: skip


@pytest.mark.parametrize("kind", ADDRESSES)
def test_the_database_s_address_is_never_shown(kind, lab_home, monkeypatch, capfd):
    monkeypatch.setenv("LAB_DATABASE_URL", ADDRESSES[kind].format(SECRET))
    monkeypatch.setenv("LAB_DATABASE_WAIT", "0")
    for command in (["runs"], ["runs", "--json"], ["show", "x"]):
        assert main(command) == 2
        said = "".join(capfd.readouterr())
        assert said.strip() and SECRET not in said and "somebody" not in said and "Traceback" not in said, said


@pytest.mark.parametrize("kind", ["refused", "an at in the password", "a port that is none", "a password as an option"])
def test_nor_in_a_traceback(kind, lab_home, monkeypatch):
    """Of a notebook, say, that shows the whole chain."""
    script = "import lab; lab.runs()"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=120,
                          env={**environment(lab_home), "LAB_DATABASE_URL": ADDRESSES[kind].format(SECRET), "LAB_DATABASE_WAIT": "0"})  # fmt: skip
    assert done.returncode and "Refusal" in done.stderr and SECRET not in done.stderr and "somebody" not in done.stderr, done.stderr


@pytest.mark.postgres
def test_a_server_that_says_no_is_quoted_without_names(postgres_server, lab_home, monkeypatch, capfd):
    monkeypatch.setenv("LAB_DATABASE_URL", postgres_server.replace("//lab@", f"//somebody:{SECRET}@") + "lab")
    monkeypatch.setenv("LAB_DATABASE_WAIT", "0")
    assert main(["runs"]) == 2
    said = "".join(capfd.readouterr())
    assert "lab on 127.0.0.1" in said and "somebody" not in said and SECRET not in said, said
