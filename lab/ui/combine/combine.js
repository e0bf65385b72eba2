// Runs put together by weights: which, how, and what they come to at once. The address keeps the runs.
import { h, setHtml } from "../shell/dom.js";
import { emit, listen } from "../shell/events.js";
import { register } from "../shell/parts.js";
import { runPicker } from "../shell/run_picker.js";
import { forgetText, keptText } from "../shell/storage.js";
import { LANGUAGE, metricName, say } from "../shell/words.js";

const POINTS = 11;
const NEEDS = { density: ["prune", "ties", "dare", "dare-ties"], sign: ["ties", "dare-ties"] };
const rounded = (value) => Math.round(value * 1000) / 1000;

let current = null; // what the form says now, for a view that comes into the page after it

const combineForm = (element, props, fedProps, fedWatch, most) => {
  const weights = new Map();
  const { options } = props;
  const select = (name) =>
    h(
      "select",
      { id: "combine-" + name, onchange: () => redo() },
      options[name].choices.map((one) => h("option", { value: one }, say(`combine.${name}.${one}`))),
    );
  const number = (name, attributes) => h("input", { type: "number", id: "combine-" + name, onchange: () => redo(), ...attributes });
  const how = select("how");
  const sign = select("sign");
  const rank = number("rank", { min: 1, max: 65536, step: 1, placeholder: say("combine.rank.none") });
  const density = number("density", { min: 0.05, max: 1, step: 0.05, value: options.density.default });
  const field = (name, node) =>
    h("div", { class: "lab-field" }, h("label", { for: node.id }, say("combine." + name)), node, h("small", {}, say(`combine.${name}.help`)));
  const fields = { how: field("how", how), rank: field("rank", rank), density: field("density", density), sign: field("sign", sign) };
  const linked = h("input", { type: "checkbox", checked: true, id: "combine-linked", onchange: () => redo() });
  const link = h("label", { class: "lab-linked", for: "combine-linked" }, linked, say("combine.linked"));
  const sliders = h("div", { class: "lab-weights" });
  const set = (id, value, over) => {
    weights.set(id, rounded(value));
    const [other, ...others] = picker.ids().filter((one) => one !== id);
    if (other && !others.length && linked.checked) weights.set(other, rounded(1 - value));
    drawWeights();
    if (over) tell();
  };
  const nodes = new Map();
  const slider = (row) => {
    if (nodes.has(row.id)) return nodes.get(row.id);
    const range = h("input", {
      type: "range",
      min: -0.5,
      max: 1.5,
      step: 0.05,
      "aria-label": `${say("combine.weight")} ${row.label}`,
      oninput: (event) => set(row.id, Number(event.target.value), false),
      onchange: (event) => set(row.id, Number(event.target.value), true),
    });
    const exact = h("input", {
      type: "number",
      min: -10,
      max: 10,
      step: 0.05,
      "aria-label": `${say("combine.weight.exact")} ${row.label}`,
      onchange: (event) => set(row.id, Number(event.target.value) || 0, true),
    });
    const node = h(
      "div",
      { class: "lab-weight", "data-run": row.id },
      h(
        "span",
        { class: "lab-weight-name", title: `${row.method} · ${row.task}` },
        h("span", { class: "lab-dot", style: `background:${row.colour}` }),
        row.label,
      ),
      range,
      exact,
    );
    const found = { node, range, exact };
    nodes.set(row.id, found);
    return found;
  };
  const drawWeights = () => {
    const rows = picker.rows();
    link.hidden = rows.length !== 2;
    const found = rows.map(slider);
    if ([...sliders.children].some((node, index) => node !== (found[index] || {}).node) || sliders.children.length !== found.length)
      sliders.replaceChildren(...found.map((one) => one.node));
    rows.forEach((row, index) => {
      const value = weights.get(row.id);
      if (document.activeElement !== found[index].exact) found[index].exact.value = value;
      found[index].range.value = value;
    });
  };
  let shared = ""; // the runs that the weights were shared out among
  const share = () => {
    const mark = picker.ids().join(",");
    if (mark !== shared) weights.clear();
    shared = mark;
    for (const id of picker.ids()) if (!weights.has(id)) weights.set(id, rounded(1 / picker.ids().length));
  };
  const picker = runPicker({
    label: say("combine.runs"),
    most,
    fits: (row, first) => row.base === first.base,
    about: (row) => [row.method, row.task, row.metric && `${metricName(row.metric_name)} ${row.metric}`],
    changed: () => {
      share();
      redo();
    },
  });
  const combination = () => {
    const bare = { runs: picker.ids(), weights: picker.ids().map((id) => weights.get(id)), how: how.value };
    if (rank.value) bare.rank = Number(rank.value);
    for (const [name, needed] of Object.entries(NEEDS)) if (needed.includes(how.value)) bare[name] = name === "density" ? Number(density.value) : sign.value;
    return bare;
  };
  const tell = () => {
    current = picker.ids().length > 1 ? { asked: combination(), rows: picker.rows() } : null;
    emit("combination", current);
  };
  const redo = () => {
    draw();
    tell();
  };
  const draw = () => {
    const few = picker.ids().length < 2;
    fields.density.hidden = few || !NEEDS.density.includes(how.value);
    fields.sign.hidden = few || !NEEDS.sign.includes(how.value);
    for (const node of [link, sliders, fields.how, fields.rank]) node.hidden = few;
    drawWeights();
  };
  element.replaceChildren(...picker.nodes, h("h3", {}, say("combine.weights")), sliders, link, ...Object.values(fields));
  draw();
  const take = () => fedProps.value && picker.take(fedProps.value.rows);
  fedWatch("value", take);
  take();
};

// the path that is measured: the share of the second of two runs, or of more the factor on all of their weights
const along = ({ weights }) => (weights.length === 2 && Math.abs(weights[0] + weights[1] - 1) < 1e-6 ? weights[1] : null);
const at = (asked, t) => ({
  ...asked,
  weights: asked.weights.length === 2 ? [rounded(1 - t), rounded(t)] : asked.weights.map((weight) => rounded(weight * t)),
});

const combineView = (element, server) => {
  let now = null; // {asked, rows}
  let turn = 0;
  let sweeping = 0;
  const known = new Map(); // combination as text: its tasks
  const mark = (asked) => JSON.stringify(asked);
  const alarm = h("p", { class: "lab-said wrong", role: "alert", hidden: true });
  const empty = h("div", { class: "lab-empty" }, h("p", {}, say("combine.empty")));
  const numbers = h("div", { class: "lab-scroll" });
  const progress = h("span", { class: "lab-muted", role: "status" });
  const sweep = h("button", { type: "button", class: "lab-button", title: say("combine.sweep.help"), onclick: () => walk() }, say("combine.sweep"));
  const chart = h("div", { id: "combine-chart" });
  const text = h("textarea", {
    id: "combine-text",
    rows: 3,
    maxlength: 20000,
    onkeydown: (press) => {
      if (press.key === "Enter" && (press.ctrlKey || press.metaKey)) ask(true);
    },
  });
  keptText(text, "combine-text");
  const answers = h("div", {});
  const name = keptText(h("input", { type: "text", id: "combine-name", maxlength: 120 }), "combine-name");
  const kept = h("p", { class: "lab-said", role: "status", hidden: true });
  const question = h("button", { type: "button", class: "lab-button", onclick: () => ask(true) }, say("try.ask"));
  const keep = h("button", { type: "button", class: "lab-cta", onclick: () => store() }, say("combine.keep"));
  const body = h(
    "div",
    { class: "lab-combined", hidden: true },
    alarm,
    h(
      "section",
      { class: "lab-card" },
      h("header", { class: "lab-tools" }, h("h3", {}, say("combine.measured")), h("span", { class: "lab-gap" }), progress, sweep),
      numbers,
    ),
    chart,
    h(
      "section",
      { class: "lab-card lab-form" },
      h("h3", {}, say("combine.try")),
      h("div", { class: "lab-field" }, h("label", { for: text.id }, say("try.text")), text, h("small", {}, say("combine.try.help"))),
      question,
      answers,
    ),
    h(
      "section",
      { class: "lab-card lab-form" },
      h("h3", {}, say("combine.keep")),
      h("div", { class: "lab-field" }, h("label", { for: name.id }, say("combine.name")), name, h("small", {}, say("combine.keep.help"))),
      keep,
      kept,
    ),
  );
  element.replaceChildren(empty, body);
  const feed = { value: null };
  let redraw = () => {};
  window.Lab.chartGrid(chart, feed, (_, draw) => {
    redraw = draw;
  });
  const wrong = (sentence) => {
    alarm.hidden = !sentence;
    alarm.textContent = sentence || "";
  };
  const put = async (what, asked) => {
    try {
      return await server[what]({ ...asked, language: LANGUAGE });
    } catch {
      return { wrong: say("combine.away") };
    }
  };
  const measured = async (asked) => {
    const key = mark(asked);
    if (!known.has(key)) {
      const found = await put("measure", { combination: asked });
      if (found.wrong) return found;
      known.set(key, found.tasks);
    }
    return { tasks: known.get(key) };
  };
  const draw = () => {
    const here = known.get(mark(now.asked));
    const ends = [0, 1].map((t) => known.get(mark(at(now.asked, t))));
    const two = now.asked.weights.length === 2;
    const cell = (row) => h("td", { class: "right num", title: row ? String(row.value) : "" }, row ? row.text : "–");
    const heads = [
      say("combine.task"),
      say("combine.metric"),
      say("combine.here"),
      ...(two ? now.rows.map((row) => say("combine.alone", { run: row.label })) : []),
    ];
    const tasks = here || ends.find(Boolean) || [];
    numbers.replaceChildren(
      h(
        "table",
        { class: "lab-table" },
        h(
          "thead",
          {},
          h(
            "tr",
            {},
            heads.map((word, index) => h("th", { scope: "col", class: index > 1 ? "right" : "" }, word)),
          ),
        ),
        h(
          "tbody",
          {},
          tasks.map((task, index) =>
            h(
              "tr",
              {},
              h("th", { scope: "row" }, task.task),
              h("td", {}, metricName(task.metric)),
              cell(here && here[index]),
              ...(two ? ends.map((end) => cell(end && end[index])) : []),
            ),
          ),
        ),
      ),
      tasks.length ? h("p", { class: "lab-muted" }, say("combine.rows", { n: Math.max(...tasks.map((task) => task.rows)) })) : "",
    );
    const points = [...Array(POINTS).keys()].map((step) => rounded(step / (POINTS - 1)));
    const walked = points.map((t) => [t, known.get(mark(at(now.asked, t)))]).filter(([, found]) => found);
    const own = along(now.asked);
    if (here && own !== null && !walked.some(([t]) => t === own)) walked.push([own, here]);
    walked.sort((a, b) => a[0] - b[0]);
    const metrics = [...new Set(tasks.map((task) => task.metric))];
    const colours = (index) => (now.rows[index] ? now.rows[index].colour : "var(--run-" + (index % 10) + ")");
    const charts = metrics.map((metric) => ({
      id: "eval_" + metric,
      wide: 12 / Math.min(2, metrics.length),
      reads: ".3~f",
      unit: "",
      zero: false,
      traces: tasks.flatMap((task, index) =>
        task.metric === metric
          ? [
              {
                name: "eval_" + metric,
                label: task.task,
                colour: colours(index),
                kind: "eval",
                x: walked.map(([t]) => t),
                y: walked.map(([, found]) => found[index].value),
              },
            ]
          : [],
      ),
    }));
    feed.value = { key: mark(now.asked.runs) + now.asked.how + now.asked.rank, along: two ? "share" : "factor", charts: walked.length > 1 ? charts : [] };
    chart.hidden = walked.length < 2;
    redraw();
  };
  const walk = async () => {
    const mine = ++sweeping;
    const { asked } = now;
    for (let step = 0; step < POINTS; step++) {
      const t = rounded(step / (POINTS - 1));
      if (asked.weights.length !== 2 && t === 0) continue; // nothing is left of them
      progress.textContent = say("combine.sweeping", { at: step + 1, of: POINTS });
      const found = await measured(at(asked, t));
      if (mine !== sweeping) return;
      if (found.wrong) {
        wrong(found.wrong);
        break;
      }
      draw();
    }
    progress.textContent = "";
  };
  let asking = 0; // the newest question wins
  const ask = async (pressed = false) => {
    const mine = ++asking;
    text.setAttribute("aria-invalid", String(pressed && !text.value.trim()));
    if (!text.value.trim()) {
      answers.replaceChildren(pressed ? h("p", { class: "lab-wrong", role: "alert" }, say("try.empty.text")) : "");
      if (pressed) text.focus();
      return;
    }
    answers.classList.add("stale");
    const found = await put("ask", { combination: now.asked, text: text.value });
    if (mine !== asking) return;
    answers.classList.remove("stale");
    if (found.wrong) wrong(found.wrong);
    else setHtml(answers, found.html);
  };
  const store = async () => {
    const found = await put("keep", { combination: now.asked, name: name.value });
    kept.hidden = false;
    kept.classList.toggle("wrong", Boolean(found.wrong));
    if (found.wrong) kept.textContent = found.wrong;
    else {
      forgetText("combine-name");
      name.value = "";
      kept.replaceChildren(say("combine.kept") + " ", h("a", { href: `runs?run=${found.run}` }, found.name));
    }
  };
  const take = async (news) => {
    const before = now;
    if (news && before && mark(news.asked) === mark(before.asked)) return;
    now = news;
    body.hidden = !now;
    empty.hidden = Boolean(now);
    turn += 1;
    if (!now) return;
    if (!before || at(before.asked, 0).how !== now.asked.how || mark(before.asked.runs) !== mark(now.asked.runs)) sweeping += 1;
    kept.hidden = true;
    wrong("");
    const mine = turn;
    draw();
    progress.textContent = say("combine.measuring");
    const found = await measured(now.asked);
    if (mine !== turn) return;
    progress.textContent = "";
    if (found.wrong) return void wrong(found.wrong);
    draw();
    await ask();
  };
  listen("combination", take);
  listen("theme", () => now && draw());
  if (current) take(current);
};

register({ combineForm, combineView });
