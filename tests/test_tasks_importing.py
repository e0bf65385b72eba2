"""The user's own data: every format, guessed columns, errors that name row and column, and imports that happen whole or not at all."""

from __future__ import annotations

import gzip
import json

import pyarrow
import pytest
from pyarrow import parquet

import lab.tasks
from lab.design.plain.refusal import Refusal
from lab.tasks import importing
from lab.tasks.tables import read_table
from tests.tiny import TEXT, tiny_config, tiny_tokenizer

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
    task = lab.tasks.prepare("films", tiny_tokenizer("encoder"), tiny_config("bert", **TEXT), max_length=32)
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
    rows = [
        {name: f"{value} {i}" if name in ("document", "en", "question", "instruction", "body") else value for name, value in row.items()} for i in range(30)
    ]
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
    look = importing.preview(path, family="classification", columns={"text": "sentence2", "label": "kind"}, labels=["0=no", "1=yes"])
    assert look.spec.labels == ["no", "yes"] and look.balance == {"no": 15, "yes": 15}


BAD = {
    "a.csv": (b"text,label\nfine,1\nshort\n", "Row 2 of a.csv .line 3. has 1 cells; the header has 2"),
    "b.csv": (b"text,text\na,b\n", "the column 'text' twice"),
    "c.csv": (b"text,label\na,\xff\n", "not UTF-8 .line 2."),
    "d.csv": (b"text,label\nsome,1\n  ,0\nmore,1\nother,0\n", "Row 2 has no text in column 'text'"),
    "e.csv": (b"text,label\none,1\ntwo,\nthree,0\nfour,0\n", "Row 2 has no label in column 'label'"),
    "f.jsonl": (b'{"text": "a"}\n{"text": }\n', "Row 2 of f.jsonl .line 2. is no JSON"),
    "g.jsonl": (b'{"text": "a"}\n[1]\n', "Row 2 of g.jsonl is no object"),
    "h.jsonl": (b'{"text": "a", "label": 1}\n{"text": "b", "label": 0}\n{"text": "c"}\n{"text": "d", "label": 1}\n', "Row 3 has no label in column 'label'"),
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


def test_lengths_are_those_of_the_models_tokenizer_and_examples_are_cut_there(tmp_path):
    from lab.models import load_tokenizer

    texts = [" ".join(f"word{j} is tokenised" for j in range(1 + i % 7)) for i in range(60)]
    path = tmp_path / "x.jsonl"
    path.write_text(
        "\n".join(json.dumps({"premise": t, "hypothesis": f"short {i}", "label": ["no", "yes"][i % 2]}) for i, t in enumerate(texts)), encoding="utf-8"
    )
    look = importing.preview(path, measure="minilm-l6", max_length=20)
    tokenizer = load_tokenizer("minilm-l6")
    lengths = [len(tokenizer(f"{t} short {i}")["input_ids"]) for i, t in enumerate(texts)]
    assert look.lengths["unit"] == "tokens" and look.lengths["longest"] == max(lengths) and look.lengths["measured"] == 60
    assert look.lengths["cut"] == sum(length > 20 for length in lengths) > 0
    example = next(example for example in look.examples if example["cut"])
    assert texts[look.examples.index(example)] == example["text"] + example["lost"]["text"] and "text_pair" not in example["lost"], "the longer one is cut"
    kept = tokenizer(example["text"], add_special_tokens=False)["input_ids"] + tokenizer(example["text_pair"], add_special_tokens=False)["input_ids"]
    assert len(kept) == 20 - 2 and example["reads"]["prompt"].startswith(example["text"])
    with pytest.raises(Refusal, match="tokenizer of llama-2-7b is not on this machine"):
        importing.preview(path, measure="llama-2-7b")


def test_errors_stand_at_the_role_whose_column_is_at_fault(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("a,b,c\n" + "\n".join(f"text {i},{i},{'' if i == 7 else i % 2}" for i in range(30)), encoding="utf-8")
    for columns, family, field, words in [
        ({"text": "c", "label": "b"}, "regression", "columns.text", "Row 8 has no text in column 'c'"),
        ({"text": "a", "label": "c"}, "regression", "columns.label", "Row 8 has '' in column 'c', which is no finite number"),
        ({"text": "a", "label": "c"}, "classification", "columns.label", "Row 8 has no label"),
        ({"source": "a"}, "translation", "columns.target", "Say which column is the target"),
        ({"question": "a", "options": "a|c", "answer": "b"}, "commonsense", "columns.answer", "Row 1 has '0' in column 'b', which is the text of one option"),
        ({"instruction": "a"}, "instruction", "columns.output", "Say which column is the output"),
        ({"text": "a", "label": "c.d"}, "classification", "columns.label", "There is no column 'c.d'"),
    ]:  # fmt: skip
        with pytest.raises(Refusal, match=words) as refused:
            importing.preview(path, family=family, columns=columns)
        assert refused.value.field == field, columns


def test_an_upload_waits_under_its_token_and_goes_after_a_day(tmp_path, home):
    import os
    import time

    paths = [tmp_path / name for name in ("one.csv", "two.csv", "three.exe")]
    for path in paths:
        path.write_text("text,label\n", encoding="utf-8")
    first = importing.stage(paths[0])
    assert importing.staged(first).name == "one.csv" and not paths[0].exists()
    os.utime(importing.staged(first).parent, (0, time.time() - 25 * 3600))
    second = importing.stage(paths[1])
    with pytest.raises(Refusal, match="choose the file again"):
        importing.staged(first)
    with pytest.raises(Refusal, match="no known format"):
        importing.stage(paths[2])
    assert not paths[2].exists() and [folder.name for folder in (home / "cache" / "uploads").iterdir()] == [second]
    importing.unstage(second)
    assert not list((home / "cache" / "uploads").iterdir())
