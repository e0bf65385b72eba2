// Charts as plotly.js draws them: the traces of curves and of points, and the axes.
import { smoothed } from "./numbers.js";
import { resolvedColour, styleValue } from "./plots.js";
import { known, metricName, ofTask, say } from "./words.js";

export const plainly = (text) => String(text).replace(/[<>&]/g, "");
export const COSTS = { pareto_percent: "fact.share", pareto_seconds: "fact.time" };
export const curveName = (trace) => trace.label || ofTask(trace.name, (name) => known("curve." + name, name.replace(/^eval_/, "").replaceAll("_", " ")));

const MARKED = 12; // markers on a curve, about
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
    const dash = t.dash || (t.kind === "eval" ? "6px,4px" : "solid"); // a run's own among runs; else evaluation is dashed
    const few = t.marker || (t.x.length < 40 && t.kind === "eval");
    const marker = t.marker ? { size: 7, color, symbol: t.marker, maxdisplayed: MARKED } : { size: 5, color };
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
      found.push({
        ...base,
        y: smoothed(t.y, weight),
        marker,
        mode: t.marker ? "lines+markers" : "lines",
        line: { color, width: 2.2, dash: t.dash || "solid" },
      });
    } else found.push({ ...base, mode: few ? "lines+markers" : "lines", marker, line: { color, width: 1.8, dash, shape } });
  }
  return found;
};

// a trade-off: runs as points, the front that no other run beats, the papers' points behind
export const scatterPoints = (chart) => {
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
      {
        size: 11,
        color: chart.points.map((p) => resolvedColour(p.colour)),
        symbol: chart.points.map((p) => p.marker),
        line: { width: 1, color: styleValue("--card") },
      },
      say("page.runs"),
    ),
  );
  return found;
};

export const reach = (chart) => chart.traces.reduce((most, t) => Math.max(most, t.x.at(-1) ?? 0), 0);
// Where the y axis of curves begins and ends, {} where plotly's own choice is right, and how many points lie outside of it.
// `log`: by powers of ten, where all values allow it; `clip`: without the outliers, by the quartiles and thrice what lies between them.
// Values that are all equal get an axis around them; no axis goes below 0 that no value is below.
const QUARTILES = 3;
export const valueRange = (chart, { log = false, clip = false } = {}) => {
  const values = chart.traces.flatMap((t) => [...t.y, ...(t.low || []), ...(t.high || [])]).filter((y) => Number.isFinite(y));
  const found = { log: log && values.length > 0 && values.every((y) => y > 0), outside: 0, range: null, floor: null };
  if (!values.length) return found;
  const sorted = Float64Array.from(values).sort();
  const [least, most] = [sorted[0], sorted.at(-1)];
  if (least >= 0 && !found.log) found.floor = 0;
  if (least === most) {
    const pad = Math.abs(least) * 0.1 || 1;
    found.range = found.log ? [least / 1.5, least * 1.5] : [chart.zero && least >= 0 ? 0 : least < 0 ? least - pad : Math.max(0, least - pad), least + pad];
  } else if (clip) {
    const at = (share) => sorted[Math.round(share * (sorted.length - 1))];
    const [low, high] = [at(0.25), at(0.75)];
    const ends = [Math.max(least, low - QUARTILES * (high - low)), Math.min(most, high + QUARTILES * (high - low))];
    found.outside = values.filter((y) => y < ends[0] || y > ends[1]).length;
    const pad = 0.06 * (ends[1] - ends[0]);
    if (found.outside && pad > 0)
      found.range = found.log
        ? [ends[0] / 1.1, ends[1] * 1.1]
        : [chart.zero && least >= 0 ? 0 : least >= 0 ? Math.max(0, ends[0] - pad) : ends[0] - pad, ends[1] + pad];
  }
  return found;
};

const valueAxis = (chart, choices) => {
  if (chart.scatter) return {};
  const { log, range, floor } = valueRange(chart, choices);
  return {
    ...(log ? { type: "log", dtick: undefined } : { rangemode: chart.zero ? "tozero" : "normal" }),
    ...(range ? { range: log ? range.map(Math.log10) : range } : { autorange: true, autorangeoptions: floor === null ? undefined : { clipmin: floor } }),
  };
};

export const chartLayout = (chart, key, along, height) => {
  const ink = styleValue("--muted");
  const grid = styleValue("--line");
  const axis = { gridcolor: grid, zeroline: false, linecolor: grid, tickfont: { size: 11, color: ink }, automargin: true, ticks: "" };
  const title = (text) => ({ text, font: { size: 11, color: ink }, standoff: 4 });
  const x = chart.scatter
    ? { ...axis, type: "log", tickformat: "$" + chart.reads, nticks: 5, ...acrossDecades(chart) }
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
      ...valueAxis(chart, chart),
      tickformat: chart.scatter ? ".4~g" : chart.reads,
      ticksuffix: chart.scatter || chart.unit !== "B" ? "" : "B",
      nticks: 5,
    },
  };
};

// points that all stand at one place get an axis around it, not one over the decades beside it; about a decade has labels at 1, 2 and 5, which nine would cover
const acrossDecades = (chart) => {
  const [low, high] = [Math.min, Math.max].map((most) =>
    Math.log10(most(...chart.points.map((point) => point.x), ...(chart.papers || []).map((point) => point.x))),
  );
  if (high - low < 0.004) return { range: [low - 0.01, high + 0.01] };
  return high - low < 0.5 ? {} : { dtick: high - low < 2 ? "D2" : 1 };
};
