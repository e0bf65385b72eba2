"""Which launcher starts workers: LAB_LAUNCHER."""

from __future__ import annotations

import os

from lab.design.plain.refusal import Refusal
from lab.runs.launcher import Launcher
from lab.runs.local import Local


def chosen() -> Launcher:
    """The launcher that LAB_LAUNCHER names: process (the default) or ray. Refusal: anything else, or no Ray there."""
    name = os.environ.get("LAB_LAUNCHER", "").strip() or "process"
    if name == "process":
        return Local()
    if name != "ray":
        raise Refusal("LAB_LAUNCHER must be process or ray, not {name}.", "LAB_LAUNCHER", name=repr(name[:40]))
    from lab.runs.ray_launcher import Cluster

    return Cluster()
