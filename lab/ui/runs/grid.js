// The table itself, of any length: only the rows in sight are in the page. Chosen by click, Shift-click, Ctrl-click and by keyboard.
import { h } from "../shell/dom.js";
import { stateBadge } from "../shell/run_list.js";
import { say } from "../shell/words.js";
import { linesOf, selected } from "./lines.js";

const PITCH = 33; // pixels from one row to the next (as table.css has it)
const SPARE = 10; // rows beyond either edge

const cell = (value, column) => {
  const [text, hover, difference, mark] = typeof value === "string" ? [value] : value;
  return h(
    "td",
    { class: [column.number ? "right num" : "", mark || ""].filter(Boolean).join(" "), title: hover || text || null },
    text,
    difference ? h("small", { class: mark }, difference) : null,
  );
};

// What a run that goes on is doing, and how far it is.
const busy = (row) =>
  row.state === "running" ? h("small", {}, say("phase." + (row.phase || "starting")), row.share ? ` ${Math.round(100 * row.share)} %` : "") : null;

// `heard`: sort(column), choose(id), select(set) are called with what somebody wants.
export const grid = (heard) => {
  const body = h("tbody", {});
  const head = h("thead", {});
  const table = h("table", { class: "lab-grid", role: "grid", "aria-label": say("table.label"), "aria-multiselectable": "true" }, head, body);
  const box = h("div", { class: "lab-gridbox", tabindex: -1 }, table);
  let content = { columns: [], order: [], rows: new Map(), groups: {}, sort: "", descending: false };
  let lines = [];
  let ids = [];
  let picked = new Set();
  let anchor = "";
  let stop = 0; // the line that Tab reaches
  let asked = false;
  const open = new Set();

  const pick = (next) => {
    picked = next;
    heard.select(picked);
    paint();
  };
  const press = (id, event) => {
    const how = event.shiftKey ? "range" : event.ctrlKey || event.metaKey ? "toggle" : "only";
    const next = selected(picked, ids, id, how, anchor);
    if (how !== "range") anchor = id;
    pick(next);
  };
  const toggle = (id, event) => {
    const next = selected(picked, ids, id, event.shiftKey ? "range" : "toggle", anchor);
    if (!event.shiftKey) anchor = id;
    pick(next);
  };
  const tick = (on, label, change) =>
    h("td", { class: "tick" }, h("input", { type: "checkbox", checked: on, tabindex: -1, "aria-label": label, onclick: change }));

  const runRow = (line) => {
    const row = content.rows.get(line.id);
    if (!row) return h("tr", {});
    const state = content.columns.findIndex((column) => column.name === "state");
    const cells = content.columns.map((column, index) =>
      index === state ? h("td", {}, stateBadge(row.state), busy(row)) : cell(row.cells[index] ?? "", column),
    );
    const on = picked.has(row.id);
    return h(
      "tr",
      { "data-run": row.id, "aria-selected": String(on), class: line.below ? "below" : "" },
      tick(on, say("table.select", { name: row.name }), (event) => {
        event.stopPropagation();
        toggle(row.id, event);
      }),
      h(
        "th",
        { scope: "row", title: row.name },
        h("span", { class: "lab-dot", style: `background:${row.colour}` }),
        h("a", { href: "runs?run=" + row.id, tabindex: -1 }, row.name),
      ),
      cells,
    );
  };
  const groupRow = (line) => {
    const group = content.groups[line.group] || { label: "", states: [], cells: [] };
    const on = line.ids.every((id) => picked.has(id));
    const cells = content.columns.map((column, index) =>
      column.name === "state" ? h("td", {}, group.states.slice(0, 2).map(stateBadge)) : cell(group.cells[index] ?? "", column),
    );
    return h(
      "tr",
      { "data-group": line.group, "aria-selected": String(on), "aria-expanded": String(open.has(line.group)), class: "group" },
      tick(on, say("table.select", { name: group.label }), (event) => {
        event.stopPropagation();
        pick(new Set(on ? [...picked].filter((id) => !line.ids.includes(id)) : [...picked, ...line.ids]));
      }),
      h(
        "th",
        { scope: "row", title: group.label },
        h("span", { class: "fold", "aria-hidden": "true" }),
        group.label,
        h("small", {}, say("table.runs", { n: line.ids.length })),
      ),
      cells,
    );
  };
  const fold = (group) => {
    if (open.has(group)) open.delete(group);
    else open.add(group);
    settle();
  };

  const paint = () => {
    asked = false;
    const sight = Math.ceil(window.innerHeight / PITCH);
    const from = Math.max(0, Math.min(Math.floor(box.scrollTop / PITCH), lines.length - sight));
    const first = Math.max(0, from - SPARE);
    const last = Math.min(lines.length, from + sight + SPARE);
    const held = body.contains(document.activeElement);
    const space = (height) => h("tr", { class: "space", "aria-hidden": "true" }, h("td", { colspan: content.columns.length + 2, style: `height:${height}px` }));
    const drawn = lines.slice(first, last).map((line, index) => {
      const node = line.id ? runRow(line) : groupRow(line);
      node.dataset.line = first + index;
      node.tabIndex = first + index === stop ? 0 : -1;
      node.setAttribute("aria-rowindex", first + index + 2);
      return node;
    });
    body.replaceChildren(...(first ? [space(first * PITCH)] : []), ...drawn, ...(last < lines.length ? [space((lines.length - last) * PITCH)] : []));
    table.setAttribute("aria-rowcount", lines.length + 1);
    if (held) body.querySelector(`[data-line="${stop}"]`)?.focus({ preventScroll: true });
  };
  const drawHead = () => {
    const all = h("input", {
      type: "checkbox",
      "aria-label": say("table.select.all"),
      checked: ids.length > 0 && picked.size === ids.length,
      onclick: () => pick(new Set(picked.size === ids.length ? [] : ids)),
    });
    const title = (column) =>
      h(
        "th",
        {
          scope: "col",
          "data-column": column.name,
          class: column.number ? "right" : "",
          "aria-sort": content.sort === column.name ? (content.descending ? "descending" : "ascending") : "none",
        },
        h("button", { type: "button", title: column.title, onclick: () => heard.sort(column) }, column.title),
      );
    const held = head.contains(document.activeElement) && document.activeElement.closest("th")?.dataset.column;
    head.replaceChildren(
      h("tr", { "aria-rowindex": 1 }, h("td", { class: "tick" }, all), title({ name: "name", title: say("table.column.name") }), content.columns.map(title)),
    );
    if (held) head.querySelector(`[data-column="${CSS.escape(held)}"] button`)?.focus();
  };
  const settle = () => {
    lines = linesOf(content.order, open);
    table.setAttribute("role", lines.some((line) => line.group !== undefined) ? "treegrid" : "grid"); // rows that open are those of a tree
    ids = content.order.flatMap((entry) => (typeof entry === "string" ? [entry] : entry[1]));
    const there = new Set(ids);
    const left = new Set([...picked].filter((id) => there.has(id)));
    if (left.size !== picked.size) heard.select((picked = left));
    stop = Math.min(stop, Math.max(0, lines.length - 1));
    drawHead();
    paint();
  };
  const go = (line) => {
    stop = Math.min(Math.max(0, line), lines.length - 1);
    const top = stop * PITCH;
    const room = box.clientHeight - 2 * PITCH; // below the heading
    if (top < box.scrollTop) box.scrollTop = top;
    else if (top > box.scrollTop + room) box.scrollTop = top - room;
    paint();
    body.querySelector(`[data-line="${stop}"]`)?.focus({ preventScroll: true });
  };

  box.addEventListener("scroll", () => {
    if (!asked) {
      asked = true;
      requestAnimationFrame(paint);
    }
  });
  body.addEventListener("click", (event) => {
    const row = event.target.closest("tr");
    if (!row || row.classList.contains("space")) return;
    stop = Number(row.dataset.line);
    if (event.target.closest("a") && !event.ctrlKey && !event.metaKey && !event.shiftKey) {
      event.preventDefault();
      return heard.choose(row.dataset.run);
    }
    if (event.target.closest("input")) return;
    if (event.shiftKey) event.preventDefault();
    if (row.dataset.group !== undefined) fold(row.dataset.group);
    else press(row.dataset.run, event);
  });
  body.addEventListener("mousedown", (event) => event.shiftKey && event.preventDefault()); // no text is marked
  body.addEventListener("focusin", (event) => {
    const row = event.target.closest("tr");
    if (row && row.dataset.line !== undefined) stop = Number(row.dataset.line);
  });
  body.addEventListener("keydown", (event) => {
    const line = lines[stop];
    if (!line) return;
    const page = Math.max(1, Math.floor(box.clientHeight / PITCH) - 2);
    const to = { ArrowDown: stop + 1, ArrowUp: stop - 1, PageDown: stop + page, PageUp: stop - page, Home: 0, End: lines.length - 1 }[event.key];
    if (to !== undefined) {
      event.preventDefault();
      if (event.shiftKey && !anchor && line.id) anchor = line.id;
      go(to);
      if (event.shiftKey && lines[stop].id) pick(selected(picked, ids, lines[stop].id, "range", anchor));
    } else if (event.key === " ") {
      event.preventDefault();
      if (line.id) toggle(line.id, event);
      else fold(line.group);
    } else if (event.key === "Enter") {
      event.preventDefault();
      if (line.id) heard.choose(line.id);
      else fold(line.group);
    } else if (event.key === "a" && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      pick(new Set(ids));
    } else if (event.key === "Escape") pick(new Set());
  });
  window.addEventListener("resize", () => paint());
  return {
    node: box,
    draw: (next) => {
      content = next;
      settle();
    },
    clear: () => pick(new Set()),
    picked: () => [...picked],
  };
};
