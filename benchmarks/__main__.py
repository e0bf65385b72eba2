"""The lab beside others, and how it grows: python -m benchmarks [--quick] [--only beside-peft growth] [--page]

Each part is a command of its own that prints JSON; results are kept part by part in benchmarks/figures.json (--quick in another file) with the commit, the
versions and the day, and --page writes docs/benchmarks.md from them: first where the lab loses. --quick takes under ten minutes of two quiet cores.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from lab.boards import made  # noqa: E402

FIGURES, QUICK, PAGE = ROOT / "benchmarks" / "figures.json", ROOT / "benchmarks" / "figures-quick.json", ROOT / "docs" / "benchmarks.md"
NOISE = 0.03  # a ratio within this of 1 is no loss and no gain on this machine
PARTS: dict[str, tuple[list[str], list[str]]] = {  # the whole command, and what makes it quick
    "beside-peft": (["beside_peft.py", "--json", "--rounds", "15", "--batch", "8"], ["--rounds", "5", "--only", "lora", "lora, six projections", "vera", "ia3", "prefix-tuning"]),
    "beside-adapters": (["beside_adapters.py", "--json"], ["--rounds", "5"]),
    "growth": (["growth.py", "--json"], []),
    "bound": (["bound.py", "--json"], ["--rounds", "3", "lora", "mam", "unipelt-apl", "lamda"]),
    "store": (["store.py", "--json", "--rows", "2000000", "--runs", "500"], ["--rows", "200000", "--runs", "200"]),
}  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="under ten minutes, kept apart")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), help="these parts only")
    parser.add_argument("--page", action="store_true", help="write docs/benchmarks.md from what is there, and measure nothing")
    given = parser.parse_args()
    if given.page:
        PAGE.write_text(page(kept(FIGURES), kept(QUICK)), encoding="utf-8")
        return 0
    file, failed = QUICK if given.quick else FIGURES, []
    for name in given.only:
        whole, quick = PARTS[name]
        command = [*whole, *quick] if given.quick else whole
        began = time.monotonic()
        done = subprocess.run([sys.executable, str(ROOT / "benchmarks" / command[0]), *command[1:]], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
        if done.returncode:
            failed.append(name)
            continue
        found = {"command": "python benchmarks/" + " ".join(f"'{word}'" if " " in word else word for word in command), "minutes": round((time.monotonic() - began) / 60, 1),
                 "figures": json.loads(done.stdout), **made()}  # fmt: skip
        file.write_text(json.dumps({**kept(file), name: found}, indent=1, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")
        print(f"{name}: {found['minutes']} minutes", flush=True)
    for name in failed:
        print(f"{name} failed.", file=sys.stderr)
    return int(bool(failed))


def kept(file: Path) -> dict[str, Any]:
    """The results so far, by part."""
    return json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}


def page(whole: dict[str, Any], quick: dict[str, Any]) -> str:
    """docs/benchmarks.md: of each part what was measured whole, else quickly."""
    found = {**quick, **whole}
    losses = list(_losses(found))
    text = ["# The lab beside others", "", "Written by `python -m benchmarks --page` from what `python -m benchmarks` (or `--quick`, under ten minutes) measured: ratios of",
            "two things that took turns on one machine with two cores and nothing else to do, below 1 where the lab takes less.", "", "## Where the lab loses", ""]  # fmt: skip
    text += [f"- {line}" for line in losses] or [f"Nowhere by more than {100 * NOISE:.0f} %, of what was measured."]
    for name, show in SHOWN.items():
        if name in found:
            one = found[name]
            text += ["", *show(one["figures"]), "", f"`{one['command']}`, {one['on']}, {one['minutes']} minutes, commit {one['commit'] or 'unknown'}; "
                     + ", ".join(f"{what} {version}" for what, version in one["versions"].items()) + "."]  # fmt: skip
        else:
            text += ["", f"## {TITLES[name]}", "", f"Not measured yet: `python -m benchmarks --only {name}`."]
    return "\n".join(text) + "\n"


TITLES = {
    "beside-peft": "A step beside peft",
    "beside-adapters": "A step beside adapters",
    "growth": "Attaching, merging, saving, loading",
    "bound": "A step over its floating-point bound",
    "store": "The store",
}


def _losses(found: dict[str, Any]) -> Iterator[str]:
    for name, other in (("beside-peft", "peft"), ("beside-adapters", "adapters")):
        for case, row in found.get(name, {}).get("figures", {}).items():
            for what, key in (("a step takes", "time_ratio"), ("memory is", "memory_ratio")):
                if row[key] > 1 + NOISE:
                    yield f"{case}: {what} {row[key]:.2f} of that in {other}"
    for verb, row in found.get("growth", {}).get("figures", {}).get("beside", {}).items():
        if row["ratio"] > 1 + NOISE:
            yield f"{verb}: {1000 * row['ours']:.0f} ms, {1000 * row['peft']:.0f} ms in peft"
    for method, row in found.get("bound", {}).get("figures", {}).items():
        if row["over_bound"] > 1.05:
            yield f"{method}: a step takes {row['over_bound']:.2f} of its floating-point bound"


def _steps(title: str, other: str) -> Callable[[dict[str, Any]], list[str]]:
    def show(figures: dict[str, Any]) -> list[str]:
        return [f"## {title}", "", f"Ours over {other}.", "", "| method | step time | memory |", "|---|---|---|",
                *(f"| {case} | {row['time_ratio']:.3f} | {row['memory_ratio']:.3f} |" for case, row in figures.items())]  # fmt: skip

    return show


def _growth(figures: dict[str, Any]) -> list[str]:
    text = [f"## {TITLES['growth']}", "", "LoRA at six projections of 12 layers; processor time.", "", "| | ours | peft | ratio |", "|---|---|---|---|"]
    text += [f"| {verb} | {1000 * row['ours']:.1f} ms | {1000 * row['peft']:.1f} ms | {row['ratio']:.3f} |" for verb, row in figures["beside"].items()]
    verbs = [verb for verb in next(iter(figures["growth"].values()))[0] if verb != "at"]
    text += ["", "How they grow, each over the first of its kind:", "", f"| | {' | '.join(verbs)} |", "|---|" + "---|" * len(verbs)]
    return text + [
        f"| {name} {row['at']} | " + " | ".join(f"{row[verb] / rows[0][verb]:.2f}" for verb in verbs) + " |"
        for name, rows in figures["growth"].items()
        for row in rows
    ]


def _bound(figures: dict[str, Any]) -> list[str]:
    return [f"## {TITLES['bound']}", "", "Over the frozen model's step: what the multiply-adds ask for, and what was measured.", "",
            "| method | bound | measured | over the bound |", "|---|---|---|---|",
            *(f"| {name} | {row['bound']:.3f} | {row['measured']:.3f} | {row['over_bound']:.3f} |" for name, row in figures.items())]  # fmt: skip


def _store(figures: dict[str, Any]) -> list[str]:
    flat = {name: value for name, value in figures.items() if isinstance(value, (int, float))}
    return [f"## {TITLES['store']}", "", "| | |", "|---|---|", *(f"| {name.replace('_', ' ')} | {value:,.4g} |" for name, value in flat.items())]


SHOWN: dict[str, Callable[[dict[str, Any]], list[str]]] = {
    "beside-peft": _steps(TITLES["beside-peft"], "peft"), "beside-adapters": _steps(TITLES["beside-adapters"], "adapters"), "growth": _growth, "bound": _bound,
    "store": _store,
}  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
