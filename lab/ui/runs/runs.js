// The list of runs, the chosen one, its buttons and its log.
import { copyText, h } from "../shell/dom.js";
import { emit, listen } from "../shell/events.js";
import { register } from "../shell/parts.js";
import { noticeOf, toggleNotice } from "../shell/notify.js";
import { askAgain } from "../shell/poll.js";
import { GOING, manyButtons } from "../shell/bulk.js";
import { listbox, mergedRows, nameOf, noRuns, stateBadge } from "../shell/run_list.js";
import { parsedJson, setAddress } from "../shell/storage.js";
import { metricName, say } from "../shell/words.js";
import { shownView, tableChoice } from "./table_choice.js";

const ago = (seconds) => {
  const gone = Math.max(0, Date.now() / 1000 - seconds);
  if (gone < 60) return say("ago.now");
  if (gone < 3600) return say("ago.minutes", { n: Math.floor(gone / 60) });
  if (gone < 86400) return say("ago.hours", { n: Math.floor(gone / 3600) });
  return new Date(seconds * 1000).toLocaleDateString(document.documentElement.lang, { month: "short", day: "numeric" });
};
// the run that is looked at, kept in the address
const chosenRun = (choose) => {
  listen("binned", ({ kind, gone, back }) => {
    if (kind === "run") emit("choose", gone ? "" : back);
  });
  const named = () => new URL(location.href).searchParams.get("run") || "";
  let run = named();
  let returned = false; // to a place of before: that is no new one
  const choice = () => ({ run, view: shownView(), ...(shownView() === "table" ? tableChoice() : {}) });
  listen("choose", (next) => {
    run = next;
    if (!returned) setAddress({ run }, true);
    choose(choice());
  });
  window.addEventListener("popstate", () => {
    if (named() === run) return;
    returned = true;
    emit("choose", named());
    returned = false;
  });
  for (const event of ["view", "table"]) listen(event, () => choose(choice()));
  return choice();
};

const ACTIVE = ["running", "stopping", "starting"];
const parts = (row) => {
  const going = row.total && ACTIVE.includes(row.state);
  return [
    h("span", { class: "lab-dot", style: `background:${row.colour}` }),
    nameOf(row),
    stateBadge(row.state),
    h(
      "span",
      { class: "lab-sub" },
      [row.metric && `${metricName(row.metric_name)} ${row.metric}`, row.trainable, going ? `${row.step} / ${row.total}` : "", ago(row.created)]
        .filter(Boolean)
        .join(" · "),
    ),
    going ? h("span", { class: "lab-thin", style: `--part:${(100 * Math.min(1, row.step / row.total)).toFixed(1)}%` }) : null,
  ];
};
const chosenList = (element, props, watch, server) => {
  let selected = "";
  let seen = "";
  const list = listbox({
    label: say("page.runs"),
    hint: say("runs.filter"),
    parts,
    state: (row) => [row.id === selected, false],
    choose: (row) => emit("choose", row.id),
  });
  const nothing = noRuns();
  const ids = (rows) => rows.map((row) => row.id);
  const many = manyButtons(
    server,
    () => ids(list.listed()),
    () => ids(list.listed().filter((row) => GOING.includes(row.state))),
  );
  element.replaceChildren(many.node, ...list.nodes, nothing);
  const rows = mergedRows();
  const take = () => {
    const news = parsedJson(props.value);
    const known = rows(news);
    if (!known) return;
    selected = news.selected;
    nothing.hidden = known.length > 0;
    noticeOf(known);
    list.draw(known);
    many.node.hidden = !known.length;
    many.draw();
    if (selected !== seen) {
      seen = selected;
      list.reveal(selected);
    }
  };
  watch("value", take);
  take();
};

// hear of the end of a run, or no more; where the browser does not allow it, the button says so
const notify = async (button) => {
  const wrong = await toggleNotice(button.dataset.run);
  button.setAttribute("aria-pressed", String(!wrong && button.getAttribute("aria-pressed") !== "true"));
  if (wrong) button.textContent = wrong;
};

// buttons inside HTML from the server: data-act names the event
const actions = (element, trigger, watch) => {
  let held = ""; // the button that has the focus: while a run goes on, its HTML is drawn anew every second
  element.addEventListener("focusin", (event) => {
    held = event.target.dataset.act || "";
  });
  document.addEventListener("focusin", (event) => {
    if (!element.contains(event.target)) held = "";
  });
  document.addEventListener("pointerdown", (event) => {
    if (!element.contains(event.target)) held = "";
  });
  if (watch)
    watch("value", () =>
      setTimeout(() => {
        if (!element.querySelector(".lab-state:is(.queued, .starting, .running, .stopping)")) document.querySelector('#run-said [data-until="over"]')?.remove();
        if (held && document.activeElement === document.body) element.querySelector(`[data-act="${held}"]`)?.focus();
      }, 0),
    );
  element.addEventListener("click", (event) => {
    const button = event.target.closest("[data-act]");
    if (!button || button.disabled) return;
    if (button.dataset.act === "notify") return notify(button);
    if (button.dataset.act === "throw") return emit("throw", { kind: "run", id: button.dataset.run, name: button.dataset.name });
    if (button.dataset.act === "copy") return copyText(document.querySelector(button.dataset.from)?.textContent || "", button);
    trigger(button.dataset.act, { run: button.dataset.run });
  });
};

const logBox = (element, props, watch) => {
  const box = h("pre", { class: "lab-log", tabindex: 0, "aria-label": say("runs.log") });
  element.replaceChildren(box);
  const draw = () => {
    const end = box.scrollHeight - box.scrollTop - box.clientHeight < 40;
    box.textContent = props.value || "";
    box.classList.toggle("none", !props.value);
    if (end) box.scrollTop = box.scrollHeight;
  };
  watch("value", draw);
  draw();
};

// after something was done: to another run where one is told, else what came of it
const leaveRun = (element, props, watch) => {
  watch("value", () => {
    if (props.value && "run" in props.value) emit("choose", props.value.run);
    else if (props.value) askAgain();
  });
};

register({ chosenRun, chosenList, actions, logBox, leaveRun });
