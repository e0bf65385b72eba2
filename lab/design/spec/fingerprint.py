"""What decides over the result of a run, as a short hash: kept results are those of a spec while their fingerprints agree."""

from __future__ import annotations

import hashlib
import json

from lab.design.spec.run import RunSpec


def fingerprint(spec: RunSpec) -> str:
    """12 hexadecimal digits. Words about the method do not count, and an option that came later counts only where it is used."""
    document = spec.model_dump(mode="json", exclude_defaults=True)
    method = {key: document["method"].get(key) for key in ("deltas", "select", "training")}
    text = json.dumps([document["model"], document["task"], document["training"], spec.seed, method], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]
