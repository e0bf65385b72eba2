// The tasks that train along with the first, and how often each is drawn.
import { h, icon } from "../shell/dom.js";
import { say } from "../shell/words.js";

export const furtherTasks = (knobs) => {
  const { doc, schema } = knobs;
  const chosen = doc.further || [];
  const name = (task) => (typeof task === "string" ? task : task.name);
  const put = (tasks) => {
    if (!tasks.length && doc.training) doc.training.temperature = 1;
    knobs.set("further", tasks, true);
  };
  const remove = (number) =>
    h(
      "button",
      {
        type: "button",
        class: "lab-icon",
        title: say("bench.remove"),
        "aria-label": say("bench.remove"),
        onclick: () => put(chosen.filter((_, at) => at !== number)),
      },
      icon("close"),
    );
  const rows = chosen.map((task, number) => {
    const row = knobs.grouped(`further.${number}`, schema.tasks, name(task), say("bench.further"), say("bench.further.help"), false);
    row.classList.add("lab-further");
    row.append(remove(number));
    return row;
  });
  const next = () => schema.tasks.find((one) => one.name !== doc.task && !chosen.map(name).includes(one.name)) || schema.tasks[0];
  const more = h(
    "button",
    { type: "button", class: "lab-link", id: "knob-further", onclick: () => put([...chosen, next().name]) },
    "+ " + say("bench.further.add"),
  );
  const temperature = schema.training.find((field) => field.path === "temperature");
  return [
    ...rows,
    chosen.length ? knobs.row(temperature, "training.temperature", doc.training || {}, {}) : null,
    h("p", { class: "lab-further-add", "data-path": "further", "data-help": say("bench.further.help") }, more),
  ].filter(Boolean);
};
