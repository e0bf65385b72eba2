"""Which differences are real: the tests are scipy's, call nothing different where nothing is, and what is no result is none on any surface."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
import subprocess
import zipfile
from typing import Any

import numpy as np
import pytest
from scipy import stats

from lab.cli import main
from lab.design.method import named
from lab.design.presets.catalogue import names
from lab.design.spec import tasks
from lab.results import compare, efficiency, examples, groups, paper
from lab.results import statistics as tests_of
from lab.runs import Run, default, processes
from lab.tasks import answered
from lab.ui import api
from lab.ui.compare import appendix, coordinates, overlay, report
from lab.ui.compare import views as views_compare
from lab.ui.shell import verdicts
from lab.ui.sweep import grid
from lab.ui.sweep import views as views_sweep

DRAW = np.random.default_rng(11)
JUDGE = {"metric": "accuracy", "greater_is_better": True}


@pytest.fixture
def home(lab_home, monkeypatch):
    monkeypatch.setenv("LAB_SLOTS", "0")  # nothing starts
    return lab_home


def run(value: float, seed: int = 0, rank: int = 8, state: str = "succeeded", name: str = "", step: int = 5, further: Any = (), **more: Any) -> Run:
    """A run that is over. Its accuracy is `value`. `further`: tasks besides its first one."""
    store, method = default().store, named.load_method("lora", {"deltas.0.rank": rank}).document()
    made = store.create({"model": "minilm-l6", "task": "sst2", "further": list(further), "method": method, "seed": seed}, name or f"LoRA {rank} · seed {seed}")
    store.claim(made, processes.identity())
    costs = {"trainable": 1000 * rank, "percent": 0.1 * rank, "peak_bytes": 10**9 + 10**7 * rank, "seconds": 9.0}
    store.finish(made, state, result={"best": {"step": step, "accuracy": value}, "metrics": {"accuracy": value}, "judge": JUDGE} | costs | more)
    return store.get(made)


# -- against scipy -------------------------------------------------------------------------------------------------------------------


def test_seeds_in_common_are_paired_as_scipy_does():
    values = DRAW.normal(size=(5, 6))
    found = tests_of.pairwise(values)
    for one in range(5):
        for other in range(5):
            if one != other:
                asked = stats.ttest_rel(values[one], values[other])
                low, high = asked.confidence_interval()
                assert found.p[one, other] == pytest.approx(asked.pvalue) and found.effect[one, other] == pytest.approx((values[one] - values[other]).mean())
                assert (found.low[one, other], found.high[one, other]) == (pytest.approx(low), pytest.approx(high)) and found.n[one, other] == 6


def test_seeds_apart_are_welchs_as_scipy_does_and_one_seed_is_nothing():
    values = np.full((3, 9), np.nan)
    values[0, :4], values[1, 4:8], values[2, 8] = DRAW.normal(size=4), 2 * DRAW.normal(size=4), 1.0
    found = tests_of.pairwise(values)
    asked = stats.ttest_ind(values[0, :4], values[1, 4:8], equal_var=False)
    low, high = asked.confidence_interval()
    assert (found.p[0, 1], found.low[0, 1], found.high[0, 1]) == (pytest.approx(asked.pvalue), pytest.approx(low), pytest.approx(high))
    assert tests_of.HOW[found.how[0, 1]] == "welch" and found.how[0, 2] == tests_of.NONE and np.isnan(found.p[1, 2])


def test_the_same_difference_for_every_seed_is_judged_by_its_signs():
    for seeds in (2, 3, 6, 8):
        one = DRAW.integers(0, 100, seeds) / 100
        found = tests_of.pairwise(np.stack([one + 0.01, one]))
        assert found.p[0, 1] == pytest.approx(stats.binomtest(seeds, seeds).pvalue) and np.isnan(found.low[0, 1])
    assert tests_of.pairwise(np.stack([one, one])).p[0, 1] == 1.0


def test_holm_and_mcnemar_and_the_matrix_of_a_grid():
    p = np.array([0.01, np.nan, 0.04, 0.03, 0.005])
    assert tests_of.holm(p) == pytest.approx([0.03, np.nan, 0.06, 0.06, 0.02], nan_ok=True)
    one, other = np.repeat([True, True, False, False], (30, 9, 2, 5)), np.repeat([True, False, True, False], (30, 9, 2, 5))
    found, exact = tests_of.mcnemar(one, other), stats.binomtest(2, 11).pvalue
    assert found.p == pytest.approx(exact - stats.binom.pmf(2, 11, 0.5)) and found.effect == pytest.approx(7 / 46) and found.low < 7 / 46 < found.high
    # points of one seed are averaged: two settings at each of four seeds are four numbers, not eight
    values, seeds = DRAW.normal(size=(2, 8)), [0, 0, 1, 1, 2, 2, 3, 3]
    asked = stats.ttest_rel(*values.reshape(2, 4, 2).mean(2))
    assert tests_of.pairwise(values, seeds).p[0, 1] == pytest.approx(asked.pvalue) and tests_of.pairwise(values, seeds).n[0, 1] == 4


# -- against chance ------------------------------------------------------------------------------------------------------------------

TRIALS = 400
BOUND = int(stats.binom.ppf(0.999, TRIALS, tests_of.LEVEL))  # of 400 trials at 5 %, 999 of 1000 times at most so many


@pytest.mark.parametrize("rows", [0, 60], ids=["exact", "of 60 rows"])
@pytest.mark.parametrize("seeds", [2, 3, 8])
def test_nothing_is_called_different_where_nothing_is(seeds: int, rows: int):
    """Four groups of one distribution, in steps of a row too: in at most 5 % of trials is any of their six pairs called different, so at most 5 % of pairs."""
    chance, wrong = np.random.default_rng(seeds + rows), 0
    for _ in range(TRIALS):
        values = 0.8 + 0.01 * chance.normal(size=(4, seeds)) + 0.02 * chance.normal(size=seeds)
        values = np.round(values * rows) / rows if rows else values
        wrong += bool((tests_of.pairwise(values).adjusted[np.triu_indices(4, 1)] < tests_of.LEVEL).any())
    assert wrong <= BOUND, (wrong, BOUND)


def test_a_bootstrap_of_rows_calls_nothing_different_where_nothing_is():
    chance, wrong, trials = np.random.default_rng(5), 0, 100
    for _ in range(trials):
        right = chance.random((2, 300)) < 0.8
        sums = [tests_of.drawn_sums(side[:, None].astype(float), 200)[:, 0] / 300 for side in right]
        wrong += tests_of.bootstrap(right[0].mean(), sums[0], right[1].mean(), sums[1], 300).p < tests_of.LEVEL
    assert wrong <= stats.binom.ppf(0.999, trials, 0.06)  # percentiles are a little narrow at 300 rows


def test_rows_of_several_tasks_are_drawn_task_by_task_and_their_average_compared(home):
    """The effect is that of sklearn's metrics, averaged over the tasks; other rows, or another right answer, are not compared."""
    from sklearn.metrics import accuracy_score, matthews_corrcoef

    chance, right = np.random.default_rng(2), {"sst2": np.random.default_rng(0).integers(2, size=400), "cola": np.random.default_rng(1).integers(2, size=250)}

    def answering(share: float, seed: int, first_row: int = 0) -> tuple[Run, float]:
        kept, scores = {}, []
        for (task, wanted), metric in zip(right.items(), (accuracy_score, matthews_corrcoef), strict=True):
            given = np.where(chance.random(len(wanted)) < share, wanted, 1 - wanted)
            kept[task] = {"row": np.arange(first_row, first_row + len(wanted)), **answered.labels(given.tolist(), wanted.tolist(), np.zeros((len(given), 2)))}
            scores.append(metric(wanted, given))
        judge = {"metric": "average", "greater_is_better": True}
        made = run(0.5, seed, further=["cola"], judge=judge, best={"step": 5, "average": float(np.mean(scores))})
        folder = default().home.run_dir(made.id, create=True) / "best"
        folder.mkdir()
        (folder / answered.FILE).write_bytes(answered.pack(kept, dict.fromkeys(right, 1000)))
        return made, float(np.mean(scores))

    def group(*runs: Run) -> groups.Group:
        (found,) = groups.grouped(list(runs))
        return found

    (good, high), (bad, low), (elsewhere, _) = answering(0.9, 0), answering(0.7, 1), answering(0.9, 2, first_row=3)
    found = examples.by_rows(group(good), group(bad))
    assert found is not None and found.how == "bootstrap" and found.rows == 650 and found.effect == pytest.approx(high - low, abs=1e-9)
    assert found.low < found.effect < found.high and found.low > 0 and found.p < 0.01
    same = examples.by_rows(group(good), group(good))
    assert same is not None and same.effect == 0 and same.p == 1 and same.low == same.high == 0
    assert examples.by_rows(group(good), group(elsewhere)) is None
    both = examples.by_rows(group(good, bad), group(bad))
    assert both is not None and both.effect == pytest.approx((high - low) / 2, abs=1e-9)


def test_a_difference_that_is_there_is_found():
    values = 0.8 + 0.003 * DRAW.normal(size=(3, 5)) + np.array([[0.0], [0.02], [0.02]])
    found = tests_of.pairwise(values)
    assert found.adjusted[1, 0] < 0.05 and tests_of.unbeaten(found, np.ones(3, bool), True).tolist() == [False, True, True]
    assert tests_of.unbeaten(found, np.ones(3, bool), False).tolist() == [True, False, False]


# -- what is said --------------------------------------------------------------------------------------------------------------------


def test_sentences_say_by_how_much_and_when_nothing_can_be_said(home):
    better = [run(0.80 + 0.001 * (seed % 3) + 0.02 * (rank == 16), seed, rank) for rank in (8, 16) for seed in range(5)]
    better[0] = run(0.799, 0, 8)
    tested = groups.tested(groups.grouped(better[1:] + better[:1]))
    names = groups.names(tested.groups)
    (line,) = verdicts.lines(tested, names, "en")
    assert re.fullmatch(r"LoRA 16 is better than LoRA 8 by 2\.\d points, 95 % interval \d\.\d to \d\.\d, 5 seeds\.", line), line
    assert "优于" in verdicts.lines(tested, names, "zh")[0] and {names[place] for place in tested.stars} == {"LoRA 16"}
    single = groups.tested(groups.grouped([run(0.7, 0, 2), run(0.9, 0, 4)]))
    assert verdicts.lines(single, groups.names(single.groups), "en") == ["LoRA 4 · seed 0 and LoRA 2 · seed 0: with 1 seed each nothing can be said."]
    assert not single.stars and verdicts.stars(single, "en").startswith("No ★")


def test_groups_of_one_name_are_told_apart_and_a_seed_counts_once(home):
    found = groups.grouped([run(0.7, seed, rank, name="LoRA") for rank in (4, 8) for seed in (0, 1)] + [run(0.9, 1, 8, name="LoRA")])
    assert groups.names(found) == ["LoRA (rank 4)", "LoRA (rank 8)"] and found[1].values == [0.7, pytest.approx(0.8)] and found[1].title == "LoRA (n=3)"


def test_pscp_is_as_its_authors_count(home):
    assert efficiency.pscp(80.1, 14680064, 0.0, 27.75) == pytest.approx(60.07, abs=0.01)  # LoRA on LLaMA-3-8B, by their script's inputs
    assert efficiency.pscp(50, 409600, 10.05 - 8.38, 42.47) == pytest.approx(50 / (1 + 409600 / 5e8) / 1.167 / (1 + 42.47 / 94))
    made = run(0.8, 0, 8)
    added = efficiency.added_tflops("minilm-l6", json.dumps(made.spec["method"], sort_keys=True))
    assert added == pytest.approx(2e-12 * 512 * 6 * 2 * 2 * 384 * 8)  # two low-rank products at q and v of six layers
    assert efficiency.pscp_of(made) is None, "on a CPU with no metered step only the process's memory is known"
    for more in ({"step_bytes": 3e8}, {"step_bytes": None, "device": "cuda:0", "peak_bytes": 3e8}):
        alike = run(0.8, 0, 8, **more)
        assert efficiency.pscp_of(alike) == pytest.approx(efficiency.pscp(0.8, 8000, added, 0.3)), "one memory on both"


# -- what is no result is none, wherever results are shown -------------------------------------------------------------------------

NONE = {"cancelled": {"state": "cancelled"}, "failed": {"state": "failed"}, "step 0": {"step": 0}, "no step": {"step": 0, "steps": 0}}
TOP = 0.98765  # the number of the run that is no result, above all others
MARKS = ("0.98765", "0.9877", "98.77", "98.8", "0.988")


def on_table(found: list[Run]) -> str:
    page = views_compare.results(found, "en")
    assert all(f"({mark})" in re.sub(r"<[^>]+>", "", page) for mark in MARKS[1:2]), "it is shown, in parentheses"
    return re.sub(r"<td class='right lab-aside'>.*?</td>", "", page)


def on_terminal(found: list[Run], capsys: Any) -> str:
    assert main(["compare", *(each.id for each in found)]) == 0
    return capsys.readouterr().out.replace("(0.9877)", "")


def on_api(found: list[Run]) -> str:
    answer = api.compare([each.id for each in found])
    assert [each["no_result"] for each in answer["runs"]].count("") == len(found) - 1
    return json.dumps([answer["groups"], answer["pairs"], answer["sentences"]])


def in_zip(found: list[Run]) -> str:
    with zipfile.ZipFile(io.BytesIO(appendix.appendix(found))) as file:
        return "\n".join(file.read(name).decode() for name in file.namelist() if name not in ("runs.json",) and not name.startswith("specs/"))


SURFACES = {
    "table": on_table,
    "answers": lambda found: views_compare.answers(found, "en"),
    "scatters": lambda found: json.dumps(overlay.fronts(found, backdrop=False)),
    "parallel coordinates": lambda found: json.dumps(coordinates.parallel(found, "en")),
    "matrix": lambda found: views_sweep.matrix(found, "method.deltas.0.rank", "", "en"),
    "matrix with seeds": lambda found: views_sweep.matrix(found, "method.deltas.0.rank", "seed", "zh"),
    "report": lambda found: re.sub(r"<pre>.*?</pre>", "", report.report(found, overlay.fronts(found, backdrop=False), "en", "now"), flags=re.S),
    "csv": compare.as_csv,
    "latex": lambda found: appendix.text_of(found, "latex"),
    "markdown": lambda found: appendix.text_of(found, "markdown"),
    "appendix": in_zip,
    "api": on_api,
}


@pytest.mark.parametrize("kind", NONE)
@pytest.mark.parametrize("surface", [*SURFACES, "terminal"])
def test_what_is_no_result_is_none_on_any_surface(surface: str, kind: str, home, capsys):
    found = [run(0.5 + 0.001 * seed + 0.01 * rank, seed, rank) for rank in (4, 8) for seed in range(3)]
    other = run(TOP, 3, 99, name="no result", **NONE[kind])
    page = on_terminal([*found, other], capsys) if surface == "terminal" else SURFACES[surface]([*found, other])
    assert not [mark for mark in MARKS if mark in page], page[:2000]
    assert not re.search(r"no result[^\n<]*(\*|★)", page)
    assert groups.group_of([other]).mean is None and compare.scores([other], groups.group_of([other]).metric) == [None]


def test_a_task_that_differs_in_its_training_rows_is_judged_alike(home):
    """Also where one document has the preset's name and the other the task with its options: what differs is the rows, and those alone."""
    named_one, written = (run(0.5 + 0.01 * seed + rank / 1000, seed, rank, name=str(rank)) for seed, rank in ((0, 4), (0, 8)))
    changed = tasks.resolve("sst2").model_dump(mode="json")
    written.spec["task"] = {**changed, "train_rows": 100}
    found = groups.tested(groups.grouped([named_one, written]))
    assert found.comparable.all()
    assert {path for path in compare.settings([named_one, written]) if path.startswith("task")} == {"task.train_rows"}
    written.spec["task"] = {**changed, "validation_rows": 100}
    assert not groups.tested(groups.grouped([named_one, written])).comparable.all()


# -- for a paper ---------------------------------------------------------------------------------------------------------------------


def test_latex_is_escaped_and_balanced(home):
    nasty = r"50% & $x_1$ #2 {a} ~b ^c \d <e> | ±"
    found = [run(0.5 + 0.01 * rank, 0, rank, name=f"{nasty} {rank}") for rank in (4, 8)]
    for form in ("latex", "equations", "bibtex"):
        text = appendix.text_of(found, form)
        bare = re.sub(r"\\[{}]", "", text)
        assert bare.count("{") == bare.count("}")
        if form == "latex":
            row = next(line for line in text.splitlines() if "50" in line)
            assert (
                r"50\% \& \$x\_1\$ \#2 \{a\} \textasciitilde{}b \textasciicircum{}c \textbackslash{}d \textless{}e\textgreater{} \textbar{} $\pm$ 4 & 1" in row
            )
            assert len(re.findall(r"(?<!\\)&", row)) == len(re.findall(r"(?<!\\)&", text.splitlines()[4])) and row.endswith(r"\\")
    assert paper.escape("a\nb") == "a b"


@pytest.mark.skipif(not shutil.which("pdflatex") or not shutil.which("bibtex"), reason="no LaTeX here: texlive-latex-recommended and texlive-pictures have it")
def test_every_preset_s_equations_and_references_are_typeset(home, tmp_path):
    """By LaTeX itself: without an error, inside the text's width, each entry with an author to sort by."""
    found = []
    for place, name in enumerate(names("methods")):
        one = run(0.5 + 0.001 * place, name=name)
        one.spec["method"] = named.load_method(name).document()
        found.append(one)
    assert len(found) > 60
    for form in ("latex", "equations", "bibtex"):
        (tmp_path / appendix.FORMS[form][0]).write_text(appendix.text_of(found, form), encoding="utf-8")
    packages = r"\usepackage[utf8]{inputenc}\usepackage[T1]{fontenc}\usepackage{amsmath,amssymb,booktabs}"
    body = r"\input{table}\input{equations}\nocite{*}\bibliographystyle{plain}\bibliography{references}"
    (tmp_path / "paper.tex").write_text(rf"\documentclass{{article}}{packages}\begin{{document}}{body}\end{{document}}", encoding="utf-8")
    for command in (["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper"], ["bibtex", "paper"]):
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, errors="replace", check=False)
        assert done.returncode == 0 and "Warning--" not in done.stdout, done.stdout[-2000:]
    equations = (tmp_path / "paper.log").read_text(errors="replace").partition("(./equations.tex")[2]
    assert equations and "Overfull" not in equations, re.findall(r"Overfull.*", equations)


def test_references_are_what_presets_know(home):
    text = appendix.text_of([run(0.5), run(0.6, 1)], "bibtex")
    assert text.count("eprint = {2106.09685}") == 1 and "LoRA: Low-Rank Adaptation" in text and "  author = {Hu and others}" in text
    assert all(key.isalnum() for key in re.findall(r"@misc\{([^,]+),", text))


def test_a_zip_has_all_that_a_paper_needs(home, tmp_path):
    found = [run(0.5 + 0.01 * seed, seed, rank) for rank in (4, 8) for seed in range(2)]
    assert main(["compare", *(each.id for each in found), "--appendix", str(tmp_path / "all.zip")]) == 0
    with zipfile.ZipFile(tmp_path / "all.zip") as file:
        names = set(file.namelist())
        documents = json.loads(file.read("runs.json"))
        rows = list(csv.reader(io.StringIO(file.read("results.csv").decode())))
        drawn = file.read("figures/pareto_percent.tex").decode()
    assert {"table.tex", "table.md", "references.bib", "equations.tex", "differences.md", "report.html", "README.md", "figures/pareto_seconds.svg"} <= names
    assert {f"specs/{each.id}.yaml" for each in found} <= names and [each["seed"] for each in documents] == [0, 1, 0, 1]
    assert len(rows) == 5 and {"joules", "seconds"} <= set(documents[0]["costs"])
    assert drawn.count(r"\addplot") == drawn.count(r"coordinates {") and r"\begin{axis}" in drawn and "(0.4,0.505) +- (0,0.00707107)" in drawn


def test_parallel_coordinates_say_what_has_no_axis(home):
    """What is the same for all, and what tells the runs apart as another setting does, takes no room."""
    found = [run(0.5 + 0.01 * rank, 0, rank) for rank in (4, 8, 16)]
    lines = coordinates.parallel(found, "en")
    assert [axis["id"] for axis in lines["axes"]] == ["method.deltas.0.rank", "trainable", "peak_bytes", "metric"] and lines[
        "left"
    ] == "The same for all: time 9.0 s."
    assert coordinates._telling({"a": [1, 1, 2], "method.b": [5, 5, 9], "c": [1, 2, 2]}, "en") == ({"a": [1, 1, 2], "c": [1, 2, 2]}, ["b"])


# -- sweep -----------------------------------------------------------------------------------------------------------------------------


def test_a_sweep_over_methods_says_what_of_the_bench_it_drops(home):
    method = named.load_method("lora", {"deltas.0.rank": 5}).document()
    asked = {"base": {"model": "minilm-l6", "task": "sst2", "method": method}, "axes": [{"path": "method", "values": "lora, bitfit"}]}
    assert grid.dropped(asked) == ["deltas.0.rank = 5"]
    assert grid.dropped({**asked, "axes": [{"path": "seed", "values": "0, 1"}]}) == [] and grid.dropped({**asked, "base": {"method": "lora"}}) == []


def test_a_matrix_averages_over_seeds_and_other_axes(home):
    found = [run(0.5 + 0.01 * rank + 0.001 * seed, seed, rank, name="x") for rank in (4, 8) for seed in range(3)]
    page = re.sub(r"<[^>]+>", " ", views_sweep.matrix(found, "method.deltas.0.rank", "", "en"))
    assert "0.541" in page and "0.581" in page and page.count("(3)") == 2 and "★" in page
