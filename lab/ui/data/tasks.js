// The imported tasks, each to the bench or into the bin, and a table of those that come with the lab.
import { h, setHtml } from "../shell/dom.js";
import { emit, listen } from "../shell/events.js";
import { register } from "../shell/parts.js";
import { LANGUAGE, say } from "../shell/words.js";

const dataTasks = (element, server) => {
  const own = h("div", { class: "lab-own" });
  const table = h("div", {});
  element.replaceChildren(h("h3", {}, say("data.own")), own, table);
  const remove = (task) =>
    h(
      "button",
      { type: "button", class: "lab-button warn", onclick: () => emit("throw", { kind: "task", id: task.name, name: task.name }) },
      say("act.delete"),
    );
  const item = (task) =>
    h(
      "article",
      { class: "lab-own-task", "data-task": task.name },
      h("b", {}, task.name),
      h("span", { class: "lab-muted" }, task.wrong || [task.family, task.metric, task.rows, task.labels, task.about].filter(Boolean).join(" · ")),
      task.wrong ? null : h("a", { class: "lab-button", href: "./?task=" + encodeURIComponent(task.name) }, say("data.bench")),
      remove(task),
    );
  const load = async () => {
    const found = await server.listing({ language: LANGUAGE }).catch(() => null);
    if (!found) return;
    own.replaceChildren(...(found.own.length ? found.own.map(item) : [h("p", { class: "lab-muted" }, say("data.own.none"))]));
    setHtml(table, found.html);
  };
  listen("data-tasks", load);
  listen("binned", (change) => change.kind === "task" && load());
  load();
};

register({ dataTasks });
