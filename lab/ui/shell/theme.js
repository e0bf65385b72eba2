// Light or dark: a choice that was kept goes into the address, where gradio looks for it; a change is told as the event "theme".
import { emit } from "./events.js";
import { setAddress } from "./storage.js";

const KEY = "lab_theme";
const chosen = () => {
  try {
    return localStorage.getItem(KEY);
  } catch {
    return null;
  }
};

export const isDark = () => document.body.classList.contains("dark");

export const toggleTheme = () => {
  const theme = isDark() ? "light" : "dark";
  try {
    localStorage.setItem(KEY, theme);
  } catch {
    /* a browser that keeps nothing */
  }
  document.body.classList.toggle("dark", theme === "dark");
  setAddress({ __theme: theme });
};

// Once, before gradio starts.
export const settleTheme = () => {
  if (chosen() && !new URL(location.href).searchParams.has("__theme")) setAddress({ __theme: chosen() });
  let before = null;
  const changed = () => {
    if (before === isDark()) return;
    before = isDark();
    emit("theme", before);
  };
  new MutationObserver(changed).observe(document.body, { attributes: true, attributeFilter: ["class"] });
};
