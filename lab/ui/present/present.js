// The stage: one method on the whole screen. Left and right turn the chosen dimension, up and down choose another one.
import { h, setHtml } from "../shell/dom.js";
import { emit, listen } from "../shell/events.js";
import { register } from "../shell/parts.js";
import { addressParameters, setAddressParameters } from "../shell/storage.js";
import { choosing } from "../shell/shortcuts.js";
import { LANGUAGE, say } from "../shell/words.js";

const still = () => matchMedia("(prefers-reduced-motion: reduce)").matches;
// The parts change in one picture, each gliding from what it was; where the browser cannot, at once.
const morph = (change) => (document.startViewTransition && !still() ? document.startViewTransition(change) : change());

const stageFigure = (element) => listen("stage", ({ figure }) => setHtml(element, figure));
const stageCount = (element) =>
  listen("stage", ({ count, near }) => element.replaceChildren(h("p", { class: "lab-stage-count" }, count), h("p", { class: "lab-stage-near" }, near)));
const SMALLEST = 12; // pixels of an equation's letters
// An equation wider than its place is written smaller, since nobody scrolls it for a room.
const fit = (box) => {
  box.style.fontSize = "";
  const wide = () => [box, ...box.querySelectorAll(".lab-equation")].find((one) => one.scrollWidth > one.clientWidth); // gradio scrolls a box within
  let size = parseFloat(getComputedStyle(box).fontSize);
  for (let tries = 0, over = wide(); tries < 4 && over && size > SMALLEST; tries++, over = wide()) {
    size = Math.max(SMALLEST, Math.floor(((size * over.clientWidth) / over.scrollWidth) * 10) / 10); // what does not shrink with the letters takes another try
    box.style.fontSize = size + "px";
  }
};
const stageFormula = (element, props) => {
  let box = null; // gradio's part of the equation may come into the page after this one
  addEventListener("resize", () => box && fit(box));
  const meet = () => {
    box = document.getElementById("stage-equation");
    if (!box) return requestAnimationFrame(meet);
    fit(box);
    new MutationObserver(() => {
      fit(box);
      document.fonts.ready.then(() => fit(box)); // letters of another width
    }).observe(box, { childList: true, subtree: true });
  };
  meet();
  listen("stage", ({ equation }) => {
    props.value = { equation };
  });
};

const stageHead = (element) => {
  listen("stage", ({ name, summary, method, presets, delta, deltas }) => {
    const preset = typeof method === "string" ? method : "";
    const choose = h(
      "select",
      { "aria-label": say("bench.method"), onchange: (event) => emit("stage-go", { method: event.target.value, delta: 0 }) },
      !preset && h("option", { value: "", selected: true }, say("present.free")),
      presets.map(([one, title]) => h("option", { value: one, selected: one === preset }, title)),
    );
    const which =
      deltas > 1 &&
      h(
        "div",
        { class: "lab-segments", role: "group", "aria-label": say("present.delta") },
        Array.from({ length: deltas }, (_, at) =>
          h("button", { type: "button", "aria-pressed": String(at === delta), onclick: () => emit("stage-go", { method, delta: at }) }, `Δ${at + 1}`),
        ),
      );
    element.replaceChildren(
      h("div", { class: "lab-stage-title" }, h("h1", {}, name), which, choose),
      h("p", { class: "lab-stage-summary" }, summary || say("present.free.help")),
    );
  });
};

const stage = (element, server) => {
  let now = null;
  let chosen = 0;
  let number = 0;
  const notice = h("p", { class: "lab-muted", role: "status" });
  const full = h(
    "button",
    {
      type: "button",
      class: "lab-quiet",
      onclick: () => (document.fullscreenElement ? document.exitFullscreen() : document.documentElement.requestFullscreen()),
    },
    say("present.full"),
  );
  const leave = h("a", { class: "lab-quiet", href: "./" }, say("present.leave"));
  const lanes = h("div", { class: "lab-stage-lanes" });
  element.replaceChildren(lanes, h("div", { class: "lab-tools" }, notice, full, leave));
  const show = (found) => {
    now = found;
    setAddressParameters(found.link);
    chosen = Math.min(chosen, Math.max(0, found.dimensions.length - 1));
    emit("stage", found);
    draw();
    element.closest(".lab-stage")?.classList.add("drawn"); // all of it at once, so that nothing is pushed about
  };
  // `why`: why what the address asks for is not on the stage
  const go = async (asked, why = "") => {
    const mine = ++number;
    notice.textContent = why;
    const found = await server.walk({ language: LANGUAGE, ...asked }).catch(() => ({ wrong: say("bench.lost") }));
    if (mine !== number) return; // a newer step is on its way
    if (found.wrong && !now && !why) go({}, found.wrong);
    else if (found.wrong) notice.textContent = found.wrong;
    else morph(() => show(found));
  };
  const turn = (by) => {
    const dimension = now && now.dimensions[chosen];
    if (!dimension) return;
    const at = dimension.steps.findIndex((step) => step.value === dimension.value);
    const next = dimension.steps[(at + by + dimension.steps.length) % dimension.steps.length];
    if (next.value === dimension.value) notice.textContent = say("present.alone", { dimension: dimension.label });
    else go({ method: next.method, delta: now.delta });
  };
  const lane = (dimension, place) => {
    const stop = Math.max(
      0,
      dimension.steps.findIndex((step) => step.value === dimension.value),
    ); // where Tab stops in it
    const chips = dimension.steps.map((step, at) => {
      const on = step.value === dimension.value;
      const chip = h(
        "button",
        { type: "button", tabindex: at === stop ? 0 : -1, class: on ? "on" : "", "aria-pressed": String(on), onclick: () => pick(place, step) },
        step.label === step.value ? step.label : h("span", { title: step.value }, step.label),
      );
      return chip;
    });
    return h(
      "div",
      { class: "lab-stage-lane" + (place === chosen ? " chosen" : ""), role: "group", "aria-label": dimension.label },
      h("b", {}, dimension.label),
      h("div", { class: "lab-stage-chips" }, chips),
    );
  };
  const pick = (place, step) => {
    chosen = place;
    if (step.value === now.dimensions[place].value) draw();
    else go({ method: step.method, delta: now.delta });
  };
  const draw = () => {
    const held = lanes.contains(document.activeElement);
    lanes.replaceChildren(...now.dimensions.map(lane));
    if (held) lanes.querySelector(".chosen [tabindex='0']")?.focus({ preventScroll: true });
    if (!now.dimensions.length) lanes.replaceChildren(h("p", { class: "lab-muted" }, say("present.selective")));
    for (const on of lanes.querySelectorAll(".on")) on.scrollIntoView({ block: "nearest", inline: "center" });
  };
  const keys = {
    ArrowRight: () => turn(1),
    ArrowLeft: () => turn(-1),
    ArrowDown: () => choose(1),
    ArrowUp: () => choose(-1),
    f: () => full.click(),
    Escape: () => !document.fullscreenElement && leave.click(),
  };
  const choose = (by) => {
    if (!now || !now.dimensions.length) return;
    chosen = (chosen + by + now.dimensions.length) % now.dimensions.length;
    draw();
  };
  document.addEventListener("keydown", (event) => {
    const act = keys[event.key];
    if (!act || event.ctrlKey || event.metaKey || event.altKey || choosing(event)) return;
    event.preventDefault();
    act();
  });
  listen("stage-go", go);
  go({ link: addressParameters() });
};

register({ stage, stageHead, stageFigure, stageCount, stageFormula });
