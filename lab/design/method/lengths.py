"""How long inputs may be beside what a method takes of a model's positions: one answer for launch, planner and tasks.

Example: 20 virtual tokens on BERT, which has 512 positions, leave 492 for an input.
"""

from __future__ import annotations

from lab.design.body.anatomy import Anatomy
from lab.design.method.delta import Method
from lab.design.plain.refusal import Refusal

SHORTEST = 4  # tokens of the longest input, at least


def room_beside(taken: int, positions: int | None, field: str = "method") -> int | None:
    """Positions that are left for an input; None where they have no end. Raises Refusal where they are fewer than `SHORTEST`."""
    if positions is None:
        return None
    if positions - taken < SHORTEST:
        raise Refusal(
            "The method takes {taken} of the model's {positions} positions, which leaves no room for an input; make its rank smaller.",
            field,
            taken=taken,
            positions=positions,
        )
    return positions - taken


def require_readable(body: Anatomy, asked: int | None) -> None:
    """Refusal where a run asks for longer inputs than the model has positions: they would be cut there, whatever was asked for."""
    if asked is not None and body.positions is not None and asked > body.positions:
        raise Refusal(
            "This model reads at most {positions} tokens, so an input of {asked:,} would be cut: make the longest input at most {positions}.",
            "training.max_length",
            positions=body.positions,
            asked=asked,
        )


def room_for_inputs(method: Method, body: Anatomy, asked: int | None, own: int) -> int | None:
    """The longest input beside a method's positions, in tokens; None where there is no end.

    `asked`: the run's longest input, `own` the task's, where the run names none. An input that the model could read but for the method is
    not cut in silence: Refusal at the rank. A task longer than the model reads is cut to what is left, as it is without a method.
    """
    taken = method.positions_taken
    widest = max(range(len(method.deltas)), key=lambda index: method.deltas[index].rank * method.takes_positions(index), default=0)
    field = f"deltas.{widest}.rank"
    positions = body.positions
    room = room_beside(taken, positions, field)
    wanted = asked or own
    if room is not None and positions is not None and taken and room < wanted and (asked or own <= positions):
        raise Refusal("The method takes {taken} of the model's {positions} positions, which leaves {room} for inputs of up to {wanted} tokens: make its rank smaller, or the longest input (max_length) at most {room}.", field, taken=taken, positions=positions, room=room, wanted=wanted)  # fmt: skip
    return room
