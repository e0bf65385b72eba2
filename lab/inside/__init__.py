"""What a trained adapter did inside its model: the change of each weight, of each layer's representations, and of the answers, row by row.

| module | what | needs torch |
|---|---|---|
| `weights` | spectrum of ΔW beside W's: size, effective rank, alignment, intruder dimensions | yes |
| `states` | CKA of layers with and without the method, logit lens, attention mass of slots by head | yes |
| `rows` | confusion, scores by class, least certain and worst rows, rows on which two runs disagree | no |
| `looking` | all of it for one run, kept in the run's folder | yes, in the child process of `serve` |

Nothing here runs while a run trains: it is asked for, by `lab.inside(run)`, `python -m lab inside RUN` or the page.
"""

from __future__ import annotations

import sys
import types
from typing import Any


def look_inside(run: Any, beside: Any = None, task: str = "") -> dict[str, Any]:
    """What `lab.inside.looking.look` tells of a run (a Run or its id), or, `beside` another run of its task, what they answer differently. Raises Refusal."""
    from lab.inside.looking import disagree, look
    from lab.runs import default

    one, other = (default().store.find(each if isinstance(each, str) else each.id).id if each else "" for each in (run, beside))
    return disagree(one, other, task) if other else look(one, task)


class _Room(types.ModuleType):
    """`lab.inside` is this module, and `lab.inside(run)` looks."""

    def __call__(self, run: Any, beside: Any = None, task: str = "") -> dict[str, Any]:
        return look_inside(run, beside, task)


sys.modules[__name__].__class__ = _Room
