// The fields of the form that makes a task of a file: drawn from what the server made of the file, `form`, and what was chosen, `doc`.
import { h } from "../shell/dom.js";
import { formatBytes } from "../shell/numbers.js";
import { say } from "../shell/words.js";

const READING = {
  encoding: ["utf-8", "utf-16", "gb18030", "big5", "shift_jis", "euc_jp", "euc_kr", "cp1250", "cp1251", "cp1252", "latin-1"],
  delimiter: [",", ";", "\t", "|"],
  header: ["names", "data"],
};
const OTHER = "\u0000other";

// What the form needs of the page: `offers`, `errors`, set(change), later(), keepHub(), bring(), import().
export class DataFields {
  field(name, label, control, help, id) {
    const wrong = this.errors[name] || [];
    control.querySelectorAll("input,select,textarea").forEach((one) => one.setAttribute("aria-invalid", wrong.length > 0));
    return h(
      "div",
      { class: "lab-field" + (wrong.length ? " wrong" : ""), "data-field": name },
      h("label", { for: id }, label.includes(".") ? say(label) : label),
      control,
      wrong.length ? h("p", { class: "lab-wrong", role: "alert" }, wrong.join(" ")) : null,
      help ? h("small", {}, say(help)) : null,
    );
  }

  choice(id, options, now, change) {
    return h(
      "span",
      { class: "lab-whole" },
      h(
        "select",
        { id, onchange: (event) => change(event.target.value) },
        options.map(([value, title]) => h("option", { value, selected: value === now }, title)),
      ),
    );
  }

  input(id, value, change) {
    return h(
      "span",
      { class: "lab-whole" },
      h("input", { id, type: "text", spellcheck: "false", autocomplete: "off", value, oninput: (event) => change(event.target.value.trim()) }),
    );
  }

  fromHub() {
    const { hub } = this;
    const put = (name) => (value) => {
      hub[name] = value;
      this.keepHub();
    };
    const splits = h(
      "textarea",
      {
        id: "data-hub-splits",
        rows: 2,
        placeholder: "train=train",
        oninput: (event) => {
          hub.splits = event.target.value;
          this.keepHub();
        },
      },
      hub.splits,
    );
    return h(
      "details",
      {
        class: "lab-hub",
        open: Boolean(this.errors.hub) || Boolean(this.bringing) || Boolean(this.opened) || Boolean(hub.hub),
        ontoggle: (event) => {
          this.opened = event.target.open;
        },
      },
      h("summary", {}, say("data.fromhub")),
      this.field("hub", "data.hubid", this.input("data-hub", hub.hub, put("hub")), "", "data-hub"),
      h(
        "div",
        { class: "lab-two" },
        this.field("config", "data.config", this.input("data-hub-config", hub.config, put("config")), "", "data-hub-config"),
        this.field("revision", "data.revision", this.input("data-hub-revision", hub.revision, put("revision")), "", "data-hub-revision"),
      ),
      this.field("splits", "data.hubsplits", h("span", { class: "lab-whole" }, splits), "data.hubsplits.help", "data-hub-splits"),
      this.field("rows", "data.hubrows", this.input("data-hub-rows", hub.rows, put("rows")), "", "data-hub-rows"),
      h(
        "button",
        { type: "button", class: "lab-button", id: "data-bring", disabled: Boolean(this.bringing), onclick: () => this.bring() },
        say(this.bringing ? "data.bringing" : "data.bring"),
      ),
    );
  }

  // what the reader decides by content, to be decided by a person; open where it asks
  readings() {
    const { doc, errors, form } = this;
    const one = (name, titles) =>
      this.field(
        name,
        "data." + name,
        this.choice(
          "data-" + name,
          [
            ["", say("data.auto") + (form && form.reading && form.reading[name] ? ` (${titles ? titles(form.reading[name]) : form.reading[name]})` : "")],
            ...READING[name].map((value) => [value, titles ? titles(value) : value]),
          ],
          doc.reading[name] || "",
          (value) => this.set({ reading: { ...doc.reading, [name]: value } }),
        ),
        "",
        "data-" + name,
      );
    const file = (name) =>
      this.field(
        name,
        "data." + name,
        this.input("data-" + name, doc[name], (value) => {
          doc[name] = value;
          this.later();
        }),
        "",
        "data-" + name,
      );
    const asked = ["encoding", "delimiter", "header"].some((name) => errors[name]) || Object.values(doc.reading).some(Boolean);
    const notes = this.brought.length
      ? h(
          "ul",
          { class: "lab-notes" },
          this.brought.map((note) => h("li", {}, note)),
        )
      : null;
    return h(
      "div",
      {},
      notes,
      h(
        "details",
        { class: "lab-reading", open: asked },
        h("summary", {}, say("data.reading")),
        one("header", (value) => say("data.header." + value)),
        h(
          "div",
          { class: "lab-two" },
          one("encoding"),
          one("delimiter", (value) => (value === "\t" ? say("data.tab") : value)),
        ),
      ),
      doc.path
        ? h(
            "details",
            { class: "lab-others", open: Boolean(doc.validation || doc.test || errors.validation || errors.test) },
            h("summary", {}, say("data.others")),
            file("validation"),
            file("test"),
            h("small", {}, say("data.others.help")),
          )
        : null,
    );
  }

  // names of the classes, and what to do with spellings that are nearly the same
  classes() {
    const { doc, form, errors } = this;
    if (!form.labelled) return [];
    const near = ["", "merge", "apart"].map((value) => [value, say("data.spellings." + (value || "ask"))]);
    const labels = h(
      "textarea",
      {
        id: "data-labels",
        rows: 3,
        placeholder: form.labels.slice(0, 8).join("\n"),
        oninput: (event) => {
          doc.labels = event.target.value;
          this.later();
        },
      },
      doc.labels,
    );
    return [
      errors.spellings || doc.spellings
        ? this.field(
            "spellings",
            "data.spellings",
            this.choice("data-spellings", near, doc.spellings, (value) => this.set({ spellings: value })),
            "",
            "data-spellings",
          )
        : null,
      h(
        "details",
        { class: "lab-names", open: Boolean(doc.labels) || Boolean(errors.labels) },
        h("summary", {}, say("data.given")),
        this.field("labels", "data.given", h("span", { class: "lab-whole" }, labels), "data.given.help", "data-labels"),
      ),
    ];
  }

  fields() {
    const { form, doc } = this;
    const size = `${form.file} · ${formatBytes(form.bytes)}`;
    const family = h(
      "select",
      {
        id: "data-family",
        onchange: (event) => this.set({ family: event.target.value, columns: {}, prompt: "", separator: "", turns: {}, spellings: "", labels: "" }),
      },
      this.offers.families.map(([name, title]) => h("option", { value: name, selected: name === form.family }, title)),
    );
    const length = h("input", {
      id: "data-length",
      type: "text",
      inputmode: "numeric",
      value: String(doc.max_length),
      oninput: (event) => {
        doc.max_length = event.target.value.trim();
        this.later();
      },
    });
    const measure = h(
      "select",
      { id: "data-measure", onchange: (event) => this.set({ measure: event.target.value }) },
      this.offers.measures.map(([name, title]) => h("option", { value: name, selected: name === doc.measure }, title)),
    );
    const prompt = h(
      "textarea",
      {
        id: "data-prompt",
        rows: 3,
        maxlength: 20000,
        placeholder: form.prompt,
        oninput: (event) => {
          doc.prompt = event.target.value;
          this.later();
        },
      },
      doc.prompt,
    );
    const separator = h("input", {
      id: "data-separator",
      type: "text",
      maxlength: 8,
      spellcheck: "false",
      autocomplete: "off",
      placeholder: ";",
      value: doc.separator,
      oninput: (event) => {
        doc.separator = event.target.value;
        this.later();
      },
    });
    const name = h("input", {
      id: "data-name",
      type: "text",
      maxlength: 60,
      spellcheck: "false",
      autocomplete: "off",
      value: doc.name,
      oninput: (event) => {
        doc.name = event.target.value.trim();
        this.later();
      },
    });
    const wrap = (node) => h("span", { class: "lab-whole" }, node);
    return [
      h("h3", { class: "lab-chosen-file" }, size),
      this.field("family", "data.family", wrap(family), "data.family.help", "data-family"),
      ...form.roles.map(([role, needed]) => this.role(role, needed)),
      ...this.classes(),
      ...(form.conversations ? this.chat() : []),
      form.separated ? this.field("separator", "data.separator", wrap(separator), "data.separator.help", "data-separator") : null,
      h(
        "div",
        { class: "lab-two" },
        this.field("max_length", "data.longest", wrap(length), "", "data-length"),
        this.field("measure", "data.measure", wrap(measure), "", "data-measure"),
      ),
      !form.prompt
        ? null
        : h(
            "details",
            { open: Boolean(doc.prompt) || Boolean(this.errors.prompt) },
            h("summary", {}, say("data.prompt")),
            this.field("prompt", "data.prompt.label", wrap(prompt), "data.prompt.help", "data-prompt"),
          ),
      this.field("name", "data.name", wrap(name), "data.name.help", "data-name"),
      h(
        "button",
        { type: "button", class: "lab-cta", id: "data-import", disabled: !this.ready || Boolean(this.importing), onclick: () => this.import() },
        say(this.importing ? "data.importing" : "data.import"),
      ),
    ].filter(Boolean);
  }

  // which column a role is; "other" takes several columns in one, as in {context} {question}
  role(role, needed) {
    const { form } = this;
    const now = form.chosen[role] || "";
    const id = "data-column-" + role;
    const put = (column) => {
      const columns = { ...form.chosen };
      column ? (columns[role] = column) : delete columns[role];
      this.set({ family: form.family, columns, turns: {} });
    };
    const box = h("span", { class: "lab-whole" });
    const select = h(
      "select",
      {
        id,
        onchange: (event) => {
          if (event.target.value !== OTHER) return put(event.target.value);
          const input = h("input", { id, type: "text", value: now, placeholder: "{a} {b}", spellcheck: "false", onchange: () => put(input.value.trim()) });
          box.replaceChildren(input);
          input.focus();
        },
      },
      needed && now ? null : h("option", { value: "", selected: !now }, say("data.none")),
      [...new Set([...form.columns, now])].filter(Boolean).map((column) => h("option", { value: column, selected: column === now }, column)),
      h("option", { value: OTHER }, say("bench.other")),
    );
    box.append(select);
    return this.field("columns." + role, say("role." + role), box, "", id);
  }

  // how conversations are written: which keys are speaker and text, which role each speaker has, which answers are learned
  chat() {
    const { form, doc } = this;
    const turns = form.turns || { speakers: {} };
    const put = (change) => this.set({ family: form.family, columns: form.chosen, turns: { ...turns, ...change } });
    const choice = (id, now, values, change) =>
      h(
        "span",
        { class: "lab-whole" },
        h(
          "select",
          { id, onchange: (event) => change(event.target.value) },
          values.map(([value, title]) => h("option", { value, selected: value === now }, title)),
        ),
      );
    const keys = (name) =>
      choice(
        "data-turn-" + name,
        turns[name],
        [...new Set([turns[name], ...form.keys])].filter(Boolean).map((key) => [key, key]),
        (key) => put({ [name]: key, ...(name === "role" ? { speakers: {} } : {}) }),
      );
    const roles = ["user", "assistant", "system", "tool", "call", "ignore"].map((role) => [role, say("speaker." + role)]);
    const speakers = Object.entries(turns.speakers)
      .slice(0, 30)
      .map(([name, role], place) =>
        h(
          "tr",
          {},
          h("th", { scope: "row" }, h("label", { for: "data-speaker-" + place }, name)),
          h(
            "td",
            {},
            choice("data-speaker-" + place, role, role ? roles : [["", "?"], ...roles], (value) => put({ speakers: { ...turns.speakers, [name]: value } })),
          ),
        ),
      );
    const loss = choice(
      "data-loss",
      doc.loss_on,
      ["all", "last"].map((name) => [name, say("data.loss." + name)]),
      (value) => this.set({ loss_on: value }),
    );
    return [
      form.format ? h("p", { class: "lab-muted", id: "data-format" }, say("data.format", { format: say("format." + form.format) })) : null,
      turns.role
        ? h(
            "div",
            { class: "lab-two" },
            this.field("turns.role", "data.turn.role", keys("role"), "", "data-turn-role"),
            this.field("turns.content", "data.turn.content", keys("content"), "", "data-turn-content"),
          )
        : null,
      speakers.length
        ? this.field(
            "turns",
            "data.speakers",
            h("table", { class: "lab-labels lab-speakers" }, h("tbody", {}, speakers)),
            "data.speakers.help",
            "data-speaker-0",
          )
        : null,
      this.field("loss_on", "data.loss", loss, "", "data-loss"),
    ].filter(Boolean);
  }
}
