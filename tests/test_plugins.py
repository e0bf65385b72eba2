"""Plug-ins: the recipes of CONTRIBUTING.md without touching the package, from LAB_HOME/plugins and from an installed package; what is broken is left out and said."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from test_docs import RECIPES

ROOT = Path(__file__).resolve().parents[1]
GROUPS = {  # where a recipe's file goes: the group of the room that has it in the repository
    "lab/design/method/forms/": "forms", "lab/design/method/compositions/": "compositions", "lab/design/method/starts/": "starts",
    "lab/design/method/schedules/": "schedules", "lab/engine/schedules/": "engine_schedules", "lab/tasks/families/": "families",
}  # fmt: skip
METHODS = ("kronecker", "bounded-lora", "orthonormal-lora", "settling-lora")


def recipe_files() -> dict[str, str]:
    return {name: text for recipe in RECIPES for name, text in recipe.files}


def recipe(file: str) -> str:
    return next(text for name, text in recipe_files().items() if Path(name).name == file)


def python(code: str, folder: Path, *paths: Path, **environment: str) -> subprocess.CompletedProcess:
    given = {name: value for name, value in os.environ.items() if name not in ("LAB_HOME", "LAB_PLUGINS")}
    given |= {"PYTHONPATH": os.pathsep.join(map(str, (ROOT, *paths))), "PYTHONDONTWRITEBYTECODE": "1", **environment}
    return subprocess.run([sys.executable, "-c", code], cwd=folder, env=given, capture_output=True, text=True, timeout=120)


USE = f"""
import sys; sys.path.insert(0, {str(ROOT / "tests")!r})
import json, lab
from tiny import tiny
from lab.tasks import FAMILIES
from lab.design.plain import plugins
changed = {{}}
for name in {METHODS!r}:
    attached = lab.attach(tiny("gpt2"), lab.load_method(name))
    changed[name] = len(attached.trainable())
    schedules = [type(one).__name__ for one in attached.schedules.values()]
print(json.dumps({{"changed": changed, "schedules": schedules, "families": list(FAMILIES), "known": [[one.group, one.name, one.problem] for one in plugins.known()]}}))
"""


def test_a_folder_of_ones_own_is_read_when_it_is_switched_on(tmp_path: Path) -> None:
    home = tmp_path / "home"
    for name, text in recipe_files().items():
        group = next((group for start, group in GROUPS.items() if name.startswith(start)), "")
        place = home / "plugins" / group / Path(name).name if group else home / name if name.startswith("presets/methods/") else None
        if place:
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(text, encoding="utf-8")
    marker = tmp_path / "ran"
    for name, text in {"broken": "import nothing_of_that_name", "Taken-Name": "", "taken": "from lab.design.method.forms.lowrank import LowRank\n\n\nclass Mine(LowRank):\n    pass",
                       "marks": f"open({str(marker)!r}, 'w').close()"}.items():  # fmt: skip
        (home / "plugins" / "forms" / f"{name}.py").write_text(text)
    off = python("import lab; print(lab.load_method('lora').name); lab.load_method('kronecker')", tmp_path, LAB_HOME=str(home))
    assert off.stdout == "LoRA\n" and "kronecker" in off.stderr and not marker.exists(), off.stderr
    on = python(USE, tmp_path, LAB_HOME=str(home), LAB_PLUGINS="1")
    assert on.returncode == 0, on.stderr
    found = json.loads(on.stdout)
    assert all(found["changed"].values()) and found["schedules"] == ["Settle"]
    assert "corrections" in found["families"] and marker.exists()
    problems = {name: problem for _, name, problem in found["known"]}
    assert {name for name, problem in problems.items() if problem} == {"broken", "Taken-Name", "taken"} and "lowrank" in problems["taken"]
    assert sum(line.startswith("[lab] The plug-in ") for line in on.stderr.splitlines()) == 3


@pytest.mark.parametrize("switch", ["", "0"])
def test_a_package_brings_its_own(switch: str, tmp_path: Path) -> None:
    """Found by its entry points, as pip writes them; LAB_PLUGINS=0 leaves it out."""
    site = tmp_path / "site"
    for name, text in {
        "my_lab/__init__.py": "", "my_lab/kron.py": recipe("kronecker.py"), "my_lab/methods/kronecker.yaml": recipe("kronecker.yaml"),
        "my_lab/methods/lora.yaml": recipe("kronecker.yaml"), "my_lab-1.2.dist-info/METADATA": "Metadata-Version: 2.1\nName: my-lab\nVersion: 1.2\n",
        "my_lab-1.2.dist-info/entry_points.txt": "[delta_lab.forms]\nkronecker = my_lab.kron:Kronecker\nbroken = my_lab.none\n[delta_lab.presets]\nmine = my_lab\n",
    }.items():  # fmt: skip
        (site / name).parent.mkdir(parents=True, exist_ok=True)
        (site / name).write_text(text, encoding="utf-8")
    code = "import lab; print('kronecker' in lab.methods(), lab.load_method('lora').name); print(lab.count('bart-large', 'kronecker')['trainable'])"
    done = python(code, tmp_path, site, LAB_PLUGINS=switch)
    if switch == "0":
        assert done.stdout == "False LoRA\n" and "There is no method preset 'kronecker'" in done.stderr
    else:
        assert done.stdout.startswith("True LoRA\n") and int(done.stdout.split()[-1]) > 0, done.stderr
        assert (
            "The plug-in broken (forms, of my-lab 1.2) was left out" in done.stderr and "The preset methods/lora.yaml of my-lab 1.2 was left out" in done.stderr
        )


def test_another_home_than_the_plug_ins_is_refused(tmp_path: Path) -> None:
    code = f"import sys; from lab.cli import main; sys.exit(main(['serve', '--port', '7999', '--home', {str(tmp_path / 'other')!r}]))"
    done = python(code, tmp_path, LAB_HOME=str(tmp_path / "home"), LAB_PLUGINS="1")
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and "instead of --home" in done.stderr, done.stderr
