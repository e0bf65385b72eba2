// What a run measured at its sites, as maps of layer × site: at any of the steps when it was read, and over time for what is chosen in the map.
import { chartLayout, traceLines } from "../shell/chart_traces.js";
import { curveWords } from "../shell/chart_words.js";
import { h } from "../shell/dom.js";
import { listen } from "../shell/events.js";
import { formatNumber, mixedColour } from "../shell/numbers.js";
import { register } from "../shell/parts.js";
import { canDraw, drawPlot, plotConfig, resolvedColour } from "../shell/plots.js";
import { parsedJson } from "../shell/storage.js";
import { known, say } from "../shell/words.js";

const VIOLET = ["gate", "lambda", "scale"];
const SHARES = ["gate", "lambda", "trains"];
const WHOLE = ["rank", "trains", "frozen_columns"];
const hue = (id) => (VIOLET.includes(id) ? "--gate" : id === "frozen_columns" ? "--frozen" : "--trained");
const written = (value) => (value === null || value === undefined ? "" : Math.abs(value) >= 1000 ? formatNumber(value) : String(Number(value.toPrecision(2))));

const readingMaps = (element, props, watch) => {
  let value = null;
  let at = null;
  let maps = {}; // at: the chosen step, null for the newest
  const slider = h("input", {
    type: "range",
    min: 0,
    step: 1,
    id: "readings-step",
    oninput: () => {
      at = Number(slider.value) >= value.steps.length - 1 ? null : value.steps[slider.value];
      draw();
    },
  });
  const output = h("output", { for: "readings-step", class: "num" });
  const bar = h(
    "div",
    { class: "lab-readings-bar" },
    h("label", { for: "readings-step" }, say("readings.at")),
    slider,
    output,
    h("span", { class: "lab-muted" }, say("readings.help")),
  );
  const none = h("p", { class: "lab-muted" }, say("readings.none"));
  const grid = h("div", { class: "lab-heats" });
  element.replaceChildren(none, bar, grid);
  const place = (steps) => (at === null ? steps.length - 1 : steps.findLastIndex((step) => step <= at));

  // one quantity: a table of rows (stack and site) and columns (layers), and the curves of what is chosen
  const build = (id) => {
    const found = {
      id,
      pick: { row: 0, column: null },
      table: h("table"),
      range: h("span", { class: "lab-muted num" }),
      plot: h("div", { class: "lab-plot" }),
      about: h("span", {}),
      ends: h("span", { class: "lab-ramp" }),
    };
    found.node = h(
      "figure",
      { class: "lab-heat " + id, "data-quantity": id },
      h("figcaption", {}, say("reading." + id), " ", found.range),
      known(`reading.${id}.help`) && h("p", { class: "lab-muted" }, known(`reading.${id}.help`)),
      h("div", { class: "lab-scroll" }, found.table),
      h("div", { class: "lab-over-time" }, h("p", { class: "lab-muted" }, found.about, found.ends), found.plot),
    );
    found.table.addEventListener("click", (event) => {
      const button = event.target.closest("[data-row], [data-column]");
      if (!button) return;
      const row = button.dataset.row ?? null;
      const column = button.dataset.column ?? null;
      const same = String(found.pick.row) === String(row) && String(found.pick.column) === String(column);
      found.pick = same ? { row: 0, column: null } : { row: row === null ? null : Number(row), column: column === null ? null : Number(column) };
      fill(found);
      found.table
        .querySelector(
          `button${row === null ? ":not([data-row])" : `[data-row="${row}"]`}${column === null ? ":not([data-column])" : `[data-column="${column}"]`}`,
        )
        ?.focus();
    });
    return found;
  };
  const chosen = (quantity, found) => {
    // [the words for what is chosen, the curves]
    const { row, column } = found.pick;
    const curves = [];
    quantity.rows.forEach((name, r) =>
      quantity.columns.forEach((layer, c) => {
        if (!quantity.values[r][c] || (row !== null && row !== r) || (column !== null && quantity.columns[column] !== layer)) return;
        curves.push({ name, layer, y: quantity.values[r][c] });
      }),
    );
    const words =
      row === null
        ? say("readings.column", { layer: quantity.columns[column] })
        : column === null
          ? say("readings.row", { site: quantity.rows[row] })
          : say("readings.cell", { site: quantity.rows[row], layer: quantity.columns[column] });
    return [words, curves];
  };
  const fill = (found) => {
    const quantity = value.quantities.find((one) => one.id === found.id);
    const index = place(quantity.steps);
    const flat = quantity.values.flat().filter(Boolean);
    const now = flat.map((curve) => curve[index]).filter((one) => one !== null);
    const all = flat.flat().filter((one) => one !== null);
    const most = SHARES.includes(found.id) ? 1 : Math.max(...all.map(Math.abs), 0) || 1; // the same at every step, so that colours compare
    found.range.textContent = now.length ? `${written(Math.min(...now))} … ${written(Math.max(...now))}` : "";
    const pressed = (row, column) => String((found.pick.row ?? -1) === (row ?? -1) && (found.pick.column ?? -1) === (column ?? -1));
    const button = (text, row, column, label) =>
      h(
        "button",
        { type: "button", "data-row": row ?? false, "data-column": column ?? false, "aria-pressed": pressed(row, column), title: label, "aria-label": label },
        text,
      );
    const cell = (curve, r, c) => {
      if (!curve || curve[index] === null) return h("td", { class: "none" });
      const one = curve[index];
      const share = Math.min(1, Math.abs(one) / most);
      const label = `${quantity.rows[r]}, ${say("reading.layer")} ${quantity.columns[c]}: ${one}`;
      return h("td", { style: `--v:${Math.round(100 * share)}%` }, button(written(one), String(r), String(c), label));
    };
    found.table.replaceChildren(
      h(
        "thead",
        {},
        h(
          "tr",
          {},
          h("th", {}, say("reading.layer")),
          quantity.columns.map((layer, c) => h("th", { scope: "col" }, button(String(layer), null, String(c), say("readings.column", { layer })))),
        ),
      ),
      h(
        "tbody",
        {},
        quantity.rows.map((name, r) =>
          h(
            "tr",
            {},
            h("th", { scope: "row" }, button(name, String(r), null, say("readings.row", { site: name }))),
            quantity.columns.map((_, c) => cell(quantity.values[r][c], r, c)),
          ),
        ),
      ),
    );
    const [words, curves] = chosen(quantity, found);
    const [from, to] = [resolvedColour("var(--ramp)"), resolvedColour(`var(${hue(found.id)})`)];
    found.about.textContent = words;
    found.ends.replaceChildren(
      ...(curves.length > 1
        ? [
            h("b", {}, found.pick.row === null ? curves[0].name : String(curves[0].layer)),
            h("i", { style: `background:linear-gradient(90deg,${from},${to})` }),
            h("b", {}, found.pick.row === null ? curves.at(-1).name : String(curves.at(-1).layer)),
          ]
        : []),
    );
    const steps = quantity.steps;
    const chart = {
      id: found.id,
      wide: 4,
      reads: ".3~g",
      zero: true,
      steps: WHOLE.includes(found.id),
      traces: curves.map((curve, i) => ({
        name: "",
        kind: "train",
        x: steps,
        y: curve.y,
        label: found.pick.row === null ? curve.name : `${say("reading.layer")} ${curve.layer}`,
        colour: mixedColour(from, to, curves.length > 1 ? i / (curves.length - 1) : 1),
      })),
    };
    const layout = chartLayout(chart, value.run + JSON.stringify(found.pick), "", 150);
    layout.shapes = [
      {
        type: "line",
        xref: "x",
        yref: "paper",
        x0: steps[index],
        x1: steps[index],
        y0: 0,
        y1: 1,
        line: { color: resolvedColour("var(--faint)"), width: 1, dash: "dot" },
      },
    ];
    const traces = traceLines(chart).map((trace) => (steps.length < 30 ? { ...trace, mode: "lines+markers", marker: { ...trace.marker, size: 4 } } : trace));
    const spoken = curveWords(
      chart.traces.map((trace) => ({ ...trace, name: trace.label })),
      known("compare.along.step", ""),
    );
    drawPlot(found.plot, traces, layout, plotConfig({ displayModeBar: false }), spoken);
  };
  const draw = () => {
    if (!value || !value.quantities.length) return;
    if (!canDraw(draw)) return;
    const index = place(value.steps);
    slider.max = value.steps.length - 1;
    slider.value = index;
    slider.disabled = value.steps.length < 2;
    const words = say(at === null ? "readings.newest" : "readings.step", { step: value.steps[index].toLocaleString("en") });
    output.textContent = words;
    slider.setAttribute("aria-valuetext", words);
    value.quantities.forEach((quantity) => fill(maps[quantity.id]));
  };
  const take = () => {
    const fresh = parsedJson(props.value);
    if (!fresh || !value || fresh.run !== value.run) {
      at = null;
      maps = {};
      grid.replaceChildren();
    }
    value = fresh;
    const have = Boolean(value && value.quantities.length);
    none.hidden = have || !value;
    bar.hidden = !have;
    if (!have) return grid.replaceChildren();
    for (const { id } of value.quantities) maps[id] = maps[id] || build(id);
    const nodes = value.quantities.map(({ id }) => maps[id].node);
    if (nodes.some((node, index) => grid.children[index] !== node)) grid.replaceChildren(...nodes);
    draw();
  };
  watch("value", take);
  listen("theme", draw);
  take();
};

register({ readingMaps });
