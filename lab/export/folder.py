"""The folder that an export writes: new or empty, written whole or left as it was, and nothing outside of it."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lab
from lab.design import numbers
from lab.design.refusal import Refusal


@contextlib.contextmanager
def new_folder(out: str | Path) -> Iterator[Path]:
    """The folder, made if absent; what was written is taken away again when an exception leaves the block.

    Raises Refusal where it has files, is a file, or cannot be written.
    """
    try:
        folder = Path(out).expanduser().absolute()
        existed = folder.exists()
        if existed and not folder.is_dir():
            raise Refusal(f"{out} is a file; give a folder that is new or empty.", "out")
        if existed and any(folder.iterdir()):
            raise Refusal(f"The folder {out} is not empty; give one that is new or empty, so that nothing is overwritten.", "out")
        folder.mkdir(parents=True, exist_ok=True)
    except Refusal:
        raise
    except (OSError, ValueError, RuntimeError) as error:  # ValueError: NUL; RuntimeError: the home of nobody
        reason = getattr(error, "strerror", None) or error
        raise Refusal(f"The folder {out} cannot be written ({reason}); give another one with --out.", "out") from None
    try:
        yield folder
    except BaseException as error:
        for path in folder.iterdir():
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        if not existed:
            folder.rmdir()
        if isinstance(error, PermissionError):
            raise Refusal(f"The folder {out} cannot be written ({error.strerror}); give another one with --out.", "out") from None
        raise


def write_json(path: Path, document: Any) -> None:
    path.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def sidecar(opened: Any, format: str) -> dict[str, Any]:
    """delta_lab.json: what other formats have no place for, above all the method as a point in the design space."""
    method = opened.spec.method
    return {
        "delta_lab": lab.__version__,
        "format": format,
        "run": opened.run_id,
        "adapter": opened.adapter,
        "metrics": opened.metrics,
        "design": [
            {"functional_form": delta.form, "modified_representation": opened.attached.body.places(delta), "insertion_form": delta.insertion,
             "composition": delta.composition, "rank": delta.rank, "scale": delta.strength, "nonlinearity": delta.nonlinearity}
            for delta in method.deltas
        ],
        "spec": opened.spec.document(),
    }  # fmt: skip


def card(opened: Any, format: str, how_to_load: str) -> str:
    """README.md: a model card with facts only."""
    spec, method = opened.spec, opened.spec.method
    head = ["---", f"base_model: {json.dumps(opened.base)}", *(["library_name: peft"] if format.startswith("peft") else []),
            "tags: [delta-lab, parameter-efficient-fine-tuning]", "---", ""]  # fmt: skip
    paper = f" ({method.paper.cite}{', arXiv ' + method.paper.arxiv if method.paper.arxiv else ''})" if method.paper else ""
    lines = [
        f"# {spec.name}",
        "",
        f"{method.name}{paper} on `{opened.base}`, trained on `{_task(spec)}` with Delta Lab {lab.__version__}.",
        "",
        f"- seed {spec.seed}, learning rate {numbers.number(spec.lr)}, batch size {spec.training.batch_size}"
        + (f", {spec.training.steps} steps" if spec.training.steps else ""),
        f"- trained weights: {opened.trainable:,}" if opened.trainable else "",
        *(f"- {name}: {numbers.number(value)}" for name, value in opened.metrics.items() if isinstance(value, (int, float))),
        "",
        "| modified representation | functional form | insertion | composition | rank |",
        "|---|---|---|---|---|",
        *(f"| {', '.join(d.at)} | {d.form} | {d.insertion} | {d.composition} | {d.rank} |" for d in method.deltas),
        "",
        "The whole specification is in `delta_lab.json`.",
        "",
        "## Loading",
        "",
        how_to_load,
    ]
    return "\n".join(head + [line for i, line in enumerate(lines) if line or i in (1, 3) or lines[i - 1]]) + "\n"


def _task(spec: Any) -> str:
    return spec.task if isinstance(spec.task, str) else spec.task.name or "a task of its own"
