// What the parts of the bench share: the design as the knobs have it, the device that is planned for, and what of the server's answers is shown.
import { storedItem } from "../shell/storage.js";

let read = () => ({});
// The knobs say how the design is read.
export const provideDraft = (reader) => {
  read = reader;
};
export const currentDraft = () => read();

export const DEVICE = "lab_device";
export const SIZES = ["16", "24", "40", "80"]; // GB of a typical accelerator
export const chosenDevice = () => {
  const kept = storedItem(DEVICE);
  return SIZES.includes(kept) ? kept : "";
};

const prints = {}; // part: print of what it shows
export const rememberPrint = (part, print) => {
  prints[part] = print;
};
export const shownPrints = () => ({ ...prints });

// A value of a document by its dotted path, undefined where there is none; and putting one there.
export const readPath = (doc, path) => path.split(".").reduce((at, part) => (at === null || at === undefined ? undefined : at[part]), doc);
export const writePath = (doc, path, value) => {
  const parts = path.split(".");
  const last = parts.pop();
  let at = doc;
  for (const part of parts) at = at[part] === null || at[part] === undefined ? (at[part] = {}) : at[part];
  at[last] = value;
};
// Several at once: {path: value}.
export const writePaths = (doc, values) => Object.entries(values).forEach(([path, value]) => writePath(doc, path, value));
