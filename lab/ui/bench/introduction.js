// Four steps around the bench, offered to a browser that is new here, and again from the sheet of keys. They can be left at any of them, and are not offered twice.
import { h } from "../shell/dom.js";
import { register } from "../shell/parts.js";
import { storedItem, storeItem } from "../shell/storage.js";
import { say } from "../shell/words.js";

const SEEN = "lab_introduced";
const ADDRESS = "#introduction"; // that asks for it
const PLACES = ["knobs", "figure", "costs", "launch"]; // by the ids of what a step is about

const introduction = (element) => {
  let step = -1; // the offer
  const words = h("p", { id: "introduction-words" });
  const count = h("span", { class: "lab-muted" });
  const button = (key, onclick, css = "lab-button") => h("button", { type: "button", class: css, onclick }, key && say(key));
  const skip = button("introduction.skip", () => leave());
  const back = button("introduction.back", () => turn(step - 1));
  const next = button("", () => (step + 1 < PLACES.length ? turn(step + 1) : leave()), "lab-button lab-primary");
  const card = h(
    "section",
    { class: "lab-introduction", "aria-label": say("introduction.title"), tabindex: -1, hidden: true },
    h("div", { role: "status" }, words),
    h("div", { class: "lab-introduction-acts" }, count, h("span", { class: "lab-gap" }), skip, back, next),
  );
  const mark = (at) => {
    for (const id of PLACES) document.getElementById(id)?.toggleAttribute("data-pointed", id === PLACES[at]); // their classes are gradio's
    const place = document.getElementById(PLACES[at]);
    place?.scrollIntoView({ block: place.clientHeight > innerHeight ? "start" : "center", behavior: "instant" });
  };
  const draw = () => {
    words.textContent = say(step < 0 ? "introduction.offer" : "introduction." + PLACES[step]);
    count.textContent = step < 0 ? "" : `${step + 1} / ${PLACES.length}`;
    next.textContent = say(step < 0 ? "introduction.begin" : step + 1 < PLACES.length ? "introduction.next" : "introduction.done");
    back.hidden = step < 1;
    skip.hidden = step + 1 === PLACES.length;
    card.hidden = false;
  };
  const turn = (to) => {
    step = to;
    draw();
    mark(step);
    (step + 1 < PLACES.length ? next : card).focus({ preventScroll: true });
  };
  const leave = () => {
    storeItem(SEEN, true);
    mark(-1);
    card.hidden = true;
    step = -1;
    if (location.hash === ADDRESS) history.replaceState(history.state, "", location.href.slice(0, -ADDRESS.length));
  };
  card.addEventListener("keydown", (event) => {
    if (event.key === "Escape") leave();
  });
  element.replaceChildren(card);
  const asked = () => location.hash === ADDRESS;
  window.addEventListener("hashchange", () => asked() && turn(0));
  const ready = () => (document.querySelector("#costs [data-trainable]") ? turn(0) : setTimeout(ready, 100));
  if (asked()) ready();
  else if (!storedItem(SEEN)) draw();
};

register({ introduction });
