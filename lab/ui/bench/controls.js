// The controls of the bench's options: each as its declaration says (a number with a slider, buttons, chips, a list, a text).
import { readPath } from "./draft.js";
import { h } from "../shell/dom.js";
import { byLanguage, say } from "../shell/words.js";

// What a form of options needs of the page: `schema`, set(path, value, redraw), explain(target).
export class OptionControls {
  row(field, path, owner, form) {
    const id = "knob-" + path.replace(/\W/g, "-");
    const own = readPath(owner, field.path);
    const value = own === undefined ? field.default : own;
    const rank = field.path === "rank" && form.rank_label;
    const label = rank ? byLanguage(form.rank_label, form.rank_label === "rank" ? field.zh : say("zh." + form.rank_label)) : byLanguage(field.label, field.zh);
    const symbol = rank ? form.rank_symbol : field.symbol;
    return h(
      "div",
      { class: "lab-row lab-kind-" + field.kind, "data-path": path, "data-help": byLanguage(field.help, field.help_zh) },
      h(
        "label",
        { for: id },
        label,
        symbol ? h("i", {}, " " + symbol.split("_")[0], symbol.includes("_") ? h("sub", {}, symbol.split("_")[1]) : null) : null,
        field.unit ? h("small", {}, " " + say("unit." + field.unit)) : null,
      ),
      this.control(field, path, id, value, form),
    );
  }

  // what an option, or a choice of it, is, and why choices of it are not to be had
  helpOf(row) {
    const reasons = this.reasons[(row.closest("[data-path]") || row).dataset.path] || {};
    const choice = row.dataset.choice;
    const why = choice ? [reasons[choice]] : [...new Set(Object.values(reasons))].slice(0, 2);
    return [row.dataset.help, ...why.filter(Boolean).map((text) => h("span", { class: "lab-why" }, text))];
  }

  explain(target) {
    const row = target.closest && target.closest("[data-help]");
    const line = this.element.querySelector(".lab-help");
    if (line && row) line.replaceChildren(...this.helpOf(row));
  }

  // an option that belongs to some of the kinds, and not to the one that is chosen
  unread(name, kinds, chosen) {
    const owners = Object.keys(kinds).filter((kind) => kinds[kind].options.includes(name));
    return owners.length > 0 && !owners.includes(chosen);
  }

  control(field, path, id, value, form) {
    const choices = this.choices(field, form);
    if (field.several) return this.several(choices, path, value, field.optional, id);
    if (choices && choices.length <= (field.path === "insertion" ? 3 : 2) && field.kind === "choice") return this.segments(choices, path, value, id);
    if (choices)
      return h(
        "select",
        { id, onchange: (event) => this.set(path, event.target.value, this.shapes(path)) },
        choices.map(([name, title]) => h("option", { value: name, selected: String(value) === name }, title)),
      );
    if (field.kind === "flag") return h("input", { id, type: "checkbox", checked: Boolean(value), onchange: (event) => this.set(path, event.target.checked) });
    if (field.kind === "integer" || field.kind === "number") return this.number(field, path, id, value);
    return h("input", {
      id,
      type: "text",
      value: value === null || value === undefined ? "" : String(value),
      spellcheck: "false",
      autocomplete: "off",
      oninput: (event) => this.set(path, this.parsed(event.target.value, field)),
    });
  }

  // which choices redraw the card, because they change which knobs there are
  shapes(path) {
    return /(composition|insertion|encoder|init)$/.test(path);
  }

  choices(field, form) {
    const words = this.schema.words[field.path];
    const named = (list) =>
      list.map((name) => [
        name,
        words && words[name] ? byLanguage(words[name][0], words[name][1]) : name,
        words && words[name] ? byLanguage(words[name][2], words[name][3]) : "",
      ]);
    if (field.path === "form") return Object.entries(this.schema.forms).map(([name, it]) => [name, byLanguage(it.label, it.label_zh), it.help]);
    if (field.path === "init") return named(form.inits || []);
    if (field.path === "nonlinearity") return named(form.nonlinearities || field.choices);
    return field.choices && field.choices.length ? named(field.choices) : null;
  }

  parsed(text, field) {
    const clean = text.trim();
    if (clean === "" && field.optional) return null;
    if (field.path === "scale" && clean !== "" && isFinite(Number(clean))) return Number(clean);
    if (field.kind === "list") return clean ? clean.split(/[\s,]+/) : field.optional ? null : [];
    return clean;
  }

  number(field, path, id, value) {
    const set = (text) => {
      const clean = String(text).trim();
      const number = Number(clean);
      this.set(path, clean === "" ? (field.optional ? null : "") : isFinite(number) ? number : clean);
    };
    const input = h("input", {
      id,
      type: "text",
      inputmode: "decimal",
      value: value === null || value === undefined ? "" : String(value),
      autocomplete: "off",
      oninput: (event) => set(event.target.value),
    });
    const step = (up) => {
      const now = Number(input.value || input.placeholder) || 0;
      const next = field.log ? (up ? Math.max(1, now * 2) : Math.max(1, Math.floor(now / 2))) : now + (up ? 1 : -1) * (field.step || 1);
      input.value = String(field.minimum !== null && next < field.minimum ? field.minimum : Number(next.toPrecision(6)));
      if (slider) slider.value = Math.log2(Math.max(1, Number(input.value)));
      set(input.value);
    };
    input.addEventListener("keydown", (event) => {
      if (event.key === "ArrowUp" || event.key === "ArrowDown") {
        event.preventDefault();
        step(event.key === "ArrowUp");
      }
    });
    let slider = null;
    if (field.log) {
      slider = h("input", {
        type: "range",
        min: 0,
        max: 10,
        step: 0.5,
        value: Math.log2(Math.max(1, Number(value) || 1)),
        tabindex: -1,
        "aria-label": byLanguage(field.label, field.zh),
        oninput: (event) => {
          input.value = String(Math.round(2 ** Number(event.target.value)));
          set(input.value);
        },
      });
      input.addEventListener("input", () => {
        slider.value = Math.log2(Math.max(1, Number(input.value) || 1));
      });
    }
    return h("span", { class: "lab-number" + (slider ? " with-slider" : "") }, slider, input);
  }

  segments(choices, path, value, id) {
    return h(
      "span",
      { class: "lab-segments", role: "group", id },
      choices.map(([name, title, help]) =>
        h(
          "button",
          {
            type: "button",
            "data-choice": name,
            "data-help": help,
            "aria-pressed": String(name === String(value)),
            onclick: (event) => this.may(event) && this.set(path, name, true),
          },
          title,
        ),
      ),
    );
  }

  // a choice that cannot be combined says why and does nothing
  may(event) {
    if (event.currentTarget.getAttribute("aria-disabled") !== "true") return true;
    this.explain(event.currentTarget);
    return false;
  }

  // representations stand in one line per sublayer, under their short names
  several(choices, path, value, optional, id) {
    const chosen = new Set(value || []);
    const lines = new Map();
    for (const choice of choices) {
      const sublayer = choice[0] in this.schema.sets ? "linear" : (choice[0].match(/^(attn|ffn)\./) || [])[1] || "";
      lines.set(sublayer, [...(lines.get(sublayer) || []), choice]);
    }
    return h(
      "span",
      { class: "lab-chips" + (lines.size > 1 ? " by-line" : ""), role: "group", id },
      [...lines].map(([sublayer, members]) =>
        h(
          "span",
          {},
          sublayer ? h("i", {}, sublayer) : null,
          members.map((choice) => this.chip(choice, sublayer, chosen, choices, path, optional)),
        ),
      ),
    );
  }

  chip([name, title, help], sublayer, chosen, choices, path, optional) {
    return h(
      "button",
      {
        type: "button",
        "data-choice": name,
        "data-help": `${name}: ${help}`,
        "aria-label": title,
        "aria-pressed": String(chosen.has(name)),
        onclick: (event) => {
          if (!this.may(event)) return;
          chosen.has(name) ? chosen.delete(name) : chosen.add(name);
          const covered = (path.endsWith(".at") && chosen.has(name) && this.schema.sets[name]) || [];
          covered.forEach((one) => chosen.delete(one));
          for (const chip of event.currentTarget.closest(".lab-chips").querySelectorAll("[data-choice]"))
            chip.setAttribute("aria-pressed", String(chosen.has(chip.dataset.choice)));
          const list = choices.map(([one]) => one).filter((one) => chosen.has(one));
          this.set(path, list.length || !optional ? list : null);
        },
      },
      sublayer === "linear" ? title.replace(/-linear$/, "") : sublayer ? title.slice(sublayer.length + 1) : title,
    );
  }
}
