// Which runs to look into, and the fields that filter lists of rows. The address keeps the runs.
import { h } from "../shell/dom.js";
import { register } from "../shell/parts.js";
import { checkMark, listbox, nameOf } from "../shell/run_list.js";
import { runIds, setAddress } from "../shell/storage.js";
import { say } from "../shell/words.js";

const insideForm = (element, props, watch, trigger, event, most) => {
  let chosen = runIds(new URL(location.href).searchParams.get("runs"));
  let started = false;
  let news = null;
  const ask = () => trigger(event, { runs: chosen });
  const button = h("button", { type: "button", class: "lab-cta", onclick: ask }, say("inside.ask"));
  const choose = ({ id }) => {
    chosen = chosen.includes(id) ? chosen.filter((one) => one !== id) : [...chosen, id];
    setAddress({ runs: chosen.join(",") });
    draw();
  };
  const list = listbox({
    label: say("try.runs"),
    hint: say("try.filter"),
    many: true,
    sorted: false,
    few: 8,
    words: (row) => [row.name, row.model, row.task, row.method, row.id],
    parts: (row, on) => [
      checkMark(row, on),
      nameOf(row),
      h("span", {}),
      h("span", { class: "lab-sub" }, [row.model, row.task, row.method].filter(Boolean).join(" · ")),
    ],
    choose,
    state: ({ id }) => {
      const on = chosen.includes(id);
      return [on, !on && chosen.length >= most];
    },
  });
  element.replaceChildren(h("h3", {}, say("try.runs")), h("small", { class: "lab-muted" }, say("inside.runs.help")), ...list.nodes, button);
  const draw = () => {
    const rows = (news && news.rows) || [];
    if (news && !started && rows.length) {
      started = true;
      const asked = chosen.length > 0;
      chosen = chosen.filter((id) => rows.some((row) => row.id === id)).slice(0, most);
      if (!chosen.length) chosen = [rows[0].id];
      else if (asked) ask(); // a link to a look is a look
    }
    list.draw(rows);
    button.disabled = !chosen.length;
  };
  const take = () => {
    news = props.value;
    draw();
  };
  watch("value", take);
  take();
};

const insideLists = (element) => {
  element.addEventListener("input", (typed) => {
    const field = typed.target.closest(".lab-in-filter");
    if (!field) return;
    const wanted = field.value.trim().toLowerCase();
    for (const row of field.nextElementSibling.querySelectorAll("tbody tr")) row.hidden = !row.textContent.toLowerCase().includes(wanted);
  });
};

register({ insideForm, insideLists });
