// A question before something is lost. The press that opened it, doubled, cannot answer it: the answer that acts is armed after a moment, and Enter meets the other one.
import { h } from "./dom.js";
import { say } from "./words.js";

const ARMED = 800; // milliseconds

// Whether somebody wants `act` (words of a button), asked under `title`.
export const sure = ({ title, text, act }) =>
  new Promise((resolve) => {
    const before = document.activeElement;
    const no = h("button", { type: "button", class: "lab-button", onclick: () => dialog.close("no") }, say("sure.no"));
    const yes = h("button", { type: "button", class: "lab-button warn", disabled: true, onclick: () => dialog.close("yes") }, act);
    const dialog = h(
      "dialog",
      { class: "lab-sure", "aria-labelledby": "sure-title", "aria-describedby": "sure-text" },
      h("h2", { id: "sure-title" }, title),
      h("p", { id: "sure-text" }, text),
      h("div", { class: "lab-sure-acts" }, no, yes),
    );
    const timer = setTimeout(() => {
      yes.disabled = false;
    }, ARMED);
    dialog.addEventListener("close", () => {
      clearTimeout(timer);
      dialog.remove();
      const again = before && before.dataset && before.dataset.act ? document.querySelector(`[data-act="${before.dataset.act}"]`) : null; // HTML from the server may have been drawn anew
      if (before && before.isConnected) before.focus();
      else if (again) again.focus();
      resolve(dialog.returnValue === "yes");
    });
    document.body.append(dialog);
    dialog.showModal();
    no.focus();
  });
