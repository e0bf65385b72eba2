"""Delta Lab: a lab bench for parameter-efficient fine-tuning.

    import lab
    lab.methods(); lab.models(); lab.tasks()                   # presets by name
    method = lab.load_method("lora", {"deltas.0.rank": 16})    # a Method; lab.Method(...) builds a free one
    lab.count(model="bart-large", method="mam")                # {'trainable': ..., 'total': ..., 'percent': ..., ...}
    attached = lab.attach(model, method)                       # .detach() .merge() .unmerge() .trainable() .state_dict()
    run = lab.run(spec); lab.runs(); lab.export(run, format="peft", out="adapter")
    run = lab.import_adapter("their-adapter", task="sst2")     # PEFT, AdapterHub, a lab's folder, or a hub id, as a run
    model, tokenizer = lab.load(run)                           # base model with the run's best adapter, in eval mode
    lab.metrics(run); lab.compare([run, other]).frame          # every point of the curves, results side by side, as pandas frames
    lab.push(run, "me/my-adapter").send()                      # to the Hugging Face hub; without .send() it shows what would go where

Importing this imports nothing else: every name is looked up at first use, and torch only by what needs it. Some rooms share
their name with a verb (`lab.runs` is the folder of the store): those modules can be called.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"
_NAMES = {  # public name: (module, name there)
    "Refusal": ("lab.design.plain.refusal", "Refusal"),
    "Method": ("lab.design.method.delta", "Method"),
    "Delta": ("lab.design.method.delta", "Delta"),
    "RunSpec": ("lab.design.spec.run", "RunSpec"),
    "Training": ("lab.design.spec.run", "Training"),
    "TaskSpec": ("lab.design.spec.task", "TaskSpec"),
    "ModelSpec": ("lab.design.body.model", "ModelSpec"),
    "spec_of": ("lab.design.spec.run", "spec_of"),
    "load_method": ("lab.design.method.named", "load_method"),
    "methods": ("lab.verbs", "methods"),
    "count": ("lab.verbs", "count"),
    "plan": ("lab.verbs", "plan"),
    "estimate": ("lab.verbs", "estimate"),
    "run": ("lab.verbs", "run"),
    "combine": ("lab.verbs", "combine"),
    "search": ("lab.searching", "search"),
    "import_adapter": ("lab.importing", "import_adapter"),
    "load": ("lab.verbs", "load"),
    "metrics": ("lab.frames", "metrics"),
    "compare": ("lab.frames", "compare"),
    "push": ("lab.export.hub", "prepare"),
    "attach": ("lab.engine", "attach"),
}
_ROOMS = ("models", "tasks", "runs", "export", "inside")  # folders that can be called, too
__all__ = sorted([*_NAMES, *_ROOMS])


def __getattr__(name: str) -> Any:
    if name in _ROOMS:
        return importlib.import_module(f"lab.{name}")
    if name not in _NAMES:
        raise AttributeError(f"module 'lab' has no attribute {name!r}")
    module, attribute = _NAMES[name]
    return getattr(importlib.import_module(module), attribute)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
