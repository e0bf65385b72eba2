// Some runs to choose from a list, as Try it, Combine and Inside have it: the address keeps them, and there are at most so many.
import { h } from "./dom.js";
import { runChoice } from "./run_choice.js";
import { checkMark, listbox, nameOf } from "./run_list.js";
import { say } from "./words.js";

// The list. `about(row)`: words under a run's name; `changed({asked})`: what is chosen may be another; asked: it is what the address asks for.
// Returns {nodes, take(rows), ids(), rows()}; until the first `take` nothing is known to be there.
export const runPicker = ({ label, about, changed, ...more }) => {
  const choice = runChoice(more);
  const gone = h("p", { class: "lab-said", role: "note", hidden: true });
  let asked = choice.ids().length > 0;
  const list = listbox({
    label,
    hint: say("try.filter"),
    many: true,
    sorted: false,
    few: 8,
    words: (row) => [row.name, row.model, row.task, row.method, row.id],
    parts: (row, on) => [checkMark(row, on), nameOf(row), h("span", {}), h("span", { class: "lab-sub" }, about(row).filter(Boolean).join(" · "))],
    choose: ({ id }) => {
      choice.turn(id);
      list.draw();
      changed({ asked: false });
    },
    state: (row) => [choice.ids().includes(row.id), choice.full(row)],
  });
  const take = (rows) => {
    const missing = choice.take(rows);
    if (missing.length) gone.textContent = say("runs.not_here", { runs: missing.slice(0, 5).join(", ") });
    gone.hidden = !gone.textContent;
    if (asked) list.pin(choice.ids());
    list.draw(rows);
    changed({ asked: asked && choice.ids().length > 0 });
    asked = false;
  };
  return { nodes: [h("h3", {}, label), gone, ...list.nodes], take, ids: choice.ids, rows: choice.rows };
};
