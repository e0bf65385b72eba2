// The bench's knobs: a form drawn from the option declarations. The design itself is decided on the server (lab.ui.bench.assessment).
import { builtOn } from "./built_on.js";
import { OptionControls } from "./controls.js";
import { DEVICES, overDevices } from "./devices.js";
import { provideDraft, rememberPrint, shownPrints, writePath, writePaths } from "./draft.js";
import { furtherTasks } from "./further.js";
import { FetchLine, titleOf } from "./fetches.js";
import { infoMarks } from "./info_marks.js";
import { h, icon } from "../shell/dom.js";
import { emit, listen } from "../shell/events.js";
import { register } from "../shell/parts.js";
import { DRAFT, parsedJson, setAddress, storedItem, storeItem } from "../shell/storage.js";
import { byLanguage, LANGUAGE, say } from "../shell/words.js";

class Knobs extends OptionControls {
  constructor(element, props, server) {
    super();
    Object.assign(this, { element, props, server, schema: parsedJson(props.schemas[LANGUAGE]), seq: 0, reasons: {}, errors: {}, opened: new Set() });
    this.fetches = { model: new FetchLine(server, "model"), task: new FetchLine(server, "task") };
    const asked = new URL(location.href).searchParams;
    const kept = storedItem(DRAFT);
    this.doc = kept && kept.method && kept.model ? kept : structuredClone(this.schema.start);
    for (const part of ["model", "task", "method"]) if (asked.get(part)) this.doc[part] = asked.get(part);
    if (asked.get("run")) this.doc = { ...this.doc, run: asked.get("run") };
    if ([...asked.keys()].some((key) => key !== "__theme")) setAddress({ run: "", model: "", task: "", method: "" });
    listen("answer", (answer) => this.answered(answer));
    element.addEventListener("focusin", (event) => this.explain(event.target));
    element.addEventListener("mouseover", (event) => this.explain(event.target));
    provideDraft(() => structuredClone(this.doc));
    listen("again", () => this.asking || this.ask());
    listen("preset", (name) => this.set("method", name));
    listen("settings", (values) => this.restack(() => writePaths(this.doc, values)));
    this.draw();
    this.send("");
  }

  // One question at a time: what is turned while it is under way goes into the next one.
  send(changed) {
    this.seq += 1;
    this.hold();
    this.changed = changed;
    if (!this.asking) this.ask();
  }

  // kept over a reload, and what Launch reads
  hold() {
    storeItem(DRAFT, this.doc);
    this.props.value = structuredClone(this.doc);
  }

  async ask() {
    this.asking = true;
    let waits = true;
    while (waits) {
      const seq = this.seq;
      const draft = structuredClone(this.doc);
      try {
        const answer = await this.server.turn({ draft, seq, changed: this.changed, language: LANGUAGE, have: shownPrints() });
        emit("answer", answer);
      } catch {
        emit("unanswered");
      }
      waits = seq !== this.seq;
    }
    this.asking = false;
    emit("settled", this.doc);
  }

  set(path, value, redraw = false) {
    writePath(this.doc, path, value);
    if (redraw) this.draw();
    this.send(path);
  }

  // {seq, document?, reasons, errors: [[field, sentence]], modified, notes, hints}
  answered(answer) {
    if (!answer || (answer.seq !== undefined && answer.seq < this.seq)) return;
    if (answer.document) {
      this.doc = answer.document;
      this.hold();
    }
    Object.assign(this, { reasons: answer.reasons || {}, errors: {}, hints: answer.hints || {} });
    for (const [field, line] of Object.entries(this.fetches)) line.take((answer.there || {})[field] || null);
    for (const [field, sentence] of answer.errors) (this.errors[field] = this.errors[field] || []).push(sentence);
    Object.assign(this, { modified: answer.modified, near: answer.near || "" });
    const own = (answer.parts || {}).own;
    if (own) {
      rememberPrint("own", own[0]);
      this.schema.runs = own[1].runs || [];
      for (const kind of ["methods", "tasks"])
        this.schema[kind] = [...this.schema[kind].filter((one) => !one.own), ...own[1][kind].map((one) => ({ ...one, own: true }))];
      this.schema.models.forEach((one) => (one.there = own[1].there.models[one.name]));
      this.schema.tasks.forEach((one) => (one.there = own[1].there.tasks[one.name]));
      this.draw();
    }
    if (answer.document) this.draw();
    else this.mark();
  }

  // errors at their fields and choices that cannot be combined, without touching what has the focus
  mark() {
    for (const row of this.element.querySelectorAll("[data-path]")) {
      const path = row.dataset.path;
      const wrong = this.errors[path] || [];
      row.classList.toggle("wrong", wrong.length > 0);
      row.querySelectorAll("input,select,textarea").forEach((control) => control.setAttribute("aria-invalid", wrong.length > 0));
      let note = row.querySelector(":scope > .lab-wrong");
      if (wrong.length && !note) row.append((note = h("p", { class: "lab-wrong", role: "alert" })));
      if (note) wrong.length ? (note.textContent = wrong.join(" ")) : note.remove();
      const reasons = this.reasons[path] || {};
      row.querySelectorAll("option").forEach((o) => {
        o.disabled = o.value in reasons && !o.selected;
        o.title = reasons[o.value] || "";
      });
      row.querySelectorAll("[data-choice]").forEach((chip) => {
        const why = reasons[chip.dataset.choice];
        const unfit = Boolean(why) && chip.getAttribute("aria-pressed") !== "true";
        chip.classList.toggle("unfit", unfit);
        chip.setAttribute("aria-disabled", String(unfit));
        chip.title = why || chip.dataset.help || "";
      });
      const input = row.querySelector("input");
      const hint = (this.hints || {})[path];
      if (input && hint !== undefined) input.placeholder = hint;
    }
    this.element.querySelector(".lab-modified")?.toggleAttribute("hidden", !this.modified);
    const near = this.element.querySelector(".lab-near");
    if (near) near.textContent = this.near || "";
  }

  draw() {
    const scrolled = this.element.querySelector(".lab-knobs")?.scrollTop || 0;
    const focused = document.activeElement?.id;
    const method = this.doc.method;
    const whole = typeof method === "object" && method !== null;
    const deltas = whole ? method.deltas.map((delta, index) => this.card(delta, index)) : [];
    this.element.replaceChildren(
      h(
        "div",
        { class: "lab-knobs" },
        h("section", { class: "lab-card", "aria-label": say("bench.what") }, this.pickers()),
        ...deltas,
        whole && method.select ? this.selection(method.select) : null,
        this.adders(whole ? method : null),
        h("section", { class: "lab-card" }, h("h3", {}, say("bench.training")), this.training()),
      ),
      h("p", { class: "lab-help", "aria-live": "off" }, say("bench.help")),
    );
    this.element.querySelector(".lab-knobs").scrollTop = scrolled;
    if (focused) document.getElementById(focused)?.focus({ preventScroll: true });
    infoMarks(this);
    this.mark();
  }

  pickers() {
    const method = typeof this.doc.method === "string" ? this.doc.method : this.doc.method.preset || "";
    const badge = h(
      "span",
      { class: "lab-modified", hidden: true },
      say("bench.modified"),
      " ",
      h("button", { type: "button", class: "lab-link", onclick: () => this.set("method", method) }, say("bench.reset")),
    );
    return [
      this.grouped("model", this.schema.models, this.doc.model, say("bench.model"), say("bench.model.help"), true),
      this.fetches.model.node,
      this.grouped("task", this.schema.tasks, this.doc.task, say("bench.task"), say("bench.task.help"), true),
      this.fetches.task.node,
      ...furtherTasks(this),
      this.grouped("method", this.schema.methods, method, say("bench.method"), say("bench.method.help"), false),
      badge,
      builtOn(this),
      h("p", { class: "lab-near", "aria-live": "polite" }, this.near || ""),
    ];
  }

  grouped(path, items, value, label, help, free) {
    const groups = new Map();
    for (const item of items) groups.set(item.group, [...(groups.get(item.group) || []), item]);
    const known = items.some((item) => item.name === value);
    const select = h(
      "select",
      { id: "knob-" + path.replace(/\W/g, "-"), onchange: (event) => this.choose(path, event.target.value) },
      !known && value ? h("option", { value, selected: true }, value) : null,
      [...groups].map(([group, members]) =>
        h(
          "optgroup",
          { label: group },
          members.map((item) => h("option", { value: item.name, selected: item.name === value, title: item.help || "" }, titleOf(item))),
        ),
      ),
      free ? h("option", { value: "\u0000other" }, say("bench.other")) : null,
    );
    const chosen = items.find((item) => item.name === value);
    return h("div", { class: "lab-pick", "data-path": path, "data-help": (chosen && chosen.help) || help }, h("label", { for: select.id }, label), select);
  }

  choose(path, value) {
    if (value !== "\u0000other") return this.set(path, value);
    const old = this.element.querySelector("#knob-" + path);
    const kept = this.doc[path];
    const input = h("input", { id: old.id, type: "text", placeholder: say("bench." + path + ".other"), maxlength: 500, spellcheck: "false" });
    input.addEventListener("change", () => {
      this.set(path, input.value.trim() || kept, true);
    });
    old.replaceWith(input);
    input.focus();
  }

  card(delta, index) {
    const form = this.schema.forms[delta.form] || {};
    const base = `method.deltas.${index}.`;
    const fits = (field) => this.fits(field, delta, form);
    const main = this.schema.main.map((name) => this.field(name)).filter((field) => field && fits(field));
    const more = this.schema.delta.filter((field) => !this.schema.main.includes(field.path) && fits(field));
    const open = this.opened.has(index) || more.some((field) => this.errors[base + field.path]);
    const row = (field) => this.row(field, base + field.path, delta, form);
    const several = this.doc.method.deltas.length;
    return h(
      "section",
      { class: "lab-card lab-delta", "aria-label": `Δ${index + 1}` },
      h(
        "h3",
        {},
        h("span", { class: "lab-swatch" }),
        `Δ${several > 1 ? index + 1 : ""} `,
        h("span", { class: "lab-form" }, byLanguage(form.label, form.label_zh)),
        h("span", { class: "lab-gap" }),
        h(
          "button",
          {
            type: "button",
            class: "lab-icon",
            title: say("bench.duplicate"),
            "aria-label": say("bench.duplicate"),
            onclick: () => this.restack((d) => d.splice(index + 1, 0, structuredClone(d[index]))),
          },
          icon("copy"),
        ),
        h(
          "button",
          {
            type: "button",
            class: "lab-icon",
            title: say("bench.remove"),
            "aria-label": say("bench.remove"),
            onclick: () => this.restack((d) => d.splice(index, 1)),
          },
          icon("close"),
        ),
      ),
      main.map(row),
      this.groups(delta, base),
      h(
        "details",
        { open, ontoggle: (event) => (event.target.open ? this.opened.add(index) : this.opened.delete(index)) },
        h("summary", {}, say("bench.more")),
        more.map(row),
        Object.keys(this.schema.groups)
          .filter((name) => !delta[name] && Object.values(this.schema.groups[name]).some((one) => one.forms.includes(delta.form)))
          .map((name) => this.group(name, delta, base)),
      ),
    );
  }

  // schedule and allocation: which, and its numbers; a form that cannot have one does not offer it
  groups(delta, base) {
    const chosen = Object.keys(this.schema.groups).filter((name) => delta[name]);
    return chosen.map((name) =>
      h(
        "div",
        { class: "lab-group" },
        this.group(name, delta, base),
        ((this.schema.groups[name][delta[name].name] || {}).fields || []).map((field) => this.row(field, `${base}${name}.${field.path}`, delta[name], {})),
      ),
    );
  }

  group(name, delta, base) {
    const path = base + name;
    const id = "knob-" + path.replace(/\W/g, "-");
    const now = (delta[name] || {}).name || "";
    return h(
      "div",
      { class: "lab-row", "data-path": path, "data-help": say("bench." + name + ".help") },
      h("label", { for: id }, say("bench." + name)),
      h(
        "select",
        { id, onchange: (event) => this.set(path, event.target.value ? { name: event.target.value } : null) },
        h("option", { value: "", selected: !now }, say("bench.group.none")),
        Object.entries(this.schema.groups[name]).map(([one, { label }]) => h("option", { value: one, selected: one === now }, byLanguage(...label))),
      ),
    );
  }

  fits(field, delta, form) {
    const name = field.path;
    if (this.schema.own.includes(name))
      return (form.options || []).includes(name) && (name !== "encoder_width" || delta.encoder !== "none") && (name !== "rank_scaling" || delta.alpha !== null);
    if (name === "rank") return form.has_rank;
    if (name === "init_rows") return [delta.init, (delta.allocation || {}).name].some((one) => this.schema.looks.includes(one));
    if (name === "nonlinearity") return (form.nonlinearities || []).length > 1;
    if (name === "insertion") return (form.insertions || []).length > 1;
    if (this.unread(name, this.schema.compositions, delta.composition)) return false;
    if (name === "scale") return delta.alpha === null;
    if (name === "scale_start") return delta.scale === "learned";
    if (name === "x") return !(this.schema.insertions[delta.insertion] || {}).reads_h;
    if (name === "stacks")
      return Boolean(delta.stacks) || !["encoder", "decoder"].includes((this.schema.models.find((model) => model.name === this.doc.model) || {}).kind);
    return true;
  }

  field(name) {
    return this.schema.delta.find((field) => field.path === name);
  }

  selection(select) {
    const group = this.schema.selections[select.what] || { fields: [] };
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
            onclick: () => this.set("method.select", null, true),
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
          { id: "knob-select", onchange: (event) => this.set("method.select", { what: event.target.value }, true) },
          Object.keys(this.schema.selections).map((what) => h("option", { value: what, selected: what === select.what }, say("select." + what))),
        ),
      ),
      h("p", { class: "lab-told" }, say("select." + select.what + ".help")),
      group.fields.map((field) => this.row(field, "method.select." + field.path, select, {})),
    );
  }

  adders(method) {
    if (!method) return null;
    return h(
      "div",
      { class: "lab-adders" },
      h(
        "button",
        { type: "button", class: "lab-add", onclick: () => this.restack((d) => d.push(structuredClone(this.schema.fresh))) },
        "+ " + say("bench.add"),
      ),
      method.select
        ? null
        : h("button", { type: "button", class: "lab-add", onclick: () => this.set("method.select", { what: "bias" }, true) }, "+ " + say("bench.select.add")),
    );
  }

  restack(change) {
    change(this.doc.method.deltas);
    this.draw();
    this.send("method.deltas");
  }

  training() {
    const elsewhere = ["temperature", ...DEVICES]; // beside the tasks that it is of, or not here
    const main = this.schema.training.filter((field) => this.schema.training_main.includes(field.path));
    const more = this.schema.training.filter((field) => !main.includes(field) && !elsewhere.includes(field.path));
    const row = (field) => this.row(field, "training." + field.path, this.doc.training, {});
    return [
      ...main.map(row),
      ...overDevices(this).map(row),
      ...this.schema.identity.map((field) => this.row(field, field.path, this.doc, {})),
      h(
        "details",
        { open: this.opened.has("training"), ontoggle: (event) => (event.target.open ? this.opened.add("training") : this.opened.delete("training")) },
        h("summary", {}, say("bench.more")),
        more.map(row),
      ),
    ];
  }
}

const knobForm = (element, props, server) => new Knobs(element, props, server);
register({ knobForm });
