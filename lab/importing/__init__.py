"""Bringing an adapter in: a folder of PEFT, of AdapterHub's library or of a lab elsewhere, a zip of one, or its hub id, as a run of this lab.

    with opened("their-adapter") as folder:          # or a zip, or owner/name
        found = read(folder, task="sentiment-rt")     # a spec with the method as a point in the space, its tensors, its head
    keep(checked, found)                              # the run, which is over and has no numbers: nothing was trained here

`import_adapter` does all of it. Importing this room imports no torch.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

from lab.importing.folders import is_adapter, opened
from lab.importing.keeping import keep
from lab.importing.reading import Imported, read
from lab.models import resolve
from lab.runs import Run, default
from lab.verbs import check, inventory_of

FORMATS = ("peft", "peft-lora", "adapterhub", "lab")  # of lab.export that come back; docs/export.md says why the others do not

__all__ = ["FORMATS", "Imported", "import_adapter", "is_adapter", "keep", "opened", "read"]


def import_adapter(source: str | Path, *, task: str = "", model: str = "", revision: str = "", name: str = "", tags: Sequence[str] = ()) -> Run:
    """Bring an adapter in that was trained elsewhere: a folder of PEFT, of AdapterHub's library or of a lab, a zip of one, or a hub id; the Run, which is over.

    Its method is a point in the space, so that it can be tried, evaluated, compared, combined, trained further and exported as any other run; it has no
    numbers, since nothing was measured. `task`, `model`: where the folder does not say them. `revision`: of a hub id. Raises Refusal, and keeps nothing.
    """
    with opened(str(source), revision) as folder:
        found = read(folder, task, model, name, list(tags))
        spec = check(found.spec, queued=False)
        if not name:  # what was exported here is named as its run, and each should be found by its name
            taken = {run.name for run in default().store.list()}
            free = (each for number in itertools.count(1) if (each := f"{spec.name} {number}" if number > 1 else spec.name) not in taken)
            spec = spec.model_copy(update={"name": next(free)})
        return default().store.get(keep(spec, found, inventory_of(resolve(spec.model)).total))
