// The tab's title follows what the page is about, and a notification of the browser says when a run is over, where somebody asked for it by a click.
import { listen } from "./events.js";
import { register } from "./parts.js";
import { keepAsking } from "./poll.js";
import { storedItem, storeItem } from "./storage.js";
import { say } from "./words.js";

const KEY = "lab_notify_1"; // the runs whose end somebody wants to hear of
const OVER = ["succeeded", "failed", "cancelled", "interrupted"];
const there = () => typeof Notification !== "undefined";
const waiting = () => (Array.isArray(storedItem(KEY)) ? storedItem(KEY) : []);
const keep = (runs) => storeItem(KEY, runs.length ? runs : null);

// A click: hear of this run's end, or no more. The words that say why not, "" where it is as wanted.
export const toggleNotice = async (run) => {
  const runs = waiting();
  if (runs.includes(run)) return (keep(runs.filter((one) => one !== run)), "");
  const allowed = there() && (Notification.permission === "granted" || (await Notification.requestPermission()) === "granted");
  if (!allowed) return say("notify.refused");
  keep([...runs, run]);
  return "";
};

// Say of those of these rows that somebody waits for and that are over.
export const noticeOf = (rows) => {
  const runs = waiting();
  if (!runs.length) return;
  const ended = rows.filter((row) => runs.includes(row.id) && OVER.includes(row.state));
  if (ended.length) keep(runs.filter((one) => !ended.some((row) => row.id === one)));
  for (const row of ended) {
    if (!there() || Notification.permission !== "granted") continue;
    const notice = new Notification(row.name || row.id, { body: say("notify.over", { state: say("state." + row.state) }), tag: row.id });
    notice.onclick = () => {
      window.focus();
      location.href = "runs?run=" + row.id;
    };
  }
};

// Buttons that are drawn anew by the server say whether they are on.
listen("shown", (element) => {
  for (const button of element.querySelectorAll("[data-act=notify]")) {
    button.hidden = !there();
    button.setAttribute("aria-pressed", String(waiting().includes(button.dataset.run)));
  }
});

// props.value: {"text", "going"} of what the page is about
const tabTitle = (props, watch) => {
  const usual = document.title;
  const draw = () => {
    const text = props.value && props.value.text;
    document.title = text ? text + " · Delta Lab" : usual;
  };
  keepAsking(() => Boolean(props.value && props.value.going));
  keepAsking(() => waiting().length > 0);
  watch("value", draw);
  draw();
};

register({ tabTitle });
