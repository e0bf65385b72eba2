// The search's form: a preset, or the bench's draft with one line per option that may vary; and the choice of the search that is shown.
import { h, icon } from "../shell/dom.js";
import { emit, listen } from "../shell/events.js";
import { register } from "../shell/parts.js";
import { askAgain, currentChoice } from "../shell/poll.js";
import { setAddress, storedDraft, storedOwnItem, storeOwnItem } from "../shell/storage.js";
import { LANGUAGE, say } from "../shell/words.js";

const KEY = "lab_search_1";
const OBJECTIVES = ["metric", "weights", "memory", "seconds"];
const SAMPLERS = ["tpe", "random", "nsga2", "qmc"];

const searchForm = (element, props) => {
  const bench = storedDraft() || props.start;
  const fresh = () => ({
    preset: "",
    base: bench,
    axes: [
      { path: "deltas.0.rank", values: "1..64 log" },
      { path: "training.lr", values: "1e-4..1e-2 log" },
    ],
    anchors: "lora, bitfit",
    budget: "0.3 % weights, 900 MB",
    objectives: ["metric"],
    sampler: "tpe",
    trials: 12,
    minutes: null,
    seeds: 3,
    steps: (bench.training && bench.training.steps) || 150,
    name: "",
  });
  const kept = storedOwnItem(KEY);
  let asked = kept && Array.isArray(kept.axes) ? { ...fresh(), ...kept, base: kept.preset ? kept.base : bench } : fresh();
  let waiting = null;
  const tell = () => {
    storeOwnItem(KEY, asked);
    clearTimeout(waiting);
    waiting = setTimeout(() => {
      props.value = { ...structuredClone(asked), again: Date.now() };
    }, 250);
  };
  const name = (one) => (typeof one === "string" ? one : (one && one.name) || "");
  const about = h("span", {});
  const lines = h("div", { class: "lab-axes" });
  const input = (axis, key, label, hint, extra = {}) =>
    h("input", {
      type: "text",
      value: axis[key],
      "aria-label": label,
      placeholder: hint,
      autocomplete: "off",
      spellcheck: "false",
      ...extra,
      oninput: (event) => {
        axis[key] = event.target.value;
        if (key === "path") event.target.parentNode.dataset.axis = axis.path;
        tell();
      },
    });
  const drawAxes = () =>
    lines.replaceChildren(
      ...asked.axes.map((axis, index) =>
        h(
          "div",
          { class: "lab-axis", "data-axis": axis.path },
          input(axis, "path", say("sweep.path", { n: index + 1 }), say("sweep.path.what"), { list: "search-paths" }),
          input(axis, "values", say("sweep.values", { n: index + 1 }), say("search.values.what")),
          h(
            "button",
            {
              type: "button",
              class: "lab-icon",
              "aria-label": say("bench.remove"),
              title: say("bench.remove"),
              disabled: asked.axes.length < 2,
              onclick: () => {
                asked.axes.splice(index, 1);
                drawAxes();
                tell();
              },
            },
            icon("close"),
          ),
          axis.when && Object.keys(axis.when).length
            ? h(
                "small",
                { class: "lab-when" },
                say("search.when", {
                  axes: Object.entries(axis.when)
                    .map(([path, values]) => `${path}: ${values.join(", ")}`)
                    .join("; "),
                }),
              )
            : null,
        ),
      ),
    );
  const field = (key, kind = "text") => {
    const id = "search-" + key;
    return h(
      "div",
      { class: "lab-field-line" },
      h("label", { for: id }, say("search.field." + key)),
      h("input", {
        id,
        type: kind,
        min: kind === "number" ? 1 : null,
        value: asked[key] ?? "",
        title: say(`search.field.${key}.help`),
        autocomplete: "off",
        spellcheck: "false",
        oninput: (event) => {
          const text = event.target.value.trim();
          asked[key] = kind === "number" ? (text === "" ? null : Number(text)) : text;
          tell();
        },
      }),
    );
  };
  const objectives = () =>
    h(
      "fieldset",
      { class: "lab-rows" },
      h("legend", {}, say("search.objectives")),
      OBJECTIVES.map((one) =>
        h(
          "label",
          { class: "lab-tick" },
          h("input", {
            type: "checkbox",
            checked: asked.objectives.includes(one),
            disabled: one === "metric",
            onchange: (event) => {
              asked.objectives = OBJECTIVES.filter((other) => (other === one ? event.target.checked : asked.objectives.includes(other)));
              tell();
            },
          }),
          h("span", {}, say("search.objective." + one)),
        ),
      ),
    );
  const draw = () => {
    const presets = [["", say("search.preset.bench")], ...props.presets.map((one) => [one.name, one.title[LANGUAGE] || one.name])];
    const base = asked.base;
    about.textContent = [name(base.method), base.model, name(base.task)].filter(Boolean).join(" · ") + " ";
    drawAxes();
    element.replaceChildren(
      h("h3", {}, say("search.title")),
      h(
        "div",
        { class: "lab-field-line" },
        h("label", { for: "search-preset" }, say("search.preset.choose")),
        h(
          "select",
          {
            id: "search-preset",
            onchange: (event) => {
              const found = props.presets.find((one) => one.name === event.target.value);
              asked = found ? { ...fresh(), ...structuredClone(found), preset: found.name, name: "" } : fresh();
              draw();
              tell();
            },
          },
          presets.map(([value, label]) => h("option", { value, selected: value === asked.preset }, label)),
        ),
      ),
      h("p", { class: "lab-muted" }, about, asked.preset ? null : h("a", { href: "./" }, say("sweep.base"))),
      h("p", { class: "lab-muted" }, say("search.help")),
      lines,
      h(
        "button",
        {
          type: "button",
          class: "lab-add",
          onclick: () => {
            asked.axes.push({ path: "", values: "" });
            drawAxes();
            lines.lastChild.querySelector("input").focus();
          },
        },
        "+ " + say("sweep.add"),
      ),
      h(
        "datalist",
        { id: "search-paths" },
        props.paths.map((path) => h("option", { value: path })),
      ),
      field("budget"),
      field("anchors"),
      objectives(),
      field("trials", "number"),
      field("steps", "number"),
      field("seeds", "number"),
      field("minutes", "number"),
      h(
        "div",
        { class: "lab-field-line" },
        h("label", { for: "search-sampler" }, say("search.field.sampler")),
        h(
          "select",
          {
            id: "search-sampler",
            title: say("search.field.sampler.help"),
            onchange: (event) => {
              asked.sampler = event.target.value;
              tell();
            },
          },
          SAMPLERS.map((one) => h("option", { value: one, selected: one === asked.sampler }, say("search.sampler." + one))),
        ),
      ),
      field("name"),
    );
  };
  // what is wrong stands in the card below; here the option that it is about is marked
  listen("shown", (part) => {
    const wrong = part.closest("#search-told") && part.querySelector(".wrong");
    const place = wrong ? wrong.dataset.field || "" : "";
    for (const line of lines.children) line.classList.toggle("wrong", Boolean(place && line.dataset.axis && place.startsWith("space." + line.dataset.axis)));
    for (const line of element.querySelectorAll(".lab-field-line")) {
      const control = line.querySelector("[id]");
      line.classList.toggle("wrong", Boolean(place && control && place.split(".")[0] === control.id.replace("search-", "")));
    }
  });
  draw();
  tell();
};

// which search is shown, kept in the address
const chosenSearch = (choose) => {
  listen("search", ({ name }) => {
    setAddress({ name });
    choose({ name });
  });
  return { name: new URL(location.href).searchParams.get("name") || "" };
};

const searchTools = (element, trigger, events, props, watch) => {
  let mark = "";
  const draw = () => {
    const value = props.value;
    element.hidden = !value || !value.names.length;
    if (!value || JSON.stringify(value) === mark) return;
    mark = JSON.stringify(value);
    const button = (event, on) =>
      h(
        "button",
        {
          type: "button",
          class: "lab-button",
          disabled: !on,
          title: say(`search.${event}.help`),
          onclick: () => {
            trigger(event, { name: value.name });
            setTimeout(askAgain, 600);
          },
        },
        say("search." + event),
      );
    element.replaceChildren(
      h(
        "label",
        {},
        say("search.which"),
        h(
          "select",
          { id: "search-which", onchange: (event) => emit("search", { ...currentChoice(), name: event.target.value }) },
          value.names.map((one) => h("option", { value: one, selected: one === value.name }, one)),
        ),
      ),
      h("span", { class: "lab-gap" }),
      ...events.map((event) => button(event, value[event])),
    );
  };
  watch("value", draw);
  draw();
};

register({ searchForm, chosenSearch, searchTools });
