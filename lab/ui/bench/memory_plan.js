// The memory plan beside the knobs: asked when the knobs have rested, first the plan, then the largest batch; against this machine or a typical accelerator
import { chosenDevice, currentDraft, DEVICE, SIZES } from "./draft.js";
import { h, setHtml } from "../shell/dom.js";
import { emit, listen } from "../shell/events.js";
import { register } from "../shell/parts.js";
import { parsedJson, storeItem } from "../shell/storage.js";
import { LANGUAGE, say } from "../shell/words.js";

const memoryPlan = (element, server) => {
  const REST = 700;
  const topic = Math.random().toString(36).slice(2);
  const choice = h(
    "select",
    {
      id: "plan-device",
      "aria-label": say("plan.device"),
      onchange: (event) => {
        storeItem(DEVICE, event.target.value || null);
        emit("device");
        ask();
      },
    },
    h("option", { value: "" }, say("plan.device.here")),
    SIZES.map((size) => h("option", { value: size, selected: size === chosenDevice() }, say("plan.device.other", { size }))),
  );
  const body = h("div", { class: "lab-plan" });
  body.addEventListener("click", (event) => {
    const offer = event.target.closest("[data-set]");
    if (offer) emit("settings", parsedJson(offer.dataset.set));
  });
  element.replaceChildren(body, h("label", { class: "lab-muted lab-plan-device" }, say("plan.device"), choice));
  // One verdict, beside the count: that a design is whole says nothing yet of its memory
  let verdict = "asking"; // of the design that was asked about
  const judge = (found) => {
    const line = document.querySelector("#costs [data-verdict]");
    if (!line) return;
    const over = found === "over" && body.querySelector(".lab-over");
    line.textContent = over ? over.textContent : say("costs.verdict." + (found === "over" ? "asking" : found));
    line.className = over ? "lab-over" : "lab-fine";
    line.dataset.verdict = found;
  };
  let asked = "";
  let timer = 0;
  let turn = 0;
  const markOf = (draft, device) =>
    JSON.stringify([draft.model, draft.quantisation, draft.task, draft.further, draft.method, draft.built_on, draft.training, device]);
  const ask = async () => {
    const draft = currentDraft();
    const device = chosenDevice();
    const mark = markOf(draft, device);
    if (mark === asked) return;
    asked = mark;
    const mine = ++turn;
    verdict = "asking";
    judge(verdict);
    if (!body.querySelector("[data-peak]")) body.replaceChildren(h("p", { class: "lab-muted" }, say("plan.asking")));
    body.classList.add("stale");
    for (const advise of [false, true]) {
      let found;
      try {
        found = await server.plan({ draft, language: LANGUAGE, topic, turn: mine, device, advise });
      } catch {
        asked = ""; // what is shown is of an earlier design, and stays grey
        if (mine === turn) emit("unanswered");
        return;
      }
      if (mine !== turn || found.superseded) return;
      setHtml(body, found.html);
      body.classList.remove("stale");
      verdict = body.querySelector(".lab-over") ? "over" : body.querySelector("[data-peak]") ? "fine" : "unplanned";
      judge(verdict);
      if (!found.html) return;
    }
  };
  listen("answer", () => judge(markOf(currentDraft(), chosenDevice()) === asked ? verdict : "asking"));
  listen("settled", () => {
    clearTimeout(timer);
    timer = setTimeout(ask, REST);
  });
};

register({ memoryPlan });
