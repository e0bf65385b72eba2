// The keyboard: to a page by g and a letter, and the sheet of all shortcuts behind ?. Keys without Ctrl can be turned off there, for who speaks or types by other means.
import { h } from "./dom.js";
import { storedItem, storeItem } from "./storage.js";
import { say } from "./words.js";

const OFF = "lab_keys_off";
const WAIT = 1500; // milliseconds in which a letter may follow g
const TEXT = "textarea, [contenteditable=''], [contenteditable=true], input:not([type=range], [type=checkbox], [type=radio], [type=button], [type=submit])";

// Whether a key belongs to a text that has the focus, or to a dialog; a letter or an arrow may also belong to a list of choices.
export const typing = (event) => event.defaultPrevented || Boolean(event.target.closest?.(TEXT)) || Boolean(document.querySelector("dialog[open]"));

export const choosing = (event) => typing(event) || Boolean(event.target.closest?.("select"));

// {letter: page}: the first letter of each page's name that none before it has.
export const pageLetters = (names) => {
  const found = {};
  for (const name of names) {
    const letter = [...name.toLowerCase()].find((one) => /[a-z]/.test(one) && !(one in found));
    if (letter) found[letter] = name;
  }
  return found;
};

const COMMAND = /Mac|iP(hone|ad)/.test(navigator.platform || "") ? "⌘" : "Ctrl";
// {place: [[what it does, keys that do it, each as those that are pressed together]]}
const KEYS = {
  bench: [
    ["undo", [[COMMAND, "Z"]]],
    [
      "redo",
      [
        [COMMAND, "Shift", "Z"],
        ["Ctrl", "Y"],
      ],
    ],
    ["launch", [[COMMAND, "Enter"]]],
    ["step", [["↑"], ["↓"]]],
  ],
  list: [
    ["move", [["↑"], ["↓"]]],
    ["leap", [["PageUp"], ["PageDown"], ["Home"], ["End"]]],
  ],
  table: [
    ["open", [["Enter"]]],
    ["pick", [["Space"]]],
    [
      "range",
      [
        ["Shift", "↑"],
        ["Shift", "↓"],
      ],
    ],
    ["all", [[COMMAND, "A"]]],
    ["none", [["Esc"]]],
  ],
  present: [
    ["turn", [["←"], ["→"]]],
    ["lane", [["↑"], ["↓"]]],
    ["full", [["F"]]],
    ["leave", [["Esc"]]],
  ],
};

const pressed = (keys) => keys.flatMap((key, at) => [at ? "+" : null, h("kbd", {}, key)]);
const line = (words, ways) =>
  h(
    "div",
    {},
    h("dt", {}, words),
    h(
      "dd",
      {},
      ways.flatMap((keys, at) => [at ? " " : null, ...pressed(keys)]),
    ),
  );
const group = (title, lines) => h("section", {}, h("h3", {}, title), h("dl", {}, lines));

let open = null;
const showSheet = (letters) => {
  if (open) return;
  const before = document.activeElement;
  const close = h("button", { type: "button", class: "lab-button", onclick: () => dialog.close() }, say("keys.close"));
  const introduction = h("a", { href: "./#introduction", onclick: () => dialog.close() }, say("keys.introduction")); // lab/ui/bench/introduction.js
  const single = h("input", { type: "checkbox", checked: !storedItem(OFF), onchange: () => storeItem(OFF, single.checked ? null : true) });
  const going = Object.entries(letters).map(([letter, name]) =>
    h("div", {}, h("dt", {}, say("page." + name)), h("dd", {}, h("kbd", {}, "g"), " ", h("kbd", {}, letter))),
  );
  const dialog = h(
    "dialog",
    { class: "lab-sheet", "aria-labelledby": "keys-title" },
    h("h2", { id: "keys-title" }, say("keys.title")),
    h(
      "div",
      { class: "lab-sheet-groups" },
      group(say("keys.everywhere"), [line(say("keys.sheet"), [["?"]]), ...going]),
      ...Object.entries(KEYS).map(([place, lines]) =>
        group(
          say("keys." + place),
          lines.map(([act, ways]) => line(say(`keys.${place}.${act}`), ways)),
        ),
      ),
    ),
    h("footer", {}, h("label", {}, single, " ", say("keys.single")), introduction, close),
  );
  dialog.addEventListener("keydown", (event) => event.stopPropagation()); // they are not the page's
  dialog.addEventListener("close", () => {
    open = null;
    dialog.remove();
    if (before && before.isConnected) before.focus();
  });
  document.body.append((open = dialog));
  dialog.showModal();
  close.focus();
};

// The button of the sheet; from now on the keys are heard. `pages`: [[name, address]]; `letters`: those of `pageLetters`
export const shortcutButton = (pages, letters) => {
  let since = 0; // when g was pressed
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || choosing(event) || storedItem(OFF)) return;
    const page = event.timeStamp - since < WAIT ? letters[event.key.toLowerCase()] : undefined;
    since = event.key === "g" ? event.timeStamp : 0;
    if (page) location.href = pages.find(([name]) => name === page)[1];
    else if (event.key === "?") showSheet(letters);
    else return;
    event.preventDefault();
  });
  return h(
    "button",
    { type: "button", class: "lab-quiet lab-keys", title: say("keys.title"), "aria-label": say("keys.title"), onclick: () => showSheet(letters) },
    "?",
  );
};
