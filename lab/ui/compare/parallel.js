// Parallel coordinates: an axis for each setting that differs and for each outcome, a line for each run, ranges kept by dragging along axes.
import { download, h } from "../shell/dom.js";
import { emit } from "../shell/events.js";
import { register } from "../shell/parts.js";
import { resolvedColour } from "../shell/plots.js";
import { parsedJson } from "../shell/storage.js";
import { say } from "../shell/words.js";

const TOP = 46;
const TALL = 260;
const LOW = 22;
const SIDE = 112;
const NARROWEST = 96;
const STEPS = 20;
const svg = (tag, attributes, ...children) => h("svg:" + tag, attributes, ...children);
const clipped = (text, letters) => (text.length > letters ? text.slice(0, letters - 1) + "…" : text);

const parallelPlot = (element, props, watch) => {
  let brushes = {};
  let known = ""; // axis id: [low, high] as shares of the axis
  const title = h("h3", {}, say("compare.parallel"));
  const count = h("span", { class: "lab-muted", role: "status" });
  const name = h("span", { class: "lab-parallel-name" });
  const keep = h(
    "button",
    {
      type: "button",
      class: "lab-button",
      onclick: () =>
        emit(
          "pick",
          kept().map((line) => line.id),
        ),
    },
    say("compare.parallel.keep"),
  );
  const clear = h(
    "button",
    {
      type: "button",
      class: "lab-button",
      onclick: () => {
        brushes = {};
        mark();
      },
    },
    say("compare.clear"),
  );
  const save = ["svg", "png"].map((format) =>
    h(
      "button",
      {
        type: "button",
        class: "lab-tool",
        title: say("charts.save." + format),
        "aria-label": say("charts.save." + format),
        onclick: () => saveSvg(drawing, "parallel-coordinates", format),
      },
      format.toUpperCase(),
    ),
  );
  const box = h("div", { class: "lab-scroll" });
  const left = h("p", { class: "lab-muted" });
  let drawing = null;
  let lines = [];
  let value = null;
  element.replaceChildren(
    h("div", { class: "lab-title" }, title, name, h("span", { class: "lab-gap" }), count, keep, clear, ...save),
    h("p", { class: "lab-muted" }, say("compare.parallel.help")),
    box,
    left,
  );

  const within = (axis, at) => {
    const brush = brushes[axis.id];
    return !brush || (at !== null && at >= brush[0] - 1e-9 && at <= brush[1] + 1e-9);
  };
  const inside = (index) => value.axes.every((axis) => within(axis, axis.at[index]));
  const kept = () => value.lines.filter((_, index) => inside(index));
  const mark = () => {
    const on = value.lines.map((_, index) => inside(index));
    const some = Object.keys(brushes).length > 0;
    lines.forEach((node, index) => node.classList.toggle("out", !on[index]));
    count.textContent = some ? say("compare.parallel.kept", { n: on.filter(Boolean).length, all: on.length }) : "";
    keep.hidden = clear.hidden = !some;
    keep.disabled = !on.some(Boolean);
    drawing.querySelectorAll(".axis").forEach((group) => {
      const brush = brushes[group.dataset.axis];
      const rect = group.querySelector(".brush");
      const axis = value.axes.find((one) => one.id === group.dataset.axis);
      rect.setAttribute("y", TOP + (brush ? (1 - brush[1]) * TALL - 3 : 0));
      rect.setAttribute("height", brush ? (brush[1] - brush[0]) * TALL + 6 : 0);
      const marks = axis.at
        .map((at, index) => [at, axis.shown[index]])
        .filter(([at]) => at !== null && within(axis, at))
        .sort(([one], [other]) => one - other);
      group.setAttribute(
        "aria-label",
        say("compare.parallel.axis", { name: axis.title, low: marks.length ? marks[0][1] : "–", high: marks.length ? marks.at(-1)[1] : "–" }),
      );
    });
  };
  const point = (line) => {
    lines.forEach((node, index) => node.classList.toggle("hot", value.lines[index] === line));
    name.replaceChildren(...(line ? [h("span", { class: "lab-dot", style: `background:${line.colour}` }), line.label] : []));
  };

  const axisOf = (axis, x, first) => {
    // the first axis has its values on the side where no lines are
    const hit = svg("rect", { class: "hit", x: x - 16, y: TOP - 6, width: 32, height: TALL + 12 });
    const head = svg("text", { class: "name", x, y: 16, "text-anchor": "middle" }, clipped(axis.title, 18), svg("title", {}, axis.title));
    const group = svg(
      "g",
      { class: "axis" + (axis.good ? " outcome" : ""), "data-axis": axis.id, tabindex: 0, role: "group" },
      svg("line", { x1: x, x2: x, y1: TOP, y2: TOP + TALL }),
      head,
      axis.good ? svg("text", { class: "good", x, y: 31, "text-anchor": "middle" }, say("compare.good." + axis.good)) : null,
      svg("rect", { class: "brush", x: x - 7, width: 14, rx: 3 }),
      hit,
      ...axis.ticks.map(([at, text, exact]) =>
        svg(
          "text",
          { class: "tick", x: first ? x - 7 : x + 7, y: TOP + (1 - at) * TALL + 4, "text-anchor": first ? "end" : "start" },
          clipped(text, 16),
          svg("title", {}, exact),
        ),
      ),
    );
    head.addEventListener("click", () => {
      delete brushes[axis.id];
      mark();
    });
    const share = (event) => Math.max(0, Math.min(1, 1 - (event.clientY - drawing.getBoundingClientRect().top - TOP) / TALL));
    hit.addEventListener("pointerdown", (event) => {
      const from = share(event);
      hit.setPointerCapture(event.pointerId);
      const move = (next) => {
        const to = share(next);
        brushes[axis.id] = [Math.min(from, to), Math.max(from, to)];
        mark();
      };
      const end = () => {
        hit.removeEventListener("pointermove", move);
        if (brushes[axis.id] && brushes[axis.id][1] - brushes[axis.id][0] < 0.01) delete brushes[axis.id];
        mark();
      };
      hit.addEventListener("pointermove", move);
      hit.addEventListener("pointerup", end, { once: true });
      hit.addEventListener("pointercancel", end, { once: true });
    });
    group.addEventListener("keydown", (event) => {
      const [low, high] = brushes[axis.id] || [0, 1];
      if (event.key === "ArrowUp") brushes[axis.id] = [Math.min(high, low + 1 / STEPS), high];
      else if (event.key === "ArrowDown") brushes[axis.id] = [low, Math.max(low, high - 1 / STEPS)];
      else if (["Delete", "Backspace", "Escape"].includes(event.key)) delete brushes[axis.id];
      else return;
      event.preventDefault();
      mark();
    });
    return group;
  };

  const draw = () => {
    element.hidden = !value || value.axes.length < 2 || value.lines.length < 2;
    if (element.hidden) {
      drawing = null;
      known = "";
      return box.replaceChildren();
    }
    const wide = Math.max(box.clientWidth || 900, 2 * SIDE + (value.axes.length - 1) * NARROWEST);
    left.textContent = value.left || "";
    const stamp = JSON.stringify([value, wide]);
    if (stamp === known) return;
    known = stamp;
    brushes = Object.fromEntries(Object.entries(brushes).filter(([id]) => value.axes.some((axis) => axis.id === id)));
    const x = (index) => SIDE + (index * (wide - 2 * SIDE)) / (value.axes.length - 1);
    lines = value.lines.map((line, index) => {
      let path = "";
      let open = false;
      value.axes.forEach((axis, a) => {
        const at = axis.at[index];
        if (at === null) {
          open = false;
          return;
        }
        path += `${open ? "L" : "M"}${x(a).toFixed(1)} ${(TOP + (1 - at) * TALL).toFixed(1)}${open ? "" : "h0"}`; // a dot where neither neighbour has a value
        open = true;
      });
      const node = svg(
        "g",
        { class: "line", style: `--run:${line.colour}` },
        svg("path", { class: "wide", d: path }),
        svg("path", { class: "thin", d: path, "stroke-dasharray": line.dash === "solid" ? false : line.dash.replaceAll("px", "") }),
        svg("title", {}, [line.label, ...value.axes.map((axis) => `${axis.title}: ${axis.shown[index]}`)].join("\n")),
      );
      node.addEventListener("pointerenter", () => point(line));
      node.addEventListener("pointerleave", () => point(null));
      return node;
    });
    drawing = svg(
      "svg",
      { class: "lab-parallel", width: wide, height: TOP + TALL + LOW, role: "group", "aria-label": say("compare.parallel") },
      svg("g", {}, lines),
      svg(
        "g",
        {},
        value.axes.map((axis, index) => axisOf(axis, x(index), !index)),
      ),
    );
    box.replaceChildren(drawing);
    mark();
  };
  const take = () => {
    value = parsedJson(props.value);
    draw();
  };
  watch("value", take);
  new ResizeObserver(draw).observe(box);
  take();
};

// an SVG of the page as a file: its colours and fonts, which come from style sheets, are written into it
const saveSvg = async (drawing, name, format) => {
  const copy = drawing.cloneNode(true);
  const from = [drawing, ...drawing.querySelectorAll("*")];
  const to = [copy, ...copy.querySelectorAll("*")];
  const KEPT = [
    "fill",
    "stroke",
    "stroke-width",
    "stroke-opacity",
    "fill-opacity",
    "opacity",
    "paint-order",
    "stroke-linejoin",
    "font-family",
    "font-size",
    "font-weight",
    "text-anchor",
  ];
  from.forEach((node, index) => {
    const seen = getComputedStyle(node);
    to[index].setAttribute("style", KEPT.map((one) => `${one}:${seen.getPropertyValue(one)}`).join(";"));
  });
  const { width, height } = drawing.getBoundingClientRect();
  copy.setAttribute("xmlns", "http://www.w3.org/2000/svg");
  copy.prepend(svg("rect", { width, height, fill: resolvedColour("var(--card)") }));
  const text = new XMLSerializer().serializeToString(copy);
  let href = "data:image/svg+xml;charset=utf-8," + encodeURIComponent(text);
  if (format === "png") {
    const picture = new Image();
    picture.src = href;
    await picture.decode();
    const canvas = h("canvas", { width: 2 * width, height: 2 * height });
    canvas.getContext("2d").drawImage(picture, 0, 0, 2 * width, 2 * height);
    href = canvas.toDataURL("image/png");
  }
  download(href, `${name}.${format}`);
};

register({ parallelPlot });
