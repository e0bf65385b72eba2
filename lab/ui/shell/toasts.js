// What gradio says by itself in a corner, and in English alone, in the language of the page: keys toast.* of the words.
import { LANGUAGE, say } from "./words.js";

const KEYS = Object.keys(window.LAB_WORDS || {}).filter((key) => key.startsWith("toast."));
const translated = (node) => {
  for (const part of node.querySelectorAll(".toast-title, .toast-message-text")) {
    const key = KEYS.find((one) => window.LAB_WORDS[one][0] === part.textContent.trim());
    if (key && !part.children.length) part.textContent = say(key);
  }
};
if (LANGUAGE === "zh" && typeof MutationObserver !== "undefined")
  new MutationObserver((changes) => {
    for (const { addedNodes } of changes)
      for (const node of addedNodes) if (node.closest?.("[class*=toast-]") || node.querySelector?.("[class*=toast-]")) translated(node.parentNode);
  }).observe(document.documentElement, { childList: true, subtree: true });
