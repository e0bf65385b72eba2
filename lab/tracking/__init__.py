"""A run's curves in trackers of other people: TensorBoard, trackio, Weights & Biases, MLflow. Importing this room imports none of them.

    Training(track=["tensorboard", "wandb"])       # the option of a run: its worker starts a `mirror`, a process beside it
    track("k7qm2x9b", ["mlflow"])                  # a run that is over, or goes on, from here

A mirror reads what is new in the store every few seconds and hands it on, at the lowest priority, so that training neither waits for a tracker
nor ends with one. By default everything stays on this machine; the trackers' own variables (WANDB_API_KEY, MLFLOW_TRACKING_URI, TRACKIO_SPACE_ID)
name servers. A new tracker is one class in trackers.py and its name in lab.design.spec.run.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence

from lab.design.plain import installed
from lab.design.plain.refusal import Refusal

__all__ = ["FOLDER", "require"]
FOLDER = "tracking"  # of a run's folder: what trackers keep for it, how far each has come, and what their libraries print


def require(names: Sequence[str], field: str = "training.track") -> None:
    """Refusal for a tracker whose package is not installed here."""
    for name in names:
        if importlib.util.find_spec(name) is None:
            raise Refusal(
                "The package {name} is not installed here, which the tracker of that name needs: {command}.",
                field,
                name=name,
                command=installed.command("tracking"),
            )
