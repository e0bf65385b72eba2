// The sweep's form: the bench's draft as its base, one line per option that varies; and the choice of what the matrix shows.
import { h, icon, setHtml } from "../shell/dom.js";
import { emit, listen } from "../shell/events.js";
import { register } from "../shell/parts.js";
import { currentChoice } from "../shell/poll.js";
import { setAddress, storedDraft, storedOwnItem, storeOwnItem } from "../shell/storage.js";
import { LANGUAGE, say } from "../shell/words.js";

const KEY = "lab_sweep_1";
const sweepForm = (element, props) => {
  const base = storedDraft() || props.start;
  const kept = storedOwnItem(KEY) || {};
  const tables = props.tables[LANGUAGE];
  let axes =
    Array.isArray(kept.axes) && kept.axes.length
      ? kept.axes
      : [
          { path: "deltas.0.rank", values: "4, 8, 16" },
          { path: "seed", values: "0, 1" },
        ];
  let list = Boolean(kept.list);
  let table = tables.some((one) => one.name === kept.table) ? kept.table : "";
  let without = kept.without || [];
  let on = kept.on ?? "bench";
  let waiting = null;
  const tell = () => {
    storeOwnItem(KEY, { axes, list, table, without, on });
    clearTimeout(waiting);
    waiting = setTimeout(() => {
      props.value = { base, axes: structuredClone(axes), list, table, without: [...without], on, again: Date.now() };
      emit("sweep", props.value);
    }, 200);
  };
  const name = (one) => (typeof one === "string" ? one : (one && one.name) || "");
  const steps = base.training && base.training.steps ? say("sweep.base.steps", { n: base.training.steps }) : "";
  const words = () =>
    [table ? "" : name(base.method), base.model, [base.task, ...(base.further || [])].map(name).join(" + "), steps].filter(Boolean).join(" · ");
  const lines = h("div", { class: "lab-axes" });
  const rows = h("fieldset", { class: "lab-rows" });
  const draw = () =>
    lines.replaceChildren(
      ...axes.map((axis, index) =>
        h(
          "div",
          { class: "lab-axis", "data-axis": axis.path },
          h("input", {
            type: "text",
            value: axis.path,
            list: "sweep-paths",
            "aria-label": say("sweep.path", { n: index + 1 }),
            placeholder: say("sweep.path.what"),
            autocomplete: "off",
            spellcheck: "false",
            oninput: (event) => {
              axis.path = event.target.value;
              event.target.parentNode.dataset.axis = axis.path;
              tell();
            },
          }),
          h("input", {
            type: "text",
            value: axis.values,
            "aria-label": say("sweep.values", { n: index + 1 }),
            placeholder: say("sweep.values.what"),
            autocomplete: "off",
            spellcheck: "false",
            oninput: (event) => {
              axis.values = event.target.value;
              tell();
            },
          }),
          h(
            "button",
            {
              type: "button",
              class: "lab-icon",
              "aria-label": say("bench.remove"),
              title: say("bench.remove"),
              disabled: axes.length < 2 && !table,
              onclick: () => {
                axes.splice(index, 1);
                draw();
                tell();
              },
            },
            icon("close"),
          ),
        ),
      ),
    );
  const mode = (value, label) =>
    h(
      "button",
      {
        type: "button",
        "aria-pressed": String(list === value),
        onclick: (event) => {
          list = value;
          event.target.parentNode.querySelectorAll("button").forEach((one) => one.setAttribute("aria-pressed", String(one === event.target)));
          tell();
        },
      },
      label,
    );
  // the rows of a paper's table, and where they run
  const pick = h(
    "select",
    { id: "sweep-table", onchange: (event) => choose(event.target.value) },
    h("option", { value: "" }, say("sweep.table.none")),
    tables.map((one) => h("option", { value: one.name }, one.title)),
  );
  const drawTable = () => {
    const found = tables.find((one) => one.name === table);
    pick.value = table;
    about.textContent = words() + " ";
    rows.hidden = !found;
    if (!found) return rows.replaceChildren();
    const where = h(
      "select",
      {
        id: "sweep-on",
        onchange: (event) => {
          on = event.target.value === "bench" ? "bench" : Number(event.target.value);
          tell();
        },
      },
      h("option", { value: "bench", selected: on === "bench" }, say("sweep.on.bench", { base: words() })),
      found.bases.map((one, place) => h("option", { value: place, selected: on === place }, say("sweep.on.paper", { base: one }))),
    );
    rows.replaceChildren(
      h("legend", {}, say("sweep.rows"), h("small", {}, found.heads)),
      ...found.rows.map((row, place) =>
        h(
          "label",
          { class: "lab-tick" },
          h("input", {
            type: "checkbox",
            checked: !without.includes(place),
            onchange: (event) => {
              without = event.target.checked ? without.filter((one) => one !== place) : [...without, place];
              tell();
            },
          }),
          h("span", {}, row.label),
          h("small", { title: say("sweep.rows.help") }, row.told),
        ),
      ),
      h("label", { class: "lab-on", for: "sweep-on" }, say("sweep.on")),
      where,
      ...(found.notes ? [h("p", { class: "lab-muted" }, found.notes)] : []),
    );
  };
  const choose = (wanted) => {
    table = wanted;
    without = [];
    on = "bench";
    list = false;
    axes = wanted
      ? [{ path: "seed", values: "0, 1, 2" }]
      : [
          { path: "deltas.0.rank", values: "4, 8, 16" },
          { path: "seed", values: "0, 1" },
        ];
    drawTable();
    draw();
    tell();
  };
  listen("table", (wanted) => {
    choose(wanted);
    pick.focus();
  });
  // what is wrong stands in the card below; here the option that it is about is marked
  listen("shown", (part) => {
    const wrong = part.closest("#sweep-told") && part.querySelector(".wrong");
    const field = wrong ? wrong.dataset.field || "" : "";
    for (const line of lines.children)
      line.classList.toggle(
        "wrong",
        Boolean(wrong && line.dataset.axis && (field.endsWith(line.dataset.axis) || wrong.textContent.includes(line.dataset.axis))),
      );
  });
  const about = h("span", {});
  element.replaceChildren(
    h("h3", {}, say("sweep.title")),
    h("p", { class: "lab-muted" }, about, h("a", { href: "./" }, say("sweep.base"))),
    h("label", { class: "lab-on", for: "sweep-table" }, say("sweep.table")),
    pick,
    rows,
    h("div", { class: "lab-segments", role: "group", "aria-label": say("sweep.mode") }, mode(false, say("sweep.grid")), mode(true, say("sweep.list"))),
    h("p", { class: "lab-muted" }, say("sweep.help")),
    lines,
    h(
      "button",
      {
        type: "button",
        class: "lab-add",
        onclick: () => {
          axes.push({ path: "", values: "" });
          draw();
          lines.lastChild.querySelector("input").focus();
        },
      },
      "+ " + say("sweep.add"),
    ),
    h(
      "datalist",
      { id: "sweep-paths" },
      props.paths.map((path) => h("option", { value: path }, props.titles[LANGUAGE][path])),
    ),
  );
  drawTable();
  draw();
  tell();
};

// memory and time of the sweep: one more shape is planned per question, so a form that changes waits for nothing old
const forecast = (element, server) => {
  const topic = "sweep-" + Math.random().toString(36).slice(2);
  let now = 0;
  let timer = 0;
  const ask = async (form, mine) => {
    if (!element.querySelector("[data-peak]")) (setHtml(element, "<p class='lab-muted'></p>"), (element.firstChild.textContent = say("plan.asking")));
    for (let done = 0, more = true; more;) {
      let found;
      try {
        found = await server.forecast({ form, language: LANGUAGE, topic, turn: mine, done });
      } catch {
        return;
      }
      if (mine !== now || found.superseded) return;
      setHtml(element, found.html);
      element.hidden = !found.html;
      element.classList.toggle("stale", found.more);
      ({ done, more } = found);
    }
  };
  listen("sweep", (form) => {
    const mine = ++now;
    clearTimeout(timer);
    element.classList.add("stale");
    timer = setTimeout(() => ask(form, mine), 500);
  });
};

const beginTable = (element) =>
  element.addEventListener("click", (event) => {
    const button = event.target.closest("[data-table]");
    if (button) emit("table", button.dataset.table);
  });

// what the matrix shows: a tag and its two axes, kept in the address
const chosenMatrix = (choose) => {
  const params = new URL(location.href).searchParams;
  const choiceOf = (of) => Object.fromEntries(["tag", "row", "column"].map((name) => [name, of(name) || ""]));
  listen("matrix", (change) => {
    const value = choiceOf((name) => ({ ...currentChoice(), ...change })[name]);
    setAddress(value);
    choose(value);
  });
  return choiceOf((name) => params.get(name));
};

const matrixTools = (element, props, watch) => {
  let mark = "";
  const draw = () => {
    const value = props.value;
    element.hidden = !value || !value.tags.length;
    if (!value || JSON.stringify(value) === mark) return;
    mark = JSON.stringify(value);
    const select = (label, name, choices, chosen, change) =>
      h(
        "label",
        {},
        say(label),
        h(
          "select",
          { onchange: (event) => emit("matrix", change(event.target.value)) },
          choices.map((one) =>
            h(
              "option",
              { value: one, selected: one === chosen || (one === "none" && !chosen) },
              one === "none" ? say("sweep.averaged") : value.titles[one] || one || "–",
            ),
          ),
        ),
      );
    const tags = value.tags.includes(value.tag) || !value.tag ? value.tags : [value.tag, ...value.tags];
    element.replaceChildren(
      select("sweep.tag", "tag", tags, value.tag, (tag) => ({ tag, row: "", column: "" })),
      ...(value.axes.length > 1
        ? [
            select("sweep.row", "row", value.axes, value.row, (row) => ({
              tag: value.tag,
              row,
              column: row === value.column ? value.row : value.column || "none",
            })),
            select("sweep.column", "column", [...value.axes.filter((one) => one !== value.row), "none"], value.column, (column) => ({
              tag: value.tag,
              row: value.row,
              column,
            })),
          ]
        : []),
    );
  };
  watch("value", draw);
  draw();
};

register({ sweepForm, forecast, beginTable, chosenMatrix, matrixTools });
