// What is done to several runs at once, on a list, a table or a sweep.
import { h } from "./dom.js";
import { emit } from "./events.js";
import { register } from "./parts.js";
import { askAgain } from "./poll.js";
import { sure } from "./sure.js";
import { LANGUAGE, say } from "./words.js";

const MOST = 50; // that are compared
export const GOING = ["queued", "starting", "running"]; // what can be stopped

export const compareThese = (runs) => {
  location.href = "compare?runs=" + runs.slice(0, MOST).join(",");
};

// Ask the server to do `act` to the runs, say what came of it in `notice`, and look at once. Whether all was well.
export const actOn = async (server, notice, act, runs, more = {}) => {
  const found = await server.act({ act, runs, ...more, language: LANGUAGE }).catch(() => ({ words: say("bench.lost"), wrong: true }));
  notice.textContent = found.words;
  notice.classList.toggle("wrong", Boolean(found.wrong));
  notice.hidden = !found.words;
  if (act === "bin") emit("binned", { kind: "run", gone: "" });
  askAgain();
  return !found.wrong;
};

export const stopThese = async (server, notice, runs) => {
  const asked = { title: say("many.stop.sure", { n: runs.length }), text: say("many.stop.text"), act: say("act.stop") };
  if (runs.length && (await sure(asked))) await actOn(server, notice, "stop", runs);
};

// The two buttons of a list of runs. `listed()` and `going()`: the ids of those that are listed, and of those of them that can be stopped.
export const manyButtons = (server, listed, going) => {
  const notice = h("p", { class: "lab-said", role: "status", hidden: true });
  const compare = h(
    "button",
    { type: "button", class: "lab-button", title: say("many.compare.help"), onclick: () => compareThese(listed()) },
    say("many.compare"),
  );
  const stop = h("button", { type: "button", class: "lab-button warn", "data-act": "stop-all", onclick: () => stopThese(server, notice, going()) });
  const node = h("div", { class: "lab-many" }, compare, stop, notice);
  const draw = () => {
    const n = going().length;
    compare.disabled = listed().length < 2;
    stop.hidden = !n;
    stop.textContent = say("many.stop.all", { n });
  };
  return { node, draw };
};

// The buttons of a part that is told {"runs", "going"}: a sweep's.
const manyRuns = (element, props, watch, server) => {
  const value = () => props.value || { runs: [], going: [] };
  const buttons = manyButtons(
    server,
    () => value().runs,
    () => value().going,
  );
  element.replaceChildren(buttons.node);
  const draw = () => {
    element.hidden = !value().runs.length;
    buttons.draw();
  };
  watch("value", draw);
  draw();
};

register({ manyRuns });
