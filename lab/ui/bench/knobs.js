// The bench's knobs: a form drawn from the option declarations. The design itself is decided on the server (lab.ui.bench.assessment).
import { followDesign, startingDraft } from "./address.js";
import { builtOn } from "./built_on.js";
import { OptionControls } from "./controls.js";
import { provideDraft, rememberPrint, shownPrints, writePath, writePaths } from "./draft.js";
import { furtherTasks } from "./further.js";
import { FetchLine, titleOf } from "./fetches.js";
import { infoMarks } from "./info_marks.js";
import { adders, selectionCard, trainingRows } from "./sections.js";
import { DesignHistory, stepOf } from "./undo.js";
import { h, icon } from "../shell/dom.js";
import { emit, listen } from "../shell/events.js";
import { register } from "../shell/parts.js";
import { typing } from "../shell/shortcuts.js";
import { parsedJson, storeDraft } from "../shell/storage.js";
import { byLanguage, LANGUAGE, say } from "../shell/words.js";

class Knobs extends OptionControls {
  constructor(element, props, server) {
    super();
    Object.assign(this, { element, props, server, schema: parsedJson(props.schemas[LANGUAGE]), seq: 0, reasons: {}, errors: {}, opened: new Set() });
    this.fetches = { model: new FetchLine(server, "model"), task: new FetchLine(server, "task") };
    this.doc = startingDraft(this.schema.start);
    this.history = new DesignHistory();
    this.was = structuredClone(this.doc);
    listen("answer", (answer) => this.answered(answer));
    element.addEventListener("focusin", (event) => this.explain(event.target));
    element.addEventListener("mouseover", (event) => this.explain(event.target));
    provideDraft(() => structuredClone(this.doc));
    listen("again", () => this.asking || this.ask());
    listen("preset", (name) => this.set("method", name));
    document.addEventListener("keydown", (event) => {
      const step = typing(event) ? "" : stepOf(event);
      if (!step) return;
      event.preventDefault();
      this.travel(step);
    });
    listen("settings", (values) => this.restack(() => writePaths(this.doc, values)));
    this.draw();
    this.send("");
  }

  // One question at a time: what is turned while it is under way goes into the next one.
  send(changed) {
    this.seq += 1;
    this.history.note(this.was, this.doc, changed);
    this.hold();
    this.changed = changed;
    if (!this.asking) this.ask();
  }

  // kept over a reload, and what Launch reads; what the address still asks for is not the design yet
  hold() {
    const { run, link, ...own } = this.doc;
    if (!run && !link) storeDraft(own);
    this.was = structuredClone(this.doc);
    this.props.value = structuredClone(this.doc);
  }

  // to the design before the last change, or back again
  travel(step) {
    const found = this.history[step](this.doc);
    if (!found) return;
    Object.assign(this, { doc: found, was: structuredClone(found), before: null });
    this.draw();
    this.send("");
  }

  async ask() {
    this.asking = true;
    let waits = true;
    while (waits) {
      const seq = this.seq;
      const draft = structuredClone(this.doc);
      try {
        const answer = await this.server.turn({ draft, seq, changed: this.changed, before: this.before, language: LANGUAGE, have: shownPrints() });
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
      const { run, link, ...own } = this.doc;
      if ((run || link) && !answer.refused) this.history.note(own, answer.document, "");
      Object.assign(this, { doc: answer.document, before: null });
      this.hold();
    }
    if (answer.refused || answer.exchange) this.notice = [answer.refused, answer.exchange].filter(Boolean).join(" ");
    else if (answer.seq !== undefined) this.notice = "";
    followDesign(answer.link);
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
      if (input && (hint !== undefined || "hint" in input.dataset)) {
        input.placeholder = hint ?? "";
        input.dataset.hint = "";
      }
    }
    this.element.querySelector(".lab-modified")?.toggleAttribute("hidden", !this.modified);
    const near = this.element.querySelector(".lab-near");
    if (near) near.textContent = this.near || "";
    const notice = this.element.querySelector(".lab-exchange");
    if (notice && notice.textContent !== (this.notice || "")) notice.textContent = this.notice || "";
    for (const step of ["undo", "redo"]) {
      const button = this.element.querySelector(`[data-step="${step}"]`);
      if (button) button.setAttribute("aria-disabled", String(!this.history[step === "undo" ? "past" : "next"].length));
    }
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
        whole && method.select ? selectionCard(this, method.select) : null,
        adders(this, whole ? method : null),
        h("section", { class: "lab-card" }, h("h3", {}, say("bench.training")), trainingRows(this)),
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
    const step = (name) =>
      h(
        "button",
        { type: "button", class: "lab-quiet", id: "knob-" + name, "data-step": name, title: say(`bench.${name}.help`), onclick: () => this.travel(name) },
        say("bench." + name),
      );
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
      h("p", { class: "lab-exchange", role: "status" }, this.notice || ""),
      h("div", { class: "lab-steps", role: "group", "aria-label": say("bench.steps") }, ["undo", "redo"].map(step)),
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
    if (path === "method") this.before = typeof this.doc.method === "object" ? this.doc.method : null;
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

  restack(change) {
    change(this.doc.method.deltas);
    this.draw();
    this.send("method.deltas");
  }
}

const knobForm = (element, props, server) => new Knobs(element, props, server);
register({ knobForm });
