"""The child process that reads files of strangers: `python -m lab.tasks.serve`, asked by lab.tasks.outside, a JSON document a line. Torch-free.

{"id": 1, "verb": "preview", "path": "/.../reviews.csv", "choices": {"family": "classification"}, "environment": {"LAB_HOME": ...}}
{"id": 1, "preview": {...}}    or    {"id": 1, "refusal": {...}}    or    {"id": 1, "gone": "/.../reviews.csv"}
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from lab.child import serve
from lab.design.body.model import ModelSpec
from lab.design.spec.task import TaskSpec
from lab.tasks import gathering, importing, suitability


def answer(question: dict[str, Any]) -> dict[str, Any]:
    """What the verb of lab.tasks.importing says, as plain data. Raises Refusal."""
    for name, value in question["environment"].items():
        os.environ.pop(name, None) if value is None else os.environ.__setitem__(name, value)
    verb, path, choices = question["verb"], question["path"], question["choices"]
    try:
        if verb == "outline":
            return {"outline": importing.outline(path, **choices)}
        if verb == "suit":
            suitability.require_suited(
                TaskSpec.model_validate(choices["task"]), ModelSpec.model_validate(choices["model"]), Path(choices["folder"]), choices["objective"]
            )
            return {"suits": True}
        if verb == "bring":
            return {"brought": gathering.bring(path, **choices)}
        if verb == "commit":
            return {"kept": importing.commit(path, **choices).name}
        found = importing.preview(path, **choices)
        return {"preview": {**{name: getattr(found, name) for name in found.__dataclass_fields__}, "spec": found.spec.model_dump(mode="json")}}
    except OSError as error:
        return {"gone": str(error)}


if __name__ == "__main__":
    serve(answer, "The file could not be read ({kind}: {reason}).")
