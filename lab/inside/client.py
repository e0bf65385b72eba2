"""Asks the child process that looks inside models. Torch-free; starts it with the first question and ends it when nobody asks any more."""

from __future__ import annotations

from collections.abc import Sequence

from lab.child import Child

COMMAND = "lab.inside.serve"
START_SECONDS, ANSWER_SECONDS, IDLE_SECONDS = 180, 600, 120


class InsideClient(Child):
    """`ask({"run", "task"})` is a look, `ask({"run", "other"})` what two runs answer differently."""

    def __init__(self, command: str | Sequence[str] = COMMAND, idle: float = IDLE_SECONDS):
        super().__init__(command, start=START_SECONDS, answer=ANSWER_SECONDS, field="run", environment={"CUDA_VISIBLE_DEVICES": ""}, idle=idle, store=True,
                         late="The look took longer than {seconds} s and was given up; a smaller model is quicker.",
                         died="The process that looks inside models ended without an answer, twice: there may be too little memory for this model.")  # fmt: skip
