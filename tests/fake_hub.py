"""A small Hugging Face hub on 127.0.0.1: folders served as repositories, by the few addresses that huggingface_hub and datasets ask for.

    with hub({"acme/tiny": Repo("models", folder)}) as (address, asked): ...     # run the client with HF_ENDPOINT=address

A repository may be `gated`, and may have `revisions` beside main: name → folder. Whatever is not there is answered as the real hub does, with
the error codes that its client looks at (X-Error-Code). `asked` lists the requests.

    with hub(repos, accounts={"hf_w": Account("me")}, room=folder, faults={"/commit/": 409}) as (address, asked):    # it takes files, too

Who shows the token of an account may make repositories under its name, whose files lie in `room`, and send files to them, small ones in the commit and
weights (*.safetensors, *.gguf) by LFS before it. A commit onto another state than the repository's is answered with 412, a request whose address holds a
key of `faults` with that status.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import threading
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


@dataclass
class Repo:
    """A repository of one kind: models or datasets."""

    kind: str
    main: Path
    revisions: dict[str, Path] = field(default_factory=dict)
    gated: bool = False
    private: bool = False

    def commits(self) -> dict[str, Path]:
        """Folders by commit: a hash of the revision's name and of its files."""
        return {self.commit(name): folder for name, folder in {"main": self.main, **self.revisions}.items()}

    def commit(self, name: str) -> str:
        folder = {"main": self.main, **self.revisions}[name]
        state = "".join(f"{path.relative_to(folder)}{path.stat().st_size}" for path in sorted(folder.rglob("*")))
        return hashlib.sha1(f"{name}{state}".encode()).hexdigest()

    def find(self, revision: str) -> tuple[str, Path] | None:
        """(commit, folder) of a branch, tag or commit."""
        named = {"main": self.main, **self.revisions}
        if revision in named:
            return self.commit(revision), named[revision]
        return (revision, self.commits()[revision]) if revision in self.commits() else None


@dataclass
class Account:
    """Whose a token is. `role`: write or read."""

    name: str
    role: str = "write"
    orgs: tuple[str, ...] = ()


LARGE = (".safetensors", ".gguf")


@contextlib.contextmanager
def hub(
    repos: dict[str, Repo], accounts: dict[str, Account] | None = None, room: Path | None = None, faults: dict[str, int] | None = None
) -> Iterator[tuple[str, list[str]]]:
    """(address, requests so far) of a hub with these repositories."""
    asked: list[str] = []
    large: dict[str, bytes] = {}  # by SHA-256

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: Any) -> None:
            pass

        def do_HEAD(self) -> None:
            self.answer()

        def do_GET(self) -> None:
            self.answer()

        def do_POST(self) -> None:
            self.answer()

        def do_PUT(self) -> None:
            self.answer()

        def account(self) -> Account | None:
            return (accounts or {}).get(self.headers.get("Authorization", "").removeprefix("Bearer "))

        def body(self) -> bytes:
            if self.headers.get("Transfer-Encoding") != "chunked":
                return self.rfile.read(int(self.headers.get("Content-Length") or 0))
            parts = []
            while size := int(self.rfile.readline(), 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)

        def answer(self) -> None:
            body = self.body()
            asked.append(f"{self.command} {self.path}")
            for part, status in (faults or {}).items():
                if part in self.path:  # with words that a client must not repeat
                    return self.refuse(status, "", f"No: {self.headers.get('Authorization')}")
            if self.writes(urllib.parse.urlsplit(self.path).path, body):
                return None
            path = urllib.parse.unquote(urllib.parse.urlsplit(self.path).path).strip("/").split("/")
            kind, api = "models", path[0] == "api"
            if api:
                kind, path = path[1], path[2:]
            elif path[0] == "datasets":
                kind, path = "datasets", path[1:]
            repo = repos.get("/".join(path[:2]))
            if repo is None or repo.kind != kind or repo.private and not self.may_write(repo):
                return self.refuse(404 if api else 401, "RepoNotFound", "Repository not found")
            if repo.gated and not (api and len(path) == 2):
                return self.refuse(403, "GatedRepo", f"Access to {kind} {'/'.join(path[:2])} is restricted: it is a gated repo.")
            self.of(repo, "/".join(path[:2]), path[2:], body, api)
            return None

        def may_write(self, repo: Repo) -> bool:
            name, me = next(name for name, each in repos.items() if each is repo), self.account()
            return me is not None and name.partition("/")[0] in (me.name, *me.orgs)

        def writes(self, path: str, body: bytes) -> bool:
            """Whether it was a request of somebody who sends files, which is answered."""
            me, parts = self.account(), path.strip("/").split("/")
            if path == "/api/whoami-v2":
                self.say(
                    {"name": me.name, "type": "user", "orgs": [{"name": org} for org in me.orgs], "auth": {"accessToken": {"role": me.role}}}
                ) if me else self.refuse(401, "", "Invalid credentials in Authorization header")
            elif path == "/api/validate-yaml":
                self.say({"warnings": [], "errors": []})
            elif path == "/api/repos/create":
                asks = json.loads(body)
                name = f"{asks.get('organization') or (me and me.name)}/{asks['name']}"
                if not me or me.role != "write" or name.partition("/")[0] not in (me.name, *me.orgs):
                    self.refuse(403 if me else 401, "", "You don't have the rights to create a model under this namespace")
                elif name in repos:
                    self.refuse(409, "", "You already created this model repo")
                else:
                    assert room is not None
                    (room / name).mkdir(parents=True)
                    (room / name / ".gitattributes").write_text("*.safetensors filter=lfs diff=lfs merge=lfs -text\n")
                    repos[name] = Repo("models", room / name, private=asks.get("visibility") == "private" or bool(asks.get("private")))
                    self.say({"url": f"http://{self.headers['Host']}/{name}", "name": name})
            elif path.startswith("/lfs/") and self.command == "PUT":
                large[parts[1]] = body
                self.say({})
            elif path.endswith("/info/lfs/objects/batch"):
                here = f"http://{self.headers['Host']}/lfs"
                self.say(
                    {
                        "transfer": "basic",
                        "objects": [{**each, "actions": {"upload": {"href": f"{here}/{each['oid']}"}}} for each in json.loads(body)["objects"]],
                    }
                )
            elif len(parts) > 4 and parts[4] in ("preupload", "commit"):
                repo = repos.get("/".join(parts[2:4]))
                if repo is None or not self.may_write(repo) or me is None or me.role != "write":
                    self.refuse(403 if repo else 404, "" if repo else "RepoNotFound", "Forbidden")
                elif parts[4] == "preupload":
                    self.say(
                        {
                            "files": [
                                {"path": each["path"], "uploadMode": "lfs" if each["path"].endswith(LARGE) else "regular", "shouldIgnore": False, "oid": None}
                                for each in json.loads(body)["files"]
                            ]
                        }
                    )
                else:
                    self.commit(repo, "/".join(parts[2:4]), [json.loads(line) for line in body.splitlines()])
            else:
                return False
            return True

        def commit(self, repo: Repo, name: str, lines: list[dict[str, Any]]) -> None:
            head = next(line["value"] for line in lines if line["key"] == "header")
            if head.get("parentCommit") not in (None, repo.commit("main")):
                return self.refuse(412, "", "A commit has happened since. Please refresh and try again.")
            for line in lines:
                value, key = line["value"], line["key"]
                if key != "header":
                    target = repo.main / value["path"]
                    target.parent.mkdir(parents=True, exist_ok=True)
                    target.write_bytes(base64.b64decode(value["content"]) if key == "file" else large[value["oid"]])
            self.say({"commitUrl": f"http://{self.headers['Host']}/{name}/commit/{repo.commit('main')}", "commitOid": repo.commit("main")})
            return None

        def of(self, repo: Repo, name: str, rest: list[str], body: bytes, api: bool) -> None:
            verb, rest = (rest[0], rest[1:]) if rest else ("revision", ["main"])
            for cut in (3, 1):  # refs/convert/parquet has slashes
                found = repo.find("/".join(rest[:cut]))
                if found:
                    break
            else:
                return self.refuse(404, "RevisionNotFound", "Revision not found")
            (commit, folder), inside = found, "/".join(rest[cut:])
            files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
            if api and verb == "revision":
                return self.say({"_id": "1", "id": name, "sha": commit, "private": repo.private, "gated": repo.gated, "disabled": False, "downloads": 0, "likes": 0, "tags": [], "cardData": {},
                                 "siblings": [{"rfilename": str(path.relative_to(folder)), "size": path.stat().st_size} for path in files]})  # fmt: skip
            if api and verb == "paths-info":
                wanted = urllib.parse.parse_qs(body.decode()).get("paths", []) if not body.startswith(b"{") else json.loads(body)["paths"]
                return self.say([entry(path, folder) for path in files if str(path.relative_to(folder)) in wanted])
            if api and verb == "tree":
                deep = "recursive=true" in self.path.lower()
                listed = list((folder / inside).rglob("*") if deep else (folder / inside).glob("*"))
                return self.say([entry(path, folder) for path in sorted(listed)]) if listed else self.refuse(404, "EntryNotFound", "Entry not found")
            if verb == "resolve" and (folder / inside).is_file():
                return self.say((folder / inside).read_bytes(), commit)
            self.refuse(404, "EntryNotFound", "Entry not found", commit)
            return None

        def say(self, answer: Any, commit: str = "") -> None:
            data = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
            start = 0
            if given := self.headers.get("Range"):
                start, _, end = given.removeprefix("bytes=").partition("-")
                start = int(start)
                data = data[start : int(end) + 1 if end else None]
            self.send_response(206 if given else 200)
            self.send_header("Content-Type", "application/octet-stream" if isinstance(answer, bytes) else "application/json")
            self.send_header("Content-Length", str(len(data)))
            if commit:
                self.send_header("X-Repo-Commit", commit)
                self.send_header("ETag", f'"{hashlib.sha1(answer).hexdigest()}"')
                self.send_header("Accept-Ranges", "bytes")
            if given:
                self.send_header("Content-Range", f"bytes {start}-{start + len(data) - 1}/{len(answer)}")
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(data)

        def refuse(self, status: int, code: str, words: str, commit: str = "") -> None:
            self.send_response(status)
            if commit:  # of the revision that lacks the file, by which clients learn what a branch is at
                self.send_header("X-Repo-Commit", commit)
            self.send_header("X-Error-Code", code)
            self.send_header("X-Error-Message", words)
            self.send_header("Content-Length", "0")
            self.end_headers()

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)


def entry(path: Path, folder: Path) -> dict[str, Any]:
    """A file or folder as the hub lists it."""
    if path.is_dir():
        return {"type": "directory", "path": str(path.relative_to(folder)), "size": 0, "oid": hashlib.sha1(str(path).encode()).hexdigest()}
    return {"type": "file", "path": str(path.relative_to(folder)), "size": path.stat().st_size, "oid": hashlib.sha1(path.read_bytes()).hexdigest()}
