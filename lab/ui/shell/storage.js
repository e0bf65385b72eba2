// What outlasts a page: its address and the browser's storage; and documents that come as JSON text.
export const DRAFT = "lab_bench_draft_1"; // the item that the bench keeps its design under, which a sweep begins with

// `entry`: as a place of its own, to which Back leads.
export const setAddress = (changes, entry = false) => {
  const url = new URL(location.href);
  for (const [key, value] of Object.entries(changes)) {
    if (value) url.searchParams.set(key, value);
    else url.searchParams.delete(key);
  }
  if (entry && url.href !== location.href) history.pushState(history.state, "", url);
  else history.replaceState(history.state, "", url);
};

// The ids of runs that an address names.
export const runIds = (text) => (text || "").split(",").filter((id) => /^[a-z][a-z0-9]{7}$/.test(id));

// What the server sends as JSON text: gradio walks through everything else at every change of a part's value, which takes longer than drawing it.
export const parsedJson = (value) => {
  if (typeof value !== "string") return value;
  try {
    return JSON.parse(value);
  } catch {
    return null;
  }
};

export const storeItem = (key, value) => {
  try {
    if (value === null) localStorage.removeItem(key);
    else localStorage.setItem(key, JSON.stringify(value));
  } catch {
    /* a browser that keeps nothing */
  }
};

export const storedItem = (key) => {
  try {
    return JSON.parse(localStorage.getItem(key));
  } catch {
    return null;
  }
};

// What is typed into a field outlasts the page (a reload, the other language, a crash) until it is forgotten.
const TEXT = "lab_text_";
export const keptText = (node, name) => {
  const before = storedItem(TEXT + name);
  if (typeof before === "string") node.value = before;
  node.addEventListener("input", () => storeItem(TEXT + name, node.value || null));
  return node;
};
export const forgetText = (name) => storeItem(TEXT + name, null);
