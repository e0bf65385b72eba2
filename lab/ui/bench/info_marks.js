// Where nothing hovers, each knob has a mark that shows its help below it, until the mark or anything else is tapped, or Escape is pressed.
import { h } from "../shell/dom.js";
import { say } from "../shell/words.js";

const touched = () => Boolean(window.matchMedia?.("(hover: none)").matches);
let shut = null; // what closes the help that is open

const close = (event) => {
  if (!shut || (event.type === "keydown" && event.key !== "Escape")) return;
  if (event.type === "pointerdown" && event.target.closest(".lab-info, .lab-info-text")) return;
  shut();
};
document.addEventListener("pointerdown", close);
document.addEventListener("keydown", close);

const mark = (form, row) => {
  const label = row.querySelector("label");
  const button = h(
    "button",
    {
      type: "button",
      class: "lab-info",
      "aria-expanded": "false",
      "aria-label": say("bench.info", { name: label.textContent.trim() }),
      onclick: () => {
        const again = button.getAttribute("aria-expanded") === "true";
        if (shut) shut();
        if (again) return;
        const text = h("p", { class: "lab-info-text", role: "status" }, form.helpOf(row));
        row.append(text);
        button.setAttribute("aria-expanded", "true");
        shut = () => {
          text.remove();
          button.setAttribute("aria-expanded", "false");
          shut = null;
        };
      },
    },
    "i",
  );
  const cell = h("span", { class: "lab-label" });
  label.replaceWith(cell);
  cell.append(label, button);
};

// `form`: the knobs, as lab/ui/bench/controls.js has them
export const infoMarks = (form) => {
  if (!touched()) return;
  shut = null;
  for (const row of form.element.querySelectorAll("[data-path][data-help]")) if (row.dataset.help && row.querySelector(":scope > label")) mark(form, row);
};
