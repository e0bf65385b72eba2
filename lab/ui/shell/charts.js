// Live charts with plotly.js from the installed wheel: one node per chart that stays, so zoom is kept and nothing flickers.
import { download, h } from "./dom.js";
import { listen } from "./events.js";
import { formatNumber, smoothed } from "./numbers.js";
import { register } from "./parts.js";
import { canDraw, plotConfig, resolvedColour, styleValue, UNUSED_BUTTONS } from "./plots.js";
import { parsedJson, storedItem, storeItem } from "./storage.js";
import { isDark } from "./theme.js";
import { known, metricName, ofTask, say } from "./words.js";

const plainly = (text) => String(text).replace(/[<>&]/g, "");
const curveName = (trace) => trace.label || ofTask(trace.name, (name) => known("curve." + name, name.replace(/^eval_/, "").replaceAll("_", " ")));

export const traceLines = (chart, weight = 0) => {
  const found = [];
  for (const t of chart.traces) {
    const label = curveName(t);
    const color = resolvedColour(t.colour);
    const shape = chart.steps ? "hv" : "linear";
    const base = {
      x: t.x,
      y: t.y,
      type: "scatter",
      mode: "lines",
      name: plainly(label),
      hovertemplate: `%{y:${chart.reads}}${chart.unit || ""}<extra>${plainly(label)}</extra>`,
    };
    const dash = t.kind === "eval" ? "6px,4px" : "solid";
    const few = t.x.length < 40 && t.kind === "eval";
    if (t.low)
      found.push({
        x: [...t.x, ...[...t.x].reverse()],
        y: [...t.high, ...[...t.low].reverse()],
        type: "scatter",
        mode: "lines",
        fill: "toself",
        fillcolor: color,
        opacity: 0.18,
        line: { width: 0 },
        hoverinfo: "skip",
        showlegend: false,
      });
    if (weight > 0 && ["loss", "grad_norm", "throughput"].includes(chart.id) && t.kind === "train" && t.x.length > 12) {
      found.push({ ...base, line: { color, width: 1 }, opacity: 0.35, hoverinfo: "skip", hovertemplate: undefined, showlegend: false });
      found.push({ ...base, y: smoothed(t.y, weight), line: { color, width: 2.2 } });
    } else found.push({ ...base, mode: few ? "lines+markers" : "lines", marker: { size: 5, color }, line: { color, width: 1.8, dash, shape } });
  }
  return found;
};

// a trade-off: runs as points, the front that no other run beats, the papers' points behind
const points = (chart) => {
  const found = [];
  const about = `%{text}<br>%{x:${chart.reads}}${chart.unit}<br>${plainly(metricName(chart.metric))} %{y:.4~g}<extra></extra>`;
  const dots = (list, marker, name) => ({
    x: list.map((p) => p.x),
    y: list.map((p) => p.y),
    text: list.map((p) => plainly(p.label)),
    type: "scatter",
    mode: "markers",
    marker,
    error_y: { type: "data", array: list.map((p) => p.spread || 0), visible: list.some((p) => p.spread), thickness: 1, width: 3, color: styleValue("--muted") },
    hovertemplate: about,
    name,
  });
  if (chart.papers.length) {
    const high = Math.max(...[...chart.papers, ...chart.points].map((p) => p.y)) - Math.min(...[...chart.papers, ...chart.points].map((p) => p.y));
    const named = [];
    for (const p of chart.papers) if (!named.some((q) => Math.abs(Math.log10(p.x / q.x)) < 0.5 && Math.abs(p.y - q.y) < 0.06 * high)) named.push(p);
    found.push(dots(chart.papers, { size: 8, color: styleValue("--muted"), symbol: "diamond-open", line: { width: 1.3 } }, say("compare.papers.yes")));
    found.push({
      x: named.map((p) => p.x),
      y: named.map((p) => p.y),
      text: named.map((p) => (p.x > 30 ? plainly(p.method) + "  " : "  " + plainly(p.method))),
      mode: "text",
      type: "scatter",
      textposition: named.map((p) => (p.x > 30 ? "middle left" : "middle right")),
      textfont: { size: 10, color: styleValue("--muted") },
      hoverinfo: "skip",
      showlegend: false,
      cliponaxis: false,
    });
  }
  if (chart.front.length > 1)
    found.push({
      x: chart.front.map((p) => p[0]),
      y: chart.front.map((p) => p[1]),
      type: "scatter",
      mode: "lines",
      line: { color: styleValue("--frozen"), width: 1.4, dash: "2px,3px", shape: "hv" },
      hoverinfo: "skip",
      name: say("compare.front"),
    });
  found.push(
    dots(
      chart.points,
      { size: 11, color: chart.points.map((p) => resolvedColour(p.colour)), line: { width: 1, color: styleValue("--card") } },
      say("page.runs"),
    ),
  );
  return found;
};

const reach = (chart) => chart.traces.reduce((most, t) => Math.max(most, t.x.at(-1) ?? 0), 0);
export const chartLayout = (chart, key, along, height) => {
  const ink = styleValue("--muted");
  const grid = styleValue("--line");
  const axis = { gridcolor: grid, zeroline: false, linecolor: grid, tickfont: { size: 11, color: ink }, automargin: true, ticks: "" };
  const title = (text) => ({ text, font: { size: 11, color: ink }, standoff: 4 });
  const x = chart.scatter
    ? { ...axis, type: "log", tickformat: "$" + chart.reads, nticks: 5, ...alone(chart) }
    : {
        ...axis,
        tickformat: reach(chart) >= 10000 ? "~s" : "~r",
        nticks: height > 200 ? 8 : 4,
        title: height > 200 ? title(along) : undefined,
        autorangeoptions: { minallowed: 0 },
      };
  return {
    uirevision: key,
    height,
    margin: { l: 46, r: 10, t: 6, b: 26 },
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    font: { family: styleValue("--sans") || "sans-serif", size: 11, color: ink },
    hovermode: chart.scatter || chart.traces.length > 12 ? "closest" : "x unified",
    showlegend: false,
    dragmode: "zoom",
    hoverlabel: { bgcolor: styleValue("--card"), bordercolor: styleValue("--line-strong"), font: { color: styleValue("--ink"), size: 12 }, namelength: 40 },
    xaxis: x,
    yaxis: {
      ...axis,
      tickformat: chart.scatter ? ".4~g" : chart.reads,
      ticksuffix: chart.scatter || chart.unit !== "B" ? "" : "B",
      nticks: 5,
      rangemode: chart.zero ? "tozero" : "normal",
    },
  };
};

// points that all stand at one place get an axis around it, not one over the decades beside it
const alone = (chart) => {
  const [low, high] = [Math.min, Math.max].map((most) =>
    Math.log10(most(...chart.points.map((point) => point.x), ...(chart.papers || []).map((point) => point.x))),
  );
  return high - low < 0.004 ? { range: [low - 0.01, high + 0.01] } : {};
};

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
  const bar = h(
    "div",
    { class: "lab-charts-bar" },
    h("span", { class: "lab-legend" }, h("i", { class: "solid" }), say("charts.train"), h("i", { class: "dashed" }), say("charts.eval")),
    h("span", { class: "lab-gap" }),
    h("label", { title: say("charts.smoothing.help") }, say("charts.smoothing"), slider),
    h("span", { class: "lab-hint" }, say("charts.zoom")),
  );
  const names = h("div", { class: "lab-key" });
  element.replaceChildren(bar, names, grid);

  const title = (chart) =>
    chart.scatter ? `${metricName(chart.metric)} ${say("chart." + chart.id)}` : known("chart." + chart.id, metricName(chart.id.replace(/^eval_/, "")));
  const tool = (label, help, action) => h("button", { type: "button", class: "lab-tool", title: say(help), "aria-label": say(help), onclick: action }, label);
  const card = (chart) => {
    if (drawn[chart.id]) return drawn[chart.id];
    const found = { id: chart.id, large: false, zoomed: null, key: h("span", { class: "lab-curves" }), plot: h("div", { class: "lab-plot" }) };
    const larger = tool("⤢", "charts.larger", () => {
      found.large = !found.large;
      found.node.classList.toggle("large", found.large);
      larger.setAttribute("aria-pressed", String(found.large));
      paint(found, true);
    });
    found.node = h(
      "figure",
      { class: "lab-chart wide-" + chart.wide, "data-chart": chart.id },
      h(
        "figcaption",
        {},
        h("span", {}, title(chart)),
        found.key,
        h(
          "span",
          { class: "lab-chart-tools" },
          ["svg", "png"].map((format) => tool(format.toUpperCase(), "charts.save." + format, () => save(found, title(found.chart), format))),
          larger,
        ),
      ),
      found.plot,
    );
    return (drawn[chart.id] = found);
  };

  // what stands beside the title: the curves with their newest values, or the number of points
  const tell = (found) => {
    const { chart } = found;
    const single = chart.traces.filter((t) => !t.label && t.y.length);
    const last = (t) => t.y.findLast((y) => y !== null);
    const entry = (t) =>
      h(
        "span",
        { class: single.length > 1 ? "lab-curve " + t.kind : "" },
        single.length > 1 ? [h("i", { style: `border-color:${t.colour}` }), curveName(t), " "] : "",
        last(t) === undefined ? "" : h("b", { class: "num", title: String(last(t)) }, formatNumber(last(t)) + (chart.unit || "")),
      );
    found.key.replaceChildren(...single.map(entry));
  };
  const tall = (found) => (found.large ? 440 : found.chart.wide >= 6 || found.chart.scatter ? 230 : 150); // pixels
  const paint = (found) => {
    found.plot.style.minHeight = tall(found) + "px";
    if (!canDraw(anew)) return;
    const { chart, zoomed } = found;
    const visible = zoomed && zoomed.traces ? { ...chart, traces: zoomed.traces } : chart;
    const layout = chartLayout(chart, value.key, known("compare.along." + value.along, ""), tall(found));
    if (!found.size)
      Object.assign(layout, {
        xaxis: { visible: false },
        yaxis: { visible: false },
        annotations: [{ text: say("charts.none"), showarrow: false, font: { color: resolvedColour("var(--faint)"), size: 12 } }],
      });
    found.config = plotConfig({ modeBarButtonsToRemove: [...UNUSED_BUTTONS, "toImage"] }, chart.scatter ? chart.unit : ""); // a chart's card has its own buttons to save it
    Plotly.react(found.plot, chart.scatter ? points(chart) : traceLines(visible, weight), layout, found.config);
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
      grid.replaceChildren();
      grid.dataset.ids = "";
      drawn = {};
      return;
    }
    const ids = value.charts.map((chart) => chart.id).join();
    const cards = value.charts.map(card);
    if (grid.dataset.ids !== ids) {
      grid.replaceChildren(...cards.map((one) => one.node));
      grid.dataset.ids = ids;
    }
    const now = ++turn;
    const later = [];
    value.charts.forEach((chart, index) => {
      const found = cards[index];
      const size = chart.scatter ? chart.points.length : chart.traces.reduce((sum, t) => sum + t.x.length, 0);
      const ends = chart.traces.map((t) => [t.name, t.label, t.x.length, t.x.at(-1), t.y.at(-1)]);
      const mark = JSON.stringify([value.key, size, chart.scatter ? [chart.points, chart.papers.length] : ends, weight, isDark()]);
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
        .map((t) => [t.label, t.colour]),
    );
    names.hidden = labels.size < 2 || labels.size > 24;
    names.replaceChildren(...[...labels].map(([label, colour]) => h("span", {}, h("i", { style: `border-color:${colour}` }), label)));
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
