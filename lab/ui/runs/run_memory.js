// The memory of a run: stacked bars of what was predicted and what was measured, beside the device's bytes over time.
import { barWords, curveWords } from "../shell/chart_words.js";
import { h } from "../shell/dom.js";
import { listen } from "../shell/events.js";
import { formatNumber } from "../shell/numbers.js";
import { register } from "../shell/parts.js";
import { canDraw, drawPlot, plotConfig, styleValue } from "../shell/plots.js";
import { isDark } from "../shell/theme.js";
import { known, LANGUAGE, say } from "../shell/words.js";

const KINDS = [
  ["weights", "--frozen"],
  ["gradients", "--trained"],
  ["optimizer", "--gate"],
  ["activations", "--blue"],
  ["temporary", "--faint"],
];
const CONFIG = plotConfig({ toImageButtonOptions: { format: "svg" } });
const total = (parts) => KINDS.reduce((sum, [name]) => sum + parts[name], 0);

const axes = () => ({
  gridcolor: styleValue("--line"),
  zeroline: false,
  linecolor: styleValue("--line"),
  tickfont: { size: 11, color: styleValue("--muted") },
  automargin: true,
  ticks: "",
});
const layout = (more) => ({
  height: 210,
  margin: { l: 46, r: 10, t: 18, b: 26 },
  paper_bgcolor: "rgba(0,0,0,0)",
  plot_bgcolor: "rgba(0,0,0,0)",
  showlegend: false,
  font: { family: styleValue("--sans") || "sans-serif", size: 11, color: styleValue("--muted") },
  hoverlabel: { bgcolor: styleValue("--card"), bordercolor: styleValue("--line-strong"), font: { color: styleValue("--ink"), size: 12 } },
  ...more,
});

const bars = (plot, columns) => {
  const traces = KINDS.map(([name, colour]) => ({
    type: "bar",
    name: say("plan." + name),
    x: columns.map((one) => one.label),
    y: columns.map((one) => one.parts[name]),
    marker: {
      color: styleValue(colour),
      opacity: columns.map((one) => (one.predicted ? 0.5 : 1)),
      line: { width: columns.map((one) => (one.predicted ? 1.5 : 0)), color: styleValue(colour) },
    },
    hovertemplate: "%{y:.4~s}B<extra>" + say("plan." + name) + "</extra>",
    width: 0.62,
  }));
  const totals = columns.map((one) => ({
    x: one.label,
    y: total(one.parts),
    text: formatNumber(total(one.parts)) + "B",
    showarrow: false,
    yshift: 9,
    font: { size: 11, color: styleValue("--ink") },
  }));
  drawPlot(
    plot,
    traces,
    layout({
      barmode: "stack",
      hovermode: "x unified",
      annotations: totals,
      xaxis: { ...axes(), type: "category", fixedrange: true },
      yaxis: { ...axes(), tickformat: ".3~s", ticksuffix: "B", nticks: 5, rangemode: "tozero" },
    }),
    CONFIG,
    barWords(
      columns.map((one) => ({ name: one.label.replace("<br>", ", "), parts: KINDS.map(([name]) => [say("plan." + name), one.parts[name]]) })),
      "B",
    ),
  );
};

const lines = (plot, value, line) => {
  const name = { memory_bytes: "curve.memory_bytes", peak_bytes: "curve.peak_bytes", reserved_peak_bytes: "curve.reserved_peak_bytes" };
  const traces = Object.entries(value.lines).map(([key, [x, y]]) => ({
    type: "scatter",
    mode: x.length < 2 ? "markers" : "lines",
    name: say(name[key]),
    x,
    y,
    line: { width: 1.8, color: styleValue("--blue"), dash: key === "memory_bytes" ? "solid" : key === "peak_bytes" ? "6px,4px" : "2px,3px" },
    hovertemplate: "%{y:.4~s}B<extra>" + say(name[key]) + "</extra>",
  }));
  const shapes = line
    ? [{ type: "line", xref: "paper", x0: 0, x1: 1, y0: line, y1: line, line: { color: styleValue("--trained"), width: 1.6, dash: "dot" } }]
    : [];
  const notes = line
    ? [
        {
          xref: "paper",
          x: 0,
          y: line,
          xanchor: "left",
          yanchor: "top",
          showarrow: false,
          text: say("memory.line") + " " + formatNumber(line) + "B",
          font: { size: 11, color: styleValue("--trained-ink") },
          bgcolor: styleValue("--card"),
          opacity: 0.9,
          borderpad: 1,
        },
      ]
    : [];
  const top = Math.max(line || 0, ...Object.values(value.lines).flatMap(([, y]) => y));
  drawPlot(
    plot,
    traces,
    layout({
      uirevision: value.run,
      hovermode: "x unified",
      shapes,
      annotations: notes,
      xaxis: { ...axes(), tickformat: "~s", nticks: 6 },
      yaxis: { ...axes(), tickformat: ".3~s", ticksuffix: "B", nticks: 5, range: [0, top * 1.12] },
    }),
    CONFIG,
    curveWords(traces, known("compare.along.step", ""), "B") + (line ? say("drawn.next") + say("memory.line") + " " + formatNumber(line) + "B" : ""),
  );
};

const runMemory = (element, props, watch, server) => {
  let plan = {};
  let asked = "";
  let mark = "";
  const left = h("div", { class: "lab-plot" });
  const right = h("div", { class: "lab-plot" });
  const words = h("p", { class: "lab-muted", id: "memory-words" });
  const legend = h(
    "ul",
    { class: "lab-kinds" },
    KINDS.map(([name]) => h("li", {}, h("i", { class: name }), say("plan." + name))),
  );
  const card = h(
    "figure",
    { class: "lab-chart wide-12 lab-run-memory", "data-chart": "memory" },
    h("figcaption", {}, say("memory.title"), legend),
    h("div", { class: "lab-memory-two" }, left, right),
    words,
  );
  element.replaceChildren(card);

  const ask = async (value) => {
    const want = value.run + "/" + (value.measured.length ? value.measured[0].step : "");
    if (want === asked) return;
    asked = want;
    let found;
    try {
      found = await server.predict({ language: LANGUAGE, run: value.run });
    } catch {
      found = { wrong: "" };
    }
    if (asked !== want) return;
    plan = { run: value.run, ...found };
    draw(true);
  };
  const draw = (all) => {
    const value = props.value;
    card.hidden = !value;
    if (!value) return;
    if (!canDraw(anew)) return;
    if (plan.run !== value.run) plan = {};
    const now = JSON.stringify([value.run, value.measured.length, value.lines.memory_bytes?.[0].at(-1), Object.keys(plan), isDark()]);
    ask(value);
    if (!all && now === mark) return;
    mark = now;
    const shape = (one) => say("memory.shape", { rows: one.rows, tokens: one.tokens });
    const columns = [];
    if (plan.worst) columns.push({ predicted: true, label: say("memory.worst") + "<br>" + shape(plan.worst), parts: plan.worst.parts });
    if (plan.batch) columns.push({ predicted: true, label: say("memory.batch") + "<br>" + shape(plan.batch), parts: plan.batch.parts });
    for (const one of value.measured) columns.push({ label: say("memory.measured", { step: one.step }) + "<br>" + shape(one), parts: one.parts });
    const base = value.device === "cpu" ? value.process : 0;
    const line = plan.worst ? plan.worst.peak + base : 0;
    bars(left, columns);
    lines(right, value, line);
    right.dataset.line = Math.round(line);
    left.dataset.bars = columns.map((one) => Math.round(total(one.parts))).join();
    card.dataset.points = value.lines.memory_bytes ? value.lines.memory_bytes[0].length : 0;
    const first = value.measured[0];
    const off = first && plan.batch ? 100 * (plan.batch.peak / total(first.parts) - 1) : null;
    const above = line && Math.max(0, ...Object.values(value.lines).flatMap(([, y]) => y)) > line;
    words.textContent = [
      plan.wrong || (!plan.worst ? say("plan.asking") : ""),
      off === null ? "" : say("memory.off", { off: Math.abs(off) < 0.005 ? "0.00" : (off > 0 ? "+" : "−") + Math.abs(off).toFixed(2) }),
      value.measured.length ? "" : say("memory.later"),
      value.measured.length > 1 ? say("memory.changed") : "",
      above ? say(value.device === "cpu" ? "memory.above" : "memory.above.cuda") : "",
      value.device === "cpu" ? say(base ? "memory.resident.base" : "memory.resident", { base: formatNumber(base) + "B" }) : "",
    ]
      .filter(Boolean)
      .join(" ");
  };
  const anew = () => draw(true);
  watch("value", () => draw(false));
  listen("theme", anew);
  anew();
};

register({ runMemory });
