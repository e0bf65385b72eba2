"""Library, Sweep, Try it, and what Runs and Compare say, without a browser."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import random
import re
import sys
import time
import xml.etree.ElementTree

import numpy as np
import pytest
import search_support
from starlette.applications import Starlette
from starlette.testclient import TestClient

from lab import fetches, searching
from lab.asking import answering
from lab.cli import comparing
from lab.design.method import named
from lab.design.method.nearest import neighbours
from lab.design.plain.refusal import Refusal
from lab.design.presets import catalogue, tables
from lab.design.spec import search
from lab.results import compare, facts, groups, paper, published
from lab.results.curves import AXES, axis
from lab.runs import Home, Queue, processes
from lab.searching.costs import Meter
from lab.searching.driver import Driver
from lab.searching.record import keep
from lab.ui.combine import views as views_combine
from lab.ui.compare import coordinates, overlay, report
from lab.ui.compare import views as views_compare
from lab.ui.library import space_map as space
from lab.ui.library import views as views_library
from lab.ui.runs import curves
from lab.ui.runs import readings as views_readings
from lab.ui.runs import views as views_runs
from lab.ui.search import form as form_search
from lab.ui.search import page as page_search  # noqa: F401 (registers its question)
from lab.ui.search import views as views_search
from lab.ui.shell import charts, poll, run_facts, run_list
from lab.ui.shell.curve_cache import Follower
from lab.ui.sweep import grid
from lab.ui.sweep import views as views_sweep
from lab.ui.tryit import views as views_tryit
from lab.ui.words.table import say

SPEC = {"model": "minilm-l6", "task": "sst2", "method": {"name": "LoRA", "preset": "lora", "deltas": [{"rank": 8}]}, "seed": 0}
NASTY = "<img src=x onerror=alert(1)>"


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_library_shows_every_method(language):
    shown = views_library.gallery(language)
    for name in catalogue.names("methods"):
        assert f'id="method-{name}"' in shown and f'href="./?method={name}"' in shown
    assert shown.count("<svg") == 1 + len(catalogue.names("methods"))
    assert shown.count("$$") >= 2 * len(catalogue.names("methods"))
    kinds = re.findall(r'data-kind="([^"]+)"', shown)
    assert kinds == ["additive.adapters", "additive.soft-prompts", "additive.other", "reparameterised", "unified", "selective"]
    adapters, prompts = (shown.partition(f'data-kind="{kind}"')[2].partition("</section>")[0] for kind in kinds[:2])
    assert 'id="method-adapter-houlsby"' in adapters and 'id="method-prompt-tuning"' in prompts and 'id="method-prefix-tuning"' not in adapters
    assert {"en": "Additive: soft prompts", "zh": "增量式：软提示"}[language] in shown
    assert "\n" not in shown, "a blank line would end the HTML inside Markdown"
    assert len(re.findall(r'id="([^"]+)"', shown)) == len(set(re.findall(r'id="([^"]+)"', shown)))


def test_published_numbers_stand_at_their_methods():
    found = [point for point in published.of_method("mam") if point.task == "xsum" and point.metric == "rouge2"]
    assert [(point.value, point.percent) for point in found] == [(21.90, 6.7)]
    assert "21.9" in views_library.gallery("en")


def words_at(node):
    """About the rectangle that a line of 11 pixels takes."""
    x, y, wide = float(node.get("x")), float(node.get("y")), 5.6 * len(node.text)
    left = x - wide if node.get("text-anchor") == "end" else x
    return left, y - 10, left + wide, y + 2


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_map_has_every_step(language):
    drawn = space.svg({"lora": NASTY}, language)
    root = xml.etree.ElementTree.fromstring(drawn)
    assert "<img" not in drawn
    assert len([node for node in root.iter() if (node.get("class") or "").startswith("way ")]) == len(neighbours())
    boxes = [(float(node.get("x")), float(node.get("y"))) for node in root.iter() if node.get("class") == "spot"]
    assert len(boxes) == len({name for one, other, _ in neighbours() for name in (one, other)})
    for i, (x, y) in enumerate(boxes):
        assert all(abs(x - u) >= space.BOX or abs(y - v) >= space.TALL for u, v in boxes[:i]), "boxes overlap"
    words = [words_at(node) for node in root.iter() if node.get("class") == "step"]
    over = [(x, y, x + space.BOX, y + space.TALL) for x, y in boxes]
    for i, (left, top, right, bottom) in enumerate(words):
        assert all(left >= u or x >= right or top >= v or y >= bottom for x, y, u, v in [*words[:i], *over]), "words overlap"
        assert left >= 0 and right <= float(root.get("width"))


@pytest.fixture
def store(lab_home, monkeypatch):
    """A fresh lab whose queue starts nothing, as the pages' own."""
    queue = Queue(Home(lab_home), count=0)
    for module in (views_readings, views_sweep, grid, views_tryit, charts, curves, run_facts, run_list):
        monkeypatch.setattr(module, "default", lambda: queue)
    return queue


def finished(queue, name="a run", spec=None, rows=(), **result):
    """A run that is over, with curves and a result."""
    from lab.runs import processes

    run = queue.store.create(spec or SPEC, name)
    queue.store.claim(run, processes.identity())
    queue.store.log(run, list(rows), step=3, total_steps=3)
    queue.store.finish(run, "succeeded", result=result)
    return queue.store.get(run)


@pytest.mark.parametrize(("state", "some", "said"), [("succeeded", 400, "step 2, judged on all 1,066 validation rows; the curves use 400 of them"),
                                                    ("succeeded", 1066, "step 2, judged on all 1,066 validation rows."),
                                                    ("cancelled", 400, "step 2, judged on 400 of the 1,066 validation rows.")])  # fmt: skip
def test_a_run_says_what_its_best_was_judged_on(store, state, some, said):
    run = dataclasses.replace(finished(store, best={"step": 2, "accuracy": 0.5}, validation_rows=1066, evaluation_rows=some), state=state)
    assert said in views_runs.head(run, run.id, None, {}, "en") and "1,066 条验证样本" in views_runs.head(run, run.id, None, {}, "zh")


def test_a_run_that_shares_out_rank_tells_what_each_order_keeps(store):
    spec = {**SPEC, "method": named.load_method("lamda-plus-plus").document()}
    kept = {"energy_kept/larger-where-more-is-lost": (3, 0.62), "energy_kept/larger-where-less-is-lost": (3, 0.58)}
    told = {language: views_runs.head(finished(store, spec=spec), "", None, kept, language) for language in ("en", "zh")}
    for shown in told.values():
        assert "62 %" in shown and "58 %" in shown.partition("larger-where-less-is-lost")[2] and "62 %" in shown.partition("larger-where-less-is-lost")[0]
    assert "Energy kept" in told["en"] and "保留的能量" in told["zh"] and "Energy kept" not in views_runs.head(finished(store), "", None, {}, "en")


def test_readings_are_curves_by_site_and_layer(store):
    rows = [(step, f"delta_norm/encoder.{layer}.attn.q", 0.1 * layer * step) for layer in range(4) for step in (0, 1, 3)]
    rows += [(3, "gate/encoder.1.ffn.out", 0.5), (3, "loss", 1.0), (1, "delta_norm/encoder.2.attn.v", math.nan), (3, "delta_norm/encoder.2.attn.v", 2.0)]
    run = finished(store, rows=rows)
    found = views_readings.readings(run, views_readings.names(run))
    moved, gates = found["quantities"]
    assert (moved["id"], moved["rows"], moved["columns"], moved["steps"]) == ("delta_norm", ["encoder attn.q", "encoder attn.v"], [0, 1, 2, 3], [0, 1, 3])
    assert moved["values"][0][2] == pytest.approx([0, 0.2, 0.6]) and moved["values"][1] == [None, None, [None, None, 2.0], None]
    assert gates["values"] == [[[0.5]]] and found["steps"] == [0, 1, 3] and views_readings.newest(run, views_readings.names(run)) == 3
    assert views_readings.placed("decoder.11.attn.v") == ("decoder attn.v", 11) and views_readings.placed("layer.3") == ("layer", 3)
    empty = finished(store)
    assert views_readings.readings(empty, views_readings.names(empty))["quantities"] == [] and views_readings.newest(empty, []) == -1


def test_many_readings_are_thinned_to_the_same_steps(store):
    run = finished(store, rows=[(step, f"rank/encoder.{layer}.attn.q", step + layer) for step in range(500) for layer in range(2)])
    steps, values = store.store.readings(run.id, views_readings.names(run), most=20)
    assert len(steps) == 20 and steps[0] == 0 and steps[-1] == 499
    assert (values["rank/encoder.1.attn.q"] == steps + 1).all()


def test_a_followed_curve_is_the_curve(store):
    """Read once and then by what is new, a long curve keeps its ends, its extremes and a bounded number of points; another attempt starts anew."""
    queue, follower = store.store, Follower()
    run = queue.create(SPEC, "long")
    values = np.random.default_rng(0).normal(size=30_000)
    values[7_777], values[23_456] = 90.0, -90.0
    for first in range(0, 30_000, 3_000):
        queue.log(run, [(step, "loss", values[step]) for step in range(first, first + 3_000)])
        steps, seen, _ = follower.read(queue, queue.get(run), ["loss", "none"])["loss"]
        assert (steps[0], steps[-1]) == (0, first + 2_999) and len(steps) <= 1250 + 2 and (np.diff(steps) > 0).all()
        assert seen.max() == values[: first + 3_000].max() and seen.min() == values[: first + 3_000].min()
        assert (seen == values[steps]).all()
    queue.log(run, [(5, "none", 1.0)])
    assert follower.read(queue, queue.get(run), ["none"])["none"][1].tolist() == [1.0]
    queue.log(run, [(29_999, "loss", 123.0)])
    again = dataclasses.replace(queue.get(run), attempt=7)
    assert follower.read(queue, again, ["loss"])["loss"][1][-1] == 123.0


@pytest.mark.parametrize("length", [5000, 4])  # 4: older runs come into sight when newer ones go
def test_a_page_that_hears_the_news_has_the_whole_list(store, monkeypatch, length):
    """Whatever happens to the runs between two polls, what a page puts together is the list; and a poll carries only what has changed."""
    monkeypatch.setattr(run_list, "LENGTH", length)
    queue, chance, known, order, before, printed = store.store, random.Random(7), {}, [], None, ""
    acts = {"new": lambda run: queue.create(SPEC, f"run {chance.random():.3f}"), "tag": lambda run: queue.tag(run, [f"t{chance.randrange(9)}"]), "log": lambda run: queue.log(run, [(chance.randrange(99), "loss", 1.0)]),
            "next": lambda run: queue.reorder(run, 0), "start": lambda run: queue.claim(run, processes.identity()), "end": lambda run: queue.finish(run, "succeeded", result={"best": {"accuracy": 0.5}}),
            "delete": queue.delete}  # fmt: skip
    for turn in range(150):
        for _ in range(chance.randrange(3)):
            runs = queue.ids()
            with contextlib.suppress(Refusal):
                acts[chance.choice(list(acts)) if len(runs) > 3 else "new"](chance.choice(runs or [""]))
        version = queue.store_version()
        told, printed = run_list.news(before, printed)
        before = version
        known = {**({} if told.get("whole") else known), **{row["id"]: row for row in told["rows"]}}
        order = told.get("order", order)
        assert length < 5000 or turn == 0 or not told.get("whole")
        assert [known[run] for run in order] == [run_facts.row(run) for run in queue.list(limit=length)]
    assert run_list.news(before, printed) == ({"rows": []}, printed)
    queue.tag(order[0], ["alone"])
    told, _ = run_list.news(before, printed)
    assert [row["id"] for row in told["rows"]] == order[:1] and "order" not in told


def test_several_metrics_have_a_colour_each(store):
    run = finished(
        store, rows=[(step, name, 0.5) for step in (1, 2) for name in ("loss", "eval_loss", "eval_accuracy", "eval_f1", "tokens_per_second", "memory_bytes")]
    )
    drawn = {chart["id"]: chart for chart in curves.of_run(run)[0]["charts"]}
    assert [trace["name"] for trace in drawn["metric"]["traces"]] == ["eval_accuracy", "eval_f1"]
    assert len({trace["colour"] for trace in drawn["metric"]["traces"]}) == 2 and len({trace["colour"] for trace in drawn["loss"]["traces"]}) == 1
    assert drawn["throughput"]["traces"][0]["y"] == [0.5, 0.5]
    assert [chart["id"] for chart in overlay.of_runs([run])["charts"]] == ["eval_accuracy", "loss", "eval_loss", "memory"]


def test_a_zoom_gets_what_the_thinned_curve_leaves_out(store):
    run = finished(store, rows=[(step, name, float(step % 10)) for step in range(1, 20_001) for name in ("loss",)])
    (told,) = curves.detail({"run": run.id, "chart": "loss", "first": 1000.4, "last": 1500})["traces"]
    assert told["x"][0] <= 1000 and told["x"][-1] >= 1500 and len(told["x"]) > 490
    for wrong in (
        None,
        {},
        {"run": run.id, "chart": "x", "first": 1, "last": 2},
        {"run": 3, "chart": "loss", "first": 1, "last": 2},
        {"run": run.id, "chart": "loss", "first": "1", "last": 2},
        {"run": run.id, "chart": "loss", "first": math.nan, "last": 2},
    ):
        assert curves.detail(wrong) == {"traces": []}


def test_parallel_coordinates_have_what_varies_and_what_came_out(store):
    def spec(method, rank, seed):
        return {**SPEC, "method": {"name": method, "deltas": [{"rank": rank, "form": method}]}, "seed": seed}

    runs = [finished(store, f"{method} {rank}", spec(method, rank, 0), best={"accuracy": value}, trainable=weights, seconds=9.0)
            for method, rank, value, weights in (("a", 4, 0.7, 100), ("a", 16, 0.8, 400), ("b", 8, 0.9, 90_000))]  # fmt: skip
    runs.append(finished(store, "nothing yet", spec("b", 8, 1)))
    found = coordinates.parallel(runs, "en")
    axes = {axis["id"]: axis for axis in found["axes"]}
    assert list(axes) == ["method", "method.deltas.0.rank", "seed", "trainable", "seconds", "metric"], "the form is the method's own"
    assert (
        axes["method"]["ticks"] == [[0.0, "a", "a"], [1.0, "b", "b"]]
        and axes["method"]["at"] == [0, 0, 1, 1]
        and axes["method.deltas.0.rank"]["title"] == "deltas.0.rank"
    )
    assert axes["metric"]["shown"] == ["0.7", "0.8", "0.9", "–"] and axes["metric"]["at"] == [0, pytest.approx(0.5), 1, None]
    assert axes["trainable"]["at"][1] == pytest.approx(np.log(4) / np.log(900)), "spans a factor of 900, so it is logarithmic"
    assert (axes["metric"]["good"], axes["trainable"]["good"]) == ("high", "low") and [line["label"] for line in found["lines"]][-1] == "nothing yet"


def test_an_axis_tells_nearly_equal_values_apart(store):
    runs = [finished(store, f"run {seed}", {**SPEC, "seed": seed}, peak_bytes=1_000_000_000 + 1_300_000 * seed) for seed in range(4)]
    peaks = next(axis for axis in coordinates.parallel(runs, "en")["axes"] if axis["id"] == "peak_bytes")
    assert peaks["shown"] == ["1.000 GB", "1.001 GB", "1.003 GB", "1.004 GB"] and [text for _, text, _ in peaks["ticks"]] == peaks["shown"]
    near = coordinates._spread([[0.0, "a", ""], [0.01, "b", ""], [0.5, "c", ""], [0.97, "d", ""], [1.0, "e", ""]])
    assert [text for _, text, _ in near] == ["a", "c", "e"]


def test_predictions_are_text(store):
    run = finished(store)
    folder = store.home.run_dir(run.id, create=True)
    (folder / "predictions.json").write_text(
        f'[{{"input": "{NASTY}", "prediction": "b", "reference": "c", "right": false, "probability": NaN}}, 3]', encoding="utf-8"
    )
    shown = views_readings.predictions(run, "en")
    assert "&lt;img" in shown and "<img" not in shown and "wrong-one" in shown
    (folder / "predictions.json").write_text("{", encoding="utf-8")
    assert "lab-table" not in views_readings.predictions(run, "en")


def curve(*values):
    return np.arange(1, len(values) + 1), np.array(values, float), 100.0 + 2 * np.arange(len(values))


def test_curves_have_other_axes():
    series = {"loss": curve(3, 2, 1), "epoch": curve(0.5, 1.0, 1.5), "tokens_per_second": curve(10, 10, 10)}
    along = {kind: axis(series, kind)(series["loss"]).tolist() for kind in AXES}
    assert along == {"step": [1, 2, 3], "epoch": [0.5, 1.0, 1.5], "tokens": [0, 20, 40], "time": [0, 2, 4]}


def test_seeds_of_one_setting_are_one_curve(store):
    runs = [finished(store, f"lora · seed {seed}", {**SPEC, "seed": seed}) for seed in range(3)] + [finished(store, "other", {**SPEC, "model": "x"})]
    everything = {run.id: {"loss": curve(3, 2, 1 + number)} for number, run in enumerate(runs)}
    grouped = overlay.traces(runs, everything, "loss", "train", "step", True)
    assert [trace["label"] for trace in grouped] == ["lora (n=3)", "other"]
    assert grouped[0]["y"] == [3, 2, 2] and grouped[0]["high"] == [3, 2, 3] and grouped[0]["low"] == [3, 2, 1]
    assert len(overlay.traces(runs, everything, "loss", "train", "step", False)) == 4


def test_the_front_holds_what_nothing_beats():
    points = [(1, 0.5), (2, 0.4), (3, 0.9), (4, 0.9), (3, 0.7)]
    assert compare.front(points, True) == [(1, 0.5), (3, 0.9)]
    assert compare.front(points, False) == [(1, 0.5), (2, 0.4)]


def test_papers_stand_behind_runs_of_their_task(store):
    runs = [
        finished(store, spec={**SPEC, "training": {"steps": steps}}, best={"accuracy": value}, percent=share)
        for steps, value, share in ((5, 0.9, 0.5), (6, 0.92, 1.0))
    ]
    chart = next(one for one in overlay.fronts(runs) if one["id"] == "pareto_percent")
    assert {"label": "mam, He et al. 2022", "method": "mam", "x": 0.5, "y": pytest.approx(0.942)} in chart["papers"]
    assert overlay.fronts(runs, backdrop=False)[0]["papers"] == []


def test_what_is_taken_away_is_safe(store):
    runs = [finished(store, name, {**SPEC, "seed": seed}, best={"accuracy": 0.5}) for seed, name in enumerate(("=1+1", NASTY))]
    lines = compare.as_csv(runs).splitlines()
    assert lines[0].startswith("run,name,state") and "'=1+1" in lines[1] and len(lines) == 3
    page = report.report(runs, overlay.of_runs(runs)["charts"], "en", "now")
    assert "Parallel coordinates" in page and page.count('stroke-linecap="round"') == len(runs)
    assert "<img" not in page and "<script" not in page and "http" not in page


MEMORY = {"cpu": "peak process memory", "cuda:0": "peak step memory", "both": "peak memory, of steps or of processes"}


@pytest.mark.parametrize("on", MEMORY)
def test_memory_is_called_what_it_is(store, on):
    """On every surface step memory or process memory, or both where runs of both kinds stand side by side; never one word for two things."""
    devices = ("cpu", "cuda:0") if on == "both" else (on, on)
    runs = [finished(store, f"run {seed}", {**SPEC, "seed": seed, "model": f"m{seed}"}, best={"step": 1, "accuracy": 0.5 + seed / 10}, peak_bytes=1e9 + 1e8 * seed, device=device)
            for seed, device in enumerate(devices)]  # fmt: skip
    (chart,) = [chart for chart in overlay.fronts(runs) if chart["id"] == "pareto_peak_bytes"]
    tested = groups.tested(groups.alone(runs))
    texts = [views_compare.results(runs, "en"), f"{say('en', chart['words'])} {say('en', chart['cost'])}", str(coordinates.parallel(runs, "en")), comparing._results_table(runs, None),
             report.report(runs, [chart], "en", "now"), paper.latex_table(tested, ["a", "b"]), paper.markdown_table(tested, ["a", "b"])]  # fmt: skip
    for text in texts:
        assert MEMORY[on] in text, (MEMORY[on], text[:3000])
        assert not re.search(r"peak memory(?!, of)|peak[_ ]bytes", text.replace("pareto_peak_bytes", "").replace("'id': 'peak_bytes'", ""))
    heads, *rows = [line.split(",") for line in compare.as_csv(runs).splitlines()]
    places = heads.index("peak_step_bytes"), heads.index("peak_process_bytes")
    assert [[bool(row[place]) for place in places] for row in rows] == [[device != "cpu", device == "cpu"] for device in devices]


def test_metrics_have_their_own_names(store):
    run = finished(store, best={"rougeL": 0.3, "loss": 1.0}, metrics={"f1": 0.2})
    wanted = ["ROUGE-L", "evaluation loss", "final F1"]
    assert [name for name in re.findall(r">([^<>]+)<", views_compare.results([run], "en").partition("</thead>")[0]) if name in wanted] == wanted


def test_a_run_with_several_labels_shows_all_that_it_was_judged_by(store):
    """On its page micro and macro F1 and the share of rows that are all right; on Compare those and the F1 of each label, whatever it is called."""
    from lab.design.spec.task import TaskSpec

    spec = {
        **SPEC,
        "task": TaskSpec(
            name="tickets", family="multi_label", labels=["<b>bill</b>", "login"], source={"file": "x.csv"}, columns={"text": "t", "label": "l"}
        ).model_dump(mode="json"),
    }
    run = finished(
        store, spec=spec, best={"step": 2, "loss": 0.5, "f1_micro": 0.75, "f1_macro": 0.625, "subset_accuracy": 0.5, "f1:<b>bill</b>": 0.25, "f1:login": 1.0}
    )
    assert (judged := facts.score(run)) and (judged.metric.name, judged.value) == ("f1_micro", 0.75)
    shown = views_runs.head(run, run.id, None, {}, "en")
    assert (
        all(
            re.search(f'{name}</dt><dd><span class="num" title="{value}"', shown)
            for name, value in (("F1, micro", 0.75), ("F1, macro", 0.625), ("subset accuracy", 0.5))
        )
        and "F1 of" not in shown
    )
    heads = re.findall(r'data-sort="\d+">([^<]+)<', views_compare.results([run], "en"))
    assert {"F1, micro", "F1, macro", "F1 of &lt;b&gt;bill&lt;/b&gt;", "F1 of login"} <= set(heads) and "<b>bill" not in views_compare.results([run], "en")


def test_the_ticks_of_a_report_are_round():
    assert (
        report.ticks(-4.96, 156) == [0, 50, 100, 150]
        and report.ticks(0.577, 0.862) == [0.6, 0.7, 0.8]
        and report.ticks(1.8e7, 2.61e7) == [1.8e7, 2e7, 2.2e7, 2.4e7, 2.6e7]
    )


BASE = {"model": "minilm-l6", "task": "sentiment-rt", "method": "lora", "training": {"steps": 10}, "seed": 0, "name": "kept out", "seq": 3}


def test_a_sweep_says_its_runs_before_launch():
    asked = {"base": BASE, "axes": [{"path": "deltas.0.rank", "values": "4, 8"}, {"path": "seed", "values": "0, 1, 2"}]}
    specs = grid.specs_of(asked)
    assert len(specs) == 6 and len({spec.name for spec in specs}) == 6 and len({spec.tags[-1] for spec in specs}) == 1
    words, fine = views_sweep.before(asked, "en")
    assert fine and 'data-runs="6"' in words and "36.9 k" in words and "73.7 k" in words and "60 steps" in words
    assert len(grid.specs_of({**asked, "axes": asked["axes"][:1], "list": True})) == 2


@pytest.mark.parametrize("axes, said", [
    ([], "at least one"), ([{"path": "deltas.0.rank", "values": "0"}], "at least 1"), ([{"path": "deltas.0.rnk", "values": "1"}], "rnk"),
    ([{"path": "seed", "values": ""}], "no values"), ([{"path": "seed", "values": "1"}, {"path": "seed", "values": "2"}], "twice"),
    ([{"path": "seed", "values": ",".join(map(str, range(1001)))}], "1,001"), ([{"path": NASTY, "values": "1"}], "&lt;img"), ("text", "at least one"),
])  # fmt: skip
def test_what_is_wrong_with_a_sweep_is_one_sentence(axes, said):
    words, fine = views_sweep.before({"base": BASE, "axes": axes if isinstance(axes, list) else []}, "en")
    assert not fine and said in words and "<img" not in words


def test_a_matrix_fills_as_runs_finish(store):
    def spec(rank, seed):
        return {**SPEC, "method": {**SPEC["method"], "deltas": [{"rank": rank}]}, "seed": seed}

    for rank, seed, value in ((4, 0, 0.7), (4, 1, 0.8), (16, 0, 0.9)):
        finished(store, spec=spec(rank, seed), best={"accuracy": value})
    store.store.create(spec(16, 1), "waits")
    runs = store.store.list()
    assert list(compare.varying(runs)) == ["method.deltas.0.rank", "seed"]
    shown = views_sweep.matrix(runs, "method.deltas.0.rank", "seed", "en")
    assert shown.count('class="told"') == 3 and "queued" in shown and "3 of 4" in shown
    assert "★" not in shown.partition("No ★")[0], "one seed in a cell: no star for luck"
    means = views_sweep.matrix(runs, "method.deltas.0.rank", "", "en")
    assert "0.75" in means and "± 0.071" in means


@pytest.mark.parametrize("name", tables.names())
def test_every_row_of_a_papers_table_runs_and_has_its_published_numbers(name, monkeypatch):
    table = tables.load(name)
    asked = {"base": BASE, "table": name, "axes": [{"path": "seed", "values": "0, 1"}]}
    specs = grid.specs_of(asked)
    assert [spec.method.name for spec in specs[::2]] == [row.label for row in table.rows] and {spec.seed for spec in specs} == {0, 1}
    assert len({spec.name for spec in specs}) == len(specs) and all(spec.tags[0] == name and spec.tags[-1].startswith("sweep-") for spec in specs)
    assert len(grid.specs_of({**asked, "without": [0]})) == len(specs) - 2
    for row in table.rows:
        found = published.of_row(table, row)
        assert found and all(point.value is not None for point in found)
        assert len({(point.task, point.metric) for point in found}) == len(found), "one row of the paper, not several"
    monkeypatch.setattr(fetches, "offline", lambda: "")  # what the paper ran on may be on the hub alone
    for place, base in enumerate(table.bases):
        there = grid.specs_of({**asked, "on": place})
        assert {(spec.model, spec.task, spec.lr) for spec in there} == {(base.model, base.task, base.training["lr"])}
        assert base.task in {point.task for row in table.rows for point in published.of_row(table, row)}


@pytest.mark.parametrize("asked, said", [({"table": "no-such"}, "no-such"), ({"table": "he-2022-table-5", "without": [0, 1, 2, 3, 4]}, "at least one row"),
                                         ({"table": "he-2022-table-5", "axes": [{"path": "method", "values": "lora"}]}, "take 'method' out")])  # fmt: skip
def test_what_is_wrong_with_a_table_is_one_sentence(asked, said):
    with pytest.raises(Refusal, match=said):
        grid.specs_of({"base": BASE, "axes": [], **asked})


def test_a_matrix_of_a_papers_table_stands_beside_its_numbers(store):
    table = tables.load("he-2022-table-5")
    for row, value in zip(table.rows, (0.7, 0.6, 0.8, 0.9, 0.85), strict=True):
        run = store.store.create({**SPEC, "method": {**row.document()["set"], "preset": row.method}}, row.label, ["he-2022-table-5"])
        store.store.claim(run, processes.identity())
        store.store.finish(run, "succeeded", result={"best": {"accuracy": value}})
    shown = views_sweep.matrix(store.store.list(), "method", "", "en")
    cells = re.findall(r'<th scope=.row.>([^<]+)</th>.*?<td class="paper"[^>]*>([\d.]+)<small>([^<]+)', shown)
    assert cells == [(row.label, f"{point.value:g}", "6.1 %") for row in sorted(table.rows, key=lambda one: one.label)
                     for point in published.of_row(table, row) if point.metric == "rouge2"]  # fmt: skip


def test_memory_of_a_sweep_is_planned_shape_by_shape(store, monkeypatch):
    planned = []

    class Planner:
        def plan(self, request, topic, turn):
            planned.append(request["spec"])
            return {"peak_reserved_bytes": 10**6 * request["spec"]["method"]["deltas"][0]["rank"]}

    monkeypatch.setattr(grid, "client", Planner)
    form = {
        "base": BASE,
        "axes": [
            {"path": "deltas.0.rank", "values": ",".join(map(str, range(11, 21)))},
            {"path": "seed", "values": "0, 1"},
            {"path": "training.lr", "values": "0.1, 0.2"},
        ],
    }
    said, done = grid.forecast({"form": form, "language": "en", "topic": "t", "done": 0}), 1
    assert 'data-peak="20000000"' in said["html"] and len(planned) == 1, "the largest is planned first, and seeds and learning rates are one shape"
    while said["more"]:
        said = grid.forecast({"form": form, "language": "zh", "topic": "t", "done": said["done"]})
        done += 1
    assert done == grid.MOST_PLANS and 'data-peak="20000000"' in said["html"]
    assert 'data-time=""' in said["html"], "nothing is known of the time yet"
    over = store.store.create(grid.specs_of(form)[0].document(), "over")
    store.store.claim(over, processes.identity())
    store.store.finish(
        over, "succeeded", result={"device": "cpu", "seconds": 30.0, "training_seconds": 20.0, "rows_per_second": 16.0, "train_rows": 8530, "steps": 10}
    )
    said = grid.forecast({"form": form, "language": "en", "topic": "t", "done": 0})
    assert 'data-time="1200"' in said["html"] and "20 min" in said["html"], "40 runs of 30 s each"
    assert grid.forecast({"form": {"base": BASE, "axes": []}})["html"] == "" and grid.forecast(None)["html"] == ""


CHILD = """
import json, os, sys, time
print(json.dumps({"id": 0}), flush=True)
for line in sys.stdin:
    asked = json.loads(line)
    if asked["text"] == "die" or (asked["text"] == "die once" and not os.path.exists(sys.argv[1])):
        open(sys.argv[1], "w").close(); os._exit(9)
    if asked["text"] == "sleep": time.sleep(60)
    if asked["text"] == "no": print(json.dumps({"id": asked["id"], "refusal": {"sentence": "No.", "field": "text"}}), flush=True)
    else: print("noise"); print(json.dumps({"id": asked["id"], "kind": "text", "on": str(os.getpid()), "off": ""}), flush=True)
"""


@pytest.fixture
def client(tmp_path):
    found = answering([sys.executable, "-c", CHILD, str(tmp_path / "died")], idle=60)
    yield found
    found.close()


def test_the_models_process_starts_late_and_comes_back(client):
    assert not client.running
    first = client.ask({"run": "x", "text": "hello"})["on"]
    assert client.ask({"run": "x", "text": "again"})["on"] == first, "one process answers all"
    assert client.ask({"run": "x", "text": "die once"})["on"] != first
    with pytest.raises(Refusal, match="No."):
        client.ask({"run": "x", "text": "no"})
    with pytest.raises(Refusal, match="twice"):
        client.ask({"run": "x", "text": "die"})
    with pytest.raises(Refusal, match="no answer in"):
        client.ask({"run": "x", "text": "sleep"}, seconds=0.3)
    assert client.ask({"run": "x", "text": "still here"})["kind"] == "text"


def test_the_models_process_goes_when_nobody_asks(client):
    client.idle = 0.1
    client.ask({"run": "x", "text": "hello"})
    until = time.monotonic() + 10
    while client.running and time.monotonic() < until:
        time.sleep(0.05)
    assert not client.running


@pytest.mark.parametrize("kind, value", [("labels", [[NASTY, 0.75], ["b", 0.25]]), ("text", NASTY), ("text", ""), ("number", 3.25)])
def test_answers_are_text(store, kind, value):
    shown = views_tryit.card(finished(store, NASTY), {"kind": kind, "on": value, "off": value}, "", "zh")
    assert "<img" not in shown and shown.count("<section") == 2
    assert "<img" not in views_tryit.card(finished(store), None, NASTY, "en")


def test_only_runs_with_an_adapter_can_be_tried(store):
    finished(store, "none yet")
    run = finished(store, "has one")
    folder = store.home.run_dir(run.id, create=True) / "best"
    folder.mkdir()
    (folder / "adapter.safetensors").write_bytes(b"")
    assert [row["id"] for row in views_tryit.rows()] == [run.id] == [row["id"] for row in views_combine.rows()]


def test_a_search_on_its_page(lab_home):
    """The page's own route, asked as its script asks: the newest search with its verdict, trade-offs, designs and what mattered, in both languages."""
    visitor = TestClient(Starlette(routes=[poll.ROUTE]))
    look = lambda **asked: visitor.post("/look/search", json={"chosen": {}, "chose": True, **asked}).json()["parts"]  # noqa: E731
    assert look()["view"]["names"] == [] and "Begin a search" in look()["verdict"]
    name = searching.begin({**search_support.DOCUMENT, "name": "demo", "sampler": "random", "title": NASTY})
    assert look()["view"] == {"names": ["demo"], "name": "demo", "halt": False, "go_on": True}
    record = searching.read(name)
    Driver(record, search_support.Made(Meter(record.search(), search_support.peak)), keep, lambda line: None).run()
    shown = look()
    assert (
        shown["view"]["go_on"] is False and NASTY not in shown["verdict"] and "95 % interval" in shown["verdict"] and "data-state='ended'" in shown["verdict"]
    )
    assert shown["trials"].count("data-trial=") == len(record.trials) and shown["trials"].count("data-state='over'") == sum(
        t.state == "over" for t in record.trials
    )
    percent = next(chart for chart in shown["charts"]["charts"] if chart["id"] == "pareto_percent")
    assert {point["id"] for point in percent["points"]} == {str(trial.number) for trial in record.trained} and percent["front"]
    assert all(f"<code>{path}</code>" in shown["matters"] for path in record.importance) and record.importance
    chinese = look(language="zh")
    assert "区间" in chinese["verdict"] and "上限" in chinese["trials"] and not re.search("allowed|By accuracy", chinese["trials"] + chinese["verdict"])
    for preset in form_search.presets():
        assert form_search.spec_of_form(preset).document()["space"] == search.load(preset["name"]).document()["space"]
    words, fine = views_search.before({**form_search.presets()[0], "budget": "little"}, "zh")
    assert not fine and 'data-field="budget"' in words and "预算写作" in words
