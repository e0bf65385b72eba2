// A list of runs of any length to choose from: filtered and sorted as a whole, but only the rows in sight are in the page.
import { h } from "./dom.js";
import { say } from "./words.js";

const PITCH = 56;
const SPARE = 8; // pixels from one row to the next (as shared.css has it); rows beyond either edge
export const stateBadge = (state) => h("span", { class: "lab-state " + state }, say("state." + state));

export const checkMark = (row, on) => h("span", { class: "lab-check", style: on ? `background:${row.colour};border-color:${row.colour}` : "" });
export const nameOf = (row) => h("span", { class: "lab-name", title: row.name || row.id }, row.label);
export const noRuns = () =>
  h("div", { class: "lab-empty", hidden: true }, h("p", {}, say("runs.empty")), h("a", { href: "./", class: "lab-cta" }, say("runs.empty.go")));

// state, tag and order: three small selects, and what they leave of the rows
const STATES = ["queued", "running", "succeeded", "failed", "cancelled", "interrupted"];
const ORDERS = {
  newest: null,
  name: (row) => row.name,
  metric: (row) => (row.value === null ? Infinity : -row.value),
  weights: (row) => row.weights ?? Infinity,
  time: (row) => row.seconds || Infinity,
};
const sorting = (changed) => {
  const select = (label, choices) =>
    h(
      "select",
      { "aria-label": say(label), onchange: changed },
      choices.map(([value, text]) => h("option", { value }, text)),
    );
  const state = select("runs.by.state", [["", say("runs.all.states")], ...STATES.map((one) => [one, say("state." + one)])]);
  const tag = select("runs.by.tag", [["", say("runs.all.tags")]]);
  const order = select(
    "runs.by.order",
    Object.keys(ORDERS).map((one) => [one, say("runs.order." + one)]),
  );
  let tags = "";
  const pick = (rows) => {
    const found = [...new Set(rows.flatMap((row) => row.tags))].sort();
    if (found.join("\n") !== tags) {
      const kept = tag.value;
      tags = found.join("\n");
      tag.replaceChildren(h("option", { value: "" }, say("runs.all.tags")), ...found.map((one) => h("option", { value: one }, one)));
      tag.value = found.includes(kept) ? kept : "";
    }
    const left = rows.filter(
      (row) =>
        (!state.value || row.state === state.value || (state.value === "running" && ["starting", "stopping"].includes(row.state))) &&
        (!tag.value || row.tags.includes(tag.value)),
    );
    const by = ORDERS[order.value];
    return by ? [...left].sort((a, b) => (by(a) < by(b) ? -1 : by(a) > by(b) ? 1 : 0)) : left;
  };
  return { node: h("div", { class: "lab-sorting" }, state, tag, order), pick };
};

// The rows that the server tells (lab.ui.shell.run_list): all of them at first, then those that have changed, and the order where it is another.
// A row's label is its name, or what tells it from the others first.
export const mergedRows = () => {
  const known = new Map();
  let order = null;
  let labels = {};
  return (news) => {
    if (!news) return null;
    if (news.whole) known.clear();
    for (const row of news.rows) known.set(row.id, row);
    if (news.order) [order, labels] = [news.order, news.labels || {}];
    for (const row of known.values()) row.label = labels[row.id] || row.name || row.id;
    return order && order.map((id) => known.get(id)).filter(Boolean);
  };
};

const searched = (row) => [row.name, row.id, row.state, say("state." + row.state), ...row.tags];
// `words(row)`: what the filter looks in; `parts(row, on)`: what a row shows; `state(row)`: [whether it is chosen, whether it cannot be];
// `choose(row)`: what a click does. `many`: several can be chosen. Returns {nodes, draw(rows), pin(ids), reveal(id), listed()}; `pin`: these stand first
// unless an order is chosen: what the address asked for is seen, and what is clicked stays where it is.
export const listbox = ({ label, hint, many = false, sorted = true, few = 6, words = searched, parts, state, choose }) => {
  const filter = h("input", { type: "search", placeholder: hint, "aria-label": hint, oninput: () => draw() });
  const tools = sorted ? sorting(() => draw()) : null;
  const above = tools ? [filter, tools.node] : [filter];
  const inside = h("div", { class: "lab-inside", role: "presentation" });
  const box = h("div", { class: "lab-list", role: "listbox", "aria-label": label, "aria-multiselectable": many && "true" }, inside);
  let drawn = new Map(); // id: {node, mark}
  let all = [];
  let listed = [];
  let pinned = [];
  let stop = "";
  let top = 0;
  let asked = false; // stop: the row that Tab reaches; it stays in the page wherever the list is scrolled to

  const build = (row, on, full) =>
    h(
      "button",
      {
        type: "button",
        role: "option",
        class: "lab-item",
        "data-run": row.id,
        [many ? "aria-checked" : "aria-selected"]: String(on),
        "aria-disabled": full && "true",
        onclick: () => full || choose(row),
      },
      parts(row, on),
    );
  const place = (row, index) => {
    const [on, full] = state(row);
    const mark = JSON.stringify([row, on, full, Math.floor(Date.now() / 60000)]);
    const old = drawn.get(row.id);
    const node = old && old.mark === mark ? old.node : build(row, on, full);
    node.style.top = index * PITCH + "px";
    node.tabIndex = row.id === stop ? 0 : -1;
    node.setAttribute("aria-posinset", index + 1);
    node.setAttribute("aria-setsize", listed.length);
    return [row.id, { node, mark }];
  };
  // the rows in sight and the one that Tab reaches, in order; a row that stays is not moved, so that it keeps the focus
  const paint = () => {
    asked = false;
    const sight = Math.ceil(window.innerHeight / PITCH);
    const from = Math.max(0, Math.min(Math.floor(top / PITCH), listed.length - sight)); // a filter may have left less than was scrolled through
    const first = Math.max(0, from - SPARE);
    const last = Math.min(listed.length, from + sight + 1 + SPARE);
    const at = listed.findIndex((row) => row.id === stop);
    const held = box.contains(document.activeElement) && document.activeElement.dataset.run;
    const wanted = listed.slice(first, last).map((row, index) => [row, first + index]);
    if (at >= 0 && at < first) wanted.unshift([listed[at], at]);
    if (at >= last) wanted.push([listed[at], at]);
    const now = new Map(wanted.map((pair) => place(...pair)));
    const nodes = new Set([...now.values()].map((one) => one.node));
    for (const node of [...inside.children]) if (!nodes.has(node)) node.remove();
    let next = inside.firstChild;
    for (const node of nodes) {
      if (node === next) next = next.nextSibling;
      else inside.insertBefore(node, next);
    }
    drawn = now;
    if (held && drawn.has(held) && drawn.get(held).node !== document.activeElement) drawn.get(held).node.focus({ preventScroll: true });
  };
  const draw = (rows = all) => {
    all = rows;
    const text = filter.value.trim().toLowerCase();
    const ordered = [...pinned.map((id) => all.find((row) => row.id === id)).filter(Boolean), ...all.filter((row) => !pinned.includes(row.id))];
    listed = (tools ? tools.pick(ordered) : ordered).filter((row) => !text || words(row).join(" ").toLowerCase().includes(text));
    for (const node of above) node.hidden = all.length < few;
    box.hidden = !all.length;
    if (!listed.some((row) => row.id === stop)) stop = (listed.find((row) => state(row)[0]) || listed[0] || {}).id || "";
    inside.style.height = Math.max(0, listed.length * PITCH - 4) + "px";
    paint();
  };
  const pin = (ids) => {
    pinned = ids;
  };
  const reveal = (id) => {
    const index = listed.findIndex((row) => row.id === id);
    const height = box.clientHeight;
    if (index < 0) return;
    const from = index * PITCH;
    const to = from + PITCH;
    if (from < box.scrollTop) box.scrollTop = from;
    else if (to > box.scrollTop + height) box.scrollTop = to - height;
    top = box.scrollTop;
    paint();
  };
  const go = (index) => {
    const row = listed[Math.min(Math.max(0, index), listed.length - 1)];
    if (!row) return;
    stop = row.id;
    reveal(row.id);
    drawn.get(row.id).node.focus({ preventScroll: true });
  };
  box.addEventListener("scroll", () => {
    top = box.scrollTop;
    if (!asked) {
      asked = true;
      requestAnimationFrame(paint);
    }
  });
  box.addEventListener("focusin", (event) => {
    const id = event.target.dataset.run;
    if (!id || id === stop) return;
    const old = drawn.get(stop);
    stop = id;
    if (old) old.node.tabIndex = -1;
    event.target.tabIndex = 0;
  });
  box.addEventListener("keydown", (event) => {
    const at = listed.findIndex((row) => row.id === event.target.dataset?.run);
    const page = Math.max(1, Math.floor(box.clientHeight / PITCH) - 1);
    const to = { ArrowDown: at + 1, ArrowUp: at - 1, PageDown: at + page, PageUp: at - page, Home: 0, End: listed.length - 1 }[event.key];
    if (at < 0 || to === undefined) return;
    event.preventDefault();
    go(to);
  });
  window.addEventListener("resize", () => paint());
  draw();
  return { nodes: [...above, box], draw, pin, reveal, listed: () => listed };
};
