// The form of an adapter from elsewhere: where it is, what it answers and on which base. The file and the button are gradio's.
import { h } from "../shell/dom.js";
import { listen } from "../shell/events.js";
import { register } from "../shell/parts.js";
import { keptText } from "../shell/storage.js";
import { say } from "../shell/words.js";

const bringForm = (element, props) => {
  const options = ["", ...props.tasks].map((task) => h("option", { value: task }, task || say("bring.task.none")));
  const fields = {
    source: keptText(h("input", { type: "text", maxlength: 500, autocomplete: "off", spellcheck: "false" }), "bring-source"),
    task: h("select", {}, options),
    model: keptText(h("input", { type: "text", maxlength: 500, autocomplete: "off", spellcheck: "false" }), "bring-model"),
  };
  const changed = () => {
    props.value = Object.fromEntries(Object.entries(fields).map(([name, node]) => [name, node.value.trim()]));
  };
  element.addEventListener("input", changed);
  element.replaceChildren(
    ...Object.entries(fields).map(([name, node]) => {
      node.id = "bring-" + name;
      return h("div", { class: "lab-field" }, h("label", { for: node.id }, say("bring." + name)), node, h("small", {}, say(`bring.${name}.help`)));
    }),
  );
  // what is wrong stands below; here the field that it is about is marked
  listen("shown", (part) => {
    if (!part.closest("#bring-outcome")) return;
    const place = part.querySelector(".wrong")?.dataset.field;
    for (const [name, node] of Object.entries(fields)) {
      node.setAttribute("aria-invalid", String(name === place));
      node.parentElement.classList.toggle("wrong", name === place);
      if (name === place) node.focus();
    }
  });
  changed();
};

register({ bringForm });
