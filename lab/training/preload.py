"""What nearly every run imports, so that a fork server has it before there is a run (lab.runs.warm). It starts no thread and touches no device."""

from __future__ import annotations

import os
from contextlib import suppress
from importlib import import_module

# What the lab imports only when a run comes to it: its own rooms, and what libraries are slow to import.
LATE = ("lab.models.loading", "lab.tasks.gathering", "lab.tasks.scoring", "lab.tasks.together", "sklearn.metrics", "codecarbon")
MODELS = ("bert", "roberta", "distilbert", "bart", "t5", "gpt2", "llama")  # those of most bases


def quiet() -> None:
    """A log that a person likes to read: no progress bars and no advice of libraries. Called before they are imported."""
    for name, value in (("TRANSFORMERS_VERBOSITY", "error"), ("HF_HUB_DISABLE_PROGRESS_BARS", "1"),
                        ("HF_DATASETS_DISABLE_PROGRESS_BARS", "1"), ("PYTHONWARNINGS", "ignore"), ("CODECARBON_LOG_LEVEL", "critical")):  # fmt: skip
        os.environ.setdefault(name, value)
    import warnings

    warnings.simplefilter("ignore")


def everything() -> None:
    """Import it all. What one machine lacks, or a library has moved, is imported by the run that needs it."""
    quiet()
    import_module("lab.training.running")
    for name in (*LATE, *(f"transformers.models.{name}.modeling_{name}" for name in MODELS)):
        with suppress(ImportError):
            import_module(name)
    with suppress(ImportError, AttributeError):  # how names of weights are converted, built once per process
        import_module("transformers.conversion_mapping").get_checkpoint_conversion_mapping("bert")
