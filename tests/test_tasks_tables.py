"""Data as people have them: every odd value in every role and format, dialects, encodings, near-equal labels, several files. Nothing wrong is silent."""

from __future__ import annotations

import csv
import gzip
import io
import json
import math

import pyarrow
import pytest
from pyarrow import parquet

from lab.design.plain.refusal import Refusal
from lab.tasks import FAMILIES, importing, resolve
from lab.tasks.cells import missing
from lab.tasks.gathering import gather
from lab.tasks.prepared import raw_rows
from lab.tasks.tables import read_table

FORMATS = ("csv", "tsv", "json", "jsonl", "jsonl.gz", "parquet")
NAN, NUL, HALF, HUGE = float("nan"), "a\0b", "half \ud83d a letter", int("9" * 400)


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("LAB_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def save(path, rows):
    """Rows of one set of columns in the format that the path's ending says."""
    kind = path.name.partition(".")[2].removesuffix(".gz")
    if kind == "parquet":
        parquet.write_table(pyarrow.Table.from_pylist(rows), path)
        return path
    if kind == "json":
        text = json.dumps(rows)
    elif kind == "jsonl":
        text = "\n".join(map(json.dumps, rows))
    else:
        lines = io.StringIO(newline="")
        table = csv.writer(lines, delimiter="\t" if kind == "tsv" else ",")
        columns = list(dict.fromkeys(column for row in rows for column in row))
        table.writerows([columns, *([row.get(column) for column in columns] for row in rows)])
        text = lines.getvalue()
    data = text.encode("utf-8")
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


KINDS = {  # family: a row, the columns by role
    "classification": (lambda i: {"text": f"text {i}", "pair": f"pair {i}", "label": "ab"[i % 2]}, {"text": "text", "text_pair": "pair", "label": "label"}),
    "regression": (lambda i: {"text": f"text {i}", "score": i / 7}, {"text": "text", "label": "score"}),
    "translation": (lambda i: {"source": f"from {i}", "target": f"to {i}"}, {"source": "source", "target": "target"}),
    "language_modelling": (lambda i: {"text": f"text {i}"}, {"text": "text"}),
    "instruction": (lambda i: {"instruction": f"do {i}", "input": f"with {i}", "output": f"done {i}"}, {"instruction": "instruction", "input": "input", "output": "output"}),
    "commonsense": (lambda i: {"question": f"which {i}", "one": f"x {i}", "two": f"y {i}", "answer": i % 2}, {"question": "question", "options": "one|two", "answer": "answer"}),
}  # fmt: skip
TEMPLATE = (lambda i: {"context": f"given {i}", "question": f"asked {i}", "answer": f"said {i}"}, {"source": "{context} {question}", "target": "answer"})
ROLES = [(family, column, spec) for family, spec in KINDS.items() for column in spec[0](0)] + [("translation", column, TEMPLATE) for column in TEMPLATE[0](0)]
OPTIONAL = {("classification", "pair"), ("instruction", "input"), ("translation", "context"), ("translation", "question")}
VALUES = {"null": None, "NaN": NAN, "nan as text": "nan", "blank": "  ", "half a letter": HALF, "a list": ["a", "b"], "an object": {"a": "b"}, "400 digits": HUGE, "NUL": NUL,
          "braces": "{text} {0} %s {{x}}", "infinity": math.inf}  # fmt: skip
NOTHING = ("null", "NaN", "nan as text", "blank")


def looked(path, family, columns):
    look = importing.preview(path, family=family, columns=columns, examples=40)
    return look, "\x1f".join(
        part for example in look.examples for part in (example["reads"]["prompt"], example["reads"]["answer"], *example.get("options", ()))
    )


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("value", list(VALUES))
def test_an_odd_value_in_any_role_is_kept_missing_or_refused_with_its_place(value, kind, tmp_path):
    """Never a raw error, never the words nan and None, never another text than the one that was given."""
    given = VALUES[value]
    if kind in ("csv", "tsv") and (isinstance(given, (list, dict)) or value == "half a letter"):
        pytest.skip("cells of a CSV are text, and its bytes hold no half letter")
    for place, (family, column, (row, columns)) in enumerate(ROLES):
        rows = [row(i) for i in range(16)]
        rows[5][column] = given
        try:
            path = save(tmp_path / f"x{place}.{kind}", rows)
        except (pyarrow.ArrowException, UnicodeEncodeError, OverflowError):
            continue  # Parquet holds one type in a column, and no half letter
        where = f"{family} {column} {kind}"
        try:
            _, read = looked(path, family, columns)
        except Refusal as refusal:
            assert "Row 6" in refusal.sentence and (f"'{column}'" in refusal.sentence or f"'{columns.get('options')}'" in refusal.sentence), (
                f"{where}: {refusal}"
            )
            assert not (value in NOTHING and (family, column) in OPTIONAL), f"{where}: an empty optional cell is no fault"
            continue
        assert "nan" not in read.lower() and "None" not in read, where
        if value in NOTHING:
            assert (family, column) in OPTIONAL or (family == "language_modelling" and (value == "blank" or given is None and kind in ("csv", "tsv"))), (
                f"{where} needs a value"
            )
            assert len(read.split("\x1f")) in (30, 32), "a blank row of one column is no row"
        else:
            assert value in ("400 digits", "NUL", "braces") or kind in ("csv", "tsv"), where
            if family != "regression" and (family, column) != ("classification", "label"):
                assert str(given) in read, f"{where}: the text is another one"


@pytest.mark.parametrize("kind", ["json", "jsonl"])
@pytest.mark.parametrize("document", [
    {"messages": [{"role": "user", "content": HALF}, {"role": "assistant", "content": "b"}]}, {"question": "q", "choices": ["a", HALF], "answer": 0},
    {"text": "a", HALF: 1}, {"text": "a", "meta": {HALF: 1}}, {"text": "a", "meta": [[HALF]]}])  # fmt: skip
def test_half_a_letter_at_any_depth_is_refused_with_its_row(kind, document, tmp_path):
    good = json.loads(json.dumps(document).replace("\\ud83d", "x"))
    path = save(tmp_path / f"x.{kind}", [*[good] * 3, document, *[good] * 3])
    with pytest.raises(Refusal, match="Row 4 of x.* has half a letter"):
        read_table(path)


def test_whole_emoji_are_no_half_letters(tmp_path):
    assert read_table(save(tmp_path / "x.jsonl", [{"text": "a 😀 \\ud83d", "n": "é"}])).rows == [{"text": "a 😀 \\ud83d", "n": "é"}]


@pytest.mark.parametrize("value", [None, NAN, "", " \t\n", "nan", "NaN", "<NA>", "NaT"])
def test_missing_is_one_function(value):
    import decimal

    import pandas

    assert missing(value) and missing(pandas.NaT) and missing(pandas.NA) and missing(decimal.Decimal("NaN"))
    assert not any(map(missing, [0, False, "0", "none", "None", "nana", [], {}, 0.0]))


@pytest.mark.parametrize("kind", ["json", "jsonl", "jsonl.gz"])
@pytest.mark.parametrize("first", [0, 7, 15])
def test_columns_are_the_union_of_all_rows(kind, first, tmp_path):
    """An optional column that some rows lack is empty there, whichever row comes first; nested ones too."""
    rows = [{"instruction": f"do {i}", "output": f"done {i}", **({} if i % 3 == 0 else {"input": f"with {i}"})} for i in range(16)]
    look, read = looked(save(tmp_path / f"x.{kind}", rows[first:] + rows[:first]), "", {})
    assert look.columns and look.spec.columns == {"instruction": "instruction", "output": "output", "input": "input"} and look.rows == 16
    assert all((f"with {i}" in read) == (i % 3 > 0) for i in (0, 1, 2, 3, 14, 15))
    nested = [{"t": {"en": f"a {i}", **({"de": f"b {i}"} if i != 3 else {})}} for i in range(8)]
    with pytest.raises(Refusal, match="Row 4 has no text in column 't.de'"):
        importing.preview(save(tmp_path / f"y.{kind}", nested), family="translation", columns={"source": "t.en", "target": "t.de"})


NAMES = [
    NUL,
    "a\nb",
    "a.b",
    "a|b",
    "{text}",
    "{a} {b}",
    "x" * 500,
    "  padded ",
    "列",
    "a=b",
    "text:",
    "'q'",
    '"q"',
    "null",
    "nan",
    "1",
    "\u202ex",
    "😀",
    "a,b",
    "#x",
    "__class__",
    "-",
    "~",
    "column_1",
]


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("role", ["text", "label"])
def test_a_column_may_have_any_name(role, kind, tmp_path):
    other = {"text": "label", "label": "text"}[role]
    for place, name in enumerate(NAMES):
        rows = [{"text": f"words {i}", "label": "ab"[i % 2]} for i in range(16)]
        path = save(tmp_path / f"x{place}.{kind}", [{name: row[role], other: row[other]} for row in rows])
        column = name.strip() if kind in ("csv", "tsv") else name
        spec = importing.commit(path, f"mine-{place}", family="classification", columns={role: column, other: other})
        family = FAMILIES["classification"]()
        kept = [family.format(row, spec) for part in raw_rows(resolve(spec.name)).values() for row in part]
        assert sorted(example["text"] for example in kept) == sorted(row["text"] for row in rows) and sum(example["label"] for example in kept) == 8, name


def test_a_file_may_have_any_name(tmp_path):
    path = save(tmp_path / "x.csv", [{"text": f"words {i}", "label": "ab"[i % 2]} for i in range(16)])
    for place, name in enumerate(["bad\udcff.csv", "a\nb.csv", "列 x.csv", "-rf.csv", "a" * 240 + ".csv", "{x}.csv"]):
        path = path.rename(tmp_path / name)
        importing.preview(path)
        assert importing.commit(path, f"mine-{place}").description.isprintable()


@pytest.mark.parametrize("name, data", [
    ("a.csv", b"text,label,text\na,b,c\n"), ("b.tsv", b"text\tlabel\ttext\na\tb\tc\n"), ("c.csv", b"text, text \na,b\n"),
    ("d.json", b'[{"text": "a", "text": "b"}]'), ("e.jsonl", b'{"text": "a", "text": "a"}\n'), ("f.json", b'{"data": [{"m": {"text": 1, "text": 2}}]}'),
    ("g.jsonl.gz", gzip.compress(data=b'{"text": "a", "text": null}', mtime=0))])  # fmt: skip
def test_a_name_twice_is_refused_in_every_format(name, data, tmp_path):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(Refusal, match="'text' twice"):
        read_table(tmp_path / name)


def test_a_column_twice_in_parquet_is_refused(tmp_path):
    parquet.write_table(pyarrow.table([pyarrow.array(["a"]), pyarrow.array(["b"])], names=["text", "text"]), tmp_path / "x.parquet")
    with pytest.raises(Refusal, match="'text' twice"):
        read_table(tmp_path / "x.parquet")


TABLE = [{"text": f"some words, number {i}", "label": ["neg", "pos"][i % 2]} for i in range(24)]


def delimited(mark, rows=TABLE, head=("text", "label"), quote='"', end="\n"):
    cell = lambda value: quote + value + quote if quote and mark in value else value  # noqa: E731
    return end.join(mark.join(map(cell, line)) for line in [head, *((row["text"], row["label"]) for row in rows)])


DIALECTS = {
    "a.csv": delimited(","), "my.tsv.export.csv": delimited(","), "b.csv": delimited(";", quote=""), "c.csv": delimited("\t", quote=""), "d.csv": delimited("|", quote=""),
    "e.tsv": delimited("\t", quote=""), "f.tsv": delimited(","), "g.csv": "sep=;\r\n" + delimited(";", end="\r\n"), "h.csv": delimited(",", end="\r"), "i.csv": delimited(",", end="\r\n"),
    "index.csv": "\n".join(("" if i == 0 else str(i - 1)) + "," + line for i, line in enumerate(delimited(",").split("\n"))),
    "trailing.csv": "\n".join(line + "," for line in delimited(",").split("\n")), "blank.csv": delimited(",") + "\n,\n\n,\n",
    "backslash.csv": "text,label\n" + "\n".join(f'"some words, number {i}",{["neg", "pos"][i % 2]}' for i in range(23)) + '\n"some words, number 23","pos"',
    "spaced.csv": "text, label\n" + "\n".join(f'"some words, number {i}", "{["neg", "pos"][i % 2]}"' for i in range(24)),
}  # fmt: skip


@pytest.mark.parametrize("name", list(DIALECTS))
def test_a_dialect_is_found_by_content_and_kept_for_training(name, tmp_path):
    path = tmp_path / name
    path.write_text(DIALECTS[name], encoding="utf-8", newline="")
    assert read_table(path).rows == TABLE
    spec = importing.commit(path, "mine")
    assert spec.columns == {"text": "text", "label": "label"} and sum(spec.rows.values()) == 24
    assert {split: len(rows) for split, rows in raw_rows(resolve("mine")).items()} == spec.rows
    other = path.rename(tmp_path / "renamed.dat.tsv")
    assert read_table(other, reading=spec.source.reading).rows == TABLE, "what was decided holds whatever the file is called"


def test_quotes_as_people_write_them(tmp_path):
    glue = tmp_path / "glue.tsv"
    glue.write_text("text\tlabel\n" + "\n".join(f"{['', chr(34)][i == 3]}words {i}\t{'ab'[i % 2]}" for i in range(10)), encoding="utf-8")
    assert [row["text"] for row in read_table(glue).rows][2:5] == ["words 2", '"words 3', "words 4"]
    escaped = tmp_path / "escaped.csv"
    escaped.write_text("text,label\n" + "\n".join(f'"he said \\"no {i}\\", twice",{"ab"[i % 2]}' for i in range(10)), encoding="utf-8")
    assert read_table(escaped).rows[1] == {"text": 'he said "no 1", twice', "label": "b"}
    named = tmp_path / "named.csv"
    named.write_text('"a text, as typed";"x|y"\n' + "\n".join(f"words {i};{'ab'[i % 2]}" for i in range(10)), encoding="utf-8")
    look = importing.preview(named, reading={"header": "names"}, family="classification", columns={"text": "a text, as typed", "label": "x|y"})
    assert look.balance == {"a": 5, "b": 5}


HEADERLESS = {"labels": "fine words,pos\nother words,neg\nmore words,pos\n", "numbers": "0.5,1.25\n1.5,2.0\n2.5,1.0\n", "sentences": "Hello there you.,Bonjour toi\nGoodbye now.,Au revoir\n",
              "chinese": "这部电影很好看，值得推荐,好评\n质量太差，不要买,差评\n"}  # fmt: skip


@pytest.mark.parametrize("kind", list(HEADERLESS))
def test_a_first_row_that_looks_like_data_is_asked_about(kind, tmp_path):
    path = tmp_path / "x.csv"
    path.write_text(HEADERLESS[kind], encoding="utf-8")
    with pytest.raises(Refusal, match="looks like data") as asked:
        read_table(path)
    assert asked.value.field == "header"
    rows = HEADERLESS[kind].count("\n")
    table = gather(path, reading=importing._reading({"header": "data"}))
    assert table.columns == ["column_1", "column_2"] and len(table.rows) == rows and table.reading.header == "data"
    assert len(gather(path, reading=importing._reading({"header": "names"})).rows) == rows - 1


@pytest.mark.parametrize("head", ["text,label", "Review Text,y", "q1,q2", "文本,标签", '"a long name, with a comma",label'])
def test_names_are_taken_for_names(head, tmp_path):
    path = tmp_path / "x.csv"
    path.write_text(head + "\n" + "\n".join(f"some words {i},{'ab'[i % 2]}" for i in range(9)), encoding="utf-8")
    assert len(read_table(path).rows) == 9


CHINESE = "文本,标签\n" + "\n".join(f"这款物品很好用 质量不错 第{i}件,{'好评' if i % 2 else '差评'}" for i in range(40))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030", "gbk", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_an_encoding_is_recognised(encoding, kind, tmp_path):
    rows = [dict(zip(("text", "label"), line.split(","), strict=True)) for line in CHINESE.split("\n")[1:]]
    text = CHINESE if kind == "csv" else "\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    (tmp_path / f"x.{kind}").write_bytes(text.encode(encoding))
    table = read_table(tmp_path / f"x.{kind}")
    assert [list(row.values()) for row in table.rows] == [list(row.values()) for row in rows]
    (tmp_path / "y").write_bytes(text.encode(encoding))
    assert read_table(tmp_path / "y", reading=table.reading).rows == table.rows


LEGACY = {"cp1252": "ça m’a déçu à Nîmes,non", "latin-1": "Über die Maßen schön,gut", "cp1251": "Очень хороший фильм,да", "euc_kr": "이 영화는 정말 재미있다,좋음", "big5": "這部電影很好看,好評",
          "shift_jis": "この映画は面白い,良い", "euc_jp": "この映画は面白い,良い", "cp1254": "çok güzel film ışık,iyi"}  # fmt: skip


@pytest.mark.parametrize("encoding", list(LEGACY))
def test_other_encodings_are_one_sentence_and_read_when_they_are_said(encoding, tmp_path):
    path = tmp_path / "x.csv"
    path.write_bytes(("text,label\n" + "\n".join([LEGACY[encoding]] * 12)).encode(encoding))
    with pytest.raises(Refusal, match="x.csv is not UTF-8 .line 2.: save it as UTF-8, or give its encoding") as asked:
        read_table(path)
    assert asked.value.field == "encoding"
    assert ",".join(gather(path, reading=importing._reading({"encoding": encoding})).rows[0].values()) == LEGACY[encoding]
    for wrong in ("utf-8", "nope", "rot13", "undefined", "idna", "hex", "../x"):
        with pytest.raises(Refusal):
            gather(path, reading=importing._reading({"encoding": wrong}))


SPELLINGS = [("POS", "pos"), ("True", "TRUE"), ("1", "1.0"), ("１", "1"), ("not  ok", "Not ok"), ("01", "1"), ("Straße", "STRASSE")]


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("pair", SPELLINGS, ids="/".join)
def test_labels_that_differ_in_how_they_are_written_are_asked_about(pair, kind, tmp_path):
    rows = [{"text": f"text {i}", "label": "other" if i % 2 else pair[i % 6 == 0]} for i in range(24)]
    path = save(tmp_path / f"x.{kind}", rows)
    with pytest.raises(Refusal, match="differ only in how they are written") as asked:
        importing.preview(path)
    assert asked.value.field == "spellings" and all(one in asked.value.sentence for one in pair)
    apart, merged = importing.preview(path, spellings="apart"), importing.preview(path, spellings="merge")
    assert apart.balance == {"other": 12, pair[0]: 8, pair[1]: 4} and merged.balance == {"other": 12, pair[0]: 12}
    spec = importing.commit(path, "mine", spellings="merge")
    family = FAMILIES[spec.family]()
    kept = [row for part in raw_rows(spec).values() for row in part]
    assert len(kept) == 24 and {family.show(family.format(row, spec), spec)["label"] for row in kept} == {"other", pair[0]}


def test_a_label_has_one_form_whatever_holds_it(tmp_path):
    rows = [{"text": f"text {i}", "label": [1.0, 0, 1, "1"][i % 4]} for i in range(16)]
    assert importing.preview(save(tmp_path / "x.jsonl", rows)).spec.labels == ["0", "1"]
    with pytest.raises(Refusal, match="differ only in how they are written: 1 .8. / True .4."):
        importing.preview(save(tmp_path / "x.jsonl", [{"text": f"text {i}", "label": [1.0, 0, 1, True][i % 4]} for i in range(16)]))
    save(tmp_path / "x.parquet", [{"text": f"text {i}", "label": float(i % 2)} for i in range(16)])
    assert importing.preview(tmp_path / "x.parquet").spec.labels == ["0", "1"]
    rows[3]["label"] = "x" * 300
    with pytest.raises(Refusal, match="Row 4 has a label of 300 characters"):
        importing.preview(save(tmp_path / "y.jsonl", rows))


@pytest.mark.parametrize("values, names, words", [
    ([1, 2], ["bad", "good"], "holds the numbers 1, 2, .* write 1=NAME, 2=NAME"), ([0, 1], ["bad", "good"], "names are not given to numbers by their place"),
    ([0, 1, 2, 3], ["3", "2", "1"], "has the label '0'; the labels are 3, 2, 1"), ([1, -1], ["no", "yes"], "holds the numbers -1, 1"),
    (["a", "b"], ["a", "c"], "has the label 'b'"), (["a", "b"], ["a", "A", "b"], "differ only in how"), (["a", "b"], ["a", "a", "b"], "'a' is given twice"), (["a", "b"], ["a=", "b"], "names nothing")])  # fmt: skip
def test_names_are_never_given_to_labels_by_their_place(values, names, words, tmp_path):
    path = save(tmp_path / "x.csv", [{"text": f"text {i}", "label": values[i % len(values)]} for i in range(24)])
    if words.startswith("differ"):
        save(path, [{"text": f"text {i}", "label": ["a", "b", "A"][i % 3]} for i in range(24)])
        names = ["a", "b"]
    with pytest.raises(Refusal, match=words):
        importing.preview(path, labels=names)


def test_names_are_given_to_labels_by_value(tmp_path):
    path = save(tmp_path / "x.csv", [{"text": f"text {i}", "label": [2, 1][i % 4 == 0]} for i in range(24)])
    spec = importing.commit(path, "mine", labels=["2=good", "1=bad"])
    assert spec.labels == ["good", "bad"] and spec.spellings == {"2": "good", "1": "bad"}
    family = FAMILIES[spec.family]()
    assert {(row["label"], family.format(row, spec)["label"]) for row in raw_rows(spec)["train"]} == {("2", 0), ("1", 1)}


NEAR = {
    "superscript": ("3² is", "32 is"),
    "case": ("def Get(x)", "def get(x)"),
    "indent": ("if a:\n  b()\nc()", "if a:\n  b()\n  c()"),
    "width": ("ＡＢＣ text", "ABC text"),
    "spaces": ("a  b", "a b"),
    "first line": ("    return x", "return x"),
    "tab": ("\treturn x", "return x"),
}


@pytest.mark.parametrize("kind", list(NEAR))
@pytest.mark.parametrize("family", ["classification", "language_modelling", "translation", "instruction"])
def test_only_the_same_text_is_a_duplicate_and_near_equals_stay_in_one_split(kind, family, tmp_path):
    make, columns = KINDS[family]
    first = next(iter(columns.values()))
    rows = [
        {**make(j), first: f"{text} {i}", **({"label": "ab"[i % 2]} if family == "classification" else {})}
        for i in range(20)
        for j, text in enumerate(NEAR[kind])
    ]
    if family == "classification":
        rows = [{key: value for key, value in row.items() if key != "pair"} for row in rows]
        columns = {"text": "text", "label": "label"}
    if family == "instruction":
        rows = [{**row, "input": "the same"} for row in rows]
    look = importing.preview(save(tmp_path / "x.jsonl", rows + rows[:4]), family=family, columns=columns)
    assert (look.rows, look.dropped, look.disputed, sum(look.splits.values())) == (44, 4, 0, 40)
    assert all(count % 2 == 0 for count in look.splits.values()), "both of a pair are in one split"
    assert any("exactly the same text and answer" in note for note in look.notes)


def test_many_answers_to_one_prompt_are_kept_and_different_labels_are_told_apart(tmp_path):
    jokes = [{"instruction": f"tell a joke {i % 10}", "output": f"joke {i}"} for i in range(40)]
    look = importing.preview(save(tmp_path / "x.json", jokes))
    assert (look.spec.family, look.dropped, look.disputed, sum(look.splits.values())) == ("instruction", 0, 0, 40)
    rows = [{"text": f"text {i}", "label": "ab"[i % 2]} for i in range(30)] + [{"text": "text 0", "label": "b"}, {"text": "text 1", "label": "b"}]
    look = importing.preview(save(tmp_path / "y.json", rows))
    assert (look.dropped, look.disputed, sum(look.splits.values())) == (1, 2, 29)
    assert any("2 rows have the same text as another one with a different answer" in note for note in look.notes)


ANSWERS = {  # what the column of answers holds for the second of three options → its place, or the refusal
    "text": (["red", "green", "blue"], "green", 1), "place": (["red", "green", "blue"], 1, 1), "letter": (["red", "green", "blue"], "B", 1),
    "letters": (["a", "b", "c"], "b", 1), "long": (["x" * 300, "y" * 300], "y" * 300, 1), "as text": ('["red", "green"]', "green", 1), "both the same": (["0", "1"], "1", 1),
    "a number": (["4", "5", "9"], 5, 1), "two meanings": (["1", "2", "3"], "2", "is the text of one option and the place of another"),
    "letters in disorder": (["B", "A"], "B", "is the text of one option and the place"), "twice": (["a", "a", "b"], "a", "has the option 'a' twice"),
    "none": (["red", "green"], "blue", "names none of its 2 options"), "too far": (["red", "green"], 2, "names none of its 2 options"),
}  # fmt: skip


@pytest.mark.parametrize("name", list(ANSWERS))
def test_the_right_option_is_named_by_its_text_or_place_and_never_guessed(name, tmp_path):
    options, answer, right = ANSWERS[name]
    path = save(tmp_path / "x.jsonl", [{"question": f"which {i}?", "choices": options, "answer": answer} for i in range(30)])
    if isinstance(right, str):
        with pytest.raises(Refusal, match=f"Row 1 .*{right}"):
            importing.preview(path, family="commonsense", columns={"question": "question", "options": "choices", "answer": "answer"})
        return
    look = importing.preview(path)
    assert look.spec.family == "commonsense" and look.examples[0]["answer"] == look.examples[0]["options"][right]


@pytest.mark.parametrize("kind", ["csv", "tsv"])
def test_json_under_the_name_of_a_table_is_read_as_json(kind, tmp_path):
    rows = [{"text": f"text {i}, more", "label": "ab"[i % 2]} for i in range(24)]
    for text in (json.dumps(rows), "\n".join(map(json.dumps, rows)), json.dumps({"train": rows})):
        (tmp_path / f"x.{kind}").write_text(text, encoding="utf-8")
        look = importing.preview(tmp_path / f"x.{kind}")
        assert look.columns == ["text", "label"] and look.rows == 24 and any("holds JSON" in note for note in look.notes)
    spec = importing.commit(tmp_path / f"x.{kind}", "mine")
    assert spec.source.reading.format == "json" and sum(len(part) for part in raw_rows(resolve("mine")).values()) == 24


@pytest.mark.parametrize("kind", FORMATS)
def test_a_pair_that_some_rows_lack_is_empty_there_and_told(kind, tmp_path):
    rows = [{"text": f"text {i}", "text_pair": None if i % 3 == 0 else f"pair {i}", "label": "ab"[i % 2]} for i in range(24)]
    look = importing.preview(save(tmp_path / f"x.{kind}", rows))
    assert look.spec.columns["text_pair"] == "text_pair" and any("8 rows have nothing in column 'text_pair'" in note for note in look.notes)
    assert [example["reads"]["prompt"] for example in look.examples[:2]] == ["text 0\nLabel:", "text 1\npair 1\nLabel:"]


def test_objects_in_parquet_and_arrow_have_no_keys_of_other_rows(tmp_path):
    """An Arrow column gives every object the keys of all: a call with {"city"} must not become one with {"city", "x": null}."""
    import datasets

    call = lambda i: {"type": "function", "function": {"name": "f", "arguments": {"city": "Paris"} if i % 2 else {"x": i}}}  # noqa: E731
    rows = [{"messages": [{"role": "user", "content": f"q {i}"}, {"role": "assistant", "content": None, "tool_calls": [call(i)]}]} for i in range(24)]
    save(tmp_path / "x.parquet", rows)
    datasets.disable_progress_bars()
    datasets.Dataset.from_list(rows).save_to_disk(str(tmp_path / "set"))
    for path in (tmp_path / "x.parquet", tmp_path / "set"):
        assert [example["target"] for example in importing.preview(path).examples[:2]] == [
            '{"name": "f", "arguments": {"x": 0}}',
            '{"name": "f", "arguments": {"city": "Paris"}}',
        ]


def test_lists_of_classes_keep_their_names(tmp_path):
    import datasets

    names = datasets.ClassLabel(names=["joy", "anger", "fear"])
    rows = {"text": [f"text {i}" for i in range(24)], "labels": [[i % 3, 2] if i % 2 else [] for i in range(24)]}
    datasets.disable_progress_bars()
    datasets.Dataset.from_dict(rows, features=datasets.Features({"text": datasets.Value("string"), "labels": datasets.List(names)})).save_to_disk(
        str(tmp_path / "set")
    )
    look = importing.preview(tmp_path / "set")
    assert (look.spec.family, look.spec.labels) == ("multi_label", ["anger", "fear", "joy"])


def test_the_same_question_with_other_options_is_another_question(tmp_path):
    rows = [{"question": "which is red?", "choices": [f"a{i}", f"b{i}"], "answer": i % 2} for i in range(30)]
    look = importing.preview(save(tmp_path / "x.json", rows))
    assert (look.spec.family, look.dropped, look.disputed) == ("commonsense", 0, 0)


@pytest.mark.parametrize("count", [2, 4, 12])
def test_too_few_rows_to_judge_by_are_told_at_import(count, tmp_path):
    rows = [{"text": f"text {i}", "label": "ab"[i % 2]} for i in range(count)]
    look = importing.preview(save(tmp_path / "x.csv", rows))
    assert look.notes and ("none falls into validation" if not look.splits["validation"] else "rows are there to validate by") in " ".join(look.notes)


# -- several files

PARTS = {"train": 40, "validation": 24, "test": 10}


def part(split, count=None):
    return [{"text": f"{split} text {i}", "label": "ab"[i % 2]} for i in range(count or PARTS[split])]


def from_folder(tmp_path):
    folder = tmp_path / "set"
    folder.mkdir()
    for split, names in {
        "train": ["train-00000-of-00002", "train-00001-of-00002"],
        "validation": ["validation-00000-of-00001"],
        "test": ["test-00000-of-00001"],
    }.items():
        rows = part(split)
        for place, name in enumerate(names):
            save(folder / f"{name}.parquet", rows[place * len(rows) // len(names) : (place + 1) * len(rows) // len(names)])
    (folder / "README.md").write_text("about", encoding="utf-8")
    return folder, {}


def from_folders(tmp_path):
    for split, name in {"train": "train", "validation": "dev", "test": "test"}.items():
        (tmp_path / "set" / name).mkdir(parents=True)
        save(tmp_path / "set" / name / "data.jsonl", part(split))
    return tmp_path / "set", {}


def from_files(tmp_path):
    files = {
        split: save(tmp_path / f"{name}.{kind}", part(split))
        for split, name, kind in (("train", "a", "csv"), ("validation", "b", "tsv"), ("test", "c", "parquet"))
    }
    return files["train"], {"validation": str(files["validation"]), "test": str(files["test"])}


def from_document(tmp_path):
    (tmp_path / "x.json").write_text(json.dumps({"test": part("test"), "train": part("train"), "valid": part("validation")}), encoding="utf-8")
    return tmp_path / "x.json", {}


def from_disk(tmp_path):
    import datasets

    names = datasets.ClassLabel(names=["a", "b"])
    kept = {split: datasets.Dataset.from_list([{**row, "label": "ab".index(row["label"])} for row in part(split)]) for split in PARTS}
    datasets.disable_progress_bars()
    datasets.DatasetDict({split: found.cast_column("label", names) for split, found in kept.items()}).save_to_disk(str(tmp_path / "set"))
    return tmp_path / "set", {}


@pytest.mark.parametrize("made", [from_folder, from_folders, from_files, from_document, from_disk], ids=lambda made: made.__name__)
def test_splits_of_ones_own_are_kept_as_they_are(made, tmp_path, home):
    path, more = made(tmp_path)
    look = importing.preview(path, **more)
    assert look.splits == PARTS and look.spec.labels == ["a", "b"] and look.spec.source.hash is None
    spec = importing.commit(path, "mine", **more)
    found = raw_rows(resolve("mine"))
    assert {split: [row["text"] for row in rows] for split, rows in found.items()} == {split: [row["text"] for row in part(split)] for split in PARTS}
    assert spec.rows == PARTS and sorted(file.name for file in (home / "tasks" / "mine").iterdir())[1] == "task.yaml"


SPLIT_FAULTS = {  # the splits of a set of save_to_disk → what is said
    "two names": ({"train": 40, "val": 10, "validation": 5}, "has two lists for one split: train, val, validation"), "test alone": ({"test": 40}, "no split train to learn from; it has test"),
    "another": ({"unsupervised": 40}, "no split train to learn from; it has unsupervised"), "empty": ({"": 0}, "has no rows"), "empty train": ({"train": 0, "test": 4}, "or a split without any"),
}  # fmt: skip


@pytest.mark.parametrize("name", list(SPLIT_FAULTS))
def test_splits_that_are_not_there_or_there_twice_are_named(name, tmp_path):
    import datasets

    splits, words = SPLIT_FAULTS[name]
    datasets.disable_progress_bars()
    made = {
        split: datasets.Dataset.from_dict({"text": [f"{split} {i}" for i in range(count)], "label": [i % 2 for i in range(count)]})
        for split, count in splits.items()
    }
    (made[""] if "" in made else datasets.DatasetDict(made)).save_to_disk(str(tmp_path / "set"))
    with pytest.raises(Refusal, match=words):
        importing.preview(tmp_path / "set")


def test_a_test_that_repeats_the_validation_is_told(tmp_path):
    train, other = save(tmp_path / "train.csv", part("train", 40)), save(tmp_path / "other.csv", part("test", 10))
    look = importing.preview(train, validation=str(other), test=str(other))
    assert any(note.startswith("10 of 10 rows of test have a text that is also in validation") for note in look.notes)


def test_validation_is_taken_from_train_where_only_a_test_is_given(tmp_path):
    train, test = save(tmp_path / "train.csv", part("train", 200)), save(tmp_path / "test.csv", part("test"))
    spec = importing.commit(train, "mine", test=str(test))
    assert spec.rows["test"] == 10 and spec.rows["train"] + spec.rows["validation"] == 200 and 8 <= spec.rows["validation"] <= 35
    assert {split: len(rows) for split, rows in raw_rows(resolve("mine")).items()} == spec.rows


def test_faults_of_several_files_name_their_place(tmp_path):
    train, test = save(tmp_path / "train.csv", part("train")), part("test")
    test[3]["label"] = ""
    with pytest.raises(Refusal, match="In test: Row 4 has no label in column 'label'"):
        importing.preview(train, test=str(save(tmp_path / "test.csv", test)))
    look = importing.preview(train, validation=str(save(tmp_path / "v.csv", part("train", 5))))
    assert any("5 of 5 rows of validation have a text that is also in train" in note for note in look.notes)
    (tmp_path / "set").mkdir()
    with pytest.raises(Refusal, match="has no files of data"):
        importing.preview(tmp_path / "set")
    for name in ("train.csv", "notes.csv"):
        save(tmp_path / "set" / name, part("train"))
    with pytest.raises(Refusal, match="notes.csv in set is of no split"):
        importing.preview(tmp_path / "set")
    save(tmp_path / "set" / "notes.jsonl", part("train"))
    with pytest.raises(Refusal, match="several formats .csv, jsonl."):
        importing.commit(tmp_path / "set", "mine")
    assert importing.names() == ()


def test_folders_named_by_a_value_give_it_as_a_column(tmp_path):
    for label in ("very good", "bad"):
        (tmp_path / "set" / f"label={label.replace(' ', '%20')}").mkdir(parents=True)
        save(tmp_path / "set" / f"label={label.replace(' ', '%20')}" / "part-0.parquet", [{"text": f"{label} text {i}"} for i in range(20)])
    assert importing.preview(tmp_path / "set").balance == {"bad": 20, "very good": 20}


@pytest.mark.parametrize("make, columns", [
    (lambda i: {"messages": [{"role": "user", "content": f"q {i}"}, {"role": "assistant", "content": "None" if i < 3 else "a"}]}, {"messages": "messages"}),
    (lambda i: {"question": f"q {i}", "choices": ["NULL" if i < 3 else "a", "b"], "answer": 1}, {"question": "question", "options": "choices", "answer": "answer"}),
    (lambda i: {"text": f"q {i}", "labels": ["null" if i < 3 else "a", "b"]}, {"text": "text", "label": "labels"}),
    (lambda i: {"a": f"q {i}", "b": "N/A" if i < 3 else "x", "label": i % 2}, {"text": "{a} {b}", "label": "label"}),
    (lambda i: {"t": {"en": f"q {i}", "de": "none" if i < 3 else "x"}}, {"source": "t.en", "target": "t.de"})], ids=["turns", "options", "labels", "template", "nested"])  # fmt: skip
def test_words_that_may_mean_missing_are_told_wherever_they_stand(make, columns, tmp_path):
    family = {"messages": "instruction", "question": "commonsense", "source": "translation"}.get(
        next(iter(columns)), "multi_label" if columns.get("label") == "labels" else "classification"
    )
    look = importing.preview(save(tmp_path / "x.jsonl", [make(i) for i in range(24)]), family=family, columns=columns)
    assert any(note.startswith("3 cells of column ") and "read as that word, not as missing" in note for note in look.notes), look.notes


def test_words_that_may_mean_missing_are_told(tmp_path):
    rows = [{"text": f"text {i}", "label": ["None", "a", "b"][i % 3]} for i in range(30)]
    assert any("10 cells of column 'label' hold None" in note for note in importing.preview(save(tmp_path / "x.csv", rows)).notes)


@pytest.mark.parametrize("document, words", [
    ({"columns": ["text"], "data": [["a"]]}, "orient='records'"), ({"text": {"0": "a"}, "label": {"0": 1}}, "orient='records'"),
    ({"val": [{"text": "a"}], "dev": [{"text": "b"}]}, "two lists for one split"), ({"a": 1}, "must be a list of rows")])  # fmt: skip
def test_other_documents_are_refused_for_what_they_are(document, words, tmp_path):
    (tmp_path / "x.json").write_text(json.dumps(document), encoding="utf-8")
    with pytest.raises(Refusal, match=words):
        read_table(tmp_path / "x.json")


def test_a_comma_too_many_and_a_spreadsheet_are_named(tmp_path):
    (tmp_path / "x.json").write_text('[{"text": "a"},\n{"text": "b"},]', encoding="utf-8")
    with pytest.raises(Refusal, match="comma before a closing bracket .line 2."):
        read_table(tmp_path / "x.json")
    (tmp_path / "x.csv").write_bytes(b"PK\x03\x04 more")
    with pytest.raises(Refusal, match="spreadsheet"):
        read_table(tmp_path / "x.csv")
