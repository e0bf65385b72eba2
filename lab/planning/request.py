"""A question to the planner as a plain document, and its key in the cache. Torch-free.

A request is {"spec": a RunSpec's document, and what overrides it} or the arguments of `plan_shape`: {"model", "method", "batch", "tokens", ...}.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lab.design.method.named import method_of
from lab.design.plain import plugins
from lab.design.plain.refusal import Refusal
from lab.design.presets.catalogue import PRESETS

SHAPE = ("model", "method", "batch", "tokens", "target_tokens", "targets", "dtype", "adapter_dtype", "optimizer", "checkpointing", "overrides", "objective",
         "num_labels", "accumulation", "smoothing", "seed", "device", "autocast", "use_cache", "all_logits", "galore_rank", "quantisation", "others",
         "devices", "sharding")  # fmt: skip
OVER_SPEC = ("batch", "tokens", "target_tokens", "targets", "dtype", "adapter_dtype", "device")
WORDS = ("name", "summary", "paper", "family", "branch", "preset", "deviations", "training")  # of a method, which cost no memory


def check(request: Any) -> dict[str, Any]:
    """The request with unknown fields refused and its method settled. Raises Refusal."""
    if not isinstance(request, Mapping):
        raise Refusal("A question to the planner is a group of options.")
    allowed = ("spec", *OVER_SPEC) if "spec" in request else SHAPE
    for name in request:
        if name not in allowed:
            raise Refusal("The planner has no option '{name}'; it has {known}.", str(name)[:60], name=str(name)[:60], known=", ".join(allowed))
    for name in () if "spec" in request else ("model", "method", "batch", "tokens"):
        if request.get(name) is None:
            raise Refusal("'{path}' is missing.", name, path=name)
    return {name: value for name, value in request.items() if value is not None}


def key(request: Mapping[str, Any]) -> str:
    """What the answer depends on, as 40 hexadecimal digits: names of methods, runs and tags do not count, the lab's own code does."""
    seen = dict(request)
    if "spec" in seen:
        spec = dict(seen["spec"])
        spec = {name: value for name, value in spec.items() if name not in ("name", "tags")}
        seen["spec"] = {**spec, "method": _method(spec.get("method"))}
    else:
        seen["method"] = _method(seen.get("method"))
    text = json.dumps([seen, code()], sort_keys=True, default=str)
    return hashlib.sha256(text.encode("utf-8")).hexdigest()[:40]


def _method(value: Any) -> Any:
    document = method_of(value).document()
    return {name: part for name, part in document.items() if name not in WORDS}


@functools.cache
def code() -> str:
    """A print of the code that decides over memory: a plan of another version is not taken from the cache."""
    root = Path(__file__).resolve().parents[1]
    files = sorted(file for room in ("planning", "engine", "design") for file in (root / room).rglob("*.py"))
    files += [file for kind in ("models", "architectures") for file in sorted((PRESETS / kind).glob("*.yaml"))]
    files += plugins.files()
    files += [root / "tasks" / "losses.py", root / "models" / "quantising.py", root / "models" / "head.py"]
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.read_bytes())
    try:
        from importlib.metadata import version

        digest.update(f"{version('torch')} {version('transformers')}".encode())
    except ImportError:  # no metadata: the files alone
        pass
    return digest.hexdigest()[:16]
