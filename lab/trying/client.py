"""Asks the child process that has the models. Torch-free; starts it with the first question and ends it when nobody asks any more."""

from __future__ import annotations

from collections.abc import Sequence

from lab.child import Child, Overtaken

__all__ = ["Overtaken", "TryClient"]

COMMAND = "lab.trying.serve"
START_SECONDS, ANSWER_SECONDS, IDLE_SECONDS = 180, 180, 300


class TryClient(Child):
    """`ask({"run", "text", "pair"})` is the child's answer. `idle`: seconds without a question after which the child and its models are let go."""

    def __init__(self, command: str | Sequence[str] = COMMAND, idle: float = IDLE_SECONDS):
        super().__init__(command, start=START_SECONDS, answer=ANSWER_SECONDS, field="run", environment={"CUDA_VISIBLE_DEVICES": ""}, idle=idle, store=True,
                         late="The model gave no answer in {seconds} s; try a shorter text or a smaller model.",
                         died="The model's process ended without an answer, twice: there may be too little memory for this model.")  # fmt: skip
