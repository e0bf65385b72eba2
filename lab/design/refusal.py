"""The one way the lab says no: a sentence, and the field that it is about."""


class Refusal(ValueError):
    """A request that cannot be met, said in one sentence that tells what to change.

    `field` is the dotted path of the option at fault (`deltas.0.rank`, `training.lr`), or "" where no single field is.
    """

    def __init__(self, sentence: str, field: str = ""):
        super().__init__(sentence)
        self.sentence = sentence
        self.field = field

    def __str__(self) -> str:
        return self.sentence
