"""docs/export-table.md: method × model family × format, filled by round trips: python benchmarks/exports.py [--family NAME ... | --page | --check]

Without a flag it runs tests/test_export_table.py (`make oracle` first, for AdapterHub's column), keeps the outcomes in benchmarks/exports.json and writes the
page. --family runs these families alone, beside what is known. --page writes the page alone; --check says by its exit status whether it is current.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from lab.design.method.named import load_method  # noqa: E402
from lab.design.presets.catalogue import names  # noqa: E402

RESULTS, PAGE = Path(__file__).with_name("exports.json"), ROOT / "docs" / "export-table.md"
LETTERS = {"peft": "P", "peft-lora": "L", "adapterhub": "A", "gguf": "G", "merged": "M"}
FAMILIES = ("bert", "roberta", "distilbert", "deberta_v2", "modernbert", "bart", "t5", "gpt2", "llama", "qwen2", "gemma3", "phi3")
MEANT = {
    "peft": "a PEFT checkpoint, loaded with peft", "peft-lora": "the same change as PEFT's plain LORA of one rank", "adapterhub": "an adapter of AdapterHub's library, loaded in its own environment",
    "gguf": "a LoRA in GGUF, read with the gguf package (llama.cpp itself is not among the tests)", "merged": "the whole model, loaded with transformers alone",
}  # fmt: skip


def main(arguments: list[str] | None = None) -> int:
    """Run the round trips and write the page; exit status 1 where one fails or, with --check, the page is not current."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--page", action="store_true", help="write the page from the outcomes that there are")
    parser.add_argument("--check", action="store_true", help="exit status 1 where the page is not that of the outcomes")
    parser.add_argument("--family", nargs="+", choices=FAMILIES, help="run these alone")
    given = parser.parse_args(arguments)
    if given.check:
        return int(not PAGE.exists() or PAGE.read_text(encoding="utf-8") != page())
    status = 0 if given.page else run(given.family or FAMILIES)
    PAGE.write_text(page(), encoding="utf-8")
    return status


def run(families: tuple[str, ...] | list[str]) -> int:
    """The round trips of some families, whose outcomes the tests write over what is known."""
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "tests/test_export_table.py",
        "-k",
        " or ".join(f"[{name}]" for name in families),
    ]
    return subprocess.run(command, cwd=ROOT, env={**os.environ, "LAB_EXPORTS": str(RESULTS)}, check=False).returncode


def kept() -> dict[tuple[str, str, str], str]:
    """{(method, family, format): "equal" or why not}."""
    return {tuple(row[:3]): row[3] for row in json.loads(RESULTS.read_text(encoding="utf-8"))}


def page() -> str:
    """The page as Markdown."""
    known = kept()
    families = [family for family in FAMILIES if any(key[1] == family for key in known)]
    lines = [
        "# Which method goes where", "",
        "<!-- Made by benchmarks/exports.py from the outcomes of tests/test_export_table.py; do not edit. -->", "",
        "Each letter is a round trip that was made with a tiny random model of the family after random changes to every trained weight: exported, loaded by the "
        "code of its own model card, logits equal to 1e-5 and, where the model writes text, the same greedy answer. "
        + "; ".join(f"**{LETTERS[format]}** {words}" for format, words in MEANT.items()) + ". A dot: the lab's own folder alone (`lab`), which holds every method.", "",
        "| method | " + " | ".join(families) + " |", "|---|" + "---|" * len(families),
    ]  # fmt: skip
    alone: dict[str, dict[str, list[str]]] = {}
    for method in names("methods"):
        cells = []
        for family in families:
            outcomes = {format: known.get((method, family, format), "") for format in LETTERS}
            cells.append("".join(letter for format, letter in LETTERS.items() if outcomes[format] == "equal") or ("n/a" if any(
                words.startswith("not on this model") for words in outcomes.values()) else "·"))  # fmt: skip
            if cells[-1] == "·":
                for format in ("peft", "adapterhub", "merged"):
                    if outcomes[format]:
                        alone.setdefault(method, {}).setdefault(f"{format}: {_plain(outcomes[format])}", []).append(family)
        lines.append(f"| {load_method(method).name} (`{method}`) | " + " | ".join(cells) + " |")
    lines += ["", "## Why some have no letter", ""]
    for method, reasons in alone.items():
        lines.append(f"- `{method}`")
        lines += [f"  - {reason} ({', '.join(families)})" for reason, families in reasons.items()]
    lines += ["", "`adapterfusion` stands on the adapters of other runs, which no format but the lab's own keeps.", ""]
    return "\n".join(lines)


def _plain(sentence: str) -> str:
    return sentence.partition("; this method can be exported as")[0].rstrip(".")


if __name__ == "__main__":
    raise SystemExit(main())
