// One's own data: a file, what its columns mean, a preview from the server, and the tasks there are.
(function () {
  const Lab = (window.Lab = window.Lab || {});
  const { h, say } = Lab;
  const KEY = "lab_data_1", FRESH = { upload: "", path: "", family: "", columns: {}, max_length: 256, prompt: "", separator: "", turns: {}, loss_on: "all", name: "", reading: {}, spellings: "", labels: "", validation: "", test: "" };
  const READING = { encoding: ["utf-8", "utf-16", "gb18030", "big5", "shift_jis", "euc_jp", "euc_kr", "cp1250", "cp1251", "cp1252", "latin-1"], delimiter: [",", ";", "\t", "|"], header: ["names", "data"] };
  const HUB = { hub: "", config: "", revision: "", splits: "", rows: "" };
  const OTHER = "\u0000other";

  Lab.dataShown = (element) => {
    const draw = ({ html = "", stale = false }) => { if (!stale) Lab.fill(element, html); element.classList.toggle("stale", stale); };
    draw({});
    Lab.on("data-preview", draw);
  };
  Lab.dataTaken = (element, props, watch) => watch("value", () => props.value && Lab.emit("data-taken", props.value));

  class Form {
    constructor(element, props, server) {
      Object.assign(this, { element, server, offers: props.offers[Lab.language], doc: { ...FRESH, ...(Lab.kept(KEY) || {}) }, form: null, errors: {}, kept: "", source: 0, hub: { ...HUB }, brought: [] });
      const measures = this.offers.measures.map(([name]) => name);
      if (!measures.includes(this.doc.measure)) this.doc.measure = measures[0];
      Lab.on("data-taken", (told) => told.upload ? this.open({ upload: told.upload }) : this.refuse(told.wrong));
      this.draw();
      if (this.doc.upload || this.doc.path) this.ask(true);
    }

    // another file: what was said about the last one is forgotten
    open(source, brought = []) {
      this.kept = "";
      this.brought = brought;
      this.form = null;
      this.doc = { ...FRESH, measure: this.doc.measure, max_length: this.doc.max_length, ...source };
      this.ask();
    }

    refuse(sentence) {
      this.leave();
      Object.assign(this, { form: null, errors: { file: [sentence] }, kept: "" });
      this.doc = { ...FRESH, measure: this.doc.measure };
      Lab.keep(KEY, null);
      Lab.emit("data-preview", {});
      this.draw();
    }

    // no more is asked about the file that is shown
    leave() { clearTimeout(this.timer); this.again = false; this.source += 1; }

    set(change) { Object.assign(this.doc, change); this.ask(); }

    later() { clearTimeout(this.timer); this.timer = setTimeout(() => this.ask(), 350); }

    // one question at a time; what is changed meanwhile goes into the next one
    async ask(first = false) {
      clearTimeout(this.timer);
      this.again = true;
      if (this.asking) return;
      this.asking = true;
      while (this.again) {
        this.again = false;
        Lab.keep(KEY, this.doc);
        Lab.emit("data-preview", { stale: true });
        let found;
        const source = this.source;
        try { found = await this.server.look({ ...this.doc, language: Lab.language }); } catch { found = { form: this.form, html: "", errors: [["file", say("bench.lost")]] }; }
        if (this.again) continue;
        if (source !== this.source) break; // imported or refused meanwhile: that file is not asked about any more
        if (first && !found.form) { this.asking = false; return this.refuse(""); } // an upload of another day
        first = false;
        this.show(found);
      }
      this.asking = false;
    }

    show(found) {
      this.errors = {};
      for (const [field, sentence] of found.errors) (this.errors[this.place(field)] = this.errors[this.place(field)] || []).push(sentence);
      this.form = found.form;
      if (this.form && !this.doc.name) { this.doc.name = this.form.name; Lab.keep(KEY, this.doc); }
      this.ready = Boolean(found.html) && !found.errors.length;
      Lab.emit("data-preview", { html: found.html });
      this.draw();
    }

    // the field of this form that an error is about
    place(field) {
      const known = ["family", "max_length", "prompt", "separator", "loss_on", "name", "measure", "encoding", "delimiter", "header", "spellings", "labels", "validation", "test", "hub", ...Object.keys(this.doc.columns).map((role) => "columns." + role)];
      if (known.includes(field) || field.startsWith("columns.")) return field;
      if (field.startsWith("turns")) return "turns";
      return field === "columns" ? "family" : "file";
    }

    // rows of the hub, which then are like an upload
    async bring() {
      this.errors = {};
      this.bringing = true;
      this.draw();
      const found = await this.server.bring({ ...this.hub, language: Lab.language }).catch(() => ({ errors: [["hub", say("bench.lost")]] }));
      this.bringing = false;
      if (!found.errors) return this.open({ upload: found.upload }, found.notes);
      this.errors = { hub: found.errors.map(([, sentence]) => sentence) };
      this.draw();
    }

    async import() {
      clearTimeout(this.timer);
      const found = await this.server.keep({ ...this.doc, language: Lab.language }).catch(() => ({ errors: [["file", say("bench.lost")]] }));
      if (found.errors) return this.show({ form: this.form, html: "", errors: found.errors });
      this.doc = { ...FRESH, measure: this.doc.measure };
      this.leave();
      Object.assign(this, { form: null, errors: {}, kept: found.html });
      Lab.keep(KEY, null);
      Lab.emit("data-preview", {});
      Lab.emit("data-tasks");
      this.draw();
    }

    draw() {
      const focused = document.activeElement && document.activeElement.id;
      const path = h("input", { id: "data-path", type: "text", value: this.doc.path, spellcheck: "false", autocomplete: "off", placeholder: "…/reviews.csv" });
      const read = () => path.value.trim() && this.open({ path: path.value.trim() });
      const door = h("form", { class: "lab-axis lab-door", onsubmit: (event) => { event.preventDefault(); read(); } }, path, h("button", { type: "submit", class: "lab-button" }, say("data.read")));
      const parts = [h("p", { class: "lab-muted" }, say("data.formats")), this.field("file", "data.path", door, "data.path.help", "data-path")];
      if (this.kept) { const said = h("div", {}); Lab.fill(said, this.kept); parts.unshift(said); }
      parts.push(this.fromHub());
      if (this.doc.upload || this.doc.path) parts.push(this.readings());
      if (this.form) parts.push(...this.fields());
      this.element.replaceChildren(...parts);
      if (focused) document.getElementById(focused)?.focus({ preventScroll: true });
    }

    field(name, label, control, help, id) {
      const wrong = this.errors[name] || [];
      control.querySelectorAll("input,select,textarea").forEach((one) => one.setAttribute("aria-invalid", wrong.length > 0));
      return h("div", { class: "lab-field" + (wrong.length ? " wrong" : ""), "data-field": name }, h("label", { for: id }, label.includes(".") ? say(label) : label), control,
        wrong.length ? h("p", { class: "lab-wrong", role: "alert" }, wrong.join(" ")) : null, help ? h("small", {}, say(help)) : null);
    }

    choice(id, options, now, change) {
      return h("span", { class: "lab-whole" }, h("select", { id, onchange: (event) => change(event.target.value) }, options.map(([value, title]) => h("option", { value, selected: value === now }, title))));
    }

    input(id, value, change) {
      return h("span", { class: "lab-whole" }, h("input", { id, type: "text", spellcheck: "false", autocomplete: "off", value, oninput: (event) => change(event.target.value.trim()) }));
    }

    fromHub() {
      const { hub } = this, put = (name) => (value) => { hub[name] = value; };
      const splits = h("textarea", { id: "data-hub-splits", rows: 2, placeholder: "train=train", oninput: (event) => { hub.splits = event.target.value; } }, hub.splits);
      return h("details", { class: "lab-hub", open: Boolean(this.errors.hub) || Boolean(this.bringing) || Boolean(this.opened), ontoggle: (event) => { this.opened = event.target.open; } }, h("summary", {}, say("data.fromhub")),
        this.field("hub", "data.hubid", this.input("data-hub", hub.hub, put("hub")), "", "data-hub"),
        h("div", { class: "lab-two" }, this.field("config", "data.config", this.input("data-hub-config", hub.config, put("config")), "", "data-hub-config"),
          this.field("revision", "data.revision", this.input("data-hub-revision", hub.revision, put("revision")), "", "data-hub-revision")),
        this.field("splits", "data.hubsplits", h("span", { class: "lab-whole" }, splits), "data.hubsplits.help", "data-hub-splits"),
        this.field("rows", "data.hubrows", this.input("data-hub-rows", hub.rows, put("rows")), "", "data-hub-rows"),
        h("button", { type: "button", class: "lab-button", id: "data-bring", disabled: Boolean(this.bringing), onclick: () => this.bring() }, say("data.bring")));
    }

    // what the reader decides by content, to be decided by a person; open where it asks
    readings() {
      const { doc, errors } = this;
      const one = (name, titles) => this.field(name, "data." + name, this.choice("data-" + name, [["", say("data.auto")], ...READING[name].map((value) => [value, titles ? titles(value) : value])], doc.reading[name] || "",
        (value) => this.set({ reading: { ...doc.reading, [name]: value } })), "", "data-" + name);
      const file = (name) => this.field(name, "data." + name, this.input("data-" + name, doc[name], (value) => { doc[name] = value; this.later(); }), "", "data-" + name);
      const asked = ["encoding", "delimiter", "header"].some((name) => errors[name]) || Object.values(doc.reading).some(Boolean);
      const notes = this.brought.length ? h("ul", { class: "lab-notes" }, this.brought.map((note) => h("li", {}, note))) : null;
      return h("div", {}, notes, h("details", { class: "lab-reading", open: asked }, h("summary", {}, say("data.reading")),
        one("header", (value) => say("data.header." + value)), h("div", { class: "lab-two" }, one("encoding"), one("delimiter", (value) => (value === "\t" ? say("data.tab") : value)))),
        doc.path ? h("details", { class: "lab-others", open: Boolean(doc.validation || doc.test || errors.validation || errors.test) }, h("summary", {}, say("data.others")), file("validation"), file("test"), h("small", {}, say("data.others.help"))) : null);
    }

    // names of the classes, and what to do with spellings that are nearly the same
    classes() {
      const { doc, form, errors } = this;
      if (form.family !== "classification" && form.family !== "multi_label") return [];
      const near = ["", "merge", "apart"].map((value) => [value, say("data.spellings." + (value || "ask"))]);
      const labels = h("textarea", { id: "data-labels", rows: 3, placeholder: form.labels.slice(0, 8).join("\n"), oninput: (event) => { doc.labels = event.target.value; this.later(); } }, doc.labels);
      return [
        errors.spellings || doc.spellings ? this.field("spellings", "data.spellings", this.choice("data-spellings", near, doc.spellings, (value) => this.set({ spellings: value })), "", "data-spellings") : null,
        h("details", { class: "lab-names", open: Boolean(doc.labels) || Boolean(errors.labels) }, h("summary", {}, say("data.given")), this.field("labels", "data.given", h("span", { class: "lab-whole" }, labels), "data.given.help", "data-labels")),
      ];
    }

    fields() {
      const { form, doc } = this, size = `${form.file} · ${this.bytes(form.bytes)}`;
      const family = h("select", { id: "data-family", onchange: (event) => this.set({ family: event.target.value, columns: {}, prompt: "", separator: "", turns: {}, spellings: "", labels: "" }) },
        this.offers.families.map(([name, title]) => h("option", { value: name, selected: name === form.family }, title)));
      const length = h("input", { id: "data-length", type: "text", inputmode: "numeric", value: String(doc.max_length), oninput: (event) => { doc.max_length = event.target.value.trim(); this.later(); } });
      const measure = h("select", { id: "data-measure", onchange: (event) => this.set({ measure: event.target.value }) },
        this.offers.measures.map(([name, title]) => h("option", { value: name, selected: name === doc.measure }, title)));
      const prompt = h("textarea", { id: "data-prompt", rows: 3, maxlength: 20000, placeholder: form.prompt, oninput: (event) => { doc.prompt = event.target.value; this.later(); } }, doc.prompt);
      const separator = h("input", { id: "data-separator", type: "text", maxlength: 8, spellcheck: "false", autocomplete: "off", placeholder: ";", value: doc.separator, oninput: (event) => { doc.separator = event.target.value; this.later(); } });
      const name = h("input", { id: "data-name", type: "text", maxlength: 60, spellcheck: "false", autocomplete: "off", value: doc.name, oninput: (event) => { doc.name = event.target.value.trim(); this.later(); } });
      const wrap = (node) => h("span", { class: "lab-whole" }, node);
      return [
        h("h3", { class: "lab-chosen-file" }, size),
        this.field("family", "data.family", wrap(family), "data.family.help", "data-family"),
        ...form.roles.map(([role, needed]) => this.role(role, needed)),
        ...this.classes(),
        ...(form.family === "instruction" ? this.chat() : []),
        form.family === "multi_label" ? this.field("separator", "data.separator", wrap(separator), "data.separator.help", "data-separator") : null,
        h("div", { class: "lab-two" }, this.field("max_length", "data.longest", wrap(length), "", "data-length"), this.field("measure", "data.measure", wrap(measure), "", "data-measure")),
        ["language_modelling", "regression", "multi_label"].includes(form.family) ? null : h("details", { open: Boolean(doc.prompt) || Boolean(this.errors.prompt) }, h("summary", {}, say("data.prompt")), this.field("prompt", "data.prompt.label", wrap(prompt), "data.prompt.help", "data-prompt")),
        this.field("name", "data.name", wrap(name), "data.name.help", "data-name"),
        h("button", { type: "button", class: "lab-cta", id: "data-import", disabled: !this.ready, onclick: () => this.import() }, say("data.import")),
      ].filter(Boolean);
    }

    // which column a role is; "other" takes several columns in one, as in {context} {question}
    role(role, needed) {
      const { form } = this, now = form.chosen[role] || "", id = "data-column-" + role;
      const put = (column) => {
        const columns = { ...form.chosen };
        column ? (columns[role] = column) : delete columns[role];
        this.set({ family: form.family, columns, turns: {} });
      };
      const box = h("span", { class: "lab-whole" });
      const select = h("select", { id, onchange: (event) => {
        if (event.target.value !== OTHER) return put(event.target.value);
        const input = h("input", { id, type: "text", value: now, placeholder: "{a} {b}", spellcheck: "false", onchange: () => put(input.value.trim()) });
        box.replaceChildren(input);
        input.focus();
      } }, needed && now ? null : h("option", { value: "", selected: !now }, say("data.none")),
        [...new Set([...form.columns, now])].filter(Boolean).map((column) => h("option", { value: column, selected: column === now }, column)), h("option", { value: OTHER }, say("bench.other")));
      box.append(select);
      return this.field("columns." + role, say("role." + role), box, "", id);
    }

    // how conversations are written: which keys are speaker and text, which role each speaker has, which answers are learned
    chat() {
      const { form, doc } = this, turns = form.turns || { speakers: {} };
      const put = (change) => this.set({ family: form.family, columns: form.chosen, turns: { ...turns, ...change } });
      const choice = (id, now, values, change) => h("span", { class: "lab-whole" }, h("select", { id, onchange: (event) => change(event.target.value) },
        values.map(([value, title]) => h("option", { value, selected: value === now }, title))));
      const keys = (name) => choice("data-turn-" + name, turns[name], [...new Set([turns[name], ...form.keys])].filter(Boolean).map((key) => [key, key]), (key) => put({ [name]: key, ...(name === "role" ? { speakers: {} } : {}) }));
      const roles = ["user", "assistant", "system", "tool", "call", "ignore"].map((role) => [role, say("speaker." + role)]);
      const speakers = Object.entries(turns.speakers).slice(0, 30).map(([name, role], place) => h("tr", {}, h("th", { scope: "row" }, h("label", { for: "data-speaker-" + place }, name)),
        h("td", {}, choice("data-speaker-" + place, role, role ? roles : [["", "?"], ...roles], (value) => put({ speakers: { ...turns.speakers, [name]: value } })))));
      const loss = choice("data-loss", doc.loss_on, ["all", "last"].map((name) => [name, say("data.loss." + name)]), (value) => this.set({ loss_on: value }));
      return [
        form.format ? h("p", { class: "lab-muted", id: "data-format" }, say("data.format", { format: say("format." + form.format) })) : null,
        turns.role ? h("div", { class: "lab-two" }, this.field("turns.role", "data.turn.role", keys("role"), "", "data-turn-role"), this.field("turns.content", "data.turn.content", keys("content"), "", "data-turn-content")) : null,
        speakers.length ? this.field("turns", "data.speakers", h("table", { class: "lab-labels lab-speakers" }, h("tbody", {}, speakers)), "data.speakers.help", "data-speaker-0") : null,
        this.field("loss_on", "data.loss", loss, "", "data-loss"),
      ].filter(Boolean);
    }

    bytes(size) { return size < 1e3 ? `${size} B` : size < 1e6 ? `${(size / 1e3).toPrecision(3)} kB` : `${(size / 1e6).toPrecision(3)} MB`; }
  }
  Lab.data = (element, props, server) => new Form(element, props, server);

  // the imported tasks, each to the bench or deleted at the second press, and a table of those that come with the lab
  Lab.dataTasks = (element, server) => {
    const own = h("div", { class: "lab-own" }), table = h("div", {}), said = h("p", { class: "lab-muted", role: "status" });
    element.replaceChildren(h("h3", {}, say("data.own")), said, own, table);
    const remove = (task) => {
      const button = h("button", { type: "button", class: "lab-button warn", onclick: async () => {
        if (!button.dataset.sure) {
          button.dataset.sure = "yes"; button.textContent = say("act.delete.sure");
          setTimeout(() => { delete button.dataset.sure; button.textContent = say("act.delete"); }, 4000);
          return;
        }
        const found = await server.remove({ name: task.name, language: Lab.language }).catch(() => ({ errors: [["", say("bench.lost")]] }));
        said.textContent = found.errors ? found.errors[0][1] : say("data.removed", { name: task.name });
        said.classList.toggle("wrong", Boolean(found.errors));
        load();
      } }, say("act.delete"));
      return button;
    };
    const item = (task) => h("article", { class: "lab-own-task", "data-task": task.name }, h("b", {}, task.name),
      h("span", { class: "lab-muted" }, task.wrong || [task.family, task.metric, task.rows, task.labels, task.about].filter(Boolean).join(" · ")),
      task.wrong ? null : h("a", { class: "lab-button", href: "./?task=" + encodeURIComponent(task.name) }, say("data.bench")), remove(task));
    const load = async () => {
      const found = await server.listing({ language: Lab.language }).catch(() => null);
      if (!found) return;
      own.replaceChildren(...(found.own.length ? found.own.map(item) : [h("p", { class: "lab-muted" }, say("data.own.none"))]));
      Lab.fill(table, found.html);
    };
    Lab.on("data-tasks", load);
    load();
  };
})();
