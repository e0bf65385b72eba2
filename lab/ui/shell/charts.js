// Live charts with plotly.js from the installed wheel: one node per chart that stays, so zoom is kept and nothing flickers.
import { chartLayout, COSTS, curveName, plainly, reach, scatterPoints, traceLines, valueRange } from "./chart_traces.js";
import { curveWords, pointWords } from "./chart_words.js";
import { download, h } from "./dom.js";
import { listen } from "./events.js";
import { formatNumber } from "./numbers.js";
import { register } from "./parts.js";
import { canDraw, drawPlot, plotConfig, resolvedColour, styleValue, UNUSED_BUTTONS } from "./plots.js";
import { parsedJson, storedItem, storeItem } from "./storage.js";
import { isDark } from "./theme.js";
import { known, metricName, say } from "./words.js";

// a chart as a file, with its title and a legend, on the page's own background
const save = async ({ plot, config }, title, format) => {
  const data = plot.data.map((t) => ({ ...t }));
  const layout = {
    ...plot.layout,
    title: { text: plainly(title), font: { size: 15 }, x: 0.02, y: 0.97 },
    margin: { l: 64, r: 24, t: 48, b: 48 },
    paper_bgcolor: styleValue("--card"),
    plot_bgcolor: styleValue("--card"),
    showlegend: data.filter((t) => t.showlegend !== false).length > 1,
    legend: { font: { size: 11 } },
    xaxis: { ...plot.layout.xaxis, autorangeoptions: undefined },
  };
  const url = await Plotly.toImage({ data, layout, config }, { format, width: 960, height: 540, scale: format === "png" ? 2 : 1 });
  download(
    url,
    plainly(title)
      .trim()
      .replace(/[^\p{L}\p{N}]+/gu, "-")
      .toLowerCase() +
      "." +
      format,
  );
};

// a piece of a run's line with its marker (lab.ui.shell.run_styles draws the same in tables)
const curveMark = (t) =>
  h(
    "svg:svg",
    { class: "lab-run-mark", viewBox: "-13 -5 26 10", width: 26, height: 10, style: `color:${t.colour}`, "aria-hidden": "true" },
    h("svg:path", {
      d: "M-13 0H13",
      stroke: "currentColor",
      "stroke-width": 2,
      "stroke-dasharray": t.dash && t.dash !== "solid" ? t.dash.replaceAll("px", "") : false,
    }),
    t.shape ? h("svg:path", { d: t.shape, fill: "currentColor" }) : null,
  );

const chartGrid = (element, props, watch, server = {}) => {
  let weight = storedItem("lab_smoothing") ?? 0.8;
  let drawn = {};
  let asking = 0;
  let value = null;
  let turn = 0;
  const grid = h("div", { class: "lab-charts" });
  const slider = h("input", {
    type: "range",
    min: 0,
    max: 0.98,
    step: 0.02,
    value: weight,
    title: say("charts.smoothing.help"),
    "aria-label": say("charts.smoothing"),
    oninput: (event) => {
      weight = Number(event.target.value);
      storeItem("lab_smoothing", weight);
      draw(true);
    },
  });
  const choices = { log: storedItem("lab_log_axis") === true, clip: storedItem("lab_clip_outliers") === true };
  const choice = (name, key) =>
    h(
      "label",
      { title: say(`charts.${name}.help`) },
      h("input", {
        type: "checkbox",
        checked: choices[name],
        onchange: (event) => {
          choices[name] = event.target.checked;
          storeItem(key, choices[name] || null);
          draw(true);
        },
      }),
      say("charts." + name),
    );
  const bar = h(
    "div",
    { class: "lab-charts-bar" },
    h("span", { class: "lab-legend" }, h("i", { class: "solid" }), say("charts.train"), h("i", { class: "dashed" }), say("charts.eval")),
    h("span", { class: "lab-gap" }),
    choice("log", "lab_log_axis"),
    choice("clip", "lab_clip_outliers"),
    h("label", { title: say("charts.smoothing.help") }, say("charts.smoothing"), slider),
    h("span", { class: "lab-hint" }, say("charts.zoom")),
  );
  const names = h("div", { class: "lab-key" });
  element.replaceChildren(bar, names, grid);

  const title = (chart) =>
    chart.scatter
      ? `${metricName(chart.metric)} ${say(chart.words || "chart." + chart.id)}`
      : known("chart." + chart.id, metricName(chart.id.replace(/^eval_/, "")));
  const tool = (label, help, action) => h("button", { type: "button", class: "lab-tool", title: say(help), "aria-label": say(help), onclick: action }, label);
  const card = (chart) => {
    if (drawn[chart.id]) {
      drawn[chart.id].title.textContent = title(chart); // what it is against may be another memory now
      return drawn[chart.id];
    }
    const found = { id: chart.id, dialog: null, zoomed: null, key: h("span", { class: "lab-curves" }), plot: h("div", { class: "lab-plot" }) };
    found.title = h("span", {}, title(chart));
    found.larger = tool("⤢", "charts.larger", () => (found.dialog ? found.dialog.close() : enlarge(found)));
    found.node = h(
      "figure",
      { class: "lab-chart wide-" + chart.wide, "data-chart": chart.id },
      h(
        "figcaption",
        {},
        found.title,
        found.key,
        h(
          "span",
          { class: "lab-chart-tools" },
          ["svg", "png"].map((format) => tool(format.toUpperCase(), "charts.save." + format, () => save(found, title(found.chart), format))),
          found.larger,
        ),
      ),
      found.plot,
    );
    return (drawn[chart.id] = found);
  };

  // the whole screen for one chart, until Escape or the same button; the card comes back to its place, and the focus to the button
  const enlarge = (found) => {
    const place = h("div", { class: found.node.className, hidden: true });
    found.dialog = h("dialog", { class: "lab-large", "aria-label": title(found.chart) });
    found.place = place;
    found.node.replaceWith(place);
    found.dialog.append(found.node);
    element.append(found.dialog);
    const sized = () => paint(found);
    const pressed = (on) => {
      found.larger.setAttribute("aria-pressed", String(on));
      found.larger.textContent = on ? "✕" : "⤢";
    };
    found.dialog.addEventListener(
      "close",
      () => {
        window.removeEventListener("resize", sized);
        if (place.isConnected) place.replaceWith(found.node);
        found.dialog.remove();
        found.dialog = found.place = null;
        pressed(false);
        paint(found);
        found.larger.focus();
      },
      { once: true },
    );
    window.addEventListener("resize", sized);
    pressed(true);
    found.dialog.showModal();
    found.larger.focus();
    paint(found);
  };

  // what stands beside the title: the curves with their newest values, or the number of points
  const tell = (found) => {
    const { chart } = found;
    const single = chart.traces.filter((t) => !t.label && t.y.length);
    const { outside } = chart.scatter ? { outside: 0 } : valueRange(chart, choices);
    const last = (t) => t.y.findLast((y) => y !== null);
    const entry = (t) =>
      h(
        "span",
        { class: single.length > 1 ? "lab-curve " + t.kind : "" },
        single.length > 1 ? [h("i", { style: `border-color:${t.colour}` }), curveName(t), " "] : "",
        last(t) === undefined ? "" : h("b", { class: "num", title: String(last(t)) }, formatNumber(last(t)) + (chart.unit || "")),
      );
    found.key.replaceChildren(...single.map(entry), outside ? h("span", {}, say("charts.outside", { n: outside })) : "");
  };
  const tall = (found) => (found.dialog ? Math.max(240, window.innerHeight - 120) : found.chart.wide >= 6 || found.chart.scatter ? 230 : 150); // pixels
  const paint = (found) => {
    found.plot.style.minHeight = tall(found) + "px";
    if (!canDraw(anew)) return;
    const { chart, zoomed } = found;
    const visible = zoomed && zoomed.traces ? { ...chart, traces: zoomed.traces } : chart;
    const layout = chartLayout({ ...chart, ...choices }, value.key + JSON.stringify(choices), known("compare.along." + value.along, ""), tall(found));
    if (found.dialog) layout.width = found.plot.clientWidth;
    if (!found.size)
      Object.assign(layout, {
        xaxis: { visible: false },
        yaxis: { visible: false },
        annotations: [{ text: say("charts.none"), showarrow: false, font: { color: resolvedColour("var(--faint)"), size: 12 } }],
      });
    found.config = plotConfig({ modeBarButtonsToRemove: [...UNUSED_BUTTONS, "toImage"] }, chart.scatter ? chart.unit : ""); // a chart's card has its own buttons to save it
    drawPlot(found.plot, chart.scatter ? scatterPoints(chart) : traceLines(visible, weight), layout, found.config, spoken(chart));
    if (zoomed && zoomed.traces && zoomed.last > zoomed.ends && reach(chart) > zoomed.ends) closer(found); // the end is in sight and moves
    if (found.heard || !server.detail) return;
    found.heard = true;
    found.plot.on("plotly_relayout", (change) => {
      if (change["xaxis.autorange"]) {
        found.zoomed = null;
        paint(found);
      } else if ("xaxis.range[0]" in change) {
        found.zoomed = { first: change["xaxis.range[0]"], last: change["xaxis.range[1]"] };
        closer(found);
      }
    });
  };
  const spoken = (chart) =>
    chart.scatter
      ? pointWords(chart.points, chart.front, say(chart.cost || COSTS[chart.id] || "chart." + chart.id), metricName(chart.metric), chart.unit)
      : curveWords(
          chart.traces.map((t) => ({ ...t, name: curveName(t) })),
          known("compare.along." + value.along, ""),
          chart.unit,
        );
  // between the ends of a zoom, the points that a thinned curve leaves out
  const closer = async (found) => {
    const { zoomed } = found;
    const { key } = value;
    if (!zoomed || found.chart.traces.every((t) => t.x.length < 350)) return;
    const number = (found.asking = ++asking);
    const finer = await server.detail({ run: key, chart: found.id, first: zoomed.first, last: zoomed.last }).catch(() => null);
    if (!finer || !finer.traces.length || found.asking !== number || found.zoomed !== zoomed || value.key !== key) return;
    zoomed.traces = finer.traces;
    zoomed.ends = Math.max(...finer.traces.map((t) => t.x.at(-1) ?? 0), reach(found.chart));
    paint(found);
  };

  const draw = (all) => {
    bar.hidden = !value || !value.charts || !value.charts.length;
    names.hidden = true;
    if (!value || !value.charts) {
      for (const found of Object.values(drawn)) found.dialog?.close();
      grid.replaceChildren();
      grid.dataset.ids = "";
      drawn = {};
      return;
    }
    const ids = value.charts.map((chart) => chart.id).join();
    const cards = value.charts.map(card);
    for (const found of Object.values(drawn)) if (found.dialog && !cards.includes(found)) found.dialog.close();
    if (grid.dataset.ids !== ids) {
      grid.replaceChildren(...cards.map((one) => one.place || one.node));
      grid.dataset.ids = ids;
    }
    const now = ++turn;
    const later = [];
    value.charts.forEach((chart, index) => {
      const found = cards[index];
      const size = chart.scatter ? chart.points.length : chart.traces.reduce((sum, t) => sum + t.x.length, 0);
      const ends = chart.traces.map((t) => [t.name, t.label, t.x.length, t.x.at(-1), t.y.at(-1)]);
      const mark = JSON.stringify([value.key, size, chart.scatter ? [chart.points, chart.papers.length] : ends, weight, choices, isDark()]);
      if (found.run !== value.key) {
        found.run = value.key;
        found.zoomed = null;
      }
      found.chart = chart;
      found.plot.style.minHeight = tall(found) + "px"; // before there is a curve: what stands below does not move when it comes
      found.node.dataset.points = found.size = size;
      found.node.classList.toggle("empty", size === 0);
      if (!all && found.mark === mark) return;
      tell(found);
      if (chart.wide < 6 && !all) return void later.push([found, mark]);
      found.mark = mark;
      paint(found);
    });
    legend();
    rest(later, now);
  };
  // the smaller charts one by one, so that the page answers in between; a newer value draws what is left
  const rest = ([next, ...others], now) => {
    if (next)
      setTimeout(() => {
        if (now !== turn) return;
        const [found, mark] = next;
        found.mark = mark;
        paint(found);
        rest(others, now);
      }, 0);
  };
  // the names of overlaid curves, where there are few enough to be read
  const legend = () => {
    const labels = new Map(
      value.charts
        .flatMap((chart) => chart.traces)
        .filter((t) => t.label)
        .map((t) => [t.label, t]),
    );
    names.hidden = labels.size < 2 || labels.size > 24;
    names.replaceChildren(...[...labels].map(([label, trace]) => h("span", {}, curveMark(trace), label)));
  };
  const take = (all) => {
    value = parsedJson(props.value);
    draw(all);
  };
  const anew = () => draw(true);
  watch("value", () => take(false));
  listen("theme", anew);
  take(true);
};

register({ chartGrid });
