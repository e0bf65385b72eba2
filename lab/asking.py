"""Asks the child processes that open a run with its model. Torch-free: a child starts with the first question and ends when nobody asks any more.

child = answering()
child.ask({"run": "k7qm2x9b", "text": "..."})
"""

from __future__ import annotations

from collections.abc import Sequence

from lab.child import Child

START_SECONDS = 180  # torch is imported
DIED = "The model's process ended without an answer, twice: there may be too little memory for this model."


def answering(command: str | Sequence[str] = "lab.trying.serve", idle: float = 300) -> Child:
    """`ask({"run", "text", "pair"})`: a run's answer; `ask({"combination", ...})`: a combination's. `idle`: seconds without a question after which it is let go."""
    return _models(command, 180, idle, late="The model gave no answer in {seconds} s; try a shorter text or a smaller model.")


def looking(command: str | Sequence[str] = "lab.inside.serve", idle: float = 120) -> Child:
    """`ask({"run", "task"})`: a look inside a run; `ask({"run", "other"})`: what two runs answer differently."""
    return _models(command, 600, idle, late="The look took longer than {seconds} s and was given up; a smaller model is quicker.")


def _models(command: str | Sequence[str], answer: float, idle: float, late: str) -> Child:
    """A child with the store and the processor, whatever accelerators train meanwhile."""
    return Child(
        command, start=START_SECONDS, answer=answer, field="run", environment={"CUDA_VISIBLE_DEVICES": ""}, idle=idle, store=True, late=late, died=DIED
    )
