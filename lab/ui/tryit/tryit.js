// A text and the runs to try it on; the address keeps the runs.
import { h } from "../shell/dom.js";
import { register } from "../shell/parts.js";
import { checkMark, listbox } from "../shell/run_list.js";
import { runIds, setAddress } from "../shell/storage.js";
import { metricName, say } from "../shell/words.js";

const tryForm = (element, props, watch, trigger, event, most) => {
  let chosen = runIds(new URL(location.href).searchParams.get("runs"));
  let started = false;
  const text = h("textarea", {
    id: "try-text",
    rows: 4,
    maxlength: 20000,
    onkeydown: (press) => {
      if (press.key === "Enter" && (press.ctrlKey || press.metaKey)) ask();
    },
  });
  const pair = h("textarea", { id: "try-pair", rows: 2, maxlength: 20000 });
  const field = (label, help, node) => h("div", { class: "lab-field" }, h("label", { for: node.id }, say(label)), node, h("small", {}, say(help)));
  const ask = () => {
    if (!button.disabled) trigger(event, { runs: chosen, text: text.value, pair: pair.value });
  };
  const button = h("button", { type: "button", class: "lab-cta", onclick: ask }, say("try.ask"));
  const second = field("try.pair", "try.pair.help", pair);
  let news = null;
  let at = 0;
  const sample = h(
    "button",
    {
      type: "button",
      class: "lab-button",
      title: say("try.sample.help"),
      onclick: () => {
        const found = samples();
        [text.value, pair.value] = found[at++ % found.length];
        text.focus();
      },
    },
    say("try.sample"),
  );
  const samples = () => ((news && news.rows) || []).filter((row) => chosen.includes(row.id)).flatMap((row) => row.samples);
  const choose = ({ id }) => {
    chosen = chosen.includes(id) ? chosen.filter((one) => one !== id) : [...chosen, id];
    setAddress({ runs: chosen.join(",") });
    draw();
  };
  const parts = (row, on) => [
    checkMark(row, on),
    h("span", { class: "lab-name" }, row.name),
    h("span", {}),
    h("span", { class: "lab-sub" }, [row.model, row.task, row.metric && `${metricName(row.metric_name)} ${row.metric}`].filter(Boolean).join(" · ")),
  ];
  const list = listbox({
    label: say("try.runs"),
    hint: say("try.filter"),
    many: true,
    sorted: false,
    few: 8,
    words: (row) => [row.name, row.model, row.task, row.id],
    parts,
    choose,
    state: ({ id }) => {
      const on = chosen.includes(id);
      return [on, !on && chosen.length >= most];
    },
  });
  element.replaceChildren(field("try.text", "try.text.help", text), sample, second, h("h3", {}, say("try.runs")), ...list.nodes, button);
  const draw = () => {
    const rows = (news && news.rows) || [];
    if (news && !started && rows.length) {
      started = true;
      chosen = chosen.filter((id) => rows.some((row) => row.id === id)).slice(0, most);
      if (!chosen.length && rows.length) chosen = [rows[0].id];
    }
    list.draw(rows);
    button.disabled = !chosen.length;
    sample.hidden = !samples().length;
    second.hidden = !rows.some((row) => row.pair && chosen.includes(row.id));
  };
  const take = () => {
    news = props.value;
    draw();
  };
  watch("value", take);
  take();
};

register({ tryForm });
