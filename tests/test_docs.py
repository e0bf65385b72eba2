"""The docs say what the code does: the recipes of CONTRIBUTING.md work, and generated pages are current."""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from lab.design import reference
from lab.design.presets.catalogue import names
from lab.design.spec.search import search_of

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"


KINDS = ("method", "form", "composition", "schedule", "architecture", "task family", "option", "export format", "page")


def test_the_page_of_methods_is_current() -> None:
    assert reference.main(["--check"]) == 0, "run: python -m lab.design.reference"


def test_every_page_has_a_picture_and_a_place_in_the_tour() -> None:
    """`make screenshots` takes one of each page of the app, and the tour says what each is for."""
    spec = importlib.util.spec_from_file_location("screenshots", DOCS / "screenshots.py")
    screenshots = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(screenshots)
    tour = (DOCS / "tour.md").read_text(encoding="utf-8")
    pages = sorted((ROOT / "lab" / "ui").glob("*/page.py"))
    routes = [re.split(r"[?/]", route)[0] or "bench" for route, _, _ in screenshots.PAGES.values()]
    assert len(pages) > 9 and {page.parent.name for page in pages} == set(routes)
    for page in pages:
        title = re.search(r'^TITLE, PLACE = "([^"]+)"', page.read_text(encoding="utf-8"), re.M).group(1)
        assert f"**{title}**" in tour, title
    assert search_of(screenshots.SEARCH).name == "pictures"


def test_the_page_of_fidelity_is_current() -> None:
    """It is that of the presets and of benchmarks/fidelity.json, whose comparisons are all of presets and within bounds."""
    spec = importlib.util.spec_from_file_location("fidelity", DOCS.parent / "benchmarks" / "fidelity.py")
    fidelity = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(fidelity)
    assert fidelity.main(["--check"]) == 0, "run: python benchmarks/fidelity.py --page"
    rows = fidelity.kept()["comparisons"]
    assert rows and {row["method"] for row in rows} <= set(names("methods")) and all(0 <= row["error"] <= 1e-4 for row in rows)
    assert {row["against"].split()[0] for row in rows} >= {"peft"}


def test_the_table_of_exports_is_current() -> None:
    """It is that of benchmarks/exports.json, in which no round trip failed."""
    spec = importlib.util.spec_from_file_location("exports", DOCS.parent / "benchmarks" / "exports.py")
    exports = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(exports)
    assert exports.main(["--check"]) == 0, "run: python benchmarks/exports.py --page"
    assert [key for key, outcome in exports.kept().items() if outcome.startswith("differs")] == []


@dataclass
class Recipe:
    """A section of CONTRIBUTING.md: files to write, lines to change, commands to run."""

    title: str
    files: list[tuple[str, str]]
    changes: list[tuple[str, str, str]]  # file, lines as they are, lines as they become
    commands: list[list[str]]


def recipes() -> list[Recipe]:
    found = []
    for section in (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").partition("\n# Recipes\n")[2].split("\n## ")[1:]:
        recipe = Recipe(section.partition(":")[0].splitlines()[0], [], [], [])
        for language, name, text in re.findall(r"^```(\w+)(?: (\S+))?\n(.*?)^```", section, re.MULTILINE | re.DOTALL):
            if language == "diff":
                lines = [line for line in text.splitlines() if not line.startswith(("---", "@@"))]
                file = next(line for line in lines if line.startswith("+++ b/")).removeprefix("+++ b/")
                lines = [line for line in lines if not line.startswith("+++")]
                recipe.changes.append((file, *("".join(f"{line[1:]}\n" for line in lines if line[0] != mark) for mark in "+-")))
            elif name:
                recipe.files.append((name, text))
            elif language == "sh":
                recipe.commands += [shlex.split(line) for line in text.splitlines()]
        found.append(recipe)
    return found


RECIPES = recipes()
TESTS = ["python", "-m", "pytest", "-q"]


@pytest.fixture(scope="module")
def carried_out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the repository in which every recipe was followed."""
    copy = tmp_path_factory.mktemp("recipes") / "lab"
    for part in ("lab", "presets", "tests", "docs", "pyproject.toml"):
        source, target = ROOT / part, copy / part
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__", "images")) if source.is_dir() else shutil.copy(source, target)
    for recipe in RECIPES:
        for name, text in recipe.files:
            assert not (copy / name).exists(), f"{recipe.title}: {name} is there already"
            (copy / name).parent.mkdir(exist_ok=True)
            (copy / name).write_text(text, encoding="utf-8")
        for name, before, after in recipe.changes:
            text = (copy / name).read_text(encoding="utf-8")
            assert text.count(before) == 1, f"{recipe.title}: these lines are not in {name}, or twice:\n{before}"
            (copy / name).write_text(text.replace(before, after), encoding="utf-8")
    return copy


def run_there(copy: Path, *command: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(copy), "LAB_HOME": str(copy / "home")}
    done = subprocess.run([sys.executable, *command], cwd=copy, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, f"{shlex.join(command)}\n{done.stdout[-3000:]}{done.stderr[-3000:]}"
    return done.stdout


def test_methods_are_small() -> None:
    """Of the methods that have files of their own, half took fewer than sixty lines of code."""
    spec = importlib.util.spec_from_file_location("methods_size", DOCS.parent / "benchmarks" / "methods_size.py")
    sizes = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sizes)
    table = [int(line.split(" | ")[2]) for line in sizes.page().splitlines() if line.startswith("| ") and line.split(" | ")[2].isdigit()]
    own = sorted(size for size in table if size)
    assert len(own) > 20 and own[len(own) // 2] < 60


def test_contributing_says_how_to_add_each_kind_of_thing() -> None:
    titles = " ".join(recipe.title for recipe in RECIPES)
    for kind in KINDS:
        assert kind in titles, kind
    assert all(recipe.commands for recipe in RECIPES)


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.title)
def test_a_recipe_of_contributing_works(recipe: Recipe, carried_out: Path) -> None:
    for _python, *command in [command for command in recipe.commands if command[:4] != TESTS]:
        run_there(carried_out, *command)


def test_the_tests_that_recipes_name_pass(carried_out: Path) -> None:
    """In one process, since importing torch takes longest."""
    asked = [command[4:] for recipe in RECIPES for command in recipe.commands if command[:4] == TESTS]
    files = sorted({command[0] for command in asked})
    words = [word for _, _, chosen in asked for word in chosen.split(" or ")]
    done = run_there(carried_out, "-m", "pytest", "-v", "-p", "no:cacheprovider", *files, "-k", " or ".join(words))
    for word in words:
        assert re.search(rf"{word}.* PASSED", done), f"{word}: no test of that name ran\n{done[-2000:]}"


def test_the_new_option_is_in_the_docs_of_the_terminal(carried_out: Path) -> None:
    assert "--momentum" in run_there(carried_out, "-m", "lab", "run", "--help")
