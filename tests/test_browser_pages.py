"""Library, Sweep, Try it, Runs and Compare in a real Chromium, over a lab whose runs are already there. Nothing trains here."""

from __future__ import annotations

import csv
import json
import re

import pytest
from ui_support import LONG

from lab.design.presets import catalogue
from lab.design.spec.run import spec_of
from lab.export import FORMATS
from lab.runs import Home, Queue, processes
from lab.ui.words.table import PRESETS

pytestmark = [pytest.mark.browser, pytest.mark.timeout(900)]


def spec(rank=8, seed=0):
    return spec_of({"model": "minilm-l6", "task": "sentiment-rt", "method": {"preset": "lora", "set": {"deltas.0.rank": rank}}, "seed": seed,
                    "training": {"steps": 10}, "name": f"rank {rank}, seed {seed}", "tags": ["grid"]}).document()  # fmt: skip


def finished(queue, rank, seed, value):
    """A run that is over, with the curves and the result of a real one."""
    document = spec(rank, seed)
    run = queue.store.create(document, document["name"], document["tags"])
    queue.store.claim(run, processes.identity())
    rows = [(step, name, number) for step in range(1, 11) for name, number in (("loss", 1 / step), ("epoch", step / 10), ("tokens_per_second", 900.0))]
    rows += [(step, f"delta_norm/encoder.{layer}.attn.q", 0.001 * step * layer) for step in (5, 10) for layer in range(6)]
    rows += [(10, "eval_accuracy", value), (10, "eval_f1", 0.7), (10, "eval_loss", 0.5)]
    queue.store.log(run, rows, step=10, total_steps=10)
    queue.store.finish(
        run,
        "succeeded",
        result={"best": {"step": 10, "accuracy": value}, "trainable": 9216 * rank, "percent": 0.04 * rank, "peak_bytes": 1e9 + rank, "seconds": 60.0 + rank},
    )
    folder = queue.home.run_dir(run, create=True)
    (folder / "predictions.json").write_text(
        json.dumps([{"input": "<b>fine</b>", "prediction": "positive", "reference": "negative", "right": False}]), encoding="utf-8"
    )
    return run


def give_adapter(queue, run):
    """An untrained adapter where a run keeps its best one."""
    from safetensors.torch import save_file

    from lab.engine import attach
    from lab.models import load

    document = spec_of(queue.store.get(run).spec)
    attached = attach(load("minilm-l6", objective="classification", num_labels=2), document.method)
    folder = queue.home.run_dir(run, create=True) / "best"
    folder.mkdir()
    save_file({name: tensor.contiguous() for name, tensor in attached.state_dict().items()}, folder / "adapter.safetensors")
    (folder / "method.json").write_text(json.dumps({"objective": "classification", "labels": ["negative", "positive"]}), encoding="utf-8")


@pytest.fixture(scope="module")
def lab(idle):
    """(address, {(rank, seed): run}, a queued run)."""
    address, home = idle
    queue = Queue(Home(home), count=0)
    runs = {(rank, seed): finished(queue, rank, seed, 0.7 + rank / 100 + seed / 100) for rank in (4, 16) for seed in (0, 1)}
    give_adapter(queue, runs[4, 0])
    return address, runs, queue.store.create(spec(32), "waits", ["grid"])


def test_library(lab, opened):
    watched = opened(lab[0] + "/library")
    page = watched.page
    page.wait_for_selector("#method-mam .katex")
    assert page.locator(".lab-method").count() == len(catalogue.names("methods")) == page.locator(".lab-method .lab-thumb svg").count()
    page.get_by_label("Filter by name").fill("prefix gating")
    page.wait_for_function("document.querySelectorAll('.lab-method:not([hidden])').length === 1")
    page.get_by_label("Filter by name").fill("")
    page.get_by_label("Family").select_option("additive.soft-prompts")
    page.wait_for_function(
        "[...document.querySelectorAll('.lab-method:not([hidden])')].map((card) => card.id).join() === 'method-llama-adapter,method-p-tuning,method-p-tuning-v2,method-prefix-tuning,method-prefix-tuning-mlp,method-prefix-ungated,method-prompt-tuning'"
    )
    page.get_by_label("Family").select_option("additive")
    page.wait_for_function(
        "document.querySelectorAll('.lab-method:not([hidden])').length === 20 && document.querySelectorAll('.lab-family:not([hidden])').length === 3"
    )
    page.get_by_label("Family").select_option("")
    page.locator("#method-adapter-houlsby").get_by_role("link", name="Open on the bench").click()
    page.wait_for_function("document.querySelector('#equation')?.innerText.includes('GELU')")
    watched.clean()


def test_runs_are_described_sorted_and_moved(lab, opened):
    address, runs, waiting = lab
    watched = opened(f"{address}/runs?run={runs[4, 0]}")
    page = watched.page
    page.wait_for_selector("#run-maps .delta_norm td")
    assert page.locator("#run-maps .delta_norm td").count() == 6
    assert page.locator("#run-charts [data-chart=metric] .lab-curve").all_inner_texts() == ["accuracy 0.74", "F1 0.7"]
    assert page.locator("#run-charts [data-chart=throughput]").get_attribute("data-points") == "10"
    page.get_by_label("Read at").press("Home")
    page.wait_for_function("document.querySelectorAll('#run-maps .delta_norm td')[5].textContent === '0.025'")
    page.locator("#run-maps .delta_norm td button").nth(5).click()
    page.get_by_text("encoder attn.q of layer 5 over time").wait_for()
    assert page.evaluate("document.querySelector('#run-maps .delta_norm .lab-plot').data.map((trace) => trace.y)") == [[0.025, 0.05]]
    page.get_by_role("tab", name="Predictions").click()
    page.get_by_text("<b>fine</b>").wait_for()
    page.get_by_role("tab", name="Name and notes").click()
    page.get_by_label("Notes").fill("keep this one")
    page.get_by_label("Tags").fill("grid, mine")
    page.get_by_role("button", name="Save").click()
    page.locator("#run-head .lab-tag", has_text="mine").wait_for()
    page.reload()
    page.get_by_role("tab", name="Name and notes").click()
    page.wait_for_function("document.querySelector('#about-notes').value === 'keep this one'")
    page.get_by_role("button", name="Queue a copy").click()
    page.wait_for_selector("#run-head .lab-state.queued")
    assert page.locator("#runs .lab-item").first.get_attribute("data-run") == waiting
    page.get_by_role("button", name="Start next").click()
    page.wait_for_function(f"document.querySelector('#runs .lab-item').dataset.run !== '{waiting}'")
    page.locator("#run-said .lab-said").wait_for()
    page.locator(f'#runs .lab-item[data-run="{runs[16, 1]}"]').click()
    page.wait_for_function("!document.querySelector('#run-said .lab-said')")  # what was said of one run is not said of the next
    page.get_by_label("Order").select_option("metric")
    page.wait_for_function("document.querySelector('#runs .lab-name').textContent === 'rank 16, seed 1'")
    page.get_by_label("Tag", exact=True).select_option("mine")
    page.wait_for_function("document.querySelectorAll('#runs .lab-item').length === 2")
    watched.clean()


def test_runs_as_a_table_are_queried_sorted_selected_and_kept_as_a_view(lab, opened):
    address, runs, _ = lab
    watched = opened(f"{address}/runs")
    page = watched.page
    page.get_by_role("button", name="Table", exact=True).click()
    query, rows = page.get_by_label("Which runs"), page.locator("#run-table tbody tr[data-run]")
    query.fill("name = rank* and state = succeeded and accuracy > 0.745")
    page.wait_for_function("document.querySelectorAll('#run-table tbody tr[data-run]').length === 3")
    page.locator("#run-table th[data-column=metric] button").press("Enter")
    page.wait_for_selector("#run-table th[data-column=metric][aria-sort=descending]")
    assert rows.evaluate_all("found => found.map((row) => row.dataset.run)") == [runs[16, 1], runs[16, 0], runs[4, 1]]
    rows.nth(0).click(position={"x": 500, "y": 10})
    page.keyboard.press("Shift+ArrowDown")
    assert page.locator("#run-table tr[aria-selected=true]").count() == 2
    page.get_by_label("tag", exact=True).fill("best ones")
    page.get_by_role("button", name="Add tag").click()
    page.get_by_text("2 tagged best ones.").wait_for()
    rows.nth(2).locator("input").click(modifiers=["Shift"])
    assert page.locator("#run-table tr[aria-selected=true]").count() == 3
    rows.nth(0).click(position={"x": 500, "y": 10})
    page.get_by_role("button", name="Make baseline").click()
    page.wait_for_function("document.querySelectorAll('#run-table td small.worse').length >= 2")
    page.get_by_role("button", name="Save view").click()
    page.get_by_label("name of the view").fill("above 0.745")
    page.get_by_label("name of the view").press("Enter")
    page.get_by_role("button", name="Delete view").wait_for()
    query.fill("acuracy > 1")
    page.get_by_text("There is no column, setting or metric 'acuracy' (at letter 1); near it are accuracy").wait_for()
    assert rows.count() == 3, "what was there stays until the query is one"
    query.fill("")
    page.reload()
    page.get_by_label("Views").select_option("above 0.745")
    page.wait_for_function("document.querySelectorAll('#run-table tbody tr[data-run]').length === 3")
    assert query.input_value().endswith("0.745") and "view=table" in page.url
    page.get_by_label("Group").select_option("seeds")
    page.locator("#run-table tr.group").nth(1).wait_for()
    page.locator("#run-table tr.group").first.click()
    rows.first.press("Enter")
    page.wait_for_function(f"document.querySelector('#run-head h2')?.title === '{runs[16, 1]}'")
    assert page.title().startswith("succeeded · rank 16, seed 1 · ") and page.get_by_role("button", name="Compare these").first.is_visible()
    watched.clean()


def test_compare_takes_other_views_home(lab, opened, tmp_path):
    address, runs, _ = lab
    watched = opened(f"{address}/compare?runs={','.join(runs.values())}")
    page = watched.page
    page.wait_for_selector("[data-chart=pareto_percent][data-points='2']")  # two settings of two seeds
    page.get_by_label("rows and curves").select_option("no")
    page.wait_for_selector("[data-chart=pareto_percent][data-points='4']")
    assert "group=no" in page.url
    page.get_by_label("x axis").select_option("epoch")
    page.get_by_label("rows and curves").select_option("yes")
    page.wait_for_function("document.querySelector('[data-chart=loss] .lab-plot').data?.some((trace) => /n=2/.test(trace.name))")
    longest = page.evaluate("Math.max(...document.querySelector('[data-chart=loss] .lab-plot').data[0].x)")
    assert longest == 1 and "along=epoch" in page.url and "group=" not in page.url
    for button, name in (("CSV", "comparison.csv"), ("HTML report", "comparison.html")):
        with page.expect_download() as waiting:
            page.get_by_role("button", name=button).click()
        waiting.value.save_as(tmp_path / name)
    rows = list(csv.DictReader((tmp_path / "comparison.csv").open(encoding="utf-8")))
    assert {row["run"] for row in rows} == set(runs.values()) and rows[0]["method.deltas.0.rank"] == "4"
    report = (tmp_path / "comparison.html").read_text(encoding="utf-8")
    assert "<svg" in report and "<script" not in report
    page.reload()  # the address keeps the options
    page.wait_for_function("document.querySelector('[data-chart=loss] .lab-plot')?.data?.some((trace) => /n=2/.test(trace.name))")
    assert page.get_by_label("x axis").input_value() == "epoch" and page.get_by_label("curves").input_value() == "yes"
    page.locator("[data-chart=loss]").hover()
    for format, begins in (("svg", b"<svg"), ("png", b"\x89PNG")):
        with page.expect_download() as waiting:
            page.locator("[data-chart=loss]").get_by_role("button", name=f"Download this chart as {format.upper()}").click()
        waiting.value.save_as(tmp_path / f"loss.{format}")
        assert waiting.value.suggested_filename == f"loss.{format}" and (tmp_path / f"loss.{format}").read_bytes().startswith(begins)
    buttons = page.locator(".modebar-btn").evaluate_all("all => all.map((one) => one.dataset.title)")
    assert buttons and not any("hare" in title for title in buttons), "plotly's button that uploads a chart"
    front = page.locator("[data-chart=pareto_peak_bytes]")
    front.hover()
    with page.expect_download() as waiting:
        front.get_by_role("button", name="Download this chart as SVG").click()
    waiting.value.save_as(tmp_path / "front.svg")
    ticks = re.findall(r'class="xtick".*?>([^<>]+)</text>', (tmp_path / "front.svg").read_text(encoding="utf-8"))
    assert ticks and all(re.fullmatch(r"[\d.]+[MG]B", tick) for tick in ticks), ticks  # on paper as on the page
    page.locator("#results").get_by_role("button", name="accuracy", exact=True).click()
    assert page.locator("#results tbody th .lab-run-name").first.inner_text().startswith("rank 16")
    watched.clean()


def test_parallel_coordinates_choose_runs(lab, opened, tmp_path):
    address, runs, _ = lab
    watched = opened(f"{address}/compare?runs={','.join(runs.values())}")
    page = watched.page
    axes = page.locator("#parallel .axis")
    axes.first.wait_for()
    assert axes.evaluate_all("axes => axes.map((axis) => axis.dataset.axis)") == [
        "method.deltas.0.rank",
        "seed",
        "trainable",
        "seconds",
        "metric",
    ]
    assert "peak process memory" in page.locator("#parallel").inner_text().partition("The same for all")[2]  # a constant takes no room
    assert page.locator("#parallel .line").count() == 4
    hit = axes.last.locator(".hit")
    hit.scroll_into_view_if_needed()
    box = hit.bounding_box()
    page.mouse.move(box["x"] + 16, box["y"] + 2)
    page.mouse.down()
    page.mouse.move(box["x"] + 16, box["y"] + 0.4 * box["height"], steps=3)
    page.mouse.up()
    page.get_by_text("2 of 4 runs").wait_for()
    axes.nth(1).focus()
    page.keyboard.press("ArrowUp")
    page.get_by_text("1 of 4 runs").wait_for()
    assert "seed: runs from 1 to 1" in axes.nth(1).get_attribute("aria-label")
    page.keyboard.press("Delete")
    page.get_by_text("2 of 4 runs").wait_for()
    with page.expect_download() as waiting:
        page.locator("#parallel").get_by_role("button", name="Download this chart as SVG").click()
    waiting.value.save_as(tmp_path / "lines.svg")
    drawn = (tmp_path / "lines.svg").read_text(encoding="utf-8")
    assert "var(" not in drawn and drawn.count('class="line') == 4
    assert all("paint-order:stroke" in tick for tick in re.findall(r'<text class="tick"[^>]*>', drawn)), "the halo of a value is under it"
    page.get_by_role("button", name="Compare only these").click()
    page.wait_for_function("document.querySelectorAll('#results tbody tr').length === 2")
    assert page.url.split("runs=")[1].split("&")[0].replace("%2C", ",") == f"{runs[16, 0]},{runs[16, 1]}"
    watched.clean()


def test_a_first_comparison_is_one_click_away(lab, opened):
    watched = opened(lab[0] + "/compare")
    page = watched.page
    page.get_by_role("button", name="Compare the newest runs").click()
    page.wait_for_function("document.querySelectorAll('#results tbody tr').length === 2")  # four runs, two settings
    page.get_by_role("button", name="Clear").first.click()
    page.get_by_role("button", name="Compare the newest runs").wait_for()
    watched.clean()


def test_export_shows_files_before_they_are_taken(lab, opened, tmp_path):
    address, runs, waiting = lab
    watched = opened(f"{address}/export?run={runs[4, 0]}")
    page = watched.page
    page.locator(".lab-format").first.wait_for()
    assert [button.get_attribute("data-format") for button in page.locator(".lab-format").all()] == list(FORMATS)
    assert page.locator('[data-format="peft"]').is_enabled() and page.locator('[data-format="lab"]').is_enabled()
    page.locator(f'.lab-item[data-run="{waiting}"]').click()
    page.get_by_text("no adapter yet").first.wait_for()
    assert page.locator('[data-format="peft"]').is_disabled() and page.locator("#export-take").count() == 0
    page.locator('[data-format="config"]').press("Enter")
    page.get_by_role("tab", name="adapter_config.json").click(timeout=2 * LONG)
    assert '"r": 32' in page.locator("#export-files pre").inner_text()
    with page.expect_download() as taken:
        page.locator("#export-take").click()
    assert taken.value.suggested_filename == f"{waiting}-config.zip"
    page.locator("#bring-form > button").click()
    page.get_by_label("Or where it is").fill("/no/such/adapter")
    page.get_by_role("button", name="Bring it in").click()
    page.locator("#bring-outcome .wrong", has_text="/no/such/adapter").wait_for()
    assert page.evaluate("[document.activeElement.id, document.activeElement.ariaInvalid]") == ["bring-source", "true"]
    watched.clean()


def test_sweep(lab, opened):
    watched = opened(lab[0] + "/sweep?tag=grid&row=method.deltas.0.rank&column=seed")
    page = watched.page
    page.wait_for_selector("#matrix td.told >> nth=3")
    page.wait_for_selector('#sweep-told [data-runs="6"]')
    page.get_by_label("values of option 1").fill("0, 4")
    page.get_by_text("at least 1").wait_for()
    assert page.locator("#sweep-launch").is_disabled()
    page.get_by_label("values of option 1").fill("2, 4")
    page.wait_for_selector('#sweep-told [data-runs="4"]')
    page.get_by_role("button", name="Queue all runs").click()
    page.get_by_text("4 runs are queued").wait_for()
    page.wait_for_function("document.querySelectorAll('#matrix td a').length === 2 && document.querySelector('#matrix').innerText.includes('queued')")
    watched.clean()


def test_a_papers_table_is_swept_and_stands_beside_its_numbers(lab, opened):
    watched = opened(lab[0] + "/sweep?tag=none")
    page = watched.page
    page.wait_for_selector('#sweep-told [data-runs="6"]')
    page.get_by_role("button", name="Start with Table 5").click()
    page.wait_for_selector('#sweep-told [data-runs="15"]')
    page.get_by_text("LoRA (ffn), s=1", exact=True).click()  # without that row
    page.wait_for_selector('#sweep-told [data-runs="12"]')
    page.get_by_label("values of option 1").fill("0")
    page.wait_for_selector('#sweep-told [data-runs="4"]')
    page.get_by_label("values of option 1").fill("0, x")
    page.wait_for_selector(".lab-axis.wrong")
    assert page.locator("#sweep-launch").is_disabled()
    page.get_by_label("values of option 1").fill("0")
    page.wait_for_function("!document.querySelector('.lab-axis.wrong')")
    page.wait_for_selector("#sweep-costs [data-peak]", timeout=LONG)  # planned by the planner's own process
    page.get_by_role("button", name="Queue all runs").click()
    page.get_by_text("4 runs are queued").wait_for()
    page.wait_for_function("document.querySelectorAll('#matrix td.paper').length === 4")
    assert page.locator("#matrix").inner_text().count("6.1 %") == 4 and "21.54" in page.locator("#matrix").inner_text()
    watched.clean()


def test_a_doubled_press_deletes_nothing_and_undo_brings_back(lab, idle, opened):
    """The second press meets no answer that acts, by mouse nor by keyboard; what was thrown away comes back by Undo and out of the bin."""
    address, queue = lab[0], Queue(Home(idle[1]), count=0)
    run = finished(queue, 4, 9, 0.5)
    watched = opened(f"{address}/runs?run={run}")
    page = watched.page
    delete, dialog = page.locator('[data-act="throw"]'), page.locator("dialog.lab-sure")
    delete.dblclick()
    dialog.wait_for()
    page.keyboard.press("Escape")
    dialog.wait_for(state="detached")
    assert page.evaluate("document.activeElement.dataset.act") == "throw", "the focus is where it was"
    page.keyboard.press("Enter")
    page.keyboard.press("Enter")  # it meets the answer that keeps
    dialog.wait_for(state="detached")
    armed = page.evaluate("() => { document.querySelector('[data-act=throw]').click(); return !document.querySelector('dialog.lab-sure .warn').disabled; }")
    assert not armed, "at once, nothing is thrown away"
    dialog.locator(".warn").click()
    page.locator("#undo").wait_for()
    assert page.evaluate("document.activeElement.id") == "undo" and queue.store.known([run]) == set()
    page.wait_for_function('run => !document.querySelector(`#runs [data-run="${run}"]`)', arg=run)
    page.locator("#undo").click()
    page.wait_for_url(f"**run={run}*")
    page.locator(f'#runs [data-run="{run}"]').wait_for()
    delete.click()
    dialog.locator(".warn").click()
    page.locator(f'[data-binned="{run}"]').wait_for(state="attached")
    page.locator("#runs-bin summary").click()
    page.locator(f'[data-binned="{run}"] .warn').click()
    dialog.locator(".warn").click()
    page.locator(f'[data-binned="{run}"]').wait_for(state="detached")
    assert queue.store.binned() == [] and not queue.home.run_dir(run).exists()
    watched.clean()


def test_what_is_typed_survives_another_run_and_a_reload(lab, opened):
    """Notes are a draft of their run until they are saved or discarded."""
    address, runs, _ = lab
    own = runs[16, 1]  # no other test writes notes of it
    watched = opened(f"{address}/runs?run={own}")
    page = watched.page
    page.get_by_role("tab", name="Name and notes").click()
    page.locator("#about-notes").fill("half a thought")
    for other in (runs[4, 1], runs[16, 0]):
        page.locator(f'#runs [data-run="{other}"]').click()
        page.wait_for_function(
            "run => new URL(location.href).searchParams.get('run') === run && document.querySelector('#about-notes').value === ''", arg=other
        )
    page.locator(f'#runs [data-run="{own}"]').click()
    page.wait_for_function("document.querySelector('#about-notes').value === 'half a thought'")
    page.reload()
    page.get_by_role("tab", name="Name and notes").click()
    page.wait_for_function("document.querySelector('#about-notes')?.value === 'half a thought'")
    page.get_by_role("button", name="Save").click()
    page.wait_for_function("document.querySelector('.lab-unsaved').innerText === ''")
    page.locator("#about-notes").fill("worse")
    page.get_by_role("button", name="Discard").click()
    assert page.locator("#about-notes").input_value() == "half a thought"
    page.locator("#about-notes").fill(
        '# Found\n\n- **half** a [thought](https://arxiv.org)\n\n<img src="http://evil.test/x" onerror="alert(1)"> ![seen](http://evil.test/y.png)'
    )
    page.get_by_role("button", name="Preview").click()
    page.locator("#about-read strong", has_text="half").wait_for()
    assert (
        page.locator("#about-read h4").inner_text() == "Found"
        and page.locator("#about-read img").count() == 0
        and not page.locator("#about-notes").is_visible()
    )
    page.get_by_role("button", name="Save").click()
    page.wait_for_function("document.querySelector('.lab-unsaved').innerText === ''")
    page.reload()
    page.get_by_role("tab", name="Name and notes").click()
    page.locator("#about-read strong", has_text="half").wait_for()  # notes that are there are read first
    page.get_by_role("button", name="Write").click()
    assert page.locator("#about-notes").input_value().startswith("# Found")
    watched.clean()


def test_back_goes_to_the_last_run_and_to_the_last_picks(lab, opened):
    address, runs, _ = lab
    one, two, three = runs[4, 0], runs[4, 1], runs[16, 0]
    page = opened(f"{address}/runs?run={one}").page
    for run in (two, three):
        page.locator(f'#runs [data-run="{run}"]').click()
        page.locator(f'#runs [data-run="{run}"][aria-selected="true"]').wait_for()
    for run in (two, one):
        page.go_back()
        page.locator(f'#runs [data-run="{run}"][aria-selected="true"]').wait_for()
        assert f"run={run}" in page.url
    page.goto(f"{address}/compare?runs={one}")
    page.locator(f'#picker [data-run="{one}"][aria-checked="true"]').wait_for()
    assert page.locator("#picker .lab-item").first.get_attribute("data-run") == one, "what the address asks for stands where it is seen"
    page.locator(f'#picker [data-run="{two}"]').click()
    page.locator(f'#picker [data-run="{two}"][aria-checked="true"]').wait_for()
    page.go_back()
    page.locator(f'#picker [data-run="{two}"][aria-checked="false"]').wait_for()
    assert page.url.endswith(f"runs={one}")


def test_a_bench_without_its_lab_says_so_and_comes_back(lab, opened):
    """No old count stands as if it were of the new rank."""
    page = opened(lab[0] + "/").page
    page.wait_for_selector("#costs [data-trainable]")
    page.route(re.compile("component_server"), lambda route: route.abort())
    page.locator("#knob-method-deltas-0-rank").fill("3")
    page.locator("#costs.lab-unanswered").wait_for()
    page.get_by_text("The lab does not answer. What is greyed").wait_for()
    before = page.locator("#costs [data-trainable]").get_attribute("data-trainable")
    page.unroute_all()
    page.wait_for_function("before => document.querySelector('#costs:not(.lab-unanswered) [data-trainable]')?.dataset.trainable !== before", arg=before)
    page.locator(".lab-lost").wait_for(state="detached")
    page.locator('#costs [data-verdict="fine"]').wait_for()  # the memory plan's word


def test_try_it(lab, opened):
    address, runs, _ = lab
    watched = opened(address + "/tryit")
    page = watched.page
    page.locator(f'.lab-item[data-run="{runs[4, 0]}"][aria-checked="true"]').wait_for()
    assert page.locator("#try-form .lab-item").count() == 1, "only runs with an adapter"
    page.get_by_label("Text", exact=True).fill("a gorgeous, witty, seductive movie")
    page.get_by_role("button", name="Ask", exact=True).click()
    page.wait_for_selector("#answers .on .lab-labels", timeout=LONG)
    assert page.locator("#answers .off .lab-labels tr").count() == 2
    watched.clean()


FOREIGN = r"""() => {
  const found = [], skip = 'code, pre, .katex, svg, cite, option, .lab-name, .lab-run-name, .lab-log, #matrix th';
  const foreign = (text) => text && /[A-Za-z]{3,}/.test(text) && !/[\u4e00-\u9fff]/.test(text);
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const owner = walk.currentNode.parentElement, text = walk.currentNode.textContent.trim();
    if (foreign(text) && owner.checkVisibility() && !owner.closest(skip)) found.push(text);
  }
  for (const name of ['aria-label', 'placeholder', 'data-help', 'data-title']) for (const node of document.querySelectorAll(`[${name}]`)) {
    const text = node.getAttribute(name);
    if (foreign(text) && node.checkVisibility() && !node.closest(skip)) found.push(text);
  }
  return found;
}"""
SAME = r"True|False|ROUGE-[L12]|BLEU|PSCP|LaTeX|Markdown|BibTeX|Apache-2.0|MIT|Click to upload or drop files|[\w-]+/[\w-]+|….*|Delta Lab|English|YAML|Python|CSV|HTML|SVG|PNG|GPTQ|arXiv [\d.]+|[a-z0-9][\w .+/,:·%–-]*|[\d.,]+ ?[kMGT]?B?( .*)?"  # names, identifiers, numbers


def test_chinese_pages_have_no_english_left(lab, opened):
    """Every visible word has its Chinese; what stays are names, options as they are written, and what papers say."""
    address, runs, _ = lab
    watched, left = opened(address, locale="zh-CN"), {}
    page = watched.page
    told = {
        catalogue.read(kind, name).get(key, "")
        for kind in ("methods", "models", "tasks")
        for name in catalogue.names(kind)
        for key in ("name", "title", "licence")
    } - {title for title, chinese in PRESETS["titles"].items() if chinese != title}
    allowed = re.compile(r"et al\. \d{4}|(\w+ (and|&) )?\w+ \d{4}\.|\. (ICLR|ICML|EMNLP|ACL|EACL|NeurIPS)")
    for route in ("", "library", "data", "runs", f"compare?runs={','.join(list(runs.values())[:2])}", "sweep", "tryit", "combine", "export"):
        if route:
            page.goto(f"{address}/{route}")
        page.wait_for_selector(".lab-bar nav a", timeout=LONG)
        page.wait_for_function("document.querySelector('main, .main')?.innerText.match(/[\u4e00-\u9fff]/g)?.length > 20", timeout=LONG)
        page.wait_for_timeout(1000)
        foreign = [text for text in page.evaluate(FOREIGN) if text not in told and not re.fullmatch(SAME, text) and not allowed.search(text)]
        left |= {route: foreign} if foreign else {}
    assert left == {}
    watched.clean()


def test_chinese(lab, opened):
    watched = opened(lab[0] + "/library")
    page = watched.page
    page.get_by_role("button", name="中文").click()
    page.get_by_text("设计空间地图").first.wait_for()
    watched.clean()
