"""completion: a script for a shell, made of the parser by shtab; presets are completed by name, files where a flag takes one."""

from __future__ import annotations

import argparse
from argparse import Namespace

from lab import verbs
from lab.cli.answer import Answer
from lab.design.plain import installed
from lab.design.plain.called import INSTALLED
from lab.design.plain.refusal import Refusal

SHELLS = ("bash", "zsh", "fish")
NAMED = {"method": verbs.methods, "model": verbs.models, "task": verbs.tasks}
PATHS = ("spec", "file", "validation", "test", "out", "home")  # arguments that name a file or a folder


def completion(arguments: Namespace) -> Answer:
    """{"shell", "script"}."""
    script = script_for(arguments.parser(), arguments.shell)
    return Answer({"shell": arguments.shell, "script": script}, lambda: script)


def script_for(top: argparse.ArgumentParser, shell: str) -> str:
    """The script for `delta-lab`, of its parser, which is changed. Raises Refusal where shtab is not installed."""
    try:
        import shtab
    except ImportError:
        raise Refusal("Completion needs shtab, which is not installed: {command}.", "shell", command=installed.command()) from None
    top.prog = INSTALLED
    for action in (action for verb in _verbs(top).values() for action in verb._actions):
        if action.choices is None and action.dest in NAMED:
            action.choices = NAMED[action.dest]()
        elif action.choices is None and action.dest in PATHS:
            action.complete = shtab.FILE  # type: ignore[attr-defined]
    return shtab.complete(top, shell=shell)


def _verbs(top: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    return next(action.choices for action in top._actions if isinstance(action, argparse._SubParsersAction))
