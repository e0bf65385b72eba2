// Runs as a table: the query above it, its columns, groups, views and baseline, and what is done to the selected ones.
import { actOn, compareThese, GOING, stopThese } from "../shell/bulk.js";
import { h } from "../shell/dom.js";
import { emit, listen } from "../shell/events.js";
import { noticeOf } from "../shell/notify.js";
import { register } from "../shell/parts.js";
import { sure } from "../shell/sure.js";
import { LANGUAGE, say } from "../shell/words.js";
import { grid } from "./grid.js";
import { chooseTable, shownView, showView, tableChoice } from "./table_choice.js";

const PAUSE = 300; // milliseconds after the last letter of a query
const GROUPS = ["seeds", "method", "task", "model", "state"];

// the switch between list and table
const viewSwitch = (element) => {
  const button = (view) =>
    h(
      "button",
      {
        type: "button",
        "aria-pressed": String(shownView() === view),
        onclick: () => {
          showView(view);
          emit("view", view);
        },
      },
      say("view." + view),
    );
  const draw = () =>
    element.replaceChildren(h("div", { class: "lab-segments", role: "group", "aria-label": say("view.how") }, button("list"), button("table")));
  listen("view", draw);
  draw();
};

const queryBox = (change) => {
  let timer = 0;
  const box = h("input", {
    type: "search",
    id: "table-where",
    value: tableChoice().where,
    placeholder: say("table.where.hint"),
    "aria-label": say("table.where"),
    "aria-describedby": "table-wrong",
    maxlength: 2000,
    spellcheck: "false",
    autocomplete: "off",
    oninput: () => {
      clearTimeout(timer);
      timer = setTimeout(() => change({ where: box.value }), PAUSE);
    },
  });
  const help = h(
    "details",
    { class: "lab-query-help" },
    h("summary", { "aria-label": say("table.help"), title: say("table.help") }, "?"),
    h(
      "ul",
      {},
      ["compare", "words", "join", "units"].map((one) => h("li", {}, say("table.help." + one))),
    ),
  );
  const wrong = h("p", { class: "lab-wrong", id: "table-wrong", role: "alert" });
  const refuse = (words = "") => {
    if (wrong.textContent !== words) wrong.textContent = words;
    box.setAttribute("aria-invalid", String(Boolean(words)));
  };
  return { nodes: [box, help], wrong, refuse, set: (text) => (box.value = text) };
};

const columnMenu = (change) => {
  const find = h("input", { type: "search", placeholder: say("table.columns.find"), "aria-label": say("table.columns.find"), oninput: () => sift() });
  const usual = h("button", { type: "button", class: "lab-link", onclick: () => change({ columns: null }) }, say("table.columns.usual"));
  const lists = h("div", { class: "lab-column-lists" });
  const node = h("details", { class: "lab-columns" }, h("summary", { class: "lab-button" }, say("table.columns")), h("div", {}, find, usual, lists));
  const sift = () => {
    const text = find.value.trim().toLowerCase();
    for (const label of lists.querySelectorAll("label")) label.hidden = Boolean(text) && !label.textContent.toLowerCase().includes(text);
  };
  document.addEventListener("pointerdown", (event) => node.contains(event.target) || (node.open = false));
  node.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    node.open = false;
    node.querySelector("summary").focus();
  });
  const draw = (offered, columns) => {
    if (lists.contains(document.activeElement)) return; // ticked just now
    const names = columns.map((column) => column.name);
    const tick = ([name, title]) =>
      h(
        "label",
        {},
        h("input", {
          type: "checkbox",
          checked: names.includes(name),
          onchange: (event) => {
            const now = event.target.checked ? [...names, name] : names.filter((one) => one !== name);
            names.splice(0, names.length, ...now);
            change({ columns: now });
          },
        }),
        title,
      );
    lists.replaceChildren(
      ...["run", "metric", "setting"].flatMap((kind) => {
        const some = offered.filter((one) => one[2] === kind);
        return some.length ? [h("fieldset", {}, h("legend", {}, say("table.columns." + kind)), some.map(tick))] : [];
      }),
    );
    sift();
  };
  return { node, draw };
};

const savedViews = (server, change, refuse) => {
  let views = {};
  let now = "";
  const pick = h("select", { class: "lab-views", "aria-label": say("table.views"), disabled: true, onchange: () => apply(pick.value) });
  const name = h("input", { type: "text", hidden: true, maxlength: 80, placeholder: say("table.view.name"), "aria-label": say("table.view.name") });
  const save = h("button", { type: "button", class: "lab-button" }, say("table.view.save"));
  const drop = h("button", { type: "button", class: "lab-button warn", hidden: true }, say("table.view.drop"));
  const draw = (next) => {
    views = next;
    if (!(now in views)) now = "";
    pick.disabled = !Object.keys(views).length; // in its place before they are known, so that nothing moves when they come
    pick.replaceChildren(
      h("option", { value: "" }, say("table.views.none")),
      ...Object.keys(views).map((one) => h("option", { value: one, selected: one === now }, one)),
    );
    drop.hidden = !now;
  };
  const apply = (chosen) => {
    now = chosen;
    drop.hidden = !now;
    if (now) change({ where: "", columns: null, sort: "", descending: false, group: "", ...views[now] }, true);
  };
  const ask = async (asked) => {
    const found = await server.view({ ...asked, language: LANGUAGE }).catch(() => ({ wrong: say("bench.lost") }));
    refuse(found.wrong);
    if (found.views) draw(found.views);
    return Boolean(found.views);
  };
  const keep = async () => {
    if (name.hidden) {
      name.hidden = false;
      name.value = now;
      return name.focus();
    }
    const wanted = name.value.trim();
    if (!(await ask({ name: wanted, view: tableChoice() }))) return name.focus();
    now = wanted;
    name.hidden = true;
    draw(views);
    return save.focus();
  };
  save.addEventListener("click", keep);
  name.addEventListener("keydown", (event) => {
    if (event.key === "Enter") keep();
    if (event.key === "Escape") {
      name.hidden = true;
      save.focus();
    }
  });
  drop.addEventListener("click", async () => {
    if (await sure({ title: say("table.view.sure", { name: now }), text: say("table.view.text"), act: say("table.view.drop") })) ask({ name: now, drop: true });
  });
  draw({});
  return { nodes: [pick, name, save, drop], draw };
};

const runTable = (element, props, watch, server) => {
  const known = { columns: [], order: [], rows: new Map(), groups: {}, offered: [] };
  const change = (changes, typed = false) => {
    chooseTable(changes);
    if (typed) query.set(tableChoice().where);
    emit("table", tableChoice());
  };
  const query = queryBox((changes) => change(changes));
  const menu = columnMenu(change);
  const views = savedViews(server, change, query.refuse);
  const group = h("select", { class: "lab-group-by", "aria-label": say("table.group"), onchange: () => change({ group: group.value }) });
  const count = h("span", { class: "lab-muted lab-count-rows", role: "status" });
  const baseline = h("span", { class: "lab-baseline", hidden: true });
  const notice = h("p", { class: "lab-said", role: "status", hidden: true });
  const tag = h("input", { type: "text", maxlength: 40, placeholder: say("many.tag.what"), "aria-label": say("many.tag.what") });
  const chosen = h("b", {});
  const button = (words, act, css = "", help = "") =>
    h("button", { type: "button", class: "lab-button " + css, title: help || null, onclick: act }, say(words));
  const stop = button("act.stop", () => stopThese(server, notice, going()), "warn");
  const base = button("table.baseline.set", () => change({ baseline: table.picked()[0] }), "", say("table.baseline.help"));
  const compare = button("many.compare", () => compareThese(table.picked()), "", say("many.compare.help"));
  const label = (act) => tag.value.trim() && actOn(server, notice, act, table.picked(), { tag: tag.value.trim() });
  const remove = async () => {
    const runs = table.picked();
    const asked = { title: say("many.bin.sure", { n: runs.length }), text: say("many.bin.text"), act: say("act.delete") };
    if (runs.length && (await sure(asked))) await actOn(server, notice, "bin", runs);
  };
  const bar = h(
    "div",
    { class: "lab-many", role: "group", "aria-label": say("many.act") },
    chosen,
    compare,
    base,
    stop,
    button("act.delete", remove, "warn"),
    tag,
    button("many.tag.add", () => label("tag")),
    button("many.tag.remove", () => label("untag")),
    button("many.clear", () => table.clear()),
  );
  const none = h("p", { class: "lab-muted", hidden: true }, say("table.none"));
  const going = () => table.picked().filter((id) => GOING.includes((known.rows.get(id) || {}).state));
  const drawBar = () => {
    const runs = table.picked();
    bar.classList.toggle("none", !runs.length);
    bar.inert = !runs.length;
    chosen.textContent = say("many.selected", { n: runs.length });
    compare.disabled = runs.length < 2;
    base.disabled = runs.length !== 1;
    stop.disabled = !going().length;
  };
  const table = grid({
    select: () => drawBar(),
    choose: (id) => {
      showView("list");
      emit("view", "list");
      emit("choose", id);
    },
    sort: (column) => {
      const { sort, descending } = tableChoice();
      if (sort !== column.name) change({ sort: column.name, descending: Boolean(column.down) });
      else if (descending === Boolean(column.down)) change({ descending: !descending });
      else change({ sort: "", descending: false });
    },
  });
  element.replaceChildren(
    h("div", { class: "lab-tools" }, ...query.nodes, group, menu.node, ...views.nodes, count, baseline),
    query.wrong,
    bar,
    notice,
    none,
    table.node,
  );
  const drawGroups = () => {
    const { group: now } = tableChoice();
    const columns = known.columns.filter((column) => !["metric", "weights", "percent", "memory", "time", "created", ...GROUPS].includes(column.name));
    const choices = [
      ["", say("table.group.none")],
      ...GROUPS.map((one) => [one, say(one === "seeds" ? "table.group.seeds" : "table.column." + one)]),
      ...columns.map((column) => [column.name, column.title]),
    ];
    if (now && !choices.some(([name]) => name === now)) choices.push([now, now]);
    group.replaceChildren(...choices.map(([name, title]) => h("option", { value: name, selected: name === now }, title)));
  };
  const take = () => {
    const news = props.value;
    if (!news) return;
    query.refuse(news.wrong);
    if (news.views) views.draw(news.views);
    if (news.wrong) return;
    if (news.whole) {
      known.rows.clear();
      Object.assign(known, { columns: news.columns, offered: news.offered });
      menu.draw(known.offered, known.columns);
      drawGroups();
      baseline.hidden = !news.baseline;
      baseline.replaceChildren(
        say("table.baseline") + ": ",
        h("b", {}, news.baseline),
        h(
          "button",
          {
            type: "button",
            class: "lab-icon",
            "aria-label": say("table.baseline.clear"),
            title: say("table.baseline.clear"),
            onclick: () => change({ baseline: "" }),
          },
          "×",
        ),
      );
    }
    for (const row of news.rows) known.rows.set(row.id, row);
    noticeOf(news.rows);
    if (news.order) known.order = news.order;
    known.groups = news.groups || (news.whole ? {} : known.groups);
    count.textContent = say("table.count", { n: news.n, all: news.total });
    none.hidden = news.n > 0;
    const { sort, descending } = tableChoice();
    table.draw({ ...known, sort, descending });
    drawBar();
  };
  watch("value", take);
  take();
};

register({ viewSwitch, runTable });
