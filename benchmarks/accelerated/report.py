"""The page of a report: what holds, what does not, and the figures, from the rows as they were found."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from typing import Any

HOW = """## Running it

`make accelerator` (or the command above with `--device cuda`) needs torch, transformers, accelerate, peft, numpy, pandas, pyarrow, psutil, PyYAML and
safetensors as a machine with an accelerator has them; the engine runs with transformers 5.17 too. What such a machine may lack travels as wheels,
without their own needs, about 7 MB together: `pip download --no-deps pydantic pydantic-core annotated-types typing-inspection SQLAlchemy datasets dill
multiprocess`, each in the version of this machine's environment and for the other's Python (`--python-version 3.12 --only-binary=:all:`); there
`pip install --no-index --no-deps --target site *.whl` and `PYTHONPATH=site`. bitsandbytes (60 MB) is needed for quantised bases alone. No model, no
data and no hub are needed. FILE is written after every row, so that a time limit loses nothing."""


def page(found: dict[str, Any]) -> str:
    """Markdown of docs/accelerator.md's form."""
    parts = found["parts"]
    machine = found["machine"]
    lines = ["# What an accelerator does with the lab", ""]
    if found["device"] == "cpu":
        lines += ["**Not yet run on an accelerator.** The figures below are those of a CPU, where the same command runs on what is small enough.", ""]
    first = found.get("earlier", found)
    again = f" (then `--only {' '.join(found['only'])}`, {found['began']})" if "earlier" in found else ""
    lines += [f"`python benchmarks/accelerator.py --device {found['device']} --minutes {first['minutes']:g}`, {first['began']}{again}, on {machine['device']['name']}: "
              + ", ".join(f"{name} {version}" for name, version in machine["versions"].items()) + ".", ""]  # fmt: skip
    lines += [HOW, ""]
    writers = {"laws": _laws, "runs": _runs, "memory": _memory, "speed": _speed}
    for part, write in writers.items():
        if part in parts:
            rows = parts[part]["rows"]
            lines += [*write(rows), ""]
            if not parts[part]["whole"]:
                lines += [f"Its time ended after {len(rows)} rows.", ""]
            lines += [f"- **Broke off**: {row['error']}" for row in rows if row.get("error")]
    return "\n".join(lines).rstrip() + "\n"


def _table(head: list[str], rows: Iterable[list[str]]) -> list[str]:
    return ["| " + " | ".join(head) + " |", "|" + "---|" * len(head), *("| " + " | ".join(row) + " |" for row in rows)]


def _laws(rows: list[dict[str, Any]]) -> list[str]:
    judged = [row for row in rows if "problems" in row and "refused" not in row]
    broken = [row for row in judged if row["problems"]]
    lines = ["## The engine's laws", "", f"{len(judged)} pairs of {len({row['preset'] for row in judged})} presets and {len({row['body'] for row in judged})} bodies, "
             f"{len(judged) - len(broken)} hold. Largest error over the largest value:"]  # fmt: skip
    for law in ("forward", "gradient", "merged", "bf16"):
        errors = {f"{row['preset']} on {row['body']}": row[law] for row in judged if row.get(law) is not None}
        if errors:
            worst = max(errors, key=errors.__getitem__)
            lines.append(f"- {law}: median {statistics.median(errors.values()):.1e}, largest {errors[worst]:.1e} ({worst})")
    return [*lines, *(f"- **{row['preset']} on {row['body']}**: {'; '.join(row['problems'])}" for row in broken)]


def _runs(rows: list[dict[str, Any]]) -> list[str]:
    learned = [row for row in rows if "accuracy" in row]
    lines = ["## Runs", "", *_table(["precision", "accuracy", "loss, first and last", "tokens/s", "share of the time that trains", "peak"], [
        [row["run"], f"{row['accuracy']:.3f}", f"{row['first_loss']:.3f}, {row['last_loss']:.3f}", f"{row['tokens_per_second']:,.0f}",
         f"{100 * row['training_share']:.0f} %", f"{row['peak_bytes'] / 1e6:,.0f} MB"] for row in learned])]  # fmt: skip
    for row in rows:
        if "accuracy" not in row and "run" in row:
            lines += ["", f"A run {row['run']}: {'; '.join(row['problems']) or 'the same bits as an undisturbed one'}."]
    return [*lines, *(f"- **{row['run']}**: {'; '.join(row['problems'])}" for row in learned if row["problems"])]


def _memory(rows: list[dict[str, Any]]) -> list[str]:
    said = [row for row in rows if "meter" in row and "paper" not in row]
    errors = [row["plan"] / row["allocated"] - 1 for row in said if row.get("allocated")]
    lines = ["## Memory", ""]
    if errors:
        lines += [
            f"Plan against the device's peak of allocated bytes: median {100 * statistics.median(errors):+.2f} %, from {100 * min(errors):+.2f} to {100 * max(errors):+.2f} %.",
            "",
        ]
    lines += _table(["model", "method", "batch", "plan", "device's peak", "plan / peak", "meter / plan", "reserved, plan / peak"], [
        [row["model"], row["method"], str(row["batch"]), f"{row['plan'] / 1e6:,.0f} MB", _megabytes(row.get("allocated")), _ratio(row["plan"], row.get("allocated")),
         _ratio(row["meter"], row["plan"]), _ratio(row["plan_reserved"], row.get("reserved"))] for row in said])  # fmt: skip
    papers = {(row["batch"], row["paper"]): row.get("allocated") or row["meter"] for row in rows if row.get("paper") and "meter" in row}
    ratios = [
        f"batch {batch}: {papers[batch, 'LoRA'] / papers[batch, 'LaMDA']:.2f}"
        for batch, kind in sorted(papers)
        if kind == "LaMDA" and (batch, "LoRA") in papers
    ]
    if ratios:
        lines += ["", f"LoRA over LaMDA on bart-large, r=16 at six projections (the paper: up to 1.32): {', '.join(ratios)}."]
    failed = [f"- {row['model']}, {row['method']}, batch {row['batch']}: {row['failed']}" for row in rows if row.get("failed")]
    refused = sorted({f"{row['method']} on {row['model']}: {row['refused']}" for row in rows if row.get("refused")})
    return [*lines, *([""] if failed else []), *failed, *(["", "Refused: " + " ".join(refused)] if refused else [])]


def _megabytes(size: int | None) -> str:
    return "" if size is None else f"{size / 1e6:,.0f} MB"


def _ratio(one: int, other: int | None) -> str:
    return "" if not other else f"{one / other:.3f}"


def _speed(rows: list[dict[str, Any]]) -> list[str]:
    timed = [row for row in rows if "over_peft" in row]
    lines = ["## Step time", "", "Medians of steps that take turns, forward, backward, clipping and AdamW; the frozen model's step is a forward and a backward pass",
             "through every layer without a gradient of a weight; bound: what the multiplications of the method alone ask for, over the frozen step's.", "",
             *_table(["method", "ours / peft", "ours / frozen", "peft / frozen", "bound"], [
                 [row["case"], f"{row['over_peft']:.3f}", f"{row['over_frozen']:.3f}", f"{row['peft_over_frozen']:.3f}",
                  f"{row['bound']:.3f}" if "bound" in row else ""] for row in timed])]  # fmt: skip
    for row in rows:
        if "over_eager" in row:
            lines += ["", f"torch.compile: {row['over_eager']:.3f} of the step without."]
        if row.get("failed"):
            lines += ["", f"{row['case']} did not run: {row['failed']}"]
        if row.get("causes"):
            lines += ["", f"Where {row['case']} takes longer: ours {', '.join(row['causes']['ours'])}; peft {', '.join(row['causes']['peft'])}."]
    return lines
