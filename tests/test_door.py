"""Who may act on a running app: pages of other sites and names that were led here may not, guesses of passwords wait, and no caller takes everything."""

from __future__ import annotations

import asyncio
import contextlib
import http.cookiejar
import json
import re
import socket
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from types import SimpleNamespace

import httpx
import pytest
from ui_support import ROOT, free_port, serving

from lab.cli import main
from lab.design.plain.refusal import Refusal
from lab.ui.door import guard, settings, wire
from lab.ui.door.guard import Guard
from lab.ui.door.hosts import Hosts, may_change
from lab.ui.door.throttle import FREE, LONGEST, Throttle

TASK = "text,label\n" + "".join(f"row {n},{'ab'[n % 2]}\n" for n in range(40))
PASSWORD = "a-long-password"
MOZILLA = {"User-Agent": "Mozilla/5.0 (X11; Linux x86_64)"}


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """An app without a password, in which runs only wait; (address, home)."""
    home = tmp_path_factory.mktemp("open") / "home"
    with serving(home, LAB_SLOTS="0") as address:
        yield address, home


@pytest.fixture(scope="module")
def locked(tmp_path_factory):
    """An app with a password from LAB_AUTH, started the other way; its address."""
    with serving(
        tmp_path_factory.mktemp("locked") / "home",
        command=("-m", "lab", "serve"),
        LAB_AUTH=f"me:{PASSWORD}",
        LAB_PROXY="127.0.0.1",
        LAB_ALLOW_HOST="lab.example.org",
    ) as address:
        yield address


# -- settings --------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("flag", [flag for flag, *_ in settings.FLAGS])
def test_every_setting_is_a_flag_and_a_variable(flag, monkeypatch):
    import argparse

    _, variable, usual, _ = next(row for row in settings.FLAGS if row[0] == flag)
    value = {
        "host": "localhost",
        "port": "7999",
        "home": "/tmp/x",
        "auth": f"me:{PASSWORD}",
        "allow-host": "lab.example.org",
        "root-path": "/lab",
        "proxy": "10.0.0.0/8",
    }.get(flag)
    for row in settings.FLAGS:
        monkeypatch.delenv(row[1], raising=False)
    if flag == "mcp":  # of an extra, which need not be here
        monkeypatch.setattr(settings.importlib.util, "find_spec", lambda name: name)
    if flag == "share":
        monkeypatch.setenv("LAB_AUTH", f"me:{PASSWORD}")
    parser = argparse.ArgumentParser()
    settings.add_flags(parser)
    without = settings.read(parser.parse_args([]))
    by_flag = settings.read(parser.parse_args([f"--{flag}", *([value] if value else [])]))
    monkeypatch.setenv(variable, value or "1")
    assert settings.read() == settings.read(parser.parse_args([])) == by_flag
    assert by_flag != without or flag == "anyone"


@pytest.mark.parametrize("arguments, words", [
    (["--host", "0.0.0.0"], "everybody who reaches"), (["--host", "::"], "everybody who reaches"), (["--port", "x"], "must be a number"), (["--auth", "me"], "user:password"),
    (["--share"], "needs --auth"), (["--allow-host", "http://x/"], "--allow-host"), (["--root-path", "//evil.test"], "--root-path"), (["--proxy", "example.org"], "--proxy")])  # fmt: skip
def test_settings_that_cannot_be_are_one_sentence(arguments, words, capsys, lab_home):
    assert main(["serve", *arguments]) == 2
    said = capsys.readouterr()
    assert words in said.err and len(said.err.strip().splitlines()) == 1


def test_an_open_address_is_meant_or_has_a_password(monkeypatch):
    for name in ("LAB_AUTH", "LAB_HOST", "LAB_ANYONE"):
        monkeypatch.delenv(name, raising=False)
    assert settings.read({"host": "0.0.0.0", "auth": f"me:{PASSWORD}"}).door == ("me", PASSWORD)
    assert settings.read({"host": "0.0.0.0", "anyone": True}).door is None
    for host in ("127.0.0.1", "localhost", "::1", "[::1]", "127.9.9.9"):
        assert settings.read({"host": host}).door is None


def test_make_run_takes_the_same_settings():
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert "$(LAB_HOST)" in text and "$(LAB_PORT)" in text and re.search(r"app\.py --host \$\(HOST\) --port \$\(PORT\)\n", text)


# -- hosts and origins -----------------------------------------------------------------------------------------------------------------------

FOREIGN = ["http://evil.test", "https://evil.test", "http://evil.test:{port}", "http://localhost:1", "http://127.0.0.1:1", "null", "http://127.0.0.1.evil.test:{port}", "file://",
           "http://127.0.0.1:{port}@evil.test", "https://127.0.0.1:{port}x", "chrome-extension://abcdef", ""]  # fmt: skip
ROUTES = ["/gradio_api/component_server", "/gradio_api/queue/join", "/gradio_api/call/launch", "/gradio_api/run/launch", "/gradio_api/api/launch", "/gradio_api/call/v2/launch",
          "/gradio_api/upload", "/gradio_api/cancel", "/gradio_api/reset", "/look/runs", "/login", "/gradio_api/stream/x", "/gradio_api/process_recording", "/nowhere"]  # fmt: skip
KINDS = ["application/json", "text/plain", "text/plain;charset=UTF-8", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", ""]


@pytest.mark.parametrize("route", ROUTES)
def test_pages_of_other_sites_change_nothing(lab, route):
    address, _ = lab
    port = address.rpartition(":")[2]
    with httpx.Client(base_url=address, headers=MOZILLA) as browser:
        for origin in FOREIGN:
            for kind in KINDS if origin == FOREIGN[0] else KINDS[:2]:
                told = browser.post(route, content=b"{}", headers={"Origin": origin.format(port=port), "Content-Type": kind})
                assert told.status_code in (403, 404) and not [name for name in told.headers if name.startswith("access-control")], (origin, kind)
        for marks in ({"Referer": "http://evil.test/x"}, {"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}, {"Sec-Fetch-Site": "cross-site", "Origin": address}, {},
                      {"Origin": "http://evil.test", "Authorization": "Basic bWU6eA=="}):  # fmt: skip
            assert browser.post(route, content=b"{}", headers=marks).status_code in (403, 404), marks
        told = browser.options(
            route, headers={"Origin": "http://evil.test", "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
        )
        assert told.status_code in (403, 404) and not [name for name in told.headers if name.startswith("access-control")]


@pytest.mark.parametrize("method, path", [("GET", "/"), ("GET", "/runs"), ("GET", "/config"), ("GET", "/gradio_api/info"), ("GET", "/gradio_api/queue/data?session_hash=x"), ("HEAD", "/"),
                                          ("GET", "/gradio_api/startup-events"), ("POST", "/gradio_api/call/launch"), ("POST", "/look/runs"), ("OPTIONS", "/"), ("GET", "/nowhere")])  # fmt: skip
def test_a_name_that_was_led_here_reads_nothing(lab, method, path):
    address, _ = lab
    port = address.rpartition(":")[2]
    with httpx.Client(base_url=address) as rebound:
        for host in (
            "evil.test",
            f"evil.test:{port}",
            f"127.0.0.1.evil.test:{port}",
            "localhost.evil.test",
            "evil.test:80@127.0.0.1",
            "169.254.169.254",
            "0.0.0.0",
            "[::2]",
            "a,127.0.0.1",
        ):
            told = rebound.request(method, path, headers={"Host": host, "X-Forwarded-Host": "127.0.0.1", "Origin": f"http://{host.strip()}"})
            assert told.status_code in (400, 403), host
            assert "Delta" not in told.text and not [name for name in told.headers if name.startswith("access-control")]


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "LOCALHOST", "localhost.", "lab.localhost", "127.0.0.9", "[::1]"])
def test_names_of_this_machine_are_answered(lab, host):
    address, _ = lab
    port = address.rpartition(":")[2]
    for shown in (host, f"{host}:{port}"):
        assert httpx.get(f"{address}/config", headers={"Host": shown}).status_code == 200
        told = httpx.post(f"{address}/look/runs", json={}, headers={"Host": shown, "Origin": f"http://{shown}", "Sec-Fetch-Site": "same-origin", **MOZILLA})
        assert told.status_code == 200, shown


@pytest.mark.parametrize("headers, right", [
    ({"origin": "http://lab.example.org"}, True), ({"origin": "https://lab.example.org"}, True), ({"origin": "https://lab.example.org:8443"}, False), ({"origin": "https://other.org:99"}, True),
    ({"origin": "https://other.org"}, False), ({"referer": "https://lab.example.org/runs"}, True), ({"authorization": "Bearer x", "user-agent": "Mozilla/5.0"}, True),
    ({"authorization": "Bearer x", "origin": "https://elsewhere.org"}, True), ({"authorization": "Basic x", "origin": "https://elsewhere.org"}, False),
    ({"authorization": "Basic x", "user-agent": "Mozilla/5.0"}, True), ({"user-agent": "python-httpx"}, True), ({}, True), ({"sec-fetch-site": "none", "user-agent": "Mozilla/5.0"}, True)])  # fmt: skip
def test_a_proxy_that_keeps_its_name_to_itself(headers, right):
    """The Host header is the app's own, the browser's origin the proxy's: allowed names are origins of ours."""
    assert may_change(headers, "127.0.0.1:7860", Hosts("127.0.0.1", ["lab.example.org", "other.org:99"])) is right


def test_listening_everywhere_takes_addresses_and_this_machines_name():
    hosts = Hosts("0.0.0.0", ["lab.example.org"])
    assert all(hosts.knows(host) for host in ("192.168.1.5:7860", "[fe80::1]:7860", socket.gethostname(), "lab.example.org", "localhost"))
    assert not any(hosts.knows(host) for host in ("evil.test", "lab.example.org.evil.test", ""))
    assert not Hosts("127.0.0.1").knows("192.168.1.5") and Hosts("192.168.1.5").knows("192.168.1.5:7860") and not Hosts("192.168.1.5").knows("192.168.1.6")


def test_other_sites_may_link_here_and_not_embed_or_read(lab):
    address, _ = lab
    visit = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    assert httpx.get(f"{address}/runs", headers=visit).status_code == 200
    for headers, path in (({**visit, "Sec-Fetch-Dest": "iframe"}, "/runs"), ({**visit, "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "script"}, "/config"), (visit, "/logout"),
                          (visit, "/gradio_api/info"), ({"Origin": "http://evil.test"}, "/gradio_api/info")):  # fmt: skip
        assert httpx.get(address + path, headers=headers).status_code == 403, (headers, path)
    assert httpx.get(f"{address}/runs").headers["content-security-policy"] == "frame-ancestors 'self'"


@pytest.mark.parametrize("path", ["proxy=https://x.hf.space/", "file=http://169.254.169.254/", "file=https://example.org/x", "file/http://example.org/x", "vibe-edit/", "undo-vibe-edit/", "deep_link?session_hash=x",
                                  "run-history/buckets", "runs", "stream/x/y/1/playlist.m3u8", "custom_component/x/client/a/b", "dev/reload"])  # fmt: skip
def test_doors_of_gradio_that_no_page_uses_are_shut(lab, path):
    assert httpx.get(f"{lab[0]}/gradio_api/{path}").status_code == 404


def test_programs_work_as_before(lab, tmp_path):
    """gradio_client, its uploads, plain HTTP and the pages' own calls, without any header of a browser."""
    from gradio_client import Client, handle_file

    address, home = lab
    client = Client(address, verbose=False)
    run = client.predict({"model": "minilm-l6", "task": "sentiment-rt", "method": "lora", "training": {"steps": 1}}, api_name="/launch")["run"]
    assert client.predict(run, api_name="/status")["run"] == run
    told = httpx.post(f"{address}/gradio_api/call/status", json={"data": [run]})
    assert told.status_code == 200 and "complete" in httpx.get(f"{address}/gradio_api/call/status/{told.json()['event_id']}", timeout=30).text
    uploaded = httpx.post(f"{address}/gradio_api/upload", files={"files": ("reviews.csv", TASK)})
    assert uploaded.status_code == 200 and str(home) in uploaded.json()[0]
    assert handle_file is not None


# -- logins ----------------------------------------------------------------------------------------------------------------------------------


def login(address: str, password: str, **more) -> httpx.Response:
    return httpx.post(f"{address}/login", data={"username": "me", "password": password}, **more)


def told_from(caller: str, **more: str) -> dict:
    """What a proxy that is believed says."""
    return {"headers": {"X-Forwarded-For": caller, **more}}


def test_without_the_password_nothing_is_read(locked):
    for method, path in [("POST", route) for route in ROUTES if route != "/login"] + [("GET", path) for path in ("/gradio_api/heartbeat/x", "/gradio_api/queue/data?session_hash=x", "/gradio_api/info",
                         "/config", "/gradio_api/queue/status", "/gradio_api/startup-events")]:  # fmt: skip
        assert httpx.request(method, locked + path, content=b"{}" if method == "POST" else None).status_code in (401, 404), path
    page = httpx.get(locked, auth=("somebody", "of a proxy's"), cookies={"odd": '{"a": [1]}'})
    assert page.status_code == 200 and "LAB_WORDS" not in page.text and "retry-after" in page.text


def test_cookies_stay_with_our_own_pages(locked):
    cookies = login(locked, PASSWORD, **told_from("10.0.0.1")).headers.get_list("set-cookie")
    assert len(cookies) == 2 and all("SameSite=Lax" in cookie and cookie.lower().count("samesite") == 1 and "HttpOnly" in cookie for cookie in cookies)


def test_programs_log_in(locked):
    from gradio_client import Client

    client = Client(locked, auth=("me", PASSWORD), verbose=False)
    assert client.predict([], api_name="/compare") | {"groups": [], "pairs": [], "sentences": []} == {
        "runs": [],
        "differences": {},
        "groups": [],
        "pairs": [],
        "sentences": [],
    }
    assert httpx.post(f"{locked}/look/runs", json={}, auth=("me", PASSWORD)).status_code == 200
    assert httpx.post(f"{locked}/look/runs", json={}, auth=("me", "wrong-one"), **told_from("10.0.0.2")).status_code == 401


def ask(opener, address: str, page: str, body: bytes, kind: str = "application/json") -> tuple[int, bytes]:
    try:
        with opener.open(urllib.request.Request(f"{address}/look/{page}", body, {"Content-Type": kind}), timeout=30) as reply:
            return reply.status, reply.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def test_looks_of_pages_are_for_those_who_have_logged_in(locked):
    """With a password nobody is answered who has not logged in; nothing that is sent makes the app fail."""
    stranger = urllib.request.build_opener()
    for page in ("runs", "compare", "sweep", "search", "tryit", "combine", "export"):
        assert ask(stranger, locked, page, b"{}")[0] == 401
    friend = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar()))
    with pytest.raises(urllib.error.HTTPError):
        friend.open(f"{locked}/login", urllib.parse.urlencode({"username": "me", "password": "wrong"}).encode())
    assert ask(friend, locked, "runs", b"{}")[0] == 401
    friend.open(f"{locked}/login", urllib.parse.urlencode({"username": "me", "password": "a-long-password"}).encode())
    for page in ("runs", "compare", "sweep", "search", "tryit", "combine", "export"):
        status, said = ask(friend, locked, page, b"{}")
        told = json.loads(said)
        assert status == 200 and told["parts"]
        assert ask(friend, locked, page, json.dumps({"seen": told["seen"]}).encode())[0] == 204, "nothing has changed"
    for body, status in (
        (b"", 400),
        (b"{", 400),
        (b"[" * 60_000, 400),
        (b"x" * 70_000, 413),
        (b'{"chosen":{"run":"../../etc/passwd"}}', 200),
        (b'{"chosen":{"runs":[{}]}}', 200),
        (b"\xff", 400),
    ):
        assert ask(friend, locked, "compare", body)[0] == status, body[:40]
    assert ask(friend, locked, "runs", b"{}", "text/plain")[0] == 415
    assert ask(friend, locked, "nowhere", b"{}")[0] == 404
    assert ask(friend, locked, "runs", b"{}")[0] == 200, "the app goes on"


def test_guesses_wait(locked):
    """Also many at once, also by Authorization; others are not kept waiting, and the right password in between is."""
    mine = told_from("203.0.113.7")
    codes: list[int] = []
    threads = [threading.Thread(target=lambda: codes.append(login(locked, "wrong-password", **mine).status_code)) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert codes.count(400) <= FREE and codes.count(429) >= 20 - FREE
    late = login(locked, PASSWORD, **mine)
    assert late.status_code == 429 and int(late.headers["retry-after"]) >= 1 and "wait" in late.text
    assert httpx.post(f"{locked}/look/runs", json={}, auth=("me", PASSWORD), **mine).status_code == 429
    assert login(locked, PASSWORD, **told_from("203.0.113.8")).status_code == 200


@pytest.mark.parametrize("told, caller", [(["203.0.113.9"], "203.0.113.9"), (["1.1.1.1, 203.0.113.9"], "203.0.113.9"), (["1.1.1.1", "203.0.113.9, 10.0.0.7:443"], "203.0.113.9"),
                                          (["203.0.113.9, 10.0.0.7", "[::ffff:10.0.0.8]:80"], "203.0.113.9"), (["10.0.0.7"], "10.0.0.7"), ([" , "], "127.0.0.1"), (["1.1.1.1, unknown"], "127.0.0.1")])  # fmt: skip
def test_the_caller_is_the_last_that_is_no_proxy(told, caller):
    gate = Guard(None, Hosts("127.0.0.1"), proxies=("127.0.0.1", "10.0.0.0/8"))
    scope = {"client": ("127.0.0.1", 1), "headers": [(b"host", b"localhost"), *((b"x-forwarded-for", one.encode()) for one in told)]}
    assert gate._as_told(scope)["client"][0] == caller


def test_waits_grow_and_end():
    now = [0.0]
    throttle, waits = Throttle(lambda: now[0]), []
    for _ in range(30):
        now[0] += throttle.wait("2001:db8::1") + 0.001
        throttle.tried("2001:db8::1")
        waits.append(throttle.wait("2001:db8::2"))
    assert waits[: FREE - 1] == [0.0] * (FREE - 1) and waits[FREE - 1] < waits[FREE] < waits[FREE + 1] and max(waits) < LONGEST + 1
    assert throttle.wait("2001:db9::1") == 0.0
    throttle.right("2001:db8::1")
    assert throttle.wait("2001:db8::1") == 0.0
    for one, same in (("198.51.100.1:5000", "198.51.100.1:5001"), ("::ffff:198.51.100.2", "198.51.100.2"), ("[2001:dba::1]:80", "2001:dba::2")):
        for _ in range(FREE):
            throttle.tried(one)
        assert throttle.wait(same) > 0 and throttle.wait("::ffff:198.51.100.9") == 0.0, "how a proxy writes an address makes no other caller of it"
    for number in range(1000):
        throttle.tried(f"10.0.{number // 250}.{number % 250}")
    assert throttle.wait("192.0.2.1") > 0, "many callers together wait too"


def test_only_a_proxy_is_believed(lab, locked):
    assert (
        httpx.get(f"{lab[0]}/config", headers={"X-Forwarded-Host": "evil.test", "X-Forwarded-Proto": "https", "X-Gradio-Server": "http://evil.test"}).json()[
            "root"
        ]
        == lab[0]
    )
    assert httpx.get(locked, headers={"X-Forwarded-Host": "evil.test"}).status_code == 403
    page = httpx.get(locked, headers={"X-Forwarded-Host": "lab.example.org", "X-Forwarded-Proto": "https"})
    assert '"root":"https://lab.example.org"' in page.text


# -- sizes and patience ----------------------------------------------------------------------------------------------------------------------


def raw(address: str, data: bytes, seconds: float = 10.0) -> bytes:
    """What the app says to bytes on a socket of their own, until it closes."""
    name, _, port = address.rpartition("/")[2].partition(":")
    with socket.create_connection((name, int(port)), timeout=seconds) as line:
        with contextlib.suppress(OSError):
            line.sendall(data)
        said = b""
        with contextlib.suppress(OSError):
            while part := line.recv(65536):
                said += part
        return said


def chunked(path: str, port: str, size: int, kind: str = "application/json") -> bytes:
    """A request whose length nobody knows."""
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: {kind}\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    return head + b"".join(b"10000\r\n" + b"x" * 0x10000 + b"\r\n" for _ in range(-(-size // 0x10000))) + b"0\r\n\r\n"


@pytest.mark.parametrize(
    "path",
    [
        "/login",
        "/gradio_api/component_server",
        "/gradio_api/call/launch",
        "/gradio_api/queue/join",
        "/gradio_api/cancel",
        "/look/runs",
        "/gradio_api/upload",
        "/",
    ],
)
def test_bodies_are_limited_before_they_are_read(lab, path):
    address, port = lab[0], lab[0].rpartition(":")[2]
    limit = guard._limit("POST", path, "")
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\nContent-Length: "
    for length in (str(limit + 1), "9" * 30, "9" * 5000):
        assert (
            raw(address, f"{head}{length}\r\n\r\n".encode())
            .split(b"\r\n")[0]
            .endswith((b"413 Content Too Large", b"413 Request Entity Too Large", b"400 Bad Request"))
        ), length
    if path not in ("/", "/gradio_api/upload"):  # what is there is not read, and a file may be large
        kind = "application/x-www-form-urlencoded" if path == "/login" else "application/json"
        assert b" 413 " in raw(address, chunked(path, port, limit + 0x20000, kind)).split(b"\r\n")[0]
    assert httpx.get(f"{address}/gradio_api/app_id").status_code == 200


def test_a_body_is_not_read_before_the_password_is_known(locked):
    port = locked.rpartition(":")[2]
    for path in ("/gradio_api/upload", "/gradio_api/component_server"):
        said = raw(
            locked,
            f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: multipart/form-data; boundary=x\r\nContent-Length: 400000000\r\n\r\n".encode(),
        )
        assert b" 401 " in said.split(b"\r\n")[0], "answered, and closed, though none of the body came"


def test_real_data_files_go_in(lab):
    big = b"text,label\n" + b"a line of words,a\n" * 600_000  # 10 MB
    told = httpx.post(f"{lab[0]}/gradio_api/upload", files={"files": ("big.csv", big)}, timeout=60)
    assert told.status_code == 200


@contextlib.contextmanager
def served(app, **patience):
    """A small app on a real server with other clocks; its address, and the server."""
    import uvicorn

    port = free_port()
    protocol = type("Wire", (wire.Wire,), {"patience": wire.Patience(**patience)})
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=port, http=protocol, ws="none", lifespan="off", log_level="error", timeout_keep_alive=1))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield f"http://127.0.0.1:{port}", server
    server.should_exit = True
    thread.join(5)


async def reader(scope, receive, send):
    """Reads everything; answers with much to /much, with the length to others."""
    read = 0
    while True:
        message = await receive()
        read += len(message.get("body", b""))
        if not message.get("more_body"):
            break
    await send({"type": "http.response.start", "status": 200, "headers": []})
    for _ in range(400 if scope["path"] == "/much" else 0):
        await send({"type": "http.response.body", "body": b"x" * 65536, "more_body": True})
    await send({"type": "http.response.body", "body": str(read).encode()})


SLOW = {
    "says nothing": (b"", b""), "a slow head": (b"GET / HTTP/1.1\r\nHost: x\r\n", b"X-A: b\r\n"), "a slow body": (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n", b"x"),
    "a slow body of unknown length": (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
    "a head after an answer": (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"X"), "an answer that nobody reads": (b"GET /much HTTP/1.1\r\nHost: x\r\n\r\n", b""),
}  # fmt: skip


@pytest.mark.parametrize("kind", SLOW)
def test_slow_clients_are_let_go(kind):
    first, drop = SLOW[kind]
    with served(reader, head=0.5, body=0.5, rate=1e6, write=0.5, tick=0.1) as (address, server):
        name, _, port = address.rpartition("/")[2].partition(":")
        with socket.create_connection((name, int(port))) as line:
            line.sendall(first)
            until = time.monotonic() + 10
            with contextlib.suppress(OSError):
                while server.server_state.connections and time.monotonic() < until or not first and time.monotonic() < until - 9.5:
                    line.sendall(drop)
                    time.sleep(0.1)
            assert not server.server_state.connections and time.monotonic() < until
        assert httpx.post(address, content=b"x" * 1000).text == "1000", "others are answered"


def test_connections_are_numbered():
    with served(reader, connections=3) as (address, server):
        name, _, port = address.rpartition("/")[2].partition(":")
        lines = [socket.create_connection((name, int(port))) for _ in range(3)]
        time.sleep(0.2)
        assert b" 503 " in raw(address, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").split(b"\r\n")[0]
        for line in lines:
            line.close()
        time.sleep(0.3)
        assert httpx.get(address).status_code == 200


def test_one_address_does_not_take_every_connection():
    """Counted for addresses that are not this machine's own, nor a proxy's."""

    class Line:
        def __init__(self, peer):
            self.peer, self.closed, self.written = peer, False, b""

        def get_extra_info(self, name, default=None):
            return (self.peer, 1) if name in ("peername", "sockname") else default

        def write(self, data):
            self.written += data

        def close(self):
            self.closed = True

        is_closing, abort = (lambda self: self.closed), close

    async def connect(peers):
        import uvicorn

        config = uvicorn.Config(reader, lifespan="off")
        config.load()
        protocol = type("Wire", (wire.Wire,), {"patience": wire.Patience(each=2), "trusted": ("10.9.0.0/16",), "callers": wire.Counter()})
        state = SimpleNamespace(connections=set(), tasks=set(), default_headers=[], total_requests=0)
        made = [(protocol(config, state, {}), Line(peer)) for peer in peers]
        for one, line in made:
            one.connection_made(line)
        told = [line.closed for _, line in made]
        for one, _ in made:
            one.connection_lost(None)
        assert not protocol.callers
        return told

    told = asyncio.run(connect(["192.0.2.1"] * 4 + ["192.0.2.2"] + ["127.0.0.1"] * 4 + ["10.9.1.1"] * 4))
    assert told == [False, False, True, True, False] + [False] * 8


def server_function(address: str, name: str) -> int:
    """The component that has a function of the server."""
    return next(part["id"] for part in httpx.get(f"{address}/config").json()["components"] if name in str(part["props"].get("server_fns", "")))


def test_many_plans_keep_no_knob_waiting(lab):
    """Thirty pages ask for plans at once; a turned knob is answered meanwhile."""
    address, _ = lab
    plan, turn = server_function(address, "plan"), server_function(address, "turn")
    draft = {"model": "minilm-l6", "task": "sentiment-rt", "method": "lora", "training": {"steps": 150}, "seed": 0}

    def ask(number):
        with contextlib.suppress(httpx.HTTPError):
            asked = {"draft": {**draft, "training": {"steps": 150, "batch_size": number % 6 + 1}}, "topic": f"page-{number}", "turn": 1, "language": "en"}
            httpx.post(
                f"{address}/gradio_api/component_server", json={"data": asked, "component_id": plan, "session_hash": f"p{number}", "fn_name": "plan"}, timeout=2
            )

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(30)]
    for thread in threads:
        thread.start()
    time.sleep(0.5)
    began = time.monotonic()
    told = httpx.post(
        f"{address}/gradio_api/component_server",
        json={"data": {"draft": draft, "language": "en", "seq": 1}, "component_id": turn, "session_hash": "me", "fn_name": "turn"},
        timeout=60,
    )
    took = time.monotonic() - began
    assert told.status_code == 200 and "parts" in told.json() and took < 30, took
    for thread in threads:
        thread.join()


# -- the guard by itself ---------------------------------------------------------------------------------------------------------------------


def through(gate: Guard, path: str = "/", method: str = "GET", body: bytes = b"", **headers: str) -> tuple[int, dict[str, str], dict]:
    """(status, headers, the scope that the app saw) of one request."""
    seen: dict = {}

    async def app(scope, receive, send):
        seen.update(scope)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    gate.app, said = app, []
    scope = {"type": "http", "method": method, "path": path, "raw_path": path.encode(), "client": ("127.0.0.1", 5), "scheme": "http",
             "headers": [(key.replace("_", "-").encode(), value.encode()) for key, value in {"host": "127.0.0.1", **headers}.items()]}  # fmt: skip

    async def receive():
        return {"type": "http.request", "body": body}

    async def send(message):
        said.append(message)

    asyncio.run(gate(scope, receive, send))
    return said[0]["status"], {key.decode(): value.decode() for key, value in said[0]["headers"]}, seen


def test_under_a_path_of_a_proxy():
    """Whether or not the proxy takes its path off."""
    gate = Guard(None, Hosts("127.0.0.1"), root="/lab")
    assert through(gate, "/lab/runs")[2]["path"] == through(gate, "/runs")[2]["path"] == "/runs"
    assert through(gate, "/lab")[:2] == (308, {**through(gate, "/lab")[1], "location": "/lab/"})
    assert (
        through(gate, "/lab/gradio_api/runs")[0] == through(gate, "/lab/lab/gradio_api/runs")[0] == 404
        and through(gate, "/labyrinth")[2]["path"] == "/labyrinth"
    )


def test_a_space_may_be_shown_by_its_host(monkeypatch):
    monkeypatch.setenv("SPACE_HOST", "me-lab.hf.space")
    asked = settings.read({"host": "0.0.0.0", "anyone": True})
    assert asked.root_path == "https://me-lab.hf.space" and Hosts(asked.host, asked.allow_hosts).knows("me-lab.hf.space")
    frame = {"sec_fetch_site": "cross-site", "sec_fetch_mode": "navigate", "sec_fetch_dest": "iframe"}
    status, headers, _ = through(Guard(None, Hosts("127.0.0.1"), framed="https://huggingface.co"), "/", **frame)
    assert status == 200 and headers["content-security-policy"] == "frame-ancestors 'self' https://huggingface.co"
    assert through(Guard(None, Hosts("127.0.0.1")), "/", **frame)[0] == 403


# -- memory ----------------------------------------------------------------------------------------------------------------------------------


def resident(address: str) -> int:
    """Bytes of memory of the process that listens on an address's port."""
    import psutil

    port = int(address.rpartition(":")[2])
    return (
        next(
            child
            for child in psutil.Process().children(recursive=True)
            if any(line.laddr and line.laddr.port == port and line.status == "LISTEN" for line in child.net_connections())
        )
        .memory_info()
        .rss
    )


def use(address: str, calls: int, looks: int) -> None:
    """Calls of the API, each from a program of its own whose results nobody fetches or somebody does, and looks of pages of their own."""
    with httpx.Client(base_url=address, timeout=60) as line:
        for number in range(calls):
            told = line.post("/gradio_api/call/compare", json={"data": [[]]})
            assert told.status_code == 200, told.text
            if number % 2:
                line.get(f"/gradio_api/call/compare/{told.json()['event_id']}")
        for number in range(looks):
            assert line.post("/gradio_api/run/compare", json={"data": [[]], "session_hash": f"page-{number}"}).status_code == 200
            assert line.post("/look/runs", json={"chosen": {"words": str(number)}, "chose": True}).status_code == 200


@pytest.mark.slow
def test_memory_stays(tmp_path):
    """10,000 calls and 1,000 looks; the figure is printed."""
    with serving(tmp_path / "home") as address:
        use(address, 1000, 200)
        before = resident(address)
        use(address, 10_000, 1000)
        grown = (resident(address) - before) / 1e6
    print(json.dumps({"calls": 10_000, "looks": 1000, "grown_mb": round(grown, 1)}))
    assert grown < 50


def test_sessions_are_few_and_small(lab):
    """The default suite's share of it: what grows with each call is bounded."""
    use(lab[0], 60, 20)
    before = resident(lab[0])
    use(lab[0], 100, 40)
    assert (resident(lab[0]) - before) / 140 < 0.1e6, "gradio by itself keeps 0.24 MB a call"


def test_settings_refuse_as_refusals():
    with pytest.raises(Refusal):
        settings.read({"auth": "me"})
