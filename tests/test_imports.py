"""The rooms' import rules (docs/architecture.md: arrows go downwards only), read from the source, so that lazy imports count too."""

from __future__ import annotations

import ast
import functools
import subprocess
import sys
from collections.abc import Collection
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
STANDARD = sys.stdlib_module_names
# room: the rooms that it may import, besides itself
MAY = {
    "design": (),
    "runs": ("design", "planning"),
    "models": ("design",),
    "tasks": ("design", "models", "child"),
    "blocks": ("design", "runs"),
    "combining": ("design", "models", "blocks", "engine"),
    "continuing": ("design", "runs"),
    "origins": ("design", "models", "tasks", "blocks"),
    "bin": ("design", "tasks", "runs"),
    "fetches": ("design", "models", "tasks"),
    "engine": ("design",),
    "child": ("design",),
    "asking": ("child",),
    "planning": ("design", "models", "tasks", "engine", "child"),
    "export": ("design", "models", "tasks", "blocks", "origins", "engine", "runs", ""),
    "importing": ("design", "models", "tasks", "blocks", "origins", "engine", "runs", "export", "verbs", ""),
    "training": ("child", "design", "models", "tasks", "blocks", "combining", "continuing", "origins", "engine", "runs", "planning", "tracking", ""),
    "inside": ("child", "design", "models", "tasks", "blocks", "origins", "engine", "runs", "export", ""),
    "trying": ("child", "design", "models", "tasks", "blocks", "combining", "origins", "engine", "runs", "export", ""),
    "tracking": ("design", "runs"),
    "frames": ("design", "runs", "results", "verbs"),
    "results": ("design", "models", "tasks", "runs"),
    "searching": ("design", "models", "tasks", "runs", "results", "verbs", ""),
    "doctor": ("design", "runs", "planning", "training"),
    "verbs": (
        "bin",
        "fetches",
        "design",
        "models",
        "tasks",
        "blocks",
        "combining",
        "continuing",
        "origins",
        "runs",
        "planning",
        "export",
        "results",
        "tracking",
    ),
    "boards": ("design", "results", "runs", "verbs", ""),
    "cli": (
        "bin",
        "fetches",
        "importing",
        "boards",
        "inside",
        "design",
        "models",
        "tasks",
        "blocks",
        "continuing",
        "origins",
        "runs",
        "planning",
        "export",
        "verbs",
        "results",
        "searching",
        "tracking",
        "doctor",
        "ui",
        "",
    ),
    "ui": (
        "asking",
        "child",
        "bin",
        "fetches",
        "importing",
        "design",
        "models",
        "tasks",
        "blocks",
        "combining",
        "origins",
        "engine",
        "runs",
        "planning",
        "export",
        "verbs",
        "results",
        "searching",
        "cli",
        "",
    ),  # fmt: skip
    "__init__": (),
    "__main__": ("cli",),
}
FORBIDDEN = {
    "gradio": lambda room: room != "ui",
    "torch": lambda room: room in ("design", "runs", "results", "searching", "ui", "cli", "verbs", "__init__", "__main__"),
    "transformers": lambda room: room in ("design", "runs", "results", "searching", "cli", "verbs", "__init__", "__main__"),
    "peft": lambda room: True,
    "adapters": lambda room: True,
    "ray": lambda room: room != "runs",
    "optuna": lambda room: room != "searching",
}


WINGS = {  # the wings of lab/design: those that each may import, besides itself and the words in lab/design/space.py
    "plain": (),
    "presets": ("plain",),
    "body": ("plain", "presets"),
    "method": ("plain", "presets", "body"),
    "spec": ("plain", "presets", "method"),
    "figure": ("plain", "body", "method"),
}


PAGES = tuple(sorted(path.parent.name for path in (ROOT / "lab" / "ui").glob("*/page.py")))
UI = {  # the rooms of lab/ui: those that each may import, besides itself; a page imports no other page
    "words": (),
    "shell": ("words",),
    **dict.fromkeys(PAGES, ("shell", "words")),
    "door": (),
    "api": ("compare", "export", "shell"),
    "app": ("api", "shell", *PAGES),
    "serve": ("app", "door", "shell", "words"),
}


def modules() -> list[Path]:
    return sorted((ROOT / "lab").rglob("*.py"))


def room_of(path: Path) -> str:
    first = path.relative_to(ROOT / "lab").parts[0]
    return first.removesuffix(".py")


@functools.cache
def imports(path: Path) -> list[ast.Import | ast.ImportFrom]:
    """Every import of a file, also inside functions. Only those for type hints do not count."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    hints = {id(inner) for node in ast.walk(tree) if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
             for part in node.body for inner in ast.walk(part)}  # fmt: skip
    found = [node for node in ast.walk(tree) if isinstance(node, (ast.Import, ast.ImportFrom)) and id(node) not in hints]
    for node in found:
        assert not getattr(node, "level", 0), f"{path}:{node.lineno}: write absolute imports"
    return found


def imported(path: Path) -> list[tuple[str, int]]:
    """Every module that a file imports; names of `lab` as dotted paths."""
    found = []
    for node in imports(path):
        if isinstance(node, ast.Import):
            found += [(alias.name, node.lineno) for alias in node.names]
        elif node.module == "lab":
            found += [(f"lab.{alias.name}", node.lineno) for alias in node.names]
        else:
            found.append((node.module, node.lineno))
    return found


def files_imported(path: Path, names: Collection[str]) -> set[str]:
    """Which of the modules `names` a file imports: `from lab.runs import queue` is lab.runs.queue, `from lab.runs import Queue` lab.runs."""
    found = set()
    for node in imports(path):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        else:
            found |= {whole if (whole := f"{node.module}.{alias.name}") in names else node.module for alias in node.names}
    return found & set(names)


def test_arrows_go_downwards():
    wrong = []
    for path in modules():
        room = room_of(path)
        assert room in MAY, f"lab/{room} is no room of the design; say in tests/test_imports.py what it may import"
        for name, line in imported(path):
            top, _, rest = name.partition(".")
            if top == "lab":
                target = rest.split(".")[0]
                target = target if (ROOT / "lab" / target).is_dir() or (ROOT / "lab" / f"{target}.py").exists() else ""
                allowed = target == room or target in MAY[room]
            else:
                allowed = top not in FORBIDDEN or not FORBIDDEN[top](room)
            if not allowed:
                wrong.append(f"{path.relative_to(ROOT)}:{line}: lab/{room} must not import {name}")
    assert wrong == []


def test_no_circle_of_files():
    """No file imports itself by way of others, also inside functions; so each can be read, and tested, after those below it."""
    names = {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path for path in modules()}
    below = {name: files_imported(path, names) - {name} for name, path in names.items()}
    try:
        TopologicalSorter(below).prepare()
    except CycleError as error:
        pytest.fail("a circle: " + " <- ".join(error.args[1]))


@pytest.mark.parametrize("wing", WINGS)
def test_wings_of_design_import_downwards(wing: str):
    for path in sorted((ROOT / "lab" / "design" / wing).rglob("*.py")):
        for name, line in imported(path):
            parts = name.split(".")
            if parts[:2] == ["lab", "design"]:
                assert parts[2] in (wing, "space", *WINGS[wing]), f"{path}:{line}: lab/design/{wing} must not import {name}"


def test_rooms_of_the_pages_import_downwards():
    places = {path.name.removesuffix(".py") for path in (ROOT / "lab" / "ui").iterdir()} - {"__pycache__", "__init__"}
    assert len(PAGES) > 7 and places == set(UI), "each place on the top level says above what it may import"
    for path in sorted((ROOT / "lab" / "ui").rglob("*.py")):
        room = path.relative_to(ROOT / "lab" / "ui").parts[0].removesuffix(".py")
        for name, line in imported(path):
            parts = name.split(".")
            if parts[:2] == ["lab", "ui"] and len(parts) > 2:
                assert parts[2] in (room, *UI[room]), f"{path}:{line}: lab/ui/{room} must not import {name}"


@pytest.mark.parametrize("page", PAGES)
def test_a_page_is_one_folder(page: str):
    """What a page needs lies beside it: its builder and its scripts, which are found by folder."""
    folder = ROOT / "lab" / "ui" / page
    assert (folder / "page.py").is_file() and list(folder.glob("*.js"))


def test_the_design_room_needs_pydantic_and_yaml_alone():
    for path in (ROOT / "lab" / "design").rglob("*.py"):
        for name, line in imported(path):
            top = name.split(".")[0]
            assert top in STANDARD or top in ("lab", "pydantic", "pydantic_core", "yaml"), f"{path}:{line} imports {name}"


def test_nothing_of_the_workplace_is_named():
    """The project reads nothing outside its own folder: no path of the machine that it was written on."""
    for path in [*modules(), ROOT / "app.py", *(ROOT / "presets").rglob("*.yaml")]:
        text = path.read_text(encoding="utf-8")
        assert "/work/" not in text and "../shared" not in text, path


LIGHT = [
    "import lab; lab.methods(); lab.models(); lab.load_method('mam')",
    "import lab; lab.count('bart-large', 'mam')",
    "import lab.export; lab.export.formats()",
    "import lab.cli; lab.cli.main(['methods', '--json'])",
    "import lab.cli; lab.cli.main(['tasks', '--json'])",
    "import lab.cli; lab.cli.main(['count', '--model', 'minilm-l6', '--method', 'lora', '--json'])",
    "import lab.cli; lab.cli.main(['runs', '--json'])",
]


def test_light_verbs_import_no_torch(lab_home):
    """In a fresh process, since other tests of this one have imported everything."""
    check = "import sys; heavy = {{'torch', 'transformers', 'gradio', 'pandas'}} & set(sys.modules); assert not heavy, ({code!r}, heavy)"
    lines = [line for code in LIGHT for line in (code, check.format(code=code))]
    subprocess.run([sys.executable, "-c", "\n".join(lines)], check=True, cwd=ROOT, stdout=subprocess.DEVNULL, timeout=60)


def test_importing_lab_imports_nothing_else():
    code = "import sys; before = set(sys.modules); import lab; new = {n for n in set(sys.modules) - before if n.startswith('lab.')}; assert not new, new"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, timeout=60)
