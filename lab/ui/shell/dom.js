// Elements, made of text that is never read as HTML.
import { say } from "./words.js";

// h("button", {class: "x", onclick: f, "aria-label": "y"}, "text", child): an element
export const h = (tag, attributes = {}, ...children) => {
  const svg = tag.startsWith("svg:");
  const node = svg ? document.createElementNS("http://www.w3.org/2000/svg", tag.slice(4)) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === false || value === null || value === undefined) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (["value", "checked", "disabled", "selected", "open", "indeterminate"].includes(name) && !svg) node[name] = value;
    else node.setAttribute(name, value === true ? "" : value);
  }
  for (const child of children.flat()) if (child !== null && child !== undefined && child !== false) node.append(child);
  return node;
};

const ICONS = {
  copy: "M5 5V2.5h8.5V11H11M2.5 5H11v8.5H2.5Z",
  close: "M4 4l8 8M12 4l-8 8",
  theme: "M8 2a6 6 0 1 0 0 12ZM8 2a6 6 0 0 1 0 12",
};
export const icon = (name) => h("svg:svg", { viewBox: "0 0 16 16", class: "lab-glyph", "aria-hidden": "true" }, h("svg:path", { d: ICONS[name] }));

// HTML made by the server (every text in it is escaped there); nothing else is ever read as HTML
export const setHtml = (element, html) => {
  element.innerHTML = html;
};

export const copyText = async (text, button) => {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const area = h("textarea", { class: "lab-offscreen" });
    area.value = text;
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
  if (button) {
    const old = button.textContent;
    button.textContent = say("copied");
    setTimeout(() => (button.textContent = old), 1200);
  }
};

// Let the browser save what an address holds.
export const download = (href, name) => {
  const link = h("a", { href, download: name });
  document.body.append(link);
  link.click();
  link.remove();
};
