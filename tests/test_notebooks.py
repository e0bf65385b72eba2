"""The notebooks of docs/ run from their first cell to their last, with fewer steps, and show what they promise."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))
SMALL = 'training = {"steps": 2, "batch_size": 4, "max_length": 16, "evaluation_rows": 16}'
# One interactive shell of IPython in a process of its own: what a kernel does with cells, without a kernel.
EXECUTE = """
import json, sys
import lab.runs
lab.runs.default().warm(wait=300)  # both runs of the notebook import torch once
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output
shell, shown = InteractiveShell.instance(), []
for cell in json.loads(sys.stdin.read()):
    with capture_output() as captured:
        done = shell.run_cell(cell, store_history=True)
    if not done.success:
        raise SystemExit(f"{cell}\\n{captured.stdout}{captured.stderr}{done.error_in_exec or done.error_before_exec!r}")
    html = getattr(done.result, "_repr_html_", None)
    shown.append([html() if html else "", repr(done.result)])
print("SHOWN" + json.dumps(shown), flush=True)
"""


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(path: Path, lab_home: Path):
    pytest.importorskip("IPython")
    document = json.loads(path.read_text(encoding="utf-8"))
    cells = [cell for cell in document["cells"] if cell["cell_type"] == "code"]
    assert all(not cell["outputs"] and cell["execution_count"] is None for cell in cells), "outputs are made by readers, not kept"
    sources = []
    lab_home.mkdir(exist_ok=True)
    for cell in cells:
        parameters = "parameters" in cell["metadata"].get("tags", ())
        sources.append("".join(cell["source"]) + (f"\n{SMALL}" if parameters else ""))
    given = {
        **os.environ,
        "LAB_HOME": str(lab_home),
        "LAB_WARM": "10",
        "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]),
    }
    done = subprocess.run([sys.executable, "-c", EXECUTE], input=json.dumps(sources), env=given, capture_output=True, text=True, timeout=550, cwd=lab_home)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    shown = json.loads(done.stdout.rpartition("SHOWN")[2])
    tables = [html for html, _ in shown if html]
    assert len(tables) == 3 and all("<script" not in html for html in tables) and "bitfit" in tables[0] and "accuracy" in tables[1]
    assert "spec.yaml" in shown[-2][1] and "gentle" in shown[-1][1]


def test_there_are_notebooks():
    assert NOTEBOOKS
