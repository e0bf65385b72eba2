// The imported tasks, each to the bench or deleted at the second press, and a table of those that come with the lab.
import { h, setHtml } from "../shell/dom.js";
import { listen } from "../shell/events.js";
import { register } from "../shell/parts.js";
import { LANGUAGE, say } from "../shell/words.js";

const dataTasks = (element, server) => {
  const own = h("div", { class: "lab-own" });
  const table = h("div", {});
  const notice = h("p", { class: "lab-muted", role: "status" });
  element.replaceChildren(h("h3", {}, say("data.own")), notice, own, table);
  const remove = (task) => {
    const button = h(
      "button",
      {
        type: "button",
        class: "lab-button warn",
        onclick: async () => {
          if (!button.dataset.sure) {
            button.dataset.sure = "yes";
            button.textContent = say("act.delete.sure");
            setTimeout(() => {
              delete button.dataset.sure;
              button.textContent = say("act.delete");
            }, 4000);
            return;
          }
          const found = await server.remove({ name: task.name, language: LANGUAGE }).catch(() => ({ errors: [["", say("bench.lost")]] }));
          notice.textContent = found.errors ? found.errors[0][1] : say("data.removed", { name: task.name });
          notice.classList.toggle("wrong", Boolean(found.errors));
          load();
        },
      },
      say("act.delete"),
    );
    return button;
  };
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
  load();
};

register({ dataTasks });
