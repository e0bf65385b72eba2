// The earlier runs whose adapters a run goes on from, or stands on: a list to choose one of, and one to choose several of.
import { h } from "../shell/dom.js";
import { byLanguage, say } from "../shell/words.js";

const about = (run) => [run.method, run.task].filter(Boolean).join(" · ");

const oneOf = (form, runs, chosen, path, id) =>
  h(
    "select",
    { id, onchange: (event) => form.set(path, event.target.value, true) },
    h("option", { value: "", selected: !chosen.length }, say("bench.group.none")),
    runs.map((run) => h("option", { value: run.name, selected: chosen.includes(run.name), title: about(run) }, run.title)),
  );

const severalOf = (form, runs, chosen, path, id) => {
  const turned = (name) => (chosen.includes(name) ? chosen.filter((one) => one !== name) : [...chosen, name]);
  return h(
    "span",
    { class: "lab-chips", role: "group", id },
    runs.map((run) =>
      h(
        "button",
        {
          type: "button",
          "data-choice": run.name,
          "data-help": about(run),
          title: about(run),
          "aria-pressed": String(chosen.includes(run.name)),
          onclick: () => form.set(path, turned(run.name), true),
        },
        run.title,
      ),
    ),
  );
};

// `form`: the knobs, with doc, schema (whose `runs` the server says), opened, row and set.
const runsRow = (form, field, own) => {
  const path = "built_on." + field.path;
  const id = "knob-" + path.replace(/\W/g, "-");
  const chosen = [].concat(own[field.path] || []);
  const known = form.schema.runs || [];
  const runs = [...chosen.filter((one) => !known.some((run) => run.name === one)).map((one) => ({ name: one, title: one })), ...known];
  const control = field.kind === "list" ? severalOf : oneOf;
  return h(
    "div",
    { class: "lab-row", "data-path": path, "data-help": byLanguage(field.help, field.help_zh) },
    h("label", { for: id }, byLanguage(field.label, field.zh)),
    runs.length ? control(form, runs, chosen, path, id) : h("span", { id, class: "lab-muted" }, say("bench.built_on.none")),
  );
};

export const builtOn = (form) => {
  const own = form.doc.built_on || {};
  const open = form.opened.has("built") || Boolean(own.start_from) || (own.stand_on || []).length > 0;
  return h(
    "details",
    { open, ontoggle: (event) => (event.target.open ? form.opened.add("built") : form.opened.delete("built")) },
    h("summary", {}, say("bench.built_on")),
    form.schema.built_on
      .filter((field) => field.path !== "start_head" || own.start_from)
      .map((field) => (field.path === "start_head" ? form.row(field, "built_on.start_head", own, {}) : runsRow(form, field, own))),
  );
};
