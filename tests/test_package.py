"""The lab as an installed package: what its wheels hold, and that they work without the checkout, from a folder of somebody else's."""

from __future__ import annotations

import email
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import lab

ROOT = Path(__file__).resolve().parents[1]
SOURCES = ("lab", "presets", "pyproject.toml", "setup.py", "README.md", "LICENSE", *(path.name for path in ROOT.glob("requirements*.txt")))


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """{"delta_lab": wheel, "delta_lab_data": wheel}, built of a copy, since setuptools writes beside its sources."""
    folder = tmp_path_factory.mktemp("wheels")
    copy = folder / "checkout"
    for name in SOURCES:
        source = ROOT / name
        shutil.copytree(source, copy / name, ignore=shutil.ignore_patterns("__pycache__", "build", "*.egg-info")) if source.is_dir() else shutil.copy(
            source, copy
        )
    for source in (copy, copy / "presets" / "data"):
        command = [
            sys.executable,
            "-m",
            "pip",
            "--disable-pip-version-check",
            "wheel",
            "-q",
            "--no-deps",
            "--no-build-isolation",
            "-w",
            str(folder),
            str(source),
        ]
        done = subprocess.run(command, capture_output=True, text=True, cwd=folder)
        assert done.returncode == 0, done.stdout + done.stderr
    return {path.name.partition("-")[0]: path for path in folder.glob("*.whl")}


@pytest.fixture(scope="module")
def site(wheels: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The wheels as pip lays them out (both are pure), each in a folder for PYTHONPATH."""
    found = {}
    for name, wheel in wheels.items():
        found[name] = tmp_path_factory.mktemp(name)
        with zipfile.ZipFile(wheel) as packed:
            packed.extractall(found[name])
    return found


def names(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as packed:
        return set(packed.namelist())


def metadata(wheel: Path) -> email.message.Message:
    with zipfile.ZipFile(wheel) as packed:
        return email.message_from_bytes(packed.read(next(name for name in packed.namelist() if name.endswith(".dist-info/METADATA"))))


def tracked(*folders: str) -> list[str]:
    """Files of the checkout below some folders, without what tools leave there."""
    paths = [path for folder in folders for path in (ROOT / folder).rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    return [path.relative_to(ROOT).as_posix() for path in paths if not re.search(r"\.egg-info/|/build/", path.as_posix())]


def test_every_file_travels(wheels: dict[str, Path]) -> None:
    """All of lab/ and presets/, data files too; the texts of presets/data in a wheel of their own, so that the lab's is Apache-2.0 alone."""
    inside = names(wheels["delta_lab"])
    for name in tracked("lab", "presets"):
        if not name.startswith("presets/data/"):
            assert (f"lab/{name}" if name.startswith("presets/") else name) in inside, f"{name}: say in setup.py that it belongs to the package"
    assert not [name for name in inside if "presets/data" in name or name.split("/")[0] not in ("lab", f"delta_lab-{lab.__version__}.dist-info")]
    data = names(wheels["delta_lab_data"])
    for name in tracked("presets/data"):
        short = name.removeprefix("presets/data/")
        assert f"delta_lab_data/{short}" in data or "/" not in short, name


def test_metadata_are_those_of_the_requirements(wheels: dict[str, Path]) -> None:
    facts = metadata(wheels["delta_lab"])
    assert (facts["Name"], facts["Version"], facts["License-Expression"]) == ("delta-lab", lab.__version__, "Apache-2.0")
    given: dict[str, set[str]] = {}
    for line in facts.get_all("Requires-Dist"):
        requirement = Requirement(line)
        extra = str(requirement.marker).partition("extra == ")[2].strip("\"'") if requirement.marker else ""
        given.setdefault(extra, set()).add(f"{requirement.name}{sorted(requirement.extras)}{requirement.specifier}")
    assert set(facts.get_all("Provides-Extra")) == set(given) - {""} >= {"data", "mcp", "postgres", "quantised", "ray", "test", "tracking"}
    for extra, found in given.items():
        lines = (ROOT / (f"requirements-{extra}.txt" if extra else "requirements.txt")).read_text(encoding="utf-8").splitlines()
        wanted = {f"{one.name}{sorted(one.extras)}{one.specifier}" for line in lines if (text := line.partition("#")[0].strip()) for one in [Requirement(text)]}
        assert wanted <= found, extra
    assert metadata(wheels["delta_lab_data"])["License-Expression"].startswith("LicenseRef-")
    minor = re.findall(r"Python :: 3\.(\d+)", "\n".join(facts.get_all("Classifier")))
    assert [int(one) for one in minor] == list(range(11, 15)) and "3.15" in facts["Requires-Python"]


def command(site: list[Path], folder: Path, *arguments: str, script: str = "delta-lab", **environment: str) -> subprocess.CompletedProcess:
    """The console script, as pip writes it, with the packages of `site` and without the checkout."""
    code = f"import sys; sys.argv[0] = {script!r}; from importlib.metadata import entry_points as e; sys.exit(e(group='console_scripts')['delta-lab'].load()())"
    kept = {name: value for name, value in os.environ.items() if not name.startswith("LAB_")}
    kept |= {"PYTHONPATH": os.pathsep.join(map(str, site)), "HOME": str(folder), "PYTHONDONTWRITEBYTECODE": "1", **environment}
    return subprocess.run([sys.executable, "-c", code, *arguments], cwd=folder, env=kept, capture_output=True, text=True, timeout=120)


def test_it_works_from_any_folder_and_makes_none(site: dict[str, Path], tmp_path: Path) -> None:
    here = [site["delta_lab"]]
    assert command(here, tmp_path, "--version").stdout == f"delta-lab {lab.__version__}\n"
    listed = command(here, tmp_path, "methods")
    assert listed.returncode == 0 and {path.stem for path in (ROOT / "presets" / "methods").glob("*.yaml")} <= {
        line.split(" ")[0] for line in listed.stdout.splitlines()
    }
    runs = command(here, tmp_path, "runs")
    assert runs.returncode == 0 and "delta-lab run --model" in runs.stdout
    shown = command(here, tmp_path, "show", "k7qm2x9b")
    assert shown.returncode == 2 and str(tmp_path / "lab-home") in shown.stderr
    code = "import lab, pathlib; lab.methods(); lab.count('bart-large', 'mam'); print(lab.__file__, lab.runs())"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(here[0]), "LAB_HOME": "", "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
    )
    assert str(here[0]) in done.stdout and "[]" in done.stdout, done.stderr
    assert list(tmp_path.iterdir()) == []


def test_bundled_sets_are_read_from_their_package_or_asked_for(site: dict[str, Path], tmp_path: Path) -> None:
    code = ("import sys; from lab.design.plain.refusal import Refusal\nfrom lab.tasks import resolve\nfrom lab.tasks.prepared import raw_rows\n"
            "try: print({split: len(rows) for split, rows in raw_rows(resolve('text-lm')).items()})\nexcept Refusal as refusal: print(refusal.sentence)")  # fmt: skip
    told = []
    for packages in ([site["delta_lab"]], [site["delta_lab"], site["delta_lab_data"]]):
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=tmp_path, env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, packages))}, capture_output=True, text=True
        )
        told.append(done.stdout.strip())
    assert told[0] == "The data come with the Python package delta-lab-data, which is not installed: run 'pip install --no-deps delta-lab-data'."
    assert told[1] == str(resolved("text-lm"))


def resolved(task: str) -> dict[str, int]:
    from lab.tasks import resolve

    return resolve(task).rows


def test_sentences_name_the_command_as_it_was_called(site: dict[str, Path], tmp_path: Path) -> None:
    for script, name in (("/usr/bin/delta-lab", "delta-lab"), ("/somewhere/lab/__main__.py", "python -m lab")):
        assert f"{name} run --model" in command([site["delta_lab"]], tmp_path, "runs", script=script).stdout
        assert f"see {name} count --help" in command([site["delta_lab"]], tmp_path, "count", script=script).stderr


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_a_script_of_that_shell(shell: str, tmp_path: Path) -> None:
    pytest.importorskip("shtab")
    script = tmp_path / "script"
    script.write_text(subprocess.run([sys.executable, "-m", "lab", "completion", shell], cwd=ROOT, capture_output=True, text=True, check=True).stdout)
    assert "lora-plus" in script.read_text() and "minilm-l6" in script.read_text()
    if found := shutil.which(shell):
        assert subprocess.run([found, "-n", str(script)], capture_output=True).returncode == 0
    if shell == "bash":
        asked = 'source "$0"; COMP_WORDS=(delta-lab run --method lora-p); COMP_CWORD=3; _shtab_delta_lab; echo "${COMPREPLY[@]}"'
        assert subprocess.run(["bash", "-c", asked, str(script)], capture_output=True, text=True).stdout.split() == ["lora-plus"]
