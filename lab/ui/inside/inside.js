// Which runs to look into, and the fields that filter lists of rows.
import { h } from "../shell/dom.js";
import { register } from "../shell/parts.js";
import { runPicker } from "../shell/run_picker.js";
import { say } from "../shell/words.js";

const insideForm = (element, props, watch, trigger, event, most) => {
  const ask = () => trigger(event, { runs: picker.ids() });
  const button = h("button", { type: "button", class: "lab-cta", disabled: true, onclick: ask }, say("inside.ask"));
  const picker = runPicker({
    label: say("try.runs"),
    most,
    first: true,
    about: (row) => [row.model, row.task, row.method],
    changed: ({ asked }) => {
      button.disabled = !picker.ids().length;
      if (asked) ask(); // a link to a look is a look
    },
  });
  const [head, ...list] = picker.nodes;
  element.replaceChildren(head, h("small", { class: "lab-muted" }, say("inside.runs.help")), ...list, button);
  const take = () => props.value && picker.take(props.value.rows);
  watch("value", take);
  take();
};

const insideLists = (element) => {
  element.addEventListener("input", (typed) => {
    const field = typed.target.closest(".lab-in-filter");
    if (!field) return;
    const wanted = field.value.trim().toLowerCase();
    for (const row of field.nextElementSibling.querySelectorAll("tbody tr")) row.hidden = !row.textContent.toLowerCase().includes(wanted);
  });
};

register({ insideForm, insideLists });
