// Picking runs to compare; the address keeps the choice, so that a link reopens it.
import { copyText, download, h } from "../shell/dom.js";
import { emit, listen } from "../shell/events.js";
import { register } from "../shell/parts.js";
import { currentChoice } from "../shell/poll.js";
import { checkMark, listbox, mergedRows, nameOf, noRuns, stateBadge } from "../shell/run_list.js";
import { parsedJson, runIds, runsNamed, setAddress } from "../shell/storage.js";
import { metricName, say } from "../shell/words.js";

// what the comparison looks like, kept in the address: [name, the choices, the first one being usual]
const OPTIONS = [
  ["along", ["step", "epoch", "tokens", "time"]],
  ["group", ["yes", "no"]],
  ["settings", ["differing", "all"]],
  ["papers", ["yes", "no"]],
];
const params = new URL(location.href).searchParams;
const COMPARED = Object.fromEntries(OPTIONS.map(([name, choices]) => [name, choices.includes(params.get(name)) ? params.get(name) : choices[0]]));

COMPARED.baseline = runIds(params.get("baseline"))[0] || "";

const compareTools = (element, trigger, events) => {
  const control = ([name, choices]) =>
    h(
      "label",
      { title: say(`compare.option.${name}.help`) },
      say("compare.option." + name),
      h(
        "select",
        {
          value: COMPARED[name],
          onchange: (event) => {
            COMPARED[name] = event.target.value;
            setAddress({ [name]: event.target.value === choices[0] ? "" : event.target.value });
            emit("compared");
          },
        },
        choices.map((choice) => h("option", { value: choice, selected: COMPARED[name] === choice }, say(`compare.${name}.${choice}`))),
      ),
    );
  const take = (event) =>
    h(
      "button",
      { type: "button", class: "lab-button", title: say(`compare.take.${event}.help`), onclick: () => trigger(event, currentChoice()) },
      say("compare.take." + event),
    );
  element.replaceChildren(...OPTIONS.map(control), h("span", { class: "lab-gap" }), ...events.map(take));
  const seen = (runs) => {
    element.hidden = !runs.length;
  };
  listen("pick", seen);
  seen(params.get("runs") ? [1] : []);
};

// a file made by the server, saved by the browser
const savedFile = (element, props, watch) => {
  watch("value", () => {
    const { name, type, text, base64 } = props.value || {};
    if (!text && !base64) return;
    const bytes = base64 ? Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0)) : text;
    const href = URL.createObjectURL(new Blob([bytes], { type }));
    download(href, name);
    setTimeout(() => URL.revokeObjectURL(href), 10000);
  });
};

const pickedRuns = (choose) => {
  let runs = runsNamed(new URL(location.href).searchParams.get("runs"));
  const choice = () => ({ runs, ...COMPARED });
  let back = false; // to picks of before: those are no new ones
  listen("pick", (picked) => {
    runs = picked;
    if (!back) setAddress({ runs: runs.join(",") }, true);
    choose(choice());
  });
  window.addEventListener("popstate", () => {
    back = true;
    emit("pick", runsNamed(new URL(location.href).searchParams.get("runs")));
    back = false;
  });
  listen("compared", () => choose(choice()));
  return choice();
};

// a click on a row's pin makes it the baseline, to which differences are shown; another one takes it away
const pins = (element) =>
  element.addEventListener("click", (event) => {
    const button = event.target.closest("[data-pin]");
    if (!button) return;
    COMPARED.baseline = button.getAttribute("aria-pressed") === "true" ? "" : button.dataset.pin;
    setAddress({ baseline: COMPARED.baseline });
    emit("compared");
  });

// the table of results: a click on a heading sorts by it, another one the other way round; kept when the table is drawn anew
const sortable = (element, watch) => {
  let column = null;
  let falling = false;
  let at = [0, 0];
  const value = (row) => {
    const cell = row.children[column];
    return cell.dataset.value === undefined ? (column < 2 ? cell.textContent.trim() : null) : Number(cell.dataset.value);
  };
  const sort = () => {
    const body = element.querySelector("tbody");
    if (!body || column === null) return;
    const before = (a, b) => (a === b ? 0 : a === null ? 1 : b === null ? -1 : (a < b ? -1 : 1) * (falling ? -1 : 1));
    body.replaceChildren(...[...body.rows].sort((a, b) => before(value(a), value(b))));
    element
      .querySelectorAll("thead th")
      .forEach((head, index) => (index === column ? head.setAttribute("aria-sort", falling ? "descending" : "ascending") : head.removeAttribute("aria-sort")));
  };
  element.addEventListener("click", (event) => {
    const button = event.target.closest("[data-sort]");
    if (!button) return;
    const asked = Number(button.dataset.sort);
    falling = column === asked ? !falling : asked >= 2;
    column = asked;
    sort();
  });
  element.addEventListener(
    "scroll",
    ({ target }) => {
      at = [target.scrollLeft, target.scrollTop];
    },
    true,
  );
  watch("value", () =>
    setTimeout(() => {
      const box = element.querySelector(".lab-scroll");
      const [left, top] = at;
      sort();
      if (box) [box.scrollLeft, box.scrollTop] = [left, top];
    }, 0),
  );
};

const MOST = 50;
const picker = (element, props, watch) => {
  let order = null;
  let all = null; // the chosen runs in the order in which they were; all runs
  const full = () => order.length >= MOST;
  const choose = (ids) => emit("pick", ids.slice(0, MOST));
  const parts = (row, on) => [
    checkMark(row, on),
    nameOf(row),
    stateBadge(row.state),
    h("span", { class: "lab-sub" }, [row.metric && `${metricName(row.metric_name)} ${row.metric}`, row.trainable].filter(Boolean).join(" · ") || row.id),
  ];
  const list = listbox({
    label: say("compare.pick"),
    hint: say("runs.filter"),
    many: true,
    parts,
    state: (row) => {
      const on = order.includes(row.id);
      return [on, !on && full()];
    },
    choose: ({ id }) => choose(order.includes(id) ? order.filter((one) => one !== id) : [...order, id]),
  });
  const copy = h(
    "button",
    {
      type: "button",
      class: "lab-button",
      title: say("compare.link.help"),
      onclick: () => copyText(location.href.replace(/([?&])__theme=\w+&?/, "$1").replace(/[?&]$/, ""), copy),
    },
    say("compare.link"),
  );
  const clear = h("button", { type: "button", class: "lab-button", onclick: () => choose([]) }, say("compare.clear"));
  const visible = h(
    "button",
    { type: "button", class: "lab-button", title: say("compare.pick.shown.help"), onclick: () => choose(list.listed().map((row) => row.id)) },
    say("compare.pick.shown"),
  );
  const nothing = noRuns();
  const count = h("span", { class: "lab-muted", role: "status" });
  const bar = h("div", { class: "lab-pick-bar" }, count, h("span", { class: "lab-gap" }), visible, clear, copy);
  element.replaceChildren(bar, ...list.nodes, nothing);
  const rows = mergedRows();
  const draw = () => {
    bar.hidden = !all || !all.length;
    nothing.hidden = !all || all.length > 0;
    if (!all) return;
    count.textContent = full() ? say("compare.most") : say("compare.picked", { n: order.length });
    clear.disabled = copy.disabled = !order.length;
    list.draw(all);
  };
  listen("pick", (ids) => {
    order = ids;
    draw();
  });
  listen("pick-newest", () =>
    choose(
      (all || [])
        .filter((row) => row.state === "succeeded")
        .slice(0, 5)
        .map((row) => row.id),
    ),
  );
  const take = () => {
    const news = parsedJson(props.value);
    all = rows(news);
    if (news && order === null) list.pin((order = news.picked));
    draw();
  };
  watch("value", take);
  take();
};

register({ pins, compareTools, savedFile, pickedRuns, sortable, picker });
