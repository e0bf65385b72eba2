// Live charts with plotly.js from the installed wheel: one node per chart that stays, so zoom is kept and nothing flickers.
(function () {
  const Lab = (window.Lab = window.Lab || {});
  const { h, say } = Lab;
  const style = (name) => getComputedStyle(document.querySelector(".gradio-container") || document.body).getPropertyValue(name).trim();
  const known = (key, fallback) => ((window.LAB_WORDS || {})[key] ? say(key) : fallback);

  // exponential moving average that is not biased towards the first value
  const smooth = (values, weight) => {
    let last = 0, mass = 0;
    return values.map((value) => {
      if (value === null) return null;
      last = last * weight + (1 - weight) * value;
      mass = mass * weight + (1 - weight);
      return last / mass;
    });
  };

  const lines = (chart, weight) => {
    const found = [];
    for (const told of chart.traces) {
      const t = { ...told, colour: style(told.colour.slice(4, -1)) };
      const label = t.label || known("curve." + t.name, t.name.replace(/^eval_/, ""));
      const base = { x: t.x, y: t.y, type: "scatter", mode: "lines", name: label, hovertemplate: `%{y:${chart.reads}}${chart.unit || ""}<extra>${label.replace(/[<>&]/g, "")}</extra>` };
      const dash = t.kind === "eval" ? "6px,4px" : "solid", few = t.x.length < 40 && t.kind === "eval";
      if (t.low) found.push({ x: [...t.x, ...[...t.x].reverse()], y: [...t.high, ...[...t.low].reverse()], type: "scatter", mode: "lines", fill: "toself", fillcolor: t.colour, opacity: 0.18, line: { width: 0 }, hoverinfo: "skip", showlegend: false });
      const shape = chart.steps ? "hv" : "linear";
      if (weight > 0 && chart.id === "loss" && t.kind === "train" && t.x.length > 12) {
        found.push({ ...base, line: { color: t.colour, width: 1 }, opacity: 0.35, hoverinfo: "skip", hovertemplate: undefined, showlegend: false });
        found.push({ ...base, y: smooth(t.y, weight), line: { color: t.colour, width: 2.2 } });
      } else found.push({ ...base, mode: few ? "lines+markers" : "lines", marker: { size: 5, color: t.colour }, line: { color: t.colour, width: 1.8, dash, shape } });
    }
    return found;
  };

  // a trade-off: runs as points, the front that no other run beats, the papers' points behind
  const points = (chart) => {
    const found = [], plainly = (text) => text.replace(/[<>&]/g, "");
    const about = `%{text}<br>%{x:${chart.reads}}${chart.unit}<br>${chart.metric} %{y:.4~g}<extra></extra>`;
    const dots = (list, marker) => ({ x: list.map((p) => p.x), y: list.map((p) => p.y), text: list.map((p) => plainly(p.label)), type: "scatter", mode: "markers", marker, hovertemplate: about });
    if (chart.papers.length) found.push(dots(chart.papers, { size: 6, color: style("--faint"), symbol: "diamond-open" }));
    if (chart.front.length > 1) found.push({ x: chart.front.map((p) => p[0]), y: chart.front.map((p) => p[1]), type: "scatter", mode: "lines", line: { color: style("--frozen"), width: 1.4, dash: "2px,3px", shape: "hv" }, hoverinfo: "skip" });
    found.push(dots(chart.points, { size: 10, color: chart.points.map((p) => style(p.colour.slice(4, -1))), line: { width: 1, color: style("--card") } }));
    return found;
  };

  const layout = (chart, key) => {
    const ink = style("--muted"), grid = style("--line");
    const axis = { gridcolor: grid, zeroline: false, linecolor: grid, tickfont: { size: 11, color: ink }, automargin: true, ticks: "" };
    return {
      uirevision: key, height: chart.wide >= 6 ? 230 : chart.wide === 4 ? 180 : 150, margin: { l: 46, r: 10, t: 6, b: 26 }, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
      font: { family: style("--sans") || "sans-serif", size: 11, color: ink }, hovermode: chart.scatter ? "closest" : "x unified", showlegend: false, dragmode: "zoom",
      hoverlabel: { bgcolor: style("--card"), bordercolor: style("--line-strong"), font: { color: style("--ink"), size: 12 } },
      xaxis: chart.scatter ? { ...axis, type: "log", tickformat: chart.reads, ticksuffix: chart.unit, nticks: 5 } : { ...axis, tickformat: "~s", nticks: chart.wide >= 6 ? 8 : 4 },
      yaxis: { ...axis, tickformat: chart.scatter ? ".4~g" : chart.reads, ticksuffix: chart.scatter ? "" : chart.unit || "", nticks: 5, rangemode: ["memory", "trainable", "lr"].includes(chart.id) ? "tozero" : "normal" },
    };
  };
  const CONFIG = { displaylogo: false, responsive: true, modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"], toImageButtonOptions: { format: "svg" } };

  Lab.charts = (element, props, watch) => {
    let weight = Lab.kept("lab_smoothing") ?? 0.8, last = null, drawn = {};
    const grid = h("div", { class: "lab-charts" });
    const slider = h("input", { type: "range", min: 0, max: 0.98, step: 0.02, value: weight, "aria-label": say("charts.smoothing"), oninput: (event) => {
      weight = Number(event.target.value); Lab.keep("lab_smoothing", weight); draw(true);
    } });
    const bar = h("div", { class: "lab-charts-bar" }, h("span", { class: "lab-legend" }, h("i", { class: "solid" }), say("charts.train"), h("i", { class: "dashed" }), say("charts.eval")),
      h("span", { class: "lab-gap" }), h("label", {}, say("charts.smoothing"), slider), h("span", { class: "lab-hint" }, say("charts.zoom")));
    element.replaceChildren(bar, grid);

    const card = (chart) => {
      if (drawn[chart.id]) return drawn[chart.id];
      const value = h("b", { class: "num" }), plot = h("div", { class: "lab-plot" });
      const node = h("figure", { class: "lab-chart wide-" + chart.wide, "data-chart": chart.id }, h("figcaption", {}, chart.scatter ? `${chart.metric} ${say("chart." + chart.id)}` : chart.title || known("chart." + chart.id, chart.id.replace(/^eval_/, "")), value), plot);
      return (drawn[chart.id] = { node, plot, value });
    };
    const draw = (all) => {
      const value = props.value;
      bar.hidden = !value || !value.charts || !value.charts.length;
      if (!value || !value.charts) { grid.replaceChildren(); drawn = {}; return; }
      const ids = value.charts.map((chart) => chart.id).join();
      const cards = value.charts.map(card);
      if (grid.dataset.ids !== ids) { grid.replaceChildren(...cards.map((one) => one.node)); grid.dataset.ids = ids; }
      value.charts.forEach((chart, index) => {
        const { plot, value: told, node } = cards[index], size = chart.scatter ? chart.points.length : chart.traces.reduce((sum, t) => sum + t.x.length, 0);
        const mark = [value.key, size, chart.scatter ? JSON.stringify([chart.points, chart.papers.length]) : "", chart.traces.map((t) => t.x.at(-1)).join(), chart.traces.length, weight, Lab.dark()].join("|");
        node.dataset.points = size;
        node.classList.toggle("empty", size === 0);
        if (!all && plot.dataset.mark === mark) return;
        plot.dataset.mark = mark;
        const one = chart.traces.length && value.charts.length && !chart.traces[0].label ? chart.traces.at(-1).y.filter((y) => y !== null).at(-1) : undefined;
        told.textContent = one === undefined ? "" : Lab.number(one) + (chart.unit || "");
        told.title = one === undefined ? "" : String(one);
        Plotly.react(plot, chart.scatter ? points(chart) : lines(chart, weight), layout(chart, value.key), CONFIG);
      });
      last = value;
    };
    watch("value", () => draw(false));
    Lab.on("theme", () => draw(true));
    draw(true);
  };

  Lab.number = (value) => {
    const size = Math.abs(value);
    for (const [unit, name] of [[1e9, " G"], [1e6, " M"], [1e3, " k"]]) if (size >= unit * 0.9995) return Number((value / unit).toPrecision(3)) + name;
    return size >= 1e-4 || size === 0 ? String(Number(value.toPrecision(4))) : value.toExponential(1);
  };
})();
