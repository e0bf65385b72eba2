"""The tests that lean on transformers and gradio, with the oldest and the newest releases that requirements.txt allows: `make pins`.

Each release goes into a folder of its own in .venv-pins, which stands before the environment's own packages; nothing in .venv changes.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TESTS = {
    "transformers": [
        "tests/test_laws.py",
        "-k",
        "lora-bert or mam-bert or mam-llama or prefix-tuning-t5 or prefix-tuning-gpt2 or unipelt-apl-bart or bitfit-roberta",
    ],
    "gradio": ["tests/test_gradio_private.py", "tests/test_api.py"],
}


def allowed(package: str) -> tuple[str, str]:
    """(oldest, range) as requirements.txt has it."""
    found = re.search(rf"^{package}>=([\d.]+),<([\d.]+)", (ROOT / "requirements.txt").read_text(encoding="utf-8"), re.M)
    return f"{found[1]}.0", f"{package}>={found[1]},<{found[2]}"


def main() -> int:
    """The exit status: 1 where a test failed with one of the releases."""
    failed = []
    for package, tests in TESTS.items():
        oldest, newest = allowed(package)
        for which, wanted in (("oldest", f"{package}=={oldest}"), ("newest", newest)):
            folder = ROOT / ".venv-pins" / f"{package}-{which}"
            pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--no-deps", "--upgrade", "--target", str(folder), wanted]
            subprocess.run(pip, check=True)
            path = os.pathsep.join(filter(None, (str(folder), str(ROOT), os.environ.get("PYTHONPATH"))))
            environment = {**os.environ, "PYTHONPATH": path}
            said = "import importlib.metadata as m, sys; print(sys.argv[1], m.version(sys.argv[1]))"
            subprocess.run([sys.executable, "-c", said, package], check=True, env=environment, cwd=folder)
            done = subprocess.run([sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests], env=environment, cwd=ROOT)
            failed += [f"{package} ({which})"] * (done.returncode != 0)
    print("Failed with " + ", ".join(failed) if failed else "All passed with the oldest and the newest.")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
