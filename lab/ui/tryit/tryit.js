// A text and the runs to try it on; the address keeps the runs.
import { h, setHtml } from "../shell/dom.js";
import { emit, listen } from "../shell/events.js";
import { register } from "../shell/parts.js";
import { runPicker } from "../shell/run_picker.js";
import { keptText } from "../shell/storage.js";
import { LANGUAGE, metricName, say } from "../shell/words.js";

const tryForm = (element, props, watch, most) => {
  const text = h("textarea", {
    id: "try-text",
    rows: 4,
    maxlength: 20000,
    onkeydown: (press) => {
      if (press.key === "Enter" && (press.ctrlKey || press.metaKey)) ask();
    },
  });
  const pair = h("textarea", { id: "try-pair", rows: 2, maxlength: 20000 });
  keptText(text, "try-text");
  keptText(pair, "try-pair");
  const wrong = h("p", { class: "lab-wrong", role: "alert", hidden: true });
  const field = (label, help, node) => h("div", { class: "lab-field" }, h("label", { for: node.id }, say(label)), node, h("small", {}, say(help)));
  // what is wrong is said here, before anything is sent
  const refuse = (node, words) => {
    wrong.textContent = words;
    wrong.hidden = !words;
    for (const one of [text, pair]) one.setAttribute("aria-invalid", String(Boolean(words) && one === node));
    if (words && node) node.focus();
    return words;
  };
  const ask = () => {
    if (button.disabled) return;
    const rows = picker.rows();
    if (refuse(text, text.value.trim() ? "" : say("try.empty.text"))) return;
    if (refuse(pair, rows.length && rows.every((row) => row.pair) && !pair.value.trim() ? say("try.empty.pair") : "")) return;
    emit("try-ask", { runs: picker.ids(), text: text.value, pair: pair.value });
  };
  const button = h("button", { type: "button", class: "lab-cta", disabled: true, onclick: ask }, say("try.ask"));
  const second = field("try.pair", "try.pair.help", pair);
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
        for (const node of [text, pair]) node.dispatchEvent(new Event("input"));
        text.focus();
      },
    },
    say("try.sample"),
  );
  const samples = () => picker.rows().flatMap((row) => row.samples);
  const picker = runPicker({
    label: say("try.runs"),
    most,
    first: true,
    about: (row) => [row.model, row.task, row.metric && `${metricName(row.metric_name)} ${row.metric}`],
    changed: () => {
      button.disabled = !picker.ids().length;
      sample.hidden = !samples().length;
      second.hidden = !picker.rows().some((row) => row.pair);
    },
  });
  element.replaceChildren(field("try.text", "try.text.help", text), sample, second, wrong, ...picker.nodes, button);
  const take = () => {
    if (!props.value) return;
    picker.take(props.value.rows);
    emit("try-rows", props.value.rows.length);
  };
  watch("value", take);
  take();
};

// The answers, a card a run, each filled as it comes. The newest question wins: what an older one brings is not shown.
const LOOKED = 700; // milliseconds between two looks at what goes on
const tryAnswers = (element, server) => {
  const page = Math.random().toString(36).slice(2);
  const cards = h("div", { class: "lab-answers", role: "status" });
  let turn = 0;
  const nothing = (rows) => {
    if (!turn) element.replaceChildren(h("div", { class: "lab-empty" }, h("p", {}, say(rows ? "try.empty" : "try.none"))));
  };
  const follow = async (node, mine, still) => {
    while (mine === turn && still()) {
      const found = await server.phase({ page, language: LANGUAGE }).catch(() => ({ words: "" }));
      const place = node.querySelector(".lab-asking");
      if (mine === turn && still() && place && found.words && place.textContent !== found.words) place.textContent = found.words;
      await new Promise((resolve) => setTimeout(resolve, LOOKED));
    }
  };
  const ask = async (asked) => {
    const mine = ++turn;
    const begun = await server.begin({ ...asked, language: LANGUAGE }).catch(() => null);
    if (mine !== turn) return;
    element.replaceChildren(cards);
    if (!begun) return void cards.replaceChildren(h("p", { class: "lab-said wrong", role: "alert" }, say("bench.lost")));
    const nodes = begun.cards.map(({ html }) => {
      const node = h("div", { class: "lab-answer" });
      setHtml(node, html);
      return node;
    });
    cards.replaceChildren(...nodes);
    for (const [index, { run, task }] of begun.cards.entries()) {
      let waits = true;
      follow(nodes[index], mine, () => waits);
      const found = await server
        .answer({ run, task, text: asked.text, pair: asked.pair, page, turn: mine, language: LANGUAGE })
        .catch(() => ({ wrong: say("bench.lost") }));
      waits = false;
      if (mine !== turn) return;
      if (found.wrong) nodes[index].append(h("p", { class: "lab-said wrong", role: "alert" }, found.wrong));
      else if (found.html) setHtml(nodes[index], found.html);
    }
  };
  listen("try-ask", ask);
  listen("try-rows", nothing);
};

register({ tryForm, tryAnswers });
