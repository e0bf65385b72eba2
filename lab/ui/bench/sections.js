// Cards of the bench's form besides those of its deltas: the model's own weights that train, what can be added, how it trains.
import { DEVICES, overDevices } from "./devices.js";
import { h, icon } from "../shell/dom.js";
import { say } from "../shell/words.js";

export const selectionCard = (knobs, select) => {
  const group = knobs.schema.selections[select.what] || { fields: [] };
  return h(
    "section",
    { class: "lab-card lab-delta" },
    h(
      "h3",
      {},
      h("span", { class: "lab-swatch" }),
      say("bench.select"),
      " ",
      h("span", { class: "lab-form" }, say("select." + select.what)),
      h("span", { class: "lab-gap" }),
      h(
        "button",
        {
          type: "button",
          class: "lab-icon",
          title: say("bench.remove"),
          "aria-label": say("bench.remove"),
          onclick: () => knobs.set("method.select", null, true),
        },
        icon("close"),
      ),
    ),
    h(
      "div",
      { class: "lab-row", "data-path": "method.select", "data-help": say("select." + select.what + ".help") },
      h("label", { for: "knob-select" }, say("bench.select.what")),
      h(
        "select",
        { id: "knob-select", onchange: (event) => knobs.set("method.select", { what: event.target.value }, true) },
        Object.keys(knobs.schema.selections).map((what) => h("option", { value: what, selected: what === select.what }, say("select." + what))),
      ),
    ),
    h("p", { class: "lab-told" }, say("select." + select.what + ".help")),
    group.fields.map((field) => knobs.row(field, "method.select." + field.path, select, {})),
  );
};

export const adders = (knobs, method) => {
  if (!method) return null;
  return h(
    "div",
    { class: "lab-adders" },
    h(
      "button",
      { type: "button", class: "lab-add", onclick: () => knobs.restack((d) => d.push(structuredClone(knobs.schema.fresh))) },
      "+ " + say("bench.add"),
    ),
    method.select
      ? null
      : h("button", { type: "button", class: "lab-add", onclick: () => knobs.set("method.select", { what: "bias" }, true) }, "+ " + say("bench.select.add")),
  );
};

export const trainingRows = (knobs) => {
  const elsewhere = ["temperature", ...DEVICES]; // beside the tasks that it is of, or not here
  const main = knobs.schema.training.filter((field) => knobs.schema.training_main.includes(field.path));
  const more = knobs.schema.training.filter((field) => !main.includes(field) && !elsewhere.includes(field.path));
  const row = (field) => knobs.row(field, "training." + field.path, knobs.doc.training, {});
  return [
    ...main.map(row),
    ...overDevices(knobs).map(row),
    ...knobs.schema.identity.map((field) => knobs.row(field, field.path, knobs.doc, {})),
    h(
      "details",
      { open: knobs.opened.has("training"), ontoggle: (event) => (event.target.open ? knobs.opened.add("training") : knobs.opened.delete("training")) },
      h("summary", {}, say("bench.more")),
      more.map(row),
    ),
  ];
};
