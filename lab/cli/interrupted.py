"""Ctrl-C: what it left behind is said, whenever it comes."""

from __future__ import annotations

import contextlib
import signal
from collections import Counter
from collections.abc import Iterator, Sequence

from lab import verbs
from lab.design.plain.refusal import Refusal

LISTED = 3


@contextlib.contextmanager
def standing(ids: Sequence[str], absent: str = "was not queued", tag: str = "") -> Iterator[None]:
    """An interrupt within carries a sentence on how these runs stand then. `absent`: what is said of one that is not in the store."""
    try:
        yield
    except KeyboardInterrupt:
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # the answer is a moment away
        try:
            sentence = _sentence(ids, absent, tag)
        finally:
            signal.signal(signal.SIGINT, before)
        raise KeyboardInterrupt(sentence) from None


def _sentence(ids: Sequence[str], absent: str, tag: str) -> str:
    from sqlalchemy.exc import SQLAlchemyError

    try:
        store = verbs.queue().store
        there = store.known(ids)
        states = {run_id: store.get(run_id).state if run_id in there else "" for run_id in ids}
    except (Refusal, SQLAlchemyError):
        return "Interrupted, and the store cannot be read just now: python -m lab runs says later what there is."
    if not there and absent == "was not queued":
        return "Interrupted; nothing was queued."
    if len(ids) > LISTED:
        counted = ", ".join(f"{number} {state or absent.removeprefix('is ').removeprefix('was ')}" for state, number in Counter(states.values()).items())
        named = f" with the tag {tag}" if tag else ""
        return f"Interrupted; of {len(ids)} runs{named}: {counted}. python -m lab runs lists them."
    listed = "; ".join(f"run {run_id} {f'is {state}' if state else absent}" for run_id, state in states.items())
    return f"Interrupted; {listed}." + (
        f" python -m lab stop {' '.join(there)} ends {'it' if len(there) == 1 else 'them'}."
        if any(s in ("queued", "starting", "running") for s in states.values())
        else ""
    )
