// Undo and redo: the designs before and after the one that the knobs show, of this tab, kept over a reload.
import { storedTabItem, storeTabItem } from "../shell/storage.js";

const KEY = "lab_bench_history_1";
const LONGEST = 40; // designs
const TOGETHER = 500; // milliseconds in which changes of one knob are one step

const designs = (list) => (Array.isArray(list) ? list.filter((one) => one && one.model && one.method).slice(-LONGEST) : []);

export class DesignHistory {
  constructor(clock = () => Date.now()) {
    const kept = storedTabItem(KEY) || {};
    Object.assign(this, { clock, past: designs(kept.past), next: designs(kept.next), path: null, at: 0 });
  }

  // `before` became `after` by a change of `path`
  note(before, after, path) {
    if (JSON.stringify(before) === JSON.stringify(after)) return;
    const more = path && path === this.path && this.clock() - this.at < TOGETHER;
    Object.assign(this, { path, at: this.clock() });
    if (!more) this.past = [...this.past, structuredClone(before)].slice(-LONGEST);
    this.next = [];
    this.keep();
  }

  // The design before `now`, or null.
  undo(now) {
    return this.step(this.past, this.next, now);
  }

  redo(now) {
    return this.step(this.next, this.past, now);
  }

  step(from, to, now) {
    if (!from.length) return null;
    const found = from.pop();
    to.push(structuredClone(now));
    this.path = null;
    this.keep();
    return found;
  }

  keep() {
    storeTabItem(KEY, { past: this.past, next: this.next });
  }
}

// "undo" or "redo" where the pressed keys say so
export const stepOf = ({ key, ctrlKey, metaKey, shiftKey, altKey }) => {
  if ((!ctrlKey && !metaKey) || altKey) return "";
  const letter = key.toLowerCase();
  if (letter === "z") return shiftKey ? "redo" : "undo";
  return letter === "y" && ctrlKey && !shiftKey ? "redo" : "";
};
