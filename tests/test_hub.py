"""Models and data of the hub by the real clients, against a small hub on 127.0.0.1: what loads, and one sentence for each way it cannot."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow
import pytest
from fake_hub import Repo, hub
from pyarrow import parquet
from training_support import save_model

ROOT = Path(__file__).resolve().parents[1]
HEAD = """
import json, sys, warnings
warnings.simplefilter("ignore")
from lab.design.body.model import Source
from lab.design.plain.refusal import Refusal
from lab.models import load, resolve
from lab.tasks import resolve as task_of
from lab.tasks.prepared import raw_rows
from lab.tasks.sources import DataSource

def model(name, revision=""):
    spec = resolve(name)
    return spec.model_copy(update={"source": Source(hub=name, revision=revision)})

def task(**source):
    return task_of({"family": "classification", "labels": ["dull", "fine"], "columns": {"text": "sentence"}, "max_length": 24, "name": "hubbed",
                    "source": {"splits": {"train": "train", "validation": "validation"}, **source}})

def tried(act):
    try:
        return act()
    except Refusal as refusal:
        return str(refusal)

told = {}
"""
GOOD = """
first = load("acme/tiny", objective="classification", num_labels=2)
pinned = load(model("acme/tiny", "v1"), objective="classification", num_labels=2)
told["kind"], told["hub"] = resolve("acme/tiny").kind, resolve("acme/tiny").source.hub
told["weights"] = [float(m.bert.embeddings.word_embeddings.weight.sum()) for m in (first, pinned)]
told["rows"] = [{split: len(rows) for split, rows in raw_rows(task(hub="acme/reviews", **more)).items()}
                for more in ({"revision": "refs/convert/parquet"}, {}, {"splits": {"train": "train[:75%]", "validation": "train[75%:]"}})]
"""
BROUGHT = """
from lab.tasks import gathering, importing
def brought(address, **choices):
    token, notes = gathering.bring(address, **choices)
    look = importing.preview(importing.staged(token))
    importing.unstage(token)
    return [look.splits, look.spec.columns, notes]
told["brought"] = [brought("hub:acme/reviews"), brought("hub:acme/reviews", rows=12, revision="refs/convert/parquet"),
                   brought("hub:acme/reviews", splits={"train": "train[:50%]", "validation": "validation"})]
told["not brought"] = [tried(lambda: brought(address, **choices)) for address, choices in (("hub:acme/none", {}), ("hub:acme/terms", {}), ("hub:../x", {}),
                       ("hub:acme/reviews", {"splits": {"train": "nope"}}), ("hub:acme/reviews", {"config": "nope"}), ("hub:acme/reviews", {"rows": 0}))]
"""
TRAINED = """
from lab.design.spec.run import spec_of
from lab.training import Record, train
run = spec_of({"model": "acme/tiny", "task": task(hub="acme/reviews"), "method": "lora", "training": {"steps": 3, "batch_size": 4, "energy": False, "device": "cpu"}})
told["trained"] = train(run, Record(), sys.argv[1], say=lambda line: None)["state"]
"""
CHECKED = """
from lab import verbs
from lab.tasks import sources
talks = task_of({"family": "instruction", "columns": {"messages": "messages"}, "name": "talks", "source": {"hub": "acme/talks", "splits": {"train": "train", "validation": "validation"}}})
launch = lambda: tried(lambda: verbs.check({"model": sys.argv[1], "task": talks, "method": "lora"}).task.name)
told["first"] = [len(sources.first_rows(talks.source, 5))]
told["checked"] = [launch()]
raw_rows(talks)
told["first"].append({split: len(rows) for split, rows in sources.first_rows(talks.source, 5).items()})
told["checked"].append(launch())
"""
FETCHED = """
import time
from lab import fetches
from lab.ui.bench.fetches import fetching
THINGS = [("models", "acme/tiny"), ("tasks", "commonsense-boolq"), ("models", "acme/pickle")]
states = lambda: [fetches.available(*thing).state for thing in THINGS]
asked = lambda act: fetching({"field": "model", "name": "acme/tiny", "act": act, "language": "en"})
told["before"], told["marked"] = states(), "commonsense-boolq" in fetches.elsewhere("tasks")
told["shown"] = [asked(""), asked("size")]
fetches.FETCHES.start(*THINGS[1])
fetches.FETCHES.cancel(*THINGS[1])
told["cancelled"] = [fetches.FETCHES.standing(*THINGS[1])["state"], states()[1], fetches.FETCHES._going[THINGS[1]].process.poll() is not None]
processes = []
for thing in THINGS + THINGS:
    fetches.FETCHES.start(*thing)
    processes.append(fetches.FETCHES._going[thing].process.pid)
told["one each"], told["fourth"] = len(set(processes)), tried(lambda: fetches.FETCHES.start("tasks", "sst2"))
told["going"] = asked("")["state"]
until = time.monotonic() + 200
while any(fetches.FETCHES.standing(*thing)["state"] == "going" for thing in THINGS) and time.monotonic() < until:
    time.sleep(0.1)
told["ended"], told["after"] = [fetches.FETCHES.standing(*thing) for thing in THINGS], states()
told["marked after"], told["shown after"] = "commonsense-boolq" in fetches.elsewhere("tasks"), asked("")
"""
OFFLINE = """
from lab import fetches
told["states"] = [fetches.available(*thing) .__dict__ for thing in (("models", "acme/tiny"), ("models", "gpt2"), ("tasks", "commonsense-boolq"), ("tasks", "sst2"))]
"""
BAD = """
for name in ("acme/none", "acme/closed", "acme/bare", "acme/pickle"):
    told[name] = tried(lambda: load(name, objective="classification"))
told["acme/tiny@nope"] = tried(lambda: load(model("acme/tiny", "nope"), objective="classification"))
for key, more in {"none": {"hub": "acme/none"}, "closed": {"hub": "acme/terms"}, "script": {"hub": "acme/script"}, "empty": {"hub": "acme/empty"},
                  "revision": {"hub": "acme/reviews", "revision": "nope"}, "config": {"hub": "acme/reviews", "config": "nope"},
                  "split": {"hub": "acme/reviews", "splits": {"train": "nope"}}}.items():
    told["data " + key] = tried(lambda: raw_rows(task(**more)))
"""
LOADED = """
told["rows"] = [tried(lambda: len(raw_rows(task(hub="acme/reviews", revision=revision))["train"])) for revision in sys.argv[1:]]
"""
MOVED = """
from transformers import AutoConfig, AutoTokenizer
from lab.tasks import prepare
def rows():
    return len(prepare(task(hub="acme/moving"), AutoTokenizer.from_pretrained(sys.argv[1]), AutoConfig.from_pretrained(sys.argv[1]), cache_dir=sys.argv[2]).train)
told["rows"] = [rows(), len(raw_rows(task(hub="acme/moving"))["train"]), rows()]
"""
ABSENT = """
told["model"], told["data"] = tried(lambda: load("acme/tiny", objective="classification")), tried(lambda: raw_rows(task(hub="acme/reviews")))
"""
END = "\nprint(json.dumps(told))\n"
SENTENCES = {
    "acme/none": "The hub has no model acme/none, or it is private: check the name, or run 'hf auth login'.",
    "acme/closed": "acme/closed asks for its licence to be accepted: accept it on huggingface.co, then run 'hf auth login'.",
    "acme/bare": "The hub repository acme/bare has no config.json, so it is not a transformers model.",
    "acme/pickle": "acme/pickle has no safetensors weights, and the lab reads no pickles; save it with save_pretrained first.",
    "acme/tiny@nope": "The hub repository acme/tiny has no such revision: check it, or leave it out for the newest.",
    "data none": "The hub has no data set acme/none, or it is private: check the name, or run 'hf auth login'.",
    "data closed": "acme/terms asks for its terms to be accepted: accept them on huggingface.co, then run 'hf auth login'.",
    "data script": "acme/script needs code of its own, which the lab never runs; give the revision refs/convert/parquet.",
    "data empty": "The data set acme/empty has no data files that can be read without code of its own.",
    "data revision": "The data set acme/reviews has no revision 'nope' on the hub: check it, or leave it out for the newest.",
    "data config": "The data set acme/reviews has no configuration 'nope': BuilderConfig 'nope' not found. Available: ['default'].",
    "data split": "acme/reviews has no such split: Unknown split \"nope\". Should be one of ['train', 'validation'].",
}  # fmt: skip


def save_reviews(folder: Path, count: int) -> None:
    """A data set of so many training rows."""
    rows = [{"sentence": f"the film was {['dull', 'fine'][i % 2]} {' '.join(['very'] * (i % 5))} story {i}", "label": i % 2} for i in range(count)]
    (folder / "data").mkdir(parents=True, exist_ok=True)
    parquet.write_table(pyarrow.Table.from_pylist(rows), folder / "data" / "train-00000-of-00001.parquet")
    parquet.write_table(pyarrow.Table.from_pylist(rows[:10]), folder / "data" / "validation-00000-of-00001.parquet")


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """(address, requests, scratch folder) of a hub with models and data sets, good and bad."""
    tmp = tmp_path_factory.mktemp("hub")
    for name, seed in (("main", 0), ("v1", 1)):
        save_model(tmp / "tiny" / name, seed=seed)
    save_reviews(tmp / "reviews" / "main", 40)
    save_reviews(tmp / "reviews" / "parquet", 24)
    save_reviews(tmp / "moving", 40)
    save_talks(tmp / "talks")
    for name, files in {"bare": {"README.md": "x"}, "script": {"script.py": "raise SystemExit('code of a stranger ran')"},
                        "pickle": {"config.json": (tmp / "tiny" / "main" / "config.json").read_text(), "pytorch_model.bin": "x"}}.items():  # fmt: skip
        (tmp / name).mkdir()
        for file, text in files.items():
            (tmp / name / file).write_text(text, encoding="utf-8")
    tiny, reviews = tmp / "tiny" / "main", tmp / "reviews" / "main"
    repos = {"acme/tiny": Repo("models", tiny, {"v1": tmp / "tiny" / "v1"}), "acme/closed": Repo("models", tiny, gated=True), "acme/bare": Repo("models", tmp / "bare"),
             "acme/pickle": Repo("models", tmp / "pickle"), "acme/reviews": Repo("datasets", reviews, {"refs/convert/parquet": tmp / "reviews" / "parquet"}),
             "acme/terms": Repo("datasets", reviews, gated=True), "acme/script": Repo("datasets", tmp / "script"), "acme/empty": Repo("datasets", tmp / "bare"),
             "google/boolq": Repo("datasets", reviews), "acme/moving": Repo("datasets", tmp / "moving"), "acme/talks": Repo("datasets", tmp / "talks")}  # fmt: skip
    with hub(repos) as (address, asked):
        yield address, asked, tmp


def told(code: str, address: str, tmp: Path, cache: str, offline: str = "0", *arguments: str) -> dict:
    """What a fresh process with this hub prints."""
    online = {"HF_ENDPOINT": address, "HF_HOME": str(tmp / cache), "LAB_HOME": str(tmp / "home"), "HF_HUB_OFFLINE": offline, "TRANSFORMERS_OFFLINE": offline,
              "HF_DATASETS_OFFLINE": offline, "HF_HUB_DISABLE_PROGRESS_BARS": "1", "NO_PROXY": "127.0.0.1"}  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", HEAD + code + END, *arguments], env={**os.environ, **online}, cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def save_talks(folder: Path) -> None:
    (folder / "data").mkdir(parents=True)
    for split, count in (("train", 20), ("validation", 10)):
        talk = lambda i: [{"role": "system", "content": "be short"}, {"role": "user", "content": f"q {i}"}, {"role": "assistant", "content": f"a {i}"}]  # noqa: E731
        parquet.write_table(pyarrow.table({"messages": [talk(i) for i in range(count)]}), folder / "data" / f"{split}-00000-of-00001.parquet")


def test_conversations_of_the_hub_that_are_here_are_checked_at_launch(served, tmp_path):
    """What is on this machine is looked at before anything is queued; nothing is downloaded for a look."""
    from transformers import AutoTokenizer

    address, _, tmp = served
    model = save_model(tmp_path / "model", "llama", "causal")
    tokenizer = AutoTokenizer.from_pretrained(model)
    tokenizer.chat_template = (
        "{% for m in messages %}{% if m['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}{{ m['content'] }}{% endfor %}"
    )
    tokenizer.save_pretrained(model)
    found = told(CHECKED, address, tmp, "looked", "0", str(model))
    assert found["first"] == [0, {"train": 5, "validation": 5}]
    assert found["checked"][0] == "talks" and "refuses the system's turn of row 1 (System role not supported)" in found["checked"][1]


def test_what_is_not_here_is_fetched_by_a_process_of_its_own(served):
    """One state for everybody who asks; a size, one fetch of each thing, an end by hand, and one sentence for what fails; offline what is here stays."""
    address, asked, tmp = served
    found = told(FETCHED, address, tmp, "fetched")
    size = sum(path.stat().st_size for path in (tmp / "tiny" / "main").iterdir() if path.suffix in (".json", ".safetensors", ".txt", ".jinja", ".model"))
    assert found["before"] == ["fetchable"] * 3 and found["marked"]
    assert [one["state"] for one in found["shown"]] == ["fetchable"] * 2 and [bool(one["size"]) for one in found["shown"]] == [False, True]
    assert found["cancelled"] == ["cancelled", "fetchable", True]
    assert found["one each"] == 3 and found["fourth"].startswith("3 things are being fetched") and found["going"] == "going"
    tiny, rows, pickle = found["ended"]
    assert (tiny["state"], tiny["done"], tiny["total"]) == ("done", size, size) and (rows["state"], rows["sentence"]) == ("done", ""), found["ended"]
    assert (pickle["state"], pickle["sentence"]) == ("wrong", SENTENCES["acme/pickle"])
    assert found["after"] == ["here", "here", "fetchable"] and not found["marked after"] and found["shown after"]["state"] == "here"
    before = len(asked)
    states = told(OFFLINE, address, tmp, "fetched", "1")["states"]
    assert [one["state"] for one in states] == ["here", "absent", "here", "absent"] and "HF_HUB_OFFLINE is set" in states[1]["words"]
    assert len(asked) == before


@pytest.mark.slow
@pytest.mark.browser
def test_the_bench_fetches_what_is_not_here(served, opened, tmp_path):
    """The picker says what is not here, a button fetches it with its size, and the verdict is asked anew."""
    from ui_support import serving

    address, _, tmp = served
    online = {"HF_ENDPOINT": address, "HF_HOME": str(tmp / "paged"), "HF_HUB_OFFLINE": "", "TRANSFORMERS_OFFLINE": "", "HF_DATASETS_OFFLINE": ""}
    with serving(tmp_path / "home", LAB_SLOTS="0", **online) as app:
        page = opened(f"{app}/?model=acme/tiny").page
        page.wait_for_selector("[data-fetch=model] [data-act=start]", timeout=60_000)
        page.wait_for_function("/[0-9]/.test(document.querySelector('[data-fetch=model] [data-act=start]').textContent)")
        assert "acme/tiny" in page.inner_text("#costs .lab-note") and not page.query_selector("#costs [data-verdict]")
        assert page.locator("#knob-model option", has_text="GPT-2").first.inner_text().endswith("to fetch")
        page.screenshot(path=str(tmp_path / "fetchable.png"))
        page.click("[data-fetch=model] [data-act=start]")
        page.wait_for_selector("[data-fetch=model] progress", timeout=30_000)
        page.screenshot(path=str(tmp_path / "going.png"))
        page.wait_for_selector("#costs [data-verdict]", timeout=60_000)
        assert page.is_hidden("[data-fetch=model]")


@pytest.fixture(scope="module")
def loaded(served):
    """What one process found online, whose cache is `good`."""
    address, _, tmp = served
    return told(BROUGHT + GOOD + BAD, address, tmp, "good")


def test_rows_of_the_hub_are_brought_as_if_they_were_uploaded(loaded):
    """By id, revision and split, streamed up to a number of rows; what cannot be brought is one sentence."""
    columns = {"text": "sentence", "label": "label"}
    assert loaded["brought"] == [
        [{"train": 40, "validation": 10, "test": 0}, columns, []],
        [{"train": 12, "validation": 10, "test": 0}, columns, ["The first 12 rows of train are taken; there are more."]],
        [{"train": 20, "validation": 10, "test": 0}, columns, []],
    ]  # fmt: skip
    assert loaded["not brought"] == [
        SENTENCES["data none"], SENTENCES["data closed"], "'../x' is no data set of the hub: write hub:owner/name.",
        SENTENCES["data split"], SENTENCES["data config"], "Take between 1 and 10 million rows of a split, not 0."]  # fmt: skip


def test_the_hub_as_it_is_and_as_it_is_not(served, loaded):
    """A model and a data set load, each also at a pinned revision; each way a repository cannot be read is one sentence."""
    (_, asked, _), found = served, loaded
    assert found["kind"] == "encoder" and found["hub"] == "acme/tiny"
    assert found["weights"][0] != found["weights"][1], "a pinned revision has its own weights"
    assert found["rows"] == [{"train": 24, "validation": 10, "test": 0}, {"train": 40, "validation": 10, "test": 0}, {"train": 30, "validation": 10, "test": 0}]
    assert {key: found[key] for key in SENTENCES} == SENTENCES
    assert not [request for request in asked if request.startswith("GET") and request.endswith((".bin", ".pkl"))], "no pickle is downloaded"
    assert not [request for request in asked if "/commits/" in request or "discussions" in request], "nothing is asked to be converted"


@pytest.mark.slow
def test_what_was_loaded_once_trains_without_a_hub(served):
    address, asked, tmp = served
    found, before = told(GOOD + TRAINED, address, tmp, "again", "0", str(tmp / "first")), len(asked)
    assert told(GOOD + TRAINED, address, tmp, "again", "1", str(tmp / "second")) == found and len(asked) == before
    assert found["trained"] == "succeeded"


def test_offline_a_pinned_data_set_is_never_another_version(served, loaded):
    """Offline, `datasets` gives the version that it prepared last, whatever the revision; the lab finds the one asked for or refuses."""
    address, asked, tmp = served
    reviews, before = Repo("datasets", tmp / "reviews" / "main", {"refs/convert/parquet": tmp / "reviews" / "parquet"}), len(asked)
    old, new, other = reviews.commit("refs/convert/parquet"), reviews.commit("main"), "0" * 40
    refused = [
        f"acme/reviews is on this machine, but not in the revision '{name}', and the hub cannot be reached: go online once."
        for name in (other, "nope", "../main")
    ]
    found = told(LOADED, address, tmp, "good", "1", "refs/convert/parquet", old, "", "main", new, other, "nope", "../main")["rows"]
    assert found == [24, 24, 40, 40, 40, *refused] and len(asked) == before


@pytest.mark.slow
def test_a_data_set_that_moved_on_is_tokenised_anew(served):
    address, _, tmp = served
    places = str(tmp / "tiny" / "main"), str(tmp / "tokens")
    assert told(MOVED, address, tmp, "kept", "0", *places)["rows"] == [40, 40, 40]
    save_reviews(tmp / "moving", 24)
    assert told(MOVED, address, tmp, "kept", "0", *places)["rows"] == [40, 24, 24], (
        "rows in the cache ask no hub; once it was asked, they are those of its commit"
    )


@pytest.mark.slow
def test_no_network_is_one_sentence(tmp_path):
    for offline in ("0", "1"):
        found = told(ABSENT, "http://127.0.0.1:9", tmp_path, f"cache{offline}", offline)
        assert found == {"model": "acme/tiny is not on this machine and the hub cannot be reached: go online once, or give a local folder.",
                         "data": "acme/reviews is not on this machine and the hub cannot be reached: go online once, or choose a bundled task."}  # fmt: skip
