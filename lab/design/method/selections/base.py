"""What a selection is: which of the model's own weights train, how many they are, and what stands of it on pages.

A selection is one file in this folder with its options; the engine's select.py finds the weights, and its schedules act between steps.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar

from lab.design.plain.message import word
from lab.design.plain.options import Options
from lab.design.plain.refusal import Refusal

if TYPE_CHECKING:
    from lab.design.body.anatomy import Anatomy
    from lab.design.body.model import Inventory


class SelectionOptions(Options):
    """Base of all selections; a subclass has a field `what` of one literal."""

    counted: ClassVar[str]  # what its weights are called in a count
    words: ClassVar[str]  # and in a sentence
    weights: ClassVar[str] = "all"  # of the model's own: all, bias, norm, or "" for none
    nothing: ClassVar[str] = ""  # the sentence for a model that has none of them
    beside_deltas: ClassVar[bool] = False  # whether a method may have deltas too
    layers_alone: ClassVar[bool] = False  # nothing trains outside the layers of `lit`
    draws: ClassVar[bool] = False  # some layers at a time
    masks: ClassVar[bool] = False  # a difference to the weights, with gates of its own
    entries: ClassVar[bool] = False  # single entries of weights, in tensors of their own
    in_own_type: ClassVar[bool] = True  # trained in the adapter's type, not in that of the model
    peft_type: ClassVar[str] = ""
    if TYPE_CHECKING:

        @property
        def what(self) -> str: ...

    @property
    def looks(self) -> bool:
        """Whether it looks at rows of the training data before the first step."""
        return False

    @property
    def uneven(self) -> bool:
        """Whether layers may differ in what trains in them."""
        return self.draws or self.layers_alone

    @property
    def matrices(self) -> bool:
        """Whether whole matrices of the layers train."""
        return self.weights == "all"

    @property
    def head_alone(self) -> bool:
        """Whether nothing of the model trains, so that there must be a new task head."""
        return not self.weights

    @property
    def changes_later(self) -> bool:
        """Whether what trains changes during the run."""
        return self.draws or self.masks

    def problems(self, deltas: bool) -> Iterator[Refusal]:
        """What it cannot stand beside; `deltas`: whether the method has any."""
        if deltas and not self.beside_deltas:
            yield Refusal("A delta stands in for training {words}: take the deltas away, or select only bias or norm.", "select", words=word(self.words))

    def problems_on(self, body: Anatomy) -> Iterator[Refusal]:
        """What does not fit this model."""
        return iter(())

    def count(self, inventory: Inventory, body: Anatomy) -> tuple[int, int, int]:
        """(trainable, those of them that are biases, what still trains at the end), without a task head."""
        raise NotImplementedError

    def rate_of_gates(self, lr: float) -> float:
        """Learning rate of gates on its weights, where what else trains has `lr`."""
        return lr

    def in_peft(self, body: Anatomy) -> str:
        """The PEFT type that holds it on this model, "" for none; a `Refusal`, without a full stop, where one would with other options."""
        return self.peft_type

    def latex(self) -> str:
        """The equation, with the current numbers."""
        raise NotImplementedError

    def look(self, kind: str, place: str = "") -> str:
        """The figure's class for a box of the model: chosen, sparse, biased or frozen. `kind`: linear, norm or other; `place`: a projection's."""
        return "chosen"

    def lit(self, layers: int) -> set[int]:
        """The layers of a stack in which something trains, of so many."""
        return set(range(layers))
