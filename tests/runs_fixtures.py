"""Fixtures for the tests of runs: a lab in a scratch folder, over SQLite and over a PostgreSQL that is started here."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import pytest
from runs_support import WORKER, starting

from lab.runs import processes
from lab.runs.home import Home
from lab.runs.queue import Queue
from lab.runs.store import Store


def _programs() -> Path | None:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb")) if os.path.isdir("/usr/lib/postgresql") else []
    named = shutil.which("initdb")
    return found[-1].parent if found else Path(named).parent if named else None


@pytest.fixture(scope="session")
def postgres_server():
    """'postgresql+psycopg://lab@127.0.0.1:PORT/' of a scratch server; skips where PostgreSQL or its driver is absent."""
    programs = _programs()
    if programs is None:
        pytest.skip("no PostgreSQL here: apt-get install postgresql")
    pytest.importorskip("psycopg", reason="no driver here: pip install -r requirements-postgres.txt")
    folder = Path(tempfile.mkdtemp(prefix="lab-pg-"))
    who = {"cwd": "/", "stdout": subprocess.DEVNULL, "check": True}
    if os.getuid() == 0:
        owner = pwd.getpwnam("postgres")
        os.chown(folder, owner.pw_uid, owner.pw_gid)
        who |= {"user": owner.pw_uid, "group": owner.pw_gid, "extra_groups": []}
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    data = str(folder / "data")
    subprocess.run([programs / "initdb", "-U", "lab", "-A", "trust", "-E", "UTF8", "--no-sync", "-D", data], **who)
    options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={folder} -c fsync=off"
    subprocess.run([programs / "pg_ctl", "-w", "-D", data, "-l", str(folder / "log"), "-o", options, "start"], **who)
    yield f"postgresql+psycopg://lab@127.0.0.1:{port}/"
    subprocess.run([programs / "pg_ctl", "-D", data, "-m", "immediate", "stop"], **who)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def url(request, tmp_path):
    """The address of an empty store, once on each database."""
    return address_of(request.param, request, tmp_path)


def address_of(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of an empty store, sqlite or postgres."""
    if kind == "sqlite":
        return f"sqlite:///{tmp_path / 'lab.db'}"
    import psycopg

    server = request.getfixturevalue("postgres_server")
    name = f"lab{time.time_ns()}"
    with psycopg.connect(server.replace("+psycopg", "") + "postgres", autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    return server + name


@pytest.fixture
def store(url):
    """An empty store."""
    opened = Store(url)
    yield opened
    opened.close()


# each store and each way to start in the default run, and all three pairs in the slow one
LABS = ["sqlite-cold", pytest.param("sqlite-warm", marks=pytest.mark.slow), pytest.param("postgres-warm", marks=pytest.mark.postgres)]


@pytest.fixture(params=LABS)
def lab(request, tmp_path, monkeypatch):
    """A Queue with one slot and the fake worker, started either way; what it started is ended afterwards."""
    kind, _, how = request.param.partition("-")
    url = address_of(kind, request, tmp_path)
    monkeypatch.setenv("LAB_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("LAB_DATABASE_URL", url)
    queue = Queue(Home(), Store(url), count=1, command=WORKER)
    starting(queue, how, monkeypatch)
    yield queue
    for run in queue.store.active():
        processes.kill(queue.store.token(run))
    queue.store.close()
