"""docs/cli.md from the parser itself: `python -m lab.cli.reference` prints it; a test keeps the file equal to it."""

from __future__ import annotations

import argparse
import os

from lab.cli.parser import parser

HEAD = """# The terminal

`python -m lab VERB`. Every verb takes `--json`: then one JSON document is on standard output and nothing else (progress and
whatever libraries print go to standard error). Exit status: 0; 1 when what was asked for failed (a run that failed or was
stopped); 2 for bad input, with one sentence on standard error.

Values are addressed by path with `--set`: `deltas.0.rank=16` changes the method, `training.checkpoint_every=10` the training,
`task.train_rows=500` the task. A value is read as YAML: `--set 'deltas.0.at=[attn.q, ffn.up]'`,
`--set deltas.0.at=all-linear` (also attn-linear, ffn-linear: every projection there, with the FFN's gate where there is one).

`RUN` is a run's id, the beginning of one (three letters or more), or its name.
"""


def page() -> str:
    """The whole page."""
    os.environ["COLUMNS"] = "118"
    top = parser()
    verbs = next(action for action in top._actions if isinstance(action, argparse._SubParsersAction))
    parts = [HEAD]
    for name, verb in verbs.choices.items():
        parts.append(f"## {name}\n\n```\n{verb.format_help().strip()}\n```\n")
    return "\n".join(parts)


if __name__ == "__main__":
    print(page(), end="")
