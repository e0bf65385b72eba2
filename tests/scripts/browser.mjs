// As much of a browser as the modules under test touch. Import it first; `words` is the table that the page has.
export const words = {
  "bench.queued": ["{n} waiting", "{n} 个等待"],
  "curve.eval_f1": ["F1", "F1 值"],
  "metric.of": ["{metric} · {task}", "{metric} · {task}"],
  "curve.f1.of": ["F1 of {label}", "{label} 的 F1"],
};
export const element = () => ({ append() {}, setAttribute() {}, addEventListener() {}, classList: { contains: () => false } });

globalThis.window = globalThis;
globalThis.LAB_WORDS = words;
globalThis.document = { cookie: "", createElement: element, createElementNS: element, querySelector: () => null, body: element(), documentElement: {} };
globalThis.getComputedStyle = () => ({ getPropertyValue: (name) => ` value of ${name} ` });
globalThis.location = { href: "http://127.0.0.1/compare?runs=abcdefgh&__theme=dark" };
globalThis.history = { state: null, replaceState: (_state, _title, url) => (globalThis.location.href = String(url)) };
const storage = () => {
  const items = new Map();
  return {
    getItem: (key) => items.get(key) ?? null,
    setItem: (key, value) => items.set(key, value),
    removeItem: (key) => items.delete(key),
    clear: () => items.clear(),
  };
};
globalThis.localStorage = storage();
globalThis.sessionStorage = storage();
Object.defineProperty(globalThis, "navigator", { configurable: true, value: { language: "en-US" } });
