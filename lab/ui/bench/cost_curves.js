// Cost curves under the memory plan: peak memory against batch for several methods, trained weights against rank. Nothing is asked before it is wanted.
import { chosenDevice, currentDraft } from "./draft.js";
import { curveWords } from "../shell/chart_words.js";
import { h } from "../shell/dom.js";
import { listen } from "../shell/events.js";
import { register } from "../shell/parts.js";
import { canDraw, drawPlot, plotConfig, styleValue } from "../shell/plots.js";
import { LANGUAGE, say } from "../shell/words.js";

const costCurves = (element, props, server) => {
  const methods = ["", ...props.methods];
  const title = (name) => name || say("costs.curves.this");
  const wanted = new Set(["", "lora", "lamda", "adapter-houlsby"]);
  const picks = methods.map((name, index) => {
    const box = h("input", { type: "checkbox", checked: wanted.has(name), onchange: () => (box.checked ? wanted.add(name) : wanted.delete(name)) });
    return h("label", {}, box, h("i", { style: `background:var(--run-${index})` }), title(name));
  });
  const memory = h("div", { class: "lab-plot" });
  const weights = h("div", { class: "lab-plot" });
  const progress = h("p", { class: "lab-muted", role: "status", id: "cost-told" });
  const go = h("button", { type: "button", class: "lab-button", onclick: () => (running ? stop() : compute()) }, say("costs.curves.go"));
  const box = h(
    "details",
    { class: "lab-cost-curves" },
    h("summary", {}, say("costs.curves")),
    h("p", { class: "lab-muted" }, say("costs.curves.help")),
    h("div", { class: "lab-cost-picks" }, picks),
    go,
    progress,
    h("figure", {}, h("figcaption", {}, say("costs.curves.memory")), memory),
    h("figure", {}, h("figcaption", {}, say("costs.curves.weights")), weights),
  );
  element.replaceChildren(box);
  let running = 0;
  let count = 0;
  let points = {};
  let curves = {};
  let room = 0;

  const axis = (more) => ({
    gridcolor: styleValue("--line"),
    zeroline: false,
    linecolor: styleValue("--line"),
    tickfont: { size: 11, color: styleValue("--muted") },
    automargin: true,
    type: "log",
    ...more,
  });
  const plot = (node, lines, x, y, along, unit, shapes = []) =>
    drawPlot(
      node,
      lines,
      {
        height: 210,
        margin: { l: 44, r: 8, t: 6, b: 26 },
        paper_bgcolor: "rgba(0,0,0,0)",
        plot_bgcolor: "rgba(0,0,0,0)",
        showlegend: false,
        shapes,
        hovermode: "x unified",
        font: { family: styleValue("--sans") || "sans-serif", size: 11, color: styleValue("--muted") },
        hoverlabel: { bgcolor: styleValue("--card"), bordercolor: styleValue("--line-strong"), font: { color: styleValue("--ink"), size: 12 } },
        xaxis: axis(x),
        yaxis: axis(y),
      },
      plotConfig(),
      curveWords(lines, along, unit),
    );
  const line = (name, pairs, unit) => ({
    x: pairs.map((pair) => pair[0]),
    y: pairs.map((pair) => pair[1]),
    type: "scatter",
    mode: "lines+markers",
    name: title(name),
    marker: { size: 5 },
    line: { width: name ? 1.6 : 2.6, color: styleValue(`--run-${methods.indexOf(name)}`) },
    hovertemplate: `%{y:.3~s}${unit}<extra>${title(name)}</extra>`,
  });
  const draw = () => {
    if (!count || !canDraw(draw)) return;
    const roof = room ? [{ type: "line", xref: "paper", x0: 0, x1: 1, y0: room, y1: room, line: { color: styleValue("--red"), width: 1.2, dash: "dot" } }] : [];
    plot(
      memory,
      Object.entries(points).map(([name, pairs]) => line(name, pairs, "B")),
      { tickvals: props.batches, ticktext: props.batches.map(String) },
      { tickformat: ".2~s", ticksuffix: "B", dtick: 1 },
      say("costs.curves.along.batch"),
      "B",
      roof,
    );
    const ranks = [...new Set(Object.values(curves).flatMap((pairs) => pairs.map((pair) => pair[0])))].sort((a, b) => a - b);
    plot(
      weights,
      Object.entries(curves).map(([name, pairs]) => line(name, pairs, "")),
      { tickvals: ranks, ticktext: ranks.map(String) },
      { tickformat: ".2~s", dtick: 1 },
      say("costs.curves.along.rank"),
      "",
    );
    memory.dataset.points = Object.values(points).reduce((sum, pairs) => sum + pairs.length, 0);
    weights.dataset.curves = Object.keys(curves).length;
  };
  const stop = () => {
    running = 0;
    go.textContent = say("costs.curves.go");
  };
  const compute = async () => {
    const mine = (running = ++count);
    const draft = currentDraft();
    const device = chosenDevice();
    const chosen = methods.filter((name) => wanted.has(name));
    const wrong = [];
    go.textContent = say("costs.curves.stop");
    points = {};
    curves = {};
    try {
      curves = (await server.counts({ draft })).curves || {};
    } catch {
      return stop();
    }
    curves = Object.fromEntries(Object.entries(curves).filter(([name]) => wanted.has(name)));
    draw();
    const all = chosen.length * props.batches.length;
    let done = 0;
    for (const batch of props.batches)
      for (const name of chosen) {
        // one at a time: a turned knob comes in between
        if (running !== mine) return;
        if (!wrong.some((one) => one[0] === name)) {
          let found;
          try {
            found = await server.point({ language: LANGUAGE, draft, method: name, batch, device });
          } catch {
            return stop();
          }
          if (running !== mine) return;
          if (found.wrong) wrong.push([name, found.wrong]);
          else {
            (points[name] = points[name] || []).push([batch, found.bytes]);
            room = found.room;
          }
        }
        progress.textContent = [say("costs.curves.done", { n: ++done, all }), ...wrong.map(([one, why]) => `${title(one)}: ${why}`)].join(" · ");
        draw();
      }
    stop();
  };
  box.addEventListener("toggle", () => {
    if (!box.open) stop();
  });
  listen("device", () => {
    stop();
    points = {};
    room = 0;
    progress.textContent = "";
    draw();
  }); // they are of the device that was chosen
  listen("theme", draw);
};

register({ costCurves });
