"""What goes online, as far as it can be held without Docker: the Dockerfile's rules, what it copies, a Space's head, and that docs name what there is."""

from __future__ import annotations

import fnmatch
import re
import shutil
import subprocess
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
STEPS = [line.partition(" ")[::2] for line in re.sub(r"\\\n\s*", "", DOCKERFILE).splitlines() if line and not line.startswith("#")]


def stage() -> list[tuple[str, str]]:
    """The instructions of the image that is run."""
    last = max(place for place, (name, _) in enumerate(STEPS) if name == "FROM")
    return STEPS[last:]


def test_the_container_is_nobodys_root_and_tells_its_health() -> None:
    given = dict(stage())
    assert given["USER"] == "1000" and '"delta-lab", "serve"' in given["CMD"]
    order = [name for name, _ in stage()]
    assert order.index("USER") < order.index("CMD") and "urlopen" in given["HEALTHCHECK"]
    variables = dict(re.findall(r"(\w+)=(\S+)", given["ENV"]))
    assert variables["LAB_HOST"] == "0.0.0.0" and variables["LAB_HOME"].startswith("/data/") and "LAB_ANYONE" not in DOCKERFILE.replace("LAB_ANYONE=1)", "")
    assert "LAB_PORT" not in variables, "a host's PORT must count"
    arguments = {text.partition("=")[0]: text.partition("=")[2] for name, text in STEPS if name == "ARG"}
    assert arguments["TORCH"] == "cpu" and "cuda" in DOCKERFILE
    if found := shutil.which("hadolint"):
        assert subprocess.run([found, str(ROOT / "Dockerfile")]).returncode == 0


def test_what_the_image_is_built_of_is_what_the_wheels_are() -> None:
    from test_package import SOURCES

    allowed = [line[1:] for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines() if line.startswith("!")]
    assert all(any(fnmatch.fnmatch(name, pattern) for pattern in allowed) for name in SOURCES)
    assert all(list(ROOT.glob(pattern)) for pattern in allowed)
    pinned = re.search(r"^torch==\S+", (ROOT / "requirements.txt").read_text(encoding="utf-8"), re.M)
    asked = re.search(r"sed -n '(s/.*?/p)' requirements.txt", DOCKERFILE)[1]
    assert subprocess.run(["sed", "-n", asked, str(ROOT / "requirements.txt")], capture_output=True, text=True).stdout.strip() == pinned[0]


def test_a_spaces_head_is_that_of_the_image() -> None:
    _, head, text = (ROOT / "deploy" / "space" / "README.md").read_text(encoding="utf-8").split("---\n", 2)
    found = yaml.safe_load(head)
    assert found["sdk"] == "docker" and str(found["app_port"]) == dict(stage())["EXPOSE"] and found["license"] == "apache-2.0"
    assert found["title"] and found["emoji"] and len(found["short_description"]) <= 60 and {"colorFrom", "colorTo"} <= set(found)
    assert "LAB_AUTH" in text and "/data" in text


def test_the_docs_name_every_verb_of_the_api_and_every_extra() -> None:
    from lab.ui import api

    page = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    assert all(f"`/{verb.__name__}`" in page for verb in (*api.VERBS, api.export))
    install = (ROOT / "docs" / "install.md").read_text(encoding="utf-8")
    extras = re.findall(r"^(\w+) = \{ file = \[\"requirements-", (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.M)
    assert extras and all(f"`delta-lab[{extra}]`" in install for extra in extras)
