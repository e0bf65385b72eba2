"""The pages' scripts: their own tests in node, and what can be read from the source: imports that are there, arrows between folders, one global."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from lab.ui.shell import assets

ROOT = Path(__file__).resolve().parents[1]
UI = ROOT / "lab" / "ui"
SCRIPTS = sorted(UI.rglob("*.js"))
IMPORT = re.compile(r'^import \{([^}]*)\} from "([^"]+)";$', re.M)


@pytest.mark.skipif(not shutil.which("node"), reason="there is no node")
def test_functions_of_the_scripts():
    done = subprocess.run(
        ["node", "--test", "--test-reporter=tap", *sorted(map(str, (ROOT / "tests" / "scripts").glob("*.test.mjs")))],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert int(re.search(r"^# pass (\d+)", done.stdout, re.M).group(1)) > 15


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: str(path.relative_to(UI)))
def test_what_a_script_imports_is_there(path: Path):
    """A browser refuses a whole module for one name that is not exported; a page imports from the shell and from itself alone."""
    text = path.read_text(encoding="utf-8")
    imports = IMPORT.findall(text)
    assert len(imports) == len(re.findall(r"^\s*import\b", text, re.M)), "write import { names } from a file"
    for names, source in imports:
        target = (path.parent / source).resolve()
        assert target.parent in (path.parent, UI / "shell"), f"{path}: imports {source}"
        exported = set(re.findall(r"^export (?:const|class|function|let) (\w+)", target.read_text(encoding="utf-8"), re.M))
        assert {name.strip() for name in names.split(",") if name.strip()} <= exported, (path, source)


def test_every_export_is_imported_and_every_part_is_called():
    """Code that nothing uses goes."""
    texts = {path: path.read_text(encoding="utf-8") for path in SCRIPTS}
    imported = {name.strip() for text in texts.values() for names, _ in IMPORT.findall(text) for name in names.split(",")}
    exported = {name for text in texts.values() for name in re.findall(r"^export (?:const|class|function|let) (\w+)", text, re.M)}
    assert exported - imported == set()
    registered = [name.strip() for text in texts.values() for names in re.findall(r"^register\(\{([^}]*)\}\);", text, re.M) for name in names.split(",")]
    called = {name for path in UI.rglob("*.py") for name in re.findall(r"\bLab\.(\w+)", path.read_text(encoding="utf-8"))}
    assert sorted(registered) == sorted(called)


def test_one_global_is_ours():
    for path in SCRIPTS:
        written = set(re.findall(r"\bwindow\.(\w+) = ", path.read_text(encoding="utf-8")))
        assert written <= ({"Lab"} if path == UI / "shell" / "parts.js" else set()), path


def test_the_app_serves_them_alone_and_under_an_address_of_their_state():
    visitor = TestClient(Starlette(routes=[assets.ROUTE]))
    addresses = re.findall(r'(?:src|href)="([^"]+)"', assets.head() + assets.modules())
    assert len(addresses) == len(SCRIPTS) + len(list(UI.rglob("*.css")))
    for address in addresses:
        found = visitor.get("/" + address)
        assert found.content == (UI / address.partition(f"/{assets.version()}/")[2]).read_bytes() and "immutable" in found.headers["cache-control"]
        assert found.headers["content-type"].split(";")[0] == ("text/css" if address.endswith(".css") else "text/javascript")
    assert "immutable" not in visitor.get("/parts/of-yesterday/shell/dom.js").headers["cache-control"]
    for path in ("shell/poll.py", "words/words.yaml", "shell/../serve.py", "..%2f..%2f..%2fapp.py", "/etc/passwd", "shell", ""):
        assert visitor.get(f"/parts/{assets.version()}/{path}").status_code == 404, path
