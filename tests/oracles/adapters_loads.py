"""Runs in .venv-adapters: loads exported adapters with AdapterHub's library, by the code of their own cards.

    python adapters_loads.py JOB        JOB/cases.json: [{"name", "folder", "batch", "tokens"}]; writes JOB/<name>.safetensors with `logits`, and with
                                        `text` where so many `tokens` are to be written after the first row, or JOB/<name>.error

The card's code is executed in the exported folder; the base's folder is written in it. Imports nothing of the lab.
"""

from __future__ import annotations

import json
import os
import re
import sys
import traceback
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file


def main() -> None:
    job = Path(sys.argv[1])
    torch.set_num_threads(1)
    for case in json.loads((job / "cases.json").read_text(encoding="utf-8")):
        try:
            code = re.search(r"```python\n(.*?)```", (Path(case["folder"]) / "README.md").read_text(encoding="utf-8"), re.DOTALL)[1]
            os.chdir(case["folder"])
            space: dict = {}
            exec(code, space)  # noqa: S102
            model = space["model"].eval()
            batch = load_file(case["batch"])
            with torch.no_grad():
                result = {"logits": model(**batch).logits.float().contiguous()}
                if case["tokens"]:
                    result["text"] = model.generate(batch["input_ids"][:1], max_new_tokens=case["tokens"], do_sample=False).contiguous()
            save_file(result, job / f"{case['name']}.safetensors")
        except Exception:
            (job / f"{case['name']}.error").write_text(traceback.format_exc(), encoding="utf-8")


if __name__ == "__main__":
    main()
