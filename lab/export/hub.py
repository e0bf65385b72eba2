"""Pushing an export to the Hugging Face hub: looked at first, and sent only when somebody has seen what would go where.

    push = prepare("k7qm2x9b", "me/my-adapter", "peft")     # the files are written and the repository is looked at; nothing is sent
    push.document(); push.notes()                           # where it goes, who may read it, the files with their sizes, what is there already
    push.send()                                             # the address of the commit

The token is the environment's (HF_TOKEN) or the one that `hf auth login` keeps, which huggingface_hub finds by itself: the lab neither keeps it nor
writes it anywhere, and no sentence quotes what the hub answers. Importing this imports neither torch nor huggingface_hub.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

import lab
from lab.design.plain import numbers
from lab.design.plain.message import Note, listed, some, word
from lab.design.plain.refusal import Refusal
from lab.models.places import offline

Progress = Callable[[int, int, str], None]  # bytes sent, bytes in all, the file that goes now
SIDECAR = "delta_lab.json"  # what an export of the lab has, by which one is known
LARGEST_SIDECAR = 4 * 1024**2
MADE_BY_HUB = (".gitattributes",)
ADDRESS = re.compile(r"(?:https?://[^/\s]+/)?([A-Za-z0-9][\w.-]{0,95})(?:/([A-Za-z0-9][\w.-]{0,95}))?/?")
ROLES_THAT_READ = ("read",)


@dataclass(frozen=True)
class Target:
    """A repository of models as it is now. `head`: its commit, None where it is not there; `files`: names in it; `export`: what its delta_lab.json says."""

    repo: str
    user: str
    public: bool
    head: str | None = None
    files: tuple[str, ...] = ()
    export: dict[str, str] | None = None

    @property
    def address(self) -> str:
        """Of its page."""
        from huggingface_hub import constants

        return f"{constants.ENDPOINT}/{self.repo}"


@dataclass
class Push:
    """An export in a folder that could be sent to a target. `sent`: the address of the commit, "" before."""

    target: Target
    folder: Path
    run: str
    name: str
    format: str
    sent: str = ""
    files: list[tuple[str, int]] = field(init=False)  # name, bytes

    def __post_init__(self) -> None:
        found = [path for path in sorted(self.folder.rglob("*")) if path.is_file() and not path.is_symlink()]
        self.files = [(path.relative_to(self.folder).as_posix(), path.stat().st_size) for path in found]

    @property
    def bytes(self) -> int:
        """Of all files."""
        return sum(size for _, size in self.files)

    @property
    def replaced(self) -> list[str]:
        """Files of the repository that would be replaced."""
        return [name for name, _ in self.files if name in self.target.files]

    @property
    def foreign(self) -> bool:
        """Whether files would be replaced that no export of a lab wrote."""
        return bool(self.replaced) and self.target.export is None

    def document(self) -> dict[str, Any]:
        """{"run", "format", "repo", "address", "user", "visibility", "exists", "files": [{"name", "bytes"}], "bytes", "replaces", "foreign", "notes", "sent"}."""
        target = self.target
        return {
            "run": self.run, "format": self.format, "repo": target.repo, "address": target.address, "user": target.user,
            "visibility": "public" if target.public else "private", "exists": target.head is not None,
            "files": [{"name": name, "bytes": size} for name, size in self.files], "bytes": self.bytes, "replaces": self.replaced, "foreign": self.foreign,
            "notes": self.notes(), "sent": self.sent,
        }  # fmt: skip

    def notes(self) -> list[str]:
        """Sentences on what is there already."""
        target, kept = self.target, sorted({*self.target.files} - {name for name, _ in self.files} - {*MADE_BY_HUB})
        if target.head is None:
            return []
        found = []
        if target.export is not None and target.export["run"] == self.run:
            found.append(Note("It holds an earlier export of this run, which this one replaces."))
        elif target.export is not None:
            found.append(Note("It holds an export of run {run}, which this one replaces.", run=target.export["run"] or word("unknown")))
        elif {*target.files} - {*MADE_BY_HUB}:
            found.append(
                Note("It did not come from a lab: {replaced} of its {count} files would be replaced.", replaced=len(self.replaced), count=len(target.files))
            )
        if kept:
            found.append(Note("These files stay there: {files}.", files=some(kept, 8)))
        return found

    def send(self, progress: Progress | None = None, *, replace: bool = False) -> str:
        """Send the files in one commit, onto the very state that was looked at; its address. `progress`: None shows huggingface_hub's own bars.

        Raises Refusal: `replace` is not said where files of others would be replaced, the repository has changed since, or the hub does not take it.
        """
        if self.sent:
            return self.sent
        if self.foreign and not replace:
            raise Refusal(
                "{repo} did not come from a lab, and {count} of its files would be replaced: say so (--replace), or choose another.",
                "repo",
                repo=self.target.repo,
                count=len(self.replaced),
            )
        made = False
        try:
            with _asking(self.target.repo):
                from huggingface_hub import CommitOperationAdd, utils

                if progress is not None:
                    utils.disable_progress_bars()
                api = _api()
                if self.target.head is None:
                    api.create_repo(self.target.repo, private=not self.target.public, repo_type="model")
                    made = True
                additions, done = [CommitOperationAdd(name, self.folder / name) for name, _ in self.files], 0
                for addition, (name, size) in zip(additions, self.files, strict=True):
                    if progress is not None:
                        progress(done, self.bytes, name)
                    api.preupload_lfs_files(self.target.repo, [addition], free_memory=False)
                    done += size
                message = f"{self.format} export of {self.name} ({self.run}) by Delta Lab {lab.__version__}"
                commit = api.create_commit(self.target.repo, additions, commit_message=message, parent_commit=self.target.head)
        except Refusal as refusal:
            left = [Note("The new repository {repo} is there, without files.", repo=self.target.repo)] if made else []
            raise Refusal(listed([refusal.sentence, *left], " "), refusal.field) from None
        if progress is not None:
            progress(self.bytes, self.bytes, "")
        self.sent = str(commit.commit_url)
        return self.sent

    def __repr__(self) -> str:
        return text_of(self.document())

    def _repr_html_(self) -> str:
        return f"<pre>{escape(text_of(self.document()))}</pre>"


def text_of(document: dict[str, Any]) -> str:
    """A push in words: where, who may read it, what goes, what is there."""
    there = "there already" if document["exists"] else "new"
    readers = "everybody can read it" if document["visibility"] == "public" else "only you and those you let in can read it"
    lines = [f"{document['address']}  ({there}, {document['visibility']}: {readers}; as {document['user']})"]
    lines += [f"  {file['name']}  {numbers.memory(file['bytes'])}" for file in document["files"]]
    lines += [f"{len(document['files'])} files, {numbers.memory(document['bytes'])}", *document["notes"]]
    return "\n".join([*lines, f"Sent: {document['sent']}" if document["sent"] else "Nothing has been sent yet."])


def prepare(run: Any, repo: str, format: str = "peft", *, adapter: str = "best", task: str = "", public: bool = False) -> Push:
    """Write a run's export and look at the repository that it could go to; nothing is sent. `repo`: me/name, or name under one's own.

    `public`: whether everybody may read it. What is cheap is refused first: the format, the token, the repository. Raises Refusal.
    """
    from lab.export import export_run, require_format
    from lab.runs import default

    found = default().store.find(run if isinstance(run, str) else run.id)
    require_format(found, format, task)
    target = look(repo, format, public)
    scratch = tempfile.TemporaryDirectory(prefix="lab-push-")
    folder = export_run(found.id, format, Path(scratch.name) / "export", adapter=adapter, task=task)
    push = Push(target, folder, found.id, found.name, format)
    weakref.finalize(push, scratch.cleanup)
    return push


def look(repo: str, format: str, public: bool = False) -> Target:
    """The repository as it is now. Raises Refusal: no token, one that only reads, a name that is none, other readers than asked for, an export in another format."""
    wanted = ADDRESS.fullmatch(str(repo).strip())
    if not wanted or ".." in wanted[0] or "--" in wanted[0]:
        raise Refusal("Name the repository as me/my-adapter, in letters, digits, '-', '_' and '.'; not '{repo}'.", "repo", repo=str(repo)[:100])
    with _asking(wanted[0]):
        from huggingface_hub import get_token

        if offline():
            raise _offline()
        if not get_token():
            raise Refusal("There is no token of the hub on this machine: run 'hf auth login', or set HF_TOKEN.", "repo")
        me = _api().whoami(cache=True)
        user = str(me.get("name") or "")
        if ((me.get("auth") or {}).get("accessToken") or {}).get("role") in ROLES_THAT_READ:
            raise Refusal("The token of {user} on this machine may only read: make one that may write, and run 'hf auth login' with it.", "repo", user=user)
        target = _as_it_is(f"{wanted[1]}/{wanted[2]}" if wanted[2] else f"{user}/{wanted[1]}", user, public)
    if target.head is not None and target.export and target.export["format"] not in ("", format):
        raise Refusal(
            "{repo} holds an export in the format {format}, and files of two formats in one repository load as neither: choose another.",
            "repo",
            repo=target.repo,
            format=target.export["format"],
        )
    return target


def _as_it_is(repo: str, user: str, public: bool) -> Target:
    from huggingface_hub.errors import RepositoryNotFoundError

    api = _api()
    try:
        info = api.model_info(repo, files_metadata=True)
    except RepositoryNotFoundError:
        return Target(repo, user, public)
    if not info.private and not public:
        raise Refusal("{repo} is there and public, so everybody could read what is pushed: say so (--public), or choose another.", "repo", repo=repo)
    if info.private and public:
        raise Refusal("{repo} is there and private: leave --public out, or change that on the hub first.", "repo", repo=repo)
    sizes = {sibling.rfilename: sibling.size or 0 for sibling in info.siblings or ()}
    export = None
    if sizes.get(SIDECAR, LARGEST_SIDECAR + 1) <= LARGEST_SIDECAR:
        with tempfile.TemporaryDirectory(prefix="lab-push-") as scratch:
            export = _about(Path(api.hf_hub_download(repo, SIDECAR, revision=info.sha, local_dir=scratch)))
    return Target(repo, user, public, info.sha, tuple(sorted(sizes)), export)


def _about(path: Path) -> dict[str, str] | None:
    """{"run", "format"} of an export's sidecar; None where it is none."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(document, dict) or "delta_lab" not in document:
        return None
    return {name: re.sub(r"[^\w-]", "", str(document.get(name) or ""))[:40] for name in ("run", "format")}


def _api() -> Any:
    from huggingface_hub import HfApi

    return HfApi(library_name="delta-lab", library_version=lab.__version__)


@contextmanager
def _asking(repo: str) -> Iterator[None]:
    """Whatever the hub's client raises becomes one sentence, which quotes nothing of the answer."""
    try:
        yield
    except Refusal:
        raise
    except Exception as error:
        raise refusal_of(error, repo) from None


STATUSES = {
    400: "The hub does not take these files for {repo}: its card or a file's name is not as the hub wants it.",
    401: "The hub does not know the token on this machine: run 'hf auth login' again, or set another HF_TOKEN.",
    402: "The hub has no room left for {repo}: its owner has used up what is free, or asks for payment.",
    403: "The token on this machine may not write to {repo}: make one that may, or choose a repository of your own.",
    404: "{repo} is not on the hub any more: look at it again.",
    409: "{repo} was made or changed meanwhile: look at it again before you push.",
    412: "{repo} was made or changed meanwhile: look at it again before you push.",
    413: "A file is larger than the hub takes.",
    429: "The hub takes no more requests of yours for now: try again in some minutes.",
}


def _offline() -> Refusal:
    return Refusal("{name} is set, so nothing is sent to the hub: unset it to push.", "repo", name=offline() or "HF_HUB_OFFLINE")


def refusal_of(error: BaseException, repo: str) -> Refusal:
    """One sentence for what huggingface_hub raised, by its kind and its status alone."""
    from huggingface_hub.errors import HFValidationError, LocalTokenNotFoundError, OfflineModeIsEnabled

    chain, seen = [], error
    while seen is not None and seen not in chain:
        chain.append(seen)
        seen = seen.__cause__ or seen.__context__
    statuses = [status for each in chain if isinstance(status := getattr(getattr(each, "response", None), "status_code", None), int)]
    if any(isinstance(each, OfflineModeIsEnabled) for each in chain):
        return _offline()
    if any(isinstance(each, LocalTokenNotFoundError) for each in chain):
        return Refusal("There is no token of the hub on this machine: run 'hf auth login', or set HF_TOKEN.", "repo")
    if any(isinstance(each, HFValidationError) for each in chain):
        return Refusal("Name the repository as me/my-adapter, in letters, digits, '-', '_' and '.'; not '{repo}'.", "repo", repo=repo[:100])
    if statuses and statuses[0] in STATUSES:
        return Refusal(STATUSES[statuses[0]], "repo", repo=repo)
    if statuses:
        return Refusal("The hub answers with an error of its own (status {status}): try again later.", "repo", status=statuses[0])
    if isinstance(error, ValueError):  # what the client itself does not take, as a card's metadata
        return Refusal(STATUSES[400], "repo", repo=repo)
    return Refusal(
        "The hub cannot be reached at {address}: check the connection.", "repo", address=os.environ.get("HF_ENDPOINT", "huggingface.co").split("@")[-1][:100]
    )
