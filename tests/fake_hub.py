"""A small Hugging Face hub on 127.0.0.1: folders served as repositories, by the few addresses that huggingface_hub and datasets ask for.

    with hub({"acme/tiny": Repo("models", folder)}) as (address, asked): ...     # run the client with HF_ENDPOINT=address

A repository may be `gated`, and may have `revisions` beside main: name → folder. Whatever is not there is answered as the real hub does, with
the error codes that its client looks at (X-Error-Code). `asked` lists the requests.
"""

from __future__ import annotations

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


@contextlib.contextmanager
def hub(repos: dict[str, Repo]) -> Iterator[tuple[str, list[str]]]:
    """(address, requests so far) of a hub with these repositories."""
    asked: list[str] = []

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

        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            asked.append(f"{self.command} {self.path}")
            path = urllib.parse.unquote(urllib.parse.urlsplit(self.path).path).strip("/").split("/")
            kind, api = "models", path[0] == "api"
            if api:
                kind, path = path[1], path[2:]
            elif path[0] == "datasets":
                kind, path = "datasets", path[1:]
            repo = repos.get("/".join(path[:2]))
            if repo is None or repo.kind != kind:
                return self.refuse(404 if api else 401, "RepoNotFound", "Repository not found")
            if repo.gated and not (api and len(path) == 2):
                return self.refuse(403, "GatedRepo", f"Access to {kind} {'/'.join(path[:2])} is restricted: it is a gated repo.")
            self.of(repo, "/".join(path[:2]), path[2:], body, api)
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
                return self.say({"_id": "1", "id": name, "sha": commit, "private": False, "gated": repo.gated, "disabled": False, "downloads": 0, "likes": 0, "tags": [], "cardData": {},
                                 "siblings": [{"rfilename": str(path.relative_to(folder))} for path in files]})  # fmt: skip
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
