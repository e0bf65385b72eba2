// A run's formats, and the files of the one that was chosen.
import { copyText, h, setHtml } from "../shell/dom.js";
import { formatNumber } from "../shell/numbers.js";
import { register } from "../shell/parts.js";
import { stateBadge } from "../shell/run_list.js";
import { say } from "../shell/words.js";

const exportForm = (element, props, watch, trigger, event, left) => {
  let adapter = "best";
  let format = "";
  let run = "";
  let task = "";
  const head = () => ((props.value.formats.find((one) => one.format === format) || {}).one_head && task) || "";
  const ask = () => trigger(event, { run, format, adapter, task: head() });
  const draw = () => {
    const value = props.value;
    element.hidden = !value;
    if (!value) return;
    if (value.missing) {
      if (run) trigger(left, {});
      run = "";
      return setHtml(element, value.missing);
    }
    if (value.run !== run) {
      if (run) trigger(left, {});
      run = value.run;
      format = "";
      adapter = "best";
      task = value.heads[0] || "";
    }
    const weights =
      value.adapters.length > 1 &&
      h(
        "div",
        { class: "lab-export-weights" },
        h("span", { id: "export-weights" }, say("export.weights")),
        h(
          "div",
          { class: "lab-segments", role: "group", "aria-labelledby": "export-weights" },
          ["best", "final"].map((one) =>
            h(
              "button",
              {
                type: "button",
                "aria-pressed": String(one === adapter),
                onclick: () => {
                  adapter = one;
                  draw();
                  if (format) ask();
                },
              },
              say("export." + one),
            ),
          ),
        ),
        h("small", { class: "lab-muted" }, say("export.weights.help")),
      );
    const heads =
      value.heads.length > 0 &&
      h(
        "div",
        { class: "lab-export-weights" },
        h("span", { id: "export-head" }, say("export.head")),
        h(
          "div",
          { class: "lab-segments", role: "group", "aria-labelledby": "export-head" },
          value.heads.map((one) =>
            h(
              "button",
              {
                type: "button",
                "aria-pressed": String(one === task),
                onclick: () => {
                  task = one;
                  draw();
                  if (head()) ask();
                },
              },
              one,
            ),
          ),
        ),
        h("small", { class: "lab-muted" }, say("export.head.help")),
      );
    const option = (one) => {
      const wrong = one.refusal ? say("export.not", { reason: one.refusal }) : one.waits ? say("export.later") : "";
      return h(
        "button",
        {
          type: "button",
          role: "radio",
          class: "lab-format",
          "data-format": one.format,
          "aria-checked": String(one.format === format),
          disabled: Boolean(wrong),
          onclick: () => {
            format = one.format;
            draw();
            element.querySelector(`[data-format="${format}"]`).focus();
            ask();
          },
        },
        h("b", {}, one.format),
        h("span", {}, one.help),
        wrong ? h("small", {}, wrong) : null,
      );
    };
    element.replaceChildren(
      h(
        "div",
        { class: "lab-title" },
        h("span", { class: "lab-dot", style: `background:${value.colour}` }),
        h("h2", {}, h("a", { href: "runs?run=" + value.run }, value.name)),
        stateBadge(value.state),
      ),
      h("p", { class: "lab-muted" }, value.about),
      weights || "",
      heads || "",
      h("div", { class: "lab-formats", role: "radiogroup", "aria-label": say("export.formats") }, value.formats.map(option)),
      h("p", { class: "lab-muted", hidden: Boolean(format) }, say("export.choose")),
      h(
        "p",
        { class: "lab-muted", hidden: !format },
        say("export.command") + " ",
        h(
          "code",
          {},
          `${say("lab.command")} export ${value.run} --format ${format}${adapter === "final" ? " --adapter final" : ""}${head() ? ` --task ${task}` : ""} --out my-adapter`,
        ),
      ),
    );
  };
  element.addEventListener("keydown", (press) => {
    const step = { ArrowDown: 1, ArrowRight: 1, ArrowUp: -1, ArrowLeft: -1 }[press.key];
    const open = [...element.querySelectorAll(".lab-format:not(:disabled)")];
    const at = open.indexOf(document.activeElement);
    if (!step || at < 0) return;
    press.preventDefault();
    open[(at + step + open.length) % open.length].focus();
  });
  watch("value", draw);
  draw();
};

const exportedFiles = (element, props, watch) => {
  let open = "";
  const size = (bytes) => formatNumber(bytes) + (bytes < 1000 ? " B" : "B");
  const draw = () => {
    const value = props.value;
    element.hidden = !value;
    if (!value) return element.replaceChildren();
    if (value.state === "making")
      return element.replaceChildren(h("p", { class: "lab-said lab-asking", role: "status" }, say("export.making", { format: value.format })));
    if (value.state === "wrong") return element.replaceChildren(h("p", { class: "lab-said wrong", role: "alert" }, value.sentence));
    const file = value.files.find((one) => one.name === open) || value.files.find((one) => one.text !== null) || value.files[0];
    const tab = (one) =>
      h(
        "button",
        {
          type: "button",
          role: "tab",
          "aria-selected": String(one === file),
          "data-file": one.name,
          onclick: () => {
            open = one.name;
            draw();
            element.querySelector('[aria-selected="true"]').focus();
          },
        },
        h("span", {}, one.name),
        h("small", { class: "num", title: one.bytes.toLocaleString("en") }, size(one.bytes)),
      );
    const copy = h("button", { type: "button", class: "lab-button", onclick: () => copyText(file.text, copy) }, say("copy"));
    element.replaceChildren(
      value.note ? h("p", { class: "lab-said", role: "note" }, value.note) : "",
      h(
        "div",
        { class: "lab-card lab-files" },
        h(
          "div",
          {},
          h("h3", {}, say("export.files")),
          h("p", { class: "lab-muted" }, say("export.total", { n: value.files.length, size: value.size })),
          h("div", { role: "tablist", "aria-orientation": "vertical", "aria-label": say("export.files") }, value.files.map(tab)),
        ),
        h(
          "div",
          { role: "tabpanel", "aria-label": file.name },
          h(
            "div",
            { class: "lab-spec-bar" },
            h("code", {}, file.name),
            h("span", { class: "lab-muted" }, file.cut ? say("export.cut") : ""),
            h("span", { class: "lab-gap" }),
            file.text === null ? "" : copy,
          ),
          file.text === null ? h("p", { class: "lab-muted" }, say("export.weights.file")) : h("pre", { class: "lab-code", tabindex: 0 }, file.text),
        ),
      ),
    );
  };
  watch("value", draw);
  draw();
};

register({ exportForm, exportedFiles });
