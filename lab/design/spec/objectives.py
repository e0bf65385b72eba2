"""What a model is asked to be for a task. One object each says what the answer is made of and which class of transformers gives it.

Plain strings name them everywhere (specs, requests, exports); whoever needs to know more asks `OBJECTIVES[name]`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Labels = Literal["class", "flags", "number", "words"]


@dataclass(frozen=True)
class Objective:
    """`labels`: what a row's answer is: the number of a class, 0 or 1 for every label, a number, or token ids."""

    name: str
    labels: Labels
    auto: str  # the class of transformers
    peft: str  # its task type in PEFT
    kind: str = ""  # of models that can do it; "": whatever has a head for it
    problem: str = ""  # what transformers calls the problem of a head
    phrase: str = ""  # what a model that lacks the class cannot do

    @property
    def headed(self) -> bool:
        """Whether the answer comes from a new head."""
        return self.labels != "words"

    @property
    def named(self) -> bool:
        """Whether the head's outputs are labels with names."""
        return self.labels in ("class", "flags")

    @property
    def one_sequence(self) -> bool:
        """Whether input and answer are one sequence, whose word i is predicted at i - 1."""
        return self.kind == "decoder"

    @property
    def two_sequences(self) -> bool:
        """Whether the answer is a sequence of its own, beside the input."""
        return self.kind == "encoder-decoder"

    def outputs(self, labels: int) -> int | None:
        """Outputs of the head for so many labels; None without a head."""
        return {"class": labels, "flags": labels, "number": 1}.get(self.labels)


HEAD = {"auto": "AutoModelForSequenceClassification", "peft": "SEQ_CLS"}
OBJECTIVES: dict[str, Objective] = {
    objective.name: objective
    for objective in (
        Objective("classification", "class", **HEAD, problem="single_label_classification", phrase="classify"),
        Objective("multi_label", "flags", **HEAD, problem="multi_label_classification", phrase="give labels"),
        Objective("regression", "number", **HEAD, problem="regression", phrase="give a number"),
        Objective("seq2seq", "words", "AutoModelForSeq2SeqLM", "SEQ_2_SEQ_LM", "encoder-decoder", phrase="turn one text into another"),
        Objective("causal", "words", "AutoModelForCausalLM", "CAUSAL_LM", "decoder", phrase="continue a text"),
    )
}
IGNORED = -100  # labels that no loss looks at, as torch and transformers have it
