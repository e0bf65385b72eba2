"""The user's own data: every format, guessed columns, errors that name row and column, and imports that happen whole or not at all."""

from __future__ import annotations

import gzip
import json

import pyarrow
import pytest
from pyarrow import parquet

import lab.tasks
from lab.design.refusal import Refusal
from lab.tasks import importing
from lab.tasks.tables import read_table
from tests.tiny import TEXT, tiny, tiny_tokenizer

ROWS = [{"review": f'film "{i}", a long, winding text\nwith lines', "stars": ["bad", "good", "fair"][i % 3]} for i in range(30)]


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("LAB_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def written(folder, kind):
    path = folder / f"data.{kind}"
    if kind == "parquet":
        parquet.write_table(pyarrow.Table.from_pylist(ROWS), path)
    elif kind == "json":
        path.write_text(json.dumps({"version": 1, "data": ROWS}), encoding="utf-8")
    elif kind == "jsonl":
        path.write_text("\n".join(map(json.dumps, ROWS)) + "\n\n", encoding="utf-8")
    elif kind == "jsonl.gz":
        path.write_bytes(gzip.compress("\n".join(map(json.dumps, ROWS)).encode()))
    else:
        mark = "\t" if kind == "tsv" else ","
        cells = [["review", "stars"]] + [['"' + row["review"].replace('"', '""') + '"', row["stars"]] for row in ROWS]
        path.write_text("\ufeff" + "\r\n".join(mark.join(row) for row in cells), encoding="utf-8", newline="")
    return path


@pytest.mark.parametrize("kind", ["csv", "tsv", "json", "jsonl", "jsonl.gz", "parquet"])
def test_formats_are_read_alike(kind, tmp_path):
    path = written(tmp_path, kind)
    assert read_table(path).rows == ROWS
    look = importing.preview(path)
    assert (look.spec.family, look.spec.columns) == ("classification", {"text": "review", "label": "stars"})
    assert look.balance == {"bad": 10, "fair": 10, "good": 10} and sum(look.splits.values()) == look.rows == 30
    assert sum(look.lengths["counts"]) == 30 and look.examples[0]["label"] == "bad"
    spec = importing.commit(path, "films")
    assert importing.names() == ("films",) and lab.tasks.resolve("films") == spec and "films" in lab.tasks.names()
    path.unlink()
    task = lab.tasks.prepare("films", tiny_tokenizer("encoder"), tiny("bert", None, **TEXT).config, max_length=32)
    assert task.label_names == ("bad", "fair", "good") and len(task.train) == look.splits["train"]
    assert lab.tasks.describe("films")["available"]
    importing.remove("films")
    assert importing.names() == ()


@pytest.mark.parametrize(
    ("row", "family", "columns"),
    [
        ({"document": "a b c d e f", "summary": "a b"}, "summarization", {"source": "document", "target": "summary"}),
        ({"en": "good day to you", "ro": "bună ziua ție"}, "translation", {"source": "en", "target": "ro"}),
        ({"question": "1+1?", "answer": "so #### 2"}, "math_reasoning", {"source": "question", "target": "answer"}),
        ({"question": "q", "options": ["a", "b"], "answer": 1}, "commonsense", {"question": "question", "options": "options", "answer": "answer"}),
        ({"instruction": "do", "input": "", "output": "done"}, "instruction", {"instruction": "instruction", "input": "input", "output": "output"}),
        ({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}, "instruction", {"messages": "messages"}),
        ({"body": "some prose"}, "language_modelling", {"text": "body"}),
    ],
)
def test_columns_are_guessed(row, family, columns, tmp_path):
    rows = [{name: f"{value} {i}" if name in ("document", "en", "question", "instruction", "body") else value for name, value in row.items()} for i in range(30)]
    if family in ("summarization", "translation"):
        rows = [{**each, "summary" if "summary" in each else "ro": f"{i} {each.get('summary') or each.get('ro')}"} for i, each in enumerate(rows)]
    if "messages" in row:
        rows = [{"messages": [{"role": "user", "content": f"a{i}"}, {"role": "assistant", "content": "b"}]} for i in range(30)]
    path = tmp_path / "x.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    look = importing.preview(path)
    assert (look.spec.family, look.spec.columns) == (family, columns)


def test_a_measured_number_is_regression_and_choices_can_be_corrected(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("sentence1,sentence2,score,kind\n" + "\n".join(f"text {i},other {i},{i / 7:.2f},{i % 2}" for i in range(30)), encoding="utf-8")
    assert importing.preview(path).spec.family == "regression"
    look = importing.preview(path, family="classification", columns={"text": "sentence2", "label": "kind"}, labels=["no", "yes"])
    assert look.spec.labels == ["no", "yes"] and look.balance == {"no": 15, "yes": 15}


BAD = {
    "a.csv": (b"text,label\nfine,1\nshort\n", "Row 2 of a.csv .line 3. has 1 cells; the header has 2"),
    "b.csv": (b"text,text\na,b\n", "the column 'text' twice"),
    "c.csv": (b"text,label\na,\xff\n", "not UTF-8 .line 2."),
    "d.csv": (b"text,label\nsome,1\n  ,0\nmore,1\nother,0\n", "Row 2 has no text in column 'text'"),
    "e.csv": (b"text,label\none,1\ntwo,\nthree,0\nfour,0\n", "Row 2 has no label in column 'label'"),
    "f.jsonl": (b'{"text": "a"}\n{"text": }\n', "Row 2 of f.jsonl .line 2. is no JSON"),
    "g.jsonl": (b'{"text": "a"}\n[1]\n', "Row 2 of g.jsonl is no object"),
    "h.jsonl": (b'{"text": "a", "label": 1}\n{"text": "b"}\n', "Row 2 of h.jsonl has no column 'label'"),
    "i.parquet": (b"PAR1 no", "cannot be read as Parquet"),
    "j.xlsx": (b"x", "no known format"),
    "k.csv": (b"", "is empty"),
    "l.csv": (b"text,label\n", "has no rows"),
    "m.jsonl.gz": (b"no gzip", "cannot be read"),
    "n.json": (b'{"a": 1}', "must be a list of rows"),
    "o.csv": (b'text,label\n"open,1\n', "cannot be read as CSV"),
}  # fmt: skip


@pytest.mark.parametrize("name", list(BAD))
def test_a_bad_file_is_refused_and_changes_nothing(name, tmp_path, home):
    data, words = BAD[name]
    (tmp_path / name).write_bytes(data)
    with pytest.raises(Refusal, match=words):
        importing.commit(tmp_path / name, "mine")
    assert importing.names() == () and (not home.exists() or list((home / "tasks").iterdir()) == [])


def test_limits_names_and_paths(tmp_path, home):
    path = written(tmp_path, "csv")
    with pytest.raises(Refusal, match="at most 0 MB"):
        importing.preview(path, limit=100)
    bomb = tmp_path / "bomb.csv.gz"
    bomb.write_bytes(gzip.compress(b"text,label\n" + b"a" * 5_000_000))
    with pytest.raises(Refusal, match="unpacks to more than 1 MB"):
        importing.preview(bomb, limit=1_000_000)
    for name in ("../evil", "a/b", "", "Über", "x" * 61, ".hidden"):
        with pytest.raises(Refusal, match="task's name"):
            importing.commit(path, name)
    for name in ("../../etc", "films"):
        with pytest.raises(Refusal):
            importing.remove(name)
    importing.commit(path, "films")
    with pytest.raises(Refusal, match="already"):
        importing.commit(path, "films")
    with pytest.raises(Refusal, match="already"):
        importing.commit(path, "sentiment-rt")
    with pytest.raises(Refusal, match="There is no column 'nope'; there are review, stars"):
        importing.preview(path, family="classification", columns={"text": "nope", "label": "stars"})
    assert [entry.name for entry in (home / "tasks").iterdir()] == ["films"]
