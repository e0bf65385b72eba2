// What outlasts a page: its address and the browser's storage; and documents that come as JSON text.
const DRAFT = "lab_bench_draft_1"; // the item that the bench keeps its design under, which a sweep begins with

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

// What an address says, without what it says of the look (__theme): {name: value}.
const looks = (name) => name.startsWith("__");
export const addressParameters = () => Object.fromEntries([...new URL(location.href).searchParams].filter(([name]) => !looks(name)));
// It says this, and nothing of what it said before.
export const setAddressParameters = (parameters) => {
  const url = new URL(location.href);
  for (const name of [...url.searchParams.keys()]) if (!looks(name)) url.searchParams.delete(name);
  for (const [name, value] of Object.entries(parameters)) url.searchParams.set(name, value);
  if (url.href !== location.href) history.replaceState(history.state, "", url);
};

// The runs that an address names, whatever stands there: what is no run is said to be none.
export const runsNamed = (text) => [...new Set((text || "").split(",").map((id) => id.trim().slice(0, 40)))].filter(Boolean);

// The ids of runs among them.
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

const TAB = "sessionStorage"; // of this tab alone, kept over a reload
const put = (place, key, value) => {
  try {
    if (value === null) globalThis[place].removeItem(key);
    else globalThis[place].setItem(key, JSON.stringify(value));
  } catch {
    /* a browser that keeps nothing */
  }
};
const get = (place, key) => {
  try {
    return JSON.parse(globalThis[place].getItem(key));
  } catch {
    return null;
  }
};
export const storeItem = (key, value) => put("localStorage", key, value);
export const storedItem = (key) => get("localStorage", key);
export const storeTabItem = (key, value) => put(TAB, key, value);
export const storedTabItem = (key) => get(TAB, key);

// What is being written: this tab's own, so that tabs do not overwrite each other; a new tab starts from the last one of any. A tab that has emptied its own
// (null) is not given another's.
const NOTHING = { emptied: true };
export const storeOwnItem = (key, value) => {
  put(TAB, key, value ?? NOTHING);
  put("localStorage", key, value);
};
export const storedOwnItem = (key) => {
  const own = get(TAB, key);
  return own?.emptied ? null : (own ?? get("localStorage", key));
};
// The bench's design.
export const storeDraft = (draft) => storeOwnItem(DRAFT, draft);
export const storedDraft = () => {
  const kept = storedOwnItem(DRAFT);
  return kept && kept.model && kept.method ? kept : null;
};

// What is typed into a field outlasts the page (a reload, the other language, a crash) until it is forgotten.
const TEXT = "lab_text_";
export const keptText = (node, name) => {
  const before = storedOwnItem(TEXT + name);
  if (typeof before === "string") node.value = before;
  node.addEventListener("input", () => storeOwnItem(TEXT + name, node.value || null));
  return node;
};
export const forgetText = (name) => storeOwnItem(TEXT + name, null);
