// One's own data: a file, what its columns mean, a preview from the server, and the tasks there are.
import { DataFields } from "./fields.js";
import { h, setHtml } from "../shell/dom.js";
import { emit, listen } from "../shell/events.js";
import { register } from "../shell/parts.js";
import { forgetText, keptText, storedOwnItem, storeOwnItem } from "../shell/storage.js";
import { LANGUAGE, say } from "../shell/words.js";

const KEY = "lab_data_1";
const FRESH = {
  upload: "",
  path: "",
  family: "",
  columns: {},
  max_length: 256,
  prompt: "",
  separator: "",
  turns: {},
  loss_on: "all",
  name: "",
  reading: {},
  spellings: "",
  labels: "",
  validation: "",
  test: "",
};
const HUB_KEY = "lab_data_hub_1";
const HUB = { hub: "", config: "", revision: "", splits: "", rows: "" };

const dataPreview = (element) => {
  const draw = ({ html = "", stale = false }) => {
    if (!stale) setHtml(element, html);
    element.classList.toggle("stale", stale);
  };
  draw({});
  listen("data-preview", draw);
};
const uploadRelay = (element, props, watch) => watch("value", () => props.value && emit("data-taken", props.value));

class Form extends DataFields {
  constructor(element, props, server) {
    super();
    Object.assign(this, {
      element,
      server,
      offers: props.offers[LANGUAGE],
      doc: { ...FRESH, ...(storedOwnItem(KEY) || {}) },
      form: null,
      errors: {},
      kept: "",
      source: 0,
      hub: { ...HUB, ...(storedOwnItem(HUB_KEY) || {}) },
      brought: [],
    });
    const measures = this.offers.measures.map(([name]) => name);
    if (!measures.includes(this.doc.measure)) this.doc.measure = measures[0];
    listen("data-taken", (outcome) => (outcome.upload ? this.open({ upload: outcome.upload }) : this.refuse(outcome.wrong)));
    this.draw();
    if (this.doc.upload || this.doc.path) this.ask(true);
  }

  // another file: what was said about the last one is forgotten
  open(source, brought = []) {
    this.kept = "";
    forgetText("data-path");
    this.brought = brought;
    this.form = null;
    this.doc = { ...FRESH, measure: this.doc.measure, max_length: this.doc.max_length, ...source };
    this.ask();
  }

  refuse(sentence) {
    this.leave();
    Object.assign(this, { form: null, errors: { file: [sentence] }, kept: "" });
    this.doc = { ...FRESH, measure: this.doc.measure };
    storeOwnItem(KEY, null);
    emit("data-preview", {});
    this.draw();
  }

  // no more is asked about the file that is shown
  leave() {
    clearTimeout(this.timer);
    this.again = false;
    this.source += 1;
  }

  set(change) {
    Object.assign(this.doc, change);
    this.ask();
  }

  later() {
    storeOwnItem(KEY, this.doc); // at once: what is typed outlasts a reload
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.ask(), 350);
  }

  // one question at a time; what is changed meanwhile goes into the next one
  async ask(first = false) {
    clearTimeout(this.timer);
    this.again = true;
    if (this.asking) return;
    this.asking = true;
    while (this.again) {
      this.again = false;
      storeOwnItem(KEY, this.doc);
      emit("data-preview", { stale: true });
      let found;
      const source = this.source;
      try {
        found = await this.server.look({ ...this.doc, language: LANGUAGE });
      } catch {
        found = { form: this.form, html: "", errors: [["file", say("bench.lost")]] };
      }
      if (this.again) continue;
      if (source !== this.source) break; // imported or refused meanwhile: that file is not asked about any more
      if (first && !found.form) {
        this.asking = false;
        return this.refuse("");
      } // an upload of another day
      first = false;
      this.show(found);
    }
    this.asking = false;
  }

  show(found) {
    this.errors = {};
    for (const [field, sentence] of found.errors) (this.errors[this.place(field)] = this.errors[this.place(field)] || []).push(sentence);
    this.form = found.form;
    if (this.form && !this.doc.name) {
      this.doc.name = this.form.name;
      storeOwnItem(KEY, this.doc);
    }
    this.ready = Boolean(found.html) && !found.errors.length;
    emit("data-preview", { html: found.html });
    this.draw();
  }

  // the field of this form that an error is about
  place(field) {
    const known = [
      "family",
      "max_length",
      "prompt",
      "separator",
      "loss_on",
      "name",
      "measure",
      "encoding",
      "delimiter",
      "header",
      "spellings",
      "labels",
      "validation",
      "test",
      "hub",
      ...Object.keys(this.doc.columns).map((role) => "columns." + role),
    ];
    if (known.includes(field) || field.startsWith("columns.")) return field;
    if (field.startsWith("turns")) return "turns";
    return field === "columns" ? "family" : "file";
  }

  keepHub() {
    storeOwnItem(HUB_KEY, this.hub);
  }

  // rows of the hub, which then are like an upload
  async bring() {
    if (this.bringing) return;
    this.errors = {};
    this.bringing = true;
    this.draw();
    const found = await this.server.bring({ ...this.hub, language: LANGUAGE }).catch(() => ({ errors: [["hub", say("bench.lost")]] }));
    this.bringing = false;
    if (!found.errors) {
      this.hub = { ...HUB };
      storeOwnItem(HUB_KEY, null);
      return this.open({ upload: found.upload }, found.notes);
    }
    this.errors = { hub: found.errors.map(([, sentence]) => sentence) };
    this.draw();
  }

  // one at a time; the button says so meanwhile
  async import() {
    if (this.importing) return;
    clearTimeout(this.timer);
    const { doc } = this;
    this.importing = true;
    this.draw();
    const found = await this.server.keep({ ...doc, language: LANGUAGE }).catch(() => ({ errors: [["file", say("bench.lost")]] }));
    this.importing = false;
    if (!found.errors) emit("data-tasks");
    if (this.doc !== doc) return; // another file was opened meanwhile, and is not asked about this one
    if (found.errors) return this.show({ form: this.form, html: "", errors: found.errors });
    this.doc = { ...FRESH, measure: doc.measure };
    this.leave();
    Object.assign(this, { form: null, errors: {}, kept: found.html });
    storeOwnItem(KEY, null);
    emit("data-preview", {});
    this.draw();
  }

  draw() {
    const focused = document.activeElement && document.activeElement.id;
    const path = h("input", { id: "data-path", type: "text", value: this.doc.path, spellcheck: "false", autocomplete: "off", placeholder: "…/reviews.csv" });
    keptText(path, "data-path");
    const read = () => path.value.trim() && this.open({ path: path.value.trim() });
    const door = h(
      "form",
      {
        class: "lab-axis lab-door",
        onsubmit: (event) => {
          event.preventDefault();
          read();
        },
      },
      path,
      h("button", { type: "submit", class: "lab-button" }, say("data.read")),
    );
    const parts = [h("p", { class: "lab-muted" }, say("data.formats")), this.field("file", "data.path", door, "data.path.help", "data-path")];
    if (this.kept) {
      const notice = h("div", {});
      setHtml(notice, this.kept);
      parts.unshift(notice);
    }
    parts.push(this.fromHub());
    if (this.doc.upload || this.doc.path) parts.push(this.readings());
    if (this.form) parts.push(...this.fields());
    this.element.replaceChildren(...parts);
    if (focused) document.getElementById(focused)?.focus({ preventScroll: true });
  }
}

const dataForm = (element, props, server) => new Form(element, props, server);

register({ dataPreview, uploadRelay, dataForm });
